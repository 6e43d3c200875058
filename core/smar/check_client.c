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

/* A name of a certificate as one word: what is no letter, digit or simple sign is +XX. */
static bool one_word(const char *name, char *out, size_t size)
{
	size_t n = 0;

	for (; *name && n + 4 < size; name++) {
		unsigned char b = (unsigned char)*name;

		if (b > ' ' && b < 127 && !strchr("+<>()\"#", b))
			out[n++] = (char)tolower(b);
		else
			n += (size_t)snprintf(out + n, size - n, "+%02x", b);
	}
	out[n] = '\0';
	return *name == '\0';
}

bool check_name_keys(struct smar_keys *k, const char *tag, const char *name)
{
	char word[sizeof(k->local)];

	if (!one_word(name, word, sizeof(word)))
		return false;
	smar_keys_word(k, tag, word);
	return true;
}

static void by_certificate(struct check *c, const char *tag, const char *name)
{
	if (c->tls != TLS_GOOD_CERT || !name) {
		check_go_on(c, "no verified certificate");
		return;
	}
	/* the beginning of a name may be that of another certificate */
	if (check_name_keys(&c->seek.keys, tag, name))
		check_access(c);
	else
		check_go_on(c, "the certificate's name is too long for a row");
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
