/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alias.c -- from a recipient to those who get its mail, over rows that name addresses which have
 * rows themselves. users.h tells the order of the maps and the bounds, alias.h the files.
 * From check.c (RCPT) and smar.c (a report of qmgr); to alias_maps.c, one address after the other;
 * the list goes back to the asker. Owns one struct alias_walk a question, and its hands. On
 * failure: the first thing that went wrong is the whole answer.
 */
#include "smar/alias.h"

#include <stdlib.h>
#include <strings.h>

#define BYTES_MAX (6u << 20) /* of a walk's addresses */

METRIC_COUNTER(m_walks, "expansions_total", "Recipients looked up in aliases and users.");
METRIC_COUNTER(m_unknown, "unknown_users_total", "Recipients that do not exist.");

static void pump(struct alias_walk *w);

/* ---- the answer ---- */
static void tell(struct alias_walk *w, struct smar_expanded *e)
{
	const struct alias_visit *root = w->first, *v;
	struct meta1_buf *target = NULL;
	uint64_t *owner = NULL;
	uint32_t n = 0;

	for (v = w->first; v; v = v->next)
		n += v->end == ALIAS_TARGET;
	if (n == 0) {
		e->looped = w->looped;
		e->status = w->looped ? META1_PERMFAIL : META1_NOTFOUND;
		e->smtp = 550;
		e->dsn = w->looped ? "5.4.6" : "5.1.1";
		e->text = w->looped ? "alias loop" : "no such user here";
		m_unknown.value += !w->looped;
	} else if (root->end == ALIAS_ROWS) {
		target = base_alloc(n * sizeof(*target));
		owner = base_alloc(n * sizeof(*owner));
		for (v = w->first; v; v = v->next) {
			if (v->end != ALIAS_TARGET)
				continue;
			target[e->n] = buf_str(v->text);
			owner[e->n++] = v->owner;
		}
		if (n == 1 && !owner[0] && strcasecmp(target[0].data, root->key) == 0)
			e->n = 0; /* user: user */
	}
	e->target = target;
	e->owner = owner;
	w->fn(w->arg, e);
	free(target);
	free(owner);
}

static void finish(struct alias_walk *w)
{
	struct smar_expanded e = {.status = META1_OK, .ttl = w->ttl};

	e.owners = w->owners;
	e.nowner = w->nowner;
	e.smtp = w->smtp;
	e.dsn = w->dsn;
	e.text = w->text;
	if (w->failed) {
		e.status = w->smtp < 500 ? META1_TEMPFAIL : META1_PERMFAIL;
		w->fn(w->arg, &e);
	} else {
		tell(w, &e);
	}
	for (unsigned i = 0; i < SMAR_ALIAS_HANDS; i++)
		free(w->hand[i]);
	smar_alias_drop(w);
	smar_policy_unref(&w->policy);
	free(w);
}

/* The look-up of this address is over. */
void smar_alias_done(struct alias_hand *h, enum alias_end end)
{
	struct alias_walk *w = h->walk;

	h->v->end = end;
	h->v = NULL;
	free(h->value);
	h->value = NULL;
	w->busy--;
	pump(w);
}

/* ---- the walk ---- */
static void begin(struct alias_hand *h, struct alias_visit *v)
{
	struct alias_walk *w = h->walk;

	h->v = v;
	h->use = NULL;
	h->owner = v->owner;
	w->busy++;
	smar_keys_split(buf_str(v->key), "", h->local, h->domain);
	if (v->final)
		smar_alias_done(h, ALIAS_TARGET);
	else if (v == w->first && w->ours != OURS_ASK)
		smar_alias_known(h, w->ours);
	else
		smar_alias_look(h);
}

static void settle(struct alias_walk *w)
{
	uint32_t n = smar_alias_settle(w);

	if (n <= SMAR_EXPAND_MAX)
		return;
	log_event(LOG_L_WARN, "smar.alias", "recipient=%s targets=%u error=%s", w->first->key, n,
	    "more targets than a message may have");
	smar_alias_fail(w, 451, "4.3.5", "the alias stands for too many addresses");
}

static void pump(struct alias_walk *w)
{
	if (w->pumping)
		return;
	w->pumping = true;
	for (unsigned i = 0; i < SMAR_ALIAS_HANDS && w->todo && !w->failed; i++) {
		if (!w->hand[i]) {
			w->hand[i] = base_alloc(sizeof(*w->hand[i]));
			w->hand[i]->walk = w;
		}
		while (!w->hand[i]->v && w->todo && !w->failed) {
			struct alias_visit *v = w->todo;

			w->todo = v->next;
			begin(w->hand[i], v);
		}
	}
	w->pumping = false;
	if (w->busy > 0 || (w->todo && !w->failed))
		return;
	if (!w->failed)
		settle(w);
	finish(w);
}

bool smar_alias_idle(const struct smar_policy *p, enum smar_ours ours)
{
	if (ours == OURS_VIRTUAL || (ours != OURS_NO && p->virtual_aliases.map))
		return false;
	return !smar_use_asks(&p->aliases, ours != OURS_NO) &&
	       !smar_use_asks(&p->local_users, ours != OURS_NO);
}

void smar_alias_expand(struct smar_policy *p, const char *local, const char *domain,
    enum smar_ours ours, bool owners, int64_t deadline,
    void (*fn)(void *arg, const struct smar_expanded *), void *arg)
{
	struct alias_walk *w = base_alloc(sizeof(*w));

	m_walks.value++;
	w->policy = smar_policy_ref(p);
	pool_init(&w->pool, BYTES_MAX);
	w->give_owners = owners;
	w->ours = ours;
	w->deadline = deadline;
	w->ttl = UINT32_MAX;
	w->fn = fn;
	w->arg = arg;
	smar_alias_first(w, local, domain);
	pump(w);
}
