/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_edits.c -- edits of a filter made to the mail of a session: at once, or, where content
 * stands in files, when a worker thread has read it.
 *
 * Comes from chain_merge.c, which asks again when it was told to wait; goes to core/mail/revise.c.
 * Owns the reading, which outlives the session when the client goes away meanwhile. On failure: of
 * the list: it is the filter's; of our disk or our threads: the mail is refused for now.
 */
#include "smtps/chain.h"

#include <stdlib.h>

struct chain_reading {
	struct smtps_judging *of; /* NULL: nobody waits for it */
	struct judge *judge;
	struct revise_job *job;
	bool done;
	struct work_owner owner;
};

static void reading_free(struct chain_reading **rp)
{
	struct chain_reading *r = *rp;

	*rp = NULL;
	revise_job_free(&r->job);
	free(r);
}

void chain_edits_forget(struct smtps_judging *j)
{
	struct chain_reading *r = j->reading;

	j->reading = NULL;
	if (r == NULL)
		return;
	r->of = NULL;
	if (r->done)
		reading_free(&r); /* else have_read() does */
}

/* On a worker thread. */
static void work(void *arg)
{
	struct chain_reading *r = arg;

	revise_job_work(r->job);
}

static void have_read(void *arg)
{
	struct chain_reading *r = arg;

	r->done = true;
	if (r->of != NULL)
		chain_go_on(r->of);
	else
		reading_free(&r);
}

static bool begin(struct smtps_judging *j, struct judge *g, struct revise_job *job)
{
	struct chain_reading *r = base_alloc(sizeof(*r));

	r->of = j;
	r->judge = g;
	r->job = job;
	work_owner_init(&r->owner, 1);
	if (work_do(j->chain->work, &r->owner, work, have_read, r)) {
		j->reading = r;
		return true;
	}
	reading_free(&r);
	return false;
}

/* The edits in our own size, from a module of another minor version. */
static const struct meta1_pm_edit *edits_of(
    const struct meta1_pm_verdict *v, struct meta1_pm_edit **copy)
{
	*copy = NULL;
	if (v->sizeof_edit == sizeof(*v->edit))
		return v->edit;
	*copy = base_alloc(v->nedit * sizeof(**copy));
	for (uint32_t i = 0; i < v->nedit; i++)
		memcpy(&(*copy)[i], (const char *)v->edit + (size_t)i * v->sizeof_edit,
		    v->sizeof_edit < sizeof(**copy) ? v->sizeof_edit : sizeof(**copy));
	return *copy;
}

static struct revise_job *take_job(struct smtps_judging *j, const struct judge *g)
{
	struct revise_job *job = NULL;

	if (j->reading == NULL || j->reading->judge != g)
		return NULL;
	job = j->reading->job;
	j->reading->job = NULL;
	reading_free(&j->reading);
	return job;
}

static enum chain_made make(struct smtps_judging *j, struct judge *g, const struct meta1_pm_edit *e,
    unsigned n, struct meta1_err *err)
{
	struct revise_job *job = take_job(j, g);
	bool no_room;

	if (job == NULL) {
		job = revise_job_new(j->revise, e, n, j->chain->folder);
		if (job != NULL && begin(j, g, job))
			return CHAIN_READS;
		if (job != NULL) {
			err_set(err, "too much waits for the disk");
			return CHAIN_NO_ROOM;
		}
	}
	no_room = job != NULL && revise_job_no_room(job);
	if (revise_apply(j->revise, e, n, &job, err) == 0)
		return CHAIN_MADE;
	return no_room ? CHAIN_NO_ROOM : CHAIN_WRONG;
}

enum chain_made chain_edits_make(struct smtps_judging *j, struct judge *g, struct meta1_err *err)
{
	struct meta1_pm_edit *copy;
	const struct meta1_pm_edit *edit = edits_of(g->verdict, &copy);
	enum chain_made made;

	if (j->revise == NULL) {
		j->revise = revise_new(j->ask->msg);
		revise_mail_is(j->revise, j->ask->rcpt, j->ask->nrcpt, j->about->from, j->room);
	}
	made = make(j, g, edit, g->verdict->nedit, err);
	free(copy);
	return made;
}
