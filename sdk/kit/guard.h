/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard.h -- memory that a module may look at for a time only: what it is asked, the content that
 * it judges. When the time is over the pages cannot be touched any more, and who does ends with a
 * signal that says so.
 */
#ifndef META1_KIT_GUARD_H
#define META1_KIT_GUARD_H
#include <stdbool.h>
#include <stddef.h>

struct kit_guard {
	char *base; /* NULL: none */
	size_t size, used;
};

/* Room for size bytes in pages of their own. */
void kit_guard_open(struct kit_guard *, size_t size);
void *kit_guard_get(struct kit_guard *, size_t n); /* zeroed; the sum is at most size */
void *kit_guard_copy(struct kit_guard *, const void *, size_t n);
#define KIT_GUARD_ROOM(n) (((n) + 15) / 16 * 16) /* what get() takes of size */
/* From now on nobody may touch it. The address is not used again for a long time. */
void kit_guard_shut(struct kit_guard *);
/* It is of one that was shut; in a handler of signals. */
bool kit_guard_holds(const void *);

#endif
