/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_open.c -- the module that a section auth names, and what the section says of it.
 * Comes from gear.c, at the start and for a reload; goes to auth.c, which drives it. Owns the
 * instance. On failure: one line for the admin; the role does not start, the reload is refused.
 */
#include "smtps/smtps.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define DRAIN_MS 300 /* for requests that a module has not given back yet */

static char *trusted_names(const char *const *list)
{
	size_t len = 1;
	char *out, *p;

	for (const char *const *v = list; v != NULL && *v != NULL; v++)
		len += strlen(*v) + 1;
	p = out = base_alloc(len);
	for (const char *const *v = list; v != NULL && *v != NULL; v++)
		p += sprintf(p, "%s%s", p > out ? " " : "", *v);
	for (p = out; *p != '\0'; p++)
		*p = (char)toupper((unsigned char)*p);
	return out;
}

static struct smtps_auth *auth_new(struct mod_inst *inst, const struct set_auth *set)
{
	struct smtps_auth *a = base_alloc(sizeof(*a));

	*a = (struct smtps_auth){.inst = inst,
	    .ops = mod_ops(inst),
	    .trusted = trusted_names(set->trusted_mechanisms),
	    .flags = (uint32_t)(set->flags & (AUTH_F_TLS_ONLY - 1)) | META1_A_NOANONYMOUS,
	    .tls_only = set->flags & AUTH_F_TLS_ONLY,
	    .plaintext = set->flags & AUTH_F_PLAINTEXT,
	    .max_failures = set->max_failures,
	    .failure_delay = set->failure_delay,
	    .client_failures = set->max_client_failures,
	    .account_failures = set->max_account_failures,
	    .failure_window = set->failure_window,
	    .account_mails = set->max_mails,
	    .account_rcpts = set->max_rcpts,
	    .account_window = set->window};
	mod_req_limit(inst, UINT32_MAX); /* sessions are bounded, and each has one */
	return a;
}

struct smtps_auth *smtps_auth_open(struct role *role, struct settings *all,
    const struct set_auth *set, const struct settings_module *sm, struct meta1_err *err)
{
	struct mod_inst *inst = mod_use(&role->host, sm, all, settings_core_names(sm->kind), err);
	const struct meta1_auth_ops *ops;

	if (inst == NULL)
		return NULL;
	ops = mod_ops(inst);
	if (ops->offer != NULL && ops->start != NULL && ops->step != NULL && ops->end != NULL)
		return auth_new(inst, set);
	err_set(err, "%s: it has no server's side", mod_name(inst));
	mod_close(&inst);
	return NULL;
}

void smtps_auth_close(struct smtps_auth **ap)
{
	struct smtps_auth *a = *ap;

	*ap = NULL;
	if (a == NULL)
		return;
	mod_retire(&a->inst, DRAIN_MS);
	free(a->trusted);
	free(a);
}
