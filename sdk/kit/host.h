/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * host.h -- the kit's own host: a second implementation of struct meta1_host, which knows
 * nothing of the server's. The two meet in meta1/module.h alone, so that what one
 * of them does beyond its words is found by the other.
 *
 * It differs where a server must not: the clock stands still, memory is counted, fenced and
 * fails on demand, connections go to a script in this process (peer.h), every call is
 * held against the law of threads, and what was freed or finished is kept for a while, so
 * that what comes late is seen.
 *
 * load.c judges a file; host.c is the table; inst.c opens and closes; req.c, event.c, ask.c,
 * conn.c each do a part of the table. Suites use what stands here.
 */
#ifndef META1_KIT_HOST_H
#define META1_KIT_HOST_H
#include "lib/loop.h"
#include "lib/opt.h"
#include "lib/work.h"

#include <pthread.h>
#include <sys/queue.h>

struct kit_inst; /* a configured instance: the struct meta1_ctx of its module */

/* The other end of a connection: one that plays a script (peer.h), or a filter (filter.h). */
struct meta1_conn;
struct kit_far {
	const struct kit_far_ops *ops;
	bool trusted; /* the certificate of its TLS */
};
struct kit_far_ops {
	bool (*reads)(const struct kit_far *);
	size_t (*take)(struct kit_far *, const void *, size_t); /* how much it had room for */
	void (*left)(struct kit_far *);				/* the module hung up */
	void (*stir)(struct kit_far *);				/* it begins TLS */
};
/* Where connections lead, by the path that hop.addr says. */
struct kit_server {
	const char *path;
	void (*meet)(struct kit_server *, struct meta1_conn *); /* calls kit_conn_lead() */
};

typedef void (*kit_done_fn)(void *arg, enum meta1_status, const struct meta1_reply *);
typedef void (*kit_rcpt_fn)(
    void *arg, uint32_t rcpt, enum meta1_status, const struct meta1_reply *);
typedef void (*kit_dns_fn)(
    void *arg, const char *name, uint16_t type, int64_t deadline, kit_done_fn cb, void *cbarg);

struct kit_module { /* a loaded file */
	struct kit_module *next;
	char *file; /* absolute */
	const struct meta1_module *m;
	struct meta1_opt *opt; /* its records in our own struct's size */
	void *code;	       /* of dlopen() */
};

struct kit_host {
	struct loop *loop;
	struct work *work;
	pthread_t thread; /* of the loop */
	uint32_t role;
	const char *hostname, *qdir;
	kit_dns_fn dns;
	void *dns_arg;

	/* Where connections lead; NULL: to servers that run. trickle: what the peer says comes in
	 * pieces of so many bytes, one a turn; 0: at once. tls: STARTTLS can be had. */
	struct kit_server *server;
	size_t trickle;
	bool tls;

	/* The call that fails, of those that may: the fail_at'th from now; 0: none does. */
	unsigned fail_at, fallible, failed;

	/* Files that the module handles itself: reads and writes do half of what they are asked
	 * for; the process ends at this change of a file, from 1 (hook_files.c). */
	bool parts;
	unsigned crash_at, changes, calls;

	pthread_mutex_t lock; /* of what follows, and of memory */
	char fault[512];      /* laws broken since kit_fault_take() */
	char *log;	      /* every line since kit_log_clear() */
	size_t log_len;
	void (*line)(void *arg, const char *instance, enum meta1_level, const char *text);
	void *line_arg; /* of line: each line of the log; may be NULL */

	struct kit_site *sites; /* sites.c */
	struct kit_module *modules;
	struct kit_inst *insts;
	TAILQ_HEAD(, kit_mem) freed; /* oldest first */
	size_t freed_bytes;
	struct kit_ring *ring; /* finished requests */
};

void kit_host_start(struct kit_host *, const char *qdir);
void kit_host_end(struct kit_host *);
/* Counts from now on; the n'th fallible call fails (0: none). */
void kit_host_fail(struct kit_host *, unsigned n);
/* "" when no law was broken; the text is gone then. */
void kit_fault_take(struct kit_host *, char *out, size_t size);
/* A text in the log since the last clear. */
bool kit_log_has(struct kit_host *, struct meta1_buf text);
void kit_log_clear(struct kit_host *);

size_t kit_heap(struct kit_host *); /* bytes of memory in use */
int64_t kit_heap_own(void);	    /* of these by calls of modules' files themselves */

/* ---- load.c ---- */
/* Loads a file as far as its descriptor. NULL: err. Nothing of it is judged but that. */
struct kit_module *kit_load(struct kit_host *, const char *file, struct meta1_err *);
uint64_t kit_offers(const struct meta1_module *); /* enum meta1_service: all that any role does */
/* One rule after the other, before any of the module's functions is called; each is told
 * to say(), which may be NULL. false: one of them is broken. Without this no instance can be
 * opened. */
bool kit_judge(struct kit_module *,
    void (*say)(void *arg, bool ok, const char *rule, const char *found), void *arg);
/* Symbols that the file needs or offers; kind 'U' or 'D'. <0: err: it cannot be read. */
int kit_symbols(const char *file, void (*fn)(void *arg, char kind, const char *name), void *arg,
    struct meta1_err *);

/* ---- inst.c ---- */
struct kit_inst *kit_inst_open(struct kit_host *, const struct kit_module *, const char *name,
    struct conf *, struct meta1_err *);
/* Calls drain(). True when it finished, and all that was open. */
bool kit_inst_drain(struct kit_inst *, int64_t ms);
void kit_inst_close(struct kit_inst **); /* no job is on a thread */
bool kit_busy(const struct kit_host *);	 /* a job is on a thread */
/* Some instance waits for a descriptor, a connection, a question or a thread. */
bool kit_waits(const struct kit_host *);
void *kit_data(const struct kit_inst *); /* the module's instance pointer */
const void *kit_ops(const struct kit_inst *);
/* How often a call held the loop asleep. */
unsigned kit_slept(const struct kit_inst *);
size_t kit_held(const struct kit_inst *); /* bytes of alloc() */
int64_t kit_counter(const struct kit_inst *, const char *name);

/* ---- req.c ---- */
struct meta1_req *kit_req_new(struct kit_inst *, int64_t deadline_ms, kit_done_fn, void *arg);
void kit_req_rcpts(struct meta1_req *, kit_rcpt_fn, uint32_t nrcpt);
void kit_req_deadline(struct meta1_req *, int64_t deadline_ms); /* another one */
/* The asker goes away: the module gets cancel(). */
void kit_req_cancel(struct meta1_req **);
/* A look-up as the server does it: by find(), by lookup(), on a thread when it may sleep. */
struct meta1_req *kit_lookup(
    struct kit_inst *, struct meta1_buf key, int64_t deadline_ms, kit_done_fn, void *arg);

/* ---- conn.c, for who is at the other end ---- */
void kit_conn_lead(struct meta1_conn *, struct kit_far *);    /* in meet() */
void kit_conn_say(struct meta1_conn *, const void *, size_t); /* the peer sends */
void kit_conn_hang_up(struct meta1_conn *);		      /* behind what it sent */
void kit_conn_secured(struct meta1_conn *, const char *why);  /* NULL: TLS stands */
bool kit_conn_shaking(const struct meta1_conn *);
void kit_conn_pull(struct meta1_conn *); /* the peer has room again */

#endif
