/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of questions and of an instance whose process crashes, hangs, cannot be started or
 * cannot open it, and of the next process. */
#include "apart.h"

#include "../until.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_crash(void **state)
{
	struct apart *a = *state;
	struct said held, s;
	int status;

	apart_open(a, "");
	fix_ask(a->f, a->in, "never", &held);
	apart_ask(a, "crash", &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	fix_until(a->f, &held);
	assert_int_equal(held.st, META1_TEMPFAIL);
	assert_string_equal(held.text, "its worker process ended");
	status = apart_ended(a);
	assert_true(WIFSIGNALED(status));
	mod_worker_ended(&a->f->host, APART_NAME, apart_seen(a).pid, "killed by SIGKILL");
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "its worker process is not there");
	a->restarts = 1;
	apart_start(a);
	apart_until_up(a, true);
	assert_int_equal(apart_seen(a).restarts, 1);
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

static void held_now(void *arg, const char *instance, const char *name, bool gauge, int64_t value)
{
	(void)gauge;
	if (!strcmp(instance, "map_try/x") && !strcmp(name, "held_now"))
		*(int64_t *)arg = value;
}

static int64_t gauged(struct apart *a)
{
	int64_t n = -1;

	mod_counters(&a->f->host, held_now, &n);
	return n;
}

/* What it said that it has went with it. */
static void test_gauges(void **state)
{
	struct apart *a = *state;
	struct said held, s;

	apart_open(a, "");
	fix_ask(a->f, a->in, "never", &held);
	apart_ask(a, "now", &s);
	LOOP_UNTIL(a->f->host.loop, gauged(a) == 1);
	apart_ask(a, "crash", &s);
	apart_ended(a);
	assert_int_equal(gauged(a), 0);
}

/* Its deadline and the margin pass by the clock of the role. */
static void test_hang(void **state)
{
	struct apart *a = *state;
	struct said s;

	apart_open(a, "");
	fix_ask(a->f, a->in, "hang", &s);
	fix_turns(a->f);
	fix_clock(a->f, 1001);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "no answer within 1000 ms");
	assert_int_equal(a->kills, 0);
	fix_clock(a->f, 1250);
	assert_int_equal(a->kills, 1);
	assert_false(apart_seen(a).up);
	assert_string_equal(apart_seen(a).end, "does not answer");
	assert_true(WIFSIGNALED(apart_ended(a)));
	apart_start(a);
	apart_until_up(a, true);
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

/* The role lets go of the instance, whose module hangs: nobody asks it any more who would see that,
 * and the process ends all the same. */
static void test_hang_at_the_end(void **state)
{
	struct apart *a = *state;
	struct said s;

	if (!getenv("META1_FULL"))
		skip(); /* it takes 10 s */
	apart_open(a, "");
	fix_ask(a->f, a->in, "hang", &s);
	fix_turns(a->f);
	mod_close(&a->in);
	fix_until(a->f, &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_int_equal(WEXITSTATUS(apart_ended(a)), MOD_WORKER_DONE);
}

/* A question whose deadline is far: it is pinged, and killed when that is not answered. */
static void test_silent(void **state)
{
	struct apart *a = *state;
	struct said s = {0}, far = {0};

	apart_open(a, "");
	mod_map_lookup(
	    a->in, buf_str("never"), loop_now(a->f->host.loop) + 3600000, fix_said, &far);
	fix_turns(a->f);
	for (int i = 0; i < 4; i++) { /* the worker does no more than wait, and says so */
		fix_clock(a->f, 10001);
		apart_ask(a, "now", &s); /* its answer comes behind that of the ping */
	}
	assert_int_equal(a->kills, 0);
	s = (struct said){0};
	mod_map_lookup(a->in, buf_str("hang"), loop_now(a->f->host.loop) + 3600000, fix_said, &s);
	fix_turns(a->f);
	fix_clock(a->f, 10001);
	assert_int_equal(a->kills, 0);
	fix_clock(a->f, 10001);
	assert_int_equal(a->kills, 1);
	fix_turns(a->f);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_int_equal(far.st, META1_TEMPFAIL);
	assert_string_equal(apart_seen(a).end, "does not answer");
	apart_ended(a);
}

struct open_said {
	unsigned times;
	struct meta1_err err;
};

static void open_said(void *arg, const struct meta1_err *err)
{
	struct open_said *s = arg;

	s->times++;
	if (err)
		s->err = *err;
}

/* Its open() blocks in the worker, until somebody opens the FIFO. */
static void slow(struct apart *a, char fifo[128], struct open_said *said)
{
	char options[160];

	snprintf(fifo, 128, "%s/fifo%u", a->folder, a->restarts++);
	snprintf(options, sizeof(options), "wait = \"%s\";", fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	*said = (struct open_said){.times = 0};
	apart_start(a);
	a->in = apart_begin(a, options);
	assert_non_null(a->in);
	assert_true(mod_await(&a->f->host, open_said, said));
}

static void until_said(struct apart *a, const struct open_said *said)
{
	LOOP_UNTIL(a->f->host.loop, said->times);
	assert_int_equal(said->times, 1);
}

/* The loop goes on while a module opens: others answer, timers run, and it is told when it is
 * there; what is asked before is a temporary failure. */
static void test_slow_open(void **state)
{
	struct apart *a = *state;
	struct conf *conf = conf_read_text("other", "");
	struct mod_inst *other;
	struct open_said said;
	struct said s;
	char fifo[128];

	assert_non_null(fix_load(a->f, "map_try"));
	other = mod_open(
	    &a->f->host, a->f->mod, "o", conf, conf_root(conf), NULL, OPT_START, &a->f->err);
	assert_non_null(other);
	slow(a, fifo, &said);
	fix_ask(a->f, other, "later", &s);
	fix_turns(a->f);
	fix_clock(a->f, 21);
	assert_int_equal(s.st, META1_OK);
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_false(apart_seen(a).up);
	assert_int_equal(said.times, 0);
	close(open(fifo, O_WRONLY)); /* waits for the worker to open it */
	until_said(a, &said);
	assert_string_equal(said.err.text, "");
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
	mod_close(&a->in);
	mod_close(&other);
	conf_free(&conf);
}

/* Not for ever; and a role that stops, or has another configuration, hears no more of it. */
static void test_open_takes_too_long(void **state)
{
	struct apart *a = *state;
	struct open_said said;
	char fifo[128];
	int status;

	slow(a, fifo, &said);
	fix_clock(a->f, 19999);
	assert_int_equal(said.times, 0);
	fix_clock(a->f, 2);
	assert_int_equal(said.times, 1);
	assert_non_null(strstr(said.err.text, "map x: map_try/x: its worker process "));
	assert_non_null(strstr(said.err.text, " did not open it: no answer within 20 s"));
	assert_int_equal(a->kills, 1);
	mod_close(&a->in);
	status = apart_ended(a);
	assert_true(WIFSIGNALED(status));
	conf_free(&a->f->conf);
	slow(a, fifo, &said);
	mod_await_end(&a->f->host);
	mod_close(&a->in);
	close(open(fifo, O_WRONLY));
	assert_int_equal(WEXITSTATUS(apart_ended(a)), MOD_WORKER_DONE);
	fix_clock(a->f, 30000);
	assert_int_equal(said.times, 0);
	assert_int_equal(a->kills, 1);
}

/* Maps ask those of their own configuration, in whatever order the file has them: not the one of
 * before that a reload has beside the new one. */
static void test_maps_of_its_own_life(void **state)
{
	struct apart *a = *state;
	struct conf *conf = conf_read_text("other", "");
	struct mod_inst *old, *new;
	struct open_said said = {0};
	struct said s;

	assert_non_null(fix_load(a->f, "map_try"));
	old = mod_open(
	    &a->f->host, a->f->mod, "o", conf, conf_root(conf), NULL, OPT_START, &a->f->err);
	assert_non_null(old);
	a->f->host.life++;
	apart_start(a);
	a->in = apart_begin(a, "other = o;");
	assert_non_null(a->in);
	new = mod_open(
	    &a->f->host, a->f->mod, "o", conf, conf_root(conf), NULL, OPT_START, &a->f->err);
	assert_non_null(new);
	assert_ptr_equal(mod_find(a->in, META1_MAP, "o"), new);
	assert_true(mod_await(&a->f->host, open_said, &said));
	until_said(a, &said);
	mod_close(&old);
	apart_ask(a, "other", &s);
	assert_int_equal(s.st, META1_OK);
	mod_close(&a->in);
	mod_close(&new);
	conf_free(&conf);
}

static void test_open_fails(void **state)
{
	static const struct {
		const char *options, *text;
	} rows[] = {{"fail = \"no luck today\";", "no luck today"}, {"size = 13;", "bad luck"},
	    {"sise = 5;", "did you mean size"}};
	struct apart *a = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		apart_start(a);
		assert_null(apart_use(a, rows[i].options));
		if (!strstr(a->f->err.text, rows[i].text))
			fail_msg("found: %s", a->f->err.text);
		assert_int_equal(WEXITSTATUS(apart_ended(a)), MOD_WORKER_DONE);
		conf_free(&a->f->conf);
	}
	assert_null(apart_use(a, ""));
	assert_non_null(strstr(a->f->err.text, "mcp has started no worker process"));
}

/* After a crash: the next one says why it cannot, and there will be another. */
static void test_cannot_open_again(void **state)
{
	struct apart *a = *state;
	struct said s;
	char so[128], away[128];

	snprintf(so, sizeof(so), "%s/maps/map_try.so", a->folder);
	snprintf(away, sizeof(away), "%s/away", a->folder);
	apart_open(a, "");
	apart_ask(a, "crash", &s);
	apart_ended(a);
	assert_int_equal(rename(so, away), 0);
	a->kills = 0;
	apart_start(a);
	LOOP_UNTIL(a->f->host.loop, a->kills);
	assert_int_equal(a->kills, 1);
	assert_non_null(strstr(apart_seen(a).end, "no such file"));
	apart_ended(a);
	assert_int_equal(rename(away, so), 0);
	apart_start(a);
	apart_until_up(a, true);
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

/* Killed before it can say anything. */
static void test_dead_at_open(void **state)
{
	struct apart *a = *state;

	apart_start(a);
	kill(a->pid, SIGKILL);
	apart_ended(a);
	assert_null(apart_use(a, ""));
	assert_non_null(strstr(a->f->err.text, "did not open it: it ended"));
}

/* Of a reload: the newest is taken, what nobody takes ends by itself. */
static void test_spares(void **state)
{
	struct apart *a = *state;
	pid_t first;
	int status;

	apart_start(a);
	first = a->pid;
	apart_open(a, "");
	assert_int_equal(apart_seen(a).pid, a->pid);
	assert_int_equal(waitpid(first, &status, 0), first);
	assert_int_equal(WEXITSTATUS(status), MOD_WORKER_DONE);
}

/* The role was held up while its worker died and mcp started the next one: that comes first. */
static void test_next_before_the_end(void **state)
{
	struct apart *a = *state;
	struct said held, s;

	apart_open(a, "");
	fix_ask(a->f, a->in, "never", &held);
	fix_turns(a->f);
	kill(a->pid, SIGKILL);
	apart_ended(a);
	a->restarts = 1;
	apart_start(a);
	apart_until_up(a, true);
	assert_int_equal(apart_seen(a).pid, a->pid);
	assert_string_equal(apart_seen(a).end, "closed by the peer");
	fix_until(a->f, &held);
	assert_int_equal(held.st, META1_TEMPFAIL);
	apart_ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_crash, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_gauges, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_hang, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_hang_at_the_end, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_silent, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_slow_open, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_open_takes_too_long, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_maps_of_its_own_life, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_open_fails, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_cannot_open_again, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_dead_at_open, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_spares, apart_up, apart_down),
	    cmocka_unit_test_setup_teardown(test_next_before_the_end, apart_up, apart_down)};

	signal(SIGPIPE, SIG_IGN); /* as in every role */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
