/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_far.c -- what the module in a worker asks of its role: lines for the log, counters, that its
 * data changed, look-ups in the role's other maps, DNS.
 * Comes from iso.c with frames; goes to the host table of the instance, as the module's own calls
 * would. Owns a note of each question, at most FAR_MAX, until it is answered.
 * On failure: the question is a temporary failure; what is no message ends the worker.
 */
#include "mod/iso.h"

#include <stdlib.h>

#define FAR_MAX 1024

static void answer(struct iso *i, uint32_t id, enum meta1_status st, const struct meta1_reply *r)
{
	const struct iso_answer m = {.status = st, .reply = r};
	const struct iso_answer large = {.status = META1_TEMPFAIL};

	if (!wire_send(i->wire, ISO_FAR, id, &iso_shape_answer, &m, NULL, 0))
		wire_send(i->wire, ISO_FAR, id, &iso_shape_answer, &large, NULL, 0);
}

static void answered(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct iso_far *q = arg;

	LIST_REMOVE(q, link);
	q->iso->nfar--;
	if (q->iso->state != ISO_DOWN && q->life == q->iso->life)
		answer(q->iso, q->id, st, r);
	free(q);
}

static struct iso_far *note(struct iso *i, uint32_t id)
{
	struct iso_far *q;

	if (i->nfar == FAR_MAX) {
		answer(i, id, META1_TEMPFAIL, NULL);
		return NULL;
	}
	q = base_alloc(sizeof(*q));
	*q = (struct iso_far){.iso = i, .id = id, .life = i->life};
	LIST_INSERT_HEAD(&i->far, q, link);
	i->nfar++;
	return q;
}

static int64_t deadline(struct iso *i, int64_t ms)
{
	return loop_now(i->in->host->loop) + (ms < 0 ? 0 : ms > 600000 ? 600000 : ms);
}

/* ---- one function a message ---- */

static bool on_log(struct iso *i, struct wire_frame *f, struct pool *pool)
{
	struct iso_log m;

	if (!shape_unpack(&iso_shape_log, f->p, f->n, pool, &m) || !m.text)
		return false;
	mod_log(i->in, (enum meta1_level)m.level, m.text);
	return true;
}

static bool on_count(struct iso *i, struct wire_frame *f, struct pool *pool)
{
	struct iso_count m;

	if (!shape_unpack(&iso_shape_count, f->p, f->n, pool, &m) || !m.name)
		return false;
	i->in->table.count(iso_ctx(i), m.name, m.value);
	return true;
}

static bool on_changed(struct iso *i, struct wire_frame *f, struct pool *pool)
{
	(void)f, (void)pool;
	i->in->table.changed(iso_ctx(i));
	return true;
}

static bool on_map(struct iso *i, struct wire_frame *f, struct pool *pool)
{
	struct iso_map m;
	struct iso_far *q;

	if (!shape_unpack(&iso_shape_map, f->p, f->n, pool, &m) || m.index >= i->open.nmap)
		return false;
	q = note(i, f->id);
	if (q)
		i->in->table.map_lookup(
		    iso_ctx(i), i->map[m.index], m.key, deadline(i, m.ms), answered, q);
	return true;
}

static bool on_dns(struct iso *i, struct wire_frame *f, struct pool *pool)
{
	struct iso_dns m;
	struct iso_far *q;

	if (!shape_unpack(&iso_shape_dns, f->p, f->n, pool, &m) || !m.name || m.type > UINT16_MAX)
		return false;
	q = note(i, f->id);
	if (q)
		i->in->table.dns(
		    iso_ctx(i), m.name, (uint16_t)m.type, deadline(i, m.ms), answered, q);
	return true;
}

static const struct {
	uint16_t type;
	bool (*fn)(struct iso *, struct wire_frame *, struct pool *);
} handlers[] = {{ISO_LOG, on_log}, {ISO_COUNT, on_count}, {ISO_CHANGED, on_changed},
    {ISO_MAP, on_map}, {ISO_DNS, on_dns}};

int iso_far(struct iso *i, struct wire_frame *f)
{
	struct pool pool;
	bool ok;

	for (size_t k = 0; k < ARRAY_LEN(handlers); k++) {
		if (handlers[k].type != f->type)
			continue;
		pool_init(&pool, ISO_POOL_MAX);
		ok = handlers[k].fn(i, f, &pool);
		pool_clear(&pool);
		return ok ? 1 : -1;
	}
	return 0;
}

/* The instance is closed: nobody calls back any more. */
void iso_far_drop(struct iso *i)
{
	struct iso_far *q;

	while ((q = i->far.lh_first)) {
		LIST_REMOVE(q, link);
		free(q);
	}
	i->nfar = 0;
}
