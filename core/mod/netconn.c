/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netconn.c -- stream connections of modules, struct meta1_conn_ops.
 * Comes from modules (transports) through the table; goes to lib/conn.c.
 * Owns struct meta1_conn and the conn in it until close() or the instance's close, and the
 * instance's reference to a TLS context. On failure: gone(), once, never inside a call of the
 * module.
 */
#include "lib/tls.h"
#include "mod/inst.h"

#include <stdlib.h>

#define LINE_LIMIT 4096
#define PEEK_MAX   65536
#define PEEK_LIMIT ((size_t)1 << 20)
#define SHAKE_MS   60000 /* for a handshake of TLS as a whole */

static void on_connected(void *arg)
{
	struct meta1_conn *c = arg;

	if (c->ev->connected)
		c->ev->connected(c->arg);
}

static void on_input(void *arg)
{
	struct meta1_conn *c = arg;

	if (!c->ended)
		c->ev->input(c->arg);
}

static void on_end(void *arg, enum conn_end how, const char *why)
{
	struct meta1_conn *c = arg;

	(void)how;
	if (c->ended)
		return;
	c->ended = true;
	c->ev->gone(c->arg, why);
}

static void on_secured(void *arg)
{
	struct meta1_conn *c = arg;
	const struct tls_info *i = c->ended ? NULL : conn_tls_info(c->conn);

	if (i && c->addr && c->in->tls_seen)
		c->in->tls_seen(c->in->tls_seen_arg, c->addr, c->port, i);
	if (!c->ended)
		c->ev->secured(c->arg);
}

static void line_too_long(void *arg)
{
	struct meta1_conn *c = arg;

	c->ev->gone(c->arg, "the peer sent a line of more than 4096 bytes");
}

static const struct conn_events events = {
    .connected = on_connected, .input = on_input, .end = on_end, .secured = on_secured};

static void conn_free(struct meta1_conn *c)
{
	free(c->need);
	free(c->addr);
	free(c);
}

/* What TLS must achieve there; false: nobody can say, so nothing is to go there. */
static bool take_need(struct meta1_conn *c, const struct meta1_hop *hop, struct meta1_err *err)
{
	struct meta1_err why;

	if (!META1_HAS(hop, tls_need) || !hop->tls_need)
		return true;
	c->need = base_alloc(sizeof(*c->need));
	if (tls_need_parse(buf_str(hop->tls_need), c->need, &why) == 0)
		return true;
	err_set(err, "what TLS must achieve: %.200s", why.text);
	return false;
}

static struct meta1_conn *net_open(struct meta1_ctx *ctx, const struct meta1_hop *hop,
    int64_t timeout, const struct meta1_conn_events *ev, void *arg, struct meta1_err *err)
{
	struct mod_inst *in = inst_of(ctx);
	struct sockaddr_storage ss;
	struct meta1_conn *c;
	socklen_t len;

	if (hop->port > 65535 || conn_addr(hop->addr, (uint16_t)hop->port, &ss, &len) < 0) {
		err_set(err, "%.200s port %u: not an address", hop->addr, hop->port);
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		err_set(err, "no memory");
		return NULL;
	}
	*c = (struct meta1_conn){.in = in, .loop = in->host->loop, .ev = ev, .arg = arg};
	task_init(&c->gone, line_too_long, c);
	c->addr = in->tls_seen ? base_strdup(hop->addr) : NULL;
	c->port = hop->port;
	if (take_need(c, hop, err))
		c->conn = conn_connect(in->host->loop, (struct sockaddr *)&ss, len,
		    META1_HAS(hop, source) && ss.ss_family != AF_UNIX ? hop->source : NULL, timeout,
		    &events, c, err);
	if (!c->conn) {
		conn_free(c);
		return NULL;
	}
	c->unix_socket = ss.ss_family == AF_UNIX;
	if (META1_HAS(hop, login) && hop->login) {
		c->login = base_strdup(hop->login);
		c->host = base_strdup(hop->host);
	}
	LIST_INSERT_HEAD(&in->conns, c, link);
	return c;
}

static struct meta1_buf net_line(struct meta1_conn *c)
{
	bool too_long = false;
	size_t len = 0;
	char *line = NULL;

	if (!task_pending(&c->gone))
		line = conn_line(c->conn, false, LINE_LIMIT, &len, &too_long, NULL);
	if (too_long && !c->ended) {
		c->ended = true;
		conn_pause(c->conn, true);
		loop_defer(c->loop, &c->gone);
	}
	return buf_of(line, len);
}

static struct meta1_buf net_peek(struct meta1_conn *c)
{
	struct evbuffer *in = conn_in(c->conn);
	size_t n = evbuffer_get_length(in);

	conn_limit(c->conn, PEEK_LIMIT);
	if (n > PEEK_MAX)
		n = PEEK_MAX;
	return buf_of(n ? evbuffer_pullup(in, (ev_ssize_t)n) : NULL, n);
}

static void net_take(struct meta1_conn *c, size_t n)
{
	conn_consume(c->conn, n);
}

static void net_write(struct meta1_conn *c, const void *p, size_t n)
{
	if (!c->ended)
		conn_write(c->conn, p, n);
}

static void net_send(struct meta1_conn *c, const struct meta1_extent *e, uint32_t n)
{
	for (; n && !c->ended; n--, e++)
		if (e->mem)
			conn_ref(c->conn, e->mem, e->len);
		else
			conn_file(c->conn, e->fd, e->off, e->len);
}

static void net_timeout(struct meta1_conn *c, int64_t ms)
{
	if (!c->ended)
		conn_timeout(c->conn, ms);
}

static size_t net_unsent(struct meta1_conn *c)
{
	return conn_unsent(c->conn);
}

static int net_starttls(struct meta1_conn *c, const char *name, struct meta1_err *err)
{
	struct tls_want want = {.name = name, .need = c->need};
	size_t more = c->ended ? 0 : evbuffer_get_length(conn_in(c->conn)), dropped;

	if (!c->in->tls || c->ended)
		return err_set(err, c->ended ? "the connection is gone" : "there is no TLS here");
	if (more)
		return err_set(
		    err, "the peer sent %zu bytes behind its reply to STARTTLS in plain", more);
	return conn_starttls(c->conn, c->in->tls, &want, SHAKE_MS, &dropped, err);
}

static int net_tls(struct meta1_conn *c, struct meta1_tls *out)
{
	const struct tls_info *i = c->ended ? NULL : conn_tls_info(c->conn);
	struct meta1_tls all;

	if (!i)
		return c->in->tls ? 0 : -1;
	all = (struct meta1_tls){.size = out->size,
	    .bits = (uint32_t)i->bits,
	    .version = i->version,
	    .cipher = i->cipher,
	    .trusted = i->cert == TLS_CERT_GOOD,
	    .named = i->named,
	    .why = i->cert == TLS_CERT_NONE ? "no certificate" : i->why,
	    .subject = i->subject,
	    .issuer = i->issuer,
	    .accepted = i->accepted,
	    .how = i->how,
	    .refused = i->refused,
	    .result = i->result};
	memcpy(out, &all, out->size < sizeof(all) ? out->size : sizeof(all));
	return 1;
}

static const char *net_source(struct meta1_conn *c)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (c->unix_socket || c->ended ||
	    getsockname(conn_fd(c->conn), (struct sockaddr *)&ss, &len) < 0)
		return NULL;
	conn_addr_text((struct sockaddr *)&ss, c->source, sizeof(c->source));
	return c->source;
}

/* TLS stands, and the peer is who it should be. */
bool mod_conn_proven(const struct meta1_conn *c)
{
	const struct tls_info *i = conn_tls_info(c->conn);
	const struct tls_need *n = c->need;

	if (!i)
		return false;
	if (i->cert == TLS_CERT_GOOD && i->named)
		return true;
	return n && i->accepted &&
	       (n->word == TLS_NEED_VERIFY || n->word == TLS_NEED_FINGERPRINT ||
		   (n->word == TLS_NEED_DANE && tls_need_usable(n)));
}

static void net_close(struct meta1_conn **cp)
{
	struct meta1_conn *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	LIST_REMOVE(c, link);
	mod_conn_login_drop(c);
	task_cancel(&c->gone);
	conn_close(&c->conn);
	conn_free(c);
}

void mod_conn_drop(struct mod_inst *in)
{
	struct meta1_conn *c;

	while ((c = in->conns.lh_first))
		net_close(&c);
	tls_ctx_free(&in->tls);
}

void mod_tls(struct mod_inst *in, struct tls_ctx *tls)
{
	tls_ctx_free(&in->tls);
	in->tls = tls_ctx_ref(tls);
}

void mod_tls_seen(struct mod_inst *in, mod_tls_seen_fn fn, void *arg)
{
	in->tls_seen = fn;
	in->tls_seen_arg = arg;
}

const struct meta1_conn_ops mod_conn_ops = {
    .size = sizeof(struct meta1_conn_ops),
    .open = net_open,
    .line = net_line,
    .write = net_write,
    .send = net_send,
    .timeout = net_timeout,
    .unsent = net_unsent,
    .close = net_close,
    .starttls = net_starttls,
    .tls = net_tls,
    .login = mod_conn_login,
    .login_step = mod_conn_login_step,
    .login_over = mod_conn_login_over,
    .peek = net_peek,
    .take = net_take,
    .source = net_source,
};
