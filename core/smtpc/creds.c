/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * creds.c -- the file with the credentials: one row a line, a host or a name, then words:
 *
 *	smtp.isp.example:587   user=ann password=what ever it is
 *	.office.example        user=ann@office.example token_file=/run/meta1/token
 *
 * password= and token_command= take the rest of the line. Comes from smtpc.c at a start and a
 * reload; goes to login.c. Owns the text, which is wiped. On failure: err has file and line, and
 * never a word of the row.
 */
#include "smtpc/creds.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* Words of a row; rest: to the end of the line. */
static const struct word {
	const char *name;
	size_t off;
	bool rest;
} words[] = {
    {"user=", offsetof(struct cred, user), false},
    {"act_as=", offsetof(struct cred, act_as), false},
    {"realm=", offsetof(struct cred, realm), false},
    {"token_file=", offsetof(struct cred, token_file), false},
    {"token_command=", offsetof(struct cred, token_command), true},
    {"password=", offsetof(struct cred, password), true},
};

static char *blanks(char *p)
{
	return p + strspn(p, " \t");
}

/* One word into the row; what follows it, or NULL: err. */
static char *take_word(struct cred *c, char *p, const char *at, struct meta1_err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		const struct word *w = &words[i];
		size_t n = strlen(w->name);
		const char **field = (const char **)((char *)c + w->off);

		if (strncasecmp(p, w->name, n) != 0)
			continue;
		if (*field) {
			err_set(err, "%s: %.*s stands there twice", at, (int)n - 1, w->name);
			return NULL;
		}
		*field = p += n;
		p += w->rest ? strlen(p) : strcspn(p, " \t");
		if (p == *field) {
			err_set(err, "%s: %.*s is empty", at, (int)n - 1, w->name);
			return NULL;
		}
		if (*p)
			*p++ = '\0';
		return blanks(p);
	}
	err_set(err,
	    "%s: a word is not known; expected user=, act_as=, realm=, token_file=, token_command= "
	    "or password=, the last two to the end of the line",
	    at);
	return NULL;
}

static int whole(const struct cred *c, const char *at, struct meta1_err *err)
{
	int secrets = !!c->password + !!c->token_file + !!c->token_command;

	if (!c->user)
		return err_set(err, "%s: user= is missing", at);
	if (secrets != 1)
		return err_set(err,
		    "%s: expected one of password=, token_file= and token_command=, found %s", at,
		    secrets ? "several" : "none");
	if (c->token_file && c->token_file[0] != '/')
		return err_set(err, "%s: token_file= wants an absolute path", at);
	if (c->token_command && c->token_command[0] != '/')
		return err_set(err, "%s: token_command= wants an absolute path", at);
	return 0;
}

static int take_row(struct creds *t, char *p, int line, struct meta1_err *err)
{
	struct cred *c, *was;
	char *key = p, at[160];

	snprintf(at, sizeof(at), "%.120s:%d", t->file, line);
	p += strcspn(p, " \t");
	if (*p)
		*p++ = '\0';
	if (strlen(key) > CREDS_KEY_MAX)
		return err_set(err, "%s: the name is longer than %d bytes", at, CREDS_KEY_MAX);
	for (char *k = key; *k; k++)
		*k = (char)tolower((unsigned char)*k);
	HASH_FIND_STR(t->rows, key, was);
	if (was)
		return err_set(err, "%s: %s stands in line %d already", at, key, was->line);
	c = base_alloc(sizeof(*c));
	c->key = key;
	c->line = line;
	c->kept = token_kept_new();
	HASH_ADD_KEYPTR(hh, t->rows, c->key, strlen(c->key), c);
	for (p = blanks(p); *p;) {
		p = take_word(c, p, at, err);
		if (!p)
			return -1;
	}
	if (strcmp(key, "none") == 0)
		return err_set(err, "%s: no row may be named none", at);
	if (strcmp(key, ".") == 0)
		return err_set(err,
		    "%s: found a row for every host, which would show the secret to whomever mail "
		    "is "
		    "sent to; expected HOST:PORT, HOST or .PARENT",
		    at);
	return whole(c, at, err);
}

struct creds *creds_parse(const char *name, char *text, size_t len, struct meta1_err *err)
{
	struct creds *t = base_alloc(sizeof(*t));
	char *p = text, *end;

	t->file = base_strdup(name);
	t->text = text;
	t->len = len;
	if (memchr(text, '\0', len)) {
		err_set(err, "%s: holds a byte 0", name);
		creds_free(&t);
		return NULL;
	}
	for (int line = 1; *p; line++, p = end) {
		end = p + strcspn(p, "\n");
		if (*end)
			*end++ = '\0';
		p[strcspn(p, "\r")] = '\0';
		p = blanks(p);
		if (*p && *p != '#' && take_row(t, p, line, err) < 0) {
			creds_free(&t);
			return NULL;
		}
	}
	return t;
}

struct creds *creds_new(const char *file, struct meta1_err *err)
{
	size_t len = 0;
	char *text = secret_read("smtpc.auth: file", file, CREDS_MAX, &len, err);

	return text ? creds_parse(file, text, len, err) : NULL;
}

void creds_free(struct creds **tp)
{
	struct creds *t = *tp;
	struct cred *c, *next;

	*tp = NULL;
	if (!t)
		return;
	HASH_ITER (hh, t->rows, c, next) {
		HASH_DEL(t->rows, c);
		token_kept_free(&c->kept);
		free(c);
	}
	secret_wipe(&t->text, t->len);
	free(t->file);
	free(t);
}

const struct cred *creds_named(const struct creds *t, const char *key)
{
	struct cred *c;

	HASH_FIND_STR(t->rows, key, c);
	return c;
}

const struct cred *creds_for(const struct creds *t, const char *host, unsigned port)
{
	char key[CREDS_KEY_MAX + 1], with[CREDS_KEY_MAX + 8];
	const struct cred *c;
	size_t n = str_copy(key, sizeof(key), host);

	if (n >= sizeof(key))
		return NULL;
	if (n > 1 && key[n - 1] == '.')
		key[n - 1] = '\0';
	for (char *k = key; *k; k++)
		*k = (char)tolower((unsigned char)*k);
	snprintf(with, sizeof(with), "%s:%u", key, port);
	c = creds_named(t, with);
	if (!c)
		c = creds_named(t, key);
	for (const char *p = key; !c && (p = strchr(p, '.')); p++)
		c = creds_named(t, p);
	return c;
}
