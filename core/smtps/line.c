/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * line.c -- the next line of a client, with strict ends: only CRLF ends one.
 *
 * Comes from session.c (input, and nothing is waited for); goes to verbs.c, auth.c and, for the
 * first lines, peer.c. Owns nothing. On failure: what is too long is thrown away up to its end, in
 * no memory, and answered 500; a LF alone ends the session, for nobody knows where commands end.
 */
#include "smtps/smtps.h"

METRIC_COUNTER(m_long, "long_lines_total", "Command lines over their bound.");
METRIC_COUNTER(m_lf, "bare_newline_commands_total", "Command lines with a CR or LF alone.");

static void bare_lf(struct smtps_session *s)
{
	/* where the client thinks its commands end is not known from here on */
	m_lf.value++;
	log_event(
	    LOG_L_INFO, "smtps.bare_newline", SMTPS_WHO " reply=500 dsn=5.5.2", SMTPS_WHO_OF(s));
	smtps_session_reply(s, 500, "5.5.2", "Lines end with CRLF, not with LF alone; closing");
	smtps_session_end(s);
}

/* A LF without CR before it, in what is no whole line yet. */
static bool waits_behind_lf(struct evbuffer *in, size_t max)
{
	struct evbuffer_ptr p = evbuffer_search(in, "\n", 1, NULL);
	struct evbuffer_iovec v;
	char two[2];

	if (p.pos < 0 || p.pos >= (ssize_t)max)
		return false;
	if (p.pos == 0)
		return true;
	if (evbuffer_ptr_set(in, &p, (size_t)p.pos - 1, EVBUFFER_PTR_SET) < 0 ||
	    evbuffer_peek(in, 1, &p, &v, 1) < 1)
		return false;
	return evbuffer_copyout_from(in, &p, two, sizeof(two)) == 2 && two[0] != '\r';
}

/* Throws away a line that is too long. true: its end was found. */
static bool skip(struct smtps_session *s)
{
	struct evbuffer *in = conn_in(s->conn);
	size_t have = evbuffer_get_length(in);
	struct evbuffer_ptr p = evbuffer_search(in, "\r\n", 2, NULL);

	if (p.pos >= 0) {
		conn_consume(s->conn, (size_t)p.pos + 2);
		s->skipping = false;
		s->skipped = 0;
		smtps_session_bad(s, 500, "5.5.2", "Line is too long");
		return true;
	}
	if (have > 1) { /* the last byte may be the CR of its end */
		s->skipped += have - 1;
		conn_consume(s->conn, have - 1);
	}
	if (s->skipped > SMTPS_SKIP_MAX) {
		smtps_session_refuse(s, 500, "5.5.2", "Line does not end; closing");
		smtps_session_end(s);
	}
	return false;
}

static bool waits_bdat(struct evbuffer *in)
{
	char word[4];

	return evbuffer_copyout(in, word, sizeof(word)) == (ssize_t)sizeof(word) &&
	       smtps_bdat_like(word, sizeof(word));
}

static size_t line_max(const struct smtps_session *s)
{
	return smtps_auth_comes(s) ? SMTPS_AUTH_LINE_MAX : SMTPS_LINE_MAX;
}

bool smtps_line_take(struct smtps_session *s)
{
	bool too_long = false, bare = false;
	size_t len = 0;
	char *line;

	if (s->skipping)
		return skip(s);
	line = conn_line(s->conn, true, line_max(s) - 2, &len, &too_long, &bare);
	if (line == NULL) {
		if (evbuffer_get_length(conn_in(s->conn)) == 0)
			return false;
		if (waits_behind_lf(conn_in(s->conn), line_max(s))) {
			bare_lf(s);
			return true;
		}
		if (!too_long)
			return false;
		m_long.value++;
		if (waits_bdat(conn_in(s->conn)))
			smtps_bdat_lost(s, 500, "5.5.2", "Line is too long");
		else
			s->skipping = true;
		return true;
	}
	if (bare && memchr(line, '\n', len) != NULL) {
		bare_lf(s); /* first: its answer is the same when the rest of the line is still to
			       come */
	} else if (smtps_peer_line(s, line, len)) {
		return true;
	} else if (bare || memchr(line, '\0', len) != NULL) {
		m_lf.value += bare;
		if (smtps_bdat_like(line, len))
			smtps_bdat_lost(s, 500, "5.5.2", "A CR or NUL stands in the line");
		else
			smtps_session_bad(s, 500, "5.5.2", "A CR or NUL stands in the line");
	} else if (s->state == ST_AUTH) {
		smtps_auth_line(s, line, len);
		explicit_bzero(line, len);
	} else {
		smtps_verbs_line(s, line, len); /* AUTH wipes it */
	}
	return true;
}
