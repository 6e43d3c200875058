/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.c -- where a recipient's domain goes: kept answers of smar, one question a domain for
 * all who wait for it, as many questions at a time as the channel's window allows.
 * Comes from active.c; goes to sched.c, or to outcome.c when there is no way. Owns routes (at most
 * QMGR_ROUTES_MAX idle ones, least recently used go first).
 * When smar says that routes depend on the sender or the recipient, or no more, questions and
 * answers of the other kind are void, and who waits for them asks anew.
 * On failure: while smar is away recipients wait for it, without blame; no answer in time is a
 * temporary failure of the domain.
 */
#include "mail/addr.h"
#include "mail/tls_required.h"
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_asked, "routes_asked_total", "Questions to smar for a route.");
METRIC_COUNTER(m_kept, "routes_kept_total", "Routes taken from a kept answer.");

#define VIA    ' ' /* before next hops that an admin gave, in place of a domain, which has none */

#define SENDER '\1' /* behind a domain, before the sender, when routes depend on it */
#define RCPT   '\2' /* behind that, before the recipient, likewise */
#define NEED   "\3" /* behind all that, before what the mail itself says of TLS (RFC 8689) */

enum route_state { R_VOID, R_WANTED, R_ASKED, R_KNOWN };

struct qmgr_route {
	UT_hash_handle hh;
	struct qmgr_route *next, *prev;	  /* by time of use */
	struct qmgr_route *anext, *aprev; /* R_WANTED: to be asked */
	struct qmgr *q;
	enum route_state state;
	enum meta1_status status;
	uint64_t epoch;	 /* of the answer; an older one is void */
	int64_t expires; /* ms */
	struct qmgr_dest *dest;
	struct qmgr_reason *reason; /* when there is no way */
	struct qmgr_list waiting;
	char domain[];
};

/* ---- the table ---- */

static void route_free(struct qmgr *q, struct qmgr_route *r)
{
	if (r->state == R_WANTED)
		DL_DELETE2(q->route_ask, r, aprev, anext);
	HASH_DELETE(hh, q->routes, r);
	DL_DELETE(q->route_lru, r);
	qmgr_sched_unref(&q->sched, &r->dest, q->ended ? 0 : loop_now(q->loop));
	qmgr_reason_drop(&r->reason);
	free(r);
}

static void evict(struct qmgr *q)
{
	struct qmgr_route *r = q->route_lru, *next;
	int n = 0;

	/* Those with waiters are bounded by the active queue. */
	for (; r && HASH_COUNT(q->routes) > QMGR_ROUTES_MAX && n < 8; r = next, n++) {
		next = r->next;
		if (!r->waiting.head && r->state != R_ASKED && r->state != R_WANTED)
			route_free(q, r);
	}
}

static struct qmgr_route *route_get(struct qmgr *q, const char *domain)
{
	size_t len = strlen(domain);
	struct qmgr_route *r;

	HASH_FIND(hh, q->routes, domain, len, r);
	if (r) {
		if (r->next) { /* not the last used */
			DL_DELETE(q->route_lru, r);
			DL_APPEND(q->route_lru, r);
		}
		return r;
	}
	evict(q);
	r = base_alloc(sizeof(*r) + len + 1);
	r->q = q;
	memcpy(r->domain, domain, len);
	HASH_ADD_KEYPTR(hh, q->routes, r->domain, len, r);
	DL_APPEND(q->route_lru, r);
	return r;
}

void qmgr_route_up(struct qmgr *q)
{
	q->route_epoch++;
	q->route_told = false;
}

void qmgr_route_free_all(struct qmgr *q)
{
	while (q->route_lru)
		route_free(q, q->route_lru);
}

/* ---- what an answer means for a recipient ---- */

static void no_way(
    struct qmgr *q, struct qmgr_route *route, struct qmgr_rcpt *r, struct qmgr_tally *t)
{
	/* Like a recipient's temporary failure: the longer it lasts, the rarer it is asked. */
	struct qmgr_result res = {
	    .status = route->status, .scope = META1_ABOUT_MAIL, .reason = route->reason};

	if (res.reason)
		res.reason->refs++;
	qmgr_outcome(q, r, &res, 0, t);
	qmgr_outcome_end(&res);
}

/* A rate has no place for it, and its time is over. What was as old when we began has the longest
 * pause all the same, for a place. */
static bool too_late(struct qmgr *q, struct qmgr_dest *d, const struct qmgr_msg *m)
{
	int64_t now = loop_now(q->loop);

	return now - m->born >= q->lim.max_queue && now - q->began >= q->lim.max_retry &&
	       qmgr_sched_behind(&q->sched, d, m->from);
}

static void give_up(struct qmgr *q, struct qmgr_rcpt *r, struct qmgr_tally *t)
{
	struct qmgr_result res = {.status = META1_TEMPFAIL,
	    .scope = META1_ABOUT_HOST,
	    .dsn = buf_str("4.4.5"),
	    .text = buf_str("the rate of its destination let it not go in time"),
	    .reason = r->reason};

	if (res.reason)
		res.reason->refs++;
	qmgr_outcome(q, r, &res, 0, t);
	qmgr_outcome_end(&res);
}

static void apply(
    struct qmgr *q, struct qmgr_route *route, struct qmgr_rcpt *r, struct qmgr_tally *t)
{
	int64_t now = loop_now(q->loop), dead, late;

	if (r->state != META1_R_WAITING) { /* deleted meanwhile */
		qmgr_active_leave(q, r);
		qmgr_outcome_final(q, r, r->state);
		return;
	}
	if (qmgr_mark_held(r)) {
		qmgr_dispatch_later(q, r, 0, QW_RETRY);
		return;
	}
	if (route->status != META1_OK) {
		no_way(q, route, r, t);
		return;
	}
	dead = qmgr_sched_dead(route->dest, now);
	if (dead) {
		qmgr_dispatch_put_off(q, route->dest, r, t);
		return;
	}
	if (too_late(q, route->dest, qmgr_msg_of(r))) {
		give_up(q, r, t);
		return;
	}
	late = qmgr_sched_late(&q->sched, route->dest, qmgr_msg_of(r)->from, now);
	if (late) {
		qmgr_dispatch_later(q, r, late, QW_RATE);
		return;
	}
	if (qmgr_sched_full(&q->sched, route->dest, qmgr_msg_of(r)->from, r->item.group)) {
		qmgr_active_block(q, r, route->dest);
		return;
	}
	q->nrouting--;
	r->phase = QP_QUEUED;
	qmgr_sched_add(&q->sched, route->dest, qmgr_msg_of(r)->from, &r->item);
}

/* ---- asking ---- */

static int64_t life(uint64_t ttl)
{
	return (int64_t)(ttl > 86400 ? 86400 : ttl) * 1000;
}

static void known(struct qmgr *q, struct qmgr_route *r, uint64_t ttl)
{
	struct qmgr_tally t = {0};
	struct qmgr_list todo = r->waiting;
	struct qmgr_item *i;

	r->state = R_KNOWN;
	r->expires = loop_now(q->loop) + life(ttl);
	memset(&r->waiting, 0, sizeof(r->waiting));
	while ((i = qmgr_list_pop(&todo)))
		apply(q, r, (struct qmgr_rcpt *)i, &t);
	qmgr_outcome_log(q, &t);
	qmgr_kick(q);
}

static void set_failure(struct qmgr_route *r, enum meta1_status st, unsigned smtp,
    struct meta1_buf dsn, struct meta1_buf text)
{
	r->status = st == META1_PERMFAIL || st == META1_NOTFOUND ? META1_PERMFAIL : META1_TEMPFAIL;
	r->reason = qmgr_reason_new(buf_str(""), smtp, dsn, text, buf_str(""));
}

/* Its name has a sender or recipient though routes do not depend on it, or the reverse. */
static bool other_kind(const struct qmgr *q, const struct qmgr_route *r)
{
	if ((strchr(r->domain, RCPT) != NULL) != q->route_by_rcpt)
		return true;
	return *r->domain != VIA && (strchr(r->domain, SENDER) != NULL) != q->route_by_sender;
}

/* The route where they waited may be forgotten by this. */
static void ask_anew(struct qmgr *q, struct qmgr_list *todo)
{
	struct qmgr_item *i;

	while ((i = qmgr_list_pop(todo)))
		qmgr_route_find(q, (struct qmgr_rcpt *)i);
	qmgr_kick(q);
}

void qmgr_route_generation(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_generation *g = msg;
	struct qmgr *q = arg;
	struct qmgr_list todo = {0};
	struct qmgr_route *r, *next;
	struct qmgr_item *i;

	(void)c, (void)req;
	if (q->ended)
		return;
	q->route_by_sender = g->by_sender != 0;
	q->route_by_rcpt = g->by_rcpt != 0;
	q->route_told = true;
	q->route_epoch++;
	for (r = q->route_ask; r; r = next) {
		next = r->anext;
		if (!other_kind(q, r))
			continue;
		DL_DELETE2(q->route_ask, r, aprev, anext);
		r->state = R_VOID;
		while ((i = qmgr_list_pop(&r->waiting)))
			qmgr_list_add(&todo, i);
	}
	ask_anew(q, &todo);
	qmgr_route_pump(q);
}

/* What a mail says of TLS, as the end of the name of its route: "" for most. */
static const char *need_of(const struct qmgr_msg *m)
{
	if (m->flags & META1_M_REQUIRETLS)
		return NEED " requiretls";
	return m->flags & MAIL_TLS_NO ? NEED " tls-required-no" : "";
}

static void answer(void *arg, const void *msg)
{
	struct qmgr_route *r = arg;
	struct qmgr *q = r->q;
	const struct p_routes *m = msg;
	struct chan *smar = role_peer(&q->role, "smar");
	struct qmgr_dest *old = r->dest;
	struct qmgr_list todo;
	const char *line;

	r->state = R_VOID;
	if (q->ended)
		return;
	qmgr_reason_drop(&r->reason);
	r->dest = NULL;
	if (other_kind(q, r)) {
		todo = r->waiting;
		memset(&r->waiting, 0, sizeof(r->waiting));
		ask_anew(q, &todo);
	} else if (!m && (!smar || !chan_up(smar))) { /* it went away: ask again when it is back */
		r->state = R_WANTED;
		DL_APPEND2(q->route_ask, r, aprev, anext);
	} else if (!m) {
		set_failure(r, META1_TEMPFAIL, 0, buf_str("4.4.3"),
		    buf_str("no route in time: smar did not answer"));
		known(q, r, 0);
	} else if (m->status == META1_OK && m->hops.n && m->key.len && m->transport.len) {
		r->status = META1_OK;
		line = strchr(r->domain, *NEED);
		r->dest = qmgr_hops_dest(q, m, line ? line + 1 : NULL);
		if (r->dest->epoch < r->epoch)
			r->dest->epoch = r->epoch;
		qmgr_bounds_set(q, r->dest, m->limits_row, m->limits);
		known(q, r, m->ttl);
	} else {
		set_failure(r,
		    m->status == META1_OK ? META1_TEMPFAIL : (enum meta1_status)m->status,
		    (unsigned)m->smtp, m->dsn, m->text);
		known(q, r, m->ttl);
	}
	qmgr_sched_unref(&q->sched, &old, loop_now(q->loop));
	qmgr_route_pump(q);
}

/* What the name of a route, of name_of(), asks for. */
static struct p_route question(const char *name)
{
	const char *end = strchrnul(name, *NEED), *rcpt, *sender;
	struct p_route ask = {.none_ = 0};

	rcpt = memchr(name, RCPT, (size_t)(end - name));
	if (rcpt) {
		ask.rcpt = buf_of(rcpt + 1, (size_t)(end - rcpt - 1));
		end = rcpt;
	}
	sender = memchr(name, SENDER, (size_t)(end - name));
	if (sender) {
		ask.from = buf_of(sender + 1, (size_t)(end - sender - 1));
		end = sender;
	}
	if (*name == VIA)
		ask.via = buf_of(name + 1, (size_t)(end - name - 1));
	else
		ask.domain = buf_of(name, (size_t)(end - name));
	return ask;
}

void qmgr_route_pump(struct qmgr *q)
{
	struct chan *smar = role_peer(&q->role, "smar");
	struct qmgr_route *r;

	while (smar && q->route_told && (r = q->route_ask)) {
		struct p_route ask = question(r->domain);

		r->epoch = q->route_epoch;
		if (!chan_ask(smar, P_ROUTE, &ask, 0, answer, r))
			return; /* away, or the window is full: an answer or its return wakes us */
		DL_DELETE2(q->route_ask, r, aprev, anext);
		r->state = R_ASKED;
		m_asked.value++;
	}
}

static void domain_of(struct qmgr *q, const char *addr, char *out, size_t size)
{
	const char *at = strrchr(addr, '@');
	const char *domain = at && at[1] ? at + 1 : q->role.set->hostname;

	if (addr_domain_key(buf_str(domain), out, size) < 0)
		str_copy(out, size, domain);
}

#define WAY_MAX (ADDR_DOMAIN_MAX + QMGR_VIA_MAX + 2 * ADDR_PATH_MAX + 4 + 20)

static void name_of(struct qmgr *q, const struct qmgr_rcpt *r, char name[WAY_MAX])
{
	size_t n;

	if (*qmgr_mark_via(r))
		snprintf(name, WAY_MAX, "%c%s", VIA, qmgr_mark_via(r));
	else
		domain_of(q, r->addr, name, ADDR_DOMAIN_MAX + 1);
	n = strlen(name);
	if (q->route_by_sender && *name != VIA)
		n += (size_t)snprintf(
		    name + n, WAY_MAX - n, "%c%s", SENDER, qmgr_msg_sender(qmgr_msg_of(r), r));
	if (q->route_by_rcpt && n < WAY_MAX)
		n += (size_t)snprintf(name + n, WAY_MAX - n, "%c%s", RCPT, r->addr);
	if (n < WAY_MAX)
		snprintf(name + n, WAY_MAX - n, "%s", need_of(qmgr_msg_of(r)));
}

static struct qmgr_route *route_of(struct qmgr *q, const struct qmgr_rcpt *r)
{
	char name[WAY_MAX];

	name_of(q, r, name);
	return route_get(q, name);
}

/* For who only looks: makes no route, so none is forgotten for it. */
static struct qmgr_route *route_known(struct qmgr *q, const struct qmgr_rcpt *r)
{
	char name[WAY_MAX];
	struct qmgr_route *route;

	name_of(q, r, name);
	HASH_FIND_STR(q->routes, name, route);
	return route;
}

struct qmgr_dest *qmgr_route_dest(struct qmgr *q, const struct qmgr_rcpt *r)
{
	struct qmgr_route *route = route_known(q, r);

	return route ? route->dest : NULL;
}

void qmgr_route_anew(struct qmgr *q, const struct qmgr_rcpt *r)
{
	struct qmgr_route *route = route_known(q, r);

	if (route)
		route->expires = 0;
}

void qmgr_route_find(struct qmgr *q, struct qmgr_rcpt *r)
{
	struct qmgr_route *route = route_of(q, r);
	struct qmgr_tally t = {0};

	if (route->state == R_KNOWN && route->epoch == q->route_epoch &&
	    route->expires > loop_now(q->loop)) {
		m_kept.value++;
		apply(q, route, r, &t);
		qmgr_outcome_log(q, &t);
		return;
	}
	qmgr_list_add(&route->waiting, &r->item);
	if (route->state == R_VOID || route->state == R_KNOWN) {
		route->state = R_WANTED;
		DL_APPEND2(q->route_ask, route, aprev, anext);
		qmgr_route_pump(q);
	}
}
