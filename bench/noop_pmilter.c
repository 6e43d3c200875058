/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * noop_pmilter.c -- a filter of libpmilter that asks for everything and changes nothing, for
 * bench/filters: noop_pmilter WHERE [MS]; MS: so long it sleeps over the end of a mail, on threads.
 */
#include <meta1/pmfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static useconds_t nap;

static sfsistat_T on_connect(pmse_ctx_P se, const char *name, const sm_sockaddr_T *addr)
{
	(void)se, (void)name, (void)addr;
	return SMTP_R_CONT;
}

static sfsistat_T on_helo(pmse_ctx_P se, const char *name)
{
	(void)se, (void)name;
	return SMTP_R_CONT;
}

static sfsistat_T on_path(pmse_ctx_P se, const char *path, const char *const *params)
{
	(void)se, (void)path, (void)params;
	return SMTP_R_CONT;
}

static sfsistat_T on_data(pmse_ctx_P se)
{
	(void)se;
	return SMTP_R_CONT;
}

static sfsistat_T on_msg(pmse_ctx_P se, const unsigned char *chunk, size_t len)
{
	(void)se, (void)chunk, (void)len;
	return SMTP_R_CONT;
}

static sfsistat_T on_end(pmse_ctx_P se)
{
	(void)se;
	if (nap)
		usleep(nap);
	return SMTP_R_CONT;
}

int main(int argc, char **argv)
{
	struct pmilter_S filter = {.pmfi_name = "noop",
	    .pmfi_connect = on_connect,
	    .pmfi_helo = on_helo,
	    .pmfi_mail = on_path,
	    .pmfi_rcpt = on_path,
	    .pmfi_data = on_data,
	    .pmfi_msg = on_msg,
	    .pmfi_eom = on_end};
	pmg_ctx_P ctx;

	if (argc < 2) {
		fprintf(stderr, "usage: noop_pmilter WHERE [MS]\n");
		return 64;
	}
	if (argc > 2)
		nap = (useconds_t)atoi(argv[2]) * 1000;
	if (nap)
		filter.pmfi_thrmax_s = filter.pmfi_thrmax_h = 100;
	if (sm_is_err(sm_pmfi_init(&ctx)) || sm_is_err(sm_pmfi_setconn(ctx, argv[1])) ||
	    sm_is_err(sm_pmfi_start(ctx, &filter))) {
		fprintf(stderr, "noop_pmilter: cannot listen on %s\n", argv[1]);
		return 1;
	}
	sm_pmfi_free(&ctx);
	return 0;
}
