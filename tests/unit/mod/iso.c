/* SPDX-License-Identifier: BSD-2-Clause */
/* A map in a process of its own answers as it would inside. */
#include "apart.h"

#include "../until.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void test_answers(void **state)
{
	static const struct {
		const char *key, *val;
		enum meta1_status st;
	} rows[] = {{"now", "value", META1_OK}, {"absent", "", META1_NOTFOUND},
	    {"later", "late", META1_OK}, {"thread", "late", META1_OK}, {"big", "bbbbb", META1_OK},
	    {"dns", "", META1_TEMPFAIL}, {"", "", META1_NOTFOUND}};
	struct apart *a = *state;
	struct said s;

	apart_open(a, "type = try; size = 5;");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		apart_ask(a, rows[i].key, &s);
		assert_int_equal(s.st, rows[i].st);
		assert_string_equal(s.val, rows[i].val);
	}
	assert_int_equal(apart_seen(a).pid, a->pid);
	assert_int_equal(apart_seen(a).open, 0);
}

static void test_too_large(void **state)
{
	struct apart *a = *state;
	struct said s;

	apart_open(a, "size = 5MB;");
	apart_ask(a, "big", &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "the answer is too large for a worker process");
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

static void test_many(void **state)
{
	static struct said s[200];
	struct apart *a = *state;

	apart_open(a, "");
	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < ARRAY_LEN(s); i++)
			fix_ask(a->f, a->in, i % 2 ? "now" : "absent", &s[i]);
		for (size_t i = 0; i < ARRAY_LEN(s); i++) {
			fix_until(a->f, &s[i]);
			assert_int_equal(s[i].st, i % 2 ? META1_OK : META1_NOTFOUND);
		}
	}
}

/* The other map is one of the role: asked over the wire. */
static void test_other(void **state)
{
	struct apart *a = *state;
	struct conf *conf = conf_read_text("other", "");
	struct mod_inst *other;
	struct said s;

	assert_non_null(fix_load(a->f, "map_try"));
	other = mod_open(
	    &a->f->host, a->f->mod, "o", conf, conf_root(conf), NULL, OPT_START, &a->f->err);
	assert_non_null(other);
	apart_open(a, "other = o;");
	apart_ask(a, "other", &s);
	assert_int_equal(s.st, META1_OK);
	assert_string_equal(s.val, "value");
	mod_close(&a->in);
	mod_close(&other);
	conf_free(&conf);
}

static void count(void *arg, const char *instance, const char *name, bool gauge, int64_t value)
{
	(void)gauge;
	if (!strcmp(instance, "map_try/x") && !strcmp(name, "now_total"))
		*(int64_t *)arg += value;
}

static int64_t counted(struct apart *a)
{
	int64_t n = 0;

	mod_counters(&a->f->host, count, &n);
	return n;
}

static void test_counters(void **state)
{
	struct apart *a = *state;
	struct said s;

	apart_open(a, "");
	for (int i = 0; i < 3; i++)
		apart_ask(a, "now", &s);
	LOOP_UNTIL(a->f->host.loop, counted(a) == 3);
}

/* The asker goes: the worker hears of it, answers that number once more, and serves on. */
static void test_cancel(void **state)
{
	struct apart *a = *state;
	struct said s;
	struct meta1_req *rq;

	apart_open(a, "");
	rq = fix_ask(a->f, a->in, "never", &s);
	fix_turns(a->f);
	mod_req_cancel(&rq);
	assert_int_equal(apart_seen(a).open, 1);
	LOOP_UNTIL(a->f->host.loop, apart_seen(a).open == 0);
	assert_int_equal(s.times, 0);
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

/* More than isolate_memory: a temporary failure, and the worker serves on. */
static void test_memory(void **state)
{
	struct apart *a = *state;
	struct said s;

	a->iso.memory = 128 << 20;
	apart_open(a, "");
	apart_ask(a, "eat", &s);
#ifndef META1_SANITIZED /* there it has no bound */
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "no memory");
#endif
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

static void is_drained(void *arg)
{
	*(bool *)arg = true;
}

/* The machine's clock: that of the fixture's loop stands still. */
static int64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What the module does before it is closed is waited for. */
static void test_drain(void **state)
{
	struct apart *a = *state;
	bool done = false;
	int64_t began;

	apart_open(a, "linger = yes;");
	began = clock_ms();
	mod_drain(a->in, INT64_MAX, is_drained, &done);
	LOOP_UNTIL(a->f->host.loop, done);
	assert_true(clock_ms() - began >= 40); /* of 50, by two clocks */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_answers, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_too_large, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_many, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_other, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_counters, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_cancel, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_memory, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_drain, apart_up, apart_down)};

	signal(SIGPIPE, SIG_IGN); /* as in every role */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
