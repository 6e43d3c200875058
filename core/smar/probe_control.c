/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe_control.c -- what next hops said of recipients on smar's control socket: shown and
 * forgotten; and which hops are spoken to.
 * From core/ctl/server.c; to probe.c and probe_cache.c. Owns nothing. A page has PAGE entries at
 * most, of WALK that were looked at; cursor: how many came before, those refused first, in each the
 * ones used longest ago first.
 */
#include "smar/probe.h"

#include "ctl/server.h"

#include <stdlib.h>
#include <strings.h>

#define PAGE 500
#define WALK 20000

static struct prober *it;
static void (*changed_fn)(void);

static json_t *row(const struct probe_entry *e, bool yes, int64_t now, int64_t wall)
{
	const char *state = !yes					     ? "refused"
			    : probe_cache_left(&it->cache, e, true, now) > 0 ? "taken"
									     : "stale";

	return json_pack("{s:o s:s s:s s:s s:I s:I}", "recipient", json_string_nocheck(e->key),
	    "state", state, "dsn", e->dsn, "text", e->text, "since",
	    (json_int_t)(wall - (now - e->since) / 1000), "until",
	    (json_int_t)(wall + (e->lru.expires - now) / 1000));
}

/* An address, "@domain", or NULL: all. */
static bool fits(const char *key, const char *what)
{
	size_t n = strlen(key), m = what ? strlen(what) : 0;

	return !what || (what[0] == '@' ? n > m && strcasecmp(key + n - m, what) == 0
					: strcmp(key, what) == 0);
}

static unsigned add_rows(
    json_t *list, const struct lru *l, bool yes, const char *what, unsigned skip)
{
	int64_t now = loop_now(it->loop), wall = loop_wall(it->loop);
	const struct lru_entry *e;
	unsigned n = 0;

	for (e = l->all; e && n < skip; e = e->hh.next)
		n++;
	for (; e && json_array_size(list) < PAGE && n < skip + WALK; e = e->hh.next, n++) {
		const struct probe_entry *p = (const void *)e;

		if (e->expires > now && fits(p->key, what))
			json_array_append_new(list, row(p, yes, now, wall));
	}
	return n;
}

static json_t *get_probes(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *what = json_string_value(json_object_get(query, "recipient"));
	const char *cursor = json_string_value(json_object_get(query, "cursor"));
	unsigned at = cursor ? (unsigned)strtoul(cursor, NULL, 10) : 0, no, n;
	json_t *list = json_array();
	char next[16] = "";

	(void)arg, (void)rest;
	if (!it || !it->policy->probe) {
		json_decref(list);
		*status = 404;
		err_set(err, "smar has no recipient_probe section");
		return NULL;
	}
	no = lru_count(&it->cache.no);
	n = at < no ? add_rows(list, &it->cache.no, false, what, at) : no;
	if (n == no)
		n += add_rows(list, &it->cache.yes, true, what, at > no ? at - no : 0);
	if (n < no + lru_count(&it->cache.yes))
		snprintf(next, sizeof(next), "%u", n);
	return json_pack("{s:o s:s}", "entries", list, "next", next);
}

static json_t *delete_probes(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *what = json_string_value(json_object_get(query, "recipient"));
	unsigned n;

	(void)arg, (void)rest;
	if (!it || !it->policy->probe) {
		*status = 404;
		err_set(err, "smar has no recipient_probe section");
		return NULL;
	}
	n = prober_forget(it, what);
	changed_fn();
	return json_pack("{s:i}", "forgotten", (int)n);
}

static json_t *get_hops(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	json_t *list = json_array();
	struct probe_hop *h, *next;

	(void)arg, (void)rest, (void)query, (void)status, (void)err;
	if (it)
		HASH_ITER (hh, it->hops, h, next)
			json_array_append_new(
			    list, json_pack("{s:s s:i s:i s:I}", "hop", h->key, "connections",
				      (int)h->nsession, "waiting", (int)h->nline, "away_ms",
				      (json_int_t)(h->not_before > loop_now(it->loop)
						       ? h->not_before - loop_now(it->loop)
						       : 0)));
	return json_pack("{s:o}", "hops", list);
}

static const struct ctl_request requests[] = {
    {"GET", "/v1/probes", CTL_READ, get_probes,
	"What next hops said of recipients, a page; of ?recipient, an address or @domain, that."},
    {"GET", "/v1/probe-hops", CTL_READ, get_hops, "The next hops that are probed, and sessions."},
    {"DELETE", "/v1/probes", CTL_ADMIN, delete_probes,
	"Forgets that, or of ?recipient, an address or @domain."},
};

void probe_control_add(struct ctl *ctl)
{
	ctl_add(ctl, requests, ARRAY_LEN(requests), NULL);
}

void probe_control_set(struct prober *p, void (*changed)(void))
{
	it = p;
	changed_fn = changed;
}
