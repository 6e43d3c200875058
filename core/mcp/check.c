/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c -- the unprivileged checkers: "ROLE -f FILE -C" for every section, as its user, all
 * at the same time. They open the modules that mcp must not open.
 *
 * Comes from: mcp.c before a start, reload.c. Goes to: core/role_check.c in the other process.
 * Owns: the pids and pipes of the checkers. On failure (a status that is not 0, more than 30 s):
 * everything that they wrote, and the start or the reload does not happen.
 */
#include "mcp.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK_MS    30000
#define OUTPUT_MAX  65536
#define VERDICT_MAX 256

struct checker {
	struct mcp_check *check;
	const struct set_role *set;
	pid_t pid;  /* 0: reaped */
	int status; /* as waitpid() says */
	int fd;	    /* -1: read to its end */
	struct watch *watch;
	char output[OUTPUT_MAX]; /* its own, so that those of two do not mix */
	size_t len;
};

struct mcp_check {
	struct mcp *m;
	struct settings *set;
	mcp_check_fn done;
	struct checker *one;
	unsigned n;
	bool good;
	struct watch *timer;
};

static void add(struct checker *c, const char *text, size_t n)
{
	if (n > OUTPUT_MAX - 1 - c->len)
		n = OUTPUT_MAX - 1 - c->len;
	memcpy(c->output + c->len, text, n);
	c->len += n;
	c->output[c->len] = '\0';
}

/* Every different output once: an error of the file is found by all of them. */
static char *all_output(const struct mcp_check *k)
{
	char *text = base_alloc((size_t)k->n * (OUTPUT_MAX + VERDICT_MAX) + 1), words[64];
	size_t len = 0;

	for (unsigned i = 0; i < k->n; i++) {
		bool again = false;

		for (unsigned j = 0; j < i; j++)
			again = again || strcmp(k->one[i].output, k->one[j].output) == 0;
		if (again)
			continue;
		memcpy(text + len, k->one[i].output, k->one[i].len);
		len += k->one[i].len;
	}
	for (unsigned i = 0; i < k->n; i++) {
		const struct set_role *s = k->one[i].set;

		if (k->one[i].status == 0)
			continue;
		mcp_status_words(k->one[i].status, words, sizeof(words));
		len += (size_t)snprintf(text + len, VERDICT_MAX,
		    "the check of section %s%s%.64s failed: %s\n", s->keyword, s->name ? " " : "",
		    s->name ? s->name : "", words);
	}
	return text;
}

static void destroy(struct mcp_check *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		if (k->one[i].pid > 0)
			kill(k->one[i].pid, SIGKILL);
		loop_unwatch(&k->one[i].watch);
		if (k->one[i].fd >= 0)
			close(k->one[i].fd);
	}
	loop_unwatch(&k->timer);
	free(k->one);
	free(k);
}

static void maybe_done(struct mcp_check *k)
{
	struct mcp *m = k->m;
	char *text;

	for (unsigned i = 0; i < k->n; i++) {
		if (k->one[i].pid > 0 || k->one[i].fd >= 0)
			return;
	}
	m->check = NULL;
	text = all_output(k);
	k->done(m, k->good, text);
	free(text);
	destroy(k);
}

static void on_output(int fd, short what, void *arg)
{
	struct checker *c = arg;
	char text[4096];
	ssize_t n = read(fd, text, sizeof(text));

	(void)what;
	if (n > 0) {
		add(c, text, (size_t)n);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	loop_unwatch(&c->watch);
	close(c->fd);
	c->fd = -1;
	maybe_done(c->check);
}

bool mcp_check_reaped(struct mcp *m, pid_t pid, int status)
{
	struct mcp_check *k = m->check;

	for (unsigned i = 0; k && i < k->n; i++) {
		struct checker *c = &k->one[i];

		if (c->pid != pid)
			continue;
		c->pid = 0;
		c->status = status;
		if (status != 0)
			k->good = false;
		maybe_done(k);
		return true;
	}
	return false;
}

static void too_long(int fd, short what, void *arg)
{
	static const char text[] = "took more than 30 s\n";
	struct mcp_check *k = arg;

	(void)fd, (void)what;
	k->good = false;
	for (unsigned i = 0; i < k->n; i++) {
		if (k->one[i].pid <= 0)
			continue;
		add(&k->one[i], text, sizeof(text) - 1);
		kill(k->one[i].pid, SIGKILL);
	}
}

static int start_one(struct mcp_check *k, struct checker *c, struct meta1_err *err)
{
	struct mcp_exec x = {.set = c->set,
	    .chan_fd = -1,
	    .lock_fd = -1,
	    .conf_fd = conf_pack(k->set->conf),
	    .check = true,
	    .out_fd = -1};
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(err, "pipe: %s", strerror(errno));
	x.out_fd = p[1];
	c->pid = mcp_exec(k->m, &x, err);
	close(p[1]);
	if (c->pid < 0) {
		c->pid = 0;
		close(p[0]);
		return -1;
	}
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	c->fd = p[0];
	c->watch = loop_fd(k->m->loop, c->fd, EV_READ, on_output, c);
	return 0;
}

static void nothing_runs(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	maybe_done(arg);
}

void mcp_check_start(struct mcp *m, struct settings *set, mcp_check_fn done)
{
	struct mcp_check *k = base_alloc(sizeof(*k));
	unsigned running = 0;

	k->m = m;
	k->set = set;
	k->done = done;
	k->good = true;
	k->n = set->nrole;
	k->one = base_alloc(sizeof(*k->one) * (k->n + 1));
	m->check = k;
	for (unsigned i = 0; i < k->n; i++) {
		struct meta1_err err = {""};

		k->one[i] = (struct checker){.check = k, .set = set->role[i], .fd = -1};
		if (start_one(k, &k->one[i], &err) == 0) {
			running++;
			continue;
		}
		k->good = false;
		add(&k->one[i], err.text, strlen(err.text));
		add(&k->one[i], "\n", 1);
	}
	k->timer = running ? loop_timer(m->loop, CHECK_MS, too_long, k)
			   : loop_timer(m->loop, 0, nothing_runs, k);
}

void mcp_check_cancel(struct mcp *m)
{
	struct mcp_check *k = m->check;

	m->check = NULL;
	if (k)
		destroy(k);
}
