/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reload.c -- a changed configuration, in two steps, all roles or none.
 *
 * Comes from: SIGHUP (mcp.c), control.c. Goes to: check.c, and over the channels to
 * core/role_mcp.c.
 * Order: read and check here; a checker a section, as its user; step 1: every role opens the
 * new beside the old; all ready: step 2, commit. What a role can learn only by a restart
 * restarts just that role, after the commit, and its sockets stay. What belongs to mcp alone
 * (users, listeners, sections, folders) needs a restart of mcp and is refused by name.
 * Owns: the new settings until the commit. On failure: says why; the old ones go on.
 */
#include "mcp.h"

#include <stdarg.h>
#include <stdlib.h>

#define ANSWER_MS 60000
#define TEXT_MAX  32768

enum { STEP_PREPARE = 1, STEP_COMMIT = 2, STEP_ABORT = 3 };
enum { DONE_READY, DONE_REFUSED, DONE_RESTART };

struct mcp_reload {
	struct settings *next;
	uint64_t serial;
	unsigned awaited;
	bool refused, try;
	struct watch *timer;
	char *text; /* for who asked for it: a line each thing that was said */
	size_t len;
};

static bool same(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static const char *listeners(const struct set_role *a, const struct set_role *b)
{
	if (a->nlisten != b->nlisten)
		return "listen_socket";
	for (unsigned i = 0; i < a->nlisten; i++) {
		const struct set_listen *x = &a->listen[i], *y = &b->listen[i];

		if (x->type != y->type || x->port != y->port || !same(x->address, y->address) ||
		    !same(x->path, y->path) || !same(x->user, y->user) ||
		    !same(x->group, y->group) || !same(x->umask, y->umask))
			return "listen_socket";
	}
	return NULL;
}

const char *mcp_reload_fixed(const struct settings *old, const struct settings *new)
{
	if (!same(old->queue_directory, new->queue_directory))
		return "queue_directory";
	if (!same(old->run_directory, new->run_directory))
		return "run_directory";
	if (old->nrole != new->nrole)
		return "a new or removed section";
	for (unsigned i = 0; i < old->nrole; i++) {
		const struct set_role *a = old->role[i], *b = new->role[i];

		if (!same(a->keyword, b->keyword) || !same(a->name, b->name))
			return "the order or names of sections";
		if (!same(a->user, b->user) || !same(a->group, b->group))
			return "user or group";
		if (a->processes != b->processes)
			return "processes";
		if (a->start_action != b->start_action)
			return "start_action";
		if (!same(a->pass_fd_socket, b->pass_fd_socket))
			return "pass_fd_socket";
		if (listeners(a, b))
			return listeners(a, b);
	}
	for (unsigned i = 0; i < old->nsmtps && i < new->nsmtps; i++) {
		if (old->smtps[i].CDB_gid != new->smtps[i].CDB_gid)
			return "CDB_gid";
	}
	return NULL;
}

/* The first option marked META1_O_RESTART that differs. */
static const char *differs(const struct settings_group *g, const void *old, const void *new)
{
	for (size_t i = 0; i < g->n; i++) {
		const struct meta1_opt *o = &g->opt[i];
		const void *a = (const char *)old + o->off, *b = (const char *)new + o->off;
		char x[1024], y[1024];

		if (!(o->flags & META1_O_RESTART))
			continue;
		if (o->type == META1_STR || o->type == META1_PATH) {
			if (!same(*(const char *const *)a, *(const char *const *)b))
				return o->name;
			continue;
		}
		opt_print(o, a, x, sizeof(x));
		opt_print(o, b, y, sizeof(y));
		if (strcmp(x, y) != 0)
			return o->name;
	}
	return NULL;
}

const char *mcp_reload_restart(const struct settings *old, const struct settings *new, unsigned i)
{
	const struct set_role *a = old->role[i], *b = new->role[i];
	size_t n, size = 0;
	const struct settings_group *g = settings_groups(&n);
	const char *found = NULL;

	for (size_t k = 0; k < n && !found; k++) {
		const char *path = g[k].path;
		size_t len = strlen(a->keyword);

		if (strcmp(path, a->keyword) == 0)
			size = g[k].size;
		if (!*path)
			found = differs(&g[k], old, new);
		else if (strcmp(path, "ROLE") == 0)
			found = differs(&g[k], a, b);
		/* A role's struct begins with its set_role; sections below with a struct of
		 * their own have no such option. */
		else if (strncmp(path, a->keyword, len) == 0 && (!path[len] || path[len] == '.') &&
			 g[k].size == size)
			found = differs(&g[k], a, b);
	}
	return found;
}

/* ---- the end of a reload ---- */

static PRINTF(2, 3) void say(struct mcp_reload *r, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!r->text)
		r->text = base_alloc(TEXT_MAX);
	va_start(ap, fmt);
	n = vsnprintf(r->text + r->len, TEXT_MAX - 1 - r->len, fmt, ap);
	va_end(ap);
	r->len += n < 0 ? 0 : (size_t)n;
	if (r->len > TEXT_MAX - 2)
		r->len = TEXT_MAX - 2;
	if (r->len > 0 && r->text[r->len - 1] != '\n')
		r->text[r->len++] = '\n';
	r->text[r->len] = '\0';
}

static void finish(struct mcp *m, bool good)
{
	struct mcp_reload *r = m->reload;

	m->reload = NULL;
	if (!m->stopping)
		mcp_service_say(m, "READY=1");
	loop_unwatch(&r->timer);
	if (r->next)
		settings_free(&r->next);
	mcp_control_reloaded(m, good, r->text ? r->text : "");
	free(r->text);
	free(r);
	if (m->again && !m->stopping && !m->reload) {
		m->again = false;
		mcp_reload_start(m, false);
	}
	if (!m->reload)
		mcp_control_idle(m);
}

static void refuse(struct mcp *m, const char *why)
{
	log_event(LOG_L_ERR, "mcp.reload", "result=%s why=%s",
	    "refused, the old configuration goes on", why);
	say(m->reload, "%s", why);
	finish(m, false);
}

/* One event a line, so that syslog has them too. */
static void log_lines(struct mcp_reload *r, const char *text)
{
	if (*text && !(r->text && strstr(r->text, text))) /* checkers find what we found */
		say(r, "%s", text);
	for (const char *p = text; *p;) {
		int n = (int)strcspn(p, "\n");

		if (n)
			log_event(LOG_L_ERR, "mcp.config", "text=%.*s", n, p);
		p += n + (p[n] == '\n');
	}
}

static void send_step(struct mcp *m, struct mcp_child *c, uint64_t step)
{
	const struct p_reload msg = {.serial = m->reload->serial, .step = step};

	chan_send(c->chan, P_RELOAD, &msg);
}

#define EACH_CHILD(m, sec, c)                                                                      \
	for (struct mcp_section *sec = (m)->section; sec < (m)->section + (m)->nsection; sec++)    \
		for (struct mcp_child *c = sec->child; c < sec->child + sec->nchild; c++)

static void abort_all(struct mcp *m)
{
	EACH_CHILD(m, sec, c)
	{
		c->told = c->renewed = false;
		if (c->state == MCP_UP)
			send_step(m, c, STEP_ABORT);
	}
}

static void restart_renewed(struct mcp *m)
{
	EACH_CHILD(m, sec, c)
	{
		c->proved = c->state == MCP_UP && !c->renewed;
		c->awaited = c->renewed || c->state == MCP_OFF;
		if (c->state == MCP_OFF) {
			c->state = MCP_DOWN;
			c->backoff = 0;
		}
		if (!c->renewed || !mcp_child_running(c))
			continue;
		c->renewed = false;
		mcp_child_stop(c, MCP_STOP_MS, "the new configuration needs it");
		mcp_order_hold(sec);
	}
}

/* Those whose processes read an option at their start only; and says so. */
static void mark_restarts(struct mcp *m)
{
	struct mcp_reload *r = m->reload;

	for (unsigned i = 0; i < m->nsection; i++) {
		const char *option = mcp_reload_restart(m->set, r->next, i);
		struct mcp_section *sec = &m->section[i];

		if (!option)
			continue;
		for (unsigned k = 0; k < sec->nchild; k++)
			sec->child[k].renewed = true;
		say(r, "%s: needs a restart: the option %s", sec->child[0].name, option);
	}
}

static void commit(struct mcp *m)
{
	struct mcp_reload *r = m->reload;
	const struct log_conf conf = {.ident = "mcp",
	    .facility = m->background ? "mail" : NULL,
	    .level = (int)r->next->log_level};
	struct meta1_err err;

	EACH_CHILD(m, sec, c)
	{
		if (c->state == MCP_UP)
			send_step(m, c, STEP_COMMIT);
	}
	mark_restarts(m);
	for (unsigned i = 0; i < m->nsection; i++)
		m->section[i].set = r->next->role[i];
	settings_free(&m->set);
	m->set = r->next;
	r->next = NULL;
	if (log_open(m->loop, &conf, &err) < 0)
		log_event(LOG_L_WARN, "mcp.log", "error=%s", err.text);
	log_event(LOG_L_INFO, "mcp.reload", "result=%s", "committed");
	restart_renewed(m);
	finish(m, true);
	mcp_order_run(m);
}

/* ---- step 1 and its answers ---- */

static void maybe_decide(struct mcp *m)
{
	if (m->reload->awaited)
		return;
	if (!m->reload->refused && !m->reload->try) {
		commit(m);
		return;
	}
	if (!m->reload->refused)
		mark_restarts(m);
	abort_all(m);
	if (m->reload->refused)
		refuse(m, "a role refused it, see above");
	else
		finish(m, true);
}

static void no_answer(int fd, short what, void *arg)
{
	struct mcp *m = arg;

	(void)fd, (void)what;
	EACH_CHILD(m, sec, c)
	{
		if (!c->told)
			continue;
		log_event(
		    LOG_L_ERR, "mcp.reload", "role=%s error=%s", c->name, "no answer within 60 s");
		say(m->reload, "%s: no answer within 60 s", c->name);
	}
	abort_all(m);
	refuse(m, "a role did not answer");
}

static void checked(struct mcp *m, bool good, const char *errors)
{
	struct mcp_reload *r = m->reload;

	log_lines(r, errors);
	if (!good) {
		refuse(m, "a check failed, see above");
		return;
	}
	r->timer = loop_timer(m->loop, ANSWER_MS, no_answer, m);
	EACH_CHILD(m, sec, c)
	{
		/* A role that is starting may have read either file. */
		c->renewed = c->state == MCP_STARTING;
		if (c->state != MCP_UP)
			continue;
		c->told = true;
		r->awaited++;
		mcp_workers_start(c, r->next, r->next->role[sec - m->section]);
		send_step(m, c, STEP_PREPARE);
	}
	maybe_decide(m);
}

void mcp_reload_done(struct mcp_child *c, const struct p_reload_done *d)
{
	struct mcp *m = c->m;
	const char *answer;

	if (!m->reload || d->serial != m->reload->serial || d->step != STEP_PREPARE || !c->told)
		return;
	c->told = false;
	m->reload->awaited--;
	if (d->status != DONE_READY) {
		answer = d->status == DONE_REFUSED ? "refused" : "needs a restart";
		log_event(d->status == DONE_REFUSED ? LOG_L_ERR : LOG_L_INFO, "mcp.reload",
		    "role=%s answer=%s why=%.*s", c->name, answer, (int)d->text.len,
		    (const char *)d->text.data);
		say(m->reload, "%s: %s: %.*s", c->name, answer, (int)d->text.len,
		    (const char *)d->text.data);
	}
	if (d->status == DONE_REFUSED)
		m->reload->refused = true;
	else if (d->status == DONE_RESTART)
		c->renewed = true;
	maybe_decide(m);
}

void mcp_reload_gone(struct mcp_child *c)
{
	if (!c->told)
		return;
	c->told = false;
	if (!c->m->reload)
		return;
	c->m->reload->awaited--;
	maybe_decide(c->m);
}

/* ---- the beginning ---- */

static void tell_reload(const struct mcp *m)
{
	char text[80];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)loop_now(m->loop) * 1000);
	mcp_service_say(m, text);
}

void mcp_reload_start(struct mcp *m, bool try)
{
	static uint64_t serial;
	struct mcp_reload *r;
	const char *fixed;
	char *text = NULL;
	size_t len = 0;
	FILE *f;

	if (m->stopping || m->nsection == 0)
		return;
	if (m->reload) {
		m->again = true;
		return;
	}
	tell_reload(m);
	m->life++;
	m->reload = r = base_alloc(sizeof(*r));
	r->serial = ++serial;
	r->try = try;
	r->next = settings_load(m->file, OPT_START);
	if (conf_errors(r->next->conf) == 0)
		mcp_account_check(r->next, m->root);
	f = open_memstream(&text, &len);
	if (f) {
		conf_report(r->next->conf, f);
		fclose(f);
		log_lines(r, text);
		free(text);
	}
	fixed = conf_errors(r->next->conf) ? NULL : mcp_reload_fixed(m->set, r->next);
	if (conf_errors(r->next->conf)) {
		refuse(m, "the file has errors, see above");
	} else if (fixed) {
		char why[256];

		snprintf(why, sizeof(why), "%s changed: this needs a restart of mcp", fixed);
		refuse(m, why);
	} else {
		mcp_check_start(m, r->next, checked);
	}
}

void mcp_reload_cancel(struct mcp *m)
{
	mcp_check_cancel(m);
	if (!m->reload)
		return;
	m->again = false;
	EACH_CHILD(m, sec, c)
	c->told = false;
	refuse(m, "mcp stops");
}
