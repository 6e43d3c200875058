/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/textline.h -- one line of a text map: key, blanks, value to the end of the
 * line; '#' where a key would begin makes a comment. Shared by map_text and createmap, so that
 * both read the same language; inline, so that a module links against nothing.
 */
#ifndef META1_TEXTLINE_H
#define META1_TEXTLINE_H
#include <meta1/module.h>
#include <string.h>

#define META1_KEY_MAX	3200 /* names of certificates are long */
#define META1_VALUE_MAX 16384

static inline int meta1_isblank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/*
 * 1: key and val are slices of line, the key folded to lower case in place;
 * 0: blank or comment; -1: *why says what is wrong. line is without its '\n'.
 */
static inline int meta1_textline(
    char *line, size_t len, struct meta1_buf *key, struct meta1_buf *val, const char **why)
{
	char *p = line, *end = line + len, *from;

	while (end > p && meta1_isblank(end[-1]))
		end--;
	while (p < end && meta1_isblank(*p))
		p++;
	if (p == end || *p == '#')
		return 0;
	*why = "a NUL byte: this is no text file";
	if (memchr(p, '\0', (size_t)(end - p)))
		return -1;
	for (from = p; p < end && !meta1_isblank(*p); p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
	key->data = from;
	key->len = (size_t)(p - from);
	*why = "the key is longer than 3200 bytes";
	if (key->len > META1_KEY_MAX)
		return -1;
	while (p < end && meta1_isblank(*p))
		p++;
	val->data = p;
	val->len = (size_t)(end - p);
	*why = "the value is longer than 16384 bytes";
	if (val->len > META1_VALUE_MAX)
		return -1;
	return 1;
}

#endif
