/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * socket.h -- the parts of map_socket: servers.c reads where they are, map_socket.c keeps the
 * questions in the order in which they were asked, link.c the one connection on which they are on
 * their way.
 *
 * The first "nsent" questions of the list were written to the connection; the server answers them
 * in this order. All runs on the loop thread.
 */
#ifndef MAP_SOCKET_H
#define MAP_SOCKET_H
#include <meta1/map.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define SOCKET_SERVERS 8
#define SOCKET_ASKS    1024	   /* that wait, those nobody waits for any more included */
#define SOCKET_KEY_MAX 3200	   /* a longer key is not found */
#define SOCKET_REPLY   (32u << 10) /* a longer reply is none */
#define SOCKET_REST_MS 10000	   /* so long a server that failed is the last choice */
#define SOCKET_DOWN_MS 1000	   /* so long after all failed no one is asked */

struct socket_conf {
	const char *path, *address, *mapname;
	int64_t port, timeout, ttl;
	const char *const *fallback;
};
struct socket_server {
	struct sockaddr_storage sa;
	socklen_t len;
	char name[128]; /* for messages */
	int64_t failed; /* monotonic ms; 0: never */
};
struct ask {
	STAILQ_ENTRY(ask) next;
	struct meta1_req *req; /* NULL: nobody waits any more */
	int64_t sent;	       /* monotonic ms */
	unsigned tried;	       /* bits of the servers that failed it */
	size_t len;
	char text[]; /* the netstring */
};
struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct socket_conf *conf;
	struct socket_server server[SOCKET_SERVERS];
	int nserver, at; /* at: the one connected to */
	STAILQ_HEAD(, ask) asks;
	unsigned nask, nsent;
	/* link.c */
	int fd; /* -1: not connected */
	bool connecting, writing;
	int64_t since, down; /* connecting since; nobody is asked before */
	struct meta1_watch *reader, *writer, *timer;
	char *out; /* written in part */
	size_t nout, sent_out, out_cap;
	size_t nin;
	char in[SOCKET_REPLY + 16];
};

/* ---- servers.c ---- */
/* Where they are; how many, or 0 with err. */
int socket_servers(
    const struct socket_conf *, struct socket_server v[SOCKET_SERVERS], struct meta1_err *);

/* ---- link.c ---- */
int link_open(struct map *); /* <0: no memory */
void link_close(struct map *);
/* The last of the list is new. */
void link_ask(struct map *, struct ask *);

/* ---- map_socket.c ---- */
void map_tempfail(struct map *, struct ask *, const char *why);
/* A reply to the first question. false: it is none. */
bool map_answered(struct map *, const char *, size_t);

#endif
