/* SPDX-License-Identifier: BSD-2-Clause */
/* report_qmgr.c -- see report.h. Comes from report.c; goes to core/qmgr/judge.c, for which it plays
 * the channel and the caller. */
#include "report.h"

#include "qmgr/qmgr.h"

#include <fcntl.h>
#include <unistd.h>

const char report_text[] =
    "Subject: failed\r\nAuto-Submitted: auto-replied\r\n\r\n..dot\r\nend\r\n";
const char report_rcpt[] = "me@far.test";

static struct settings set;
static struct qmgr q;
static struct qmgr_report rep;
static struct evbuffer *text;
static struct report_told *told;
static int passed; /* with the frame */

/* The only word of judge.c to the channel. */
bool chan_send_fd(struct chan *c, enum proto_type type, const void *msg, int fd)
{
	const struct p_report *m = msg;

	(void)c;
	must(type == P_REPORT && buf_eq(m->id, buf_str(rep.id)));
	passed = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return passed >= 0;
}

static void judged(struct qmgr_report *r, const struct qmgr_judged *j)
{
	must(r == &rep && ++told->calls == 1);
	must(j->what != QJ_FAILED || (j->why && *j->why));
	must(j->what != QJ_DROPPED || (j->why && *j->why));
	if (j->what == QJ_TAKEN) {
		must(j->nrcpt > 0 && j->text);
		for (uint32_t i = 0; i < j->nrcpt; i++)
			must(!memchr(j->rcpt[i].data, '\n', j->rcpt[i].len) &&
			     !memchr(j->rcpt[i].data, '\r', j->rcpt[i].len));
		must(!j->hold || !strpbrk(j->hold, "\r\n"));
		told->taken = 1;
		told->nrcpt = j->nrcpt;
		told->len = evbuffer_get_length(j->text);
		told->text = base_strndup(
		    told->len ? (const char *)evbuffer_pullup(j->text, -1) : "", told->len);
	}
	evbuffer_free(text);
	text = NULL;
}

int report_start(struct loop *loop, struct report_told *out)
{
	static char hostname[] = "gw.test";
	static struct qmgr_feeder feeder;
	static struct meta1_qrcpt rcpt;
	static struct meta1_env env;

	set.hostname = hostname;
	feeder = (struct qmgr_feeder){.judges = true};
	q = (struct qmgr){.loop = loop, .role = {.set = &set}};
	DL_APPEND(q.feeders, &feeder);
	rcpt = (struct meta1_qrcpt){.addr = buf_str(report_rcpt)};
	env = (struct meta1_env){.size = sizeof(env), .rcpt = &rcpt, .nrcpt = 1};
	rep = (struct qmgr_report){.q = &q, .id = "S0000000000000001AA-1"};
	text = evbuffer_new();
	evbuffer_add(text, report_text, strlen(report_text));
	told = out;
	*told = (struct report_told){0};
	passed = -1;
	must(qmgr_judge_start(&rep, &env, text, judged));
	return passed;
}

void report_stop(void)
{
	qmgr_judge_stop(&q);
	must(told->calls == 1 && !q.judging && !text);
}
