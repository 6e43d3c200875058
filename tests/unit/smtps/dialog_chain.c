/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dialog_chain.c -- the chain of policy filters as sessions call it, played; see dialog_chain.h.
 * And what smtps.c and qmgr's reports would give. Comes from core/smtps/filter.c; goes to nobody.
 * Answers come on the next turn. Owns what it saw.
 */
#include "dialog_chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

static struct dialog_chain *now;
static struct loop *loop;

struct smtps_judging {
	const struct meta1_pm_about *about;
	const struct meta1_pm_ask *ask;
	smtps_answer_fn fn;
	void *arg;
	struct task task;
	char *made; /* of END */
	struct meta1_extent ext[3];
};
static struct smtps_judging *open_one; /* that was asked last */

void dialog_chain(struct dialog *d, struct dialog_chain *c)
{
	static int fake;

	now = c;
	loop = d->role.loop;
	d->gear.chain = (struct smtps_chain *)(void *)&fake;
}

void dialog_chain_free(struct dialog_chain *c)
{
	free(c->content);
	c->content = NULL;
}

/* The content with one text in place of another, the rest as it is. */
static void edit(struct smtps_judging *j, struct smtps_answer *a)
{
	const struct meta1_extent *e = j->ask->msg->extent;
	const char *at;
	size_t n;

	if (now->from[0] == NULL)
		return;
	assert_int_equal(j->ask->msg->nextent, 1);
	at = memmem(e->mem, (size_t)e->len, now->from[0], strlen(now->from[0]));
	assert_non_null(at);
	n = (size_t)(at - (const char *)e->mem);
	free(j->made);
	j->made = base_strdup(now->from[1]);
	j->ext[0] = (struct meta1_extent){.mem = e->mem, .len = n, .fd = -1};
	j->ext[1] = (struct meta1_extent){.mem = j->made, .len = strlen(j->made), .fd = -1};
	j->ext[2] = (struct meta1_extent){
	    .mem = at + strlen(now->from[0]), .len = e->len - n - strlen(now->from[0]), .fd = -1};
	a->extent = j->ext;
	a->nextent = 3;
}

static void answer(void *arg)
{
	struct smtps_judging *j = arg;
	struct smtps_answer a = {.action = META1_PM_CONTINUE};
	smtps_answer_fn fn = j->fn;

	if (j->ask->stage == now->at) {
		a = now->answer;
		if (j->ask->stage == META1_PM_END)
			edit(j, &a);
	}
	j->fn = NULL;
	j->ask = NULL;
	fn(j->arg, &a);
}

void dialog_chain_answer(struct dialog_chain *c)
{
	(void)c;
	assert_non_null(open_one);
	assert_non_null(open_one->fn);
	answer(open_one);
}

struct smtps_judging *smtps_chain_begin(struct smtps_chain *c, struct meta1_pm_about *about)
{
	struct smtps_judging *j;

	(void)c;
	if (now->nobody)
		return NULL;
	j = base_alloc(sizeof(*j));
	j->about = about;
	task_init(&j->task, answer, j);
	now->begun++;
	return j;
}

bool smtps_chain_wants(const struct smtps_judging *j, uint32_t stage)
{
	size_t n = strlen(now->wanted);
	const struct meta1_pm_about *a = j->about;

	if (stage == META1_PM_END)
		snprintf(now->wanted + n, sizeof(now->wanted) - n, "<%.*s> %s; ", (int)a->from.len,
		    a->from.len > 0 ? (const char *)a->from.data : "",
		    a->taid != NULL ? "id" : "-");
	return (now->wants & stage) != 0;
}

static void see_content(const struct meta1_pm_ask *q)
{
	const struct meta1_extent *e = q->msg->extent;
	size_t at = 0;

	free(now->content);
	now->content = base_alloc((size_t)q->msg->bytes + 1);
	for (uint32_t i = 0; i < q->msg->nextent; at += (size_t)e->len, e++, i++)
		if (e->mem != NULL)
			memcpy(now->content + at, e->mem, (size_t)e->len);
		else
			assert_int_equal(
			    pread(e->fd, now->content + at, (size_t)e->len, (off_t)e->off), e->len);
	assert_int_equal(at, q->msg->bytes);
	now->len = at;
	now->header = q->msg->header;
	now->rcpts[0] = '\0';
	for (uint32_t i = 0; i < q->nrcpt; i++)
		snprintf(now->rcpts + strlen(now->rcpts), sizeof(now->rcpts) - strlen(now->rcpts),
		    "%.*s ", (int)q->rcpt[i].len, (const char *)q->rcpt[i].data);
}

static const char *word(const char *s)
{
	return s != NULL ? s : "-";
}

size_t smtps_chain_held(const struct smtps_judging *j)
{
	return sizeof(*j);
}

void smtps_chain_ask(struct smtps_judging *j, const struct meta1_pm_ask *q, unsigned room,
    smtps_answer_fn fn, void *arg)
{
	static const char *const names[] = {
	    "connect", "helo", "mail", "rcpt", "data", "end", "unknown", "refused"};
	const struct meta1_pm_about *a = j->about;
	char word_of[1024];
	size_t n;

	assert_null(j->fn);
	assert_true((now->wants & q->stage) != 0);
	now->asked[__builtin_ctz(q->stage)]++;
	n = (size_t)snprintf(word_of, sizeof(word_of), "%s:%.*s", names[__builtin_ctz(q->stage)],
	    (int)q->arg.len, q->arg.len > 0 ? (const char *)q->arg.data : "");
	for (uint32_t i = 0; i < q->nparam && n < sizeof(word_of); i++)
		n += (size_t)snprintf(word_of + n, sizeof(word_of) - n, "[%.*s]",
		    (int)q->param[i].len, (const char *)q->param[i].data);
	if (n < sizeof(word_of) && q->refused != NULL)
		snprintf(word_of + n, sizeof(word_of) - n, "=%s", q->refused);
	n = strlen(now->told); /* what has no room is only counted */
	snprintf(now->told + n, sizeof(now->told) - n, "%s ", word_of);
	snprintf(now->about, sizeof(now->about), "%s %s %s <%.*s> %u %u", a->client, word(a->helo),
	    a->taid != NULL ? "id" : "-", (int)a->from.len,
	    a->from.len > 0 ? (const char *)a->from.data : "", a->nrcpt, a->nbad);
	if (q->msg != NULL) {
		see_content(q);
		now->hops = a->hops;
		snprintf(now->msgid, sizeof(now->msgid), "%s", word(a->msgid));
	}
	now->room = room;
	open_one = j;
	j->ask = q;
	j->fn = fn;
	j->arg = arg;
	if (!now->hang)
		loop_defer(loop, &j->task);
}

static void forget(struct smtps_judging *j)
{
	j->fn = NULL;
	task_cancel(&j->task);
}

void smtps_chain_reset(struct smtps_judging *j)
{
	forget(j);
	now->resets++;
	free(j->made); /* whoever still reads it is found */
	j->made = NULL;
}

void smtps_chain_end(struct smtps_judging **jp)
{
	struct smtps_judging *j = *jp;

	*jp = NULL;
	forget(j);
	now->ended++;
	free(j->made);
	free(j);
}

/* ---- reports of qmgr ---- */

static struct {
	void *srv; /* whose channel it is */
	int fd;	   /* that came with the frame */
} frame = {NULL, -1};

void **chan_slot(struct chan *c)
{
	(void)c;
	return &frame.srv;
}

int chan_take_fd(struct chan *c)
{
	int fd = frame.fd;

	(void)c;
	frame.fd = -1;
	return fd;
}

void dialog_report_fd(struct dialog *d, struct meta1_buf id, int fd)
{
	struct p_report m = {.id = id};

	frame.srv = &d->srv;
	frame.fd = fd;
	smtps_report_asked(d->srv.qmgr, 0, &m, NULL);
	dialog_turns(d, 2);
}

void dialog_report(struct dialog *d, struct meta1_buf id)
{
	int pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	d->client = pair[0];
	dialog_report_fd(d, id, pair[1]);
}

/* ---- what smtps.c gives the others ---- */

bool smtps_new_id(struct smtps *srv, char out[SMTPS_ID_SIZE])
{
	snprintf(out, SMTPS_ID_SIZE, "S%016llX00",
	    (unsigned long long)srv->store->next_id(srv->store_data));
	return true;
}

void smtps_check_drained(struct smtps *srv)
{
	(void)srv;
}

void smtps_check_stopped(struct smtps *srv)
{
	srv->over = srv->stopping && srv->nopen == 0;
}

struct smtps_gear *smtps_gear_use(struct smtps_gear *g)
{
	g->refs++;
	return g;
}

void smtps_gear_drop(struct smtps_gear **gp)
{
	(*gp)->refs--;
	*gp = NULL;
}

size_t smtps_gear_memory(void)
{
	return 0;
}

const char *smtps_listen_name(const struct smtps *srv, const char *socket)
{
	(void)srv;
	return socket;
}
