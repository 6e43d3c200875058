/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netmap.h -- a map whose answers come from a server; compiled into the maps that are so (redis,
 * pgsql, ldap). Such a module is a driver: it speaks the protocol on one connection.
 *
 * netmap.c	questions: they wait, go to a connection, and are answered
 * link.c	connections: made when there is a question, kept, left when they fail
 * server.c	where the servers are, their names, and the password
 *
 * Servers are tried in their order. One that cannot be reached, lies or is too slow rests for a
 * while, longer each time; a question that it failed goes to the next one. A connection that broke
 * after it had served is made anew for its questions once: a server may be restarted. What no
 * server answers is a temporary failure. All runs on the loop thread, but for names and what the
 * driver gives to netmap_offload().
 */
#ifndef MAP_NETMAP_H
#define MAP_NETMAP_H
#include "../values/values.h"

#include <meta1/map.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define NETMAP_SERVERS 8
#define NETMAP_ADDRS   4	 /* of one name */
#define NETMAP_CONNS   32	 /* to one server */
#define NETMAP_ASKS    1024	 /* that wait, those nobody waits for any more included */
#define NETMAP_KEY     3200	 /* a longer key is not found */
#define NETMAP_SECRET  1024	 /* bytes of a password, with its NUL */
#define NETMAP_BYTES   (2 << 20) /* received for one answer */

struct netmap_conf { /* the options of all of them, first in those of the module */
	const char *const *servers;
	int64_t timeout, ttl, connections;
};
#define NETMAP_OPTIONS(where, conns)                                                               \
	META1_OPT_LIST(struct netmap_conf, servers, NULL, META1_O_REQUIRED,                        \
	    where " The first is asked; the others when it fails."),                               \
	    META1_OPT_MSEC(struct netmap_conf, timeout, "5s", "100ms..1m",                         \
		"How long a connection or an answer may take before the next server is asked."),   \
	    META1_OPT_MSEC(struct netmap_conf, ttl, "1m", "0..1d",                                 \
		"How long an answer may be kept; 0: not at all."),                                 \
	    META1_OPT_INT(struct netmap_conf, connections, conns, "1..32",                         \
		"Connections to one server at most.")

struct netmap_server {
	char name[200]; /* for messages */
	char host[128]; /* a name or an address; "" of a unix socket */
	char path[108]; /* a unix socket, or "" */
	uint16_t port;
	bool named, tls; /* named: host must be looked up; tls: the driver's */
	/* link.c */
	struct sockaddr_storage addr[NETMAP_ADDRS]; /* of the last look-up */
	socklen_t len[NETMAP_ADDRS];
	unsigned naddr, turn; /* turn: which of them is next */
	bool looking;	      /* on a worker thread, which leaves found[] behind */
	struct sockaddr_storage found[NETMAP_ADDRS];
	socklen_t found_len[NETMAP_ADDRS];
	unsigned nfound;
	char why_not[100];
	struct netmap *map;
	unsigned nconn, fails;
	int64_t until; /* monotonic ms; no connection is made before */
};

struct netmap_ask {
	TAILQ_ENTRY(netmap_ask) next;
	struct meta1_req *req;	  /* NULL: nobody waits any more */
	struct netmap_conn *conn; /* NULL: it waits for one */
	int64_t sent;		  /* monotonic ms */
	uint32_t tried;		  /* bits of the servers that failed it */
	bool again;		  /* its connection broke once */
	int id;			  /* the driver's */
	struct values values;	  /* gathered so far */
	const char *bad;	  /* why they are of no use */
	size_t len;
	char key[];
};
TAILQ_HEAD(netmap_asks, netmap_ask);

struct netmap_conn { /* first in the driver's struct */
	struct netmap *map;
	struct netmap_server *server;
	int fd; /* of netmap_socket(), or -1; closed by link.c after the driver's close() */
	struct sockaddr_storage addr;
	socklen_t addrlen;
	struct netmap_asks asks; /* on their way, in order */
	unsigned nask;
	/* link.c */
	LIST_ENTRY(netmap_conn) link;
	bool named_wait, ready, answered;
	bool job, dead; /* a worker thread has it; it ends when that is done */
	bool full;	/* the driver's: it takes no more questions for now */
	int64_t since;
	struct meta1_watch *reader, *writer, *timer;
	int watched; /* descriptor of reader and writer */
	int job_fd;  /* the same socket, whatever the worker does with its own descriptor */
	void (*work)(struct netmap_conn *);
	int (*done)(struct netmap_conn *, struct meta1_err *);
};

/* A driver. <0 from a function: the connection is of no use, err says why. */
struct netmap_ops {
	size_t conn_size; /* of its struct */
	unsigned depth;	  /* questions on their way on one connection */
	uint16_t port;	  /* when a server names none */
	bool text;	  /* a key with a NUL is not found */
	/* Reads the text of a server; NULL: netmap_server(). <0: err. */
	int (*server)(const char *text, struct netmap_server *, struct meta1_err *);
	/* To c->addr; says netmap_ready() when it may be asked, now or later. */
	int (*connect)(struct netmap_conn *, struct meta1_err *);
	/* The descriptor is as it was watched for. */
	int (*event)(struct netmap_conn *, short what, struct meta1_err *);
	int (*ask)(struct netmap_conn *, struct netmap_ask *, struct meta1_err *);
	/* Frees what connect() made, also when that failed in between. */
	void (*close)(struct netmap_conn *);
};

struct netmap {
	const struct netmap_ops *ops;
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct netmap_conf *conf;
	struct netmap_server server[NETMAP_SERVERS];
	unsigned nserver, nask, nconn;
	struct netmap_asks waiting;
	LIST_HEAD(, netmap_conn) conns;
	struct meta1_watch *timer; /* a server's rest is over */
	char why[300];		   /* the last failure */
	char secret[NETMAP_SECRET];
};

/* ---- netmap.c: the parts of a module ---- */
/* secret: file with a password, or NULL. */
int netmap_open(const struct netmap_ops *, const struct meta1_host *, struct meta1_ctx *,
    const void *conf, const char *secret, void **inst, struct meta1_err *);
void netmap_lookup(void *inst, struct meta1_req *, struct meta1_buf key);
void netmap_cancel(void *inst, struct meta1_req *);
void netmap_close(void *inst);

/* ---- netmap.c: for drivers ---- */
/* Adds a value; one that is too much is told with the answer. */
void netmap_value(struct netmap_ask *, const void *, size_t);
/* The answer: META1_OK with the values of the question (NOTFOUND when there are none), NOTFOUND, or
 * TEMPFAIL with why. The question is gone then. */
void netmap_answer(struct netmap_ask *, enum meta1_status, const char *why);

/* ---- netmap.c: for link.c ---- */
void netmap_run(struct netmap *); /* hands out what waits */
void netmap_lost(struct netmap *, struct netmap_asks *, unsigned server, bool again);

/* ---- link.c: for drivers ---- */
/* A stream socket that connects to c->addr; writable when it has. <0: err. */
int netmap_socket(struct netmap_conn *, struct meta1_err *);
/* It became writable. <0: it could not connect. */
int netmap_connected(struct netmap_conn *, struct meta1_err *);
int netmap_watch(struct netmap_conn *, int fd, short what); /* <0: no memory */
void netmap_ready(struct netmap_conn *);
/* work() on a worker thread, which then has all of the connection; done() on the loop. The socket
 * of fd is shut down when that takes too long. While a thread is still at a connection that was
 * given up its server is not asked. */
int netmap_offload(struct netmap_conn *, int fd, void (*work)(struct netmap_conn *),
    int (*done)(struct netmap_conn *, struct meta1_err *), struct meta1_err *);

/* ---- link.c: for netmap.c ---- */
void netmap_start(struct netmap *, struct netmap_server *);
void netmap_send(struct netmap_conn *, struct netmap_ask *);
void netmap_hang_up(struct netmap *); /* all of them */

/* ---- server.c ---- */
/* "host", "host:port", "[2001:db8::1]:port", "/path". <0: err. */
int netmap_server(const char *text, struct netmap_server *, struct meta1_err *);
/* All of the option servers. How many, or <0: err. v: room for NETMAP_SERVERS, or NULL to check. */
int netmap_servers(const struct netmap_ops *, const struct netmap_conf *, struct netmap_server *v,
    struct meta1_err *);
/* One line of a file that is not for everybody. <0: err. */
int netmap_secret(const char *file, char out[NETMAP_SECRET], struct meta1_err *);
int netmap_fail(struct meta1_err *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
