/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compact.c -- what still waits in a segment that holds little is copied, so that the rest goes.
 *
 * Order on disk: copy synced in qm/ -> "moved" in the journal -> the old unit's death behind it ->
 * freed. A copy without that word does not count (its record says where it came from), so a
 * crash at any point leaves one message, under the id it always had. An own file is never
 * copied: only its envelope moves. A message that is just being delivered stays (moved() says
 * so) and is asked for again.
 * Begins when segments take more than twice what lives in them, with the emptiest; copies
 * compact_rate bytes a second, in the batches of qmgr's own writer.
 * Comes from: a timer. Goes to: batch.c (copies), units.c. Owns: the pass under way.
 * On failure: the pass ends and begins anew later; damage leaves the segment as it is.
 */
#define XXH_INLINE_ALL
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define TICK_MS	 1000
#define PAUSE_MS 30000
#define BATCHES	 64	    /* read in one job */
#define PIECE	 (4u << 20) /* bytes of a job */

struct item { /* a message to be copied */
	struct seg_msg m;
	struct seg_origin from;
	struct compact *c;
	uint8_t *rec; /* of the copy */
	size_t reclen;
	struct chunk *content;
	bool bad;
};
struct compact {
	struct manager *m;
	struct meta1_watch *timer;
	struct unit *u; /* under way, or NULL */
	uint64_t at;	/* next batch to read */
	bool busy, ended, failed;
	struct scan_batch *batch[BATCHES];
	unsigned nbatch;
	struct item *item;
	unsigned nitem, next, load, waiting; /* next to be loaded; end of the job; in batches */
	int64_t pause;
	char why[120];
};

bool compact_busy(const struct manager *m)
{
	return m->compact != NULL && m->compact->waiting > 0;
}

static void forget_items(struct compact *c)
{
	for (unsigned i = 0; i < c->nitem; i++) {
		free(c->item[i].rec);
		free(c->item[i].content);
	}
	free(c->item);
	c->item = NULL;
	c->nitem = c->next = c->load = 0;
}

static void forget_batches(struct compact *c)
{
	while (c->nbatch > 0)
		free(c->batch[--c->nbatch]);
}

/* ---- which ---- */

static bool sparse(const struct manager *m)
{
	uint64_t size = (uint64_t)m->l->c->segment_size, all = m->t->nsegs * size;

	return all > 2 * m->t->bytes + 2 * size;
}

/* The emptiest that has been sparse for compact_after; mail that drains anyway is let be. */
static struct unit *pick(struct manager *m)
{
	uint64_t half = (uint64_t)m->l->c->segment_size / 2;
	int64_t now = m->l->h->now(m->l->ctx);
	struct unit *best = NULL;

	for (size_t i = 0; i < m->t->ucap; i++)
		for (struct unit *u = m->t->uh[i]; u != NULL; u = u->hnext) {
			if (u->file || u->dead || !u->closed || u->live == 0 || u->bytes >= half) {
				u->sparse = 0;
				continue;
			}
			if (u->sparse == 0)
				u->sparse = now;
			if (!u->stuck && u->hold == 0 &&
			    now - u->sparse >= m->l->c->compact_after &&
			    (best == NULL || u->bytes < best->bytes))
				best = u;
		}
	return best;
}

/* ---- reading ---- */

static int open_seg(const struct compact *c)
{
	char folder[16], name[24], path[48];

	folder_name(c->u->writer, folder);
	seg_name(name, 's', c->u->number);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return openat(c->m->l->qfd, path, O_RDONLY | O_CLOEXEC);
}

static void read_tables(void *arg)
{
	struct compact *c = arg;
	struct meta1_err e = {""};
	int fd = open_seg(c);
	size_t bytes = 0;

	if (fd < 0) {
		c->failed = true;
		snprintf(c->why, sizeof(c->why), "%s", strerror(errno));
		return;
	}
	while (c->nbatch < BATCHES && bytes < PIECE) {
		struct scan_batch *b = scan_table(fd, c->u->number, c->at, &e);

		if (b == NULL)
			break;
		c->at += b->len;
		bytes += b->table_len;
		c->batch[c->nbatch++] = b;
	}
	/* What lies behind a damaged place waits there; its unit stays alive, so nothing is lost.
	 */
	c->ended = c->nbatch < BATCHES && bytes < PIECE;
	close(fd);
}

static bool waits(struct compact *c, const struct scan_batch *b, uint32_t idx)
{
	uint32_t i = table_find(c->m->t, c->u->writer, b->seg, b->off, idx);
	const struct mrec *r = i != 0 ? table_at(c->m->t, i) : NULL;

	return r != NULL && r->nrcpt > 0 && r->told && !table_final(r);
}

static bool add_item(struct compact *c, const struct scan_batch *b, uint32_t idx,
    const struct seg_msg *s, const uint8_t *rec)
{
	struct item *v = realloc(c->item, (c->nitem + 1) * sizeof(*v)), *it;

	if (v == NULL)
		return false;
	c->item = v;
	it = &v[c->nitem];
	*it = (struct item){.m = *s,
	    .c = c,
	    .from = {.seg = b->seg, .off = b->off, .writer = c->u->writer, .idx = idx}};
	it->reclen = seg_copy(s, rec, &it->from, NULL);
	it->rec = malloc(it->reclen);
	if (it->rec == NULL)
		return false;
	seg_copy(s, rec, &it->from, it->rec);
	c->nitem++;
	return true;
}

static bool choose(struct compact *c)
{
	for (unsigned i = 0; i < c->nbatch; i++) {
		const struct scan_batch *b = c->batch[i];
		const uint8_t *p = b->table;
		size_t left = b->table_len;
		struct seg_msg s;

		for (uint32_t k = 0; k < b->nmsg; k++) {
			if (seg_rec_decode(p, left, &s) < 0)
				break;
			if (waits(c, b, k) && !add_item(c, b, k, &s, p))
				return false;
			p += s.r.len;
			left -= s.r.len;
		}
	}
	return true;
}

static void load(int fd, struct item *it)
{
	struct chunk *ch = malloc(sizeof(*ch) + (size_t)it->m.r.clen);
	uint64_t seg = it->from.seg;

	it->content = ch;
	it->bad = true;
	if (ch == NULL)
		return;
	*ch = (struct chunk){.cap = (uint32_t)it->m.r.clen, .len = (uint32_t)it->m.r.clen};
	it->bad =
	    pread(fd, ch->b, ch->len, (off_t)(it->from.off + it->m.r.coff)) != (ssize_t)ch->len ||
	    seg_seal(XXH3_64bits(ch->b, ch->len), seg) != it->m.r.csum;
}

static void load_contents(void *arg)
{
	struct compact *c = arg;
	int fd = open_seg(c);

	for (unsigned i = c->next; i < c->load; i++) {
		if (c->item[i].m.r.unit != 0)
			continue;
		if (fd < 0 || c->item[i].m.r.clen > LOG_BATCH_MAX)
			c->item[i].bad = true;
		else
			load(fd, &c->item[i]);
	}
	if (fd >= 0)
		close(fd);
}

/* ---- a pass ---- */

static void finish(struct compact *c)
{
	struct unit *u = c->u;

	forget_items(c);
	forget_batches(c);
	c->u = NULL;
	u->hold--;
	if (c->failed) {
		c->pause = c->m->l->h->now(c->m->l->ctx) + PAUSE_MS;
		c->m->l->h->log(c->m->l->ctx, META1_WARN,
		    "compaction of segment %llx of writer %u: %s: again later",
		    (unsigned long long)u->number, u->writer, c->why);
	} else {
		c->m->l->h->count(c->m->l->ctx, "compacted_segments", 1);
	}
	u->sparse = 0; /* what stayed (it was being delivered) is asked for after compact_after */
	units_settle(c->m, u);
}

/* The copy stands at n: from here on it is the message. */
static bool move(struct manager *m, struct item *it, const struct log_notice *n)
{
	const struct seg_origin *o = &it->from;
	uint32_t i = table_find(m->t, o->writer, o->seg, o->off, o->idx);
	bool own = it->m.r.unit != 0;
	struct log_ref is = {.writer = n->writer,
	    .idx = n->idx,
	    .seg = n->seg,
	    .boff = n->off,
	    .coff = own ? 0 : n->coff,
	    .len = it->m.r.clen,
	    .sum = own ? it->m.r.csum : n->sum,
	    .unit = it->m.r.unit,
	    .uwriter = own ? it->m.r.uwriter : n->writer};
	struct meta1_ref to;
	struct jrec j = {.type = J_MOVED,
	    .writer = o->writer,
	    .idx = o->idx,
	    .seg = o->seg,
	    .off = o->off,
	    .state = n->writer,
	    .own = n->seg,
	    .bytes = n->off,
	    .rcpt = n->idx};

	/* Moved without that word in the journal, the origin would be freed and the copy not count.
	 */
	if (i == 0 || table_at(m->t, i)->nrcpt == 0 || !record_ready(&m->j) ||
	    table_unit(m->t, n->writer, n->seg, true) == NULL)
		return false;
	seg_ref(&to, &is);
	if (!m->ev->moved(m->arg, it->m.id, table_key(m->t, i), &to))
		return false;
	record_put(&m->j, &j, NULL, NULL);
	return table_move(m->t, i, n->writer, n->seg, n->off, n->idx);
}

static void step(struct compact *c);

/* Of batch.c: the copy is synced; n NULL: it is not. */
static void copied(void *arg, const struct log_notice *n)
{
	struct item *it = arg;
	struct compact *c = it->c;
	struct manager *m = c->m;
	struct jrec j = {.type = J_VOID, .writer = LOG_QM};

	c->waiting--;
	if (n == NULL) {
		c->failed = true;
		snprintf(c->why, sizeof(c->why), "the copies could not be written");
	} else {
		manager_own(m, n);
		if (move(m, it, n)) {
			m->l->h->count(m->l->ctx, "compacted_messages", 1);
		} else {
			j.idx = n->idx;
			j.seg = n->seg;
			j.off = n->off;
			/* Not said: while its origin is there, a copy counts for nothing. */
			if (!record_put(&m->j, &j, NULL, NULL))
				c->u->hold++; /* for this life */
		}
	}
	if (c->waiting == 0)
		step(c);
}

static void loaded(void *arg)
{
	struct compact *c = arg;
	unsigned first = c->next;

	c->busy = false;
	c->next = c->load;
	for (unsigned i = first; i < c->load; i++) {
		struct item *it = &c->item[i];

		if (it->bad) {
			c->u->stuck = true; /* the reader names it when it is due */
			continue;
		}
		if (!writer_copy(c->m->l->w, it->m.id, &it->rec, it->reclen, &it->content,
			it->m.r.unit != 0, copied, it)) {
			c->failed = true;
			snprintf(c->why, sizeof(c->why), "out of memory");
			break;
		}
		c->waiting++;
	}
	if (c->waiting == 0)
		step(c);
}

static void tables(void *arg)
{
	struct compact *c = arg;

	c->busy = false;
	if (!c->failed && !choose(c)) {
		c->failed = true;
		snprintf(c->why, sizeof(c->why), "out of memory");
	}
	forget_batches(c);
	step(c);
}

/* Goes on; with the next copies only at the next tick, so that the rate is kept. */
static void step(struct compact *c)
{
	if (c->u == NULL || c->busy || c->waiting > 0)
		return;
	if (c->failed || (c->next == c->nitem && c->ended)) {
		finish(c);
		return;
	}
	if (c->next < c->nitem)
		return;
	forget_items(c);
	c->busy = store_job(c->m->l, read_tables, tables, c);
}

static void copy_some(struct compact *c)
{
	int64_t rate = c->m->l->c->compact_rate, bytes = 0;

	c->load = c->next;
	while (c->load < c->nitem && (bytes == 0 || bytes < rate) && bytes < PIECE) {
		const struct seg_rec *r = &c->item[c->load++].m.r;

		bytes += (int64_t)r->len + (r->unit != 0 ? 0 : (int64_t)r->clen);
	}
	c->busy = store_job(c->m->l, load_contents, loaded, c);
}

static void tick(int fd, short what, void *arg)
{
	struct compact *c = arg;
	struct manager *m = c->m;

	(void)fd;
	(void)what;
	store_arm(m->l, c->timer, TICK_MS);
	if (c->busy || c->waiting > 0)
		return;
	if (c->u != NULL) {
		if (c->next < c->nitem)
			copy_some(c);
		else
			step(c);
		return;
	}
	if (!m->loaded || m->l->h->now(m->l->ctx) < c->pause || !sparse(m))
		return;
	c->u = pick(m);
	if (c->u == NULL)
		return;
	c->u->hold++;
	c->at = 0;
	c->ended = c->failed = false;
	step(c);
}

void compact_open(struct manager *m)
{
	struct compact *c;

	if (m->l->w == NULL || m->l->w->number != LOG_QM || m->l->c->compact_rate == 0 ||
	    !META1_HAS(m->ev, moved) || m->ev->moved == NULL)
		return;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return;
	c->m = m;
	c->timer = m->l->h->watch_timer(m->l->ctx, TICK_MS, tick, c);
	m->compact = c;
}

void compact_close(struct manager *m)
{
	struct compact *c = m->compact;

	if (c == NULL)
		return;
	if (c->timer != NULL)
		m->l->h->unwatch(&c->timer);
	forget_items(c);
	forget_batches(c);
	free(c);
	m->compact = NULL;
}
