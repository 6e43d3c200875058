/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sendmail.h -- the program by which cron, PHP and shells send mail, told in the order of a mail:
 *
 *   options.c    the command line, as other programs write it
 *   sendmail.c   main(): the steps; what is wanted of each recipient
 *   server.c     the socket of smtps, one command and its reply
 *   input.c      standard input in pieces: lines of any kind of end
 *   header.c     the header: whom it names, what it lacks, what does not leave
 *   addresses.c  lists of addresses as people write them
 *   content.c    the rest, line ends and dots as SMTP has them
 *   pass.c       -bs: standard input speaks SMTP itself
 *
 * It has no rights of its own, keeps nothing on disk and at most the header in memory. smtps has
 * all of a mail or none of it: a refused recipient, a lost connection or a bad header means that
 * nothing was sent, and the exit status (sysexits.h) says whether it is worth to try again.
 */
#ifndef META1_SENDMAIL_H
#define META1_SENDMAIL_H
#include "lib/base.h"
#include "mail/addr.h"

#include <sysexits.h>
#include <uthash.h>

#define SENDMAIL_HEADER_MAX (1u << 20)
#define SENDMAIL_RCPTS_MAX  10000
#define SENDMAIL_SOCKET	    "/run/meta1/submit"
#define SENDMAIL_NAME_MAX   256

/* One line on standard error; returns status. */
int sendmail_fail(int status, const char *fmt, ...) PRINTF(2, 3);

/* ---- options.c ---- */
enum sendmail_mode { SEND_MAIL, SEND_PASS, SEND_LIST, SEND_NOTHING };
struct sendmail_options {
	enum sendmail_mode mode;
	bool from_header, dots, verbose; /* -t, -i, -v */
	const char *sender, *full_name;	 /* NULL: not said */
	const char *notify, *ret, *envid, *body;
	const char *server;
	char **rcpt;
	int nrcpt;
};
/* 0, or an exit status after a message. */
int sendmail_options(struct sendmail_options *, int argc, char **argv);

/* ---- input.c ---- */
struct sendmail_input {
	int fd, error; /* error: errno of a failed read */
	bool eof;
	bool dots; /* a line that is a dot is a line, not the end */
	char *buf;
	size_t pos, len;
};
enum { INPUT_SIZE = 65536, INPUT_EOL = 16 }; /* INPUT_EOL: enough to know a line's end */
/* What is there, at least want bytes unless it ends before; want <= INPUT_SIZE. */
size_t sendmail_input_more(struct sendmail_input *, size_t want, const char **data);
/* What is there: a whole line, or enough of it, or all that is left. It waits for no more, since
 * who types or speaks through a pipe may wait for us. */
size_t sendmail_input_line(struct sendmail_input *, size_t enough, const char **data);
/* The line end at data, of n bytes: CR LF, LF, or several CR and LF; 0: none. */
size_t sendmail_input_eol(const char *data, size_t n);
/* The line at the beginning of data is a dot that ends the mail. */
bool sendmail_input_end(const struct sendmail_input *, const char *data, size_t n);

/* ---- addresses.c ---- */
/* For each address of a list: addr as it goes into an envelope, without a domain when none is
 * written; at: where in the text a domain would have to be put in. <0 stops. */
typedef int (*sendmail_address_fn)(void *arg, const char *addr, bool domain, size_t at);
/* 0, what fn said, or -1 and err: where it cannot be read. */
int sendmail_addresses(
    const char *text, size_t len, sendmail_address_fn, void *arg, struct meta1_err *);

/* ---- sendmail.c: recipients ---- */
struct sendmail_rcpt {
	UT_hash_handle hh;
	struct sendmail_rcpt *next;
	char addr[]; /* with domain */
};
struct sendmail_envelope {
	char domain[SENDMAIL_NAME_MAX]; /* of addresses that have none */
	char sender[ADDR_PATH_MAX + 1];
	struct sendmail_rcpt *seen, *first, **last;
	unsigned nrcpt;
	bool utf8; /* an address or the header is not ASCII */
};
/* <0: err. Twice the same is one. */
int sendmail_rcpt_add(struct sendmail_envelope *, const char *addr, struct meta1_err *);

/* ---- header.c ---- */
struct sendmail_header {
	char *text; /* lines with CR LF, without the empty one */
	size_t len, room;
	size_t *field; /* where each begins */
	unsigned nfield;
	bool eight;	     /* bytes above 127 */
	bool end;	     /* the mail ended with it */
	bool has_to, resent; /* is there any of To Cc Bcc; of Resent- */
};
/* 0, or an exit status after a message. */
int sendmail_header_read(struct sendmail_header *, struct sendmail_input *);
/* The recipients it names. 0, or as above. */
int sendmail_header_rcpts(struct sendmail_header *, struct sendmail_envelope *);
/* What is sent instead: domains put in, Bcc away, Date, From and Message-Id there. */
void sendmail_header_finish(struct sendmail_header *, const struct sendmail_envelope *,
    const char *full_name, struct sendmail_header *out);
void sendmail_header_free(struct sendmail_header *);

/* ---- server.c ---- */
enum { CAP_8BITMIME = 1, CAP_SMTPUTF8 = 2, CAP_DSN = 4 };
struct sendmail_server {
	int fd;
	bool verbose;
	const char *where;
	unsigned caps;
	char name[SENDMAIL_NAME_MAX]; /* as its greeting has it */
	char text[512];		      /* of the last reply, fit for a terminal */
	char buf[4096];
	size_t pos, len;
};
/* 0, or an exit status after a message, like all below. */
int sendmail_server_open(struct sendmail_server *, const char *where);
int sendmail_server_greeting(struct sendmail_server *);
int sendmail_server_ehlo(struct sendmail_server *, const char *domain);
/* A command without its CR LF, and its reply, which is to begin with the digit. what: of whom
 * the message speaks; refused: the status for 5xx. */
int sendmail_server_command(
    struct sendmail_server *, const char *command, char digit, const char *what, int refused);
int sendmail_server_reply(struct sendmail_server *, char digit, const char *what, int refused);
/* <0: the connection is gone; the reply that may stand there says why. */
int sendmail_server_write(struct sendmail_server *, const char *data, size_t n);
void sendmail_server_close(struct sendmail_server *);

/* ---- content.c ---- */
/* All of it was seen, without a byte above 127. */
bool sendmail_content_7bit(struct sendmail_input *);
/* The content and the final dot. 0, or an exit status after a message: then there was no dot. */
int sendmail_content(struct sendmail_server *, struct sendmail_input *, bool end);

/* ---- pass.c ---- */
int sendmail_pass(const struct sendmail_options *);

#endif
