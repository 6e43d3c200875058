/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spool.c -- a new message that a filter sends: in memory up to 64 KiB, then in a file without a
 * name in the queue's folder, which goes away with its descriptor.
 *
 * Comes from reply.c, part by part; goes to the host as an extent. Worker threads write the file;
 * the filter is told that a part is done with when it is there, so that what it sends stays within
 * our window, and who sends more than that fails. Owns memory and descriptor, also when the session
 * goes away while they are used.
 * On failure: a text of what was wrong; what is there is dropped with the answer.
 */
#include "pmilter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct part {
	struct part *next;
	size_t len, room;
	int ack; /* the filter waits to hear that it is done with */
	char at[];
};
struct spool {
	struct pm *pm;
	struct sess *sess;   /* NULL: it was dropped while a thread writes */
	struct part *memory; /* all of it, while there is no file */
	struct part *queue, **end, *out;
	int fd, err, busy;
	uint64_t bytes, off; /* that came; that are in the file */
	size_t untaken;
	struct meta1_extent extent;
};

/* ---- memory ---- */

static struct part *part_new(struct pm *pm, size_t room)
{
	struct part *p;

	if (pm->held + room > HELD_MAX || !(p = pm->host->alloc(pm->ctx, sizeof(*p) + room)))
		return NULL;
	p->room = room;
	pm->held += room;
	return p;
}

static void part_free(struct pm *pm, struct part *p)
{
	pm->held -= p->room;
	pm->host->free(pm->ctx, p);
}

/* How many of their bytes the filter waits for. */
static size_t parts_free(struct pm *pm, struct part **list)
{
	struct part *p;
	size_t n = 0;

	while ((p = *list)) {
		*list = p->next;
		n += p->ack ? p->len : 0;
		part_free(pm, p);
	}
	return n;
}

static void spool_free(struct spool *s)
{
	struct pm *pm = s->pm;

	parts_free(pm, &s->memory);
	parts_free(pm, &s->queue);
	parts_free(pm, &s->out);
	if (s->fd >= 0)
		close(s->fd);
	pm->host->free(pm->ctx, s);
}

/* ---- the file ---- */

static int open_file(const struct pm *pm)
{
	char dir[4096];
	int fd;

	snprintf(dir, sizeof(dir), "%s/in", pm->host->qdir);
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* On a worker thread. */
static void work(void *arg)
{
	struct spool *s = arg;

	if (s->fd < 0 && (s->fd = open_file(s->pm)) < 0)
		s->err = errno;
	for (const struct part *p = s->out; p && !s->err; p = p->next)
		for (size_t at = 0; at < p->len && !s->err;) {
			ssize_t n = pwrite(s->fd, p->at + at, p->len - at, (off_t)s->off);

			if (n > 0) {
				at += (size_t)n;
				s->off += (uint64_t)n;
			} else if (n == 0 || errno != EINTR) {
				s->err = n == 0 ? EIO : errno;
			}
		}
}

static void written(void *arg);

static const char *start(struct spool *s)
{
	s->out = s->queue;
	s->queue = NULL;
	s->end = &s->queue;
	s->busy = s->pm->host->offload(s->pm->ctx, work, written, s) == META1_OK;
	return s->busy ? NULL : "the filter's message cannot be kept: too much waits for the disk";
}

static void taken(struct spool *s, size_t n)
{
	s->untaken -= n;
	if (n)
		reply_taken(s->sess, n);
}

static void written(void *arg)
{
	struct spool *s = arg;
	struct pm *pm = s->pm;
	const char *bad = NULL;
	size_t n;

	s->busy = 0;
	if (!s->sess) {
		spool_free(s);
		return;
	}
	n = parts_free(pm, &s->out);
	if (s->err) {
		pm->host->log(pm->ctx, META1_WARN,
		    "the filter's message cannot be kept in a file: %s", strerror(s->err));
		n += parts_free(pm, &s->queue);
		bad = "the filter's message cannot be kept in a file";
	}
	taken(s, n);
	if (!bad && s->queue)
		bad = start(s);
	if (bad)
		reply_no_room(s->sess, bad);
	if (!s->busy)
		reply_settled(s->sess);
}

/* ---- from the filter ---- */

/* Not the filter's fault. */
static const char *ours(struct sess *sess, const char *why)
{
	reply_no_room(sess, why);
	return why;
}

static int in_memory(struct spool *s, const void *data, size_t n)
{
	struct pm *pm = s->pm;

	if (!s->memory && !(s->memory = part_new(pm, SPOOL_MEM)))
		return -1;
	memcpy(s->memory->at + s->memory->len, data, n);
	s->memory->len += n;
	return 0;
}

static struct spool *spool_new(struct sess *sess)
{
	struct pm *pm = sess->pm;
	struct spool *s = pm->host->alloc(pm->ctx, sizeof(*s));

	if (!s)
		return NULL;
	s->pm = pm;
	s->sess = sess;
	s->fd = -1;
	s->end = &s->queue;
	return s;
}

static const char *to_file(struct spool *s, const void *data, size_t n)
{
	struct part *p = part_new(s->pm, n);

	const char *bad;

	if (!p)
		return ours(s->sess, "there is no memory for the filter's message");
	memcpy(p->at, data, n);
	p->len = n;
	p->ack = 1;
	if (s->memory) { /* goes first; the filter has been told */
		*s->end = s->memory;
		s->end = &s->memory->next;
		s->memory = NULL;
	}
	*s->end = p;
	s->end = &p->next;
	s->untaken += n;
	if (s->untaken > META1_PMW_WINDOW)
		return "the filter sends more of its message than the window allows";
	bad = s->busy ? NULL : start(s);
	return bad ? ours(s->sess, bad) : NULL;
}

const char *spool_add(struct sess *sess, const void *data, size_t n)
{
	struct spool *s = sess->spool;

	if (!s && !(s = sess->spool = spool_new(sess)))
		return ours(sess, "there is no memory for the filter's message");
	s->bytes += n;
	if (s->bytes > (uint64_t)s->pm->conf->max_message_size)
		return "the filter's message is larger than max_message_size";
	/* busy first: while it is, the descriptor is the thread's */
	if (s->busy || s->fd >= 0 || s->queue || s->bytes > SPOOL_MEM)
		return to_file(s, data, n);
	if (in_memory(s, data, n) < 0)
		return ours(sess, "there is no memory for the filter's message");
	reply_taken(sess, n);
	return NULL;
}

int spool_busy(const struct sess *sess)
{
	return sess->spool && sess->spool->busy;
}

const struct meta1_extent *spool_extent(struct sess *sess)
{
	static const struct meta1_extent none = {.mem = "", .fd = -1};
	struct spool *s = sess->spool;

	if (!s)
		return &none;
	s->extent = (struct meta1_extent){.mem = s->fd >= 0  ? NULL
						 : s->memory ? s->memory->at
							     : "",
	    .len = s->bytes,
	    .fd = s->fd};
	return &s->extent;
}

void spool_drop(struct sess *sess)
{
	struct spool *s = sess->spool;

	sess->spool = NULL;
	if (!s)
		return;
	s->sess = NULL;
	if (!s->busy)
		spool_free(s); /* else written() does */
}
