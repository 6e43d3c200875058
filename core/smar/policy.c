/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy.c -- what one life of the configuration says: maps opened, options folded and
 * copied, the endpoints that are ourselves. From smar.c at start and reload; to check.c and
 * route.c, which hold a reference while a question runs.
 * Owns the map instances; the last reference drains and closes them.
 * On failure to open: nothing stays open and the error names the map.
 */
#include "smar/probe.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define DRAIN_MS 5000

/* ---- what is local ---- */
static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int fold_domain(const char *text, const char *what, char *out, struct meta1_err *err)
{
	if (addr_domain_key(buf_str(text), out, ADDR_DOMAIN_MAX + 1) < 0 ||
	    !addr_domain_ok(buf_str(out)))
		return err_set(err, "%s: \"%s\" is not a domain name", what, text);
	return 0;
}

static char **room_for(const char *const *list, unsigned *n)
{
	unsigned all = 0;

	while (list && list[all] && list[all][0])
		all++;
	*n = all;
	return base_alloc((all + 1) * sizeof(char *));
}

static int take_domains(
    const char *what, const char *const *list, char ***out, unsigned *nout, struct meta1_err *err)
{
	char folded[ADDR_DOMAIN_MAX + 1];
	unsigned n;

	*out = room_for(list, &n);
	for (unsigned i = 0; i < n; i++) {
		if (fold_domain(list[i], what, folded, err) < 0)
			return -1;
		(*out)[(*nout)++] = base_strdup(folded);
	}
	qsort(*out, *nout, sizeof(**out), compare);
	return 0;
}

static void take_folders(struct smar_policy *p, const char *const *list)
{
	p->include = room_for(list, &p->ninclude);
	for (unsigned i = 0; i < p->ninclude; i++)
		p->include[i] = base_strdup(list[i]);
}

static void take_transports(struct smar_policy *p, const char *const *list)
{
	p->transports = room_for(list, &p->ntransport);
	for (unsigned i = 0; i < p->ntransport; i++)
		p->transports[i] = base_strdup(list[i]);
}

/* ---- endpoints that are ourselves: an MX that leads there is cut ---- */
static void add_endpoint(struct smar_policy *p, int family, const void *ip, uint16_t port)
{
	struct smar_endpoint *e;

	p->listen = base_realloc(p->listen, (p->nlisten + 1) * sizeof(*e));
	e = &p->listen[p->nlisten++];
	memset(e, 0, sizeof(*e));
	e->family = family;
	e->port = port;
	memcpy(e->ip, ip, family == AF_INET ? 4 : 16);
}

static void add_every_address(struct smar_policy *p, int family, uint16_t port)
{
	struct ifaddrs *all, *i;

	if (getifaddrs(&all) < 0)
		return;
	for (i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != family)
			continue;
		if (family == AF_INET)
			add_endpoint(p, family,
			    &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, port);
		else
			add_endpoint(p, family,
			    &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr, port);
	}
	freeifaddrs(all);
}

static void take_listener(struct smar_policy *p, const struct set_listen *l)
{
	static const unsigned char any[16];
	unsigned char ip[16] = {0};
	int family = l->type == SOCK_INET6 ? AF_INET6 : AF_INET;

	if (l->type == SOCK_UNIX)
		return;
	if (l->address && inet_pton(family, l->address, ip) != 1)
		return;
	if (memcmp(ip, any, sizeof(any)) == 0) {
		add_every_address(p, family, (uint16_t)l->port);
		if (family == AF_INET6)
			add_every_address(p, AF_INET, (uint16_t)l->port);
	} else {
		add_endpoint(p, family, ip, (uint16_t)l->port);
	}
}

/* ---- maps ---- */
static struct meta1_req *ask_instance(
    struct smar_map *m, struct meta1_buf key, int64_t deadline, mod_done_fn fn, void *arg)
{
	return mod_map_lookup(m->inst, key, deadline, fn, arg);
}

static void take_map(struct smar_map *m, const struct settings *set, const char *name)
{
	const struct conf_option *file;

	for (unsigned i = 0; i < set->smar.nmap; i++) {
		if (strcmp(set->smar.map[i].name, name) != 0)
			continue;
		smar_map_cache(m, &set->smar.map[i]);
		file = conf_find(set->smar.map[i].section, "file");
		if (file && file->values)
			m->file = base_strdup(file->values->text);
	}
}

static int open_map(struct smar_policy *p, struct mod_host *host, struct settings *set,
    const struct settings_module *sm, struct meta1_err *err)
{
	struct smar_map *m = &p->map[p->nmap];
	struct meta1_err why = {""};

	m->inst = mod_use(host, sm, set, settings_core_names(sm->kind), &why);
	if (!m->inst)
		return err_set(err, "map %s: %s", sm->instance,
		    why.text[0] ? why.text : "its options have errors, see above");
	m->name = base_strdup(sm->instance);
	m->module = base_strdup(sm->module);
	m->lookup = ask_instance;
	m->loop = p->loop;
	take_map(m, set, sm->instance);
	p->nmap++;
	return 0;
}

static int open_maps(
    struct smar_policy *p, struct mod_host *host, struct settings *set, struct meta1_err *err)
{
	struct settings_module *sm = NULL;
	unsigned n = settings_modules(set, META1_SMAR, &sm);
	int rc = 0;

	p->map = base_alloc((n + 1) * sizeof(*p->map));
	for (unsigned i = 0; i < n && rc == 0; i++)
		if (strcmp(sm[i].kind, "map") == 0)
			rc = open_map(p, host, set, &sm[i], err);
	free(sm);
	return rc;
}

/* Where the sections that use maps put what they say. */
static const struct {
	const char *section;
	size_t off;
} uses[] = {
    [USE_ACCESS] = {"access", offsetof(struct smar_policy, access)},
    [USE_MAILERTABLE] = {"mailertable", offsetof(struct smar_policy, mailertable)},
    [USE_ALIASES] = {"aliases", offsetof(struct smar_policy, aliases)},
    [USE_LOCAL_USERS] = {"local_user_map", offsetof(struct smar_policy, local_users)},
    [USE_SENDER_ROUTES] = {"sender_routes", offsetof(struct smar_policy, sender_routes)},
    [USE_VIRTUAL] = {"virtual_aliases", offsetof(struct smar_policy, virtual_aliases)},
    [USE_TLS_POLICY] = {"tls_policy", offsetof(struct smar_policy, tls_policy)},
    [USES] = {"qmgr: conf", offsetof(struct smar_policy, limits)},
    [USES + 1] = {"greylisting: exempt", offsetof(struct smar_policy, grey_exempt)},
    [USES + 2] = {"recipient_probe: conf", offsetof(struct smar_policy, probe_conf)},
};

const struct smar_use *smar_policy_use(
    const struct smar_policy *p, unsigned i, const char **section)
{
	if (i >= ARRAY_LEN(uses))
		return NULL;
	*section = uses[i].section;
	return (const struct smar_use *)(const void *)((const char *)p + uses[i].off);
}

static int take_use(
    struct smar_policy *p, unsigned i, const struct set_use *set, struct meta1_err *err)
{
	struct smar_use *use = (struct smar_use *)(void *)((char *)p + uses[i].off);

	use->flags = (unsigned)set->flags;
	use->delimiters = p->delimiters;
	for (unsigned k = 0; set->name && k < p->nmap; k++)
		if (strcasecmp(p->map[k].name, set->name) == 0)
			use->map = &p->map[k];
	if (set->name && !use->map)
		return err_set(
		    err, "%s: there is no \"map %s { … }\" in smar", uses[i].section, set->name);
	return 0;
}

/* ---- the whole ---- */
static int fill(
    struct smar_policy *p, struct mod_host *host, struct settings *set, struct meta1_err *err)
{
	const char *socket = set->smtpc.LMTP_socket;

	p->loop = host->loop;
	p->client_names = set->smar.client_names;
	p->spf = set->smar.spf;
	p->dane = set->smar.dane;
	p->session_conf = set->smtpc.flags & SMTPC_F_SESSION_CONF;
	p->no_8bitmime = set->smtpc.no_8bitmime;
	p->rcpt_conf = set->smtpc.flags & SMTPC_F_RCPT_CONF;
	p->dnsbl = dnsbl_new(&set->smar);
	p->remote_port = (uint16_t)set->smtpc.remote_port;
	str_copy(p->delimiters, sizeof(p->delimiters), set->smar.address_delimiter);
	if (fold_domain(set->hostname, "hostname", p->hostname, err) < 0 ||
	    take_domains("local_domains", set->smar.local_domains, &p->local, &p->nlocal, err) <
		0 ||
	    take_domains("virtual_domains", set->smar.virtual_domains, &p->virtual_domains,
		&p->nvirtual, err) < 0 ||
	    take_domains("recipient_probe: domains", set->smar.probe.domains, &p->probed,
		&p->nprobed, err) < 0)
		return -1;
	take_folders(p, set->smar.alias_include);
	take_transports(p, set->smtpc.transport_names);
	if (socket && socket[0]) {
		int n = snprintf(p->lmtp_path, sizeof(p->lmtp_path), "%s%s%s",
		    socket[0] == '/' ? "" : set->queue_directory, socket[0] == '/' ? "" : "/",
		    socket);

		if (n >= (int)sizeof(p->lmtp_path) || strchr(p->lmtp_path, ' '))
			return err_set(err,
			    "LMTP_socket: \"%s\": the path of a unix socket has at "
			    "most 107 bytes and no blank",
			    socket);
	}
	for (unsigned i = 0; i < set->nsmtps; i++)
		for (unsigned k = 0; k < set->smtps[i].role.nlisten; k++)
			take_listener(p, &set->smtps[i].role.listen[k]);
	if (open_maps(p, host, set, err) < 0)
		return -1;
	for (unsigned i = 0; i < USES; i++)
		if (take_use(p, i, &set->smar.use[i], err) < 0)
			return -1;
	if (set->smar.greylisting.section)
		p->greylisting = &set->smar.greylisting;
	if (take_use(p, USES + 1, &set->smar.greylisting.exempt, err) < 0 ||
	    take_use(p, USES + 2, &set->smar.probe.conf, err) < 0)
		return -1;
	if (set->smar.probe.section && probe_gear_open(p, host, set, err) < 0)
		return -1;
	return take_use(p, USES, &set->qmgr.conf, err);
}

struct smar_policy *smar_policy_open(
    struct mod_host *host, struct settings *set, struct meta1_err *err)
{
	struct smar_policy *p = base_alloc(sizeof(*p));

	p->refs = 1;
	p->keeps = conf_ref(set->conf);
	work_owner_init(&p->include_work, 2);
	if (fill(p, host, set, err) < 0)
		smar_policy_close(&p);
	return p;
}

void smar_policy_flush(struct smar_policy *p)
{
	for (unsigned i = 0; p && i < p->nmap; i++)
		smar_map_flush(&p->map[i]);
}

void smar_policy_counts(struct smar_policy *p, const struct smar_policy *before)
{
	dnsbl_counts(p->dnsbl, before->dnsbl);
	for (unsigned i = 0; i < p->nmap; i++)
		for (unsigned k = 0; k < before->nmap; k++)
			if (strcmp(p->map[i].name, before->map[k].name) == 0)
				p->map[i].count = before->map[k].count;
}

struct smar_policy *smar_policy_ref(struct smar_policy *p)
{
	p->refs++;
	return p;
}

static void free_list(char **list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static void policy_free(struct smar_policy *p)
{
	for (unsigned i = 0; i < p->nmap; i++) {
		free(p->map[i].name);
		free(p->map[i].module);
		free(p->map[i].file);
	}
	free_list(p->local, p->nlocal);
	free_list(p->virtual_domains, p->nvirtual);
	free_list(p->include, p->ninclude);
	free_list(p->transports, p->ntransport);
	free_list(p->probed, p->nprobed);
	free(p->map);
	free(p->listen);
	dnsbl_free(&p->dnsbl);
	conf_free(&p->keeps);
	free(p);
}

void smar_policy_close(struct smar_policy **pp)
{
	struct smar_policy *p = *pp;

	*pp = NULL;
	if (!p)
		return;
	ensure(p->refs == 1);
	probe_gear_close(p, false);
	for (unsigned i = 0; i < p->nmap; i++)
		smar_map_end(&p->map[i]);
	/* The last opened may ask the others (a sequence): it goes first. */
	for (unsigned i = p->nmap; i > 0; i--)
		if (p->map[i - 1].inst)
			mod_close(&p->map[i - 1].inst);
	policy_free(p);
}

void smar_policy_unref(struct smar_policy **pp)
{
	struct smar_policy *p = *pp;

	*pp = NULL;
	if (!p || --p->refs > 0)
		return;
	probe_gear_close(p, true);
	for (unsigned i = 0; i < p->nmap; i++)
		smar_map_end(&p->map[i]);
	for (unsigned i = p->nmap; i > 0; i--)
		mod_retire(&p->map[i - 1].inst, DRAIN_MS);
	policy_free(p);
}
