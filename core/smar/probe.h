/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe.h -- the part of smar.h about next hops: would this one take mail for a recipient?
 *
 * The story. check_probe.c sees whether recipients of a destination are probed (recipient_probe)
 * and where their mail goes (route.c). probe.c answers from what is kept (probe_cache.c), or
 * starts a flight: one question on its way, for all who ask the same meanwhile. A flight goes to
 * the first of its hops that is not known to be away; probe_hop.c has a line of flights and a few
 * sessions for each. What is spoken there is the transports' business (probe() of
 * meta1/transport.h): the modules by which smtpc delivers, with the same options, opened here by
 * probe_gear.c. So a hop is spoken to in one place, and what transports learn, TLS above all,
 * serves probes too. probe_control.c shows and empties what is kept.
 *
 * What a hop says to RCPT is about the recipient: 2xx yes, 5xx no, 4xx it cannot say. All else
 * (no connection, another greeting, MAIL refused, silence, garbage, a lost connection) says
 * nothing of it. A hop that lacks what the recipient needs (SMTPUTF8) is not asked: it is no, when
 * all hops lack it. When a hop cannot say, whom it took within positive_stale is taken, and of
 * others recipient_probe { unknown } decides. Nothing a hop says is trusted: its text comes as a
 * line of PROBE_TEXT_MAX printable characters.
 *
 * Bounds: PROBE_FLIGHTS flights; a hop has max_connections sessions and max_waiting flights;
 * PROBE_HOPS hops are known; max_entries are kept of each kind. A hop that could not be connected
 * to is left alone for PROBE_PAUSE, so that a burst waits for one connect_timeout, not for many.
 */
#ifndef META1_SMAR_PROBE_H
#define META1_SMAR_PROBE_H
#include "lib/pool.h"
#include "smar/smar.h"

#include <meta1/transport.h>

#define PROBE_FLIGHTS  5000
#define PROBE_HOPS     1024
#define PROBE_PAUSE    10000 /* ms */
#define PROBE_TEXT_MAX 200
#define PROBE_KEY_MAX  (ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 2)

enum probe_word { PROBE_YES, PROBE_NO, PROBE_UNKNOWN };
struct probe_said {
	enum probe_word word;
	char dsn[12]; /* "5.1.1", or "" */
	char text[PROBE_TEXT_MAX + 1];
};
struct probe_answer {
	struct probe_said said;
	bool asked;   /* the hop, now */
	bool stale;   /* YES, and the hop cannot say now: why is in the text */
	int64_t age;  /* ms since the hop said so */
	int64_t left; /* ms for which it may be kept */
};

/* ---- probe_cache.c: what hops said; no I/O ---- */
struct probe_entry {
	struct lru_entry lru;
	int64_t since;	  /* monotonic ms: when it was said */
	const char *text; /* behind the key */
	char dsn[12], key[];
};
struct probe_cache {
	struct lru yes, no; /* each bounded for itself: who tries names displaces no known ones */
	int64_t positive_ttl, positive_stale, negative_ttl;
};
/* May be called again: what does not fit any more goes with the next entry. */
void probe_cache_conf(struct probe_cache *, const struct set_probe *);
/* YES and NO; the other one of this key is forgotten. */
void probe_cache_put(struct probe_cache *, const char *key, const struct probe_said *, int64_t now);
/* false: nothing is kept. left <= 0: good only when the hop cannot say. */
bool probe_cache_get(struct probe_cache *, const char *key, int64_t now, struct probe_answer *);
/* ms for which it answers alone, by the times that hold now. */
int64_t probe_cache_left(
    const struct probe_cache *, const struct probe_entry *, bool yes, int64_t now);
/* Of an address, "@domain", or NULL: all. How many there were. */
unsigned probe_cache_forget(struct probe_cache *, const char *what);

/* ---- probe_gear.c: what a policy has for probes ---- */
struct probe_transport {
	const char *name; /* "lmtp", as ROUTES says */
	struct mod_inst *inst;
	const struct meta1_transport_ops *ops;
};
struct probe_gear {
	struct set_probe conf; /* numbers of it; sender is our own copy */
	char *sender;
	struct probe_transport *by;
	unsigned nby;
	uint32_t without;    /* enum meta1_offer: what smtpc's option extensions leaves unused */
	bool login;	     /* smtpc has credentials for some hops; a probe has none */
	uint32_t tls_policy; /* of smtpc: enum meta1_tls_policy */
};
/* Opens the transports that smtpc uses. <0: err. */
int probe_gear_open(struct smar_policy *, struct mod_host *, struct settings *, struct meta1_err *);
/* drain: sessions say goodbye first. */
void probe_gear_close(struct smar_policy *, bool drain);
const struct probe_transport *probe_gear_find(const struct probe_gear *, struct meta1_buf name);

/* ---- probe.c: questions, and flights that find the answer ---- */
struct prober {
	struct loop *loop;
	const struct smar_policy *policy; /* in force; to compare with */
	struct probe_cache cache;
	struct probe_flight *flights; /* by key: these may be joined */
	struct probe_flight *old;     /* by key, some twice: begun before a change */
	struct probe_hop *hops;	      /* by key */
	bool stopping;
};
typedef void (*probe_fn)(void *arg, const struct probe_answer *);
struct probe_question {
	struct smar_policy *policy;
	const char *key, *rcpt; /* local@domain, folded where it means nothing; as it was said */
	const struct p_routes *route;
	int64_t until; /* who asks waits so long */
	bool keep;     /* the answer; explain leaves no trace */
};
struct probe_waiter {
	struct probe_waiter *prev, *next;
	struct probe_flight *flight;
	struct watch *timer;
	probe_fn fn;
	void *arg;
};
struct probe_flight {
	UT_hash_handle hh;
	struct prober *p;
	struct smar_policy *policy; /* a reference: its transports stay */
	const struct probe_transport *by;
	struct pool pool; /* of all below */
	struct meta1_hop *hop;
	const char **need;	  /* of each: what TLS must have achieved, ipc/hop.h */
	uint32_t nhop, at, nlack; /* nlack: of those before at, that lack what it needs */
	struct meta1_mail mail;
	struct meta1_rcpt rcpt;
	struct probe_waiter *waiters;
	struct watch *timer;	/* the end, whatever comes */
	struct probe_hop *line; /* waits there */
	struct probe_flight *prev, *next;
	struct probe_session *session; /* or is asked there */
	bool keep, old;		       /* old: in p->old */
	bool fresh, told, /* fresh: not by a session that was idle; told: the hop spoke of it */
	    lacks;	  /* the hop was not asked, it does not offer what the recipient needs */
	struct probe_said said;
	char key[];
};
struct prober *prober_new(struct loop *);
/* What is in force now: what hops refused is forgotten, sessions of before are shut. */
void prober_use(struct prober *, const struct smar_policy *);
void prober_free(struct prober **);
/* A map or the configuration changed: a refusal may be of the wrong hop. That goes for those under
 * way too: nobody joins them, nothing is kept, and a NO to those who wait is "unknown". */
void prober_changed(struct prober *);
/* What probe_cache_forget() forgets, and what is under way, as above. */
unsigned prober_forget(struct prober *, const char *what);
/* What is kept and answers alone. */
bool probe_known(struct prober *, const char *key, struct probe_answer *);
/* fn comes once, perhaps inside the call. */
void probe_ask(struct prober *, const struct probe_question *, probe_fn, void *arg);
/* What is known when no hop can be asked: why is said. */
void probe_unknown(struct prober *, const char *key, const char *why, struct probe_answer *);
/* For probe_hop.c: the flight goes to its next hop, or ends with what is said. */
void probe_flight_next(struct probe_flight *);
void probe_flight_end(struct probe_flight *);
void probe_say(struct probe_said *, enum probe_word, const char *dsn, const char *text);

/* ---- probe_hop.c: sessions to hops ---- */
struct probe_session {
	struct probe_hop *hop;
	struct probe_session *prev, *next;
	struct smar_policy *policy; /* a reference */
	const struct probe_transport *by;
	void *sess;
	struct meta1_req *req;
	struct probe_flight *flight; /* NULL: idle */
	struct watch *idle;
	unsigned probes;
	bool ready;
};
struct probe_hop {
	UT_hash_handle hh;
	struct prober *p;
	struct probe_session *sessions;
	struct probe_flight *line;
	unsigned nsession, nready, nline;
	int64_t not_before; /* away: not asked; or, with sessions, no further ones */
	int64_t said;	    /* in the log */
	char key[];	    /* "lmtp ADDR PORT", and of a need of TLS a number for it */
};
/* Gets in line at the flight's hop, and is asked when it is its turn. false: the hop is away, or
 * the line too long; why is said. */
bool probe_hop_join(struct probe_flight *);
void probe_hop_leave(struct probe_flight *); /* wherever it is */
/* Shuts what is idle, but for that of this policy; NULL: all. */
void probe_hop_shut_idle(struct prober *, const struct smar_policy *keep);
void probe_hop_free(struct prober *);

/* ---- probe_control.c ---- */
struct ctl;
void probe_control_add(struct ctl *);
void probe_control_set(struct prober *, void (*changed)(void)); /* NULL: none any more */

#endif
