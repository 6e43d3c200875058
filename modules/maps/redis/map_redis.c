/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_redis.c -- a command to a Redis server, with the key in one of its words.
 *
 * From the core's look-ups through netmap.c; to a server. hiredis makes commands and reads replies;
 * the socket is ours, since its asynchronous part ends the process when a server says what it was
 * not asked. Many commands are on their way, answers come in their order.
 * Owns a connection's reader and what is to be written. On failure: the connection is left.
 */
#include "../netmap/netmap.h"
#include "../template/template.h"

#include <errno.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS	 16   /* of a command */
#define WORD_MAX 4096 /* bytes of one that has the key in it */
#define DEPTH	 64

struct conf {
	struct netmap_conf net;
	const char *const *command;
	const char *user, *password_file;
	int64_t database;
};
static const struct meta1_opt options[] = {
    NETMAP_OPTIONS(
	"Redis servers: \"/path\", \"host\", \"host:port\" or \"[2001:db8::1]:port\".", "1"),
    META1_OPT_LIST(struct conf, command, NULL, META1_O_REQUIRED,
	"Words of the command: { GET, \"alias:%s\" } or { HGET, aliases, \"%s\" }. %s is the key, "
	"%u its part before the @, %d the part behind it. Each element of a list that the server "
	"answers is a value."),
    META1_OPT_STR(struct conf, user, NULL, 0, "Name to log in with, on servers that have users."),
    META1_OPT_PATH(struct conf, password_file, NULL, 0,
	"File with the password in its first line; others than its owner and group may not read "
	"it."),
    META1_OPT_INT(struct conf, database, "0", "0..65535", "Number of the database."),
};

struct redis {
	struct netmap_conn c; /* first */
	redisReader *reader;
	bool connecting;
	unsigned login;		       /* replies to come before it may be asked */
	char *out;		       /* written in part */
	size_t nout, sent, cap, taken; /* taken: bytes received for the answer under way */
};

/* ---- reading: hiredis' objects, no list longer than an answer may be ---- */

#if HIREDIS_MAJOR < 1
typedef int array_size;
#else
typedef size_t array_size;
#endif
static void *(*make_array)(const redisReadTask *, array_size);

static void *bounded_array(const redisReadTask *t, array_size n)
{
	return (size_t)n <= VALUES_MOST ? make_array(t, n) : NULL;
}

static redisReader *reader_new(void)
{
	static redisReplyObjectFunctions bounded;
	redisReader *r = redisReaderCreate();

	if (!r)
		return NULL;
	if (!make_array) {
		bounded = *r->fn;
		make_array = bounded.createArray;
		bounded.createArray = bounded_array;
	}
	r->fn = &bounded;
	return r;
}

/* ---- writing ---- */

static int flush(struct redis *r, struct meta1_err *err)
{
	while (r->sent < r->nout) {
		ssize_t n = send(r->c.fd, r->out + r->sent, r->nout - r->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return netmap_watch(&r->c, r->c.fd, EV_READ | EV_WRITE) < 0
				   ? netmap_fail(err, "no memory")
				   : 0;
		if (n < 0)
			return netmap_fail(err, "%s", strerror(errno));
		r->sent += (size_t)n;
	}
	r->sent = r->nout = 0;
	return netmap_watch(&r->c, r->c.fd, EV_READ) < 0 ? netmap_fail(err, "no memory") : 0;
}

static int command(
    struct redis *r, int n, const char **word, const size_t *len, struct meta1_err *err)
{
	char *text = NULL;
	long long size = redisFormatCommandArgv(&text, n, word, len);

	if (size < 0)
		return netmap_fail(err, "no memory");
	if (r->nout + (size_t)size > r->cap) {
		size_t cap = (r->nout + (size_t)size) * 2;
		char *more = realloc(r->out, cap);

		if (!more) {
			redisFreeCommand(text);
			return netmap_fail(err, "no memory");
		}
		r->out = more;
		r->cap = cap;
	}
	memcpy(r->out + r->nout, text, (size_t)size);
	r->nout += (size_t)size;
	redisFreeCommand(text);
	return 0;
}

/* ---- log in ---- */

static int log_in(struct redis *r, struct meta1_err *err)
{
	const struct conf *conf = (const struct conf *)r->c.map->conf;
	const char *auth[3] = {"AUTH", conf->user, r->c.map->secret};
	const char *select[2] = {"SELECT", NULL}, *ping[1] = {"PING"};
	char number[24];

	if (conf->password_file && !conf->user)
		auth[1] = auth[2];
	if (conf->password_file) {
		if (command(r, conf->user ? 3 : 2, auth, NULL, err) < 0)
			return -1;
		r->login++;
	}
	snprintf(number, sizeof(number), "%lld", (long long)conf->database);
	select[1] = number;
	if (conf->database != 0) {
		if (command(r, 2, select, NULL, err) < 0)
			return -1;
		r->login++;
	}
	r->login++; /* says whether it serves at all */
	return command(r, 1, ping, NULL, err) < 0 ? -1 : flush(r, err);
}

static int redis_connect(struct netmap_conn *c, struct meta1_err *err)
{
	struct redis *r = (struct redis *)c;

	r->connecting = true;
	r->reader = reader_new();
	if (!r->reader)
		return netmap_fail(err, "no memory");
	return netmap_socket(c, err);
}

static void redis_close(struct netmap_conn *c)
{
	struct redis *r = (struct redis *)c;

	if (r->reader)
		redisReaderFree(r->reader);
	free(r->out);
}

/* ---- a question ---- */

static int redis_ask(struct netmap_conn *c, struct netmap_ask *a, struct meta1_err *err)
{
	struct redis *r = (struct redis *)c;
	const struct conf *conf = (const struct conf *)c->map->conf;
	struct meta1_buf key = {a->key, a->len};
	const char *word[WORDS];
	size_t len[WORDS], used = 0;
	char room[WORD_MAX];
	int n = 0;

	for (const char *const *w = conf->command; *w; w++, n++) {
		long got = template_fill(*w, key, template_plain, room + used, sizeof(room) - used);

		if (got < 0) { /* the key has no such part: there is no row for it */
			netmap_answer(a, META1_NOTFOUND, NULL);
			return 0;
		}
		word[n] = room + used;
		len[n] = (size_t)got;
		used += len[n];
	}
	return command(r, n, word, len, err) < 0 ? -1 : flush(r, err);
}

/* ---- a reply ---- */

static const char *take_value(struct netmap_ask *a, const redisReply *v, bool inner)
{
	char number[24];

	switch (v->type) {
	case REDIS_REPLY_NIL:
		return NULL;
	case REDIS_REPLY_STRING:
	case REDIS_REPLY_STATUS:
		netmap_value(a, v->str, (size_t)v->len);
		return NULL;
	case REDIS_REPLY_INTEGER:
		netmap_value(
		    a, number, (size_t)snprintf(number, sizeof(number), "%lld", v->integer));
		return NULL;
	case REDIS_REPLY_ARRAY:
		for (size_t i = 0; !inner && i < v->elements; i++) {
			const char *bad = take_value(a, v->element[i], true);

			if (bad)
				return bad;
		}
		return inner ? "a list within a list" : NULL;
	default:
		return v->type == REDIS_REPLY_ERROR ? v->str : "a kind of value that is unknown";
	}
}

/* Errors of the server as a whole, not of the command. */
static bool away(const redisReply *v)
{
	static const char *const word[] = {
	    "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN", "BUSY ", "ERR max number of clients"};

	for (size_t i = 0; v->type == REDIS_REPLY_ERROR && i < sizeof(word) / sizeof(word[0]); i++)
		if (strncmp(v->str, word[i], strlen(word[i])) == 0)
			return true;
	return false;
}

static int answered(struct redis *r, const redisReply *v, struct meta1_err *err)
{
	struct netmap_ask *a = TAILQ_FIRST(&r->c.asks);
	const char *bad;
	char why[200];

	if (away(v) || (r->login > 0 && v->type == REDIS_REPLY_ERROR))
		return netmap_fail(err, "it says: %.200s", v->str);
	if (r->login > 0) {
		if (--r->login == 0)
			netmap_ready(&r->c);
		return 0;
	}
	if (!a)
		return netmap_fail(err, "it answers what was not asked");
	bad = take_value(a, v, false);
	if (bad)
		snprintf(why, sizeof(why), "%.80s says: %.*s", r->c.server->name,
		    (int)strcspn(bad, "\r\n"), bad);
	netmap_answer(a, bad ? META1_TEMPFAIL : META1_OK, bad ? why : NULL);
	return 0;
}

static int take_replies(struct redis *r, struct meta1_err *err)
{
	void *v;
	int rc;

	for (;;) {
		if (redisReaderGetReply(r->reader, &v) != REDIS_OK)
			return netmap_fail(
			    err, "what it says is no Redis protocol: %.100s", r->reader->errstr);
		if (!v)
			return 0;
		r->taken = 0;
		rc = answered(r, v, err);
		freeReplyObject(v);
		if (rc < 0)
			return -1;
	}
}

static int redis_event(struct netmap_conn *c, short what, struct meta1_err *err)
{
	struct redis *r = (struct redis *)c;
	char in[16384];
	ssize_t n;

	if (r->connecting) {
		if (netmap_connected(c, err) < 0)
			return -1;
		r->connecting = false;
		return log_in(r, err);
	}
	if (what & EV_WRITE)
		return flush(r, err);
	n = recv(c->fd, in, sizeof(in), 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return 0;
	if (n <= 0)
		return netmap_fail(err, "%s", n < 0 ? strerror(errno) : "it closed the connection");
	r->taken += (size_t)n;
	if (r->taken > NETMAP_BYTES)
		return netmap_fail(err, "the answer is too long");
	if (redisReaderFeed(r->reader, in, (size_t)n) != REDIS_OK)
		return netmap_fail(err, "no memory");
	return take_replies(r, err);
}

/* ---- the module ---- */

static const struct netmap_ops driver = {.conn_size = sizeof(struct redis),
    .depth = DEPTH,
    .port = 6379,
    .connect = redis_connect,
    .event = redis_event,
    .ask = redis_ask,
    .close = redis_close};

static int map_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;
	int n = 0, places = 0, got;

	for (; c->command && c->command[n]; n++) {
		got = template_check(c->command[n], "command", err);
		if (got < 0)
			return -1;
		places += got;
	}
	if (n < 2 || n > WORDS)
		return netmap_fail(err, "command: expected 2 to %d words", WORDS);
	if (places == 0 || strchr(c->command[0], '%'))
		return netmap_fail(
		    err, "command: expected %%s in a word after the first: the key goes there");
	if (c->user && !c->password_file)
		return netmap_fail(err, "user: needs a password_file");
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

META1_MODULE(map_redis, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Asks a Redis server.", .opt = options, .nopt = sizeof(options) / sizeof(options[0]),
    .sizeof_conf = sizeof(struct conf), .check = map_check, .open = map_open, .close = netmap_close,
    .ops = &ops);
