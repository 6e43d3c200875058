/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fakerole.c -- a real role (core/role.c) without work, for the tests of mcp.
 *
 * Its name is argv[0], so the configuration's `arguments` says which role it plays. In the
 * folder META1_FAKE_DIR it appends what happens to "events", and before each act it looks for a
 * file "ROLE" there with words: fail=N (end at start with N), die=N (end at go), hang (at go),
 * at a reload refuse, restart, fall=N (ends), stuck, wait (as long as the word is there), soon
 * (ends when it has answered), and slow (stop takes as long as it may). As smtps it answers each
 * connection with one line and closes it.
 */
#include "role.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct role role;
static struct watch *listener[64];

static void event(const char *fmt, ...) PRINTF(1, 2);
static void event(const char *fmt, ...)
{
	char path[512], text[512];
	va_list ap;
	int n, fd;

	snprintf(path, sizeof(path), "%s/events", getenv("META1_FAKE_DIR"));
	n = snprintf(text, sizeof(text), "%s %ld ", role.name, (long)getpid());
	va_start(ap, fmt);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	text[n++] = '\n';
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		perror(path);
	if (fd >= 0)
		close(fd);
}

/* The number behind word in the role's file, 0 for a bare word, -1 when it is not there. */
static int told(const char *word)
{
	char path[512], text[256] = "";
	const char *p;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", getenv("META1_FAKE_DIR"), role.name);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	p = strstr(text, word);
	if (!p)
		return -1;
	p += strlen(word);
	return *p == '=' ? atoi(p + 1) : 0;
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	return n;
}

/* Those to listen on; there is the table of clients too. */
static unsigned listeners(const struct role *r, int fd[])
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->nfd && n < ARRAY_LEN(listener); i++)
		if (strcmp(r->fd[i].kind, "listen") == 0)
			fd[n++] = r->fd[i].fd;
	return n;
}

static int start(struct role *r, struct meta1_err *err)
{
	int fd[ARRAY_LEN(listener)];

	event("start index=%u processes=%u listeners=%u uid=%u gid=%u groups=%d inherited=%u "
	      "level=%d",
	    r->index, r->processes, listeners(r, fd), (unsigned)getuid(), (unsigned)getgid(),
	    getgroups(0, NULL), open_fds(), (int)r->set->log_level);
	if (told("fail") > 0)
		_exit(told("fail"));
	if (told("fail") == 0)
		return err_set(err, "told to fail");
	return 0;
}

static void serve(int fd, short what, void *arg)
{
	char line[64];
	int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	int n = snprintf(line, sizeof(line), "220 %ld\r\n", (long)getpid());

	(void)what, (void)arg;
	if (c < 0)
		return;
	if (write(c, line, (size_t)n) != n)
		event("write");
	close(c);
}

static void listen_all(struct role *r)
{
	int fd[ARRAY_LEN(listener)];
	unsigned n = listeners(r, fd);

	for (unsigned i = 0; i < n; i++)
		listener[i] = loop_fd(r->loop, fd[i], EV_READ, serve, r);
}

static void go(struct role *r)
{
	event("go");
	if (told("die") >= 0)
		_exit(told("die"));
	while (told("hang") >= 0)
		pause();
	listen_all(r);
}

static void deaf(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(listener); i++)
		loop_unwatch(&listener[i]);
}

static void stop(struct role *r)
{
	event("stop");
	deaf();
	if (told("slow") < 0)
		role_stopped(r);
}

static void end_now(int fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	_exit(1);
}

static int reload_prepare(struct role *r, struct settings *next, struct meta1_err *err)
{
	event("prepare level=%d", (int)next->log_level);
	while (told("wait") >= 0)
		usleep(10000);
	if (told("soon") >= 0)
		loop_timer(r->loop, 0, end_now, NULL);
	if (told("refuse") >= 0)
		return err_set(err, "told to refuse");
	if (told("fall") >= 0)
		_exit(told("fall"));
	while (told("stuck") >= 0)
		pause();
	if (told("restart") >= 0) {
		err_set(err, "told to restart");
		return 1;
	}
	return 0;
}

static void reload_finish(struct role *r, bool commit)
{
	event("%s level=%d", commit ? "commit" : "abort", (int)r->set->log_level);
	if (!commit)
		return;
	deaf();
	listen_all(r);
}

static const struct chan_handler handlers[] = {{P_NONE, NULL}};
static const char *const qmgr_and_smar[] = {"smar", "qmgr", NULL};
static const char *const qmgr[] = {"qmgr", NULL};
static const char *const smar[] = {"smar", NULL};

int main(int argc, char **argv)
{
	const struct {
		const char *name;
		enum proto_who who;
		const char *const *servers;
	} roles[] = {
	    {"smtps", SMTPS, qmgr_and_smar},
	    {"smtpc", SMTPC, qmgr},
	    {"smar", SMAR, NULL},
	    {"qmgr", QMGR, smar},
	};

	role = (struct role){
	    .handlers = handlers,
	    .start = start,
	    .go = go,
	    .stop = stop,
	    .reload_prepare = reload_prepare,
	    .reload_finish = reload_finish,
	};
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(argv[0], roles[i].name) != 0)
			continue;
		role.name = roles[i].name;
		role.bit = META1_TOOL; /* a role without modules */
		role.who = roles[i].who;
		role.servers = roles[i].servers;
		return role_main(&role, argc, argv);
	}
	fprintf(stderr, "%s: argv[0] must be the name of a role\n", argv[0]);
	return 64;
}
