/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * content.c -- a message on its way to the filter: field after field, then pieces of the body.
 *
 * Comes from the host's extents, which stay valid until the ask is finished; goes to the
 * connection, the body without a copy. A field's value is given as Sendmail does, byte for byte: LF
 * between its lines, its first blank only to filters that asked for it (LEADSPC), no line end
 * behind it. Three things filters cannot take: blanks before the colon are left out, or "From :"
 * would be no From to them; NUL in a value is a blank; and a value that does not fit into a command
 * (64 KiB, or data_size) is cut. What is no field ends the header: it is body.
 */
#include "milter.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* n bytes from the beginning of the message. */
static int read_all(const struct meta1_pm_message *m, unsigned char *out, size_t n)
{
	for (uint32_t i = 0; i < m->nextent && n > 0; i++) {
		const struct meta1_extent *e = &m->extent[i];
		size_t len = e->len < n ? (size_t)e->len : n, at = 0;

		if (e->mem)
			memcpy(out, e->mem, len);
		while (!e->mem && at < len) {
			ssize_t got = pread(e->fd, out + at, len - at, (off_t)(e->off + at));

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				return -1;
			at += (size_t)got;
		}
		out += len;
		n -= len;
	}
	return n == 0 ? 0 : -1;
}

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

int content_begin(struct sess *s, struct meta1_err *err)
{
	const struct meta1_pm_message *m = s->msg;
	struct content *c = &s->content;
	unsigned char *copy;

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
		copy = bag_get(s->m, &s->bag, c->len);
		if (!copy || read_all(m, copy, c->len) < 0) {
			snprintf(err->text, sizeof(err->text), "cannot be told the header: %s",
			    copy ? strerror(errno) : "no memory");
			return -1;
		}
		c->header = copy;
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

/* As many bytes as fit, from where the last one ended. The head of the command counts all. */
void content_piece(struct sess *s)
{
	const struct meta1_conn_ops *conn = s->m->host->conn;
	struct content *c = &s->content;
	uint64_t left = s->peer->chunk, n = 0;
	struct content to = *c;
	unsigned char head[5];

	for (int round = 0; round < 2; round++) {
		to = *c;
		left = s->peer->chunk;
		while (left > 0 && to.extent < s->msg->nextent) {
			struct meta1_extent e = s->msg->extent[to.extent];

			e.len = e.len - to.off < left ? e.len - to.off : left;
			e.off += to.off;
			if (e.mem)
				e = (struct meta1_extent){
				    .mem = (const char *)e.mem + to.off, .len = e.len, .fd = -1};
			if (round == 0)
				n += e.len;
			else if (e.len > 0)
				conn->send(s->peer->conn, &e, 1);
			left -= e.len;
			to.off += e.len;
			settle(&to, s->msg);
		}
		if (round > 0)
			break;
		put32(head, (uint32_t)n + 1);
		head[4] = 'B';
		conn->write(s->peer->conn, head, sizeof(head));
	}
	s->peer->whole = 0;
	*c = to;
}
