/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe_hop.c -- sessions to next hops for probes: few at a time a hop, kept for a while, each for
 * one flight after the other; see probe.h.
 * From probe.c; to a transport module through core/mod/. Owns the hops it knows and their sessions,
 * each with a reference to the policy whose module it uses.
 * On failure: a hop that cannot be connected to is left alone for PROBE_PAUSE, and its flights go
 * to their next one. While it has other sessions it is only not asked for more.
 */
#include "smar/probe.h"

#include "lib/log.h"
#include "lib/metric.h"
#include "mod/mod.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>
#include <xxhash.h>

METRIC_COUNTER(m_opened, "probe_connections_total", "Connections made to next hops for probes.");
METRIC_COUNTER(
    m_failed, "probe_connections_failed_total", "Connections for probes that could not be made.");
METRIC_GAUGE(m_open, "probe_connections", "Connections to next hops for probes.");

static const struct set_probe *conf_of(const struct smar_policy *p)
{
	return &p->probe->conf;
}

static int64_t now_of(const struct probe_hop *h)
{
	return loop_now(h->p->loop);
}

/* ---- the line ---- */
static void line_add(struct probe_hop *h, struct probe_flight *f, bool first)
{
	if (first)
		DL_PREPEND(h->line, f);
	else
		DL_APPEND(h->line, f);
	f->line = h;
	h->nline++;
}

static void line_remove(struct probe_flight *f)
{
	DL_DELETE(f->line->line, f);
	f->line->nline--;
	f->line = NULL;
}

/* ---- sessions ---- */
static void session_shut(struct probe_session *s)
{
	struct probe_hop *h = s->hop;

	if (s->req)
		mod_req_cancel(&s->req);
	if (s->sess)
		s->by->ops->shut(&s->sess);
	if (s->idle)
		loop_unwatch(&s->idle);
	DL_DELETE(h->sessions, s);
	h->nsession--;
	h->nready -= s->ready;
	m_open.value--;
	smar_policy_unref(&s->policy);
	free(s);
}

static void serve(struct probe_hop *h);

static void on_idle(int fd, short what, void *arg)
{
	struct probe_session *s = arg;
	struct probe_hop *h = s->hop;

	(void)fd, (void)what;
	session_shut(s);
	serve(h);
}

/* A probe is over: the session waits for the next one, or is shut. */
static void session_release(struct probe_session *s)
{
	const struct set_probe *conf = conf_of(s->policy);
	struct probe_hop *h = s->hop;

	if (h->p->stopping || s->policy != h->p->policy || conf->idle_timeout == 0 ||
	    s->probes >= (uint64_t)conf->max_probes_per_connection ||
	    !s->by->ops->usable(s->sess)) {
		session_shut(s);
	} else if (s->idle) {
		loop_rearm(s->idle, conf->idle_timeout);
	} else {
		s->idle = loop_timer(h->p->loop, conf->idle_timeout, on_idle, s);
	}
	serve(h);
}

/* The flight of a session that is gone. */
static struct probe_flight *take_flight(struct probe_session *s)
{
	struct probe_flight *f = s->flight;

	s->flight = NULL;
	f->session = NULL;
	return f;
}

/* ---- the hop is away ---- */
static void away(struct probe_hop *h, struct probe_flight *f, const char *why)
{
	struct probe_flight *all, *next;
	int64_t now = now_of(h);

	h->not_before = now + PROBE_PAUSE;
	if (h->nready > 0) {
		f->fresh = false;
		line_add(h, f, true);
		serve(h);
		return;
	}
	if (log_rarely(&h->said, now))
		log_event(LOG_L_WARN, "smar.probe", "hop=%s error=%s", h->key, why);
	line_add(h, f, true);
	all = h->line; /* a hop with neither sessions nor line may be gone in the loop */
	h->line = NULL;
	h->nline = 0;
	DL_FOREACH (all, f)
		f->line = NULL;
	DL_FOREACH_SAFE (all, f, next) {
		DL_DELETE(all, f);
		probe_say(&f->said, PROBE_UNKNOWN, "", "the next hop cannot be reached");
		f->at++;
		probe_flight_next(f);
	}
}

/* ---- a probe ---- */
static void lacks(struct probe_flight *f, const struct meta1_reply *r)
{
	f->lacks = true;
	probe_say(&f->said, PROBE_NO, r->dsn, r->text);
}

/* Another hop may offer it: no when none does. */
static void next_offer(struct probe_flight *f)
{
	f->at++;
	f->nlack += f->lacks;
	f->lacks = false;
	if (f->nlack < f->nhop)
		probe_say(&f->said, PROBE_UNKNOWN, "",
		    "the next hop does not offer what is needed to ask it");
	probe_flight_next(f);
}

/* The hop wants AUTH, whose secrets are smtpc's alone: what it says is not about the recipient.
 * Where smtpc logs in nowhere, mail would hear the same. */
static bool wants_login(const struct probe_flight *f, const struct meta1_reply *r)
{
	return f->policy->probe->login && r->smtp / 100 == 5 &&
	       (r->smtp == 530 || strncmp(r->dsn, "5.7.", 4) == 0);
}

static void not_to_be_asked(struct probe_flight *f)
{
	probe_say(&f->said, PROBE_YES, "", "the next hop wants AUTH, which a probe does not say");
}

static void on_rcpt(void *arg, uint32_t rcpt, enum meta1_status st, const struct meta1_reply *r)
{
	struct probe_session *s = arg;
	struct probe_flight *f = s->flight;
	enum probe_word word = st == META1_OK	      ? PROBE_YES
			       : st == META1_PERMFAIL ? PROBE_NO
						      : PROBE_UNKNOWN;

	(void)rcpt;
	if (r->scope == META1_ABOUT_OFFER) {
		lacks(f, r);
		return;
	}
	f->told = true;
	if (wants_login(f, r))
		not_to_be_asked(f);
	else
		probe_say(&f->said, word, r->dsn, r->text);
}

static void again(struct probe_flight *f, struct probe_hop *h)
{
	f->fresh = true;
	line_add(h, f, true);
	serve(h);
}

static void on_probed(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct probe_session *s = arg;
	struct probe_flight *f = take_flight(s);
	struct probe_hop *h = s->hop;
	unsigned scope = st == META1_OK ? META1_ABOUT_MAIL : r->scope;

	s->req = NULL;
	s->probes++;
	/* of the recipient or of prober's address */
	if (!f->told && scope == META1_ABOUT_OFFER && (f->mail.flags & META1_M_SMTPUTF8))
		lacks(f, r);
	if (!f->told && (f->lacks || scope == META1_ABOUT_OFFER)) {
		session_release(s);
		next_offer(f);
		return;
	}
	if (!f->told && scope == META1_ABOUT_MAIL && wants_login(f, r)) {
		f->told = true;
		not_to_be_asked(f);
	}
	if (f->told || scope == META1_ABOUT_MAIL) {
		if (!f->told)
			probe_say(&f->said, PROBE_UNKNOWN, "",
			    st == META1_TEMPFAIL && !r->smtp ? "the next hop did not answer in time"
							     : "the next hop refuses to be asked");
		if (!f->told && log_rarely(&h->said, now_of(h)))
			log_event(LOG_L_WARN, "smar.probe", "hop=%s refused=%s", h->key, r->text);
		session_release(s);
		probe_flight_end(f);
		return;
	}
	session_shut(s);
	if (scope == META1_ABOUT_SESSION && !f->fresh) {
		again(f, h);
		return;
	}
	if (log_rarely(&h->said, now_of(h)))
		log_event(LOG_L_WARN, "smar.probe", "hop=%s error=%s", h->key, r->text);
	probe_say(&f->said, PROBE_UNKNOWN, "", "the next hop broke off");
	f->at++;
	serve(h);
	probe_flight_next(f);
}

static void begin(struct probe_session *s)
{
	struct probe_flight *f = s->flight;

	if (s->idle)
		loop_rearm(s->idle, -1);
	s->req =
	    mod_req(s->by->inst, now_of(s->hop) + conf_of(s->policy)->IO_timeout, on_probed, s);
	mod_req_rcpts(s->req, on_rcpt, 1);
	s->by->ops->probe(s->sess, s->req, &f->mail);
}

/* ---- opening ---- */
static void on_open(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct probe_session *s = arg;
	struct probe_hop *h = s->hop;
	struct probe_flight *f;
	char why[300];

	s->req = NULL;
	if (st == META1_OK && s->sess) {
		m_opened.value++;
		s->ready = true;
		h->nready++;
		h->not_before = 0;
		begin(s);
		return;
	}
	m_failed.value++;
	str_copy(why, sizeof(why), r->text ? r->text : "");
	f = take_flight(s);
	session_shut(s);
	away(h, f, why);
}

static struct probe_session *session_open(struct probe_hop *h, struct probe_flight *f)
{
	const struct set_probe *conf = conf_of(f->policy);
	struct probe_session *s = base_alloc(sizeof(*s));

	*s = (struct probe_session){.hop = h, .policy = smar_policy_ref(f->policy), .by = f->by};
	DL_APPEND(h->sessions, s);
	h->nsession++;
	m_open.value++;
	s->req = mod_req(
	    s->by->inst, now_of(h) + conf->connect_timeout + 2 * conf->IO_timeout, on_open, s);
	s->by->ops->open(mod_data(s->by->inst), s->req, &f->hop[f->at], &s->sess);
	return s;
}

/* One that waits and is still good; those that are not are shut. */
static struct probe_session *idle_session(struct probe_hop *h, const struct probe_flight *f)
{
	struct probe_session *s, *next;

	DL_FOREACH_SAFE (h->sessions, s, next) {
		if (!s->ready || s->flight || s->policy != f->policy)
			continue;
		if (s->by->ops->usable(s->sess))
			return s;
		session_shut(s);
	}
	return NULL;
}

static bool may_open(const struct probe_hop *h, const struct probe_flight *f)
{
	return h->nsession == 0 || (h->nsession < (uint64_t)conf_of(f->policy)->max_connections &&
				       now_of(h) >= h->not_before);
}

/* Gives the line what there is of sessions. */
static void serve(struct probe_hop *h)
{
	struct probe_flight *f;

	while ((f = h->line) && !h->p->stopping) {
		struct probe_session *s = f->fresh && may_open(h, f) ? NULL : idle_session(h, f);

		if (!s && !may_open(h, f))
			return;
		line_remove(f);
		if (!s)
			s = session_open(h, f);
		s->flight = f;
		f->session = s;
		if (s->ready)
			begin(s);
	}
}

/* ---- hops ---- */

/* "lmtp ADDR PORT", what TLS must have achieved and, if that is about its name, the name. */
static int hop_key(const struct probe_flight *f, char *key, size_t size)
{
	const struct meta1_hop *hop = &f->hop[f->at];
	const char *need = f->need[f->at], *name = hop->tls == META1_TLS_VERIFY ? hop->host : "";
	XXH64_hash_t sum = XXH3_64bits(need, strlen(need));
	int n = snprintf(key, size, "%s %s %u", f->by->name, hop->addr, hop->port);

	if ((*need || *name) && n > 0 && n < (int)size)
		n += snprintf(
		    key + n, size - (size_t)n, " %s %016llx", name, (unsigned long long)sum);
	return n;
}

static struct probe_hop *hop_of(struct probe_flight *f)
{
	struct probe_hop *h, *next;
	char key[1000];
	int n = hop_key(f, key, sizeof(key));

	if (n >= (int)sizeof(key))
		return NULL;
	HASH_FIND_STR(f->p->hops, key, h);
	if (h)
		return h;
	if (HASH_COUNT(f->p->hops) >= PROBE_HOPS)
		HASH_ITER (hh, f->p->hops, h, next) {
			if (h->sessions || h->line)
				continue;
			HASH_DEL(f->p->hops, h);
			free(h);
			break;
		}
	if (HASH_COUNT(f->p->hops) >= PROBE_HOPS)
		return NULL;
	h = base_alloc(sizeof(*h) + (size_t)n + 1);
	h->p = f->p;
	memcpy(h->key, key, (size_t)n + 1);
	HASH_ADD_STR(f->p->hops, key, h);
	return h;
}

bool probe_hop_join(struct probe_flight *f)
{
	struct probe_hop *h = hop_of(f);

	if (!h || h->nline >= (uint64_t)conf_of(f->policy)->max_waiting) {
		probe_say(&f->said, PROBE_UNKNOWN, "", "too many probes wait for the next hop");
		return false;
	}
	if (h->nsession == 0 && now_of(h) < h->not_before) {
		probe_say(&f->said, PROBE_UNKNOWN, "", "the next hop cannot be reached");
		return false;
	}
	f->fresh = false;
	line_add(h, f, false);
	serve(h);
	return true;
}

void probe_hop_leave(struct probe_flight *f)
{
	struct probe_session *s = f->session;
	struct probe_hop *h;

	if (f->line)
		line_remove(f);
	if (!s)
		return;
	h = s->hop;
	take_flight(s);
	session_shut(s);
	serve(h);
}

void probe_hop_shut_idle(struct prober *p, const struct smar_policy *keep)
{
	struct probe_hop *h, *hnext;
	struct probe_session *s, *next;

	HASH_ITER (hh, p->hops, h, hnext) {
		DL_FOREACH_SAFE (h->sessions, s, next) {
			if (s->ready && !s->flight && s->policy != keep)
				session_shut(s);
		}
	}
}

void probe_hop_free(struct prober *p)
{
	struct probe_hop *h, *next;

	probe_hop_shut_idle(p, NULL);
	HASH_ITER (hh, p->hops, h, next) {
		HASH_DEL(p->hops, h);
		free(h);
	}
}
