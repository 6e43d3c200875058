/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writer.c -- a message is gathered in memory, then waits for its batch.
 *
 * Comes from: smtps (begin at 354, write, commit at the dot) and qmgr (reports).
 * Goes to: batch.c when the batch closes, big.c when the content outgrows memory.
 * Owns: the lock of in/N or qm, the messages between begin and the end of their batch.
 * On failure: the message is lost and commit says TEMPFAIL with the cause (452 4.3.1).
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void tick(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	writer_evaluate(arg, false);
}

/* The highest number in any folder: all take theirs from one counter, which may be lost. */
static void look_everywhere(int in, uint64_t *highest)
{
	static const char kinds[] = "sbx";

	for (unsigned n = 0; n < LOG_QM; n++) {
		uint64_t *v = NULL;
		char name[16];
		size_t nv = 0;
		int dir;

		snprintf(name, sizeof(name), "%u", n);
		dir = openat(in, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		for (const char *k = kinds; dir >= 0 && *k != '\0'; k++) {
			if (scan_list(dir, *k, &v, &nv) == 0 && nv > 0 && v[nv - 1] > *highest)
				*highest = v[nv - 1];
			free(v);
		}
		if (dir >= 0)
			close(dir);
	}
}

int writer_open(struct store *l, struct meta1_err *e)
{
	struct writer *w = calloc(1, sizeof(*w));
	bool qm = l->h->role == META1_QMGR;
	uint64_t highest = 0;
	int home = -1, ret = -1, n;

	if (w == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
		return -1;
	}
	l->w = w;
	w->l = l;
	w->fd = w->lock = w->dir = w->ids.fd = -1;
	w->qtail = &w->q;
	home = qm ? folder_make(l->qfd, "state", 0700, e) : folder_make(l->qfd, "in", 02750, e);
	if (home < 0)
		goto out;
	n = folder_take(l->qfd, qm, &w->dir, &w->lock, e);
	if (n < 0)
		goto out;
	w->number = w->ids.writer = (uint32_t)n;
	/* After the lock: so the numbers of a folder grow from life to life. */
	if (!qm)
		look_everywhere(home, &highest);
	if (space_open(w, &highest, e) < 0 || counter_open(&w->ids, l, home, highest, e) < 0)
		goto out;
	w->life = w->ids.next;
	if (qm)
		space_reserve(w);
	w->timer = l->h->watch_timer(l->ctx, -1, tick, w);
	if (w->timer == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_log: out of memory");
		goto out;
	}
	ret = 0;
out:
	if (home >= 0)
		close(home);
	return ret;
}

void writer_close(struct writer **wp)
{
	struct writer *w = *wp;

	*wp = NULL;
	if (w == NULL)
		return;
	if (w->timer != NULL)
		w->l->h->unwatch(&w->timer);
	while (w->q != NULL) {
		struct meta1_qmsg *m = w->q;

		w->q = m->next;
		store_answer(w->l, &m->req, META1_TEMPFAIL, "the queue is shut down");
		writer_drop(&m);
	}
	counter_close(&w->ids);
	space_close(w);
	if (w->fd >= 0)
		close(w->fd);
	if (w->lock >= 0)
		close(w->lock);
	if (w->dir >= 0)
		close(w->dir);
	free(w);
}

uint32_t writer_number(void *inst)
{
	struct store *l = inst;

	return l->w != NULL ? l->w->number : 0;
}

uint64_t writer_next_id(void *inst)
{
	struct store *l = inst;

	return l->w != NULL ? ids_next(&l->w->ids) : 0;
}

enum meta1_status writer_begin(void *inst, const char *id,
    const struct meta1_qops_writer_events *ev, void *arg, struct meta1_qmsg **out,
    struct meta1_err *e)
{
	struct store *l = inst;
	struct meta1_qmsg *m = NULL;

	if (l->w == NULL || id == NULL || strlen(id) >= META1_ID_MAX) {
		snprintf(e->text, sizeof(e->text),
		    "queue_log: this role does not write, or the id is missing or too long");
		return META1_TEMPFAIL;
	}
	if (space_full(l->w)) {
		snprintf(e->text, sizeof(e->text), "the queue's disk is full");
		return META1_TEMPFAIL;
	}
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		snprintf(e->text, sizeof(e->text), "out of memory");
		return META1_TEMPFAIL;
	}
	m->w = l->w;
	m->ev = ev;
	m->arg = arg;
	snprintf(m->id, sizeof(m->id), "%s", id);
	l->w->open++;
	*out = m;
	return META1_OK;
}

/* Sizes grow, so that a small message costs little and a larger one few pieces. */
static struct chunk *grow(struct meta1_qmsg *m)
{
	uint32_t cap = m->len < 2048 ? 4096 : m->len < 32768 ? 16384 : 65536;
	struct chunk *c = malloc(sizeof(*c) + cap);

	if (c == NULL)
		return NULL;
	c->next = NULL;
	c->cap = cap;
	c->len = 0;
	if (m->tail != NULL)
		m->tail->next = c;
	else
		m->head = c;
	m->tail = c;
	m->w->mem += cap;
	return c;
}

enum meta1_status writer_write(struct meta1_qmsg *m, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n > 0 && !m->failed) {
		struct chunk *c = m->tail;
		size_t k;

		if ((c == NULL || c->len == c->cap) && (c = grow(m)) == NULL) {
			m->failed = true;
			snprintf(m->why, sizeof(m->why), "out of memory");
			break;
		}
		k = c->cap - c->len < n ? c->cap - c->len : n;
		memcpy(c->b + c->len, p, k);
		c->len += (uint32_t)k;
		m->len += k;
		m->pending += k;
		p += k;
		n -= k;
	}
	if (!m->failed && m->big == NULL &&
	    (m->len > LOG_SMALL || m->w->mem > (uint64_t)m->w->l->c->memory) && !big_make(m)) {
		m->failed = true;
		snprintf(m->why, sizeof(m->why), "out of memory or of numbers");
	}
	if (!m->failed && m->big != NULL)
		big_feed(m);
	return m->failed ? META1_TEMPFAIL : m->paused ? META1_MORE : META1_OK;
}

uint64_t writer_written(struct meta1_qmsg *m)
{
	return m->len;
}

void writer_chunks(struct writer *w, struct chunk **head)
{
	while (*head != NULL) {
		struct chunk *c = *head;

		*head = c->next;
		w->mem -= c->cap;
		free(c);
	}
}

void writer_drop(struct meta1_qmsg **mp)
{
	struct meta1_qmsg *m = *mp;

	*mp = NULL;
	writer_chunks(m->w, &m->head);
	free(m->rec);
	free(m);
}

/* Somebody may have waited for this message to end. */
static void closed(struct writer *w)
{
	w->open--;
	if (w->q != NULL && w->open == 0)
		store_arm(w->l, w->timer, 0);
}

void writer_abort(struct meta1_qmsg **mp)
{
	struct meta1_qmsg *m = *mp;

	*mp = NULL;
	closed(m->w);
	if (m->big != NULL)
		big_drop(&m);
	else
		writer_drop(&m);
}

void writer_commit(struct meta1_qmsg **mp, struct meta1_req *req, const struct meta1_env *env)
{
	struct meta1_qmsg *m = *mp;
	struct store *l = m->w->l;

	*mp = NULL;
	closed(m->w);
	m->req = req;
	m->ev = NULL; /* the message's maker may be gone from now on */
	if (!m->failed) {
		m->reclen = seg_rec_size(m->id, env);
		m->rec = m->reclen > 0 ? malloc(m->reclen) : NULL;
		if (m->rec == NULL) {
			m->failed = true;
			snprintf(m->why, sizeof(m->why),
			    m->reclen > 0 ? "out of memory" : "the envelope cannot be stored");
		} else {
			seg_rec_encode(m->rec, m->reclen, m->id, env);
		}
	}
	if (m->failed) {
		store_answer(l, &m->req, META1_TEMPFAIL, m->why);
		if (m->big != NULL)
			big_drop(&m);
		else
			writer_drop(&m);
		return;
	}
	if (m->big != NULL)
		big_finish(m);
	else
		writer_gather(m);
}

bool writer_copy(struct writer *w, const char *id, uint8_t **rec, size_t reclen,
    struct chunk **content, bool outside, void (*copied)(void *, const struct log_notice *),
    void *arg)
{
	struct meta1_qmsg *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return false;
	m->w = w;
	m->copied = copied;
	m->arg = arg;
	m->outside = outside;
	snprintf(m->id, sizeof(m->id), "%s", id);
	m->rec = *rec;
	m->reclen = reclen;
	*rec = NULL;
	if (*content != NULL) {
		m->head = m->tail = *content;
		m->len = m->head->len;
		w->mem += m->head->cap;
		*content = NULL;
	}
	writer_gather(m);
	return true;
}

void writer_gather(struct meta1_qmsg *m)
{
	struct writer *w = m->w;

	m->next = NULL;
	if (w->q == NULL) {
		w->oldest = w->l->h->now(w->l->ctx);
		/* At the end of the turn: all dots of this turn share the batch. */
		store_arm(w->l, w->timer, 0);
	}
	*w->qtail = m;
	w->qtail = &m->next;
	w->qbytes += m->reclen + (m->big != NULL ? 0 : m->len);
	if (w->open == 0)
		store_arm(w->l, w->timer, 0);
	if (w->qbytes >= LOG_BATCH)
		writer_evaluate(w, false);
}

/* A batch closes when nobody is between begin and commit, or its oldest message has waited
 * commit_delay, or enough is gathered; never while another is in flight. */
void writer_evaluate(struct writer *w, bool force)
{
	int64_t wait;

	if (w->batch != NULL || w->q == NULL)
		return;
	wait = w->oldest + w->l->c->commit_delay - w->l->h->now(w->l->ctx);
	if (!force && w->open > 0 && wait > 0 && w->qbytes < LOG_BATCH) {
		store_arm(w->l, w->timer, wait);
		return;
	}
	if (!batch_start(w))
		store_arm(w->l, w->timer, 10); /* no thread or no number right now */
}

bool writer_idle(const struct writer *w)
{
	return w->q == NULL && w->batch == NULL;
}

size_t writer_tail(void *inst, uint8_t out[META1_NOTICE_MAX])
{
	struct store *l = inst;
	struct log_notice n = {.kind = NOTICE_TAIL};

	if (l->w == NULL)
		return 0;
	n.writer = l->w->number;
	n.life = l->w->life;
	n.seg = l->w->end.seg;
	n.off = n.next = l->w->end.off;
	n.count = l->w->count;
	memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
