/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parts.h -- one piece of memory that several processes share: a page with a head, then a part a
 * process, which it alone writes. mcp makes it, with room for as many processes as there can be,
 * and says how many there are; each process maps the parts of these. clients.c and tally.c say what
 * stands in a part.
 */
#ifndef META1_PARTS_H
#define META1_PARTS_H
#include "base.h"

#include <stdatomic.h>

#define PARTS_HEAD 4096u
#define PARTS_MAX  254u /* processes; parts that nobody has take no memory */

struct parts_head {
	uint64_t magic;
	_Atomic uint32_t processes; /* their number only grows */
	uint32_t pad;
	uint8_t secret[32]; /* of this memory, at random */
};
struct parts {
	uint8_t *map; /* NULL: not open */
	const struct parts_head *head;
	size_t size, part; /* bytes that are mapped; of one part */
	unsigned index;	   /* of our own */
};

/* A descriptor of memory that neither grows nor shrinks, all 0 but the head; or -1 (errno). */
int parts_make(const char *name, uint64_t magic, size_t part, unsigned processes);
/* mcp: there may be so many now, or as many as before where that is more. */
void parts_more(int fd, unsigned processes);
/* what: "the table of ...", for err. magic and part as they were made with. fd stays the caller's.
 * <0: err. */
int parts_open(struct parts *, int fd, uint64_t magic, size_t part, unsigned index,
    const char *what, struct meta1_err *);
void parts_close(struct parts *);
/* How many parts can be read: what mcp has added since is mapped too. Pointers into the memory end
 * with it. */
unsigned parts_count(struct parts *);

static inline void *parts_of(const struct parts *p, unsigned index)
{
	return p->map + PARTS_HEAD + p->part * index;
}

#endif
