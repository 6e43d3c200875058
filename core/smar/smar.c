/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smar.c -- the role: its tables, its questions on their way, the generation of the
 * maps, reload and the control socket.
 * From smtps (CHECK) and qmgr (ROUTE); to check.c and route.c; answers go back on the
 * same channel. From smtpc (CAPS), without an answer; to caps.c. Owns the policy, the resolver and
 * one struct question an open question. On failure: a question is always answered, at the latest
 * when its deadline passes.
 */
#include "smar/users.h"

#include "smar/control.h"
#include "smar/grey.h"
#include "smar/probe.h"
#include "smar/sts.h"
#include "smar/tlsrpt.h"

#include <stdio.h>
#include <stdlib.h>

#define MARGIN_MS 500 /* our answer travels while the asker's clock runs */

METRIC_GAUGE(m_open, "questions_now", "Questions under way.");
METRIC_GAUGE(m_generation, "generation", "Number of the maps' generation.");

struct question {
	struct chan_reply reply;
	uint64_t generation; /* of the maps when it began: what it finds may be that old */
};
struct client {
	struct chan *chan;
	struct client *next;
};
static struct { /* one role a process */
	struct role *role;
	struct smar_policy *policy, *next; /* next: of a reload that is not decided */
	struct dns *dns;
	struct smar_caps *caps;
	struct prober *prober;
	struct client *clients;
	struct task tell, end;
	uint64_t generation;
	unsigned open;
} me;

/* ---- the generation: answers that were kept are void when it counts up ---- */
static void send_generation(struct chan *c)
{
	struct p_generation g = {.generation = me.generation,
	    .by_sender = me.policy && me.policy->sender_routes.map,
	    .by_rcpt = me.policy && me.policy->rcpt_conf && me.policy->access.map};

	if (chan_peer(c) == SMTPS && me.policy) {
		struct p_policy p = {.stages = smar_check_always(me.policy)};

		p.access = smar_check_stages(me.policy);
		chan_send(c, P_POLICY, &p);
	}
	chan_send(c, P_GENERATION, &g);
}

static void tell_generation(void *arg)
{
	(void)arg;
	for (struct client *c = me.clients; c; c = c->next)
		send_generation(c->chan);
}

/* What askers keep is void. */
static void count_up(void)
{
	me.generation++; /* with POLICY: another configuration may look at other stages */
	m_generation.value = (int64_t)me.generation;
	loop_defer(me.role->loop, &me.tell);
}

static void map_changed(void *arg)
{
	(void)arg;
	smar_policy_flush(me.policy);
	smar_policy_flush(me.next);
	if (me.prober)
		prober_changed(me.prober);
	count_up();
}

static void up(struct role *role, struct chan *chan, const struct p_hello *hello)
{
	struct client *c;

	(void)role, (void)hello;
	if (chan_peer(chan) == SMTPC) /* keeps no answers of ours */
		return;
	c = base_alloc(sizeof(*c));
	c->chan = chan;
	c->next = me.clients;
	me.clients = c;
	send_generation(chan);
}

static void down(struct role *role, struct chan *chan)
{
	struct client **cp = &me.clients, *c;

	(void)role;
	while ((c = *cp) != NULL) {
		if (c->chan == chan) {
			*cp = c->next;
			free(c);
		} else {
			cp = &c->next;
		}
	}
}

/* ---- questions ---- */
static struct question *question_new(struct chan *c, uint32_t req)
{
	struct question *q = base_alloc(sizeof(*q));

	chan_later(c, req, &q->reply);
	q->generation = me.generation;
	m_open.value = ++me.open;
	return q;
}

static void finish_stop(struct role *role)
{
	task_cancel(&me.tell);
	smar_control_free();
	smar_explain_set(NULL);
	probe_control_set(NULL, NULL);
	prober_free(&me.prober);
	smar_tls_stop();
	dns_free(&me.dns);
	smar_policy_close(&me.policy);
	smar_caps_free(&me.caps);
	grey_stop();
	role_stopped(role);
}

static void question_end(struct question *q, enum proto_type type, const void *msg)
{
	chan_reply_send(&q->reply, type, msg);
	free(q);
	m_open.value = --me.open;
}

static bool busy(void)
{
	return me.open > 0 || smar_control_pending() > 0 || smar_explain_pending() > 0 ||
	       sts_pending(sts_role()) > 0;
}

/* After the last question of a role that stops, on a turn of its own: whoever answered it still
 * holds the policy. */
static void stop_now(void *arg)
{
	if (me.policy && !busy() && grey_flushed() && smar_tls_flushed())
		finish_stop(arg);
}

static void maybe_stop(void)
{
	if (me.role->stopping && me.policy && !busy())
		loop_defer(me.role->loop, &me.end);
}

static void verdict(void *arg, const struct p_verdict *v)
{
	struct p_verdict out = *v;
	struct question *q = arg;

	out.generation = q->generation;
	question_end(q, P_VERDICT, &out);
	maybe_stop();
}

static void routed(void *arg, const struct p_routes *r)
{
	struct p_routes out = *r;
	struct question *q = arg;

	out.generation = q->generation;
	question_end(q, P_ROUTES, &out);
	maybe_stop();
}

static int64_t deadline(struct role *role, enum proto_type type)
{
	return loop_now(role->loop) + (int64_t)proto_deadline(type) - MARGIN_MS;
}

static void on_check(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	struct role *role = arg;

	if (role->stopping || !me.policy) {
		struct p_verdict v = {.action = ACT_TEMPFAIL, .smtp = 451};

		v.dsn = buf_str("4.3.2");
		v.text = buf_str("the server is stopping");
		chan_answer(c, req, P_VERDICT, &v);
		return;
	}
	smar_check(me.policy, msg, deadline(role, P_CHECK), verdict, question_new(c, req));
}

static void session_conf(void *arg, const struct p_session_conf_is *is)
{
	question_end(arg, P_SESSION_CONF_IS, is);
	maybe_stop();
}

static void on_session_conf(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_session_conf *m = msg;
	struct p_session_conf_is no = {.status = META1_TEMPFAIL};
	struct role *role = arg;

	if (role->stopping || !me.policy)
		chan_answer(c, req, P_SESSION_CONF_IS, &no);
	else
		smar_session_conf(me.policy, m->client, deadline(role, P_SESSION_CONF),
		    session_conf, question_new(c, req));
}

static void client_name(void *arg, const struct p_client_name_is *is)
{
	question_end(arg, P_CLIENT_NAME_IS, is);
	maybe_stop();
}

static void on_client_name(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_client_name *m = msg;
	struct p_client_name_is no = {.resolve = RESOLVE_TEMP};
	struct role *role = arg;

	if (role->stopping || !me.policy)
		chan_answer(c, req, P_CLIENT_NAME_IS, &no);
	else
		smar_client_name(me.policy, m->client, deadline(role, P_CLIENT_NAME), client_name,
		    question_new(c, req));
}

static void on_route(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	const struct p_route *r = msg;
	struct role *role = arg;

	if (role->stopping || !me.policy) {
		struct p_routes out = {.status = META1_TEMPFAIL, .smtp = 451};

		out.dsn = buf_str("4.3.2");
		out.text = buf_str("the server is stopping");
		chan_answer(c, req, P_ROUTES, &out);
		return;
	}
	smar_route(me.policy, me.dns,
	    &(struct smar_route_ask){.domain = r->domain,
		.via = r->via,
		.from = &r->from,
		.rcpt = r->rcpt,
		.delivery = true},
	    deadline(role, P_ROUTE), routed, question_new(c, req));
}

static void expanded(void *arg, const struct smar_expanded *e)
{
	struct p_expanded out = {.status = e->status};
	struct question *q = arg;

	if (e->status == META1_OK)
		out.targets = (struct proto_strs){e->target, e->n};
	else
		out.text = buf_str(e->text);
	question_end(q, P_EXPANDED, &out);
	maybe_stop();
}

static void on_expand(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	const struct p_expand *e = msg;
	struct p_expanded out = {.status = META1_TEMPFAIL};
	struct role *role = arg;

	if (role->stopping || !me.policy) {
		out.text = buf_str("the server is stopping");
		chan_answer(c, req, P_EXPANDED, &out);
	} else if (smar_keys_split(e->rcpt, me.policy->hostname, local, domain) < 0) {
		out.status = META1_NOTFOUND;
		out.text = buf_str("that is no address");
		chan_answer(c, req, P_EXPANDED, &out);
	} else {
		smar_alias_expand(me.policy, local, domain, OURS_ASK, false,
		    deadline(role, P_EXPAND), expanded, question_new(c, req));
	}
}

static void on_caps(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	struct role *role = arg;

	(void)c, (void)req;
	if (me.caps)
		smar_caps_learn(me.caps, msg, loop_now(role->loop));
}

static void on_tls_result(struct chan *c, uint32_t req, const void *msg, void *arg)
{
	(void)c, (void)req, (void)arg;
	tlsrpt_session(msg, sts_role());
}

static const struct chan_handler handlers[] = {
    {P_CHECK, on_check},
    {P_SESSION_CONF, on_session_conf},
    {P_CLIENT_NAME, on_client_name},
    {P_ROUTE, on_route},
    {P_EXPAND, on_expand},
    {P_CAPS, on_caps},
    {P_TLS_RESULT, on_tls_result},
    {P_NONE, NULL},
};

/* ---- start, reload, stop ---- */
/* A life of the configuration, with what outlives it. */
static struct smar_policy *policy_open(
    struct role *role, struct settings *set, struct meta1_err *err)
{
	struct smar_policy *p = smar_policy_open(&role->host, set, err);

	if (p) {
		p->dns = me.dns;
		p->caps = me.caps;
		p->prober = me.prober;
		p->sts = sts_role();
		p->work = role->work;
	}
	return p;
}

static int start(struct role *role, struct meta1_err *err)
{
	const struct set_smar *s = &role->set->smar;
	struct dns_conf conf = {
	    .nameserver = s->nameserver,
	    .trusted = s->trusted_nameserver,
	    .all_trusted = s->dane,
	    .plain_case = !s->DNS_random_case,
	    .timeout = s->DNS_timeout,
	    .tries = s->DNS_tries,
	};

	me.role = role;
	task_init(&me.tell, tell_generation, NULL);
	task_init(&me.end, stop_now, role);
	/* Higher than in any life before, so that what was kept from then is void. */
	me.generation = (uint64_t)loop_wall(role->loop) << 20;
	m_generation.value = (int64_t)me.generation;
	me.dns = dns_new(role->loop, &conf, err);
	if (!me.dns)
		return -1;
	role->host.dns = dns_service;
	role->host.dns_arg = &me.dns;
	role->host.changed = map_changed;
	me.caps = smar_caps_new(SMAR_CAPS_MAX);
	me.prober = prober_new(role->loop);
	if (smar_tls_start(role, me.dns, maybe_stop, count_up, err) < 0)
		return -1;
	me.policy = policy_open(role, role->set, err);
	if (!me.policy) {
		smar_tls_stop();
		return -1;
	}
	prober_use(me.prober, me.policy);
	if (grey_start(role->loop, role->work, role->set, maybe_stop, err) < 0) {
		smar_policy_close(&me.policy);
		smar_tls_stop();
		return -1;
	}
	smar_control_set(me.policy, me.dns);
	smar_explain_set(me.policy);
	probe_control_set(me.prober, count_up);
	return 0;
}

/* Options of the DNS are marked in the records: for them mcp restarts us after the commit. */
static int reload_prepare(struct role *role, struct settings *set, struct meta1_err *err)
{
	const struct set_smar *was = &role->set->smar, *now = &set->smar;

	if (grey_restart(&was->greylisting, &now->greylisting)) {
		err_set(err, "smar: the section greylisting, and its file and max_entries, are set "
			     "at its start");
		return 1;
	}
	if (smar_tls_restart(was, now)) {
		err_set(err, "smar: the sections mta_sts and tlsrpt, the file of the one and the "
			     "directory of the other are set at its start");
		return 1;
	}
	me.next = policy_open(role, set, err);
	return me.next ? 0 : -1;
}

static void reload_finish(struct role *role, bool commit)
{
	if (!commit) {
		smar_policy_close(&me.next);
		return;
	}
	smar_policy_counts(me.next, me.policy);
	smar_policy_unref(&me.policy);
	me.policy = me.next;
	me.next = NULL;
	prober_use(me.prober, me.policy);
	if (me.policy->greylisting)
		grey_reload(me.policy->greylisting);
	smar_tls_reload(role->set);
	smar_control_set(me.policy, me.dns);
	smar_explain_set(me.policy);
	dns_forget(me.dns);
	map_changed(NULL);
}

static void stop(struct role *role)
{
	(void)role;
	maybe_stop();
}

static int check(struct role *role, struct meta1_err *err)
{
	(void)err;
	smar_rows_check(role->set);
	return 0;
}

static void control(struct role *role, struct ctl *ctl)
{
	smar_control_add(role->loop, &role->host, ctl, maybe_stop);
	smar_explain_add(role, ctl, maybe_stop);
	grey_control_add(ctl);
	probe_control_add(ctl);
	smar_tls_control(ctl);
}

static const char *libraries(void)
{
	static char text[100];

	snprintf(text, sizeof(text), "%s\n%s", dns_msg_library(), sts_fetch_library());
	return text;
}

int main(int argc, char **argv)
{
	static struct role role = {
	    .name = "smar",
	    .bit = META1_SMAR,
	    .who = SMAR,
	    .handlers = handlers,
	    .check = check,
	    .start = start,
	    .stop = stop,
	    .reload_prepare = reload_prepare,
	    .reload_finish = reload_finish,
	    .up = up,
	    .down = down,
	    .control = control,
	    .libraries = libraries,
	};

	return role_main(&role, argc, argv);
}
