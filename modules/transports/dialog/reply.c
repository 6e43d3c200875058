/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply.c -- lines of a next hop to one reply: code, enhanced status, text.
 *
 * Comes from dialog.c, which cuts the input into lines; goes back to it whole.
 * Owns nothing. A hop is not trusted: lines, their length and what is kept of
 * them are bounded; whatever is not printable becomes '?', so that no reply can
 * forge a line of a log, a report or a frame. Lines that are no reply, or carry
 * different codes, are DIALOG_BAD: the dialogue cannot go on.
 */
#include "reply.h"

#include <string.h>

static int digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Length of "5.1.1" (class of the code, RFC 3463) at the start of p, 0: none. */
static size_t enhanced(const char *p, size_t len, int klass)
{
	size_t i = 2, from;

	if (len < 5 || p[0] != '0' + klass || p[1] != '.')
		return 0;
	from = i;
	while (i < len && digit(p[i]) && i - from < 3)
		i++;
	if (i == from || i >= len || p[i] != '.')
		return 0;
	from = ++i;
	while (i < len && digit(p[i]) && i - from < 3)
		i++;
	if (i == from || (i < len && p[i] != ' ' && p[i] != '\t'))
		return 0;
	return i;
}

/* Appends one line to the text, after a blank when there is something before it. */
static void keep(struct dialog_reply *r, const char *p, size_t len)
{
	size_t i;

	while (len > 0 && (*p == ' ' || *p == '\t'))
		p++, len--;
	while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
		len--;
	if (len == 0)
		return;
	if (r->len > 0 && r->len < sizeof(r->text) - 1)
		r->text[r->len++] = ' ';
	for (i = 0; i < len && r->len < sizeof(r->text) - 1; i++) {
		unsigned char c = (unsigned char)p[i];

		r->text[r->len++] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
	}
	r->text[r->len] = '\0';
}

static enum dialog_got bad(struct dialog_reply *r, const char *why)
{
	r->bad = why;
	r->over = 1;
	return DIALOG_BAD;
}

enum dialog_got dialog_reply_line(struct dialog_reply *r, const char *line, size_t len)
{
	size_t n;
	int code, last;

	if (r->over)
		*r = (struct dialog_reply){0};
	if (len > DIALOG_REPLY_LINE)
		return bad(r, "a reply line of more than 4096 bytes");
	if (len < 3 || !digit(line[0]) || !digit(line[1]) || !digit(line[2]) ||
	    (len > 3 && line[3] != ' ' && line[3] != '-'))
		return bad(r, "a line that is no reply");
	code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
	if (code < 200 || code > 599)
		return bad(r, "a reply code outside 200..599");
	if (r->lines > 0 && code != r->code)
		return bad(r, "different codes in one reply");
	if (++r->lines > DIALOG_REPLY_LINES)
		return bad(r, "a reply of more than 100 lines");
	r->code = code;
	last = len == 3 || line[3] == ' ';
	r->line = line + (len > 3 ? 4 : 3);
	r->line_len = len > 3 ? len - 4 : 0;
	n = enhanced(r->line, r->line_len, code / 100);
	if (n > 0 && n < sizeof(r->dsn) && r->dsn[0] == '\0') {
		memcpy(r->dsn, r->line, n);
		r->dsn[n] = '\0';
	}
	keep(r, r->line + n, r->line_len - n);
	r->over = last;
	return last ? DIALOG_DONE : DIALOG_MORE;
}
