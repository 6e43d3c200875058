/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts_ask.c -- questions about the policy of a domain, and the fetches that they wait for.
 * From route_sts.c, sts_control.c and sts.c (refreshes); to dns.c for the TXT record and the
 * addresses, to sts_fetch.c on a worker thread. One question is a struct sts_ask, one fetch a
 * struct sts_flight that all who ask for its domain wait for. Owns both. On failure: what is in
 * force stays, and the fetch is not tried again for negative_ttl.
 */
#include "smar/sts.h"

#include "lib/log.h"
#include "lib/metric.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define FLIGHTS	 256  /* under way, or waiting for a thread */
#define TXT_MS	 4000 /* the record is waited for; its fetch has a wait of its own */
#define LATE_TTL 60   /* seconds */
#define TTL_MAX	 3600

METRIC_COUNTER(
    m_fetches, "mta_sts_fetches_total", "Policies that were fetched by HTTPS, good or not.");
METRIC_COUNTER(m_failed, "mta_sts_failures_total", "Fetches that brought no policy.");
METRIC_COUNTER(m_late, "mta_sts_late_total", "Questions answered before the policy was known.");

/* ---- answers ---- */
static void answer(struct sts_ask *a, bool late, const char *why)
{
	struct sts *s = a->sts;
	struct sts_entry *e = sts_find(s, a->domain);
	struct sts_answer out = {.late = late, .ttl = late ? LATE_TTL : a->ttl, .why = why};
	struct sts_policy *held = NULL;
	char id[STS_ID_MAX + 1];

	if (e) {
		e->used |= !a->silent;
		held = sts_policy_ref(e->policy);
		out.policy = held;
		str_copy(id, sizeof(id), e->id);
		out.id = id;
	}
	m_late.value += late && !a->silent;
	if (out.ttl > TTL_MAX)
		out.ttl = TTL_MAX;
	loop_unwatch(&a->timer);
	if (a->flight)
		DL_DELETE2(a->flight->asks, a, before, after);
	DL_DELETE(s->asks, a);
	s->pending -= !a->silent;
	if (a->fn)
		a->fn(a->arg, &out);
	sts_policy_unref(&held);
	free(a);
	if (s->pending == 0)
		s->at.idle(s->at.arg);
}

static void on_late(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	answer(arg, true, "the policy is still being fetched");
}

/* ---- fetches ---- */
static void flight_free(struct sts_flight *f)
{
	HASH_DEL(f->sts->flights, f);
	sts_gauges(f->sts);
	free(f);
}

static void flight_over(struct sts_flight *f, const char *why)
{
	struct sts_ask *a, *next;

	DL_FOREACH_SAFE2(f->asks, a, next, after)
	answer(a, false, why);
	flight_free(f);
}

static void flight_failed(struct sts_flight *f, enum sts_fetched result, const char *why)
{
	struct sts *s = f->sts;
	size_t n = strlen(f->domain) + 1;
	struct sts_failure *bad = base_alloc(sizeof(*bad) + n);
	struct sts_entry *e = sts_find(s, f->domain);

	bad->lru.expires = sts_now(s) + s->conf.negative_ttl;
	bad->lru.bytes = sizeof(*bad) + n;
	bad->result = result;
	str_copy(bad->id, sizeof(bad->id), f->id);
	str_copy(bad->why, sizeof(bad->why), why);
	memcpy(bad->domain, f->domain, n);
	if (e)
		e->refresh_at = bad->lru.expires;
	m_failed.value++;
	log_event(LOG_L_INFO, "smar.mta_sts", "domain=%s id=%s result=%s kept=%s text=%s",
	    f->domain, f->id, sts_fetched_word(result), e ? sts_mode_word(e->policy->mode) : "no",
	    why);
	s->at.failed(s->at.arg, f->domain, result, e ? e->policy : NULL, why);
	lru_put(&s->bad, &bad->lru, bad->domain, n - 1);
	flight_over(f, why);
}

/* It asks for the same; how long is another matter. */
static bool same(const struct sts_policy *a, const struct sts_policy *b)
{
	if (a->mode != b->mode || a->nmx != b->nmx)
		return false;
	for (uint32_t i = 0; i < a->nmx; i++)
		if (strcmp(a->mx[i], b->mx[i]) != 0)
			return false;
	return true;
}

static void flight_good(struct sts_flight *f, struct sts_policy *p)
{
	struct sts *s = f->sts;
	const struct sts_entry *was = sts_find(s, f->domain);
	bool other = was && !same(was->policy, p);

	log_event(LOG_L_INFO, "smar.mta_sts", "domain=%s id=%s mode=%s max_age=%u mx=%u", f->domain,
	    f->id, sts_mode_word(p->mode), p->max_age, p->nmx);
	lru_forget(&s->bad, f->domain, strlen(f->domain));
	sts_put(s, f->domain, f->id, loop_wall(s->at.loop), sts_age(s, p), p);
	sts_changed(s);
	if (other)
		s->at.changed(s->at.arg);
	flight_over(f, NULL);
}

static void job_free(struct sts_job **jp)
{
	struct sts_job *j = *jp;

	*jp = NULL;
	sts_policy_unref(&j->policy);
	free(j->CAcert_file);
	free(j->CAcert_directory);
	free(j);
}

static void fetched(void *arg)
{
	struct sts_job *j = arg;
	struct sts_flight *f = j->owner;

	if (f) {
		m_fetches.value++;
		f->job = NULL;
		if (j->result == STS_FETCH_GOOD) {
			flight_good(f, j->policy);
			j->policy = NULL;
		} else {
			flight_failed(f, j->result, j->why);
		}
	}
	job_free(&j);
}

static void resolve_text(const struct sts *s, const struct sts_flight *f, char *out, size_t size)
{
	size_t n = (size_t)snprintf(
	    out, size, STS_HOST_PREFIX "%s:%u:", f->domain, (unsigned)s->conf.port);
	char ip[INET6_ADDRSTRLEN];

	for (unsigned i = 0; i < f->host.naddr && n + INET6_ADDRSTRLEN + 4 < size; i++) {
		const struct mx_addr *a = &f->host.addr[i];

		inet_ntop(a->family, a->ip, ip, sizeof(ip));
		n += (size_t)snprintf(out + n, size - n, a->family == AF_INET6 ? "%s[%s]" : "%s%s",
		    i > 0 ? "," : "", ip);
	}
}

static void fly(struct sts_flight *f)
{
	struct sts *s = f->sts;
	struct sts_job *j;

	if (f->host.naddr == 0) {
		flight_failed(f, STS_FETCH_FAILED,
		    f->host.failed ? "addresses of the policy's host cannot be looked up now"
				   : "the policy's host has no address");
		return;
	}
	j = base_alloc(sizeof(*j));
	str_copy(j->domain, sizeof(j->domain), f->domain);
	resolve_text(s, f, j->resolve, sizeof(j->resolve));
	j->port = s->conf.port;
	j->timeout = s->conf.fetch_timeout;
	j->CAcert_file = s->conf.CAcert_file ? base_strdup(s->conf.CAcert_file) : NULL;
	j->CAcert_directory =
	    s->conf.CAcert_directory ? base_strdup(s->conf.CAcert_directory) : NULL;
	atomic_init(&j->stop, false);
	j->owner = f;
	f->job = j;
	if (work_do(s->at.work, s->fetches, sts_fetch_run, fetched, j))
		return;
	f->job = NULL;
	job_free(&j);
	flight_failed(f, STS_FETCH_FAILED, "too many fetches wait");
}

static void take_addrs(struct sts_flight *f, const struct dns_data *d, int family)
{
	if (d->status == META1_TEMPFAIL)
		f->host.failed = true;
	else
		mx_addrs(&f->host, d, family);
	if (--f->pending == 0)
		fly(f);
}

static void got_a(void *arg, const struct dns_data *d, uint32_t ttl)
{
	(void)ttl;
	take_addrs(arg, d, AF_INET);
}

static void got_aaaa(void *arg, const struct dns_data *d, uint32_t ttl)
{
	(void)ttl;
	take_addrs(arg, d, AF_INET6);
}

/* NULL: too many are under way. */
static struct sts_flight *flight_of(struct sts *s, const char *domain, const char *id)
{
	char host[sizeof(((struct sts_flight *)0)->domain) + sizeof(STS_HOST_PREFIX)];
	struct sts_flight *f;
	int64_t deadline = sts_now(s) + s->conf.fetch_timeout;

	HASH_FIND_STR(s->flights, domain, f);
	if (f || HASH_COUNT(s->flights) >= FLIGHTS)
		return f;
	f = base_alloc(sizeof(*f));
	f->sts = s;
	str_copy(f->domain, sizeof(f->domain), domain);
	str_copy(f->id, sizeof(f->id), id);
	HASH_ADD_STR(s->flights, domain, f);
	sts_gauges(s);
	snprintf(host, sizeof(host), STS_HOST_PREFIX "%s", domain);
	f->pending = 2;
	dns_ask(s->at.dns, host, DNS_A, deadline, got_a, f);
	dns_ask(s->at.dns, host, DNS_AAAA, deadline, got_aaaa, f);
	return f;
}

/* ---- questions ---- */
static void wait_for(struct sts_ask *a, struct sts_flight *f)
{
	struct sts *s = a->sts;
	int64_t until = a->anew ? a->deadline : sts_now(s) + s->conf.wait;

	a->flight = f;
	DL_APPEND2(f->asks, a, before, after);
	if (until > a->deadline)
		until = a->deadline;
	a->timer = loop_timer(s->at.loop, until > sts_now(s) ? until - sts_now(s) : 0, on_late, a);
}

static void txt_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct sts_ask *a = arg;
	struct sts *s = a->sts;
	struct sts_entry *e = sts_find(s, a->domain);
	struct sts_failure *bad = lru_get(&s->bad, a->domain, strlen(a->domain), sts_now(s));
	char id[STS_ID_MAX + 1] = "";
	enum sts_said said = sts_record(d, id);
	struct sts_flight *f;

	a->ttl = ttl;
	if (d->status == META1_TEMPFAIL)
		answer(a, true, "the record _mta-sts cannot be looked up now");
	else if (said != STS_SAYS_ID)
		answer(a, false,
		    said == STS_SAYS_NOTHING ? "it has no record _mta-sts"
					     : "its record _mta-sts is none");
	else if (!a->anew && e && strcmp(e->id, id) == 0)
		answer(a, false, NULL);
	else if (!a->anew && bad)
		answer(a, false, bad->why);
	else if ((f = flight_of(s, a->domain, id)) != NULL)
		wait_for(a, f);
	else
		answer(a, true, "too many policies are being fetched");
}

static void ask(struct sts *s, const char *domain, bool silent, bool anew, int64_t deadline,
    sts_fn fn, void *arg)
{
	struct sts_ask *a = base_alloc(sizeof(*a));
	char name[sizeof(a->domain) + 16];
	int64_t txt = sts_now(s) + TXT_MS;

	a->sts = s;
	a->anew = anew;
	a->silent = silent;
	a->deadline = deadline;
	a->fn = fn;
	a->arg = arg;
	DL_APPEND(s->asks, a);
	s->pending += !silent;
	str_copy(a->domain, sizeof(a->domain), domain);
	snprintf(name, sizeof(name), "_mta-sts.%s", domain);
	if (strlen(name) < DNS_NAME_MAX)
		dns_ask(s->at.dns, name, DNS_TXT, txt < deadline ? txt : deadline, txt_answered, a);
	else
		dns_never(s->at.dns, txt_answered, a);
}

void sts_ask(struct sts *s, const char *domain, bool anew, int64_t deadline, sts_fn fn, void *arg)
{
	ask(s, domain, false, anew, deadline, fn, arg);
}

void sts_refresh(struct sts *s, const char *domain, int64_t deadline)
{
	ask(s, domain, true, true, deadline, NULL, NULL);
}

void sts_ask_drop(struct sts *s)
{
	struct sts_flight *f, *next_flight;
	struct sts_ask *a, *next;

	DL_FOREACH_SAFE (s->asks, a, next) {
		loop_unwatch(&a->timer);
		free(a);
	}
	s->asks = NULL;
	HASH_ITER (hh, s->flights, f, next_flight) {
		if (f->job) { /* freed when its thread comes back */
			f->job->owner = NULL;
			atomic_store(&f->job->stop, true);
		}
		flight_free(f);
	}
}
