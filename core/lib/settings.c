/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.c -- the whole configuration of the server: every section bound to its struct.
 *
 * Comes from conf.c's tree and the records (settings_records.h); what needs
 * more than one option to judge is in settings_check.c. Goes to every program.
 * Owns the conf; arrays live in it.
 * On failure: messages in the conf; the struct is whole with defaults all the same.
 */
#include "settings_check.h"
#include "settings_records.h"

#include <limits.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

struct loader {
	struct settings *s;
	struct conf *conf;
	enum opt_mode mode;
};

static void bind(struct loader *l, struct conf_section *sec, const struct settings_records *rec,
    void *base, const char *owner)
{
	if (sec)
		sec->used = true;
	opt_bind(l->conf, sec, rec->opt, rec->n, base, owner, l->mode, l->s->queue_directory);
}

static const char *owner_of(struct loader *l, const struct conf_section *sec)
{
	const char *up = sec->parent && sec->parent->parent ? owner_of(l, sec->parent) : "";
	return conf_printf(l->conf, "%s%s%s%s%s", up, *up ? "." : "", sec->keyword,
	    sec->name ? " " : "", sec->name ? sec->name : "");
}

/* A section with records alone: bound, and nothing else may stand in it. */
static void bind_only(
    struct loader *l, struct conf_section *sec, const struct settings_records *rec, void *base)
{
	const char *owner = owner_of(l, sec);
	bind(l, sec, rec, base, owner);
	opt_unknown(l->conf, sec, owner, rec->opt, rec->n, NULL, 0);
}

/* The unnamed sub-section; a named one is an error. */
static struct conf_section *sub(struct loader *l, struct conf_section *sec, const char *keyword)
{
	for (struct conf_section *t = sec ? sec->sections : NULL; t; t = t->next) {
		if (strcasecmp(t->keyword, keyword) != 0 || !t->name)
			continue;
		t->used = true;
		conf_error(
		    l->conf, &t->pos, "section %s takes no name, found %s", t->keyword, t->name);
	}
	return conf_sub(sec, keyword, NULL);
}

static void bind_listen(struct loader *l, struct set_role *role)
{
	for (struct conf_section *t = role->section->sections; t; t = t->next)
		role->nlisten += strcasecmp(t->keyword, "listen_socket") == 0;
	role->listen = conf_alloc(l->conf, (role->nlisten + 1) * sizeof(*role->listen));
	unsigned n = 0;
	for (struct conf_section *t = role->section->sections; t; t = t->next) {
		if (strcasecmp(t->keyword, "listen_socket") != 0)
			continue;
		struct set_listen *ls = &role->listen[n++];
		bind_only(l, t, &rec_listen, ls);
		ls->section = t;
		ls->pos = t->pos;
		check_listen(l->conf, ls, owner_of(l, t));
	}
}

/* As mcp reads it: words, with quotes where a name has blanks. */
static const char *default_arguments(struct loader *l, const struct set_role *role)
{
	const char *quote = strpbrk(l->s->file, " \t\"") ? "'" : "";
	return conf_printf(l->conf, "%s%s%s -f %s%s%s", role->keyword, role->name ? " -s " : "",
	    role->name ? role->name : "", quote, l->s->file, quote);
}

/* sec NULL: the file has no such section. */
static void bind_role(
    struct loader *l, struct set_role *role, const char *keyword, struct conf_section *sec)
{
	struct settings *s = l->s;
	const char *owner = sec ? owner_of(l, sec) : keyword;
	role->keyword = keyword;
	role->name = sec ? sec->name : NULL;
	role->section = sec;
	bind(l, sec, &rec_role, role, owner);
	if (!conf_find(sec, "log_level"))
		role->log_level = s->log_level;
	if (!role->path)
		role->path = conf_printf(l->conf, "%s/%s", LIBEXECDIR, keyword);
	if (!role->arguments)
		role->arguments = default_arguments(l, role);
	struct conf_section *log = sub(l, sec, "log");
	if (log)
		bind_only(l, log, &rec_log, &role->log);
	else
		bind(l, NULL, &rec_log, &role->log, owner);
	role->log.given = log != NULL;
	if (!role->log.ident)
		role->log.ident = keyword;
	if (sec)
		bind_listen(l, role);
	for (struct conf_section *t = sec ? sec->sections : NULL; t; t = t->next) {
		if (strcasecmp(t->keyword, "module") != 0)
			continue;
		t->used = true; /* its options are the module's */
		check_module_section(l->conf, t);
	}
	check_role(l->conf, role, owner);
}

/* All options and sections that nobody took, against what the role knows. */
static void unknown_in_role(struct loader *l, struct conf_section *sec,
    const struct settings_records *own, const char *const *subs, size_t nsub)
{
	static const char *const common[] = {"log", "listen_socket", "module"};
	struct meta1_opt *all = base_alloc((rec_role.n + own->n) * sizeof(*all));
	const char **names = base_alloc((nsub + ARRAY_LEN(common)) * sizeof(*names));
	memcpy(all, rec_role.opt, rec_role.n * sizeof(*all));
	memcpy(all + rec_role.n, own->opt, own->n * sizeof(*all));
	memcpy(names, common, sizeof(common));
	memcpy(names + ARRAY_LEN(common), subs, nsub * sizeof(*names));
	opt_unknown(l->conf, sec, owner_of(l, sec), all, rec_role.n + own->n, names,
	    nsub + ARRAY_LEN(common));
	free(all);
	free(names);
}

/* ---- the four roles ---- */

static void bind_proxy(struct loader *l, struct set_smtps *set, struct conf_section *sec)
{
	struct conf_section *t = set->proxy_protocol = sub(l, sec, "proxy_protocol");
	if (t)
		bind_only(l, t, &rec_proxy, set);
	else
		bind(l, NULL, &rec_proxy, set, "smtps.proxy_protocol");
	check_networks(l->conf, t, "trusted", set->proxy_trusted);
	if (set->proxy_mode != PROXY_MODE_OFF && !(set->proxy_trusted && *set->proxy_trusted))
		conf_error(l->conf, &t->pos,
		    "%s: nobody is trusted to send a header; set trusted, or mode = off",
		    owner_of(l, t));
}

static void bind_clients(struct loader *l, struct set_smtps *set, struct conf_section *sec)
{
	struct conf_section *t = set->client_limits = sub(l, sec, "client_limits");

	if (t)
		bind_only(l, t, &rec_client, set);
	else
		bind(l, NULL, &rec_client, set, "smtps.client_limits");
	check_networks(l->conf, t, "exempt", set->client_exempt);
}

/* The names of a list as those of single files are read: under the configuration's folder. */
static void file_names(struct loader *l, const char *const *list)
{
	for (const char **v = (const char **)list; v && *v; v++)
		if (**v != '/')
			*v = conf_printf(l->conf, "%s/%s", conf_dir(l->conf), *v);
}

static void bind_tls(struct loader *l, struct set_smtps *set, struct conf_section *sec)
{
	struct conf_section *t = set->tls = sub(l, sec, "tls");

	if (t) {
		bind_only(l, t, &rec_tls, &set->tls_set);
		file_names(l, set->tls_set.cert_file);
		file_names(l, set->tls_set.key_file);
		file_names(l, set->tls_set.OCSP_file);
		check_tls(l->conf, t, owner_of(l, t), &set->tls_set);
	}
	for (unsigned i = 0; i < set->role.nlisten && !t; i++)
		if (set->role.listen[i].tls)
			conf_error(l->conf, &set->role.listen[i].pos,
			    "smtps.listen_socket: tls = yes needs a section tls with cert_file "
			    "and key_file");
}

static void bind_auth(struct loader *l, struct set_smtps *set, struct conf_section *sec)
{
	struct conf_section *t = set->auth = sub(l, sec, "auth");

	if (!t)
		return;
	bind(l, t, &rec_auth, &set->auth_set, owner_of(l, t));
	set->auth_set.account_limits = sub(l, t, "account_limits");
	if (set->auth_set.account_limits)
		bind_only(l, set->auth_set.account_limits, &rec_account, &set->auth_set);
	else
		bind(l, NULL, &rec_account, &set->auth_set, "smtps.auth.account_limits");
	if (!set->auth_set.trusted_mechanisms || !*set->auth_set.trusted_mechanisms)
		conf_warn(l->conf, &t->pos,
		    "%s: trusted_mechanisms is not set, so nothing is offered; name "
		    "mechanisms, such as { CRAM-MD5, SCRAM-SHA-256 }",
		    owner_of(l, t));
}

static void bind_smtps(struct loader *l, struct set_smtps *set, struct conf_section *sec)
{
	static const char *const subs[] = {
	    "proxy_protocol", "client_limits", "tls", "auth", "policy_milter"};
	bind_role(l, &set->role, "smtps", sec);
	bind(l, sec, &rec_smtps, set, sec ? owner_of(l, sec) : "smtps");
	check_networks(l->conf, sec, "xclient", set->xclient);
	check_networks(l->conf, sec, "verp_clients", set->verp_clients);
	bind_proxy(l, set, sec);
	bind_clients(l, set, sec);
	bind_tls(l, set, sec);
	bind_auth(l, set, sec);
	settings_filter_bind(l->conf, set, l->mode, l->s->queue_directory);
	if (sec)
		unknown_in_role(l, sec, &rec_smtps, subs, ARRAY_LEN(subs));
}

static void bind_smtpc(struct loader *l, struct set_smtpc *set, struct conf_section *sec)
{
	static const char *const subs[] = {"tls", "auth", "transport"};
	bind_role(l, &set->role, "smtpc", sec);
	bind(l, sec, &rec_smtpc, set, "smtpc");
	check_smtpc(l->conf, set, sec);
	struct conf_section *t = set->tls = sub(l, sec, "tls");
	if (t)
		bind_only(l, t, &rec_tls_client, &set->tls_set);
	else
		bind(l, NULL, &rec_tls_client, &set->tls_set, "smtpc.tls");
	file_names(l, set->tls_set.cert_file);
	file_names(l, set->tls_set.key_file);
	set->auth = sub(l, sec, "auth");
	if (set->auth)
		bind_only(l, set->auth, &rec_login, &set->login_set);
	settings_transport_bind(l->conf, set, l->mode, l->s->queue_directory);
	if (sec)
		unknown_in_role(l, sec, &rec_smtpc, subs, ARRAY_LEN(subs));
}

static void bind_maps(struct loader *l, struct set_smar *set, struct conf_section *sec)
{
	for (struct conf_section *t = sec->sections; t; t = t->next)
		set->nmap += strcasecmp(t->keyword, "map") == 0;
	set->map = conf_alloc(l->conf, (set->nmap + 1) * sizeof(*set->map));
	struct set_map *m = set->map;
	for (struct conf_section *t = sec->sections; t; t = t->next) {
		if (strcasecmp(t->keyword, "map") != 0)
			continue;
		bind(l, t, &rec_map, m, owner_of(l, t));
		if (!t->name)
			conf_error(l->conf, &t->pos, "a map needs a name: map NAME { ... }");
		m->name = t->name ? t->name : "";
		m->section = t;
		m++;
	}
}

static void bind_use(struct loader *l, const struct set_smar *set, const struct set_use_kind *kind,
    struct set_use *use, struct conf_section *smar)
{
	struct conf_section *t = sub(l, smar, kind->keyword);
	if (!t)
		return;
	bind_only(l, t, &rec_use, use);
	check_use(l->conf, set, t, owner_of(l, t), use, kind->flags);
}

static void bind_dnsbls(struct loader *l, struct set_smar *set, struct conf_section *sec)
{
	struct set_dnsbl *d;

	for (struct conf_section *t = sec->sections; t; t = t->next)
		set->ndnsbl += strcasecmp(t->keyword, "dnsbl") == 0;
	d = set->dnsbl = conf_alloc(l->conf, (set->ndnsbl + 1) * sizeof(*d));
	for (struct conf_section *t = sec->sections; t; t = t->next) {
		if (strcasecmp(t->keyword, "dnsbl") != 0)
			continue;
		bind_only(l, t, &rec_dnsbl, d);
		if (!t->name)
			conf_error(l->conf, &t->pos, "a DNS list needs a name: dnsbl NAME { ... }");
		d->name = t->name ? t->name : "";
		d->section = t;
		check_dnsbl(l->conf, d++);
	}
	if (set->ndnsbl > 32)
		conf_error(l->conf, &sec->pos, "smar: found %u dnsbl sections, expected at most 32",
		    set->ndnsbl);
}

static void bind_greylisting(struct loader *l, struct set_smar *set, struct conf_section *smar)
{
	static const char *const subs[] = {"exempt"};
	struct conf_section *t = sub(l, smar, "greylisting"), *exempt;
	const char *owner;

	if (!t)
		return;
	owner = owner_of(l, t);
	set->greylisting.section = t;
	bind(l, t, &rec_greylisting, &set->greylisting, owner);
	exempt = sub(l, t, "exempt");
	if (exempt) {
		bind_only(l, exempt, &rec_lookup, &set->greylisting.exempt);
		if (set->greylisting.exempt.name)
			check_map_name(l->conf, set, exempt, owner_of(l, exempt),
			    set->greylisting.exempt.name);
	}
	set->greylisting.exempt.flags = USE_F_DETAIL;
	check_greylisting(l->conf, &set->greylisting);
	opt_unknown(l->conf, t, owner, rec_greylisting.opt, rec_greylisting.n, subs, 1);
}

static void bind_probe(struct loader *l, struct set_smar *set, struct conf_section *smar)
{
	static const char *const subs[] = {"conf"};
	struct conf_section *t = sub(l, smar, "recipient_probe"), *conf;
	const char *owner;

	bind(l, t, &rec_probe, &set->probe, "smar.recipient_probe");
	if (!t)
		return;
	owner = owner_of(l, t);
	set->probe.section = t;
	conf = sub(l, t, "conf");
	if (conf) {
		bind_only(l, conf, &rec_lookup, &set->probe.conf);
		if (set->probe.conf.name)
			check_map_name(l->conf, set, conf, owner_of(l, conf), set->probe.conf.name);
	}
	check_recipient_probe(l->conf, &set->probe);
	opt_unknown(l->conf, t, owner, rec_probe.opt, rec_probe.n, subs, 1);
}

/* Sections that are there or not, and have options alone. */
static void bind_plain(struct loader *l, struct set_smar *set, struct conf_section *smar)
{
	struct conf_section *sts = set->mta_sts.section = sub(l, smar, "mta_sts");
	struct conf_section *rpt = set->tlsrpt.section = sub(l, smar, "tlsrpt");

	if (sts)
		bind_only(l, sts, &rec_mta_sts, &set->mta_sts);
	if (rpt)
		bind_only(l, rpt, &rec_tlsrpt, &set->tlsrpt);
}

static void bind_smar(struct loader *l, struct set_smar *set, struct conf_section *sec)
{
	const char *subs[USES + 6] = {
	    "map", "dnsbl", "greylisting", "recipient_probe", "mta_sts", "tlsrpt"};
	bind_role(l, &set->role, "smar", sec);
	bind(l, sec, &rec_smar, set, "smar");
	if (!sec)
		return;
	bind_maps(l, set, sec);
	bind_dnsbls(l, set, sec);
	bind_greylisting(l, set, sec);
	bind_probe(l, set, sec);
	bind_plain(l, set, sec);
	for (size_t i = 0; i < USES; i++) {
		subs[i + 6] = set_use_kinds[i].keyword;
		bind_use(l, set, &set_use_kinds[i], &set->use[i], sec);
	}
	check_delimiter(l->conf, sec, set->address_delimiter);
	check_nameservers(l->conf, sec, "nameserver", set->nameserver);
	check_nameservers(l->conf, sec, "trusted_nameserver", set->trusted_nameserver);
	unknown_in_role(l, sec, &rec_smar, subs, ARRAY_LEN(subs));
}

static void bind_qmgr(struct loader *l, struct set_qmgr *set, struct conf_section *sec)
{
	static const char *const subs[] = {"smtpc", "queue", "conf"};
	bind_role(l, &set->role, "qmgr", sec);
	bind(l, sec, &rec_qmgr, set, "qmgr");
	struct conf_section *limits = sub(l, sec, "smtpc");
	if (limits)
		bind_only(l, limits, &rec_qmgr_smtpc, set);
	else
		bind(l, NULL, &rec_qmgr_smtpc, set, "qmgr.smtpc");
	set->queue = sub(l, sec, "queue");
	bind(l, set->queue, &rec_queue, set, "qmgr.queue");
	struct conf_section *conf = sub(l, sec, "conf");
	if (conf)
		bind_only(l, conf, &rec_lookup, &set->conf);
	if (set->conf.name)
		check_map_name(l->conf, &l->s->smar, conf, "qmgr.conf", set->conf.name);
	check_qmgr(l->conf, set, sec, limits);
	if (sec)
		unknown_in_role(l, sec, &rec_qmgr, subs, ARRAY_LEN(subs));
}

/* ---- the whole ---- */

static void bind_global(struct loader *l, struct conf_section *root)
{
	struct settings *s = l->s;
	char host[256] = "localhost";
	opt_bind(l->conf, root, rec_global.opt, rec_global.n, s, "global", l->mode, NULL);
	if (!s->hostname) {
		if (gethostname(host, sizeof(host) - 1) < 0 || !*host)
			str_copy(host, sizeof(host), "localhost");
		s->hostname = conf_printf(l->conf, "%s", host);
	}
	struct conf_section *control = sub(l, root, "control");
	if (control)
		bind_only(l, control, &rec_control, s);
	else
		bind(l, NULL, &rec_control, s, "control");
	check_global(l->conf, root, s);
}

static void add_role(struct settings *s, struct set_role *role)
{
	s->role[s->nrole++] = role;
}

static void bind_roles(struct loader *l, struct conf_section *root)
{
	struct settings *s = l->s;
	unsigned n = 0, all = 0;
	for (struct conf_section *t = root->sections; t; t = t->next, all++)
		n += strcasecmp(t->keyword, "smtps") == 0;
	s->smtps = conf_alloc(l->conf, (n + 1) * sizeof(*s->smtps));
	s->role = conf_alloc(l->conf, (all + 1) * sizeof(*s->role));
	struct conf_section *smtpc = sub(l, root, "smtpc"), *smar = sub(l, root, "smar"),
			    *qmgr = sub(l, root, "qmgr");
	bind_smtpc(l, &s->smtpc, smtpc);
	bind_smar(l, &s->smar, smar);
	bind_qmgr(l, &s->qmgr, qmgr);
	for (struct conf_section *t = root->sections; t; t = t->next) {
		if (strcasecmp(t->keyword, "smtps") == 0) {
			bind_smtps(l, &s->smtps[s->nsmtps], t);
			add_role(s, &s->smtps[s->nsmtps++].role);
		} else if (t == smtpc) {
			add_role(s, &s->smtpc.role);
		} else if (t == smar) {
			add_role(s, &s->smar.role);
		} else if (t == qmgr) {
			add_role(s, &s->qmgr.role);
		}
	}
	if (!s->nsmtps)
		bind_smtps(l, &s->smtps[0], NULL);
}

static struct settings *load(struct conf *conf, const char *name, enum opt_mode mode)
{
	static const char *const subs[] = {"smtps", "smtpc", "smar", "qmgr", "control", "include"};
	struct settings *s = conf_alloc(conf, sizeof(*s));
	struct loader l = {s, conf, mode};
	struct conf_section *root = conf_root(conf);
	s->conf = conf;
	const char *slash = strrchr(name, '/');
	const char *dir = conf_dir(conf);
	s->file =
	    conf_printf(conf, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, slash ? slash + 1 : name);
	bind_global(&l, root);
	bind_roles(&l, root);
	opt_unknown(conf, root, "", rec_global.opt, rec_global.n, subs, ARRAY_LEN(subs));
	for (unsigned i = 0; i < s->nrole; i++)
		check_dependencies(conf, s, s->role[i]);
	check_isolate(conf, s);
	check_access_is_asked(conf, s);
	settings_filter_check(conf, s);
	return s;
}

struct settings *settings_load_packed(int fd, const char *file, enum opt_mode mode)
{
	return load(conf_read_packed(fd, file), file, mode);
}

struct settings *settings_load(const char *file, enum opt_mode mode)
{
	return settings_load_packed(-1, file, mode);
}

struct settings *settings_load_text(const char *name, const char *text, enum opt_mode mode)
{
	return load(conf_read_text(name, text), name, mode);
}

void settings_free(struct settings **sp)
{
	struct conf *conf = *sp ? (*sp)->conf : NULL;

	*sp = NULL;
	conf_free(&conf);
}
