/* SPDX-License-Identifier: BSD-2-Clause */
/* newer.h -- takes up a new version of a map's file; compiled into the maps that have one. */
#ifndef MAP_NEWER_H
#define MAP_NEWER_H
#include <meta1/module.h>
#include <sys/stat.h>

struct newer_ops {
	int settle; /* only what was left alone for a second: the file may be written in place */
	/* On a worker thread, the only one at a time: reads the new version beside the one in
	 * use, and says in the stat which it was. <0: err. */
	int (*read)(void *arg, struct stat *, struct meta1_err *);
	/* On the loop: what read() left behind goes into use. good 0: read() failed, and that is
	 * logged afterwards; the old content stays. */
	void (*take)(void *arg, int good);
};

struct newer {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const char *file;
	const struct newer_ops *ops;
	void *arg;
	struct meta1_watch *timer;
	struct stat seen; /* newest version that was tried */
	int64_t wall;
	/* what the worker leaves behind */
	int changed, good;
	struct stat now;
	struct meta1_err err;
};

/* seen: of the version in use. <0: err. Looks once a second until newer_stop(). */
int newer_start(struct newer *, const struct meta1_host *, struct meta1_ctx *, const char *file,
    const struct stat *seen, const struct newer_ops *, void *arg, struct meta1_err *);
void newer_stop(struct newer *);

#endif
