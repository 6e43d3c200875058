/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page.c -- the messages that a request is about, a page of them: those that are not in memory are
 * read first, so a request is answered later.
 * Comes from control.c, act.c and why.c; goes to park.c and back to who asked. Owns the look until
 * it is answered. On failure: 404 for an id that is not queued, 503 when its envelope cannot be
 * read now.
 */
#include "qmgr/filter.h"

#include <stdio.h>
#include <stdlib.h>

struct qmgr_msg *qmgr_look_msg(struct qmgr *q, const struct qmgr_look *l, uint32_t i)
{
	return qmgr_park_shown(q, l->show, i);
}

void qmgr_look_next(const struct qmgr_look *l, json_t *page)
{
	char next[24];

	if (!l->next)
		return;
	snprintf(next, sizeof(next), "%llu", (unsigned long long)l->next);
	json_object_set_new(page, "next", json_string(next));
}

uint32_t qmgr_look_rcpts(const struct qmgr_look *l, const struct qmgr_msg *m, uint32_t *end)
{
	int64_t first = qmgr_query_number(l->query, "cursor", 0);

	first = first < 0 || first > m->nrcpt ? m->nrcpt : first;
	*end = m->nrcpt - first > QMGR_PAGE_RCPTS ? (uint32_t)first + QMGR_PAGE_RCPTS : m->nrcpt;
	return (uint32_t)first;
}

json_t *qmgr_look_more(json_t *page, const struct qmgr_msg *m, uint32_t end)
{
	char next[24];

	snprintf(next, sizeof(next), "%u", end);
	if (end < m->nrcpt)
		json_object_set_new(page, "next", json_string(next));
	return page;
}

json_t *qmgr_look_unread(int *status, struct meta1_err *err)
{
	return qmgr_refuse(
	    status, err, 503, "its envelope cannot be read; it is tried again later, see the log");
}

/* By its id, or as a listing named one that cannot be read. */
static uint32_t slot_of(struct qmgr *q, const char *id)
{
	uint32_t slot = qmgr_slot_find(&q->index, id, strlen(id));
	char name[META1_ID_MAX];

	if (slot || strncmp(id, QMGR_UNREAD, strlen(QMGR_UNREAD)) != 0)
		return slot;
	slot = qmgr_slot_from(&q->index, strtoull(id + strlen(QMGR_UNREAD), NULL, 10));
	if (!slot)
		return 0;
	qmgr_park_name(qmgr_slot_at(&q->index, slot), name);
	return strcmp(name, id) ? 0 : slot;
}

static void add(struct qmgr *q, struct qmgr_show *sh, uint32_t slot)
{
	sh->slot[sh->n] = slot;
	sh->seq[sh->n++] = qmgr_slot_at(&q->index, slot)->seq;
}

static bool there(struct qmgr *q, const struct qmgr_look *l, int *status, struct meta1_err *err)
{
	const struct qmgr_show *sh = l->show;
	struct qmgr_msg *m = sh->n ? qmgr_park_shown(q, sh, 0) : NULL;
	const struct qmgr_slot *s = sh->n ? qmgr_slot_at(&q->index, sh->slot[0]) : NULL;

	if (m && m->unread) /* its id is not known: the one that found it */
		str_copy(m->id, sizeof(m->id), l->id);
	if (m && !strcmp(m->id, l->id))
		return true;
	*status = s && s->seq == sh->seq[0] && s->lost ? 503 : 404;
	err_set(err, "%s: %s%s", l->id,
	    *status == 503 ? "its envelope cannot be read now; see the log" : "not in the queue",
	    q->recovered ? "" : " (old mail is still being read)");
	return false;
}

static void looked(struct qmgr *q, struct qmgr_show *sh)
{
	struct qmgr_look *l = sh->arg;
	struct meta1_err err = {"refused"};
	json_t *out = NULL;
	int status = 400;

	if (q->ended) {
		status = 503;
		err_set(&err, "qmgr is stopping");
	} else if (!*l->id || there(q, l, &status, &err)) {
		out = l->answer(q, l, &status, &err);
	}
	if (out || l->client)
		ctl_answer(&l->client, out, out ? 200 : status, err.text);
	json_decref(l->query);
	free(l);
	free(sh);
}

static void gather(struct qmgr *q, struct qmgr_look *l, uint64_t cursor, int64_t limit)
{
	uint64_t seen = 0;
	uint32_t i = qmgr_slot_from(&q->index, cursor);

	for (; i && limit > 0 && seen < QMGR_PAGE_LOOK; i = qmgr_slot_at(&q->index, i)->next) {
		const struct qmgr_msg *m = qmgr_msg_at(q, i);

		if (m && m->dying)
			continue;
		add(q, l->show, i);
		seen += m ? m->nrcpt : qmgr_slot_at(&q->index, i)->nopen;
		limit--;
	}
	l->next = i ? qmgr_slot_at(&q->index, i)->seq : 0;
}

json_t *qmgr_look_page(struct qmgr *q, json_t *query, int64_t def, const char *id, const void *what,
    json_t *(*answer)(struct qmgr *, struct qmgr_look *, int *, struct meta1_err *), int *status,
    struct meta1_err *err)
{
	int64_t cursor = qmgr_query_number(query, "cursor", 0);
	int64_t limit = qmgr_query_number(query, "limit", def);
	struct qmgr_filter f;
	struct qmgr_look *l;
	uint32_t slot;

	if (cursor < 0 || limit < 1 || limit > QMGR_PAGE_MAX)
		return qmgr_refuse(status, err, 400, "cursor: a number; limit: 1 to 1000");
	if (qmgr_filter_read(&f, query, err) < 0) {
		*status = 400;
		return NULL;
	}
	l = base_alloc(sizeof(*l));
	l->show = base_alloc(sizeof(*l->show));
	l->show->arg = l;
	l->show->done = looked;
	l->query = json_incref(query);
	l->filter = f;
	l->what = what;
	l->answer = answer;
	id = id ? id : f.id;
	if (id) {
		str_copy(l->id, sizeof(l->id), *id ? id : "?");
		slot = slot_of(q, id);
		if (slot)
			add(q, l->show, slot);
	} else {
		gather(q, l, (uint64_t)cursor, limit);
	}
	l->client = ctl_later();
	*status = CTL_LATER;
	qmgr_park_show(q, l->show);
	return NULL;
}
