/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.c -- the filter of filter.h: connections, sessions, faults at a frame; what the two
 * protocols have in common.
 * Comes from conn.c when a module connects or writes; goes to filter_milter.c or filter_pmilter.c.
 * Owns connections and what was told on them.
 * On failure: what is no frame of a protocol it knows is never answered.
 */
#include "filter.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>

#define FRAME_MAX_ (2u << 20)

/* ---- digests ---- */

static uint64_t fnv(uint64_t h, unsigned char c)
{
	return ((h ? h : 0xcbf29ce484222325u) ^ c) * 0x100000001b3u;
}

/* Blanks do not count, nor how a field is folded. */
void flt_digest_raw(struct flt_digest *d, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	for (; n; n--, p++) {
		if (*p == '\n') {
			d->line = true;
		} else if (*p == ' ' || *p == '\t') {
			d->line = false;
		} else if (*p != '\r') {
			if (d->line && d->any)
				d->fields = fnv(d->fields, '\n');
			d->line = false;
			d->any = true;
			d->fields = fnv(d->fields, *p);
		}
	}
}

void flt_digest_bytes(struct flt_digest *d, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	d->bytes += n;
	for (; n; n--, p++)
		d->body = fnv(d->body, *p);
}

const char *flt_digest_text(const struct flt_digest *d)
{
	static char text[80];

	snprintf(text, sizeof(text), "%llx-%llx-%llu", (unsigned long long)d->fields,
	    (unsigned long long)d->body, (unsigned long long)d->bytes);
	return text;
}

/* ---- sessions ---- */

struct flt_mail *flt_mail_of(struct flt_conn *c, uint32_t id, bool make)
{
	struct flt_mail *m;

	for (m = c->mails; m && m->id != id; m = m->next)
		;
	if (m || !make)
		return m;
	m = base_alloc(sizeof(*m));
	*m = (struct flt_mail){.next = c->mails, .conn = c, .id = id};
	c->mails = m;
	return m;
}

static void mail_free(struct flt_mail **at)
{
	struct kit_filter *f = (*at)->conn->f;
	struct flt_mail *m = *at, **w;

	for (w = &f->waiting; *w && *w != m; w = &(*w)->wait)
		;
	if (*w)
		*w = m->wait;
	*at = m->next;
	free(m);
}

void flt_mail_end(struct flt_conn *c, uint32_t id)
{
	struct flt_mail **at;

	for (at = &c->mails; *at && (*at)->id != id; at = &(*at)->next)
		;
	if (*at)
		mail_free(at);
}

static void conn_free(struct flt_conn *c)
{
	LIST_REMOVE(c, link);
	while (c->mails)
		mail_free(&c->mails);
	evbuffer_free(c->in);
	free(c);
}

/* ---- what it says, and what it does wrong ---- */

static void say(struct flt_conn *c, const void *p, size_t n)
{
	if (c->conn && n)
		kit_conn_say(c->conn, p, n);
}

void flt_hang_up(struct flt_conn *c)
{
	if (c->conn)
		kit_conn_hang_up(c->conn);
	c->conn = NULL;
	c->dead = true;
}

static void unknown(struct flt_conn *c)
{
	static const unsigned char milter[] = {0, 0, 0, 1, '~'},
				   pmilter[] = {0, 0, 0, 12, 0x77, 0x77, 0, 0, 0, 0, 0, 0};

	if (c->f->speaks == FLT_MILTER)
		say(c, milter, sizeof(milter));
	else
		say(c, pmilter, sizeof(pmilter));
}

static void do_wrong(struct flt_conn *c, struct evbuffer *answer)
{
	static const char garbage[] = "HTTP/1.0 400 Bad Request\r\n\r\n";
	static const unsigned char huge[] = {0xff, 0xff, 0xff, 0xff, 'c'}, empty[4] = {0};
	size_t n = evbuffer_get_length(answer);
	unsigned char *p = evbuffer_pullup(answer, -1);

	switch (c->f->fault) {
	case FLT_SILENT:
		c->f->silent = true;
		break;
	case FLT_HALF:
		say(c, p, n / 2);
		flt_hang_up(c);
		break;
	case FLT_GARBAGE:
		say(c, garbage, sizeof(garbage) - 1);
		break;
	case FLT_HUGE:
		say(c, huge, sizeof(huge));
		break;
	case FLT_EMPTY:
		say(c, empty, sizeof(empty));
		break;
	case FLT_UNKNOWN:
		unknown(c);
		break;
	case FLT_TWICE:
		say(c, p, n);
		say(c, p, n);
		break;
	default:
		flt_hang_up(c);
	}
}

static void put_out(struct flt_conn *c, struct evbuffer *b)
{
	if (c->f->frames == c->f->fault_at)
		do_wrong(c, b);
	else
		say(c, evbuffer_pullup(b, -1), evbuffer_get_length(b));
}

static void answer(struct flt_mail *m, uint32_t stage)
{
	struct flt_conn *c = m->conn;
	struct kit_filter *f = c->f;
	enum flt_word word = stage && f->word_at == stage ? f->word : FLT_CONTINUE;
	struct evbuffer *b = evbuffer_new();

	if (f->speaks == FLT_MILTER)
		flt_milter_answer(m, stage, word, b);
	else
		flt_pmilter_answer(m, stage, word, b);
	put_out(c, b);
	evbuffer_free(b);
}

/* Those that wait are answered, the last one first. */
static void release(struct kit_filter *f)
{
	struct flt_mail *m;

	f->gather = f->gathered = 0;
	while ((m = f->waiting)) {
		f->waiting = m->wait;
		answer(m, META1_PM_END);
	}
}

void flt_asked(struct flt_mail *m, uint32_t stage)
{
	struct kit_filter *f = m->conn->f;

	f->frames++;
	if (stage == META1_PM_END)
		f->ends = f->frames;
	if (f->silent)
		return;
	if (stage != META1_PM_END || !f->gather) {
		answer(m, stage);
		return;
	}
	m->wait = f->waiting;
	f->waiting = m;
	if (++f->gathered == f->gather)
		release(f);
}

void flt_reply(struct flt_conn *c, struct evbuffer *b)
{
	c->f->frames++;
	if (!c->f->silent)
		put_out(c, b);
}

/* ---- the other end of a connection ---- */

static enum flt_speaks which(const unsigned char *p)
{
	static const unsigned char hello[] = {0, 1, 0, 0};

	if (p[4] == 'O')
		return FLT_MILTER;
	return memcmp(p + 4, hello, 4) == 0 ? FLT_PMILTER : FLT_STRANGE;
}

static bool reads(const struct kit_far *far)
{
	(void)far;
	return true;
}

static size_t take(struct kit_far *far, const void *bytes, size_t n)
{
	struct flt_conn *c = (struct flt_conn *)(void *)far;
	struct kit_filter *f = c->f;
	size_t len, one;

	evbuffer_add(c->in, bytes, n);
	while (!c->dead && (len = evbuffer_get_length(c->in)) >= 8 - 3 * (f->speaks != 0)) {
		const unsigned char *p = evbuffer_pullup(c->in, -1);

		if (f->speaks == FLT_NOTHING)
			f->speaks = which(p);
		if (f->speaks == FLT_STRANGE)
			break;
		one =
		    f->speaks == FLT_MILTER ? flt_milter_frame(p, len) : flt_pmilter_frame(p, len);
		if (!one || one > FRAME_MAX_)
			break;
		if (f->speaks == FLT_MILTER)
			flt_milter_take(c, p, one);
		else
			flt_pmilter_take(c, p, one);
		evbuffer_drain(c->in, one);
	}
	if (c->dead)
		conn_free(c);
	return n;
}

static void left(struct kit_far *far)
{
	conn_free((struct flt_conn *)(void *)far);
}

static void stir(struct kit_far *far)
{
	(void)far; /* it knows no TLS */
}

static const struct kit_far_ops far_ops = {
    .reads = reads, .take = take, .left = left, .stir = stir};

static void meet(struct kit_server *server, struct meta1_conn *conn)
{
	struct kit_filter *f =
	    (struct kit_filter *)(void *)((char *)server - offsetof(struct kit_filter, server));
	struct flt_conn *c = base_alloc(sizeof(*c));

	*c = (struct flt_conn){.far = {&far_ops, false}, .f = f, .conn = conn};
	c->in = evbuffer_new();
	LIST_INSERT_HEAD(&f->conns, c, link);
	f->connections++;
	kit_conn_lead(conn, &c->far);
}

void kit_filter_open(struct kit *k, struct kit_filter *f)
{
	*f = (struct kit_filter){.server = {f->path, meet}, .k = k};
	LIST_INIT(&f->conns);
	snprintf(f->path, sizeof(f->path), "%s", k->peer);
	k->host.server = &f->server;
}

void kit_filter_mend(struct kit_filter *f)
{
	f->frames = f->ends = f->fault_at = 0;
	f->fault = FLT_GOOD;
	f->silent = false;
	f->word_at = 0;
	release(f);
}

void kit_filter_close(struct kit_filter *f)
{
	struct flt_conn *c;

	while ((c = LIST_FIRST(&f->conns))) {
		flt_hang_up(c);
		conn_free(c);
	}
	f->k->host.server = NULL;
}
