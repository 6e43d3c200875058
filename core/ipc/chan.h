/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chan.h -- a framed connection to another process of this server.
 *
 * All frames queued in a loop turn leave in one write. Handlers run in the order of
 * frames; a message lives only during its handler. Questions are bounded by a window:
 * chan_ask() says no (0) when the peer is away or the window is full; the asker answers
 * its own client with a temporary failure. The answer, or its absence (deadline,
 * peer gone: msg NULL), comes exactly once and never inside chan_ask().
 *
 * Client side: reconnects by itself (50 ms, doubling to 2 s); "up" after HELLO was
 * exchanged and agreed. Server side: chan_listen() on a socket that mcp made; peers
 * are checked with SO_PEERCRED against the uids allowed.
 */
#ifndef META1_CHAN_H
#define META1_CHAN_H
#include "ipc/proto.h"
#include "lib/loop.h"

struct chan;
struct chan_server;

/* Message table of a role: one row a message it takes. req: number to answer, 0 none. */
struct chan_handler {
	enum proto_type type;
	void (*fn)(struct chan *, uint32_t req, const void *msg, void *arg);
};
typedef void (*chan_answer_fn)(void *arg, const void *msg);

struct chan_side { /* what a process is, for HELLO and dispatch; outlives its chans */
	enum proto_who who;
	struct loop *loop;
	uint32_t index, writer;
	const char *version, *store;	     /* store: format of the queue module, "" if none */
	const struct chan_handler *handlers; /* ended by type P_NONE */
	void *arg;			     /* for handlers */
	void (*up)(struct chan *, const struct p_hello *, void *arg);
	void (*down)(struct chan *, void *arg); /* questions were answered with NULL before */
};

/* Client: path of the server's socket. Never fails; keeps trying. */
struct chan *chan_connect(const struct chan_side *, enum proto_who peer, const char *path);
/* By the name of a role; 0: there is none. */
enum proto_who chan_who(struct meta1_buf role);
/* Server: takes the listening descriptor. users: who may connect besides root and ourselves, and
 * as what; a uid may stand there several times. Nobody, until they are named. */
struct chan_user {
	uid_t uid;
	enum proto_who who;
};
struct chan_server *chan_listen(const struct chan_side *, int fd);
/* From now on; who is connected stays. */
void chan_server_users(struct chan_server *, const struct chan_user *, unsigned n);
void chan_server_free(struct chan_server **);
/* A connected pair end (mcp and its children): no HELLO, up at once. Takes fd. */
struct chan *chan_adopt(const struct chan_side *, enum proto_who peer, int fd);
void chan_close(struct chan **);

bool chan_up(const struct chan *);
enum proto_who chan_peer(const struct chan *);
const struct p_hello *chan_hello(const struct chan *); /* the peer's, while up */
void **chan_slot(struct chan *);		       /* the role's own pointer */

/* false: not up, more than 8 MiB unsent, or larger than a frame (then nothing was queued). */
bool chan_send(struct chan *, enum proto_type, const void *msg);
bool chan_send_fd(struct chan *, enum proto_type, const void *msg, int fd); /* fd stays open */
int chan_take_fd(struct chan *); /* in the handler of a message that carries one; -1: none */
size_t chan_unsent(const struct chan *);
/* Request number, 0: no. Deadline 0: the table's. window: at most so many open questions of
 * this chan (256 unless chan_window() said else). */
uint32_t chan_ask(struct chan *, enum proto_type, const void *msg, uint32_t deadline_ms,
    chan_answer_fn, void *arg);
void chan_forget(struct chan *, uint32_t req); /* the asker went away: no call */
#define CHAN_WINDOW_MAX 65535 /* the place of a question has 16 bits of its number */
void chan_window(struct chan *, uint32_t questions);
void chan_answer(struct chan *, uint32_t req, enum proto_type, const void *msg);
/* A handle for an answer given later; stays valid when the chan dies (answers go nowhere). */
struct chan_reply {
	struct chan *chan;
	uint32_t req;
	struct chan_reply *next, **prevp;
};
void chan_later(struct chan *, uint32_t req, struct chan_reply *);
void chan_reply_send(struct chan_reply *, enum proto_type, const void *msg); /* and forget it */
void chan_reply_drop(struct chan_reply *);

#endif
