/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_check.c -- rules that need more than one option, or more than a type, to judge.
 *
 * Comes from settings.c, a section at a time, after binding; goes back as messages
 * in the conf. Owns nothing.
 */
#include "settings_check.h"

#include "hop_conf.h"
#include "netlist.h"
#include "settings_records.h"
#include "snippet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* Where an option of a section stands; the section itself when it is a default. */
static const struct conf_pos *where(struct conf_section *s, const char *option)
{
	const struct conf_option *o = conf_find(s, option);
	return o ? o->values ? &o->values->pos : &o->pos : s ? &s->pos : NULL;
}

void check_global(struct conf *c, struct conf_section *root, const struct settings *s)
{
	static const char good[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
	size_t n = strspn(s->hostname, good);
	if (n == 0 || n > 255 || s->hostname[n])
		conf_error(c, conf_find(root, "hostname") ? where(root, "hostname") : NULL,
		    "option hostname: found %.60s, expected a host name of letters, digits, '-' "
		    "and "
		    "'.'; set hostname",
		    s->hostname);
	/* sun_path has 108 bytes, the longest name in the folder is shorter than 20. */
	if (strlen(s->run_directory) > 88)
		conf_error(c, where(root, "run_directory"),
		    "option run_directory: %zu bytes are too long for the sockets in it, at most "
		    "88",
		    strlen(s->run_directory));
}

static void check_log(struct conf *c, const struct set_role *role, const char *owner)
{
	static const char *const known[] = {"mail", "daemon", "user", "auth", "authpriv", "local0",
	    "local1", "local2", "local3", "local4", "local5", "local6", "local7"};
	struct conf_section *log = conf_sub(role->section, "log", NULL);
	const char *f = role->log.facility;
	if (!f)
		return;
	if (role->log.file)
		conf_error(
		    c, where(log, "file"), "%s.log: facility and file exclude each other", owner);
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcasecmp(f, known[i]) == 0)
			return;
	const char *near = conf_nearest(f, known, ARRAY_LEN(known));
	conf_error(c, where(log, "facility"), "%s.log: unknown syslog facility %.40s%s%s%s", owner,
	    f,
	    near ? "; did you mean "
		 : ", expected mail, daemon, user, auth, authpriv or local0 to local7",
	    near ? near : "", near ? "?" : "");
}

void check_role(struct conf *c, const struct set_role *role, const char *owner)
{
	struct conf_section *s = role->section;
	if (!s)
		return;
	bool one = strcmp(role->keyword, "smar") == 0 || strcmp(role->keyword, "qmgr") == 0;
	check_log(c, role, owner);
	if (role->processes > 1 && one)
		conf_error(c, where(s, "processes"),
		    "%s: only smtps and smtpc run as several processes", owner);
	if (role->processes > 1 && role->pass_fd_socket)
		conf_error(c, where(s, "pass_fd_socket"),
		    "%s: pass_fd_socket serves one process, and processes is %lld; remove it",
		    owner, (long long)role->processes);
	if (role->start_action != START_WAIT && !role->nlisten)
		conf_error(c, where(s, "start_action"),
		    "%s: this start_action needs a listen_socket section", owner);
	if (role->nlisten && strcmp(role->keyword, "smtps") != 0)
		conf_error(c, &role->listen[0].pos, "%s: only smtps has a listen_socket", owner);
}

void check_tls(struct conf *c, struct conf_section *t, const char *owner, const struct set_tls *set)
{
	const char *const *cert = set->cert_file, *const *key = set->key_file;

	for (; cert && key && *cert && *key; cert++, key++)
		;
	if ((cert && *cert) || (key && *key))
		conf_error(c, where(t, cert && *cert ? "cert_file" : "key_file"),
		    "%s: cert_file and key_file name different numbers of files; each certificate "
		    "has its key",
		    owner);
	else if (!set->cert_file || !*set->cert_file)
		conf_error(c, &t->pos, "%s: a server needs cert_file and key_file", owner);
}

void check_listen(struct conf *c, struct set_listen *ls, const char *owner)
{
	struct conf_section *s = ls->section;
	bool is_unix = ls->type == SOCK_UNIX;
	static const char *const only_unix[] = {"path", "umask", "user", "group"};
	static const char *const only_inet[] = {"address", "port"};
	if (is_unix && !ls->path)
		conf_error(c, &s->pos, "%s: a unix socket needs a path", owner);
	if (!is_unix && !ls->port)
		ls->port = 25;
	const char *const *wrong = is_unix ? only_inet : only_unix;
	for (size_t i = 0; i < (is_unix ? ARRAY_LEN(only_inet) : ARRAY_LEN(only_unix)); i++)
		if (conf_find(s, wrong[i]))
			conf_error(c, &conf_find(s, wrong[i])->pos,
			    "%s: %s is for type %s, this is %s", owner, wrong[i],
			    is_unix ? "inet and inet6" : "unix",
			    is_unix		     ? "unix"
			    : ls->type == SOCK_INET6 ? "inet6"
						     : "inet");
	unsigned char bin[16];
	if (!is_unix && ls->address &&
	    inet_pton(ls->type == SOCK_INET6 ? AF_INET6 : AF_INET, ls->address, bin) != 1)
		conf_error(c, where(s, "address"), "%s: found %.60s, expected an %s address%s",
		    owner, ls->address, ls->type == SOCK_INET6 ? "IPv6" : "IPv4",
		    ls->type == SOCK_INET && strchr(ls->address, ':') ? "; IPv6 is type = inet6"
								      : "");
	if (ls->umask && (strspn(ls->umask, "01234567") != strlen(ls->umask) || !*ls->umask ||
			     strtol(ls->umask, NULL, 8) > 0777))
		conf_error(c, where(s, "umask"), "%s: found umask %.20s, expected octal 000 to 777",
		    owner, ls->umask);
}

const char *settings_kind(const char *module)
{
	static const char *const kinds[] = {"map", "transport", "auth", "pmilter", "queue"};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t n = strlen(kinds[i]);
		if (strncmp(module, kinds[i], n) == 0 && module[n] == '_' && module[n + 1])
			return kinds[i];
	}
	return NULL;
}

void check_module_section(struct conf *c, const struct conf_section *s)
{
	if (!s->name || !settings_kind(s->name))
		conf_error(c, &s->pos,
		    "section module: found %s, expected a module's name: map_, transport_, auth_, "
		    "pmilter_ or queue_ and what it does",
		    s->name ? s->name : "no name");
}

/* 192.0.2.1, 192.0.2.1:53, 2001:db8::1, [2001:db8::1], [2001:db8::1]:53 */
static bool is_nameserver(const char *text)
{
	char host[64];
	unsigned char bin[16];
	const char *p = text, *port = NULL;
	if (inet_pton(AF_INET6, text, bin) == 1)
		return true;
	bool brackets = *p == '[';
	p += brackets;
	size_t n = strcspn(p, brackets ? "]" : ":");
	if (n >= sizeof(host))
		return false;
	memcpy(host, p, n);
	host[n] = 0;
	p += n;
	if (brackets && *p++ != ']')
		return false;
	if (*p == ':')
		port = p + 1;
	else if (*p)
		return false;
	if (inet_pton(brackets ? AF_INET6 : AF_INET, host, bin) != 1)
		return false;
	return !port || (*port && strlen(port) <= 5 && strspn(port, "0123456789") == strlen(port) &&
			    atoi(port) > 0 && atoi(port) <= 65535);
}

void check_nameservers(
    struct conf *c, struct conf_section *smar, const char *option, const char *const *list)
{
	const struct conf_option *o = conf_find(smar, option);
	const struct conf_value *v = o ? o->values : NULL;
	for (size_t i = 0; list && list[i]; i++) {
		if (!is_nameserver(list[i]))
			conf_error(c, v ? &v->pos : NULL,
			    "smar: option %s: found %.60s, expected an address such as "
			    "192.0.2.1, \"192.0.2.1:53\" or \"[2001:db8::1]:53\"",
			    option, list[i]);
		v = v ? v->next : NULL;
	}
}

void check_greylisting(struct conf *c, const struct set_greylisting *g)
{
	if (g->grey_expire <= g->grey_wait)
		conf_error(c, &g->section->pos,
		    "greylisting: grey_expire (%lld s) is not longer than grey_wait (%lld s): "
		    "nobody "
		    "could ever come again in time",
		    (long long)g->grey_expire / 1000, (long long)g->grey_wait / 1000);
}

void check_recipient_probe(struct conf *c, const struct set_probe *p)
{
	const char *at = strrchr(p->sender, '@');

	if (!p->routes && !(p->domains && p->domains[0]) && !p->conf.name)
		conf_error(c, &p->section->pos,
		    "recipient_probe: nobody would be probed: expected routes, domains, or a map "
		    "by "
		    "conf { name = …; }");
	if (p->positive_stale < p->positive_ttl)
		conf_error(c, &p->section->pos,
		    "recipient_probe: positive_stale (%lld s) is shorter than positive_ttl (%lld "
		    "s)",
		    (long long)p->positive_stale / 1000, (long long)p->positive_ttl / 1000);
	if (p->sender[0] && (!at || at == p->sender || !at[1] || strlen(p->sender) > 254 ||
				strpbrk(p->sender, " \t<>")))
		conf_error(c, &p->section->pos,
		    "recipient_probe: option sender: found %.80s, expected an address without <>",
		    p->sender);
}

/* A tag is what stands before the colon of a key. */
void check_dnsbl(struct conf *c, const struct set_dnsbl *d)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-_";

	if (strspn(d->tag, letters) != strlen(d->tag) || strlen(d->tag) > 40)
		conf_error(c, &d->section->pos,
		    "dnsbl %s: option tag: found %.60s, expected letters, digits, - and _, at most "
		    "40: a key of the access map is tag:127.0.0.2",
		    d->name, d->tag);
	if (d->domain &&
	    (strspn(d->domain, letters) + strspn(d->domain, ".") == 0 || strlen(d->domain) > 180 ||
		strstr(d->domain, "..") || d->domain[0] == '.'))
		conf_error(c, &d->section->pos,
		    "dnsbl %s: option domain: found %.60s, expected a domain name of at most 180 "
		    "bytes",
		    d->name, d->domain);
}

void check_networks(
    struct conf *c, struct conf_section *s, const char *option, const char *const *list)
{
	const struct conf_option *o = conf_find(s, option);
	const struct conf_value *v = o ? o->values : NULL;
	struct net net;
	for (size_t i = 0; list && list[i]; i++) {
		if (!netlist_parse(list[i], &net))
			conf_error(c, v ? &v->pos : NULL,
			    "option %s: found %.60s, expected " NETLIST_FORM, option, list[i]);
		v = v ? v->next : NULL;
	}
}

void check_map_name(struct conf *c, const struct set_smar *set, struct conf_section *use,
    const char *owner, const char *name)
{
	const char **names = base_alloc((set->nmap + 1) * sizeof(*names));
	bool found = false;
	for (unsigned i = 0; i < set->nmap; i++) {
		names[i] = set->map[i].name;
		found = found || strcmp(names[i], name) == 0;
	}
	const char *near = conf_nearest(name, names, set->nmap), *more, *sample;
	if (!found) {
		sample = snippet_with(c, conf_printf(c, "map %.60s {", name));
		more = near	? conf_printf(c, "did you mean %s?", near)
		       : sample ? conf_printf(c,
				      "conf.d/%s.conf.sample has one: meta1ctl module enable %s",
				      sample, sample)
				: "declare it: map NAME { type = ...; }";
		conf_error(
		    c, where(use, "name"), "%s: there is no map %.60s; %s", owner, name, more);
	}
	free(names);
}

void check_use(struct conf *c, const struct set_smar *set, struct conf_section *sec,
    const char *owner, const struct set_use *use, uint64_t allowed)
{
	const struct conf_option *o = conf_find(sec, "flags");
	if (use->name)
		check_map_name(c, set, sec, owner, use->name);
	for (const struct conf_value *v = o ? o->values : NULL; v; v = v->next) {
		uint64_t bit = opt_flag(&rec_use.opt[1], v->text);
		if (bit && !(bit & allowed))
			conf_error(c, &v->pos, "%s: the flag %.60s does nothing here; remove it",
			    owner, v->text);
	}
}

void check_access_is_asked(struct conf *c, const struct settings *s)
{
	struct conf_section *smar = s->smar.role.section;
	struct conf_section *access = smar ? conf_sub(smar, "access", NULL) : NULL;
	bool asked = s->smtpc.flags != 0;
	if (smar && asked && !access)
		conf_warn(c, where(s->smtpc.role.section, "flags"),
		    "smtpc: the flags session_conf and rcpt_conf ask the access map, and smar has "
		    "none: "
		    "write smar { access { name = MAP; } }");
	for (unsigned i = 0; smar && i < s->nsmtps; i++) {
		struct conf_section *smtps = s->smtps[i].role.section;
		uint64_t flags = s->smtps[i].flags & (SMTPS_F_ACCESS | SMTPS_F_SESSION_CONF);
		asked = asked || flags || !smtps;
		if (smtps && flags && !access)
			conf_warn(c, where(smtps, "flags"),
			    "smtps: the flag %s asks the access map, and smar has none: write smar "
			    "{ "
			    "access { name = MAP; } }",
			    flags & SMTPS_F_ACCESS ? "access" : "session_conf");
	}
	if (access && !asked)
		conf_warn(c, &access->pos,
		    "smar.access: no smtps section asks this map: write smtps { flags = { access "
		    "}; "
		    "}");
}

void check_delimiter(struct conf *c, struct conf_section *smar, const char *delimiter)
{
	static const char good[] = "+-=_~#!&^%";
	if (strlen(delimiter) > 7 || delimiter[strspn(delimiter, good)])
		conf_error(c, where(smar, "address_delimiter"),
		    "smar: address_delimiter: found \"%.20s\", expected at most 7 of %s", delimiter,
		    good);
}

static void check_reports(struct conf *c, const struct set_qmgr *set, struct conf_section *qmgr)
{
	static const char good[] = "%*+-./:=^_|~#";
	const char *d = set->verp_delimiters, *b = set->double_bounce;
	const char *at = b ? strrchr(b, '@') : NULL;

	if (d && (strlen(d) != 2 || strspn(d, good) != 2))
		conf_error(c, where(qmgr, "verp_delimiters"),
		    "option verp_delimiters: found %.20s, expected two of %s", d, good);
	if (b && *b && (!at || at == b || !at[1] || strpbrk(b, " \t<>\r\n")))
		conf_error(c, where(qmgr, "double_bounce"),
		    "option double_bounce: found %.60s, expected an address like "
		    "postmaster@example.org",
		    b);
	for (const char *const *l = set->verp_senders; l && *l; l++)
		if (strcmp(*l, "*") && !strchr(*l, '@'))
			conf_error(c, where(qmgr, "verp_senders"),
			    "option verp_senders: found %.60s, expected user@domain, @domain or *",
			    *l);
}

void check_smtpc(struct conf *c, const struct set_smtpc *set, struct conf_section *smtpc)
{
	const struct {
		const char *option, *value;
	} text[] = {{"helo_name", set->helo_name}, {"source_ipv4", set->source_ipv4},
	    {"source_ipv6", set->source_ipv6}};
	struct meta1_err err;

	for (size_t i = 0; i < ARRAY_LEN(text); i++)
		if (text[i].value && hop_conf_text(text[i].option, text[i].value, &err) < 0)
			conf_error(c, where(smtpc, text[i].option), "smtpc: option %s: %s",
			    text[i].option, err.text);
}

void check_qmgr(struct conf *c, const struct set_qmgr *set, struct conf_section *qmgr,
    struct conf_section *limits)
{
	if (set->initial_connections > set->max_connections)
		conf_error(c,
		    where(limits, conf_find(limits, "initial_connections") ? "initial_connections"
									   : "max_connections"),
		    "qmgr.smtpc: initial_connections (%lld) is more than max_connections (%lld)",
		    (long long)set->initial_connections, (long long)set->max_connections);
	if (set->min_retry_delay > set->max_retry_delay)
		conf_error(c,
		    where(qmgr,
			conf_find(qmgr, "min_retry_delay") ? "min_retry_delay" : "max_retry_delay"),
		    "qmgr: min_retry_delay is longer than max_retry_delay");
	check_reports(c, set, qmgr);
}

void check_dependencies(struct conf *c, const struct settings *s, const struct set_role *role)
{
	const struct conf_option *o = conf_find(role->section, "restart_dependencies");
	const char **names = base_alloc((4 + s->nsmtps) * sizeof(*names));
	size_t n = 0;
	static const char *const roles[] = {"smtps", "smtpc", "smar", "qmgr"};
	for (; n < ARRAY_LEN(roles); n++)
		names[n] = roles[n];
	for (unsigned i = 0; i < s->nsmtps; i++)
		if (s->smtps[i].role.name)
			names[n++] = s->smtps[i].role.name;
	for (const struct conf_value *v = o ? o->values : NULL; v; v = v->next) {
		bool found = false;
		for (size_t i = 0; i < n; i++)
			found = found || strcasecmp(names[i], v->text) == 0;
		if (found)
			continue;
		const char *near = conf_nearest(v->text, names, n);
		conf_error(c, &v->pos, "%s: restart_dependencies: there is no section %.60s%s%s%s",
		    role->keyword, v->text, near ? "; did you mean " : "", near ? near : "",
		    near ? "?" : "");
	}
	free(names);
}
