/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outcomes.c -- what became of recipients, as lines of text in the journal.
 *
 * A piece begins with a line "#". A file that has journal_size is followed by a new one, in which
 * all that still matters is said again beside what is new; when that is synced the older files are
 * history (common/history.c).
 * Comes from: manager.c. Goes to: common/journal.c, manager_synced(). Owns: what is being said
 * again. On failure: a line that is not taken was not said, and the caller acts so.
 */
#include "dir.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GATHER	 (1u << 20)
#define PIECE	 2000	      /* messages said again in a turn */
#define GONE	 (30 * 86400) /* seconds; what is known of a file that was taken away */
#define NO_ROOM	 60000	      /* ms until a new file is tried again */

#define WORD_MAX 1024 /* bytes of a reply that are kept */

struct line {
	const struct rec *r;
	uint32_t rcpt, state, tries;
	int64_t next_try, now;
	uint64_t bytes;
	struct meta1_buf reason, by, id, addr, from;
	const char *word; /* of no recipient: "done" */
};

static void word(struct bytes *t, struct meta1_buf b)
{
	b.len = b.len < WORD_MAX ? b.len : WORD_MAX;
	bytes_add(t, " ", 1);
	text_word(t, b);
}

/* "WRITER NUMBER RCPT STATE TRIES NEXT TIME REASON BY"; of a final one besides "ID ADDRESS SENDER
 * BYTES RECIPIENTS BEFORE", for history; of none "WRITER NUMBER done". */
static void body(struct bytes *t, const struct line *l)
{
	bytes_fmt(t, "%" PRIu32 " %016" PRIx64, l->r->writer, l->r->number);
	if (l->word != NULL) {
		bytes_fmt(t, " %s", l->word);
		return;
	}
	bytes_fmt(t, " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRId64 " %" PRId64, l->rcpt, l->state,
	    l->tries, l->next_try, l->now);
	word(t, l->reason);
	word(t, l->by);
	if (l->state == META1_R_WAITING)
		return;
	word(t, l->id);
	word(t, l->addr);
	word(t, l->from);
	bytes_fmt(t, " %" PRIu64 " %" PRIu32 " %" PRIx64, l->bytes, l->r->nrcpt, l->r->after);
}

/* The body behind its checksum. */
static bool put_line(struct bytes *t, const void *rec)
{
	size_t was = t->len, at, from;
	char sum[20];

	if (t->len == 0)
		bytes_add(t, "#\n", 2); /* a piece begins */
	at = t->len;
	bytes_fmt(t, "%016d ", 0);
	from = t->len;
	body(t, rec);
	bytes_add(t, "\n", 1);
	if (t->bad) {
		t->bad = false;
		t->len = was;
		return false;
	}
	snprintf(sum, sizeof(sum), "%016" PRIx64, text_sum(t->b + from, t->len - from));
	memcpy(t->b + at, sum, 16);
	return true;
}

/* How far each writer's messages are known: so fsck misses one that vanishes before it is tried. */
static void put_cursors(struct manager *m)
{
	for (struct mwriter *w = m->ws; w != NULL; w = w->next) {
		struct rec at = {.writer = w->number, .number = w->cursor};
		struct line l = {.r = &at, .word = "seen"};

		if (w->cursor != w->said && (w->cursor & 0xff) == w->number &&
		    journal_add(&m->o.j, put_line, &l, NULL))
			w->said = w->cursor;
	}
}

static size_t seal(struct journal *j, uint64_t serial, uint64_t off)
{
	(void)serial;
	(void)off;
	return j->out.len;
}

static void clean_step(struct manager *);

static void synced(struct manager *m)
{
	manager_synced(m);
	if (m->o.cleaning)
		clean_step(m);
	else if (m->o.j.off >= (uint64_t)m->o.j.size && m->d->h->now(m->d->ctx) >= m->o.again)
		outcomes_clean(m);
}

bool outcomes_open(struct manager *m)
{
	static const struct journal_kind kind = {OUTCOMES, seal, synced};

	m->o.j.kind = &kind;
	m->o.j.dir = m->dir;
	m->o.j.delay = m->d->c->status_sync;
	m->o.j.size = m->d->c->journal_size;
	return journal_open(&m->o.j, m->d, m);
}

static bool put(struct manager *m, const struct line *l, struct meta1_req *req)
{
	if (m->o.j.gather.len == 0)
		put_cursors(m);
	return journal_add(&m->o.j, put_line, l, req);
}

bool outcomes_put(
    struct manager *m, const struct rec *r, const struct meta1_qoutcome *o, struct meta1_req *req)
{
	struct line l = {.r = r,
	    .rcpt = o->rcpt,
	    .state = o->state,
	    .tries = o->tries,
	    .next_try = o->next_try,
	    .now = r->last,
	    .reason = o->reason,
	    .by = {o->by, o->by != NULL ? strlen(o->by) : 0},
	    .id = {o->id, strlen(o->id)}};

	if (META1_HAS(o, bytes)) {
		l.addr = o->addr;
		l.from = o->from;
		l.bytes = o->bytes;
	}
	/* Both are mostly the next hop's reply: once is enough. */
	if (o->state != META1_R_WAITING && l.by.len == l.reason.len &&
	    (l.by.len == 0 || memcmp(l.by.data, l.reason.data, l.by.len) == 0))
		l.reason.len = 0;
	return put(m, &l, req);
}

bool outcomes_done(struct manager *m, const struct rec *r)
{
	struct line l = {.r = r, .word = "done"};

	return put(m, &l, NULL);
}

void outcomes_seen(struct manager *m)
{
	if (m->o.j.open)
		put_cursors(m);
}

void outcomes_flush(struct manager *m)
{
	outcomes_seen(m);
	journal_flush(&m->o.j);
}

/* ---- cleaning ---- */

static void keep_history(void *arg)
{
	history_keep(&((struct manager *)arg)->o.old);
}

static void kept(void *arg)
{
	struct manager *m = arg;

	m->o.removing = m->o.cleaning = false;
	m->d->h->count(m->d->ctx, "checkpoints", 1);
}

static bool say_again(struct manager *m, const struct rec *r)
{
	if (r->dead)
		return outcomes_done(m, r);
	for (uint32_t i = 0; i < r->nst; i++) {
		const struct rst *s = &r->st[i];
		struct line l = {.r = r,
		    .rcpt = i,
		    .state = s->state,
		    .tries = s->tries,
		    .next_try = s->next_try,
		    .now = r->last,
		    .reason = texts_get(&m->t.texts, s->reason)};

		if ((s->state != META1_R_WAITING || s->tries > 0 || s->next_try != 0 ||
			s->reason != 0) &&
		    !put(m, &l, NULL))
			return false;
	}
	return true;
}

static struct rec *walk_next(struct manager *m, const struct rec *r)
{
	struct outcomes *o = &m->o;
	struct rec *next = r->next;

	if (next == NULL && !o->of_dead) {
		o->of_dead = true;
		next = m->t.dead.first;
	}
	return next;
}

void outcomes_skip(struct manager *m, const struct rec *gone)
{
	if (m->o.cleaning && m->o.walk == gone)
		m->o.walk = walk_next(m, gone);
}

/* An admin took its file away so long ago that it will not come back: else what is known of such
 * would be said again for ever. */
static bool is_forgotten(const struct manager *m, const struct rec *r)
{
	int64_t keep = META1_HAS(m->ev, history_size) ? m->ev->history_time : 0;

	keep = keep > GONE ? keep : GONE;
	return !r->dead && !r->told && !r->seen && r->last + keep < m->d->h->wall(m->d->ctx);
}

/* Said again, or forgotten. false: no more now. */
static bool clean_one(struct manager *m)
{
	struct rec *r = m->o.walk;

	if (is_forgotten(m, r)) {
		outcomes_skip(m, r);
		table_remove(&m->t, r);
		m->d->h->count(m->d->ctx, "forgotten", 1);
		return true;
	}
	if (!say_again(m, r))
		return false;
	m->o.walk = walk_next(m, r);
	return true;
}

static void clean_step(struct manager *m)
{
	struct outcomes *o = &m->o;
	unsigned n = 0;

	if (o->removing)
		return;
	/* Nothing is said again before the new file is there: on a full disk it would fill the old
	 * one, time and again. */
	if (o->j.serial < o->keep) {
		if (o->j.next == 0 && !o->j.busy) {
			o->cleaning = false;
			o->again = m->d->h->now(m->d->ctx) + NO_ROOM;
		}
		return;
	}
	if (!o->walked) {
		while (o->walk != NULL && n++ < PIECE && o->j.gather.len < GATHER && clean_one(m))
			;
		o->walked = o->walk == NULL;
		o->need = o->j.put;
	}
	if (o->walked && o->j.synced >= o->need) {
		o->old = (struct history){.dir = m->dir,
		    .what = OUTCOMES,
		    .serial = o->keep,
		    .end = replay_end,
		    .pack = replay_pack,
		    .now = m->d->h->wall(m->d->ctx),
		    .time = META1_HAS(m->ev, history_size) ? m->ev->history_time : 0,
		    .size = META1_HAS(m->ev, history_size) ? m->ev->history_size : 0,
		    .min_free = m->d->c->min_free};
		o->removing = store_job(m->d, keep_history, kept, m);
		o->cleaning = o->removing;
	}
}

void outcomes_clean(struct manager *m)
{
	struct outcomes *o = &m->o;

	if (o->cleaning || !m->loaded)
		return;
	for (struct mwriter *w = m->ws; w != NULL; w = w->next)
		w->said = 0; /* the new file has them too */
	journal_rotate(&o->j);
	o->keep = o->j.next;
	o->cleaning = true;
	o->walked = false;
	o->of_dead = m->t.live.first == NULL;
	o->walk = o->of_dead ? m->t.dead.first : m->t.live.first;
	put_cursors(m); /* a piece that opens the new file */
	clean_step(m);
}
