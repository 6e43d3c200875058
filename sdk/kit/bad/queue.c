/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_bad -- queue_dir with a fault (is.h). A row of the table says in which folder of the kit's
 * the fault shows, in which life of the store there, and what it does with which message.
 * over 500 lines: one table of faults, and what each of its words does.
 */
#include "around.h"

#include <fcntl.h>
#include <meta1/queue.h>
#include <meta1/transport.h>
#include <stdint.h>
#include <unistd.h>

AROUND(queue_bad, queue_dir)
static const struct meta1_queue_ops *good;

enum what {
	OPEN_FAILS,
	MANAGE_FAILS,
	COMMIT_FAILS,
	COMMIT_LIES, /* OK, and nothing is kept */
	LOAD_FAILS,
	LOAD_WRONG,
	OUTCOME_FAILS,
	FETCH_FAILS, /* of no keys */
	DROPS,	     /* entry() does not come */
	TWICE,
	LATER,	 /* behind the next one */
	PHANTOM, /* and one more, of the number other */
	RENAMES, /* as other */
	RETELLS, /* at its notice */
	INVENTS, /* at manage() */
	REVIVES, /* at the end of manage(), when it was not told */
	STATE,	 /* of its first recipient */
	DAMAGE,
	FORGETS, /* loaded(): there is none */
	FETCHED_STATE,
	HIDES,	/* loaded(): what cannot be read is none */
	BLAMES, /* the other way round */
	REPEATS,
	NO_SPACE,
	JUNK,
	BLIND,	/* check() finds nothing */
	LOSSES, /* nor what is lost */
	SEES	/* what is not there */
};

enum when { ALWAYS, BARE, BEHIND_BARE, AUDITED, OUTCOME, PARENT, SAID };

static const struct fault {
	const char *name, *dir;
	unsigned life; /* 0: every one */
	enum what what;
	unsigned id, other;
	enum when when;
	uint32_t role; /* 0: any */
} faults[] = {
    {"unmanaged", "life", 1, MANAGE_FAILS, 0, 0, 0, 0},
    {"inherits", "life", 1, INVENTS, 9, 0, 0, 0},
    {"refuses", "life", 0, COMMIT_FAILS, 5, 0, 0, 0},
    {"tells_twice", "life", 0, TWICE, 2, 0, 0, 0},
    {"spoils", "life", 0, LOAD_WRONG, 3, 0, 0, META1_SMTPC},
    {"unread", "life", 0, LOAD_FAILS, 3, 0, 0, META1_QMGR},
    {"disorders", "life", 0, LATER, 2, 0, 0, 0},
    {"gap", "life", 0, DROPS, 103, 0, 0, 0},
    {"tail", "life", 0, DROPS, 109, 0, 0, 0},
    {"retells", "life", 0, RETELLS, 109, 0, 0, 0},
    {"half_read", "life", 0, LOAD_FAILS, 105, 0, 0, 0},
    {"few", "life", 0, DROPS, 1005, 0, 0, 0},
    {"abort", "life", 0, RENAMES, 1008, 1009, 0, 0},
    {"remembers", "life", 0, PHANTOM, 20008, 20001, 0, 0},
    {"halves", "life", 0, COMMIT_FAILS, 30001, 0, 0, 0},
    {"no_outcome", "life", 0, OUTCOME_FAILS, 0, 0, 0, 0},
    {"forgets", "life", 0, FORGETS, 3, 0, 0, 0},
    {"stale", "life", 0, FETCHED_STATE, 0, 0, 0, 0},
    {"nothing", "life", 0, FETCH_FAILS, 0, 0, 0, 0},
    {"restart", "life", 2, MANAGE_FAILS, 0, 0, 0, 0},
    {"restart_state", "life", 2, STATE, 0, 0, 0, 0},
    {"restart_final", "life", 2, PHANTOM, 3, 1, 0, 0},
    {"restart_less", "life", 2, DROPS, 5, 0, 0, 0},
    {"restart_content", "life", 2, LOAD_FAILS, 7, 0, 0, 0},
    {"restart_damage", "life", 2, DAMAGE, 0, 0, 0, 0},
    {"unspaced", "space", 0, COMMIT_FAILS, 3005, 0, 0, 0},
    {"greedy", "space", 0, NO_SPACE, 0, 0, 0, 0},
    {"leftover", "space", 2, INVENTS, 9, 0, 0, 0},
    {"numberless", "ids", 0, OPEN_FAILS, 0, 0, 0, 0},
    {"repeats", "ids", 0, REPEATS, 0, 0, 0, 0},
    {"unfound", "damage", 0, COMMIT_FAILS, 0, 0, 0, 0},
    {"hides", "damage", 0, HIDES, 6, 0, 0, 0},
    {"others", "damage", 0, FORGETS, 2, 0, 0, 0},
    {"blind", "damage", 0, BLIND, 0, 0, 0, 0},
    {"for_ever", "damage", 0, FORGETS, 6, 0, 0, 0},
    {"blames", "damage", 0, BLAMES, 6, 0, 0, 0},
    {"losses", "damage", 0, LOSSES, 0, 0, 0, 0},
    {"gone", "damage", 4, DROPS, 6, 0, 0, 0},
    {"junk", "compact", 1, JUNK, 0, 0, 0, 0},
    {"moved", "compact", 1, LOAD_FAILS, 7, 0, 0, 0},
    {"strays", "compact", 2, DROPS, 7, 0, 0, 0},
    {"remains", "compact", 4, INVENTS, 9, 0, 0, 0},
    {"no_image", "crash", 0, COMMIT_FAILS, 2, 0, 0, 0},
    {"torn", "try", 0, DROPS, 2, 0, 0, 0},
    {"torn_alone", "try", 0, DROPS, 2, 0, BARE, 0},
    {"killed", "try", 0, DROPS, 4, 0, BEHIND_BARE, 0},
    {"torn_outcome", "try", 0, DROPS, 2, 0, OUTCOME, 0},
    {"undone", "try", 0, REVIVES, 1, 0, OUTCOME, 0},
    {"sees", "bytes.2", 0, SEES, 0, 0, 0, 0},
    {"wrong_bytes", "try", 0, LOAD_WRONG, 1, 0, AUDITED, 0},
    {"not_full", "full", 1, MANAGE_FAILS, 0, 0, 0, 0},
    {"overfull", "full", 1, COMMIT_LIES, 1, 0, 0, 0},
    {"full_for_ever", "full", 1, COMMIT_FAILS, 3, 0, 0, 0},
    {"refused_kept", "full", 2, INVENTS, 9, 0, 0, 0},
    {"empty", "memory", 0, COMMIT_FAILS, 3, 0, 0, 0},
    {"starts_less", "memory", 2, DROPS, 2, 0, 0, 0},
    {"reads_wrong", "memory", 0, LOAD_WRONG, 3, 0, 0, META1_SMTPC},
    {"ends_less", "memory", 0, DROPS, 2, 0, SAID, 0},
    {"lost", "kill", 0, DROPS, 1, 0, PARENT, 0},
};
#define NFAULTS (sizeof(faults) / sizeof(faults[0]))

/* ---- where it is ---- */

static struct place { /* by the last word of a folder */
	char dir[64];
	unsigned lives;
} places[64];
static unsigned bare, was_bare; /* managers of "try" without a writer; before this one */
static int audited, outcome_seen, manager_alone;
static unsigned said; /* outcomes, in this run */
static pid_t first;

static const char *word(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash ? slash + 1 : dir;
}

static struct place *place_of(const char *dir)
{
	struct place *p = places;

	while (p->dir[0] && strcmp(p->dir, word(dir)) != 0 && p < &places[63])
		p++;
	snprintf(p->dir, sizeof(p->dir), "%s", word(dir));
	return p;
}

/* A life begins with the writer, or with the manager where there is none. */
static void note(const struct meta1_host *h)
{
	const char *dir = word(h->qdir);
	int try = strcmp(dir, "try") == 0;

	if (h->role == META1_SMTPS) {
		place_of(dir)->lives++;
		manager_alone = 0;
		was_bare = bare;
		bare = try ? 0 : bare;
	} else if (h->role == META1_QMGR) {
		if (manager_alone) {
			place_of(dir)->lives++;
			bare += (unsigned)try;
		}
		manager_alone = 1;
	}
	audited |= try && h->role == META1_TOOL;
	outcome_seen |= strcmp(dir, "outcome") == 0;
}

static int happens(enum when when)
{
	return when == BARE	     ? bare >= 2
	       : when == BEHIND_BARE ? !bare && was_bare >= 2
	       : when == AUDITED     ? audited
	       : when == OUTCOME     ? outcome_seen
	       : when == SAID	     ? said > 2
	       : when == PARENT	     ? getpid() == first
				     : 1;
}

/* Does the store there do this to that message? */
static const struct fault *does(const struct around *a, enum what what, unsigned id)
{
	for (size_t i = 0; i < NFAULTS; i++) {
		const struct fault *f = &faults[i];
		const char *dir = word(a->host.qdir);
		size_t n = strlen(f->dir);

		if (f->what != what || f->id != id || !is(f->name) ||
		    strncmp(dir, f->dir, strcmp(f->dir, "kill") ? strlen(dir) + 1 : n) != 0 ||
		    (f->life && f->life != place_of(dir)->lives) ||
		    (f->role && f->role != a->host.role) || !happens(f->when))
			continue;
		return f;
	}
	return NULL;
}

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

static int ops_check(void *inst, const struct meta1_qcheck *ev, void *arg, struct meta1_err *err)
{
	static const struct meta1_qcheck ours = {
	    .size = sizeof(ours), .fate = on_fate, .found = on_found};
	struct checked c = {around_of(inst), ev, arg};

	if (does(c.a, SEES, 0))
		ev->found(arg, META1_QF_DAMAGE, "there is none");
	return good->check(inst, &ours, &c, err);
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
