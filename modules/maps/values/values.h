/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * values.h -- the values of one answer, of a back end that may have several: each column of each
 * row, each element of a list, is one value, in the order in which they came; nothing is joined
 * and nothing cut off. Compiled into the maps that are so. An answer beyond the bounds is none.
 */
#ifndef MAP_VALUES_H
#define MAP_VALUES_H
#include <meta1/module.h>

#define VALUES_MOST  16384u	/* of one answer */
#define VALUES_BYTES (1u << 20) /* of one answer */
#define VALUE_BYTES  16384u	/* of one value, as in a text map */

struct values {
	struct meta1_buf *v;
	uint32_t n, room;
	char *text;
	size_t len, cap;
};

/* Copies one more. NULL: taken; else why it was not. */
const char *values_add(struct values *, const void *, size_t);
/* All of them; valid until the next call. */
const struct meta1_buf *values_all(struct values *);
void values_free(struct values *); /* empty afterwards */

#endif
