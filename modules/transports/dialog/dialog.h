/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dialog.h -- the client's side of SMTP and LMTP, compiled into both transports.
 *
 * A session in the order of its life:
 *   dialog.c    opened: connect, greeting, EHLO or LHLO (caps.c); input cut into
 *               replies (reply.c), each given to the step that waits for it; time-outs;
 *               idle; goodbye
 *   auth.c      AUTH when the hop has a login; the host knows the secrets
 *   tls.c       STARTTLS when the hop offers it, what its policy asks for, in plain when it may
 *   envelope.c  one mail: what can be refused here, RSET, MAIL, RCPT, DATA
 *   utf8.c      whether the mail needs SMTPUTF8, and how an address is said without it
 *   content.c   the content, the final dot, one reply or (LMTP) one a recipient
 *   results.c   replies and losses to statuses; the only place that finishes requests
 *
 * One request at a time is under way in a session (req); nothing is waited for
 * without a step, and no step without a time-out. finish() answers on a later turn
 * of the loop, so a session never vanishes inside its own call.
 */
#ifndef META1_DIALOG_H
#define META1_DIALOG_H
#include "caps.h"
#include "reply.h"

#include <meta1/transport.h>

#define DIALOG_BURST 1000 /* RCPT commands in one pipelined write */

/* ---- options and what differs between the two protocols ---- */

struct dialog_conf {
	int64_t greeting_timeout, hello_timeout, mail_timeout, rcpt_timeout, data_timeout,
	    block_timeout, dot_timeout;
};
#define DIALOG_NOPT 7
extern const struct meta1_opt dialog_options[DIALOG_NOPT];

struct dialog_kind {
	const char *hello, *fallback; /* "EHLO", "HELO" (NULL: none) */
	int lmtp;		      /* a reply a recipient after the dot; Return-Path on top */
};

struct dialog { /* an instance */
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct dialog_conf *conf;
	const struct dialog_kind *kind;
	struct dialog_session *sessions; /* all of them, also those that say goodbye */
};

/* open() and close() of both modules' descriptors. */
int dialog_open(const struct meta1_host *, struct meta1_ctx *, const struct dialog_conf *,
    const struct dialog_kind *, void **inst, struct meta1_err *);
void dialog_close(void *inst);
extern const struct meta1_transport_ops dialog_ops;

/* ---- a session ---- */

enum dialog_step { /* what is waited for; rows of the table in dialog.c */
	DIALOG_CONNECT,
	DIALOG_GREETING,
	DIALOG_HELLO,
	DIALOG_HELO,
	DIALOG_STARTTLS,
	DIALOG_SHAKE, /* the TLS handshake */
	DIALOG_LOGIN, /* the host's next word of AUTH */
	DIALOG_AUTH,
	DIALOG_IDLE, /* nothing: any input ends the session */
	DIALOG_RSET,
	DIALOG_TRACE, /* LMTP: the mail's name for the log of the store */
	DIALOG_MAIL,
	DIALOG_RCPT,
	DIALOG_DATA,
	DIALOG_DOT,
	DIALOG_EMPTY, /* the reply to a dot after which nobody gets the mail */
	DIALOG_QUIT
};

enum dialog_taken { DIALOG_OPEN, DIALOG_TAKEN, DIALOG_PASS /* refused here, never said */ };

struct dialog_session {
	struct dialog *d;
	struct dialog_session *next, **prevp;
	struct meta1_conn *conn; /* NULL: gone, the session is of no more use */
	struct meta1_watch *timer;
	struct meta1_req *req;	/* open() or send() under way */
	char *host, *addr;	/* name and address of the hop */
	char *hello, *source;	/* our name and address there; NULL: the host's, any */
	char *need;		/* the host's word on TLS, or NULL */
	char *login;		/* whose credentials; NULL: nobody's */
	char mechs[512];	/* of AUTH, as the hop offers them; with a login only */
	char *first;		/* initial response that did not fit, or NULL */
	int said_auth, may_end; /* AUTH was said; the hop's success may come next */
	uint32_t port, policy;	/* of the hop; enum meta1_tls_policy */
	int secured, plain;	/* TLS stands; it failed and may be done without */
	int proven;		/* its certificate is what it should be */
	char tls[200];		/* how it is protected, in words */
	enum meta1_tls_result tls_result;
	char ours[64]; /* our address; "": not known */
	enum dialog_step step;
	int said_now; /* a command was said in this input event: no more input */
	int64_t io_timeout, connect_timeout; /* ms, 0: none */
	int64_t due, armed;	   /* of the step; when the timer fires; monotonic ms, -1: not */
	unsigned mails;		   /* ended before this one */
	int dirty;		   /* a transaction may be open at the hop: RSET first */
	struct dialog_caps caps;   /* what the hop offers */
	struct dialog_caps use;	   /* what of it the mail under way uses */
	struct dialog_reply reply; /* being read */

	/* the mail under way */
	const struct meta1_mail *mail;
	uint8_t *taken;			/* enum dialog_taken of each recipient */
	uint32_t said, heard, accepted; /* RCPT commands said, answered, answered well */
	uint32_t after;			/* LMTP: recipient whose reply after the dot is next */
	struct dialog_reply *refused;	/* MAIL's, until the replies behind it are read */
	int answered;			/* some reply came to this mail */
	int probing;			/* only the replies to RCPT are wanted */
	int utf8;      /* MAIL says SMTPUTF8: the mail needs it, the hop offers it */
	size_t unsent; /* at the last look, see dialog_content_stuck() */
};

/* dialog.c */
void dialog_wait(struct dialog_session *, enum dialog_step); /* go on to that step */
void dialog_wait_for(struct dialog_session *, enum dialog_step, int64_t ms);
void dialog_say(struct dialog_session *, const char *text, size_t len);
void dialog_hangup(struct dialog_session *); /* closes the connection, keeps the session */

int dialog_connect(struct dialog_session *, struct meta1_err *); /* to its hop, anew. <0: err */
void dialog_hello(struct dialog_session *);			 /* EHLO or LHLO */

/* tls.c */
void dialog_tls_offered(struct dialog_session *); /* EHLO was answered in plain: go on */
void dialog_tls_helo(struct dialog_session *);	  /* likewise HELO, after which none is */
void dialog_tls_reply(struct dialog_session *);
void dialog_tls_secured(void *session);
/* The session failed in or right after the handshake: 1: it is tried again in plain. */
int dialog_tls_again(struct dialog_session *, const char *why);
const char *dialog_tls_text(void *session);

/* auth.c */
void dialog_auth(struct dialog_session *); /* TLS is as it should be: AUTH if there is a login */
void dialog_auth_reply(struct dialog_session *);
void dialog_auth_drop(struct dialog_session *); /* the connection goes */

/* envelope.c */
void dialog_send(void *sess, struct meta1_req *, const struct meta1_mail *);
void dialog_probe(void *sess, struct meta1_req *, const struct meta1_mail *);
void dialog_envelope_rset(struct dialog_session *);
void dialog_envelope_trace(struct dialog_session *);
void dialog_envelope_mail(struct dialog_session *);
void dialog_envelope_rcpt(struct dialog_session *);
void dialog_envelope_data(struct dialog_session *);
void dialog_envelope_empty(struct dialog_session *);

/* utf8.c */
#define DIALOG_PATH_MAX 1000 /* bytes of an address on the wire */
/* Whether MAIL says SMTPUTF8: sets utf8. 1: the sender or the header needs what the hop lacks, and
 * the mail was refused. */
int dialog_utf8_refuse(struct dialog_session *);
/* 1: this address cannot be said to this hop: its local part is not ASCII. */
int dialog_utf8_unsayable(const struct dialog_session *, struct meta1_buf addr);
/* The address as it is said to this hop, in buf when it is not as it stands: a hop without
 * SMTPUTF8 gets the domain with A-labels. */
struct meta1_buf dialog_utf8_addr(
    const struct dialog_session *, struct meta1_buf addr, char buf[DIALOG_PATH_MAX + 1]);

/* content.c */
void dialog_content_send(struct dialog_session *);
void dialog_content_reply(struct dialog_session *);
int dialog_content_past(const struct dialog_session *); /* the final dot has left */
/* The step's time is over: 1 when nothing moved, 0: waited for longer. */
int dialog_content_stuck(struct dialog_session *);

/* results.c */
enum meta1_status dialog_result_status(const struct dialog_reply *);
/* Status and reply of one recipient, from the reply just read. */
void dialog_result_rcpt(struct dialog_session *, uint32_t rcpt);
/* Ends the request with the given reply of the hop, about the mail. */
void dialog_result_verdict(struct dialog_session *, const struct dialog_reply *);
/* Ends open(): ready for mail. */
void dialog_result_open(struct dialog_session *);
/* Ends open() with the reply just read: the host does not want us. */
void dialog_result_host(struct dialog_session *);
/* Ends the request because the host said so. */
void dialog_result_canceled(struct dialog_session *);
/* Ends the request OK: every recipient has its own result. */
void dialog_result_done(struct dialog_session *);
/* Ends the request with our own judgement of the mail: nothing was said to the hop. */
void dialog_result_refuse(struct dialog_session *, int smtp, const char *dsn, const char *text);
/* The hop does not offer what the mail needs: the host tries the next one. */
void dialog_result_lacks(struct dialog_session *, int smtp, const char *dsn, const char *text);
void dialog_result_lacks_rcpt(
    struct dialog_session *, uint32_t rcpt, int smtp, const char *dsn, const char *text);
/* As dialog_result_refuse(), for one recipient. */
void dialog_result_refuse_rcpt(
    struct dialog_session *, uint32_t rcpt, int smtp, const char *dsn, const char *text);
/* The connection is of no more use: hangs up and ends what is under way with the scope that
 * the step says. smtp, dsn: of a reply that said so, 0 and NULL else. */
void dialog_result_lost(struct dialog_session *, int smtp, const char *dsn, const char *why);

#endif
