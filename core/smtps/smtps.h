/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smtps.h -- the SMTP server, told in the order in which a message meets it:
 *
 *   gear.c      what a reload replaces; a session ends with what it began with
 *   listen.c    accepts a client, greets it
 *   peer.c      who the client is, when a trusted balancer says it for another
 *   proxy.c     the header by which it says so, versions 1 and 2
 *   client.c    what one client may take: connections at a time, in a minute
 *   session.c   knows what it waits for, and says replies; line.c takes its lines
 *   verbs.c     the table of commands; those that need no one else
 *   auth_open.c the auth module of the configuration
 *   auth.c      AUTH: a mechanism of the auth module, challenge by challenge
 *   auth_name.c whom a client tries to be
 *   auth_limit.c what failed logins cost, and how much an account may send
 *   starttls.c  STARTTLS, TLS from the first byte, and what came of it
 *   vrfy.c      VRFY: no answer, or that of RCPT
 *   xclient.c   XCLIENT: a trusted peer says for whom it speaks
 *   tx.c        MAIL and RCPT: a transaction, its recipients
 *   expand.c    recipients that stand for others: aliases and lists
 *   params.c    parameters of MAIL and RCPT
 *   intake.c    credits of qmgr: without one no transaction begins
 *   policy.c    what smar wants to be asked, at MAIL and at RCPT, and asking it
 *   verdict.c   smar's answers, kept for as long as it allows
 *   body.c      DATA: input through the scanner into the store
 *   bdat.c      BDAT: the same by count, a chunk at a time
 *   filter.h    policy filters: its own part of this header
 *   tarpit.c    who errs again and again waits
 *   memory.c    what all sessions hold together
 *   data.c      the scanner: where the message ends, what it counts, how it is stored
 *   received.c  the Received line that goes first into the store
 *   report.c    reports of qmgr: filters judge them, and they go back
 *   authres.c   what is known of the sender, and lines that claim to be ours
 *   commit.c    stable storage, then 250, then QUEUED to qmgr
 *   show.c      sessions and state for the control socket
 *   smtps.c     the role: start, stop, reload, messages of qmgr and smar
 *
 * The transaction and its content, from params.c to commit.c, are declared in tx.h.
 * Everything runs on the loop thread. Nothing here blocks.
 */
#ifndef META1_SMTPS_H
#define META1_SMTPS_H
#include "ipc/chan.h"
#include "lib/clients.h"
#include "lib/conn.h"
#include "lib/log.h"
#include "lib/lru.h"
#include "lib/metric.h"
#include "lib/tally.h"
#include "lib/tls.h"
#include "mail/addr.h"
#include "mail/reply.h"
#include "mail/tls_required.h"
#include "mail/xtext.h"
#include "role.h"
#include "smtps/authres.h"
#include "smtps/gear.h"

#include <meta1/auth.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <sys/queue.h>

#define SMTPS_ID_SIZE	     24 /* "S" 16 hex digits, 2 hex digits, NUL */
#define SMTPS_CLIENT_SIZE    64
#define SMTPS_CLIENT_UNKNOWN "unknown"
#define SMTPS_LINE_MAX	     2048   /* of any verb but AUTH; each has its own bound below */
#define SMTPS_WAIT_MAX	     240000 /* ms: the longest wait for another role or the store */
#define SMTPS_AUTH_LINE_MAX  12290  /* with a response, with CRLF (RFC 4954, 4) */
#define SMTPS_SKIP_MAX	     65536  /* so much of an endless line is thrown away before the end */
#define SMTPS_LINGER	     5000   /* ms for the last reply to leave and be read */

struct smtps_session;
struct smtps_line;
struct smtps_tx;
struct smtps_verdict;
struct smtps_chain;
struct netlist;
struct smtps_auth;
struct smtps_login;
struct smtps_filter;
struct smtps_image;

/* ---- the server: one a process (smtps.c) ---- */

struct smtps {
	struct role *role;
	struct smtps_gear *gear, *next_gear; /* next: between the steps of a reload */
	struct mod_inst *store_inst;
	const struct meta1_queue_ops *store;
	void *store_data;
	struct chan *smar, *qmgr; /* NULL until first up */
	LIST_HEAD(, smtps_session) sessions;
	unsigned nsession;
	unsigned nreport;    /* of these, those of report.c: no client's */
	uint64_t serial;     /* of the newest session */
	unsigned nopen;	     /* transactions between DATA and their end: what a stop waits for */
	bool stopping, over; /* over: nothing is past its dot any more */
	LIST_HEAD(, smtps_listen) listen;
	struct smtps_intake *intake;
	struct smtps_verdicts *verdicts;
	uint32_t stages, access_stages; /* of smar's POLICY: STAGE_ */
	uint64_t memory;		/* bytes that sessions hold */
	struct smtps_image *images;	/* of mails that are over, for those that come (image.c) */
	unsigned nimages;
	struct clients *clients; /* shared by all smtps */
	struct tally *tally;	 /* likewise */
	struct task stopped;	 /* tells the role, a turn after the last reply */
	struct task drained;	 /* likewise, after the last session */
	bool emptying;		 /* a listener that goes: who comes in is the last to */
};

/* A new name S%016llX%02X into out; false: the store has none to give. */
bool smtps_new_id(struct smtps *, char out[SMTPS_ID_SIZE]);
/* A transaction ended or a session went: the last one lets a stop go on. */
void smtps_check_stopped(struct smtps *);
void smtps_check_drained(struct smtps *); /* a session went: the same for a drain */

/* ---- listen.c: accept, limits, greeting ---- */

int smtps_listen_start(struct smtps *, struct meta1_err *);
void smtps_listen_go(struct smtps *);	/* begin to accept */
void smtps_listen_turn(struct smtps *); /* a reload: role->fd has others */
/* It ends: who waits at those that are not in role->fd, or (all) at any, is let in. */
void smtps_listen_leave(struct smtps *, bool all);
void smtps_listen_stop(struct smtps *); /* accept no more; descriptors stay the role's */
/* As filters call it: the name of its section, where it has one; else as it came. */
const char *smtps_listen_name(const struct smtps *, const char *socket);

/* ---- session.c: one client ---- */

#define SMTPS_STATES(X)                                                                            \
	X(PROXY, "proxy")   /* a trusted balancer; its header is to come */                        \
	X(GREET, "greet")   /* greet_delay runs; the client must be silent */                      \
	X(OPEN, "open")	    /* greeted, no HELO yet */                                             \
	X(READY, "ready")   /* HELO done, no transaction */                                        \
	X(AUTH, "auth")	    /* a challenge was said; a line of the client is due */                \
	X(MAIL, "mail")	    /* MAIL accepted, no recipient yet */                                  \
	X(RCPT, "rcpt")	    /* at least one recipient */                                           \
	X(CHUNKS, "chunks") /* chunks were taken; the next BDAT is due */                          \
	X(DATA, "data")	    /* 354 said; content arrives */                                        \
	X(BDAT, "bdat")	    /* octets of a chunk arrive */                                         \
	X(SKIP, "skip")	    /* octets of a refused chunk arrive and are thrown away */             \
	X(COMMIT, "commit") /* the final dot was seen; the store works */                          \
	X(CLOSE, "close")   /* the last reply is written */
#define STATE_ENUM(U, name) ST_##U,
enum smtps_state { SMTPS_STATES(STATE_ENUM) ST_COUNT };
#undef STATE_ENUM

#define SMTPS_AWAITS(X)                                                                            \
	X(NOTHING, "nothing")                                                                      \
	X(PROXY, "proxy-header")                                                                   \
	X(AUTH, "authentication")                                                                  \
	X(TLS, "tls handshake")                                                                    \
	X(CONF, "settings at smar")                                                                \
	X(NAME, "name of the client at smar")                                                      \
	X(GREET, "greet-delay")                                                                    \
	X(MAIL, "mail-check at smar")                                                              \
	X(RCPT, "rcpt-check at smar")                                                              \
	X(VRFY, "vrfy at smar")                                                                    \
	X(TARPIT, "tarpit")                                                                        \
	X(QUEUE, "queue to let mail in")                                                           \
	X(ROOM, "room in the store")                                                               \
	X(FILTER, "policy filter")                                                                 \
	X(COMMIT, "commit of the store")
#define AWAIT_ENUM(U, name) AWAIT_##U,
enum smtps_await_what { SMTPS_AWAITS(AWAIT_ENUM) AWAIT_COUNT };
#undef AWAIT_ENUM

/* What a session waits for. While it waits no line is taken from its input. */
struct smtps_await {
	enum smtps_await_what what;
	uint32_t req;  /* MAIL, RCPT, VRFY: question at smar, 0 none */
	int64_t since; /* monotonic ms */
	/* of that question: what was asked, and who wants the answer */
	uint32_t stages;
	struct meta1_buf rcpt;
	void (*fn)(struct smtps_session *, const struct smtps_verdict *);
};

/* What the client proved of itself by AUTH and STARTTLS; all zero until then. It changes between
 * mails only: each MAIL and RCPT asks smar with what it is then (policy.c). */
struct smtps_proof {
	uint32_t tls;	  /* TLS_ of proto.h */
	const char *auth; /* as whom it acts */
	const char *cert_subject,
	    *cert_issuer; /* of the connection, as long as it is; NULL: none */
};
struct smtps_session {
	LIST_ENTRY(smtps_session) all;
	TAILQ_ENTRY(smtps_session) waits; /* for a credit, while it awaits QUEUE */
	struct smtps *srv;
	struct smtps_gear *gear;	/* that with which it began */
	const struct smtps_limits *lim; /* those of gear, or own */
	struct smtps_limits *own;	/* of a row for this client; NULL: none (conf.c) */
	struct conn *conn;
	struct smtps_tx *tx; /* NULL: none */
	struct watch *timer; /* of the PROXY header, greet_delay, tarpit, queue_wait or AUTH */
	struct smtps_login *login;   /* of auth.c; NULL: AUTH was not said */
	struct smtps_filter *filter; /* of filter.c; NULL: no filter judges it */
	const char *account;	     /* whose secret it showed; NULL: nobody's */
	char *helo;		     /* as cleaned; NULL before HELO */
	struct meta1_buf said;	     /* the command that acts, if it may stand in the log */
	char *name;		     /* of the client, confirmed, as smar told; NULL: not known */
	char *report;		     /* id of qmgr's report that filters judge; NULL: a client's */
	struct smtps_proof proof;
	uint64_t serial;
	int64_t since;	      /* wall clock, seconds */
	uint64_t held;	      /* bytes in srv->memory */
	size_t skipped;	      /* bytes of an endless line thrown away */
	uint64_t chunk, left; /* octets of this BDAT; of these still to come */
	uint64_t dropped;     /* octets of refused chunks since MAIL */
	unsigned tiny;	      /* tiny chunks since MAIL */
	bool last;	      /* this BDAT said LAST */
	struct smtps_await await;
	enum smtps_state state, skipped_in; /* skipped_in: ST_SKIP ends there */
	unsigned bad, nop, invalid, nrcpt, ntx;
	uint8_t nline; /* lines so far that could begin a PROXY header; 3: none any more */
	bool esmtp, eof, skipping, running, quit;
	bool last_in;	      /* waited at a listener that went: may still send a mail */
	bool proxy_required;  /* in ST_PROXY: without a header it is dropped */
	bool xclient;	      /* may use XCLIENT, by who it was when it was greeted */
	bool disowned;	      /* XCLIENT was said: the certificate of the peer proves nothing */
	bool proxied;	      /* client is of a PROXY header or XCLIENT */
	bool counted;	      /* in srv->clients, as key */
	bool tls_first;	      /* its listener wants TLS from the first byte */
	const char *listener; /* name, of the role's descriptor */
	bool helo_given;      /* helo is of XCLIENT; that of EHLO does not count */
	struct clients_key key;
	char client[SMTPS_CLIENT_SIZE]; /* address as text, "unix" or SMTPS_CLIENT_UNKNOWN */
};

/* Who it is, in every line of the log that is about a session. */
#define SMTPS_WHO "session=%llu id=%s client=%s"
#define SMTPS_WHO_OF(s)                                                                            \
	(unsigned long long)(s)->serial,                                                           \
	    (s)->tx != NULL && (s)->tx->id[0] != '\0' ? (s)->tx->id : "-", (s)->client

/* Takes fd, which came by the listener of that name. Greets, or waits greet_delay first. */
void smtps_session_new(
    struct smtps *, int fd, const char *client, const char *listener, bool tls_first);
/* The same in two steps. */
struct smtps_session *smtps_session_make(struct smtps *, int fd, const char *, const char *);
void smtps_session_start(struct smtps_session *);
/* Who the client is, is known: its rights, greet_delay, the greeting. */
void smtps_session_begin(struct smtps_session *);
void smtps_session_known(struct smtps_session *); /* its TLS stands, or it has none yet */
void smtps_session_welcome(struct smtps_session *);
/* Takes lines until there is none, or the session waits, or ends. */
void smtps_session_run(struct smtps_session *);
/* One line of a reply: code, enhanced code (or NULL), text. */
void smtps_session_reply(struct smtps_session *, int code, const char *dsn, const char *fmt, ...)
    PRINTF(4, 5);
/* A refusal: the same, and a line in the log. */
void smtps_session_refuse(struct smtps_session *, int code, const char *dsn, const char *text);
/* The same for a 5xx that counts against max_bad_commands. */
void smtps_session_bad(struct smtps_session *, int code, const char *dsn, const char *text);
void smtps_session_count_bad(struct smtps_session *); /* without a reply */
/* Counts NOOP, VRFY and their like; false: over the bound, the session is ending. */
bool smtps_session_nop(struct smtps_session *);
void smtps_session_await(struct smtps_session *, enum smtps_await_what);
/* The wait is over; the caller then replies and calls smtps_session_run(). */
void smtps_session_awake(struct smtps_session *);
/* The last reply was written: close after it left. */
void smtps_session_end(struct smtps_session *);
void smtps_session_stop_all(struct smtps *); /* 421 to all that are not past DATA */
/* 421 to all of a gear (NULL: any) that is leaving, when they are not at a mail. */
void smtps_session_leave(struct smtps *, const struct smtps_gear *);
bool smtps_line_take(struct smtps_session *); /* line.c; false: no whole line is there */
const char *smtps_session_state(enum smtps_state);
const char *smtps_session_waits_for(enum smtps_await_what);

/* ---- auth_open.c, auth.c, auth_name.c, auth_limit.c: who the client says it is, proven ---- */

#define SMTPS_ACCOUNT_MAX 255 /* bytes of a name, as in CHECK */

struct smtps_auth { /* of a gear */
	struct mod_inst *inst;
	const struct meta1_auth_ops *ops;
	char *trusted; /* names, in capitals, a blank between two */
	uint32_t flags;
	bool tls_only, plaintext;
	int64_t max_failures, failure_delay;
	int64_t client_failures, account_failures, failure_window; /* 0: no bound */
	int64_t account_mails, account_rcpts, account_window;
};

/* Loads the module. NULL: err. */
struct smtps_auth *smtps_auth_open(struct role *, struct settings *, const struct set_auth *,
    const struct settings_module *, struct meta1_err *);
void smtps_auth_close(struct smtps_auth **);
/* Calls then() at once, or when a worker has said which mechanisms it has for such a client. */
void smtps_auth_learn(struct smtps_session *, void (*then)(struct smtps_session *));
/* Mechanisms for this session, a blank between two; "": none. */
void smtps_auth_names(const struct smtps_session *, char *out, size_t size);
void smtps_auth(struct smtps_session *, const struct smtps_line *);	    /* the verb */
void smtps_auth_line(struct smtps_session *, const char *line, size_t len); /* in ST_AUTH */
bool smtps_auth_comes(const struct smtps_session *);	   /* the input is a line of AUTH */
const char *smtps_auth_mech(const struct smtps_session *); /* by which it proved who it is */
/* The exchange under way is over, unanswered; and: nobody is authenticated any more. */
void smtps_auth_stop(struct smtps_session *);
void smtps_auth_forget(struct smtps_session *);
/* The name in the first response of an exchange, where the mechanism says it in clear; or "". */
void smtps_auth_name(const char *mech, struct meta1_buf first, char out[SMTPS_ACCOUNT_MAX + 1]);
/* Over the limit of failures: not to be asked about. */
bool smtps_auth_barred_client(struct smtps_session *);
bool smtps_auth_barred_account(struct smtps_session *, const char *name);
void smtps_auth_failed(struct smtps_session *, const char *name); /* "": not known */
void smtps_auth_passed(struct smtps_session *, const char *name);
/* One more mail, one more recipient, of who has authenticated. false: too many, that was said. */
bool smtps_auth_take_mail(struct smtps_session *);
bool smtps_auth_take_rcpt(struct smtps_session *);

/* ---- conf.c: options that a row of the access map gives to one client ---- */

/* Asks; then the session is welcomed, or was refused. */
void smtps_conf_ask(struct smtps_session *);
void smtps_conf_forget(struct smtps_session *); /* its limits are those of all again */
/* The section's limits, changed as the row says; the lists of peers are NULL. <0: err. */
int smtps_conf_read(
    const struct smtps_limits *, const char *row, struct smtps_limits *out, struct meta1_err *);

/* ---- peer.c, proxy.c: who the client is ---- */

#define SMTPS_PROXY_MAX 4096 /* bytes of a header with its extra fields */

enum smtps_proxy_result { PROXY_MORE, PROXY_OK, PROXY_BAD, PROXY_NONE /* something else */ };
struct smtps_proxy {
	char client[SMTPS_CLIENT_SIZE]; /* empty: the peer speaks for itself */
	unsigned port;
	unsigned version;  /* 0 until the signature is there */
	size_t used;	   /* OK: bytes of the header */
	const char *cause; /* BAD */
};
/* Looks at all that has come so far, from the first byte on. */
enum smtps_proxy_result smtps_proxy_parse(const uint8_t *, size_t, struct smtps_proxy *);

/* A new connection. true: it waits for its header, or is over (ST_CLOSE). */
bool smtps_peer_wait(struct smtps_session *);
void smtps_peer_input(struct smtps_session *); /* in ST_PROXY */
void smtps_peer_eof(struct smtps_session *);   /* likewise */
/* true: what came early, or as a first line, is a header that is not asked for; dropped. */
bool smtps_peer_unasked(struct smtps_session *);
bool smtps_peer_line(struct smtps_session *, const char *line, size_t len);

/* ---- client.c: its share ---- */

/* Who the client is, is known: counts it. false: over its limits, 421 was said, the end. */
bool smtps_client_take(struct smtps_session *);
bool smtps_client_exempt(const struct smtps_session *); /* nothing is counted against it */
void smtps_client_give(struct smtps_session *);

/* ---- tarpit.c, memory.c ---- */

void smtps_tarpit(struct smtps_session *); /* after an error was counted and answered */
void smtps_memory_look(struct smtps_session *);
void smtps_memory_give(struct smtps_session *); /* it holds nothing any more */
/* The transaction has lost its session: what it holds counts until its end. */
void smtps_memory_orphan(struct smtps_tx *);
bool smtps_memory_full(const struct smtps *);

/* ---- verbs.c: the commands ---- */

struct smtps_line { /* one command; args without leading and trailing blanks */
	const char *args;
	size_t len;
};

#define IN(st)	       (1u << ST_##st)
#define VERB_NOP       1u   /* counts as NOOP-like */
#define VERB_NOARG     2u   /* takes no argument */
#define VERB_EHLO      4u   /* its name is announced by EHLO */
#define VERB_TRUST     8u   /* for peers of the option xclient only */
#define VERB_TLS       32u  /* offered with TLS only */
#define VERB_AUTH      64u  /* there only when a section auth is */
#define VERB_WANTS_TLS 128u /* with TLS only, where the section tls says tls_only */
#define VERB_SAID      16u  /* what was said may stand in the log; others may bring passwords */

struct smtps_verb {
	const char *name;
	unsigned states; /* IN() of the states it is allowed in; 0: known, not offered */
	unsigned flags;
	unsigned max; /* bytes with CRLF: RFC 5321 4.5.3.1.4, more for extended MAIL and RCPT */
	void (*act)(struct smtps_session *, const struct smtps_line *);
	const char *help;
};
const struct smtps_verb *smtps_verbs_table(size_t *n);
/* One whole line without CRLF; replies, or leaves the session waiting. */
void smtps_verbs_line(struct smtps_session *, const char *line, size_t len);

/* A name as HELO has it, cleaned, n bytes; the caller's. */
char *smtps_verbs_name(const char *, size_t n);
void smtps_vrfy(struct smtps_session *, const struct smtps_line *);    /* the verb */
void smtps_xclient(struct smtps_session *, const struct smtps_line *); /* the verb */
void smtps_xclient_offer(struct smtps_session *);		       /* its line of EHLO */

/* A service extension: its line in EHLO. Its parameters are in params.c. */
struct smtps_ext {
	const char *keyword;
	uint64_t flag; /* offered when this SMTPS_F_ is set; 0: always */
	bool tls;      /* inside TLS only */
	/* What follows the keyword, each word with a blank before it; NULL: nothing. */
	void (*words)(const struct smtps_limits *, char *out, size_t size);
};
const struct smtps_ext *smtps_verbs_extensions(size_t *n);
bool smtps_verbs_offered(const struct smtps_session *, const char *keyword);

/* ---- intake.c: credits from qmgr, frames to it ---- */

struct smtps_intake *smtps_intake_new(struct smtps *);
void smtps_intake_free(struct smtps_intake **);
void smtps_intake_up(struct smtps_intake *);
void smtps_intake_down(struct smtps_intake *);
void smtps_intake_grant(struct smtps_intake *, uint64_t credits);
bool smtps_intake_take(struct smtps_intake *, uint32_t *epoch); /* false: none left */
/* None is left: the session, whose s->tx needs one, stands in line for queue_wait. Then comes
 * smtps_tx_waited(). false: nothing can come. */
bool smtps_intake_wait(struct smtps_intake *, struct smtps_session *);
void smtps_intake_unwait(struct smtps_intake *, struct smtps_session *); /* out of the line */
void smtps_intake_back(struct smtps_intake *, uint32_t *epoch);		 /* ended without QUEUED */
/* Committed: tells qmgr, or remembers that it must read the store. Uses up the credit. */
void smtps_intake_queued(
    struct smtps_intake *, struct smtps_tx *, const struct meta1_env *, struct meta1_buf notice);
uint64_t smtps_intake_credits(const struct smtps_intake *);

/* ---- policy.c: what smar is asked ---- */

/* NULL: nobody can say. Comes once, perhaps inside the call; the verdict lives during it. */
typedef void (*smtps_policy_fn)(struct smtps_session *, const struct smtps_verdict *);

void smtps_policy_forget(struct smtps *); /* smar's data is not known: all is asked */
void smtps_policy_told(struct smtps *, const struct p_policy *);
/* Stages to ask about at MAIL (0: nothing), at RCPT, and at VRFY. */
uint32_t smtps_policy_mail(const struct smtps_session *);
uint32_t smtps_policy_rcpt(const struct smtps_session *);
uint32_t smtps_policy_vrfy(const struct smtps_session *);
/* rcpt stays where it is until fn, but for AWAIT_VRFY. Waits as what, unless the verdict is kept.
 */
void smtps_policy_ask(struct smtps_session *, enum smtps_await_what, uint32_t stages,
    struct meta1_buf rcpt, smtps_policy_fn);
/* The reply, and what follows from a refusal: the end, or one more invalid address. */
void smtps_policy_said(struct smtps_session *, const struct smtps_verdict *);

/* ---- verdict.c: smar's answers, kept ---- */

#define SMTPS_VERDICTS_MAX 10000

struct smtps_verdict {
	uint32_t action; /* enum proto_action */
	int smtp;	 /* three digits, always set */
	/* With targets: smar's frame, while that is there. Such a verdict is not kept. */
	const struct p_verdict *more;
	uint32_t grants; /* enum proto_grant */
	char dsn[12], text[401];
	uint32_t spf;			      /* PROTO_SPF(), 0: not known */
	struct meta1_buf rule, name, spf_why; /* of the frame, or of what is kept */
};

struct smtps_verdicts *smtps_verdict_new(unsigned max);
void smtps_verdict_free(struct smtps_verdicts **);
/* NULL: not known, or too old. Valid until the next call. */
const struct smtps_verdict *smtps_verdict_find(
    struct smtps_verdicts *, const struct p_check *, int64_t now);
void smtps_verdict_keep(struct smtps_verdicts *, const struct p_check *,
    const struct smtps_verdict *, uint64_t generation, int64_t until);
/* A newer generation empties the cache; answers of an older one are not kept. */
void smtps_verdict_generation(struct smtps_verdicts *, uint64_t generation);
/* smar went away or came anew: its generations begin again. */
void smtps_verdict_forget(struct smtps_verdicts *);
unsigned smtps_verdict_count(const struct smtps_verdicts *);
/* From smar's frame: bounds, defaults, printable. */
void smtps_verdict_read(const struct p_verdict *, struct smtps_verdict *);

/* ---- starttls.c: TLS ---- */

/* The verb, and whether EHLO lists it. */
void smtps_starttls(struct smtps_session *, const struct smtps_line *);
void smtps_starttls_disown(struct smtps_session *); /* XCLIENT was said */
/* It must be on before mail is taken, and is not. */
bool smtps_starttls_due(const struct smtps_session *);
bool smtps_starttls_offered(const struct smtps_session *);
/* The listener wants TLS from the first byte: then, smtps_session_known(). */
void smtps_starttls_first(struct smtps_session *);
void smtps_starttls_secured(void *session); /* the event of the connection */
void smtps_starttls_failed(struct smtps_session *, const char *why);
/* Version, cipher and result in a few words, for the log; "" in plain. */
void smtps_starttls_text(const struct smtps_session *, char *out, size_t size);

/* ---- show.c ---- */

void smtps_show_control(struct smtps *, struct ctl *);

#include "smtps/filter.h"
#include "smtps/tx.h"

#endif
