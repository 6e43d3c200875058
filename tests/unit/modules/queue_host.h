/* SPDX-License-Identifier: BSD-2-Clause */
/* queue_host.h -- the host of a store that is tried in pieces: clocks that stand still, no log, no
 * counters. Its timers are the test's. */
#ifndef TEST_QUEUE_HOST_H
#define TEST_QUEUE_HOST_H
#include <meta1/queue.h>

static int64_t wall_now = 1700000000;

static int64_t host_now(struct meta1_ctx *ctx)
{
	(void)ctx;
	return 1000;
}
static int64_t host_wall(struct meta1_ctx *ctx)
{
	(void)ctx;
	return wall_now;
}
static void host_log(struct meta1_ctx *ctx, enum meta1_level level, const char *fmt, ...)
{
	(void)ctx, (void)level, (void)fmt;
}
static void host_count(struct meta1_ctx *ctx, const char *name, int64_t n)
{
	(void)ctx, (void)name, (void)n;
}
static void host_unwatch(struct meta1_watch **wp)
{
	*wp = NULL;
}
static struct meta1_watch *host_timer(
    struct meta1_ctx *, int64_t ms, void (*fn)(int, short, void *), void *arg);
static const struct meta1_host host = {.size = sizeof(host),
    .now = host_now,
    .wall = host_wall,
    .log = host_log,
    .count = host_count,
    .watch_timer = host_timer,
    .unwatch = host_unwatch};

#endif
