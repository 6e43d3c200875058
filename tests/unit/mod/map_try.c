/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_try -- a map whose key says how it behaves, lawful or not; for the tests of
 * core/mod. Built from the SDK's headers alone, like every module.
 */
#include <fcntl.h>
#include <meta1/map.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct conf {
	int32_t leak, obey, last, linger;
	int64_t size;
	const char *other, *fail, *wait;
};

static const struct meta1_opt opts[] = {
    META1_OPT_BOOL(struct conf, leak, "no", "Leaves things behind at close."),
    META1_OPT_BOOL(struct conf, linger, "no", "Is drained only after 50 ms."),
    META1_OPT_BOOL(struct conf, obey, "yes", "Finishes what is cancelled."),
    META1_OPT_BOOL(struct conf, last, "no", "Finishes what is open when it is closed."),
    META1_OPT_BYTES(struct conf, size, "10", "1..32MB", "Length of the value of the key big."),
    META1_OPT_STR(struct conf, other, NULL, 0, "A map that the key other is looked up in."),
    META1_OPT_STR(struct conf, fail, NULL, 0, "Open fails and says this."),
    META1_OPT_STR(struct conf, wait, NULL, 0, "Open blocks until somebody opens this FIFO."),
};

#define HELD_MAX 2048

struct
try {
	struct meta1_ctx *ctx;
	const struct conf *conf;
	struct meta1_mapref *other;
	struct meta1_req *held[HELD_MAX]; /* not answered yet */
	unsigned nheld;
	struct meta1_watch *timer;
	struct meta1_req *thread, *drain;
};

static const struct meta1_host *h;

static void say(struct meta1_req *rq, enum meta1_status st, const char *s)
{
	struct meta1_buf val = {s, strlen(s)};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val, .text = "as asked"};

	h->finish(rq, st, &r);
}

static void flush(void *arg)
{
	struct try *t = arg;

	while (t->nheld)
		say(t->held[--t->nheld], META1_OK, "late");
}

static void timer(int fd, short what, void *arg)
{
	struct try *t = arg;
	struct meta1_req *rq = t->drain;

	(void)fd, (void)what;
	flush(t);
	t->drain = NULL;
	if (rq)
		h->finish(rq, META1_OK, NULL);
}

static void hold(struct try *t, struct meta1_req *rq)
{
	t->held[t->nheld++] = rq;
}

static void later(struct try *t, struct meta1_req *rq)
{
	hold(t, rq);
	h->rearm(t->timer, 20);
}

static void twice(struct try *t, struct meta1_req *rq)
{
	(void)t;
	say(rq, META1_OK, "one");
	say(rq, META1_OK, "two");
}

static void absent(struct try *t, struct meta1_req *rq)
{
	(void)t;
	h->finish(rq, META1_NOTFOUND, NULL);
}

static void slow(struct try *t, struct meta1_req *rq)
{
	struct timespec ts = {0, 15000000};

	(void)t;
	nanosleep(&ts, NULL); /* a slow server */
	say(rq, META1_OK, "slow");
}

static void big(struct try *t, struct meta1_req *rq)
{
	size_t n = (size_t)t->conf->size;
	char *p = h->alloc(t->ctx, n);
	struct meta1_buf val = {p, n};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};

	memset(p, 'b', n);
	h->finish(rq, META1_OK, &r);
	memset(p, 'x', n);
	h->free(t->ctx, p);
}

/* On the thread: the answer goes back by a post. */
static void work(void *arg)
{
	struct try *t = arg;

	h->post(t->ctx, flush, t);
}

static void done(void *arg)
{
	struct try *t = arg;

	h->count(t->ctx, "threads_total", 1);
}

static void thread(struct try *t, struct meta1_req *rq)
{
	hold(t, rq);
	if (h->offload(t->ctx, work, done, t) != META1_OK)
		flush(t);
}

static void other_said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	h->finish(arg, st, r);
}

static void other(struct try *t, struct meta1_req *rq)
{
	struct meta1_buf key = {"now", 3};

	h->map_lookup(t->ctx, t->other, key, h->req_deadline(rq), other_said, rq);
}

static void dns(struct try *t, struct meta1_req *rq)
{
	h->dns(t->ctx, "example.org", 1, h->req_deadline(rq), other_said, rq);
}

static void now(struct try *t, struct meta1_req *rq)
{
	h->count(t->ctx, "now_total", 1);
	h->count(t->ctx, "held_now", t->nheld);
	h->log(t->ctx, META1_DEBUG, "asked for \"%s\"", "now\n");
	say(rq, META1_OK, "value");
}

static void flushed(struct try *t, struct meta1_req *rq)
{
	flush(t);
	say(rq, META1_OK, "flushed");
}

/* As much memory as there is, up to 1 GB. Only in a process of its own. */
static void eat(struct try *t, struct meta1_req *rq)
{
	struct meta1_reply r = {.size = sizeof(r), .text = "no memory"};
	unsigned n = 0;

	while (n < 64 && h->alloc(t->ctx, 16 << 20))
		n++;
	if (n < 64)
		h->finish(rq, META1_TEMPFAIL, &r);
	else
		say(rq, META1_OK, "enough");
}

static void crash(struct try *t, struct meta1_req *rq)
{
	(void)t, (void)rq;
	raise(SIGKILL);
}

static void hang(struct try *t, struct meta1_req *rq)
{
	(void)t, (void)rq;
	for (;;)
		pause();
}

static const struct {
	const char *key;
	void (*act)(struct try *, struct meta1_req *);
} acts[] = {{"now", now}, {"later", later}, {"never", hold}, {"twice", twice}, {"slow", slow},
    {"big", big}, {"thread", thread}, {"other", other}, {"dns", dns}, {"flush", flushed},
    {"crash", crash}, {"hang", hang}, {"eat", eat}};

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	size_t i;

	for (i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (strlen(acts[i].key) == key.len && !memcmp(acts[i].key, key.data, key.len)) {
			acts[i].act(inst, rq);
			return;
		}
	absent(inst, rq);
}

static void cancel(void *inst, struct meta1_req *rq)
{
	struct try *t = inst;
	unsigned i;

	h->count(t->ctx, "cancelled_total", 1);
	for (i = 0; i < t->nheld && t->conf->obey; i++)
		if (t->held[i] == rq) {
			t->held[i] = t->held[--t->nheld];
			h->finish(rq, META1_CANCELED, NULL);
			return;
		}
}

static int check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (c->size != 13)
		return 0;
	strcpy(err->text, "size: 13 brings bad luck");
	return -1;
}

static int open_(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	const struct conf *c = conf;
	struct try *t;

	h = host;
	if (c->wait)
		close(open(c->wait, O_RDONLY));
	if (c->fail) {
		strncpy(err->text, c->fail, sizeof(err->text) - 1);
		return -1;
	}
	t = h->alloc(ctx, sizeof(*t));
	if (!t) {
		strcpy(err->text, "no memory");
		return -1;
	}
	t->ctx = ctx;
	t->conf = c;
	t->timer = h->watch_timer(ctx, -1, timer, t);
	if (c->other)
		t->other = h->map(ctx, c->other);
	*inst = t;
	return 0;
}

static void drain(void *inst, struct meta1_req *rq)
{
	struct try *t = inst;

	if (t->conf->linger) {
		t->drain = rq;
		h->rearm(t->timer, 50);
	} else {
		h->finish(rq, META1_OK, NULL);
	}
}

static void close_(void *inst)
{
	struct try *t = inst;
	struct meta1_ctx *ctx = t->ctx;

	if (t->conf->last)
		flush(t);
	if (t->conf->leak) {
		h->alloc(ctx, 312);
		h->watch_fd(ctx, 0, 0x02, timer, NULL);
	}
	h->unwatch(&t->timer);
	h->free(ctx, t);
}

static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = lookup, .cancel = cancel};

META1_MODULE(map_try, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "1",
    .summary = "Behaves as the key says.", .opt = opts, .nopt = sizeof(opts) / sizeof(opts[0]),
    .sizeof_conf = sizeof(struct conf), .check = check, .open = open_, .drain = drain,
    .close = close_, .ops = &ops);
