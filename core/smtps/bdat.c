/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bdat.c -- BDAT (RFC 3030): a message in chunks whose octets are counted, not searched for an end.
 *
 * Comes from verbs.c (the command) and session.c (octets of a refused chunk); goes to body.c,
 * which takes the octets as it takes DATA, and to commit.c at the last one.
 * Owns the chunk's count in the session. On failure the announced octets are thrown away in no
 * memory and never read as commands, one reply is said, and nothing of the transaction
 * is left: further chunks of it are refused in the same way until MAIL. Where the count itself
 * cannot be read the connection ends.
 */
#include "smtps/smtps.h"

#include <strings.h>

METRIC_COUNTER(m_refused, "refused_chunks_total",
    "BDAT refused for its order: no transaction, or no recipient in it.");
METRIC_COUNTER(
    m_lost, "unreadable_chunks_total", "Sessions closed for a BDAT whose count could not be read.");
METRIC_COUNTER(m_tiny, "tiny_chunks_total", "Sessions closed for too many tiny chunks.");

#define TINY	 256  /* octets: smaller chunks cost more than they bring */
#define TINY_MAX 1000 /* of these in one transaction */

bool smtps_bdat_like(const char *line, size_t len)
{
	return len >= 4 && strncasecmp(line, "BDAT", 4) == 0;
}

void smtps_bdat_lost(struct smtps_session *s, int code, const char *dsn, const char *text)
{
	m_lost.value++;
	log_event(LOG_L_INFO, "smtps.unreadable_chunk", SMTPS_WHO " reply=%d dsn=%s cause=%s",
	    SMTPS_WHO_OF(s), code, dsn, text);
	smtps_tx_reset(s);
	smtps_session_reply(s, code, dsn, "%s; closing", text);
	smtps_session_end(s);
}

/* "n" or "n LAST"; n is below 2^63. */
static bool parse(const struct smtps_line *l, uint64_t *n, bool *last)
{
	size_t i;

	*n = 0;
	for (i = 0; i < l->len && l->args[i] >= '0' && l->args[i] <= '9'; i++) {
		uint64_t digit = (uint64_t)(l->args[i] - '0');

		if (*n > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		*n = *n * 10 + digit;
	}
	*last = i < l->len;
	if (i == 0 || !*last)
		return i > 0;
	if (l->args[i] != ' ')
		return false;
	while (l->args[i] == ' ')
		i++;
	return buf_caseeq(buf_of(l->args + i, l->len - i), "LAST");
}

static bool too_tiny(struct smtps_session *s)
{
	if (s->chunk >= TINY || ++s->tiny <= TINY_MAX)
		return false;
	m_tiny.value++;
	log_event(
	    LOG_L_INFO, "smtps.tiny_chunks", SMTPS_WHO " reply=421 dsn=4.7.0", SMTPS_WHO_OF(s));
	smtps_tx_reset(s);
	smtps_session_reply(s, 421, "4.7.0", "Too many tiny chunks, closing");
	smtps_session_end(s);
	return true;
}

/* There is a transaction that can take content, or a reply says why there is none. Not counted
 * against max_bad_commands: a client that writes ahead does not know yet. */
static bool in_order(struct smtps_session *s)
{
	const struct smtps_tx *tx = s->tx;
	const char *text = "MAIL comes first";
	int code = 503;

	if (tx != NULL && tx->nrcpt + tx->ndiscard > 0)
		return true;
	if (s->helo == NULL) {
		text = "Say HELO or EHLO first";
	} else if (tx != NULL) {
		code = tx->asked ? 554 : 503;
		text = tx->asked ? "No valid recipients" : "RCPT comes first";
	}
	m_refused.value++;
	smtps_tx_reset(s);
	smtps_session_refuse(s, code, "5.5.1", text);
	return false;
}

/* Takes up the chunk; false: refused, and that was said. */
static bool take(struct smtps_session *s)
{
	if (!in_order(s) || (s->state == ST_RCPT && !smtps_body_begin(s, true)))
		return false;
	s->tx->announced = s->tx->scan.stored - s->tx->scan.stuffed + s->chunk;
	return !smtps_commit_refused(s);
}

static void skip(struct smtps_session *s)
{
	if (s->state == ST_CLOSE)
		return;
	s->skipped_in = s->state;
	s->state = ST_SKIP;
}

static void begin(struct smtps_session *s)
{
	if (take(s))
		s->state = ST_BDAT;
	else
		skip(s);
}

/* The first chunk is what DATA is. */
static void filtered(struct smtps_session *s, const struct smtps_answer *a)
{
	if (smtps_filter_refused(s, a)) {
		smtps_tx_reset(s);
		skip(s);
		return;
	}
	if (a->action == META1_PM_DISCARD)
		smtps_tx_discard(s->tx);
	begin(s);
}

void smtps_bdat(struct smtps_session *s, const struct smtps_line *l)
{
	if (!parse(l, &s->chunk, &s->last)) {
		smtps_bdat_lost(
		    s, 501, "5.5.4", "BDAT wants a number of octets, then LAST or nothing");
		return;
	}
	s->left = s->chunk;
	if (too_tiny(s))
		return;
	if (s->state == ST_RCPT)
		smtps_filter_ask(s, META1_PM_DATA, buf_str(""), filtered);
	else
		begin(s);
}

void smtps_bdat_end(struct smtps_session *s)
{
	if (s->last) {
		smtps_body_finish(s);
		smtps_commit_start(s);
	} else if (!smtps_commit_refused(s)) {
		s->state = ST_CHUNKS;
		smtps_session_reply(
		    s, 250, "2.0.0", "%llu octets received", (unsigned long long)s->chunk);
	}
}

bool smtps_bdat_skip(struct smtps_session *s)
{
	size_t n = evbuffer_get_length(conn_in(s->conn));

	if (n > s->left)
		n = (size_t)s->left;
	conn_consume(s->conn, n);
	s->left -= n;
	s->dropped += n;
	if (smtps_body_endless(s, s->dropped))
		return true;
	if (s->left > 0)
		return false;
	s->state = s->skipped_in;
	return true;
}
