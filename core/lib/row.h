/* SPDX-License-Identifier: BSD-2-Clause */
/* row.h -- options of one section of the configuration as the value of a map, in the same words. */
#ifndef META1_ROW_H
#define META1_ROW_H
#include "opt.h"

struct row_kind {
	const char *section; /* whose records they are: "smtps" */
	const char *whom;    /* in messages: "for one client" */
	/* The options that may stand there: n structs of this size that begin with their names. */
	const void *items;
	size_t n, size;
};
/* Takes one option; i is its place in items; the values end with the call. <0: err says why. */
typedef int (*row_take_fn)(void *arg, size_t i, const struct meta1_opt *, const char *const *values,
    size_t n, struct meta1_err *);
/* 0, or the first mistake, without the position in a file that a row has not. */
int row_read(const struct row_kind *, const char *text, row_take_fn, void *arg, struct meta1_err *);

#endif
