/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_open.c -- the module that a section auth names, and what the section says of it.
 * Comes from smtps.c at the start; goes to auth.c, which drives it. Owns the instance.
 * On failure: one line for the admin, and the role does not start.
 */
#include "smtps/smtps.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

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

int smtps_auth_open(struct smtps *srv, const struct set_auth *set, const struct settings_module *sm,
    struct meta1_err *err)
{
	static const char *const core_names[] = {"module", "trusted_mechanisms", "flags",
	    "max_failures", "failure_delay", "max_client_failures", "max_account_failures",
	    "failure_window", NULL};
	struct role *role = srv->role;
	struct mod *mod = mod_load(&role->host, sm->module, err);
	struct smtps_auth *a;

	if (mod == NULL)
		return -1;
	a = base_alloc(sizeof(*a));
	srv->auth = a;
	a->inst = mod_open(&role->host, mod, sm->instance, role->set->conf, sm->section, core_names,
	    OPT_START, err);
	if (a->inst == NULL)
		return -1;
	a->ops = mod_ops(a->inst);
	if (a->ops->offer == NULL || a->ops->start == NULL || a->ops->step == NULL ||
	    a->ops->end == NULL)
		return err_set(err, "%s: it has no server's side", mod_name(a->inst));
	mod_req_limit(a->inst, UINT32_MAX); /* sessions are bounded, and each has one */
	a->trusted = trusted_names(set->trusted_mechanisms);
	a->flags = (uint32_t)(set->flags & (AUTH_F_TLS_ONLY - 1)) | META1_A_NOANONYMOUS;
	a->tls_only = set->flags & AUTH_F_TLS_ONLY;
	a->plaintext = set->flags & AUTH_F_PLAINTEXT;
	a->max_failures = set->max_failures;
	a->failure_delay = set->failure_delay;
	a->client_failures = set->max_client_failures;
	a->account_failures = set->max_account_failures;
	a->failure_window = set->failure_window;
	a->account_mails = set->max_mails;
	a->account_rcpts = set->max_rcpts;
	a->account_window = set->window;
	return 0;
}

void smtps_auth_open_end(struct smtps_auth **ap)
{
	struct smtps_auth *a = *ap;

	*ap = NULL;
	if (a == NULL)
		return;
	if (a->inst != NULL)
		mod_close(&a->inst);
	free(a->trusted);
	free(a);
}
