/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_map.c -- a map whose module runs in a worker: each look-up is one question.
 * Comes from look.c; goes to iso_ask.c. Owns nothing. On failure: a temporary failure.
 */
#include "mod/iso.h"

#include <meta1/map.h>

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	struct iso *i = inst;
	const struct iso_lookup m = {
	    .ms = iso_left(i, rq), .key = {key.len ? key.data : "", key.len}};

	iso_put(i, rq, ISO_LOOKUP, &iso_shape_lookup, &m, NULL, 0, NULL);
}

static bool answered(struct iso *i, struct iso_ask *a, struct wire_frame *f)
{
	struct iso_answer m;
	struct pool pool;
	bool ok;

	pool_init(&pool, ISO_POOL_MAX);
	ok = shape_unpack(&iso_shape_answer, f->p, f->n, &pool, &m) && m.status <= META1_CANCELED &&
	     m.status != META1_MORE;
	ok = ok && (m.status != META1_OK || (m.reply && m.reply->nval));
	if (ok)
		i->in->table.finish(a->rq, (enum meta1_status)m.status, m.reply);
	else
		mod_req_refuse(a->rq, "its worker process talks nonsense");
	pool_clear(&pool);
	return ok;
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = lookup, .cancel = iso_cancel};
const struct iso_kind iso_map = {
    .kind = META1_MAP, .name = "map", .ops = &ops, .answered = answered};
