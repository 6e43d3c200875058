/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rewind.c -- makes of a checkpoint with one waiting message the one that would stand there had the
 * message come while it was written: the message is in it, and behind its folder's cursor.
 *
 *	rewind CHECKPOINT
 *
 * The name ends with the serial in hexadecimal digits. Comes from test_fsck.py. On failure: says
 * what was found, exit status 1, the file is as it was.
 */
#include "../../modules/queue/log/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rewind {
	struct jrec msg;
	unsigned nmsg, ncursor;
	struct bytes out;
};

static void look(void *arg, const struct jrec *r, const struct jtext *t)
{
	struct rewind *w = arg;

	(void)t;
	if (r->type == J_MSG) {
		w->msg = *r;
		w->nmsg++;
	}
}

static void copy(void *arg, const struct jrec *r, const struct jtext *t)
{
	struct rewind *w = arg;
	struct jrec j = *r;

	if (j.type == J_CURSOR && j.writer == w->msg.writer && j.seg == w->msg.seg) {
		j.off = w->msg.off;
		j.idx = w->msg.idx;
		j.bytes--; /* messages before it */
		w->ncursor++;
	}
	frame_put(&w->out, &j, t);
}

int main(int argc, char **argv)
{
	const char *dot = argc == 2 ? strrchr(argv[1], '.') : NULL;
	uint64_t serial = dot != NULL ? ~strtoull(dot + 1, NULL, 16) : 0;
	int fd = dot != NULL ? open(argv[1], O_RDWR | O_CLOEXEC) : -1, rc = 1;
	struct rewind w = {.nmsg = 0};
	size_t n;

	if (fd < 0 || frame_read(fd, serial, look, &w) != 0 || w.nmsg != 1 ||
	    frame_read(fd, serial, copy, &w) != 0 || w.ncursor != 1 || w.out.bad) {
		fprintf(stderr,
		    "rewind: %s: %u messages, %u cursors behind them; expected 1 and 1\n",
		    argc == 2 ? argv[1] : "no file", w.nmsg, w.ncursor);
		goto out;
	}
	n = frame_seal(&w.out, serial, 0, 0);
	if (ftruncate(fd, 0) < 0 || bytes_write(fd, w.out.b, n, 0) != 0) {
		perror("rewind");
		goto out;
	}
	rc = 0;
out:
	free(w.out.b);
	if (fd >= 0)
		close(fd);
	return rc;
}
