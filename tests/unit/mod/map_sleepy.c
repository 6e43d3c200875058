/* SPDX-License-Identifier: BSD-2-Clause */
/* map_sleepy -- a blocking map: every look-up sleeps; the host runs it on a thread. */
#include <meta1/map.h>
#include <string.h>
#include <time.h>

struct sleepy {
	const struct meta1_host *h;
	struct meta1_ctx *ctx;
	int inside; /* more than one at a time would be seen here */
};

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	struct sleepy *s = inst;
	struct timespec ts = {0, 20000000};
	struct meta1_buf val = {"once", 4};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};

	if (s->inside++)
		val = (struct meta1_buf){"several", 7};
	nanosleep(&ts, NULL);
	s->h->log(s->ctx, META1_DEBUG, "slept");
	s->h->count(s->ctx, "slept_total", 1);
	s->inside--;
	if (key.len == 4 && !memcmp(key.data, "mute", 4))
		return;
	memset(s->h->req_alloc(rq, 100), 'x', 100);
	s->h->finish(rq, META1_OK, &r);
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	struct sleepy *s = h->alloc(ctx, sizeof(*s));

	(void)conf, (void)err;
	*s = (struct sleepy){h, ctx, 0};
	*inst = s;
	return 0;
}

static void close_(void *inst)
{
	struct sleepy *s = inst;

	s->h->free(s->ctx, s);
}

static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = lookup};

META1_MODULE(map_sleepy, .kind = META1_MAP, .roles = META1_SMAR, .flags = META1_F_BLOCKING,
    .version = "1", .summary = "Sleeps before it answers.", .open = open_, .close = close_,
    .ops = &ops);
