/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.h -- one question of qmgr (ROUTE) on its way, for the files that answer a part of it, in
 * this order:
 *   route.c	     whose word counts: the mailertable, the sender, the domain itself
 *   route_tls.c     the row of tls_policy for each next hop named there
 *   route_goal.c    each next hop named there becomes hosts with addresses
 *   route_dane.c    what TLSA records ask of the hosts whose addresses are proven
 *   route_hops.c    the hops of all of them, in the order in which they are tried
 *   route_answer.c  what the destination is called, its row of limits, those with options of
 *		     smtpc, how long all this holds
 * A step calls the next one, or smar_route_fail(); either ends in one answer, and the question is
 * gone.
 */
#ifndef META1_SMAR_ROUTE_H
#define META1_SMAR_ROUTE_H
#include "lib/tls_need.h"
#include "smar/smar.h"

#define SMAR_LMTP_PORT	   24
#define SMAR_ROUTE_TTL_MAX 3600 /* seconds */

struct sts_policy;
struct smar_dane;  /* of the hosts of a goal */
struct smar_goal { /* a target on its way to addresses */
	struct smar_route *route;
	const struct smar_target *target;
	struct mx_host *host;
	unsigned nhost;
	/* Of tls_policy, nothing else counts then, but of dane the host's records; NULL: none */
	struct tls_need *need_row;
	bool implicit; /* host[0] is the domain itself, it has no MX */
	bool secure;   /* DNSSEC, or the configuration, says that these are its hosts */
	char alias_of[ADDR_DOMAIN_MAX + 1]; /* the target has its MX records from there; or "" */
	struct smar_dane *dane;		    /* by host; NULL: nothing is asked */
	struct sts_policy *sts;		    /* testing or enforce; NULL: none is known */
	enum meta1_status status;	    /* OK until something failed */
	const char *dsn;
	char why[350];
};
/* What TLS must achieve towards the hops: texts of lib/tls_need.h, each once. */
struct smar_needs {
	char *text[MX_HOPS];
	unsigned n;
	uint64_t of[MX_HOPS]; /* 1 + an index into them; 0: the options of smtpc say */
};
struct smar_route {
	struct smar_policy *policy;
	struct dns *dns;
	struct smar_seek seek;
	char domain[ADDR_DOMAIN_MAX + 1];
	bool row;      /* the mailertable, or the sender, has one */
	bool delivery; /* see struct smar_route_ask */
	struct smar_route_by *by, unasked;
	bool by_sender;
	char from_local[ADDR_PATH_MAX + 1], from_domain[ADDR_DOMAIN_MAX + 1];
	char *rest; /* value of the row ".", while the sender is looked up; NULL: none */
	char rcpt[ADDR_PATH_MAX + 1]; /* "": any */
	struct smar_limits *limits;   /* NULL: none */
	struct smar_target target[SMAR_TARGETS];
	struct smar_goal goal[SMAR_TARGETS];
	unsigned n, pending, tls_at; /* tls_at: the goal whose row is asked for */
	int64_t deadline;
	uint32_t ttl;
	char (*text)[600]; /* hops that were found */
	uint64_t secure[MX_HOPS];
	unsigned nhop;
	struct smar_needs needs; /* of them */
	smar_routes_fn fn;
	void *arg;
};

/* route_tls.c: r->target[0] to [r->n - 1] are set. */
void smar_route_tls(struct smar_route *);

/* route_goal.c: r->target[0] to [r->n - 1] are set. */
void smar_route_goals(struct smar_route *);
void smar_route_part_done(struct smar_route *); /* of r->pending; the last goes to route_hops.c */
/* The goal leads nowhere; fmt has one %s, for name. Its hosts stay in the key, so that the
 * destination keeps its name while one of them cannot be looked up. */
void smar_route_goal_fail(
    struct smar_goal *, enum meta1_status, const char *dsn, const char *fmt, const char *name);
/* It is a unix socket, or a transport of this host: no host. */
static inline bool smar_route_socket(const struct smar_goal *g)
{
	return g->target->kind == TARGET_SOCKET || g->target->kind == TARGET_PATH ||
	       g->target->kind == TARGET_NAMED;
}

/* route_sts.c */
void smar_route_sts(struct smar_goal *); /* asks, when it is to be asked about */
void smar_route_sts_done(struct smar_goal *);
/* false: the policy is in force and means another host. */
bool smar_route_sts_allows(const struct smar_goal *, const struct mx_host *);
/* What its hosts must achieve; false: the policy says nothing. */
bool smar_route_sts_need(const struct smar_goal *, struct tls_need *);

/* route_dane.c */
/* An admin wants TLSA records: a host without is not used. */
static inline bool smar_route_dane_required(const struct smar_goal *g)
{
	return g->need_row && g->need_row->word == TLS_NEED_DANE;
}
/* The hosts of a goal are known, not yet their addresses. */
void smar_route_dane(struct smar_goal *);
/* An answer about the addresses of a host: after the last, its TLSA records are asked for. Each
 * question is one more part that is pending. */
void smar_route_dane_addr(struct smar_goal *, unsigned host, const struct dns_data *);
/* The need of a host; NULL: none. false: it is not used now, why is said. */
bool smar_route_dane_need(
    const struct smar_goal *, unsigned host, const struct tls_need **need, const char **why);
void smar_route_dane_free(struct smar_goal *);

/* route_hops.c: every goal has its addresses, or failed. */
void smar_route_hops(struct smar_route *);

/* route_answer.c */
/* The route may be kept for no longer than this. */
void smar_route_ttl(struct smar_route *, uint32_t ttl);
/* There are hops: the answer, with the row of limits and those of smtpc. */
void smar_route_found(struct smar_route *);
/* TLS must achieve this towards the i-th hop; in place of what was said before. */
void smar_route_need(struct smar_route *, unsigned i, const struct tls_need *);
/* There are none. What follows from a row is a mistake in it, so it is temporary. */
void smar_route_fail(struct smar_route *, enum meta1_status, const char *dsn, const char *text);

#endif
