/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * received.c -- the trace line that we put first into every message (RFC 5321 4.4).
 *
 * Comes from body.c at 354; goes to the store as the first bytes of the content.
 * Owns the text of the current second's date. On failure: none; what a client said
 * was cleaned when it was taken (HELO) or follows the grammar (recipient).
 */
#include "mail/date.h"
#include "smtps/smtps.h"

#include <stdio.h>

/* The date of now; made anew once a second. */
static const char *date(int64_t now)
{
	static char text[DATE_SIZE];
	static int64_t made = -1;

	if (made != now)
		date_text(now, false, text);
	made = now;
	return text;
}

size_t smtps_received_line(
    char *out, size_t size, const struct smtps_session *s, const struct smtps_tx *tx)
{
	const struct smtps_rcpt *only = NULL;
	const struct tls_info *tls = conn_tls_info(s->conn);
	const char *with = tx->flags & META1_M_SMTPUTF8 ? "UTF8SMTP"
			   : s->esmtp || tls != NULL	? "ESMTP"
							: "SMTP"; /* RFC 6531 4.3 */
	bool auth = s->proof.auth != NULL;
	const char *how = tls != NULL && auth ? "SA"
			  : tls != NULL	      ? "S"
			  : auth	      ? "A"
					      : ""; /* RFC 3848 */
	char by[160] = "";
	const char *v6 = strchr(s->client, ':') != NULL ? "IPv6:" : "";
	bool is_addr = strpbrk(s->client, ".:") != NULL; /* else "unix" or not known */
	const char *other = strcmp(s->client, "unix") == 0 ? "local" : s->client;
	int n;

	if (s->report != NULL) /* qmgr's own is in it */
		return 0;
	if (tx->ntaken == 1 && tx->nrcpt == 1 && !tx->expanded)
		only = STAILQ_FIRST(&tx->rcpts);
	/* ASCII alone: our line must not be what makes a mail need SMTPUTF8. */
	if (only != NULL && addr_utf8(only->addr))
		only = NULL;
	if (tls != NULL)
		snprintf(by, sizeof(by), "\r\n\t(version=%s, cipher=%s, bits=%d, verify=%s)",
		    tls->version, tls->cipher, tls->bits, tls_info_verify(tls));
	n = snprintf(out, size,
	    "Received: from %s (%s%s%s%s%s%s)\r\n\tby %s (meta1-%s) with %s%s id "
	    "%s%s%s%.*s%s;\r\n\t%s\r\n",
	    s->helo, s->name != NULL ? s->name : "", s->name != NULL ? " " : "", is_addr ? "[" : "",
	    v6, is_addr ? s->client : other, is_addr ? "]" : "", s->gear->hostname, PACKAGE_VERSION,
	    with, how, tx->id, by, only != NULL ? "\r\n\tfor <" : "",
	    only != NULL ? (int)only->addr.len : 0,
	    only != NULL ? (const char *)only->addr.data : "", only != NULL ? ">" : "",
	    date(loop_wall(s->srv->role->loop)));
	ensure(n > 0 && (size_t)n < size);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}
