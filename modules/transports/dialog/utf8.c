/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * utf8.c -- SMTPUTF8 to a next hop (RFC 6531 3.2): when a mail needs it, and what a hop that
 * lacks it gets.
 *
 * Comes from envelope.c before MAIL and at each address; the host makes A-labels of domains.
 * A mail needs it when an address has bytes above 127 (only a client that said SMTPUTF8 can have
 * brought it, or it is a report to such a sender), or when its client said SMTPUTF8 and the header
 * has some.
 * To a hop without it an address with UTF-8 in its domain alone is said with A-labels; a local
 * part or a header cannot be: 5.6.7, for the recipient or for the mail, unless another host of
 * the destination offers it.
 * Headers of parts of the body are not looked into: RFC 6531 3.6 does not ask a server to. But when
 * the client said SMTPUTF8 and anything is beyond ASCII it may be one of them, so a hop that
 * offers SMTPUTF8 is told; to one that does not such a mail goes as 8-bit content.
 * Owns nothing. On failure: refused before anything was said.
 */
#include "dialog.h"

#include <string.h>

static int ascii(struct meta1_buf b)
{
	const unsigned char *p = b.data;
	size_t i;

	for (i = 0; i < b.len; i++)
		if (p[i] >= 0x80)
			return 0;
	return 1;
}

/* Bytes up to and with the last '@'; all of them without one. */
static size_t before_domain(struct meta1_buf addr)
{
	const char *p = addr.data;
	size_t at = addr.len;

	while (at > 0 && p[at - 1] != '@')
		at--;
	return at > 0 ? at : addr.len;
}

static int header_needs(const struct meta1_mail *m)
{
	return (m->flags & META1_M_SMTPUTF8) && (m->flags & META1_M_HEADER_8BIT);
}

static int needed(const struct meta1_mail *m)
{
	const char *r = (const char *)m->rcpt;
	uint32_t i;

	if (header_needs(m) || !ascii(m->from))
		return 1;
	for (i = 0; i < m->nrcpt; i++, r += m->sizeof_rcpt)
		if (!ascii(((const struct meta1_rcpt *)r)->addr))
			return 1;
	return 0;
}

struct meta1_buf dialog_utf8_addr(
    const struct dialog_session *s, struct meta1_buf addr, char buf[DIALOG_PATH_MAX + 1])
{
	size_t n;
	struct meta1_buf domain;

	if (s->utf8 || ascii(addr))
		return addr;
	n = before_domain(addr);
	domain = (struct meta1_buf){(const char *)addr.data + n, addr.len - n};
	if (n > DIALOG_PATH_MAX || !META1_HAS(s->d->host, domain_key) ||
	    s->d->host->domain_key(domain, buf + n, DIALOG_PATH_MAX + 1 - n) < 0)
		return addr;
	memcpy(buf, addr.data, n);
	return (struct meta1_buf){buf, n + strlen(buf + n)};
}

int dialog_utf8_unsayable(const struct dialog_session *s, struct meta1_buf addr)
{
	char buf[DIALOG_PATH_MAX + 1];

	return !s->utf8 && !ascii(dialog_utf8_addr(s, addr, buf));
}

int dialog_utf8_refuse(struct dialog_session *s)
{
	const struct meta1_mail *m = s->mail;

	s->utf8 = s->use.smtputf8 &&
		  (needed(m) || ((m->flags & META1_M_SMTPUTF8) && (m->flags & META1_M_8BIT)));
	if (dialog_utf8_unsayable(s, m->from)) {
		dialog_result_lacks(s, 550, "5.6.7",
		    "SMTPUTF8 is required for the sender, but was not offered by the next hop");
		return 1;
	}
	if (header_needs(m) && !s->utf8) {
		dialog_result_lacks(s, 550, "5.6.7",
		    "SMTPUTF8 is required for the header, but was not offered by the next hop");
		return 1;
	}
	return 0;
}
