/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mcp.c -- the master control program: main(), the steps of a start, signals.
 *
 * Comes from: the command line. Goes to: the files named in mcp.h, in their order.
 * Start: settings, folders, locks, checkers, sockets, processes; a failure before the
 * processes leaves nothing running: status 78 for the configuration, 71 for the machine.
 * SIGTERM and SIGINT stop in order, SIGHUP reloads, SIGUSR1 reopens log files.
 * Owns: everything that outlives a role: sockets, locks, the settings in force.
 */
#include "mcp.h"

#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_AT_ONCE_MS 1000 /* a second SIGTERM */

/* ---- signals ---- */

static void reap(int sig, short what, void *arg)
{
	struct mcp *m = arg;
	int status;
	pid_t pid;

	(void)sig, (void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct mcp_child *found = NULL, *o;

		if (mcp_check_reaped(m, pid, status) || mcp_worker_reaped(m, pid, status))
			continue;
		MCP_EACH_CHILD(m, c)
		if (c->pid == pid)
			found = c;
		LIST_FOREACH(o, &m->retired, link)
		if (o->pid == pid)
			found = o;
		if (found)
			mcp_child_ended(found, status);
	}
}

static void terminate(int sig, short what, void *arg)
{
	struct mcp *m = arg;

	(void)what;
	if (m->nsection == 0) {
		mcp_end(m, 0); /* still checking: nothing runs */
		return;
	}
	log_event(LOG_L_INFO, "mcp.stop", "signal=SIG%s again=%s", sigabbrev_np(sig),
	    m->stopping ? "yes" : "no");
	mcp_service_say(m, "STOPPING=1");
	mcp_control_close(m);
	mcp_reload_cancel(m);
	mcp_order_stop(m, STOP_AT_ONCE_MS);
}

static void hangup(int sig, short what, void *arg)
{
	(void)sig, (void)what;
	mcp_reload_start(arg, false);
}

static void reopen(int sig, short what, void *arg)
{
	(void)sig, (void)what;
	log_reopen();
	mcp_child_reopen_all(arg);
}

static void watch_signals(struct mcp *m)
{
	const struct {
		int sig;
		watch_fn fn;
	} all[] = {{SIGCHLD, reap}, {SIGTERM, terminate}, {SIGINT, terminate}, {SIGHUP, hangup},
	    {SIGUSR1, reopen}};

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		m->signal[i] = loop_signal(m->loop, all[i].sig, all[i].fn, m);
}

/* ---- start ---- */

static int open_log(struct mcp *m)
{
	const struct log_conf conf = {.ident = "mcp",
	    .facility = m->background ? "mail" : NULL,
	    .level = (int)m->set->log_level};
	struct meta1_err err;

	if (log_open(m->loop, &conf, &err) == 0)
		return 0;
	fprintf(stderr, "mcp: %s\n", err.text);
	return -1;
}

static void pid_file(const struct mcp *m, char *path, size_t size)
{
	snprintf(path, size, "%s/mcp.pid", m->set->run_directory);
}

static int write_pid(const struct mcp *m)
{
	char path[512];
	FILE *f;

	pid_file(m, path, sizeof(path));
	f = fopen(path, "we");
	if (!f) {
		fprintf(stderr, "mcp: %s: %s\n", path, strerror(errno));
		return -1;
	}
	fprintf(f, "%ld\n", (long)getpid());
	return fclose(f);
}

/* The foreground ends with 0, and this process is alone. */
static int report_up(struct mcp *m)
{
	int null;

	if (!m->background)
		return 0;
	setenv("META1_LOG_FACILITY", "mail", 0);
	if (open_log(m) < 0 || write_pid(m) < 0)
		return -1;
	if (write(m->report_fd, "", 1) != 1)
		return -1;
	close(m->report_fd);
	m->report_fd = -1;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	close(null);
	return 0;
}

static int open_sections(struct mcp *m)
{
	struct meta1_err err = {""};
	bool good = mcp_sections_open(m, m->set, &err) == 0;

	mcp_sections_end(m, good);
	for (unsigned i = 0; i < m->nsection; i++)
		mcp_order_asleep(m->section[i]);
	if (good && mcp_control_open(m, &err) == 0)
		return 0;
	fprintf(stderr, "mcp: %s\n", err.text);
	return -1;
}

static void checked(struct mcp *m, bool good, const char *errors)
{
	fputs(errors, stderr);
	if (!good) {
		mcp_end(m, EXIT_CONFIG);
		return;
	}
	if (open_sections(m) < 0 || report_up(m) < 0) {
		mcp_end(m, EXIT_OS);
		return;
	}
	log_event(LOG_L_INFO, "mcp.start", "version=%s file=%s pid=%ld sections=%u",
	    PACKAGE_VERSION, m->file, (long)getpid(), m->nsection);
	mcp_service_ready(m);
	mcp_order_run(m);
}

static void only_checked(struct mcp *m, bool good, const char *errors)
{
	fputs(errors, stderr);
	if (good)
		printf("%s: the configuration is good\n", m->file);
	mcp_end(m, good ? 0 : EXIT_CONFIG);
}

static void close_all(struct mcp *m)
{
	char path[512];

	mcp_check_cancel(m);
	mcp_control_close(m);
	mcp_workers_close(m);
	if (m->background && m->report_fd < 0) {
		pid_file(m, path, sizeof(path));
		unlink(path);
	}
	mcp_sections_close(m);
	mcp_retire_close(m);
	mcp_hand_end(m, true);
	mcp_service_end(&m->service);
	loop_unwatch(&m->order_timer);
	for (size_t i = 0; i < ARRAY_LEN(m->signal); i++)
		loop_unwatch(&m->signal[i]);
	log_close();
	loop_free(&m->loop);
	settings_free(&m->set);
	if (m->clients_fd >= 0)
		close(m->clients_fd);
	if (m->tally_fd >= 0)
		close(m->tally_fd);
	if (m->lock_fd >= 0)
		close(m->lock_fd);
}

/* Reads the file; the errors of mcp's own view. */
static int read_settings(struct mcp *m)
{
	m->set = settings_load(m->file, OPT_START);
	if (conf_errors(m->set->conf) == 0)
		mcp_account_check(m->set, m->root);
	if (conf_errors(m->set->conf) || conf_warnings(m->set->conf))
		conf_report(m->set->conf, stderr);
	return conf_errors(m->set->conf) ? -1 : 0;
}

static void init(struct mcp *m)
{
	m->ping_ms = MCP_PING_MS;
	m->hand_ms = MCP_HAND_MS;
	m->life = 1;
	LIST_INIT(&m->workers);
	LIST_INIT(&m->retired);
#ifdef META1_DEVELOPER
	/* tests cannot wait as long as an admin wants us to */
	if (getenv("META1_PING_MS"))
		m->ping_ms = atoi(getenv("META1_PING_MS"));
	if (getenv("META1_BACKOFF_MAX_MS"))
		m->backoff_max = atoi(getenv("META1_BACKOFF_MAX_MS"));
#endif
	m->side = (struct chan_side){
	    .who = MCP,
	    .loop = m->loop,
	    .version = PACKAGE_VERSION,
	    .store = "",
	    .handlers = mcp_child_handlers,
	    .arg = m,
	};
}

static int live(struct mcp *m, bool only_check)
{
	struct meta1_err err = {""};

	umask(022);
	if (read_settings(m) < 0) {
		settings_free(&m->set);
		return EXIT_CONFIG;
	}
	if (!only_check && mcp_dirs(m, stderr) < 0) {
		settings_free(&m->set);
		return EXIT_CONFIG;
	}
	if (!only_check && mcp_lock(m, &err) < 0) {
		fprintf(stderr, "mcp: %s\n", err.text);
		settings_free(&m->set);
		return EXIT_OS;
	}
	m->loop = loop_new();
	init(m);
	watch_signals(m);
	if (m->background || open_log(m) == 0) {
		mcp_check_start(m, m->set, only_check ? only_checked : checked);
		loop_run(m->loop);
	} else {
		m->status = EXIT_CONFIG;
	}
	close_all(m);
	return m->status;
}

/* ---- background ---- */

static int wait_for_report(int fd, pid_t pid)
{
	char byte;
	int status;
	ssize_t n;

	while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
		;
	if (n == 1)
		return 0;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_OS;
}

static int background(struct mcp *m)
{
	int p[2], status;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "mcp: cannot go to the background: %s\n", strerror(errno));
		return EXIT_OS;
	}
	if (pid > 0) {
		close(p[1]);
		status = wait_for_report(p[0], pid);
		close(p[0]);
		return status;
	}
	close(p[0]);
	setsid();
	m->background = true;
	m->report_fd = p[1];
	return live(m, false);
}

/* ---- command line ---- */

static int print_wiring(const char *what)
{
	if (strcmp(what, "reload") == 0) {
		mcp_differ_print();
		return 0;
	}
	if (strcmp(what, "roles") != 0) {
		fprintf(stderr, "mcp: -T %s: expected roles or reload\n", what);
		return 64;
	}
	printf("%-6s %-9s %-10s %-10s %s\n", "role", "processes", "answers", "connects", "task");
	for (const struct mcp_wire *w = mcp_wiring; w->role; w++)
		printf("%-6s %-9s %-10s %-10s %s\n", w->role, w->many ? "1..254" : "1",
		    w->ipc ? w->ipc : "-", *w->talks ? w->talks : "-", w->task);
	return 0;
}

static int check_only(struct mcp *m, int level)
{
	unsigned errors;

	if (level < 3) {
		role_version("mcp", level, NULL);
		return 0;
	}
	m->set = settings_load(m->file, OPT_CHECK);
	errors = conf_errors(m->set->conf);
	if (errors || conf_warnings(m->set->conf))
		conf_report(m->set->conf, stderr);
	if (!errors && level >= 4)
		settings_print(m->set, NULL, stdout);
	else if (!errors)
		printf("%s: the configuration is good\n", m->file);
	settings_free(&m->set);
	return errors ? EXIT_CONFIG : 0;
}

static int usage(void)
{
	fputs("usage: mcp [-f FILE] [-D | -V[V[V[V]]] | -C | -T roles | -T reload]\n"
	      "  -D background  -V version  -VV libraries  -VVV check  -VVVV check and print\n"
	      "  -C check as for a start  -T roles: who talks to whom\n"
	      "  -T reload: options whose change restarts a role, or is refused\n",
	    stderr);
	return 64;
}

int main(int argc, char **argv)
{
	static struct mcp m = {.clients_fd = -1, .tally_fd = -1, .lock_fd = -1, .report_fd = -1};
	int level = 0, c, status;
	bool back = false, strict = false;
	char *absolute;

	m.file = SYSCONFDIR "/meta1/meta1.conf";
	m.root = geteuid() == 0;
	mcp_service_init(&m.service);
	while ((c = getopt(argc, argv, "f:DVCT:")) != -1) {
		if (c == 'f')
			m.file = optarg;
		else if (c == 'D')
			back = true;
		else if (c == 'V')
			level++;
		else if (c == 'C')
			strict = true;
		else if (c == 'T')
			return print_wiring(optarg);
		else
			return usage();
	}
	if (optind < argc)
		return usage();
	if (level)
		return check_only(&m, level);
	absolute = realpath(m.file, NULL); /* roles have another working folder */
	if (absolute)
		m.file = absolute;
	status = back && !strict ? background(&m) : live(&m, strict);
	free(absolute);
	return status;
}
