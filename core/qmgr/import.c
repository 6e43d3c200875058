/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * import.c -- mail into the queue by an admin, and its envelope out of it: GET /v1/export/ID,
 * POST /v1/import and /v1/import/ID, DELETE. Content comes as it is, in pieces; it is stuffed on
 * its way into the store, where it counts only when all of it is there and committed, as mail
 * that smtps takes. The answer to the commit comes after the sync.
 * Comes from core/ctl/server.c; goes to store.c, and back as an entry through intake.c. Owns the
 * imports: each has a message of the store that is being written.
 * On failure: 400 says which field or line; the import is over and nothing of it stays, as when
 * its client says nothing for IDLE_MS, or qmgr stops.
 */
#include "mail/tls_required.h"
#include "qmgr/transfer.h"

#include <stdio.h>
#include <stdlib.h>

#define IMPORTS_MAX 4
#define IDLE_MS	    30000

METRIC_COUNTER(m_imported, "imported_total", "Messages that an admin put into the queue.");
METRIC_COUNTER(m_left, "imports_given_up_total", "Imports that were refused or not finished.");

struct qmgr_import {
	struct qmgr_import *next, *prev;
	struct qmgr *q;
	struct qmgr_envelope e;
	struct meta1_qmsg *msg;	  /* NULL: committed or failed */
	struct ctl_later *client; /* waits for the store */
	struct watch *idle;
	int64_t uid;
	char id[META1_ID_MAX];
	bool committing, committed, entered;
	struct qmgr_records records; /* of what is not of its envelope: held, tries */
	/* Content so far. */
	uint64_t bytes, stuffed, lines;
	bool cr, inside, head, eight, eight_head; /* inside: of a line; head: of the header */
	struct tls_required tls;
};

static void end(struct qmgr_import **ip)
{
	struct qmgr_import *im = *ip;

	*ip = NULL;
	DL_DELETE(im->q->imports, im);
	if (im->msg) {
		qmgr_store_abort(im->q, &im->msg);
		m_left.value++;
	}
	if (im->client)
		ctl_answer(&im->client, NULL, 503, "the import was given up");
	loop_unwatch(&im->idle);
	qmgr_envelope_free(&im->e);
	free(im);
}

static void idle(int fd, short what, void *arg)
{
	struct qmgr_import *im = arg;

	(void)fd, (void)what;
	if (im->client) { /* it is the store that is slow */
		loop_rearm(im->idle, IDLE_MS);
		return;
	}
	log_event(LOG_L_WARN, "qmgr.import", "id=%s error=%s", im->id, "its client went away");
	end(&im);
}

/* ---- content ---- */

/* Stuffs n bytes into out (2 n); its length. <0: err. */
static int64_t stuff(
    struct qmgr_import *im, const uint8_t *p, size_t n, uint8_t *out, struct meta1_err *err)
{
	uint8_t *o = out;
	size_t i;

	for (i = 0; i < n; i++) {
		uint8_t c = p[i];

		if (im->cr != (c == '\n'))
			return err_set(err, "line %llu: a bare %s; expected lines that end in CRLF",
			    (unsigned long long)im->lines + 1, im->cr ? "CR" : "LF");
		if (!im->inside && c == '.') {
			*o++ = '.';
			im->stuffed++;
		}
		if (!im->inside && c == '\r')
			im->head = false;
		im->eight |= c > 127;
		im->eight_head |= im->head && c > 127;
		im->lines += c == '\n';
		im->cr = c == '\r';
		im->inside = c != '\n';
		*o++ = c;
	}
	im->bytes += n;
	tls_required_look(&im->tls, p, n);
	return o - out;
}

static json_t *taken_json(const struct qmgr_import *im)
{
	return json_pack("{s:s s:I}", "id", im->id, "taken", (json_int_t)im->bytes);
}

/* The store has room again. */
static void ready(void *arg)
{
	struct qmgr_import *im = arg;

	if (im->client && !im->committing)
		ctl_answer(&im->client, taken_json(im), 200, NULL);
}
static const struct meta1_qops_writer_events writer_events = {
    .size = sizeof(writer_events), .ready = ready};

static json_t *part_content(
    struct qmgr_import *im, struct meta1_buf body, int *status, struct meta1_err *err)
{
	uint8_t *out = base_alloc(body.len * 2 + 1);
	int64_t n = stuff(im, body.data, body.len, out, err);
	enum meta1_status st = META1_OK;

	if (n > 0)
		st = qmgr_store_write(im->q, im->msg, out, (size_t)n);
	free(out);
	if (n < 0)
		return NULL;
	if (st == META1_MORE) {
		im->client = ctl_later();
		*status = CTL_LATER;
		return NULL;
	}
	if (st != META1_OK)
		return qmgr_refuse(status, err, 503, "the store took no content");
	return taken_json(im);
}

static json_t *part_recipients(
    struct qmgr_import *im, struct meta1_buf body, int *status, struct meta1_err *err)
{
	json_error_t je;
	json_t *list = json_loadb(body.data ? body.data : "", body.len, 0, &je);
	int rc;

	(void)status;
	if (!list) {
		err_set(err, "recipients: %s", je.text);
		return NULL;
	}
	rc = qmgr_envelope_rcpts(&im->e, list, im->uid, err);
	json_decref(list);
	if (rc < 0)
		return NULL;
	return json_pack("{s:s s:I}", "id", im->id, "recipients", (json_int_t)im->e.seen);
}

/* ---- commit ---- */

/* It is in the queue as it was said to be, also after a crash. */
static void check_over(struct qmgr_import *im)
{
	if (!im->committed || !im->entered)
		return;
	ctl_answer(&im->client,
	    im->records.failed
		? NULL
		: json_pack("{s:s s:s s:I s:I}", "id", im->id, "was", im->e.was, "recipients",
		      (json_int_t)im->e.nrcpt, "size", (json_int_t)im->bytes),
	    503, "it is in the queue, but that it is held, or was tried, could not be recorded");
	end(&im);
}

static void recorded(struct qmgr *q, struct qmgr_records *records)
{
	struct qmgr_import *im =
	    (struct qmgr_import *)((char *)records - offsetof(struct qmgr_import, records));

	(void)q;
	im->entered = true;
	check_over(im);
}

/* It is in the queue: what is not of its envelope (held, tries) is recorded as an outcome is. */
static void record(void *arg)
{
	struct qmgr_import *im = arg;
	struct qmgr_msg *m = qmgr_msg_find(im->q, im->id, strlen(im->id));
	uint32_t i;

	im->records.done = recorded;
	qmgr_store_watch(im->q, &im->records);
	for (i = 0; m && !m->dying && i < m->nrcpt; i++) {
		struct qmgr_rcpt *r = &m->rcpt[i];

		if (r->state == META1_R_WAITING && r->phase < QP_INTENT &&
		    (r->mark || r->tries || r->reason || r->warned))
			qmgr_store_deferred(im->q, r);
	}
	qmgr_store_watched(im->q);
}

const struct meta1_env *qmgr_import_entry(struct qmgr *q, const char *id)
{
	struct qmgr_import *im;

	DL_FOREACH (q->imports, im)
		if (im->committing && !strcmp(im->id, id)) {
			loop_post(q->loop, record, im);
			return &im->e.env;
		}
	return NULL;
}

static void committed(void *arg, enum meta1_status st, const struct meta1_reply *reply)
{
	struct qmgr_import *im = arg;
	struct qmgr *q = im->q;

	q->nimporting--;
	if (st != META1_OK || !reply->nval) {
		m_left.value++;
		ctl_answer(&im->client, NULL, 503, reply->text ? reply->text : "not stored");
		end(&im);
	} else {
		m_imported.value++;
		log_event(LOG_L_NORMAL, "qmgr.imported",
		    "id=%s was=%s from=<%.*s> nrcpt=%u uid=%lld", im->id,
		    *im->e.was ? im->e.was : "-", (int)im->e.env.from.len,
		    im->e.env.from.len ? (const char *)im->e.env.from.data : "", im->e.nrcpt,
		    (long long)im->uid);
		im->committed = true;
		im->entered = q->ended;
		if (!q->ended)
			qmgr_store_notice(q, reply->val[0], im->id, &im->e.env);
		check_over(im);
	}
	if (q->stopping)
		qmgr_stop_check(q);
}

static int complete(struct qmgr_import *im, struct meta1_err *err)
{
	if (!im->e.nrcpt)
		return err_set(err,
		    im->e.seen ? "recipients: none of them waits" : "recipients: there are none");
	if (im->inside)
		return err_set(err, "line %llu: has no end; expected CRLF (was the file cut?)",
		    (unsigned long long)im->lines + 1);
	if (im->e.size >= 0 && (uint64_t)im->e.size != im->bytes)
		return err_set(err,
		    "size: found %llu bytes of content, expected %lld; without the field any size "
		    "is taken",
		    (unsigned long long)im->bytes, (long long)im->e.size);
	return 0;
}

static json_t *part_commit(
    struct qmgr_import *im, struct meta1_buf body, int *status, struct meta1_err *err)
{
	struct meta1_env *env = &im->e.env;

	(void)body;
	if (complete(im, err) < 0)
		return NULL;
	env->nrcpt = im->e.nrcpt;
	env->rcpt = im->e.rcpt;
	env->bytes = im->bytes;
	env->flags &= ~(uint32_t)META1_M_HEADER_8BIT;
	env->flags |= (im->eight ? META1_M_8BIT : 0) | (im->eight_head ? META1_M_HEADER_8BIT : 0) |
		      (im->stuffed ? META1_M_STUFFED : 0) |
		      (tls_required_no(&im->tls) ? MAIL_TLS_NO : 0);
	im->committing = true;
	loop_unwatch(&im->idle);
	if (!qmgr_store_commit(im->q, &im->msg, env, committed, im))
		return qmgr_refuse(status, err, 503, "too many requests at the store");
	im->q->nimporting++;
	im->client = ctl_later();
	*status = CTL_LATER;
	return NULL;
}

/* ---- requests ---- */

static json_t *begin(struct qmgr *q, json_t *query, int *status, struct meta1_err *err)
{
	struct qmgr_import *im = base_alloc(sizeof(*im));
	struct meta1_buf body = ctl_body();
	json_error_t je;
	json_t *o = json_loadb(body.data ? body.data : "", body.len, 0, &je);
	uint64_t n = 0;

	im->q = q;
	im->head = true;
	im->uid = json_integer_value(json_object_get(query, "uid"));
	DL_APPEND(q->imports, im);
	if (!o)
		err_set(err, "envelope: %s", je.text);
	else if (qmgr_envelope_read(&im->e, o, err) == 0 && !(n = qmgr_store_next_id(q)))
		qmgr_refuse(status, err, 503, "the store has no number for it now; try again");
	json_decref(o);
	if (n) {
		snprintf(im->id, sizeof(im->id), "S%016llXFF", (unsigned long long)n);
		*status = 503;
		if (qmgr_store_begin(q, im->id, &writer_events, im, &im->msg, err)) {
			*status = 200;
			im->idle = loop_timer(q->loop, IDLE_MS, idle, im);
			return json_pack("{s:s}", "id", im->id);
		}
	}
	im->msg = NULL;
	end(&im);
	return NULL;
}

static json_t *post_import(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct qmgr *q = arg;
	struct qmgr_import *im;
	unsigned n = 0;

	(void)rest;
	DL_FOREACH (q->imports, im)
		n += !im->committing;
	if (q->stopping)
		return qmgr_refuse(status, err, 503, "qmgr is stopping");
	if (!q->recovered)
		return qmgr_refuse(status, err, 503, "old mail is still being read; try again");
	if (q->withheld)
		return qmgr_refuse(status, err, 503,
		    "no memory for more mail (max_memory); wait until some is done");
	if (n >= IMPORTS_MAX)
		return qmgr_refuse(status, err, 503, "4 imports are under way; try again");
	return begin(q, query, status, err);
}

static struct qmgr_import *find(struct qmgr *q, const char *id, int *status, struct meta1_err *err)
{
	struct qmgr_import *im;

	DL_FOREACH (q->imports, im)
		if (!strcmp(im->id, id) && !im->committing) {
			if (!im->client)
				return im;
			qmgr_refuse(status, err, 409, "the request before is not answered yet");
			return NULL;
		}
	qmgr_refuse(status, err, 404, "no such import: it was refused, or silent for 30 s");
	return NULL;
}

static json_t *post_part(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	static const struct {
		const char *name;
		json_t *(*fn)(
		    struct qmgr_import *, struct meta1_buf, int *status, struct meta1_err *);
	} parts[] = {
	    {"content", part_content}, {"recipients", part_recipients}, {"commit", part_commit}};
	const char *part = json_string_value(json_object_get(query, "part"));
	struct qmgr_import *im = find(arg, rest, status, err);
	json_t *out;
	size_t i;

	if (!im)
		return NULL;
	for (i = 0; i < ARRAY_LEN(parts) && strcmp(part ? part : "", parts[i].name); i++)
		;
	if (i == ARRAY_LEN(parts))
		return qmgr_refuse(status, err, 400, "part: content, recipients or commit");
	loop_rearm(im->idle, IDLE_MS);
	*status = 400;
	out = parts[i].fn(im, ctl_body(), status, err);
	if (out)
		*status = 200;
	else if (*status != CTL_LATER)
		end(&im);
	return out;
}

static json_t *delete_import(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct qmgr_import *im = find(arg, rest, status, err);

	(void)query;
	if (!im)
		return NULL;
	end(&im);
	return json_pack("{s:s}", "done", "nothing of it was kept");
}

void qmgr_import_stop(struct qmgr *q)
{
	struct qmgr_import *im, *next;

	DL_FOREACH_SAFE (q->imports, im, next)
		if (!im->committing)
			end(&im);
}

/* ---- out ---- */

static json_t *exported(struct qmgr *q, struct qmgr_look *l, int *status, struct meta1_err *err)
{
	const struct qmgr_msg *m = qmgr_look_msg(q, l, 0);
	uint32_t end, first = qmgr_look_rcpts(l, m, &end);

	if (m->unread)
		return qmgr_look_unread(status, err);
	return qmgr_look_more(qmgr_envelope_json(q, m, first, end - first), m, end);
}

static json_t *get_export(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	return qmgr_look_page(arg, query, 1, rest, NULL, exported, status, err);
}

void qmgr_import_add(struct role *role, struct ctl *ctl)
{
	static const struct ctl_request rows[] = {
	    {"GET", "/v1/export/", CTL_ADMIN, get_export,
		"The whole envelope of a message, recipients in pages of 1000: cursor=."},
	    {"POST", "/v1/import", CTL_ADMIN, post_import,
		"Begins an import; the body is an envelope as export gives it, without "
		"recipients."},
	    {"POST", "/v1/import/", CTL_ADMIN, post_part,
		"part=recipients, a list, and part=content, the text with CRLF: the next piece of "
		"it; part=commit: all is there, answered when it is on disk."},
	    {"DELETE", "/v1/import/", CTL_ADMIN, delete_import, "Gives an import up."}};

	ctl_add(ctl, rows, ARRAY_LEN(rows), role);
}
