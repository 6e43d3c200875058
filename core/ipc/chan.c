/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chan.c -- one framed connection: reads frames, dispatches them, keeps questions.
 * Comes from role.c and the roles; goes to peers.c (how a connection is made and greeted)
 * and the kernel. Owns descriptor, buffers and open questions.
 * On failure: the connection is dropped, questions are answered with NULL, down() is called;
 * a client connects again.
 */
#include "ipc/chan_private.h"
#include "lib/log.h"
#include "lib/metric.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK (256u << 10)
#define UNSENT_MAX (8u << 20)
#define TICK_MS	   250 /* how exact deadlines are */

METRIC_COUNTER(
    m_large, "frames_too_large_total", "Messages to other roles that fit into no frame.");

bool chan_up(const struct chan *c)
{
	return c && c->up;
}

enum proto_who chan_peer(const struct chan *c)
{
	return c->peer;
}

const struct p_hello *chan_hello(const struct chan *c)
{
	return &c->hello;
}

void **chan_slot(struct chan *c)
{
	return &c->slot;
}

/* ---- writing ---- */

static void wr_ready(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	chan_write_out(arg);
}

void chan_write_out(struct chan *c)
{
	while (c->fd >= 0 && evbuffer_get_length(c->out)) {
		if (evbuffer_write(c->out, c->fd) >= 0)
			continue;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN) {
			chan_lost(c, strerror(errno));
			return;
		}
		if (!c->wr)
			c->wr = loop_fd(c->side->loop, c->fd, EV_WRITE, wr_ready, c);
		return;
	}
	loop_unwatch(&c->wr);
}

static void flush_run(void *arg)
{
	struct chan *c = arg;

	if (c->fd >= 0 && !c->wr)
		chan_write_out(c);
}

/* false: it is too large for a frame, and was not sent; the connection is as it was. */
bool chan_queue(struct chan *c, enum proto_type type, uint32_t req, const void *msg)
{
	if (log_on(LOG_L_DEBUG + 4)) {
		char text[400];

		proto_print(type, msg, text, sizeof(text));
		log_event(LOG_L_DEBUG + 4, "ipc.send", "req=%u frame=%s", req, text);
	}
	if (!proto_pack(c->out, type, req, msg)) {
		m_large.value++;
		return false;
	}
	loop_flush(c->side->loop, &c->flush);
	return true;
}

bool chan_send(struct chan *c, enum proto_type type, const void *msg)
{
	if (!chan_up(c) || evbuffer_get_length(c->out) > UNSENT_MAX)
		return false;
	return chan_queue(c, type, 0, msg);
}

bool chan_send_fd(struct chan *c, enum proto_type type, const void *msg, int fd)
{
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int))];
	} ctl = {0};
	struct msghdr mh = {.msg_control = ctl.b, .msg_controllen = sizeof(ctl.b)};
	struct evbuffer *frame;
	struct iovec iov;
	ssize_t n;

	if (!chan_up(c))
		return false;
	chan_write_out(c);
	if (c->fd < 0 || evbuffer_get_length(c->out))
		return false;
	frame = evbuffer_new();
	if (!proto_pack(frame, type, 0, msg)) {
		evbuffer_free(frame);
		return false;
	}
	iov.iov_len = evbuffer_get_length(frame);
	iov.iov_base = evbuffer_pullup(frame, -1);
	mh.msg_iov = &iov;
	mh.msg_iovlen = 1;
	ctl.h.cmsg_level = SOL_SOCKET;
	ctl.h.cmsg_type = SCM_RIGHTS;
	ctl.h.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&ctl.h), &fd, sizeof(int));
	n = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0) {
		/* the descriptor is with the first byte; the rest may follow later */
		evbuffer_drain(frame, (size_t)n);
		evbuffer_add_buffer(c->out, frame);
		loop_flush(c->side->loop, &c->flush);
	}
	evbuffer_free(frame);
	return n > 0;
}

int chan_take_fd(struct chan *c)
{
	int fd;

	if (!c->nfds)
		return -1;
	fd = c->fds[0];
	memmove(c->fds, c->fds + 1, --c->nfds * sizeof(c->fds[0]));
	return fd;
}

size_t chan_unsent(const struct chan *c)
{
	return evbuffer_get_length(c->out);
}

/* ---- questions ---- */

static void tick(int fd, short what, void *arg)
{
	struct chan *c = arg;
	int64_t now = loop_now(c->side->loop);
	uint32_t i;

	(void)fd;
	(void)what;
	c->busy++;
	for (i = 0; i < c->window; i++) {
		struct chan_ask *q = &c->asks[i];

		if (q->req && q->deadline <= now) {
			chan_answer_fn fn = q->fn;

			q->req = 0;
			c->nasks--;
			fn(q->arg, NULL);
		}
	}
	c->busy--;
	if (c->closed) {
		chan_destroy(c);
		return;
	}
	if (c->nasks)
		loop_rearm(c->ticker, TICK_MS);
}

void chan_window(struct chan *c, uint32_t questions)
{
	ensure(!c->nasks && questions && questions <= CHAN_WINDOW_MAX);
	c->window = questions;
	c->asks = base_realloc(c->asks, questions * sizeof(c->asks[0]));
	memset(c->asks, 0, questions * sizeof(c->asks[0]));
	c->next_ask = 0;
}

uint32_t chan_ask(struct chan *c, enum proto_type type, const void *msg, uint32_t deadline_ms,
    chan_answer_fn fn, void *arg)
{
	struct chan_ask *q;
	uint32_t i;

	if (!chan_up(c) || c->nasks == c->window || evbuffer_get_length(c->out) > UNSENT_MAX)
		return 0;
	for (i = c->next_ask; c->asks[i].req; i = (i + 1) % c->window)
		;
	c->next_ask = (i + 1) % c->window;
	q = &c->asks[i];
	/* the number tells the place; the serial makes a late answer unlike a new question */
	q->serial++;
	q->req = (i + 1) | (uint32_t)(q->serial & 0xffff) << 16;
	q->type = type;
	q->fn = fn;
	q->arg = arg;
	q->deadline = loop_now(c->side->loop) + (deadline_ms ? deadline_ms : proto_deadline(type));
	if (!c->nasks++)
		loop_rearm(c->ticker, TICK_MS);
	if (chan_queue(c, type, q->req, msg))
		return q->req;
	chan_forget(c, q->req);
	return 0;
}

static struct chan_ask *ask_find(struct chan *c, uint32_t req)
{
	uint32_t i = (req & 0xffff) - 1;

	return req && i < c->window && c->asks[i].req == req ? &c->asks[i] : NULL;
}

void chan_forget(struct chan *c, uint32_t req)
{
	struct chan_ask *q = ask_find(c, req);

	if (q) {
		q->req = 0;
		c->nasks--;
	}
}

void chan_answer(struct chan *c, uint32_t req, enum proto_type type, const void *msg)
{
	if (chan_up(c))
		chan_queue(c, type, req, msg);
}

void chan_later(struct chan *c, uint32_t req, struct chan_reply *r)
{
	r->chan = c;
	r->req = req;
	r->next = c->replies;
	r->prevp = &c->replies;
	if (r->next)
		r->next->prevp = &r->next;
	c->replies = r;
}

void chan_reply_drop(struct chan_reply *r)
{
	if (!r->chan)
		return;
	*r->prevp = r->next;
	if (r->next)
		r->next->prevp = r->prevp;
	r->chan = NULL;
}

void chan_reply_send(struct chan_reply *r, enum proto_type type, const void *msg)
{
	struct chan *c = r->chan;

	chan_reply_drop(r);
	if (c)
		chan_answer(c, r->req, type, msg);
}

/* All that waited on this connection hears that no answer will come. */
void chan_unanswered(struct chan *c)
{
	uint32_t i;

	while (c->replies)
		chan_reply_drop(c->replies);
	for (i = 0; i < c->window && c->nasks; i++) {
		struct chan_ask *q = &c->asks[i];

		if (!q->req)
			continue;
		q->req = 0;
		c->nasks--;
		q->fn(q->arg, NULL);
	}
}

/* ---- reading ---- */

static void dispatch(struct chan *c, unsigned type, uint32_t req, const void *msg)
{
	const struct chan_handler *h;
	struct chan_ask *q;

	if (req && !proto_deadline(type)) {
		/* the answer to a question is the next message of the table */
		if ((q = ask_find(c, req)) && type == q->type + 1u) {
			q->req = 0;
			c->nasks--;
			q->fn(q->arg, msg);
		}
		return;
	}
	for (h = c->side->handlers; h && h->type != P_NONE; h++)
		if (h->type == type) {
			h->fn(c, req, msg, c->side->arg);
			return;
		}
}

static bool frame(struct chan *c, const uint8_t *p, size_t len, unsigned type, uint32_t req)
{
	struct meta1_err err;
	void *msg;

	if (!proto_may(type, c->peer, c->side->who)) {
		log_event(LOG_L_WARN, "ipc.refused", "frame=%s error=%s", proto_name(type),
		    "this peer may not send it");
		return false;
	}
	if (!(msg = proto_unpack(&c->pool, type, p, len, &err))) {
		log_event(LOG_L_WARN, "ipc.malformed", "error=%s", err.text);
		return false;
	}
	if (log_on(LOG_L_DEBUG + 4)) {
		char text[400];

		proto_print(type, msg, text, sizeof(text));
		log_event(LOG_L_DEBUG + 4, "ipc.got", "req=%u frame=%s", req, text);
	}
	if (type == P_HELLO)
		return chan_greeted(c, msg);
	if (!c->up) {
		log_event(LOG_L_WARN, "ipc.refused", "frame=%s error=%s", proto_name(type),
		    "a frame before HELLO");
		return false;
	}
	dispatch(c, type, req, msg);
	return true;
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Takes all whole frames of the input. false: the connection is to be dropped. */
static bool frames(struct chan *c)
{
	size_t at = 0, have;
	uint32_t len, gen = c->generation;
	bool ok = true;

	for (;;) {
		have = c->in_len - at;
		if (have < PROTO_HEADER)
			break;
		len = get32(c->in + at);
		if (len > PROTO_FRAME_MAX) {
			log_event(LOG_L_WARN, "ipc.malformed", "length=%u", len);
			return false;
		}
		if (have < PROTO_HEADER + len)
			break;
		ok = frame(c, c->in + at + PROTO_HEADER, len, get32(c->in + at + 4) & 0xffff,
		    get32(c->in + at + 8));
		pool_clear(&c->pool);
		/* a handler may have closed or lost this connection */
		if (!ok || c->closed || c->generation != gen)
			break;
		at += PROTO_HEADER + len;
	}
	if (c->generation != gen)
		return true;
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
	return ok;
}

static ssize_t receive(struct chan *c)
{
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int) * 4)];
	} ctl;
	struct iovec iov = {c->in + c->in_len, c->in_cap - c->in_len};
	struct msghdr mh = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = ctl.b,
	    .msg_controllen = sizeof(ctl.b)};
	ssize_t n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *h;
	size_t i, k;
	int fd;

	if (n < 0)
		return n;
	for (h = CMSG_FIRSTHDR(&mh); h; h = CMSG_NXTHDR(&mh, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		k = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < k; i++) {
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			/* mcp passes descriptors, and qmgr to smtps; others' are closed unseen */
			if ((c->peer == MCP || (c->peer == QMGR && c->side->who == SMTPS)) &&
			    c->nfds < ARRAY_LEN(c->fds))
				c->fds[c->nfds++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

void chan_rd_ready(int fd, short what, void *arg)
{
	struct chan *c = arg;
	const char *why = NULL;
	ssize_t n;

	(void)fd;
	(void)what;
	if (c->in_cap - c->in_len < READ_CHUNK / 2) {
		c->in_cap = c->in_len + READ_CHUNK;
		c->in = base_realloc(c->in, c->in_cap);
	}
	n = receive(c);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	c->busy++;
	if (n <= 0) {
		why = n < 0 ? strerror(errno) : "closed by the peer";
	} else {
		c->in_len += (size_t)n;
		if (!frames(c))
			why = "protocol error";
	}
	c->busy--;
	if (c->closed)
		chan_destroy(c);
	else if (why)
		chan_lost(c, why);
}

struct chan *chan_alloc(const struct chan_side *side, enum proto_who peer)
{
	struct chan *c = base_alloc(sizeof(*c));

	*c = (struct chan){.side = side, .peer = peer, .fd = -1};
	c->out = evbuffer_new();
	pool_init(&c->pool, PROTO_FRAME_MAX);
	task_init(&c->flush, flush_run, c);
	c->ticker = loop_timer(side->loop, -1, tick, c);
	chan_window(c, 256);
	return c;
}
