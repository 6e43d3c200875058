/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns.h -- what smar asks of the DNS, and what the answers mean; a part of smar.h.
 *
 * The story. dns.c shares equal questions and keeps answers (dns_cache.c), asks the name servers
 * (dns_server.c) in turn; dns_try.c sends one question to one of them, dns_msg.c reads and writes
 * packets. mx.c says what MX and address records mean for delivery, client.c what the name of a
 * client is, dnsbl.c what lists in the DNS say of a client or a domain, dane.c what TLSA records
 * ask of a next hop. SPF has spf.h.
 *
 * What is not known is TEMPFAIL with a reason; NOTFOUND comes only from a server that said so.
 */
#ifndef META1_SMAR_DNS_H
#define META1_SMAR_DNS_H
#include "lib/tls_need.h"
#include "mail/addr.h"
#include "role.h"

#include <sys/socket.h>

/* ---- dns.c: questions, coalesced and kept ---- */
#define DNS_RECORDS  1024 /* of an answer */
#define DNS_CHAIN    8	  /* CNAMEs followed */
#define DNS_PACKET   1232 /* bytes we offer by EDNS0 */
#define DNS_NAME_MAX 256

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_TLSA = 52
};
struct dns_data { /* an answer; shared by the cache and the askers, one allocation */
	unsigned refs;
	enum meta1_status status; /* OK (n >= 1), NOTFOUND, TEMPFAIL */
	bool nxdomain;		  /* NOTFOUND: the name does not exist at all */
	bool secure;		  /* a trusted server says that DNSSEC proves it */
	bool unasked;		  /* TEMPFAIL: nobody was asked, too much is open */
	uint32_t ttl;		  /* seconds */
	uint32_t n;
	uint32_t memory;	       /* bytes of the allocation */
	const struct meta1_buf *rdata; /* wire form, names uncompressed */
	const char *name; /* whose records they are, at the end of the CNAMEs; "": no host's */
	char why[160];	  /* TEMPFAIL */
};
struct dns_server {
	struct sockaddr_storage addr;
	socklen_t len;
	char text[80];
	bool trusted; /* its AD bit is believed */
	bool folds;   /* it answers in another case than it is asked: TCP has proven it */
	/* EDNS0: it has answered such a question; how many went unanswered since; ms until which it
	 * is asked without, 0: it is not. */
	bool edns_good;
	unsigned edns_silent;
	int64_t plain_until;
	uint64_t asked, answered, timeouts, errors;
	int64_t msec;	 /* of an answer, on average of the last ones */
	char last[160];	 /* what was wrong last */
	int64_t last_at; /* wall clock, seconds */
};
struct dns_conf {
	const char *const *nameserver; /* as in the option; NULL: /etc/resolv.conf */
	const char *const *trusted;    /* those of them whose AD bit is believed */
	bool all_trusted;	       /* all are trusted, or none: who relies on what is proven */
	bool plain_case;	       /* names are sent as they are, RFC 5452 without 0x20 */
	int64_t timeout, tries;	       /* ms a try; tries in all */
	const char *resolv_conf;       /* tests; NULL: the system's */
};
struct dns;
/* ttl: seconds that the answer may still be kept. */
typedef void (*dns_fn)(void *arg, const struct dns_data *, uint32_t ttl);
/* NULL: err says which nameserver is wrong. */
struct dns *dns_new(struct loop *, const struct dns_conf *, struct meta1_err *);
void dns_free(struct dns **); /* open questions are dropped */
/* fn comes exactly once, on a later turn, at the latest at the deadline. */
void dns_ask(struct dns *, const char *name, uint16_t type, int64_t deadline, dns_fn, void *arg);
/* Asks nobody: fn comes with a NOTFOUND, on a later turn as always. */
void dns_never(struct dns *, dns_fn, void *arg);
unsigned dns_forget(struct dns *); /* empties the cache; how many answers it had */
struct dns_data *dns_data_ref(struct dns_data *);
void dns_data_unref(struct dns_data **);
struct dns_data *dns_data_fail(const char *why); /* a TEMPFAIL */
const struct dns_server *dns_server_list(const struct dns *, unsigned *n);

/* ---- dns_service.c: the host service of modules: a mod_dns_fn, arg is a struct dns ** ---- */
void dns_service(void *arg, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *cbarg);

/* ---- dns_server.c: which name servers ---- */
#define DNS_SERVERS 16
int dns_servers(
    const struct dns_conf *, struct dns_server s[DNS_SERVERS], unsigned *n, struct meta1_err *);
struct dns_result;
struct dns_tried { /* a try that is over */
	const struct dns_result *result;
	bool edns, again; /* with EDNS0; the same question went unanswered with it before */
	int64_t ms;	  /* it took */
};
/* What is known of the server from then on. */
void dns_server_note(struct dns_server *, const struct dns_tried *, int64_t now, int64_t wall);
/* The next question goes with EDNS0. */
bool dns_server_edns(const struct dns_server *, int64_t now);
/* "127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:53". */
int dns_server_parse(const char *text, struct dns_server *, struct meta1_err *);

/* ---- dns_try.c: one question to one name server, UDP then TCP ---- */
enum dns_read {
	DNS_GOOD,      /* data is set */
	DNS_FOLLOW,    /* a CNAME whose target is not in the answer: ask for that */
	DNS_IGNORE,    /* not the answer to our question */
	DNS_TRUNCATED, /* ask again by TCP: it was cut, or came in another case */
	DNS_NOEDNS,    /* the server does not know EDNS0: ask without */
	DNS_FAIL       /* this server cannot say */
};
struct dns_question {
	uint16_t id, type;
	bool edns;
	bool ad;		 /* the server is trusted: its AD bit is asked for and read */
	bool mixed;		 /* the name goes out in random case and must come back so */
	bool tcp;		 /* nobody can guess here: a name in another case is taken */
	char name[DNS_NAME_MAX]; /* folded, no final dot; of a try: as sent */
};
struct dns_result {
	enum dns_read read;
	struct dns_data *data; /* GOOD: the taker unrefs it */
	char follow[DNS_NAME_MAX];
	uint32_t ttl; /* FOLLOW: of the CNAMEs */
	bool secure;  /* GOOD, FOLLOW: the AD bit of a trusted server */
	bool folded;  /* the name came back in another case */
	bool silent;  /* FAIL: nothing came in time */
	char why[160];
};
struct dns_try {
	struct loop *loop;
	struct dns_question q;
	struct dns_server server;
	int fd;
	struct watch *io, *timer;
	struct conn *tcp;
	unsigned strangers; /* packets that were no answer to us */
	int64_t ms, began;
	void (*done)(void *arg, struct dns_result *);
	void *arg;
};
/* done() comes once, later, unless dns_try_end() comes first. <0: no socket; err. */
int dns_try_start(struct dns_try *, struct loop *, const struct dns_server *,
    const struct dns_question *, int64_t ms, void (*done)(void *, struct dns_result *), void *arg,
    struct meta1_err *);
void dns_try_end(struct dns_try *); /* closes what is open; may be called twice */

/* ---- dns_msg.c: packets ---- */
/* Bytes written, 0: not a domain name. */
size_t dns_msg_query(const struct dns_question *, uint8_t *out, size_t size);
enum dns_read dns_msg_read(
    const uint8_t *packet, size_t len, const struct dns_question *, struct dns_result *);
/* Name in wire form at the end of rdata into text; <0: not a host name. "." is "". */
int dns_msg_name(struct meta1_buf rdata, size_t off, char *out, size_t size);
const char *dns_msg_library(void); /* "ldns 1.8.3" */

/* ---- dns_cache.c: answers by name and type, least recently used goes first ---- */
struct dns_cache;
/* At most max answers in at most so many bytes of memory. */
struct dns_cache *dns_cache_new(unsigned max, size_t bytes);
void dns_cache_free(struct dns_cache **);
/* The caller unrefs; its ttl is what is left. */
struct dns_data *dns_cache_get(
    struct dns_cache *, const char *name, uint16_t type, int64_t now, uint32_t *ttl);
void dns_cache_put(
    struct dns_cache *, const char *name, uint16_t type, struct dns_data *, int64_t now);
unsigned dns_cache_clear(struct dns_cache *);
unsigned dns_cache_size(const struct dns_cache *);

/* ---- dns_txt.c ---- */
/* The strings of a TXT record, joined; its length, or -1: they do not fit. NUL may be in it. */
int dns_txt(struct meta1_buf rdata, char *out, size_t size);

/* ---- mx.c: what MX and address records mean; no I/O ---- */
#define MX_HOSTS 20 /* looked at; preferred ones first */
#define MX_ADDRS 16 /* of a host */
#define MX_HOPS	 64
struct mx_addr {
	int family;
	bool secure; /* DNSSEC proves it */
	unsigned char ip[16];
};
struct mx_host {
	char name[ADDR_DOMAIN_MAX + 1];
	uint16_t pref, port;
	bool failed; /* an address look-up was temporary */
	bool barred; /* the domain's policy does not name it: no host of the destination */
	unsigned naddr;
	struct mx_addr addr[MX_ADDRS];
};
enum mx_found { MX_SOME, MX_NULL /* RFC 7505 */, MX_BAD /* no usable name */, MX_SELF };
/* Hosts by preference, equal ones in random order, cut at ourselves (RFC 5321 5.1). rnd gives
 * a random number below n. */
enum mx_found mx_hosts(const struct dns_data *, const char *hostname, unsigned (*rnd)(unsigned n),
    struct mx_host *, unsigned *n);
/* Addresses that no host can have (unspecified, multicast) are left out. */
void mx_addrs(struct mx_host *, const struct dns_data *, int family);
struct smar_policy;
/* Cuts the list at the first host with an address that we listen on, and all of its
 * preference; n becomes what is left. true: something was cut. */
bool mx_cut(const struct smar_policy *, struct mx_host *, unsigned *n);
/* Appends "ADDR PORT NAME" lines, IPv4 and IPv6 in turns; at most MX_HOPS in all. secure:
 * SECURE_ADDR of each, or 0. */
void mx_hops(const struct mx_host *, char (*out)[600], uint64_t *secure, unsigned *n);
/* Names (with ports that are not the default) by preference; equal ones sorted, folded, joined by
 * ',', the next preference after ';': hosts in another order are another destination. */
void mx_key(
    const struct mx_host *, unsigned n, uint16_t port, const char *prefix, char *out, size_t size);

/* ---- dane.c: what TLSA records ask of a next hop (RFC 7672); no I/O ---- */
struct dane_who {
	const char *base;	 /* whose records they are: the name that is wanted of the hop */
	const char *next, *also; /* the domain that names the hop, what it is an alias of; or "" */
};
/* The most useful records first, a whole certificate or key as its hash. None can be used: it says
 * only that TLS must be. */
void dane_need(const struct dns_data *, const struct dane_who *, struct tls_need *);
/* "_25._tcp.HOST"; false: no such name can be. */
bool dane_name(const char *host, uint16_t port, char *out, size_t size);

/* ---- dns_addr.c: addresses and the names that stand for them ---- */
/* An IPv4 address in an IPv6 one is taken as what it is. false: no address. */
bool dns_addr_parse(const char *text, struct mx_addr *);
/* 1.2.0.192.ZONE, or 32 nibbles; false: does not fit. */
bool dns_addr_reverse(const struct mx_addr *, const char *zone, char *out, size_t size);
bool dns_addr_ptr(const struct mx_addr *, char *out, size_t size); /* the name of its PTR */
uint16_t dns_addr_type(const struct mx_addr *);			   /* DNS_A, DNS_AAAA */
bool dns_addr_within(const struct mx_addr *, const unsigned char *net, unsigned bits);
/* An A or AAAA record in the answer has the first bits of the address. */
bool dns_addr_among(const struct mx_addr *, const struct dns_data *, unsigned bits);

/* ---- dns_client.c: the names of a client ---- */
#define DNS_CLIENT_NAMES 5  /* of its PTR records that are tried */
#define DNS_NAMES_MAX	 10 /* the same for SPF, RFC 7208 section 4.6.4 */
struct dns_names {
	enum meta1_status status; /* OK: PTR records were found, NOTFOUND, TEMPFAIL */
	unsigned n;		  /* names that were tried, in alphabetical order */
	struct {
		char name[ADDR_DOMAIN_MAX + 1];
		bool confirmed, failed; /* it has the address; the DNS could not say */
	} v[DNS_NAMES_MAX];
	const char *why; /* of the TEMPFAIL, or of a name that failed */
	uint32_t ttl;
};
/* The names of an address, each asked for its addresses. fn comes once, on a later turn. */
void dns_names_ask(struct dns *, const struct mx_addr *, unsigned max, int64_t deadline,
    void (*fn)(void *arg, const struct dns_names *), void *arg);

enum dns_client_result {
	CLIENT_OK,     /* an address of its name is the client's */
	CLIENT_NONE,   /* no PTR record, or the client has no address */
	CLIENT_FORGED, /* names, but none of them has this address */
	CLIENT_TEMP    /* the DNS could not say */
};
struct dns_client {
	enum dns_client_result result;
	/* OK: confirmed. FORGED: the first of them, for the log alone. Else "". */
	char name[ADDR_DOMAIN_MAX + 1];
	char why[160]; /* TEMP */
	uint32_t ttl;  /* seconds that it may be kept */
};
typedef void (*dns_client_fn)(void *arg, const struct dns_client *);
/* fn comes once, on a later turn, at the latest at the deadline. client: an address as text; what
 * is none has no name. */
void dns_client_ask(struct dns *, const char *client, int64_t deadline, dns_client_fn, void *arg);
const char *dns_client_word(enum dns_client_result); /* ok none forged temp: keys of cltresolve: */

/* ---- dnsbl.c: lists in the DNS, all of a kind asked side by side ---- */
#define DNSBL_LISTS 32
enum dnsbl_kind { DNSBL_CLIENT, DNSBL_HELO, DNSBL_SENDER }; /* what a list is about */
struct dnsbl; /* the lists of one life of the configuration, in its order */
struct set_smar;
struct dnsbl *dnsbl_new(const struct set_smar *); /* NULL: none are configured */
void dnsbl_free(struct dnsbl **);		  /* no question is open */
/* Lists of the same name and domain count on from those of before, and rest if those did. */
void dnsbl_counts(struct dnsbl *, const struct dnsbl *before);
/* A list may give several answers: each is a hit, its weight counts once. */
struct dnsbl_hit {
	const char *list, *tag; /* name of the section; tag "": counts by its weight alone */
	int64_t weight;
	char answer[16]; /* "127.0.0.2" */
};
struct dnsbl_found {
	const struct dnsbl_hit *hit;
	unsigned n;
	int64_t score;	     /* sum of the weights of the lists that answered */
	bool over;	     /* the score has reached dnsbl_threshold */
	const char *unknown; /* a list with on_timeout = temporary that could not say; NULL: none */
	uint32_t ttl;
};
typedef void (*dnsbl_fn)(void *arg, const struct dnsbl_found *);
bool dnsbl_any(const struct dnsbl *, enum dnsbl_kind); /* such a list is configured */
/* what: the client's address, or a domain. fn comes once, on a later turn. */
void dnsbl_ask(struct dnsbl *, struct dns *, struct loop *, enum dnsbl_kind, const char *what,
    int64_t deadline, dnsbl_fn, void *arg);
struct dnsbl_view { /* of a list, for the control socket */
	const char *name, *domain, *tag;
	int64_t weight;
	uint64_t asked, hits, failures, strange;
	bool resting; /* it did not answer again and again, and is left alone for a while */
};
bool dnsbl_look(
    const struct dnsbl *, unsigned i, int64_t now, struct dnsbl_view *); /* false: no more */

#endif
