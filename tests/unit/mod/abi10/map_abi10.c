/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_abi10 -- the source of map_abi10.so, a module of ABI 1.0 that is kept as it was built when
 * 1.0 was frozen, and that every 1.x must load, ask and close: the file is never built again.
 * It answers each key by another way through the host's table, and "options" with what the host
 * made of each type of option. It was built with the headers of that day by
 *	gcc -O2 -std=gnu11 -fPIC -shared -fvisibility=hidden -s -Wl,-z,defs -Wl,-z,now \
 *	    -Isdk/include -o map_abi10.so map_abi10.c
 */
#include <meta1/map.h>
#include <stdio.h>
#include <string.h>

struct conf {
	int32_t a_bool, an_enum;
	int64_t an_int, a_size, a_time;
	uint64_t flags;
	const char *text, *file;
	const char *const *list;
};

static const struct meta1_opt opts[] = {
    META1_OPT_BOOL(struct conf, a_bool, "yes", "Yes or no."),
    META1_OPT_ENUM(struct conf, an_enum, "two", "one|two|three", "One of three."),
    META1_OPT_INT(struct conf, an_int, "7", "0..100", "A number."),
    META1_OPT_BYTES(struct conf, a_size, "64KB", "1..1GB", "A size."),
    META1_OPT_MSEC(struct conf, a_time, "1500ms", "0s..1h", "A time."),
    META1_OPT_FLAGS(struct conf, flags, "red, blue", "red|green|blue", "Some of three."),
    META1_OPT_STR(struct conf, text, "value", META1_O_SECRET, "What keys are found with."),
    META1_OPT_PATH(struct conf, file, "/", 0, "A file."),
    META1_OPT_LIST(struct conf, list, "a, b", 0, "Some words."),
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
	int64_t opened;
};

/* A look-up that is answered later: memory of its request. */
struct later {
	struct instance *in;
	struct meta1_req *req;
	struct meta1_watch *timer;
	char text[64];
};

static void answer(struct instance *in, struct meta1_req *req, const char *text)
{
	struct meta1_buf val = {text, strlen(text)};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val, .ttl = 0};

	in->host->count(in->ctx, "found_total", 1);
	in->host->finish(req, META1_OK, &r);
}

static void refuse(
    struct instance *in, struct meta1_req *req, enum meta1_status st, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why, .smtp = 451, .dsn = "4.3.0"};

	in->host->finish(req, st, &r);
}

static void on_timer(int fd, short what, void *arg)
{
	struct later *l = arg;

	(void)fd, (void)what;
	l->in->host->unwatch(&l->timer);
	answer(l->in, l->req, l->in->conf->text);
}

static void on_post(void *arg)
{
	struct later *l = arg;

	answer(l->in, l->req, l->in->conf->text);
}

static void on_thread(void *arg)
{
	struct later *l = arg;

	snprintf(l->text, sizeof(l->text), "%.50s of a thread", l->in->conf->text);
}

static void on_done(void *arg)
{
	struct later *l = arg;

	answer(l->in, l->req, l->text);
}

static void options(struct instance *in, struct meta1_req *req)
{
	const struct conf *c = in->conf;
	char text[300];

	snprintf(text, sizeof(text), "%d %d %lld %lld %lld %llu %s %s %s+%s%s", c->a_bool,
	    c->an_enum, (long long)c->an_int, (long long)c->a_size, (long long)c->a_time,
	    (unsigned long long)c->flags, c->text, c->file, c->list[0], c->list[1],
	    c->list[2] ? "+" : "");
	answer(in, req, text);
}

static void domain(struct instance *in, struct meta1_req *req)
{
	struct meta1_buf name = {"EXAMPLE.Org.", 12};
	char key[64];

	if (in->host->domain_key(name, key, sizeof(key)) == 0)
		answer(in, req, key);
	else
		refuse(in, req, META1_PERMFAIL, "the domain is none");
}

static int is(struct meta1_buf key, const char *word)
{
	return key.len == strlen(word) && !memcmp(key.data, word, key.len);
}

static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct instance *in = inst;
	const struct meta1_host *h = in->host;
	struct later *l = h->req_alloc(req, sizeof(*l));

	if (!l || h->req_ctx(req) != in->ctx || h->req_deadline(req) < in->opened) {
		refuse(in, req, META1_TEMPFAIL, "the request is not as it should be");
		return;
	}
	*l = (struct later){.in = in, .req = req};
	*h->req_slot(req) = l;
	if (is(key, "now"))
		answer(in, req, in->conf->text);
	else if (is(key, "options"))
		options(in, req);
	else if (is(key, "domain"))
		domain(in, req);
	else if (is(key, "later") && (l->timer = h->watch_timer(in->ctx, 0, on_timer, l)))
		return;
	else if (is(key, "posted") && h->post(in->ctx, on_post, l) >= 0)
		return;
	else if (is(key, "thread") && h->offload(in->ctx, on_thread, on_done, l) == META1_OK)
		return;
	else if (is(key, "later") || is(key, "posted") || is(key, "thread"))
		refuse(in, req, META1_TEMPFAIL, "no memory");
	else
		h->finish(req, META1_NOTFOUND, NULL);
}

static void map_cancel(void *inst, struct meta1_req *req)
{
	struct instance *in = inst;
	struct later *l = *in->host->req_slot(req);

	if (!l->timer)
		return; /* a post or a thread comes back soon */
	in->host->unwatch(&l->timer);
	in->host->finish(req, META1_CANCELED, NULL);
}

static int map_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (c->an_int != 99)
		return 0;
	snprintf(err->text, sizeof(err->text), "an_int: 99 is not wanted");
	return -1;
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in;

	if (!META1_HAS(host, domain_key) || host->abi_major != 1 ||
	    (host->offers & (META1_S_CONN | META1_S_OFFLOAD)) != (META1_S_CONN | META1_S_OFFLOAD)) {
		snprintf(err->text, sizeof(err->text), "this host is none of ABI 1");
		return -1;
	}
	in = host->alloc(ctx, sizeof(*in));
	if (!in) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	*in = (struct instance){host, ctx, conf, host->now(ctx)};
	host->log(ctx, META1_INFO, "opened at %lld in a host of ABI %u.%u",
	    (long long)host->wall(ctx), host->abi_major, host->abi_minor);
	*inst = in;
	return 0;
}

static void map_drain(void *inst, struct meta1_req *req)
{
	struct instance *in = inst;

	in->host->finish(req, META1_OK, NULL);
}

static void map_close(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .lookup = map_lookup, .cancel = map_cancel};

META1_MODULE(map_abi10, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL,
    .needs = META1_S_CONN | META1_S_OFFLOAD, .version = "1.0", .summary = "Was built for ABI 1.0.",
    .opt = opts, .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf),
    .check = map_check, .open = map_open, .drain = map_drain, .close = map_close, .ops = &ops);
