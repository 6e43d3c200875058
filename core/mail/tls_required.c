/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_required.c -- does a header say "TLS-Required: No"? See tls_required.h.
 * Comes from who writes a mail into the queue, and from smtpc for one that is there without the
 * mark. Owns nothing. On failure: a header without an end says nothing.
 */
#include "mail/tls_required.h"

#include <strings.h>

static void line_end(struct tls_required *l)
{
	static const char field[] = "tls-required:";
	const char *p = l->line;

	if (!l->other && l->n > 0 && l->n < sizeof(l->line) && p[l->n - 1] == '\r')
		l->line[--l->n] = '\0';
	l->over = l->n == 0;
	if (!l->other && l->n < sizeof(l->line) && strncasecmp(p, field, sizeof(field) - 1) == 0) {
		p += sizeof(field) - 1;
		p += strspn(p, " \t");
		l->no |= strncasecmp(p, "no", 2) == 0 && p[2 + strspn(p + 2, " \t")] == '\0';
	}
	memset(l->line, 0, sizeof(l->line));
	l->n = 0;
	l->other = false;
}

/* Lines that begin otherwise are passed over as fast as memchr() goes. */
void tls_required_look(struct tls_required *l, const void *data, size_t n)
{
	const char *p = data, *end = p + n;

	while (p < end && !l->over) {
		if (l->n == 0 && !l->other && *p != 't' && *p != 'T' && *p != '\r' && *p != '\n')
			l->other = true;
		if (l->other) {
			l->n = 1;
			p = memchr(p, '\n', (size_t)(end - p));
			if (p == NULL)
				return;
		}
		if (*p == '\n') {
			line_end(l);
		} else {
			if (l->n < sizeof(l->line) - 1)
				l->line[l->n] = *p;
			l->n++;
		}
		p++;
	}
}

bool tls_required_no(const struct tls_required *l)
{
	return l->over && l->no;
}
