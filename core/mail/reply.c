/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply.c -- replies of SMTP as text: ours before they leave, others' before they
 * are kept.
 *
 * Comes from core/smtps (texts of verdicts), core/smar (right-hand sides), core/qmgr and
 * core/smtpc (replies of next hops); goes nowhere, no state.
 * On failure: no enhanced code is found, and the default of the reply code serves.
 */
#include "mail/reply.h"

static size_t digits(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n] >= '0' && s[n] <= '9')
		n++;
	return s[n] >= '0' && s[n] <= '9' ? 0 : n;
}

size_t reply_dsn(int code, const char *text, char out[12])
{
	size_t i = 1, part;

	out[0] = '\0';
	if (text[0] != '2' && text[0] != '4' && text[0] != '5')
		return 0;
	if (code != 0 && text[0] - '0' != code / 100)
		return 0;
	for (part = 0; part < 2; part++) {
		size_t n;

		if (text[i] != '.')
			return 0;
		n = digits(text + i + 1, 3);
		if (n == 0 || (n > 1 && text[i + 1] == '0'))
			return 0;
		i += 1 + n;
	}
	if (text[i] != '\0' && text[i] != ' ')
		return 0;
	memcpy(out, text, i);
	out[i] = '\0';
	while (text[i] == ' ')
		i++;
	return i;
}

const char *reply_default_dsn(int code)
{
	static const struct {
		int code;
		const char *dsn;
	} row[] = {{421, "4.3.2"}, {450, "4.2.0"}, {451, "4.3.0"}, {452, "4.3.1"}, {454, "4.7.0"},
	    {500, "5.5.2"}, {501, "5.5.4"}, {502, "5.5.1"}, {503, "5.5.1"}, {504, "5.5.4"},
	    {521, "5.3.2"}, {530, "5.7.0"}, {535, "5.7.8"}, {550, "5.1.1"}, {551, "5.1.6"},
	    {552, "5.3.4"}, {553, "5.1.3"}, {554, "5.0.0"}, {555, "5.5.4"}, {556, "5.1.10"}};
	size_t i;

	for (i = 0; i < ARRAY_LEN(row); i++)
		if (row[i].code == code)
			return row[i].dsn;
	return code >= 500 ? "5.0.0" : code >= 400 ? "4.0.0" : "2.0.0";
}

void reply_clean(const char *text, size_t len, char *out, size_t size)
{
	size_t i;

	if (size == 0)
		return;
	for (i = 0; i < len && i + 1 < size; i++) {
		unsigned char c = (unsigned char)text[i];

		out[i] = (char)(c < 32 || c == 127 ? '?' : c);
	}
	out[i] = '\0';
}

void reply_ascii(const char *text, size_t len, char *out, size_t size)
{
	reply_clean(text, len, out, size);
	for (; *out; out++)
		*out = (char)((unsigned char)*out > 126 ? '?' : *out);
}
