/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * targets.c -- the value of an alias: bare local parts, addresses with and without brackets, files
 * with more of them; blanks, commas and line ends between. Pure; from alias_row.c. On failure: err
 * says which word is wrong and why. Programs and files are no targets: nothing here delivers.
 */
#include "smar/users.h"

#include <stdio.h>
#include <strings.h>

static bool between(char c)
{
	return c == ' ' || c == '\t' || c == ',' || c == '\r' || c == '\n';
}

/* Bytes of the word at p: quotes and brackets keep together what they hold. */
static size_t word_length(const char *p, size_t n)
{
	bool quoted = false, open = n > 0 && p[0] == '<';
	size_t i;

	for (i = 0; i < n; i++) {
		if (p[i] == '\n')
			break;
		if (p[i] == '\\' && quoted)
			i++;
		else if (p[i] == '"')
			quoted = !quoted;
		else if (p[i] == '>' && open && !quoted)
			return i + 1;
		else if (between(p[i]) && !quoted && !open)
			break;
	}
	return i < n ? i : n;
}

int smar_target_next(struct meta1_buf *rest, struct smar_word *w, struct meta1_err *err)
{
	static const char include[] = ":include:";
	const char *p = rest->data, *end = p + rest->len;
	size_t n;

	while (p < end && between(*p))
		p++;
	if (p == end)
		return 0;
	n = word_length(p, (size_t)(end - p));
	*rest = buf_of(p + n, (size_t)(end - p) - n);
	*w = (struct smar_word){.include = n >= sizeof(include) - 1 &&
					   strncasecmp(p, include, sizeof(include) - 1) == 0};
	if (w->include) {
		p += sizeof(include) - 1;
		n -= sizeof(include) - 1;
	} else if (*p == '<') {
		if (n < 2 || p[n - 1] != '>')
			return err_set(err, "\"%.*s\" lacks its '>'", (int)(n < 60 ? n : 60), p);
		p++;
		n -= 2;
	} else if (*p == '#') {
		return err_set(err, "\"%.*s\": " SMAR_NO_COMMENT, (int)(n < 60 ? n : 60), p);
	} else if (*p == '|' || *p == '/' || (n > 1 && *p == '"' && (p[1] == '|' || p[1] == '/'))) {
		return err_set(err,
		    "\"%.*s\": programs and files are no targets; expected an address",
		    (int)(n < 60 ? n : 60), p);
	} else if (*p == '\\') {
		w->final = true;
		p++;
		n--;
	}
	if (n == 0 || n >= sizeof(w->text) || memchr(p, '\0', n))
		return err_set(err, "\"%.*s\" is not an address", (int)(n < 60 ? n : 60), p);
	memcpy(w->text, p, n);
	return 1;
}

int smar_target_address(const struct smar_word *w, const char *domain,
    char local[ADDR_PATH_MAX + 1], char out_domain[ADDR_DOMAIN_MAX + 1], struct meta1_err *err)
{
	char path[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 8];
	struct meta1_err why = {""};
	struct addr a;
	size_t used;
	bool bare = !strrchr(w->text, '@') || strrchr(w->text, '@') < strrchr(w->text, '"');
	int n =
	    snprintf(path, sizeof(path), "<%s%s%s>", w->text, bare ? "@" : "", bare ? domain : "");

	if (addr_path(path, (size_t)n, 0, &a, &used, &why) < 0 || used != (size_t)n)
		return err_set(err, "\"%.80s\" is not an address: %.200s", w->text,
		    why.text[0] ? why.text : "something stands behind it");
	if (a.local.len > ADDR_PATH_MAX ||
	    addr_domain_key(a.domain, out_domain, ADDR_DOMAIN_MAX + 1) < 0 ||
	    a.local.len + 1 + strlen(out_domain) > ADDR_PATH_MAX)
		return err_set(err, "\"%.80s\" is too long an address", w->text);
	memcpy(local, a.local.data, a.local.len);
	local[a.local.len] = '\0';
	return 0;
}
