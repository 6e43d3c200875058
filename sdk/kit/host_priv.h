/* SPDX-License-Identifier: BSD-2-Clause */
/* host_priv.h -- what the files of the kit's host share: an instance and all that it holds. */
#ifndef META1_KIT_HOST_PRIV_H
#define META1_KIT_HOST_PRIV_H
#include "host.h"

#include <meta1/auth.h>
#include <meta1/map.h>
#include <meta1/pmilter.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <sys/queue.h>

#define KIT_SLEPT_MS 100 /* a call that was away for so long, and not for want of a processor */

struct meta1_watch {
	LIST_ENTRY(meta1_watch) link;
	struct kit_inst *in;
	struct watch *watch;
	int fd; /* -1: a timer */
	void (*cb)(int, short, void *);
	void *arg;
};

struct meta1_mapref {
	LIST_ENTRY(meta1_mapref) link;
	struct kit_inst *to;
};

struct kit_mem { /* before each block; a fence follows it */
	LIST_ENTRY(kit_mem) link;
	TAILQ_ENTRY(kit_mem) old; /* freed */
	struct kit_inst *in;
	const char *name; /* of the module */
	size_t len;
	uint64_t magic;
};

struct kit_counter {
	struct kit_counter *next;
	int64_t value;
	bool gauge;
	char name[];
};

struct kit_inst { /* is the struct meta1_ctx of its module */
	struct kit_inst *next;
	struct kit_host *host;
	const struct meta1_module *m;
	char *name;	  /* map_text/kit */
	const char *base; /* kit */
	void *conf, *data;
	struct meta1_host table;
	unsigned refs; /* requests, posts and jobs that name it */
	bool blocking, opening, closed;
	unsigned slept;

	LIST_HEAD(, kit_mem) mem;
	size_t mem_bytes;
	LIST_HEAD(, meta1_watch) watches;
	LIST_HEAD(, meta1_conn) conns;
	LIST_HEAD(, kit_ask) asks;
	LIST_HEAD(, meta1_mapref) mapref;
	struct kit_counter *counters;
	struct work_owner owner;
	unsigned jobs;
	TAILQ_HEAD(, meta1_req) open;
	unsigned nopen;
};

static inline struct kit_inst *inst_of(struct meta1_ctx *ctx)
{
	return (struct kit_inst *)ctx;
}

/* host.c */
void kit_fault(struct kit_host *, const char *instance, const char *fmt, ...) PRINTF(3, 4);
/* The call is one of those that may fail, and this time it does. from: in the module. */
#define kit_fails(in) kit_host_fails((in)->host, __func__, __builtin_return_address(0))
bool kit_host_fails(struct kit_host *, const char *call, const void *from);
/* Calls that belong on the loop; a blocking module's thread may make those with any. False:
 * it was a fault, which was told. */
bool kit_on_loop(struct kit_inst *, const char *call, bool any);
void kit_table(struct kit_inst *);
void kit_mem_drop(struct kit_inst *);
/* Around each call of the module on the loop: did it sleep? */
struct kit_nap {
	int64_t wall, cpu;
	long switches;
};
void kit_nap_begin(struct kit_nap *);
void kit_nap_end(const struct kit_nap *, struct kit_inst *);

/* hook.c: what a loaded file calls of libc itself fails as what it calls of the host. */
void kit_hook(struct kit_host *, void *code);
struct kit_hook {
	const char *name;
	void (*ours)(void);
};
extern const struct kit_hook kit_hook_files[]; /* ended by one without a name */
void kit_hook_host(struct kit_host *);	       /* whose they are from now on */
struct kit_host *kit_hooked(void);
#define KIT_CRASHED 78 /* exit status at the last change of a file */

/* sites.c: from where it was asked */
void kit_sites_start(struct kit_host *);
void kit_sites_end(struct kit_host *);
void kit_site_asked(struct kit_host *, const char *call, const void *from, bool refused);

/* inst.c */
void kit_inst_ref(struct kit_inst *);
void kit_inst_unref(struct kit_inst *);

/* event.c: who is on this thread; NULL: none of an instance's jobs */
extern _Thread_local struct kit_inst *kit_worker;
void kit_event_table(struct meta1_host *);
void kit_event_drop(struct kit_inst *);
bool kit_job(struct kit_inst *, void (*work)(void *), void (*done)(void *), void *arg);

/* ask.c */
void kit_ask_table(struct meta1_host *);
void kit_ask_drop(struct kit_inst *);
unsigned kit_asks(const struct kit_inst *); /* open questions */

/* conn.c */
extern const struct meta1_conn_ops kit_conn_ops;
void kit_conn_drop(struct kit_inst *);
unsigned kit_conns(const struct kit_inst *);

/* say.c: NULL, or why it cannot be said. value: OK comes with one. */
const char *kit_say_bad(
    uint32_t kind, enum meta1_status, const struct meta1_reply *, bool cancelled, bool value);

/* req.c */
void kit_req_table(struct meta1_host *);
void kit_req_drop(struct kit_inst *);
void kit_req_uncancelled(struct meta1_req *);
void kit_ring_free(struct kit_host *);

#endif
