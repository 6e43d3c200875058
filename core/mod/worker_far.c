/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_far.c -- what a module in a worker process asks of the role: look-ups in its other maps,
 * each of which stands here as a map of its own, and DNS; lines for the log; counters, once a
 * second while there is something to count.
 * Comes from host.c, ask.c and look.c, as in a role; goes over the wire to iso_far.c.
 * Owns the stand-ins and the open questions. On failure: the role's answer, a temporary failure.
 */
#include "mod/worker.h"

#include <meta1/map.h>
#include <stdio.h>
#include <stdlib.h>

#define TALLY_MS 1000

struct worker_far { /* an open question */
	UT_hash_handle hh;
	uint32_t id;
	struct meta1_req *rq; /* of a map; NULL: of DNS */
	void (*cb)(void *, enum meta1_status, const struct meta1_reply *);
	void *arg;
};
struct far_map {
	struct worker *w;
	uint32_t index;
};

static struct worker_far *note(struct worker *w)
{
	struct worker_far *q = base_alloc(sizeof(*q));

	q->id = ++w->far_id;
	HASH_ADD(hh, w->far, id, sizeof(q->id), q);
	return q;
}

static void done(
    struct worker *w, struct worker_far *q, enum meta1_status st, const struct meta1_reply *r)
{
	HASH_DEL(w->far, q);
	if (q->rq)
		mod_req_answer(q->rq, st, r);
	else
		q->cb(q->arg, st, r);
	free(q);
}

bool worker_far_answer(struct worker *w, struct wire_frame *f)
{
	struct worker_far *q;
	struct iso_answer m;
	struct pool pool;
	bool ok;

	pool_init(&pool, ISO_POOL_MAX);
	ok = shape_unpack(&iso_shape_answer, f->p, f->n, &pool, &m);
	HASH_FIND(hh, w->far, &f->id, sizeof(f->id), q);
	if (ok && q)
		done(w, q, (enum meta1_status)m.status, m.reply);
	pool_clear(&pool);
	return ok;
}

/* ---- the role's maps ---- */

static void far_lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	struct far_map *m = inst;
	struct worker *w = m->w;
	const struct meta1_host *t = &w->map[m->index]->table;
	struct worker_far *q = note(w);
	const struct iso_map said = {.index = m->index,
	    .ms = t->req_deadline(rq) - loop_now(w->loop),
	    .key = {key.len ? key.data : "", key.len}};

	q->rq = rq;
	if (!wire_send(w->wire, ISO_MAP, q->id, &iso_shape_map, &said, NULL, 0))
		done(w, q, META1_TEMPFAIL, NULL);
}

static void far_cancel(void *inst, struct meta1_req *rq)
{
	struct worker *w = ((struct far_map *)inst)->w;
	struct worker_far *q, *next;

	HASH_ITER (hh, w->far, q, next)
		if (q->rq == rq) {
			done(w, q, META1_CANCELED, NULL);
			return;
		}
}

static int far_open(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	(void)h, (void)ctx, (void)conf, (void)inst;
	return err_set(err, "it is opened by worker_far_open()");
}

static void far_close(void *inst)
{
	free(inst);
}

static const struct meta1_map_ops far_ops = {
    .size = sizeof(far_ops), .lookup = far_lookup, .cancel = far_cancel};
static const struct meta1_module far_module = {.magic = META1_MODULE_MAGIC,
    .size = sizeof(far_module),
    .abi_major = META1_ABI_MAJOR,
    .abi_minor = META1_ABI_MINOR,
    .kind = META1_MAP,
    .name = "role",
    .version = PACKAGE_VERSION,
    .summary = "stands for a map of the role",
    .open = far_open,
    .close = far_close,
    .ops = &far_ops};

/* ---- DNS, log, changes ---- */

static void far_dns(void *arg, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *cbarg)
{
	struct worker *w = arg;
	struct worker_far *q = note(w);
	const struct iso_dns m = {.type = type, .ms = deadline - loop_now(w->loop), .name = name};
	const struct iso_dns none = {.type = type, .name = ""};

	q->cb = cb;
	q->arg = cbarg;
	/* what is no name is answered by the role: never inside the call */
	if (!wire_send(w->wire, ISO_DNS, q->id, &iso_shape_dns, &m, NULL, 0))
		wire_send(w->wire, ISO_DNS, q->id, &iso_shape_dns, &none, NULL, 0);
}

static void far_log(void *arg, enum meta1_level level, const char *text)
{
	struct worker *w = arg;
	const struct iso_log m = {.level = level, .text = text};

	wire_send(w->wire, ISO_LOG, 0, &iso_shape_log, &m, NULL, 0);
}

static void far_changed(void *arg)
{
	struct worker *w = arg;

	wire_send(w->wire, ISO_CHANGED, 0, NULL, NULL, NULL, 0);
}

static void far_fault(void *arg, const char *instance, const char *text)
{
	(void)instance;
	far_log(arg, META1_WARN, text);
}

/* ---- counters ---- */

struct tally {
	struct worker *w;
	unsigned at;
};

static void count(void *arg, const char *instance, const char *name, bool gauge, int64_t value)
{
	struct tally *t = arg;
	struct worker *w = t->w;
	struct iso_count m = {.name = name};
	int64_t *last = &w->counted[t->at];

	if (strcmp(instance, mod_name(w->in)) != 0)
		return;
	t->at++;
	if (*last == value)
		return;
	m.value = gauge ? value : value - *last;
	*last = value;
	wire_send(w->wire, ISO_COUNT, 0, &iso_shape_count, &m, NULL, 0);
}

void worker_tally_now(struct worker *w)
{
	struct tally t = {.w = w};

	w->tally_due = false;
	if (w->in)
		mod_counters(&w->host, count, &t);
}

static void tally(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	worker_tally_now(arg);
}

void worker_tally(struct worker *w)
{
	if (w->tally_due)
		return;
	w->tally_due = true;
	if (!w->tally)
		w->tally = loop_timer(w->loop, TALLY_MS, tally, w);
	else
		loop_rearm(w->tally, TALLY_MS);
}

/* ---- all of it ---- */

void worker_far_open(struct worker *w, const struct iso_open *m)
{
	w->host.dns = far_dns;
	w->host.log = far_log;
	w->host.changed = far_changed;
	w->host.fault = far_fault;
	w->host.dns_arg = w->host.log_arg = w->host.changed_arg = w->host.fault_arg = w;
	for (; w->nmap < m->nmap; w->nmap++) {
		char name[128];
		struct mod_inst *in;
		struct far_map *map;

		snprintf(name, sizeof(name), "%.*s", (int)m->map[w->nmap].len,
		    (const char *)m->map[w->nmap].data);
		in = mod_inst_new(&w->host, &far_module, name, NULL);
		map = base_alloc(sizeof(*map));
		*map = (struct far_map){w, w->nmap};
		in->data = map;
		mod_inst_add(in);
		w->map[w->nmap] = in;
	}
}

void worker_far_close(struct worker *w)
{
	struct worker_far *q, *next;

	HASH_ITER (hh, w->far, q, next)
		done(w, q, META1_TEMPFAIL, NULL);
	while (w->nmap)
		mod_close(&w->map[--w->nmap]);
}
