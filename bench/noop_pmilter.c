/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * noop_pmilter.c -- a filter of libpmilter that changes nothing, for bench/filters:
 * noop_pmilter WHERE [MS] [answers|end|content|envelope]; MS: so long it sleeps over the end of a
 * mail, on threads. answers: it has a word at every stage, and gets all of the content; end: it is
 * told the same, and has a word at the end only; content: of a mail it gets the content, as our
 * example for SpamAssassin; envelope: sender, recipients and the end, no content.
 */
#include <meta1/pmfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static sm_ret_T at_end(pmss_ctx_P ss, uint32_t srv_cap, uint32_t srv_fct, uint32_t srv_feat,
    uint32_t srv_misc, uint32_t *cap, uint32_t *fct, uint32_t *feat, uint32_t *misc)
{
	(void)ss, (void)srv_cap, (void)srv_fct, (void)srv_feat, (void)cap, (void)fct, (void)feat;
	*misc = srv_misc;
	return SM_SUCCESS;
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
		fprintf(stderr, "usage: noop_pmilter WHERE [MS] [answers|end|content|envelope]\n");
		return 64;
	}
	if (argc > 2)
		nap = (useconds_t)atoi(argv[2]) * 1000;
	if (argc > 3 && strcmp(argv[3], "end") == 0)
		filter.pmfi_negotiate = at_end;
	if (argc > 3 && (strcmp(argv[3], "envelope") == 0 || strcmp(argv[3], "content") == 0)) {
		filter.pmfi_connect = NULL;
		filter.pmfi_helo = NULL;
		filter.pmfi_data = NULL;
	}
	if (argc > 3 && strcmp(argv[3], "envelope") == 0)
		filter.pmfi_msg = NULL;
	if (argc > 3 && strcmp(argv[3], "content") == 0)
		filter.pmfi_mail = filter.pmfi_rcpt = NULL;
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
