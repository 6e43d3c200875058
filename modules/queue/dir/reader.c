/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reader.c -- a content is checked to its last byte, then handed out as its file.
 *
 * A file is never changed after it has its name, only unlinked; so a socket may be fed from it.
 * Comes from: smtpc, and qmgr for its reports. Owns: the descriptor until unload().
 * On failure: PERMFAIL for what is damaged or gone, TEMPFAIL for what is lacking now.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct load {
	struct store *d;
	struct meta1_req *req;
	struct dir_ref ref;
	struct meta1_content c;
	struct meta1_extent x;
	int fd;
	bool damaged;
	char why[160];
};

static void work(void *arg)
{
	struct load *l = arg;
	char path[64];
	struct trailer r;

	file_path(l->ref.number, path);
	l->fd = openat(l->d->qfd, path, O_RDONLY | O_CLOEXEC);
	if (l->fd < 0) {
		l->damaged = errno == ENOENT;
		snprintf(l->why, sizeof(l->why), "%s: %s", path, strerror(errno));
		return;
	}
	errno = 0;
	if (file_read_trailer(l->fd, l->ref.number, &r) == 0 && r.len == l->ref.len &&
	    file_content_ok(l->fd, &r))
		return;
	l->damaged = errno == 0; /* else the disk or memory fails just now, perhaps */
	snprintf(l->why, sizeof(l->why), "%s: content: %s", path,
	    errno != 0 ? strerror(errno) : "checksum differs");
	close(l->fd);
	l->fd = -1;
}

static void done(void *arg)
{
	struct load *l = arg;
	struct meta1_reply r = {.size = sizeof(r), .ext = &l->c};
	struct meta1_req *req = l->req;

	if (l->fd < 0) {
		store_answer(l->d, &l->req, l->damaged ? META1_PERMFAIL : META1_TEMPFAIL, l->why);
		free(l);
		return;
	}
	l->x = (struct meta1_extent){.fd = l->fd, .len = l->ref.len};
	l->c = (struct meta1_content){.size = sizeof(l->c),
	    .nextent = l->ref.len > 0,
	    .extent = &l->x,
	    .bytes_stored = l->ref.len,
	    .store = l};
	l->d->h->finish(req, META1_OK, &r);
}

void reader_load(void *inst, struct meta1_req *req, const struct meta1_ref *ref)
{
	struct store *d = inst;
	struct load *l = calloc(1, sizeof(*l));

	if (l == NULL || ref->len != sizeof(l->ref) ||
	    (d->h->role & (META1_SMTPC | META1_QMGR | META1_TOOL)) == 0) {
		store_answer(d, &req, l == NULL ? META1_TEMPFAIL : META1_PERMFAIL,
		    "queue_dir: no memory, not a reference of this store, or no reader");
		free(l);
		return;
	}
	l->d = d;
	l->req = req;
	l->fd = -1;
	memcpy(&l->ref, ref->b, sizeof(l->ref));
	if (store_job(d, work, done, l))
		return;
	store_answer(d, &req, META1_TEMPFAIL, "queue_dir: too much work waits");
	free(l);
}

void reader_unload(void *inst, struct meta1_content **cp)
{
	struct load *l = *cp != NULL ? (*cp)->store : NULL;

	(void)inst;
	*cp = NULL;
	if (l == NULL)
		return;
	close(l->fd);
	free(l);
}
