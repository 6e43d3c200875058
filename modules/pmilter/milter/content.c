/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * content.c -- a message on its way to the filter: field after field, then pieces of the body.
 *
 * Comes from the host's extents, which stay valid until the ask is finished; goes to the
 * connection, a body in memory without a copy; what lies in a file is read by worker threads, and
 * the next command waits for it. A field's value is given as Sendmail does, byte for byte: LF
 * between its lines, its first blank only to filters that asked for it (LEADSPC), no line end
 * behind it. Three things filters cannot take: blanks before the colon are left out, or "From :"
 * would be no From to them; NUL in a value is a blank; and a value that does not fit into a command
 * (64 KiB, or data_size) is cut. What is no field ends the header: it is body.
 */
#include "../common/fetch.h"
#include "milter.h"

#include <stdio.h>
#include <string.h>

/* Length of the field at the front of it with all its lines, or 0: there is none. */
static size_t field_len(const unsigned char *p, size_t n)
{
	const unsigned char *lf = memchr(p, '\n', n), *end = p + n;

	if (!lf || *p == ' ' || *p == '\t' || *p == ':' || !memchr(p, ':', (size_t)(lf - p)))
		return 0;
	while (lf && lf + 1 < end && (lf[1] == ' ' || lf[1] == '\t')) {
		const unsigned char *more = memchr(lf + 1, '\n', (size_t)(end - lf) - 1);

		if (!more)
			return n;
		lf = more;
	}
	return (size_t)(lf - p) + 1;
}

/* Onto the next byte, when there is one. */
static void settle(struct content *c, const struct meta1_pm_message *m)
{
	while (c->extent < m->nextent && c->off >= m->extent[c->extent].len)
		c->off -= m->extent[c->extent++].len;
}

/* Where the body begins: behind the empty line, or at what is no field. */
static void find_body(struct sess *s)
{
	struct content *c = &s->content;
	size_t at = 0, n;
	uint64_t off;

	while (at < c->len && (n = field_len(c->header + at, c->len - at)) > 0)
		at += n;
	off = at;
	if (c->len - at >= 2 && memcmp(c->header + at, "\r\n", 2) == 0)
		off += 2;
	c->len = at;
	c->extent = 0;
	c->off = off;
	settle(c, s->msg);
}

/* A header that the first extent has not whole: in one piece, by a copy. */
static void have_header(void *arg, struct fetch *f, const char *bad)
{
	struct sess *s = arg;
	struct content *c = &s->content;
	unsigned char *copy = bad ? NULL : bag_get(s->m, &s->bag, f->len);

	c->fetch = NULL;
	if (!copy) {
		sess_fail(s, "cannot be told the header: %s", bad ? bad : "no memory");
		return;
	}
	memcpy(copy, f->at, f->len);
	c->header = copy;
	find_body(s);
	sess_go(s);
}

void content_drop(struct sess *s)
{
	struct content *c = &s->content;

	fetch_drop(&c->fetch);
	if (c->wait)
		s->m->host->unwatch(&c->wait);
	c->waits = 0;
}

int content_reads(const struct sess *s)
{
	return s->content.fetch || s->content.waits;
}

int content_begin(struct sess *s, struct meta1_err *err)
{
	const struct meta1_pm_message *m = s->msg;
	struct content *c = &s->content;

	content_drop(s);
	memset(c, 0, sizeof(*c));
	c->len = (size_t)m->header;
	if (m->header > HEADER_MAX) {
		s->hopeless = 1;
		snprintf(err->text, sizeof(err->text),
		    "cannot be told a header of %llu bytes: at most %u",
		    (unsigned long long)m->header, HEADER_MAX);
		return -1;
	}
	if (m->nextent > 0 && m->extent[0].mem && m->extent[0].len >= m->header)
		c->header = m->extent[0].mem;
	else if (m->header > 0) {
		c->fetch = fetch_begin(s->m->host, s->m->ctx, m, 0, 0, c->len, have_header, s);
		snprintf(err->text, sizeof(err->text),
		    "cannot be told the header: no memory, or too much waits for the disk");
		return c->fetch ? 0 : -1;
	}
	find_body(s);
	return 0;
}

int content_has_field(const struct sess *s)
{
	return s->content.at < s->content.len;
}

/* The value as the filter gets it; its length. */
static size_t value(unsigned char *out, size_t room, const unsigned char *p, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n && len < room; i++) {
		if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n')
			continue;
		out[len++] = p[i] ? p[i] : ' ';
	}
	return len;
}

int content_field(struct sess *s)
{
	struct content *c = &s->content;
	const unsigned char *p = c->header + c->at;
	size_t n = field_len(p, c->len - c->at), name, len = 0, max = s->peer->chunk;
	struct bag bag = {NULL, 0};
	unsigned char *out = bag_get(s->m, &bag, n + 2);
	const unsigned char *colon = memchr(p, ':', n);

	if (!out)
		return -1;
	name = (size_t)(colon - p) < max / 2 ? (size_t)(colon - p) : max / 2;
	while (name > 1 && (p[name - 1] == ' ' || p[name - 1] == '\t'))
		name--;
	len = value(out, name, p, name);
	out[len++] = '\0';
	c->at += n;
	p += (colon - p) + 1;
	n = (size_t)(c->header + c->at - p);
	if (n > 0 && p[n - 1] == '\n')
		n--;
	if (n > 0 && p[n - 1] == '\r')
		n--;
	if (n > 0 && *p == ' ' && !(s->peer->steps & SMFIP_HDR_LEADSPC)) {
		p++;
		n--;
	}
	len += value(out + len, max - len - 1, p, n);
	out[len++] = '\0';
	peer_say(s->peer, 'L', &(struct meta1_buf){out, len}, 1);
	bag_empty(s->m, &bag);
	return 0;
}

int content_has_piece(const struct sess *s)
{
	return s->content.extent < s->msg->nextent;
}

static void say_head(struct sess *s, size_t n)
{
	unsigned char head[5];

	put32(head, (uint32_t)n + 1);
	head[4] = 'B';
	s->m->host->conn->write(s->peer->conn, head, sizeof(head));
	s->peer->whole = 0;
}

/* The next n bytes, and who is told: the connection, or nobody. Moves on behind them. */
static void pass(struct sess *s, size_t n, struct meta1_conn *conn)
{
	struct content *c = &s->content;

	while (n > 0) {
		const struct meta1_extent *e = &s->msg->extent[c->extent];
		struct meta1_extent out = {.mem = (const char *)e->mem + c->off,
		    .len = e->len - c->off < n ? e->len - c->off : n,
		    .fd = -1};

		if (conn)
			s->m->host->conn->send(conn, &out, 1);
		n -= (size_t)out.len;
		c->off += out.len;
		settle(c, s->msg);
	}
}

static void have_piece(void *arg, struct fetch *f, const char *bad)
{
	struct sess *s = arg;

	s->content.fetch = NULL;
	if (bad) {
		sess_fail(s, "cannot be told the body: %s", bad);
		return;
	}
	say_head(s, f->len);
	s->m->host->conn->write(s->peer->conn, f->at, f->len);
	sess_go(s);
}

/* As much as fits, from where the last one ended. */
static size_t piece_len(const struct sess *s)
{
	const struct content *c = &s->content;
	uint64_t off = c->off, n = 0, max = s->peer->chunk;

	for (uint32_t i = c->extent; i < s->msg->nextent && n < max; i++, off = 0)
		n += s->msg->extent[i].len - off;
	return (size_t)(n < max ? n : max);
}

static int read_piece(struct sess *s)
{
	struct content *c = &s->content;
	size_t n = piece_len(s);

	c->fetch = fetch_begin(s->m->host, s->m->ctx, s->msg, c->extent, c->off, n, have_piece, s);
	if (c->fetch)
		pass(s, n, NULL);
	return c->fetch ? 0 : -1;
}

static void on_wait(int fd, short what, void *arg)
{
	struct sess *s = arg;

	(void)fd, (void)what;
	s->content.waits = 0;
	if (content_piece(s) < 0)
		sess_fail(s, "cannot be told the body: no memory, or too much waits for the disk");
}

/* A filter that need not answer pieces, and does not read them: what is read is kept by us. */
static int wait_for_room(struct sess *s)
{
	struct content *c = &s->content;

	if (!c->wait)
		c->wait = s->m->host->watch_timer(s->m->ctx, WAIT_MS, on_wait, s);
	else
		s->m->host->rearm(c->wait, WAIT_MS);
	c->waits = c->wait != NULL;
	return c->wait ? 0 : -1;
}

int content_piece(struct sess *s)
{
	struct content *c = &s->content;
	struct meta1_conn *conn = s->peer->conn;
	size_t n = piece_len(s);

	if (!fetch_needless(s->msg, c->extent, c->off, n))
		return s->m->host->conn->unsent(conn) < TOGETHER_MAX ? read_piece(s)
								     : wait_for_room(s);
	say_head(s, n);
	pass(s, n, conn);
	return 0;
}
