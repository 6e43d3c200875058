/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_word.c -- the bytes of a configuration file as words, quoted texts and marks.
 *
 * Comes from conf_read.c, a file at a time; goes back to it, one token ahead. Owns the
 * place in the file (line and column of each token).
 * On failure: the message is noted here and the token is T_BAD, about which the
 * grammar says nothing more.
 */
#include "conf_tree.h"

static void step(struct reader *r)
{
	if (*r->p == '\n') {
		r->at.line++;
		r->at.col = 1;
	} else if (r->p + 1 >= r->end || ((unsigned char)r->p[1] & 0xc0) != 0x80) {
		r->at.col++; /* a column is a character, not a byte of one */
	}
	r->p++;
}

static void skip_blanks(struct reader *r)
{
	for (; r->p < r->end; step(r)) {
		if (*r->p == '#')
			while (r->p < r->end && *r->p != '\n')
				step(r);
		if (r->p == r->end || !strchr(" \t\r\n", *r->p))
			return;
	}
}

static int digit(char ch, int base)
{
	int v = ch >= '0' && ch <= '9'	 ? ch - '0'
		: ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
		: ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
					 : 99;
	return v < base ? v : -1;
}

/* At the byte behind a backslash; the byte it stands for, or -1 (reported). */
static int escape(struct reader *r, const struct conf_pos *pos)
{
	static const char from[] = "abfnrtv\\\"'?", to[] = "\a\b\f\n\r\t\v\\\"'?";
	const char *known = strchr(from, *r->p);
	if (known && *r->p) {
		step(r);
		return to[known - from];
	}
	int base = *r->p == 'x' ? 16 : 8, value = 0, n = 0;
	if (base == 16)
		step(r);
	while (n < (base == 16 ? 2 : 3) && r->p < r->end && digit(*r->p, base) >= 0) {
		value = value * base + digit(*r->p, base);
		step(r);
		n++;
	}
	if (n && value > 0 && value < 256)
		return value;
	if (n)
		conf_error(
		    r->c, pos, "this escape stands for no byte a text may hold; use 1 to 255");
	else
		conf_error(
		    r->c, pos, "unknown escape; known are \\\\ \\\" \\n \\t \\r, \\xHH and \\OOO");
	return -1;
}

static void take_string(struct reader *r)
{
	const char *close = r->p + 1;
	while (close < r->end && *close != '"' && *close != '\n')
		close += *close == '\\' && close + 1 < r->end && close[1] != '\n' ? 2 : 1;
	if (close >= r->end || *close != '"') {
		conf_error(r->c, &r->at, "the text that starts here has no closing \" on its line");
		r->t.kind = T_BAD;
		while (r->p < r->end && *r->p != '\n')
			step(r);
		return;
	}
	char *out = conf_alloc(r->c, (size_t)(close - r->p)), *o = out;
	r->t.kind = T_STRING;
	r->t.text = out;
	for (step(r); r->p < close;) {
		if (*r->p != '\\') {
			*o++ = *r->p;
			step(r);
			continue;
		}
		struct conf_pos pos = r->at;
		step(r);
		int ch = escape(r, &pos);
		if (ch >= 0)
			*o++ = (char)ch;
	}
	step(r);
}

void conf_word_next(struct reader *r)
{
	r->behind = r->at;
	skip_blanks(r);
	r->t = (struct token){.kind = T_END, .text = "", .pos = r->at};
	if (r->p >= r->end)
		return;
	if (*r->p == '"') {
		take_string(r);
		return;
	}
	if (strchr("={};,", *r->p)) {
		r->t.kind = T_MARK;
		r->t.mark = *r->p;
		step(r);
		return;
	}
	const char *start = r->p;
	while (r->p < r->end && conf_bare((unsigned char)*r->p))
		step(r);
	if (r->p > start) {
		char *s = conf_alloc(r->c, (size_t)(r->p - start) + 1);
		memcpy(s, start, (size_t)(r->p - start));
		r->t.kind = T_WORD;
		r->t.text = s;
		return;
	}
	size_t n = 1; /* of the character */
	while (r->p + n < r->end && ((unsigned char)r->p[n] & 0xc0) == 0x80)
		n++;
	conf_error(r->c, &r->t.pos, "unexpected character %.*s; a value with it needs \"quotes\"",
	    (int)n, start);
	while (r->p < r->end && !strchr(" \t\r\n={};,\"#", *r->p))
		step(r); /* the rest of such a value brings no more messages */
	r->t.kind = T_BAD;
}

bool conf_word_mark(const struct reader *r, char mark)
{
	return r->t.kind == T_MARK && r->t.mark == mark;
}

bool conf_word_value(const struct reader *r)
{
	return r->t.kind == T_WORD || r->t.kind == T_STRING;
}

bool conf_word_take(struct reader *r, char mark)
{
	if (!conf_word_mark(r, mark))
		return false;
	conf_word_next(r);
	return true;
}

/* The next token as messages name it. */
const char *conf_word_found(struct reader *r)
{
	switch (r->t.kind) {
	case T_END:
		return "the end of the file";
	case T_MARK:
		return conf_printf(r->c, "'%c'", r->t.mark);
	case T_STRING:
		return conf_printf(r->c, "\"%.40s\"", r->t.text);
	default:
		return conf_printf(r->c, "%.40s", r->t.text);
	}
}
