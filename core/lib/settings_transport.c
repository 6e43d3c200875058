/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_transport.c -- the sections transport NAME of smtpc: ways out beside SMTP and LMTP,
 * which rows of the mailertable call by that name ("NAME:", and what the module is to be told).
 *
 * Comes from settings.c with the section; goes to struct set_transport, all else in it is the
 * module's to say. Owns nothing. On failure: messages in the conf.
 */
#include "settings_check.h"
#include "settings_records.h"

#include <strings.h>

/* It stands before a colon in a row: no word of the mailertable, no host with a port. */
static void check_name(struct conf *c, const struct conf_section *t)
{
	static const char *const taken[] = {"smtp", "lmtp"};
	const char *name = t->name;

	if (!name) {
		conf_error(c, &t->pos, "a transport needs a name: transport NAME { ... }");
		return;
	}
	if (name[0] < 'a' || name[0] > 'z' ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(name) ||
	    strlen(name) > SET_TRANSPORT_NAME)
		conf_error(c, &t->pos,
		    "section transport: found the name %.60s, expected a to z, 0 to 9, - and _, a "
		    "letter first, at most %d: it stands in rows of the mailertable, NAME:",
		    name, SET_TRANSPORT_NAME);
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		if (strcmp(name, taken[i]) == 0)
			conf_error(c, &t->pos,
			    "section transport: %s: is there without a section; its options stand "
			    "in smtpc, or in module transport_%s { }",
			    name, name);
}

void settings_transport_bind(
    struct conf *c, struct set_smtpc *set, enum opt_mode mode, const char *qdir)
{
	struct conf_section *sec = set->role.section, *t;
	struct set_transport *v;
	const char **names;
	unsigned n = 0;

	for (t = sec ? sec->sections : NULL; t; t = t->next)
		n += strcasecmp(t->keyword, "transport") == 0;
	v = set->transport = conf_alloc(c, (n + 1) * sizeof(*v));
	names = conf_alloc(c, (n + 1) * sizeof(*names));
	set->transport_names = names;
	set->ntransport = n;
	for (t = n ? sec->sections : NULL; t; t = t->next) {
		if (strcasecmp(t->keyword, "transport") != 0)
			continue;
		t->used = true;
		check_name(c, t);
		opt_bind(
		    c, t, rec_transport.opt, rec_transport.n, v, "smtpc.transport", mode, qdir);
		v->name = *names++ = t->name ? t->name : "";
		if (!v->module || !*v->module)
			v->module = v->name;
		v++->section = t;
	}
}
