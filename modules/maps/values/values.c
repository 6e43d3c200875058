/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * values.c -- gathers the values of one answer, within bounds.
 * From the maps' back ends, on any thread; goes to finish() of the host. Owns copies of all.
 * On failure: a text that says which bound, and the answer is of no use.
 */
#include "values.h"

#include <stdlib.h>
#include <string.h>

static int make_room(struct values *s, size_t len)
{
	if (s->n == s->room) {
		uint32_t room = s->room ? s->room * 2 : 4;
		struct meta1_buf *v = realloc(s->v, room * sizeof(*v));

		if (!v)
			return -1;
		s->v = v;
		s->room = room;
	}
	if (s->len + len > s->cap || !s->text) {
		size_t cap = (s->len + len) * 2 + 64;
		char *text = realloc(s->text, cap);

		if (!text)
			return -1;
		s->text = text;
		s->cap = cap;
	}
	return 0;
}

const char *values_add(struct values *s, const void *data, size_t len)
{
	if (len > VALUE_BYTES)
		return "a value has more than 16384 bytes";
	if (s->n == VALUES_MOST)
		return "the answer has more than 16384 values";
	if (s->len + len > VALUES_BYTES)
		return "the answer has more than 1 MiB";
	if (make_room(s, len) < 0)
		return "no memory";
	if (len > 0)
		memcpy(s->text + s->len, data, len);
	s->v[s->n++] = (struct meta1_buf){NULL, len};
	s->len += len;
	return NULL;
}

/* The text may have moved since a value was added. */
const struct meta1_buf *values_all(struct values *s)
{
	size_t at = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		s->v[i].data = s->text + at;
		at += s->v[i].len;
	}
	return s->v;
}

void values_free(struct values *s)
{
	free(s->v);
	free(s->text);
	*s = (struct values){.v = NULL};
}
