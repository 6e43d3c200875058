/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * child.c and order.c of mcp, without processes: what happens when one ends, under a clock
 * that stands still. The program of the sections does not exist as a folder to run in, so a
 * start fails and shows as a longer back-off.
 */
#include "../unit.h"
#include "mcp/mcp.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct mcp m;
static const struct mcp_wire wire = {"smtpc", SMTPC, true, NULL, "qmgr", ""};
static struct set_role set[] = {{.keyword = "smtpc"}, {.keyword = "qmgr"}, {.keyword = "smar"}};
enum { N = ARRAY_LEN(set) };
static struct mcp_child *child[N];
static struct mcp_section section[N], *sections[N];

static int setup(void **state)
{
	(void)state;
	m = (struct mcp){.loop = loop_new(), .section = sections, .nsection = N};
	loop_fake_clock(m.loop, 1000000, 1000);
	m.set = settings_load_text(
	    "t", "queue_directory = /nonexistent/q; run_directory = /nonexistent/run;", OPT_CHECK);
	for (unsigned i = 0; i < N; i++) {
		set[i].restart_dependencies = NULL;
		section[i] = (struct mcp_section){
		    .wire = &wire, .set = &set[i], .ipc_fd = -1, .child = &child[i], .nchild = 1};
		sections[i] = &section[i];
		child[i] = mcp_child_new(&m, &section[i], &set[i], 0, 0);
		child[i]->state = MCP_UP;
		child[i]->started = loop_now(m.loop);
		child[i]->pid = 1000000 + (pid_t)i; /* never signalled here */
	}
	log_open(m.loop, &(struct log_conf){.ident = "t", .file = "/dev/null", .level = 0},
	    &(struct meta1_err){""});
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < N; i++) {
		mcp_child_free(&child[i]);
	}
	loop_unwatch(&m.order_timer);
	log_close();
	loop_free(&m.loop);
	settings_free(&m.set);
	return 0;
}

static void names(void **state)
{
	struct set_role named = {.keyword = "smtps", .name = "inner"};
	struct mcp_section sec = {.wire = &wire, .set = &named};
	struct mcp_child *c = mcp_child_new(&m, &sec, &named, 0, 7);

	(void)state;
	assert_string_equal(c->name, "smtps-inner");
	mcp_child_free(&c);
	c = mcp_child_new(&m, &sec, &named, 2, 9);
	assert_string_equal(c->name, "smtps-inner.2");
	assert_int_equal(c->index, 9);
	mcp_child_free(&c);
}

static void backoff(void **state)
{
	int64_t ms = 0;
	const int64_t want[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		ms = mcp_child_backoff(ms, 10);
		assert_int_equal(ms, want[i]);
	}
	assert_int_equal(mcp_child_backoff(60000, 59999), 60000);
	assert_int_equal(mcp_child_backoff(60000, 60000), 1000);
}

static void waits_before_a_restart(void **state)
{
	(void)state;
	mcp_child_ended(child[0], 3 << 8);
	assert_int_equal(child[0]->state, MCP_WAITING);
	assert_int_equal(child[0]->backoff, 1000);
	assert_int_equal(child[0]->pid, 0);
	loop_fake_clock(m.loop, 1000999, 1000);
	loop_turn(m.loop, false);
	assert_int_equal(child[0]->state, MCP_WAITING);
	assert_int_equal(child[0]->backoff, 1000);
	loop_fake_clock(m.loop, 1001000, 1001);
	loop_turn(m.loop, false);
	/* It was tried, and failed for want of the folder of the lock. */
	assert_int_equal(child[0]->state, MCP_WAITING);
	assert_int_equal(child[0]->backoff, 2000);
	assert_int_equal(child[1]->state, MCP_UP);
}

static void status_78_is_off(void **state)
{
	(void)state;
	mcp_child_ended(child[0], EXIT_CONFIG << 8);
	assert_int_equal(child[0]->state, MCP_OFF);
	loop_fake_clock(m.loop, 2000000, 2000);
	loop_turn(m.loop, false);
	assert_int_equal(child[0]->state, MCP_OFF);
	/* The other one worked before: something passing is wrong. */
	child[1]->proved = true;
	mcp_child_ended(child[1], EXIT_CONFIG << 8);
	assert_int_equal(child[1]->state, MCP_WAITING);
}

static void dependents_are_held(void **state)
{
	static const char *const deps[] = {"SMTPC", NULL};

	(void)state;
	set[1].restart_dependencies = deps;
	child[0]->state = MCP_WAITING; /* the dependent is down already */
	mcp_child_ended(child[1], 9);
	assert_true(section[1].holding);
	child[0]->state = MCP_DOWN;
	mcp_order_run(&m);
	assert_int_equal(child[0]->state, MCP_DOWN); /* held */
	loop_fake_clock(m.loop, 1001000, 1001);
	loop_turn(m.loop, false);
	/* The back-off is over: both were tried. */
	assert_false(section[1].holding);
	assert_int_equal(child[0]->backoff, 1000);
	assert_int_equal(child[1]->backoff, 2000);
}

/* A reload may change whom a section takes with it while it waits for its restart. */
static void dependents_change(void **state)
{
	static const char *const deps[] = {"SMTPC", NULL};

	(void)state;
	set[1].restart_dependencies = deps;
	mcp_child_ended(child[1], 9);
	assert_int_equal(child[0]->state, MCP_STOPPING);
	mcp_child_ended(child[0], 0);
	assert_int_equal(child[0]->state, MCP_DOWN); /* held */
	set[1].restart_dependencies = NULL;
	mcp_order_rehold(&m);
	mcp_order_run(&m);
	assert_int_equal(child[0]->backoff, 1000); /* it was tried */
}

static void dependents_are_new(void **state)
{
	static const char *const deps[] = {"smar", NULL}, *const more[] = {"smtpc", "smar", NULL};

	(void)state;
	set[1].restart_dependencies = deps;
	mcp_child_ended(child[1], 9);
	mcp_child_ended(child[2], 0);
	assert_int_equal(child[0]->state, MCP_UP);
	set[1].restart_dependencies = more;
	mcp_order_rehold(&m);
	assert_int_equal(child[0]->state, MCP_STOPPING);
	loop_fake_clock(m.loop, 1001000, 1001);
	loop_turn(m.loop, false);
	assert_int_equal(child[1]->state, MCP_DOWN); /* until that one has ended */
	mcp_child_ended(child[0], 0);
	assert_int_equal(child[0]->backoff, 1000);
	assert_int_equal(child[1]->backoff, 2000);
	assert_int_equal(child[2]->backoff, 1000);
}

/* Log files are opened anew by all that have a handler for it, those that are ending included. */
static void reopens(void **state)
{
	static const struct {
		enum mcp_state state;
		bool ready, retired, told;
	} t[] = {{MCP_STARTING, false, false, false}, {MCP_UP, true, false, true},
	    {MCP_STOPPING, true, false, true}, {MCP_STOPPING, false, false, false},
	    {MCP_UP, true, true, true}, {MCP_STOPPING, true, true, true},
	    {MCP_STOPPING, false, true, false}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct mcp_child *c =
		    t[i].retired ? mcp_child_new(&m, &section[0], &set[0], 1, 1) : child[0];
		int status = 0;

		child[0]->state = child[1]->state = child[2]->state = MCP_DOWN;
		if (t[i].retired)
			mcp_retire(c, "a test");
		c->state = t[i].state;
		c->ready = t[i].ready;
		c->pid = fork();
		while (c->pid == 0)
			pause();
		mcp_child_reopen_all(&m);
		kill(c->pid, SIGKILL);
		assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
		if ((WTERMSIG(status) == SIGUSR1) != t[i].told)
			fail_msg("row %zu: ended by signal %d", i, WTERMSIG(status));
		mcp_retire_close(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names),
	    cmocka_unit_test(backoff),
	    cmocka_unit_test_setup_teardown(waits_before_a_restart, setup, teardown),
	    cmocka_unit_test_setup_teardown(status_78_is_off, setup, teardown),
	    cmocka_unit_test_setup_teardown(dependents_are_held, setup, teardown),
	    cmocka_unit_test_setup_teardown(dependents_change, setup, teardown),
	    cmocka_unit_test_setup_teardown(dependents_are_new, setup, teardown),
	    cmocka_unit_test_setup_teardown(reopens, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
