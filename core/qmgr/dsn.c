/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dsn.c -- the text of a delivery status notification: RFC 3464 in a multipart/report of
 * RFC 6522, or its UTF-8 form (RFC 6533), in DATA form (CRLF, dot-stuffed).
 * Comes from report.c, goes back there. Owns nothing, no I/O. Whatever others said (addresses,
 * replies, headers) is made printable and cut, so that nobody else's bytes shape the text; only
 * a message that is returned whole stands there as it came, behind a boundary nobody could guess.
 */
#include "mail/date.h"
#include "mail/reply.h"
#include "mail/xtext.h"
#include "qmgr/qmgr.h"

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>

#define LINE_MAX_LEN 990 /* RFC 5321 4.5.3.1.6 allows 998 */
#define FIELD_MAX    700

/* One line: not printable becomes '?', a leading dot is doubled. */
static void put_line(struct evbuffer *out, struct qmgr_dsn *d, const char *s, size_t n)
{
	char line[LINE_MAX_LEN + 4];
	size_t i, k = 0;
	bool wide;

	if (n > LINE_MAX_LEN)
		for (n = LINE_MAX_LEN; n && (s[n] & 0xc0) == 0x80; n--)
			;
	if (n && s[0] == '.') {
		line[k++] = '.';
		d->stuffed = true;
	}
	wide = d->utf8 && xtext_utf8(s, n);
	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c >= 0x80 && wide)
			d->eight = true;
		else if (c != '\t' && (c < 32 || c >= 127))
			c = '?';
		line[k++] = (char)c;
	}
	line[k++] = '\r';
	line[k++] = '\n';
	evbuffer_add(out, line, k);
	d->bytes += n + 2;
}

static void line(struct evbuffer *, struct qmgr_dsn *, const char *fmt, ...) PRINTF(3, 4);
static void line(struct evbuffer *out, struct qmgr_dsn *d, const char *fmt, ...)
{
	char s[2048];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	put_line(out, d, s, n < 0 ? 0 : (size_t)n < sizeof(s) ? (size_t)n : sizeof(s) - 1);
}

/* What differs between the kinds of report. */
struct words {
	const char *subject, *first, *last;
};

static const struct words *words_of(const struct qmgr_dsn *d)
{
	static const struct words failed = {"Your mail was not delivered",
	    "could not be delivered to:", "No further attempt will be made for"};
	static const struct words delayed = {"Your mail is late",
	    "has not been delivered yet to:", "You need not do anything; it is tried again for"};
	static const struct words taken = {"Your mail was delivered",
	    "was delivered or passed on, for which you had asked, to:", NULL};
	static const struct words expanded = {"Your mail was sent on to several addresses",
	    "was taken, and is sent on to several addresses, for:", NULL};
	static const struct words twice = {"A report was not delivered",
	    "could not be delivered to:", "No further attempt will be made for"};

	if (!*d->sender)
		return &twice;
	if (!d->nrcpt || d->rcpt[0].action == QA_FAILED)
		return &failed;
	if (d->rcpt[0].action == QA_EXPANDED)
		return &expanded;
	return d->rcpt[0].action == QA_DELAYED ? &delayed : &taken;
}

/* What the sender reads of one recipient's fate. */
static const char *status(const struct qmgr_dsn_rcpt *r)
{
	const struct qmgr_reason *why = r->reason;
	const char class = r->action == QA_FAILED ? '5' : r->action == QA_DELAYED ? '4' : '2';

	if (r->expired)
		return "4.4.7";
	if (why && (why->dsn[0] == class || (class == '5' && why->dsn[0] == '4')))
		return why->dsn;
	if (why &&
	    (why->smtp / 100 == (unsigned)(class - '0') || (class == '5' && why->smtp >= 400)))
		return reply_default_dsn(why->smtp);
	return class == '5' ? "5.0.0" : class == '4' ? "4.0.0" : "2.0.0";
}

static void head(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	const char *global = d->utf8 ? "global-" : "";
	char now[DATE_SIZE];

	date_text(d->now, true, now);
	line(out, d, "Received: by %s (meta1) id %s; %s", d->hostname, d->id, now);
	line(out, d, "Date: %s", now);
	line(out, d, "From: Mail Delivery System <MAILER-DAEMON@%s>", d->hostname);
	line(out, d, "To: <%s>", d->to);
	line(out, d, "Message-ID: <%s.%lld@%s>", d->id, (long long)d->now, d->hostname);
	line(out, d, "Subject: %s", words_of(d)->subject);
	line(out, d, "Auto-Submitted: auto-replied");
	line(out, d, "MIME-Version: 1.0");
	line(out, d, "Content-Type: multipart/report; report-type=%sdelivery-status;", global);
	line(out, d, "\tboundary=\"%s\"", boundary);
	if (d->eight || d->utf8)
		line(out, d, "Content-Transfer-Encoding: 8bit");
	line(out, d, "%s", "");
	line(out, d, "This is a MIME-encapsulated message.");
	line(out, d, "%s", "");
}

static void human_rcpt(struct evbuffer *out, struct qmgr_dsn *d, const struct qmgr_dsn_rcpt *r)
{
	static const char *const fate[] = {"failed", "waiting", "delivered",
	    "passed on to a server without reports of success",
	    "stands for several addresses; of success nothing more is told"};
	bool reply = r->reason && *r->reason->line;

	line(out, d, "%s", "");
	line(out, d, "  <%s>", r->addr);
	if (r->expired)
		line(out, d, "    It was tried for %lld hours; the last result was:",
		    (long long)(d->lifetime + 1800000) / 3600000);
	if (!reply || r->action >= QA_DELIVERED)
		line(out, d, "    %s", fate[r->action]);
	if (reply)
		line(out, d, "    %s", r->reason->line);
}

static void human(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	const struct words *w = words_of(d);
	char when[DATE_SIZE];
	uint32_t i;

	line(out, d, "--%s", boundary);
	line(out, d, "Content-Type: text/plain; charset=%s", d->utf8 ? "utf-8" : "us-ascii");
	if (d->utf8)
		line(out, d, "Content-Transfer-Encoding: 8bit");
	line(out, d, "%s", "");
	line(out, d, "This is the mail server %s.", d->hostname);
	line(out, d, "%s", "");
	line(out, d, "%s of %s %s", *d->sender ? "Your mail" : "A mail without a sender",
	    date_text(d->arrival, true, when), w->first);
	for (i = 0; i < d->nrcpt; i++)
		human_rcpt(out, d, &d->rcpt[i]);
	line(out, d, "%s", "");
	if (w->last)
		line(out, d, "%s %s.", w->last, d->nrcpt == 1 ? "this address" : "these addresses");
	line(out, d, "Below are a report for programs and %s.",
	    d->whole ? "your mail" : "the headers of your mail");
	line(out, d, "%s", "");
}

static void status_rcpt(struct evbuffer *out, struct qmgr_dsn *d, const struct qmgr_dsn_rcpt *r)
{
	static const char *const action[] = {
	    "failed", "delayed", "delivered", "relayed", "expanded"};
	const struct qmgr_reason *why = r->reason;
	char text[FIELD_MAX], when[DATE_SIZE];
	bool again = why && strncmp(why->text, why->dsn, strlen(why->dsn)) == 0;

	line(out, d, "%s", "");
	if (r->orcpt && *r->orcpt) {
		xtext_orcpt_field(r->orcpt, d->utf8, text, sizeof(text));
		line(out, d, "Original-Recipient: %s", text);
	}
	xtext_addr_field(r->addr, d->utf8, text, sizeof(text));
	line(out, d, "Final-Recipient: %s", text);
	line(out, d, "Action: %s", action[r->action]);
	line(out, d, "Status: %s", status(r));
	if (why && *why->host)
		line(out, d, "Remote-MTA: dns; %s", why->host);
	if (why && why->smtp)
		line(out, d, "Diagnostic-Code: smtp; %u %s%s%s", why->smtp, again ? "" : why->dsn,
		    *why->dsn && !again ? " " : "", why->text);
	else if (why && *why->line)
		line(out, d, "Diagnostic-Code: x-meta1; %s", why->line);
	line(out, d, "Last-Attempt-Date: %s", date_text(d->now, true, when));
	if (r->action == QA_DELAYED)
		line(out, d, "Will-Retry-Until: %s",
		    date_text(d->arrival + d->lifetime / 1000, true, when));
}

static void delivery_status(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	char text[FIELD_MAX];
	uint32_t i;

	line(out, d, "--%s", boundary);
	line(out, d, "Content-Type: message/%sdelivery-status", d->utf8 ? "global-" : "");
	if (d->utf8)
		line(out, d, "Content-Transfer-Encoding: 8bit");
	line(out, d, "%s", "");
	if (d->envid && *d->envid) {
		xtext_decode(buf_str(d->envid), text, sizeof(text));
		line(out, d, "Original-Envelope-Id: %s", text);
	}
	line(out, d, "Reporting-MTA: dns; %s", d->hostname);
	line(out, d, "X-Meta1-Id: %s", d->parent);
	line(out, d, "Arrival-Date: %s", date_text(d->arrival, true, text));
	for (i = 0; i < d->nrcpt; i++)
		status_rcpt(out, d, &d->rcpt[i]);
	line(out, d, "%s", "");
}

/* Lines of the stored headers up to the empty one; what is cut ends with a whole line. */
static void headers(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	const char *s = d->content.data, *end, *nl;

	if (!d->content.len)
		return;
	end = s + d->content.len;
	line(out, d, "--%s", boundary);
	line(
	    out, d, "Content-Type: %s", d->utf8 ? "message/global-headers" : "text/rfc822-headers");
	if (d->utf8)
		line(out, d, "Content-Transfer-Encoding: 8bit");
	line(out, d, "%s", "");
	for (; s < end && (nl = memchr(s, '\n', (size_t)(end - s))); s = nl + 1) {
		size_t n = (size_t)(nl - s);

		if (n && s[n - 1] == '\r')
			n--;
		if (!n)
			break;
		if (*s == '.') /* stuffed as stored; put_line() does it anew */
			s++, n--;
		if (n >= 2 && s[0] == '-' && s[1] == '-')
			continue; /* no header; must not look like a boundary */
		put_line(out, d, s, n);
	}
	line(out, d, "%s", "");
}

/* Bytes above 127 in it; its stuffed lines. */
static bool look(const struct qmgr_dsn *d, uint64_t *dots)
{
	const unsigned char *s = d->content.data;
	bool eight = false, first = true;
	size_t i;

	*dots = 0;
	for (i = 0; i < d->content.len; i++) {
		*dots += first && s[i] == '.';
		eight |= s[i] >= 0x80;
		first = s[i] == '\n';
	}
	return eight;
}

/* As it is stored: DATA form already. */
static void whole(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	uint64_t dots;
	bool eight = look(d, &dots);

	line(out, d, "--%s", boundary);
	line(out, d, "Content-Type: message/%s", d->utf8 ? "global" : "rfc822");
	if (eight)
		line(out, d, "Content-Transfer-Encoding: 8bit");
	line(out, d, "%s", "");
	evbuffer_add(out, d->content.data, d->content.len);
	d->bytes += d->content.len - dots;
	d->stuffed |= dots > 0;
	d->eight |= eight;
	line(out, d, "%s", "");
}

void qmgr_dsn_write(struct evbuffer *out, struct qmgr_dsn *d)
{
	char boundary[128];
	uint64_t dots;

	d->bytes = 0;
	d->stuffed = false;
	d->eight = d->whole && look(d, &dots);
	snprintf(boundary, sizeof(boundary), "report.%s.%llx.%016llx", d->id,
	    (unsigned long long)d->now, (unsigned long long)d->nonce);
	head(out, d, boundary);
	human(out, d, boundary);
	delivery_status(out, d, boundary);
	(d->whole ? whole : headers)(out, d, boundary);
	line(out, d, "--%s--", boundary);
}
