/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image.c -- the content that filters are to judge, between its arrival and the store, in plain
 * form: the first 256 KiB in memory, the rest in a file without a name.
 *
 * Comes from body.c (what the scanner left of DATA or BDAT, in DATA form); goes to judged.c as a
 * struct meta1_pm_message. The file lies in the folder of smtps in the queue directory; worker
 * threads write it, 256 KiB at a time, and who sends faster waits (META1_MORE) when 1 MiB is
 * under way. Owns memory and file; nothing of them outlives a crash.
 * On failure (no space, no memory): TEMPFAIL, and the mail is answered 452.
 */
#include "lib/nameless.h"
#include "smtps/smtps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MEM_FIRST 4096u
#define MEM_MAX	  (256u << 10) /* of the beginning, and of a piece of the rest */
#define PAUSE	  (1u << 20)   /* bytes not yet in the file that stop the sender */
#define KEPT	  64	       /* images of mails that are over, for those that come; */
#define KEPT_MEM  16384u       /* of each at most so much memory */

enum { H_LINE, H_NAME, H_BLANK, H_REST, H_EMPTY, H_DONE }; /* the header's lines */

struct piece {
	struct piece *next;
	size_t len;
	uint8_t b[MEM_MAX];
};
struct smtps_image {
	uint8_t *mem;
	size_t cap; /* of mem; both stay for the next mail */
	struct smtps *srv;
	struct smtps_image *next; /* of those that are kept */
	size_t nmem;
	struct piece *fill, *queue, **tail, *out; /* out: of the job */
	size_t queued;
	char *folder; /* of the file; a copy: a reload may come while a thread makes it */
	int fd, err;
	uint64_t bytes, ours, header;
	uint8_t state;
	bool line, field; /* a line begins; the header has a field */
	bool empty;	  /* an empty line ends the header */
	bool busy, paused, gone, failed;
	struct work_owner owner;
	smtps_image_fn ready, closed;
	void *arg;
	struct meta1_extent ext[5];
	struct meta1_pm_message msg;
};

struct smtps_image *smtps_image_new(struct smtps *srv, smtps_image_fn ready, void *arg)
{
	struct smtps_image *m = srv->images;

	if (m != NULL) {
		srv->images = m->next;
		srv->nimages--;
		*m = (struct smtps_image){.mem = m->mem, .cap = m->cap};
	} else {
		m = base_alloc(sizeof(*m));
	}
	m->srv = srv;
	m->fd = -1;
	m->line = true;
	m->tail = &m->queue;
	m->ready = ready;
	m->arg = arg;
	work_owner_init(&m->owner, 1);
	return m;
}

static void free_pieces(struct piece *p)
{
	struct piece *next;

	for (; p != NULL; p = next) {
		next = p->next;
		free(p);
	}
}

static void destroy(struct smtps_image *m)
{
	struct smtps *srv = m->srv;

	free_pieces(m->queue);
	free_pieces(m->out);
	free(m->fill);
	free(m->folder);
	if (m->fd >= 0)
		close(m->fd);
	if (m->cap <= KEPT_MEM && srv->nimages < KEPT && !srv->over) {
		m->next = srv->images;
		srv->images = m;
		srv->nimages++;
		return;
	}
	free(m->mem);
	free(m);
}

void smtps_image_forget(struct smtps *srv)
{
	struct smtps_image *m;

	while ((m = srv->images) != NULL) {
		srv->images = m->next;
		srv->nimages--;
		free(m->mem);
		free(m);
	}
}

void smtps_image_free(struct smtps_image **mp)
{
	struct smtps_image *m = *mp;

	*mp = NULL;
	if (m == NULL)
		return;
	if (m->busy)
		m->gone = true; /* written() ends it */
	else
		destroy(m);
}

size_t smtps_image_held(const struct smtps_image *m)
{
	return m != NULL ? sizeof(*m) + m->cap + m->queued + (m->fill ? sizeof(*m->fill) : 0) : 0;
}

/* ---- the file ---- */

static char *folder_of(const struct smtps *srv)
{
	char folder[4096];

	snprintf(folder, sizeof(folder), "%s/in", srv->role->host.qdir);
	return base_strdup(folder);
}

/* On a worker thread. */
static void work(void *arg)
{
	struct smtps_image *m = arg;
	const struct piece *p;
	size_t at;

	if (m->fd < 0)
		m->fd = nameless_file(m->folder);
	if (m->fd < 0)
		m->err = errno;
	for (p = m->out; p != NULL && m->err == 0; p = p->next)
		for (at = 0; at < p->len && m->err == 0;) {
			ssize_t n = write(m->fd, p->b + at, p->len - at);

			if (n > 0)
				at += (size_t)n;
			else if (n == 0 || errno != EINTR)
				m->err = n == 0 ? EIO : errno;
		}
}

static void settle(struct smtps_image *m);

static void written(void *arg)
{
	struct smtps_image *m = arg;
	const struct piece *p;

	m->busy = false;
	if (m->gone) {
		destroy(m);
		return;
	}
	for (p = m->out; p != NULL; p = p->next)
		m->queued -= p->len;
	free_pieces(m->out);
	m->out = NULL;
	if (m->err != 0 && !m->failed) {
		m->failed = true;
		log_event(
		    LOG_L_WARN, "smtps.image", "folder=%s cause=%s", m->folder, strerror(m->err));
	}
	settle(m);
}

/* What is to be done next: the file goes on, who waits for it hears of it. */
static void settle(struct smtps_image *m)
{
	smtps_image_fn fn;

	if (m->busy)
		return;
	if (m->queue != NULL && !m->failed) {
		m->out = m->queue;
		m->queue = NULL;
		m->tail = &m->queue;
		m->folder = m->folder != NULL ? m->folder : folder_of(m->srv);
		m->busy = work_do(m->srv->role->work, &m->owner, work, written, m);
		m->failed = !m->busy;
	}
	if (m->paused && (m->failed || m->queued < PAUSE)) {
		m->paused = false;
		m->ready(m->arg);
	} else if (m->closed != NULL && !m->busy) {
		fn = m->closed;
		m->closed = NULL;
		fn(m->arg);
	}
}

static void enqueue(struct smtps_image *m)
{
	if (m->fill == NULL)
		return;
	*m->tail = m->fill;
	m->tail = &m->fill->next;
	m->fill = NULL;
}

/* ---- the bytes ---- */

static void keep_mem(struct smtps_image *m, const uint8_t *p, size_t n)
{
	if (m->cap < m->nmem + n) {
		while (m->cap < m->nmem + n)
			m->cap = m->cap > 0 ? 2 * m->cap : MEM_FIRST;
		m->mem = base_realloc(m->mem, m->cap);
	}
	memcpy(m->mem + m->nmem, p, n);
	m->nmem += n;
}

static void keep(struct smtps_image *m, const uint8_t *p, size_t n)
{
	size_t k = n < MEM_MAX - m->nmem ? n : MEM_MAX - m->nmem;

	m->bytes += n;
	if (k > 0)
		keep_mem(m, p, k);
	for (p += k, n -= k; n > 0; p += k, n -= k) {
		if (m->fill == NULL) {
			m->fill = base_alloc(sizeof(*m->fill));
			m->fill->next = NULL;
		}
		k = n < MEM_MAX - m->fill->len ? n : MEM_MAX - m->fill->len;
		memcpy(m->fill->b + m->fill->len, p, k);
		m->fill->len += k;
		m->queued += k;
		if (m->fill->len == MEM_MAX)
			enqueue(m);
	}
}

/* The header ends behind an empty line, or before the first line that is no field: that line is
 * text, whatever stands above it, for filters and for whoever reads the mail: it gets an empty line
 * before it. at: of c in the content, which has not been counted yet. */
static void header_byte(struct smtps_image *m, uint8_t c, uint64_t at)
{
	bool blank = c == ' ' || c == '\t', name = c > ' ' && c < 127 && c != ':';

	if (m->state == H_LINE) {
		m->header = at;
		m->state = c == '\r'	       ? H_EMPTY
			   : blank && m->field ? H_REST
			   : name	       ? H_NAME
					       : H_DONE;
	} else if (m->state == H_EMPTY) {
		m->empty = c == '\n';
		if (m->empty)
			m->header = at + 1;
		m->state = H_DONE;
	} else if (m->state == H_REST) {
		if (c == '\n')
			m->state = H_LINE;
	} else if (c == ':') {
		m->field = true;
		m->state = H_REST;
	} else if (blank) {
		m->state = H_BLANK;
	} else if (!name || m->state == H_BLANK) {
		m->state = H_DONE;
	}
}

static void header(struct smtps_image *m, const uint8_t *p, size_t n)
{
	const uint8_t *lf;
	size_t i = 0;

	while (i < n && m->state != H_DONE) {
		if (m->state == H_REST) {
			lf = memchr(p + i, '\n', n - i);
			if (lf == NULL)
				return;
			i = (size_t)(lf - p);
		}
		header_byte(m, p[i], m->bytes + i);
		i++;
	}
}

void smtps_image_ours(struct smtps_image *m, const void *p, size_t n)
{
	header(m, p, n);
	keep(m, p, n);
	m->ours = m->bytes;
}

enum meta1_status smtps_image_write(struct smtps_image *m, const void *data, size_t n)
{
	const uint8_t *p = data, *end = p + n, *lf;

	while (p < end) {
		if (m->line && *p == '.')
			p++; /* the stuffing */
		m->line = false;
		lf = memchr(p, '\n', (size_t)(end - p));
		m->line = lf != NULL;
		lf = lf != NULL ? lf + 1 : end;
		if (m->state != H_DONE)
			header(m, p, (size_t)(lf - p));
		keep(m, p, (size_t)(lf - p));
		p = lf;
	}
	settle(m);
	if (m->failed)
		return META1_TEMPFAIL;
	m->paused = m->queued >= PAUSE;
	return m->paused ? META1_MORE : META1_OK;
}

void smtps_image_close(struct smtps_image *m, smtps_image_fn closed)
{
	enqueue(m);
	if (m->state != H_DONE)
		m->header = m->bytes;
	m->state = H_DONE;
	m->paused = false;
	m->closed = closed;
	settle(m);
}

/* A part of what was kept; the extents it takes, at most two. */
static unsigned part(
    const struct smtps_image *m, uint64_t from, uint64_t end, struct meta1_extent *e)
{
	uint64_t mem = end < m->nmem ? end : m->nmem;
	unsigned n = 0;

	if (from < mem) {
		e[n++] = (struct meta1_extent){.mem = m->mem + from, .len = mem - from, .fd = -1};
		from = mem;
	}
	if (from < end)
		e[n++] =
		    (struct meta1_extent){.fd = m->fd, .off = from - m->nmem, .len = end - from};
	return n;
}

const struct meta1_pm_message *smtps_image_message(struct smtps_image *m)
{
	bool lacks = !m->empty && m->header < m->bytes;
	uint32_t n;

	if (m->failed)
		return NULL;
	n = part(m, 0, lacks ? m->header : m->bytes, m->ext);
	if (lacks) {
		m->ext[n++] = (struct meta1_extent){.mem = "\r\n", .len = 2, .fd = -1};
		n += part(m, m->header, m->bytes, m->ext + n);
	}
	m->msg = (struct meta1_pm_message){.size = sizeof(m->msg),
	    .nextent = n,
	    .extent = m->ext,
	    .bytes = m->bytes + (lacks ? 2 : 0),
	    .header = m->header + (lacks ? 2 : 0)};
	return &m->msg;
}

/* ---- what is ours ---- */

/* Of the fields in e those of the client: where the first of them that is left begins. */
static bool has_field(const struct smtps_image *m, const struct meta1_extent *e, uint64_t *skip)
{
	uint64_t from, end = m->header;

	if (end >= 2 && end <= m->nmem && memcmp(m->mem + end - 2, "\r\n", 2) == 0 &&
	    (end == 2 || (end >= 4 && memcmp(m->mem + end - 4, "\r\n", 2) == 0)))
		end -= 2; /* the empty line is no field */
	if (e->mem != NULL) {
		uintptr_t at = (uintptr_t)e->mem, mem = (uintptr_t)m->mem;

		if (at < mem || at >= mem + m->nmem)
			return false;
		from = at - mem;
	} else if (m->fd >= 0 && e->fd == m->fd) {
		from = m->nmem + e->off;
	} else {
		return false;
	}
	*skip = from < m->ours ? m->ours - from : 0;
	return *skip < e->len && from + *skip < end;
}

uint64_t smtps_image_place(const struct smtps_image *m, const struct meta1_extent *e, unsigned n)
{
	uint64_t at = 0, skip;

	if (e == NULL)
		return m->ours;
	for (; n > 0; at += e->len, e++, n--)
		if (has_field(m, e, &skip))
			return at + skip;
	return 0;
}
