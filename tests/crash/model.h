/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.h -- a record replayed up to a cut: what the disk surely has, and what it may have.
 *
 * A file is its sure bytes and a list of what came since; a sync that succeeded folds in
 * all that had ended before it began. Names are the same once more: a folder's sync makes
 * sure what was done to its entries before. Nothing else makes anything sure.
 */
#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H
#include "record.h"

#include <stdbool.h>
#include <stddef.h>

struct op {		     /* not sure yet */
	uint64_t begin, end; /* stamps; end 0: not over */
	enum rtype type;     /* R_WRITE, R_TRUNC, R_ALLOC */
	uint64_t off, len;
	const unsigned char *data;
};
struct obj { /* a file, or a folder */
	struct obj *next;
	uint64_t ino;
	bool dir;
	unsigned char *base;
	uint64_t size, cap;
	struct op *op;
	size_t nop, opcap;
};
struct name {
	const char *path;
	struct obj *o;
};
struct names {
	struct name *v;
	size_t n, cap;
};
struct nameop {
	uint64_t begin, end;
	bool sure; /* it is, though its end was not seen */
	enum rtype type;
	const char *path, *to;
	struct obj *o;
};
struct lie { /* syncs that are taken for nothing: "state/journal", "in/0/s", "in/" for its folder */
	const char *prefix;
	struct lie *next;
};
struct model {
	struct obj *all;
	struct names sure, now;
	struct nameop *op; /* names that are not sure, in order */
	size_t nop, opcap;
	struct pending { /* begun, not ended */
		uint64_t begin;
		const struct rec *r;
		struct obj *o;
	} * open;
	size_t nopen, opencap;
	struct lie *lies;
};
size_t model_cut_short(const struct model *); /* calls that changed something, and have no end */
void model_feed(struct model *, uint64_t stamp, const struct rec *);
void model_free(struct model *);
const char *rec_path(const struct rec *);
const char *rec_path2(const struct rec *);
const unsigned char *rec_data(const struct rec *);
/* The path that a file has now, or had at last. */
const char *model_path(const struct model *, const struct obj *);
struct obj *model_obj(const struct model *, uint64_t ino);

/* image.c: one of the disks that a power loss at this point may leave. */
enum image_mode { IMAGE_NONE, IMAGE_ALL, IMAGE_RANDOM };
void image_make(const struct model *, enum image_mode, uint64_t seed, const char *dir);
uint64_t image_random(uint64_t *state);

#endif
