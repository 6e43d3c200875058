/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * retire.c and worker.c of mcp: processes without a section, under a clock that stands still: how
 * long they have, and that nothing is started for them. Their programs do not exist.
 */
#include "../unit.h"
#include "mcp/mcp.h"

#include <stdlib.h>
#include <sys/wait.h>

static struct mcp m;
static struct mcp_section *sections[1];

static int setup(void **state)
{
	(void)state;
	m = (struct mcp){.loop = loop_new(), .section = sections};
	loop_fake_clock(m.loop, 1000000, 1000);
	m.set = settings_load_text("t",
	    "queue_directory = /nonexistent/q;\n"
	    "smar { map ac { type = text; file = ac; isolate = yes; } access { name = ac; } "
	    "path = /nonexistent/smar; }\n",
	    OPT_CHECK);
	log_open(m.loop, &(struct log_conf){.ident = "t", .file = "/dev/null", .level = 0},
	    &(struct meta1_err){""});
	return 0;
}

static int teardown(void **state)
{
	struct mcp_child *c;

	(void)state;
	LIST_FOREACH(c, &m.retired, link)
	c->pid = 0;
	mcp_retire_close(&m);
	mcp_workers_close(&m);
	loop_unwatch(&m.order_timer);
	log_close();
	loop_free(&m.loop);
	settings_free(&m.set);
	return 0;
}

static struct mcp_section *section(const char *role)
{
	static struct set_role set[4];
	static struct mcp_section sec[4];
	size_t i = (size_t)(mcp_wire(role) - mcp_wiring);

	set[i] = (struct set_role){.keyword = role};
	sec[i] = (struct mcp_section){.wire = mcp_wire(role), .set = &set[i], .ipc_fd = -1};
	return &sec[i];
}

static struct mcp_child *child(struct mcp_section *sec)
{
	struct mcp_child *c = mcp_child_new(&m, sec, sec->set, 0, 0);

	c->state = MCP_UP;
	c->pid = 1000000; /* never signalled here */
	return c;
}

/* Another account makes those of its role hurry, and those who keep them from ending; no other. */
static void hurries(void **state)
{
	static const struct {
		const char *of;
		bool smtps, smtpc, qmgr, smar;
	} t[] = {{"smtps", true, false, false, false}, {"smtpc", false, true, false, false},
	    {"qmgr", true, true, true, false}, {"smar", true, true, true, true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct mcp_child *c[] = {child(section("smtps")), child(section("smtpc")),
		    child(section("qmgr")), child(section("smar"))};
		const bool want[] = {t[i].smtps, t[i].smtpc, t[i].qmgr, t[i].smar};

		for (size_t k = 0; k < ARRAY_LEN(c); k++)
			mcp_retire(c[k], "a test");
		mcp_retire_hurry_role(&m, t[i].of);
		for (size_t k = 0; k < ARRAY_LEN(c); k++)
			assert_int_equal(c[k]->hurry, want[k]);
		mcp_retire_close(&m);
	}
}

static struct mcp_child *with_worker(void)
{
	struct mcp_section *sec = section("smar");
	struct mcp_child *c = child(sec);

	sec->set = m.set->role[0];
	mcp_workers_start(c, m.set, sec->set);
	return c;
}

static void worker_ends(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, 0);

	assert_true(pid > 0);
	assert_true(mcp_worker_reaped(&m, pid, status));
}

/* A worker of it that waits for its restart is forgotten: there are no settings to start it by. */
static void no_worker(void **state)
{
	struct mcp_child *c = with_worker();

	(void)state;
	worker_ends();
	assert_false(LIST_EMPTY(&m.workers)); /* it waits */
	mcp_retire(c, "a test");
	loop_fake_clock(m.loop, 1001000, 1001);
	loop_turn(m.loop, false);
	assert_true(LIST_EMPTY(&m.workers));
	assert_int_equal(waitpid(-1, NULL, 0), -1);
}

/* One that is up and ends later is not started again either. */
static void no_other_worker(void **state)
{
	struct mcp_child *c = with_worker();

	(void)state;
	mcp_retire(c, "a test");
	worker_ends();
	assert_true(LIST_EMPTY(&m.workers));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(hurries, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_worker, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_other_worker, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
