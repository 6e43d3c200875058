/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kit.c -- what the suites stand on: TAP lines, instances, the clock, answers.
 * Comes from the suites; goes to core/mod as a role would.
 * Owns the texts of options of open instances and copies of answers.
 * On failure: of the module: a "not ok"; of the kit itself: it ends.
 */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_MS 10000

struct kit_conf {
	struct kit_conf *next;
	struct mod_inst *inst;
	struct conf *conf;
};

/* ---- TAP ---- */

bool kit_ok(struct kit *k, bool ok, const char *fmt, ...)
{
	va_list ap;

	ok = ok && !*k->fault;
	printf("%sok %u - ", ok ? "" : "not ", ++k->number);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (*k->fault)
		kit_note(k, "the host complained: %s", k->fault);
	*k->fault = '\0';
	if (ok)
		k->passed++;
	else
		k->failed++;
	fflush(stdout);
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

struct mod_inst *kit_open(struct kit *k, const char *options, struct meta1_err *err)
{
	struct kit_conf *c = base_alloc(sizeof(*c));
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	c->conf = conf_read_text("options", options ? options : k->options);
	if (conf_errors(c->conf) == 0)
		c->inst = mod_open(
		    &k->host, k->mod, "kit", c->conf, conf_root(c->conf), NULL, OPT_START, err);
	if (c->inst) {
		c->next = k->confs;
		k->confs = c;
		return c->inst;
	}
	if (conf_errors(c->conf) && (out = open_memstream(&text, &len))) {
		conf_report(c->conf, out);
		fclose(out);
		text[strcspn(text, "\n")] = '\0';
		err_set(err, "%.500s", text);
		free(text);
	}
	conf_free(&c->conf);
	free(c);
	return NULL;
}

void kit_close(struct kit *k, struct mod_inst **inp)
{
	struct kit_conf **p, *c;
	struct mod_inst *in = *inp;

	if (!in)
		return;
	mod_close(inp);
	kit_turn(k);
	for (p = &k->confs; (c = *p); p = &c->next)
		if (c->inst == in) {
			*p = c->next;
			conf_free(&c->conf);
			free(c);
			return;
		}
}

/* ---- time ---- */

/* Real time is only spent where a worker thread is at it: so a suite may count turns. */
void kit_turn(struct kit *k)
{
	int i;

	for (i = 0; i < 3; i++)
		loop_turn(k->host.loop, false);
	for (i = 0; i < WAIT_MS && mod_busy(&k->host); i++) {
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
	n += (r->text ? strlen(r->text) : 0) + (r->host ? strlen(r->host) : 0) + 2;
	a->copy = val = base_alloc(n);
	at = (char *)(val + r->nval);
	for (i = 0; i < r->nval; i++)
		val[i] = copy_buf(r->val[i], &at);
	a->reply.val = val;
	a->reply.text = copy_str(r->text, &at);
	a->reply.host = copy_str(r->host, &at);
}

struct meta1_req *kit_req(struct kit *k, struct mod_inst *in, struct kit_answer *a)
{
	*a = (struct kit_answer){.told = false};
	return mod_req(in, loop_now(k->host.loop) + KIT_PATIENCE_MS, kit_said, a);
}

bool kit_wait(struct kit *k, struct kit_answer *a)
{
	int ms;

	for (ms = 0; ms < WAIT_MS && !a->told; ms++) {
		kit_turn(k);
		if (!a->told)
			usleep(1000);
	}
	return a->told;
}

void kit_answer_free(struct kit_answer *a)
{
	free(a->copy);
	*a = (struct kit_answer){.told = false};
}
