/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kit.c -- what the suites stand on: TAP lines, instances, the clock, answers.
 * Comes from the suites; goes to the host as a role would.
 * Owns the texts of options of open instances and copies of answers.
 * On failure: of the module: a "not ok"; of the kit itself: it ends.
 */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JOBS_MS 10000 /* of a turn, for what is on threads */

struct kit_conf {
	struct kit_conf *next;
	struct kit_inst *inst;
	struct conf *conf;
};

/* ---- TAP ---- */

bool kit_ok(struct kit *k, bool ok, const char *fmt, ...)
{
	char fault[512];
	va_list ap;

	kit_fault_take(&k->host, fault, sizeof(fault));
	ok = ok && !*fault;
	printf("%sok %u - ", ok ? "" : "not ", ++k->number);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (*fault)
		kit_note(k, "law: %s", fault);
	if (ok)
		k->passed++;
	else
		k->failed++;
	fflush(stdout);
	k->slow = false;
	alarm(SLOW * k->patience);
	if (!ok && k->stop)
		k->stop(k);
	return ok;
}

void kit_skip(struct kit *k, const char *what, const char *why)
{
	printf("ok %u - %s # SKIP %s\n", ++k->number, what, why);
	k->skipped++;
}

void kit_note(struct kit *k, const char *fmt, ...)
{
	va_list ap;

	(void)k;
	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* ---- instances ---- */

struct kit_inst *kit_open(struct kit *k, const char *options, struct meta1_err *err)
{
	struct kit_conf *c = base_alloc(sizeof(*c));

	c->conf = conf_read_text("options", options ? options : k->options);
	c->inst = kit_inst_open(&k->host, k->mod, "kit", c->conf, err);
	if (c->inst) {
		c->next = k->confs;
		k->confs = c;
		return c->inst;
	}
	conf_free(&c->conf);
	free(c);
	return NULL;
}

void kit_close(struct kit *k, struct kit_inst **inp)
{
	struct kit_conf **p, *c;
	struct kit_inst *in = *inp;

	if (!in)
		return;
	kit_turn(k); /* what is on a thread comes back first */
	for (p = &k->confs; (c = *p) && c->inst != in; p = &c->next)
		;
	kit_inst_close(inp);
	kit_turn(k);
	if (!c)
		return;
	*p = c->next;
	conf_free(&c->conf);
	free(c);
}

/* ---- time ---- */

/* Real time is only spent where a worker thread is at it: so a suite may count turns. */
void kit_turn(struct kit *k)
{
	int i;

	for (i = 0; i < 3; i++)
		loop_turn(k->host.loop, false);
	for (i = 0; i < JOBS_MS && kit_busy(&k->host); i++) {
		usleep(100);
		loop_turn(k->host.loop, false);
	}
}

void kit_clock(struct kit *k, int64_t ms)
{
	struct loop *l = k->host.loop;

	loop_fake_clock(l, loop_now(l) + ms, loop_wall(l) + ms / 1000);
	kit_turn(k);
}

/* ---- questions ---- */

static struct meta1_buf copy_buf(struct meta1_buf b, char **at)
{
	char *p = *at;

	if (b.len)
		memcpy(p, b.data, b.len);
	p[b.len] = '\0';
	*at += b.len + 1;
	return buf_of(p, b.len);
}

static const char *copy_str(const char *s, char **at)
{
	return s ? copy_buf(buf_str(s), at).data : NULL;
}

void kit_said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct kit_answer *a = arg;
	struct meta1_buf *val;
	size_t n = r->nval * sizeof(*val);
	uint32_t i;
	char *at;

	a->times++;
	if (a->told)
		return;
	a->told = true;
	a->st = st;
	a->reply = *r;
	for (i = 0; i < r->nval; i++)
		n += r->val[i].len + 1;
	n += (r->text ? strlen(r->text) : 0) + (r->host ? strlen(r->host) : 0) + 3 +
	     (r->source ? strlen(r->source) : 0);
	a->copy = val = base_alloc(n);
	at = (char *)(val + r->nval);
	for (i = 0; i < r->nval; i++)
		val[i] = copy_buf(r->val[i], &at);
	a->reply.val = val;
	a->reply.text = copy_str(r->text, &at);
	a->reply.host = copy_str(r->host, &at);
	a->reply.source = copy_str(r->source, &at);
}

struct meta1_req *kit_req(struct kit *k, struct kit_inst *in, struct kit_answer *a)
{
	*a = (struct kit_answer){.told = false};
	a->req = kit_req_new(in, loop_now(k->host.loop) + KIT_PATIENCE_MS, kit_said, a);
	return a->req;
}

void kit_ask(struct kit *k, struct kit_inst *in, struct meta1_buf key, struct kit_answer *a)
{
	*a = (struct kit_answer){.told = false};
	a->req = kit_lookup(in, key, loop_now(k->host.loop) + KIT_DEADLINE_MS, kit_said, a);
}

bool kit_wait(struct kit *k, struct kit_answer *a)
{
	unsigned ms, whole = k->patience * 1000;
	unsigned most = k->tired ? 1 : kit_waits(&k->host) ? whole : whole / 20;

	for (ms = 0; ms < most && !a->told; ms++) {
		kit_turn(k);
		if (!a->told)
			usleep(1000);
	}
	k->tired = k->tired || !a->told; /* who did not answer once gets no more such patience */
	return a->told;
}

void kit_answer_free(struct kit_answer *a)
{
	if (!a->told && a->req)
		kit_req_cancel(&a->req);
	free(a->copy);
	*a = (struct kit_answer){.told = false};
}
