/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inst.h -- what the files of core/mod share: a loaded file, an instance and
 * the lists of all that an instance holds. Nobody outside core/mod includes it.
 */
#ifndef META1_MOD_INST_H
#define META1_MOD_INST_H
#include "lib/conn.h"
#include "mod/mod.h"

#include <meta1/auth.h>
#include <meta1/map.h>
#include <meta1/pmilter.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define MOD_COUNTERS	 64
#define MOD_SLOW_MS	 10
#define MOD_REQ_MAX	 256   /* open look-ups a map */
#define MOD_REQ_MAX_ELSE 16384 /* open requests of other kinds, until mod_req_limit() */
#define MOD_ARENA_FIRST	 768
#define MOD_ARENA_MAX	 (16u << 20) /* bytes a request may hold: req_alloc() and replies */

struct mod {
	struct mod *next;
	const struct meta1_module *m;
	struct meta1_opt *opt; /* the module's records in our own struct's size */
	char *file;
	void *ops; /* of a stand-in: m->ops, when they are its own */
};

struct meta1_watch {
	LIST_ENTRY(meta1_watch) link;
	struct watch *watch;
	int fd; /* -1: a timer */
};

struct meta1_mapref {
	LIST_ENTRY(meta1_mapref) of_from, of_to;
	struct mod_inst *from, *to; /* to is NULL once that map is closed */
};

struct mod_mem { /* before each block that alloc() hands out */
	LIST_ENTRY(mod_mem) link;
	size_t len;
	uint64_t pad; /* keeps what follows at 16 bytes */
};

struct mod_counter {
	const char *given; /* the module's pointer: most names are literals */
	char *name;
	int64_t value;
	bool gauge;
};

struct meta1_conn { /* netconn.c */
	LIST_ENTRY(meta1_conn) link;
	struct mod_inst *in;
	struct conn *conn;
	struct loop *loop;
	const struct meta1_conn_events *ev;
	void *arg;
	struct tls_need *need; /* of TLS; or NULL */
	char *addr;	       /* of the hop, when handshakes are looked at; else NULL */
	uint32_t port;
	struct task gone; /* an end found inside a call of the module is told later */
	bool ended;
	char source[64]; /* our address */
	/* netlogin.c */
	char *login, *host; /* of the hop; NULL: nobody's */
	bool unix_socket;
	void *exchange;
	mod_done_fn login_cb;
	struct task nobody; /* there is nobody to answer login() */
};

/* A question of the module to another map or to DNS, ask.c. */
struct mod_ask {
	LIST_ENTRY(mod_ask) link;
	struct mod_inst *in; /* NULL: closed, the answer is dropped */
	struct meta1_req *req;
	struct task refused;
	void (*cb)(void *, enum meta1_status, const struct meta1_reply *);
	void *arg;
};

struct mod_arena {	      /* reply.c: memory of one request */
	struct block *blocks; /* newest first */
	size_t held, first_used;
	_Alignas(max_align_t) unsigned char first[MOD_ARENA_FIRST];
};

struct mod_inst {	       /* is the struct meta1_ctx of its module */
	struct mod_inst *next; /* of host->insts */
	uint32_t life;	       /* host->life when it was made */
	struct mod_host *host;
	const struct meta1_module *m;
	struct conf *keeps; /* its options are texts of that file */
	char *hostname, *qdir;
	char *name;	  /* map_text/access */
	const char *base; /* access */
	void *conf, *data;
	struct meta1_host table;
	void (*cancel)(void *inst, struct meta1_req *);
	/* Jobs, posts and requests that name this instance; freed when the last is gone. */
	atomic_uint refs;
	bool draining, closing, leaving, closed; /* leaving: inside the module's close() */
	bool blocking; /* META1_F_BLOCKING: lock guards mem and counters */
	pthread_mutex_t lock;

	LIST_HEAD(, mod_mem) mem;
	size_t mem_bytes;
	LIST_HEAD(, meta1_watch) watches;
	LIST_HEAD(, meta1_conn) conns;
	struct tls_ctx *tls;	  /* of these; NULL: none */
	mod_tls_seen_fn tls_seen; /* NULL: nobody looks */
	void *tls_seen_arg;
	const struct mod_login *login; /* of these; NULL: nobody */
	void *login_arg;
	LIST_HEAD(, mod_ask) asks;
	LIST_HEAD(, meta1_mapref) refs_from, refs_to;
	struct mod_counter counter[MOD_COUNTERS];
	unsigned ncounter;

	struct work_owner owner; /* offload(), and look-ups of a blocking module */
	uint32_t jobs;

	TAILQ_HEAD(, meta1_req) open, free; /* free: oldest first */
	uint32_t nopen, nfree, req_max;
	int64_t slow_said; /* monotonic ms of the last line about a slow op */

	struct mod_drain *drain;
};

static inline struct mod_inst *inst_of(struct meta1_ctx *ctx)
{
	return (struct mod_inst *)ctx;
}

/* elf.c: the file has all that its headers tell of. <0: err. */
int mod_elf_whole(const char *path, struct meta1_err *);

/* host.c */
void mod_table(struct mod_inst *);
void mod_log(struct mod_inst *, enum meta1_level, const char *text);
void mod_mem_drop(struct mod_inst *);
void mod_fault(struct mod_inst *, const char *fmt, ...) PRINTF(2, 3);

/* inst.c */
/* conf: what its options point into, kept with it; NULL: it has none. */
struct mod_inst *mod_inst_new(
    struct mod_host *, const struct meta1_module *, const char *name, struct conf *);
void mod_inst_add(struct mod_inst *);  /* it is open: among the host's */
void mod_inst_fail(struct mod_inst *); /* it never will be: takes back what it holds */
void mod_ref(struct mod_inst *);       /* any thread */
void mod_unref(struct mod_inst *);     /* loop thread; may free it */
/* A request or job left: a waiting drain or close may go on, which may free the instance. */
void mod_settled(struct mod_inst *);

/* iso.c: at exit, with mod_unload_all() */
void mod_apart_free(struct mod_host *);

/* Each fills its part of the table, and lets go of what is left at close. */
void mod_watch_table(struct meta1_host *);
void mod_watch_drop(struct mod_inst *);
void mod_ask_table(struct meta1_host *);
void mod_ask_drop(struct mod_inst *);
extern const struct meta1_conn_ops mod_conn_ops;
void mod_conn_drop(struct mod_inst *);
bool mod_conn_proven(const struct meta1_conn *);
void mod_conn_login(struct meta1_conn *, const char *service, const char *mechs, mod_done_fn);
void mod_conn_login_step(struct meta1_conn *, struct meta1_buf said, mod_done_fn);
void mod_conn_login_over(struct meta1_conn *, int code, const char *text);
void mod_conn_login_drop(struct meta1_conn *);
void mod_req_table(struct meta1_host *);
void mod_req_drop(struct mod_inst *); /* askers of what is open get TEMPFAIL */
void mod_req_free(struct mod_inst *); /* memory of requests, with the instance */
void mod_blocking_table(struct meta1_host *);

/* reply.c */
void *mod_arena(struct mod_arena *, size_t n); /* zeroed */
void mod_arena_clear(struct mod_arena *, bool wipe);
/* One allocation for all that the reply points to; ext is the module's and not copied. */
bool mod_reply_copy(struct mod_arena *, struct meta1_reply *to, const struct meta1_reply *);

/* req.c, for look.c and host.c: never refused; not counted against the limit. */
struct meta1_req *mod_req_new(struct mod_inst *, int64_t deadline_ms, mod_done_fn, void *arg);
void mod_req_answer(struct meta1_req *, enum meta1_status, const struct meta1_reply *);
void mod_req_refuse(struct meta1_req *, const char *text); /* TEMPFAIL, the module not asked */
void mod_req_uncancelled(struct meta1_req *);	 /* drain: the module gets no cancel() for it */
void *mod_req_arena(struct meta1_req *, size_t); /* freed with the request; NULL: too much */
/* Blocking maps: while a thread has it, finish() there only notes the answer. */
void mod_req_job(struct meta1_req *, bool on_thread);
bool mod_req_gone(const struct meta1_req *); /* any thread: nobody asks any more */
void mod_req_job_end(struct meta1_req *);

#endif
