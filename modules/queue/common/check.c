/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c -- what the check of every store begins and ends with: state/, and whether it is in use.
 * Comes from: fsck.c of each store. Goes to: found(). Owns: state/ and its lock, shared.
 * On failure: err says who may read it, or who has it. Where memory or descriptors lack nothing is
 * lost or damaged, and so nothing more is found: the check fails.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) void check_found(
    const struct check *c, enum meta1_qfinding what, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	if (c->lacks != 0)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->ev->found(c->arg, what, text);
}

bool check_short(struct check *c, int err)
{
	if (err != ENOMEM && err != EMFILE && err != ENFILE)
		return c->lacks != 0;
	c->lacks = err;
	return true;
}

int check_done(const struct check *c, struct meta1_err *e)
{
	if (c->lacks == 0)
		return c->used;
	snprintf(e->text, sizeof(e->text), "not all of the queue could be looked at: %s",
	    strerror(c->lacks));
	return -1;
}

bool check_tells(const struct check *c)
{
	return META1_HAS(c->ev, message) && c->ev->message != NULL;
}

int check_begin(
    struct check *c, struct store *s, const struct meta1_qcheck *ev, void *arg, struct meta1_err *e)
{
	*c = (struct check){.ev = ev, .arg = arg, .lock = -1};
	c->state = openat(s->qfd, "state", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->state < 0) {
		snprintf(e->text, sizeof(e->text), "queue folder state: %s%s", strerror(errno),
		    errno == EACCES ? " (only root and the account of qmgr may read it)" : "");
		return -1;
	}
	if (!check_tells(c)) {
		c->used = folder_locked(c->state);
		return 0;
	}
	/* Held to the end, so that no qmgr begins to change what is being told. */
	c->lock = openat(c->state, "lock", O_RDONLY | O_CLOEXEC);
	if (c->lock >= 0 ? flock(c->lock, LOCK_SH | LOCK_NB) == 0 : errno == ENOENT)
		return 0;
	snprintf(e->text, sizeof(e->text), "queue folder state: lock: %s",
	    errno == EWOULDBLOCK ? "a qmgr has it; ask that one, or stop it" : strerror(errno));
	return -1;
}

void check_end(struct check *c)
{
	if (c->lock >= 0)
		close(c->lock);
	if (c->state >= 0)
		close(c->state);
	c->lock = c->state = -1;
}
