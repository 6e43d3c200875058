/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts_control.c -- the policies of MTA-STS on smar's control socket: shown, fetched anew,
 * forgotten. From core/ctl/server.c; to sts.c and sts_ask.c. Owns a struct later a fetch that is
 * waited for. A page has PAGE entries at most; cursor: how many came before, failures first.
 */
#include "smar/sts.h"

#include "ctl/server.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE	200
#define WAIT_MS 9000 /* a stop of the role waits for what is asked here */
#define LATERS	16

static struct {
	struct sts *sts;
	struct loop *loop;
	unsigned waiting;
} it;

struct later {
	struct ctl_later *client;
	char domain[ADDR_DOMAIN_MAX + 1];
};

/* ---- what there is ---- */
static int64_t wall(int64_t ms)
{
	return loop_wall(it.loop) + (ms - loop_now(it.loop)) / 1000;
}

static json_t *patterns(const struct sts_policy *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < p->nmx; i++)
		json_array_append_new(list, json_string(p->mx[i]));
	return list;
}

static json_t *policy_json(const struct sts_entry *e)
{
	return json_pack("{s:s s:s s:s s:o s:I s:I s:I s:I s:b s:b}", "domain", e->domain, "state",
	    sts_mode_word(e->policy->mode), "id", e->id, "mx", patterns(e->policy), "max_age",
	    (json_int_t)e->policy->max_age, "fetched", (json_int_t)e->fetched, "until",
	    (json_int_t)(e->fetched + sts_age(it.sts, e->policy) / 1000), "refresh",
	    (json_int_t)wall(e->refresh_at), "used", e->used, "fetching",
	    sts_fetching(it.sts, e->domain));
}

static json_t *failure_json(const struct sts_failure *f)
{
	return json_pack("{s:s s:s s:s s:s s:s s:I}", "domain", f->domain, "state", "failed",
	    "error", sts_fetched_word(f->result), "id", f->id, "text", f->why, "until",
	    (json_int_t)wall(f->lru.expires));
}

static json_t *row(const struct lru_entry *l, bool failure)
{
	return failure ? failure_json((const void *)l) : policy_json((const void *)l);
}

static const char *domain_of(const struct lru_entry *l, bool failure)
{
	return failure ? ((const struct sts_failure *)(const void *)l)->domain
		       : ((const struct sts_entry *)(const void *)l)->domain;
}

/* Returns the place after the last that was looked at. */
static unsigned add(json_t *list, bool failure, const char *domain, unsigned skip)
{
	const struct lru *all = failure ? sts_failures(it.sts) : sts_entries(it.sts);
	const struct lru_entry *l;
	unsigned n = 0;

	for (l = all->all; l && json_array_size(list) < PAGE; l = l->hh.next, n++)
		if (n >= skip && l->expires > loop_now(it.loop) &&
		    (!domain || strcmp(domain, domain_of(l, failure)) == 0))
			json_array_append_new(list, row(l, failure));
	return n;
}

static bool there(int *status, struct meta1_err *err)
{
	if (it.sts)
		return true;
	*status = 404;
	err_set(err, "smar has no mta_sts section");
	return false;
}

/* Of ?domain; *domain NULL: there is none. false: it is no domain. */
static bool of_query(json_t *query, char key[ADDR_DOMAIN_MAX + 1], const char **domain, int *status,
    struct meta1_err *err)
{
	const char *text = json_string_value(json_object_get(query, "domain"));

	*domain = text ? key : NULL;
	if (!text || addr_domain_key(buf_str(text), key, ADDR_DOMAIN_MAX + 1) == 0)
		return true;
	*status = 400;
	err_set(err, "domain: expected a domain");
	return false;
}

static json_t *get_sts(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *cursor = json_string_value(json_object_get(query, "cursor")), *domain;
	unsigned at = cursor ? (unsigned)strtoul(cursor, NULL, 10) : 0, bad, n;
	char key[ADDR_DOMAIN_MAX + 1], next[16] = "";
	json_t *list;

	(void)arg, (void)rest;
	if (!there(status, err) || !of_query(query, key, &domain, status, err))
		return NULL;
	list = json_array();
	bad = lru_count(sts_failures(it.sts));
	n = at < bad ? add(list, true, domain, at) : bad;
	if (n == bad)
		n += add(list, false, domain, at > bad ? at - bad : 0);
	if (n < bad + lru_count(sts_entries(it.sts)))
		snprintf(next, sizeof(next), "%u", n);
	return json_pack("{s:o s:s}", "entries", list, "next", next);
}

/* ---- fetched anew ---- */
static void told(void *arg, const struct sts_answer *a)
{
	struct later *w = arg;
	const struct sts_entry *e = a->why ? NULL : sts_find(it.sts, w->domain);
	json_t *answer = e ? policy_json(e) : NULL;

	it.waiting--;
	if (answer)
		ctl_answer(&w->client, answer, 200, NULL);
	else
		ctl_answer(&w->client, NULL, 409, a->why ? a->why : "the policy has no max_age");
	free(w);
}

static json_t *post_sts(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	char key[ADDR_DOMAIN_MAX + 1];
	const char *domain;
	struct later *w;

	(void)arg, (void)rest;
	if (!there(status, err) || !of_query(query, key, &domain, status, err))
		return NULL;
	if (!domain || it.waiting >= LATERS) {
		*status = domain ? 503 : 400;
		err_set(err, domain ? "too many are being fetched" : "expected ?domain=NAME");
		return NULL;
	}
	w = base_alloc(sizeof(*w));
	w->client = ctl_later();
	str_copy(w->domain, sizeof(w->domain), domain);
	it.waiting++;
	*status = CTL_LATER;
	sts_ask(it.sts, domain, true, loop_now(it.loop) + WAIT_MS, told, w);
	return NULL;
}

static json_t *delete_sts(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	char key[ADDR_DOMAIN_MAX + 1];
	const char *domain;

	(void)arg, (void)rest;
	if (!there(status, err) || !of_query(query, key, &domain, status, err))
		return NULL;
	return json_pack("{s:i}", "forgotten",
	    domain ? (int)sts_forget(it.sts, domain) : (int)sts_forget_all(it.sts));
}

static const struct ctl_request requests[] = {
    {"GET", "/v1/mta-sts", CTL_READ, get_sts,
	"The policies of MTA-STS in force, and fetches that failed lately, a page; of ?domain."},
    {"POST", "/v1/mta-sts", CTL_ADMIN, post_sts, "Fetches the policy of ?domain anew."},
    {"DELETE", "/v1/mta-sts", CTL_ADMIN, delete_sts, "Forgets them, or that of ?domain."},
};

void sts_control_add(struct ctl *ctl)
{
	ctl_add(ctl, requests, ARRAY_LEN(requests), NULL);
}

void sts_control_set(struct sts *s, struct loop *l)
{
	it.sts = s;
	it.loop = l;
}
