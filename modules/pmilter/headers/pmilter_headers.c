/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_headers.c -- the module: options, the files, one answer a mail.
 *
 * Comes from smtps' chain of filters at END; goes to edits.c, at once or when a header that lies in
 * a file was read. Owns the rows of its files, read when it is opened, that is at a start or a
 * reload. On failure: a file that is wrong stops the start, or the reload, with its line; a mail
 * that cannot be edited is said to be that (PERMFAIL); no other is the worse for it.
 */
#include "headers.h"

#include <stdio.h>

#define T struct conf
static const struct meta1_opt options[] = {
    META1_OPT_LIST(T, remove, NULL, 0,
	"Names of fields that are taken out; X-Spam-* means all that begin so."),
    META1_OPT_LIST(T, set, NULL, 0,
	"Fields, \"Name: value\", that stand there once: those of that name are taken out before."),
    META1_OPT_LIST(T, add_missing, NULL, 0,
	"Fields, \"Name: value\", that are added when there is none of that name."),
    META1_OPT_LIST(T, add, NULL, 0,
	"Fields, \"Name: value\", that are added behind the last one. In a value ${client}, "
	"${name}, "
	"${helo}, ${id}, ${user}, ${listener} and ${hostname} stand for what they say of the "
	"mail."),
    META1_OPT_LIST(T, prepend, NULL, 0, "As add, before the first field."),
    META1_OPT_PATH(T, sender_file, NULL, 0,
	"Rows \"address or domain, what it becomes\" by which the sender and the addresses in "
	"sender_headers are rewritten."),
    META1_OPT_LIST(T, sender_headers,
	"From, Sender, Reply-To, Return-Receipt-To, Disposition-Notification-To, Errors-To, "
	"Resent-From, Resent-Sender",
	0, "Fields with addresses of senders."),
    META1_OPT_PATH(T, recipient_file, NULL, 0,
	"The same for recipients and the addresses in recipient_headers."),
    META1_OPT_LIST(T, recipient_headers, "To, Cc, Bcc, Resent-To, Resent-Cc, Resent-Bcc", 0,
	"Fields with addresses of recipients."),
};
#undef T

static int check_list(const char *name, const char *const *list, struct meta1_err *err)
{
	for (; list && *list; list++) {
		const char *bad = edits_check(*list);

		if (!bad)
			continue;
		snprintf(err->text, sizeof(err->text), "%s = \"%.200s\": %s", name, *list, bad);
		return -1;
	}
	return 0;
}

static int headers_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (check_list("add", c->add, err) < 0 || check_list("prepend", c->prepend, err) < 0 ||
	    check_list("set", c->set, err) < 0 ||
	    check_list("add_missing", c->add_missing, err) < 0)
		return -1;
	return 0;
}

static void headers_close(void *inst)
{
	struct headers *h = inst;

	rewrite_free(h, &h->sender);
	rewrite_free(h, &h->recipient);
	h->host->free(h->ctx, h);
}

static int headers_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	const struct conf *c = conf;
	struct headers *h = host->alloc(ctx, sizeof(*h));

	if (!h) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	*h = (struct headers){.host = host, .ctx = ctx, .conf = c, .none.h = h};
	if ((c->sender_file && rewrite_read(h, c->sender_file, &h->sender, err) < 0) ||
	    (c->recipient_file && rewrite_read(h, c->recipient_file, &h->recipient, err) < 0)) {
		headers_close(h);
		return -1;
	}
	*inst = h;
	return 0;
}

static uint32_t headers_begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct headers *h = inst;
	struct sess *s = h->host->alloc(h->ctx, sizeof(*s));

	*sess = s ? s : &h->none;
	if (s)
		*s = (struct sess){.h = h, .about = about};
	return META1_PM_END;
}

static void forget(struct sess *s)
{
	hold_drop(s->h->host, s->h->ctx, &s->hold);
	fetch_drop(&s->fetch);
	s->edit = NULL;
	s->field = NULL;
	s->nedit = s->room = s->nfield = 0;
}

/* bad: what is wrong with this mail */
static void finish(struct sess *s, enum meta1_status st, const char *bad)
{
	struct meta1_reply r = {.size = sizeof(r), .text = bad, .ext = bad ? NULL : &s->verdict};
	struct meta1_req *req = s->req;

	s->req = NULL;
	s->verdict.edit = s->edit;
	s->verdict.nedit = s->nedit;
	s->h->host->finish(req, bad ? st : META1_OK, &r);
}

/* ---- a header that lies in a file ---- */

static void fetched(void *arg, struct fetch *f, const char *bad)
{
	struct sess *s = arg;
	char *p = bad ? NULL : headers_keep(s, f->len + 1);

	s->fetch = NULL;
	if (!bad && !p)
		bad = "the header is larger than 1 MiB";
	if (!bad) {
		memcpy(p, f->at, f->len);
		bad = fields_read(s, p, f->len);
	}
	if (!bad)
		bad = edits_make(s, s->rcpt, s->nrcpt);
	finish(s, META1_PERMFAIL, bad);
}

/* What is asked is the host's only during the call. */
static int keep_rcpts(struct sess *s, const struct meta1_pm_ask *ask)
{
	s->nrcpt = ask->nrcpt;
	s->rcpt = headers_keep(s, (ask->nrcpt + 1) * sizeof(*s->rcpt));
	for (uint32_t i = 0; s->rcpt && i < ask->nrcpt; i++) {
		char *p = headers_keep(s, ask->rcpt[i].len + 1);

		if (!p)
			return 0;
		memcpy(p, ask->rcpt[i].data, ask->rcpt[i].len);
		s->rcpt[i] = (struct meta1_buf){p, ask->rcpt[i].len};
	}
	return s->rcpt != NULL;
}

static void fetch(struct sess *s, const struct meta1_pm_ask *ask)
{
	if (keep_rcpts(s, ask))
		s->fetch = fetch_begin(
		    s->h->host, s->h->ctx, ask->msg, 0, 0, (size_t)ask->msg->header, fetched, s);
	if (!s->fetch)
		finish(s, META1_TEMPFAIL,
		    "the header cannot be read: no memory, or too much waits "
		    "for the disk");
}

static void headers_ask(void *sess, struct meta1_req *req, const struct meta1_pm_ask *ask)
{
	struct sess *s = sess;
	struct meta1_reply r = {.size = sizeof(r)};

	if (s == &s->h->none) {
		r.text = "no memory for the session";
		s->h->host->finish(req, META1_TEMPFAIL, &r);
		return;
	}
	forget(s);
	s->req = req;
	*s->h->host->req_slot(req) = s;
	s->verdict = (struct meta1_pm_verdict){.size = sizeof(s->verdict),
	    .wants = META1_PM_END,
	    .sizeof_edit = sizeof(struct meta1_pm_edit)};
	if (ask->stage != META1_PM_END) {
		finish(s, META1_OK, NULL);
		return;
	}
	if (ask->msg->header > HEADER_MAX) {
		finish(s, META1_PERMFAIL, "the header is larger than 1 MiB");
		return;
	}
	if (!fetch_needless(ask->msg, 0, 0, ask->msg->header)) {
		fetch(s, ask);
		return;
	}
	r.text = fields_of(s, ask->msg);
	finish(s, META1_PERMFAIL, r.text ? r.text : edits_make(s, ask->rcpt, ask->nrcpt));
}

static void headers_reset(void *sess)
{
	forget(sess);
}

static void headers_end(void **sess)
{
	struct sess *s = *sess;

	*sess = NULL;
	if (s == &s->h->none)
		return;
	forget(s);
	s->h->host->free(s->h->ctx, s);
}

/* Every question is answered within its call, unless a header is read. */
static void headers_cancel(void *inst, struct meta1_req *req)
{
	struct headers *h = inst;
	struct sess *s = *h->host->req_slot(req);
	struct meta1_reply r = {.size = sizeof(r), .text = "canceled"};

	if (s && s->req == req) {
		s->req = NULL;
		fetch_drop(&s->fetch);
	}
	h->host->finish(req, META1_CANCELED, &r);
}

static const struct meta1_pmilter_ops ops = {.size = sizeof(ops),
    .begin = headers_begin,
    .ask = headers_ask,
    .reset = headers_reset,
    .end = headers_end,
    .cancel = headers_cancel};

META1_MODULE(pmilter_headers, .kind = META1_PMILTER, .roles = META1_SMTPS, .version = "0.1.0",
    .summary = "Fields added and removed, addresses rewritten.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .check = headers_check, .open = headers_open, .close = headers_close, .ops = &ops);
