/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts.h -- MTA-STS (RFC 8461): what a domain says of the TLS of its mail servers.
 *
 * The story. route_sts.c asks about the domain of a next hop, beside its MX records; sts.c looks
 * into its cache and asks the DNS for the TXT record _mta-sts.DOMAIN. With an id in it that is new
 * the policy is fetched once for all who ask: addresses of mta-sts.DOMAIN from our own resolver,
 * then HTTPS by libcurl on a worker thread (sts_fetch.c). sts_policy.c reads record and policy.
 * What was fetched is kept until its max_age is over, over restarts too (sts_file.c), and fetched
 * anew before. sts_control.c shows it.
 *
 * A policy that is in force stays so when TXT record or HTTPS cannot be had: only its max_age, or
 * another policy of the domain, ends it. Where no policy is known and none can be fetched the mail
 * goes as if the domain had none (RFC 8461 section 3.3).
 */
#ifndef META1_SMAR_STS_H
#define META1_SMAR_STS_H
#include "lib/lru.h"
#include "lib/work.h"
#include "smar/dns.h"

#include <stdatomic.h>

#define STS_TEXT_MAX	65536 /* bytes of a policy, and of all headers before it */
#define STS_MX_MAX	1000  /* lines mx: of a policy */
#define STS_MAX_AGE	31557600
#define STS_ID_MAX	32
#define STS_HOST_PREFIX "mta-sts."

/* ---- sts_policy.c: record and policy as text; no I/O ---- */
enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };
struct sts_policy {
	unsigned refs;
	enum sts_mode mode;
	uint32_t max_age; /* seconds, as the domain says it; see sts_age() */
	uint32_t nmx;
	size_t bytes;	       /* of the allocation */
	const char *const *mx; /* folded, A-labels; "*." may be the first label */
};
/* NULL: err says which line is wrong. A max_age above the greatest is the greatest. */
struct sts_policy *sts_policy_read(struct meta1_buf text, struct meta1_err *);
struct sts_policy *sts_policy_new(
    enum sts_mode, uint32_t max_age, const char *const *mx, uint32_t nmx);
struct sts_policy *sts_policy_ref(const struct sts_policy *);
void sts_policy_unref(struct sts_policy **);
/* host: a domain key. */
bool sts_policy_match(const struct sts_policy *, const char *host);
/* The n-th line of the policy as it is written, without the line's end; false: no more. */
bool sts_policy_line(const struct sts_policy *, unsigned n, char *out, size_t size);
const char *sts_mode_word(enum sts_mode); /* none testing enforce */
bool sts_mode_of(const char *word, enum sts_mode *);
bool sts_pattern_ok(const char *mx); /* as sts_policy.mx has them */

enum sts_said { STS_SAYS_NOTHING, STS_SAYS_NONSENSE, STS_SAYS_ID };
/* The TXT records of _mta-sts.DOMAIN: one with an id, or none that counts. */
enum sts_said sts_record(const struct dns_data *, char id[STS_ID_MAX + 1]);
/* Of one record's text, that begins "v=STSv1". */
bool sts_record_read(const char *text, char id[STS_ID_MAX + 1]);
bool sts_id_ok(const char *);

/* ---- sts_fetch.c: one fetch; the worker's ---- */
enum sts_fetched {
	STS_FETCH_GOOD,
	STS_FETCH_FAILED,  /* no policy came: sts-policy-fetch-error of RFC 8460 */
	STS_FETCH_WEBPKI,  /* the server's certificate: sts-webpki-invalid */
	STS_FETCH_INVALID, /* what came is no policy: sts-policy-invalid */
};
struct sts_job {
	/* in */
	char domain[ADDR_DOMAIN_MAX + 1];
	char resolve[1400]; /* "HOST:PORT:ADDR,ADDR" */
	uint16_t port;
	int64_t timeout;		      /* ms, of all of it */
	char *CAcert_file, *CAcert_directory; /* copies: a reload may come meanwhile */
	atomic_bool stop;
	/* out */
	enum sts_fetched result;
	struct sts_policy *policy;
	char why[200];
	void *owner; /* the loop's; NULL: nobody waits any more */
};
void sts_fetch_run(void *job);
/* Once, before there are threads. */
int sts_fetch_init(struct meta1_err *);
const char *sts_fetch_library(void); /* "libcurl 7.88.1" */

/* ---- sts_file.c: what is kept over restarts ---- */
/* One line a domain: sum of the rest, domain, id, mode, max_age, seconds since 1970 when it was
 * fetched, patterns; a blank between. */
struct sts_saved {
	char domain[ADDR_DOMAIN_MAX + 1], id[STS_ID_MAX + 1];
	int64_t fetched;
	struct sts_policy *policy;
};
struct sts_bytes {
	char *data;
	size_t n, size;
};
void sts_file_begin(struct sts_bytes *);
void sts_file_add(struct sts_bytes *, const char *domain, const char *id, int64_t fetched,
    const struct sts_policy *);
/* A line without its end; false: damaged. The policy is the caller's. */
bool sts_file_line(const char *line, struct sts_saved *);
/* Calls fn for each line that is whole, which takes the policy; what is not is counted and logged.
 * A file that is none of ours is moved to PATH.bad. <0: it is there and cannot be opened. */
int sts_file_read(
    const char *path, void (*fn)(void *arg, struct sts_saved *), void *arg, struct meta1_err *);
struct sts_write {
	const char *path;
	struct sts_bytes bytes;
	int failed; /* errno */
};
void sts_file_write(void *write); /* worker thread: the file anew, synced and renamed */

/* ---- sts.c: the cache and its questions ---- */
struct sts_conf {
	const char *CAcert_file, *CAcert_directory;
	int64_t fetch_timeout, wait, refresh, negative_ttl; /* ms */
	unsigned max_entries;
	size_t max_memory;
	uint16_t port;
};
struct sts_entry { /* of a policy that is in force */
	struct lru_entry lru;
	struct sts_policy *policy;
	int64_t refresh_at; /* monotonic ms */
	int64_t fetched;    /* wall s */
	bool used;	    /* since it was fetched */
	char id[STS_ID_MAX + 1];
	char domain[];
};
struct sts_failure { /* of a fetch, so that it is not tried again at once */
	struct lru_entry lru;
	enum sts_fetched result;
	char id[STS_ID_MAX + 1], why[200];
	char domain[];
};
struct sts_answer {
	const struct sts_policy *policy; /* NULL: none is known */
	const char *id;			 /* of it */
	bool late;			 /* a fetch is under way, or the DNS could not say */
	uint32_t ttl;			 /* seconds that this may be kept */
	const char *why;		 /* of the failure, when there was one; or NULL */
};
typedef void (*sts_fn)(void *arg, const struct sts_answer *);
/* A fetch, or what it brought, failed; for reports. kept: a policy that is in force stays so. */
typedef void (*sts_failed_fn)(void *arg, const char *domain, enum sts_fetched,
    const struct sts_policy *kept, const char *why);

struct ctl;
struct sts;
struct sts_place {
	struct loop *loop;
	struct work *work;
	struct dns *dns;
	const char *path;	    /* of the file */
	void (*idle)(void *arg);    /* nothing is asked any more, nothing is to be written */
	void (*changed)(void *arg); /* another policy is in force: kept routes are void */
	sts_failed_fn failed;
	void *arg;
};
/* NULL: err. place: copied, path too; the resolver stays until sts_free(). */
struct sts *sts_new(const struct sts_place *, const struct sts_conf *, struct meta1_err *);
/* Nobody asks any more. The resolver's questions of ours go with it: dns_free() is next. */
void sts_free(struct sts **);
void sts_configure(struct sts *, const struct sts_conf *);
/* fn comes once, on a later turn, at the latest at the deadline. anew: fetched whatever is known.
 */
void sts_ask(struct sts *, const char *domain, bool anew, int64_t deadline, sts_fn fn, void *arg);
unsigned sts_pending(const struct sts *); /* questions that are open */
/* All is written; else it begins to be, and idle() comes. NULL: true. */
bool sts_flushed(struct sts *);
bool sts_forget(struct sts *, const char *domain); /* false: nothing was known of it */
unsigned sts_forget_all(struct sts *);
const struct lru *sts_entries(const struct sts *);  /* of struct sts_entry */
const struct lru *sts_failures(const struct sts *); /* of struct sts_failure */
/* The policy in force, without a use of it; NULL: none. */
const struct sts_policy *sts_known(struct sts *, const char *domain);
bool sts_fetching(const struct sts *, const char *domain);
const char *sts_fetched_word(enum sts_fetched); /* as RFC 8460 has it */

/* ---- between sts.c and sts_ask.c ---- */
struct sts_ask {
	struct sts_ask *prev, *next;	/* of all */
	struct sts_ask *before, *after; /* of those that wait for the flight */
	struct sts *sts;
	struct sts_flight *flight;
	struct watch *timer;
	bool anew;   /* the fetch is wanted, whatever is known */
	bool silent; /* a refresh: nobody waits, and it is no use of the policy */
	int64_t deadline;
	uint32_t ttl; /* of the record */
	sts_fn fn;
	void *arg;
	char domain[ADDR_DOMAIN_MAX + 1];
};
struct sts_flight {
	UT_hash_handle hh; /* by domain */
	struct sts *sts;
	struct sts_ask *asks;
	struct mx_host host; /* that has the policy */
	unsigned pending;    /* of its addresses */
	struct sts_job *job;
	char id[STS_ID_MAX + 1];
	char domain[ADDR_DOMAIN_MAX + 1];
};
struct sts {
	struct sts_place at;
	struct sts_conf conf;
	struct work_owner writes, *fetches;
	struct lru good, bad;
	struct sts_flight *flights;
	struct sts_ask *asks;
	unsigned pending; /* of them, that somebody waits for */
	struct watch *sweep, *write_timer;
	bool dirty, writing;
	int64_t write_at; /* not before */
	struct sts_write write;
	char path[1024];
};

/* NULL: none is in force. */
/* ms for which it is kept: what the domain says, but never less than negative_ttl. */
int64_t sts_age(const struct sts *, const struct sts_policy *);
struct sts_entry *sts_find(struct sts *, const char *domain);
/* Takes the policy, which is in force for so many ms. */
void sts_put(struct sts *, const char *domain, const char *id, int64_t fetched, int64_t left,
    struct sts_policy *);
void sts_changed(struct sts *); /* it is to be written */
void sts_gauges(const struct sts *);
/* As sts_ask(), but nobody waits, and it is no use of what is known. */
void sts_refresh(struct sts *, const char *domain, int64_t deadline);
void sts_ask_drop(struct sts *); /* all of them, and the flights */
static inline int64_t sts_now(const struct sts *s)
{
	return loop_now(s->at.loop);
}

/* ---- sts_role.c: MTA-STS and reports of TLS (tlsrpt.h) in the life of the process ---- */
/* idle: nothing is asked or written any more; changed: kept routes are void. <0: err. */
int smar_tls_start(
    struct role *, struct dns *, void (*idle)(void), void (*changed)(void), struct meta1_err *);
bool smar_tls_restart(const struct set_smar *was, const struct set_smar *now);
void smar_tls_reload(const struct settings *);
bool smar_tls_flushed(void);
void smar_tls_stop(void); /* dns_free() is next */
void smar_tls_control(struct ctl *);
struct sts *sts_role(void); /* NULL: no section mta_sts */

/* ---- sts_control.c ---- */
void sts_control_add(struct ctl *);
void sts_control_set(struct sts *, struct loop *); /* NULL: there is none */

#endif
