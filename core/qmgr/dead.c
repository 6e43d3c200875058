/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dead.c -- which destinations are dead is kept over a restart, in state/destinations: what was
 * dead before holds no slots after it.
 * Comes from qmgr.c (start, once in WRITE_MS, end); goes to sched.c. Owns the file and the text
 * that a worker writes: beside, synced, then renamed. On failure: a file that is not whole or makes
 * no sense is ignored with one log line, and a file that cannot be written is tried again at the
 * next change. Nothing depends on it but useless tries.
 *
 * The file is at most FILE_MAX, which is what a start reads: the destinations beyond are tried
 * then.
 *
 * Lines, fields parted by tabs: "meta1 destinations 1", then key, wall clock second until which it
 * is dead, pause in ms, last failure; at the end "end N" with the number of destinations.
 */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD	  "meta1 destinations 1\n"
#define WRITE_MS  5000
#define FILE_MAX  (16u << 20)
#define WHY_MAX	  1024
#define LINE_MORE (WHY_MAX + 64) /* of a line beside the key, at most */

struct writing {
	struct qmgr *q;
	char *text, path[1024];
	size_t len;
	int failed; /* errno */
};

static bool path_of(struct qmgr *q, const char *end, char *out, size_t size)
{
	const char *dir = q->role.set->queue_directory;

	return dir && snprintf(out, size, "%s/state/destinations%s", dir, end) < (int)size;
}

/* ---- reading ---- */

static char *read_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *b = NULL;
	ssize_t n = 0;

	*len = 0;
	if (fd < 0)
		return NULL;
	b = base_alloc(FILE_MAX + 1);
	while (*len < FILE_MAX && (n = read(fd, b + *len, FILE_MAX - *len)) > 0)
		*len += (size_t)n;
	close(fd);
	b[*len] = '\0';
	return b;
}

/* One line of a destination; it is changed. false: it is none. */
static bool take(struct qmgr *q, char *line, bool apply)
{
	int64_t now = loop_now(q->loop), until, pause;
	char *tab[3], *at = line, *end;
	struct qmgr_reason *why;
	struct qmgr_dest *d;
	int i;

	for (i = 0; i < 3; i++) {
		at = strchr(at, '\t');
		if (!at)
			return false;
		*at++ = '\0';
		tab[i] = at;
	}
	until = strtoll(tab[0], &end, 10);
	if (*end || end == tab[0])
		return false;
	pause = strtoll(tab[1], &end, 10);
	if (*end || pause <= 0 || !*line || until < 0 || until > INT64_MAX / 2000)
		return false;
	until -= loop_wall(q->loop);
	if (!apply || until <= 0 || HASH_COUNT(q->sched.dests) >= q->sched.kept)
		return true;
	qmgr_sched_restore(&q->sched, line, strlen(line), now + until * 1000, pause, now);
	HASH_FIND_STR(q->sched.dests, line, d);
	if (d && *tab[2]) {
		why = qmgr_reason_new(buf_str(""), 0, buf_str(""), buf_str(tab[2]), buf_str(""));
		qmgr_reason_drop(&d->why);
		d->why = why;
	}
	return true;
}

/* Twice: is all of it right, then what it says. *n: lines of destinations. */
static bool take_all(struct qmgr *q, char *text, bool apply, uint64_t *n)
{
	char *line, *end, *copy = base_strdup(text), *at = copy + strlen(HEAD);
	bool good = false;

	*n = 0;
	for (line = at; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		if (!strncmp(line, "end ", 4) && !strchr(line, '\t')) {
			good = strtoull(line + 4, NULL, 10) == *n && !end[1];
			break;
		}
		if (!take(q, line, apply))
			break;
		++*n;
	}
	free(copy);
	return good;
}

void qmgr_dead_load(struct qmgr *q)
{
	char path[1024], *text;
	uint64_t n = 0;
	size_t len;

	if (!path_of(q, "", path, sizeof(path)))
		return;
	text = read_file(path, &len);
	if (!text)
		return;
	if (strlen(text) != len || strncmp(text, HEAD, strlen(HEAD)) ||
	    !take_all(q, text, false, &n))
		log_event(LOG_L_WARN, "qmgr.destinations", "file=%s line=%llu text=%s", path,
		    (unsigned long long)n + 2, "not a whole list of dead destinations; ignored");
	else
		take_all(q, text, true, &n);
	free(text);
	q->sched.changed = false;
}

/* ---- writing ---- */

static void to_text(struct qmgr *q, struct writing *w)
{
	int64_t now = loop_now(q->loop), wall = loop_wall(q->loop);
	FILE *f = open_memstream(&w->text, &w->len);
	size_t size = strlen(HEAD) + LINE_MORE; /* the last line too */
	struct qmgr_dest *d;
	uint64_t n = 0;

	if (!f)
		return;
	fputs(HEAD, f);
	for (d = q->sched.dests; d; d = d->hh.next) {
		int64_t dead = qmgr_sched_dead(d, now);

		if (!dead || strpbrk(d->key, "\t\n"))
			continue;
		size += strlen(d->key) + LINE_MORE;
		if (n == QMGR_DESTS_MAX || size > FILE_MAX) /* the others would be tried */
			break;
		fprintf(f, "%s\t%lld\t%lld\t%.*s\n", d->key, (long long)(wall + dead / 1000),
		    (long long)d->dead_delay, WHY_MAX, d->why ? d->why->line : "");
		n++;
	}
	fprintf(f, "end %llu\n", (unsigned long long)n);
	if (fclose(f)) {
		free(w->text);
		w->text = NULL;
	}
}

static void write_file(void *arg)
{
	struct writing *w = arg;
	char path[1024 + 8];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s.new", w->path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0) {
		n = write(fd, w->text, w->len);
		if (n >= 0 && (size_t)n != w->len) {
			errno = ENOSPC;
			n = -1;
		}
		if (n >= 0 && fsync(fd) < 0)
			n = -1;
		w->failed = n < 0 ? errno : 0;
		close(fd);
	}
	if (n < 0 || rename(path, w->path) < 0)
		w->failed = w->failed ? w->failed : errno;
}

static void written(void *arg)
{
	struct writing *w = arg;
	struct qmgr *q = w->q;

	q->dead_writing = false;
	if (w->failed && log_rarely(&q->dead_said, loop_now(q->loop)))
		log_event(LOG_L_WARN, "qmgr.destinations", "file=%s error=%s text=%s", w->path,
		    strerror(w->failed), "what is dead now would be tried after a restart");
	free(w->text);
	free(w);
	if (q->stopping)
		qmgr_stop_check(q);
}

void qmgr_dead_save(struct qmgr *q)
{
	struct writing *w;

	if (!q->sched.changed || q->dead_writing)
		return;
	w = base_alloc(sizeof(*w));
	w->q = q;
	if (path_of(q, "", w->path, sizeof(w->path)))
		to_text(q, w);
	q->dead_writing = w->text && work_do(q->role.work, &q->dead_work, write_file, written, w);
	if (!q->dead_writing) {
		free(w->text);
		free(w);
		return;
	}
	q->sched.changed = false;
}

static void due(int fd, short what, void *arg)
{
	struct qmgr *q = arg;

	(void)fd, (void)what;
	qmgr_dead_save(q);
	loop_rearm(q->dead_timer, WRITE_MS);
}

void qmgr_dead_start(struct qmgr *q)
{
	work_owner_init(&q->dead_work, 1);
	qmgr_dead_load(q);
	q->dead_timer = loop_timer(q->loop, WRITE_MS, due, q);
}
