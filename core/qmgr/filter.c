/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter.c -- which messages and recipients an admin means: by id, sender, recipient, domain, age,
 * size, reason, state; all that is said must hold.
 * Comes from control.c and act.c with the query of a request, which must outlive it. Owns
 * nothing; pure. On failure: a query that makes no sense is refused with the word that is wrong.
 */
#include "qmgr/filter.h"

#include <stdlib.h>
#include <strings.h>

static const char *const states[] = {"waiting", "held", "routing", "queued", "delivering",
    "reporting", "delivered", "bounced", "failed", "deleted"};

const char *qmgr_state(const struct qmgr_rcpt *r)
{
	static const char *const state[] = {"waiting", "delivered", "bounced", "failed", "deleted"};
	static const char *const phase[] = {[QP_WAIT] = "waiting",
	    [QP_ROUTE] = "routing",
	    [QP_QUEUED] = "queued",
	    [QP_SENT] = "delivering",
	    [QP_INTENT] = "reporting",
	    [QP_REPORT] = "reporting",
	    [QP_DOUBT] = "reporting",
	    [QP_WARNED] = "reporting"};

	if (r->state != META1_R_WAITING || r->phase >= QP_FINAL)
		return state[r->state];
	return r->phase == QP_WAIT && qmgr_mark_held(r) ? "held" : phase[r->phase];
}

int64_t qmgr_query_number(json_t *query, const char *name, int64_t def)
{
	const char *s = json_string_value(json_object_get(query, name));
	char *end;
	long long n;

	if (!s || !*s)
		return def;
	n = strtoll(s, &end, 10);
	return *end || n < 0 ? -1 : n;
}

static int number(json_t *query, const char *name, int64_t def, int64_t *out, struct meta1_err *err)
{
	*out = qmgr_query_number(query, name, def);
	return *out < 0 ? err_set(err, "%s: expected a whole number", name) : 0;
}

/* A word that is not known must not do more than what was meant. */
static int known(json_t *query, struct meta1_err *err)
{
	static const char *const words[] = {"id", "sender", "recipient", "domain", "reason",
	    "state", "older", "younger", "larger", "smaller", "cursor", "limit", "all", "dry_run",
	    "to", "headers", "offset", "length", "uid", "admin"};
	const char *name;
	json_t *value;
	size_t i;

	json_object_foreach(query, name, value)
	{
		for (i = 0; i < ARRAY_LEN(words) && strcmp(name, words[i]); i++)
			;
		if (i == ARRAY_LEN(words))
			return err_set(err, "%.40s: not known; see doc/control-api.md", name);
	}
	return 0;
}

int qmgr_filter_read(struct qmgr_filter *f, json_t *query, struct meta1_err *err)
{
	const struct {
		const char *name, **to;
	} text[] = {{"id", &f->id}, {"sender", &f->sender}, {"recipient", &f->recipient},
	    {"domain", &f->domain}, {"reason", &f->reason}, {"state", &f->state}};
	unsigned i;

	memset(f, 0, sizeof(*f));
	if (known(query, err) < 0)
		return -1;
	for (i = 0; i < ARRAY_LEN(text); i++) {
		*text[i].to = json_string_value(json_object_get(query, text[i].name));
		f->more = f->more || (i > 0 && *text[i].to);
	}
	if (number(query, "older", 0, &f->older, err) < 0 ||
	    number(query, "younger", INT64_MAX, &f->younger, err) < 0 ||
	    number(query, "larger", 0, &f->larger, err) < 0 ||
	    number(query, "smaller", INT64_MAX, &f->smaller, err) < 0)
		return -1;
	f->more =
	    f->more || f->older || f->younger != INT64_MAX || f->larger || f->smaller != INT64_MAX;
	f->any = f->more || f->id;
	f->rcpts = f->recipient || f->domain || f->reason || f->state;
	for (i = 0; f->state && i < ARRAY_LEN(states); i++)
		if (!strcmp(f->state, states[i]))
			return 0;
	return f->state ? err_set(err,
			      "state: found %.20s, expected waiting, held, routing, queued, "
			      "delivering or reporting",
			      f->state)
			: 0;
}

/* want: an address, "@domain", or "<>" for the empty one. Case does not count: an admin types. */
static bool address(const char *want, const char *addr)
{
	const char *at;

	if (!strcmp(want, "<>") || !*want)
		return !*addr;
	if (*want != '@')
		return !strcasecmp(want, addr);
	at = strrchr(addr, '@');
	return at && !strcasecmp(want, at);
}

/* want: a domain, or ".domain" for those below it. */
static bool domain(const char *want, const char *addr)
{
	const char *at = strrchr(addr, '@');
	size_t n = strlen(want), have = at ? strlen(at + 1) : 0;

	if (*want == '.')
		return have > n && !strcasecmp(want, at + 1 + have - n);
	return at && !strcasecmp(want, at + 1);
}

bool qmgr_filter_msg(const struct qmgr_filter *f, const struct qmgr_msg *m, int64_t now)
{
	int64_t age = (now - m->born) / 1000;

	if (m->dying || (f->id && strcmp(f->id, m->id)))
		return false;
	if (m->unread) /* nobody knows whose it is */
		return !f->more;
	if (f->sender && !address(f->sender, m->from))
		return false;
	return age >= f->older && age <= f->younger && (int64_t)m->bytes >= f->larger &&
	       (int64_t)m->bytes <= f->smaller;
}

bool qmgr_filter_rcpt(const struct qmgr_filter *f, const struct qmgr_rcpt *r, const char *reason)
{
	if (!f->rcpts)
		return true;
	if ((f->recipient && !address(f->recipient, r->addr)) ||
	    (f->domain && !domain(f->domain, r->addr)))
		return false;
	if (f->state && strcmp(f->state, qmgr_state(r)))
		return false;
	return !f->reason || strcasestr(reason, f->reason);
}
