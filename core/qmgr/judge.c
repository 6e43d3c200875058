/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge.c -- a report before filters (dsn_filters). qmgr writes and keeps its reports itself, but
 * shows each to the policy filters of an smtps first: in a session as a client has it, over one end
 * of a socket pair whose other end goes to that smtps in REPORT. So nobody else can have such a
 * session, and smtps takes no mail by it: what its filters leave of the report comes back, and qmgr
 * commits it as ever, under the id PARENT-N.
 *
 * That smtps keeps nothing is what makes a report one report whatever dies, in each order of
 * events; bounce.c has the steps, and this stands before its step 3.
 *
 * When qmgr dies before the commit, the intent is on disk and PARENT-N is not: the report is made
 * and judged anew, so filters see the same id twice. The smtps sees its session end, and forgets.
 *
 * When qmgr dies after the commit, PARENT-N is queued, and no other is made.
 *
 * When smtps dies at any point, the session ends, and the report is shown to the next one that is
 * there. What the old one said before is with qmgr, or was never said.
 *
 * When only the channel between them breaks, the session is another socket and goes on.
 *
 * When mcp dies both end, as above.
 *
 * Had smtps queued it, each of these would need an answer to "has it, or will it?" from a process
 * that may be gone.
 *
 * The filters' word: taken, perhaps held (then qmgr holds it), perhaps edited. Refused for good:
 * nobody gets it, a line at warn says so, and its mail counts as failed without a report. Thrown
 * away: the same at normal level. Refused for now, or no smtps there: again by backoff.c. It has no
 * sender, whatever a filter wants, so nothing that becomes of it is reported.
 *
 * Comes from report.c with the text; goes to an smtps (core/smtps/report.c says what its last reply
 * has in it), and back to report.c. Owns session and result. On failure: FAILED, with why.
 */
#include "mail/addr.h"
#include "qmgr/qmgr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

METRIC_COUNTER(m_judged, "dsn_judged_total", "Reports that filters let pass, perhaps edited.");
METRIC_COUNTER(m_held, "dsn_held_total", "Of these: reports that a filter holds.");
METRIC_COUNTER(m_refused, "dsn_refused_total", "Reports that a filter refused: nobody gets them.");
METRIC_COUNTER(m_discarded, "dsn_discarded_total", "Reports that a filter threw away.");

#define LINE_MAX_LEN 2048
#define QUIET_MS     7200000	 /* longer than the time-outs of filters may be */
#define TEXT_MAX     (8u << 20)	 /* more than filters may make of the largest report */
#define MEMORY_MAX   (16u << 20) /* of addresses */

enum { S_GREETING, S_EHLO, S_MAIL, S_RCPT, S_DATA, S_END, S_TEXT };

struct qmgr_judge {
	struct qmgr_judge *next, *prev;
	struct qmgr *q;
	struct qmgr_report *rep;
	qmgr_judged_fn fn;
	const struct meta1_env *env; /* the caller's, as text is */
	struct evbuffer *text;
	struct conn *conn;
	unsigned step;
	uint32_t answered, taken, refused; /* RCPT */
	uint64_t left;			   /* of the text that comes back */
	struct pool pool;
	struct meta1_buf *rcpt;
	struct qmgr_judged out;
	char hold[501], why[600];
};

/* ---- the end ---- */

static void judge_free(struct qmgr_judge *j)
{
	DL_DELETE(j->q->judging, j);
	conn_close(&j->conn);
	if (j->out.text)
		evbuffer_free(j->out.text);
	free(j->rcpt);
	pool_clear(&j->pool);
	free(j);
}

static void over(struct qmgr_judge *j, enum qmgr_judgement what)
{
	j->out.what = what;
	j->out.why = j->why;
	j->out.rcpt = j->rcpt;
	j->fn(j->rep, &j->out); /* may be the report's end */
	judge_free(j);
}

static void broken(struct qmgr_judge *j, const char *why)
{
	snprintf(j->why, sizeof(j->why), "%s", why);
	over(j, QJ_FAILED);
}

/* "5.7.1 filter NAME: text": a filter's word; "failed filter NAME: text" is the server's. */
static bool of_filter(const char *text)
{
	static const char mark[] = "filter ";

	text += strspn(text, "0123456789.");
	text += *text == ' ';
	return strncmp(text, mark, sizeof(mark) - 1) == 0;
}

static void refused(struct qmgr_judge *j, unsigned code, const char *text)
{
	snprintf(j->why, sizeof(j->why), "%u %s", code, text);
	if (code < 500 || !of_filter(text)) {
		over(j, of_filter(text) ? QJ_LATER : QJ_FAILED);
		return;
	}
	m_refused.value++;
	log_event(LOG_L_WARN, "qmgr.report_refused", "id=%s to=<%s> reply=%s text=%s", j->rep->id,
	    j->rep->to, j->why, "nobody gets it");
	over(j, QJ_DROPPED);
}

/* ---- the dialog: each takes a whole reply; false: it is over ---- */

static bool greeted(struct qmgr_judge *j, unsigned code, const char *text)
{
	if (code != 220) {
		refused(j, code, text);
		return false;
	}
	conn_printf(j->conn, "EHLO %s\r\n", j->rep->q->role.set->hostname);
	j->step = S_EHLO;
	return true;
}

static bool ehlo(struct qmgr_judge *j, unsigned code, const char *text)
{
	bool utf8 = j->env->flags & META1_M_SMTPUTF8;
	uint32_t i;

	if (code != 250) {
		refused(j, code, text);
		return false;
	}
	for (i = 0; i < j->env->nrcpt; i++)
		utf8 = utf8 || addr_utf8(j->env->rcpt[i].addr);
	conn_printf(j->conn, "MAIL FROM:<> BODY=%s%s\r\n",
	    j->env->flags & META1_M_8BIT || utf8 ? "8BITMIME" : "7BIT", utf8 ? " SMTPUTF8" : "");
	j->step = S_MAIL;
	return true;
}

static bool mail(struct qmgr_judge *j, unsigned code, const char *text)
{
	uint32_t i;

	if (code != 250) {
		refused(j, code, text);
		return false;
	}
	for (i = 0; i < j->env->nrcpt; i++)
		conn_printf(j->conn, "RCPT TO:<%.*s>\r\n", (int)j->env->rcpt[i].addr.len,
		    (const char *)j->env->rcpt[i].addr.data);
	j->step = S_RCPT;
	return true;
}

/* Some may be refused and the others get it, as of a client's mail; but none for now only. */
static bool rcpt(struct qmgr_judge *j, unsigned code, const char *text)
{
	struct meta1_buf to = j->env->rcpt[j->answered].addr;

	if (code != 250 && (code < 500 || !of_filter(text))) {
		refused(j, code, text);
		return false;
	}
	if (code == 250) {
		j->taken++;
	} else if (j->answered + 1 == j->env->nrcpt && !j->taken) {
		refused(j, code, text);
		return false;
	} else {
		log_event(LOG_L_WARN, "qmgr.report_refused", "id=%s to=<%.*s> reply=%u %s text=%s",
		    j->rep->id, (int)to.len, (const char *)to.data, code, text,
		    "this recipient does not get it");
	}
	if (++j->answered < j->env->nrcpt)
		return true;
	conn_printf(j->conn, "DATA\r\n");
	j->step = S_DATA;
	return true;
}

static bool data(struct qmgr_judge *j, unsigned code, const char *text)
{
	struct evbuffer_iovec v;
	struct evbuffer_ptr at;

	if (code != 354) {
		refused(j, code, text);
		return false;
	}
	evbuffer_ptr_set(j->text, &at, 0, EVBUFFER_PTR_SET);
	while (evbuffer_peek(j->text, -1, &at, &v, 1) > 0) {
		conn_write(j->conn, v.iov_base, v.iov_len);
		if (evbuffer_ptr_set(j->text, &at, v.iov_len, EVBUFFER_PTR_ADD) < 0)
			break;
	}
	conn_printf(j->conn, ".\r\n");
	j->step = S_END;
	return true;
}

/* "2.0.0 report FLAGS BYTES OCTETS", and as many octets follow; or "2.0.0 discarded by NAME". */
static bool end(struct qmgr_judge *j, unsigned code, const char *text)
{
	unsigned long long flags, bytes, octets;

	if (code != 250) {
		refused(j, code, text);
		return false;
	}
	if (strncmp(text, "2.0.0 discarded", 15) == 0) {
		m_discarded.value++;
		snprintf(j->why, sizeof(j->why), "%s", text + 6);
		log_event(LOG_L_NORMAL, "qmgr.report_discarded", "id=%s to=<%s> text=%s",
		    j->rep->id, j->rep->to, j->why);
		over(j, QJ_DROPPED);
		return false;
	}
	if (sscanf(text, "2.0.0 report %llu %llu %llu", &flags, &bytes, &octets) != 3 ||
	    octets > TEXT_MAX || !j->out.nrcpt) {
		broken(j, "the answer of smtps makes no sense");
		return false;
	}
	j->out.flags = (uint32_t)flags;
	j->out.bytes = bytes;
	j->left = octets;
	j->step = S_TEXT;
	return true;
}

static bool (*const steps[])(struct qmgr_judge *, unsigned code, const char *text) = {
    greeted, ehlo, mail, rcpt, data, end};

/* ---- what comes back ---- */

/* Lines of the last reply before its last: "RCPT address", "HOLD why". */
static bool detail(struct qmgr_judge *j, const char *text)
{
	char *copy;

	if (strncmp(text, "HOLD ", 5) == 0) {
		str_copy(j->hold, sizeof(j->hold), text + 5);
		j->out.hold = j->hold;
		return true;
	}
	if (strncmp(text, "RCPT ", 5) != 0)
		return true;
	text += 5;
	copy = pool_strn(&j->pool, text, strlen(text));
	if (!copy)
		return false;
	if ((j->out.nrcpt & (j->out.nrcpt - 1)) == 0)
		j->rcpt = base_realloc(j->rcpt, 2 * (j->out.nrcpt + 1) * sizeof(*j->rcpt));
	j->rcpt[j->out.nrcpt++] = buf_str(copy);
	return true;
}

/* false: it is over, or there is no whole line. */
static bool take_line(struct qmgr_judge *j)
{
	bool too_long = false, bare = false;
	size_t len = 0;
	char *line = conn_line(j->conn, true, LINE_MAX_LEN, &len, &too_long, &bare);
	unsigned code;

	if (!line && !too_long)
		return false;
	if (!line || bare || len < 4 || strspn(line, "0123456789") != 3 ||
	    (line[3] != ' ' && line[3] != '-')) {
		broken(j, "smtps does not answer as it should");
		return false;
	}
	code = (unsigned)(line[0] - '0') * 100 + (unsigned)(line[1] - '0') * 10 +
	       (unsigned)(line[2] - '0');
	if (line[3] == ' ')
		return steps[j->step](j, code, line + 4);
	if (j->step != S_END || detail(j, line + 4))
		return true;
	broken(j, "too many recipients come back");
	return false;
}

static void take_text(struct qmgr_judge *j)
{
	struct evbuffer *in = conn_in(j->conn);
	size_t n = evbuffer_get_length(in);

	n = n < j->left ? n : (size_t)j->left;
	if (n) {
		evbuffer_add(j->out.text, evbuffer_pullup(in, (ev_ssize_t)n), n);
		conn_consume(j->conn, n);
		j->left -= n;
	}
	if (j->left)
		return;
	m_judged.value++;
	m_held.value += j->out.hold != NULL;
	if (j->out.hold)
		log_event(LOG_L_WARN, "qmgr.report_held", "id=%s to=<%s> why=%s", j->rep->id,
		    j->rep->to, j->out.hold);
	over(j, QJ_TAKEN);
}

static void on_input(void *arg)
{
	struct qmgr_judge *j = arg;

	while (j->step != S_TEXT)
		if (!take_line(j))
			return;
	take_text(j);
}

static void on_end(void *arg, enum conn_end how, const char *why)
{
	broken(arg, how == CONN_EOF ? "smtps closed the session" : why);
}

static const struct conn_events events = {.input = on_input, .end = on_end};

/* ---- the begin ---- */

/* One end to an smtps whose filters judge reports, each in its turn; -1: there is none. */
static int hand_over(struct qmgr *q, const char *id)
{
	struct p_report msg = {.id = buf_str(id)};
	struct qmgr_feeder *f, *last = q->feeders ? q->feeders->prev : NULL;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
		return -1;
	while ((f = q->feeders)) {
		DL_DELETE(q->feeders, f);
		DL_APPEND(q->feeders, f);
		if (f->judges && chan_send_fd(f->chan, P_REPORT, &msg, fd[1])) {
			close(fd[1]);
			return fd[0];
		}
		if (f == last)
			break;
	}
	close(fd[0]);
	close(fd[1]);
	return -1;
}

bool qmgr_judge_start(
    struct qmgr_report *rep, const struct meta1_env *env, struct evbuffer *text, qmgr_judged_fn fn)
{
	struct qmgr *q = rep->q;
	struct qmgr_judge *j;
	int fd = hand_over(q, rep->id);

	if (fd < 0)
		return false;
	j = base_alloc(sizeof(*j));
	j->q = q;
	j->rep = rep;
	j->fn = fn;
	j->env = env;
	j->text = text;
	j->out.text = evbuffer_new();
	pool_init(&j->pool, MEMORY_MAX);
	j->conn = conn_new(q->loop, fd, &events, j);
	conn_timeout(j->conn, QUIET_MS);
	DL_APPEND(q->judging, j);
	return true;
}

bool qmgr_judge_has(const struct qmgr *q, const struct qmgr_msg *m)
{
	const struct qmgr_judge *j;

	DL_FOREACH (q->judging, j)
		if (j->rep->msg == m)
			return true;
	return false;
}

void qmgr_judge_stop(struct qmgr *q)
{
	while (q->judging)
		broken(q->judging, "qmgr stops");
}

void qmgr_judge_free_all(struct qmgr *q)
{
	while (q->judging)
		judge_free(q->judging);
}
