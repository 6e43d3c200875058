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
