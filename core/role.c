/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role.c -- the life of an unprivileged role from main() to its end.
 *
 * Comes from: core/smtps, smar, qmgr, smtpc (their main() is role_main()); mcp starts them.
 * Goes to: role_check.c for -V … and -C; role_mcp.c for everything that mcp says.
 * Order: settings, mcp's setup and descriptors, log, role->start(), the answers of workers of
 * isolated modules, listening for other roles, connecting to servers, role->go(), ready; then the
 * loop until role_stopped(). Owns: loop, workers, channels, control socket. On failure: one line,
 * and an exit status from which mcp knows whether to try again (78: not before the configuration
 * changed).
 */
#include "role_run.h"

#include "ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

METRIC_GAUGE(m_start, "start_time_seconds", "When this process started, seconds since 1970.");

struct settings *role_settings(struct role_run *r, enum opt_mode mode)
{
	struct settings *set = settings_load_packed(r->conf_fd, r->file, mode);

	if (r->conf_fd >= 0)
		close(r->conf_fd);
	r->conf_fd = -1;
	return set;
}

struct set_role *role_section(struct settings *set, const char *keyword, const char *name)
{
	struct set_role *any = NULL;

	for (unsigned i = 0; i < set->nrole; i++) {
		struct set_role *s = set->role[i];

		if (strcmp(s->keyword, keyword) != 0)
			continue;
		if (name ? s->name && strcmp(s->name, name) == 0 : !s->name)
			return s;
		if (!any)
			any = s;
	}
	/* Run by hand, without -s, where all sections have names: the first is meant. */
	return name ? NULL : any;
}

int role_log_open(struct role_run *r, struct meta1_err *err)
{
	const struct set_role *s = r->role->section;
	struct log_conf conf = {
	    .ident = s->log.ident ? s->log.ident : r->role->name,
	    .file = s->log.file,
	    .facility = s->log.facility,
	    .json = s->log.format == 1,
	    .level = (int)s->log_level,
	};

	/* mcp in the background says where lines go that nobody directed. */
	if (!conf.file && !conf.facility)
		conf.facility = getenv("META1_LOG_FACILITY");
	return log_open(r->role->loop, &conf, err);
}

void role_host_fill(struct role *role, const struct settings *set)
{
	role->host.loop = role->loop;
	role->host.work = role->work;
	role->host.role = role->bit;
	role->host.process = role->index;
	role->host.hostname = set->hostname;
	role->host.qdir = set->queue_directory;
	role->host.module_directory = set->module_directory;
	role->host.worker_kill = role_worker_kill;
	role->host.worker_arg = role->run;
#ifdef META1_DEVELOPER
	role->host.strict = true;
#endif
}

/* ---- servers and clients ---- */

static void maybe_go(struct role_run *r)
{
	for (unsigned i = 0; i < r->nserver; i++) {
		if (!chan_up(r->peer[i]))
			return;
	}
	if (r->going || r->role->stopping)
		return;
	r->going = true;
	loop_unwatch(&r->wait_server);
	if (r->role->go)
		r->role->go(r->role);
	role_mcp_ready(r);
}

static bool is_server(struct role_run *r, struct chan *c)
{
	for (unsigned i = 0; i < r->npeer; i++) {
		if (r->peer[i] == c)
			return true;
	}
	return false;
}

static void peer_up(struct chan *c, const struct p_hello *hello, void *arg)
{
	struct role *role = arg;
	struct role_run *r = role->run;

	if (!is_server(r, c)) {
		r->nclient++;
		loop_unwatch(&r->wait_client);
	}
	log_event(LOG_L_DEBUG, "role.up", "peer=%.*s index=%llu", (int)hello->role.len,
	    (const char *)hello->role.data, (unsigned long long)hello->index);
	if (role->up)
		role->up(role, c, hello);
	maybe_go(r);
}

static void peer_down(struct chan *c, void *arg)
{
	struct role *role = arg;

	if (is_server(role->run, c) && !role->stopping)
		log_event(LOG_L_WARN, "role.server-gone", "peer=%s",
		    chan_peer(c) == SMAR ? "smar" : "qmgr");
	if (role->down)
		role->down(role, c);
}

static void no_server(int fd, short what, void *arg)
{
	struct role_run *r = arg;

	(void)fd, (void)what;
	for (unsigned i = 0; i < r->nserver; i++) {
		if (chan_up(r->peer[i]))
			continue;
		log_event(LOG_L_ERR, "role.no-server", "peer=%s wait_for_server_ms=%lld",
		    r->role->servers[i], (long long)r->role->section->wait_for_server);
	}
	role_end(r, EXIT_TEMP);
}

static void no_client(int fd, short what, void *arg)
{
	struct role_run *r = arg;

	(void)fd, (void)what;
	log_event(LOG_L_WARN, "role.no-client", "wait_for_client_ms=%lld",
	    (long long)r->role->section->wait_for_client);
}

static int connect_to(struct role_run *r, const char *const *names, struct meta1_err *err)
{
	for (const char *const *s = names; s && *s; s++) {
		char path[512];

		if (r->npeer == ROLE_SERVERS)
			return err_set(
			    err, "%s: more than %d servers", r->role->name, ROLE_SERVERS);
		snprintf(path, sizeof(path), "%s/%s.ipc", r->run_directory, *s);
		r->peer[r->npeer] = chan_connect(&r->side, chan_who(buf_str(*s)), path);
		r->npeer++;
	}
	return 0;
}

static int connect_servers(struct role_run *r, struct meta1_err *err)
{
	if (connect_to(r, r->role->servers, err) < 0)
		return -1;
	r->nserver = r->npeer;
	return connect_to(r, r->role->told, err);
}

/* false: no such account. */
static bool uid_of(const char *user, uid_t *uid)
{
	struct passwd *pw = user && *user ? getpwnam(user) : NULL;
	unsigned long number;
	char *end;

	if (pw) {
		*uid = pw->pw_uid;
		return true;
	}
	if (!user || user[0] < '0' || user[0] > '9')
		return false;
	number = strtoul(user, &end, 10);
	*uid = (uid_t)number;
	return !*end && number < UINT32_MAX;
}

/* Who may connect: the users of all sections, each as the role of its section. */
void role_ipc_users(struct role_run *r)
{
	const struct settings *set = r->role->set;
	struct chan_user *users = base_alloc(sizeof(*users) * (set->nrole + 1));
	unsigned n = 0;

	for (unsigned i = 0; i < set->nrole; i++) {
		if (uid_of(set->role[i]->user, &users[n].uid))
			users[n++].who = chan_who(buf_str(set->role[i]->keyword));
	}
	if (r->server)
		chan_server_users(r->server, users, n);
	free(users);
}

static void cannot_start(struct role_run *r, const struct meta1_err *err)
{
	log_event(LOG_L_ERR, "role.start", "error=%s", err->text);
	role_end(r, EXIT_CONFIG);
}

/* All instances are open. */
static void serve(void *run, const struct meta1_err *why)
{
	struct role_run *r = run;
	struct role *role = r->role;
	struct meta1_err err = {""};

	mod_spares_drop(&role->host);
	if (why) {
		cannot_start(r, why);
		return;
	}
	r->side = (struct chan_side){
	    .who = role->who,
	    .loop = role->loop,
	    .index = role->index,
	    .writer = role->writer,
	    .version = PACKAGE_VERSION,
	    .store = role->store ? role->store : "",
	    .handlers = role->handlers,
	    .arg = role,
	    .up = peer_up,
	    .down = peer_down,
	};
	if (r->ctl_fd >= 0) {
		role->ctl = ctl_new(role->loop, r->ctl_fd, role->name, role->index, role->set);
		r->ctl_fd = -1;
		if (role->ctl)
			ctl_more_metrics(role->ctl, role_metrics, role);
		if (role->ctl)
			role_workers_control(role);
		if (role->ctl && role->control)
			role->control(role, role->ctl);
	}
	if (r->ipc_fd >= 0)
		r->server = chan_listen(&r->side, r->ipc_fd);
	r->ipc_fd = -1;
	role_ipc_users(r);
	if (connect_servers(r, &err) < 0) {
		cannot_start(r, &err);
		return;
	}
	if (r->nserver && role->section->wait_for_server > 0)
		r->wait_server =
		    loop_timer(role->loop, role->section->wait_for_server, no_server, r);
	if (r->server && role->section->wait_for_client > 0)
		r->wait_client =
		    loop_timer(role->loop, role->section->wait_for_client, no_client, r);
	maybe_go(r);
}

void role_begin(struct role_run *r)
{
	struct role *role = r->role;
	struct meta1_err err = {""};

	r->begun = true;
	role_host_fill(role, role->set);
	if (role->start && role->start(role, &err) < 0)
		cannot_start(r, &err);
	else if (!mod_await(&role->host, serve, r))
		serve(r, NULL);
}

struct chan *role_peer(struct role *role, const char *name)
{
	struct role_run *r = role->run;

	for (unsigned i = 0; i < r->npeer; i++) {
		if (chan_peer(r->peer[i]) == chan_who(buf_str(name)))
			return r->peer[i];
	}
	return NULL;
}

/* ---- the end ---- */

static void on_sigterm(int sig, short what, void *arg)
{
	(void)sig, (void)what;
	role_stop(arg, ROLE_STOP_MS, "SIGTERM");
}

static void on_sigusr1(int sig, short what, void *arg)
{
	(void)sig, (void)what, (void)arg;
	log_reopen();
}

static void close_all(struct role_run *r)
{
	struct role *role = r->role;

	role_mcp_close(r);
	for (unsigned i = 0; i < r->npeer; i++)
		chan_close(&r->peer[i]);
	if (r->server)
		chan_server_free(&r->server);
	if (role->ctl)
		ctl_free(&role->ctl);
	loop_unwatch(&r->wait_server);
	loop_unwatch(&r->wait_client);
	loop_unwatch(&r->stop_timer);
	loop_unwatch(&r->sigterm);
	loop_unwatch(&r->sigusr1);
	if (r->stopped && !work_wait(role->work, WORK_END_MS)) {
		log_event(LOG_L_WARN, "role.stop", "error=%s",
		    "a worker thread does not end: it is left at what it does");
		log_close();
		_exit(r->status); /* nothing is cleaned up under its feet */
	}
	if (!r->stopped) {
		/* Sessions and instances live on in what is left: only the log is finished. */
		log_close();
		return;
	}
	work_free(&role->work);
	log_close();
	loop_free(&role->loop);
}

/* ---- main ---- */

/* Of workers too: each question to a filter in one may have descriptors. */
static void many_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void protect(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	umask(027);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN); /* reload comes through mcp */
	signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C is for mcp, which keeps the order */
	many_files();
}

static int live(struct role_run *r, int fd)
{
	struct role *role = r->role;
	struct meta1_err err = {""};

	protect();
	role->set = role_settings(r, OPT_START);
	if (conf_errors(role->set->conf)) {
		conf_report(role->set->conf, stderr);
		return EXIT_CONFIG;
	}
	role->loop = loop_new();
	role->work = work_new(role->loop);
	m_start.value = loop_wall(role->loop);
	r->sigterm = loop_signal(role->loop, SIGTERM, on_sigterm, r);
	r->sigusr1 = loop_signal(role->loop, SIGUSR1, on_sigusr1, r);
	if (role_mcp_open(r, fd, &err) < 0) {
		fprintf(stderr, "%s: %s\n", role->name, err.text);
		return EXIT_OS;
	}
	loop_run(role->loop);
	close_all(r);
	return r->status;
}

static int usage(const char *name)
{
	fprintf(stderr,
	    "usage: %s -f FILE [-s SECTION] [-V[V[V[V]]] | -C]\n"
	    "  -V version  -VV libraries  -VVV check the configuration  -VVVV and print it\n"
	    "  -C check as for a start\n",
	    name);
	return 64;
}

/* The descriptor that mcp left us, -1: none; nobody whom we start shall take it for his. */
static int left_to_us(const char *name)
{
	const char *text = getenv(name);
	int fd = text ? atoi(text) : -1;

	unsetenv(name);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

int role_main(struct role *role, int argc, char **argv)
{
	static struct role_run run = {.ipc_fd = -1, .ctl_fd = -1, .pass_fd = -1};
	const char *channel = getenv("META1_MCP_FD");
	int level = 0, c;
	bool strict = false;

	if (getenv("META1_WORKER_FD")) {
		many_files();
		return mod_worker_main(left_to_us("META1_WORKER_FD"));
	}
	role->run = &run;
	run.role = role;
	run.file = SYSCONFDIR "/meta1/meta1.conf";
	run.conf_fd = left_to_us("META1_CONF_FD");
	while ((c = getopt(argc, argv, "f:s:VC")) != -1) {
		switch (c) {
		case 'f':
			run.file = optarg;
			break;
		case 's':
			run.section = optarg;
			break;
		case 'V':
			level++;
			break;
		case 'C':
			strict = true;
			break;
		default:
			return usage(role->name);
		}
	}
	if (optind < argc)
		return usage(role->name);
	if (level || strict)
		return role_check(&run, level, strict);
	if (!channel) {
		fprintf(stderr,
		    "%s: mcp starts this program (mcp -f %s); "
		    "to try the configuration say %s -f %s -VVVV\n",
		    role->name, run.file, role->name, run.file);
		return 64;
	}
	return live(&run, left_to_us("META1_MCP_FD"));
}
