/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_socket.c -- asks a server: netstrings "MAPNAME KEY" out, "OK value", "NOTFOUND",
 * "NOMORE", "TEMP why", "TIMEOUT why" or "PERM why" in; over a unix socket or TCP.
 *
 * From the core's look-ups; to link.c (one connection, many questions on their way, answers in
 * their order). Owns the questions. On failure of a connection its questions are asked
 * once more at each of the other servers; when none is left they are temporary failures.
 */
#include "socket.h"

#include "../inst/inst.h"

#include <stdlib.h>
#include <string.h>

static const struct meta1_opt options[] = {
    META1_OPT_PATH(struct socket_conf, path, NULL, META1_O_QDIR | META1_O_MAYLACK,
	"Unix socket of the server."),
    META1_OPT_STR(
	struct socket_conf, address, NULL, 0, "IP address of the server, in place of a path."),
    META1_OPT_INT(struct socket_conf, port, "0", "0..65535", "Its port."),
    META1_OPT_LIST(struct socket_conf, fallback, "", 0,
	"Servers that are asked when the first cannot be: \"/path\", \"192.0.2.1:1234\" or "
	"\"[2001:db8::1]:1234\"."),
    META1_OPT_STR(struct socket_conf, mapname, NULL, META1_O_REQUIRED,
	"Name of the map at the server; without blanks."),
    META1_OPT_MSEC(struct socket_conf, timeout, "5s", "100ms..1m",
	"How long a connection or an answer may take before the next server is asked."),
    META1_OPT_MSEC(
	struct socket_conf, ttl, "1m", "0..1d", "How long an answer may be kept; 0: not at all."),
};

static int map_check(const void *conf, struct meta1_err *err)
{
	struct socket_server v[SOCKET_SERVERS];

	return socket_servers(conf, v, err) > 0 ? 0 : -1;
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct map *m = inst_new(host, ctx, sizeof(*m), err);

	if (!m)
		return -1;
	m->host = host;
	m->ctx = ctx;
	m->conf = conf;
	m->fd = -1;
	STAILQ_INIT(&m->asks);
	m->nserver = socket_servers(conf, m->server, err);
	if (m->nserver <= 0 || link_open(m) < 0) {
		if (m->nserver > 0)
			snprintf(err->text, sizeof(err->text), "no memory");
		host->free(ctx, m);
		return -1;
	}
	*inst = m;
	return 0;
}

static void finish(
    struct map *m, struct ask *a, enum meta1_status st, struct meta1_buf val, const char *why)
{
	struct meta1_reply r = {
	    .size = sizeof(r), .nval = st == META1_OK, .val = &val, .text = why};

	if (st == META1_OK || st == META1_NOTFOUND || st == META1_NOMORE)
		r.ttl = (uint32_t)(m->conf->ttl / 1000);
	STAILQ_REMOVE(&m->asks, a, ask, next);
	m->nask--;
	if (a->req)
		m->host->finish(a->req, st, &r);
	m->host->free(m->ctx, a);
}

void map_tempfail(struct map *m, struct ask *a, const char *why)
{
	finish(m, a, META1_TEMPFAIL, (struct meta1_buf){NULL, 0}, why);
}

/* ---- a reply ---- */

static const struct {
	const char *word;
	enum meta1_status st;
} words[] = {
    {"OK", META1_OK},
    {"NOTFOUND", META1_NOTFOUND},
    {"NOMORE", META1_NOMORE},
    {"TEMP", META1_TEMPFAIL},
    {"TIMEOUT", META1_TEMPFAIL},
    {"PERM", META1_PERMFAIL},
};

bool map_answered(struct map *m, const char *p, size_t n)
{
	const char *blank = memchr(p, ' ', n);
	size_t word = blank ? (size_t)(blank - p) : n, i;
	struct meta1_buf rest = {blank ? blank + 1 : p + n, blank ? n - word - 1 : 0};
	char why[300];

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].word) == word && memcmp(words[i].word, p, word) == 0)
			break;
	if (i == sizeof(words) / sizeof(words[0]))
		return false;
	snprintf(why, sizeof(why), "%s says %s%s%.*s", m->server[m->at].name, words[i].word,
	    rest.len > 0 ? " " : "", (int)(rest.len < 200 ? rest.len : 200),
	    (const char *)rest.data);
	finish(m, STAILQ_FIRST(&m->asks), words[i].st, rest, why);
	return true;
}

/* ---- a question ---- */

static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct map *m = inst;
	size_t name = strlen(m->conf->mapname);
	struct meta1_reply r = {.size = sizeof(r)};
	struct ask *a;

	if (key.len > SOCKET_KEY_MAX) { /* no server needs to be asked */
		m->host->finish(req, META1_NOTFOUND, &r);
		return;
	}
	a = m->nask < SOCKET_ASKS ? m->host->alloc(m->ctx, sizeof(*a) + name + key.len + 16) : NULL;
	if (!a) {
		r.text = "too many questions wait for the server";
		m->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	a->req = req;
	*m->host->req_slot(req) = a;
	a->len = (size_t)sprintf(a->text, "%zu:%s ", name + 1 + key.len, m->conf->mapname);
	if (key.len > 0)
		memcpy(a->text + a->len, key.data, key.len);
	a->len += key.len;
	a->text[a->len++] = ',';
	STAILQ_INSERT_TAIL(&m->asks, a, next);
	m->nask++;
	link_ask(m, a);
}

/* Its answer, when it comes, is for nobody; it must still be counted off. */
static void map_cancel(void *inst, struct meta1_req *req)
{
	struct map *m = inst;
	struct ask *a = *m->host->req_slot(req);

	a->req = NULL;
	m->host->finish(req, META1_CANCELED, NULL);
}

static void map_close(void *inst)
{
	struct map *m = inst;

	link_close(m);
	while (!STAILQ_EMPTY(&m->asks))
		map_tempfail(m, STAILQ_FIRST(&m->asks), "the map is closed");
	m->host->free(m->ctx, m);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = map_lookup, .cancel = map_cancel};

META1_MODULE(map_socket, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Asks a server by the socket map protocol.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct socket_conf),
    .check = map_check, .open = map_open, .close = map_close, .ops = &ops);
