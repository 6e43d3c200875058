/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe.c -- questions whether a next hop takes a recipient: answered from what is kept, or by a
 * flight that many may wait for; see probe.h.
 * From check_probe.c; to probe_hop.c. Owns the flights, with a reference to the policy each, and
 * who waits for them. On failure: a question is answered in its time, at worst with "unknown"; its
 * flight goes on, and what it brings is kept for whoever asks next.
 */
#include "smar/probe.h"

#include "ipc/hop.h"
#include "lib/hop_conf.h"
#include "lib/log.h"
#include "lib/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define POOL_MAX 131072 /* 64 hops of 600 bytes, and more */

METRIC_COUNTER(m_yes, "probes_yes_total", "Probes whose next hop takes the recipient.");
METRIC_COUNTER(m_no, "probes_no_total", "Probes whose next hop refuses the recipient.");
METRIC_COUNTER(m_unknown, "probes_unknown_total", "Probes whose next hop could not say.");
METRIC_COUNTER(m_joined, "probes_joined_total", "Recipients that waited for a probe under way.");
METRIC_COUNTER(m_late, "probes_late_total", "Recipients that did not wait for their probe.");
METRIC_COUNTER(m_stale, "probes_stale_total",
    "Recipients accepted since the next hop took them before, and could not say now.");
METRIC_GAUGE(m_flights, "probes_now", "Probes under way.");
METRIC_GAUGE(m_kept_yes, "probe_cached_yes", "Recipients kept that next hops take.");
METRIC_GAUGE(m_kept_no, "probe_cached_no", "Recipients kept that next hops refuse.");

/* ---- what is said ---- */
void probe_say(struct probe_said *s, enum probe_word word, const char *dsn, const char *text)
{
	size_t n = 0;

	s->word = word;
	str_copy(s->dsn, sizeof(s->dsn), dsn ? dsn : "");
	for (; text && text[n] && n < PROBE_TEXT_MAX; n++)
		s->text[n] = (char)(text[n] < ' ' || text[n] > '~' ? '?' : text[n]);
	s->text[n] = '\0';
}

static void show(struct prober *p)
{
	m_flights.value = HASH_COUNT(p->flights) + HASH_COUNT(p->old);
	m_kept_yes.value = lru_count(&p->cache.yes);
	m_kept_no.value = lru_count(&p->cache.no);
}

bool probe_known(struct prober *p, const char *key, struct probe_answer *a)
{
	return probe_cache_get(&p->cache, key, loop_now(p->loop), a) && a->left > 0;
}

/* Nobody can say now: whom the hop took before it takes. */
static void unknown(
    struct prober *p, const char *key, const struct probe_said *why, struct probe_answer *a)
{
	bool kept = probe_cache_get(&p->cache, key, loop_now(p->loop), a);

	if (kept && a->said.word == PROBE_YES) {
		m_stale.value++;
		a->stale = true;
		str_copy(a->said.text, sizeof(a->said.text), why->text);
	} else {
		*a = (struct probe_answer){.said = *why};
	}
	a->left = 0;
}

void probe_unknown(struct prober *p, const char *key, const char *why, struct probe_answer *a)
{
	struct probe_said said;

	probe_say(&said, PROBE_UNKNOWN, "", why);
	unknown(p, key, &said, a);
}

/* ---- who waits ---- */
static void waiter_answer(struct probe_waiter *w, const struct probe_answer *a)
{
	probe_fn fn = w->fn;
	void *arg = w->arg;

	DL_DELETE(w->flight->waiters, w);
	loop_unwatch(&w->timer);
	free(w);
	fn(arg, a);
}

static void waiter_late(int fd, short what, void *arg)
{
	struct probe_waiter *w = arg;
	struct probe_answer a;

	(void)fd, (void)what;
	m_late.value++;
	probe_unknown(w->flight->p, w->flight->key, "the next hop has not answered yet", &a);
	waiter_answer(w, &a);
}

static void wait_for(struct probe_flight *f, int64_t until, probe_fn fn, void *arg)
{
	struct probe_waiter *w = base_alloc(sizeof(*w));
	int64_t ms = until - loop_now(f->p->loop);

	w->flight = f;
	w->fn = fn;
	w->arg = arg;
	w->timer = loop_timer(f->p->loop, ms > 0 ? ms : 0, waiter_late, w);
	DL_APPEND(f->waiters, w);
}

/* ---- flights ---- */
static void flight_free(struct probe_flight *f)
{
	struct prober *p = f->p;

	loop_unwatch(&f->timer);
	pool_clear(&f->pool);
	smar_policy_unref(&f->policy);
	free(f);
	show(p);
}

static void count(const struct probe_flight *f)
{
	static const char *const words[] = {
	    [PROBE_YES] = "yes", [PROBE_NO] = "no", [PROBE_UNKNOWN] = "unknown"};
	struct metric *const counter[] = {
	    [PROBE_YES] = &m_yes, [PROBE_NO] = &m_no, [PROBE_UNKNOWN] = &m_unknown};

	counter[f->said.word]->value++;
	log_event(LOG_L_DEBUG, "smar.probe", "rcpt=<%s> hop=%s says=%s dsn=%s text=%s", f->key,
	    f->at < f->nhop ? f->hop[f->at].addr : "", words[f->said.word], f->said.dsn,
	    f->said.text);
}

static void take_off(struct probe_flight *f)
{
	if (f->old)
		HASH_DEL(f->p->old, f);
	else
		HASH_DEL(f->p->flights, f);
}

static void make_old(struct prober *p)
{
	struct probe_flight *f;

	while ((f = p->flights)) {
		HASH_DEL(p->flights, f);
		HASH_ADD_KEYPTR(hh, p->old, f->key, strlen(f->key), f);
		f->old = true;
	}
}

void probe_flight_end(struct probe_flight *f)
{
	struct prober *p = f->p;
	struct probe_answer a = {.asked = true};

	count(f);
	take_off(f);
	if (f->old && f->said.word == PROBE_NO)
		probe_say(&f->said, PROBE_UNKNOWN, "",
		    "the configuration changed while the next hop was asked");
	a.said = f->said;
	if (f->said.word == PROBE_UNKNOWN) {
		unknown(p, f->key, &f->said, &a);
	} else if (!f->old) {
		a.left = f->said.word == PROBE_YES ? p->cache.positive_ttl : p->cache.negative_ttl;
		if (f->keep)
			probe_cache_put(&p->cache, f->key, &f->said, loop_now(p->loop));
	}
	a.asked = true;
	while (f->waiters)
		waiter_answer(f->waiters, &a);
	flight_free(f);
}

void probe_flight_next(struct probe_flight *f)
{
	while (f->at < f->nhop) {
		if (probe_hop_join(f))
			return;
		f->at++;
	}
	probe_flight_end(f);
}

static void flight_over(int fd, short what, void *arg)
{
	struct probe_flight *f = arg;

	(void)fd, (void)what;
	probe_hop_leave(f);
	probe_say(&f->said, PROBE_UNKNOWN, "", "the next hop did not answer in time");
	probe_flight_end(f);
}

/* The option tls_policy, or that of the row of the hop, or of the recipient. */
static uint32_t tls_option(const struct probe_flight *f, const struct p_routes *r, uint32_t i)
{
	const uint64_t row[] = {i < r->conf_of.n ? r->conf_of.v[i] : 0, r->conf_rcpt};
	struct hop_conf conf = {.tls_policy = -1};
	struct meta1_err err;

	for (size_t k = 0; k < ARRAY_LEN(row); k++)
		if (row[k] > 0 && row[k] <= r->conf.n)
			hop_conf_read(r->conf.v[row[k] - 1], &conf, &err);
	return conf.tls_policy >= 0 ? hop_tls(conf.tls_policy) : f->policy->probe->tls_policy;
}

static void take_hops(struct probe_flight *f, const struct p_routes *r)
{
	struct meta1_err err;

	f->hop = pool_try(&f->pool, (r->hops.n + 1) * sizeof(*f->hop));
	f->need = pool_try(&f->pool, (r->hops.n + 1) * sizeof(*f->need));
	for (uint32_t i = 0; f->hop && f->need && i < r->hops.n; i++) {
		struct meta1_hop *hop = &f->hop[f->nhop];

		if (hop_take(&f->pool, r->hops.v[i], hop) < 0)
			continue;
		hop->connect_timeout = f->policy->probe->conf.connect_timeout;
		hop->io_timeout = f->policy->probe->conf.IO_timeout;
		if (hop_need(&f->pool, &r->need, &r->need_of, i, tls_option(f, r, i), hop,
			&f->need[f->nhop], &err) < 0) {
			log_event(LOG_L_WARN, "smar.probe", "rcpt=<%s> hop=%s error=%s", f->key,
			    hop->addr, err.text);
			continue;
		}
		f->nhop++;
	}
}

static struct probe_flight *flight_new(struct prober *p, const struct probe_question *q)
{
	size_t n = strlen(q->key);
	struct probe_flight *f = base_alloc(sizeof(*f) + n + 1);
	struct smar_policy *policy = smar_policy_ref(q->policy);
	const struct set_probe *conf = &policy->probe->conf;
	char *rcpt;

	f->p = p;
	f->policy = policy;
	f->by = probe_gear_find(policy->probe, q->route->transport);
	memcpy(f->key, q->key, n);
	pool_init(&f->pool, POOL_MAX);
	rcpt = pool_strn(&f->pool, q->rcpt, strlen(q->rcpt));
	take_hops(f, q->route);
	f->rcpt.addr = buf_str(rcpt);
	f->mail = (struct meta1_mail){.size = sizeof(f->mail),
	    .without = policy->probe->without,
	    .nrcpt = 1,
	    .sizeof_rcpt = sizeof(f->rcpt),
	    .flags = addr_utf8_local(f->rcpt.addr) ? META1_M_SMTPUTF8 : 0,
	    .id = "probe",
	    .from = buf_str(conf->sender),
	    .rcpt = &f->rcpt};
	f->timer = loop_timer(p->loop, conf->IO_timeout, flight_over, f);
	f->old = policy != p->policy; /* the asker began before a reload */
	if (f->old)
		HASH_ADD_KEYPTR(hh, p->old, f->key, n, f);
	else
		HASH_ADD_KEYPTR(hh, p->flights, f->key, n, f);
	show(p);
	return f;
}

void probe_ask(struct prober *p, const struct probe_question *q, probe_fn fn, void *arg)
{
	struct probe_flight *f;
	struct probe_answer a;

	HASH_FIND_STR(p->flights, q->key, f);
	if (f) {
		m_joined.value++;
		f->keep |= q->keep;
		wait_for(f, q->until, fn, arg);
		return;
	}
	if (HASH_COUNT(p->flights) + HASH_COUNT(p->old) >= PROBE_FLIGHTS) {
		probe_unknown(p, q->key, "too many probes are under way", &a);
		fn(arg, &a);
		return;
	}
	f = flight_new(p, q);
	f->keep = q->keep;
	wait_for(f, q->until, fn, arg);
	probe_say(&f->said, PROBE_UNKNOWN, "", "there is no next hop");
	if (f->by && f->hop)
		probe_flight_next(f);
	else
		probe_flight_end(f);
}

/* ---- life ---- */
struct prober *prober_new(struct loop *l)
{
	struct prober *p = base_alloc(sizeof(*p));

	p->loop = l;
	return p;
}

void prober_changed(struct prober *p)
{
	lru_clear(&p->cache.no);
	make_old(p);
	show(p);
}

unsigned prober_forget(struct prober *p, const char *what)
{
	unsigned n = probe_cache_forget(&p->cache, what);

	make_old(p);
	show(p);
	return n;
}

void prober_use(struct prober *p, const struct smar_policy *policy)
{
	p->policy = policy;
	if (policy->probe)
		probe_cache_conf(&p->cache, &policy->probe->conf);
	probe_hop_shut_idle(p, policy);
	prober_changed(p);
}

void prober_free(struct prober **pp)
{
	struct prober *p = *pp;
	struct probe_flight *f;

	*pp = NULL;
	if (!p)
		return;
	p->stopping = true;
	make_old(p);
	while ((f = p->old)) {
		probe_hop_leave(f);
		probe_say(&f->said, PROBE_UNKNOWN, "", "the server is stopping");
		probe_flight_end(f);
	}
	probe_hop_free(p);
	probe_cache_forget(&p->cache, NULL);
	free(p);
}
