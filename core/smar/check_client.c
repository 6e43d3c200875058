/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_client.c -- steps of check.c about who the client is: its identity of AUTH, the names in
 * its verified certificate, its address.
 * From check.c; to the access map. Owns nothing.
 */
#include "smar/check.h"

#include <ctype.h>
#include <stdio.h>

void check_auth(struct check *c)
{
	if (!c->auth) {
		check_go_on(c, "not authenticated");
		return;
	}
	str_copy(c->answer, sizeof(c->answer), c->auth);
	c->relay_proof = true;
	check_go_on(c, "relaying permitted");
}

/* What is no letter, digit or simple sign is +XX. */
char *check_name_word(struct meta1_buf name)
{
	const unsigned char *p = name.data;
	char *word, *out;

	if (name.len == 0)
		return NULL;
	word = out = base_alloc(3 * name.len + 1);
	for (; p < (const unsigned char *)name.data + name.len; p++)
		if (*p > ' ' && *p < 127 && !strchr("+<>()\"#", *p))
			*out++ = (char)tolower(*p);
		else
			out += sprintf(out, "+%02x", *p);
	*out = '\0';
	return word;
}

static void by_certificate(struct check *c, const char *tag, const char *name)
{
	if (c->tls != TLS_GOOD_CERT || !name) {
		check_go_on(c, "no verified certificate");
		return;
	}
	smar_keys_name(&c->seek.keys, tag, name);
	check_access(c);
}

void check_certsubject(struct check *c)
{
	by_certificate(c, "certsubject:", c->subject);
}

void check_certissuer(struct check *c)
{
	by_certificate(c, "certissuer:", c->issuer);
}

void check_cltaddr(struct check *c)
{
	smar_keys_client(&c->seek.keys, "cltaddr:", c->client);
	check_access(c);
}
