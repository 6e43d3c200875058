/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vrfy.c -- VRFY: 252 to everybody, or with the option vrfy what RCPT would say.
 *
 * Comes from verbs.c; goes to smar with the question of RCPT, from the null sender.
 * An address that RCPT would take is answered 252, not 250: RFC 5321 3.5.3 keeps that for
 * mailboxes that were seen to exist, and smar's verdict does not say so.
 * Owns nothing. On failure of smar: 451. A refused address counts as one of RCPT does.
 */
#include "smtps/smtps.h"

#include <stdio.h>

METRIC_COUNTER(m_refused, "refused_vrfy_total", "VRFY of addresses that RCPT would refuse.");

static void say(struct smtps_session *s, const struct smtps_verdict *v)
{
	if (v == NULL) {
		smtps_session_refuse(
		    s, 451, "4.3.0", "Addresses cannot be checked now, try again later");
		return;
	}
	if (v->action == ACT_ACCEPT || v->action == ACT_DISCARD) {
		smtps_session_reply(s, 252, "2.1.5", "Mail for this address is taken");
		return;
	}
	m_refused.value++;
	log_event(LOG_L_INFO, "smtps.vrfy_refused", SMTPS_WHO " reply=%d dsn=%s rule=%.*s text=%s",
	    SMTPS_WHO_OF(s), v->smtp, v->dsn, (int)v->rule.len, (const char *)v->rule.data,
	    v->text);
	smtps_policy_said(s, v);
}

/* RFC 6531 3.7.4.2: SMTPUTF8 behind the address; cut off. */
static bool says_utf8(const struct smtps_session *s, const char *p, size_t *len)
{
	static const char word[] = " SMTPUTF8";
	size_t n = sizeof(word) - 1;

	if ((s->lim->flags & SMTPS_F_SMTPUTF8) == 0 || *len <= n ||
	    !buf_caseeq(buf_of(p + *len - n, n), word))
		return false;
	*len -= n;
	return true;
}

void smtps_vrfy(struct smtps_session *s, const struct smtps_line *l)
{
	size_t len = l->len, used;
	bool utf8 = says_utf8(s, l->args, &len), open = len > 0 && l->args[0] == '<';
	struct meta1_err err = {""};
	char path[ADDR_PATH_MAX + 3];
	struct addr a;
	int n;

	if (len == 0) {
		smtps_session_bad(s, 501, "5.5.4", "VRFY wants an address");
		return;
	}
	if (!utf8 && addr_utf8(buf_of(l->args, len))) {
		smtps_session_bad(s, 553, "5.6.7", "Address is not ASCII; say SMTPUTF8 behind it");
		return;
	}
	if (!s->lim->vrfy) {
		smtps_session_reply(s, 252, "2.0.0", "Not verified here; send mail to it and see");
		return;
	}
	n = snprintf(path, sizeof(path), open ? "%.*s" : "<%.*s>", (int)len, l->args);
	if (n >= (int)sizeof(path) ||
	    addr_path(path, (size_t)n, ADDR_POSTMASTER, &a, &used, &err) != 0 || used < (size_t)n)
		smtps_session_bad(
		    s, 501, "5.1.3", "VRFY wants one address, such as user@example.org");
	else
		smtps_policy_ask(s, AWAIT_VRFY, smtps_policy_vrfy(s), a.whole, say);
}
