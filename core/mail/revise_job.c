/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise_job.c -- content of a list of edits that stands in files, read on a worker thread before
 * the list is made: a disk may be slow, and the loop waits for nobody.
 *
 * Comes from core/smtps/chain_merge.c, which begins it on the loop; its result goes to revise.c. A
 * job is whole: it has descriptors of its own, copies of what stands in memory between files, and
 * its result stays with the message. Content of edits that is all in memory is no job's.
 * On failure: the error is that of the edit, told when the list is made; no_room: it is ours.
 */
#include "mail/revise_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct item {
	struct revise_content c;
	struct meta1_extent *own; /* with our descriptors and memory */
	uint32_t nown;
	uint64_t head; /* of the mail: bytes of its header */
	bool message;
	struct revise_mended mended;
	struct meta1_extent out;
};
struct revise_job {
	struct revise_job *next; /* of a message */
	char *folder;
	struct item *item;
	unsigned nitem;
	size_t held;
	uint32_t wrong; /* the edit that cannot be made */
	struct meta1_err err;
	bool no_room;
};

/* ---- what has to be read ---- */

static bool in_files(const struct meta1_extent *e, uint32_t n, uint64_t len)
{
	for (uint32_t i = 0; e != NULL && i < n && len > 0; i++) {
		if (e[i].mem == NULL && e[i].len > 0)
			return true;
		len -= e[i].len < len ? e[i].len : len;
	}
	return false;
}

static bool of_files(const struct meta1_pm_edit *e)
{
	return (e->kind == META1_PM_BODY || e->kind == META1_PM_MESSAGE) &&
	       in_files(e->extent, e->nextent, UINT64_MAX);
}

static void item_free(struct item *t)
{
	for (uint32_t i = 0; i < t->nown; i++) {
		if (t->own[i].mem != NULL)
			free((void *)(uintptr_t)t->own[i].mem);
		else if (t->own[i].fd >= 0)
			close(t->own[i].fd);
	}
	free(t->own);
	free(t->c.head);
	free(t->mended.mem);
	if (t->mended.fd >= 0)
		close(t->mended.fd);
}

void revise_job_free(struct revise_job **jp)
{
	struct revise_job *j = *jp;

	*jp = NULL;
	if (j == NULL)
		return;
	for (unsigned i = 0; i < j->nitem; i++)
		item_free(&j->item[i]);
	free(j->item);
	free(j->folder);
	free(j);
}

/* What the job works on is its own. false: there is no descriptor to be had. */
static bool own(struct revise_job *j, struct item *t, const struct meta1_extent *e, uint32_t n)
{
	bool ok = true;

	t->own = base_alloc((n + (size_t)1) * sizeof(*t->own));
	t->c.n = t->nown = n;
	t->c.extent = t->own;
	for (uint32_t i = 0; i < n; i++) {
		t->own[i] = e[i];
		if (e[i].mem != NULL) {
			t->own[i].mem =
			    memcpy(base_alloc((size_t)e[i].len + 1), e[i].mem, (size_t)e[i].len);
			j->held += (size_t)e[i].len;
		} else if (e[i].fd >= 0) {
			t->own[i].fd = fcntl(e[i].fd, F_DUPFD_CLOEXEC, 0);
			ok = ok && t->own[i].fd >= 0;
		}
	}
	return ok;
}

/* Of the mail only its header, as extents of their own. */
static bool own_header(struct revise_job *j, struct item *t, const struct meta1_pm_message *m)
{
	struct meta1_extent *e = base_alloc((m->nextent + (size_t)1) * sizeof(*e));
	uint64_t left = m->header;
	uint32_t n = 0;
	bool ok;

	for (; n < m->nextent && left > 0; n++) {
		e[n] = m->extent[n];
		e[n].len = e[n].len < left ? e[n].len : left;
		left -= e[n].len;
	}
	t->head = m->header;
	ok = own(j, t, e, n);
	free(e);
	return ok;
}

struct revise_job *revise_job_new(
    const struct revise *r, const struct meta1_pm_edit *e, unsigned n, const char *folder)
{
	const struct meta1_pm_message *m = revise_unread(r);
	bool header = m != NULL && m->header <= REVISE_HEADER_MAX &&
		      in_files(m->extent, m->nextent, m->header);
	struct revise_job *j;
	unsigned items = header;
	bool ok = true;

	for (unsigned i = 0; i < n; i++)
		items += of_files(&e[i]);
	if (items == 0 || n > REVISE_EDITS_MAX)
		return NULL;
	j = base_alloc(sizeof(*j));
	j->folder = folder != NULL ? base_strdup(folder) : NULL;
	j->wrong = REVISE_OF_MAIL;
	j->item = base_alloc(items * sizeof(*j->item));
	for (unsigned i = 0; i < items; i++)
		j->item[i] = (struct item){.mended.fd = -1, .c.of = REVISE_OF_MAIL};
	if (header)
		ok = own_header(j, &j->item[j->nitem++], m);
	for (unsigned i = 0; i < n && ok; i++) {
		struct item *t = &j->item[j->nitem];

		if (!of_files(&e[i]))
			continue;
		j->nitem++;
		t->c.of = i;
		t->message = e[i].kind == META1_PM_MESSAGE;
		ok = own(j, t, e[i].extent, e[i].nextent);
	}
	if (!ok) {
		j->no_room = true;
		err_set(&j->err, "no descriptor is free: %s", strerror(errno));
	}
	return j;
}

/* ---- the work ---- */

/* The front of it as text: of the mail its header, of a new message what is its header. */
static int read_head(struct revise_job *j, struct item *t)
{
	uint64_t sum = 0;
	size_t len = (size_t)t->head;

	for (uint32_t i = 0; i < t->c.n; i++)
		sum += t->c.extent[i].len;
	if (t->message)
		len = sum < REVISE_HEADER_MAX ? (size_t)sum : REVISE_HEADER_MAX;
	t->c.head = revise_read(t->c.extent, t->c.n, len, &j->err);
	if (t->c.head == NULL)
		return -1;
	t->c.nhead = t->message ? revise_header(t->c.head, len) : len;
	if (t->message && t->c.nhead == len && sum > len)
		return err_set(&j->err, "the header of a new message is too large");
	t->c.head = base_realloc(t->c.head, t->c.nhead + 1);
	j->held += t->c.nhead;
	return 0;
}

/* What was mended stands instead of what was given. */
static int mend(struct revise_job *j, struct item *t)
{
	struct revise_mended *m = &t->mended;

	if (revise_lines(t->c.extent, t->c.n, j->folder, m, &j->err) < 0) {
		j->no_room = m->failed;
		return -1;
	}
	if (m->mem == NULL && m->fd < 0)
		return 0;
	t->out = (struct meta1_extent){.mem = m->mem, .len = m->len, .fd = m->fd};
	t->c.extent = &t->out;
	t->c.n = 1;
	j->held += m->mem != NULL ? m->len : 0;
	return 0;
}

void revise_job_work(void *job)
{
	struct revise_job *j = job;

	for (unsigned i = 0; i < j->nitem && j->err.text[0] == '\0'; i++) {
		struct item *t = &j->item[i];

		j->wrong = t->c.of;
		if (t->c.of != REVISE_OF_MAIL && mend(j, t) < 0)
			return;
		if ((t->message || t->c.of == REVISE_OF_MAIL) && read_head(j, t) < 0)
			return;
	}
}

/* ---- what came of it ---- */

bool revise_job_no_room(const struct revise_job *j)
{
	return j->no_room;
}

struct revise_content *revise_job_content(struct revise_job *j, uint32_t of)
{
	for (unsigned i = 0; j != NULL && i < j->nitem; i++)
		if (j->item[i].c.of == of)
			return &j->item[i].c;
	return NULL;
}

const char *revise_job_error(const struct revise_job *j, uint32_t *of)
{
	*of = j->wrong;
	return j->err.text[0] != '\0' ? j->err.text : NULL;
}

size_t revise_job_held(const struct revise_job *j)
{
	return j->held;
}

struct revise_job *revise_job_next(struct revise_job *j, struct revise_job *next)
{
	struct revise_job *was = j->next;

	j->next = next;
	return was;
}
