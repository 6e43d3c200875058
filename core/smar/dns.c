/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns.c -- questions to the DNS: from the cache, or shared with an equal question that
 * is under way, or asked of the name servers in turn.
 * From route.c, the checks and the service of modules (dns_service.c); to dns_try.c and
 * dns_cache.c.
 * Owns questions and askers. At most ACTIVE questions have a socket, at most WAITING more
 * stand in line; what comes beyond is answered TEMPFAIL. Any failure is TEMPFAIL with a reason:
 * "no such name" comes from a server that said so, never from silence.
 */
#include "smar/smar.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <uthash.h>

#define CACHE	    20000
#define CACHE_BYTES (16u << 20)
#define ACTIVE	    256
#define WAITING	    4096

METRIC_COUNTER(m_asked, "dns_questions_total", "Questions asked of the resolver.");
METRIC_COUNTER(m_shared, "dns_shared_total", "Questions that joined an equal one under way.");
METRIC_COUNTER(m_failed, "dns_failures_total", "Questions that no name server answered.");
METRIC_COUNTER(m_full, "dns_overload_total", "Questions refused because too many were open.");
METRIC_GAUGE(m_open, "dns_questions_now", "Questions under way or in line.");

struct asker {
	struct asker *next;
	struct dns *dns;
	int64_t deadline;
	dns_fn fn;
	void *arg;
	struct dns_data *data; /* the answer, once known */
	uint32_t ttl;	       /* seconds that it may still be kept */
};
struct query {
	UT_hash_handle hh;
	struct dns *dns;
	struct asker *askers;
	struct query *next, **prevp; /* in line */
	struct watch *timer;	     /* earliest deadline of the askers */
	struct dns_try try;
	struct dns_question q; /* what is asked now; its name changes with CNAMEs */
	bool active, trying;
	unsigned tries, server, chain;
	uint32_t lost; /* bits of servers that left it unanswered with EDNS0 */
	uint32_t ttl;  /* of the CNAMEs so far */
	bool secure;   /* all of them were */
	unsigned keylen;
	char name[DNS_NAME_MAX], key[DNS_NAME_MAX + 4];
};
struct dns {
	struct loop *loop;
	struct dns_cache *cache;
	struct query *all, *line, **line_end;
	unsigned active, waiting;
	bool starting;
	struct dns_server server[DNS_SERVERS];
	unsigned nserver, good; /* good: the server to begin with */
	int64_t timeout;
	unsigned tries;
	bool plain_case;
	struct asker *ready, **ready_end; /* to be answered on the next turn */
	struct task task;
};

/* ---- answers ---- */
struct dns_data *dns_data_ref(struct dns_data *d)
{
	d->refs++;
	return d;
}

void dns_data_unref(struct dns_data **dp)
{
	if (*dp && --(*dp)->refs == 0)
		free(*dp);
	*dp = NULL;
}

struct dns_data *dns_data_fail(const char *why)
{
	struct dns_data *d = base_alloc(sizeof(*d));

	d->refs = 1;
	d->status = META1_TEMPFAIL;
	d->name = "";
	str_copy(d->why, sizeof(d->why), why);
	return d;
}

static void tell_ready(void *arg)
{
	struct dns *d = arg;
	struct asker *a, *list = d->ready;

	d->ready = NULL;
	d->ready_end = &d->ready;
	while ((a = list) != NULL) {
		list = a->next;
		a->fn(a->arg, a->data, a->ttl);
		dns_data_unref(&a->data);
		free(a);
	}
}

/* Takes the reference. */
static void answer_later(struct asker *a, struct dns_data *data, uint32_t ttl)
{
	struct dns *d = a->dns;

	a->data = data;
	a->ttl = ttl;
	a->next = NULL;
	*d->ready_end = a;
	d->ready_end = &a->next;
	loop_defer(d->loop, &d->task);
}

/* ---- the line of questions that wait for a socket ---- */
static void line_add(struct query *q)
{
	struct dns *d = q->dns;

	q->next = NULL;
	q->prevp = d->line_end;
	*d->line_end = q;
	d->line_end = &q->next;
	d->waiting++;
}

static void line_remove(struct query *q)
{
	struct dns *d = q->dns;

	*q->prevp = q->next;
	if (q->next)
		q->next->prevp = q->prevp;
	else
		d->line_end = q->prevp;
	q->prevp = NULL;
	d->waiting--;
}

static void query_free(struct query *q)
{
	struct dns *d = q->dns;

	if (q->trying)
		dns_try_end(&q->try);
	if (q->active)
		d->active--;
	else if (q->prevp)
		line_remove(q);
	if (q->timer)
		loop_unwatch(&q->timer);
	HASH_DELETE(hh, d->all, q);
	m_open.value = HASH_COUNT(d->all);
	free(q);
}

static void query_start(struct query *q);

static void start_waiting(struct dns *d)
{
	if (d->starting) /* a question that failed at once: the loop below goes on */
		return;
	d->starting = true;
	while (d->line && d->active < ACTIVE) {
		struct query *q = d->line;

		line_remove(q);
		query_start(q);
	}
	d->starting = false;
}

/* Takes the reference; answers all askers and ends the question. */
static void query_done(struct query *q, struct dns_data *data)
{
	struct dns *d = q->dns;
	struct asker *a;

	if (data->status == META1_TEMPFAIL) {
		m_failed.value++;
		log_event(LOG_L_DEBUG, "smar.dns", "name=%s type=%d error=%s", q->name,
		    (int)q->q.type, data->why);
	}
	dns_cache_put(d->cache, q->name, q->q.type, data, loop_now(d->loop));
	while ((a = q->askers) != NULL) {
		q->askers = a->next;
		answer_later(a, dns_data_ref(data), data->ttl);
	}
	dns_data_unref(&data);
	query_free(q);
	start_waiting(d);
}

/* ---- tries ---- */
static void query_try(struct query *q, const char *last);

static void query_follow(struct query *q, const struct dns_result *r)
{
	if (++q->chain > DNS_CHAIN) {
		query_done(q, dns_data_fail("chain of CNAMEs without an end"));
		return;
	}
	if (r->ttl < q->ttl)
		q->ttl = r->ttl;
	q->secure = q->secure && r->secure;
	str_copy(q->q.name, sizeof(q->q.name), r->follow);
	q->tries = 0;
	q->lost = 0;
	query_try(q, "");
}

static void note(struct query *q, const struct dns_result *r)
{
	struct dns *d = q->dns;
	int64_t now = loop_now(d->loop);
	struct dns_tried t = {.result = r,
	    .edns = q->q.edns,
	    .again = q->lost >> q->server & 1,
	    .ms = now - q->try.began};

	dns_server_note(&d->server[q->server], &t, now, loop_wall(d->loop));
	if (t.edns && r->read == DNS_FAIL && r->silent)
		q->lost |= 1u << q->server;
}

static void tried(void *arg, struct dns_result *r)
{
	struct query *q = arg;
	struct dns *d = q->dns;
	char why[sizeof(r->why) + sizeof(d->server[0].text) + 4];

	q->trying = false;
	note(q, r);
	switch (r->read) {
	case DNS_GOOD:
		d->good = q->server;
		if (q->ttl < r->data->ttl)
			r->data->ttl = q->ttl;
		r->data->secure = q->secure && r->secure;
		query_done(q, r->data);
		return;
	case DNS_FOLLOW:
		query_follow(q, r);
		return;
	case DNS_NOEDNS: /* it is asked without from now on */
		query_try(q, "");
		return;
	default:
		break;
	}
	snprintf(why, sizeof(why), "%s: %s", d->server[q->server].text, r->why);
	/* The next question begins with another server than the one that failed. */
	if (d->good == q->server)
		d->good = (q->server + 1) % d->nserver;
	q->server = (q->server + 1) % d->nserver;
	q->tries++;
	query_try(q, why);
}

static void query_try(struct query *q, const char *last)
{
	struct dns *d = q->dns;
	struct meta1_err err;
	char why[160];

	str_copy(why, sizeof(why), last);
	while (q->tries < d->tries) {
		q->q.ad = d->server[q->server].trusted;
		q->q.edns = dns_server_edns(&d->server[q->server], loop_now(d->loop));
		q->q.mixed = !d->plain_case && !d->server[q->server].folds;
		if (dns_try_start(&q->try, d->loop, &d->server[q->server], &q->q, d->timeout, tried,
			q, &err) == 0) {
			q->trying = true;
			return;
		}
		str_copy(why, sizeof(why), err.text);
		q->server = (q->server + 1) % d->nserver;
		q->tries++;
	}
	query_done(q, dns_data_fail(why));
}

static void query_start(struct query *q)
{
	q->active = true;
	q->dns->active++;
	q->server = q->dns->good;
	query_try(q, "");
}

/* ---- askers ---- */
static int64_t earliest(const struct query *q)
{
	int64_t at = INT64_MAX;

	for (const struct asker *a = q->askers; a; a = a->next)
		if (a->deadline < at)
			at = a->deadline;
	return at;
}

static void arm(struct query *q)
{
	int64_t left = earliest(q) - loop_now(q->dns->loop);

	loop_rearm(q->timer, left > 0 ? left : 0);
}

static void deadline_passed(int fd, short what, void *arg)
{
	struct query *q = arg;
	struct dns *d = q->dns;
	struct asker **ap = &q->askers, *a;
	int64_t now = loop_now(d->loop);

	(void)fd, (void)what;
	while ((a = *ap) != NULL) {
		if (a->deadline > now) {
			ap = &a->next;
			continue;
		}
		*ap = a->next;
		m_failed.value++;
		answer_later(a, dns_data_fail("no answer in time"), 0);
	}
	if (q->askers) {
		arm(q);
		return;
	}
	query_free(q);
	start_waiting(d);
}

static struct query *query_new(
    struct dns *d, const char *name, uint16_t type, const char *key, unsigned keylen)
{
	struct query *q = base_alloc(sizeof(*q));

	q->dns = d;
	q->ttl = UINT32_MAX;
	q->secure = true;
	q->q.type = type;
	str_copy(q->q.name, sizeof(q->q.name), name);
	str_copy(q->name, sizeof(q->name), name);
	memcpy(q->key, key, keylen);
	q->keylen = keylen;
	q->timer = loop_timer(d->loop, -1, deadline_passed, q);
	HASH_ADD(hh, d->all, key, keylen, q);
	m_open.value = HASH_COUNT(d->all);
	return q;
}

/* Folded, without a final dot; false: no name that fits. */
static bool fold(const char *name, char *out)
{
	size_t n = strlen(name);

	if (n > 0 && name[n - 1] == '.')
		n--;
	if (n >= DNS_NAME_MAX - 1)
		return false;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
	out[n] = '\0';
	return true;
}

static void ask_servers(struct asker *a, const char *name, uint16_t type)
{
	struct dns *d = a->dns;
	char key[DNS_NAME_MAX + 4];
	unsigned len;
	struct dns_data *full;
	struct query *q;

	key[0] = (char)(type >> 8);
	key[1] = (char)(type & 255);
	len = 2 + (unsigned)str_copy(key + 2, DNS_NAME_MAX, name);
	HASH_FIND(hh, d->all, key, len, q);
	if (q)
		m_shared.value++;
	if (!q && d->active >= ACTIVE && d->waiting >= WAITING) {
		m_full.value++;
		full = dns_data_fail("too many DNS questions are open");
		full->unasked = true;
		answer_later(a, full, 0);
		return;
	}
	if (q) {
		a->next = q->askers;
		q->askers = a;
		arm(q);
		return;
	}
	q = query_new(d, name, type, key, len);
	q->askers = a;
	arm(q);
	if (d->active < ACTIVE)
		query_start(q);
	else
		line_add(q);
}

void dns_ask(struct dns *d, const char *name, uint16_t type, int64_t deadline, dns_fn fn, void *arg)
{
	struct asker *a = base_alloc(sizeof(*a));
	char folded[DNS_NAME_MAX];
	struct dns_data *kept;
	uint32_t ttl;

	m_asked.value++;
	a->dns = d;
	a->deadline = deadline;
	a->fn = fn;
	a->arg = arg;
	if (!fold(name, folded)) {
		answer_later(a, dns_data_fail("the name is too long"), 0);
		return;
	}
	kept = dns_cache_get(d->cache, folded, type, loop_now(d->loop), &ttl);
	if (kept)
		answer_later(a, kept, ttl);
	else
		ask_servers(a, folded, type);
}

void dns_never(struct dns *d, dns_fn fn, void *arg)
{
	struct asker *a = base_alloc(sizeof(*a));
	struct dns_data *none = dns_data_fail("");

	none->status = META1_NOTFOUND;
	a->dns = d;
	a->fn = fn;
	a->arg = arg;
	answer_later(a, none, 0);
}

const struct dns_server *dns_server_list(const struct dns *d, unsigned *n)
{
	*n = d->nserver;
	return d->server;
}

unsigned dns_forget(struct dns *d)
{
	return dns_cache_clear(d->cache);
}

struct dns *dns_new(struct loop *l, const struct dns_conf *c, struct meta1_err *err)
{
	struct dns *d = base_alloc(sizeof(*d));

	d->loop = l;
	d->cache = dns_cache_new(CACHE, CACHE_BYTES);
	d->line_end = &d->line;
	d->ready_end = &d->ready;
	d->timeout = c->timeout > 0 ? c->timeout : 3000;
	d->plain_case = c->plain_case;
	d->tries = c->tries > 0 ? (unsigned)c->tries : 3;
	task_init(&d->task, tell_ready, d);
	if (dns_servers(c, d->server, &d->nserver, err) < 0)
		dns_free(&d);
	return d;
}

void dns_free(struct dns **dp)
{
	struct dns *d = *dp;
	struct asker *a;

	*dp = NULL;
	if (!d)
		return;
	while (d->all) {
		struct query *q = d->all;

		while ((a = q->askers) != NULL) {
			q->askers = a->next;
			free(a);
		}
		query_free(q);
	}
	while ((a = d->ready) != NULL) {
		d->ready = a->next;
		dns_data_unref(&a->data);
		free(a);
	}
	task_cancel(&d->task);
	dns_cache_free(&d->cache);
	free(d);
}
