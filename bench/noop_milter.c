/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * noop_milter.c -- a filter of Sendmail's libmilter that asks for everything and changes nothing;
 * bench/filters builds it where that library is: noop_milter WHERE [MS].
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static useconds_t nap;

static sfsistat on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *addr)
{
	(void)ctx, (void)name, (void)addr;
	return SMFIS_CONTINUE;
}

static sfsistat on_word(SMFICTX *ctx, char *word)
{
	(void)ctx, (void)word;
	return SMFIS_CONTINUE;
}

static sfsistat on_path(SMFICTX *ctx, char **argv)
{
	(void)ctx, (void)argv;
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	(void)ctx, (void)name, (void)value;
	return SMFIS_CONTINUE;
}

static sfsistat on_step(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t len)
{
	(void)ctx, (void)chunk, (void)len;
	return SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX *ctx)
{
	(void)ctx;
	if (nap)
		usleep(nap);
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc filter = {.xxfi_name = "noop",
	    .xxfi_version = SMFI_VERSION,
	    .xxfi_connect = on_connect,
	    .xxfi_helo = on_word,
	    .xxfi_envfrom = on_path,
	    .xxfi_envrcpt = on_path,
	    .xxfi_data = on_step,
	    .xxfi_header = on_header,
	    .xxfi_eoh = on_step,
	    .xxfi_body = on_body,
	    .xxfi_eom = on_end};

	if (argc < 2) {
		fprintf(stderr, "usage: noop_milter WHERE [MS]\n");
		return 64;
	}
	if (argc > 2)
		nap = (useconds_t)atoi(argv[2]) * 1000;
	if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS)
		return 1;
	return smfi_main() == MI_SUCCESS ? 0 : 1;
}
