/* SPDX-License-Identifier: BSD-2-Clause */
/* What a module was given with a request is there until it has finished it. */
#include "../unit.h"

#include "fix.h"

struct kept { /* what the module was given */
	unsigned gone, gone_at_answer;
	struct said said;
};

static void let_go(void *arg)
{
	((struct kept *)arg)->gone++;
}

static void heard(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct kept *k = arg;

	k->gone_at_answer = k->gone;
	fix_said(&k->said, st, r);
}

static struct meta1_req *ask_kept(
    struct fix *f, struct mod_inst *in, const char *key, struct kept *k)
{
	struct meta1_req *rq;

	*k = (struct kept){0};
	rq = mod_map_lookup(in, buf_str(key), loop_now(f->host.loop) + 1000, heard, k);
	mod_req_keep(rq, let_go, k);
	fix_turns(f);
	return rq;
}

/* Until the module has finished, and no longer: whatever becomes of the asker, of others' requests,
 * and of the next one in the same place. */
static void kept_until_finished(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "obey = no;");
	struct kept late, gone, open, now;
	struct meta1_req *rq;
	struct said s;

	f->host.strict = false;
	ask_kept(f, in, "now", &now);
	assert_int_equal(now.said.times, 1);
	assert_int_equal(now.gone_at_answer, 0);
	assert_int_equal(now.gone, 1);
	ask_kept(f, in, "never", &late);
	fix_clock(f, 1000);
	assert_int_equal(late.said.times, 1);
	assert_int_equal(late.gone, 0);
	rq = ask_kept(f, in, "never", &gone);
	mod_req_cancel(&rq);
	fix_turns(f);
	assert_int_equal(gone.gone, 0);
	fix_ask(f, in, "flush", &s);
	ask_kept(f, in, "never", &open); /* one that is open does not keep the others' */
	assert_int_equal(s.times, 1);
	assert_int_equal(late.gone, 1);
	assert_int_equal(gone.gone, 1);
	assert_int_equal(open.gone, 0);
	assert_int_equal(now.gone, 1);
	fix_ask(f, in, "flush", &s);
	fix_turns(f);
	assert_int_equal(open.gone, 1);
	mod_close(&in);
}

/* Finished within cancel(), at the deadline: the asker hears of it first. */
static void kept_until_heard(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct kept k;

	ask_kept(f, in, "never", &k);
	fix_clock(f, 1000);
	assert_int_equal(k.said.times, 1);
	assert_int_equal(k.gone_at_answer, 0);
	assert_int_equal(k.gone, 1);
	mod_close(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(kept_until_finished, fix_up, fix_down),
	    cmocka_unit_test_setup_teardown(kept_until_heard, fix_up, fix_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
