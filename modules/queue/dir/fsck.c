/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsck.c -- accounts for every message the store accepted: waiting, or done and by whom.
 *
 * History and outcomes say what is done; each file that is not done waits, and must be whole. Each
 * message names the one before it in its writer's life, in its file and in its last lines, and
 * qmgr says now and then how far it has come: so one that vanished without a word is missed. What
 * was accepted before the oldest file of history is not judged. Changes nothing.
 * Comes from: meta1ctl, on its own thread: it blocks. Goes to: found(), fate() and message().
 * Owns: what it read. On failure: what cannot be read is a finding; an error without any rights,
 * and where memory or descriptors lack, for then nothing is known of what was not looked at.
 */
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fsck {
	struct check c;
	struct store *d;
	struct replay p;
	bool complete;		    /* no file of history is gone */
	bool enough;		    /* no more messages are wanted */
	unsigned file;		    /* of history and outcomes, being read */
	uint64_t floor[DIR_QM + 1]; /* the first number that a retained line tells of; 0: none */
	uint64_t newest[DIR_QM + 1];
	uint64_t highest; /* number in the folder that is read */
	uint32_t writer;
};

/* ---- what was said ---- */

static void final(void *arg, const struct rec *r, const struct said *x)
{
	struct fsck *f = arg;
	struct meta1_qfate fate = {.size = sizeof(fate),
	    .state = x->state,
	    .id = x->id,
	    .addr = x->addr,
	    .from = x->from,
	    .by = x->by,
	    .bytes = x->bytes,
	    .time = x->time,
	    .tries = x->tries};

	(void)r;
	f->c.ev->fate(f->c.arg, &fate);
}

static void cursor(void *arg, uint32_t writer, uint64_t number)
{
	struct fsck *f = arg;

	if (f->floor[writer] == 0 || number < f->floor[writer])
		f->floor[writer] = number;
	/* Said late: the message may have been done in the file before, which is gone. */
	if ((f->complete || f->file > 1) && number > f->newest[writer])
		f->newest[writer] = number;
}

/* Every message above is in what is retained. */
static bool judged(const struct fsck *f, uint32_t writer, uint64_t number)
{
	return f->complete || (f->floor[writer] != 0 && number > f->floor[writer]);
}

static int read_files(struct fsck *f, const char *what)
{
	uint64_t *v;
	size_t n;

	if (serial_list(f->c.state, what, &v, &n) < 0)
		return -1;
	for (size_t i = 0; i < n && f->p.err == 0; i++) {
		unsigned had = f->p.damaged;
		char name[40];

		if (f->file++ == 0)
			f->complete = v[i] <= 1;
		serial_name(name, what, v[i]);
		replay_file(&f->p, name, false);
		if (f->p.err == ENOENT) /* it became history just now; in use, so asked again */
			f->p.err = 0;
		if (f->p.damaged > had)
			check_found(&f->c, META1_QF_DAMAGE,
			    "state/%s: %u damaged places, outcomes in them are unknown", name,
			    f->p.damaged - had);
	}
	free(v);
	return 0;
}

static int read_state(struct fsck *f, struct meta1_err *e)
{
	int err;

	f->p.dir = f->c.state;
	f->p.qfd = f->d->qfd;
	f->p.final = final;
	f->p.cursor = cursor;
	f->p.arg = f;
	f->complete = true;
	err = read_files(f, "history") < 0 || read_files(f, OUTCOMES) < 0 ||
		      folder_writers(f->d->qfd, f->p.folder, &f->p.nfolder) < 0
		  ? errno
		  : f->p.err;
	if (err == 0)
		return 0;
	snprintf(e->text, sizeof(e->text), "queue folder state: %s", strerror(err));
	return -1;
}

/* ---- a file ---- */

static void tell(struct fsck *f, const struct rec *r, struct envelope *e, int fd)
{
	struct meta1_extent x = {.fd = fd, .len = e->len};
	struct meta1_qentry q = manager_entry(r, e->id, &e->env, e->len);
	struct meta1_content c = {
	    .size = sizeof(c), .nextent = e->len > 0, .extent = &x, .bytes_stored = e->len};

	table_states(&f->p.t, r, e->rcpt, e->env.nrcpt);
	for (uint32_t i = 0; i < e->env.nrcpt; i++) {
		const struct meta1_qrcpt *v = &e->rcpt[i];
		struct meta1_qfate fate = {.size = sizeof(fate),
		    .id = e->id,
		    .addr = v->addr,
		    .from = e->env.from,
		    .by = v->reason,
		    .bytes = e->env.bytes,
		    .time = v->next_try,
		    .accepted = e->env.time,
		    .tries = v->tries};

		if (v->state == META1_R_WAITING) /* else it was told from its line */
			f->c.ev->fate(f->c.arg, &fate);
	}
	if (check_tells(&f->c) && !f->enough)
		f->enough = !f->c.ev->message(f->c.arg, &q, &c);
}

static void one(struct fsck *f, uint64_t number)
{
	struct rec *r = table_add(&f->p.t, f->writer, number);
	char path[64], why[80] = "";
	struct envelope e;
	int fd;

	f->highest = number > f->highest ? number : f->highest;
	file_path(number, path);
	if (r == NULL) {
		check_short(&f->c, ENOMEM);
		return;
	}
	fd = openat(f->d->qfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) { /* ENOENT: it went just now */
		if (errno != ENOENT && !check_short(&f->c, errno))
			check_found(&f->c, META1_QF_DAMAGE, "%s: %s", path, strerror(errno));
		return;
	}
	r->seen = true;
	if (file_read(fd, number, !r->dead, &e, why) == 0) {
		r->after = e.after;
		if (!r->dead)
			table_admit(&f->p.t, r, e.env.nrcpt);
		if (!r->dead && !table_final(r))
			tell(f, r, &e, fd);
		file_free(&e);
	} else if (why[0] == '\0') {
		check_short(&f->c, ENOMEM);
	} else if (!r->dead) {
		check_found(&f->c, META1_QF_DAMAGE, "%s: %s", path, why);
	}
	close(fd);
}

/* ---- a folder ---- */

static bool any_name(const char *name, const void *arg, uint64_t *number)
{
	return file_number(name, *(const char *)arg, number);
}

/* Where nobody looks for it. */
static void misplaced(struct fsck *f, int dir, const char *folder)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t *v = NULL;
		char sub[4], right[4];
		size_t n = 0;

		snprintf(sub, sizeof(sub), "%02x", i);
		if (folder_list(dir, sub, any_name, "m", &v, &n) < 0) {
			check_short(&f->c, errno);
			n = 0;
		}
		for (size_t k = 0; k < n; k++) {
			file_sub(v[k], right);
			if (strcmp(sub, right) != 0 || (v[k] & 0xff) != f->writer)
				check_found(&f->c, META1_QF_DAMAGE,
				    "%s/%s/m%016llx: is in the wrong folder, so it is not in the "
				    "queue",
				    folder, sub, (unsigned long long)v[k]);
		}
		free(v);
	}
}

static void leftovers(struct fsck *f, int dir, const char *folder)
{
	uint64_t *v = NULL, next = 0;
	size_t n = 0;

	if (!folder_locked(dir)) {
		if (folder_list(dir, ".", any_name, "t", &v, &n) < 0)
			check_short(&f->c, errno);
		for (size_t i = 0; i < n; i++)
			check_found(&f->c, META1_QF_ORPHAN,
			    "%s/t%016llx: was being received (the next start removes it)", folder,
			    (unsigned long long)v[i]);
	}
	free(v);
	errno = 0;
	if (numbers_look(dir, &next) < 0) {
		if (f->highest > 0 && !check_short(&f->c, errno))
			check_found(&f->c, META1_QF_DAMAGE,
			    "%s/numbers: missing or damaged; the next start goes on far above",
			    folder);
	} else if ((f->highest & ~((uint64_t)1 << 62)) >> 8 >= next) {
		check_found(&f->c, META1_QF_DAMAGE,
		    "%s/numbers: the next block is at %llx, but number %016llx was used", folder,
		    (unsigned long long)next, (unsigned long long)f->highest);
	}
}

static void folder(struct fsck *f, uint32_t writer)
{
	uint64_t *v = NULL;
	char path[16];
	size_t n = 0;
	int dir;

	folder_name(writer, path);
	f->writer = writer;
	f->highest = 0;
	dir = openat(f->d->qfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || list_files(dir, 0, UINT64_MAX, &v, &n) < 0) {
		if (errno != ENOENT && !check_short(&f->c, errno))
			check_found(&f->c, META1_QF_DAMAGE, "%s: %s", path, strerror(errno));
		goto out;
	}
	for (size_t i = 0; i < n; i++)
		one(f, v[i]);
	misplaced(f, dir, path);
	leftovers(f, dir, path);
out:
	if (dir >= 0)
		close(dir);
	free(v);
}

/* ---- what is missing ---- */

static void lost(struct fsck *f, uint64_t number, const char *how)
{
	char path[64];

	file_path(number, path);
	check_found(
	    &f->c, META1_QF_LOST, "%s: is not there, and no outcome is known (%s)", path, how);
}

static void missing(struct fsck *f)
{
	for (const struct rec *r = f->p.t.live.first; r != NULL; r = r->next) {
		if (!r->seen && !table_final(r))
			lost(f, r->number, "it was tried before");
	}
	for (unsigned i = 0; i < 2; i++) {
		const struct rec *r = i == 0 ? f->p.t.live.first : f->p.t.dead.first;

		for (; r != NULL; r = r->next)
			if (r->after != 0 && judged(f, r->writer, r->after) &&
			    table_find(&f->p.t, r->writer, r->after) == NULL)
				lost(f, r->after, "the one behind it names it");
	}
	for (uint32_t w = 0; w <= DIR_QM; w++)
		if (f->newest[w] != 0 && judged(f, w, f->newest[w]) &&
		    table_find(&f->p.t, w, f->newest[w]) == NULL)
			lost(f, f->newest[w], "qmgr knew it");
}

int fsck_check(void *inst, const struct meta1_qcheck *ev, void *arg, struct meta1_err *e)
{
	struct fsck *f = calloc(1, sizeof(*f));
	int ret = -1;

	if (f == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_dir: out of memory");
		return -1;
	}
	f->d = inst;
	if (check_begin(&f->c, f->d, ev, arg, e) < 0 || read_state(f, e) < 0)
		goto out;
	for (unsigned i = 0; i < f->p.nfolder; i++)
		folder(f, f->p.folder[i]);
	missing(f);
	ret = check_done(&f->c, e);
out:
	check_end(&f->c);
	table_free(&f->p.t);
	free(f);
	return ret;
}
