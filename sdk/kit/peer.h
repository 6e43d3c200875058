/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.h -- a server that plays a script, for modules that connect to one. It lives in
 * the kit's loop and takes one connection after the other; each plays the script from its place
 * on. A module that uses conn->open() meets it without a socket (conn.c); one that makes
 * its own sockets finds it on a unix socket in the kit's folder, of the same name.
 *
 * A script is lines; the first character says what to do:
 *	> text	send text and CRLF
 *	~ text	the same, a byte a turn of the loop
 *	# text	send text, no CRLF
 *	< text	take a line that begins with text
 *	& text	wait until text stands somewhere in what was received and not yet taken
 *	.	take the lines up to a single dot; they are kept in content
 *	*	wait until the module begins TLS; it stands
 *	! text	the same, and it fails
 *	= text	send bytes: \0, \r, \n, \t, \\ and \xHH stand for one
 *	? text	wait until these bytes, written likewise, were received; takes all up to their end
 *	-	hang up; the next line is for the next connection
 *	...	do nothing from here on
 */
#ifndef META1_KIT_PEER_H
#define META1_KIT_PEER_H
#include "kit.h"

struct kit_peer {
	struct kit_far far;
	struct kit_server server;
	struct kit *k;
	const char *at; /* what is played next */
	int listener, fd;
	struct watch *accepting, *reading;
	struct meta1_conn *conn; /* who is connected without a socket */
	struct task step;	 /* for sending byte by byte */
	char path[108];
	char in[65536];
	size_t len;
	char content[65536]; /* of the last "." */
	char said[65536];    /* all that was received, for greps */
	size_t nsaid;
	size_t sent;	     /* of a "~" line */
	unsigned accepted;   /* connections */
	bool silent, closed; /* reached "..."; the module hung up */
	char error[256];     /* what did not come as the script says */
};

/* Listens; path is in p. <0: err. */
int kit_peer_open(struct kit *, struct kit_peer *, struct meta1_err *);
void kit_peer_play(struct kit_peer *, const char *script); /* with the next connection */
/* Nothing is left to play and nothing is wrong. */
bool kit_peer_done(struct kit_peer *);
void kit_peer_close(struct kit_peer *);

/* ---- real.c: without a script, a server that runs ---- */
struct kit_real;
struct kit_real *kit_real_open(struct loop *, const struct meta1_hop *, struct meta1_conn *);
size_t kit_real_take(struct kit_real *, const void *, size_t); /* 0: it takes no more */
void kit_real_close(struct kit_real **);

#endif
