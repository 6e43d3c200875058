/* SPDX-License-Identifier: BSD-2-Clause */
/* template.c -- puts keys into texts; see template.h. From the maps' drivers. Owns nothing. */
#include "template.h"

#include <stdio.h>
#include <string.h>

int template_check(const char *text, const char *option, struct meta1_err *err)
{
	int n = 0;

	for (const char *p = text; (p = strchr(p, '%')); p += 2) {
		if (p[1] == '\0' || !strchr("sud%", p[1])) {
			snprintf(err->text, sizeof(err->text),
			    "%s: \"%.200s\": expected %%s (the key), %%u (its part before the @), "
			    "%%d (the part behind it) or %%%%",
			    option, text);
			return -1;
		}
		n += p[1] != '%';
	}
	return n;
}

size_t template_plain(const char *in, size_t len, char *out, size_t room)
{
	if (len > 0 && len <= room)
		memcpy(out, in, len);
	return len;
}

/* The part of the key that a letter stands for. 0: it has none. */
static int part(char letter, struct meta1_buf key, const char **p, size_t *len)
{
	const char *at = key.len > 0 ? memrchr(key.data, '@', key.len) : NULL;

	*p = key.data;
	*len = key.len;
	if (letter == 'u' && at)
		*len = (size_t)(at - *p);
	if (letter == 'd' && at) {
		*len -= (size_t)(at + 1 - *p);
		*p = at + 1;
	}
	return letter != 'd' || at;
}

long template_fill(
    const char *text, struct meta1_buf key, template_quote quote, char *out, size_t room)
{
	size_t n = 0, len, put;
	const char *in;

	for (const char *p = text; *p; p++) {
		put = 1;
		if (*p == '%' && *++p != '%') {
			if (!part(*p, key, &in, &len))
				return -1;
			put = quote(in, len, out + n, room - n);
		} else if (n < room) {
			out[n] = *p;
		}
		if (put > room - n)
			return -1;
		n += put;
	}
	return (long)n;
}
