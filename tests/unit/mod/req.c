/* SPDX-License-Identifier: BSD-2-Clause */
/* The law of requests, from the asker's side and against modules that break it. */
#include "../unit.h"

#include "fix.h"

#include <meta1/map.h>
#include <stdlib.h>

static void never_inside_the_call(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct said s;

	assert_non_null(in);
	fix_ask(f, in, "now", &s);
	assert_int_equal(s.times, 0);
	fix_turns(f);
	assert_int_equal(s.times, 1);
	assert_int_equal(s.st, META1_OK);
	assert_string_equal(s.val, "value");
	fix_ask(f, in, "absent", &s);
	fix_turns(f);
	assert_int_equal(s.st, META1_NOTFOUND);
	fix_ask(f, in, "later", &s);
	fix_turns(f);
	assert_int_equal(s.times, 0);
	fix_clock(f, 20);
	assert_int_equal(s.times, 1);
	assert_string_equal(s.val, "late");
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

static void deadline_answers_and_cancels(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct said s;

	fix_ask(f, in, "never", &s);
	fix_clock(f, 999);
	assert_int_equal(s.times, 0);
	fix_clock(f, 1);
	assert_int_equal(s.times, 1);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "no answer within 1000 ms");
	fix_clock(f, 60000);
	assert_int_equal(s.times, 1);
	assert_int_equal(f->faults, 0); /* the module finished it in cancel() */
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

static void ask_until(
    struct fix *f, struct mod_inst *in, const char *key, int64_t ms, struct said *s)
{
	*s = (struct said){0};
	mod_map_lookup(in, buf_str(key), loop_now(f->host.loop) + ms, fix_said, s);
	fix_turns(f);
}

/* A request is used again with its timer, whose time is that of the one before. */
static void deadlines_are_of_their_request(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in;
	struct said s;

	f->host.strict = false;
	in = fix_open(f, "a", "");
	ask_until(f, in, "now", 100, &s);
	assert_int_equal(s.st, META1_OK);
	fix_clock(f, 50);
	ask_until(f, in, "never", 5000, &s); /* the timer fires before that */
	fix_clock(f, 4999);
	assert_int_equal(s.times, 0);
	fix_clock(f, 1);
	assert_int_equal(s.times, 1);
	assert_string_equal(s.text, "no answer within 5000 ms");
	ask_until(f, in, "now", 60000, &s);
	assert_int_equal(s.st, META1_OK);
	ask_until(f, in, "never", 200, &s); /* and here after it */
	fix_clock(f, 199);
	assert_int_equal(s.times, 0);
	fix_clock(f, 1);
	assert_string_equal(s.text, "no answer within 200 ms");
	fix_clock(f, 100000); /* a timer that finds its request finished says nothing */
	assert_int_equal(s.times, 1);
	assert_int_equal(f->faults, 0);
	mod_close(&in);
}

static void late_finish_is_dropped(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "obey = no;");
	struct said s, flush;

	fix_ask(f, in, "never", &s);
	fix_clock(f, 1000);
	assert_int_equal(s.st, META1_TEMPFAIL);
	fix_clock(f, 1999);
	assert_int_equal(f->faults, 0);
	fix_clock(f, 1);
	assert_int_equal(f->faults, 1);
	assert_string_equal(
	    f->fault, "map_try/a: a request is not finished 2000 ms after cancel()");
	fix_clock(f, 100000);
	assert_int_equal(f->faults, 1); /* said once */
	fix_ask(f, in, "flush", &flush);
	fix_turns(f);
	assert_int_equal(flush.times, 1);
	assert_int_equal(s.times, 1);
	mod_close(&in);
	assert_int_equal(f->faults, 1);
}

static void second_finish_is_a_fault(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct said s;

	fix_ask(f, in, "twice", &s);
	fix_turns(f);
	assert_int_equal(s.times, 1);
	assert_string_equal(s.val, "one");
	assert_string_equal(f->fault, "map_try/a: a request was finished twice");
	mod_close(&in);
}

static void cancel_is_silent(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct meta1_req *rq;
	struct said s;

	rq = fix_ask(f, in, "never", &s);
	mod_req_cancel(&rq);
	assert_null(rq);
	rq = fix_ask(f, in, "now", &s); /* answered, but not told yet */
	mod_req_cancel(&rq);
	fix_clock(f, 60000);
	assert_int_equal(s.times, 0);
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

static void limit_is_temporary(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	static struct said s[257], flush;
	int i;

	for (i = 0; i < 257; i++)
		fix_ask(f, in, "never", &s[i]);
	assert_int_equal(s[256].times, 0);
	fix_turns(f);
	assert_int_equal(s[256].st, META1_TEMPFAIL);
	assert_string_equal(s[256].text, "too many look-ups are open in this map");
	assert_int_equal(s[255].times, 0);
	mod_req_limit(in, 300);
	fix_ask(f, in, "flush", &flush);
	fix_turns(f);
	for (i = 0; i < 256; i++)
		assert_int_equal(s[i].times, 1);
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

static void replies_are_copied(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "size = 100KB;");
	struct said s;

	fix_ask(f, in, "big", &s);
	fix_turns(f);
	assert_int_equal(s.len, 100 * 1024);
	assert_string_equal(s.val, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
	mod_close(&in);
	in = fix_open(f, "a", "size = 32MB;");
	fix_ask(f, in, "big", &s);
	fix_turns(f);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "the module's reply is too large");
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

/* ---- what a module of another kind says, by the instance's own table ---- */

static struct {
	unsigned n, rcpt[8];
	enum meta1_status st[8];
} rcpts;
static struct meta1_req *cancel_in_rcpt;

static void rcpt_said(
    void *arg, uint32_t rcpt, enum meta1_status st, const struct meta1_reply *reply)
{
	(void)arg, (void)reply;
	rcpts.rcpt[rcpts.n] = rcpt;
	rcpts.st[rcpts.n++] = st;
	if (cancel_in_rcpt)
		mod_req_cancel(&cancel_in_rcpt);
}

static const struct meta1_host *table;

static int grab(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	(void)ctx, (void)conf, (void)inst, (void)err;
	table = h;
	return 0;
}

static void nothing(void *inst)
{
	(void)inst;
}

static const struct meta1_map_ops ops = {.size = sizeof(ops)};
static const struct meta1_module grabber = {
    .kind = META1_MAP, .name = "map_grab", .open = grab, .close = nothing, .ops = &ops};

/* An instance without a file, for its table. */
static struct mod_inst *grab_open(struct fix *f)
{
	static struct {
		struct mod *next;
		const struct meta1_module *m;
		struct meta1_opt *opt;
		char *file;
	} mod;

	mod.m = &grabber;
	f->conf = conf_read_text("options", "");
	return mod_open(&f->host, (struct mod *)&mod, "g", f->conf, NULL, NULL, OPT_START, &f->err);
}

static void recipients_first(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = grab_open(f);
	struct meta1_reply no = {.size = sizeof(no), .smtp = 550, .text = "no such user"};
	struct said s = {.times = 0};
	struct meta1_req *rq = mod_req(in, loop_now(f->host.loop) + 1000, fix_said, &s);

	rcpts.n = 0;
	mod_req_rcpts(rq, rcpt_said, 3);
	table->rcpt_result(rq, 2, META1_PERMFAIL, &no);
	assert_int_equal(rcpts.n, 0);
	fix_turns(f);
	assert_int_equal(rcpts.n, 1);
	table->rcpt_result(rq, 0, META1_OK, NULL);
	table->finish(rq, META1_TEMPFAIL, NULL);
	fix_turns(f);
	assert_int_equal(rcpts.n, 2);
	assert_int_equal(rcpts.rcpt[0], 2);
	assert_int_equal(rcpts.st[0], META1_PERMFAIL);
	assert_int_equal(rcpts.rcpt[1], 0);
	assert_int_equal(s.times, 1);
	assert_int_equal(f->faults, 0);
	mod_close(&in);
}

static void recipients_at_the_deadline(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = grab_open(f);
	struct said s = {.times = 0};
	struct meta1_req *rq = mod_req(in, loop_now(f->host.loop) + 1000, fix_said, &s);

	rcpts.n = 0;
	mod_req_rcpts(rq, rcpt_said, 3);
	table->rcpt_result(rq, 0, META1_OK, NULL);
	fix_clock(f, 1000);
	assert_int_equal(rcpts.n, 1); /* known before the deadline: stands */
	assert_int_equal(s.st, META1_TEMPFAIL);
	table->rcpt_result(rq, 1, META1_OK, NULL);
	table->finish(rq, META1_OK, NULL);
	fix_turns(f);
	assert_int_equal(rcpts.n, 1);
	assert_int_equal(f->faults, 0);
	mod_close(&in);
}

/* What cannot be kept is not taken for the answer of all. */
static void recipients_without_room(void **state)
{
	static char text[17 << 20];
	struct fix *f = *state;
	struct mod_inst *in = grab_open(f);
	struct meta1_reply no = {.size = sizeof(no), .smtp = 550, .text = text};
	struct said s = {.times = 0};
	struct meta1_req *rq = mod_req(in, INT64_MAX, fix_said, &s);

	memset(text, 'x', sizeof(text) - 1);
	rcpts.n = 0;
	mod_req_rcpts(rq, rcpt_said, 2);
	table->rcpt_result(rq, 1, META1_PERMFAIL, &no);
	table->finish(rq, META1_OK, NULL);
	fix_turns(f);
	assert_int_equal(rcpts.n, 0);
	assert_int_equal(s.times, 1);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_int_equal(f->faults, 1);
	mod_close(&in);
}

static void recipients_against_the_law(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = grab_open(f);
	struct said s = {.times = 0};
	struct meta1_req *rq = mod_req(in, INT64_MAX, fix_said, &s);

	rcpts.n = 0;
	mod_req_rcpts(rq, rcpt_said, 3);
	table->rcpt_result(rq, 1, META1_OK, NULL);
	table->rcpt_result(rq, 1, META1_OK, NULL);
	assert_string_equal(f->fault, "map_grab/g: result of recipient 1 of 3: given twice");
	table->rcpt_result(rq, 3, META1_OK, NULL);
	assert_string_equal(f->fault, "map_grab/g: result of recipient 3 of 3: there is none");
	table->finish(rq, META1_OK, NULL);
	table->rcpt_result(rq, 2, META1_OK, NULL);
	assert_string_equal(f->fault, "map_grab/g: result of recipient 2 of 3: after finish()");
	fix_turns(f);
	assert_int_equal(rcpts.n, 1);
	/* the asker may leave inside a recipient's callback */
	rq = mod_req(in, INT64_MAX, fix_said, &s);
	s.times = 0;
	mod_req_rcpts(rq, rcpt_said, 2);
	table->rcpt_result(rq, 0, META1_OK, NULL);
	table->finish(rq, META1_OK, NULL);
	cancel_in_rcpt = rq;
	fix_turns(f);
	assert_int_equal(s.times, 0);
	assert_int_equal(f->faults, 3);
	mod_close(&in);
	assert_int_equal(f->faults, 3);
}

static unsigned dropped;

static void give_back(void *arg, const void *ext)
{
	assert_ptr_equal(arg, &dropped);
	assert_ptr_equal(ext, &rcpts);
	dropped++;
}

static void content_is_not_lost(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = grab_open(f);
	struct meta1_reply r = {.size = sizeof(r), .ext = &rcpts};
	struct said s = {.times = 0};
	struct meta1_req *rq = mod_req(in, INT64_MAX, fix_said, &s), *own;

	dropped = 0;
	mod_req_on_drop(rq, give_back, &dropped);
	table->finish(rq, META1_OK, &r);
	fix_turns(f);
	assert_ptr_equal(s.ext, &rcpts); /* the asker has it */
	assert_int_equal(dropped, 0);
	own = rq = mod_req(in, INT64_MAX, fix_said, &s);
	mod_req_on_drop(rq, give_back, &dropped);
	mod_req_cancel(&own);
	table->finish(rq, META1_OK, &r);
	assert_int_equal(dropped, 1);
	own = rq = mod_req(in, INT64_MAX, fix_said, &s);
	mod_req_on_drop(rq, give_back, &dropped);
	table->finish(rq, META1_OK, &r);
	mod_req_cancel(&own);
	assert_int_equal(dropped, 2);
	fix_turns(f);
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

static void memory_of_a_request(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = grab_open(f);
	struct said s;
	struct meta1_req *rq = mod_req(in, INT64_MAX, fix_said, &s);
	unsigned char *p, *q;
	size_t i;

	for (i = 1; i < 3000; i += 37) {
		p = table->req_alloc(rq, i);
		q = table->req_alloc(rq, 1);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 16, 0);
		assert_int_equal(p[0] | p[i - 1] | *q, 0);
		memset(p, 0xff, i);
		*q = 1;
	}
	assert_null(table->req_alloc(rq, SIZE_MAX));
	assert_null(table->req_alloc(rq, 64u << 20));
	*table->req_slot(rq) = f;
	assert_ptr_equal(*table->req_slot(rq), f);
	assert_ptr_equal(table->req_ctx(rq), mod_ctx(in));
	table->finish(rq, META1_OK, NULL);
	fix_turns(f);
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_up, fix_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(never_inside_the_call),
	    T(deadline_answers_and_cancels),
	    T(deadlines_are_of_their_request),
	    T(late_finish_is_dropped),
	    T(second_finish_is_a_fault),
	    T(cancel_is_silent),
	    T(limit_is_temporary),
	    T(replies_are_copied),
	    T(recipients_first),
	    T(recipients_at_the_deadline),
	    T(recipients_without_room),
	    T(recipients_against_the_law),
	    T(content_is_not_lost),
	    T(memory_of_a_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
