/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * newer.c -- looks at a map's file once a second, and has it read when it is another one.
 *
 * Comes from map_text.c and map_gdbm.c, goes back there by the table of functions. All that
 * may sleep is done on a worker thread; two looks are never under way at once.
 * Owns its timer. On failure: the file as it was stays in use, and one line says why; the same
 * version is not tried again.
 */
#include "newer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CHECK_MS 1000

static int stale(const struct stat *was, const struct stat *now)
{
	return was->st_ino != now->st_ino || was->st_dev != now->st_dev ||
	       was->st_size != now->st_size || was->st_mtim.tv_sec != now->st_mtim.tv_sec ||
	       was->st_mtim.tv_nsec != now->st_mtim.tv_nsec;
}

static void look(void *arg)
{
	struct newer *n = arg;
	int there = stat(n->file, &n->now) == 0;

	n->good = 0;
	n->err.text[0] = '\0';
	if (!there) {
		snprintf(n->err.text, sizeof(n->err.text), "%s: %s", n->file, strerror(errno));
		memset(&n->now, 0, sizeof(n->now));
	}
	n->changed = stale(&n->seen, &n->now);
	if (there && n->changed && n->ops->settle && n->now.st_mtim.tv_sec <= n->wall &&
	    n->wall - n->now.st_mtim.tv_sec < 1)
		n->changed = 0;
	if (there && n->changed)
		n->good = n->ops->read(n->arg, &n->now, &n->err) == 0;
}

static void looked(void *arg)
{
	struct newer *n = arg;

	if (n->changed) {
		n->seen = n->now;
		n->ops->take(n->arg, n->good);
		if (n->good)
			n->host->changed(n->ctx);
		else
			n->host->log(
			    n->ctx, META1_ERR, "%s; the old content stays in use", n->err.text);
	}
	n->host->rearm(n->timer, CHECK_MS);
}

static void check(int fd, short what, void *arg)
{
	struct newer *n = arg;

	(void)fd, (void)what;
	n->wall = n->host->wall(n->ctx);
	if (n->host->offload(n->ctx, look, looked, n) != META1_OK)
		n->host->rearm(n->timer, CHECK_MS);
}

int newer_start(struct newer *n, const struct meta1_host *host, struct meta1_ctx *ctx,
    const char *file, const struct stat *seen, const struct newer_ops *ops, void *arg,
    struct meta1_err *err)
{
	*n = (struct newer){
	    .host = host, .ctx = ctx, .file = file, .ops = ops, .arg = arg, .seen = *seen};
	n->timer = host->watch_timer(ctx, CHECK_MS, check, n);
	if (!n->timer)
		snprintf(err->text, sizeof(err->text), "no memory");
	return n->timer ? 0 : -1;
}

void newer_stop(struct newer *n)
{
	n->host->unwatch(&n->timer);
}
