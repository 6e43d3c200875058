/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * content.c -- a message to the filter, in chunks of at most 32 KiB, as many as it has room for.
 *
 * Comes from pmilter_pmilter.c at END, and from link.c when the filter is done with some; goes to
 * link_send(). Sessions take turns, a chunk each. Owns nothing: the bytes are the host's until the
 * question is finished. What is out and not acknowledged is bounded by the filter's windows, so
 * that of a slow filter's mail nothing but that stands in memory. On failure: a file that cannot be
 * read fails the question.
 */
#include "pmilter.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Of the extent where it stands, at most n bytes. <0: err says why. */
static ssize_t copy(struct sess *s, unsigned char *to, size_t n, struct meta1_err *err)
{
	const struct meta1_extent *e = &s->msg->extent[s->extent];
	ssize_t got;

	if (n > e->len - s->extent_off)
		n = (size_t)(e->len - s->extent_off);
	if (e->mem) {
		memcpy(to, (const char *)e->mem + s->extent_off, n);
		return (ssize_t)n;
	}
	do {
		got = pread(e->fd, to, n, (off_t)(e->off + s->extent_off));
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		snprintf(err->text, sizeof(err->text), "the message cannot be read: %s",
		    strerror(errno));
	else if (got == 0 && n)
		snprintf(err->text, sizeof(err->text), "the message is shorter than it was");
	return got == 0 && n ? -1 : got;
}

static int fill(struct sess *s, unsigned char *to, size_t n, struct meta1_err *err)
{
	while (n > 0) {
		ssize_t got;

		if (s->extent >= s->msg->nextent) {
			snprintf(err->text, sizeof(err->text),
			    "the message has fewer bytes than it says");
			return -1;
		}
		got = copy(s, to, n, err);
		if (got < 0)
			return -1;
		to += got;
		n -= (size_t)got;
		s->sent += (uint64_t)got;
		s->extent_off += (uint64_t)got;
		if (s->extent_off == s->msg->extent[s->extent].len) {
			s->extent++;
			s->extent_off = 0;
		}
	}
	return 0;
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

/* <0: the question failed */
static int chunk(struct sess *s, size_t n)
{
	struct link *l = s->link;
	struct meta1_pmw_out o =
	    meta1_pmw_begin(l->pm->out, sizeof(l->pm->out), META1_PMW_CHUNK, s->id);
	unsigned char *to = meta1_pmw_room(&o, META1_PMW_F_DATA, n);
	struct meta1_err err = {""};

	if (!to || fill(s, to, n, &err) < 0) {
		pm_finish(s, err.text);
		return -1;
	}
	s->unacked += n;
	l->unacked += n;
	link_send(l, &o);
	return 0;
}

/* All of it is told: what does it say? */
static void told(struct sess *s)
{
	pm_unqueue(s);
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
		else if (chunk(s, n) == 0) {
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
	if (s->msg && !s->pq)
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
	s->msg = NULL;
}
