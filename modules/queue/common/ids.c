/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ids.c -- numbers that never repeat, of blocks that are reserved on disk before one is used; the
 * next block is taken on a worker when half of this one is gone.
 * Comes from: writers. Goes to: the module's take(). Owns: the block. On failure: a warning, and
 * no number when the block is used up; the next question tries again.
 */
#include "common.h"

#include <string.h>

static void taken(void *arg)
{
	struct ids *i = arg;

	i->busy = false;
	if (i->err != 0)
		i->s->h->log(i->s->ctx, META1_WARN, "counter of numbers of writer %u: %s",
		    i->writer, strerror(i->err));
	else
		i->ahead = i->got;
}

uint64_t ids_next(struct ids *i)
{
	if (i->next == i->end && i->ahead != 0) {
		i->next = i->ahead;
		i->end = i->ahead + IDS_BLOCK;
		i->ahead = 0;
	}
	if (i->end - i->next < IDS_BLOCK / 2 && i->ahead == 0 && !i->busy) {
		i->floor = i->end;
		i->busy = store_job(i->s, i->take, taken, i);
	}
	return i->next == i->end ? 0 : i->next++;
}

int ids_first(struct ids *i, const char *what, struct meta1_err *e)
{
	i->take(i);
	if (i->err != 0) {
		snprintf(e->text, sizeof(e->text), "%s: %s", what, strerror(i->err));
		return -1;
	}
	i->next = i->got;
	i->end = i->got + IDS_BLOCK;
	return 0;
}
