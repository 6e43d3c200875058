/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_pgsql.c -- a query of a PostgreSQL database, with the key as its parameter $1.
 *
 * From the core's look-ups through netmap.c; to a server by libpq, which never blocks here: it gets
 * an address, not a name, and reads and writes when the loop says so; the steps of a log-in are
 * done on a worker thread. One query a connection at a time, so that a slow one delays nobody else;
 * several connections. Rows are taken one by one.
 * Owns the PGconn of a connection. On failure: the connection is left.
 */
#include "../netmap/netmap.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct conf {
	struct netmap_conf net;
	const char *conninfo, *query, *password_file;
};
static const struct meta1_opt options[] = {
    NETMAP_OPTIONS("PostgreSQL servers: \"host\", \"host:port\", \"[2001:db8::1]:port\", or the "
		   "folder of a unix socket, \"/run/postgresql\" or \"/run/postgresql:5433\".",
	"4"),
    META1_OPT_STR(struct conf, conninfo, "", 0,
	"How to connect, in libpq's words: \"dbname=mail user=meta1 sslmode=verify-full "
	"target_session_attrs=any\"; without hosts and passwords."),
    META1_OPT_STR(struct conf, query, NULL, META1_O_REQUIRED,
	"The query; the key is its parameter: SELECT target FROM aliases WHERE address = $1. Each "
	"column of each row is a value, a NULL is none."),
    META1_OPT_PATH(struct conf, password_file, NULL, 0,
	"File with the password in its first line; others than its owner and group may not read "
	"it."),
};

struct pgsql {
	struct netmap_conn c; /* first */
	PGconn *pg;
	PostgresPollingStatusType want; /* of the step that the worker did */
	size_t taken;			/* bytes received for the answer under way */
	enum meta1_status st;
	char why[250];
};

/* ---- connect ---- */

/* What the server says beside answers would go to standard error. */
static void notice(void *arg, const PGresult *res)
{
	(void)arg, (void)res;
}

static int failed(struct pgsql *p, struct meta1_err *err)
{
	const char *text = PQerrorMessage(p->pg);

	return netmap_fail(
	    err, "%.*s", (int)strcspn(text, "\n"), *text ? text : "the connection ended");
}

static int pgsql_connect(struct netmap_conn *c, struct meta1_err *err)
{
	struct pgsql *p = (struct pgsql *)c;
	const struct conf *conf = (const struct conf *)c->map->conf;
	const struct netmap_server *s = c->server;
	char addr[INET6_ADDRSTRLEN] = "", port[8];
	const char *key[12], *val[12];
	int n = 0;

	if (!s->path[0] && getnameinfo((const struct sockaddr *)&c->addr, c->addrlen, addr,
			       sizeof(addr), NULL, 0, NI_NUMERICHOST) != 0)
		return netmap_fail(err, "its address cannot be used");
	snprintf(port, sizeof(port), "%u", s->port);
#define SAY(k, v) (key[n] = (k), val[n++] = (v))
	SAY("client_encoding", "UTF8");
	SAY("gssencmode", "disable"); /* asks Kerberos, which may block */
	SAY("fallback_application_name", "meta1");
	SAY("dbname", conf->conninfo); /* its words stand before those that follow */
	SAY("host", s->path[0] ? s->path : s->host);
	if (addr[0])
		SAY("hostaddr", addr);
	SAY("port", port);
	if (conf->password_file)
		SAY("password", c->map->secret);
	key[n] = val[n] = NULL;
#undef SAY
	p->pg = PQconnectStartParams(key, val, 1);
	if (!p->pg)
		return netmap_fail(err, "no memory");
	if (PQstatus(p->pg) == CONNECTION_BAD)
		return failed(p, err);
	PQsetNoticeReceiver(p->pg, notice, NULL);
	return netmap_watch(c, PQsocket(p->pg), EV_WRITE) < 0 ? netmap_fail(err, "no memory") : 0;
}

/* On a worker thread: it never waits for the server, but the server says how long it computes (the
 * rounds of SCRAM, the keys of TLS). */
static void step(struct netmap_conn *c)
{
	struct pgsql *p = (struct pgsql *)c;

	p->want = PQconnectPoll(p->pg);
}

/* The descriptor may be another one after each step. */
static int stepped(struct netmap_conn *c, struct meta1_err *err)
{
	struct pgsql *p = (struct pgsql *)c;
	short what = p->want == PGRES_POLLING_WRITING ? EV_WRITE : EV_READ;

	if (p->want == PGRES_POLLING_FAILED)
		return failed(p, err);
	if (p->want == PGRES_POLLING_OK) {
		PQsetnonblocking(p->pg, 1);
		netmap_ready(&p->c);
	}
	return netmap_watch(&p->c, PQsocket(p->pg), what) < 0 ? netmap_fail(err, "no memory") : 0;
}

static void pgsql_close(struct netmap_conn *c)
{
	PQfinish(((struct pgsql *)c)->pg); /* may be NULL */
}

/* ---- a question ---- */

static int flush(struct pgsql *p, struct meta1_err *err)
{
	int left = PQflush(p->pg);

	if (left < 0)
		return failed(p, err);
	return netmap_watch(&p->c, PQsocket(p->pg), left ? EV_READ | EV_WRITE : EV_READ) < 0
		   ? netmap_fail(err, "no memory")
		   : 0;
}

static int pgsql_ask(struct netmap_conn *c, struct netmap_ask *a, struct meta1_err *err)
{
	struct pgsql *p = (struct pgsql *)c;
	const struct conf *conf = (const struct conf *)c->map->conf;
	const char *val = a->key; /* ends with a NUL, and has none in it */

	p->st = META1_OK;
	p->taken = 0;
	if (!PQsendQueryParams(p->pg, conf->query, 1, NULL, &val, NULL, NULL, 0))
		return failed(p, err);
	PQsetSingleRowMode(p->pg);
	return flush(p, err);
}

/* ---- an answer ---- */

static void take_rows(struct netmap_ask *a, const PGresult *res)
{
	for (int row = 0; row < PQntuples(res); row++)
		for (int col = 0; col < PQnfields(res); col++)
			if (!PQgetisnull(res, row, col))
				netmap_value(a, PQgetvalue(res, row, col),
				    (size_t)PQgetlength(res, row, col));
}

/* Errors that mean: such a key cannot be in the database. */
static bool no_such_key(const char *sqlstate)
{
	static const char *const state[] = {
	    "22021", /* no character of this encoding */
	    "22P02", /* no number, address, … as the column has */
	    "22P05", /* no such character in the database's encoding */
	};

	for (size_t i = 0; i < sizeof(state) / sizeof(state[0]); i++)
		if (strcmp(sqlstate, state[i]) == 0)
			return true;
	return false;
}

static void take_error(struct pgsql *p, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	p->st = state && no_such_key(state) ? META1_NOTFOUND : META1_TEMPFAIL;
	snprintf(p->why, sizeof(p->why), "%.80s says: %.*s", p->c.server->name,
	    (int)strcspn(text ? text : "", "\n"), text ? text : "");
}

/* <0: of no use any more. */
static int take_result(
    struct pgsql *p, struct netmap_ask *a, const PGresult *res, struct meta1_err *err)
{
	switch (PQresultStatus(res)) {
	case PGRES_SINGLE_TUPLE:
	case PGRES_TUPLES_OK:
		take_rows(a, res);
		return 0;
	case PGRES_FATAL_ERROR:
		if (PQstatus(p->pg) == CONNECTION_BAD)
			return failed(p, err);
		take_error(p, res);
		return 0;
	case PGRES_COMMAND_OK:
	case PGRES_EMPTY_QUERY:
		p->st = META1_TEMPFAIL;
		snprintf(p->why, sizeof(p->why), "the query gives no rows: expected a SELECT");
		return 0;
	default:
		return netmap_fail(err, "the query does not end in rows");
	}
}

static int take_results(struct pgsql *p, struct meta1_err *err)
{
	struct netmap_ask *a = TAILQ_FIRST(&p->c.asks);

	while (!PQisBusy(p->pg)) {
		PGresult *res = PQgetResult(p->pg);
		int rc;

		if (!res) {
			if (PQstatus(p->pg) == CONNECTION_BAD)
				return failed(p, err);
			if (a)
				netmap_answer(a, p->st, p->st == META1_TEMPFAIL ? p->why : NULL);
			return 0;
		}
		rc = a ? take_result(p, a, res, err)
		       : netmap_fail(err, "it answers what was not asked");
		PQclear(res);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int pgsql_event(struct netmap_conn *c, short what, struct meta1_err *err)
{
	struct pgsql *p = (struct pgsql *)c;
	int there = 0;

	if (!c->ready)
		return netmap_offload(c, PQsocket(p->pg), step, stepped, err);
	if (what & EV_WRITE)
		return flush(p, err);
	if (ioctl(PQsocket(p->pg), FIONREAD, &there) == 0 && there > 0)
		p->taken += (size_t)there;
	if (p->taken > NETMAP_BYTES)
		return netmap_fail(err, "the answer is too long");
	if (!PQconsumeInput(p->pg))
		return failed(p, err);
	return take_results(p, err);
}

/* ---- the module ---- */

/* "/folder" or "/folder:port"; libpq makes the socket's name of them. */
static int pgsql_server(const char *text, struct netmap_server *s, struct meta1_err *err)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);
	long port = s->port;
	char *rest = NULL;

	if (text[0] != '/')
		return netmap_server(text, s, err);
	if (colon) {
		port = strtol(colon + 1, &rest, 10);
		if (*rest != '\0' || port < 1 || port > 65535)
			return netmap_fail(
			    err, "server \"%.200s\": expected a port from 1 to 65535", text);
	}
	if (n + 20 >= sizeof(s->path))
		return netmap_fail(err, "server \"%.200s\": the folder's name is too long", text);
	memcpy(s->path, text, n);
	s->path[n] = '\0';
	s->port = (uint16_t)port;
	s->naddr = 1;
	snprintf(s->name, sizeof(s->name), "%s port %ld", s->path, port);
	return 0;
}

static const struct netmap_ops driver = {.conn_size = sizeof(struct pgsql),
    .depth = 1,
    .port = 5432,
    .text = true,
    .server = pgsql_server,
    .connect = pgsql_connect,
    .event = pgsql_event,
    .ask = pgsql_ask,
    .close = pgsql_close};

static int check_conninfo(const char *text, struct meta1_err *err)
{
	static const char *const not [] = {"host", "hostaddr", "port", "password"};
	char *why = NULL;
	PQconninfoOption *all = PQconninfoParse(text, &why), *o;
	int rc = 0;

	if (!all) {
		netmap_fail(err, "conninfo: %.*s", why ? (int)strcspn(why, "\n") : 0, why);
		PQfreemem(why);
		return -1;
	}
	for (o = all; o->keyword; o++)
		for (size_t i = 0; o->val && i < sizeof(not ) / sizeof(not [0]); i++)
			if (strcmp(o->keyword, not [i]) == 0)
				rc = netmap_fail(err, "conninfo: %s does not belong here; say %s",
				    not [i], i < 3 ? "servers" : "password_file");
	PQconninfoFree(all);
	return rc;
}

/* $1 is there, and no other. */
static int check_query(const char *q, struct meta1_err *err)
{
	int found = 0;

	for (const char *p = q; (p = strchr(p, '$')); p++) {
		if (p[1] < '0' || p[1] > '9')
			continue;
		if (p[1] != '1' || (p[2] >= '0' && p[2] <= '9'))
			return netmap_fail(
			    err, "query: the key is $1, there is no other parameter");
		found = 1;
	}
	return found ? 0
		     : netmap_fail(err,
			   "query: expected the parameter $1, which stands for the key: WHERE "
			   "address = $1");
}

static int map_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (check_conninfo(c->conninfo, err) < 0 || check_query(c->query, err) < 0)
		return -1;
	return netmap_servers(&driver, &c->net, NULL, err) < 0 ? -1 : 0;
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	return netmap_open(
	    &driver, host, ctx, conf, ((const struct conf *)conf)->password_file, inst, err);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = netmap_lookup, .cancel = netmap_cancel};

META1_MODULE(map_pgsql, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Asks a PostgreSQL server.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .check = map_check, .open = map_open, .close = netmap_close, .ops = &ops);
