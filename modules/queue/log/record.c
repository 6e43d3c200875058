/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.c -- outcomes, deaths and cursors on their way to the journal, as records of frames.
 * Comes from: manager.c, units.c, backlog.c, compact.c, checkpoint.c. Goes to: common/journal.c;
 * when they are durable to units.c and checkpoint.c. Owns: nothing.
 * On failure: a record that is not taken was not said, and the caller acts so.
 */
#include "log.h"

struct said {
	struct jrec *r;
	const struct jtext *text;
};

static bool put(struct bytes *b, const void *rec)
{
	const struct said *s = rec;

	return frame_put(b, s->r, s->text);
}

static size_t seal(struct journal *j, uint64_t serial, uint64_t off)
{
	return frame_seal(&j->out, serial, off, j->seq);
}

static void synced(struct manager *m)
{
	units_synced(m);
	ckpt_synced(m);
	if (m->want || m->j.off >= (uint64_t)m->j.size)
		ckpt_start(m);
}

bool record_open(struct manager *m)
{
	static const struct journal_kind kind = {"journal", seal, synced};

	m->j.kind = &kind;
	m->j.dir = m->dir;
	m->j.delay = m->l->c->status_sync;
	m->j.size = m->l->c->checkpoint_size;
	return journal_open(&m->j, m->l, m);
}

bool record_put(struct journal *j, struct jrec *r, const struct jtext *text, struct meta1_req *req)
{
	struct said s = {r, text};

	return journal_add(j, put, &s, req);
}

bool record_ready(struct journal *j)
{
	return journal_has_room(j) && frame_room(&j->gather, sizeof(struct jrec));
}
