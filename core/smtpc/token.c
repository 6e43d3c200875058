/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * token.c -- a token (OAuth 2) for a login: from a file, which somebody keeps fresh and which is
 * read each time, or from a helper command, whose word is kept for a while.
 *
 * Runs on a worker thread, called by login.c. The command gets no input, no shell and an
 * environment of PATH alone; it has a time and a length, and what it says on standard error goes to
 * ours. One command a row at a time: who waits takes what the other got. Owns the kept token,
 * wiped. On failure: err says why, without what was read.
 */
#include "smtpc/creds.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGS_MAX 64

struct token_kept {
	pthread_mutex_t lock;
	char *token;
	size_t len;
	int64_t until;
};

struct token_kept *token_kept_new(void)
{
	struct token_kept *k = base_alloc(sizeof(*k));

	pthread_mutex_init(&k->lock, NULL);
	return k;
}

void token_kept_free(struct token_kept **kp)
{
	struct token_kept *k = *kp;

	*kp = NULL;
	if (!k)
		return;
	secret_wipe(&k->token, k->len);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* White space around it is not of it; what is left must be one word. */
static int trim(char *p, size_t *len, const char *what, struct meta1_err *err)
{
	size_t n = *len, from = 0;

	while (n > 0 && strchr(" \t\r\n", p[n - 1]))
		p[--n] = '\0';
	from = strspn(p, " \t\r\n");
	memmove(p, p + from, n - from + 1);
	*len = n -= from;
	if (n == 0)
		return err_set(err, "%s has no token", what);
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] >= 127)
			return err_set(
			    err, "%s has more than a token: one word of ASCII is expected", what);
	return 0;
}

/* ---- the command ---- */

static int start(const char *command, int *fd, pid_t *pid, struct meta1_err *err)
{
	static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
	char *env[] = {path, NULL}, *argv[ARGS_MAX + 1], *words = base_strdup(command), *p = words,
	     *w;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int ends[2], n = 0, rc;

	while ((w = strsep(&p, " \t")) && n < ARGS_MAX)
		if (*w)
			argv[n++] = w;
	argv[n] = NULL;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		free(words);
		return err_set(err, "pipe: %s", strerror(errno));
	}
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, ends[1], 1);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(
	    &attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	rc = posix_spawn(pid, argv[0], &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	close(ends[1]);
	if (rc != 0) {
		close(ends[0]);
		err_set(err, "%.200s: %s", argv[0], strerror(rc));
	}
	free(words);
	*fd = ends[0];
	return rc == 0 ? 0 : -1;
}

/* What it says until it closes. */
static int listen_to(int fd, char *p, size_t *len, int64_t until, struct meta1_err *err)
{
	struct pollfd w = {.fd = fd, .events = POLLIN};
	ssize_t n;

	for (;;) {
		int64_t left = until - now_ms();

		if (left <= 0 || poll(&w, 1, (int)left) == 0)
			return err_set(err, "it took too long");
		n = read(fd, p + *len, TOKEN_MAX + 1 - *len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_set(err, "%s", strerror(errno));
		if (n == 0)
			return 0;
		*len += (size_t)n;
		if (*len > TOKEN_MAX)
			return err_set(err, "it said more than %d bytes", TOKEN_MAX);
	}
}

/* Its end, within the time; what is left of its group is killed. */
static int reap(pid_t pid, bool failed, int64_t until, struct meta1_err *err)
{
	siginfo_t info = {.si_pid = 0};
	int status = 0;

	/* seen, but kept until after the kill: its number must not be another's by then */
	while (!failed && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0 && now_ms() < until)
		poll(NULL, 0, 5);
	kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (failed)
		return -1;
	if (info.si_pid == 0)
		return err_set(err, "it took too long");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return WIFEXITED(status) ? err_set(err, "exit status %d", WEXITSTATUS(status))
				 : err_set(err, "ended by signal %d", WTERMSIG(status));
}

static char *run(const struct cred *c, int64_t limit, size_t *len, struct meta1_err *err)
{
	int64_t until = now_ms() + limit;
	char *p = base_alloc(TOKEN_MAX + 2);
	struct meta1_err why = {""};
	pid_t pid = 0;
	int fd = -1, rc;

	*len = 0;
	rc = start(c->token_command, &fd, &pid, &why);
	if (rc == 0) {
		rc = listen_to(fd, p, len, until, &why);
		close(fd);
		rc = reap(pid, rc < 0, until, &why);
	}
	if (rc == 0)
		rc = trim(p, len, "what it said", &why);
	if (rc < 0) {
		err_set(err, "token_command: %.300s", why.text);
		secret_wipe(&p, TOKEN_MAX + 2);
	}
	return p;
}

/* ---- */

static char *copy(const struct token_kept *k, size_t *len)
{
	*len = k->len;
	return base_strndup(k->token, k->len);
}

static char *of_command(
    const struct cred *c, int64_t keep, int64_t limit, size_t *len, struct meta1_err *err)
{
	struct token_kept *k = c->kept;
	char *p = NULL;

	pthread_mutex_lock(&k->lock);
	if (k->token && now_ms() < k->until) {
		p = copy(k, len);
	} else {
		secret_wipe(&k->token, k->len);
		k->token = run(c, limit, &k->len, err);
		k->until = now_ms() + keep;
		if (k->token)
			p = copy(k, len);
	}
	pthread_mutex_unlock(&k->lock);
	return p;
}

void token_bad(const struct cred *c)
{
	/* a thread that runs the command holds the lock: its token is a new one */
	if (pthread_mutex_trylock(&c->kept->lock) != 0)
		return;
	secret_wipe(&c->kept->token, c->kept->len);
	pthread_mutex_unlock(&c->kept->lock);
}

char *token_get(
    const struct cred *c, int64_t keep, int64_t limit, size_t *len, struct meta1_err *err)
{
	char *p;

	if (c->token_command)
		return of_command(c, keep, limit, len, err);
	p = secret_read("token_file", c->token_file, TOKEN_MAX, len, err);
	if (p && trim(p, len, c->token_file, err) < 0)
		secret_wipe(&p, *len);
	return p;
}
