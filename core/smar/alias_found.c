/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alias_found.c -- the addresses that a walk has found, in the order in which they were found.
 * From alias_row.c; alias.c takes them from the list. Owns the addresses, in the walk's pool.
 * On failure: beyond a bound the whole walk fails for now: too long a way or too many addresses is
 * a mistake in a row, too many of all walks together is the load.
 */
#include "smar/alias.h"

#include <stdio.h>

#define VISITS_MAX 20000  /* addresses on the way, with those that have rows */
#define VISITS_ALL 200000 /* of all walks under way */

static unsigned visits_all; /* on the way, in all walks */

void smar_alias_fail(struct alias_walk *w, int smtp, const char *dsn, const char *text)
{
	if (w->failed)
		return;
	w->failed = true;
	w->smtp = smtp;
	str_copy(w->dsn, sizeof(w->dsn), dsn);
	str_copy(w->text, sizeof(w->text), text);
}

void smar_alias_mistake(struct alias_hand *h, const char *what)
{
	log_event(LOG_L_WARN, "smar.alias", "map=%s key=%s error=%s",
	    h->use ? h->use->map->name : "-", h->v->key, what);
	smar_alias_fail(
	    h->walk, 451, "4.3.5", "the server's aliases have a mistake, try again later");
}

static bool leads_back(const struct alias_visit *from, const char *key)
{
	for (; from; from = from->from)
		if (strcmp(from->key, key) == 0)
			return true;
	return false;
}

const char *smar_alias_kept(struct alias_walk *w, const char *s)
{
	const char *copy = pool_strn(&w->pool, s, strlen(s));

	if (!copy)
		smar_alias_fail(w, 451, "4.3.5", "the alias stands for too many addresses");
	return copy;
}

static struct alias_visit *visit(
    struct alias_walk *w, const struct alias_visit *from, const char *text, const char *key)
{
	struct alias_visit *v;

	if (visits_all >= VISITS_ALL) {
		smar_alias_fail(w, 451, "4.3.2", "too many lists are looked up, try again later");
		return NULL;
	}
	v = pool_try(&w->pool, sizeof(*v));
	if (!v || w->nvisit >= VISITS_MAX) {
		smar_alias_fail(w, 451, "4.3.5", "the alias stands for too many addresses");
		return NULL;
	}
	v->from = from;
	v->text = smar_alias_kept(w, text);
	v->key = smar_alias_kept(w, key);
	if (!v->text || !v->key)
		return NULL;
	if (w->last)
		w->last->next = v;
	else
		w->first = v;
	w->last = v;
	if (!w->todo)
		w->todo = v;
	w->nvisit++;
	visits_all++;
	return v;
}

void smar_alias_add(struct alias_hand *h, const char *local, const char *domain, bool final)
{
	char text[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 2], key[sizeof(text)], fold[ADDR_PATH_MAX + 1],
	    dom[ADDR_DOMAIN_MAX + 1];
	struct alias_walk *w = h->walk;
	struct alias_visit *v = NULL;
	bool back;

	snprintf(text, sizeof(text), "%s@%s", local, domain);
	if (smar_keys_split(buf_str(text), "", fold, dom) < 0) {
		smar_alias_mistake(h, "an address is too long");
		return;
	}
	snprintf(key, sizeof(key), "%s@%s", fold, dom);
	back = leads_back(h->v, key);
	if (!back)
		HASH_FIND_STR(w->table, key, v);
	if (v || w->failed)
		return;
	if (h->v->depth >= SMAR_EXPAND_DEPTH) {
		smar_alias_mistake(h, "more rows lead to each other than are followed");
		return;
	}
	v = visit(w, h->v, text, key);
	if (!v)
		return;
	v->depth = h->v->depth + 1;
	v->owner = (uint16_t)h->owner;
	v->back = back;
	v->final = final;
	if (!back)
		HASH_ADD_KEYPTR(hh, w->table, v->key, strlen(v->key), v);
}

void smar_alias_first(struct alias_walk *w, const char *key)
{
	struct alias_visit *v = visit(w, NULL, key, key);

	if (v)
		HASH_ADD_KEYPTR(hh, w->table, v->key, strlen(v->key), v);
}

void smar_alias_drop(struct alias_walk *w)
{
	visits_all -= w->nvisit;
	HASH_CLEAR(hh, w->table);
	pool_clear(&w->pool);
}
