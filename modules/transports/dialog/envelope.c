/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * envelope.c -- one mail up to DATA: RSET, TRACE, MAIL, RCPT, DATA and their replies.
 *
 * Comes from the host's send() or probe(); with PIPELINING all commands leave in one write
 * (at most 1000 recipients, then the next burst), else one by one. When DATA is
 * accepted and somebody gets the mail it goes on in content.c.
 * Owns nothing: the list of accepted recipients lives with the request.
 * On failure: what can be seen without the hop (size, 8-bit content, addresses that
 * cannot be said) is refused before MAIL; a refused recipient has its result at
 * once. With nobody left an answer 354 to a pipelined DATA gets an empty dot
 * (RFC 2920 3.1). A probe ends with the reply to the last RCPT; the RSET comes before the next
 * MAIL, as it does after a mail that nobody got.
 */
#include "dialog.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- what can be said ---- */

static int sayable(struct meta1_buf text)
{
	const unsigned char *p = text.data;
	size_t i;

	if (text.len > DIALOG_PATH_MAX)
		return 0;
	for (i = 0; i < text.len; i++)
		if (p[i] < 0x20 || p[i] == 0x7f)
			return 0;
	return 1;
}

/* ---- commands ---- */

/* TRACE of Cyrus: our id of the mail, in the 64 characters and 255 bytes that it takes. What the
 * store thinks of it changes nothing. */
static void say_trace(struct dialog_session *s)
{
	static const char good[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char text[6 + 255 + 2 + 1];
	int n = snprintf(text, sizeof(text) - 2, "TRACE %.255s", s->mail->id);

	for (char *p = text + 6; *p; p++)
		if (!strchr(good, *p))
			*p = '-';
	memcpy(text + n, "\r\n", 2);
	dialog_say(s, text, (size_t)n + 2);
}

/* A hop that offers DSN is told what the sender wants; then it answers for it. LMTP is the end of
 * the way, so that reports of it are ours. */
static int tells_dsn(const struct dialog_session *s)
{
	return s->use.dsn && !s->d->kind->lmtp;
}

static size_t mail_dsn(const struct meta1_mail *m, char *text, size_t size)
{
	size_t n = 0;

	if (m->flags & (META1_M_RET_FULL | META1_M_RET_HDRS))
		n += (size_t)snprintf(
		    text, size, " RET=%s", m->flags & META1_M_RET_FULL ? "FULL" : "HDRS");
	if (META1_HAS(m, envid) && m->envid.len > 0 && sayable(m->envid))
		n += (size_t)snprintf(text + n, size - n, " ENVID=%.*s", (int)m->envid.len,
		    (const char *)m->envid.data);
	return n;
}

static void say_mail(struct dialog_session *s)
{
	const struct meta1_mail *m = s->mail;
	char text[2 * DIALOG_PATH_MAX + 192], buf[DIALOG_PATH_MAX + 1];
	struct meta1_buf from = dialog_utf8_addr(s, m->from, buf);
	size_t n;

	n = (size_t)snprintf(
	    text, sizeof(text), "MAIL FROM:<%.*s>", (int)from.len, (const char *)from.data);
	if (s->use.size && !s->probing)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " SIZE=%" PRIu64, m->bytes);
	if (s->use.eightbit && (m->flags & META1_M_8BIT))
		n += (size_t)snprintf(text + n, sizeof(text) - n, " BODY=8BITMIME");
	if (s->utf8)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " SMTPUTF8");
	if ((m->flags & META1_M_REQUIRETLS) && s->use.requiretls)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " REQUIRETLS");
	if (tells_dsn(s))
		n += mail_dsn(m, text + n, sizeof(text) - n);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	dialog_say(s, text, n);
}

static const struct meta1_rcpt *rcpt_at(const struct meta1_mail *m, uint32_t i)
{
	return (const struct meta1_rcpt *)((const char *)m->rcpt + (size_t)i * m->sizeof_rcpt);
}

/* The first recipient from i on that is said to the hop. */
static uint32_t skip(const struct dialog_session *s, uint32_t i)
{
	while (i < s->mail->nrcpt && s->taken[i] == DIALOG_PASS)
		i++;
	return i;
}

/* The words of an enum meta1_notify, or of ORCPT; an original recipient that is not ASCII can
 * only be said to who takes the like of it in addresses. */
static size_t rcpt_dsn(
    const struct meta1_mail *m, const struct meta1_rcpt *r, char *text, size_t size)
{
	static const struct {
		uint32_t bit;
		const char *word;
	} words[] = {{META1_N_NEVER, "NEVER"}, {META1_N_SUCCESS, "SUCCESS"},
	    {META1_N_FAILURE, "FAILURE"}, {META1_N_DELAY, "DELAY"}};
	const char *sep = " NOTIFY=";
	size_t n = 0, i;

	if (m->sizeof_rcpt < sizeof(*r))
		return 0;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (r->notify & words[i].bit) {
			n += (size_t)snprintf(text + n, size - n, "%s%s", sep, words[i].word);
			sep = ",";
		}
	if (r->orcpt.len > 0 && sayable(r->orcpt))
		n += (size_t)snprintf(text + n, size - n, " ORCPT=%.*s", (int)r->orcpt.len,
		    (const char *)r->orcpt.data);
	return n;
}

static void say_rcpt(struct dialog_session *s)
{
	const struct meta1_rcpt *r = rcpt_at(s->mail, s->said);
	char text[2 * DIALOG_PATH_MAX + 96], buf[DIALOG_PATH_MAX + 1];
	struct meta1_buf addr = dialog_utf8_addr(s, r->addr, buf);
	size_t n = (size_t)snprintf(
	    text, sizeof(text), "RCPT TO:<%.*s>", (int)addr.len, (const char *)addr.data);

	if (tells_dsn(s))
		n += rcpt_dsn(s->mail, r, text + n, sizeof(text) - n);
	if (s->use.ignorequota)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " IGNOREQUOTA");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	s->said = skip(s, s->said + 1);
	dialog_say(s, text, n);
}

/* The next recipients of a pipelined mail, and DATA behind the last. */
static void say_burst(struct dialog_session *s)
{
	uint32_t i;

	for (i = 0; i < DIALOG_BURST && s->said < s->mail->nrcpt; i++)
		say_rcpt(s);
	if (s->said == s->mail->nrcpt && !s->probing)
		dialog_say(s, "DATA\r\n", 6);
}

/* ---- what needs no hop to be refused ---- */

/* RFC 8689 4.2.1; LMTP is the end of the way, where nobody is left to be told. A report, which has
 * the header alone, is not given up for a hop that only does not know the word (5). */
static int requires_tls(struct dialog_session *s)
{
	if (!(s->mail->flags & META1_M_REQUIRETLS) || s->addr[0] == '/')
		return 0;
	if (!s->secured || !s->proven)
		dialog_result_lacks(s, 550, "5.7.10",
		    "REQUIRETLS was said, and the next hop is not reached by TLS with a "
		    "certificate "
		    "that is verified");
	else if (!s->use.requiretls && !s->d->kind->lmtp && s->mail->from.len > 0)
		dialog_result_lacks(
		    s, 550, "5.7.30", "REQUIRETLS was said, and the next hop does not offer it");
	else
		return 0;
	return 1;
}

static int refuse_mail(struct dialog_session *s)
{
	const struct meta1_mail *m = s->mail;
	char text[160];

	if (s->use.max_size > 0 && m->bytes > s->use.max_size) {
		snprintf(text, sizeof(text),
		    "message of %" PRIu64 " bytes is above the next hop's limit of %" PRIu64,
		    m->bytes, s->use.max_size);
		dialog_result_refuse(s, 552, "5.3.4", text);
		return 1;
	}
	if ((m->flags & META1_M_8BIT) && (m->flags & META1_M_BOUNCE_8BIT) && !s->use.eightbit) {
		dialog_result_lacks(
		    s, 554, "5.6.3", "8-bit content, and the next hop does not offer 8BITMIME");
		return 1;
	}
	if (!sayable(m->from)) {
		dialog_result_refuse(s, 553, "5.1.7", "sender address cannot be sent");
		return 1;
	}
	return requires_tls(s) || dialog_utf8_refuse(s);
}

/* Recipients that cannot be said have their result here and are passed over. The number of
 * those that are left. */
static uint32_t refuse_rcpts(struct dialog_session *s)
{
	uint32_t i, left = s->mail->nrcpt;

	for (i = 0; i < s->mail->nrcpt; i++) {
		struct meta1_buf addr = rcpt_at(s->mail, i)->addr;
		int utf8 = sayable(addr) && dialog_utf8_unsayable(s, addr);

		if (sayable(addr) && !utf8)
			continue;
		s->taken[i] = DIALOG_PASS;
		left--;
		if (utf8)
			dialog_result_lacks_rcpt(s, i, 553, "5.6.7",
			    "SMTPUTF8 is required for the recipient, but was not offered by the "
			    "next hop");
		else
			dialog_result_refuse_rcpt(
			    s, i, 553, "5.1.3", "recipient address cannot be sent");
	}
	return left;
}

/* What of its offers the mail uses; some are words of stores only. */
static struct dialog_caps used(const struct dialog_session *s, const struct meta1_mail *mail)
{
	struct dialog_caps use =
	    dialog_caps_without(s->caps, META1_HAS(mail, without) ? mail->without : 0);

	if (!s->d->kind->lmtp)
		use.ignorequota = use.trace = 0;
	if (s->probing || !mail->id || !mail->id[0])
		use.trace = 0;
	return use;
}

/* The commands up to the one whose reply comes next; with PIPELINING all that can be said. */
static void say_first(struct dialog_session *s)
{
	if (s->dirty)
		dialog_say(s, "RSET\r\n", 6);
	if (s->use.trace && (!s->dirty || s->use.pipelining))
		say_trace(s);
	if (s->use.pipelining || (!s->dirty && !s->use.trace))
		say_mail(s);
	if (s->use.pipelining)
		say_burst(s);
	dialog_wait(s, s->dirty ? DIALOG_RSET : s->use.trace ? DIALOG_TRACE : DIALOG_MAIL);
}

static void begin(
    struct dialog_session *s, struct meta1_req *req, const struct meta1_mail *mail, int probing)
{
	const struct meta1_host *host = s->d->host;

	s->probing = probing;
	s->req = req;
	*host->req_slot(req) = s;
	s->mail = mail;
	s->use = used(s, mail);
	s->said = s->heard = s->accepted = s->after = 0;
	s->refused = NULL;
	s->answered = 0;
	if (!s->conn) {
		dialog_result_lost(s, 0, NULL, "the idle connection was closed");
		return;
	}
	s->taken = host->req_alloc(req, mail->nrcpt + 1);
	if (!s->taken) {
		dialog_result_lost(s, 0, "4.3.0", "no memory");
		return;
	}
	if (refuse_mail(s))
		return;
	if (refuse_rcpts(s) == 0) {
		dialog_result_refuse(s, 553, "5.1.3", "no recipient address can be sent");
		return;
	}
	s->said = s->heard = skip(s, 0);
	say_first(s);
}

void dialog_send(void *sess, struct meta1_req *req, const struct meta1_mail *mail)
{
	begin(sess, req, mail, 0);
}

void dialog_probe(void *sess, struct meta1_req *req, const struct meta1_mail *mail)
{
	begin(sess, req, mail, 1);
}

/* ---- replies ---- */

void dialog_envelope_rset(struct dialog_session *s)
{
	if (s->reply.code / 100 != 2) {
		dialog_result_lost(s, s->reply.code, s->reply.dsn, s->reply.text);
		return;
	}
	s->dirty = 0;
	if (s->use.pipelining)
		dialog_wait(s, s->use.trace ? DIALOG_TRACE : DIALOG_MAIL);
	else
		say_first(s);
}

void dialog_envelope_trace(struct dialog_session *s)
{
	if (s->reply.code / 100 != 2) {
		s->d->host->log(s->d->ctx, META1_DEBUG, "%s: TRACE was answered %d %s", s->host,
		    s->reply.code, s->reply.text);
		s->caps.trace = 0; /* no second time in this session */
	}
	if (!s->use.pipelining)
		say_mail(s);
	dialog_wait(s, DIALOG_MAIL);
}

/* Nobody gets the mail; the hop waits for the next command. */
static void nobody(struct dialog_session *s)
{
	dialog_result_verdict(s, s->refused ? s->refused : &s->reply);
}

void dialog_envelope_mail(struct dialog_session *s)
{
	s->answered = 1;
	s->dirty = 1;
	if (s->reply.code / 100 != 2) {
		if (!s->use.pipelining) {
			nobody(s);
			return;
		}
		/* What was said behind it is refused too; those replies are read and dropped. */
		s->refused = s->d->host->req_alloc(s->req, sizeof(*s->refused));
		if (!s->refused) {
			dialog_result_lost(s, 0, "4.3.0", "no memory");
			return;
		}
		*s->refused = s->reply;
	} else if (!s->use.pipelining) {
		say_rcpt(s);
	}
	dialog_wait(s, DIALOG_RCPT);
}

void dialog_envelope_rcpt(struct dialog_session *s)
{
	uint32_t i = s->heard;

	s->heard = skip(s, i + 1);
	if (!s->refused) {
		if (s->reply.code / 100 == 2) {
			s->taken[i] = DIALOG_TAKEN;
			s->accepted++;
		}
		if (s->probing || s->reply.code / 100 != 2)
			dialog_result_rcpt(s, i);
	}
	if (s->heard < s->mail->nrcpt) {
		if (s->heard == s->said && s->refused)
			nobody(s);
		else if (s->heard == s->said && s->use.pipelining)
			say_burst(s);
		else if (s->heard == s->said)
			say_rcpt(s);
		if (s->req)
			dialog_wait(s, DIALOG_RCPT);
		return;
	}
	if (s->probing && !s->refused) {
		dialog_result_done(s);
		return;
	}
	if (s->probing || (!s->use.pipelining && s->accepted == 0)) {
		nobody(s);
		return;
	}
	if (!s->use.pipelining)
		dialog_say(s, "DATA\r\n", 6);
	dialog_wait(s, DIALOG_DATA);
}

void dialog_envelope_data(struct dialog_session *s)
{
	if (s->reply.code / 100 == 2) {
		dialog_result_lost(s, 0, "4.5.0", "protocol error: DATA was answered 2xx");
	} else if (s->reply.code / 100 != 3) {
		nobody(s);
	} else if (s->accepted > 0) {
		dialog_content_send(s);
	} else if (s->d->kind->lmtp) {
		/* RFC 2033 4.2 forbids this answer, and how many replies follow is unknown. */
		nobody(s);
		dialog_hangup(s);
	} else {
		dialog_say(s, ".\r\n", 3);
		dialog_wait(s, DIALOG_EMPTY);
	}
}

void dialog_envelope_empty(struct dialog_session *s)
{
	s->dirty = 0;
	nobody(s);
}
