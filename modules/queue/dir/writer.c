/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writer.c -- a message is gathered; what is more than 64 KiB goes on to its file at once.
 *
 * Comes from: smtps (begin at 354, write, commit at the dot) and qmgr (reports).
 * Goes to: batch.c with the envelope. Owns: the lock of in/N or qm, messages until their batch,
 * and files with a temporary name (t...), which the next owner of the folder removes.
 * On failure: the message is lost and commit says TEMPFAIL with the cause (452 4.3.1).
 */
#define XXH_INLINE_ALL
#include "dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FEED  (64u << 10) /* bytes that start a job */
#define PAUSE (1u << 20)  /* bytes that stop the sender */

static void tick(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	batch_start(arg);
}

static void tidy(int dir)
{
	uint64_t *v = NULL;
	size_t n = 0;

	if (list_in(dir, ".", 't', &v, &n) == 0)
		for (size_t i = 0; i < n; i++) {
			char name[24];

			snprintf(name, sizeof(name), "t%016" PRIx64, v[i]);
			unlinkat(dir, name, 0);
		}
	free(v);
}

int writer_open(struct store *d, struct meta1_err *e)
{
	struct writer *w = calloc(1, sizeof(*w));
	char life[18];
	int n;

	if (w == NULL) {
		snprintf(e->text, sizeof(e->text), "queue_dir: out of memory");
		return -1;
	}
	d->w = w;
	w->d = d;
	w->dir = w->lock = -1;
	w->qtail = &w->q;
	n = folder_take(d->qfd, d->h->role == META1_QMGR, &w->dir, &w->lock, e);
	if (n < 0)
		return -1;
	w->number = (uint32_t)n;
	tidy(w->dir);
	if (numbers_open(&w->ids, d, w->dir, w->number, e) < 0)
		return -1;
	w->life = numbers_next(&w->ids);
	/* For the manager, while the lock is held: what is below is of earlier lives. */
	snprintf(life, sizeof(life), "%016" PRIx64 "\n", w->life);
	if (pwrite(w->lock, life, sizeof(life) - 1, 0) != (ssize_t)sizeof(life) - 1)
		d->h->log(d->ctx, META1_INFO, "lock of writer %u: %s", w->number, strerror(errno));
	w->timer = d->h->watch_timer(d->ctx, -1, tick, w);
	if (w->timer == NULL || space_open(w) < 0) {
		snprintf(e->text, sizeof(e->text), "queue_dir: out of memory");
		return -1;
	}
	return 0;
}

void writer_close(struct writer **wp)
{
	struct writer *w = *wp;

	*wp = NULL;
	if (w == NULL)
		return;
	if (w->timer != NULL)
		w->d->h->unwatch(&w->timer);
	while (w->q != NULL) {
		struct meta1_qmsg *m = w->q;

		w->q = m->next;
		store_answer(w->d, &m->req, META1_TEMPFAIL, "the queue is shut down");
		writer_drop(&m);
	}
	space_close(w);
	if (w->lock >= 0)
		close(w->lock);
	if (w->dir >= 0)
		close(w->dir);
	free(w);
}

bool writer_idle(const struct writer *w)
{
	return w->q == NULL && w->batch == NULL;
}

uint32_t writer_number(void *inst)
{
	struct store *d = inst;

	return d->w != NULL ? d->w->number : 0;
}

uint64_t writer_next_id(void *inst)
{
	struct store *d = inst;

	return d->w != NULL ? numbers_next(&d->w->ids) : 0;
}

enum meta1_status writer_begin(void *inst, const char *id,
    const struct meta1_qops_writer_events *ev, void *arg, struct meta1_qmsg **out,
    struct meta1_err *e)
{
	struct store *d = inst;
	struct meta1_qmsg *m;

	if (d->w == NULL || id == NULL || strlen(id) >= META1_ID_MAX) {
		snprintf(e->text, sizeof(e->text),
		    "queue_dir: this role does not write, or the id is missing or too long");
		return META1_TEMPFAIL;
	}
	if (space_full(d->w)) {
		snprintf(e->text, sizeof(e->text), "the queue's disk is full");
		return META1_TEMPFAIL;
	}
	m = calloc(1, sizeof(*m));
	if (m != NULL)
		m->sum = XXH3_createState();
	if (m == NULL || m->sum == NULL || XXH3_64bits_reset(m->sum) == XXH_ERROR) {
		free(m);
		snprintf(e->text, sizeof(e->text), "out of memory");
		return META1_TEMPFAIL;
	}
	m->w = d->w;
	m->ev = ev;
	m->arg = arg;
	m->fd = -1;
	snprintf(m->id, sizeof(m->id), "%s", id);
	*out = m;
	return META1_OK;
}

void writer_tmp(const struct meta1_qmsg *m, char out[24])
{
	snprintf(out, 24, "t%016" PRIx64, m->tmp);
}

static bool no_room(int err)
{
	return err == ENOSPC || err == EDQUOT;
}

int writer_put(struct meta1_qmsg *m, const void *b, size_t n)
{
	int err = bytes_write(m->fd, b, n, m->on_disk);

	if (no_room(err) && reserve_take(m))
		err = bytes_write(m->fd, b, n, m->on_disk);
	m->on_disk += err == 0 ? n : 0;
	return err;
}

int writer_part(struct meta1_qmsg *m)
{
	char name[24];
	int err;

	writer_tmp(m, name);
	if (!m->made) {
		m->fd = openat(m->w->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
		err = m->fd < 0 ? errno : 0;
		if (err != 0 && (!no_room(err) || !reserve_take(m)))
			return err;
		m->made = true;
		if (fchmod(m->fd, 0640) < 0) /* whatever the umask: the group reads */
			return errno;
	}
	XXH3_64bits_update(m->sum, m->out.b, m->out.len);
	return writer_put(m, m->out.b, m->out.len);
}

void writer_drop(struct meta1_qmsg **mp)
{
	struct meta1_qmsg *m = *mp;
	char name[24];

	*mp = NULL;
	if (m->fd >= 0)
		close(m->fd);
	writer_tmp(m, name);
	if (m->made)
		unlinkat(m->w->dir, name, 0);
	m->w->mem -= m->in.len + m->out.len;
	XXH3_freeState(m->sum);
	free(m->in.b);
	free(m->out.b);
	free(m->env.b);
	free(m);
}

static void fail(struct meta1_qmsg *m, const char *why)
{
	m->failed = true;
	snprintf(m->why, sizeof(m->why), "file of a message: %s", why);
}

static void feed(struct meta1_qmsg *m);

static void fed_work(void *arg)
{
	struct meta1_qmsg *m = arg;

	m->err = writer_part(m);
}

static void commit(struct meta1_qmsg *m)
{
	if (!m->failed) {
		batch_add(m);
		return;
	}
	store_answer(m->w->d, &m->req, META1_TEMPFAIL, m->why);
	writer_drop(&m);
}

static void fed(void *arg)
{
	struct meta1_qmsg *m = arg;
	bool was_paused = m->paused;

	m->busy = m->paused = false;
	m->w->mem -= m->out.len;
	m->out.len = 0;
	if (m->err == ENOSPC || m->err == EDQUOT)
		space_out(m->w);
	if (m->drop) {
		writer_drop(&m);
		return;
	}
	if (m->err != 0)
		fail(m, strerror(m->err));
	if (m->req != NULL) {
		commit(m);
		return;
	}
	feed(m);
	if (was_paused && !m->paused && m->ev != NULL && m->ev->ready != NULL)
		m->ev->ready(m->arg);
}

static void feed(struct meta1_qmsg *m)
{
	bool tight = m->w->mem > (uint64_t)m->w->d->c->memory;

	if (!m->failed && !m->busy && m->in.len >= (tight ? 1 : FEED)) {
		struct bytes t = m->out;

		if (m->tmp == 0)
			m->tmp = numbers_next(&m->w->ids);
		m->out = m->in;
		m->in = t;
		m->busy = m->tmp != 0 && store_job(m->w->d, fed_work, fed, m);
		if (!m->busy) {
			fail(m, "too much work waits");
			return;
		}
	}
	m->paused = !m->failed && m->busy && m->in.len >= (tight ? FEED : PAUSE);
}

enum meta1_status writer_write(struct meta1_qmsg *m, const void *data, size_t n)
{
	size_t had = m->in.len;

	bytes_add(&m->in, data, n);
	m->w->mem += m->in.len - had;
	m->len += n;
	if (m->in.bad && !m->failed)
		fail(m, "out of memory");
	feed(m);
	return m->failed ? META1_TEMPFAIL : m->paused ? META1_MORE : META1_OK;
}

uint64_t writer_written(struct meta1_qmsg *m)
{
	return m->len;
}

void writer_abort(struct meta1_qmsg **mp)
{
	struct meta1_qmsg *m = *mp;

	*mp = NULL;
	m->ev = NULL;
	m->drop = true;
	if (!m->busy)
		writer_drop(&m);
}

void writer_commit(struct meta1_qmsg **mp, struct meta1_req *req, const struct meta1_env *env)
{
	struct meta1_qmsg *m = *mp;

	*mp = NULL;
	m->req = req;
	m->ev = NULL; /* the message's maker may be gone from now on */
	if (!m->failed && !file_envelope(&m->env, m->id, env))
		fail(m, m->env.bad ? "out of memory" : "the envelope cannot be stored");
	if (!m->busy)
		commit(m);
}

size_t writer_tail(void *inst, uint8_t out[META1_NOTICE_MAX])
{
	struct store *d = inst;
	struct dir_notice n = {.kind = NOTICE_TAIL};

	if (d->w == NULL)
		return 0;
	n.writer = d->w->number;
	n.life = d->w->life;
	n.number = d->w->end;
	memcpy(out, &n, sizeof(n));
	return sizeof(n);
}
