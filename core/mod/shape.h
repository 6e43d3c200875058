/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shape.h -- structs to bytes and back, by one table that says what is in the struct: what packs
 * and what unpacks cannot disagree. For frames between a role and its workers (wire.h), which are
 * processes of one machine and one build: numbers stand in its own order.
 */
#ifndef META1_MOD_SHAPE_H
#define META1_MOD_SHAPE_H
#include "lib/pool.h"

enum shape_kind {
	SHAPE_NUM,   /* an integer of any width */
	SHAPE_CHARS, /* char[n], ended by NUL */
	SHAPE_STR,   /* const char *, may be NULL */
	SHAPE_BUF,   /* struct meta1_buf; data NULL is kept */
	SHAPE_ONE,   /* pointer to a struct of another shape, may be NULL */
	SHAPE_MANY   /* pointer to several, their number in another field */
};
struct shape;
struct shape_field {
	uint8_t kind, width, count_width; /* width: of NUM and CHARS; count_width: of the number */
	uint16_t off, count_off;
	uint32_t max;		/* bytes of STR and BUF; of MANY how many */
	const struct shape *of; /* ONE, MANY; NULL: of struct meta1_buf */
};
struct shape {
	const char *name; /* for messages */
	const struct shape_field *field;
	uint16_t nfield, size;
	bool sized; /* begins with uint32_t size, which is not sent */
};

#define SHAPE_N_(T, f) ((uint8_t)sizeof(((T *)0)->f))
#define SHAPE_O_(T, f) ((uint16_t)offsetof(T, f))
#define SH_NUM(T, f)                                                                               \
	{                                                                                          \
		.kind = SHAPE_NUM, .width = SHAPE_N_(T, f), .off = SHAPE_O_(T, f)                  \
	}
#define SH_CHARS(T, f)                                                                             \
	{                                                                                          \
		.kind = SHAPE_CHARS, .width = SHAPE_N_(T, f), .off = SHAPE_O_(T, f)                \
	}
#define SH_STR(T, f, most)                                                                         \
	{                                                                                          \
		.kind = SHAPE_STR, .off = SHAPE_O_(T, f), .max = (most)                            \
	}
#define SH_BUF(T, f, most)                                                                         \
	{                                                                                          \
		.kind = SHAPE_BUF, .off = SHAPE_O_(T, f), .max = (most)                            \
	}
#define SH_ONE(T, f, shape)                                                                        \
	{                                                                                          \
		.kind = SHAPE_ONE, .off = SHAPE_O_(T, f), .of = (shape)                            \
	}
#define SH_MANY(T, f, n, most, shape)                                                              \
	{                                                                                          \
		.kind = SHAPE_MANY, .off = SHAPE_O_(T, f), .count_off = SHAPE_O_(T, n),            \
		.count_width = SHAPE_N_(T, n), .max = (most), .of = (shape)                        \
	}
#define SHAPE(T, fields, issized)                                                                  \
	{                                                                                          \
		.name = #T, .field = (fields), .nfield = ARRAY_LEN(fields), .size = sizeof(T),     \
		.sized = (issized)                                                                 \
	}

struct packed { /* bytes that grow */
	uint8_t *b;
	size_t n, cap;
	bool secret; /* what it grows out of is wiped */
};
/* Appends. false: a field is larger than its table allows; what was appended is undefined. */
bool shape_pack(const struct shape *, const void *from, struct packed *);
/* Fills *to (of the shape's size). Strings and buffers point into p, which need not be trusted;
 * arrays and structs are of the pool. false: the bytes are not of this shape, or too much. */
bool shape_unpack(const struct shape *, const uint8_t *p, size_t n, struct pool *, void *to);

#endif
