/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mod.h -- the module host as roles see it, in the order of use:
 * load a file, open an instance, ask it, drain and close it.
 *
 * load.c alone includes ltdl.h. host.c is the table that modules get. req.c is the law
 * of requests: the asker's callback runs once, on a later turn, at the latest at
 * the deadline.
 */
#ifndef META1_MOD_H
#define META1_MOD_H
#include "lib/loop.h"
#include "lib/opt.h"
#include "lib/settings.h"
#include "lib/work.h"

struct mod;	 /* a loaded file */
struct mod_inst; /* a configured instance: the struct meta1_ctx of its module */

typedef void (*mod_dns_fn)(void *arg, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *cbarg);

struct tls_ctx;
struct mod_host { /* one a process, filled by the role's main */
	struct loop *loop;
	struct work *work;
	enum meta1_role role;
	uint32_t process;
	const char *hostname, *qdir;
	const char *module_directory;
	mod_dns_fn dns; /* NULL: dns() of a module is TEMPFAIL */
	void *dns_arg;
	void (*changed)(void *arg); /* an instance said its data changed; may be NULL */
	void *changed_arg;
	bool strict; /* kit and developer builds: leftovers and double finishes are fatal */
	/* A module broke a law; text without the instance. NULL: logged, and fatal when strict. */
	void (*fault)(void *arg, const char *instance, const char *text);
	void *fault_arg;
	/* In a worker: where lines of modules go, instead of the log. */
	void (*log)(void *arg, enum meta1_level, const char *text);
	void *log_arg;
	/* A worker does not answer: it is to be killed. */
	void (*worker_kill)(void *arg, uint32_t pid);
	void *worker_arg;
	uint32_t life; /* +1 for each configuration that instances are opened for */
	struct mod *mods;
	struct mod *apart; /* what stands in a role for modules of workers */
	struct mod_inst *insts;
	struct mod_spare *spares; /* workers that no instance has taken yet */
	struct iso *isos;
	struct mod_await *await; /* who goes on when they are open */
};

/* ---- load.c: find, judge, keep ---- */
/* Finds kind_what.so (META1_MODULE_PATH for unprivileged or developer runs, else
 * module_directory), judges it as far as can be before any of its code runs, makes it
 * resident. NULL: err is one line: file, found, expected, what to do. */
struct mod *mod_load(struct mod_host *, const char *module, struct meta1_err *);
/* The same for one absolute path: the kit, tools, tests. */
struct mod *mod_load_file(struct mod_host *, const char *file, struct meta1_err *);
/* Forgets the list; the code stays (modules are never unloaded). At exit, tests, tools. */
void mod_unload_all(struct mod_host *);
const struct meta1_module *mod_descriptor(const struct mod *);
const char *mod_file(const struct mod *);
/* All rules of a descriptor, without loading: for the kit and tests (judge.c). */
int mod_judge(const struct meta1_module *, const char *name, uint32_t role, struct meta1_err *);
/* What an instance of it is served there: enum meta1_service. */
uint64_t mod_offers(const struct meta1_module *, uint32_t role);

/* ---- host.c: instances ---- */
/* Binds section's options (core_names: options of the section that belong to the core, e.g.
 * "type"), runs check() and open(). conf gets option errors; err the rest. */
struct mod_inst *mod_open(struct mod_host *, struct mod *, const char *name, struct conf *,
    struct conf_section *, const char *const *core_names, enum opt_mode, struct meta1_err *);
/* The same of any instance of a configuration, in a worker of its own where it says isolate: that
 * one is not open yet, see mod_await(). */
struct mod_inst *mod_use(struct mod_host *, const struct settings_module *, struct settings *,
    const char *const *core_names, struct meta1_err *);
/* For the connections that it makes: a reference of its own is taken. Without: none has TLS. */
void mod_tls(struct mod_inst *, struct tls_ctx *);
/* Each handshake that is done of connections that are opened from now on; fn NULL: no more. */
struct tls_info;
typedef void (*mod_tls_seen_fn)(
    void *arg, const char *addr, uint32_t port, const struct tls_info *);
void mod_tls_seen(struct mod_inst *, mod_tls_seen_fn fn, void *arg);
/* Who answers login() of the connections that it makes, with arg; without: nobody. */
struct mod_login_ask {
	const char *login, *host, *service, *mechs;
	const struct tls_info *tls; /* NULL: plain */
	uint32_t bits;		    /* of its TLS */
	bool proven;		    /* TLS has proved that the peer is who it should be */
	bool local;		    /* a unix socket */
};
struct mod_login {
	/* fn(fn_arg) on a later turn of the loop, never after end(), for start and each step. */
	void *(*start)(void *arg, const struct mod_login_ask *,
	    void (*fn)(void *, enum meta1_status, const struct meta1_reply *), void *fn_arg);
	void (*step)(void *x, struct meta1_buf said,
	    void (*fn)(void *, enum meta1_status, const struct meta1_reply *), void *fn_arg);
	void (*over)(void *x, int code, const char *text); /* the peer's last word */
	void (*end)(void **x);
};
void mod_login(struct mod_inst *, const struct mod_login *, void *arg);
/* Only binds and checks, for -VVVV and reload's first step: <0 errors were reported. */
int mod_check(struct mod_host *, struct mod *, const char *name, struct conf *,
    struct conf_section *, const char *const *core_names, enum opt_mode);
/* After drain; reports what is left. The module's close() runs now, or when its last job on a
 * worker thread is done. */
void mod_close(struct mod_inst **);
bool mod_busy(const struct mod_host *); /* some instance has a job on a worker thread */
/* No new requests; done(arg) once, on a later turn: when all that is open was finished and the
 * module's drain() said so, or at the deadline. */
void mod_drain(struct mod_inst *, int64_t deadline_ms, void (*done)(void *), void *arg);
/* A reload has another in its place: drains it, at most for so long, and closes it. */
void mod_retire(struct mod_inst **, int64_t within_ms);
const void *mod_ops(const struct mod_inst *);
void *mod_data(const struct mod_inst *);       /* the module's instance pointer */
const char *mod_name(const struct mod_inst *); /* "map_text/access" */
size_t mod_held(const struct mod_inst *);      /* bytes that it has of host->alloc() */
struct meta1_ctx *mod_ctx(struct mod_inst *);
/* By the name of its section, of the same life of the configuration as the one that looks. */
struct mod_inst *mod_find(const struct mod_inst *, enum meta1_kind, const char *name);
/* Every counter and gauge of every instance, for the metrics page. */
typedef void (*mod_counter_fn)(
    void *arg, const char *instance, const char *name, bool gauge, int64_t value);
void mod_counters(struct mod_host *, mod_counter_fn, void *arg);

/* ---- req.c: one question ---- */
/* Deadlines are absolute, in ms of loop_now(); INT64_MAX: none. */
/* reply is never NULL and valid during the call; on deadline it is TEMPFAIL and says so.
 * Recipients without a mod_rcpt_fn call take this status. reply->ext is the module's. */
typedef void (*mod_done_fn)(void *arg, enum meta1_status, const struct meta1_reply *reply);
typedef void (*mod_rcpt_fn)(
    void *arg, uint32_t rcpt, enum meta1_status, const struct meta1_reply *reply);
/* Makes the request; the role then calls the op with it. At most 256 are open an instance
 * (maps; others as set by mod_req_limit): beyond that NULL. */
struct meta1_req *mod_req(struct mod_inst *, int64_t deadline_ms, mod_done_fn, void *arg);
void mod_req_rcpts(struct meta1_req *, mod_rcpt_fn, uint32_t nrcpt);
void mod_req_limit(struct mod_inst *, uint32_t max);
/* The asker goes away: no callback; the module's cancel() is called. The asker forgets its
 * pointer when its callback runs; from then on the request is not its own. */
void mod_req_cancel(struct meta1_req **);
/* What the module was given with it: let go of when the module has finished and the asker has heard
 * of it, or nobody asks any more. */
void mod_req_keep(struct meta1_req *, void (*let_go)(void *), void *kept);
/* Answers with reply->ext that come when nobody asks any more: fn gives them back. */
void mod_req_on_drop(struct meta1_req *, void (*fn)(void *arg, const void *ext), void *arg);

/* ---- look.c: a map look-up through all of that, or inside the call ---- */
/* The map answers inside the call. */
bool mod_map_finds(const struct mod_inst *);
/* Only of such a map. What the reply points to stays until the next call, or turn of the loop. */
enum meta1_status mod_map_find(struct mod_inst *, struct meta1_buf key, struct meta1_reply *);
/* What was found one after the other held the loop for so long. */
void mod_map_held(struct mod_inst *, int64_t us);
/* The key is taken as it is and need not outlive the call. Over the
 * limit: TEMPFAIL, on a later turn like every answer. The request is for mod_req_cancel(). */
struct meta1_req *mod_map_lookup(
    struct mod_inst *, struct meta1_buf key, int64_t deadline_ms, mod_done_fn, void *arg);

/* ---- iso_auth.c: what EHLO has to know of mechanisms in a worker ---- */
struct meta1_auth_peer;
/* offer() knows them for such a peer: of one inside the role always. */
bool mod_auth_knows(struct mod_inst *, const struct meta1_auth_peer *);
/* Asks; after done() offer() says what is known. NULL: nobody can be asked. */
struct meta1_req *mod_auth_ask(struct mod_inst *, const struct meta1_auth_peer *,
    int64_t deadline_ms, mod_done_fn done, void *arg);

/* ---- iso_open.c, iso.c: instances in workers ---- */
/* After mod_use() of all: done(arg, NULL) on a later turn when those in workers are open; with err,
 * which says why, when one is not, or not in time: they are closed by who has them. false: all are
 * open, done is not called. */
typedef void (*mod_await_fn)(void *arg, const struct meta1_err *err);
bool mod_await(struct mod_host *, mod_await_fn done, void *arg);
bool mod_await_end(struct mod_host *); /* nobody waits any more. false: nobody did */
/* mcp has started a process: "map_text/access@2", 2 being the configuration it is of. fd is taken.
 * It is for the instance that lost its own, or else kept until one is opened. */
void mod_worker_came(
    struct mod_host *, const char *worker, int fd, uint32_t pid, uint32_t restarts);
void mod_worker_ended(struct mod_host *, const char *worker, uint32_t pid, const char *end);
/* Those that nobody took, after a start or reload. */
void mod_spares_drop(struct mod_host *);
struct mod_worker_state {	    /* of an isolated instance */
	const char *instance, *end; /* end: how the process before ended, "": there was none */
	bool up;
	uint32_t pid, restarts, open; /* open: questions */
};
void mod_workers(
    const struct mod_host *, void (*fn)(void *arg, const struct mod_worker_state *), void *arg);

/* ---- worker.c: the process itself ---- */
/* Serves the instance that the other end of fd opens, until that end is closed. */
#define MOD_WORKER_DONE 3 /* exit status: the role closed the instance */
int mod_worker_main(int fd);

#endif
