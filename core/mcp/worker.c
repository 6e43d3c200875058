/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c -- processes of isolated instances: one for each such instance and process of a role.
 * mcp alone starts processes, and which ones and as whom it takes from its own reading of the
 * configuration: a role cannot ask for any.
 *
 * Comes from: child.c with a role's start, reload.c with the first step of a reload (new instances
 * have new workers), mcp.c, which reaps. Goes to: exec.c; the role gets a stream to each.
 * Owns: pid and timer of each. A worker whose role closed the instance ends with MOD_WORKER_DONE
 * and is forgotten; one that ends in any other way is started again, with the pauses of a role.
 */
#include "mcp.h"

#include "mod/mod.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_MS 2000 /* for those whose role has ended; they see it themselves */

struct mcp_worker {
	LIST_ENTRY(mcp_worker) link;
	struct mcp *m;
	struct mcp_child *child; /* NULL: it has ended */
	char name[161];		 /* "map_text/access@2": of the instance, and m->life */
	char *user;		 /* or NULL */
	pid_t pid;		 /* 0: none */
	uint32_t restarts;
	int64_t started, backoff;
	struct watch *timer; /* until the next start; of one without a role: until it is killed */
};

static const struct {
	const char *role;
	enum meta1_role bit;
} bits[] = {
    {"smtps", META1_SMTPS}, {"smtpc", META1_SMTPC}, {"smar", META1_SMAR}, {"qmgr", META1_QMGR}};

static void forget(struct mcp_worker *w)
{
	loop_unwatch(&w->timer);
	LIST_REMOVE(w, link);
	free(w->user);
	free(w);
}

/* ---- start ---- */

static void again(int fd, short what, void *arg);

static void wait_and_restart(struct mcp_worker *w, int64_t lived)
{
	w->backoff = mcp_child_backoff(w->backoff, lived);
	if (w->m->backoff_max && w->backoff > w->m->backoff_max)
		w->backoff = w->m->backoff_max;
	loop_unwatch(&w->timer);
	w->timer = loop_timer(w->m->loop, w->backoff, again, w);
}

static int spawn(struct mcp_worker *w, struct meta1_err *err)
{
	struct mcp_exec x = {.set = w->child->sec->set,
	    .lock_fd = -1,
	    .conf_fd = -1,
	    .out_fd = -1,
	    .worker = w->name,
	    .user = w->user};
	struct p_worker m = {.instance = buf_str(w->name), .restarts = w->restarts};
	int sp[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sp) < 0)
		return err_set(err, "socketpair: %s", strerror(errno));
	x.chan_fd = sp[1];
	w->pid = mcp_exec(w->m, &x, err);
	close(sp[1]);
	if (w->pid < 0) {
		w->pid = 0;
		close(sp[0]);
		return -1;
	}
	m.pid = (uint64_t)w->pid;
	/* a role that does not take it closes it by its own end */
	chan_send_fd(w->child->chan, P_WORKER, &m, sp[0]);
	close(sp[0]);
	return 0;
}

static void start(struct mcp_worker *w)
{
	struct meta1_err err = {""};

	w->started = loop_now(w->m->loop);
	if (spawn(w, &err) == 0) {
		log_event(LOG_L_INFO, "mcp.worker", "role=%s instance=%s pid=%ld restarts=%u",
		    w->child->name, w->name, (long)w->pid, w->restarts);
		return;
	}
	wait_and_restart(w, 0);
	log_event(LOG_L_ERR, "mcp.worker", "role=%s instance=%s error=%s restart_in_s=%lld",
	    w->child->name, w->name, err.text, (long long)w->backoff / 1000);
}

/* Not by a process that comes to its end; one without a section has no settings to start it by. */
static bool wanted(const struct mcp_worker *w)
{
	return w->child && !w->child->retired && w->child->state != MCP_STOPPING &&
	       mcp_child_running(w->child);
}

static void again(int fd, short what, void *arg)
{
	struct mcp_worker *w = arg;

	(void)fd, (void)what;
	loop_unwatch(&w->timer);
	if (!wanted(w)) {
		forget(w);
		return;
	}
	w->restarts++;
	start(w);
}

/* Instances of all smtps sections are in one list; those of other roles may have no section. */
static bool is_of(const struct settings_module *use, const struct set_role *set)
{
	const struct conf_section *s = use->section;

	if (strcmp(set->keyword, "smtps") != 0)
		return true;
	while (s && s != set->section)
		s = s->parent;
	return s != NULL;
}

static unsigned uses(
    struct settings *set, const struct set_role *role, struct settings_module **out)
{
	for (size_t i = 0; i < ARRAY_LEN(bits); i++)
		if (strcmp(bits[i].role, role->keyword) == 0)
			return settings_modules(set, bits[i].bit, out);
	*out = NULL;
	return 0;
}

void mcp_workers_start(struct mcp_child *c, struct settings *set, const struct set_role *role)
{
	struct settings_module *use = NULL;
	unsigned n = uses(set, role, &use);

	for (unsigned i = 0; i < n; i++) {
		struct mcp_worker *w;

		if (!use[i].isolate || !is_of(&use[i], role))
			continue;
		w = base_alloc(sizeof(*w));
		*w = (struct mcp_worker){.m = c->m, .child = c};
		w->user = use[i].isolate->user ? base_strdup(use[i].isolate->user) : NULL;
		snprintf(w->name, sizeof(w->name), "%.64s/%.64s@%llu", use[i].module,
		    use[i].instance, (unsigned long long)c->m->life);
		LIST_INSERT_HEAD(&c->m->workers, w, link);
		start(w);
	}
	free(use);
}

void mcp_workers_check(struct settings *set, bool root)
{
	for (unsigned r = 0; r < set->nrole; r++) {
		struct settings_module *use = NULL;
		unsigned n = uses(set, set->role[r], &use);

		for (unsigned i = 0; i < n; i++) {
			struct set_role as = *set->role[r];
			struct mcp_account a;
			struct meta1_err err;

			if (!use[i].isolate || !use[i].isolate->user || !is_of(&use[i], &as))
				continue;
			as.user = use[i].isolate->user;
			as.group = NULL;
			as.keyword = "its worker";
			if (mcp_account(&as, root, &a, &err) < 0)
				conf_error(set->conf, &use[i].pos, "%s: isolate_user: %s",
				    use[i].use, err.text);
		}
		free(use);
	}
}

/* ---- end ---- */

static void ended(struct mcp_worker *w, int status)
{
	int64_t lived = loop_now(w->m->loop) - w->started;
	struct p_worker_ended m = {.instance = buf_str(w->name), .pid = (uint64_t)w->pid};
	char words[64];

	mcp_status_words(status, words, sizeof(words));
	w->pid = 0;
	if (!wanted(w) || (WIFEXITED(status) && WEXITSTATUS(status) == MOD_WORKER_DONE)) {
		forget(w);
		return;
	}
	wait_and_restart(w, lived);
	log_event(LOG_L_ERR, "mcp.worker",
	    "role=%s instance=%s pid=%ld status=%s restart_in_s=%lld", w->child->name, w->name,
	    (long)m.pid, words, (long long)w->backoff / 1000);
	m.end = buf_str(words);
	m.again = (uint64_t)w->backoff;
	chan_send(w->child->chan, P_WORKER_ENDED, &m);
}

bool mcp_worker_reaped(struct mcp *m, pid_t pid, int status)
{
	struct mcp_worker *w;

	LIST_FOREACH(w, &m->workers, link)
	{
		if (w->pid != pid)
			continue;
		ended(w, status);
		return true;
	}
	return false;
}

void mcp_worker_kill(struct mcp_child *c, pid_t pid)
{
	struct mcp_worker *w;

	LIST_FOREACH(w, &c->m->workers, link)
	if (w->child == c && w->pid && w->pid == pid)
		kill(pid, SIGKILL);
}

static void kill_it(int fd, short what, void *arg)
{
	struct mcp_worker *w = arg;

	(void)fd, (void)what;
	if (w->pid)
		kill(w->pid, SIGKILL);
}

void mcp_workers_end(struct mcp_child *c)
{
	struct mcp_worker *w, *next;

	for (w = LIST_FIRST(&c->m->workers); w; w = next) {
		next = LIST_NEXT(w, link);
		if (w->child != c)
			continue;
		w->child = NULL;
		loop_unwatch(&w->timer);
		if (w->pid)
			w->timer = loop_timer(c->m->loop, END_MS, kill_it, w);
		else
			forget(w);
	}
}

void mcp_workers_close(struct mcp *m)
{
	struct mcp_worker *w;

	while ((w = LIST_FIRST(&m->workers))) {
		kill_it(-1, 0, w);
		forget(w);
	}
}
