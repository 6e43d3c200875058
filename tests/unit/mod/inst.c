/* SPDX-License-Identifier: BSD-2-Clause */
/* Instances: options, leftovers, counters, other maps, threads, drain. */
#include "../unit.h"

#include "fix.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void report(struct fix *f, char *out, size_t size)
{
	FILE *o = fmemopen(out, size, "w");

	conf_report(f->conf, o);
	fclose(o);
}

static void bad_options_are_named(void **state)
{
	struct fix *f = *state;
	char text[2048] = "";

	assert_null(fix_open(f, "a", "sise = 5;\nleak = maybe;\n"));
	assert_string_equal(f->err.text, "map_try/a: its options have errors");
	assert_int_equal(conf_errors(f->conf), 2);
	report(f, text, sizeof(text));
	assert_non_null(strstr(text, "options:1:1: "));
	assert_non_null(strstr(text, "size"));
	assert_non_null(strstr(text, "options:2:"));
	assert_null(fix_open(f, "a", "size = 13;"));
	report(f, text, sizeof(text));
	assert_non_null(strstr(text, "map_try/a: size: 13 brings bad luck"));
	assert_null(fix_open(f, "a", "fail = \"disk: full\";"));
	assert_string_equal(f->err.text, "map_try/a: disk: full");
	assert_null(f->host.insts);
	assert_int_equal(f->faults, 0);
}

static void the_cores_options_are_let_alone(void **state)
{
	static const char *const core[] = {"type", NULL};
	struct fix *f = *state;
	struct mod_inst *in;

	fix_load(f, "map_try");
	f->conf = conf_read_text("options", "type = try; size = 5;");
	assert_int_equal(
	    mod_check(&f->host, f->mod, "a", f->conf, conf_root(f->conf), core, OPT_CHECK), 0);
	in = mod_open(&f->host, f->mod, "a", f->conf, conf_root(f->conf), core, OPT_START, &f->err);
	assert_non_null(in);
	mod_close(&in);
	/* no section at all: defaults */
	in = mod_open(&f->host, f->mod, "a", f->conf, NULL, core, OPT_START, &f->err);
	assert_non_null(in);
	mod_close(&in);
	assert_null(fix_open(f, "a", "type = try;"));
}

static void leftovers_are_reported(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "leak = yes;");
	struct said s, t;

	fix_ask(f, in, "never", &s);
	fix_ask(f, in, "never", &t);
	mod_close(&in);
	assert_null(in);
	assert_int_equal(f->faults, 1);
	assert_string_equal(
	    f->fault, "map_try/a: left over at close: 1 watch (fd 0), 2 requests, 312 bytes");
	fix_turns(f);
	assert_int_equal(s.times, 1); /* the askers are told all the same */
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(t.text, "the module was closed");
}

struct seen {
	char text[512];
	size_t len;
};

static void counted(void *arg, const char *instance, const char *name, bool gauge, int64_t value)
{
	struct seen *s = arg;

	s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s %s%s=%lld\n",
	    instance, name, gauge ? "(gauge)" : "", (long long)value);
}

static void counters_are_listed(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct seen seen = {.len = 0};
	struct said s, held;

	fix_ask(f, in, "never", &held);
	fix_ask(f, in, "now", &s);
	fix_ask(f, in, "now", &s);
	fix_turns(f);
	mod_counters(&f->host, counted, &seen);
	assert_string_equal(seen.text, "map_try/a now_total=2\nmap_try/a held_now(gauge)=1\n");
	fix_clock(f, 1000);
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

static void a_slow_lookup_is_counted(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct seen seen = {.len = 0};
	struct said s;

	fix_ask(f, in, "slow", &s);
	fix_turns(f);
	assert_int_equal(s.st, META1_OK);
	mod_counters(&f->host, counted, &seen);
	assert_string_equal(seen.text, "map_try/a slow_total=1\n");
	mod_close(&in);
}

static void maps_ask_maps(void **state)
{
	struct fix *f = *state;
	struct conf *first;
	struct mod_inst *a = fix_open(f, "a", ""), *b;
	struct said s;

	first = f->conf;
	f->conf = NULL;
	b = fix_open(f, "b", "other = a;");
	assert_ptr_equal(mod_find(a, META1_MAP, "a"), a);
	assert_null(mod_find(a, META1_QUEUE, "a"));
	fix_ask(f, b, "other", &s);
	fix_turns(f);
	assert_string_equal(s.val, "value");
	mod_close(&a);
	fix_ask(f, b, "other", &s);
	fix_turns(f);
	assert_int_equal(s.st, META1_TEMPFAIL);
	fix_ask(f, b, "dns", &s); /* this host has none */
	fix_turns(f);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_int_equal(f->faults, 0);
	fix_ask(f, b, "dns", &s);
	mod_close(&b);
	assert_string_equal(f->fault, "map_try/b: left over at close: 1 request, 1 question");
	fix_turns(f);
	conf_free(&first);
}

static void threads_and_posts(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct said s;

	fix_ask(f, in, "thread", &s);
	fix_until(f, &s);
	assert_string_equal(s.val, "late");
	fix_ask(f, in, "thread", &s);
	mod_close(&in); /* close() waits for the job: nothing runs in a closed instance */
	work_free(&f->host.work);
	fix_turns(f);
	assert_null(f->host.insts);
	assert_int_equal(s.times, 1);
}

static void ended(void *arg)
{
	++*(int *)arg;
}

static void drain_waits_for_what_is_open(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "");
	struct said s, t;
	int n = 0;

	fix_ask(f, in, "later", &s);
	mod_drain(in, loop_now(f->host.loop) + 500, ended, &n);
	fix_turns(f);
	assert_int_equal(n, 0);
	fix_ask(f, in, "now", &t);
	fix_turns(f);
	assert_string_equal(t.text, "the map is being closed");
	fix_clock(f, 20);
	assert_int_equal(s.times, 1);
	assert_int_equal(n, 1);
	mod_close(&in);
	in = fix_open(f, "a", "");
	fix_ask(f, in, "never", &s);
	mod_drain(in, loop_now(f->host.loop) + 500, ended, &n);
	fix_clock(f, 500);
	assert_int_equal(n, 2);
	assert_int_equal(s.times, 0);
	fix_clock(f, 500);
	assert_int_equal(s.times, 1);
	mod_close(&in);
	assert_int_equal(f->faults, 0);
}

static void blocking_maps_run_on_a_thread(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in;
	struct seen seen = {.len = 0};
	struct said s[4], mute;
	struct meta1_req *rq;
	int i;

	assert_non_null(fix_load(f, "map_sleepy"));
	in = fix_open(f, "a", "");
	assert_non_null(in);
	for (i = 0; i < 3; i++)
		fix_ask(f, in, "key", &s[i]);
	rq = fix_ask(f, in, "key", &s[3]);
	mod_req_cancel(&rq); /* waits for its thread: it is not run at all */
	fix_turns(f);
	assert_int_equal(s[0].times, 0);
	for (i = 0; i < 3; i++) {
		fix_until(f, &s[i]);
		assert_string_equal(s[i].val, "once");
	}
	fix_ask(f, in, "mute", &mute);
	fix_until(f, &mute);
	assert_int_equal(mute.st, META1_TEMPFAIL);
	assert_string_equal(
	    f->fault, "map_sleepy/a: a blocking look-up came back without finish()");
	mod_counters(&f->host, counted, &seen);
	assert_string_equal(seen.text, "map_sleepy/a slept_total=4\nmap_sleepy/a faults_total=1\n");
	/* the deadline answers while the thread sleeps; its late answer is dropped */
	fix_ask(f, in, "key", &s[0]);
	fix_clock(f, 1000);
	assert_int_equal(s[0].st, META1_TEMPFAIL);
	mod_close(&in);
	work_free(&f->host.work);
	fix_turns(f);
	assert_int_equal(s[0].times, 1);
	assert_int_equal(s[3].times, 0);
	assert_null(f->host.insts);
	assert_int_equal(f->faults, 1);
}

/* As the law has it: every request is finished when close() returns, so some within it. */
static void close_may_finish_what_is_open(void **state)
{
	struct fix *f = *state;
	struct mod_inst *in = fix_open(f, "a", "last = yes;");
	struct said s[2];

	for (int i = 0; i < 2; i++)
		fix_ask(f, in, "never", &s[i]);
	mod_close(&in);
	fix_turns(f);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(s[i].times, 1);
		assert_int_equal(s[i].st, META1_OK);
	}
	assert_null(f->host.insts);
	assert_int_equal(f->faults, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_up, fix_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(bad_options_are_named),
	    T(the_cores_options_are_let_alone),
	    T(leftovers_are_reported),
	    T(counters_are_listed),
	    T(a_slow_lookup_is_counted),
	    T(maps_ask_maps),
	    T(threads_and_posts),
	    T(drain_waits_for_what_is_open),
	    T(blocking_maps_run_on_a_thread),
	    T(close_may_finish_what_is_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
