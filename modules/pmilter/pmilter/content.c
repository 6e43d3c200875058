/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * content.c -- a message to the filter, in chunks of at most 32 KiB, as many as it has room for.
 *
 * Comes from pmilter_pmilter.c at END, and from link.c when the filter is done with some; goes to
 * link_send(), what stands in a file through reader.c. Sessions take turns, a chunk each. Owns
 * nothing: the bytes are the host's until the question is finished. What is out and not
 * acknowledged is bounded by the filter's windows, so that of a slow filter's mail nothing but that
 * stands in memory. On failure: a file that cannot be read fails the question.
 */
#include "pmilter.h"

#include <string.h>

int content_begin(struct sess *s, const struct meta1_pm_message *m)
{
	struct link *l = s->link;
	struct meta1_pmw_out o =
	    meta1_pmw_begin(l->pm->out, sizeof(l->pm->out), META1_PMW_CONTENT, s->id);

	s->msg = m;
	s->sent = s->extent_off = 0;
	s->extent = 0;
	s->limit = l->content == META1_PMW_C_ALL      ? m->bytes
		   : l->content == META1_PMW_C_HEADER ? m->header
						      : 0;
	meta1_pmw_num(&o, META1_PMW_F_BYTES, m->bytes, 8);
	meta1_pmw_num(&o, META1_PMW_F_HEADER, m->header, 8);
	if (!link_send(l, &o))
		return 0;
	pm_queue(s, &l->sending_end);
	return 1;
}

/* How many of the next n bytes are in memory. */
static size_t in_memory(const struct sess *s, size_t n)
{
	const struct meta1_pm_message *m = s->msg;
	uint64_t off = s->extent_off;
	size_t sum = 0;

	for (uint32_t i = s->extent; i < m->nextent && sum < n && m->extent[i].mem; i++, off = 0) {
		uint64_t left = m->extent[i].len - off;

		sum += left < n - sum ? (size_t)left : n - sum;
	}
	return sum;
}

static void pass(struct sess *s, size_t n)
{
	s->sent += n;
	s->extent_off += n;
	while (s->extent < s->msg->nextent && s->extent_off == s->msg->extent[s->extent].len) {
		s->extent++;
		s->extent_off = 0;
	}
}

/* n bytes that are in memory. */
static void fill(struct sess *s, unsigned char *to, size_t n)
{
	while (n > 0) {
		const struct meta1_extent *e = &s->msg->extent[s->extent];
		size_t k = n < e->len - s->extent_off ? n : (size_t)(e->len - s->extent_off);

		memcpy(to, (const char *)e->mem + s->extent_off, k);
		to += k;
		n -= k;
		pass(s, k);
	}
}

static size_t room(const struct link *l, const struct sess *s)
{
	uint64_t n = s->limit - s->sent;

	if (n > META1_PMW_CHUNK_MAX)
		n = META1_PMW_CHUNK_MAX;
	if (n > l->window - s->unacked)
		n = l->window - s->unacked;
	if (n > l->windows - l->unacked)
		n = l->windows - l->unacked;
	return (size_t)n;
}

/* from: what was read, and has its place in the windows; NULL: it is in memory. */
static int chunk(struct sess *s, size_t n, const void *from)
{
	struct link *l = s->link;
	struct meta1_pmw_out o =
	    meta1_pmw_begin(l->pm->out, sizeof(l->pm->out), META1_PMW_CHUNK, s->id);
	unsigned char *to = meta1_pmw_room(&o, META1_PMW_F_DATA, n);

	if (!to) {
		pm_finish(s, "a chunk of the message has no room in a frame");
		return -1;
	}
	if (from) {
		memcpy(to, from, n);
		pass(s, n);
	} else {
		fill(s, to, n);
		s->unacked += n;
		l->unacked += n;
	}
	link_send(l, &o);
	return 0;
}

/* Its place in the windows is taken: so what is read is bounded as what is sent. */
static void read_more(struct sess *s, size_t n)
{
	const char *bad = s->extent < s->msg->nextent ? reader_begin(s, n)
						      : "the message has fewer bytes than it says";

	if (bad)
		pm_finish(s, bad);
	else
		pm_unqueue(s);
}

void content_read(struct sess *s, const void *from, size_t n, const char *bad)
{
	struct link *l = s->link;

	if (bad)
		pm_finish(s, bad);
	else if (chunk(s, n, from) == 0)
		pm_queue(s, &l->sending_end);
	content_pump(l);
}

/* All of it is told: what does it say? */
static void told(struct sess *s)
{
	pm_unqueue(s);
	reader_drop(s);
	s->msg = NULL;
	if (!say_end(s))
		pm_cannot(s);
}

void content_pump(struct link *l)
{
	struct sess *s;

	/* of a filter that does not read, ended sessions leave room in the windows, and their bytes
	 * here; it goes on with the next MORE, or PONG */
	while ((s = l->sending) && l->pm->host->conn->unsent(l->conn) < UNSENT_MAX) {
		size_t n = room(l, s);

		if (s->sent == s->limit)
			told(s);
		else if (n == 0 && l->unacked >= l->windows)
			return;
		else if (n == 0)
			pm_unqueue(s); /* comes back when something is acknowledged */
		else if (in_memory(s, n) == 0)
			read_more(s, n);
		else if (chunk(s, in_memory(s, n), NULL) == 0) {
			pm_unqueue(s);
			pm_queue(s, &l->sending_end);
		}
	}
}

int content_acked(struct link *l, struct sess *s, uint64_t n)
{
	if (n > s->unacked)
		return -1;
	s->unacked -= n;
	l->unacked -= n;
	if (s->msg && !s->pq && !s->reader)
		pm_queue(s, &l->sending_end);
	content_pump(l);
	return 0;
}

int content_enough(struct sess *s)
{
	if (s->stage != META1_PM_END)
		return -1;
	if (s->msg)
		told(s);
	return 0;
}

void content_drop(struct sess *s)
{
	if (s->msg)
		pm_unqueue(s);
	reader_drop(s);
	s->msg = NULL;
}
