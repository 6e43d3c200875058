/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_name.c -- whom a client tries to be: the name in its response, for mechanisms that say it in
 * clear. It counts tries against an account; who the client is, the module alone says.
 * Comes from auth.c with each response; owns nothing, no I/O. On failure: not known, "".
 */
#include "smtps/smtps.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static void put(char out[SMTPS_ACCOUNT_MAX + 1], const char *p, size_t n)
{
	if (n > SMTPS_ACCOUNT_MAX)
		n = SMTPS_ACCOUNT_MAX; /* as good a key as any */
	memcpy(out, p, n);
	out[n] = '\0';
}

/* act-as NUL name NUL secret */
static void of_plain(struct meta1_buf in, char *out)
{
	const char *p = memchr(in.data, '\0', in.len), *end = (const char *)in.data + in.len;
	const char *to = p != NULL ? memchr(p + 1, '\0', (size_t)(end - p - 1)) : NULL;

	if (to != NULL)
		put(out, p + 1, (size_t)(to - p - 1));
}

static void of_login(struct meta1_buf in, char *out)
{
	put(out, in.data, strnlen(in.data, in.len));
}

static void of_cram(struct meta1_buf in, char *out)
{
	const char *p = memrchr(in.data, ' ', in.len);

	if (p != NULL)
		put(out, in.data, (size_t)(p - (const char *)in.data));
}

/* What stands behind word, up to one of the bytes of ends. */
static void behind(struct meta1_buf in, const char *word, const char *ends, char *out)
{
	const char *p = memmem(in.data, in.len, word, strlen(word));
	const char *end = (const char *)in.data + in.len, *to;

	if (p == NULL)
		return;
	p += strlen(word);
	for (to = p; to < end && strchr(ends, *to) == NULL; to++) /* a NUL ends it too */
		;
	put(out, p, (size_t)(to - p));
}

static void of_digest(struct meta1_buf in, char *out)
{
	behind(in, "username=\"", "\"", out);
}

/* "n,,n=ann,r=…", "=2C" and "=3D" in it for "," and "=" */
static void of_scram(struct meta1_buf in, char *out)
{
	char *to = out;

	behind(in, ",n=", ",", out);
	for (const char *p = out; *p != '\0'; p++) {
		bool comma = strncmp(p, "=2C", 3) == 0, code = comma || strncmp(p, "=3D", 3) == 0;

		*to++ = code ? (comma ? ',' : '=') : *p;
		p += code ? 2 : 0;
	}
	*to = '\0';
}

static void of_bearer(struct meta1_buf in, char *out)
{
	behind(in, ",a=", ",", out);
}

static void of_xoauth2(struct meta1_buf in, char *out)
{
	behind(in, "user=", "\001", out);
}

static const struct {
	const char *mech;
	void (*of)(struct meta1_buf in, char out[SMTPS_ACCOUNT_MAX + 1]);
} table[] = {{"PLAIN", of_plain}, {"LOGIN", of_login}, {"CRAM-MD5", of_cram},
    {"DIGEST-MD5", of_digest}, {"SCRAM-", of_scram}, {"OAUTHBEARER", of_bearer},
    {"XOAUTH2", of_xoauth2}};

void smtps_auth_name(const char *mech, struct meta1_buf first, char out[SMTPS_ACCOUNT_MAX + 1])
{
	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(table) && first.len > 0; i++) {
		size_t n = strlen(table[i].mech);

		if (strncmp(mech, table[i].mech, n) == 0 &&
		    (mech[n] == '\0' || table[i].mech[n - 1] == '-'))
			table[i].of(first, out);
	}
}
