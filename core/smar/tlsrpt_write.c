/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsrpt_write.c -- reports on their way to the folder: those that changed, a minute later, at most
 * BATCH in one go, and of yesterday until all are written; old ones are removed once a day. From
 * tlsrpt.c and its timer; to tlsrpt_json.c and, on a worker thread, newfile.c. Owns the batch under
 * way. On failure: the reports stay in memory and are written again a minute later, with a line in
 * the log now and then.
 */
#include "smar/tlsrpt.h"

#include "lib/log.h"
#include "lib/metric.h"
#include "lib/newfile.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITE_MS 60000
#define FIRST_MS 1000 /* after the start: what is old goes */
#define DAY	 86400

METRIC_COUNTER(m_failed, "tlsrpt_write_failures_total", "Reports that could not be written.");

void tlsrpt_turn_day(struct tlsrpt *t)
{
	int64_t now = loop_wall(t->at.loop) / DAY;

	if (now == t->today.n)
		return;
	tlsrpt_day_free(&t->before);
	t->before = t->today;
	t->today = (struct tlsrpt_day){.n = now};
}

static void sweep_folder(const char *folder, const char *oldest)
{
	DIR *dir = opendir(folder);
	struct dirent *e;
	char path[1400];

	while (dir && (e = readdir(dir)) != NULL) {
		if (strspn(e->d_name, "0123456789-") != 10 || e->d_name[10] != '_' ||
		    strncmp(e->d_name, oldest, 10) >= 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		unlink(path);
	}
	if (dir)
		closedir(dir);
}

static void batch_run(void *arg)
{
	struct tlsrpt_batch *b = ((struct tlsrpt *)arg)->batch;

	for (unsigned i = 0; i < b->n; i++) {
		b->file[i].failed = b->file[i].text ? newfile_write(b->file[i].path,
							  b->file[i].text, strlen(b->file[i].text))
						    : 0;
	}
	if (b->oldest[0])
		sweep_folder(b->folder, b->oldest);
}

static void batch_free(struct tlsrpt_batch **bp)
{
	struct tlsrpt_batch *b = *bp;

	*bp = NULL;
	while (b->n > 0) {
		b->n--;
		free(b->file[b->n].path);
		free(b->file[b->n].domain);
		free(b->file[b->n].text);
	}
	free(b->folder);
	free(b);
}

void tlsrpt_head_of(const struct tlsrpt *t, const struct tlsrpt_day *d, struct tlsrpt_head *h)
{
	*h = (struct tlsrpt_head){.organization = t->set.organization,
	    .contact = t->set.contact,
	    .hostname = t->at.hostname};
	tlsrpt_day_text(d->n, h->day);
}

bool tlsrpt_wants(const struct tlsrpt *t, const struct tlsrpt_domain *e)
{
	return t->set.all_domains || (e->rua && e->rua[0]);
}

static void add_day(const struct tlsrpt *t, struct tlsrpt_batch *b, struct tlsrpt_day *d)
{
	struct tlsrpt_domain *e, *next;
	struct tlsrpt_head h;
	char path[1400];
	json_t *j;

	tlsrpt_head_of(t, d, &h);
	HASH_ITER (hh, d->domains, e, next) {
		if (b->n == TLSRPT_BATCH)
			return;
		if (!e->dirty || !tlsrpt_wants(t, e))
			continue;
		e->dirty = false;
		j = tlsrpt_json(e, &h);
		snprintf(path, sizeof(path), "%s/%s_%s.json", t->set.directory, h.day, e->name);
		b->file[b->n].path = base_strdup(path);
		b->file[b->n].domain = base_strdup(e->name);
		b->file[b->n].day = d->n;
		b->file[b->n].failed = 0;
		b->file[b->n].text = json_dumps(j, JSON_INDENT(1));
		json_decref(j);
		b->n++;
	}
}

static void again(const struct tlsrpt *t, const struct tlsrpt_day *d, bool *left)
{
	for (const struct tlsrpt_domain *e = d->domains; e; e = e->hh.next)
		*left |= e->dirty && tlsrpt_wants(t, e);
}

static bool left_over(const struct tlsrpt *t)
{
	bool left = false;

	again(t, &t->today, &left);
	again(t, &t->before, &left);
	return left;
}

static void batch_done(void *arg);

/* false: there is nothing to be done. */
static bool batch_start(struct tlsrpt *t)
{
	struct tlsrpt_batch *b = base_alloc(sizeof(*b));

	b->folder = base_strdup(t->set.directory);
	add_day(t, b, &t->before);
	add_day(t, b, &t->today);
	if (t->swept != t->today.n && !t->ending) {
		t->swept = t->today.n;
		tlsrpt_day_text(t->today.n - t->set.keep / 1000 / DAY, b->oldest);
	}
	t->batch = b;
	if (b->n == 0 && !b->oldest[0]) {
		batch_free(&t->batch);
		return false;
	}
	if (!work_do(t->at.work, &t->owner, batch_run, batch_done, t)) {
		for (unsigned i = 0; i < b->n; i++)
			b->file[i].failed = EAGAIN;
		batch_done(t);
	}
	return true;
}

/* What failed is to be written again. Returns how many, and why the last. */
static unsigned failures(struct tlsrpt *t, const struct tlsrpt_batch *b, int *error)
{
	struct tlsrpt_domain *e = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < b->n; i++) {
		if (!b->file[i].failed)
			continue;
		n++;
		*error = b->file[i].failed;
		if (b->file[i].day == t->today.n)
			HASH_FIND_STR(t->today.domains, b->file[i].domain, e);
		else
			HASH_FIND_STR(t->before.domains, b->file[i].domain, e);
		if (e)
			e->dirty = e->policies != NULL;
	}
	return n;
}

/* Goes on while some can be written; those that cannot wait for the next minute. */
static void batch_done(void *arg)
{
	struct tlsrpt *t = arg;
	unsigned n = t->batch->n, failed;
	int error = 0;

	failed = failures(t, t->batch, &error);
	batch_free(&t->batch);
	m_failed.value += failed;
	if (failed > 0 && log_rarely(&t->said, loop_now(t->at.loop)))
		log_event(LOG_L_WARN, "smar.tlsrpt", "folder=%s failed=%u error=%s text=%s",
		    t->set.directory, failed, strerror(error),
		    "reports stay in memory, and are written again");
	if (failed < n && left_over(t)) {
		batch_start(t);
		return;
	}
	if (!left_over(t))
		tlsrpt_day_free(&t->before);
	t->at.idle(t->at.arg);
}

static void on_timer(int fd, short what, void *arg)
{
	struct tlsrpt *t = arg;

	(void)fd, (void)what;
	tlsrpt_turn_day(t);
	if (!t->batch)
		batch_start(t);
	loop_rearm(t->timer, WRITE_MS);
}

void tlsrpt_write_begin(struct tlsrpt *t)
{
	work_owner_init(&t->owner, 1);
	t->timer = loop_timer(t->at.loop, FIRST_MS, on_timer, t);
}

bool tlsrpt_write_all(struct tlsrpt *t)
{
	if (!t->ending && !t->batch) {
		t->ending = true;
		return !batch_start(t);
	}
	return !t->batch;
}
