/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts.c -- the policies of MTA-STS that are in force: kept, written, fetched anew in time.
 * From sts_ask.c, which asks and fetches, and sts_control.c; to sts_file.c on a worker thread. Owns
 * the table of policies, that of failures, and what is to be written. On failure: a file that
 * cannot be written is tried again after RETRY_MS, and the policies go on in memory; one that
 * cannot be read is refused at the start, damage in it is passed over.
 */
#include "smar/sts.h"

#include "lib/log.h"
#include "lib/metric.h"

#include <errno.h>
#include <stdlib.h>

#define FETCHES	     4 /* at a time; a role has 8 threads */
#define SWEEP_MS     2000
#define REFRESHES    4	   /* begun in a sweep */
#define WRITE_MS     1000  /* after a change */
#define WRITE_GAP_MS 10000 /* between two files */
#define RETRY_MS     30000

METRIC_COUNTER(m_write, "mta_sts_write_failures_total", "Times the file could not be written.");
METRIC_GAUGE(m_entries, "mta_sts_policies", "Policies in force.");
METRIC_GAUGE(m_bytes, "mta_sts_memory_bytes", "Memory that they have.");
METRIC_GAUGE(m_flying, "mta_sts_fetches_now", "Fetches under way.");

void sts_gauges(const struct sts *s)
{
	m_entries.value = lru_count(&s->good);
	m_bytes.value = (int64_t)s->good.memory;
	m_flying.value = HASH_COUNT(s->flights);
}

/* Of the process: a fetch that is given up at the end comes back later than that. */
static struct work_owner fetches;

/* ---- the file ---- */
static void write_done(void *arg);

static void write_run(void *arg)
{
	struct sts *s = arg;

	sts_file_write(&s->write);
}

static void write_start(struct sts *s)
{
	s->dirty = false;
	s->writing = true;
	s->write = (struct sts_write){.path = s->path};
	sts_file_begin(&s->write.bytes);
	for (struct lru_entry *l = s->good.all; l; l = l->hh.next) {
		const struct sts_entry *e = (const void *)l;

		if (l->expires > sts_now(s))
			sts_file_add(&s->write.bytes, e->domain, e->id, e->fetched, e->policy);
	}
	if (!work_do(s->at.work, &s->writes, write_run, write_done, s)) {
		s->write.failed = EAGAIN;
		write_done(s);
	}
}

static void write_arm(struct sts *s)
{
	int64_t wait = s->write_at - sts_now(s);

	if (s->dirty && !s->writing)
		loop_rearm(s->write_timer, wait > WRITE_MS ? wait : WRITE_MS);
}

static void on_write_timer(int fd, short what, void *arg)
{
	struct sts *s = arg;

	(void)fd, (void)what;
	if (s->dirty && !s->writing)
		write_start(s);
}

static void write_done(void *arg)
{
	struct sts *s = arg;

	free(s->write.bytes.data);
	s->writing = false;
	s->write_at = sts_now(s) + (s->write.failed ? RETRY_MS : WRITE_GAP_MS);
	if (s->write.failed) {
		m_write.value++;
		log_event(LOG_L_WARN, "smar.mta_sts", "file=%s error=%s text=%s", s->path,
		    strerror(s->write.failed), "the policies are in memory alone for now");
		s->dirty = true;
	}
	write_arm(s);
	s->at.idle(s->at.arg);
}

void sts_changed(struct sts *s)
{
	s->dirty = true;
	write_arm(s);
	sts_gauges(s);
}

bool sts_flushed(struct sts *s)
{
	if (!s || (!s->dirty && !s->writing))
		return true;
	if (!s->writing && sts_now(s) < s->write_at && s->write.failed)
		return true; /* it failed just now, and is not waited for */
	if (!s->writing)
		write_start(s);
	return false;
}

/* ---- what is in force ---- */
static void drop_entry(void *block)
{
	struct sts_entry *e = block;

	sts_policy_unref(&e->policy);
	free(e);
}

struct sts_entry *sts_find(struct sts *s, const char *domain)
{
	return lru_get(&s->good, domain, strlen(domain), sts_now(s));
}

int64_t sts_age(const struct sts *s, const struct sts_policy *p)
{
	int64_t ms = (int64_t)p->max_age * 1000;

	return ms > s->conf.negative_ttl ? ms : s->conf.negative_ttl;
}

/* Takes the policy. left: ms that it is in force. */
void sts_put(struct sts *s, const char *domain, const char *id, int64_t fetched, int64_t left,
    struct sts_policy *p)
{
	size_t n = strlen(domain) + 1, bytes = sizeof(struct sts_entry) + n;
	struct sts_entry *e = base_alloc(bytes);
	int64_t half = sts_age(s, p) / 2;

	e->lru.expires = sts_now(s) + left;
	e->lru.bytes = bytes + p->bytes;
	e->policy = p;
	e->fetched = fetched;
	e->refresh_at = sts_now(s) + (half < s->conf.refresh ? half : s->conf.refresh);
	str_copy(e->id, sizeof(e->id), id);
	memcpy(e->domain, domain, n);
	lru_put(&s->good, &e->lru, e->domain, n - 1);
}

static void loaded(void *arg, struct sts_saved *v)
{
	struct sts *s = arg;
	int64_t age = loop_wall(s->at.loop) - v->fetched, left;
	struct sts_entry *e;

	/* A clock that was set back does not make a policy live longer than it was said to. */
	left = sts_age(s, v->policy) - (age > 0 ? age : 0) * 1000;
	if (left > 0) {
		sts_put(s, v->domain, v->id, v->fetched, left, v->policy);
		e = sts_find(s, v->domain);
		if (e) {
			e->used = true; /* as before: fetched anew in time, counted from then */
			e->refresh_at -= (age > 0 ? age : 0) * 1000;
		}
	} else {
		sts_policy_unref(&v->policy);
	}
}

/* ---- what is old ---- */
static void sweep(int fd, short what, void *arg)
{
	struct sts *s = arg;
	struct lru_entry *l, *next;
	unsigned n = 0, before = lru_count(&s->good);

	(void)fd, (void)what;
	for (l = s->good.all; l; l = next) {
		struct sts_entry *e = (void *)l;

		next = l->hh.next;
		if (l->expires <= sts_now(s)) {
			lru_forget(&s->good, e->domain, strlen(e->domain));
		} else if (e->used && e->refresh_at <= sts_now(s) && n < REFRESHES) {
			e->refresh_at = sts_now(s) + s->conf.negative_ttl;
			sts_refresh(s, e->domain, sts_now(s) + s->conf.fetch_timeout);
			n++;
		}
	}
	if (lru_count(&s->good) != before)
		sts_changed(s);
	loop_rearm(s->sweep, SWEEP_MS);
}

static bool forget(struct sts *s, const char *domain)
{
	bool had = lru_forget(&s->good, domain, strlen(domain));

	return lru_forget(&s->bad, domain, strlen(domain)) || had;
}

bool sts_forget(struct sts *s, const char *domain)
{
	bool had = forget(s, domain);

	if (had) {
		sts_changed(s);
		s->at.changed(s->at.arg);
	}
	return had;
}

unsigned sts_forget_all(struct sts *s)
{
	unsigned n = lru_clear(&s->good);

	lru_clear(&s->bad);
	sts_changed(s);
	s->at.changed(s->at.arg);
	return n;
}

/* ---- life ---- */
void sts_configure(struct sts *s, const struct sts_conf *c)
{
	s->conf = *c;
	s->good.max = s->bad.max = c->max_entries;
	s->good.most = c->max_memory;
	s->bad.most = c->max_memory / 8;
}

struct sts *sts_new(const struct sts_place *at, const struct sts_conf *c, struct meta1_err *err)
{
	struct sts *s = base_alloc(sizeof(*s));

	s->at = *at;
	str_copy(s->path, sizeof(s->path), at->path);
	work_owner_init(&fetches, FETCHES);
	s->fetches = &fetches;
	work_owner_init(&s->writes, 1);
	lru_init(&s->good, 1, 1);
	lru_init(&s->bad, 1, 1);
	s->good.drop = drop_entry;
	sts_configure(s, c);
	if (sts_fetch_init(err) < 0 || sts_file_read(s->path, loaded, s, err) < 0) {
		lru_clear(&s->good);
		free(s);
		return NULL;
	}
	s->sweep = loop_timer(at->loop, SWEEP_MS, sweep, s);
	s->write_timer = loop_timer(at->loop, -1, on_write_timer, s);
	sts_gauges(s);
	return s;
}

void sts_free(struct sts **sp)
{
	struct sts *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	sts_ask_drop(s);
	loop_unwatch(&s->sweep);
	loop_unwatch(&s->write_timer);
	lru_clear(&s->good);
	lru_clear(&s->bad);
	free(s);
}

/* ---- looking in ---- */
unsigned sts_pending(const struct sts *s)
{
	return s ? s->pending : 0;
}

const struct lru *sts_entries(const struct sts *s)
{
	return &s->good;
}

const struct lru *sts_failures(const struct sts *s)
{
	return &s->bad;
}

const struct sts_policy *sts_known(struct sts *s, const char *domain)
{
	struct sts_entry *e = sts_find(s, domain);

	return e ? e->policy : NULL;
}

bool sts_fetching(const struct sts *s, const char *domain)
{
	struct sts_flight *f;

	HASH_FIND_STR(s->flights, domain, f);
	return f != NULL;
}

const char *sts_fetched_word(enum sts_fetched r)
{
	static const char *const word[] = {[STS_FETCH_GOOD] = "good",
	    [STS_FETCH_FAILED] = "sts-policy-fetch-error",
	    [STS_FETCH_WEBPKI] = "sts-webpki-invalid",
	    [STS_FETCH_INVALID] = "sts-policy-invalid"};

	return word[r];
}
