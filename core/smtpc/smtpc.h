/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smtpc.h -- the client, told in the order a delivery meets it.
 *
 * qmgr hands over a delivery: one message, some of its recipients, the hosts that may take
 * it (smtpc.c). Its content is opened in the queue store, a session to the first host is
 * found or opened, the transport speaks, results go back (deliver.c). Rows of the access map may
 * change the options of a host or of the recipients (conf.c), and so does what a mail says of TLS
 * (require.c). A host may have a login: AUTH, with the credentials of a file (creds.h). A host that
 * did not answer lately is tried last (hosts.c). Sessions that are still good wait for the next
 * mail to the same host (session.c). What a host offers is told to smar (caps.c). control.c
 * shows sessions, try.c opens one for an admin.
 * Everything runs on the loop thread; smtpc waits for no role.
 */
#ifndef META1_SMTPC_H
#define META1_SMTPC_H
#include "ipc/chan.h"
#include "lib/hop_conf.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/tls.h"
#include "mod/mod.h"
#include "role.h"
#include "smtpc/creds.h"

#include <jansson.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <uthash.h>

#define SMTPC_WINDOW 200  /* deliveries that qmgr may have with us at a time */
#define SMTPC_HOSTS  1024 /* remembered as dead at most */

/* ---- smtpc.c: the role, what it has loaded, what qmgr may send -------------------- */

struct smtpc_transport {
	const char *name; /* what DELIVER says: "smtp", of transport_smtp; of a section its name */
	struct mod_inst *inst;
	const struct meta1_transport_ops *ops;
	bool named; /* it has a section transport NAME */
	struct smtpc_gear *gear;
};

/* What a reload replaces. Lives until its last session is shut. */
struct smtpc_gear {
	struct smtpc_transport *transport;
	unsigned ntransport;
	uint32_t refs;	    /* deliveries, sessions, and one while it is the current one */
	struct conf *keeps; /* names of transports are its texts */
	int64_t remote_port, max_idle;
	struct hop_conf conf;  /* what holds without a row */
	struct logins *logins; /* NULL: no section auth */
};

struct smtpc {
	struct role role;		     /* first: handlers get it and cast */
	struct smtpc_gear *gear, *next_gear; /* next: between the steps of a reload */
	const char *queue_module;
	struct mod_inst *queue;
	const struct meta1_queue_ops *queue_ops;

	struct chan *qmgr, *smar; /* while they are up */
	uint64_t epoch;		  /* counts qmgr's lives: ids of deliveries are valid in one */
	uint32_t credits;	  /* to be given back with the next WINDOW */
	struct task give;

	struct smtpc_delivery *deliveries; /* all */
	uint32_t active;
	struct watch *report_timer, *stop_timer;

	struct smtpc_session *sessions; /* all */
	struct smtpc_session *idle_old; /* those that wait, the next to be shut first */
	uint32_t nidle;
	struct watch *idle_timer;

	struct smtpc_host *hosts; /* that did not answer lately */
	struct smtpc_caps *caps;  /* what smar was told of hops */
	struct smtpc_try *tries;  /* sessions that admins asked for */
};

struct smtpc_transport *smtpc_transport(struct smtpc *, struct meta1_buf name); /* or NULL */
void smtpc_gear_use(struct smtpc_gear *);
void smtpc_gear_drop(struct smtpc_gear **);
/* A delivery is over: its place goes back to qmgr; the end of a stop. */
void smtpc_credit(struct smtpc *);

/* ---- deliver.c: one delivery ------------------------------------------------------ */

enum smtpc_stage { STAGE_LOAD, STAGE_OPEN, STAGE_SEND, STAGE_REPORT };

enum smtpc_known {
	KNOWN_NOT,
	KNOWN_RESULT, /* it is told, the recipient is never offered again */
	KNOWN_LACK    /* this hop cannot take it, the next one may */
};

struct smtpc_hop {
	struct meta1_hop to;
	const struct hop_conf *conf; /* of the gear, or in the delivery's pool */
	const char *need;	     /* what TLS must have achieved, ipc/hop.h; "": options say */
	bool soft;		     /* the recipient's domain wants it so, by DANE or MTA-STS */
	bool sure; /* that it is a host of the domain is proven, or the configuration says it */
	const char *words; /* the same for people: "verify,row" */
};

struct smtpc_result { /* kept only when qmgr's channel was full */
	struct smtpc_result *next;
	struct p_rcpt_result m;
};

struct smtpc_delivery {
	struct smtpc *c;
	struct smtpc_delivery *next, *prev;
	uint64_t id, epoch; /* qmgr's number, in which of its lives */
	struct pool pool;   /* of everything below */
	const char *name;   /* id of the message */
	const char *key;    /* of the destination */
	struct smtpc_gear *gear;
	struct smtpc_transport *transport;
	struct smtpc_hop *hop; /* in order; at: the one in use */
	uint32_t nhop, at;
	struct meta1_ref ref;
	struct meta1_content *content;
	struct meta1_mail mail; /* what the transport gets: the recipients without a result */
	struct meta1_rcpt *rcpt;
	uint32_t *index;	 /* of mail's recipients in qmgr's list */
	uint8_t *known;		 /* enum smtpc_known a recipient of mail, in this try */
	uint32_t total;		 /* recipients as qmgr gave them */
	uint32_t left;		 /* without a result */
	uint32_t lacking;	 /* of mail, in this try, for want of what the hop offers */
	struct meta1_reply lack; /* what the last hop of this kind lacked; size 0: there was none */
	bool failed;		 /* a host failed: what it offers is not known */
	enum smtpc_stage stage;
	struct meta1_req *req;
	struct smtpc_session *session;
	bool fresh;	 /* this hop with a new session only: an idle one was dead */
	bool reused;	 /* the last session had carried mail before */
	const char *tls; /* required and achieved at the last hop, in words; in the pool, or NULL */
	int64_t start;	 /* ms */
	struct p_delivered end; /* the outcome; strings in the pool */
	struct smtpc_result *held, **held_tail;
};

void smtpc_deliver_frame(struct chan *, uint32_t req, const void *msg, void *arg);
/* The session is ready, or (sess NULL) the host failed: reply says why. */
void smtpc_deliver_opened(struct smtpc_delivery *, enum meta1_status, const struct meta1_reply *);
/* qmgr is gone or the role stops. */
void smtpc_deliver_forget_reports(struct smtpc *);
void smtpc_deliver_stop(struct smtpc *);

/* ---- take.c: what DELIVER says --------------------------------------------------------- */

/* Hosts, mail and reference of the content; false: it makes no sense, or there is no memory. */
bool smtpc_take(struct smtpc_delivery *, const struct p_deliver *);
/* Recipients with a result leave the mail, before it is offered again. */
void smtpc_take_rest(struct smtpc_delivery *);
/* A copy that lives with the delivery; nothing when its pool is full. */
struct meta1_buf smtpc_take_text(struct smtpc_delivery *, const char *text, size_t max);

/* "verify,row", "may": what is required of TLS there, for people. */
const char *smtpc_tls_words(const struct meta1_hop *, char out[TLS_NEED_WORDS]);

/* ---- report.c: results on their way to qmgr ----------------------------------------------- */

void smtpc_report_begin(struct smtpc *); /* one more delivery is under way */
bool smtpc_report_wanted(const struct smtpc_delivery *);
/* It is over, the outcome stands in end; takes it. */
void smtpc_report(struct smtpc_delivery *);

/* ---- require.c: REQUIRETLS, TLS-Required ------------------------------------------------- */

/* A hop that was just taken from DELIVER: the i-th. */
void smtpc_require_hop(const struct p_deliver *, uint32_t i, struct smtpc_hop *);
/* The content is there: what its header asks for. */
void smtpc_require_header(struct smtpc_delivery *);
/* The content is there: SMTPUTF8 that a mail does not need is forgotten where nobody heeds it. */
void smtpc_require_heeded(struct smtpc_delivery *);
/* A hop to which the mail must not go: why; NULL: it may be tried. */
const struct meta1_reply *smtpc_require_bars(
    const struct smtpc_delivery *, const struct smtpc_hop *);
/* open() ended so: what that means for mail that must have TLS; NULL: nothing special. */
const struct meta1_reply *smtpc_require_failed(
    const struct smtpc_delivery *, const struct meta1_reply *);

/* ---- conf.c: options of one hop ---------------------------------------------------------- */

/* Those of the i-th hop of DELIVER; known: room for conf.n + 1, all NULL at first. NULL: they
 * cannot be read, and the hop is not used. */
const struct hop_conf *smtpc_conf_of(
    struct smtpc_delivery *, const struct p_deliver *, uint32_t i, const struct hop_conf **known);
/* Into what the transport gets: of a new session, of a mail. */
void smtpc_conf_hop(const struct hop_conf *, struct meta1_hop *);
void smtpc_conf_mail(const struct hop_conf *, struct meta1_mail *);

/* ---- hosts.c: next hops that did not answer lately ---------------------------------- */

struct smtpc_host {
	UT_hash_handle hh;  /* in the order in which they entered */
	int64_t not_before; /* monotonic ms */
	int64_t pause;	    /* the last one; ms */
	bool probed;	    /* one delivery tries it while the others wait until not_before */
	char key[];	    /* "ADDR PORT" */
};
/* Puts the hosts that are not to be tried now behind the others, which keep their order. */
void smtpc_hosts_order(struct smtpc *, struct smtpc_hop *, uint32_t n);
void smtpc_hosts_failed(struct smtpc *, const struct meta1_hop *); /* no reply of it came */
void smtpc_hosts_answered(struct smtpc *, const struct meta1_hop *);
void smtpc_hosts_free(struct smtpc *);

/* ---- caps.c: what next hops offer, told to smar ---------------------------------------- */

struct smtpc_caps {
	UT_hash_handle hh; /* in the order in which they entered */
	uint32_t offers;   /* enum meta1_offer */
	uint64_t max_size;
	int64_t when; /* monotonic ms */
	bool told;
	char key[]; /* "DESTINATION ADDR PORT" */
};
/* A session to this host of a destination is ready. */
void smtpc_caps_tell(struct smtpc *, const struct meta1_transport_ops *, void *sess,
    const char *dest, const struct smtpc_hop *, uint32_t nhop);
void smtpc_caps_forget(struct smtpc *); /* smar came anew, and knows nothing; the end */

/* ---- tls_report.c: how TLS went, told to smar ------------------------------------------- */

/* The delivery's session is open, or (status not OK) the reply says why it is not. */
void smtpc_tls_report(const struct smtpc_delivery *, enum meta1_status, const struct meta1_reply *);

/* ---- session.c: sessions to next hops --------------------------------------------- */

enum smtpc_state { SESSION_OPENING, SESSION_BUSY, SESSION_IDLE };

struct smtpc_session {
	struct smtpc *c;
	struct smtpc_session *next, *prev;	     /* of all */
	struct smtpc_session *idle_next, *idle_prev; /* by due */
	struct smtpc_transport *transport;
	void *sess;		   /* the module's */
	char *addr, *host, *login; /* login: NULL: none */
	uint32_t port;
	struct hop_conf conf; /* with which it was opened */
	uint32_t tls;	      /* likewise: enum meta1_tls_policy */
	char *need;	      /* and what TLS has achieved, "": nothing special */
	enum smtpc_state state;
	uint64_t mails;		       /* sent, good or not */
	int64_t since, due;	       /* of the state; when it waited long enough; ms */
	struct meta1_req *req;	       /* open() */
	struct smtpc_delivery *opener; /* waits for open() */
};

/* One that waits for mail to this hop, opened with such options, now busy; or NULL. */
struct smtpc_session *smtpc_session_take(
    struct smtpc *, struct smtpc_transport *, const struct smtpc_hop *);
/* Opens one for d: smtpc_deliver_opened() follows on a later turn. NULL: too many are open. */
struct smtpc_session *smtpc_session_open(struct smtpc_delivery *d, const struct smtpc_hop *);
/* A mail is through: keeps the session for the next or shuts it. */
void smtpc_session_release(struct smtpc_session **);
void smtpc_session_shut(struct smtpc_session **); /* also one that is being opened */
/* How it is protected, in words; "" before that is known. */
const char *smtpc_session_tls(const struct smtpc_session *);
/* Shuts all that wait; gear: only those of an old one; NULL: all. */
void smtpc_session_shut_idle(struct smtpc *, const struct smtpc_gear *keep);

/* ---- try.c: POST /v1/tls-test ------------------------------------------------------ */

json_t *smtpc_try(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *);
void smtpc_try_stop(struct smtpc *);

/* ---- control.c: GET /v1/sessions -------------------------------------------------- */

void smtpc_control(struct role *, struct ctl *);

#endif
