/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn_priv.h -- what the files of a connection share: conn.c (reading, writing, the end),
 * conn_connect.c (getting connected), conn_tls.c (TLS in between). Nobody else includes it.
 */
#ifndef META1_CONN_PRIV_H
#define META1_CONN_PRIV_H
#include "lib/conn.h"
#include "lib/outq.h"

struct conn_tls;
struct conn {
	struct loop *loop;
	int fd;
	const struct conn_events *ev;
	void *arg;
	struct watch *rd, *wr, *timer, *retry;
	struct sockaddr_un *full_peer; /* the peer's backlog is: connect again */
	struct evbuffer *in;
	struct outq out; /* as it goes to the kernel */
	struct task flush;
	struct conn_tls *tls;	/* NULL: plain */
	size_t limit, room;	/* bytes of input; of the next read */
	int64_t timeout, moved; /* ms; when a byte moved last */
	int64_t due;		/* when the timer fires; 0: it is not armed */
	const char *why;
	enum conn_end how;
	bool connecting, paused, full, eof, ended;
	bool busy;  /* TLS does not want to read now */
	char *line; /* last line given out: its buffer */
	size_t line_cap;
};

/* conn.c */
void conn_reading(struct conn *); /* watches for input, if it is wanted */
void conn_writing(struct conn *, bool);
void conn_input(struct conn *); /* c->in grew */
/* The end event comes from here alone; the conn may be gone afterwards. */
void conn_end(struct conn *, enum conn_end, const char *why);
bool conn_write_out(struct conn *); /* what the kernel takes; false: dead (errno) */

/* conn_connect.c */
void conn_connected(struct conn *); /* the socket of one that connects is writable */

/* conn_tls.c; all but the last two with c->tls only */
struct evbuffer *conn_tls_wire(struct conn *); /* what is read goes here */
void conn_tls_input(struct conn *);	       /* it was; runs the owner's events: last in a call */
struct outq *conn_tls_plain(const struct conn *); /* what the owner wrote, not yet encrypted */
bool conn_tls_fill(struct conn *);		  /* c->out gets some of it; false: errno */
bool conn_tls_more(const struct conn *);	  /* there is some, and it may go */
void conn_tls_sent(struct conn *);		  /* c->out is empty */
void conn_tls_again(struct conn *);		  /* there is room for input again */
bool conn_tls_shaking(const struct conn *);
bool conn_tls_waits(struct conn *); /* what came is looked at before more is read */
void conn_tls_idle(struct conn *);
size_t conn_tls_held(const struct conn *);
void conn_tls_bye(struct conn *);  /* the rest and close_notify into c->out; plain from here on */
void conn_tls_free(struct conn *); /* likewise, without */

#endif
