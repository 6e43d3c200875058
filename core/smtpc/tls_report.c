/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_report.c -- tells smar how the TLS of a new session went, for reports (RFC 8460), when smar
 * has a section tlsrpt.
 *
 * Comes from core/smtpc/deliver.c when a session is open, or could not be opened; goes to smar as a
 * TLS_RESULT frame. Owns nothing. On failure (smar is away): the session is in no report.
 */
#include "smtpc.h"

#include "lib/tls_result.h"

#include <strings.h>

#define DOMAINS 32 /* of one delivery that are told */

static struct meta1_buf domain_of(struct meta1_buf path)
{
	const char *p = path.data;
	size_t at = path.len;

	while (at > 0 && p[at - 1] != '@')
		at--;
	return buf_of(p + at, at > 0 ? path.len - at : 0);
}

/* Recipients of several domains go by one session when these have the same hosts and needs. */
static void tell(const struct smtpc_delivery *d, struct p_tls_result *m)
{
	struct meta1_buf seen[DOMAINS];
	unsigned n = 0;

	for (uint32_t i = 0; i < d->mail.nrcpt && n < DOMAINS; i++) {
		unsigned k = 0;

		m->domain = domain_of(d->rcpt[i].addr);
		while (k < n && !(seen[k].len == m->domain.len &&
				    strncasecmp(seen[k].data, m->domain.data, seen[k].len) == 0))
			k++;
		if (k < n || m->domain.len == 0 || m->domain.len > 255)
			continue;
		seen[n++] = m->domain;
		chan_send(d->c->smar, P_TLS_RESULT, m);
	}
}

void smtpc_tls_report(
    const struct smtpc_delivery *d, enum meta1_status status, const struct meta1_reply *r)
{
	const struct meta1_hop *hop = &d->hop[d->at].to;
	const char *words = d->session ? smtpc_session_tls(d->session) : "";
	struct p_tls_result m = {.host = buf_str(hop->host), .addr = buf_str(hop->addr)};
	struct meta1_err err;
	struct tls_need need;
	bool any;

	if (!d->c->smar || !d->c->role.set->smar.tlsrpt.section || hop->addr[0] == '/' ||
	    strcmp(d->transport->name, "smtp") != 0)
		return;
	any = hop->tls_need && tls_need_parse(buf_str(hop->tls_need), &need, &err) == 0;
	m.result =
	    r ? tls_result_of((enum meta1_tls_result)r->tls, any ? &need : NULL, status == META1_OK)
	      : TLS_RESULT_NONE;
	if (m.result == TLS_RESULT_NONE)
		return;
	m.text = buf_str(words);
	if (status != META1_OK && r->text)
		m.text = buf_of(r->text, strnlen(r->text, 200));
	if (r->source)
		m.source = buf_of(r->source, strnlen(r->source, 64));
	m.need = buf_str(any ? hop->tls_need : "");
	tell(d, &m);
}
