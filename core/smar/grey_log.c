/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey_log.c -- keeps the greylist on disk: changes are appended in batches on a worker and
 * synced, at most WRITE_MS after they came; when the file is more than twice what the list needs it
 * is written anew beside, a part of the list a batch, synced and renamed.
 * From grey.c (changed) and its timer; to grey_file.c. Owns the file and what waits for it.
 * On failure (disk full): a log line, and the list goes on in memory; what was not written is made
 * good by writing the file anew, tried each RETRY_MS. A crash loses at most the last moment, and
 * then a sender waits once more.
 */
#include "smar/grey_file.h"

#include "lib/log.h"
#include "lib/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITE_MS    500
#define RETRY_MS    30000
#define NEXT_MS	    10		 /* between two parts of a new file */
#define PART	    20000	 /* places of the table in a part */
#define PENDING_MAX (8u << 20)	 /* bytes that wait for a slow disk */
#define SPARE	    (256u << 10) /* a file so small is not written anew */

METRIC_COUNTER(m_failed, "greylist_write_failures_total",
    "Batches of the greylist that could not be written to its file.");
METRIC_COUNTER(m_anew, "greylist_rewrites_total", "Times the greylist's file was written anew.");
METRIC_GAUGE(m_size, "greylist_file_bytes", "Size of the greylist's file.");

struct grey_log {
	struct loop *loop;
	struct work *work;
	struct work_owner owner;
	struct grey *grey;
	char path[1024];
	int64_t mono; /* of the loop in s, when the list's clock stood at base */
	uint32_t base;
	uint64_t boot;
	struct grey_bytes pending, more; /* more: for the new file, while there is one */
	int fd;
	uint64_t size, new_size;
	bool anew;   /* a new file is being written */
	bool wanted; /* the file lacks something */
	uint32_t at; /* place of the table that comes next */
	int new_fd;
	bool busy, armed, ending;
	int64_t retry_at, said;
	struct watch *timer;
	void (*idle)(void);
	struct grey_batch batch;
};

uint32_t grey_log_now(const struct grey_log *g)
{
	return g->base + (uint32_t)(loop_now(g->loop) / 1000 - g->mono);
}

static void arm(struct grey_log *g, int64_t ms)
{
	if (g->armed || g->busy)
		return;
	g->armed = true;
	loop_rearm(g->timer, ms);
}

static void changed(void *arg, const struct grey_entry *e, bool gone)
{
	struct grey_log *g = arg;

	if (g->fd < 0 || g->pending.n > PENDING_MAX)
		g->wanted = true; /* the new file will have it */
	else
		grey_file_entry(&g->pending, e, gone);
	if (g->anew && g->more.n <= PENDING_MAX)
		grey_file_entry(&g->more, e, gone);
	else if (g->anew)
		g->wanted = true; /* once more, after this one */
	arm(g, WRITE_MS);
}

/* ---- the file anew ---- */
static void put_clock(struct grey_log *g, struct grey_bytes *b)
{
	struct grey_clock c = {.list = grey_log_now(g),
	    .wall = loop_wall(g->loop),
	    .mono = loop_now(g->loop) / 1000,
	    .boot = g->boot};

	grey_file_clock(b, &c);
}

static uint64_t needed(const struct grey_log *g)
{
	return (uint64_t)grey_count(g->grey) * GREY_FILE_RECORD + g->grey->key_bytes;
}

static void begin_anew(struct grey_log *g)
{
	bool large = g->fd >= 0 && g->size > SPARE + 2 * needed(g);

	if (g->anew || g->ending || loop_now(g->loop) < g->retry_at || (!g->wanted && !large))
		return;
	g->anew = true;
	g->wanted = false;
	g->at = 0;
	g->new_fd = -1;
	g->new_size = 0;
	grey_file_head(&g->more);
	put_clock(g, &g->more);
}

/* The next part of the list. What changes after it was written is written again behind. */
static void add_part(struct grey_log *g)
{
	uint32_t end = g->grey->nbucket - g->at < PART ? g->grey->nbucket : g->at + PART;

	for (; g->at < end; g->at++)
		for (struct grey_entry *e = g->grey->bucket[g->at]; e; e = e->chain)
			grey_file_entry(&g->more, e, false);
}

static void anew_done(struct grey_log *g, const struct grey_batch *w)
{
	g->new_fd = w->new_fd;
	if (w->new_failed) {
		g->anew = false;
		g->wanted = true;
		g->retry_at = loop_now(g->loop) + RETRY_MS;
	} else if (w->finish) {
		if (g->fd >= 0)
			close(g->fd);
		g->fd = g->new_fd;
		g->size = g->new_size + w->more.n;
		g->new_fd = -1;
		g->anew = false;
		m_anew.value++;
		if (w->unsynced)
			log_event(LOG_L_WARN, "smar.greylist", "file=%s error=%s text=%s", g->path,
			    strerror(w->unsynced),
			    "its folder cannot be synced; a power loss may bring the older list "
			    "back");
	}
	g->new_size += w->more.n;
	if (!g->anew)
		grey_bytes_free(&g->more); /* what came meanwhile waits for the log, too */
}

/* ---- a batch ---- */
static void complain(struct grey_log *g, int cause)
{
	m_failed.value++;
	if (log_rarely(&g->said, loop_now(g->loop)))
		log_event(LOG_L_WARN, "smar.greylist", "file=%s error=%s text=%s", g->path,
		    strerror(cause),
		    "cannot be written; the list goes on in memory, and is written when it can be");
}

static void write_batch(struct grey_log *g);

static void written(void *arg)
{
	struct grey_log *g = arg;
	struct grey_batch *w = &g->batch;
	bool lost = w->failed || (w->bytes.n > 0 && w->fd < 0);

	g->busy = false;
	g->fd = w->fd;
	g->size = w->size;
	if (lost) {
		if (g->fd >= 0 && g->size == 0) { /* it has not even a head */
			close(g->fd);
			g->fd = -1;
		}
		g->wanted = true;
		g->retry_at = loop_now(g->loop) + RETRY_MS;
	}
	if (w->anew)
		anew_done(g, w);
	if (lost || w->new_failed)
		complain(g, w->failed ? w->failed : w->new_failed);
	m_size.value = (int64_t)g->size;
	grey_bytes_free(&w->bytes);
	grey_bytes_free(&w->more);
	if (g->ending) {
		if (grey_log_flushed(g))
			g->idle();
	} else if (g->anew) {
		arm(g, NEXT_MS);
	} else if (g->pending.n > 0 || g->wanted) {
		arm(g, WRITE_MS);
	}
}

static void run(void *arg)
{
	struct grey_log *g = arg;

	grey_file_batch(&g->batch);
}

/* The new file is given up. */
static void drop_anew(struct grey_log *g)
{
	char name[1100];

	if (!g->anew)
		return;
	if (g->new_fd >= 0) {
		snprintf(name, sizeof(name), "%s.new", g->path);
		close(g->new_fd);
		unlink(name);
	}
	g->new_fd = -1;
	g->anew = false;
	g->wanted = true;
	grey_bytes_free(&g->more);
}

static void write_batch(struct grey_log *g)
{
	struct grey_batch *w = &g->batch;

	if (g->pending.n > 0)
		put_clock(g, &g->pending);
	*w = (struct grey_batch){.path = g->path,
	    .fd = g->fd,
	    .size = g->size,
	    .bytes = g->pending,
	    .anew = g->anew,
	    .new_fd = g->new_fd,
	    .more = g->more,
	    .finish = g->anew && g->at == g->grey->nbucket};
	memset(&g->pending, 0, sizeof(g->pending));
	memset(&g->more, 0, sizeof(g->more));
	g->busy = work_do(g->work, &g->owner, run, written, g);
	if (g->busy)
		return;
	grey_bytes_free(&w->bytes); /* the threads have too much to do */
	grey_bytes_free(&w->more);
	drop_anew(g);
	g->wanted = true;
	g->retry_at = loop_now(g->loop) + RETRY_MS;
	arm(g, RETRY_MS);
}

static void due(int fd, short what, void *arg)
{
	struct grey_log *g = arg;

	(void)fd, (void)what;
	g->armed = false;
	if (g->busy || g->ending)
		return;
	begin_anew(g);
	if (g->anew)
		add_part(g);
	if (g->anew || g->pending.n > 0)
		write_batch(g);
	else if (g->wanted)
		arm(g, WRITE_MS);
}

/* ---- start and end ---- */
/* The list's clock goes on from where it stood, by the slower of the two clocks. */
static uint32_t clock_now(const struct grey_log *g, const struct grey_clock *c)
{
	int64_t by_wall = loop_wall(g->loop) - c->wall, by_mono = g->mono - c->mono;

	if (c->list == 0)
		return (uint32_t)loop_wall(g->loop);
	if (g->boot && g->boot == c->boot && by_mono < by_wall)
		by_wall = by_mono;
	return c->list + (uint32_t)(by_wall > 0 ? by_wall : 0);
}

struct grey_log *grey_log_open(struct loop *l, struct work *work, struct grey *grey,
    const char *path, void (*idle)(void), struct meta1_err *err)
{
	struct grey_log *g = base_alloc(sizeof(*g));
	struct grey_clock c = {.list = 0};

	if (str_copy(g->path, sizeof(g->path) - 8, path) != strlen(path) ||
	    grey_file_open(path, grey, &c, &g->fd, &g->size, err) < 0) {
		if (!err->text[0])
			err_set(err, "greylisting: the file's name is too long");
		free(g);
		return NULL;
	}
	grey_sort(grey);
	g->loop = l;
	g->work = work;
	g->grey = grey;
	g->idle = idle;
	g->new_fd = -1;
	g->mono = loop_now(l) / 1000;
	g->boot = grey_file_boot();
	g->base = clock_now(g, &c);
	g->wanted = g->fd < 0;
	m_size.value = (int64_t)g->size;
	work_owner_init(&g->owner, 1);
	grey->changed = changed;
	grey->arg = g;
	g->timer = loop_timer(l, -1, due, g);
	if (g->fd >= 0 && g->size == 0)
		grey_file_head(&g->pending);
	arm(g, WRITE_MS);
	return g;
}

bool grey_log_flushed(struct grey_log *g)
{
	g->ending = true;
	if (g->busy)
		return false;
	drop_anew(g);
	if (g->pending.n > 0)
		write_batch(g);
	return !g->busy;
}

void grey_log_close(struct grey_log **gp)
{
	struct grey_log *g = *gp;

	*gp = NULL;
	if (!g)
		return;
	g->grey->changed = NULL;
	loop_unwatch(&g->timer);
	if (g->fd >= 0)
		close(g->fd);
	if (g->new_fd >= 0)
		close(g->new_fd);
	grey_bytes_free(&g->pending);
	grey_bytes_free(&g->more);
	free(g);
}
