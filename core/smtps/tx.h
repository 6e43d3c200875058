/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tx.h -- a transaction and its content, from the parameters of MAIL to the commit; the second half
 * of smtps.h, which includes it and tells the story of the files.
 */
#ifndef META1_SMTPS_TX_H
#define META1_SMTPS_TX_H
#include "smtps/smtps.h"

/* ---- params.c: what stands behind the address in MAIL and RCPT ---- */

/* Into the transaction; 0, or the code of a refusal with "x.y.z text" in err. */
int smtps_params(
    struct smtps_session *, struct smtps_tx *, bool rcpt, const char *, size_t, struct meta1_err *);

/* ---- tx.c: a transaction ---- */

struct smtps_rcpt {
	STAILQ_ENTRY(smtps_rcpt) next;
	struct meta1_buf addr;
	struct meta1_buf told;	/* as the client said it: an alias that stands for addr */
	struct meta1_buf orcpt; /* RFC 3461, as in struct meta1_rcpt */
	uint32_t notify;
	uint32_t flags; /* of aliases, as in struct meta1_qrcpt, like these: */
	struct meta1_buf sender, alias;
	uint32_t place; /* smtps_expand_unique() only */
	bool twice;
};

enum smtps_body { BODY_STORE, BODY_DROP }; /* DROP: consumed up to its end and forgotten */

/* The scanner of data.c; pure, so that it stands without a session. */
struct smtps_scan {
	uint64_t stored;  /* bytes of content as stored: with the stuffing */
	uint64_t stuffed; /* lines that began with a dot: stored - stuffed is the plain length */
	uint32_t hops;	  /* Received lines in the header */
	uint8_t state, match;
	bool header;	 /* still in it */
	bool bare;	 /* a CR or LF that is no line end was seen */
	bool eight;	 /* a byte above 127 was seen */
	bool eight_head; /* one of them in the header */
	bool nul;	 /* a NUL was seen in the header */
	bool done;	 /* the final dot was seen */
	bool plain;	 /* BDAT: content as it is, ended by count */
	bool repair;	 /* a bare CR or LF becomes CRLF and is not marked bare */
	bool mended;	 /* that happened */
	struct tls_required tls;
};

/* What to store: nadd bytes that are not in the input, then keep bytes of it. */
struct smtps_image;
struct smtps_judged;
struct smtps_run {
	const char *add;
	size_t nadd, keep;
};

struct smtps_tx {
	struct smtps *srv;
	struct smtps_session *session; /* NULL: the client went away after its final dot */
	struct pool pool;
	struct meta1_buf from;
	struct meta1_buf envid; /* RFC 3461, as in struct meta1_mail */
	uint32_t flags;		/* enum meta1_mailflag: what parameters of MAIL said */
	bool eight;		/* BODY=8BITMIME was said */
	bool dsn;		/* a recipient has notify or orcpt */
	bool expanded;		/* a recipient stood for others */
	STAILQ_HEAD(, smtps_rcpt) rcpts;
	unsigned nrcpt;		  /* in rcpts */
	unsigned ntaken;	  /* RCPTs answered 250 */
	unsigned ndiscard, asked; /* of these, thrown away; RCPTs answered in any way */
	uint32_t checked, grants; /* stages that MAIL asked about, and what came of it */
	bool discard;		  /* the verdict on MAIL: whoever it is for, thrown away */
	unsigned nowner;	  /* senders that lists gave */
	uint32_t epoch;		  /* of the credit it holds, 0: none */
	struct meta1_qmsg *msg;
	struct smtps_scan scan;
	struct smtps_authres authres;
	enum smtps_body body;
	struct evbuffer *back;	     /* of a report: what goes back to qmgr */
	struct smtps_image *image;   /* the content, when filters judge it; else NULL */
	struct smtps_judged *judged; /* of judged.c: what they leave of it goes into the store */
	const char *hold;	     /* a filter's reason to hold it; in pool */
	struct smtps_rcpt *last;     /* before the recipient that filters are asked about */
	unsigned last_nrcpt, last_nowner;
	uint64_t head;		     /* bytes of our trace lines */
	uint64_t cut;		     /* bytes of the header that were taken out */
	uint32_t spf;		     /* PROTO_SPF() of ipc/proto.h, 0: not known */
	const char *spf_why;	     /* in pool */
	uint64_t held;		     /* bytes in srv->memory, since the session is gone */
	uint64_t dropped;	     /* bytes thrown away since it is DROP */
	uint64_t announced;	     /* plain bytes, with all of the chunk that BDAT announced */
	bool prdr;		     /* a reply for each recipient is wanted */
	bool failed;		     /* the store lost the message */
	bool counted;		     /* in srv->nopen */
	const struct meta1_env *env; /* from the final dot on; in pool */
	const char *client, *name, *tls,
	    *helo;		 /* of the session, copied; in pool; name "": none is known */
	struct meta1_buf asking; /* the recipient that smar is asked about; in ask */
	char ask[ADDR_PATH_MAX];
	uint32_t ask_notify; /* RFC 3461, of that recipient */
	struct meta1_buf ask_orcpt;
	char orcpt[XTEXT_ORCPT_MAX];
	char id[META1_ID_MAX];
};

#define SMTPS_RCPTS_MAX	 10000 /* of QUEUED in core/ipc/proto.def, expanded */
#define SMTPS_OWNERS_MAX 1000  /* likewise */
int64_t smtps_tx_rcpts_max(const struct smtps_limits *); /* of a transaction, as enforced */
void smtps_tx_invalid(struct smtps_session *); /* counts a refused address; may end the session */
void smtps_tx_mail(struct smtps_session *, const struct smtps_line *);
/* MAIL waited for the queue: it has a credit now, or (false) none came in time. */
void smtps_tx_waited(struct smtps_session *, bool credit);
void smtps_tx_rcpt(struct smtps_session *, const struct smtps_line *);
/* The one way a transaction ends, whatever happened: nothing of it survives. The message is
 * aborted unless it was committed, the credit given back unless it was used, a question
 * at smar forgotten. The session is READY afterwards if it was past HELO. */
void smtps_tx_reset(struct smtps_session *);
void smtps_tx_discard(struct smtps_tx *); /* nobody gets it; what follows is taken all the same */
/* The same for a transaction that has lost its session, or is taken from it. */
void smtps_tx_free(struct smtps_tx **);

/* ---- expand.c: recipients that stand for others ---- */

/* The recipient that is asked about is what the verdict says. false: too many, or no memory. */
bool smtps_expand_add(struct smtps_tx *, const struct p_verdict *);
/* Leaves each address in the message once. false: no memory. */
bool smtps_expand_unique(struct smtps_tx *);

/* ---- body.c, bdat.c, data.c, received.c: the content ---- */

void smtps_body_data(struct smtps_session *, const struct smtps_line *); /* the verb */
/* A message in the store, its Received line first; plain: of BDAT. false: the store takes
 * none, 452 was said, the transaction is gone. */
bool smtps_body_begin(struct smtps_session *, bool plain);
bool smtps_body_store(struct smtps_session *); /* a message of the store; false: the log says why */
enum meta1_status smtps_body_put(struct smtps_tx *, const void *, size_t); /* DATA form, into it */
void smtps_body_drop(struct smtps_tx *); /* wherever the content is, it is forgotten */
/* Feeds what is in the input; true: the end was seen and the session may go on. */
bool smtps_body_run(struct smtps_session *);
/* The content of BDAT is complete: its last line gets the end that it may lack. */
void smtps_body_finish(struct smtps_session *);
/* So many bytes of refused content: more than is listened to? Then 421 was said. */
bool smtps_body_endless(struct smtps_session *, uint64_t dropped);

void smtps_bdat(struct smtps_session *, const struct smtps_line *); /* the verb */
/* The last octet of an accepted chunk was taken. */
void smtps_bdat_end(struct smtps_session *);
/* Throws away octets of a refused chunk; true: there are no more, or the session ends. */
bool smtps_bdat_skip(struct smtps_session *);
/* A line that wants to be BDAT, whatever is wrong with it. */
bool smtps_bdat_like(const char *line, size_t len);
/* How many octets follow is not known: nothing of them may be read as commands. */
void smtps_bdat_lost(struct smtps_session *, int code, const char *dsn, const char *text);

void smtps_data_start(struct smtps_scan *, bool plain, bool repair);
/* Looks at n bytes. Returns how many it took, those of the message's final ".CRLF" included:
 * fewer than n when done, or when something is to be stored before the next: then call
 * again with the rest. Each call changes the state or takes a byte. */
size_t smtps_data_scan(struct smtps_scan *, const uint8_t *p, size_t n, struct smtps_run *);
/* The content of BDAT ends here. RFC 3030 lets its last line be without CRLF; stored is DATA
 * form, which is not, so a CRLF is added. */
void smtps_data_end(struct smtps_scan *, struct smtps_run *);

/* Into out, CRLF at the end; its length. rcpt: NULL unless there is exactly one. */
size_t smtps_received_line(
    char *out, size_t size, const struct smtps_session *, const struct smtps_tx *);

/* ---- report.c: reports of qmgr, judged and given back ---- */

void smtps_report_judges(const struct smtps *); /* tells qmgr whether filters here judge reports */
void smtps_report_asked(struct chan *, uint32_t req, const void *msg, void *arg); /* REPORT */
void smtps_report_end(struct smtps_session *);
const struct smtps_verdict *smtps_report_verdict(void); /* of all its recipients */
void smtps_report_taken(struct smtps_session *, const struct meta1_env *);

/* ---- commit.c: stable storage, then 250 ---- */

/* The end was seen: refuse, swallow, or commit. */
void smtps_commit_start(struct smtps_session *);
/* Judges what is known before the end; true: refused, and the transaction is gone. */
bool smtps_commit_refused(struct smtps_session *);
/* The store has what filters left of it: commit, unless that is too much. */
void smtps_commit_judged(struct smtps_session *);
/* 250, and nobody gets it; by: the filter that says so, or NULL. */
void smtps_commit_discard(struct smtps_session *, const char *by);

#endif
