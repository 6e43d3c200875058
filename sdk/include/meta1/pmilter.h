/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/pmilter.h -- judges and edits mail on its way in.
 *
 * smtps begins a session with each module that its configuration lets judge this client, asks it at
 * the stages that it wants, in the order of SMTP, and does what it says: one request at a time a
 * session, any number of sessions at a time. RSET, a refusal, or the end of a mail is reset(); the
 * session may bring more mail. end() is the end of all of it.
 *
 * The way of a mail: begin(), ask(CONNECT), ask(HELO), ask(MAIL), ask(RCPT) for each recipient that
 * smtps itself would take, ask(DATA), ask(END) with the whole message, reset(). Each ask() is
 * finished with
 *	OK	  reply->ext is a struct meta1_pm_verdict, or NULL: CONTINUE. It and what it points
 *		  to stay valid until the next call for that session, whatever it is.
 *	TEMPFAIL  the filter cannot be asked or spoke nonsense: text says what, for the log. What
 *		  then becomes of the mail is not the module's to say: smtps does as the admin
 *		  configured (flags, failure), and calls end(). With smtp 452 in the reply it
 *		  is this server that could not keep what the filter says (disk, memory): the
 *		  mail is refused with 452 4.3.1, and the filter is as well as before.
 *	PERMFAIL  the same of this mail alone, for what the mail is (too large, say): nothing that
 *		  the breaker counts, and the session's next mail is asked about.
 * The deadline of a request is the timeout of its stage; at it the host does as with TEMPFAIL.
 *
 * The message. At END the module sees the content as it stands then: plain form (no stuffing),
 * every line ends with CRLF, with the edits of filters that came before; our own Received line is
 * not in it. It answers with edits, which the host makes in their order, all of them or none, and
 * only when each is well formed: a name is of printable ASCII without colon (RFC 5322, 2.2); line
 * ends within a value become CRLF and the next line is made one that goes on; CR alone, NUL and
 * empty lines become blanks. A list of edits with a bad name, address, index or extent is
 * the filter's failure.
 *
 * Where there are several filters smtps asks them as its configuration orders them; a module knows
 * nothing of the others.
 */
#ifndef META1_PMILTER_H
#define META1_PMILTER_H
#include <meta1/module.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Stages, as bits. */
enum meta1_pm_stage {
	META1_PM_CONNECT = 1,  /* before the greeting */
	META1_PM_HELO = 2,     /* again after STARTTLS, and with each EHLO */
	META1_PM_MAIL = 4,     /* smtps would take the sender */
	META1_PM_RCPT = 8,     /* smtps would take the recipient */
	META1_PM_DATA = 16,    /* DATA, or the first BDAT: before any content */
	META1_PM_END = 32,     /* all of the content is there */
	META1_PM_UNKNOWN = 64, /* a command that smtps does not know */
	META1_PM_REFUSED = 128 /* RCPT too of recipients that smtps refuses; changes nothing */
};

/* Who talks, and what is known of him and of his mail. One a session, at the same address until
 * end(); its contents are those of the time of a call, NULL or 0: not known (yet). Strings have no
 * control characters. */
struct meta1_pm_about {
	uint32_t size, port;  /* port of the client */
	uint64_t serial;      /* of the session, in this process */
	const char *hostname; /* ours */
	const char *version;  /* ours: "meta1-0.1" */
	const char *listener; /* name of the socket it came by */
	const char *local;    /* our address */
	uint32_t local_port, pad;
	const char *client;  /* "192.0.2.1", "2001:db8::1", or "unix" */
	const char *name;    /* of the client, confirmed by its address; NULL: not known */
	const char *resolve; /* "OK", "FAIL" (no name), "FORGED", "TEMP" */
	const char *helo;
	const struct meta1_tls *tls; /* of the client's certificate as of a hop's; NULL: plain */
	const char *tls_verify;	     /* as in Received: "OK", "NO", "FAIL" ... */
	const char *auth_mech, *auth_user, *auth_author; /* author: AUTH= of MAIL */
	/* From MAIL on, until reset(). */
	const char *taid;      /* id of the transaction, later of the mail in the queue */
	uint32_t mailflags;    /* enum meta1_mailflag of meta1/transport.h */
	uint32_t nrcpt, nbad;  /* recipients taken, refused, so far */
	uint32_t hops;	       /* END: Received lines, without ours */
	struct meta1_buf from; /* without angle brackets; len 0: the null sender */
	const char *msgid;     /* END: value of Message-Id, or NULL */
	/* The name that DNS gives for the client's address, confirmed or not (macro client_ptr);
	 * NULL: none, or not known. */
	const char *ptr;
};

/* The content, at END. Valid until finish() or cancel(). */
struct meta1_pm_message {
	uint32_t size, nextent;
	const struct meta1_extent *extent; /* plain form */
	uint64_t bytes;			   /* of all of it */
	uint64_t
	    header; /* of these, header lines with the empty line behind them, if there is one */
};

/* One question. Valid during the call, the message longer. */
struct meta1_pm_ask {
	uint32_t size, stage; /* one bit of enum meta1_pm_stage */
	/* HELO: the name; MAIL: sender; RCPT: recipient, without angle brackets; UNKNOWN: line */
	struct meta1_buf arg;
	const struct meta1_buf *param; /* MAIL, RCPT: "SIZE=1000", as the client said them */
	uint32_t nparam, nrcpt;
	/* END: all recipients, as the client said them, with the edits of filters that came before;
	 * so is about->from. */
	const struct meta1_buf *rcpt;
	const struct meta1_pm_message *msg; /* END */
	const char *refused; /* REFUSED: "550 5.1.1 text", what smtps says; else NULL */
};

enum meta1_pm_action {
	META1_PM_CONTINUE,
	META1_PM_ACCEPT, /* this mail (CONNECT, HELO: all of the session) needs no more judging by
			    this filter */
	META1_PM_REFUSE, /* smtp, dsn and lines say how; 421 ends the session. MAIL, END: the mail;
			    RCPT: this recipient; CONNECT: 4xx or 5xx in place of the greeting */
	META1_PM_DISCARD /* the client hears 250, nobody gets it */
};

enum meta1_pm_edit_kind {
	META1_PM_ADD_HEADER = 1, /* behind the last field */
	META1_PM_INSERT_HEADER, /* before the field that is number `index` now; 0: the first; beyond
				   the last: behind it */
	META1_PM_CHANGE_HEADER, /* the `index`th of that name, from 1, whatever its case; value.data
				   NULL: takes it out. There is none: a value is added behind the
				   last field, without one nothing happens */
	META1_PM_BODY,		/* extents, instead of all behind the header */
	META1_PM_MESSAGE,	/* extents, instead of all of it */
	META1_PM_ADD_RCPT,	/* value: address without brackets */
	META1_PM_DEL_RCPT,	/* likewise, as told at RCPT or END */
	META1_PM_SENDER		/* value: address; len 0: the null sender */
};
enum meta1_pm_editflag {
	META1_PM_LEADSPC = 1 /* the value brings its own blank behind the colon */
};
struct meta1_pm_edit {
	uint32_t kind, index, flags, nextent;
	struct meta1_buf name, value;
	struct meta1_buf param; /* ADD_RCPT, SENDER: ESMTP parameters; may be ignored */
	/* BODY, MESSAGE: plain form; LF alone becomes CRLF. */
	const struct meta1_extent *extent;
};

struct meta1_pm_verdict {
	uint32_t size, action;
	/* Stages that this session still wants; used from now on. */
	uint32_t wants;
	uint16_t smtp; /* REFUSE: 400..599, 0: 550 5.7.1 */
	uint16_t nline;
	char dsn[12];		      /* "5.7.1", or "" */
	const struct meta1_buf *line; /* texts of the reply, without code; 0: our own */
	const char *hold; /* END: keep it in the queue until an admin releases it: why */
	const char *note; /* one line for the log: what was found; NULL: nothing */
	const struct meta1_pm_edit *edit; /* END, CONTINUE or ACCEPT */
	uint32_t nedit, sizeof_edit;
};

/* For `meta1ctl filters`. */
struct meta1_pm_state {
	uint32_t size;
	uint32_t connected; /* 1: there is a connection, or none is needed */
	char peer[128];	    /* where and what it is: "unix:/run/x.sock milter v6" */
};

struct meta1_pmilter_ops {
	uint32_t size, props;
	/* A client came. Returns the stages at which the module is to be asked, and sets *sess
	 * (NULL before), which the other functions get. 0: it is not asked in this session; only
	 * end() follows, and not even that when *sess was left NULL. May not wait: what needs a
	 * connection first is done within the first ask(). */
	uint32_t (*begin)(void *inst, const struct meta1_pm_about *, void **sess);
	void (*ask)(void *sess, struct meta1_req *, const struct meta1_pm_ask *);
	/* The mail is over, however it ended. No request is open. */
	void (*reset)(void *sess);
	/* The client is gone, or the filter failed. No request is open, but one that was
	 * cancelled may not have been finished yet: its session is not used any more. */
	void (*end)(void **sess);
	void (*cancel)(void *inst, struct meta1_req *);
	void (*state)(void *inst, struct meta1_pm_state *); /* NULL: nothing to tell */
};

#ifdef __cplusplus
}
#endif

#endif
