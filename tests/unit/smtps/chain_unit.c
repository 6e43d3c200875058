/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_unit.c -- the scripted filters of chain_unit.h as a module, and a chain of them.
 * Comes from the tests beside it; goes to core/smtps/chain.c. Owns the fixture.
 */
#include "chain_unit.h"

struct script script[FILTERS];
struct fix f;

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

void give(struct script *s, const struct line *l, struct meta1_req *rq)
{
	struct meta1_reply r = {.size = sizeof(r), .text = "broken pipe"};

	if (l->how == SAYS)
		r.ext = &l->v;
	if (l->how == SAYS_NO_ROOM)
		r.smtp = 452;
	s->host->finish(rq,
	    l->how == SAYS_TEMPFAIL || l->how == SAYS_NO_ROOM ? META1_TEMPFAIL
	    : l->how == SAYS_UNABLE			      ? META1_PERMFAIL
							      : META1_OK,
	    &r);
}

static void see_envelope(struct script *s, const struct meta1_pm_ask *q)
{
	size_t n = (size_t)snprintf(s->rcpts, sizeof(s->rcpts), "<%.*s>", (int)f.about.from.len,
	    f.about.from.len > 0 ? (const char *)f.about.from.data : "");

	for (uint32_t i = 0; i < q->nrcpt && n < sizeof(s->rcpts); i++)
		n += (size_t)snprintf(s->rcpts + n, sizeof(s->rcpts) - n, " %.*s",
		    (int)q->rcpt[i].len, (const char *)q->rcpt[i].data);
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
	if (q->msg)
		see_envelope(s, q);
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

int up(void **state)
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

void start(unsigned n)
{
	static struct mod_inst *inst[FILTERS];
	struct meta1_err err;

	f.chain = base_alloc(sizeof(*f.chain));
	f.chain->loop = f.host.loop;
	f.chain->work = f.host.work;
	f.chain->folder = base_strdup("/tmp");
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

void turns(void)
{
	for (int i = 0; i < 16; i++)
		loop_turn(f.host.loop, false);
}

void clock_on(int64_t ms)
{
	loop_fake_clock(
	    f.host.loop, loop_now(f.host.loop) + ms, loop_wall(f.host.loop) + ms / 1000);
	turns();
}

int down(void **state)
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

void question(uint32_t stage, const char *arg)
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
		f.rcpt[0] = buf_str("c@d.example");
		f.rcpt[1] = buf_str("e@f.example");
		f.ask.rcpt = f.rcpt;
		f.ask.nrcpt = 2;
	}
	if (stage == META1_PM_MAIL)
		f.about.from = f.ask.arg;
	f.answers = 0;
	smtps_chain_ask(f.j, &f.ask, ROOM, answered, NULL);
}

int says(uint32_t stage, const char *arg)
{
	question(stage, arg);
	turns();
	assert_int_equal(f.answers, 1);
	if (f.a.action == META1_PM_REFUSE)
		return f.a.smtp;
	return f.a.hold != NULL ? 1000 : (int)f.a.action;
}

void script_line(unsigned i, unsigned n, uint32_t stage, int how, struct meta1_pm_verdict v)
{
	v.size = sizeof(v);
	v.sizeof_edit = sizeof(struct meta1_pm_edit);
	if (v.wants == 0)
		v.wants = script[i].wants;
	script[i].line[n] = (struct line){stage, how, v};
}
