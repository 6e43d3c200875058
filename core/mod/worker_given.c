/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_given.c -- what a module is given with a question and may use until it has finished: the
 * frame's strings and descriptors.
 * Comes from worker_pmilter.c and worker_transport.c with frames; goes with the request (worker.c).
 * Owns nothing: it is the question's. On failure: NULL, and all of it is dropped.
 */
#include "mod/worker.h"

#include <stdlib.h>
#include <unistd.h>

static void given_free(void *of)
{
	struct worker_given *g = of;

	while (g->nfd)
		close(g->fd[--g->nfd]);
	pool_clear(&g->pool);
	free(g->bytes);
	free(g);
}

struct worker_ask *worker_given(
    struct worker *w, struct wire_frame *f, const struct shape *shape, void *msg, size_t size)
{
	struct worker_given *g = base_alloc(size);
	struct worker_ask *a;

	pool_init(&g->pool, ISO_POOL_MAX);
	g->bytes = base_alloc(f->n + 1);
	memcpy(g->bytes, f->p, f->n);
	g->nfd = f->nfd;
	memcpy(g->fd, f->fd, f->nfd * sizeof(int));
	for (unsigned k = 0; k < f->nfd; k++)
		f->fd[k] = -1;
	a = shape_unpack(shape, g->bytes, f->n, &g->pool, msg) ? worker_ask(w, f->id, g) : NULL;
	if (a)
		a->free_of = given_free;
	else
		given_free(g);
	return a;
}

bool worker_session(const struct wire_frame *f, uint32_t *id)
{
	struct iso_session m;
	struct pool pool;

	pool_init(&pool, 0);
	if (!shape_unpack(&iso_shape_session, f->p, f->n, &pool, &m))
		return false;
	*id = m.session;
	return true;
}
