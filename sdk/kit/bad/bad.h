/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bad.h -- a small map that keeps every law, for modules that break just one: each defines what
 * it does otherwise, then includes this. "key" has the value "value". BAD is the file's name.
 * tests/unit/mod/bad.py says for which reason the kit must refuse each of them.
 */
#include <meta1/map.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conf {
	int64_t number;
	const char *word;
};

struct bad {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	struct meta1_watch *timer;
	struct meta1_req *req;
	char *block;
};

#ifndef OPTION
#define OPTION META1_OPT_INT(struct conf, number, "1", "0..9", "A number.")
#endif
#ifndef OPEN
#define OPEN(in) ((in)->block = (in)->host->alloc((in)->ctx, 64)) ? 0 : -1
#endif
#ifndef CLOSE
#define CLOSE(in) (in)->host->free((in)->ctx, (in)->block)
#endif
#ifndef FOUND
#define FOUND(in, rq)                                                                              \
	do {                                                                                       \
		struct meta1_buf v = {"value", 5};                                                 \
		struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &v};                  \
		(in)->host->finish(rq, META1_OK, &r);                                              \
	} while (0)
#endif
#ifndef ABSENT
#define ABSENT(in, rq) (in)->host->finish(rq, META1_NOTFOUND, NULL)
#endif
#ifndef REASON
#define REASON(err) snprintf((err)->text, sizeof((err)->text), "no memory")
#endif
#ifndef EXTRA_OPS
#define EXTRA_OPS
#endif
#ifndef EXTRA_FIELDS
#define EXTRA_FIELDS
#endif

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	struct bad *in = inst;

	if (key.len == 3 && !memcmp(key.data, "key", 3))
		FOUND(in, rq);
	else
		ABSENT(in, rq);
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	struct bad *in = h->alloc(ctx, sizeof(*in));

	(void)conf;
	if (in) {
		*in = (struct bad){.host = h, .ctx = ctx};
		*inst = in;
		if ((OPEN(in)) == 0)
			return 0;
#ifndef LEAVES_IT
		h->free(ctx, in);
#endif
	}
	REASON(err);
	return -1;
}

static void close_(void *inst)
{
	struct bad *in = inst;

	CLOSE(in);
	in->host->free(in->ctx, in);
}

static const struct meta1_opt opts[] = {OPTION};
static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = lookup, EXTRA_OPS};

#define MODULE_(n, ...) META1_MODULE(n, __VA_ARGS__)
MODULE_(BAD, .kind = META1_MAP, .roles = META1_SMAR, .version = "1", .summary = "Breaks one law.",
    .opt = opts, .nopt = 1, .sizeof_conf = sizeof(struct conf), .open = open_, .close = close_,
    .ops = &ops, EXTRA_FIELDS);
