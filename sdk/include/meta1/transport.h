/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/transport.h -- speaks a delivery protocol to a next hop.
 *
 * smtpc opens a session to a hop, sends mails over it one after the other, and
 * shuts it when it was idle or used enough. One request at a time a session.
 *
 * Results. Each recipient gets at most one rcpt_result(), as soon as it is
 * known; those without take the status of finish(). The reply's scope says what
 * a failure is about: META1_ABOUT_HOST (no connection, greeting or EHLO refused,
 * 421, connection lost before the final dot was sent: next host, recipients not
 * blamed), META1_ABOUT_SESSION (an idle session was found dead, nothing was taken:
 * same host, new session), META1_ABOUT_MAIL (a verdict on mail or recipient),
 * META1_ABOUT_OFFER (PERMFAIL only: the hop does not offer what the mail or this recipient
 * needs, so it was not told of it, and is fit for other mail; another host may offer it,
 * and when none does this is the verdict).
 * A connection lost after the final dot is TEMPFAIL for recipients without a reply.
 *
 * smar opens sessions too, to ask hops whether they would take a recipient (probe()).
 *
 * A transport that delivers on this host (META1_T_LOCAL) is opened for what a route says behind
 * its name, and gets mail like the others. Mail that needs what a transport does not heed
 * (META1_M_MUST) never gets there: PERMFAIL for its recipients.
 */
#ifndef META1_TRANSPORT_H
#define META1_TRANSPORT_H
#include <meta1/module.h>

#ifdef __cplusplus
extern "C" {
#endif

/* props of a transport. */
enum meta1_transportprop {
	/* No next hop is connected to: hop->addr is what the route says, not an address; TLS,
	 * logins, DSN and SMTPUTF8 of a next hop do not come in. A success is META1_TAKEN_FINAL. */
	META1_T_LOCAL = 1
};

/* Of a mail: what is known of it, or was asked for. Those that begin with "client said" are
 * parameters of MAIL. Bits that have no name may be set and mean nothing to who does not know. */
enum meta1_mailflag {
	META1_M_8BIT = 1,    /* content has bytes above 127 (BODY=8BITMIME was said or seen) */
	META1_M_STUFFED = 2, /* content has lines with a doubled leading dot */
	/* The client said SMTPUTF8: addresses and header may have UTF-8 (RFC 6531). */
	META1_M_SMTPUTF8 = 4,
	META1_M_BOUNCE_8BIT = 8, /* hop without 8BITMIME: fail with 5.6.3 instead of sending */
	/* RFC 3461: how much of the message its report returns; neither: the sender did not say */
	META1_M_RET_FULL = 16,
	META1_M_RET_HDRS = 32,
	/* The header has bytes above 127. With SMTPUTF8 such a mail needs a hop with SMTPUTF8;
	 * without it the bytes are somebody's mistake, and go as they came. */
	META1_M_HEADER_8BIT = 64,
	/* XVERP was said: each recipient has a sender address of its own. Its two delimiters stand
	 * above, each as an index into META1_VERP_CHARS; both 3: those of the configuration. */
	META1_M_VERP = 128,
	/* RFC 8689: the client said REQUIRETLS: only to a hop that offers it too, inside TLS with a
	 * certificate that is accepted. */
	META1_M_REQUIRETLS = 4096,
	META1_M_HOLD = 8192, /* held in the queue from the start, until an admin releases it */
	/* Those that a transport must heed, else it does not get the mail; room for more. */
	META1_M_MUST = 4 | 4096 | 0x7f000000
};
#define META1_VERP_CHARS "-=+"
#define META1_VERP_AT	 8 /* the first bit of the first one; of the second 2 more */

/* RFC 3461 NOTIFY of a recipient; 0: the sender did not say. */
enum meta1_notify {
	META1_N_NEVER = 1,
	META1_N_SUCCESS = 2,
	META1_N_FAILURE = 4,
	META1_N_DELAY = 8
};

/* Who tells the sender of a success: what it means that a hop took a mail. */
enum meta1_taken {
	META1_TAKEN_RELAYED, /* nobody but us: the hop does not know RFC 3461 */
	META1_TAKEN_DSN,     /* the hop: it was told all that the sender asked for */
	META1_TAKEN_FINAL    /* we: it is delivered */
};

/* What a hop offers in its reply to EHLO or LHLO. */
enum meta1_offer {
	META1_OFFER_SMTPUTF8 = 1,
	META1_OFFER_8BITMIME = 2,
	META1_OFFER_SIZE = 4,
	META1_OFFER_PIPELINING = 8,
	META1_OFFER_DSN = 16,
	/* of LMTP stores: past the mailbox's quota (never used unless the host leaves it out of
	 * "without"); a command that names the mail in the store's log */
	META1_OFFER_IGNOREQUOTA = 32,
	META1_OFFER_TRACE = 64,
	META1_OFFER_REQUIRETLS = 128 /* told of sessions inside TLS alone */
};
/* The host's; filled by caps(). */
struct meta1_caps {
	uint32_t size;
	uint32_t offers;   /* enum meta1_offer */
	uint64_t max_size; /* of SIZE; 0: none told */
};

/* An element of mail.rcpt, sizeof_rcpt bytes each. */
struct meta1_rcpt {
	struct meta1_buf addr;	/* without angle brackets; a bare "postmaster" has no '@' */
	struct meta1_buf orcpt; /* "type;xtext" as the sender said it; len 0: nothing */
	uint32_t notify;	/* enum meta1_notify */
	uint32_t pad;
};

/* The host's; all of it is valid until the request is finished, also after cancel(). */
struct meta1_mail {
	uint32_t size;
	uint32_t nrcpt; /* at least 1 */
	uint32_t sizeof_rcpt;
	uint32_t flags;	       /* enum meta1_mailflag */
	const char *id;	       /* for the log */
	struct meta1_buf from; /* without angle brackets; len 0: the null sender */
	const struct meta1_rcpt *rcpt;
	/* DATA form: CRLF, dot-stuffed, ends with CRLF or is empty, without the final dot. Without
	 * META1_M_STUFFED no line has a doubled dot. NULL with nextent 0: empty, or probe(). */
	const struct meta1_extent *extent;
	uint32_t nextent, pad;
	uint64_t bytes;		/* length without the stuffing, as RFC 1870 counts */
	struct meta1_buf envid; /* xtext as the sender said it; len 0: nothing */
	/* enum meta1_offer: what is not used for this mail, as if the hop did not offer it. */
	uint32_t without, pad2;
};

struct meta1_transport_ops {
	uint32_t size;
	uint32_t props; /* enum meta1_transportprop */
	/* Connect and greet. Sets *sess at once when it returns (NULL only with an immediate
	 * failure). finish(OK): ready for send(). On any other finish the host calls shut(). */
	void (*open)(void *inst, struct meta1_req *, const struct meta1_hop *, void **sess);
	/* One mail. Not called before the last one was finished. */
	void (*send)(void *sess, struct meta1_req *, const struct meta1_mail *);
	int (*usable)(void *sess); /* 0: the peer went away or said 421: shut it */
	/* Says goodbye if it can without waiting; frees the session and sets it to NULL. A request
	 * of it that was cancelled may be open still: it is finished within, or later. */
	void (*shut)(void **sess);
	void (*cancel)(void *inst, struct meta1_req *); /* of open(), send() or probe() */
	/* 1: the final dot of the mail under way has left, the hop may have taken it: a role
	 * that stops waits for the reply instead of cancelling. NULL: never wait. */
	int (*past_dot)(void *sess);
	/* What the hop offers, after open() finished OK: the server keeps it, to refuse early what
	 * the hop would not take. Fills what caps->size has room for. NULL: not known. */
	void (*caps)(void *sess, struct meta1_caps *);
	/* Would the hop take mail for the recipients of this mail, which has no content? As send(),
	 * up to the replies to RCPT; nothing is delivered. What the hop says of a recipient comes
	 * by rcpt_result(), a yes too; finish() OK: each has one. Any other finish() is about the
	 * session, the host or the sender, and says nothing of recipients without a result.
	 * NULL: the protocol has no such question. */
	void (*probe)(void *sess, struct meta1_req *, const struct meta1_mail *);
	/* One word of how this session is protected, for people: "TLSv1.3,cipher,verified", or
	 * "none" and why. Valid until the session ends. NULL: not known. */
	const char *(*tls)(void *sess);
	/* Bits of META1_M_MUST that it heeds: META1_M_SMTPUTF8: addresses and header in UTF-8 are
	 * fine; META1_M_REQUIRETLS: it sends by TLS that is as it must be, or not at all (of
	 * META1_T_LOCAL ones: it is the end of the way). */
	uint32_t heeds, pad;
};

#ifdef __cplusplus
}
#endif

#endif
