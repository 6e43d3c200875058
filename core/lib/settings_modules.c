/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_modules.c -- which modules a configuration asks for. The one place of the core
 * that names a module.
 *
 * Comes from settings.c's structs; goes to role.c and mcp's check, which load
 * them (core/mod). Owns nothing; a module that is not installed is the loader's
 * message.
 */
#include "settings_check.h"
#include "settings_records.h"

#include <stdlib.h>
#include <strings.h>

/* Names in a configuration that are not the module's: kind, what it says, module. */
static const char *const defaults[][3] = {
    {"map", "hash", "map_gdbm"}, /* MeTA1's name for a file made by createmap */
};

static const char *module_of(struct conf *c, const char *kind, const char *what)
{
	for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
		if (strcmp(kind, defaults[i][0]) == 0 && strcasecmp(what, defaults[i][1]) == 0)
			return defaults[i][2];
	char *s = conf_printf(c, "%s_%s", kind, what);
	for (char *p = s; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p += 'a' - 'A';
	return s;
}

bool settings_map_of_lines(const struct set_map *m)
{
	return m->type && (strcasecmp(m->type, "text") == 0 || strcasecmp(m->type, "cidr") == 0);
}

struct list {
	struct settings *s;
	struct settings_module *v;
	unsigned n;
};

static struct settings_module *add(struct list *l, const char *use, const char *kind,
    const char *what, const char *instance, struct conf_section *sec,
    const struct conf_section *asker)
{
	l->v = base_realloc(l->v, (l->n + 1) * sizeof(*l->v));
	struct settings_module *m = &l->v[l->n++];
	*m = (struct settings_module){
	    .use = use, .kind = kind, .instance = instance, .section = sec};
	m->module = module_of(l->s->conf, kind, what);
	if (asker)
		m->pos = asker->pos;
	return m;
}

static void apart(struct settings_module *m, const struct set_isolate *iso)
{
	m->isolate = iso->on ? iso : NULL;
}

/* module NAME { }: options of the modules of that name, from the first on. false: there is none. */
static bool give(struct list *l, unsigned first, struct conf_section *t)
{
	bool taken = false;

	for (unsigned i = first; t->name && i < l->n; i++) {
		if (strcmp(l->v[i].module, t->name) != 0)
			continue;
		taken = true;
		if (!l->v[i].section)
			l->v[i].section = t;
	}
	return taken;
}

/* module NAME { }: options for what is loaded anyway, or a module that nothing else names. */
static void add_named(struct list *l, const struct set_role *role)
{
	for (struct conf_section *t = role->section ? role->section->sections : NULL; t;
	     t = t->next) {
		const char *kind = t->name ? settings_kind(t->name) : NULL;
		if (strcasecmp(t->keyword, "module") != 0 || !kind)
			continue;
		if (!give(l, 0, t))
			add(l, conf_printf(l->s->conf, "%s: module %s", role->keyword, t->name),
			    kind, t->name + strlen(kind) + 1, t->name + strlen(kind) + 1, t, t);
	}
}

static void add_queue(struct list *l)
{
	struct set_qmgr *q = &l->s->qmgr;
	add(l, conf_printf(l->s->conf, "qmgr: queue { type = %s; }", q->queue_type), "queue",
	    q->queue_type, "queue", q->queue, q->queue ? q->queue : q->role.section);
}

/* mux is no module: its filters have one each. */
static void add_filters(struct list *l, const struct set_smtps *set)
{
	const char *use = "smtps: policy_milter";

	for (unsigned i = 0; i < set->nfilter; i++) {
		const struct set_filter *f = &set->filter[i];
		if (set->mux)
			use = conf_printf(l->s->conf, "smtps: filter %s", f->name);
		apart(add(l, use, "pmilter", f->module, f->name, f->section, f->section), &f->iso);
	}
}

static void add_smtps(struct list *l)
{
	for (unsigned i = 0; i < l->s->nsmtps; i++) {
		add_filters(l, &l->s->smtps[i]);
		if (l->s->smtps[i].auth)
			apart(add(l, "smtps: auth", "auth", l->s->smtps[i].auth_set.module, "auth",
				  l->s->smtps[i].auth, l->s->smtps[i].auth),
			    &l->s->smtps[i].auth_set.iso);
		add_named(l, &l->s->smtps[i].role);
	}
}

/* Where mail may go by, for smtpc, and for smar when it asks next hops about recipients. */
static void add_transports(struct list *l)
{
	struct set_smtpc *c = &l->s->smtpc;
	add(l, "smtpc", "transport", "smtp", "smtp", NULL, c->role.section);
	if (c->LMTP_socket)
		add(l, "smtpc: LMTP_socket", "transport", "lmtp", "lmtp", NULL, c->role.section);
	else if (l->s->smar.use[USE_MAILERTABLE].name)
		add(l, "smar: mailertable", "transport", "lmtp", "lmtp", NULL, c->role.section);
}

static void add_smtpc(struct list *l)
{
	struct set_smtpc *c = &l->s->smtpc;
	const char *const *m = c->auth ? c->login_set.modules : NULL;
	add_transports(l);
	for (unsigned i = 0; i < c->ntransport; i++)
		apart(add(l, conf_printf(l->s->conf, "smtpc: transport %s", c->transport[i].name),
			  "transport", c->transport[i].module, c->transport[i].name,
			  c->transport[i].section, c->transport[i].section),
		    &c->transport[i].iso);
	for (; m && *m; m++)
		apart(add(l, "smtpc: auth", "auth", *m, *m, NULL, c->auth), &c->login_set.iso);
	add_named(l, &l->s->smtpc.role);
}

/* With the options that smtpc's section gives them: a hop is spoken to as it is for mail. */
static void add_probe(struct list *l)
{
	struct set_role *smtpc = &l->s->smtpc.role;
	unsigned first = l->n;

	add_transports(l);
	for (struct conf_section *t = smtpc->section ? smtpc->section->sections : NULL; t;
	     t = t->next)
		if (strcasecmp(t->keyword, "module") == 0)
			give(l, first, t);
}

static void add_smar(struct list *l)
{
	struct set_smar *m = &l->s->smar;
	for (unsigned i = 0; i < m->nmap; i++)
		if (m->map[i].type)
			apart(add(l, conf_printf(l->s->conf, "smar: map %s", m->map[i].name), "map",
				  m->map[i].type, m->map[i].name, m->map[i].section,
				  m->map[i].section),
			    &m->map[i].iso);
	if (m->probe.section)
		add_probe(l);
	add_named(l, &m->role);
}

unsigned settings_modules(struct settings *s, enum meta1_role role, struct settings_module **out)
{
	struct list l = {.s = s};
	if (role & (META1_SMTPS | META1_SMTPC | META1_QMGR))
		add_queue(&l);
	if (role & META1_SMTPS)
		add_smtps(&l);
	if (role & META1_SMTPC)
		add_smtpc(&l);
	if (role & META1_SMAR)
		add_smar(&l);
	if (role & META1_QMGR)
		add_named(&l, &s->qmgr.role);
	*out = l.v;
	return l.n;
}
