/* SPDX-License-Identifier: BSD-2-Clause */
/* chan_private.h -- what chan.c (frames, questions) and peers.c (connecting, greeting) share. */
#ifndef META1_CHAN_PRIVATE_H
#define META1_CHAN_PRIVATE_H
#include "ipc/chan.h"

struct chan_ask {
	uint32_t req; /* 0: free */
	uint32_t serial;
	unsigned type;
	int64_t deadline;
	chan_answer_fn fn;
	void *arg;
};

struct chan {
	const struct chan_side *side;
	enum proto_who peer;
	int fd; /* -1: not connected */
	bool up, adopted, refused;
	void *slot;

	struct watch *rd, *wr, *ticker, *retry;
	struct task flush;
	uint8_t *in;
	size_t in_len, in_cap;
	struct evbuffer *out;
	struct pool pool;    /* of the frame being handled */
	uint32_t generation; /* of the connection: grows when it is lost */
	unsigned busy;	     /* callbacks under way: destroy later */
	bool closed;

	struct chan_ask *asks;
	uint32_t window, nasks, next_ask;
	struct chan_reply *replies;
	int fds[16];
	size_t nfds;

	struct p_hello hello; /* the peer's; its strings are in the arrays below */
	char h_role[17], h_version[65], h_store[65];

	/* client */
	char *path;
	int64_t backoff;
	/* server */
	struct chan_server *server;
	struct chan *next, **prevp;
};

/* chan.c */
struct chan *chan_alloc(const struct chan_side *, enum proto_who peer);
bool chan_queue(struct chan *, enum proto_type, uint32_t req, const void *msg);
void chan_write_out(struct chan *);
void chan_rd_ready(int fd, short what, void *arg);
void chan_unanswered(struct chan *);
/* peers.c */
bool chan_greeted(struct chan *, const struct p_hello *); /* false: drop it */
void chan_lost(struct chan *, const char *why);
void chan_destroy(struct chan *);

#endif
