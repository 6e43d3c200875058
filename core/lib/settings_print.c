/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_print.c -- the effective configuration in its own language, each line with its
 * origin as a comment; reading it again gives the same.
 *
 * Comes from settings.c's structs, for -VVVV; options of modules are shown as the
 * file has them, through the record that bound them. Owns nothing, never fails.
 */
#include "settings_records.h"

#include <stdio.h>
#include <strings.h>

struct printer {
	FILE *out;
	int depth;
	unsigned lines;
};

static void indent(const struct printer *p)
{
	for (int i = 0; i < p->depth; i++)
		fputc('\t', p->out);
}

static void open_section(struct printer *p, const char *keyword, const char *name)
{
	if (p->depth == 0 && p->lines)
		fputc('\n', p->out);
	p->lines++;
	indent(p);
	fputs(keyword, p->out);
	if (name) {
		fputc(' ', p->out);
		conf_quote(name, p->out);
	}
	fputs(" {\n", p->out);
	p->depth++;
}

static void close_section(struct printer *p)
{
	p->depth--;
	indent(p);
	fputs("}\n", p->out);
}

static void origin(const struct printer *p, const struct conf_option *o)
{
	if (o)
		fprintf(p->out, "\t# %s:%d\n", o->pos.file, o->pos.line);
	else
		fputs("\t# default\n", p->out);
}

static bool is_unset(const struct meta1_opt *rec, const void *field, const struct conf_option *o)
{
	if (rec->type == META1_STR || rec->type == META1_PATH)
		return !*(const char *const *)field;
	/* A number without a default is only there when it was said or computed. */
	return !o && !rec->def && rec->type == META1_INT && *(const int64_t *)field == 0;
}

static void print_records(
    struct printer *p, const struct settings_records *r, const void *base, struct conf_section *s)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct meta1_opt *rec = &r->opt[i];
		const void *field = (const char *)base + rec->off;
		const struct conf_option *o = conf_find(s, rec->name);
		indent(p);
		p->lines++;
		if (is_unset(rec, field, o)) {
			fprintf(p->out, "# %s is not set\n", rec->name);
			continue;
		}
		fprintf(p->out, "%s = ", rec->name);
		opt_write(rec, field, p->out);
		fputc(';', p->out);
		origin(p, o);
	}
}

/* An option that only the module knows; without its record a secret is guessed by name. */
static bool is_secret(const struct conf_option *o)
{
	return o->bound ? o->secret
			: strcasestr(o->name, "password") || strcasestr(o->name, "secret");
}

static void print_raw(struct printer *p, const struct conf_option *o)
{
	indent(p);
	fprintf(p->out, "%s = %s", o->name, o->is_list ? "{ " : "");
	for (const struct conf_value *v = o->values; v; v = v->next) {
		conf_quote(is_secret(o) ? "***" : v->text, p->out);
		fputs(v->next ? ", " : o->is_list ? " " : "", p->out);
	}
	fputs(o->is_list ? "};" : ";", p->out);
	origin(p, o);
}

/* What stands there and is a module's. */
static void print_others(
    struct printer *p, const struct settings_records *own, const struct conf_section *s)
{
	for (const struct conf_option *o = s->options; o; o = o->next) {
		bool known = false;
		for (size_t i = 0; own && i < own->n; i++)
			known = known || strcasecmp(own->opt[i].name, o->name) == 0;
		if (!known)
			print_raw(p, o);
	}
}

/* The section of a module: the core's records of it, then the rest as it was written. */
static void print_module(
    struct printer *p, const struct settings_records *own, const void *base, struct conf_section *s)
{
	open_section(p, s->keyword, s->name);
	if (own)
		print_records(p, own, base, s);
	print_others(p, own, s);
	for (struct conf_section *t = s->sections; t; t = t->next)
		print_module(p, NULL, NULL, t);
	close_section(p);
}

static void print_sub(struct printer *p, const char *keyword, const char *name,
    const struct settings_records *r, const void *base, struct conf_section *s)
{
	open_section(p, keyword, name);
	print_records(p, r, base, s);
	close_section(p);
}

static void print_auth(struct printer *p, const struct set_auth *set, struct conf_section *s)
{
	open_section(p, s->keyword, s->name);
	print_records(p, &rec_auth, set, s);
	print_others(p, &rec_auth, s);
	print_sub(p, "account_limits", NULL, &rec_account, set, set->account_limits);
	close_section(p);
}

static void print_common(struct printer *p, const struct set_role *role)
{
	struct conf_section *s = role->section;
	print_records(p, &rec_role, role, s);
	if (role->log.given)
		print_sub(p, "log", NULL, &rec_log, &role->log, conf_sub(s, "log", NULL));
	for (unsigned i = 0; i < role->nlisten; i++)
		print_sub(p, "listen_socket", role->listen[i].section->name, &rec_listen,
		    &role->listen[i], role->listen[i].section);
	for (struct conf_section *t = s ? s->sections : NULL; t; t = t->next)
		if (strcasecmp(t->keyword, "module") == 0)
			print_module(p, NULL, NULL, t);
}

static void print_mux(struct printer *p, const struct set_smtps *set)
{
	open_section(p, set->policy_milter->keyword, set->policy_milter->name);
	print_others(p, NULL, set->policy_milter);
	for (unsigned i = 0; i < set->nfilter; i++)
		print_module(p, &rec_filter, &set->filter[i], set->filter[i].section);
	close_section(p);
}

static void print_smtps(struct printer *p, const struct set_smtps *set)
{
	print_records(p, &rec_smtps, set, set->role.section);
	print_sub(p, "proxy_protocol", NULL, &rec_proxy, set, set->proxy_protocol);
	print_sub(p, "client_limits", NULL, &rec_client, set, set->client_limits);
	if (set->tls)
		print_sub(p, "tls", NULL, &rec_tls, &set->tls_set, set->tls);
	if (set->auth)
		print_auth(p, &set->auth_set, set->auth);
	if (set->mux)
		print_mux(p, set);
	else if (set->policy_milter)
		print_module(p, &rec_filter, set->filter, set->policy_milter);
}

static void print_smtpc(struct printer *p, const struct set_smtpc *set)
{
	print_records(p, &rec_smtpc, set, set->role.section);
	if (set->tls)
		print_sub(p, "tls", NULL, &rec_tls_client, &set->tls_set, set->tls);
	if (set->auth)
		print_sub(p, "auth", NULL, &rec_login, &set->login_set, set->auth);
	for (unsigned i = 0; i < set->ntransport; i++)
		print_module(p, &rec_transport, &set->transport[i], set->transport[i].section);
}

static void print_greylisting(struct printer *p, const struct set_greylisting *g)
{
	open_section(p, "greylisting", NULL);
	print_records(p, &rec_greylisting, g, g->section);
	if (g->exempt.name)
		print_sub(p, "exempt", NULL, &rec_lookup, &g->exempt,
		    conf_sub(g->section, "exempt", NULL));
	close_section(p);
}

static void print_probe(struct printer *p, const struct set_probe *s)
{
	open_section(p, "recipient_probe", NULL);
	print_records(p, &rec_probe, s, s->section);
	if (s->conf.name)
		print_sub(
		    p, "conf", NULL, &rec_lookup, &s->conf, conf_sub(s->section, "conf", NULL));
	close_section(p);
}

static void print_smar(struct printer *p, const struct set_smar *set)
{
	struct conf_section *s = set->role.section;
	print_records(p, &rec_smar, set, s);
	for (unsigned i = 0; i < set->nmap; i++)
		print_module(p, &rec_map, &set->map[i], set->map[i].section);
	for (unsigned i = 0; i < set->ndnsbl; i++)
		print_sub(p, "dnsbl", set->dnsbl[i].name, &rec_dnsbl, &set->dnsbl[i],
		    set->dnsbl[i].section);
	if (set->greylisting.section)
		print_greylisting(p, &set->greylisting);
	if (set->probe.section)
		print_probe(p, &set->probe);
	if (set->mta_sts.section)
		print_sub(p, "mta_sts", NULL, &rec_mta_sts, &set->mta_sts, set->mta_sts.section);
	if (set->tlsrpt.section)
		print_sub(p, "tlsrpt", NULL, &rec_tlsrpt, &set->tlsrpt, set->tlsrpt.section);
	for (size_t i = 0; i < USES; i++)
		if (conf_sub(s, set_use_kinds[i].keyword, NULL))
			print_sub(p, set_use_kinds[i].keyword, NULL, &rec_use, &set->use[i],
			    conf_sub(s, set_use_kinds[i].keyword, NULL));
}

static void print_qmgr(struct printer *p, const struct set_qmgr *set)
{
	struct conf_section *s = set->role.section;
	print_records(p, &rec_qmgr, set, s);
	print_sub(p, "smtpc", NULL, &rec_qmgr_smtpc, set, conf_sub(s, "smtpc", NULL));
	if (set->conf.name)
		print_sub(p, "conf", NULL, &rec_lookup, &set->conf, conf_sub(s, "conf", NULL));
	if (set->queue)
		print_module(p, &rec_queue, set, set->queue);
	else
		print_sub(p, "queue", NULL, &rec_queue, set, NULL);
}

static void print_role(struct printer *p, const struct set_role *role)
{
	open_section(p, role->keyword, role->name);
	print_common(p, role);
	if (strcmp(role->keyword, "smtps") == 0)
		print_smtps(p, (const struct set_smtps *)role);
	else if (strcmp(role->keyword, "smtpc") == 0)
		print_smtpc(p, (const struct set_smtpc *)role);
	else if (strcmp(role->keyword, "smar") == 0)
		print_smar(p, (const struct set_smar *)role);
	else
		print_qmgr(p, (const struct set_qmgr *)role);
	close_section(p);
}

void settings_print(struct settings *s, const char *role, void *stdio_file)
{
	struct printer p = {.out = stdio_file};
	struct conf_section *root = conf_root(s->conf);
	bool shown = false;
	print_records(&p, &rec_global, s, root);
	print_sub(&p, "control", NULL, &rec_control, s, conf_sub(root, "control", NULL));
	for (unsigned i = 0; i < s->nrole; i++) {
		if (role && strcmp(role, s->role[i]->keyword) != 0)
			continue;
		print_role(&p, s->role[i]);
		shown = true;
	}
	if (!role || shown)
		return;
	/* The file has no section for it: what it would run with. */
	const struct set_role *all[] = {
	    &s->smtps[0].role, &s->smtpc.role, &s->smar.role, &s->qmgr.role};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(role, all[i]->keyword) == 0)
			print_role(&p, all[i]);
}
