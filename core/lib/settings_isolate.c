/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_isolate.c -- isolate in sections whose modules cannot run in a process of their own: it
 * is refused with the reason, never taken and left undone.
 *
 * Comes from settings.c when all sections are bound; goes back as messages in the conf. Owns
 * nothing.
 */
#include "settings_check.h"

#include <strings.h>

static const char *const options[] = {"isolate", "isolate_user", "isolate_memory"};

static const struct {
	const char *kind, *why;
} refused[] = {
    {"queue", "a queue store runs inside its roles: that a mail is safe when it is acknowledged is "
	      "its promise to them, and its files are theirs"},
    {"transport", "say it in a section of smtpc, transport NAME { module = ...; isolate = yes; }, "
		  "which rows of the mailertable call by NAME: the ways that have no section run "
		  "inside smtpc, with the credentials of next hops"},
    {"auth", "say it in the section of the mechanisms: auth { isolate = yes; }"},
    {"map", "say it in the section of the map: map NAME { isolate = yes; }"},
    {"pmilter", "say it in the section of the filter: policy_milter, or filter NAME"},
};

void check_not_isolated(struct conf *c, struct conf_section *s, const char *kind)
{
	const char *why = "";

	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (strcmp(refused[i].kind, kind) == 0)
			why = refused[i].why;
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		struct conf_option *o = s ? conf_find(s, options[i]) : NULL;

		if (!o || o->used)
			continue;
		o->used = true;
		conf_error(c, &o->pos, "%s%s%s: option %s: %s", s->keyword, s->name ? " " : "",
		    s->name ? s->name : "", options[i], why);
	}
}

/* Options of a process that there is not. */
static void check_idle(struct conf *c, struct conf_section *s, const struct set_isolate *iso)
{
	for (size_t i = 1; s && !iso->on && i < ARRAY_LEN(options); i++) {
		struct conf_option *o = conf_find(s, options[i]);

		if (o)
			conf_warn(c, &o->pos, "option %s is without effect: isolate is not set",
			    options[i]);
	}
}

static void check_role_modules(struct conf *c, struct conf_section *role)
{
	for (struct conf_section *t = role ? role->sections : NULL; t; t = t->next)
		if (strcasecmp(t->keyword, "module") == 0 && t->name && settings_kind(t->name))
			check_not_isolated(c, t, settings_kind(t->name));
}

void check_isolate(struct conf *c, struct settings *s)
{
	check_role_modules(c, s->smtpc.role.section);
	check_role_modules(c, s->smar.role.section);
	check_role_modules(c, s->qmgr.role.section);
	check_not_isolated(c, s->qmgr.queue, "queue");
	check_idle(c, s->smtpc.auth, &s->smtpc.login_set.iso);
	for (unsigned i = 0; i < s->smtpc.ntransport; i++)
		check_idle(c, s->smtpc.transport[i].section, &s->smtpc.transport[i].iso);
	for (unsigned i = 0; i < s->smar.nmap; i++)
		check_idle(c, s->smar.map[i].section, &s->smar.map[i].iso);
	for (unsigned i = 0; i < s->nsmtps; i++) {
		struct set_smtps *set = &s->smtps[i];

		check_role_modules(c, set->role.section);
		check_idle(c, set->auth, &set->auth_set.iso);
		for (unsigned k = 0; k < set->nfilter; k++)
			check_idle(c, set->filter[k].section, &set->filter[k].iso);
	}
}
