/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_map.c -- look-ups of a role, done by the map of this worker: inside the call, later or on
 * a thread, as the module does it (look.c).
 * Comes from worker.c with frames; goes to look.c. Owns nothing. On failure: as the map says.
 */
#include "mod/worker.h"

static void answered(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	worker_answer(arg, st, r);
}

static int frame(struct worker *w, struct wire_frame *f)
{
	struct worker_ask *a;
	struct iso_lookup m;
	struct pool pool;
	bool ok;

	if (f->type != ISO_LOOKUP)
		return 0;
	pool_init(&pool, 0);
	ok = shape_unpack(&iso_shape_lookup, f->p, f->n, &pool, &m);
	pool_clear(&pool);
	a = ok ? worker_ask(w, f->id, NULL) : NULL;
	if (!a)
		return -1;
	a->req = mod_map_lookup(w->in, m.key, worker_deadline(w, m.ms), answered, a);
	return 1;
}

const struct worker_kind worker_map = {.kind = META1_MAP, .frame = frame};
