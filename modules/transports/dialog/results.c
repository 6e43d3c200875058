/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * results.c -- what replies and losses mean for mail, recipient, session and host.
 *
 * Comes from envelope.c, content.c and dialog.c; goes to the host by rcpt_result()
 * and finish(), here and nowhere else. Owns nothing.
 * Rules: the first digit of a reply decides. Anything lost before the final dot left
 * is about the host (or the session, when an idle one was dead and nothing was
 * answered); after it about the mail, and only for those without a reply. 552 to
 * RCPT is temporary (RFC 5321 4.5.3.1.10). What the hop does not offer is about its
 * offer: another host may.
 */
#include "dialog.h"

#include <stdio.h>
#include <string.h>

enum meta1_status dialog_result_status(const struct dialog_reply *r)
{
	switch (r->code / 100) {
	case 2:
		return META1_OK;
	case 5:
		return META1_PERMFAIL;
	default:
		return META1_TEMPFAIL;
	}
}

static struct meta1_reply fill(
    struct dialog_session *s, int smtp, const char *dsn, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r),
	    .text = text,
	    .smtp = (uint16_t)smtp,
	    .scope = META1_ABOUT_MAIL,
	    .host = s->host,
	    .taken = s->d->kind->lmtp ? META1_TAKEN_FINAL
		     : s->use.dsn     ? META1_TAKEN_DSN
				      : META1_TAKEN_RELAYED};

	snprintf(r.dsn, sizeof(r.dsn), "%s", dsn ? dsn : "");
	return r;
}

/* Of one that ends open(). */
static struct meta1_reply fill_open(
    struct dialog_session *s, int smtp, const char *dsn, const char *text)
{
	struct meta1_reply r = fill(s, smtp, dsn, text);

	r.source = s->ours[0] ? s->ours : NULL;
	r.tls = s->tls_result;
	return r;
}

static void finish(struct dialog_session *s, enum meta1_status status, const struct meta1_reply *r)
{
	struct meta1_req *req = s->req;

	s->req = NULL;
	s->mail = NULL;
	s->taken = NULL;
	s->refused = NULL;
	if (s->conn && s->step != DIALOG_IDLE)
		dialog_wait(s, DIALOG_IDLE);
	s->d->host->finish(req, status, r);
}

void dialog_result_open(struct dialog_session *s)
{
	/* the last word may have been a no to STARTTLS, which it is done without */
	int yes = s->reply.code / 100 == 2;
	struct meta1_reply r = fill_open(
	    s, yes ? s->reply.code : 0, yes ? s->reply.dsn : NULL, yes ? s->reply.text : "");

	finish(s, META1_OK, &r);
}

void dialog_result_host(struct dialog_session *s)
{
	struct meta1_reply r = fill_open(s, s->reply.code, s->reply.dsn, s->reply.text);

	r.scope = META1_ABOUT_HOST;
	finish(s, META1_TEMPFAIL, &r);
}

void dialog_result_canceled(struct dialog_session *s)
{
	struct meta1_reply r = fill(s, 0, NULL, "canceled");

	dialog_hangup(s);
	finish(s, META1_CANCELED, &r);
}

void dialog_result_rcpt(struct dialog_session *s, uint32_t rcpt)
{
	const struct dialog_reply *from = &s->reply;
	enum meta1_status status = dialog_result_status(from);
	struct meta1_reply r = fill(s, from->code, from->dsn, from->text);

	if (s->step == DIALOG_RCPT && from->code == 552) {
		status = META1_TEMPFAIL;
		if (r.dsn[0] == '5')
			r.dsn[0] = '4';
		else
			snprintf(r.dsn, sizeof(r.dsn), "4.5.3");
	}
	s->d->host->rcpt_result(s->req, rcpt, status, &r);
}

void dialog_result_verdict(struct dialog_session *s, const struct dialog_reply *from)
{
	struct meta1_reply r = fill(s, from->code, from->dsn, from->text);

	s->mails++;
	finish(s, dialog_result_status(from), &r);
}

void dialog_result_done(struct dialog_session *s)
{
	struct meta1_reply r = fill(s, 0, NULL, "");

	s->mails++;
	finish(s, META1_OK, &r);
}

static void refuse(
    struct dialog_session *s, enum meta1_scope scope, int smtp, const char *dsn, const char *text)
{
	struct meta1_reply r = fill(s, smtp, dsn, text);

	r.scope = (uint16_t)scope;
	finish(s, META1_PERMFAIL, &r);
}

static void refuse_rcpt(struct dialog_session *s, enum meta1_scope scope, uint32_t rcpt, int smtp,
    const char *dsn, const char *text)
{
	struct meta1_reply r = fill(s, smtp, dsn, text);

	r.scope = (uint16_t)scope;
	s->d->host->rcpt_result(s->req, rcpt, META1_PERMFAIL, &r);
}

void dialog_result_refuse(struct dialog_session *s, int smtp, const char *dsn, const char *text)
{
	refuse(s, META1_ABOUT_MAIL, smtp, dsn, text);
}

void dialog_result_lacks(struct dialog_session *s, int smtp, const char *dsn, const char *text)
{
	refuse(s, META1_ABOUT_OFFER, smtp, dsn, text);
}

void dialog_result_refuse_rcpt(
    struct dialog_session *s, uint32_t rcpt, int smtp, const char *dsn, const char *text)
{
	refuse_rcpt(s, META1_ABOUT_MAIL, rcpt, smtp, dsn, text);
}

void dialog_result_lacks_rcpt(
    struct dialog_session *s, uint32_t rcpt, int smtp, const char *dsn, const char *text)
{
	refuse_rcpt(s, META1_ABOUT_OFFER, rcpt, smtp, dsn, text);
}

void dialog_result_lost(struct dialog_session *s, int smtp, const char *dsn, const char *why)
{
	struct meta1_reply r;
	int past = dialog_content_past(s);

	dialog_hangup(s);
	if (!s->req)
		return;
	r = fill_open(s, smtp, dsn ? dsn : "4.4.2", why);
	if (r.dsn[0] == '5')
		r.dsn[0] = '4';
	if (past)
		r.scope = META1_ABOUT_MAIL;
	else if (s->mail && s->mails > 0 && !s->answered)
		r.scope = META1_ABOUT_SESSION;
	else
		r.scope = META1_ABOUT_HOST;
	finish(s, META1_TEMPFAIL, &r);
}
