/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * content.c -- what follows the header, as SMTP wants it: CR LF behind every line, dots doubled.
 *
 * Comes from: sendmail.c, after 354. Goes to: server.c, in pieces; nothing is kept.
 * LF, CR LF, several CR and LF, and a CR alone each end a line; what leaves has no CR or LF alone.
 * On failure no dot is sent, and the connection ends: smtps forgets the mail.
 */
#include "sendmail/sendmail.h"

bool sendmail_content_7bit(struct sendmail_input *in)
{
	size_t n = 0, seen = 0, line = 0;
	const char *p;

	while (!in->eof && n < INPUT_SIZE) {
		n = sendmail_input_more(in, n + 1, &p);
		for (; seen < n; seen++)
			if (p[seen] & 0x80)
				return false;
		while (line < n) {
			const char *end = memchr(p + line, '\n', n - line);

			if (sendmail_input_end(in, p + line, n - line))
				return true;
			if (!end)
				break;
			line = (size_t)(end - p) + 1;
		}
	}
	return in->eof; /* longer than what was seen: not known */
}

struct out {
	struct sendmail_server *srv;
	char buf[8192];
	size_t n;
};

static int put(struct out *o, const char *p, size_t n)
{
	if (sizeof(o->buf) - o->n < n) {
		if (sendmail_server_write(o->srv, o->buf, o->n) < 0)
			return -1;
		o->n = 0;
	}
	if (n > sizeof(o->buf))
		return sendmail_server_write(o->srv, p, n);
	memcpy(o->buf + o->n, p, n);
	o->n += n;
	return 0;
}

/* Where a line begins: one that leaves, or one of the input too, which alone may be the last dot.
 */
enum start { WITHIN, LEAVES, BEGINS };

/* The next piece of a line or its end. <0: the connection is gone. */
static int piece(struct out *o, const char *p, size_t n, enum start *start, size_t *used)
{
	size_t i = 0, eol;

	while (i < n && p[i] != '\r' && p[i] != '\n')
		i++;
	*used = i;
	if (i > 0) {
		if (*start != WITHIN && p[0] == '.' && put(o, ".", 1) < 0)
			return -1;
		*start = WITHIN;
		return put(o, p, i);
	}
	eol = sendmail_input_eol(p, n);
	*used = eol > 0 ? eol : 1;
	*start = eol > 0 ? BEGINS : LEAVES;
	return put(o, "\r\n", 2);
}

int sendmail_content(struct sendmail_server *srv, struct sendmail_input *in, bool end)
{
	struct out o = {.srv = srv};
	enum start start = BEGINS;
	const char *p;
	size_t n, used;

	while (!end) {
		n = sendmail_input_line(in, INPUT_EOL, &p);
		if (n == 0 || (start == BEGINS && sendmail_input_end(in, p, n)))
			break;
		if (piece(&o, p, n, &start, &used) < 0)
			return sendmail_server_reply(srv, '2', "the mail", EX_UNAVAILABLE);
		in->pos += used;
	}
	if (in->error)
		return sendmail_fail(
		    EX_IOERR, "the mail cannot be read: %s; nothing was sent", strerror(in->error));
	if ((start == WITHIN && put(&o, "\r\n", 2) < 0) || put(&o, ".\r\n", 3) < 0 ||
	    sendmail_server_write(srv, o.buf, o.n) < 0)
		return sendmail_server_reply(srv, '2', "the mail", EX_UNAVAILABLE);
	return sendmail_server_reply(srv, '2', "the mail", EX_UNAVAILABLE);
}
