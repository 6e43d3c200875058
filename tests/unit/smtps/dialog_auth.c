/* SPDX-License-Identifier: BSD-2-Clause */
/* dialog_auth.c -- what core/smtps/auth.c wants of core/mod, where there is no auth module. */
#include "mod/mod.h"

void mod_req_cancel(struct meta1_req **rp)
{
	*rp = NULL;
}

void *mod_data(const struct mod_inst *in)
{
	(void)in;
	return NULL;
}

bool mod_auth_knows(struct mod_inst *in, const struct meta1_auth_peer *p)
{
	(void)in, (void)p;
	return true;
}

struct meta1_req *mod_auth_ask(struct mod_inst *in, const struct meta1_auth_peer *p,
    int64_t deadline_ms, mod_done_fn done, void *arg)
{
	(void)in, (void)p, (void)deadline_ms, (void)done, (void)arg;
	return NULL;
}
