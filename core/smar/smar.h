/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smar.h -- the resolver: may this recipient be taken, and where does it go?
 *
 * The story. smtps asks CHECK (check.h, check.c): may this client, HELO, sender and recipient?
 * The steps ask whether the recipient's domain is ours (local.c), what the access map says
 * (access.c), may it be relayed. qmgr asks ROUTE (route.h, route.c): a row of the mailertable
 * (mailertable.c) or MX records (mx.c). Both derive keys from addresses (keys.c), try them one by
 * one in a map (seek.c, through map.c, which keeps answers), and put parts of the address into the
 * value (macro.c); the maps and options of one life of the configuration are a policy
 * (policy.c). explain.c shows an admin what both would say. The DNS stands in dns.h.
 *
 * What smar never does: guess. A map or name server that cannot say makes the answer
 * temporary, and the deadline of a question (10 s) goes down to every key and packet.
 *
 * Who is accepted, in the order of the table in check.c:
 *  1. postmaster, bare or at a local domain, whoever asks (RFC 5321 4.5.1).
 *  2. access map (with an "access" section, when the smtps section has the flag "access"):
 *     certsubject:, certissuer:, cltaddr:, helo:, from:, to:, protectedrcpt:. In each the most
 *     specific key that exists decides:
 *	REJECT       550 5.7.1
 *	DISCARD      accepted and thrown away
 *	error:TEXT   that reply, "error:450 4.7.1 come back later"; 4xx or 5xx; or without error:
 *	OK           no further rows but protectedrcpt:; permits no relaying
 *	RELAY        permits relaying, later tags may still refuse; under from: and helo: the
 *		     same as OK, since anyone can write any
 *	CONT         this tag has no opinion; go on with the next tag
 *	QUICK:x      like x, and no further access checks at all
 *  3. the domain is local: accepted.   4. relaying is permitted: accepted.
 *  5. 550 5.7.1 relaying denied. A mailertable row with a next hop routes, it does not permit:
 *     a gateway says "to:example.org RELAY" for the domains it takes mail for.
 *  6. Accepted by 3 or 4, but the local part of sender or recipient is not ASCII, and no host of
 *     the recipient's destination offered SMTPUTF8 when smtpc spoke to it within the last
 *     hour (caps.c): 550 5.6.7. Where no_8bitmime of smtpc is bounce, a mail that says
 *     BODY=8BITMIME likewise: 550 5.6.3. What is not known is accepted, and bounces later.
 *  7. With a "recipient_probe" section, whom the next hop would not take: 550 5.1.1, or 450 when it
 *     cannot say (check_probe.c, probe.h). Asked between 4 and 6; not of an alias.
 *  8. With a "greylisting" section, who sends to the recipient for the first time is told to come
 *     again, 450 4.7.1 (check_grey.c, grey.h); not who may relay, nor after OK or QUICK:.
 *     An alias is greylisted by its own address; 6 is not asked of it, its targets have other hops.
 */
#ifndef META1_SMAR_H
#define META1_SMAR_H
#include "lib/lru.h"
#include "mail/addr.h"
#include "role.h"
#include "smar/dns.h"

#include <netinet/in.h>

/* ---- a map in use: what a section like "aliases { name = m; flags = { … }; }" says ---- */
struct smar_map;
struct smar_use {
	struct smar_map *map;	/* NULL: there is no such section */
	unsigned flags;		/* USE_F_ of settings.h */
	const char *delimiters; /* address_delimiter, of the policy; NULL: no details */
};
/* The map is to be asked about an address whose domain is ours, or is not. */
static inline bool smar_use_asks(const struct smar_use *u, bool local)
{
	return u->map && (local || !(u->flags & USE_F_LOCAL_DOMAINS));
}

/* ---- keys.c: which keys stand for an address, most specific first ---- */
/* A tag and the name of a certificate, 1024 bytes that may each become three, with NUL. */
#define SMAR_KEY_MAX	 (12 + 3 * 1024 + 1)
/* Of a name with more parents these many are keys, the shortest: rows are about short names, and a
 * client that makes up a long one must neither get around them nor cost a look-up a label. */
#define SMAR_PARENTS_MAX 20
struct smar_keys {
	const char *tag; /* "to:" or "" */
	const char *delimiters;
	bool alone, no_full, implicit; /* the local part alone too; only that; user for details */
	bool rest;		       /* "." at the end */
	bool domained;		       /* the last key has the domain in it */
	bool path, null;	       /* of an address; of the null sender */
	const char *name;	       /* the word of smar_keys_name() */
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	/* The domain with U-labels, "" when it has none: each key with an A-label comes once more
	 * as people write it, so that a row of either form is found. */
	char text[512];
	const char *now;	    /* domain or text: of the key that is made */
	bool again;		    /* the last key comes again, with text */
	unsigned was_form, was_sub; /* from which the last key was made */
	size_t user;		    /* bytes of local before the delimiter; all of it without one */
	unsigned form, sub;	    /* what comes next; sub: dots that are passed */
	unsigned skip;		    /* dots whose parents are left out, being too many */
	unsigned char ip[16];
	int bits; /* prefix length that comes next */
	bool (*next)(struct smar_keys *, char *out, size_t size);
};
/* 192.0.2.1: itself, /31 … /25, a.b.c, /24 … a.b, /16 … a, /8 … 0.0.0.0/0. IPv6: itself, then the
 * prefixes at multiples of 4. Anything else: itself. */
void smar_keys_client(struct smar_keys *, const char *tag, const char *client);
/* user+detail@dom, user++@dom (any detail that is not empty), user+*@dom (any, even none),
 *user@dom, dom, .parent …; the null sender: <>. Without a detail: user@dom, user+*@dom, dom, … By
 *flags: localpart		only user+detail, user++, user+*, user
 *	localpart, full_address	these after all of the others
 *	implicitly_match_detail	off: user does not serve user+detail
 * domain is a key (addr_domain_key()); one with A-labels comes in both forms. */
void smar_keys_path(struct smar_keys *, const struct smar_use *, const char *tag, const char *local,
    const char *domain);
/* dom, .parent …, "." */
void smar_keys_domain(struct smar_keys *, const char *domain);
/* name, .parent … */
void smar_keys_host(struct smar_keys *, const char *tag, const char *name);
/* Only this. */
void smar_keys_word(struct smar_keys *, const char *tag, const char *word);
/* Likewise, of any length; it stays until the last key was made. */
void smar_keys_name(struct smar_keys *, const char *tag, const char *word);
/* false: no more. */
bool smar_keys_next(struct smar_keys *, char *out, size_t size);
/* Splits and folds "local@domain", quotes that are not needed gone; an empty domain is replaced.
 * <0: does not fit. */
int smar_keys_split(struct meta1_buf path, const char *instead, char *local, char *domain);

/* ---- map.c: asks a map; many who ask for one key ask once; answers are kept for a while ---- */
struct smar_map {
	char *name, *module, *file; /* owned by the policy; file: of its option, or NULL */
	struct mod_inst *inst;
	struct loop *loop;
	/* mod_map_lookup(), or a table in tests, which gives NULL. */
	struct meta1_req *(*lookup)(
	    struct smar_map *, struct meta1_buf key, int64_t deadline, mod_done_fn, void *arg);
	/* Of a map that answers inside the call; NULL: it does not. */
	enum meta1_status (*find)(struct smar_map *, struct meta1_buf key, struct meta1_reply *);
	bool local;	  /* answers from memory or a file, and nothing is kept: asked as it is */
	struct lru cache; /* max 0: none */
	int64_t ttl, no_ttl; /* ms at most that a value, that a "not found" may be kept */
	struct smar_flight *flights, *list; /* by key; all of them */
	unsigned open;			    /* questions at the module */
	struct smar_map_counts {
		int64_t asked;			    /* all questions */
		int64_t hits, joined;		    /* from the cache; along with another's */
		int64_t found, missing, temp, perm; /* answers of the module */
		int64_t us;			    /* time of these answers together */
	} count;
};
struct smar_ask { /* an open question, in its asker, which stays until fn */
	struct smar_ask *prev, *next;
	struct smar_map *map;
	struct smar_flight *flight;
	int64_t deadline, start;
	struct watch *timer;
	mod_done_fn fn;
	void *arg;
};
/* What the section map { } says about the cache; local maps have none by default. */
void smar_map_cache(struct smar_map *, const struct set_map *);
/* The answer, that is kept or was found inside the call, with the ttl that is left; valid until the
 * map is asked again, or the next turn of the loop. false: not known. */
bool smar_map_known(
    struct smar_map *, struct meta1_buf key, enum meta1_status *, struct meta1_reply *);
/* Before and after the answers that are wanted at once: how long they took. */
int64_t smar_map_clock(const struct smar_map *);
void smar_map_took(struct smar_map *, int64_t since);
/* fn comes once, on a later turn, at the latest at the deadline. */
void smar_map_ask(struct smar_map *, struct smar_ask *, struct meta1_buf key, int64_t deadline,
    mod_done_fn fn, void *arg);
/* Forgets all answers, those that are under way too; how many there were. */
unsigned smar_map_flush(struct smar_map *);
/* Nobody asks any more; what is under way is cancelled. */
void smar_map_end(struct smar_map *);

/* ---- macro.c: ${user} in a value ---- */
#define SMAR_VALUE_MAX 65536
bool smar_macro_any(struct meta1_buf value);
/* key: with which the value was found. OK: *out is allocated; TEMPFAIL: the row is wrong; PERMFAIL:
 * the address has what cannot be put in. */
enum meta1_status smar_macro_replace(const struct smar_keys *, const char *key,
    struct meta1_buf value, struct meta1_buf *out, struct meta1_err *);

/* ---- policy.c: maps and options of one life of the configuration ---- */
struct smar_endpoint { /* address and port that we listen on; all zero bytes: every address */
	int family;
	unsigned char ip[16];
	uint16_t port;
};
struct smar_caps;
struct prober;
struct smar_policy {
	unsigned refs;
	struct conf *keeps; /* the settings that it is of */
	struct dns *dns;    /* the role's, as caps: NULL in tests that need none */
	struct smar_caps *caps;
	struct loop *loop;
	char hostname[ADDR_DOMAIN_MAX + 1];
	char **local; /* local_domains, folded and sorted */
	unsigned nlocal;
	struct smar_map *map;
	unsigned nmap;
	struct smar_use access, mailertable, aliases, local_users; /* by their sections */
	struct smar_use virtual_aliases, sender_routes, tls_policy;
	char **virtual_domains; /* as local */
	unsigned nvirtual;
	char **include; /* alias_include */
	unsigned ninclude;
	struct work *work; /* the role's; NULL in tests that need none */
	struct work_owner include_work;
	struct smar_use limits;	     /* qmgr { conf { name } } */
	struct smar_use grey_exempt; /* greylisting { exempt { name } } */
	struct smar_use probe_conf;  /* recipient_probe { conf { name } } */
	char **probed;		     /* recipient_probe { domains } */
	unsigned nprobed;
	struct probe_gear *probe;		   /* NULL: no recipient_probe */
	struct prober *prober;			   /* the role's */
	const struct set_greylisting *greylisting; /* NULL: none */
	struct sts *sts;			   /* the role's; NULL: no mta_sts */
	char delimiters[8];
	char lmtp_path[108]; /* LMTP_socket; "": none */
	unsigned ntransport;
	char **transports; /* names of smtpc's sections transport, ended by NULL; or NULL */
	uint16_t remote_port;
	struct smar_endpoint *listen;
	unsigned nlisten;
	bool client_names, spf, dane;
	bool session_conf, rcpt_conf; /* flags of smtpc */
	int32_t no_8bitmime;	      /* NO_8BITMIME_ of smtpc, where no such row says it */
	struct dnsbl *dnsbl;	      /* NULL: no lists */
};
/* Opens every map. NULL: err says which and why, nothing is left open. */
struct smar_policy *smar_policy_open(struct mod_host *, struct settings *, struct meta1_err *);
struct smar_policy *smar_policy_ref(struct smar_policy *);
/* The sections that use maps: the i-th, or NULL. */
const struct smar_use *smar_policy_use(
    const struct smar_policy *, unsigned i, const char **section);
void smar_policy_flush(struct smar_policy *); /* forgets what is kept of all maps; NULL: none */
/* Maps and DNS lists of the same name count on from those of before. */
void smar_policy_counts(struct smar_policy *, const struct smar_policy *before);
/* The last one drains and closes the maps, after a while. */
void smar_policy_unref(struct smar_policy **);
/* Closes the maps now: nothing but the caller holds it (a reload given up, the end). */
void smar_policy_close(struct smar_policy **);

/* ---- seek.c: tries keys in a map until one is there ---- */
struct smar_found {
	/* OK, NOTFOUND, TEMPFAIL: ask again later, PERMFAIL: the map has no answer about this and
	 * will have none, a mail that needs it is refused. */
	enum meta1_status status;
	bool nomore;		     /* NOTFOUND: the map said that no further key is to be tried */
	const char *map, *key;	     /* where it was found or failed; the last that was asked */
	struct meta1_buf value;	     /* the first */
	const struct meta1_buf *val; /* all of them: a database may have several rows */
	uint32_t nval;
	const char *why;
	uint32_t ttl; /* seconds that all answers together may be kept */
};
/* All values with this between them, in their order, without those that are empty; the caller
 * frees it. */
char *smar_found_text(const struct smar_found *, char between, size_t *len);
struct smar_seek {
	const struct smar_use *use;
	struct smar_ask ask;
	struct task task; /* what is known is told on a later turn too */
	struct smar_keys keys;
	int64_t deadline;
	uint32_t ttl;
	char key[SMAR_KEY_MAX];
	void (*done)(void *arg, const struct smar_found *);
	void *arg;
};
/* keys are set by the caller; the use, with its map, stays until done(), which comes on a later
 * turn of the loop. What was found stays until the map is asked again. */
void smar_seek_start(struct smar_seek *, const struct smar_use *, int64_t deadline,
    void (*done)(void *, const struct smar_found *), void *arg);
/* The same, but done() comes inside the call when all answers are known at once. */
void smar_seek_now(struct smar_seek *, const struct smar_use *, int64_t deadline,
    void (*done)(void *, const struct smar_found *), void *arg);

/* ---- access.c: right-hand sides of the access map ---- */
enum smar_rhs { RHS_CONT, RHS_OK, RHS_RELAY, RHS_REJECT, RHS_DISCARD, RHS_ERROR };
struct smar_access {
	enum smar_rhs rhs;
	bool quick;
	int smtp; /* ERROR: the reply */
	char dsn[12];
	char text[400];
};
int smar_access_parse(struct meta1_buf value, struct smar_access *, struct meta1_err *);

/* What a # inside a value is told to be. */
#define SMAR_NO_COMMENT "a # begins a comment only where a line begins, not behind a value"

/* ---- local.c: which domains are ours ---- */
/* Our name, local_domains, literals of addresses that we listen on. domain is folded. */
bool smar_local_fixed(const struct smar_policy *, const char *domain);
/* domain is in a list of the policy. */
bool smar_local_listed(char *const *list, unsigned n, const char *domain);
/* A mailertable value that makes its domain local: its first next hop is LMTP. */
bool smar_local_value(struct meta1_buf value, char *const *by);

/* ---- check.c: CHECK ---- */
typedef void (*smar_verdict_fn)(void *arg, const struct p_verdict *);
/* fn comes exactly once, perhaps inside the call; the verdict lives during it. Strings of the
 * question are copied. deadline: monotonic ms. */
void smar_check(
    struct smar_policy *, const struct p_check *, int64_t deadline, smar_verdict_fn, void *arg);
/* Stages that every smtps asks about: RCPT, and those of the options of smar. */
uint32_t smar_check_always(const struct smar_policy *);
/* Stages that some tag of the access map is about: smtps with the flag access asks about them. */
uint32_t smar_check_stages(const struct smar_policy *);
/* One step of a question, for explain. The strings live during the call. */
struct smar_trace {
	const char *check, *stage;
	const char *const *key; /* that were tried, in this order */
	unsigned nkey;
	const char *map;    /* NULL: it looked in none */
	const char *answer; /* value of the map, or what else was found; NULL: nothing */
	const char *effect; /* what came of it */
	int64_t us;
	bool skipped; /* it was not its turn; effect says why */
};
typedef void (*smar_trace_fn)(void *arg, const struct smar_trace *);
/* The same without effects: nothing is counted or remembered. trace tells each step. */
void smar_check_explain(struct smar_policy *, const struct p_check *, int64_t deadline,
    smar_verdict_fn, smar_trace_fn trace, void *arg);

/* ---- session_conf.c: SESSION_CONF ---- */
typedef void (*smar_session_conf_fn)(void *arg, const struct p_session_conf_is *);
/* fn comes exactly once, perhaps inside the call; the strings live during it. */
void smar_session_conf(struct smar_policy *, struct meta1_buf client, int64_t deadline,
    smar_session_conf_fn, void *arg);

/* ---- client_name.c: CLIENT_NAME ---- */
typedef void (*smar_client_name_fn)(void *arg, const struct p_client_name_is *);
/* fn comes exactly once, perhaps inside the call; the strings live during it. */
void smar_client_name(struct smar_policy *, struct meta1_buf client, int64_t deadline,
    smar_client_name_fn, void *arg);
/* check_dns.c: the DNS could not say a moment ago, or cannot now. */
bool smar_name_was_slow(const struct smar_policy *, const char *client);
void smar_name_slow(const struct smar_policy *, const char *client);

/* ---- caps.c: what destinations offer, as smtpc told ---- */
#define SMAR_CAPS_MAX 10000
struct smar_caps *smar_caps_new(unsigned max);
void smar_caps_free(struct smar_caps **);
void smar_caps_learn(struct smar_caps *, const struct p_caps *, int64_t now);
/* true: the destination of this key (of ROUTES) is known to lack one of these offers. */
bool smar_caps_lacks(struct smar_caps *, struct meta1_buf key, uint32_t offers, int64_t now);
bool smar_caps_any(const struct smar_caps *); /* something is known */
/* What was told last; false: nothing is known. */
bool smar_caps_known(
    struct smar_caps *, struct meta1_buf key, int64_t now, uint32_t *offers, uint64_t *max_size);

/* ---- mailertable.c: next hops of a row ---- */
#define SMAR_TARGETS 16
enum smar_target_kind {
	TARGET_SOCKET, /* LMTP_socket */
	TARGET_PATH,   /* name is the path of a unix socket */
	TARGET_ADDR,   /* name is an address */
	TARGET_NAMED,  /* name is what a transport of smtpc's sections is told */
	TARGET_HOST,   /* name has addresses, no MX is looked up */
	TARGET_MX      /* name is looked up as a mail domain */
};
struct smar_target {
	enum smar_target_kind kind;
	bool lmtp;
	uint16_t port; /* 0: the default */
	char name[256];
	char by[SET_TRANSPORT_NAME + 1]; /* a section transport of smtpc; "": SMTP, or LMTP */
};
static inline const char *smar_target_by(const struct smar_target *t)
{
	return t->by[0] ? t->by : t->lmtp ? "lmtp" : "smtp";
}
static inline bool smar_target_smtp(const struct smar_target *t)
{
	return !t->by[0] && !t->lmtp;
}
/* by: names of smtpc's sections transport, ended by NULL; NULL: none. All targets of a row go by
 * one. <0: err says which word is wrong and why. */
int smar_mailertable_parse(
    struct meta1_buf value, char *const *by, struct smar_target *, unsigned *n, struct meta1_err *);
/* rows_check.c, before a start or a reload: warns of rows of text maps that do not serve. */
void smar_rows_check(struct settings *);
/* rows_judge.c: <0: such a row of a map with this use (USE_) does not serve, err says why. */
int smar_row_judge(const struct settings *, unsigned kind, struct meta1_buf key,
    struct meta1_buf val, struct meta1_err *);
/* rows_uses.c: who asks maps with this file, and this map (either may be NULL), by name or through
 * sequences: bits 1 << USE_, and OTHER of greylisting, probes, qmgr, whose rows nobody judges. */
enum { SMAR_ROWS_OTHER = 1 << USES };
unsigned smar_rows_uses(const struct settings *, const char *file, const struct set_map *);
/* Serves such a row one of the uses? false: why[] of each says why not. No use: it does. */
bool smar_row_serves(const struct settings *, unsigned uses, struct meta1_buf key,
    struct meta1_buf val, struct meta1_err why[USES]);
const char *smar_map_file(const struct settings *, const struct set_map *); /* NULL: it has none */
/* Index of the first map from this one on that has the file; nmap: none. */
unsigned smar_map_with(const struct settings *, const char *file, unsigned from);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]" into the address; false: no literal. */
bool smar_literal(const char *domain, char *addr, size_t size);

/* ---- limits.c: the row of a destination in the map of qmgr { conf }, or of tls_policy ---- */
#define SMAR_LIMIT_NAMES 9    /* the domain and its best hosts */
#define SMAR_LIMIT_MAX	 512  /* bytes of a row of qmgr { conf } */
#define SMAR_ROW_MAX	 2000 /* of any */
struct smar_limits {
	enum meta1_status status; /* OK, NOTFOUND, TEMPFAIL */
	bool own;		  /* found by the domain: for it alone, not for all of its hosts' */
	uint32_t ttl;
	bool cut; /* the row has more than SMAR_ROW_MAX bytes */
	const char *map;
	char row[SMAR_KEY_MAX], text[SMAR_ROW_MAX + 1];
};
/* Asks for the domain (name[0]) and its parents, then for each of the hosts and its parents, then
 * for ".". names need not stay. fn comes once, on a later turn. */
void smar_limits_find(const struct smar_use *, const char *const *names, unsigned n,
    int64_t deadline, void (*fn)(void *arg, const struct smar_limits *), void *arg);

/* ---- hop_conf.c: options of smtpc for next hops and recipients ---- */
struct smar_conf_row {
	char key[SMAR_KEY_MAX], text[SMAR_LIMIT_MAX + 1];
	char error[200]; /* what is wrong with it; its text is "" then */
};
struct smar_hop_conf {
	enum meta1_status status; /* OK, TEMPFAIL */
	uint32_t ttl;
	unsigned n, nhop;
	struct smar_conf_row *row;
	uint64_t hop[MX_HOPS], rcpt; /* 1 + an index into them; 0: none */
};
/* hop: "ADDR PORT NAME", which stay; rcpt: may be empty. fn comes once, perhaps inside the call. */
void smar_hop_conf_find(struct smar_policy *, const char (*hop)[600], unsigned nhop,
    struct meta1_buf rcpt, int64_t deadline, void (*fn)(void *arg, const struct smar_hop_conf *),
    void *arg);

/* ---- route.c: ROUTE ---- */
struct smar_route_by {	  /* whose word counted */
	const char *rule; /* in words; "": nobody's */
	bool row;	  /* of this map, under this key */
	char map[65], key[SMAR_KEY_MAX], value[400];
};
struct smar_route_ask {
	struct meta1_buf domain;      /* empty: our own */
	struct meta1_buf via;	      /* next hops as in the mailertable, instead; or empty */
	const struct meta1_buf *from; /* empty: the null sender; NULL: whoever, so sender_routes
				       * are not looked at */
	struct smar_route_by *by;     /* is set before fn comes, for admins; or NULL */
	struct meta1_buf rcpt;	      /* empty: whoever, so smtpc_rcpt_conf is not looked at */
	bool delivery;		      /* mail waits for it: what is wrong is reported (tlsrpt.h) */
};
typedef void (*smar_routes_fn)(void *arg, const struct p_routes *);
/* As smar_check(). */
void smar_route(struct smar_policy *, struct dns *, const struct smar_route_ask *, int64_t deadline,
    smar_routes_fn, void *arg);

#endif
