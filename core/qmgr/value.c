/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * value.c -- single values of the JSON that an admin gives: a text, a number, a word of a list.
 * Comes from envelope.c. Owns nothing; pure. On failure: err says what is expected.
 */
#include "qmgr/transfer.h"

#include <stdio.h>

/* Printable, and no longer than max. */
int qmgr_value_text(const json_t *v, size_t max, const char **out, struct meta1_err *err)
{
	const unsigned char *p = (const unsigned char *)json_string_value(v);
	size_t i;

	if (!p)
		return err_set(err, "expected a text");
	if (json_string_length(v) > max)
		return err_set(
		    err, "found %zu bytes, expected at most %zu", json_string_length(v), max);
	for (i = 0; i < json_string_length(v); i++)
		if (p[i] < 32 || p[i] == 127)
			return err_set(err, "has a control character");
	*out = (const char *)p;
	return 0;
}

int qmgr_value_number(const json_t *v, int64_t max, int64_t *out, struct meta1_err *err)
{
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
		return err_set(err, "expected a whole number, 0 to %lld", (long long)max);
	*out = json_integer_value(v);
	return 0;
}

int qmgr_value_word(
    const json_t *v, const struct envelope_word *w, uint32_t *bit, struct meta1_err *err)
{
	const char *s = json_string_value(v);
	size_t n = 0;
	char all[120] = "";

	for (; w->name; w++) {
		if (s && !strcmp(s, w->name)) {
			*bit = w->bit;
			return 0;
		}
		n += (size_t)snprintf(all + n, sizeof(all) - n, " \"%s\"", w->name);
	}
	return err_set(err, "found \"%.40s\", expected one of%s", s ? s : "(no text)", all);
}

int qmgr_value_words(
    const json_t *v, const struct envelope_word *w, uint32_t *bits, struct meta1_err *err)
{
	const json_t *one;
	uint32_t bit;
	size_t i;

	if (!json_is_array(v))
		return err_set(err, "expected a list");
	json_array_foreach(v, i, one)
	{
		if (qmgr_value_word(one, w, &bit, err) < 0)
			return -1;
		*bits |= bit;
	}
	return 0;
}

int qmgr_value_bool(const json_t *v, bool *out, struct meta1_err *err)
{
	if (!json_is_boolean(v))
		return err_set(err, "expected true or false");
	*out = json_is_true(v);
	return 0;
}
