/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judged.c -- the end of a mail that policy filters judge: the whole of it is shown to them, and
 * what they leave of it goes through the scanner into the store.
 *
 * Comes from commit.c (nothing is wrong with the content, which image.c has); goes to filter.c
 * (END), then to judged_env.c and commit.c. Envelope edits are made before a byte is stored; limits
 * of size and hops are looked at anew. Bytes of files are read by worker threads, 256 KiB at a
 * time; a turn of the loop stores 1 MiB at most. Owns what is on its way into the store.
 * On failure, also of the client's connection: the mail is dropped, for nobody heard 250.
 */
#include "smtps/smtps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

METRIC_COUNTER(m_discarded, "filter_discarded_total", "Messages that a policy filter threw away.");
METRIC_COUNTER(m_held, "filter_held_total", "Messages that a policy filter holds in the queue.");
METRIC_COUNTER(
    m_edited, "filter_edited_total", "Messages whose content or envelope filters changed.");

#define A_PIECE	  (64u << 10)
#define A_READ	  (256u << 10)
#define A_TURN	  (1u << 20)
#define TRACE_MAX 2048

struct smtps_judged {
	struct smtps_tx *tx;
	struct meta1_pm_ask ask;
	struct meta1_buf *rcpt;
	const struct meta1_extent *ext; /* the image's, or the chain's */
	unsigned n, i;
	uint64_t at, pos;  /* in ext[i], in all of it */
	uint64_t place;	   /* of our Received line */
	bool traced, more; /* it is stored; the store takes no more now */
	bool busy, gone, mended;
	struct task task;
	struct work_owner owner;
	/* read from a file */
	int fd, err;
	uint64_t off;
	size_t want, have, used;
	uint8_t *buf;
};

void smtps_judged_free(struct smtps_tx *tx)
{
	struct smtps_judged *j = tx->judged;

	if (j == NULL)
		return;
	tx->judged = NULL;
	free(j->rcpt);
	task_cancel(&j->task);
	j->gone = true;
	if (j->busy)
		return; /* have_read() ends it */
	if (j->fd >= 0)
		close(j->fd);
	free(j->buf);
	free(j);
}

static void lost(struct smtps_session *s)
{
	s->tx->failed = true;
	smtps_commit_refused(s);
}

/* ---- into the store ---- */

static void pump(void *arg);

static bool store(struct smtps_judged *j, const void *p, size_t n)
{
	enum meta1_status st = META1_OK;

	if (n > 0)
		st = smtps_body_put(j->tx, p, n);
	j->more = j->more || st == META1_MORE;
	return st == META1_OK || st == META1_MORE;
}

static bool store_scanned(struct smtps_judged *j, const uint8_t *p, size_t n)
{
	size_t at = 0;
	struct smtps_run run;

	while (at < n) {
		size_t used = smtps_data_scan(&j->tx->scan, p + at, n - at, &run);

		if (!store(j, run.add, run.nadd) || !store(j, p + at, run.keep))
			return false;
		at += used;
	}
	j->pos += n;
	return true;
}

static bool trace(struct smtps_judged *j)
{
	char line[TRACE_MAX];

	j->traced = true;
	j->tx->head = smtps_received_line(line, sizeof(line), j->tx->session, j->tx);
	return store(j, line, j->tx->head);
}

static void work(void *arg)
{
	struct smtps_judged *j = arg;

	for (j->have = 0; j->have < j->want && j->err == 0;) {
		ssize_t n =
		    pread(j->fd, j->buf + j->have, j->want - j->have, (off_t)(j->off + j->have));

		if (n > 0)
			j->have += (size_t)n;
		else if (n == 0 || errno != EINTR)
			j->err = n == 0 ? EIO : errno;
	}
}

static void have_read(void *arg)
{
	struct smtps_judged *j = arg;

	j->busy = false;
	if (j->gone) {
		close(j->fd);
		free(j->buf);
		free(j);
		return;
	}
	pump(j);
}

/* Begins to read what comes next; of a descriptor of its own, for who gave it may go away. */
static bool fetch(struct smtps_judged *j, const struct meta1_extent *e)
{
	uint64_t left = e->len - j->at;

	if (j->buf == NULL)
		j->buf = base_alloc(A_READ);
	if (j->fd >= 0)
		close(j->fd);
	j->fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 0);
	j->off = e->off + j->at;
	j->want = left < A_READ ? (size_t)left : A_READ;
	j->have = j->used = 0;
	j->busy = j->fd >= 0 && work_do(j->tx->srv->role->work, &j->owner, work, have_read, j);
	return j->busy;
}

/* The next bytes, up to where our line goes; NULL: they are being read, or cannot be. */
static const uint8_t *next_bytes(struct smtps_judged *j, size_t *n)
{
	const struct meta1_extent *e = &j->ext[j->i];
	uint64_t left = e->len - j->at;
	const uint8_t *p;

	if (e->mem == NULL && j->used == j->have) {
		if (!fetch(j, e)) /* else err is the thread's from now on */
			j->err = EIO;
		return NULL;
	}
	p = e->mem != NULL ? (const uint8_t *)e->mem + j->at : j->buf + j->used;
	if (e->mem == NULL)
		left = j->have - j->used;
	left = left < A_PIECE ? left : A_PIECE;
	if (!j->traced && left > j->place - j->pos)
		left = j->place - j->pos;
	*n = (size_t)left;
	j->at += left;
	j->used += e->mem == NULL ? (size_t)left : 0;
	return p;
}

/* true: all of it is with the store. */
static bool some(struct smtps_judged *j, bool *ok)
{
	uint64_t end = j->pos + A_TURN;
	struct smtps_run run;
	const uint8_t *p;
	size_t n = 0;

	*ok = true;
	while (*ok && !j->more) {
		if (!j->traced && j->pos == j->place) {
			*ok = trace(j);
		} else if (j->i == j->n) {
			smtps_data_end(&j->tx->scan, &run);
			*ok = store(j, run.add, run.nadd);
			return *ok;
		} else if (j->at == j->ext[j->i].len) {
			j->i++;
			j->at = 0;
			j->have = j->used = 0;
		} else if (j->pos >= end) {
			loop_defer(j->tx->srv->role->loop, &j->task);
			return false;
		} else {
			p = next_bytes(j, &n);
			if (p == NULL) {
				*ok = j->busy || j->err == 0;
				return false;
			}
			*ok = store_scanned(j, p, n);
		}
	}
	return false;
}

static void pump(void *arg)
{
	struct smtps_judged *j = arg;
	struct smtps_tx *tx = j->tx;
	struct smtps_session *s = tx->session;
	bool ok = true, all;

	if (j->busy)
		return;
	all = j->err == 0 && some(j, &ok);
	if (j->busy || (j->err == 0 && ok && !all))
		return; /* ready(), have_read() or the task goes on */
	smtps_session_awake(s);
	if (all) {
		tx->scan.mended = j->mended;
		smtps_commit_judged(s);
	} else {
		lost(s);
	}
	smtps_session_run(s);
}

void smtps_judged_ready(struct smtps_tx *tx)
{
	tx->judged->more = false;
	pump(tx->judged);
}

static void put(struct smtps_session *s, const struct smtps_answer *a)
{
	struct smtps_tx *tx = s->tx;
	struct smtps_judged *j = tx->judged;
	const struct meta1_pm_message *m = j->ask.msg;

	j->ext = a->extent != NULL ? a->extent : m->extent;
	j->n = a->extent != NULL ? a->nextent : m->nextent;
	j->place = smtps_image_place(tx->image, a->extent, a->nextent);
	j->mended = tx->scan.mended;
	tx->cut = 0; /* it is not in the image */
	/* Whatever a filter made of it: only lines that end with CRLF are stored. */
	smtps_data_start(&tx->scan, true, true);
	smtps_session_await(s, AWAIT_FILTER);
	loop_defer(s->srv->role->loop, &j->task);
}

/* ---- the question ---- */

static bool hold(struct smtps_tx *tx, const struct smtps_answer *a)
{
	char why[400];
	size_t n;

	if (a->hold == NULL)
		return true;
	snprintf(why, sizeof(why), "%.60s: ", a->by != NULL ? a->by : "-");
	n = strlen(why);
	reply_ascii(a->hold, strlen(a->hold), why + n, sizeof(why) - n);
	tx->hold = pool_strn(&tx->pool, why, strlen(why));
	if (tx->hold == NULL)
		return false;
	m_held.value++;
	tx->flags |= META1_M_HOLD;
	log_event(LOG_L_INFO, "smtps.held", "id=%s filter=%s why=%s", tx->id,
	    a->by != NULL ? a->by : "-", why + n);
	return true;
}

static void said(struct smtps_session *s, const struct smtps_answer *a)
{
	struct smtps_tx *tx = s->tx;

	if (smtps_filter_refused(s, a)) {
		smtps_tx_reset(s);
		return;
	}
	if (a->action != META1_PM_DISCARD && (!smtps_judged_envelope(tx, a) || !hold(tx, a))) {
		log_event(LOG_L_WARN, "smtps.filter_edit",
		    SMTPS_WHO " reply=451 dsn=4.3.0 filter=%s", SMTPS_WHO_OF(s),
		    a->by != NULL ? a->by : "-");
		smtps_session_refuse(s, 451, "4.3.0", "The mail cannot be taken now, try again");
		smtps_tx_reset(s);
		return;
	}
	m_edited.value += a->extent != NULL || a->nedit > 0;
	if (a->action == META1_PM_DISCARD || tx->nrcpt == 0) {
		m_discarded.value++;
		smtps_commit_discard(s, a->by);
		return;
	}
	put(s, a);
}

/* As the client said them: an address that stands for others is one. */
static void rcpts(struct smtps_judged *j)
{
	const struct smtps_rcpt *r, *last = NULL;
	uint32_t n = 0;

	j->rcpt = base_alloc((j->tx->nrcpt + 1) * sizeof(*j->rcpt));
	STAILQ_FOREACH(r, &j->tx->rcpts, next)
	{
		if (last == NULL || r->told.data != last->told.data)
			j->rcpt[n++] = r->told;
		last = r;
	}
	j->ask.rcpt = j->rcpt;
	j->ask.nrcpt = n;
}

/* So many recipients may be added to those that it has, with all that they stand for. */
static unsigned room(const struct smtps_tx *tx)
{
	return tx->nrcpt < SMTPS_RCPTS_MAX ? SMTPS_RCPTS_MAX - tx->nrcpt : 0;
}

static void closed(void *arg)
{
	struct smtps_tx *tx = arg;
	struct smtps_session *s = tx->session;
	struct meta1_pm_ask *q = &tx->judged->ask;
	static const struct smtps_answer nothing = {.action = META1_PM_CONTINUE};

	*q = (struct meta1_pm_ask){.size = sizeof(*q), .stage = META1_PM_END};
	q->msg = smtps_image_message(tx->image);
	rcpts(tx->judged);
	if (q->msg == NULL)
		lost(s);
	else if (smtps_filter_wants(s, META1_PM_END))
		smtps_filter_ask_end(s, q, tx->scan.hops, room(tx), said);
	else
		put(s, &nothing);
	smtps_session_run(s);
}

void smtps_judged_start(struct smtps_session *s)
{
	struct smtps_judged *j;

	if (s->srv->stopping) { /* nobody heard 250; a filter may take minutes */
		smtps_session_refuse(s, 421, "4.3.2", "Going down, try again later");
		smtps_tx_reset(s);
		smtps_session_end(s);
		return;
	}
	j = base_alloc(sizeof(*j));
	j->tx = s->tx;
	j->fd = -1;
	task_init(&j->task, pump, j);
	work_owner_init(&j->owner, 1);
	s->tx->judged = j;
	s->state = ST_COMMIT;
	smtps_session_await(s, AWAIT_FILTER);
	smtps_image_close(s->tx->image, closed);
}
