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

/* mark: the key, behind a byte that is its mark when it is final. */
static struct alias_visit *visit(
    struct alias_walk *w, const struct alias_visit *from, const char *text, const char *mark)
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
	mark = smar_alias_kept(w, mark);
	if (!v->text || !mark)
		return NULL;
	v->key = mark + 1;
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

/* \\x and x are two in the table: who has both gets what x stands for, and its own. */
static void enter(struct alias_walk *w, struct alias_visit *v)
{
	const char *as = v->final ? v->key - 1 : v->key;

	HASH_ADD_KEYPTR(hh, w->table, as, strlen(as), v);
}

void smar_alias_add(struct alias_hand *h, const char *local, const char *domain, bool final)
{
	char text[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 2], mark[sizeof(text) + 1],
	    fold[ADDR_PATH_MAX + 1], dom[ADDR_DOMAIN_MAX + 1];
	struct alias_visit *v, *was = NULL;
	struct alias_walk *w = h->walk;
	bool back;
	uint8_t how;

	snprintf(text, sizeof(text), "%s@%s", local, domain);
	if (smar_keys_split(buf_str(text), "", fold, dom) < 0) {
		smar_alias_mistake(h, "an address is too long");
		return;
	}
	snprintf(mark, sizeof(mark), "\\%s@%s", fold, dom);
	HASH_FIND_STR(w->table, mark + !final, was);
	back = was && !final && leads_back(h->v, mark + 1);
	how = strcmp(h->v->key, mark + 1) == 0 ? ALIAS_BACK_STRAIGHT : ALIAS_BACK_ROUND;
	if (w->failed || (was && (!back || was->backs & how)))
		return;
	if (h->v->depth >= SMAR_EXPAND_DEPTH) {
		smar_alias_mistake(h, "more rows lead to each other than are followed");
		return;
	}
	v = visit(w, h->v, text, mark);
	if (!v)
		return;
	v->depth = h->v->depth + 1;
	v->owner = (uint16_t)h->owner;
	v->back = back;
	v->final = final;
	if (back)
		was->backs |= how;
	else
		enter(w, v);
}

void smar_alias_first(struct alias_walk *w, const char *local, const char *domain)
{
	char mark[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 3];
	struct alias_visit *v;

	snprintf(mark, sizeof(mark), "\\%s@%s", local, domain);
	v = visit(w, NULL, mark + 1, mark);
	if (v)
		enter(w, v);
}

uint32_t smar_alias_settle(struct alias_walk *w)
{
	struct alias_visit *v, *was;
	uint32_t n = 0;

	HASH_CLEAR(hh, w->table);
	for (v = w->first; v; v = v->next) {
		if (v->end != ALIAS_TARGET)
			continue;
		HASH_FIND_STR(w->table, v->key, was);
		if (was) {
			v->end = ALIAS_GONE;
			continue;
		}
		HASH_ADD_KEYPTR(hh, w->table, v->key, strlen(v->key), v);
		n++;
	}
	return n;
}

void smar_alias_drop(struct alias_walk *w)
{
	visits_all -= w->nvisit;
	HASH_CLEAR(hh, w->table);
	pool_clear(&w->pool);
}
