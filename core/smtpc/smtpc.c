/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smtpc.c -- the role: what it loads, what qmgr may send, reload and stop.
 *
 * Comes from core/role.c (start, go, stop, reload) and from qmgr's frames; goes to
 * core/smtpc/deliver.c. qmgr may have SMTPC_WINDOW deliveries with us: WINDOW grants them when
 * qmgr comes up, less what still runs for an earlier life of it, and gives each place back
 * when its delivery is over.
 * Owns the queue module as a reader, and gears: the transports and limits of one
 * configuration, kept until their last session is shut.
 * On failure: a module that cannot be opened stops the start or refuses the reload.
 */
#include "smtpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define STOP_LOOK 20 /* ms between looks whether the last results have left */

/* ---- gears ---- */

struct smtpc_transport *smtpc_transport(struct smtpc *c, struct meta1_buf name)
{
	for (unsigned i = 0; i < c->gear->ntransport; i++)
		if (buf_eq(name, buf_str(c->gear->transport[i].name)))
			return &c->gear->transport[i];
	return NULL;
}

void smtpc_gear_use(struct smtpc_gear *g)
{
	g->refs++;
}

void smtpc_gear_drop(struct smtpc_gear **gp)
{
	struct smtpc_gear *g = *gp;

	*gp = NULL;
	if (--g->refs > 0)
		return;
	for (unsigned i = 0; i < g->ntransport; i++)
		mod_close(&g->transport[i].inst);
	logins_drop(&g->logins);
	conf_free(&g->keeps);
	free(g->transport);
	free(g);
}

static struct mod_inst *open_module(
    struct smtpc *c, struct settings *set, const struct settings_module *m, struct meta1_err *err)
{
	return mod_use(&c->role.host, m, set, settings_core_names(m->kind), err);
}

static int add_transport(struct smtpc *c, struct settings *set, struct smtpc_gear *g,
    const struct settings_module *m, struct tls_ctx *tls, struct meta1_err *err)
{
	struct mod_inst *inst = open_module(c, set, m, err);

	if (!inst)
		return -1;
	mod_req_limit(inst, 2 * SMTPC_WINDOW);
	mod_tls(inst, tls);
	if (g->logins)
		mod_login(inst, &logins_ops, g->logins);
	g->transport[g->ntransport++] = (struct smtpc_transport){.name = m->instance,
	    .inst = inst,
	    .ops = mod_ops(inst),
	    .named = m->section && strcasecmp(m->section->keyword, "transport") == 0,
	    .gear = g};
	return 0;
}

/* Modules and credentials of the section auth. <0: err. */
static int open_logins(struct smtpc *c, struct settings *set, struct smtpc_gear *g,
    const struct settings_module *list, unsigned n, struct meta1_err *err)
{
	struct mod_inst **inst;
	unsigned have = 0;

	if (!set->smtpc.auth)
		return 0;
	inst = base_alloc((n + 1) * sizeof(struct mod_inst *));
	for (unsigned i = 0; i < n; i++) {
		if (strcmp(list[i].kind, "auth") != 0)
			continue;
		inst[have] = open_module(c, set, &list[i], err);
		if (!inst[have])
			break;
		have++;
	}
	if (err->text[0]) {
		while (have > 0)
			mod_close(&inst[--have]);
		free(inst);
		return -1;
	}
	g->logins = logins_new(&set->smtpc.login_set, inst, have, c->role.loop, c->role.work, err);
	return g->logins ? 0 : -1;
}

static struct smtpc_gear *gear_new(struct smtpc *c, struct settings *set, struct meta1_err *err)
{
	const struct set_smtpc *s = &set->smtpc;
	struct smtpc_gear *g = base_alloc(sizeof(*g));
	struct settings_module *list = NULL;
	struct tls_ctx *tls;
	unsigned i, n;

	g->refs = 1;
	g->keeps = conf_ref(set->conf);
	hop_conf_section(s, &g->conf);
	tls = tls_ctx_new(&s->tls_set, false, c->role.work, err);
	if (!tls) {
		smtpc_gear_drop(&g);
		return NULL;
	}
	n = settings_modules(set, META1_SMTPC, &list);
	if (open_logins(c, set, g, list, n, err) < 0) {
		free(list);
		tls_ctx_free(&tls);
		smtpc_gear_drop(&g);
		return NULL;
	}
	g->remote_port = s->remote_port;
	g->max_idle = s->max_connections_idle;
	g->transport = base_alloc((n + 1) * sizeof(*g->transport));
	for (i = 0; i < n; i++) {
		if (strcmp(list[i].kind, "transport") == 0 &&
		    add_transport(c, set, g, &list[i], tls, err) < 0) {
			smtpc_gear_drop(&g);
			break;
		}
	}
	free(list);
	tls_ctx_free(&tls);
	return g;
}

/* ---- qmgr's window ---- */

static void give(void *arg)
{
	struct smtpc *c = arg;
	struct p_window m = {.credits = c->credits};

	if (!c->qmgr || c->role.stopping || !m.credits)
		return;
	if (chan_send(c->qmgr, P_WINDOW, &m))
		c->credits = 0;
	else
		loop_defer(c->role.loop, &c->give);
}

static void on_stop_look(int fd, short what, void *arg);

void smtpc_credit(struct smtpc *c)
{
	c->credits++;
	if (c->role.stopping) {
		if (c->active == 0 && c->stop_timer)
			loop_rearm(c->stop_timer, 0);
	} else if (c->qmgr) {
		loop_defer(c->role.loop, &c->give);
	}
}

static void up(struct role *role, struct chan *chan, const struct p_hello *hello)
{
	struct smtpc *c = (struct smtpc *)role;

	(void)hello;
	if (chan_peer(chan) == SMAR) {
		c->smar = chan;
		smtpc_caps_forget(c);
		return;
	}
	c->qmgr = chan;
	c->epoch++;
	c->credits = c->active < SMTPC_WINDOW ? SMTPC_WINDOW - c->active : 0;
	loop_defer(role->loop, &c->give);
}

static void down(struct role *role, struct chan *chan)
{
	struct smtpc *c = (struct smtpc *)role;

	if (chan == c->smar) {
		c->smar = NULL;
		return;
	}
	c->qmgr = NULL;
	smtpc_deliver_forget_reports(c);
}

/* ---- the role ---- */

static int start(struct role *role, struct meta1_err *err)
{
	struct smtpc *c = (struct smtpc *)role;
	struct settings_module *list = NULL;
	unsigned i, n = settings_modules(role->set, META1_SMTPC, &list);

	task_init(&c->give, give, c);
	for (i = 0; i < n && !c->queue; i++) {
		if (strcmp(list[i].kind, "queue") != 0)
			continue;
		c->queue = open_module(c, role->set, &list[i], err);
		if (!c->queue)
			break;
		c->queue_module = base_strdup(list[i].module);
	}
	free(list);
	if (!c->queue)
		return err->text[0] ? -1 : err_set(err, "no queue module is configured");
	c->queue_ops = mod_ops(c->queue);
	if (!c->queue_ops->load || !c->queue_ops->unload)
		return err_set(err,
		    "%s: load() and unload() are missing, it cannot be read by smtpc",
		    mod_name(c->queue));
	mod_req_limit(c->queue, 2 * SMTPC_WINDOW);
	role->store = c->queue_ops->format;
	c->gear = gear_new(c, role->set, err);
	return c->gear ? 0 : -1;
}

static int reload_prepare(struct role *role, struct settings *set, struct meta1_err *err)
{
	struct smtpc *c = (struct smtpc *)role;
	struct settings_module *list = NULL;
	unsigned i, n = settings_modules(set, META1_SMTPC, &list);
	bool same = false;

	for (i = 0; i < n; i++)
		same |= strcmp(list[i].kind, "queue") == 0 &&
			strcmp(list[i].module, c->queue_module) == 0;
	free(list);
	if (!same) {
		err_set(err, "the type of the queue changed");
		return 1;
	}
	c->next_gear = gear_new(c, set, err);
	return c->next_gear ? 0 : -1;
}

static void reload_finish(struct role *role, bool commit)
{
	struct smtpc *c = (struct smtpc *)role;
	struct smtpc_gear *old = commit ? c->gear : c->next_gear;

	if (!old)
		return;
	if (commit)
		c->gear = c->next_gear;
	c->next_gear = NULL;
	smtpc_session_shut_idle(c, c->gear);
	smtpc_gear_drop(&old);
}

/* ---- stop ---- */

static void stopped(struct smtpc *c)
{
	loop_unwatch(&c->stop_timer);
	loop_unwatch(&c->report_timer);
	loop_unwatch(&c->idle_timer);
	task_cancel(&c->give);
	smtpc_hosts_free(c);
	smtpc_caps_forget(c);
	if (c->gear)
		smtpc_gear_drop(&c->gear);
	if (c->next_gear)
		smtpc_gear_drop(&c->next_gear);
	if (c->queue)
		mod_close(&c->queue);
	free((void *)(uintptr_t)c->queue_module);
	c->queue_module = NULL;
	mod_unload_all(&c->role.host);
	role_stopped(&c->role);
}

/* The results of what was past the dot must be with qmgr before we go, or it sends again. */
static void on_stop_look(int fd, short what, void *arg)
{
	struct smtpc *c = arg;

	(void)fd, (void)what;
	if (c->active > 0 || (c->qmgr && chan_unsent(c->qmgr) > 0))
		loop_rearm(c->stop_timer, STOP_LOOK);
	else
		stopped(c);
}

static void stop(struct role *role)
{
	struct smtpc *c = (struct smtpc *)role;
	struct p_window nothing_more = {.credits = 0};

	if (c->qmgr)
		chan_send(c->qmgr, P_WINDOW, &nothing_more);
	smtpc_deliver_stop(c);
	smtpc_try_stop(c);
	smtpc_session_shut_idle(c, NULL);
	c->stop_timer = loop_timer(role->loop, STOP_LOOK, on_stop_look, c);
}

/* As at a start, without one: what mcp runs before it. */
static int check(struct role *role, struct meta1_err *err)
{
	struct tls_ctx *tls = tls_ctx_new(&role->set->smtpc.tls_set, false, role->work, err);

	if (!tls)
		return -1;
	tls_ctx_free(&tls);
	if (role->set->smtpc.auth) {
		struct creds *creds = creds_new(role->set->smtpc.login_set.file, err);

		if (!creds)
			return -1;
		creds_free(&creds);
	}
	return 0;
}

static const struct chan_handler handlers[] = {{P_DELIVER, smtpc_deliver_frame}, {P_NONE, NULL}};
static const char *const servers[] = {"qmgr", NULL};
static const char *const told[] = {"smar", NULL};

int main(int argc, char **argv)
{
	static struct smtpc c = {
	    .role = {.name = "smtpc",
		.bit = META1_SMTPC,
		.who = SMTPC,
		.handlers = handlers,
		.servers = servers,
		.told = told,
		.check = check,
		.start = start,
		.stop = stop,
		.reload_prepare = reload_prepare,
		.reload_finish = reload_finish,
		.up = up,
		.down = down,
		.control = smtpc_control},
	};

	return role_main(&c.role, argc, argv);
}
