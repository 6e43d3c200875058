/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn_tls.c -- TLS between the socket of a conn and its buffers, see lib/tls.h.
 * Comes from conn.c, which reads and writes; goes to tls.c and back. Owns the struct tls, what the
 * owner wrote and is not encrypted yet, and the line of handshakes of this process.
 * On failure: the alert is written, then end(CONN_TLS). While a worker thread has the SSL nothing
 * is read, and the loop touches neither; a conn that is closed then leaves it to the end of the
 * job, which does nothing when it has not begun. When the threads have enough to do, the line of
 * handshakes stands until one of theirs is done.
 */
#include "lib/conn_priv.h"
#include "lib/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#define OUT_MAX	   65536u /* encrypted bytes that wait for the kernel */
#define SHAKE_USEC 2000	  /* of handshakes in one turn of the loop */

struct conn_tls {
	TAILQ_ENTRY(conn_tls) line;
	struct conn *c; /* NULL: closed while a thread had it */
	struct tls *tls;
	struct outq plain;
	struct task again; /* input that no event will tell of */
	struct watch *deadline;
	struct tls_info *info;
	bool open;	     /* the handshake is done */
	bool in_line;	     /* its handshake waits for its turn */
	bool thread;	     /* a worker has it, or it waits for one */
	bool stalled;	     /* no more is read until c->out has gone */
	enum tls_step got;   /* of the end, to be told */
	atomic_bool gone;    /* nobody wants what the worker is to do */
	enum tls_step shook; /* the worker's, until it is done */
};

static struct {
	TAILQ_HEAD(, conn_tls) all;
	struct task task;
	struct loop *loop;
} line = {.all = TAILQ_HEAD_INITIALIZER(line.all)};

static void line_run(void *arg);

/* ---- what goes to the socket ---- */

/* What SSL said goes behind what is there already. */
static void take_out(struct conn_tls *t)
{
	struct evbuffer *out = tls_out(t->tls);

	if (!evbuffer_get_length(out))
		return;
	evbuffer_add_buffer(outq_buf(&t->c->out), out);
	loop_flush(t->c->loop, &t->c->flush);
}

struct outq *conn_tls_plain(const struct conn *c)
{
	return &c->tls->plain;
}

bool conn_tls_more(const struct conn *c)
{
	return c->tls->open && !outq_empty(&c->tls->plain);
}

bool conn_tls_fill(struct conn *c)
{
	while (conn_tls_more(c) && outq_len(&c->out) < OUT_MAX) {
		if (!tls_write(c->tls->tls, &c->tls->plain))
			return false;
		evbuffer_add_buffer(outq_buf(&c->out), tls_out(c->tls->tls));
	}
	return true;
}

void conn_tls_sent(struct conn *c)
{
	if (!c->tls->stalled)
		return;
	c->tls->stalled = c->busy = false;
	conn_reading(c);
	conn_tls_again(c);
}

/* ---- the end ---- */

static void leave_line(struct conn_tls *t)
{
	if (t->in_line)
		TAILQ_REMOVE(&line.all, t, line);
	t->in_line = false;
	if (TAILQ_EMPTY(&line.all))
		task_cancel(&line.task);
}

static void fail(struct conn_tls *t, const char *cause)
{
	static char why[200]; /* the owner may close in the middle of its event */
	struct conn *c = t->c;

	str_copy(why, sizeof(why), cause);
	t->got = TLS_FAILED;
	outq_clear(&t->plain);
	leave_line(t);
	if (!t->thread) {
		take_out(t);
		conn_write_out(c); /* the alert, if the kernel takes it */
	}
	conn_end(c, CONN_TLS, why);
}

static void late(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	fail(arg, "the TLS handshake took too long");
}

static void destroy(struct conn_tls *t)
{
	tls_free(&t->tls);
	tls_info_free(&t->info);
	free(t);
}

void conn_tls_free(struct conn *c)
{
	struct conn_tls *t = c->tls;

	if (!t)
		return;
	c->tls = NULL;
	leave_line(t);
	task_cancel(&t->again);
	loop_unwatch(&t->deadline);
	outq_clear(&t->plain);
	t->c = NULL;
	if (t->thread)
		atomic_store(&t->gone, true);
	else
		destroy(t);
}

void conn_tls_bye(struct conn *c)
{
	struct conn_tls *t = c->tls;

	if (!t)
		return;
	if (t->open && t->got != TLS_FAILED) {
		while (!outq_empty(&t->plain) && tls_write(t->tls, &t->plain))
			;
		if (outq_empty(&t->plain))
			tls_bye(t->tls);
		take_out(t);
	}
	conn_tls_free(c);
}

/* ---- what comes from the socket ---- */

struct evbuffer *conn_tls_wire(struct conn *c)
{
	return tls_wire(c->tls->tls);
}

bool conn_tls_shaking(const struct conn *c)
{
	return !c->tls->open;
}

bool conn_tls_waits(struct conn *c)
{
	struct conn_tls *t = c->tls;

	if (!t->in_line)
		return task_pending(&t->again);
	/* The line is long: the peer's bytes stay in the socket, and wake nobody up, until its
	 * turn. Where it is short no event comes in between, and nothing is done for this. */
	c->busy = true;
	conn_reading(c);
	return true;
}

void conn_tls_idle(struct conn *c)
{
	if (!c->tls->thread)
		tls_idle(c->tls->tls);
}

static void tell_end(struct conn_tls *t)
{
	if (t->got == TLS_CLOSED)
		conn_end(t->c, CONN_EOF, "TLS was closed by the peer");
	else
		fail(t, tls_why(t->tls));
}

/* Decrypts what there is room for; then the owner's event, and nothing after it. */
static void decrypt(struct conn_tls *t)
{
	struct conn *c = t->c;
	size_t have = evbuffer_get_length(conn_in(c)), got = 0;

	if (outq_len(&c->out) >= OUT_MAX) { /* it makes us answer, and does not read */
		t->stalled = c->busy = true;
		conn_reading(c);
		return;
	}
	if (have < c->limit)
		t->got = tls_read(t->tls, c->in, c->limit - have, &got);
	take_out(t);
	if (t->got != TLS_AGAIN) {
		c->busy = true; /* nothing after it is read */
		conn_reading(c);
	}
	if (!got) {
		if (t->got != TLS_AGAIN)
			tell_end(t);
		return;
	}
	if (t->got != TLS_AGAIN)
		loop_defer(c->loop, &t->again);
	conn_input(c);
	c->ev->input(c->arg);
}

static void again_run(void *arg)
{
	struct conn_tls *t = arg;

	if (t->c->ended)
		return;
	if (t->got != TLS_AGAIN)
		tell_end(t);
	else if (!t->c->full && !t->c->paused && tls_pending(t->tls))
		decrypt(t);
}

void conn_tls_again(struct conn *c)
{
	if (c->tls->open)
		loop_defer(c->loop, &c->tls->again);
}

void conn_tls_input(struct conn *c)
{
	struct conn_tls *t = c->tls;

	if (t->open) {
		decrypt(t);
		return;
	}
	if (t->in_line || t->thread)
		return;
	t->in_line = true;
	TAILQ_INSERT_TAIL(&line.all, t, line);
	if (!task_pending(&line.task))
		task_init(&line.task, line_run, c->loop);
	line.loop = c->loop;
	loop_defer(c->loop, &line.task);
}

/* ---- handshakes ---- */

/* A step is over; runs the owner's event, and nothing after it. */
static void shaken(struct conn_tls *t, enum tls_step got)
{
	struct conn *c = t->c;

	c->busy = false;
	take_out(t);
	if (got == TLS_DONE) {
		t->open = true;
		loop_unwatch(&t->deadline);
		t->info = tls_info_new(t->tls);
		conn_reading(c);
		conn_tls_again(c);
		loop_flush(c->loop, &c->flush);
		c->ev->secured(c->arg);
	} else if (got == TLS_AGAIN) {
		conn_reading(c);
	} else {
		fail(t, got == TLS_CLOSED ? "TLS was closed in its handshake" : tls_why(t->tls));
	}
}

static void job_work(void *arg)
{
	struct conn_tls *t = arg;

	if (!atomic_load(&t->gone))
		t->shook = tls_shake(t->tls);
}

static void job_done(void *arg)
{
	struct conn_tls *t = arg;

	t->thread = false;
	if (t->c && !t->c->ended)
		shaken(t, t->shook);
	else if (!t->c)
		destroy(t);
	if (!TAILQ_EMPTY(&line.all))
		loop_defer(line.loop, &line.task);
}

/* false: its threads have enough to do; one that has done tells it. */
static bool shake(struct conn_tls *t)
{
	struct tls_ctx *ctx = t->tls->ctx;

	if (!tls_slow(t->tls)) {
		shaken(t, tls_shake(t->tls));
		return true;
	}
	t->thread = t->c->busy = true;
	conn_reading(t->c);
	if (work_do(ctx->work, &ctx->owner, job_work, job_done, t))
		return true;
	t->thread = false;
	return false;
}

static int64_t usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void line_run(void *arg)
{
	int64_t begin = usec();
	struct conn_tls *t;

	while ((t = TAILQ_FIRST(&line.all)) != NULL) {
		if (usec() - begin >= SHAKE_USEC) {
			loop_defer(arg, &line.task);
			return;
		}
		TAILQ_REMOVE(&line.all, t, line);
		t->in_line = false;
		if (!shake(t)) {
			TAILQ_INSERT_HEAD(&line.all, t, line);
			t->in_line = true;
			return;
		}
	}
}

/* ---- the beginning ---- */

int conn_starttls(struct conn *c, struct tls_ctx *ctx, const struct tls_want *want, int64_t ms,
    size_t *dropped, struct meta1_err *err)
{
	struct conn_tls *t;
	struct tls *tls;

	if (c->tls || c->eof)
		return err_set(
		    err, c->tls ? "TLS: it is on already" : "TLS: the peer has closed already");
	tls = tls_new(ctx, want, err);
	if (!tls)
		return -1;
	t = base_alloc(sizeof(*t));
	*t = (struct conn_tls){.c = c, .tls = tls, .got = TLS_AGAIN, .shook = TLS_AGAIN};
	task_init(&t->again, again_run, t);
	t->deadline = loop_timer(c->loop, ms, late, t);
	if (want->say)
		conn_write(c, want->say, strlen(want->say));
	if (want->first && c->in)
		evbuffer_add_buffer(tls_wire(tls), c->in);
	*dropped = c->in ? evbuffer_get_length(c->in) : 0;
	if (*dropped)
		conn_consume(c, *dropped);
	c->tls = t;
	if (!ctx->server || tls_pending(tls)) /* the client speaks first */
		conn_tls_input(c);
	return 0;
}

size_t conn_tls_held(const struct conn *c)
{
	const struct conn_tls *t = c->tls;
	size_t wire = !t->thread && t->tls->in ? evbuffer_get_length(t->tls->in) : 0;

	return CONN_TLS_HELD + outq_held(&t->plain) + wire;
}

const struct tls_info *conn_tls_info(const struct conn *c)
{
	return c->tls ? c->tls->info : NULL;
}
