/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dialog.c -- the players around a session under test, see dialog.h.
 * Comes from the tests of this folder; goes to core/smtps, whose callees chan_*, mod_* and
 * the store's operations are played here. Owns what the players keep.
 * over 500 lines: one world, whose parts know each other.
 */
#include "dialog.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

static struct dialog *now; /* the players have no argument of ours */

/* ---- smar and qmgr ---- */

static struct {
	chan_answer_fn fn;
	void *arg;
	uint32_t req;
	struct p_verdict m;
	bool mute, hang;
	struct task task;
} question;

static void answer(void *arg)
{
	chan_answer_fn fn = question.fn;

	(void)arg;
	question.fn = NULL;
	if (fn != NULL)
		fn(question.arg, question.mute ? NULL : &question.m);
}

bool chan_up(const struct chan *c)
{
	(void)c;
	return !now->qmgr_down;
}

size_t chan_unsent(const struct chan *c)
{
	(void)c;
	return 0;
}

static bool starts(struct meta1_buf b, const char *word)
{
	return b.len >= strlen(word) && memcmp(b.data, word, strlen(word)) == 0;
}

static enum proto_action by_client(struct meta1_buf client)
{
	return starts(client, "192.0.2.66")   ? ACT_REJECT
	       : starts(client, "192.0.2.67") ? ACT_TEMPFAIL
	       : starts(client, "192.0.2.68") ? ACT_DISCARD
					      : ACT_ACCEPT;
}

static enum proto_action by_name(struct meta1_buf addr)
{
	return starts(addr, "bad")			      ? ACT_REJECT
	       : starts(addr, "temp") || starts(addr, "shut") ? ACT_TEMPFAIL
	       : starts(addr, "drop")			      ? ACT_DISCARD
							      : ACT_ACCEPT;
}

static struct p_verdict verdict(const struct p_check *m)
{
	struct p_verdict v = {.action = by_client(m->client), .generation = 1};

	if (v.action == ACT_ACCEPT)
		v.action = by_name(m->from);
	if (v.action == ACT_ACCEPT) {
		v.action = by_name(m->rcpt);
		v.smtp = starts(m->rcpt, "shut") ? 421 : 0;
	}
	v.ttl = starts(m->stages & STAGE_RCPT ? m->rcpt : m->from, "kept") ? 60 : 0;
	v.grants = starts(m->from, "relay") ? GRANT_RELAY : 0;
	v.rule = buf_str("rule");
	v.name = starts(m->from, "named") ? buf_str("client.example") : buf_str("");
	if (v.action == ACT_REJECT) {
		v.dsn = buf_str("5.1.1");
		v.text = buf_str("no such user");
	}
	return v;
}

uint32_t chan_ask(struct chan *c, enum proto_type type, const void *msg, uint32_t deadline,
    chan_answer_fn fn, void *arg)
{
	const struct p_check *m = msg;
	struct meta1_buf about;

	(void)c, (void)deadline;
	if (type == P_CLIENT_NAME)
		return now->named++, 0; /* filters are asked without */
	assert_int_equal(type, P_CHECK);
	about = m->stages & STAGE_RCPT ? m->rcpt : m->from;
	now->question = *m;
	assert_null(question.fn);
	now->asked++;
	if (now->smar_down || starts(about, "away"))
		return 0;
	question.fn = fn;
	question.arg = arg;
	question.mute = starts(about, "mute");
	question.hang = now->hold_smar || starts(about, "hang");
	question.m = verdict(m);
	if (!question.hang)
		loop_defer(now->role.loop, &question.task);
	return ++question.req;
}

void chan_forget(struct chan *c, uint32_t req)
{
	(void)c;
	assert_int_equal(req, question.req);
	assert_non_null(question.fn);
	question.fn = NULL;
	task_cancel(&question.task);
	now->forgotten++;
}

bool chan_send(struct chan *c, enum proto_type type, const void *msg)
{
	(void)c;
	if (now->qmgr_down)
		return false;
	if (type == P_INTAKE_BACK) {
		now->backs += (unsigned)((const struct p_intake_back *)msg)->credits;
	} else if (type == P_QUEUE_TAIL) {
		now->tails++;
	} else if (type != P_JUDGES) {
		const struct p_queued *m = msg;

		assert_int_equal(type, P_QUEUED);
		now->queued++;
		snprintf(now->last_queued, sizeof(now->last_queued), "%.*s %.*s %u", (int)m->id.len,
		    (const char *)m->id.data, (int)m->from.len, (const char *)m->from.data,
		    m->rcpts.n);
		now->last_dsn = m->notify.n;
		assert_int_equal(m->notify.n, m->orcpts.n);
	}
	return true;
}

/* ---- the store ---- */

struct meta1_qmsg {
	struct dialog_msg m;
	const struct meta1_qops_writer_events *ev;
	void *arg;
	size_t room;
	unsigned writes;
	struct task ready;
};

struct meta1_req {
	mod_done_fn fn;
	void *arg;
	bool ok;
	struct meta1_req *next;
	struct task task;
};
static struct meta1_req *commits;

struct meta1_req *mod_req(struct mod_inst *in, int64_t deadline, mod_done_fn fn, void *arg)
{
	struct meta1_req *r = base_alloc(sizeof(*r));

	(void)in;
	(void)deadline;
	r->fn = fn;
	r->arg = arg;
	return r;
}

static void finish(void *arg)
{
	struct meta1_req *r = arg, **p;
	struct meta1_buf notice = buf_str("notice");
	struct meta1_reply reply = {
	    .size = sizeof(reply), .nval = 1, .val = &notice, .text = "disk full"};

	for (p = &commits; *p != r; p = &(*p)->next)
		;
	*p = r->next;
	r->fn(r->arg, r->ok ? META1_OK : META1_TEMPFAIL, &reply);
	free(r);
}

static uint64_t next_id(void *inst)
{
	(void)inst;
	return ++now->next_id;
}

static void ready(void *arg)
{
	struct meta1_qmsg *m = arg;

	m->ev->ready(m->arg);
}

static enum meta1_status begin(void *inst, const char *id,
    const struct meta1_qops_writer_events *ev, void *arg, struct meta1_qmsg **out,
    struct meta1_err *err)
{
	struct meta1_qmsg *m;

	(void)inst;
	if (now->fail_begin) {
		err_set(err, "no space");
		return META1_TEMPFAIL;
	}
	m = base_alloc(sizeof(*m));
	str_copy(m->m.id, sizeof(m->m.id), id);
	m->ev = ev;
	m->arg = arg;
	task_init(&m->ready, ready, m);
	now->begun++;
	*out = m;
	return META1_OK;
}

static enum meta1_status wr(struct meta1_qmsg *m, const void *p, size_t n)
{
	if (m->m.len + n + 1 > m->room) {
		m->room = 2 * (m->m.len + n + 1);
		m->m.data = base_realloc(m->m.data, m->room);
	}
	memcpy(m->m.data + m->m.len, p, n);
	m->m.len += n;
	m->m.data[m->m.len] = '\0';
	m->writes++;
	if (now->fail_write && m->writes > 1)
		return META1_TEMPFAIL;
	if (now->more == 0 || m->writes % now->more != 0)
		return META1_OK;
	if (!now->stuck)
		loop_defer(now->role.loop, &m->ready);
	return META1_MORE;
}

static void drop(struct meta1_qmsg **mp)
{
	task_cancel(&(*mp)->ready);
	free((*mp)->m.data);
	free(*mp);
	*mp = NULL;
}

static void ab(struct meta1_qmsg **mp)
{
	now->aborted++;
	drop(mp);
}

static void commit(struct meta1_qmsg **mp, struct meta1_req *r, const struct meta1_env *env)
{
	struct dialog_msg *m = &(*mp)->m;

	r->ok = !now->fail_commit;
	task_init(&r->task, finish, r);
	r->next = commits;
	commits = r;
	if (!now->hold)
		loop_defer(now->role.loop, &r->task);
	if (!r->ok) {
		drop(mp);
		return;
	}
	assert_true(now->nmsg < DIALOG_MSGS);
	memcpy(m->from, env->from.data, env->from.len);
	if (env->envid.len > 0)
		memcpy(m->envid, env->envid.data, env->envid.len);
	for (uint32_t i = 0; i < env->nrcpt; i++) {
		const struct meta1_qrcpt *q = &env->rcpt[i];
		char dsn[600] = "";

		if (q->notify != 0 || q->orcpt.len > 0)
			snprintf(dsn, sizeof(dsn), "/%u/%.*s", q->notify, (int)q->orcpt.len,
			    q->orcpt.len > 0 ? (const char *)q->orcpt.data : "");
		snprintf(m->rcpts + strlen(m->rcpts), sizeof(m->rcpts) - strlen(m->rcpts),
		    "%.*s%s ", (int)q->addr.len, (const char *)q->addr.data, dsn);
	}
	m->flags = env->flags;
	m->bytes = env->bytes;
	now->msg[now->nmsg++] = *m;
	m->data = NULL;
	drop(mp);
}

static size_t tail(void *inst, uint8_t out[META1_NOTICE_MAX])
{
	(void)inst;
	out[0] = 't';
	return 1;
}

static const struct meta1_queue_ops store = {.size = sizeof(store),
    .format = "test/1",
    .next_id = next_id,
    .begin = begin,
    .write = wr,
    .commit = commit,
    .abort = ab,
    .tail = tail};

/* ---- the client ---- */

void dialog_quiet(void)
{
	const struct log_conf log = {.ident = "test", .file = "/dev/null", .level = LOG_L_DEBUG};
	struct meta1_err err;

	signal(SIGPIPE, SIG_IGN);
	log_open(NULL, &log, &err);
}

void dialog_open(struct dialog *d)
{
	static int fake; /* something for the channels' pointers to point at */

	memset(d, 0, sizeof(*d));
	now = d;
	d->client = -1;
	d->role.loop = loop_new();
	loop_fake_clock(d->role.loop, 1000, 1700000000);
	d->srv = (struct smtps){.role = &d->role,
	    .store = &store,
	    .smar = (struct chan *)&fake,
	    .qmgr = (struct chan *)&fake,
	    .gear = &d->gear,
	    .stages = STAGE_RCPT};
	d->gear = (struct smtps_gear){.refs = 1,
	    .hostname = base_strdup("mx.test"),
	    .lim = {.flags = SMTPS_F_8BITMIME | SMTPS_F_SMTPUTF8 | SMTPS_F_DELAY,
		.io_timeout = 300000,
		.message_size = 65536,
		.hops = 30,
		.rcpts_per_tx = 1000,
		.rcpts_per_session = 100000,
		.transactions = 1000,
		.bad_commands = 20,
		.nop_commands = 100,
		.invalid_addresses = 100,
		.sessions = 10}};
	LIST_INIT(&d->srv.sessions);
	memset(&question, 0, sizeof(question));
	task_init(&question.task, answer, NULL);
	d->srv.verdicts = smtps_verdict_new(100);
	d->srv.intake = smtps_intake_new(&d->srv);
	d->granted = 1000;
	smtps_intake_grant(d->srv.intake, d->granted);
}

static void listen_to(struct dialog *d)
{
	while (d->client >= 0 && !d->eof) {
		ssize_t n =
		    recv(d->client, d->out + d->nout, sizeof(d->out) - 1 - d->nout, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0)
			d->eof = true;
		else
			d->nout += (size_t)n;
	}
	d->out[d->nout] = '\0';
}

void dialog_turns(struct dialog *d, unsigned n)
{
	while (n-- > 0) {
		loop_turn(d->role.loop, false);
		listen_to(d);
	}
}

void dialog_connect(struct dialog *d)
{
	int pair[2];

	if (d->client >= 0)
		close(d->client);
	d->eof = false;
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	d->client = pair[0];
	smtps_session_new(&d->srv, pair[1], "192.0.2.1", "listener", d->tls_first);
	dialog_turns(d, 2);
}

void dialog_say(struct dialog *d, const char *text, size_t len, size_t piece)
{
	size_t i = 0;
	unsigned idle = 0;

	while (i < len && !d->eof && idle < 1000) {
		size_t n = piece == 0 || piece > len - i ? len - i : piece;
		ssize_t sent = send(d->client, text + i, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0)
			i += (size_t)sent;
		idle = sent > 0 ? 0 : idle + 1;
		dialog_turns(d, 3);
	}
	dialog_turns(d, 400);
}

void dialog_answer(struct dialog *d)
{
	if (question.fn != NULL)
		answer(NULL);
	while (commits != NULL) {
		task_cancel(&commits->task); /* without hold it may be due as well */
		finish(commits);
	}
	dialog_turns(d, 20);
}

void dialog_hang_up(struct dialog *d)
{
	close(d->client);
	d->client = -1;
	dialog_turns(d, 20);
}

void dialog_close(struct dialog *d)
{
	if (d->client >= 0)
		dialog_hang_up(d);
	assert_int_equal(d->srv.nsession, 0);
	assert_int_equal(d->srv.nopen, 0);
	assert_int_equal(d->srv.memory, 0);
	dialog_turns(d, 50); /* the last reply may be waited for, until the client closes */
	assert_null(question.fn);
	assert_null(commits);
	/* each message begun was kept, aborted, or lost by the store itself */
	assert_true(d->begun >= d->nmsg + d->aborted);
	/* each credit was used up or given back */
	if (!d->qmgr_down && !d->qmgr_was_down)
		assert_int_equal(
		    d->granted - smtps_intake_credits(d->srv.intake), d->queued + d->backs);
	for (unsigned i = 0; i < d->nmsg; i++)
		free(d->msg[i].data);
	smtps_image_forget(&d->srv);
	smtps_intake_free(&d->srv.intake);
	smtps_verdict_free(&d->srv.verdicts);
	assert_int_equal(d->gear.refs, 1);
	free(d->gear.hostname);
	loop_free(&d->role.loop);
}

const char *dialog_codes(struct dialog *d)
{
	static char codes[4096];
	size_t n = 0;

	for (char *line = d->out; *line != '\0';) {
		char *end = strstr(line, "\r\n");

		assert_non_null(end); /* a reply is a whole line */
		assert_true(end - line >= 4 && (line[3] == ' ' || line[3] == '-'));
		if (line[3] == ' ' && n + 5 < sizeof(codes)) {
			memcpy(codes + n, line, 4);
			n += 4;
		}
		line = end + 2;
	}
	codes[n] = '\0';
	return codes;
}

void dialog_run(struct dialog *d, const char *text, size_t len, size_t piece)
{
	dialog_connect(d);
	dialog_say(d, text, len, piece);
	if (!d->eof)
		shutdown(d->client, SHUT_WR);
	dialog_turns(d, 400);
}
