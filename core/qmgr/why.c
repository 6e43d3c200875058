/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * why.c -- what each recipient of a message waits for, and until when; and the message's content
 * as it is stored.
 * Comes from core/ctl/server.c; reads the schedule, and the store through store.c. Owns a
 * content while it is read by a worker. On failure: 404 for an id that is not queued, 503
 * when the store cannot give the content now.
 */
#include "qmgr/filter.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEEP_MS	     10000
#define CONTENT_MAX  (16u << 20) /* more is cut */
#define HEADERS_PART (256u << 10)

/* ---- why ---- */

struct cause { /* what for, in one word; until when, wall clock seconds, 0: nobody knows */
	const char *what;
	int64_t until;
	char text[400];
};

static int64_t wall(struct qmgr *q, int64_t ms)
{
	int64_t in = ms - loop_now(q->loop);

	return loop_wall(q->loop) + (in > 0 ? (in + 999) / 1000 : 0);
}

static void say(struct cause *c, const char *what, int64_t until, const char *text)
{
	c->what = what;
	c->until = until;
	str_copy(c->text, sizeof(c->text), text);
}

static void waits(struct qmgr *q, const struct qmgr_rcpt *r, struct cause *c)
{
	struct qmgr_dest *d = qmgr_route_dest(q, r);
	int64_t now = loop_now(q->loop);

	if (qmgr_mark_held(r)) {
		say(c, "held", 0, "held by a policy filter until it is released");
		if (qmgr_mark_uid(r) != QMGR_UID_FILTER)
			snprintf(c->text, sizeof(c->text), "held by uid %u until it is released",
			    qmgr_mark_uid(r));
	} else if (r->due <= now && !r->blocked && !q->going) {
		say(c, "start", 0, "qmgr is starting: smar is not there yet");
	} else if (r->due <= now && !r->blocked) {
		say(c, "active_queue", 0, "");
		snprintf(c->text, sizeof(c->text),
		    "it is due; %llu of %lld places in the active "
		    "queue are taken",
		    (unsigned long long)qmgr_active_count(q), (long long)q->lim.aq_max);
	} else if (r->cause == QW_RATE) {
		say(c, "rate", wall(q, r->due), "what the rate of its destination lets go");
	} else if (r->blocked && !(d && qmgr_sched_dead(d, now))) {
		say(c, "concurrency", 0, "");
		snprintf(c->text, sizeof(c->text),
		    "%.255s has its share of the active queue: %u recipients", d ? d->key : "",
		    d ? d->queued + d->sent : 0);
	} else if (r->cause == QW_DEAD || (d && qmgr_sched_dead(d, now))) {
		int64_t dead = d && qmgr_sched_dead(d, now) ? d->dead_until : r->due;

		say(c, "dead_destination", wall(q, dead), "");
		snprintf(c->text, sizeof(c->text), "destination %.255s does not answer",
		    d ? d->key : "");
	} else {
		say(c, "retry", wall(q, r->due), "");
		snprintf(c->text, sizeof(c->text), "next try after %u that failed", r->tries);
	}
}

static void queued(struct qmgr *q, const struct qmgr_rcpt *r, struct cause *c)
{
	struct qmgr_dest *d = qmgr_route_dest(q, r);

	if (!q->ncourier) {
		say(c, "smtpc", 0, "no smtpc is connected");
	} else if (d && d->rest_until > loop_now(q->loop)) {
		say(c, "rate", wall(q, d->rest_until), "what the rate of its destination lets go");
	} else if (d && d->active >= d->limit) {
		say(c, "concurrency", 0, "");
		snprintf(c->text, sizeof(c->text),
		    "all %u deliveries allowed to %.255s now are under way, %u recipients wait",
		    d->limit, d->key, d->queued);
	} else {
		say(c, "smtpc", 0,
		    "its turn among destinations and senders at a free place of smtpc");
	}
}

static void reported(struct qmgr *q, const struct qmgr_rcpt *r, struct cause *c)
{
	const struct qmgr_msg *m = qmgr_msg_of(r);
	int64_t again = qmgr_backoff_when(q, r);

	say(c, "report", 0, "the report to the sender, which is being written");
	if (qmgr_judge_has(q, m))
		say(c, "report", 0, "the report to the sender, which filters judge");
	if (again)
		say(c, "report", wall(q, again),
		    "the report to the sender, which could not be written: see the log");
}

static void cause_of(struct qmgr *q, const struct qmgr_rcpt *r, struct cause *c)
{
	struct chan *smar = role_peer(&q->role, "smar");

	if (qmgr_msg_of(r)->unread && r->phase == QP_WAIT) {
		say(c, "envelope",
		    wall(q, (int64_t)qmgr_slot_at(&q->index, qmgr_msg_of(r)->slot)->due * 1000),
		    "its envelope, which cannot be read: it is tried again; see the log");
		return;
	}
	switch (r->phase) {
	case QP_WAIT:
		waits(q, r, c);
		break;
	case QP_ROUTE:
		if (smar && chan_up(smar))
			say(c, "route", 0, "smar's answer where its domain goes");
		else
			say(c, "smar", 0, "smar, which is away");
		break;
	case QP_QUEUED:
		queued(q, r, c);
		break;
	case QP_SENT:
		say(c, "delivery", 0, "it is being delivered");
		break;
	case QP_DONE:
		say(c, "nothing", 0, "it is done; other recipients of the message are not");
		break;
	case QP_DOUBT:
		say(c, "recovery", 0, "the end of recovery, which tells whether its report exists");
		break;
	case QP_FINAL:
		say(c, "record", 0, "the store, which records what became of it");
		break;
	default:
		reported(q, r, c);
		break;
	}
}

static json_t *told(struct qmgr *q, struct qmgr_look *l, int *status, struct meta1_err *err)
{
	struct qmgr_msg *m = qmgr_look_msg(q, l, 0);
	uint32_t end, i = qmgr_look_rcpts(l, m, &end);
	json_t *list = json_array();

	(void)status, (void)err;
	for (; i < end; i++) {
		const struct qmgr_rcpt *r = &m->rcpt[i];
		struct cause c = {"", 0, ""};

		cause_of(q, r, &c);
		json_array_append_new(list,
		    json_pack("{s:o s:s s:s s:I s:o s:o s:o}", "address", qmgr_text(r->addr),
			"state", qmgr_state(r), "waits_for", c.what, "until", (json_int_t)c.until,
			"text", qmgr_text(c.text), "via", qmgr_text(qmgr_mark_via(r)), "reason",
			qmgr_text(qmgr_reason_line(q, r))));
	}
	list = json_pack("{s:s s:I s:I s:o}", "id", m->id, "time", (json_int_t)m->time, "expires",
	    (json_int_t)(m->unread ? 0 : m->time + q->lim.max_queue / 1000), "recipients", list);
	return qmgr_look_more(list, m, end);
}

static json_t *why(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	return qmgr_look_page(arg, query, 1, rest, NULL, told, status, err);
}

/* ---- content ---- */

struct reading {
	struct qmgr *q;
	struct ctl_later *client;
	struct meta1_content *content;
	struct evbuffer *out;
	struct meta1_ref ref;
	uint64_t skip; /* bytes before the part that is wanted */
	size_t max;
	bool headers, failed, more; /* more: it has bytes behind the part */
};

/* A large content is asked for in parts, and the store checks all of it whenever it is opened: so
 * it stays open for a moment. */
struct qmgr_kept {
	struct qmgr *q;
	struct meta1_ref ref;
	struct meta1_content *content;
	struct watch *timer;
};

void qmgr_content_drop(struct qmgr *q)
{
	struct qmgr_kept *k = q->kept;

	q->kept = NULL;
	if (!k)
		return;
	loop_unwatch(&k->timer);
	qmgr_store_unload(q, k->content);
	free(k);
}

static void too_long(int fd, short what, void *arg)
{
	struct qmgr_kept *k = arg;

	(void)fd, (void)what;
	qmgr_content_drop(k->q);
}

static void keep(struct reading *g)
{
	struct qmgr_kept *k = base_alloc(sizeof(*k));

	qmgr_content_drop(g->q);
	k->q = g->q;
	k->ref = g->ref;
	k->content = g->content;
	k->timer = loop_timer(g->q->loop, KEEP_MS, too_long, k);
	g->q->kept = k;
}

/* Takes it; NULL: another one is open, or none. */
static struct meta1_content *kept(struct qmgr *q, const struct meta1_ref *ref)
{
	struct qmgr_kept *k = q->kept;
	struct meta1_content *c;

	if (!k || k->ref.len != ref->len || memcmp(k->ref.b, ref->b, ref->len))
		return NULL;
	c = k->content;
	k->content = NULL;
	qmgr_content_drop(q);
	return c;
}

static void read_end(struct reading *g)
{
	if (g->content && !g->failed && g->more && !g->q->stopping)
		keep(g);
	else
		qmgr_store_unload(g->q, g->content);
	evbuffer_free(g->out);
	free(g);
}

static bool add(struct reading *g, const struct meta1_extent *e)
{
	uint64_t skip = e->len < g->skip ? e->len : g->skip;
	size_t left = g->max - evbuffer_get_length(g->out),
	       n = e->len - skip < left ? (size_t)(e->len - skip) : left;
	char part[16384];
	uint64_t at = 0;

	g->skip -= skip;
	if (e->fd < 0)
		return evbuffer_add(g->out, (const char *)e->mem + skip, n) == 0;
	while (at < n) {
		size_t want = n - at < sizeof(part) ? n - (size_t)at : sizeof(part);
		ssize_t got = pread(e->fd, part, want, (off_t)(e->off + skip + at));

		if (got <= 0 || evbuffer_add(g->out, part, (size_t)got) < 0)
			return false;
		at += (uint64_t)got;
	}
	return true;
}

static void read_parts(void *arg) /* on a worker */
{
	struct reading *g = arg;
	uint32_t i;

	for (i = 0; i < g->content->nextent && !g->failed; i++)
		g->failed = !add(g, &g->content->extent[i]);
}

static void was_read(void *arg)
{
	struct reading *g = arg;
	struct evbuffer_ptr end;

	if (g->headers) {
		end = evbuffer_search(g->out, "\r\n\r\n", 4, NULL);
		if (end.pos >= 0) {
			struct evbuffer *head = evbuffer_new();

			evbuffer_remove_buffer(g->out, head, (size_t)end.pos + 2);
			evbuffer_free(g->out);
			g->out = head;
		}
	}
	if (g->failed)
		ctl_answer(&g->client, NULL, 503, "the content cannot be read now");
	else
		ctl_answer_data(&g->client, "message/rfc822", g->out);
	read_end(g);
}

static void read_content(struct reading *g)
{
	g->more = !g->headers && g->skip + g->max < g->content->bytes_stored;
	if (!work_do(g->q->role.work, &g->q->report_work, read_parts, was_read, g)) {
		ctl_answer(&g->client, NULL, 503, "too much is being read; try again");
		read_end(g);
	}
}

static void loaded(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct reading *g = arg;

	if (st == META1_OK) {
		g->content = (struct meta1_content *)(uintptr_t)reply->ext;
		read_content(g);
		return;
	}
	ctl_answer(&g->client, NULL, 503, reply->text ? reply->text : "the store cannot read it");
	read_end(g);
}

/* Takes the client from the look: it is answered when the text is read. */
static json_t *opened(struct qmgr *q, struct qmgr_look *l, int *status, struct meta1_err *err)
{
	const char *part = json_string_value(json_object_get(l->query, "headers"));
	int64_t offset = qmgr_query_number(l->query, "offset", 0);
	int64_t length = qmgr_query_number(l->query, "length", CONTENT_MAX);
	struct qmgr_msg *m = qmgr_look_msg(q, l, 0);
	struct reading *g;

	if (offset < 0 || length < 1 || length > CONTENT_MAX)
		return qmgr_refuse(
		    status, err, 400, "offset: a number; length: 1 to 16777216 (16 MiB)");
	if (m->unread)
		return qmgr_look_unread(status, err);
	g = base_alloc(sizeof(*g));
	g->q = q;
	g->skip = (uint64_t)offset;
	g->out = evbuffer_new();
	g->headers = part && *part && strcmp(part, "0");
	g->max = g->headers ? HEADERS_PART : (size_t)length;
	g->ref = m->ref;
	g->content = kept(q, &m->ref);
	if (q->stopping || (!g->content && !qmgr_store_load(q, &m->ref, loaded, g))) {
		read_end(g);
		return qmgr_refuse(status, err, 503, "the store takes no more requests now");
	}
	g->client = l->client;
	l->client = NULL;
	if (g->content)
		read_content(g);
	return NULL;
}

static json_t *content(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	return qmgr_look_page(arg, query, 1, rest, NULL, opened, status, err);
}

void qmgr_why_add(struct role *role, struct ctl *ctl)
{
	static const struct ctl_request rows[] = {
	    {"GET", "/v1/why/", CTL_READ, why,
		"What each recipient of a message waits for, and until when; in pages of 1000: "
		"cursor=."},
	    {"GET", "/v1/content/", CTL_ADMIN, content,
		"The message as it is stored, dot-stuffed (at most 16 MiB, or length=, from "
		"offset= on); headers=1: only those."}};

	ctl_add(ctl, rows, ARRAY_LEN(rows), role);
}
