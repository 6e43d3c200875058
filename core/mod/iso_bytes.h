/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_bytes.h -- content between a role and a worker. What is short goes in the frame, what is long
 * in memory without a name (memfd), what stands in a file of the role that has nothing else by a
 * descriptor that can only read (of other files iso_copy.c makes copies first). Of a worker a role
 * takes no other descriptors than of sealed memory: reading them never blocks, and what was judged
 * is what is read.
 */
#ifndef META1_MOD_ISO_BYTES_H
#define META1_MOD_ISO_BYTES_H
#include "mod/iso_msg.h"
#include "mod/wire.h"

#define ISO_INLINE_MAX (64u << 10) /* bytes of content in a frame */

struct iso_bytes {				  /* on the way out */
	int fd[WIRE_FDS_MAX], from[WIRE_FDS_MAX]; /* of which descriptor it is a copy; -1: memory */
	unsigned nfd;
	int mem; /* memory's place in fd; -1: none */
	uint64_t mem_len;
	size_t inline_left;
};
void iso_bytes_init(struct iso_bytes *);
/* Pieces, of the pool, for extents. copy: files too go into memory. false: err. */
bool iso_bytes_put(struct iso_bytes *, const struct meta1_extent *, uint32_t n, bool copy,
    struct pool *, struct iso_piece **out, struct meta1_err *);
bool iso_bytes_seal(struct iso_bytes *); /* when all are in it */
/* Memory without a name (<0: errno); a file's run at its end; from now on it can only be read.
 * Where it may wait for a disk. */
int iso_bytes_memory(void);
bool iso_bytes_copy(int to, const struct meta1_extent *);
bool iso_bytes_close_memory(int fd);
void iso_bytes_drop(struct iso_bytes *); /* not sent */
/* How many bytes they have. false: one is not memory that is sealed and all there. */
bool iso_bytes_sealed(const int *fd, unsigned nfd, uint64_t *bytes);
/* Extents, of the pool, for pieces that came with these descriptors. NULL: they are wrong. left:
 * of a worker: so many bytes it may name yet, each once; of a role NULL. */
struct meta1_extent *iso_bytes_get(const struct iso_piece *, uint32_t n, const int *fd,
    unsigned nfd, uint64_t *left, struct pool *);

#endif
