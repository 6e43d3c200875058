/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsrpt.h -- reports of how TLS towards other domains goes (RFC 8460).
 *
 * The story. smtpc tells how each new session went (TLS_RESULT), sts_ask.c which policies could not
 * be had; tlsrpt.c counts both, a UTC day, domain and policy. Counted are domains whose next hops
 * their MX records say, which route_answer.c tells, and of these the ones that ask for reports by a
 * TXT record _smtp._tls.DOMAIN, unless all_domains. tlsrpt_json.c makes the report of it, and reads
 * those of today back at a start; it is written anew a minute after something changed, and at the
 * end. Nobody sends it: that is the admin's, with a tool of his own (doc/tls.md).
 */
#ifndef META1_SMAR_TLSRPT_H
#define META1_SMAR_TLSRPT_H
#include "lib/tls_result.h"
#include "lib/work.h"
#include "smar/sts.h"

#include <jansson.h>

#define TLSRPT_POLICIES 4    /* of a domain */
#define TLSRPT_FAILURES 50   /* of a domain, kinds of */
#define TLSRPT_LINES	2048 /* bytes of a policy's text; of more the first lines */
#define TLSRPT_NAME_MAX 220  /* bytes of a domain: it is in the name of a file */

enum tlsrpt_kind { TLSRPT_NO_POLICY, TLSRPT_TLSA, TLSRPT_STS };
#define TLSRPT_PARTS 4 /* what is known of a failure besides: lines of a table in tlsrpt_json.c */
enum tlsrpt_part { TLSRPT_OURS, TLSRPT_HOST, TLSRPT_ADDR, TLSRPT_WHY };
struct tlsrpt_failure {
	struct tlsrpt_failure *next;
	enum tls_result result;
	int64_t n;
	char *part[TLSRPT_PARTS]; /* "": several */
};
struct tlsrpt_policy {
	struct tlsrpt_policy *next;
	enum tlsrpt_kind kind;
	char *strings, *hosts; /* lines */
	int64_t good, bad;
	struct tlsrpt_failure *failures;
};
struct tlsrpt_domain {
	UT_hash_handle hh;
	struct tlsrpt_policy *policies;
	unsigned npolicy, nfailure;
	char *rua; /* "mailto:…,https:…"; "": none; NULL: not known yet */
	bool dirty;
	char name[];
};

/* ---- tlsrpt.c ---- */
struct tlsrpt_place {
	struct loop *loop;
	struct work *work;
	struct dns *dns;
	const char *hostname;
	void (*idle)(void *arg); /* all is written */
	void *arg;
};
/* 0 without a section, too; <0: err. */
int tlsrpt_start(const struct tlsrpt_place *, const struct set_tlsrpt *, struct meta1_err *);
bool tlsrpt_restart(const struct set_tlsrpt *was, const struct set_tlsrpt *now);
void tlsrpt_reload(const struct set_tlsrpt *, const char *hostname);
bool tlsrpt_flushed(void);
void tlsrpt_stop(void); /* dns_free() is next */
/* Mail to this domain goes where its MX records say. */
void tlsrpt_route(const char *domain);
/* sts: or NULL. */
void tlsrpt_session(const struct p_tls_result *, struct sts *sts);
void tlsrpt_fetch(
    const char *domain, enum sts_fetched, const struct sts_policy *kept, const char *why);
/* A host is not used now because of its TLSA records, or for want of them. */
void tlsrpt_host(const char *domain, enum tls_result, const char *host, const char *why);
/* Those of today, for the control socket; NULL: none. */
struct tlsrpt_head;
const struct tlsrpt_domain *tlsrpt_today(struct tlsrpt_head *);
bool tlsrpt_on(void);
bool tlsrpt_wanted(const struct tlsrpt_domain *); /* it gets a report */
/* ---- tlsrpt_control.c ---- */
struct ctl;
void tlsrpt_control_add(struct ctl *);

/* ---- tlsrpt_day.c ---- */
struct tlsrpt_day {
	int64_t n; /* since 1970 */
	struct tlsrpt_domain *domains;
};
void tlsrpt_day_text(int64_t day, char out[12]);
void tlsrpt_day_dirty(struct tlsrpt_day *); /* all of it is to be written */
void tlsrpt_day_free(struct tlsrpt_day *);
void tlsrpt_domain_clear(struct tlsrpt_domain *); /* of what was counted */
/* The policy of these lines, made when it is not there; NULL: too many. */
struct tlsrpt_policy *tlsrpt_policy(
    struct tlsrpt_domain *, enum tlsrpt_kind, const char *strings, const char *hosts);
void tlsrpt_count(struct tlsrpt_domain *, struct tlsrpt_policy *, enum tls_result, int64_t n,
    const char *const part[TLSRPT_PARTS]);

/* ---- tlsrpt_json.c ---- */
struct tlsrpt_head {
	const char *organization, *contact, *hostname;
	char day[12]; /* 2026-11-26 */
};
json_t *tlsrpt_json(const struct tlsrpt_domain *, const struct tlsrpt_head *);
/* Adds what a report of ours says; false: it is none. */
bool tlsrpt_json_read(const json_t *, struct tlsrpt_domain *);

/* ---- between tlsrpt.c and tlsrpt_write.c ---- */
#define TLSRPT_BATCH 200 /* reports written in one go */
struct tlsrpt_batch {
	unsigned n;
	struct {
		char *path, *text, *domain;
		int64_t day;
		int failed; /* errno */
	} file[TLSRPT_BATCH];
	char *folder;
	char oldest[12]; /* reports before this day are removed; "": not now */
};
struct tlsrpt {
	struct tlsrpt_place at;
	struct set_tlsrpt set;
	bool on, ending;
	struct tlsrpt_day today, before; /* before: until it is written */
	struct lru routes;
	struct watch *timer;
	struct work_owner owner;
	struct tlsrpt_batch *batch; /* under way */
	int64_t said, swept;	    /* swept: the day on which old ones were removed */
};
void tlsrpt_turn_day(struct tlsrpt *);
void tlsrpt_head_of(const struct tlsrpt *, const struct tlsrpt_day *, struct tlsrpt_head *);
bool tlsrpt_wants(const struct tlsrpt *, const struct tlsrpt_domain *); /* a report of it */
void tlsrpt_write_begin(struct tlsrpt *);
/* All is written; else it begins to be, and idle() comes. */
bool tlsrpt_write_all(struct tlsrpt *);

#endif
