/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_ldap.c -- a search in an LDAP directory, with the key quoted into filter and base.
 *
 * From the core's look-ups through netmap.c; to a server by libldap, whose searches and results are
 * asynchronous here: many are on their way on one connection, answers come in any order.
 * Values are those of the attributes, in the order in which the option names these, entry by
 * entry. Referrals are not followed. On failure: the connection is left.
 */
#include "../template/template.h"
#include "ldap_map.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#define DEPTH	  64
#define TEXT_MAX  8192 /* of a filter or a base with the key in it */
#define TURN_MOST 4096 /* messages in one turn */

static const struct meta1_opt options[] = {
    NETMAP_OPTIONS("LDAP servers: \"ldap://host\", \"ldap://192.0.2.1:389\", \"ldaps://host:636\" "
		   "or \"ldapi:///path/of/socket\".",
	"1"),
    META1_OPT_STR(struct ldap_conf, base, "", 0,
	"DN where the search begins; %s, %u and %d as in the filter."),
    META1_OPT_ENUM(struct ldap_conf, scope, "sub", "base|one|sub",
	"The base alone, the entries right below it, or all below it."),
    META1_OPT_STR(struct ldap_conf, filter, NULL, META1_O_REQUIRED,
	"Filter of RFC 4515: (&(objectClass=inetOrgPerson)(mail=%s)). %s is the key, %u its part "
	"before the @, %d the part behind it; all are quoted."),
    META1_OPT_LIST(struct ldap_conf, attributes, NULL, META1_O_REQUIRED,
	"Attributes whose values are the answer. An entry with none of them is not found."),
    META1_OPT_INT(struct ldap_conf, size_limit, "100", "1..10000",
	"Entries of an answer at most; more are a temporary failure."),
    META1_OPT_STR(struct ldap_conf, bind_dn, NULL, 0, "DN to bind as; without it nobody is named."),
    META1_OPT_PATH(struct ldap_conf, password_file, NULL, 0,
	"File with the password in its first line; others than its owner and group may not read "
	"it."),
    META1_OPT_BOOL(struct ldap_conf, start_tls, "no", "StartTLS on ldap:// servers."),
    META1_OPT_PATH(struct ldap_conf, ca_file, "/etc/ssl/certs/ca-certificates.crt", META1_O_MAYLACK,
	"Certificates that the server's must go back to; its name is checked."),
};

/* ---- a question ---- */

/* Everything but what is harmless in a filter and in a DN as \XX, which both read. */
static size_t quoted(const char *in, size_t len, char *out, size_t room)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)in[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || c == '.' || c == '@' || c == '-' ||
			     c == '_' || c == ':';

		if (n + 3 <= room && plain) {
			out[n] = in[i];
		} else if (n + 3 <= room) {
			out[n] = '\\';
			out[n + 1] = hex[c >> 4];
			out[n + 2] = hex[c & 15];
		} else {
			return room + 1;
		}
		n += plain ? 1 : 3;
	}
	return n;
}

static bool fill(const char *text, struct meta1_buf key, char out[TEXT_MAX])
{
	long n = template_fill(text, key, quoted, out, TEXT_MAX - 1);

	if (n >= 0)
		out[n] = '\0';
	return n >= 0;
}

static int search(
    LDAP *ld, const struct ldap_conf *c, const char *base, const char *filter, int *id)
{
	static const int scope[] = {LDAP_SCOPE_BASE, LDAP_SCOPE_ONELEVEL, LDAP_SCOPE_SUBTREE};

	return ldap_search_ext(ld, base, scope[c->scope], filter, (char **)(uintptr_t)c->attributes,
	    0, NULL, NULL, NULL, (int)c->size_limit, id);
}

static int ldap_ask(struct netmap_conn *c, struct netmap_ask *a, struct meta1_err *err)
{
	struct ldap_session *l = (struct ldap_session *)c;
	const struct ldap_conf *conf = (const struct ldap_conf *)c->map->conf;
	struct meta1_buf key = {a->key, a->len};
	char base[TEXT_MAX], filter[TEXT_MAX];
	int rc;

	if (!fill(conf->base, key, base) || !fill(conf->filter, key, filter)) {
		netmap_answer(a, META1_NOTFOUND, NULL); /* the key has no such part */
		return 0;
	}
	rc = search(l->ld, conf, base, filter, &a->id);
	return rc == LDAP_SUCCESS ? ldap_watch(l, err) : ldap_failed(l, "search: ", rc, err);
}

/* ---- an answer ---- */

static void take_entry(struct ldap_session *l, struct netmap_ask *a, LDAPMessage *msg)
{
	const struct ldap_conf *conf = (const struct ldap_conf *)l->c.map->conf;

	for (const char *const *at = conf->attributes; *at; at++) {
		struct berval **v = ldap_get_values_len(l->ld, msg, *at);

		for (int i = 0; v && v[i]; i++)
			netmap_value(a, v[i]->bv_val, v[i]->bv_len);
		if (v)
			ldap_value_free_len(v);
	}
}

/* The end of a search. A base that was made of the key may well not be there. */
static int take_end(
    struct ldap_session *l, struct netmap_ask *a, LDAPMessage *msg, struct meta1_err *err)
{
	const struct ldap_conf *conf = (const struct ldap_conf *)l->c.map->conf;
	char why[300], *more = NULL;
	int code = LDAP_OTHER, rc;

	rc = ldap_parse_result(l->ld, msg, &code, NULL, &more, NULL, NULL, 0);
	if (rc != LDAP_SUCCESS)
		code = rc;
	snprintf(why, sizeof(why), "%.100s says: %.60s%s%.100s", l->c.server->name,
	    ldap_err2string(code), more && *more ? ": " : "", more ? more : "");
	if (more)
		ldap_memfree(more);
	if (code == LDAP_BUSY || code == LDAP_UNAVAILABLE)
		return netmap_fail(err, "%s", ldap_err2string(code));
	if (code == LDAP_SUCCESS)
		netmap_answer(a, META1_OK, NULL);
	else if (code == LDAP_NO_SUCH_OBJECT && strchr(conf->base, '%'))
		netmap_answer(a, META1_NOTFOUND, NULL);
	else
		netmap_answer(a, META1_TEMPFAIL, why);
	return 0;
}

static int take(struct ldap_session *l, LDAPMessage *msg, struct meta1_err *err)
{
	int id = ldap_msgid(msg);
	struct netmap_ask *a;

	if (id == 0)
		return netmap_fail(err, "it ends the session");
	if (l->phase != LDAP_SERVES)
		return ldap_session_step(l, msg, err);
	TAILQ_FOREACH (a, &l->c.asks, next)
		if (a->id == id)
			break;
	if (!a)
		return netmap_fail(err, "it answers what was not asked");
	switch (ldap_msgtype(msg)) {
	case LDAP_RES_SEARCH_ENTRY:
		take_entry(l, a, msg);
		return 0;
	case LDAP_RES_SEARCH_REFERENCE:
		return 0;
	case LDAP_RES_SEARCH_RESULT:
		return take_end(l, a, msg, err);
	default:
		return netmap_fail(err, "its answer is not that of a search");
	}
}

int ldap_read(struct ldap_session *l, struct meta1_err *err)
{
	l->more = false;
	for (int n = 0; n < TURN_MOST; n++) {
		struct timeval now = {0, 0};
		LDAPMessage *msg = NULL;
		int rc = ldap_result(l->ld, LDAP_RES_ANY, LDAP_MSG_ONE, &now, &msg);

		if (rc == 0)
			return ldap_watch(l, err);
		if (rc < 0) {
			ldap_get_option(l->ld, LDAP_OPT_RESULT_CODE, &rc);
			return ldap_failed(l, "", rc, err);
		}
		rc = take(l, msg, err);
		ldap_msgfree(msg);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	l->more = true;
	return ldap_watch(l, err);
}

static int ldap_event(struct netmap_conn *c, short what, struct meta1_err *err)
{
	struct ldap_session *l = (struct ldap_session *)c;

	(void)what;
	return l->phase == LDAP_TCP ? ldap_session_connected(l, err) : ldap_read(l, err);
}

/* ---- the module ---- */

static int ldap_server(const char *text, struct netmap_server *s, struct meta1_err *err)
{
	static const struct {
		const char *scheme;
		uint16_t port;
		bool tls;
	} kind[] = {{"ldap://", 389, false}, {"ldaps://", 636, true}, {"ldapi://", 0, false}};
	char rest[200];
	size_t n, i;

	for (i = 0; i < 3 && strncmp(text, kind[i].scheme, strlen(kind[i].scheme)) != 0; i++)
		;
	n = i < 3 ? strlen(kind[i].scheme) : 0;
	if (i == 3 || strlen(text + n) >= sizeof(rest) || (kind[i].port == 0 && text[n] != '/'))
		return netmap_fail(err,
		    "server \"%.200s\": expected \"ldap://host\", \"ldaps://host:636\" or "
		    "\"ldapi:///path\"",
		    text);
	snprintf(rest, sizeof(rest), "%s", text + n);
	if (kind[i].port != 0)
		rest[strcspn(rest, "/")] = '\0';
	s->port = kind[i].port;
	s->tls = kind[i].tls;
	if (netmap_server(rest, s, err) < 0)
		return -1;
	snprintf(s->name, sizeof(s->name), "%s", text);
	return 0;
}

static const struct netmap_ops driver = {.conn_size = sizeof(struct ldap_session),
    .depth = DEPTH,
    .server = ldap_server,
    .connect = ldap_session_connect,
    .event = ldap_event,
    .ask = ldap_ask,
    .close = ldap_session_close};

/* libldap makes the request before it connects, so a bad filter is seen here; and there is nobody
 * to connect to. */
static int check_filter(const struct ldap_conf *c, struct meta1_err *err)
{
	char filter[TEXT_MAX];
	LDAP *ld = NULL;
	int rc, id;

	if (!fill(c->filter, (struct meta1_buf){"a@b", 3}, filter))
		return netmap_fail(err, "filter: it is too long");
	if (ldap_initialize(&ld, "ldapi://%2Fnonexistent%2Fnowhere") != LDAP_SUCCESS)
		return netmap_fail(err, "no memory");
	rc = search(ld, c, "", filter, &id);
	ldap_unbind_ext(ld, NULL, NULL);
	return rc != LDAP_FILTER_ERROR
		   ? 0
		   : netmap_fail(err, "filter: \"%.300s\": %s", c->filter, ldap_err2string(rc));
}

static int map_check(const void *conf, struct meta1_err *err)
{
	const struct ldap_conf *c = conf;
	struct netmap_server v[NETMAP_SERVERS];
	int n = netmap_servers(&driver, &c->net, v, err), places, more;

	if (n < 0 || (places = template_check(c->filter, "filter", err)) < 0 ||
	    (more = template_check(c->base, "base", err)) < 0)
		return -1;
	for (int i = 0; i < n; i++)
		if (v[i].tls && c->start_tls)
			return netmap_fail(err, "start_tls: \"%.200s\" is TLS already", v[i].name);
	if (places + more == 0)
		return netmap_fail(err, "filter: expected %%s, where the key goes");
	if (!c->attributes[0])
		return netmap_fail(err, "attributes: there is none");
	if (c->bind_dn && !c->password_file)
		return netmap_fail(err, "bind_dn: needs a password_file");
	return check_filter(c, err);
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	return netmap_open(
	    &driver, host, ctx, conf, ((const struct ldap_conf *)conf)->password_file, inst, err);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = netmap_lookup, .cancel = netmap_cancel};

META1_MODULE(map_ldap, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Asks an LDAP directory.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct ldap_conf),
    .check = map_check, .open = map_open, .close = netmap_close, .ops = &ops);
