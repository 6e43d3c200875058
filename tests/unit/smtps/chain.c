/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/chain.c: sessions and mails through filters that are scripted. Each has a
 * letter for its name and says of a stage what the script has for it, at once or when told; what
 * was called is written down as a line of words such as "a:mail b:mail a.reset".
 * over 500 lines: the scripted module and a dialogue for each rule of the chain, side by side.
 */
#include "smtps/chain.h"
#include "../unit.h"
#include "mod/inst.h"

#include <stdio.h>
#include <stdlib.h>

#define FILTERS 5
#define START	1000000

static struct meta1_pm_edit add_a = {.kind = META1_PM_ADD_HEADER,
				.name = {"A", 1},
				.value = {"1", 1}},
			    bad = {.kind = META1_PM_ADD_HEADER, .name = {"B C", 3}},
			    rcpt = {.kind = META1_PM_ADD_RCPT, .value = {"n@w.example", 11}};

enum { SAYS_NOTHING, SAYS, SAYS_TEMPFAIL, SAYS_UNABLE, SAYS_LATER };
struct line { /* of a script: all that is said at a stage */
	uint32_t stage;
	int how;
	struct meta1_pm_verdict v;
};
static struct script {
	uint32_t wants;
	struct line line[8];
	struct meta1_req *open; /* SAYS_LATER */
	const struct meta1_host *host;
	unsigned sessions, asked, live;
	char header[64]; /* of the last message it saw, its first bytes */
} script[FILTERS];

static struct fix {
	struct mod_host host;
	struct set_filter set[FILTERS];
	struct smtps_chain *chain;
	struct smtps_judging *j;
	struct meta1_pm_about about;
	struct mod mod[FILTERS];
	struct conf *conf;
	char calls[2000];
	unsigned answers;
	struct smtps_answer a; /* the last */
	char content[1000];
	struct meta1_extent extent;
	struct meta1_pm_message msg;
	struct meta1_pm_ask ask;
} f;

static void call(unsigned i, const char *what)
{
	size_t n = strlen(f.calls);

	snprintf(f.calls + n, sizeof(f.calls) - n, "%s%c%s", n ? " " : "", 'a' + (int)i, what);
}

/* ---- the module ---- */

static uint32_t begin(void *inst, const struct meta1_pm_about *about, void **sess)
{
	struct script *s = inst;

	assert_ptr_equal(about, &f.about);
	s->sessions++;
	s->live++;
	*sess = s;
	return s->wants;
}

static void give(struct script *s, const struct line *l, struct meta1_req *rq)
{
	struct meta1_reply r = {.size = sizeof(r), .text = "broken pipe"};

	if (l->how == SAYS)
		r.ext = &l->v;
	s->host->finish(rq,
	    l->how == SAYS_TEMPFAIL ? META1_TEMPFAIL
	    : l->how == SAYS_UNABLE ? META1_PERMFAIL
				    : META1_OK,
	    &r);
}

static void asked(void *sess, struct meta1_req *rq, const struct meta1_pm_ask *q)
{
	static const struct line nothing = {.how = SAYS_NOTHING};
	struct script *s = sess;
	unsigned i = (unsigned)(s - script);
	char word[20] = ":";

	strcat(word, chain_stage(q->stage));
	call(i, word);
	s->asked++;
	s->open = NULL;
	if (q->msg) {
		struct meta1_err err;
		char *text = revise_read(q->msg->extent, q->msg->nextent, q->msg->header, &err);

		snprintf(s->header, sizeof(s->header), "%s", text);
		free(text);
	}
	for (i = 0; i < ARRAY_LEN(s->line); i++)
		if (s->line[i].stage == q->stage) {
			if (s->line[i].how == SAYS_LATER)
				s->open = rq;
			else
				give(s, &s->line[i], rq);
			return;
		}
	give(s, &nothing, rq);
}

static void reset(void *sess)
{
	call((unsigned)((struct script *)sess - script), ".reset");
}

static void end(void **sess)
{
	struct script *s = *sess;

	call((unsigned)(s - script), ".end");
	s->live--;
	*sess = NULL;
}

static void cancel(void *inst, struct meta1_req *rq)
{
	struct script *s = inst;
	call((unsigned)(s - script), ".cancel");
	s->host->finish(rq, META1_CANCELED, NULL);
}

static int opened(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	static unsigned n;
	unsigned i = n++ % FILTERS;

	(void)ctx, (void)conf, (void)err;
	script[i].host = h;
	*inst = &script[i];
	return 0;
}

static void closed(void *inst)
{
	(void)inst;
}

static const struct meta1_pmilter_ops ops = {.size = sizeof(ops),
    .begin = begin,
    .ask = asked,
    .reset = reset,
    .end = end,
    .cancel = cancel};
static const struct meta1_module module = {
    .kind = META1_PMILTER, .name = "pmilter_script", .open = opened, .close = closed, .ops = &ops};

/* ---- a chain of n filters ---- */

static int up(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	memset(script, 0, sizeof(script));
	f.host.loop = loop_new();
	loop_fake_clock(f.host.loop, START, 1700000000);
	f.host.work = work_new(f.host.loop);
	f.host.hostname = "test.example";
	f.host.qdir = "/";
	f.conf = conf_read_text("options", "");
	f.about = (struct meta1_pm_about){
	    .size = sizeof(f.about), .client = "192.0.2.1", .listener = "mx", .helo = "c.example"};
	for (unsigned i = 0; i < FILTERS; i++) {
		script[i].wants = 0xff;
		f.set[i] = (struct set_filter){.name = (const char *[]){"a", "b", "c", "d", "e"}[i],
		    .module = "script",
		    .timeout = 1000,
		    .end_timeout = 5000,
		    .phase = FILTER_JUDGE,
		    .fails = FAILURE_TEMPFAIL};
	}
	return 0;
}

/* All FILTERS instances are opened, so that each has its script; the chain has the first n. */
static void start(unsigned n)
{
	static struct mod_inst *inst[FILTERS];
	struct meta1_err err;

	f.chain = base_alloc(sizeof(*f.chain));
	f.chain->loop = f.host.loop;
	f.chain->refs = 1;
	f.chain->filter = base_alloc(n * sizeof(*f.chain->filter));
	for (unsigned i = 0; i < FILTERS; i++) {
		f.mod[i].m = &module;
		inst[i] = mod_open(
		    &f.host, &f.mod[i], f.set[i].name, f.conf, NULL, NULL, OPT_START, &err);
		assert_non_null(inst[i]);
		if (i >= n) {
			mod_close(&inst[i]);
			continue;
		}
		struct chain_filter *x = &f.chain->filter[f.chain->nfilter++];

		x->set = &f.set[i];
		x->inst = inst[i];
		x->ops = &ops;
		x->data = &script[i];
		x->stats = chain_stats_of(f.set[i].name);
		memset(x->stats->count, 0, sizeof(x->stats->count));
		chain_when_open(&x->when, &f.set[i]);
	}
	f.j = smtps_chain_begin(f.chain, &f.about);
}

static void turns(void)
{
	for (int i = 0; i < 8; i++)
		loop_turn(f.host.loop, false);
}

static void clock_on(int64_t ms)
{
	loop_fake_clock(
	    f.host.loop, loop_now(f.host.loop) + ms, loop_wall(f.host.loop) + ms / 1000);
	turns();
}

static int down(void **state)
{
	(void)state;
	smtps_chain_end(&f.j);
	smtps_chain_free(&f.chain);
	turns();
	for (unsigned i = 0; i < FILTERS; i++)
		assert_int_equal(script[i].live, 0);
	assert_null(f.host.insts);
	work_free(&f.host.work);
	turns();
	loop_free(&f.host.loop);
	conf_free(&f.conf);
	return 0;
}

static void answered(void *arg, const struct smtps_answer *a)
{
	(void)arg;
	f.answers++;
	f.a = *a;
}

static void question(uint32_t stage, const char *arg)
{
	f.ask = (struct meta1_pm_ask){
	    .size = sizeof(f.ask), .stage = stage, .arg = buf_str(arg ? arg : "")};
	if (stage == META1_PM_END) {
		snprintf(f.content, sizeof(f.content), "S: t\r\n\r\nhi\r\n");
		f.extent =
		    (struct meta1_extent){.mem = f.content, .len = strlen(f.content), .fd = -1};
		f.msg = (struct meta1_pm_message){.size = sizeof(f.msg),
		    .nextent = 1,
		    .extent = &f.extent,
		    .bytes = f.extent.len,
		    .header = 8};
		f.ask.msg = &f.msg;
	}
	if (stage == META1_PM_MAIL)
		f.about.from = f.ask.arg;
	f.answers = 0;
	smtps_chain_ask(f.j, &f.ask, answered, NULL);
}

/* Asks, and gives the answer: action, or the code of a refusal, or 1000 for a hold. */
static int says(uint32_t stage, const char *arg)
{
	question(stage, arg);
	turns();
	assert_int_equal(f.answers, 1);
	if (f.a.action == META1_PM_REFUSE)
		return f.a.smtp;
	return f.a.hold != NULL ? 1000 : (int)f.a.action;
}

static void script_line(unsigned i, unsigned n, uint32_t stage, int how, struct meta1_pm_verdict v)
{
	v.size = sizeof(v);
	v.sizeof_edit = sizeof(struct meta1_pm_edit);
	if (v.wants == 0)
		v.wants = script[i].wants;
	script[i].line[n] = (struct line){stage, how, v};
}
#define VERDICT(...) ((struct meta1_pm_verdict){__VA_ARGS__})
#define calls(text)                                                                                \
	do {                                                                                       \
		assert_string_equal(f.calls, text);                                                \
		f.calls[0] = '\0';                                                                 \
	} while (0)

/* ---- what is asked ---- */

static void the_way_of_a_mail(void **state)
{
	(void)state;
	start(1);
	assert_int_equal(says(META1_PM_CONNECT, NULL), META1_PM_CONTINUE);
	says(META1_PM_HELO, "c.example");
	for (int i = 0; i < 2; i++) {
		says(META1_PM_MAIL, "a@b");
		says(META1_PM_RCPT, "c@d");
		says(META1_PM_RCPT, "e@f");
		says(META1_PM_DATA, NULL);
		says(META1_PM_END, NULL);
		assert_null(f.a.extent);
		smtps_chain_reset(f.j);
	}
	smtps_chain_end(&f.j);
	calls("a:connect a:helo a:mail a:rcpt a:rcpt a:data a:end a.reset "
	      "a:mail a:rcpt a:rcpt a:data a:end a.reset a.end");
}

/* Only what it wants; what nobody wants is answered at once. */
static void wants(void **state)
{
	(void)state;
	script[0].wants = META1_PM_MAIL | META1_PM_END;
	script_line(0, 0, META1_PM_MAIL, SAYS, VERDICT(.wants = META1_PM_RCPT));
	start(1);
	assert_false(smtps_chain_wants(f.j, META1_PM_CONNECT));
	assert_true(smtps_chain_wants(f.j, META1_PM_END));
	question(META1_PM_CONNECT, NULL);
	assert_int_equal(f.answers, 1);
	question(META1_PM_MAIL, "a@b");
	assert_int_equal(f.answers, 0);
	turns();
	assert_int_equal(f.answers, 1);
	assert_false(smtps_chain_wants(f.j, META1_PM_END));
	assert_true(smtps_chain_wants(f.j, META1_PM_RCPT));
	smtps_chain_reset(f.j);
	calls("a:mail a.reset");
}

static void nobody(void **state)
{
	static const char *const other[] = {"submission", NULL};

	(void)state;
	script[0].wants = 0;
	f.set[1].listeners = other;
	start(2);
	assert_null(f.j);
	assert_int_equal(script[1].sessions, 0);
	calls("a.end");
}

static void accepts(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_HELO, SAYS, VERDICT(.action = META1_PM_ACCEPT));
	script_line(1, 0, META1_PM_MAIL, SAYS, VERDICT(.action = META1_PM_ACCEPT));
	start(2);
	says(META1_PM_HELO, "c.example");
	says(META1_PM_MAIL, "a@b");
	says(META1_PM_RCPT, "a@b");
	smtps_chain_reset(f.j);
	says(META1_PM_MAIL, "a@b");
	calls("a:connect b:connect a:helo b:helo b:mail b.reset b:mail");
}

/* ---- phases ---- */

static void phases(void **state)
{
	static const int32_t p[FILTERS] = {
	    FILTER_VERIFY, FILTER_JUDGE, FILTER_JUDGE, FILTER_MODIFY, FILTER_SIGN};

	(void)state;
	for (unsigned i = 0; i < FILTERS; i++) {
		f.set[i].phase = p[i];
		script[i].wants = META1_PM_RCPT | META1_PM_END;
		script_line(i, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &add_a));
	}
	script[1].line[0].how = SAYS_LATER;
	start(FILTERS);
	says(META1_PM_RCPT, "a@b");
	calls("a:rcpt b:rcpt c:rcpt d:rcpt e:rcpt");
	question(META1_PM_END, NULL);
	turns();
	calls("a:end b:end c:end"); /* b is silent yet */
	script[1].line[0].how = SAYS;
	give(&script[1], &script[1].line[0], script[1].open);
	turns();
	calls("d:end e:end");
	assert_string_equal(script[0].header, "S: t\r\n\r\n");
	assert_string_equal(script[1].header, "S: t\r\nA: 1\r\n\r\n");
	assert_string_equal(script[2].header, "S: t\r\nA: 1\r\n\r\n");
	assert_string_equal(script[3].header, "S: t\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n");
	assert_string_equal(script[4].header, "S: t\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n");
	assert_int_equal(f.answers, 1);
	assert_non_null(f.a.extent);
}

/* What a group refuses the next does not hear of. */
static void refused_early(void **state)
{
	(void)state;
	f.set[1].phase = FILTER_SIGN;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.action = META1_PM_REFUSE, .smtp = 451));
	start(2);
	says(META1_PM_MAIL, "a@b");
	f.calls[0] = '\0';
	assert_int_equal(says(META1_PM_END, NULL), 451);
	calls("a:end");
}

/* ---- merged ---- */

static void strictest(void **state)
{
	static const struct meta1_buf no = {"no", 2}, never = {"never", 5};
	const struct {
		struct meta1_pm_verdict a, b, c;
		int want;
		const char *by, *dsn;
	} t[] = {
	    {VERDICT(.action = 0), VERDICT(.action = 0), VERDICT(.hold = "odd"), 1000, "c", ""},
	    {VERDICT(.action = META1_PM_DISCARD), VERDICT(.hold = "odd"), VERDICT(.action = 0),
		META1_PM_DISCARD, "a", ""},
	    {VERDICT(.action = META1_PM_DISCARD),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 451, .dsn = "4.2.2"),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 452), 451, "b", "4.2.2"},
	    {VERDICT(.action = META1_PM_REFUSE, .smtp = 421),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 553, .dsn = "4.2.2", .nline = 1,
		    .line = &never),
		VERDICT(.action = META1_PM_REFUSE, .smtp = 550, .nline = 1, .line = &no), 553, "b",
		"5.7.1"},
	    {VERDICT(.action = META1_PM_ACCEPT), VERDICT(.action = META1_PM_REFUSE),
		VERDICT(.action = 0), 550, "b", "5.7.1"},
	};

	(void)state;
	start(3);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		script_line(0, 0, META1_PM_END, SAYS, t[i].a);
		script_line(1, 0, META1_PM_END, SAYS, t[i].b);
		script_line(2, 0, META1_PM_END, SAYS, t[i].c);
		assert_int_equal(says(META1_PM_END, NULL), t[i].want);
		assert_string_equal(f.a.by, t[i].by);
		assert_string_equal(f.a.dsn, t[i].dsn);
		if (t[i].want == 553)
			assert_ptr_equal(f.a.line, &never);
		smtps_chain_reset(f.j);
	}
}

/* An edit that cannot be made is a failure of its filter, and nothing of its list is made. */
static void half_edits(void **state)
{
	static struct meta1_pm_edit list[3];
	struct meta1_err err;
	char *text;

	(void)state;
	list[0] = add_a, list[1] = rcpt, list[2] = bad;
	script_line(0, 0, META1_PM_END, SAYS, VERDICT(.nedit = 3, .edit = list, .hold = "odd"));
	script_line(1, 0, META1_PM_END, SAYS, VERDICT(.nedit = 1, .edit = &add_a));
	start(2);
	assert_int_equal(says(META1_PM_END, NULL), 451);
	assert_string_equal(f.a.by, "a");
	assert_null(f.a.extent);
	smtps_chain_reset(f.j);
	f.set[0].fails = FAILURE_ACCEPT_BUT_RECONNECT;
	says(META1_PM_MAIL, "a@b"); /* a begins anew */
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	text = revise_read(f.a.extent, f.a.nextent, 14, &err);
	assert_string_equal(text, "S: t\r\nA: 1\r\n\r\n");
	free(text);
	assert_int_equal(f.a.nedit, 0);
	assert_null(f.a.hold);
	assert_int_equal(f.chain->filter[0].stats->count[CHAIN_C_FAILED], 2);
}

/* ---- failures ---- */

static const struct {
	int32_t fails;
	int connect, mail, end, second; /* second: MAIL of the next mail, when it works again */
} fails[] = {
    {FAILURE_ABORT, 421, 0, 0, 0},
    {FAILURE_ACCEPT, 0, 0, 0, 0},
    {FAILURE_ACCEPT_BUT_RECONNECT, 0, 0, 0, 0},
    {FAILURE_TEMPFAIL, 0, 451, 451, 0},
    {FAILURE_REJECT, 0, 554, 554, 0},
    {FAILURE_QUARANTINE, 0, 0, 1000, 0},
};

/* It fails at the connect; what it means, it means to mails. */
static void fails_first(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fails); i++) {
		f.set[0].fails = fails[i].fails;
		script_line(0, 0, META1_PM_CONNECT, SAYS_TEMPFAIL, VERDICT(.action = 0));
		start(2);
		assert_int_equal(says(META1_PM_CONNECT, NULL), fails[i].connect);
		calls("a:connect b:connect a.end");
		if (fails[i].connect == 0) {
			assert_int_equal(says(META1_PM_HELO, "x"), 0);
			assert_int_equal(says(META1_PM_MAIL, "a@b"), fails[i].mail);
			assert_int_equal(says(META1_PM_END, NULL), fails[i].end);
			smtps_chain_reset(f.j);
			f.calls[0] = '\0';
			script[0].line[0].stage = 0; /* it works again */
			assert_int_equal(says(META1_PM_MAIL, "a@b"), fails[i].second);
			if (f.set[0].fails >= FAILURE_TEMPFAIL)
				calls("a:connect b:mail a:helo a:mail");
			else
				calls("b:mail"); /* not in this session */
			smtps_chain_end(&f.j);
			f.j = smtps_chain_begin(f.chain, &f.about);
			f.calls[0] = '\0';
			says(META1_PM_CONNECT, NULL);
			if (f.set[0].fails == FAILURE_ACCEPT)
				calls("b:connect"); /* not before a reload */
			else
				calls("a:connect b:connect");
		}
		smtps_chain_end(&f.j);
		smtps_chain_free(&f.chain);
		turns();
		f.calls[0] = '\0';
	}
}

/* At the end of a mail, by silence; the other filter's session goes on. */
static void silent_at_the_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fails); i++) {
		int want = fails[i].fails == FAILURE_ABORT ? 421 : fails[i].end;

		f.set[0].fails = fails[i].fails;
		script_line(0, 0, META1_PM_END, SAYS_LATER, VERDICT(.action = 0));
		start(2);
		says(META1_PM_MAIL, "a@b");
		question(META1_PM_END, NULL);
		clock_on(4999);
		assert_int_equal(f.answers, 0);
		f.calls[0] = '\0';
		clock_on(1);
		calls("a.cancel a.end");
		assert_int_equal(f.answers, 1);
		if (want == 1000)
			assert_string_equal(f.a.hold, "no answer within 5000 ms");
		else
			assert_int_equal(f.a.action == META1_PM_REFUSE ? f.a.smtp : 0, want);
		assert_int_equal(f.chain->filter[0].stats->count[CHAIN_C_FAILED], 1);
		smtps_chain_reset(f.j);
		calls("b.reset");
		smtps_chain_end(&f.j);
		smtps_chain_free(&f.chain);
		turns();
		f.calls[0] = '\0';
	}
}

/* After five failures in a row nobody waits for it, until one session finds it well. */
static void spared(void **state)
{
	(void)state;
	f.set[0].fails = FAILURE_QUARANTINE;
	script_line(0, 0, META1_PM_CONNECT, SAYS_TEMPFAIL, VERDICT(.action = 0));
	start(1);
	for (int i = 0; i < CHAIN_ROW; i++) {
		if (i > 0)
			f.j = smtps_chain_begin(f.chain, &f.about);
		says(META1_PM_CONNECT, NULL);
		smtps_chain_end(&f.j);
	}
	f.calls[0] = '\0';
	f.j = smtps_chain_begin(f.chain, &f.about);
	says(META1_PM_CONNECT, NULL);
	says(META1_PM_MAIL, "a@b");
	assert_int_equal(says(META1_PM_END, NULL), 1000);
	assert_string_equal(f.a.hold, "broken pipe");
	calls("");
	smtps_chain_reset(f.j);
	script[0].line[0].stage = 0;
	clock_on(CHAIN_PAUSE_MIN);
	says(META1_PM_MAIL, "a@b"); /* this mail tries it */
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	calls("a:connect a:helo a:mail a:end");
	assert_string_equal(
	    chain_breaker_state(&f.chain->filter[0].breaker, loop_now(f.host.loop)), "closed");
}

/* What a mail is does not shut the filter for others, nor lets the client's next one past it. */
static void unable(void **state)
{
	static const int32_t how[] = {
	    FAILURE_ACCEPT, FAILURE_ACCEPT_BUT_RECONNECT, FAILURE_TEMPFAIL, FAILURE_QUARANTINE};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(how); i++) {
		f.set[0].fails = how[i];
		script_line(0, 0, META1_PM_END, SAYS_UNABLE, VERDICT(.action = 0));
		start(1);
		for (int k = 0; k < 2 * CHAIN_ROW; k++) {
			f.calls[0] = '\0';
			says(META1_PM_MAIL, "a@b");
			assert_int_equal(says(META1_PM_END, NULL), how[i] == FAILURE_TEMPFAIL ? 451
								   : how[i] == FAILURE_QUARANTINE
								       ? 1000
								       : META1_PM_CONTINUE);
			calls("a:connect a:helo a:mail a:end a.end");
			smtps_chain_reset(f.j);
		}
		assert_int_equal(f.chain->filter[0].breaker.failures, 0);
		smtps_chain_end(&f.j);
		smtps_chain_free(&f.chain);
		turns();
		f.calls[0] = '\0';
	}
}

static void nonsense(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_MAIL, SAYS, VERDICT(.action = META1_PM_REFUSE, .smtp = 250));
	start(1);
	assert_int_equal(says(META1_PM_MAIL, "a@b"), 451);
	calls("a:connect a:helo a:mail a.end");
}

/* ---- conditions ---- */

static void by_sender_and_recipient(void **state)
{
	static const char *const senders[] = {"b.example", NULL}, *const rcpts[] = {
								      "d.example", NULL};

	(void)state;
	f.set[0].senders = senders;
	f.set[1].recipients = rcpts;
	script[0].wants = META1_PM_MAIL | META1_PM_END;
	script[1].wants = META1_PM_END;
	start(2);
	assert_true(smtps_chain_wants(f.j, META1_PM_RCPT));
	says(META1_PM_MAIL, "a@b.example");
	says(META1_PM_RCPT, "x@y.example");
	says(META1_PM_END, NULL);
	smtps_chain_reset(f.j);
	calls("a:mail a:end a.reset");
	says(META1_PM_MAIL, "a@c.example");
	says(META1_PM_RCPT, "x@d.example");
	says(META1_PM_RCPT, "x@y.example");
	says(META1_PM_END, NULL);
	smtps_chain_reset(f.j);
	calls("b:end b.reset");
	says(META1_PM_MAIL, "a@c.example");
	says(META1_PM_RCPT, "x@y.example");
	assert_false(smtps_chain_wants(f.j, META1_PM_END));
	calls("");
}

/* A recipient that another filter refused is none. */
static void refused_recipient(void **state)
{
	static const char *const rcpts[] = {"d.example", NULL};

	(void)state;
	f.set[0].recipients = rcpts;
	script[0].wants = META1_PM_END;
	script_line(1, 0, META1_PM_RCPT, SAYS, VERDICT(.action = META1_PM_REFUSE));
	start(2);
	assert_int_equal(says(META1_PM_RCPT, "x@d.example"), 550);
	says(META1_PM_END, NULL);
	assert_null(strstr(f.calls, "a:"));
}

/* A failure counts where the filter would have been asked, not elsewhere. */
static void failed_elsewhere(void **state)
{
	static const char *const rcpts[] = {"d.example", NULL};

	(void)state;
	f.set[0].recipients = rcpts;
	script_line(0, 0, META1_PM_CONNECT, SAYS_TEMPFAIL, VERDICT(.action = 0));
	start(1);
	says(META1_PM_CONNECT, NULL);
	assert_int_equal(says(META1_PM_MAIL, "a@b"), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_RCPT, "x@y.example"), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_RCPT, "x@d.example"), 451);
	assert_false(smtps_chain_wants(f.j, META1_PM_END));
}

static void by_size(void **state)
{
	(void)state;
	f.set[0].max_size = 11;
	script[0].wants = META1_PM_END;
	start(1);
	assert_true(smtps_chain_wants(f.j, META1_PM_END));
	says(META1_PM_END, NULL);
	calls("");
}

/* ---- shadow ---- */

static void shadow(void **state)
{
	(void)state;
	f.set[0].shadow = 1;
	f.set[0].end_timeout = 300000;
	script_line(0, 0, META1_PM_MAIL, SAYS, VERDICT(.action = META1_PM_REFUSE));
	script_line(0, 1, META1_PM_DATA, SAYS_TEMPFAIL, VERDICT(.action = 0));
	script_line(0, 2, META1_PM_END, SAYS, VERDICT(.hold = "x", .nedit = 1, .edit = &add_a));
	start(1);
	assert_int_equal(says(META1_PM_MAIL, "a@b"), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	assert_null(f.a.extent);
	assert_int_equal(f.chain->filter[0].stats->count[CHAIN_C_REJECT], 1);
	smtps_chain_reset(f.j);
	says(META1_PM_MAIL, "a@b");
	assert_int_equal(says(META1_PM_DATA, NULL), META1_PM_CONTINUE);
	assert_int_equal(says(META1_PM_END, NULL), META1_PM_CONTINUE);
	smtps_chain_reset(f.j);
	/* it holds nobody up for as long as a filter may */
	script[0].line[1].stage = 0;
	script[0].line[2].how = SAYS_LATER;
	says(META1_PM_MAIL, "a@b");
	question(META1_PM_END, NULL);
	clock_on(10000);
	assert_int_equal(f.answers, 1);
}

/* ---- the asker goes away ---- */

static void forgotten(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_RCPT, SAYS_LATER, VERDICT(.action = 0));
	start(2);
	says(META1_PM_CONNECT, NULL);
	says(META1_PM_HELO, "c.example");
	says(META1_PM_MAIL, "a@b");
	f.calls[0] = '\0';
	question(META1_PM_RCPT, "c@d");
	turns();
	smtps_chain_reset(f.j);
	turns();
	assert_int_equal(f.answers, 0);
	calls("a:rcpt b:rcpt a.cancel a.end b.reset");
	says(META1_PM_MAIL, "a@b");
	calls("a:connect b:mail a:helo a:mail");
	question(META1_PM_RCPT, "c@d");
	smtps_chain_end(&f.j);
	turns();
	assert_int_equal(f.answers, 0);
	calls("a:rcpt b:rcpt a.cancel a.end b.end"); /* b had answered */
}

/* The asker ends all of it in the answer. */
static void end_in_answer(void *arg, const struct smtps_answer *a)
{
	(void)arg, (void)a;
	f.answers++;
	smtps_chain_end(&f.j);
}

static void ends_in_the_answer(void **state)
{
	(void)state;
	script_line(0, 0, META1_PM_MAIL, SAYS_TEMPFAIL, VERDICT(.action = 0));
	start(2);
	f.ask = (struct meta1_pm_ask){.size = sizeof(f.ask), .stage = META1_PM_MAIL};
	smtps_chain_ask(f.j, &f.ask, end_in_answer, NULL);
	turns();
	assert_int_equal(f.answers, 1);
	assert_null(f.j);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)
int main(void)
{
	const struct CMUnitTest tests[] = {T(the_way_of_a_mail), T(wants), T(nobody), T(accepts),
	    T(phases), T(refused_early), T(strictest), T(half_edits), T(fails_first),
	    T(silent_at_the_end), T(spared), T(unable), T(nonsense), T(by_sender_and_recipient),
	    T(refused_recipient), T(failed_elsewhere), T(by_size), T(shadow), T(forgotten),
	    T(ends_in_the_answer)};

	return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
