/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_bad -- queue_dir with a fault (is.h). queue_faults.h says which message is treated wrongly,
 * where and how; what each of its words does stands here.
 */
#include "around.h"
#include "queue_faults.h"

#include <fcntl.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <stdint.h>
#include <unistd.h>

AROUND(queue_bad, queue_dir)
static const struct meta1_queue_ops *good;

static unsigned number(const char *id)
{
	char hex[17] = "";

	if (id && strlen(id) >= 17)
		memcpy(hex, id + 1, 16);
	return (unsigned)strtoul(hex, NULL, 16);
}

/* ---- events ---- */

static struct told { /* by entry(), in this process */
	struct meta1_ref ref;
	unsigned id;
} told[8192];
static unsigned ntold;
static const struct meta1_qevents *events;
static void *events_arg;
static struct around *manager;
static struct meta1_req *managing;

static void tell(unsigned id, const struct meta1_env *env)
{
	static const struct meta1_qrcpt one = {.addr = {"a@example.org", 13}};
	static const struct meta1_env any = {
	    .size = sizeof(any), .nrcpt = 1, .sizeof_rcpt = sizeof(one), .rcpt = &one};
	char name[META1_ID_MAX];
	struct meta1_qentry e = {.size = sizeof(e), .id = name, .env = env ? env : &any, .key = 1};

	snprintf(name, sizeof(name), "S%016x%02x", id, 0);
	events->entry(events_arg, &e);
}

/* Kept for the next one; what it points to as well. */
static struct late {
	int there;
	struct meta1_qentry e;
	struct meta1_env env;
	struct meta1_qrcpt rcpt[3];
	char id[META1_ID_MAX];
} late;

static void hold(const struct meta1_qentry *e)
{
	late.there = 1;
	late.e = *e;
	late.env = *e->env;
	late.env.nrcpt = 1; /* strings of the message stay as long as the process, in this fault */
	late.rcpt[0] = (struct meta1_qrcpt){.addr = {"a@example.org", 13}};
	late.env.rcpt = late.rcpt;
	late.env.from = late.env.client = late.env.envid = late.env.hold =
	    (struct meta1_buf){NULL, 0};
	late.e.env = &late.env;
	snprintf(late.id, sizeof(late.id), "%s", e->id);
	late.e.id = late.id;
}

static void on_entry(void *arg, const struct meta1_qentry *e)
{
	struct around *a = arg;
	unsigned id = number(e->id);
	const struct fault *f;
	struct meta1_qentry other = *e;
	struct meta1_env env = *e->env;
	struct meta1_qrcpt rcpt[3] = {{.state = 0}};
	char name[META1_ID_MAX];

	told[ntold++ % 8192] = (struct told){e->ref, id};
	if (does(a, DROPS, id))
		return;
	if (does(a, LATER, id)) {
		hold(e);
		return;
	}
	if (does(a, STATE, id)) {
		memcpy(rcpt, env.rcpt, sizeof(rcpt[0]) * (env.nrcpt < 3 ? env.nrcpt : 3));
		rcpt[0].state = META1_R_BOUNCED;
		env.rcpt = rcpt;
		other.env = &env;
	}
	if ((f = does(a, RENAMES, id))) {
		snprintf(name, sizeof(name), "S%016x%02x", f->other, 0);
		other.id = name;
	}
	events->entry(events_arg, &other);
	if (does(a, TWICE, id))
		events->entry(events_arg, e);
	if ((f = does(a, PHANTOM, id)))
		tell(f->other, NULL);
	if (late.there) {
		late.there = 0;
		events->entry(events_arg, &late.e);
	}
}

static void on_loaded(void *arg, uint64_t key, const struct meta1_qentry *e, const char *why)
{
	struct around *a = arg;
	unsigned id = e ? number(e->id) : 0;
	struct meta1_qentry other;
	struct meta1_env env;
	struct meta1_qrcpt rcpt[3];

	if (e && !why && does(a, FORGETS, id))
		e = NULL;
	if (why && does(a, HIDES, 6))
		e = NULL, why = NULL;
	if (!e && !why && does(a, BLAMES, 6))
		why = "it is damaged";
	if (e && !why && does(a, FETCHED_STATE, id)) {
		other = *e;
		env = *e->env;
		memcpy(rcpt, env.rcpt, sizeof(rcpt[0]) * (env.nrcpt < 3 ? env.nrcpt : 3));
		rcpt[0].state = META1_R_WAITING;
		env.rcpt = rcpt;
		other.env = &env;
		e = &other;
	}
	events->loaded(events_arg, key, e, why);
}

static bool on_moved(void *arg, const char *id, uint64_t key, const struct meta1_ref *ref)
{
	(void)arg;
	return events->moved(events_arg, id, key, ref);
}

static void on_space(void *arg, uint32_t writer, uint64_t unit)
{
	if (!does(arg, NO_SPACE, 0))
		events->space(events_arg, writer, unit);
}

static void on_damage(void *arg, const char *text)
{
	(void)arg;
	events->damage(events_arg, text);
}

/* ---- what it says ---- */

static struct meta1_req *loading;
static int spoiling; /* the answer to it */

static void finish(struct meta1_req *rq, enum meta1_status st, const struct meta1_reply *r)
{
	if (rq == managing) {
		unsigned seen = 0;

		managing = NULL;
		for (unsigned i = 0; i < ntold && i < 8192; i++)
			seen += told[i].id == 1;
		if (does(manager, REVIVES, 1) && !seen)
			tell(1, NULL);
	}
	if (rq == loading && spoiling && st == META1_OK) {
		loading = NULL;
		((struct meta1_content *)(uintptr_t)r->ext)->bytes_stored++;
	}
	real.finish(rq, st, r);
}

static void around_patch(struct around *a)
{
	a->host.finish = finish;
	note(&a->host);
}

/* ---- what is asked of it ---- */

static struct {
	struct meta1_qmsg *msg;
	unsigned id;
	struct around *a;
} begun[1024];

static enum meta1_status ops_begin(void *inst, const char *id,
    const struct meta1_qops_writer_events *ev, void *arg, struct meta1_qmsg **out,
    struct meta1_err *err)
{
	enum meta1_status st = good->begin(inst, id, ev, arg, out, err);
	unsigned i = 0;

	while (st == META1_OK && begun[i].msg && i < 1023)
		i++;
	if (st == META1_OK) {
		begun[i].msg = *out;
		begun[i].id = number(id);
		begun[i].a = around_of(inst);
	}
	return st;
}

static unsigned forget(struct meta1_qmsg *msg, struct around **a)
{
	unsigned i = 0;

	while (begun[i].msg != msg && i < 1023)
		i++;
	begun[i].msg = NULL;
	*a = begun[i].a;
	return begun[i].id;
}

static void ops_abort(struct meta1_qmsg **msg)
{
	struct around *a;

	forget(*msg, &a);
	good->abort(msg);
}

static void ops_commit(struct meta1_qmsg **msg, struct meta1_req *rq, const struct meta1_env *env)
{
	static const struct meta1_buf notice = {"x", 1};
	struct meta1_reply r = {.size = sizeof(r)};
	struct around *a;
	unsigned id = forget(*msg, &a);

	if (does(a, COMMIT_LIES, id)) {
		good->abort(msg);
		r.nval = 1;
		r.val = &notice;
		real.finish(rq, META1_OK, &r);
	} else if (does(a, COMMIT_FAILS, id)) {
		good->abort(msg);
		real.finish(rq, META1_TEMPFAIL, &r);
	} else {
		good->commit(msg, rq, env);
	}
}

static uint64_t ops_next_id(void *inst)
{
	static uint64_t n;

	return does(around_of(inst), REPEATS, 0) ? n = n % 100000 + 1 : good->next_id(inst);
}

static void ops_load(void *inst, struct meta1_req *rq, const struct meta1_ref *ref)
{
	unsigned i = ntold < 8192 ? ntold : 8192;
	struct around *a = around_of(inst);

	while (i > 0 && (told[i - 1].ref.len != ref->len ||
			    memcmp(told[i - 1].ref.b, ref->b, ref->len) != 0))
		i--;
	if (i > 0 && does(a, LOAD_FAILS, told[i - 1].id)) {
		real.finish(rq, META1_TEMPFAIL, NULL);
		return;
	}
	loading = rq;
	spoiling = i > 0 && does(a, LOAD_WRONG, told[i - 1].id);
	good->load(inst, rq, ref);
}

static void ops_manage(void *inst, struct meta1_req *rq, const struct meta1_qevents *ev, void *arg)
{
	static struct meta1_qevents ours;
	struct around *a = around_of(inst);

	events = ev;
	events_arg = arg;
	manager = a;
	managing = rq;
	ntold = 0;
	ours = *ev;
	ours.entry = on_entry;
	ours.loaded = on_loaded;
	ours.moved = on_moved;
	ours.space = on_space;
	ours.damage = on_damage;
	if (does(a, MANAGE_FAILS, 0)) {
		managing = NULL;
		real.finish(rq, META1_TEMPFAIL, NULL);
		return;
	}
	if (does(a, INVENTS, 9))
		tell(9, NULL);
	if (does(a, DAMAGE, 0))
		ev->damage(arg, "there is none");
	good->manage(inst, rq, &ours, a);
}

static void ops_notice(
    void *inst, struct meta1_buf notice, const char *id, const struct meta1_env *env)
{
	good->notice(inst, notice, id, env);
	if (id && does(around_of(inst), RETELLS, number(id)))
		tell(number(id), env);
}

static void ops_outcome(void *inst, struct meta1_req *rq, const struct meta1_qoutcome *o)
{
	said++;
	if (does(around_of(inst), OUTCOME_FAILS, number(o->id)))
		real.finish(rq, META1_TEMPFAIL, NULL);
	else
		good->outcome(inst, rq, o);
}

static void ops_fetch(void *inst, struct meta1_req *rq, const uint64_t *key, uint32_t n)
{
	if (n == 0 && does(around_of(inst), FETCH_FAILS, 0))
		real.finish(rq, META1_TEMPFAIL, NULL);
	else
		good->fetch(inst, rq, key, n);
}

struct checked {
	struct around *a;
	const struct meta1_qcheck *ev;
	void *arg;
};

static void on_fate(void *arg, const struct meta1_qfate *f)
{
	struct checked *c = arg;

	c->ev->fate(c->arg, f);
}

static void on_found(void *arg, enum meta1_qfinding what, const char *text)
{
	struct checked *c = arg;

	if (!does(c->a, BLIND, 0) && !(what == META1_QF_LOST && does(c->a, LOSSES, 0)))
		c->ev->found(c->arg, what, text);
}

static bool on_message(void *arg, const struct meta1_qentry *e, const struct meta1_content *content)
{
	struct checked *c = arg;

	return c->ev->message(c->arg, e, content);
}

static int ops_check(void *inst, const struct meta1_qcheck *ev, void *arg, struct meta1_err *err)
{
	const struct meta1_qcheck ours = {.size = sizeof(ours),
	    .fate = on_fate,
	    .found = on_found,
	    .message = ev->message ? on_message : NULL};
	struct checked c = {around_of(inst), ev, arg};
	int ret;

	if (does(c.a, SEES, 0))
		ev->found(arg, META1_QF_DAMAGE, "there is none");
	ret = good->check(inst, &ours, &c, err);
	if (ret < 0 && does(c.a, GUESSES, 0)) {
		ev->found(arg, META1_QF_LOST, "what could not be read");
		ret = 0;
	}
	return ret;
}

static void junk(const char *dir)
{
	static const char block[1 << 16] = "x";
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/junk", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; fd >= 0 && i < 256; i++)
		if (write(fd, block, sizeof(block)) < 0)
			break;
	if (fd >= 0)
		close(fd);
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	struct around look = {.host = *h};

	if (does(&look, OPEN_FAILS, 0)) {
		snprintf(err->text, sizeof(err->text), "it is closed today");
		return -1;
	}
	if (around_open(inner, h, ctx, conf, inst, err) < 0)
		return -1;
	if (h->role == META1_SMTPS && does(&look, JUNK, 0))
		junk(h->qdir);
	return 0;
}

static void close_(void *inst)
{
	around_close(inner, inst);
}

static void around_describe(struct meta1_module *m)
{
	static struct meta1_queue_ops ops;

	first = getpid();
	good = inner->ops;
	ops = *good;
	ops.begin = ops_begin;
	ops.abort = ops_abort;
	ops.commit = is("lacks_commit") ? NULL : ops_commit;
	ops.next_id = ops_next_id;
	ops.load = is("lacks_load") ? NULL : ops_load;
	ops.manage = ops_manage;
	ops.notice = ops_notice;
	ops.outcome = ops_outcome;
	ops.fetch = is("lacks_fetch") ? NULL : ops_fetch;
	ops.check = ops_check;
	if (is("lacks_format"))
		ops.format = "";
	m->open = open_;
	m->close = close_;
	m->ops = &ops;
}
