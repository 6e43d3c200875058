/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn.c -- stream connections in the kit: no socket, but two buffers between the module and who
 * plays the other end (peer.c, filter.c), or where there is nobody a server that runs (real.c).
 * Written once a loop turn; what the other end says comes whole or in pieces of any size; TLS is a
 * word of it. Comes from modules through struct meta1_conn_ops; goes to struct kit_far. Owns the
 * connection until close() or the instance's close. On failure: gone(), once, never inside a call
 * of the module.
 */
#include "host_priv.h"
#include "peer.h"

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_MAX_ 4096
#define WINDOW	  (128u << 10) /* bytes that a peer's kernel takes while the peer does not read */
#define SHAKE_MS  60000
#define PEEK_MAX  65536

struct meta1_conn {
	LIST_ENTRY(meta1_conn) link;
	struct kit_inst *in;
	const struct meta1_conn_events *ev;
	void *arg;
	struct kit_far *far; /* one of these; both NULL: not connected */
	struct kit_real *real;
	struct evbuffer *said; /* by the peer, on the wire */
	struct evbuffer *in_buf, *out;
	char *line;
	struct task step, push; /* what is on the wire; what the module wrote */
	struct watch *timer;
	int64_t timeout;
	size_t held; /* by the kernel of a peer that does not read */
	bool linked, connected, hung_up, ended, shaking, secured;
	char why[128]; /* hung_up: "" by the peer */
};

/* ---- events ---- */

static void gone(struct meta1_conn *c, const char *fmt, ...)
{
	struct kit_inst *in = c->in;
	struct kit_nap nap;
	char why[128];
	va_list ap;

	if (c->ended)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	c->ended = true;
	loop_rearm(c->timer, -1);
	kit_nap_begin(&nap);
	c->ev->gone(c->arg, why); /* which may close it */
	kit_nap_end(&nap, in);
}

static void moved(struct meta1_conn *c)
{
	if (!c->ended && c->connected)
		loop_rearm(c->timer, c->shaking ? SHAKE_MS : c->timeout > 0 ? c->timeout : -1);
}

static void on_timer(int fd, short what, void *arg)
{
	struct meta1_conn *c = arg;

	(void)fd, (void)what;
	gone(c, "%s timed out", c->connected ? "the peer" : "the connect");
}

/* One event a turn, as they came over the wire. */
static void step(void *arg)
{
	struct meta1_conn *c = arg;
	struct kit_inst *in = c->in;
	size_t n = evbuffer_get_length(c->said);
	size_t piece = in->host->trickle && n > in->host->trickle ? in->host->trickle : n;
	struct kit_nap nap;

	if (c->ended)
		return;
	if ((c->far || c->real) && !c->connected) {
		c->connected = true;
		loop_defer(in->host->loop, &c->step);
		moved(c);
		kit_nap_begin(&nap);
		if (c->ev->connected)
			c->ev->connected(c->arg);
		kit_nap_end(&nap, in);
	} else if (n && !c->shaking) {
		evbuffer_remove_buffer(c->said, c->in_buf, piece);
		if (n > piece || c->hung_up)
			loop_defer(in->host->loop, &c->step);
		moved(c);
		kit_nap_begin(&nap);
		c->ev->input(c->arg);
		kit_nap_end(&nap, in);
	} else if (c->hung_up) {
		gone(c, "%s", *c->why ? c->why : "the peer closed the connection");
	} else if (c->secured) {
		c->secured = c->shaking = false;
		moved(c);
		kit_nap_begin(&nap);
		c->ev->secured(c->arg);
		kit_nap_end(&nap, in);
	}
}

/* ---- the peer's side ---- */

static void stir(struct meta1_conn *c)
{
	loop_defer(c->in->host->loop, &c->step);
}

void kit_conn_lead(struct meta1_conn *c, struct kit_far *far)
{
	c->far = far;
}

void kit_conn_say(struct meta1_conn *c, const void *p, size_t n)
{
	if (c->hung_up)
		return;
	evbuffer_add(c->said, p, n);
	stir(c);
}

void kit_conn_hang_up(struct meta1_conn *c)
{
	c->far = NULL;
	c->hung_up = true;
	c->connected = true;
	stir(c);
}

void kit_conn_secured(struct meta1_conn *c, const char *why)
{
	if (why) {
		str_copy(c->why, sizeof(c->why), why);
		c->shaking = false;
		kit_conn_hang_up(c);
		return;
	}
	c->secured = true;
	c->linked = true;
	stir(c);
}

bool kit_conn_shaking(const struct meta1_conn *c)
{
	return c->shaking && !c->secured;
}

/* A peer that does not read still has a kernel that takes some. */
static void push(void *arg)
{
	struct meta1_conn *c = arg;
	size_t n = evbuffer_get_length(c->out), took = 0, len;
	const void *p;

	while (n && (c->far || (c->real && !c->hung_up)) && !c->ended) {
		len = n > 4096 ? 4096 : n;
		p = evbuffer_pullup(c->out, (ssize_t)len);
		if (c->real)
			len = kit_real_take(c->real, p, len);
		else if (c->far->ops->reads(c->far))
			len = c->far->ops->take(c->far, p, len);
		else if (c->held + len <= WINDOW)
			c->held += len;
		else
			len = 0;
		if (!len && c->real)
			kit_conn_hang_up(c);
		if (!len)
			break;
		evbuffer_drain(c->out, len);
		took += len;
		n = evbuffer_get_length(c->out);
	}
	if (took)
		moved(c);
	if (c->hung_up && n)
		evbuffer_drain(c->out, n);
}

void kit_conn_pull(struct meta1_conn *c)
{
	if (evbuffer_get_length(c->out))
		loop_defer(c->in->host->loop, &c->push);
}

/* ---- the module's side ---- */

static struct meta1_conn *net_open(struct meta1_ctx *ctx, const struct meta1_hop *hop,
    int64_t timeout, const struct meta1_conn_events *ev, void *arg, struct meta1_err *err)
{
	struct kit_inst *in = inst_of(ctx);
	struct kit_host *h = in->host;
	struct meta1_conn *c;

	if (!kit_on_loop(in, "conn->open", false) || kit_fails(in)) {
		err_set(err, "no memory for a connection");
		return NULL;
	}
	if (!ev->input || !ev->gone)
		kit_fault(h, in->name, "conn->open() without the events input and gone");
	c = base_alloc(sizeof(*c));
	*c = (struct meta1_conn){.in = in, .ev = ev, .arg = arg};
	c->said = evbuffer_new();
	c->in_buf = evbuffer_new();
	c->out = evbuffer_new();
	task_init(&c->step, step, c);
	task_init(&c->push, push, c);
	c->timer = loop_timer(h->loop, timeout > 0 ? timeout : -1, on_timer, c);
	LIST_INSERT_HEAD(&in->conns, c, link);
	if (h->server && hop->addr && !strcmp(hop->addr, h->server->path)) {
		h->server->meet(h->server, c);
	} else if (h->server || !(c->real = kit_real_open(h->loop, hop, c))) {
		c->hung_up = true;
		str_copy(c->why, sizeof(c->why), "connection refused");
	}
	stir(c);
	return c;
}

static struct meta1_buf net_line(struct meta1_conn *c)
{
	size_t len = 0;

	free(c->line);
	c->line = NULL;
	if (!kit_on_loop(c->in, "conn->line", false) || (c->hung_up && *c->why))
		return buf_of(NULL, 0);
	c->line = evbuffer_readln(c->in_buf, &len, EVBUFFER_EOL_CRLF);
	if (c->line && len <= LINE_MAX_)
		return buf_of(c->line, len);
	if (c->line || evbuffer_get_length(c->in_buf) > LINE_MAX_) {
		str_copy(c->why, sizeof(c->why), "the peer sent a line of more than 4096 bytes");
		evbuffer_drain(c->said, evbuffer_get_length(c->said));
		kit_conn_hang_up(c);
	}
	return buf_of(NULL, 0);
}

static bool open_for(struct meta1_conn *c, const char *call)
{
	if (!kit_on_loop(c->in, call, false) || c->ended)
		return false;
	if (!c->connected)
		kit_fault(c->in->host, c->in->name, "%s() before connected()", call);
	return c->connected;
}

static void net_write(struct meta1_conn *c, const void *p, size_t n)
{
	if (!open_for(c, "conn->write"))
		return;
	evbuffer_add(c->out, p, n);
	loop_flush(c->in->host->loop, &c->push);
}

static void net_send(struct meta1_conn *c, const struct meta1_extent *e, uint32_t n)
{
	char piece[16384];
	ssize_t got;

	if (!open_for(c, "conn->send"))
		return;
	for (; n; n--, e++) {
		if (e->mem) /* not copied: who frees it early is seen by a sanitizer */
			evbuffer_add_reference(c->out, e->mem, e->len, NULL, NULL);
		for (uint64_t at = 0; !e->mem && at < e->len; at += (uint64_t)got) {
			size_t want =
			    e->len - at < sizeof(piece) ? (size_t)(e->len - at) : sizeof(piece);

			got = pread(e->fd, piece, want, (off_t)(e->off + at));
			if (got <= 0) {
				str_copy(c->why, sizeof(c->why), "the content cannot be read");
				kit_conn_hang_up(c);
				return;
			}
			evbuffer_add(c->out, piece, (size_t)got);
		}
	}
	loop_flush(c->in->host->loop, &c->push);
}

static void net_timeout(struct meta1_conn *c, int64_t ms)
{
	if (!kit_on_loop(c->in, "conn->timeout", false))
		return;
	c->timeout = ms;
	moved(c);
}

static size_t net_unsent(struct meta1_conn *c)
{
	return evbuffer_get_length(c->out);
}

static int net_starttls(struct meta1_conn *c, const char *name, struct meta1_err *err)
{
	if (!open_for(c, "conn->starttls"))
		return err_set(err, "the connection is gone");
	if (!c->in->host->tls)
		return err_set(err, "there is no TLS here");
	if (!name || !*name)
		kit_fault(c->in->host, c->in->name, "conn->starttls() without a name");
	if (evbuffer_get_length(c->in_buf) || evbuffer_get_length(c->said))
		return err_set(err, "the peer sent more than its reply to STARTTLS in plain");
	if (c->shaking || c->linked)
		kit_fault(c->in->host, c->in->name, "conn->starttls() twice");
	c->shaking = true;
	moved(c);
	if (c->far)
		c->far->ops->stir(c->far);
	return 0;
}

static int net_tls(struct meta1_conn *c, struct meta1_tls *out)
{
	const struct meta1_tls all = {.size = out->size,
	    .bits = 256,
	    .version = "TLSv1.3",
	    .cipher = "KIT",
	    .trusted = c->far && c->far->trusted,
	    .named = c->far && c->far->trusted,
	    .why = c->far && c->far->trusted ? NULL : "self-signed certificate",
	    .subject = "/CN=hop.example",
	    .issuer = "/CN=kit",
	    .accepted = c->far && c->far->trusted,
	    .how = c->far && c->far->trusted ? "verified" : NULL,
	    .refused = c->far && c->far->trusted ? NULL : "self-signed"};

	if (!c->linked || c->ended)
		return c->in->host->tls ? 0 : -1;
	memcpy(out, &all, out->size < sizeof(all) ? out->size : sizeof(all));
	return 1;
}

static struct meta1_buf net_peek(struct meta1_conn *c)
{
	size_t n = evbuffer_get_length(c->in_buf);

	if (!kit_on_loop(c->in, "conn->peek", false) || !n)
		return buf_of(NULL, 0);
	n = n > PEEK_MAX ? PEEK_MAX : n;
	return buf_of(evbuffer_pullup(c->in_buf, (ssize_t)n), n);
}

static void net_take(struct meta1_conn *c, size_t n)
{
	if (!kit_on_loop(c->in, "conn->take", false))
		return;
	if (n > evbuffer_get_length(c->in_buf))
		kit_fault(c->in->host, c->in->name, "conn->take() of %zu bytes, there are %zu", n,
		    evbuffer_get_length(c->in_buf));
	evbuffer_drain(c->in_buf, n);
}

static const char *net_source(struct meta1_conn *c)
{
	return c->connected ? "192.0.2.1" : NULL;
}

/* There are no credentials in the kit. */
static void net_login(struct meta1_conn *c, const char *service, const char *mechs, kit_done_fn cb)
{
	(void)c, (void)service, (void)mechs, (void)cb;
	kit_fault(c->in->host, c->in->name, "conn->login() at a hop that asks for none");
}

static void net_login_step(struct meta1_conn *c, struct meta1_buf said, kit_done_fn cb)
{
	(void)said;
	net_login(c, NULL, NULL, cb);
}

static void net_login_over(struct meta1_conn *c, int code, const char *text)
{
	(void)code;
	net_login(c, NULL, text, NULL);
}

static void net_close(struct meta1_conn **cp)
{
	struct meta1_conn *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	LIST_REMOVE(c, link);
	if (c->far)
		c->far->ops->left(c->far);
	kit_real_close(&c->real);
	task_cancel(&c->step);
	task_cancel(&c->push);
	loop_unwatch(&c->timer);
	evbuffer_free(c->said);
	evbuffer_free(c->in_buf);
	evbuffer_free(c->out);
	free(c->line);
	free(c);
}

void kit_conn_drop(struct kit_inst *in)
{
	struct meta1_conn *c;

	while ((c = LIST_FIRST(&in->conns)))
		net_close(&c);
}

unsigned kit_conns(const struct kit_inst *in)
{
	const struct meta1_conn *c;
	unsigned n = 0;

	LIST_FOREACH(c, &in->conns, link)
	n++;
	return n;
}

const struct meta1_conn_ops kit_conn_ops = {
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
    .login = net_login,
    .login_step = net_login_step,
    .login_over = net_login_over,
    .peek = net_peek,
    .take = net_take,
    .source = net_source,
};
