/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alias_row.c -- the row that a map has for an address: "error:550 5.1.1 text", or addresses, and
 * files with more of them (include.c). A row for one user, in a map that has one for owner-USER
 * too, is a list, and its mail gets that sender. From alias_maps.c; to targets.c for the words,
 * include.c, seek.c (the owner), alias_found.c. Owns the value while it is read, in the hand. On
 * failure: a value that is no list of addresses, a file that cannot be read make the whole answer
 * temporary, for mail must not reach a part of a list only.
 */
#include "smar/alias.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* ---- the addresses of a row ---- */
static void take_words(struct alias_hand *h);

static void included(void *arg, const char *text, size_t len, const char *why)
{
	struct alias_hand *h = arg;
	struct meta1_buf row = h->rest;

	if (!text) {
		smar_alias_mistake(h, why);
	} else {
		h->in_file = true;
		h->rest = buf_of(text, len);
		take_words(h);
		h->in_file = false;
		h->rest = row;
	}
	take_words(h);
}

/* The key is one of just this detail, which the row has then dealt with. */
static bool names_detail(const struct alias_hand *h, const char *key)
{
	size_t n = strlen(h->local);

	return h->local[h->user] && strncmp(key, h->local, n) == 0 &&
	       (key[n] == '\0' || key[n] == '@');
}

/* keep_detail: team+x goes to bob+x. */
static void with_detail(const struct alias_hand *h, char *local)
{
	const char *detail = h->local + h->user;
	size_t n = strlen(local);

	if (!(h->use->flags & USE_F_KEEP_DETAIL) || !*detail || h->own_detail || local[0] == '"' ||
	    strcspn(local + 1, h->use->delimiters) + 1 < n || n + strlen(detail) > ADDR_LOCAL_MAX)
		return;
	snprintf(local + n, ADDR_PATH_MAX + 1 - n, "%s", detail);
}

static void take_word(struct alias_hand *h, const struct smar_word *word)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	struct meta1_err err = {""};
	const char *ours =
	    h->use->flags & USE_F_PRESERVE_DOMAIN ? h->domain : h->walk->policy->hostname;

	if (smar_target_address(word, ours, local, domain, &err) < 0) {
		smar_alias_mistake(h, err.text);
		return;
	}
	with_detail(h, local);
	smar_alias_add(h, local, domain, word->final);
}

/* Goes on with h->rest; a file in it makes a pause. At the end of the row the hand is free. */
static void take_words(struct alias_hand *h)
{
	struct alias_walk *w = h->walk;
	struct meta1_err err = {""};
	struct smar_word word;
	int rc = 0;

	while (!w->failed && (rc = smar_target_next(&h->rest, &word, &err)) > 0) {
		h->some = true;
		if (!word.include) {
			take_word(h, &word);
		} else if (h->in_file) {
			smar_alias_mistake(h, "a file in a file");
		} else {
			smar_include_read(w->policy, word.text, included, h);
			return;
		}
	}
	if (rc < 0)
		smar_alias_mistake(h, err.text);
	if (h->in_file)
		return;
	if (!h->some && rc == 0)
		smar_alias_mistake(h, "the row names nobody");
	smar_alias_done(h, ALIAS_ROWS);
}

static bool refusal(struct meta1_buf value)
{
	return value.len >= 6 && strncasecmp(value.data, "error:", 6) == 0;
}

/* One value of several that refuses: does it speak for the others? */
static bool contradicts(struct alias_hand *h, const struct smar_found *f)
{
	for (uint32_t i = 0; i < f->nval; i++) {
		if (!refusal(f->val[i]) || f->val[i].len == h->len)
			continue;
		smar_alias_mistake(h, "\"error:…\" beside other values");
		smar_alias_done(h, ALIAS_GONE);
		return true;
	}
	return false;
}

/* "error:550 5.1.1 text" instead of addresses. */
static bool refuses(struct alias_hand *h)
{
	struct alias_walk *w = h->walk;
	struct smar_access a;
	struct meta1_err err = {""};

	if (!refusal(buf_of(h->value, h->len)))
		return false;
	if (smar_access_parse(buf_of(h->value, h->len), &a, &err) < 0)
		smar_alias_mistake(h, err.text);
	else if (h->v == w->first)
		smar_alias_fail(w, a.smtp, a.dsn, a.text);
	else
		log_event(LOG_L_WARN, "smar.alias", "map=%s key=%s error=%s target=%s",
		    h->use->map->name, w->first->key, "it leads to a row that refuses", h->v->key);
	smar_alias_done(h, ALIAS_GONE);
	return true;
}

static void take_row(struct alias_hand *h)
{
	h->rest = buf_of(h->value, h->len);
	h->some = false;
	take_words(h);
}

/* ---- the owner of a list ---- */
/* The key is one of this user, not of all of its domain. */
static bool of_user(const struct alias_hand *h, const char *key)
{
	const char *d = h->use->delimiters;
	size_t n = h->user;

	return strncmp(key, h->local, n) == 0 &&
	       (key[n] == '\0' || key[n] == '@' || (d && strchr(d, key[n])));
}

static void owner_found(void *arg, const struct smar_found *f)
{
	struct alias_hand *h = arg;
	struct alias_walk *w = h->walk;
	char text[ADDR_PATH_MAX + 16];
	const char *copy;

	if (!smar_alias_could_say(h, f))
		return;
	if (f->status == META1_OK && strncmp(f->key, "owner-", 6) == 0 && of_user(h, f->key + 6)) {
		snprintf(text, sizeof(text), "owner-%.*s@%s", (int)h->user, h->local, h->domain);
		copy = strlen(text) <= ADDR_PATH_MAX ? smar_alias_kept(w, text) : NULL;
		if (copy && w->nowner < SMAR_OWNERS_MAX) {
			w->owners[w->nowner++] = buf_str(copy);
			h->owner = w->nowner;
		} else {
			smar_alias_mistake(h, "more lists with owners than are followed");
		}
	}
	take_row(h);
}

/* A row for this user, not for all of its domain; owner-x and x-request are no lists. */
static bool may_be_list(const struct alias_hand *h, const char *key)
{
	size_t n = h->user;

	return h->walk->give_owners && h->local[0] != '"' && n + 6 <= ADDR_LOCAL_MAX &&
	       of_user(h, key) && strncmp(h->local, "owner-", 6) != 0 &&
	       (n < 8 || memcmp(h->local + n - 8, "-request", 8) != 0);
}

void smar_alias_row(struct alias_hand *h, const struct smar_found *f)
{
	struct alias_walk *w = h->walk;
	char local[ADDR_PATH_MAX + 1];

	h->use = h->seek.use;
	h->user = h->seek.keys.user;
	h->owner = h->v->owner;
	h->value = smar_found_text(f, '\n', &h->len);
	h->own_detail = names_detail(h, f->key);
	if (contradicts(h, f) || refuses(h))
		return;
	if (!may_be_list(h, f->key)) {
		take_row(h);
		return;
	}
	snprintf(local, sizeof(local), "owner-%.*s", (int)h->user, h->local);
	smar_keys_path(&h->seek.keys, h->use, "", local, h->domain);
	smar_seek_start(&h->seek, h->use, w->deadline, owner_found, h);
}
