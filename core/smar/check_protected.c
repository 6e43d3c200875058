/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_protected.c -- the step of check.c about recipients that only some may write to:
 *
 *	protectedrcpt:all@example.org  cltaddr:192.0.2 from:boss@example.org relay
 *
 * One of the words must be true of the mail: a key of the client or the sender, as access rows have
 * them, auth:NAME, certsubject:, certissuer:, or relay: the client may relay. Behind them may stand
 * the reply for all others, error:550 5.7.1 text. OK or CONT alone: not protected.
 * From check.c; to the access map. Owns nothing. On failure: a row that cannot be read is 451.
 */
#include "smar/check.h"

#include <ctype.h>
#include <strings.h>

static bool among(struct smar_keys *k, const char *word)
{
	char key[SMAR_KEY_MAX];

	while (smar_keys_next(k, key, sizeof(key)))
		if (strcmp(key, word) == 0)
			return true;
	return false;
}

static bool by_client(struct check *c, const char *word)
{
	struct smar_keys k;

	smar_keys_client(&k, "cltaddr:", c->client);
	return among(&k, word);
}

static bool by_sender(struct check *c, const char *word)
{
	struct smar_keys k;

	smar_keys_path(&k, &c->policy->access, "from:", c->from_local, c->from_domain);
	return among(&k, word);
}

static bool by_auth(struct check *c, const char *word)
{
	return c->auth && strcasecmp(c->auth, word + strlen("auth:")) == 0;
}

static bool by_certificate(struct check *c, const char *name, const char *tag, const char *word)
{
	struct smar_keys k;

	if (c->tls != TLS_GOOD_CERT || !name)
		return false;
	smar_keys_name(&k, tag, name);
	return among(&k, word);
}

static bool by_subject(struct check *c, const char *word)
{
	return by_certificate(c, c->subject, "certsubject:", word);
}

static bool by_issuer(struct check *c, const char *word)
{
	return by_certificate(c, c->issuer, "certissuer:", word);
}

static bool by_relay(struct check *c, const char *word)
{
	return !word[strlen("relay")] && (c->relay || c->relay_client || c->relay_proof);
}

static const struct {
	const char *prefix;
	bool (*holds)(struct check *, const char *word);
} words[] = {
    {"cltaddr:", by_client},
    {"from:", by_sender},
    {"auth:", by_auth},
    {"certsubject:", by_subject},
    {"certissuer:", by_issuer},
    {"relay", by_relay},
};

/* 1: it holds, 0: it does not, -1: it is no word of ours. */
static int holds(struct check *c, char *word)
{
	for (char *p = word; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strncmp(word, words[i].prefix, strlen(words[i].prefix)) == 0)
			return words[i].holds(c, word);
	return -1;
}

static void refuse(struct check *c, const char *reply)
{
	struct smar_access a = {
	    .smtp = 550, .dsn = "5.7.1", .text = "you may not send to this recipient"};
	struct meta1_err err;

	if (*reply && smar_access_parse(buf_str(reply), &a, &err) < 0)
		check_mistake(c, err.text);
	else
		check_say(c, a.smtp < 500 ? ACT_TEMPFAIL : ACT_REJECT, a.smtp, a.dsn, a.text);
}

static void judge(struct check *c, char *text)
{
	char *save, *w;
	struct meta1_err err;
	int yes;

	for (w = strtok_r(text, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		if (strncasecmp(w, "error:", 6) == 0) {
			if (*save)
				w[strlen(w)] = ' '; /* the reply goes on to the end */
			refuse(c, w);
			return;
		}
		yes = holds(c, w);
		if (yes < 0) {
			err_set(&err,
			    "\"%.60s\": expected from:, cltaddr:, auth:, certsubject:, "
			    "certissuer:, "
			    "relay or error:550 5.7.1 text",
			    w);
			check_mistake(c, err.text);
			return;
		}
		if (yes) {
			check_go_on(c, "this sender may");
			return;
		}
	}
	refuse(c, "");
}

static void found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;
	char text[512];

	if (!check_found(c, f))
		return;
	if (f->status != META1_OK || buf_caseeq(f->value, "OK") || buf_caseeq(f->value, "CONT")) {
		check_go_on(c, "not protected");
	} else if (f->value.len >= sizeof(text) || memchr(f->value.data, '\0', f->value.len)) {
		check_mistake(c, "the value has more than 511 bytes, or a NUL");
	} else {
		memcpy(text, f->value.data, f->value.len);
		text[f->value.len] = '\0';
		judge(c, text);
	}
}

void check_protected(struct check *c)
{
	smar_keys_path(
	    &c->seek.keys, &c->policy->access, "protectedrcpt:", c->local_part, c->domain);
	check_seek(c, &c->policy->access, found);
}
