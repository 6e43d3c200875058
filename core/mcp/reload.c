/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reload.c -- a changed configuration, in two steps, all roles or none.
 *
 * Comes from: SIGHUP (mcp.c), control.c. Goes to: check.c, and over the channels to
 * core/role_mcp.c.
 * Order: read, check and plan here (plan.c); a checker a section, as its user; what is new is made:
 * folders (hand.c), sections and their sockets (sections.c); step 1: every process that stays opens
 * the new beside the old; all ready: step 2, commit. What a process can learn only by a restart
 * restarts just that one, after the commit, and its sockets stay; then new ones are started, and
 * those that have no place any more end (retire.c). What cannot change while mcp runs is refused by
 * name (differ.c).
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
	struct mcp_plan plan;
	uint64_t serial;
	unsigned awaited;
	bool refused, try, committed; /* committed: answers to that are awaited */
	struct watch *timer;
	char *text; /* for who asked for it: a line each thing that was said */
	size_t len;
};

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

void mcp_reload_note(struct mcp *m, const char *line)
{
	if (m->reload)
		say(m->reload, "%s", line);
	else
		mcp_control_note(m, line);
}

static void finish(struct mcp *m, bool good)
{
	struct mcp_reload *r = m->reload;

	m->reload = NULL;
	mcp_sections_end(m, false);
	mcp_hand_end(m, false);
	if (!m->stopping)
		mcp_service_say(m, "READY=1");
	loop_unwatch(&r->timer);
	mcp_plan_free(&r->plan);
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

/* What we have read, and not what the files may be by now. */
static bool give_conf(struct mcp *m, struct mcp_child *c)
{
	const struct p_fd_pass msg = {.kind = buf_str("conf"), .name = buf_str("conf")};

	return chan_send_fd(c->chan, P_FD_PASS, &msg, conf_pack(m->reload->next->conf));
}

static void send_step(struct mcp *m, struct mcp_child *c, uint64_t step)
{
	const struct p_reload msg = {.serial = m->reload->serial, .step = step};

	chan_send(c->chan, P_RELOAD, &msg);
}

/* It is there after the commit too. */
static bool stays(const struct mcp_child *c)
{
	return c->sec->after && c->nth < c->sec->nafter;
}

/* Nobody waits for the answers: what a role is told next stands behind this in its channel, and
 * answers are known by serial and step. */
static void abort_all(struct mcp *m)
{
	MCP_EACH_CHILD(m, c)
	{
		c->told = c->agreed = c->renewed = false;
		if (c->state == MCP_UP)
			send_step(m, c, STEP_ABORT);
	}
}

/* Who was off or in its back-off starts now: what ended it may have been the old configuration. */
static void restart_renewed(struct mcp *m)
{
	bool ended;

	MCP_EACH_CHILD(m, c)
	{
		c->proved = c->state == MCP_UP && !c->renewed;
		ended = c->state == MCP_OFF || c->state == MCP_WAITING;
		c->awaited = !c->proved && (c->awaited || c->renewed || ended);
		if (ended) {
			loop_unwatch(&c->timer);
			c->state = MCP_DOWN;
			c->backoff = 0;
		}
		if (!c->renewed || !mcp_child_running(c))
			continue;
		c->renewed = false;
		mcp_child_stop(c, MCP_DRAIN_MS, MCP_STOP_MS, "the new configuration needs it");
		mcp_order_hold(c->sec);
	}
}

/* What becomes of whom, to those who asked; at a commit, of whom it says so. */
static void carry_out(struct mcp *m, bool commit)
{
	struct mcp_reload *r = m->reload;
	char text[400];

	for (unsigned i = 0; i < r->plan.n; i++) {
		struct mcp_step *s = &r->plan.step[i];
		struct mcp_child *c = mcp_sections_child(m, s->set, s->nth);

		/* Its account may be as it was: the folder is of all sections of the role. */
		if (s->act == MCP_GOES_ON && mcp_hand_will(m, s->set->keyword)) {
			s->act = MCP_RESTARTS;
			str_copy(s->why, sizeof(s->why), "a folder of its role changes hands");
		}
		if (mcp_plan_says(s, text, sizeof(text)))
			say(r, "%s", text);
		if (commit && s->act == MCP_RESTARTS && c)
			c->renewed = true;
	}
}

/* One that came up since step 1 was asked has the sockets of before, and may have either file. */
static void send_commit(struct mcp *m)
{
	MCP_EACH_CHILD(m, c)
	{
		if (c->state == MCP_UP) {
			c->told = true;
			m->reload->awaited++;
			send_step(m, c, STEP_COMMIT);
		}
		if (c->state == MCP_STARTING || (c->state == MCP_UP && !c->agreed))
			c->renewed = true;
		c->agreed = false;
	}
}

static void maybe_decide(struct mcp *m);

/* Sections, their processes and sockets are those of the new settings. */
static void switch_sections(struct mcp *m)
{
	for (unsigned i = 0; i < m->nsection; i++)
		m->section[i]->slept = mcp_order_awake(m->section[i]);
	for (unsigned i = 0; i < m->nnext; i++)
		m->next[i]->slept = m->next[i]->slept || m->next[i]->fresh;
	mcp_sections_end(m, true);
	for (unsigned i = 0; i < m->nsection; i++) {
		if (m->section[i]->slept)
			mcp_order_asleep(m->section[i]);
		m->section[i]->slept = false;
	}
}

static void commit(struct mcp *m)
{
	struct mcp_reload *r = m->reload;
	const struct log_conf conf = {.ident = "mcp",
	    .facility = m->background ? "mail" : NULL,
	    .level = (int)r->next->log_level};
	struct meta1_err err;

	switch_sections(m);
	loop_rearm(r->timer, ANSWER_MS);
	send_commit(m);
	carry_out(m, true);
	mcp_hand_end(m, true);
	mcp_plan_free(&r->plan); /* it points into the old settings too */
	settings_free(&m->set);
	m->set = r->next;
	r->next = NULL;
	if (log_open(m->loop, &conf, &err) < 0)
		log_event(LOG_L_WARN, "mcp.log", "error=%s", err.text);
	r->committed = true;
	log_event(LOG_L_INFO, "mcp.reload", "result=%s", "committed");
	mcp_order_rehold(m);
	restart_renewed(m);
	mcp_order_run(m);
	maybe_decide(m);
}

/* ---- the steps and their answers ---- */

static void maybe_decide(struct mcp *m)
{
	if (m->reload->awaited)
		return;
	if (m->reload->committed) {
		finish(m, true);
		return;
	}
	if (!m->reload->refused && !m->reload->try) {
		commit(m);
		return;
	}
	if (!m->reload->refused)
		carry_out(m, false);
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
	MCP_EACH_CHILD(m, c)
	{
		if (!c->told)
			continue;
		log_event(
		    LOG_L_ERR, "mcp.reload", "role=%s error=%s", c->name, "no answer within 60 s");
		say(m->reload, "%s: no answer within 60 s", c->name);
		c->told = false;
	}
	if (m->reload->committed) {
		finish(m, true);
		return;
	}
	abort_all(m);
	refuse(m, "a role did not answer");
}

/* Folders, sections and sockets that are new. false: refused, nothing is left of them. */
static bool make_new(struct mcp *m)
{
	struct mcp_reload *r = m->reload;
	struct meta1_err err = {""};
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool good = f && mcp_hand_open(m, r->next, r->try, f) >= 0;

	if (f)
		fclose(f);
	log_lines(r, text ? text : "");
	free(text);
	if (!good)
		refuse(m, "a folder is not as it must be, see above");
	else if (mcp_sections_open(m, r->next, &err) < 0)
		refuse(m, err.text);
	else
		return true;
	return false;
}

static void checked(struct mcp *m, bool good, const char *errors)
{
	struct mcp_reload *r = m->reload;

	log_lines(r, errors);
	if (!good) {
		refuse(m, "a check failed, see above");
		return;
	}
	if (!make_new(m))
		return;
	r->timer = loop_timer(m->loop, ANSWER_MS, no_answer, m);
	m->life++; /* not before: who started during the check has workers of these names too */
	MCP_EACH_CHILD(m, c)
	{
		/* A role that is starting has the old one. */
		c->agreed = false;
		c->renewed = c->state == MCP_STARTING && stays(c);
		if (c->state != MCP_UP || !stays(c))
			continue;
		c->told = true;
		r->awaited++;
		mcp_workers_start(c, r->next, c->sec->after);
		/* One that cannot take them now is started again after the commit. */
		c->renewed = !mcp_relisten_give(c) || !give_conf(m, c);
		send_step(m, c, STEP_PREPARE);
	}
	maybe_decide(m);
}

void mcp_reload_done(struct mcp_child *c, const struct p_reload_done *d)
{
	struct mcp *m = c->m;
	const char *answer;

	if (!m->reload || d->serial != m->reload->serial || !c->told ||
	    d->step != (m->reload->committed ? STEP_COMMIT : STEP_PREPARE))
		return;
	c->told = false;
	m->reload->awaited--;
	if (m->reload->committed) {
		maybe_decide(m);
		return;
	}
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
	c->agreed = d->status == DONE_READY;
	maybe_decide(m);
}

/* It may be the new configuration that ended it; it starts again with the one in force. */
void mcp_reload_gone(struct mcp_child *c)
{
	struct mcp_reload *r = c->m->reload;

	if (!c->told)
		return;
	c->told = false;
	if (!r)
		return;
	r->awaited--;
	if (!r->committed) {
		r->refused = true;
		log_event(LOG_L_ERR, "mcp.reload", "role=%s answer=%s", c->name,
		    "ended while it made ready");
		say(r, "%s: ended while it made ready", c->name);
	}
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
	if (conf_errors(r->next->conf)) {
		refuse(m, "the file has errors, see above");
		return;
	}
	mcp_plan(m->set, r->next, &r->plan);
	if (r->plan.refused[0])
		refuse(m, r->plan.refused);
	else
		mcp_check_start(m, r->next, checked);
}

void mcp_reload_cancel(struct mcp *m)
{
	mcp_check_cancel(m);
	if (!m->reload)
		return;
	m->again = false;
	MCP_EACH_CHILD(m, c)
	c->told = false;
	if (m->reload->committed)
		finish(m, true);
	else
		refuse(m, "mcp stops");
}
