/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.h -- a stream of bounded frames between two processes, with descriptors; never blocks. A
 * frame has a type, a number that tells which question it is about, and a body by a table
 * (shape.h). All frames of a loop turn leave in one write.
 */
#ifndef META1_MOD_WIRE_H
#define META1_MOD_WIRE_H
#include "lib/loop.h"
#include "mod/shape.h"

#define WIRE_FRAME_MAX	(4u << 20) /* bytes of a body */
#define WIRE_UNSENT_MAX (16u << 20)
#define WIRE_FDS_MAX	16 /* of a frame */

struct wire_head {
	uint32_t len; /* of the body */
	uint16_t type, nfd;
	uint32_t id;
};
struct wire_frame {
	uint16_t type, nfd;
	uint32_t id;
	const uint8_t *p; /* body, valid during the call */
	size_t n;
	int fd[WIRE_FDS_MAX]; /* who takes one sets it to -1, the others are closed */
};
struct wire;
extern const char wire_eof[]; /* gone() says this when the other end was closed */
struct wire_user {
	/* false: nonsense, the stream ends. May close the wire. */
	bool (*frame)(void *arg, struct wire_frame *);
	void (*gone)(void *arg, const char *why); /* once; nothing follows, close it */
	void *arg;
};

/* Takes fd. */
struct wire *wire_new(struct loop *, int fd, const struct wire_user *);
void wire_close(struct wire **);
/* What goes over it from now on may be secret: no copy of a frame is left in memory. */
void wire_secret(struct wire *);
/* fds are taken whatever comes of it. false: too large, too much is unsent, or it is gone. */
bool wire_send(struct wire *, uint16_t type, uint32_t id, const struct shape *, const void *msg,
    int *fds, unsigned nfd);
/* What has come so far, without waiting for the loop. */
void wire_read(struct wire *);

#endif
