/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard.c -- pages that can be shut.
 * Comes from suites that lend memory; goes to mprotect(). Owns those that were shut, the last of
 * them, until the kit ends. On failure: the kit ends.
 */
#include "guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KEPT 4096

static struct kit_guard kept[KEPT];
static unsigned at;

void kit_guard_open(struct kit_guard *g, size_t size)
{
	size = (size + 4096) / 4096 * 4096;
	g->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->base == MAP_FAILED) {
		perror("mmap");
		abort();
	}
	g->size = size;
	g->used = 0;
}

void *kit_guard_get(struct kit_guard *g, size_t n)
{
	void *p = g->base + g->used;

	g->used += KIT_GUARD_ROOM(n);
	if (g->used > g->size)
		abort();
	return p;
}

void *kit_guard_copy(struct kit_guard *g, const void *from, size_t n)
{
	void *p = kit_guard_get(g, n);

	if (n)
		memcpy(p, from, n);
	return p;
}

void kit_guard_shut(struct kit_guard *g)
{
	struct kit_guard *old = &kept[at];

	if (!g->base)
		return;
	mprotect(g->base, g->size, PROT_NONE);
	if (old->base)
		munmap(old->base, old->size);
	*old = *g;
	at = (at + 1) % KEPT;
	g->base = NULL;
}

bool kit_guard_holds(const void *p)
{
	for (unsigned i = 0; i < KEPT && kept[i].base; i++)
		if ((const char *)p >= kept[i].base &&
		    (const char *)p < kept[i].base + kept[i].size)
			return true;
	return false;
}
