/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smtps.c -- the role of the SMTP server: its messages, start, stop, reload.
 *
 * Comes from core/role.c (the life of a process); goes to listen.c and the rest.
 * Owns the one struct smtps of the process and the queue module's instance.
 * On failure at start: one line that says what to do, and the process ends; later a server
 * that is away is waited for by the channels, and clients hear 4xx.
 */
#include "smtps/smtps.h"
#include "lib/linger.h"
#include "lib/netlist.h"

#include <stdio.h>
#include <stdlib.h>

#define DRAIN_MS     5000 /* for the store, at a stop */
#define LAST_MS	     300  /* for last replies, at a stop */
#define ORPHANS_MAX  1024 /* commits whose clients went away, besides one a session */
#define SESSIONS_MAX CHAN_WINDOW_MAX

static struct smtps server;

/* Sessions there may be: each has one question open, at smar or at the store. */
static uint32_t session_bound(void)
{
	int64_t n = server.gear->lim.sessions;

	return n > 0 && n < SESSIONS_MAX ? (uint32_t)n : SESSIONS_MAX;
}

bool smtps_new_id(struct smtps *srv, char out[SMTPS_ID_SIZE])
{
	uint64_t n = srv->store->next_id(srv->store_data);

	snprintf(out, SMTPS_ID_SIZE, "S%016llX%02X", (unsigned long long)n,
	    (unsigned)srv->role->index & 0xffu);
	return n != 0;
}

/* ---- messages ---- */

static void got_intake(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_intake *m = msg;

	(void)c;
	(void)req;
	(void)arg;
	if (server.intake != NULL)
		smtps_intake_grant(server.intake, m->credits);
}

static void got_space_free(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_space_free *m = msg;

	(void)c;
	(void)req;
	(void)arg;
	if (server.store_inst != NULL && server.store->reclaim != NULL)
		server.store->reclaim(server.store_data, m->unit);
}

static void got_generation(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_generation *m = msg;

	(void)c;
	(void)req;
	(void)arg;
	if (server.verdicts != NULL)
		smtps_verdict_generation(server.verdicts, m->generation);
}

static void got_policy(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	(void)c;
	(void)req;
	(void)arg;
	smtps_policy_told(&server, msg);
}

static const struct chan_handler handlers[] = {
    {P_INTAKE, got_intake},
    {P_SPACE_FREE, got_space_free},
    {P_REPORT, smtps_report_asked},
    {P_POLICY, got_policy},
    {P_GENERATION, got_generation},
    {P_NONE, NULL},
};

static void up(struct role *role, struct chan *c, const struct p_hello *hello)
{
	(void)role;
	(void)hello;
	if (server.over)
		return;
	if (chan_peer(c) == SMAR) {
		server.smar = c;
		chan_window(c, session_bound());
		smtps_policy_forget(&server);
	} else if (chan_peer(c) == QMGR) {
		server.qmgr = c;
		*chan_slot(c) = &server;
		smtps_intake_up(server.intake);
	}
}

static void down(struct role *role, struct chan *c)
{
	(void)role;
	if (server.over)
		return;
	if (c == server.qmgr)
		smtps_intake_down(server.intake);
	else if (c == server.smar)
		smtps_policy_forget(&server);
}

/* ---- stop ---- */

static void all_read(void *arg)
{
	(void)arg;
	role_stopped(server.role);
}

static void drained(void *arg)
{
	(void)arg;
	mod_close(&server.store_inst);
	linger_stop(LAST_MS, all_read, NULL);
}

/* The last message past its dot was answered, a turn ago. */
static void stopped(void *arg)
{
	(void)arg;
	while (!LIST_EMPTY(&server.sessions)) {
		struct smtps_session *s = LIST_FIRST(&server.sessions);

		smtps_session_end(s);
		smtps_session_run(s);
	}
	smtps_image_forget(&server);
	smtps_intake_free(&server.intake);
	smtps_verdict_free(&server.verdicts);
	clients_close(&server.clients);
	smtps_gear_drop(&server.gear);
	mod_drain(server.store_inst, loop_now(server.role->loop) + DRAIN_MS, drained, NULL);
}

void smtps_check_stopped(struct smtps *srv)
{
	if (srv->stopping && srv->nopen == 0 && !srv->over) {
		srv->over = true;
		loop_defer(srv->role->loop, &srv->stopped);
	}
}

static void nobody_left(void *arg)
{
	(void)arg;
	role_drained(server.role);
}

void smtps_check_drained(struct smtps *srv)
{
	if (srv->role->draining && srv->nsession == 0 && !srv->stopping)
		loop_defer(srv->role->loop, &srv->drained);
}

/* Who was let in a moment ago and has said nothing is as one who waits at a listener. Reports are
 * for another server: a session of one might be the last here, and a filter may have it for long.
 */
static void drain(struct role *role)
{
	struct smtps_session *s;

	(void)role;
	LIST_FOREACH(s, &server.sessions, all)
	if (s->helo == NULL && s->ntx == 0)
		s->last_in = true;
	smtps_report_judges(&server);
	smtps_listen_leave(&server, true);
	smtps_session_leave(&server, NULL);
	smtps_check_drained(&server);
}

static void listeners_gone(struct role *role)
{
	(void)role;
	smtps_listen_leave(&server, false);
}

static void stop(struct role *role)
{
	(void)role;
	server.stopping = true;
	task_cancel(&server.drained);
	smtps_listen_stop(&server);
	smtps_session_stop_all(&server);
	smtps_check_stopped(&server);
}

/* ---- start ---- */

/* Of the modules that this configuration asks for, the one that keeps the queue. */
static bool queue_module(struct settings *set, struct settings_module *out)
{
	struct settings_module *list = NULL;
	unsigned i, n = settings_modules(set, META1_SMTPS, &list);
	bool found = false;

	for (i = 0; i < n && !found; i++) {
		found = strcmp(list[i].kind, "queue") == 0;
		if (found)
			*out = list[i];
	}
	free(list);
	return found;
}

static int open_store(struct role *role, struct meta1_err *err)
{
	struct settings_module m;
	struct mod *mod;

	if (!queue_module(role->set, &m))
		return err_set(err, "smtps: the configuration names no queue module");
	mod = mod_load(&role->host, m.module, err);
	if (mod == NULL)
		return -1;
	server.store_inst = mod_open(&role->host, mod, m.instance, role->set->conf, m.section,
	    settings_core_names(m.kind), OPT_START, err);
	if (server.store_inst == NULL)
		return -1;
	server.store = mod_ops(server.store_inst);
	server.store_data = mod_data(server.store_inst);
	if (!META1_HAS(server.store, reclaim) || server.store->begin == NULL ||
	    server.store->write == NULL || server.store->commit == NULL ||
	    server.store->abort == NULL || server.store->next_id == NULL ||
	    server.store->tail == NULL)
		return err_set(err,
		    "%s: cannot be written to: its table of operations lacks the writer",
		    mod_name(server.store_inst));
	mod_req_limit(server.store_inst, session_bound() + ORPHANS_MAX);
	role->store = server.store->format;
	role->writer = server.store->writer != NULL ? server.store->writer(server.store_data) : 0;
	return 0;
}

/* The tables of clients and logins, from mcp. */
static int open_tables(struct role *role, struct meta1_err *err)
{
	unsigned i;

	for (i = 0; i < role->nfd; i++) {
		const struct role_fd *f = &role->fd[i];
		bool clients = strcmp(f->kind, "clients") == 0;
		bool tally = strcmp(f->kind, "tally") == 0;

		if (clients && !(server.clients = clients_open(f->fd, role->index, err)))
			return -1;
		if (tally && !(server.tally = tally_open(f->fd, role->index, err)))
			return -1;
	}
	if (server.clients && server.tally)
		return 0;
	return err_set(err, "smtps: no table of clients came from mcp; is it of this version?");
}

static int start(struct role *role, struct meta1_err *err)
{
	const struct set_smtps *set = (const struct set_smtps *)role->section;

	server.role = role;
	LIST_INIT(&server.sessions);
	LIST_INIT(&server.listen);
	task_init(&server.stopped, stopped, NULL);
	task_init(&server.drained, nobody_left, NULL);
	server.gear = smtps_gear_new(role, role->set, set, err);
	if (server.gear == NULL || open_tables(role, err) < 0 || open_store(role, err) < 0 ||
	    smtps_listen_start(&server, err) < 0)
		return -1;
	server.verdicts = smtps_verdict_new(SMTPS_VERDICTS_MAX);
	smtps_policy_forget(&server);
	server.intake = smtps_intake_new(&server);
	return 0;
}

static void go(struct role *role)
{
	(void)role;
	smtps_listen_go(&server);
}

/* ---- reload ---- */

static const struct set_smtps *same_section(const struct settings *set, const char *name)
{
	unsigned i;

	for (i = 0; i < set->nsmtps; i++) {
		const char *other = set->smtps[i].role.name;

		if ((name == NULL) == (other == NULL) && (name == NULL || strcmp(name, other) == 0))
			return &set->smtps[i];
	}
	return NULL;
}

/* The same module with the same options, as the admin wrote them. */
static bool same_values(const struct conf_value *a, const struct conf_value *b)
{
	for (; a != NULL && b != NULL; a = a->next, b = b->next)
		if (strcmp(a->text, b->text) != 0)
			return false;
	return a == NULL && b == NULL;
}

static bool same_options(const struct conf_section *a, struct conf_section *b)
{
	const struct conf_option *o, *other;
	unsigned na = 0, nb = 0;

	if (a == NULL || b == NULL)
		return (a == NULL || a->options == NULL) && (b == NULL || b->options == NULL);
	for (o = b->options; o != NULL; o = o->next)
		nb++;
	for (o = a->options; o != NULL; o = o->next, na++) {
		other = conf_find(b, o->name);
		if (other == NULL || !same_values(o->values, other->values))
			return false;
	}
	return na == nb;
}

static int reload_prepare(struct role *role, struct settings *next, struct meta1_err *err)
{
	const struct set_smtps *old = (const struct set_smtps *)role->section;
	const struct set_smtps *set = same_section(next, role->section->name);
	struct settings_module a, b;

	if (set == NULL) {
		err_set(err, "smtps: its section is gone; restart to stop this server");
		return 1;
	}
	if (!queue_module(role->set, &a) || !queue_module(next, &b) ||
	    strcmp(a.module, b.module) != 0 || !same_options(a.section, b.section) ||
	    strcmp(role->set->queue_directory, next->queue_directory) != 0 ||
	    old->CDB_gid != set->CDB_gid) {
		err_set(err,
		    "smtps: the queue (module, options, queue_directory or CDB_gid) changes "
		    "with a restart only");
		return 1;
	}
	server.next_gear = smtps_gear_new(role, next, set, err);
	return server.next_gear != NULL ? 0 : -1;
}

static void reload_finish(struct role *role, bool commit)
{
	struct smtps_gear *old = commit ? server.gear : server.next_gear;

	(void)role;
	if (commit)
		server.gear = server.next_gear;
	server.next_gear = NULL;
	smtps_gear_drop(&old);
	/* max_sessions may be another; smar's window follows with its next connection */
	mod_req_limit(server.store_inst, session_bound() + ORPHANS_MAX);
	if (!commit)
		return;
	smtps_gear_bound(&server);
	smtps_listen_turn(&server);
	smtps_report_judges(&server);
}

/* ---- the role ---- */

/* As at a start, without one: what mcp runs before it. */
static int check(struct role *role, struct meta1_err *err)
{
	return smtps_gear_check(role, (const struct set_smtps *)role->section, err);
}

static void control(struct role *role, struct ctl *ctl)
{
	(void)role;
	smtps_show_control(&server, ctl);
	smtps_chain_control(&server, ctl);
}

int main(int argc, char **argv)
{
	static const char *const servers[] = {"smar", "qmgr", NULL};
	static struct role role = {.name = "smtps",
	    .bit = META1_SMTPS,
	    .who = SMTPS,
	    .handlers = handlers,
	    .servers = servers,
	    .check = check,
	    .start = start,
	    .go = go,
	    .drain = drain,
	    .listeners_gone = listeners_gone,
	    .stop = stop,
	    .reload_prepare = reload_prepare,
	    .reload_finish = reload_finish,
	    .up = up,
	    .down = down,
	    .control = control};

	return role_main(&role, argc, argv);
}
