/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise_fields.c -- the header of a message as a list of fields: cut into them, found by name and
 * number, put in, taken out.
 *
 * Comes from revise.c. Owns nothing: a field is a piece of a text that stays. Pure. On failure:
 * what is no field stands in the list as what it is.
 */
#include "mail/revise_parts.h"

#include <strings.h>

void revise_put_field(struct revise_state *s, size_t at, struct revise_field f)
{
	if (s->nfield == s->room) {
		s->room = s->room * 2 + 8;
		s->field = base_realloc(s->field, s->room * sizeof(*s->field));
	}
	memmove(s->field + at + 1, s->field + at, (s->nfield - at) * sizeof(*s->field));
	s->field[at] = f;
	s->nfield++;
}

void revise_cut_field(struct revise_state *s, size_t at)
{
	s->nfield--;
	memmove(s->field + at, s->field + at + 1, (s->nfield - at) * sizeof(*s->field));
}

static size_t name_len(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] > 32 && s[i] < 127 && s[i] != ':')
		i++;
	n = i;
	while (
	    s[i] == ' ' || s[i] == '\t') /* RFC 5322, 4.5: an obsolete blank; a line ends by CR */
		i++;
	return s[i] == ':' ? n : 0;
}

void revise_split(struct revise_state *s, const char *text, size_t len)
{
	const char *end = text + len, *lf;

	for (const char *p = text; p < end; p = lf + 1) {
		lf = memchr(p, '\n', (size_t)(end - p));
		if (lf == NULL)
			lf = end - 1;
		if ((*p == ' ' || *p == '\t') && s->nfield > 0)
			s->field[s->nfield - 1].len += (size_t)(lf + 1 - p);
		else
			revise_put_field(s, s->nfield,
			    (struct revise_field){
				p, (size_t)(lf + 1 - p), name_len(p, (size_t)(lf - p))});
	}
}

size_t revise_count_lines(const char *text, size_t len)
{
	const char *end = text + len;
	size_t n = 0;

	for (const char *p = text; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		n++;
	return n;
}

bool revise_find_field(
    const struct revise_state *s, struct meta1_buf name, uint32_t index, size_t *at)
{
	for (size_t i = 0; i < s->nfield; i++) {
		const struct revise_field *f = &s->field[i];

		if (f->name == name.len && strncasecmp(f->text, name.data, name.len) == 0 &&
		    --index == 0) {
			*at = i;
			return true;
		}
	}
	return false;
}
