/* SPDX-License-Identifier: BSD-2-Clause */
/* A map in a process of its own: answers as it would inside, and what becomes of questions and of
 * the instance when that process crashes, hangs, cannot be started or cannot open the map.
 * over 500 lines: one fixture, whose worker is a fork of the test. */
#include "fix.h"

#include "../unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "map_try/x@1"

struct apart {
	struct fix *f;
	char folder[64];
	struct set_isolate iso;
	struct settings set;
	struct settings_module sm;
	struct mod_inst *in;
	pid_t pid; /* of the worker */
	unsigned kills, restarts;
};

static void kill_worker(void *arg, uint32_t pid)
{
	struct apart *a = arg;

	a->kills++;
	if (a->pid && (pid_t)pid == a->pid)
		kill(a->pid, SIGKILL);
}

/* As mcp does it, with a fork in place of another program. */
static void start(struct apart *a)
{
	int sp[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sp), 0);
	a->pid = fork();
	if (a->pid == 0) {
		dup2(sp[1], 3);
		close_range(4, ~0U, 0); /* ends of others */
		_exit(mod_worker_main(3));
	}
	close(sp[1]);
	mod_worker_came(&a->f->host, NAME, sp[0], (uint32_t)a->pid, a->restarts);
}

static int ended(struct apart *a)
{
	int status = 0;

	assert_int_equal(waitpid(a->pid, &status, 0), a->pid);
	a->pid = 0;
	return status;
}

static int up(void **state)
{
	struct apart *a = base_alloc(sizeof(*a));
	char cmd[1024];

	fix_up((void **)&a->f);
	strcpy(a->folder, "/tmp/meta1-iso-XXXXXX");
	assert_non_null(mkdtemp(a->folder));
	snprintf(cmd, sizeof(cmd), "mkdir %s/maps && cp %s/.libs/map_try.so %s/maps/", a->folder,
	    TEST_MODULES, a->folder);
	assert_int_equal(system(cmd), 0);
	a->f->host.module_directory = a->folder;
	a->f->host.worker_kill = kill_worker;
	a->f->host.worker_arg = a;
	a->iso.on = 1;
	*state = a;
	return 0;
}

static int down(void **state)
{
	struct apart *a = *state;
	char cmd[128];

	mod_close(&a->in);
	if (a->pid)
		assert_int_equal(WEXITSTATUS(ended(a)), MOD_WORKER_DONE);
	assert_int_equal(a->f->faults, 0);
	snprintf(cmd, sizeof(cmd), "rm -r %s", a->folder);
	assert_int_equal(system(cmd), 0);
	fix_down((void **)&a->f);
	free(a);
	return 0;
}

static struct mod_inst *use(struct apart *a, const char *options)
{
	static const char *const core[] = {"type", NULL};

	a->f->conf = conf_read_text("options", options);
	a->set = (struct settings){.conf = a->f->conf, .file = "/etc/test.conf"};
	a->sm = (struct settings_module){.use = "test",
	    .kind = "map",
	    .module = "map_try",
	    .instance = "x",
	    .section = conf_root(a->f->conf),
	    .isolate = &a->iso};
	return mod_use(&a->f->host, &a->sm, &a->set, core, &a->f->err);
}

static void open_map(struct apart *a, const char *options)
{
	start(a);
	a->in = use(a, options);
	if (!a->in)
		fail_msg("%s", a->f->err.text);
}

static void ask(struct apart *a, const char *key, struct said *s)
{
	fix_ask(a->f, a->in, key, s);
	fix_until(a->f, s);
	assert_int_equal(s->times, 1);
}

/* What the instance says of its worker. */
struct seen {
	unsigned n;
	bool up;
	uint32_t pid, restarts, open;
	char end[96];
};
static void see(void *arg, const struct mod_worker_state *s)
{
	struct seen *n = arg;

	assert_string_equal(s->instance, "map_try/x");
	*n = (struct seen){n->n + 1, s->up, s->pid, s->restarts, s->open, ""};
	str_copy(n->end, sizeof(n->end), s->end);
}
static struct seen seen(struct apart *a)
{
	struct seen s = {0};

	mod_workers(&a->f->host, see, &s);
	assert_int_equal(s.n, 1);
	return s;
}

static void until_up(struct apart *a, bool is)
{
	for (int i = 0; i < 10000 && seen(a).up != is; i++) {
		loop_turn(a->f->host.loop, false);
		usleep(1000);
	}
	assert_int_equal(seen(a).up, is);
}

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

	open_map(a, "type = try; size = 5;");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ask(a, rows[i].key, &s);
		assert_int_equal(s.st, rows[i].st);
		assert_string_equal(s.val, rows[i].val);
	}
	assert_int_equal(seen(a).pid, a->pid);
	assert_int_equal(seen(a).open, 0);
}

static void test_too_large(void **state)
{
	struct apart *a = *state;
	struct said s;

	open_map(a, "size = 5MB;");
	ask(a, "big", &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "the answer is too large for a worker process");
	ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

static void test_many(void **state)
{
	static struct said s[200];
	struct apart *a = *state;

	open_map(a, "");
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
	open_map(a, "other = o;");
	ask(a, "other", &s);
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

static void test_counters(void **state)
{
	struct apart *a = *state;
	struct said s;
	int64_t n = 0;

	open_map(a, "");
	for (int i = 0; i < 3; i++)
		ask(a, "now", &s);
	for (int i = 0; i < 10000 && n != 3; i++) {
		loop_turn(a->f->host.loop, false);
		usleep(1000);
		n = 0;
		mod_counters(&a->f->host, count, &n);
	}
	assert_int_equal(n, 3);
}

/* The asker goes: the worker hears of it, answers that number once more, and serves on. */
static void test_cancel(void **state)
{
	struct apart *a = *state;
	struct said s;
	struct meta1_req *rq;

	open_map(a, "");
	rq = fix_ask(a->f, a->in, "never", &s);
	fix_turns(a->f);
	mod_req_cancel(&rq);
	assert_int_equal(seen(a).open, 1);
	for (int i = 0; i < 10000 && seen(a).open; i++) {
		loop_turn(a->f->host.loop, false);
		usleep(1000);
	}
	assert_int_equal(seen(a).open, 0);
	assert_int_equal(s.times, 0);
	ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

static void test_crash(void **state)
{
	struct apart *a = *state;
	struct said held, s;
	int status;

	open_map(a, "");
	fix_ask(a->f, a->in, "never", &held);
	ask(a, "crash", &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	fix_until(a->f, &held);
	assert_int_equal(held.st, META1_TEMPFAIL);
	assert_string_equal(held.text, "its worker process ended");
	status = ended(a);
	assert_true(WIFSIGNALED(status));
	mod_worker_ended(&a->f->host, NAME, seen(a).pid, "killed by SIGKILL");
	ask(a, "now", &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "its worker process is not there");
	a->restarts = 1;
	start(a);
	until_up(a, true);
	assert_int_equal(seen(a).restarts, 1);
	ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

/* Its deadline and the margin pass by the clock of the role. */
static void test_hang(void **state)
{
	struct apart *a = *state;
	struct said s;

	open_map(a, "");
	fix_ask(a->f, a->in, "hang", &s);
	fix_turns(a->f);
	fix_clock(a->f, 1001);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "no answer within 1000 ms");
	assert_int_equal(a->kills, 0);
	fix_clock(a->f, 1250);
	assert_int_equal(a->kills, 1);
	assert_false(seen(a).up);
	assert_string_equal(seen(a).end, "does not answer");
	assert_true(WIFSIGNALED(ended(a)));
	start(a);
	until_up(a, true);
	ask(a, "now", &s);
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
	open_map(a, "");
	fix_ask(a->f, a->in, "hang", &s);
	fix_turns(a->f);
	mod_close(&a->in);
	fix_until(a->f, &s);
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_int_equal(WEXITSTATUS(ended(a)), MOD_WORKER_DONE);
}

/* A question whose deadline is far: it is pinged, and killed when that is not answered. */
static void test_silent(void **state)
{
	struct apart *a = *state;
	struct said s = {0}, far = {0};

	open_map(a, "");
	mod_map_lookup(
	    a->in, buf_str("never"), loop_now(a->f->host.loop) + 3600000, fix_said, &far);
	fix_turns(a->f);
	for (int i = 0; i < 4; i++) { /* the worker does no more than wait, and says so */
		fix_clock(a->f, 10001);
		ask(a, "now", &s); /* its answer comes behind that of the ping */
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
	assert_string_equal(seen(a).end, "does not answer");
	ended(a);
}

/* More than isolate_memory: a temporary failure, and the worker serves on. */
static void test_memory(void **state)
{
	struct apart *a = *state;
	struct said s;

	a->iso.memory = 128 << 20;
	open_map(a, "");
	ask(a, "eat", &s);
#if !defined(__SANITIZE_ADDRESS__) /* there it has no bound */
	assert_int_equal(s.st, META1_TEMPFAIL);
	assert_string_equal(s.text, "no memory");
#endif
	ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

static void is_drained(void *arg)
{
	*(bool *)arg = true;
}

/* What the module does before it is closed is waited for. */
static void test_drain(void **state)
{
	struct apart *a = *state;
	bool done = false;
	int ms = 0;

	open_map(a, "linger = yes;");
	mod_drain(a->in, INT64_MAX, is_drained, &done);
	for (; !done && ms < 10000; ms++) {
		loop_turn(a->f->host.loop, false);
		usleep(1000);
	}
	assert_true(done);
	assert_true(ms >= 30);
}

static void test_open_fails(void **state)
{
	static const struct {
		const char *options, *text;
	} rows[] = {{"fail = \"no luck today\";", "no luck today"}, {"size = 13;", "bad luck"},
	    {"sise = 5;", "did you mean size"}};
	struct apart *a = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		start(a);
		assert_null(use(a, rows[i].options));
		if (!strstr(a->f->err.text, rows[i].text))
			fail_msg("found: %s", a->f->err.text);
		assert_int_equal(WEXITSTATUS(ended(a)), MOD_WORKER_DONE);
		conf_free(&a->f->conf);
	}
	assert_null(use(a, ""));
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
	open_map(a, "");
	ask(a, "crash", &s);
	ended(a);
	assert_int_equal(rename(so, away), 0);
	a->kills = 0;
	start(a);
	for (int i = 0; i < 10000 && !a->kills; i++) {
		loop_turn(a->f->host.loop, false);
		usleep(1000);
	}
	assert_int_equal(a->kills, 1);
	assert_non_null(strstr(seen(a).end, "no such file"));
	ended(a);
	assert_int_equal(rename(away, so), 0);
	start(a);
	until_up(a, true);
	ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

/* Killed before it can say anything. */
static void test_dead_at_open(void **state)
{
	struct apart *a = *state;

	start(a);
	kill(a->pid, SIGKILL);
	ended(a);
	assert_null(use(a, ""));
	assert_non_null(strstr(a->f->err.text, "ended, or did not open it"));
}

/* Of a reload: the newest is taken, what nobody takes ends by itself. */
static void test_spares(void **state)
{
	struct apart *a = *state;
	pid_t first;
	int status;

	start(a);
	first = a->pid;
	open_map(a, "");
	assert_int_equal(seen(a).pid, a->pid);
	assert_int_equal(waitpid(first, &status, 0), first);
	assert_int_equal(WEXITSTATUS(status), MOD_WORKER_DONE);
}

/* The role was held up while its worker died and mcp started the next one: that comes first. */
static void test_next_before_the_end(void **state)
{
	struct apart *a = *state;
	struct said held, s;

	open_map(a, "");
	fix_ask(a->f, a->in, "never", &held);
	fix_turns(a->f);
	kill(a->pid, SIGKILL);
	ended(a);
	a->restarts = 1;
	start(a);
	until_up(a, true);
	assert_int_equal(seen(a).pid, a->pid);
	assert_string_equal(seen(a).end, "closed by the peer");
	fix_until(a->f, &held);
	assert_int_equal(held.st, META1_TEMPFAIL);
	ask(a, "now", &s);
	assert_int_equal(s.st, META1_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_answers, up, down),
	    cmocka_unit_test_setup_teardown(test_too_large, up, down),
	    cmocka_unit_test_setup_teardown(test_many, up, down),
	    cmocka_unit_test_setup_teardown(test_other, up, down),
	    cmocka_unit_test_setup_teardown(test_counters, up, down),
	    cmocka_unit_test_setup_teardown(test_cancel, up, down),
	    cmocka_unit_test_setup_teardown(test_crash, up, down),
	    cmocka_unit_test_setup_teardown(test_hang, up, down),
	    cmocka_unit_test_setup_teardown(test_hang_at_the_end, up, down),
	    cmocka_unit_test_setup_teardown(test_silent, up, down),
	    cmocka_unit_test_setup_teardown(test_memory, up, down),
	    cmocka_unit_test_setup_teardown(test_drain, up, down),
	    cmocka_unit_test_setup_teardown(test_open_fails, up, down),
	    cmocka_unit_test_setup_teardown(test_cannot_open_again, up, down),
	    cmocka_unit_test_setup_teardown(test_dead_at_open, up, down),
	    cmocka_unit_test_setup_teardown(test_spares, up, down),
	    cmocka_unit_test_setup_teardown(test_next_before_the_end, up, down)};

	signal(SIGPIPE, SIG_IGN); /* as in every role */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
