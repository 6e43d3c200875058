/* SPDX-License-Identifier: BSD-2-Clause */
/* control.c of mcp under a clock that stands still: a file is switched off, and what becomes of
 * that while a role does not come up and another reload is under way. No reload is carried out
 * here: the test says what came of each. */
#include "../unit.h"
#include "mcp/mcp.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TOO_LONG 60001

static struct mcp m;
static const struct set_role set = {.keyword = "smar"};
static struct mcp_child child, *children[] = {&child};
static struct mcp_section section, *sections[] = {&section};
static char top[64], file[80], on[80];
static int64_t now;
static int fd;

static void turns(int64_t ms)
{
	loop_fake_clock(m.loop, now += ms, 1000);
	for (int i = 0; i < 4; i++)
		loop_turn(m.loop, false);
}

static void make(const char *name)
{
	char path[80];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(chmod(path, 0644), 0);
}

/* "disable x" was said, the reload with that is committed, and smar restarts. */
static int setup(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char conf[200];

	(void)state;
	strcpy(top, "/tmp/m1-control.XXXXXX");
	assert_non_null(mkdtemp(top));
	for (const char *const *d = (const char *const[]){"conf.d", "run", NULL}; *d; d++) {
		snprintf(conf, sizeof(conf), "%s/%s", top, *d);
		assert_int_equal(mkdir(conf, 0755), 0);
	}
	make("conf.d/x.conf.sample");
	snprintf(file, sizeof(file), "%s/meta1.conf", top);
	snprintf(on, sizeof(on), "%s/conf.d/x.conf", top);
	assert_int_equal(symlink("x.conf.sample", on), 0);
	m = (struct mcp){.loop = loop_new(), .file = file, .section = sections};
	loop_fake_clock(m.loop, now = 1000000, 1000);
	log_open(m.loop, &(struct log_conf){.ident = "t", .file = "/dev/null", .level = 0},
	    &(struct meta1_err){""});
	snprintf(conf, sizeof(conf), "queue_directory = %s/q; run_directory = %s/run;", top, top);
	m.set = settings_load_text("t", conf, OPT_CHECK);
	section = (struct mcp_section){.set = &set, .ipc_fd = -1, .child = children, .nchild = 1};
	child = (struct mcp_child){.m = &m, .sec = &section, .name = "smar", .awaited = true};
	assert_int_equal(mcp_control_open(&m, &(struct meta1_err){""}), 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/run/mcp.sock", top);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(write(fd, "disable x\n", 10), 10);
	turns(0);
	assert_int_not_equal(access(on, F_OK), 0);
	m.nsection = 1;
	child.state = MCP_STOPPING;
	mcp_control_reloaded(&m, true, "smar: needs a restart: the option DNS_tries\n");
	return 0;
}

static int teardown(void **state)
{
	char cmd[80];

	(void)state;
	close(fd);
	mcp_control_close(&m);
	turns(TOO_LONG);
	log_close();
	loop_free(&m.loop);
	settings_free(&m.set);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	return system(cmd);
}

/* "": none yet. */
static const char *answered(void)
{
	static char text[4000];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* Something has happened; a reload that is asked for is not carried out. */
static void look(enum mcp_state state)
{
	child.state = state;
	m.stopping = true;
	mcp_control_look(&m);
	m.stopping = false;
}

/* The time for the restart is over while the reload that takes it back is under way: it is as if
 * nothing was. */
static void late_while_taken_back(void **state)
{
	(void)state;
	turns(TOO_LONG - 1000);
	look(MCP_OFF);
	assert_int_equal(access(on, F_OK), 0);
	turns(TOO_LONG);
	assert_string_equal(answered(), "");
	mcp_control_reloaded(&m, true, "");
	look(MCP_STARTING);
	assert_string_equal(answered(), "");
	look(MCP_UP);
	assert_string_equal(
	    answered(), "refused\nsmar does not come up with it; its log says why\ntaken back\n");
}

/* SIGHUP: what came of that is not taken for what comes of ours. */
static void another_reload(void **state)
{
	int other;

	(void)state;
	m.reload = (struct mcp_reload *)&other;
	look(MCP_OFF);
	assert_int_not_equal(access(on, F_OK), 0);
	turns(TOO_LONG);
	assert_int_not_equal(access(on, F_OK), 0);
	mcp_control_reloaded(&m, true, "");
	m.reload = NULL;
	look(MCP_STARTING);
	assert_string_equal(answered(), "");
	look(MCP_UP);
	assert_string_equal(answered(), "done\nsmar: needs a restart: the option DNS_tries\n");
	assert_int_not_equal(access(on, F_OK), 0);
}

/* A folder that cannot be handed over: that is known after the commit only. */
static void one_more_line(void **state)
{
	(void)state;
	mcp_reload_note(&m, "q/smar: not given\n");
	look(MCP_UP);
	assert_string_equal(
	    answered(), "done\nsmar: needs a restart: the option DNS_tries\nq/smar: not given\n");
	mcp_reload_note(&m, "nobody hears it\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(late_while_taken_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(another_reload, setup, teardown),
	    cmocka_unit_test_setup_teardown(one_more_line, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
