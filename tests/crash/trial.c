/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trial.c -- a store opened on an image through the module host, by the faces of its roles.
 *
 * Comes from: recover.c. Goes to: the module under test, as smtps and qmgr would; what it tells
 * goes to the ledger's judgement. Owns: the contents it read.
 * On failure: trial_start() says false and why; a law of modules that is broken counts too.
 */
#include "trial.h"

#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void copy(char *out, size_t size, struct meta1_buf b)
{
	snprintf(out, size, "%.*s", (int)b.len, b.len > 0 ? (const char *)b.data : "");
}

static void on_entry(void *arg, const struct meta1_qentry *e)
{
	struct trial *t = arg;
	struct found *f = &t->found[t->n];

	if (t->n == TRIAL_MAX)
		return;
	*f = (struct found){.nrcpt = e->env->nrcpt < RCPTS ? e->env->nrcpt : RCPTS};
	snprintf(f->id, sizeof(f->id), "%s", e->id);
	copy(f->from, sizeof(f->from), e->env->from);
	for (uint32_t i = 0; i < f->nrcpt; i++) {
		const struct meta1_qrcpt *r =
		    (const void *)((const char *)e->env->rcpt + (size_t)i * e->env->sizeof_rcpt);

		copy(f->addr[i], sizeof(f->addr[i]), r->addr);
		f->waits[i] = r->state == META1_R_WAITING;
	}
	t->ref[t->n++] = e->ref;
}

static void on_space(void *arg, uint32_t writer, uint64_t unit)
{
	struct trial *t = arg;
	const struct meta1_queue_ops *ops = t->k->m->ops;

	if (t->w != NULL && ops->writer(kit_data(t->w)) == writer)
		ops->reclaim(kit_data(t->w), unit);
}

static void on_damage(void *arg, const char *text)
{
	struct trial *t = arg;

	if (t->damage++ == 0)
		snprintf(t->text, sizeof(t->text), "damage: %.240s", text);
}

static const struct meta1_qevents events = {
    .size = sizeof(events), .entry = on_entry, .space = on_space, .damage = on_damage};

static bool wait(struct trial *t, struct kit_answer *a)
{
	time_t end = time(NULL) + 10;

	while (!a->told && time(NULL) < end) {
		kit_turn(t->k);
		kit_clock(t->k, 5);
	}
	return a->told;
}

static struct kit_inst *open_as(struct trial *t, enum meta1_role role)
{
	struct meta1_err e = {""};
	struct kit_inst *in;

	t->k->host.role = role;
	in = kit_open(t->k, NULL, &e);
	if (in == NULL)
		snprintf(t->text, sizeof(t->text), "open: %.240s", e.text);
	return in;
}

static void tail(struct trial *t)
{
	const struct meta1_queue_ops *ops = t->k->m->ops;
	uint8_t b[META1_NOTICE_MAX];
	size_t n = ops->tail(kit_data(t->w), b);

	ops->attach(kit_data(t->m), ops->writer(kit_data(t->w)));
	if (n > 0)
		ops->notice(kit_data(t->m), (struct meta1_buf){b, n}, NULL, NULL);
}

bool trial_start(struct trial *t, struct kit *k, const char *dir, bool writer)
{
	const struct meta1_queue_ops *ops = k->m->ops;
	struct kit_answer a;
	bool ok;

	t->k = k;
	t->w = t->m = NULL;
	t->n = 0;
	t->damage = 0;
	t->text[0] = '\0';
	k->host.qdir = dir;
	if ((writer && (t->w = open_as(t, META1_SMTPS)) == NULL) ||
	    (t->m = open_as(t, META1_QMGR)) == NULL)
		return false;
	ops->manage(kit_data(t->m), kit_req(k, t->m, &a), &events, t);
	if (writer)
		tail(t);
	ok = wait(t, &a) && a.st == META1_OK;
	if (!ok)
		snprintf(t->text, sizeof(t->text), "manage: %.200s",
		    !a.told		   ? "no answer"
		    : a.reply.text != NULL ? a.reply.text
					   : "failed");
	kit_answer_free(&a);
	/* What a living writer has is told a little later. */
	for (int i = 0; ok && writer && i < 3; i++)
		kit_clock(k, 1100);
	return ok;
}

#define LOADS 64

static void take(struct trial *t, size_t i, const struct meta1_content *c)
{
	uint64_t at = 0;

	t->found[i].body = base_alloc(c->bytes_stored + 1);
	for (uint32_t k = 0; k < c->nextent; k++) {
		const struct meta1_extent *x = &c->extent[k];

		if (x->mem != NULL)
			memcpy(t->found[i].body + at, x->mem, x->len);
		else if (pread(x->fd, t->found[i].body + at, x->len, (off_t)x->off) !=
			 (ssize_t)x->len)
			break;
		at += x->len;
	}
	t->found[i].len = at;
}

/* They are asked for together: the store's threads take turns. */
void trial_read(struct trial *t, uint64_t *luck)
{
	const struct meta1_queue_ops *ops = t->k->m->ops;
	static struct kit_answer a[TRIAL_MAX];

	for (size_t i = 0; i < t->n; i++) {
		t->found[i].read = t->n <= LOADS || image_random(luck) % t->n < LOADS;
		if (t->found[i].read)
			ops->load(kit_data(t->m), kit_req(t->k, t->m, &a[i]), &t->ref[i]);
	}
	for (size_t i = 0; i < t->n; i++) {
		if (!t->found[i].read)
			continue;
		if (wait(t, &a[i]) && a[i].st == META1_OK) {
			struct meta1_content *c = (void *)(uintptr_t)a[i].reply.ext;

			take(t, i, c);
			ops->unload(kit_data(t->m), &c);
		}
		kit_answer_free(&a[i]);
	}
}

static void go_on(void *arg)
{
	(void)arg;
}
static const struct meta1_qops_writer_events wevents = {.size = sizeof(wevents), .ready = go_on};

bool trial_new(struct trial *t, uint64_t *number)
{
	const struct meta1_queue_ops *ops = t->k->m->ops;
	struct meta1_qrcpt to = {.addr = buf_str("new@far.test")};
	struct meta1_env env = {
	    .size = sizeof(env), .nrcpt = 1, .sizeof_rcpt = sizeof(to), .rcpt = &to, .bytes = 3};
	struct meta1_qmsg *msg = NULL;
	struct meta1_err e = {""};
	struct kit_answer a = {.told = false};
	char id[META1_ID_MAX];
	bool ok;

	*number = ops->next_id(kit_data(t->w));
	snprintf(id, sizeof(id), "S%016llXFE", (unsigned long long)*number);
	ok = *number != 0 && ops->begin(kit_data(t->w), id, &wevents, t, &msg, &e) == META1_OK &&
	     ops->write(msg, "x\r\n", 3) == META1_OK;
	if (ok) {
		ops->commit(&msg, kit_req(t->k, t->w, &a), &env);
		ok = wait(t, &a) && a.st == META1_OK;
	}
	if (ok)
		ops->notice(kit_data(t->m), a.reply.val[0], id, &env);
	kit_answer_free(&a);
	for (int i = 0; ok && i < 200 && (t->n == 0 || strcmp(t->found[t->n - 1].id, id) != 0); i++)
		kit_clock(t->k, 5);
	return ok && t->n > 0 && strcmp(t->found[t->n - 1].id, id) == 0;
}

void trial_end(struct trial *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->found[i].body);
	t->n = 0;
	kit_close(t->k, &t->w);
	kit_close(t->k, &t->m);
}

int trial_kit(struct kit *k, const char *module, const char *options)
{
	static char path[4096];
	struct meta1_err e = {""};

	*k = (struct kit){.options = options};
	kit_host_start(&k->host, "/");
	k->host.hostname = "crash.test";
	k->mod = realpath(module, path) ? kit_load(&k->host, path, &e) : NULL;
	if (!k->mod || !kit_judge(k->mod, NULL, NULL)) {
		fprintf(stderr, "%s: %s\n", module, e.text);
		return -1;
	}
	k->m = k->mod->m;
	return 0;
}
