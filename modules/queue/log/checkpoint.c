/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checkpoint.c -- all that is known, written anew, so that old journals can go.
 *
 * Fuzzy: the journal first goes on in a new file S; then the waiting messages are walked, by
 * their numbers, in pieces while outcomes go on, and those stand in S and are replayed over it.
 * A message that comes meanwhile may be missed: it lies behind the cursors. The result
 * counts (rename) only when all outcomes up to the walk's end are durable. Envelopes stay in
 * their segments: one with a waiting message is never freed, so they need no second copy. Old
 * journals become history (history.c).
 * Comes from: journal.c (its size), backlog.c (after a start). Goes to: replay.c.
 * Owns: state/checkpoint.S. On failure: a warning; the old one and all journals stay.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE	  2000 /* messages of a turn */
#define PIECE_LEN (1u << 20)
#define PAUSE_MS  30000 /* after a failure */
#define TMP	  "checkpoint.tmp"

struct ckpt {
	struct manager *m;
	uint64_t serial, off, seq; /* first journal to be replayed over it */
	struct bytes buf;
	uint32_t walk; /* number of the last one looked at */
	int fd, err;
	bool busy, walked, ended, finishing;
	uint64_t need; /* journal records that must be durable */
	struct history keep;
};

void ckpt_free(struct ckpt **cp)
{
	struct ckpt *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf.b);
	free(c);
}

static bool put_outcomes(struct ckpt *c, const struct mrec *r)
{
	for (uint32_t i = 0; i < table_nrst(r); i++) {
		const struct rst *s = table_rst(r, i);
		struct jrec o = {.type = J_OUTCOME,
		    .writer = r->writer,
		    .idx = r->idx,
		    .rcpt = i,
		    .state = s->state,
		    .tries = s->tries,
		    .next_try = s->next_try,
		    .seg = r->seg,
		    .off = table_boff(r)};
		struct jtext why = {.reason = texts_get(&c->m->t->texts, s->reason)};

		if ((s->state != META1_R_WAITING || s->tries > 0 || s->next_try != 0 ||
			s->reason != 0) &&
		    !frame_put(&c->buf, &o, &why))
			return false;
	}
	return true;
}

static bool put_msg(struct ckpt *c, const struct mrec *r)
{
	const struct unit *own = table_own(c->m->t, r);
	struct jrec j = {.type = J_MSG,
	    .writer = r->writer,
	    .idx = r->idx,
	    .nrcpt = r->nrcpt,
	    .state = own != NULL ? own->writer : 0,
	    .seg = r->seg,
	    .off = table_boff(r),
	    .bytes = table_size(r),
	    .own = own != NULL ? own->number : 0};

	return frame_put(&c->buf, &j, NULL) && put_outcomes(c, r);
}

static void put_cursors(struct ckpt *c)
{
	for (struct mwriter *w = c->m->ws; w != NULL; w = w->next) {
		struct jrec j = {.type = J_CURSOR,
		    .writer = w->number,
		    .idx = w->cursor.idx,
		    .seg = w->cursor.seg,
		    .off = w->cursor.off,
		    .own = w->tally.life,
		    .bytes = w->tally.count,
		    .next_try = (int64_t)w->tally.begin,
		    .time = w->tally.time};

		frame_put(&c->buf, &j, NULL);
	}
	for (struct unit *u = c->m->t->dead; u != NULL; u = u->next) {
		struct jrec j = {.type = J_DEAD, .writer = u->writer, .seg = u->number};

		frame_put(&c->buf, &j, NULL);
	}
}

/* A record without a size has outcomes whose message was not scanned yet: they are needed
 * until the cursor has passed its place; then nothing will ever name it. */
static void put_next(struct ckpt *c, uint32_t i)
{
	const struct mrec *r = table_at(c->m->t, i);
	struct pos at = {.seg = r->seg, .off = table_boff(r), .idx = r->idx};
	struct mwriter *w;

	if (!r->used)
		return;
	w = manager_writer(c->m, r->writer);
	if (r->nrcpt > 0)
		put_msg(c, r);
	else if (w == NULL || pos_cmp(at, w->cursor) >= 0)
		put_outcomes(c, r);
	else
		table_remove(c->m->t, i);
}

static void put_piece(struct ckpt *c)
{
	/* A piece has at least one record: there is no empty frame, and free places are soon
	 * passed. */
	for (unsigned n = 0;
	     c->walk < c->m->t->top && (n < PIECE || c->buf.len == 0) && c->buf.len < PIECE_LEN;
	     n++)
		put_next(c, ++c->walk);
	if (c->walk >= c->m->t->top) {
		struct jrec j = {.type = J_END};

		frame_put(&c->buf, &j, NULL);
		c->walked = true;
		c->need = c->m->j.put;
	}
}

static void write_piece(void *arg)
{
	struct ckpt *c = arg;
	size_t n = frame_seal(&c->buf, ~c->serial, c->off, c->seq);

	if (c->fd < 0) {
		c->fd = openat(c->m->dir, TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
		if (c->fd < 0) {
			c->err = errno;
			return;
		}
	}
	c->err = bytes_write(c->fd, c->buf.b, n, c->off);
	if (c->err != 0)
		return;
	c->off += n;
	c->seq++;
}

static void remove_older(const struct ckpt *c)
{
	uint64_t *v;
	size_t n;

	if (serial_list(c->m->dir, "checkpoint", &v, &n) < 0)
		return;
	for (size_t i = 0; i < n && v[i] < c->serial; i++) {
		char name[40];

		serial_name(name, "checkpoint", v[i]);
		unlinkat(c->m->dir, name, 0);
	}
	free(v);
}

static void finish_work(void *arg)
{
	struct ckpt *c = arg;
	char name[40];

	serial_name(name, "checkpoint", c->serial);
	if (fdatasync(c->fd) < 0 || renameat(c->m->dir, TMP, c->m->dir, name) < 0 ||
	    fsync(c->m->dir) < 0) {
		c->err = errno;
		return;
	}
	remove_older(c);
	history_keep(&c->keep);
}

static void give_up(struct ckpt *c, int err)
{
	struct manager *m = c->m;

	m->l->h->log(m->l->ctx, META1_WARN,
	    "checkpoint %llx: %s: the old one and all journals stay until the next try",
	    (unsigned long long)c->serial, strerror(err));
	m->l->h->count(m->l->ctx, "failed_checkpoints", 1);
	m->ck_pause = m->l->h->now(m->l->ctx) + PAUSE_MS;
	ckpt_free(&m->ck);
}

static void finished(void *arg)
{
	struct ckpt *c = arg;
	struct manager *m = c->m;

	c->busy = false;
	if (c->err != 0) {
		give_up(c, c->err);
		return;
	}
	m->l->h->count(m->l->ctx, "checkpoints", 1);
	ckpt_free(&m->ck);
}

static void step(struct ckpt *c);

static void written(void *arg)
{
	struct ckpt *c = arg;

	c->busy = false;
	if (c->err != 0 || c->buf.bad) {
		give_up(c, c->err != 0 ? c->err : ENOMEM);
		return;
	}
	c->buf.len = 0;
	if (c->walked)
		c->ended = true;
	step(c);
}

static void step(struct ckpt *c)
{
	struct manager *m = c->m;

	if (c->busy)
		return;
	if (!c->ended) {
		if (!c->walked)
			put_piece(c);
		c->busy = store_job(m->l, write_piece, written, c);
	} else if (m->j.synced < c->need) {
		journal_flush(&m->j);
		return;
	} else if (m->j.serial < c->serial) { /* its first journal could not be made */
		give_up(c, ENOSPC);
		return;
	} else {
		c->keep = (struct history){.dir = m->dir,
		    .pack = frame_pack,
		    .what = "journal",
		    .end = frame_end,
		    .serial = c->serial,
		    .now = m->l->h->wall(m->l->ctx),
		    .time = META1_HAS(m->ev, history_size) ? m->ev->history_time : 0,
		    .size = META1_HAS(m->ev, history_size) ? m->ev->history_size : 0,
		    .min_free = m->l->c->min_free};
		c->busy = store_job(m->l, finish_work, finished, c);
	}
	if (!c->busy)
		give_up(c, EAGAIN);
}

void ckpt_synced(struct manager *m)
{
	if (m->ck != NULL && m->ck->ended)
		step(m->ck);
}

/* Called when the journal is at rest, so that its next frame opens the new file. */
void ckpt_start(struct manager *m)
{
	struct jrec j = {.type = J_END};
	struct ckpt *c;

	if (m->ck != NULL || !m->loaded || m->l->h->now(m->l->ctx) < m->ck_pause)
		return;
	m->want = true;
	if (m->j.busy)
		return;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return;
	m->want = false;
	journal_rotate(&m->j);
	record_put(&m->j, &j, NULL, NULL); /* the new file comes even if nothing else does */
	c->m = m;
	c->fd = -1;
	c->serial = m->j.next;
	m->ck = c;
	put_cursors(c);
	step(c);
}
