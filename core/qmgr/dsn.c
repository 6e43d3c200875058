/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dsn.c -- the text of a delivery status notification: RFC 3464 in a multipart/report of
 * RFC 6522, 7-bit, in DATA form (CRLF, dot-stuffed).
 * Comes from bounce.c, goes back there. Owns nothing, no I/O. Whatever others said (addresses,
 * replies, headers) is made printable and cut, so that nobody else's bytes shape the text.
 */
#include "mail/date.h"
#include "mail/reply.h"
#include "qmgr/qmgr.h"

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>

#define LINE_MAX_LEN 990 /* RFC 5321 4.5.3.1.6 allows 998 */

/* One line: not printable becomes '?', a leading dot is doubled. */
static void put_line(struct evbuffer *out, struct qmgr_dsn *d, const char *s, size_t n)
{
	char line[LINE_MAX_LEN + 4];
	size_t i, k = 0;

	if (n > LINE_MAX_LEN)
		n = LINE_MAX_LEN;
	if (n && s[0] == '.') {
		line[k++] = '.';
		d->stuffed = true;
	}
	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		line[k++] = (char)(c == '\t' || (c >= 32 && c < 127) ? c : '?');
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

/* What the sender reads of one recipient's failure. */
static const char *status(const struct qmgr_dsn_rcpt *r)
{
	if (r->expired)
		return "4.4.7";
	if (r->reason && (r->reason->dsn[0] == '5' || r->reason->dsn[0] == '4'))
		return r->reason->dsn;
	if (r->reason && r->reason->smtp >= 400)
		return reply_default_dsn(r->reason->smtp);
	return "5.0.0";
}

static void head(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	char now[DATE_SIZE];

	date_text(d->now, true, now);
	line(out, d, "Received: by %s (meta1) id %s; %s", d->hostname, d->id, now);
	line(out, d, "Date: %s", now);
	line(out, d, "From: Mail Delivery System <MAILER-DAEMON@%s>", d->hostname);
	line(out, d, "To: <%s>", d->sender);
	line(out, d, "Message-ID: <%s.%lld@%s>", d->id, (long long)d->now, d->hostname);
	line(out, d, "Subject: Your mail was not delivered");
	line(out, d, "Auto-Submitted: auto-replied");
	line(out, d, "MIME-Version: 1.0");
	line(out, d, "Content-Type: multipart/report; report-type=delivery-status;");
	line(out, d, "\tboundary=\"%s\"", boundary);
	line(out, d, "%s", "");
	line(out, d, "This is a MIME-encapsulated message.");
	line(out, d, "%s", "");
}

static void human(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	char when[DATE_SIZE];
	uint32_t i;

	line(out, d, "--%s", boundary);
	line(out, d, "Content-Type: text/plain; charset=us-ascii");
	line(out, d, "%s", "");
	line(out, d, "This is the mail server %s.", d->hostname);
	line(out, d, "%s", "");
	line(out, d,
	    "Your mail of %s could not be delivered to:", date_text(d->arrival, true, when));
	for (i = 0; i < d->nrcpt; i++) {
		const struct qmgr_dsn_rcpt *r = &d->rcpt[i];

		line(out, d, "%s", "");
		line(out, d, "  <%s>", r->addr);
		if (r->expired)
			line(out, d, "    It was tried for %lld hours; the last result was:",
			    (long long)(d->lifetime + 1800000) / 3600000);
		line(out, d, "    %s", r->reason && *r->reason->line ? r->reason->line : "failed");
	}
	line(out, d, "%s", "");
	line(out, d, "No further attempt will be made for %s.",
	    d->nrcpt == 1 ? "this address" : "these addresses");
	line(out, d, "Below are a report for programs and the headers of your mail.");
	line(out, d, "%s", "");
}

static void delivery_status(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	char when[DATE_SIZE];
	uint32_t i;

	line(out, d, "--%s", boundary);
	line(out, d, "Content-Type: message/delivery-status");
	line(out, d, "%s", "");
	line(out, d, "Reporting-MTA: dns; %s", d->hostname);
	line(out, d, "X-Meta1-Id: %s", d->parent);
	line(out, d, "Arrival-Date: %s", date_text(d->arrival, true, when));
	for (i = 0; i < d->nrcpt; i++) {
		const struct qmgr_dsn_rcpt *r = &d->rcpt[i];
		const struct qmgr_reason *why = r->reason;

		line(out, d, "%s", "");
		line(out, d, "Final-Recipient: rfc822; %s", r->addr);
		line(out, d, "Action: failed");
		line(out, d, "Status: %s", status(r));
		if (why && *why->host)
			line(out, d, "Remote-MTA: dns; %s", why->host);
		if (why && why->smtp)
			line(out, d, "Diagnostic-Code: smtp; %u %s%s%s", why->smtp,
			    strncmp(why->text, why->dsn, strlen(why->dsn)) ? why->dsn : "",
			    *why->dsn && strncmp(why->text, why->dsn, strlen(why->dsn)) ? " " : "",
			    why->text);
		else if (why && *why->line)
			line(out, d, "Diagnostic-Code: x-meta1; %s", why->line);
		date_text(d->now, true, when);
		line(out, d, "Last-Attempt-Date: %s", when);
	}
	line(out, d, "%s", "");
}

/* Lines of the stored headers up to the empty one; what is cut ends with a whole line. */
static void headers(struct evbuffer *out, struct qmgr_dsn *d, const char *boundary)
{
	const char *s = d->headers.data, *end, *nl;

	if (!d->headers.len)
		return;
	end = s + d->headers.len;
	line(out, d, "--%s", boundary);
	line(out, d, "Content-Type: text/rfc822-headers");
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

void qmgr_dsn_write(struct evbuffer *out, struct qmgr_dsn *d)
{
	char boundary[96];

	d->bytes = 0;
	d->stuffed = false;
	snprintf(boundary, sizeof(boundary), "report.%s.%llx", d->id, (unsigned long long)d->now);
	head(out, d, boundary);
	human(out, d, boundary);
	delivery_status(out, d, boundary);
	headers(out, d, boundary);
	line(out, d, "--%s--", boundary);
}
