/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pm_talk.c -- a session with a filter, step by step, as smtps leads it: what it lends is shut when
 * its time is over, each answer is judged, and must still be the same when the next call comes.
 * Comes from the suites of filters; goes to begin(), ask(), reset(), end() of the module.
 * Owns what the module is told. On failure: a fault of the host, or out says that there was none.
 */
#include "host_priv.h"
#include "pmilter.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NRCPT	3
#define AT_ONCE 200 /* turns before real time is spent on waiting */

#define HEADER                                                                                     \
	"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"                           \
	"From: <from@kit.example>\r\nTo: a@kit.example,\r\n b@kit.example\r\n"                     \
	"Message-Id: <1@kit.example>\r\nSubject: the kit's\r\nX-Eight: \xc3\xa4\r\n\r\n"
#define BODY "One line.\r\n\r\n.\r\nFrom here on\r\nno more.\r\n"

const struct pm_mail pm_mail = {"mail", HEADER BODY, sizeof(HEADER BODY) - 1, sizeof(HEADER) - 1};
static const char *const rcpts[NRCPT] = {"a@kit.example", "b@kit.example", "c@kit.example"};

struct pm_mail pm_mail_of(const char *name, const char *bytes, size_t len)
{
	const char *end = memmem(bytes, len, "\r\n\r\n", 4);
	size_t header = len > 1 && bytes[0] == '\r' ? 2 : end ? (size_t)(end + 4 - bytes) : len;

	return (struct pm_mail){name, bytes, len, header};
}

/* ---- what it is asked ---- */

static struct meta1_buf lend(struct pm_talk *t, const char *s)
{
	size_t n = strlen(s);

	return buf_of(kit_guard_copy(&t->asked, s, n), n);
}

static struct meta1_buf *lend_list(struct pm_talk *t, const char *const *s, unsigned n)
{
	struct meta1_buf *list = kit_guard_get(&t->asked, (n + 1) * sizeof(*list));

	for (unsigned i = 0; i < n; i++)
		list[i] = lend(t, s[i]);
	return list;
}

static int file_with(const char *bytes, size_t len)
{
	char path[] = "/tmp/meta1-modtest-content.XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, "before it", 9) != 9 || write(fd, bytes, len) != (ssize_t)len) {
		perror(path);
		exit(EXIT_OS);
	}
	unlink(path);
	return fd;
}

static bool in_file(const struct pm_cut *c, uint32_t i)
{
	return c->where == PM_FILE || (c->where == PM_TURNS && i % 2);
}

/* The content in its pieces. */
static const struct meta1_pm_message *lend_message(struct pm_talk *t)
{
	const struct pm_mail *m = t->mail;
	size_t piece = t->cut.piece ? t->cut.piece : m->len, at = 0;
	uint32_t n = m->len ? (uint32_t)((m->len + piece - 1) / piece) : 0;
	struct meta1_pm_message *msg;
	struct meta1_extent *x;

	kit_guard_open(
	    &t->content, m->len + n * (sizeof(*x) + 16) + KIT_GUARD_ROOM(sizeof(*msg)) + 64);
	msg = kit_guard_get(&t->content, sizeof(*msg));
	x = kit_guard_get(&t->content, n * sizeof(*x));
	if (t->cut.where != PM_MEMORY)
		t->fd = file_with(m->text, m->len);
	for (uint32_t i = 0; i < n; i++, at += piece) {
		size_t len = m->len - at < piece ? m->len - at : piece;

		if (in_file(&t->cut, i))
			x[i] = (struct meta1_extent){.off = 9 + at, .len = len, .fd = t->fd};
		else
			x[i] = (struct meta1_extent){
			    .mem = kit_guard_copy(&t->content, m->text + at, len),
			    .len = len,
			    .fd = -1};
	}
	*msg = (struct meta1_pm_message){
	    .size = sizeof(*msg), .nextent = n, .extent = x, .bytes = m->len, .header = m->header};
	return msg;
}

static void content_over(struct pm_talk *t)
{
	kit_guard_shut(&t->content);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

static void fill(struct pm_talk *t, struct meta1_pm_ask *ask)
{
	static const char *const params[] = {"SIZE=1000", "BODY=8BITMIME"};
	const char *list[NRCPT];
	uint32_t n = 0;

	switch (t->stage) {
	case META1_PM_HELO:
		ask->arg = lend(t, "client.kit.example");
		break;
	case META1_PM_MAIL:
		ask->arg = lend(t, "from@kit.example");
		ask->param = lend_list(t, params, ask->nparam = ARRAY_LEN(params));
		break;
	case META1_PM_RCPT:
		ask->arg = lend(t, rcpts[t->said_rcpt++ % NRCPT]);
		break;
	case META1_PM_REFUSED:
		ask->arg = lend(t, "nobody@kit.example");
		ask->refused = kit_guard_copy(&t->asked, "550 5.1.1 no such user", 23);
		break;
	case META1_PM_UNKNOWN:
		ask->arg = lend(t, "XYZZY now");
		break;
	case META1_PM_END:
		for (unsigned i = 0; i < t->nrcpt && i < NRCPT; i++)
			list[n++] = rcpts[t->taken[i]];
		ask->rcpt = lend_list(t, list, ask->nrcpt = n);
		ask->msg = lend_message(t);
		t->about->msgid = "<1@kit.example>";
		t->about->hops = 1;
		break;
	default:
		break;
	}
}

/* What is known of the mail from MAIL on. */
static void know(struct pm_talk *t)
{
	struct meta1_pm_about *a = t->about;

	if (t->stage == META1_PM_HELO)
		a->helo = "client.kit.example";
	if (t->stage == META1_PM_MAIL) {
		a->taid = "S0000000000000001";
		a->from = buf_str("from@kit.example");
	}
	a->nrcpt = t->nrcpt;
}

static void forget(struct pm_talk *t)
{
	t->about->taid = t->about->msgid = NULL;
	t->about->from = buf_of(NULL, 0);
	t->about->nrcpt = t->about->nbad = t->about->hops = 0;
	t->nrcpt = t->said_rcpt = 0;
}

/* ---- calls ---- */

/* What it said may be another thing from the next call on, but not before. */
static void before_call(struct pm_talk *t)
{
	char *now;

	if (!t->v)
		return;
	now = pm_verdict_text(t->v);
	if (strcmp(now, t->v_text) != 0)
		kit_fault(t->inst->host, t->inst->name,
		    "a verdict changed before the next call for its session");
	free(now);
	free(t->v_text);
	t->v = NULL;
	t->v_text = NULL;
}

static void ask(struct pm_talk *t)
{
	struct kit_host *h = t->inst->host;
	int64_t ms = t->stage == META1_PM_END ? PM_END_MS : PM_STAGE_MS;
	struct meta1_pm_ask *a;
	struct kit_nap nap;

	before_call(t);
	know(t);
	kit_guard_open(&t->asked, 2048);
	a = kit_guard_get(&t->asked, sizeof(*a));
	*a = (struct meta1_pm_ask){.size = sizeof(*a), .stage = t->stage};
	fill(t, a);
	t->a = (struct kit_answer){.told = false};
	t->req = t->a.req = kit_req_new(t->inst, loop_now(h->loop) + ms, kit_said, &t->a);
	kit_nap_begin(&nap);
	t->s->ops->ask(t->sess, t->req, a);
	kit_nap_end(&nap, t->inst);
	kit_guard_shut(&t->asked);
}

static void reset(struct pm_talk *t)
{
	struct kit_nap nap;

	before_call(t);
	kit_nap_begin(&nap);
	t->s->ops->reset(t->sess);
	kit_nap_end(&nap, t->inst);
	forget(t);
}

void pm_begin(struct pm_talk *t, struct pm_suite *s, const char *plan, const struct pm_mail *mail)
{
	struct kit_nap nap;

	*t = (struct pm_talk){
	    .s = s, .inst = s->inst, .plan = plan, .mail = mail, .fd = -1, .begun = true};
	t->out = base_strdup("");
	t->about = base_alloc(sizeof(*t->about));
	*t->about = (struct meta1_pm_about){.size = sizeof(*t->about),
	    .port = 40000,
	    .serial = 1,
	    .hostname = "kit.example",
	    .version = "meta1-kit",
	    .listener = "in",
	    .local = "192.0.2.1",
	    .local_port = 25,
	    .client = "2001:db8::9",
	    .name = "client.kit.example",
	    .resolve = "OK"};
	kit_nap_begin(&nap);
	t->wants = s->ops->begin(kit_data(s->inst), t->about, &t->sess);
	kit_nap_end(&nap, t->inst);
	if (t->wants & ~0xffu)
		kit_fault(
		    t->inst->host, t->inst->name, "begin(): it wants stages that there are not");
	if (!t->wants)
		t->over = true;
}

/* ---- answers ---- */

static void note(struct pm_talk *t, const char *said)
{
	size_t had = strlen(t->out), n = strlen(said);

	t->out = base_realloc(t->out, had + n + 4);
	sprintf(t->out + had, "%c:%s ", t->letter, said);
}

/* To the step behind the next reset(), or to the end. */
static void mail_over(struct pm_talk *t)
{
	t->plan = strchrnul(t->plan, 'r');
}

static void failed(struct pm_talk *t)
{
	const char *why = t->a.reply.text;
	bool mail = t->a.st == META1_PERMFAIL;

	if (!why || !*why)
		kit_fault(t->inst->host, t->inst->name, "a failure without a text for the log");
	t->failed = true;
	note(t, mail ? "unable" : "failure");
	if (mail)
		mail_over(t);
	else
		t->over = true;
}

static void obey(struct pm_talk *t)
{
	const struct meta1_pm_verdict *v = t->v;

	if (t->stage == META1_PM_RCPT && v->action >= META1_PM_REFUSE)
		t->nrcpt--;
	if (t->stage == META1_PM_REFUSED)
		return;
	t->wants = v->wants;
	if (v->action == META1_PM_REFUSE && v->smtp == 421)
		t->over = true;
	if (t->stage & (META1_PM_CONNECT | META1_PM_HELO))
		t->over = t->over || v->action != META1_PM_CONTINUE;
	else if (v->action != META1_PM_CONTINUE &&
		 !(v->action == META1_PM_REFUSE && t->stage & (META1_PM_RCPT | META1_PM_UNKNOWN)))
		mail_over(t);
}

static void take(struct pm_talk *t)
{
	/* what the judge needs of the question, from the kit's own memory */
	struct meta1_buf rcpt[NRCPT];
	struct meta1_pm_ask asked = {
	    .size = sizeof(asked), .stage = t->stage, .rcpt = rcpt, .nrcpt = t->nrcpt};
	const struct meta1_pm_verdict *v = t->a.reply.ext;
	const char *bad = NULL;

	content_over(t);
	t->req = NULL;
	for (unsigned i = 0; i < t->nrcpt && i < NRCPT; i++)
		rcpt[i] = buf_str(rcpts[t->taken[i]]);
	if (t->a.st != META1_OK) {
		failed(t);
	} else {
		if (v && (bad = pm_verdict_bad(&asked, v)))
			kit_fault(t->inst->host, t->inst->name, "at %c: %s", t->letter, bad);
		t->v = bad ? NULL : v;
		t->v_text = t->v ? pm_verdict_text(t->v) : NULL;
		note(t, t->v ? t->v_text : "continue");
		if (t->stage == META1_PM_RCPT && t->nrcpt < NRCPT)
			t->taken[t->nrcpt++] = (t->said_rcpt - 1) % NRCPT;
		if (t->v)
			obey(t);
	}
	kit_answer_free(&t->a);
	t->stage = 0;
}

bool pm_go(struct pm_talk *t)
{
	static const struct {
		char letter;
		uint32_t stage;
	} steps[] = {{'C', META1_PM_CONNECT}, {'H', META1_PM_HELO}, {'M', META1_PM_MAIL},
	    {'R', META1_PM_RCPT}, {'D', META1_PM_DATA}, {'E', META1_PM_END},
	    {'U', META1_PM_UNKNOWN}, {'X', META1_PM_REFUSED}};
	size_t i;

	if (t->stage && !t->a.told)
		return true;
	if (t->stage) {
		take(t); /* which is judged again before the next call: others come between */
		return true;
	}
	while (!t->over && *t->plan) {
		t->letter = *t->plan++;
		if ((t->letter == 'D' || t->letter == 'E') && !t->nrcpt) {
			mail_over(t); /* nobody is there to whom it could go */
			continue;
		}
		for (i = 0; i < ARRAY_LEN(steps) && steps[i].letter != t->letter; i++)
			;
		if (i == ARRAY_LEN(steps)) {
			reset(t);
		} else if (t->wants & steps[i].stage) {
			t->stage = steps[i].stage;
			ask(t);
			return true;
		} else if (t->letter == 'R' && t->nrcpt < NRCPT) {
			t->taken[t->nrcpt++] = t->said_rcpt++ % NRCPT;
		}
	}
	return false;
}

void pm_run(struct pm_talk *t)
{
	while (pm_go(t)) {
		for (unsigned i = 0; i < AT_ONCE && t->stage && !t->a.told; i++)
			kit_turn(t->s->k);
		for (unsigned i = 0; i < 20 && t->stage && !t->a.told; i++)
			kit_clock(t->s->k, 250); /* it may try again in a while */
		if (t->stage && !kit_wait(t->s->k, &t->a)) {
			note(t, "no answer");
			t->failed = true;
			return;
		}
		kit_turn(t->s->k); /* what was said must live longer than the call */
	}
}

void pm_end(struct pm_talk *t)
{
	struct kit_nap nap;

	if (!t->begun)
		return;
	t->begun = false;
	before_call(t);
	if (t->stage && !t->a.told)
		kit_req_cancel(&t->req);
	kit_answer_free(&t->a);
	content_over(t);
	kit_nap_begin(&nap);
	if (t->sess)
		t->s->ops->end(&t->sess);
	kit_nap_end(&nap, t->inst);
	if (t->sess)
		kit_fault(t->inst->host, t->inst->name, "end() left its session's pointer");
	memset(t->about, 0xdd, sizeof(*t->about));
	free(t->about);
	t->about = NULL;
}

void pm_free(struct pm_talk *t)
{
	pm_end(t);
	free(t->out);
	t->out = NULL;
}

char *pm_whole(struct pm_suite *s, const char *plan, const struct pm_mail *mail, struct pm_cut cut)
{
	struct pm_talk t;

	pm_begin(&t, s, plan, mail);
	t.cut = cut;
	pm_run(&t);
	pm_end(&t);
	return t.out;
}

bool pm_as_far_as(const char *want, const char *got)
{
	size_t n = 0;

	while (got[n] && got[n] == want[n])
		n++;
	return (!got[n] && !want[n]) || !strncmp(got + n, "failure ", 8) ||
	       !strncmp(got + n, "unable ", 7);
}

const char *pm_short(const char *out)
{
	static char line[160];

	snprintf(line, sizeof(line), "%.150s", out);
	return line;
}
