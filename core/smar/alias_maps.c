/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alias_maps.c -- one address of a walk: is its domain ours (ours.c), then virtual_aliases, aliases
 * and local_user_map by turns, until one has a row. users.h tells what that means.
 * From alias.c; to ours.c and seek.c; what was found goes to alias_row.c, or the address is one
 * that gets mail, or nobody. Owns nothing. On failure: a map that cannot say makes the whole answer
 * temporary, or permanent when it says that it never will.
 */
#include "smar/alias.h"

METRIC_COUNTER(m_loops, "alias_loops_total", "Aliases that led back to themselves.");

bool smar_alias_could_say(struct alias_hand *h, const struct smar_found *f)
{
	struct alias_walk *w = h->walk;

	if (f->ttl < w->ttl)
		w->ttl = f->ttl;
	if (f->status == META1_TEMPFAIL)
		smar_alias_fail(w, 451, "4.3.0", "temporary failure of a map, try again later");
	else if (f->status == META1_PERMFAIL)
		smar_alias_fail(w, 554, "5.3.0", "permanent failure of a map");
	else
		return true;
	smar_alias_done(h, ALIAS_GONE);
	return false;
}

static void unknown(struct alias_hand *h)
{
	struct alias_walk *w = h->walk;

	if (h->v->back) {
		w->looped = true;
		m_loops.value++;
	}
	if (h->v != w->first)
		log_event(LOG_L_WARN, "smar.alias", "recipient=%s target=%s error=%s",
		    w->first->key, h->v->key, h->v->back ? "leads back to itself" : "no such user");
	smar_alias_done(h, ALIAS_GONE);
}

static void user_found(void *arg, const struct smar_found *f)
{
	struct alias_hand *h = arg;

	if (!smar_alias_could_say(h, f))
		return;
	if (f->status == META1_OK)
		smar_alias_done(h, ALIAS_TARGET);
	else
		unknown(h);
}

/* Targets need not exist: their server says so. The recipient itself must, and what leads back. */
static void ask_user(struct alias_hand *h)
{
	struct smar_policy *p = h->walk->policy;
	const struct alias_visit *v = h->v;

	if ((v == h->walk->first || v->back) &&
	    smar_use_asks(&p->local_users, h->ours == OURS_LOCAL)) {
		smar_keys_path(&h->seek.keys, &p->local_users, "", h->local, h->domain);
		smar_seek_start(&h->seek, &p->local_users, h->walk->deadline, user_found, h);
	} else if (v->back && strcmp(v->from->key, v->key) != 0) {
		unknown(h);
	} else {
		smar_alias_done(h, ALIAS_TARGET);
	}
}

static void alias_found(void *arg, const struct smar_found *f)
{
	struct alias_hand *h = arg;

	if (!smar_alias_could_say(h, f))
		return;
	if (f->status == META1_OK)
		smar_alias_row(h, f);
	else
		ask_user(h);
}

static void ask_alias(struct alias_hand *h)
{
	struct smar_policy *p = h->walk->policy;

	if (h->v->back || !smar_use_asks(&p->aliases, h->ours == OURS_LOCAL)) {
		ask_user(h);
		return;
	}
	smar_keys_path(&h->seek.keys, &p->aliases, "", h->local, h->domain);
	smar_seek_start(&h->seek, &p->aliases, h->walk->deadline, alias_found, h);
}

static void virtual_found(void *arg, const struct smar_found *f)
{
	struct alias_hand *h = arg;

	if (!smar_alias_could_say(h, f))
		return;
	if (f->status == META1_OK)
		smar_alias_row(h, f);
	else if (h->ours == OURS_VIRTUAL)
		unknown(h);
	else
		ask_alias(h);
}

void smar_alias_known(struct alias_hand *h, enum smar_ours ours)
{
	struct smar_policy *p = h->walk->policy;

	h->ours = ours;
	if (h->v->back && h->ours == OURS_VIRTUAL) {
		unknown(h); /* there are no mailboxes */
	} else if (h->ours != OURS_NO && p->virtual_aliases.map && !h->v->back) {
		smar_keys_path(&h->seek.keys, &p->virtual_aliases, "", h->local, h->domain);
		smar_seek_start(&h->seek, &p->virtual_aliases, h->walk->deadline, virtual_found, h);
	} else if (h->ours == OURS_VIRTUAL) {
		unknown(h);
	} else {
		ask_alias(h);
	}
}

static void have_domain(void *arg, const struct smar_ours_found *f)
{
	struct smar_found as = {.status = f->status, .ttl = f->ttl};

	if (smar_alias_could_say(arg, &as))
		smar_alias_known(arg, f->ours);
}

void smar_alias_look(struct alias_hand *h)
{
	smar_ours_find(h->walk->policy, h->domain, h->walk->deadline, have_domain, h);
}
