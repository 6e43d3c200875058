/* SPDX-License-Identifier: BSD-2-Clause */
#include "apart.h"

#include "../until.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void kill_worker(void *arg, uint32_t pid)
{
	struct apart *a = arg;

	a->kills++;
	if (a->pid && (pid_t)pid == a->pid)
		kill(a->pid, SIGKILL);
}

void apart_start(struct apart *a)
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
	mod_worker_came(&a->f->host, APART_NAME, sp[0], (uint32_t)a->pid, a->restarts);
}

int apart_ended(struct apart *a)
{
	int status = 0;

	assert_int_equal(waitpid(a->pid, &status, 0), a->pid);
	a->pid = 0;
	return status;
}

int apart_up(void **state)
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

int apart_down(void **state)
{
	struct apart *a = *state;
	char cmd[128];

	mod_close(&a->in);
	if (a->pid)
		assert_int_equal(WEXITSTATUS(apart_ended(a)), MOD_WORKER_DONE);
	assert_int_equal(a->f->faults, 0);
	snprintf(cmd, sizeof(cmd), "rm -r %s", a->folder);
	assert_int_equal(system(cmd), 0);
	fix_down((void **)&a->f);
	free(a);
	return 0;
}

struct mod_inst *apart_begin(struct apart *a, const char *options)
{
	static const char *const core[] = {"type", NULL};

	a->f->conf = conf_read_text("options", options);
	a->set = (struct settings){.conf = a->f->conf, .file = "/etc/test.conf"};
	a->sm = (struct settings_module){.use = "smar: map x",
	    .kind = "map",
	    .module = "map_try",
	    .instance = "x",
	    .section = conf_root(a->f->conf),
	    .isolate = &a->iso};
	return mod_use(&a->f->host, &a->sm, &a->set, core, &a->f->err);
}

struct mod_inst *apart_use(struct apart *a, const char *options)
{
	return fix_await(a->f, apart_begin(a, options));
}

void apart_open(struct apart *a, const char *options)
{
	apart_start(a);
	a->in = apart_use(a, options);
	if (!a->in)
		fail_msg("%s", a->f->err.text);
}

void apart_ask(struct apart *a, const char *key, struct said *s)
{
	fix_ask(a->f, a->in, key, s);
	fix_until(a->f, s);
	assert_int_equal(s->times, 1);
}

static void see(void *arg, const struct mod_worker_state *s)
{
	struct seen *n = arg;

	assert_string_equal(s->instance, "map_try/x");
	*n = (struct seen){n->n + 1, s->up, s->pid, s->restarts, s->open, ""};
	str_copy(n->end, sizeof(n->end), s->end);
}

struct seen apart_seen(struct apart *a)
{
	struct seen s = {0};

	mod_workers(&a->f->host, see, &s);
	assert_int_equal(s.n, 1);
	return s;
}

void apart_until_up(struct apart *a, bool is)
{
	LOOP_UNTIL(a->f->host.loop, apart_seen(a).up == is);
}
