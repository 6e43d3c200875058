/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dialog.h -- a client's words into a real session of the SMTP server, with smar, qmgr
 * and the store played by dialog.c. Everything is one process and one thread.
 *
 * smar answers by the client (192.0.2.66 550, 67 451, 68 discard), then the sender, then the
 * recipient, by their local parts (of MAIL's questions what is said of the recipient is the
 * sender's): bad… 550, temp… 451, drop… discard, shut… 421, mute… no answer, away… not asked at
 * all, hang… only when dialog_answer() says; all others are accepted. The store answers a commit on
 * the next turn, or when dialog_answer() says.
 */
#ifndef DIALOG_H
#define DIALOG_H
#include "smtps/smtps.h"

#define DIALOG_MSGS 64

/* What most dialogs are made of. */
#define S(text)	    text, sizeof(text) - 1
#define HI	    "EHLO c.test\r\n"
#define ENV	    "MAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\n"
#define BODY	    "Subject: t\r\n\r\nhi\r\n.\r\n"
#define FULL	    HI ENV "DATA\r\n" BODY

struct dialog_msg {
	char id[SMTPS_ID_SIZE], from[ADDR_PATH_MAX + 1], rcpts[1024];
	/* rcpts: each, "/notify/orcpt" if there is one, and a blank */
	char envid[128];
	char *data; /* as stored */
	size_t len;
	uint32_t flags;
	uint64_t bytes;
};

struct dialog {
	struct role role;
	struct smtps srv;
	struct smtps_gear gear;
	int client; /* the client's end, -1 when closed */
	char out[65536];
	size_t nout;
	bool eof;	/* the server closed */
	bool tls_first; /* the listener wants TLS from the first byte */
	/* the store */
	struct dialog_msg msg[DIALOG_MSGS]; /* committed */
	unsigned nmsg, begun, aborted;
	bool fail_begin, fail_write, fail_commit;
	bool hold, hold_smar; /* commits, and smar, answer only when dialog_answer() says */
	bool stuck;	      /* after MORE it is never ready */
	unsigned more;	      /* every so many writes one says MORE; 0: none */
	uint64_t next_id;
	/* smar and qmgr */
	struct p_check question; /* the last one; its strings are gone */
	unsigned asked, named, forgotten, queued, tails, backs, taken;
	uint64_t granted; /* credits so far */
	bool qmgr_down, qmgr_was_down, smar_down;
	char last_queued[256]; /* "id from rcpt,rcpt," */
	unsigned last_dsn;     /* its notify and orcpts */
};

/* Before all tests: as role.c does; and refusals are what is wanted, so their log is not shown. */
void dialog_quiet(void);
void dialog_open(struct dialog *); /* limits as the defaults; credits: 1000 */
void dialog_connect(struct dialog *);
/* Sends text in pieces of so many bytes (0: at once) and lets the server work on each. */
void dialog_say(struct dialog *, const char *text, size_t len, size_t piece);
void dialog_turns(struct dialog *, unsigned n);
void dialog_answer(struct dialog *);  /* what hangs: smar's answer, the commit */
void dialog_hang_up(struct dialog *); /* the client closes */
void dialog_close(struct dialog *);   /* checks that nothing is left */
/* "220 250 354": the codes of all replies so far, each with a blank. */
const char *dialog_codes(struct dialog *);
/* The whole of a session: open, connect, say, EOF; d stays open for looks. */
void dialog_run(struct dialog *, const char *text, size_t len, size_t piece);

#endif
