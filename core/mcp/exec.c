/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec.c -- from root to an unprivileged program: words, environment, descriptors, privileges.
 *
 * Comes from: child.c (a process of a role), check.c (its checker). Goes to: core/role.c.
 * The new program gets: stdin from /dev/null, stdout and stderr, descriptor 3 = channel to mcp
 * (META1_MCP_FD), descriptor 4 = its lock, 5 = the configuration as mcp has read it
 * (META1_CONF_FD); nothing else is open. Working folder is queue_directory. A worker gets the
 * stream to its role instead (META1_WORKER_FD), and no lock. On failure: before the fork err; after
 * it one line on stderr and status 71, or 78 when the program itself is not there.
 */
#include "mcp.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD_CHAN = 3, FD_LOCK = 4, FD_CONF = 5, FD_FREE = 6, FD_HIGH = 20 };

/* Names, or beginnings of names, that change what a program loads or where it looks. */
static const char *const unsafe[] = {
    "LD_", "LTDL_", "GCONV_PATH=", "MALLOC_", "LOCPATH=", "BASH_ENV=", "ENV=", NULL};

void mcp_words_free(char ***wp)
{
	char **w = *wp;

	for (size_t i = 0; w && w[i]; i++)
		free(w[i]);
	free(w);
	*wp = NULL;
}

/* One word into out; returns what follows it, or NULL: a quote is not closed. */
static const char *word(const char *p, char *out)
{
	char quote = 0;

	for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
		if (quote && *p == quote)
			quote = 0;
		else if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		else if (*p == '\\' && quote != '\'' && p[1])
			*out++ = *++p;
		else
			*out++ = *p;
	}
	*out = '\0';
	return quote ? NULL : p;
}

char **mcp_words(const char *text, struct meta1_err *err)
{
	char **w = base_alloc(sizeof(*w));
	size_t n = 0;

	for (const char *p = text;;) {
		char *out;

		while (isspace((unsigned char)*p))
			p++;
		if (!*p)
			return w;
		out = base_alloc(strlen(p) + 1);
		w = base_realloc(w, sizeof(*w) * (n + 2));
		w[n++] = out;
		w[n] = NULL;
		p = word(p, out);
		if (!p) {
			err_set(err, "arguments = %s: a quote is not closed", text);
			mcp_words_free(&w);
			return NULL;
		}
	}
}

bool mcp_env_passes(const char *assignment, bool root, bool testing)
{
	if (strncmp(assignment, "META1_MCP_FD=", 13) == 0 ||
	    strncmp(assignment, "META1_WORKER_FD=", 16) == 0 ||
	    strncmp(assignment, "META1_CONF_FD=", 14) == 0)
		return false;
	if (!root || testing)
		return true;
	if (strncmp(assignment, "META1_MODULE_PATH=", 18) == 0)
		return false;
	for (size_t i = 0; unsafe[i]; i++) {
		if (strncmp(assignment, unsafe[i], strlen(unsafe[i])) == 0)
			return false;
	}
	return true;
}

static char **environment(struct mcp *m, const struct mcp_exec *x)
{
	static char channel_env[] = "META1_MCP_FD=3", worker_env[] = "META1_WORKER_FD=3",
		    conf_env[] = "META1_CONF_FD=5";
	size_t n = 0, kept = 0;
	char **env;

	while (environ[n])
		n++;
	env = base_alloc(sizeof(*env) * (n + 4));
	for (size_t i = 0; i < n; i++) {
		if (mcp_env_passes(environ[i], m->root, mcp_testing()))
			env[kept++] = environ[i];
	}
	if (x->chan_fd >= 0)
		env[kept++] = x->worker ? worker_env : channel_env;
	if (x->conf_fd >= 0)
		env[kept++] = conf_env;
	return env;
}

/* After the fork: one line, no return. */
static _Noreturn void child_fails(const char *what, const char *with, int status)
{
	dprintf(STDERR_FILENO, "mcp: %s %s: %s\n", what, with, strerror(errno));
	_exit(status);
}

static void arrange(const struct mcp_exec *x)
{
	int chan = x->chan_fd < 0 ? -1 : fcntl(x->chan_fd, F_DUPFD, FD_HIGH);
	int lock = x->lock_fd < 0 ? -1 : fcntl(x->lock_fd, F_DUPFD, FD_HIGH);
	int conf = x->conf_fd < 0 ? -1 : fcntl(x->conf_fd, F_DUPFD, FD_HIGH);
	int out = x->out_fd < 0 ? STDERR_FILENO : x->out_fd;
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(out, STDERR_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
	    dup2(null, STDIN_FILENO) < 0)
		child_fails("descriptors for", x->set->keyword, EXIT_OS);
	close(FD_CHAN);
	close(FD_LOCK);
	close(FD_CONF);
	if ((chan >= 0 && dup2(chan, FD_CHAN) < 0) || (lock >= 0 && dup2(lock, FD_LOCK) < 0) ||
	    (conf >= 0 && dup2(conf, FD_CONF) < 0))
		child_fails("descriptors for", x->set->keyword, EXIT_OS);
	if (close_range(FD_FREE, ~0U, 0) < 0)
		child_fails("descriptors for", x->set->keyword, EXIT_OS);
}

/* All groups of the user, and one more unless it is -1. */
static int set_groups(const struct mcp_account *a, gid_t more)
{
	static gid_t list[NGROUPS_MAX]; /* of the forked process */
	int n;

	if (initgroups(a->name, a->gid) < 0)
		return -1;
	n = more == (gid_t)-1 ? 0 : getgroups(NGROUPS_MAX - 1, list);
	if (n <= 0)
		return n;
	list[n++] = more;
	return setgroups((size_t)n, list);
}

/* Becomes the user for good, and makes sure that there is no way back. */
static void drop(const struct mcp_account *a, gid_t more)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (!a->change)
		return;
	if (set_groups(a, more) < 0 || setresgid(a->gid, a->gid, a->gid) < 0 ||
	    setresuid(a->uid, a->uid, a->uid) < 0)
		child_fails("cannot become", a->name, EXIT_OS);
	errno = EPERM;
	if (getresuid(&r, &e, &s) < 0 || r != a->uid || e != a->uid || s != a->uid ||
	    getresgid(&rg, &eg, &sg) < 0 || rg != a->gid || eg != a->gid || sg != a->gid ||
	    setuid(0) == 0 || setgid(0) == 0)
		child_fails("privileges are left after becoming", a->name, EXIT_OS);
}

static void signals_default(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static char **arguments(struct mcp *m, const struct mcp_exec *x, struct meta1_err *err)
{
	char text[2048], **argv;
	size_t n = 0;

	if (x->worker) {
		argv = base_alloc(sizeof(*argv) * 3);
		argv[0] = base_strdup(x->set->keyword);
		argv[1] = base_strdup(x->worker);
		return argv;
	}
	snprintf(text, sizeof(text), "%s -f '%s'", x->set->keyword, m->file);
	argv = mcp_words(x->set->arguments ? x->set->arguments : text, err);
	if (!argv)
		return NULL;
	while (argv[n])
		n++;
	argv = base_realloc(argv, sizeof(*argv) * (n + 5));
	if (n == 0)
		argv[n++] = base_strdup(x->set->keyword);
	if (x->check)
		argv[n++] = base_strdup("-C");
	if (x->check && x->set->name) {
		argv[n++] = base_strdup("-s");
		argv[n++] = base_strdup(x->set->name);
	}
	argv[n] = NULL;
	return argv;
}

/* Of a worker: its own, if it has one. */
static int account(
    struct mcp *m, const struct mcp_exec *x, struct mcp_account *a, struct meta1_err *err)
{
	struct set_role s = *x->set;

	if (x->worker && x->user) {
		s.user = x->user;
		s.group = NULL;
	}
	return mcp_account(&s, m->root, a, err);
}

/* A checker may run before the folder was made; a worker is not of those who may go there. */
static int go_to(struct mcp *m, const struct mcp_exec *x)
{
	if (x->worker)
		return chdir("/");
	return chdir(m->set->queue_directory) < 0 && (!x->check || chdir("/") < 0) ? -1 : 0;
}

pid_t mcp_exec(struct mcp *m, const struct mcp_exec *x, struct meta1_err *err)
{
	struct mcp_account a;
	char path[1024], **argv, **env;
	bool reader = !x->worker && (strcmp(x->set->keyword, "qmgr") == 0 ||
					strcmp(x->set->keyword, "smtpc") == 0);
	gid_t more;
	pid_t pid;

	if (account(m, x, &a, err) < 0)
		return -1;
	argv = arguments(m, x, err);
	if (!argv)
		return -1;
	env = environment(m, x);
	if (x->set->path)
		str_copy(path, sizeof(path), x->set->path);
	else
		snprintf(path, sizeof(path), "%s/%s", LIBEXECDIR, x->set->keyword);
	/* qmgr and smtpc read contents, whether or not the accounts' admin thought of it. */
	more = reader ? mcp_cdb_gid(m->set, m->root) : (gid_t)-1;
	pid = fork();
	if (pid == 0) {
		arrange(x);
		signals_default();
		drop(&a, more);
		if (go_to(m, x) < 0)
			child_fails("cannot go to", m->set->queue_directory, EXIT_OS);
		execve(path, argv, env);
		child_fails("cannot run", path, EXIT_CONFIG);
	}
	if (pid < 0)
		err_set(err, "fork: %s", strerror(errno));
	mcp_words_free(&argv);
	free(env);
	return pid;
}

void mcp_status_words(int status, char *out, size_t size)
{
	int code = WEXITSTATUS(status);

	if (WIFSIGNALED(status))
		snprintf(out, size, "killed by SIG%s%s", sigabbrev_np(WTERMSIG(status)),
		    WCOREDUMP(status) ? ", core dumped" : "");
	else
		snprintf(out, size, "exit %d%s", code,
		    code == EXIT_CONFIG ? ", configuration"
		    : code == EXIT_TEMP ? ", try again"
		    : code == EXIT_OS	? ", operating system"
					: "");
}
