/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso.c -- the life of an isolated instance in its role: opened again with each worker that follows
 * the first one (iso_open.c), closed by closing the stream.
 * Comes from role_mcp.c (workers that come and end) and from the wire; goes to iso_ask.c, and over
 * the wire to worker.c. Owns the stream, and workers that no instance has taken yet.
 * On failure: while there is no worker each question is a temporary failure; mcp starts the next
 * one, later each time.
 */
#include "mod/iso.h"

#include "lib/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SPARES_MAX 256

struct mod_spare {
	struct mod_spare *next;
	char *worker;
	int fd;
	uint32_t pid, restarts;
};

/* ---- workers that no instance has taken ---- */

static void spare_free(struct mod_spare **sp)
{
	struct mod_spare *s = *sp;

	*sp = s->next;
	if (s->fd >= 0)
		close(s->fd);
	free(s->worker);
	free(s);
}

void mod_spares_drop(struct mod_host *h)
{
	while (h->spares)
		spare_free(&h->spares);
}

static void spare_add(
    struct mod_host *h, const char *worker, int fd, uint32_t pid, uint32_t restarts)
{
	struct mod_spare *s = base_alloc(sizeof(*s)), **last = &h->spares;
	unsigned n = 0;

	*s = (struct mod_spare){h->spares, base_strdup(worker), fd, pid, restarts};
	h->spares = s;
	for (; *last && n < SPARES_MAX; n++)
		last = &(*last)->next;
	while (*last)
		spare_free(last);
}

/* ---- the stream ---- */

static void up(struct iso *i, bool is)
{
	i->state = is ? ISO_UP : ISO_DOWN;
	i->in->table.count(iso_ctx(i), "worker_up_now", is);
}

/* What the module had, it has no more; the next one counts from 0. */
static void forget_gauges(struct mod_inst *in)
{
	for (unsigned k = 0; k < in->ncounter; k++)
		if (in->counter[k].gauge)
			in->counter[k].value = 0;
}

void iso_lost(struct iso *i, const char *why)
{
	struct mod_host *h = i->in->host;

	if (i->state == ISO_DOWN)
		return;
	up(i, false);
	forget_gauges(i->in);
	i->life++;
	if (i->ended != i->pid) /* mcp was not quicker */
		str_copy(i->end, sizeof(i->end), why);
	i->ended = i->pid;
	i->in->table.count(iso_ctx(i), "worker_ends", 1);
	log_event(LOG_L_WARN, "module.worker", "instance=%s pid=%u questions=%u error=%s",
	    i->in->name, i->pid, i->nopen, why);
	wire_close(&i->wire);
	if (h->worker_kill)
		h->worker_kill(h->worker_arg, i->pid);
	iso_fail_all(i, "its worker process ended");
	if (i->first)
		iso_open_lost(i, why == wire_eof ? "it ended" : why);
}

static bool on_opened(struct iso *i, struct wire_frame *f)
{
	struct meta1_err why = {""};
	struct iso_opened m;
	struct pool pool;
	bool ok;

	pool_init(&pool, ISO_POOL_MAX);
	ok = shape_unpack(&iso_shape_opened, f->p, f->n, &pool, &m) && i->state == ISO_OPENING &&
	     !i->opened;
	if (ok && !m.status && i->kind->opened)
		i->kind->opened(i, &m);
	if (ok && m.status)
		str_copy(why.text, sizeof(why.text), m.text ? m.text : "no reason");
	pool_clear(&pool);
	if (!ok)
		return false;
	i->opened = true;
	loop_unwatch(&i->hang);
	if (why.text[0] && !i->first)
		iso_lost(i, why.text);
	if (why.text[0] && i->first)
		iso_open_first(i, why.text);
	if (why.text[0])
		return true;
	up(i, true);
	if (i->first)
		iso_open_first(i, NULL);
	log_event(LOG_L_INFO, "module.worker", "instance=%s pid=%u restarts=%u", i->in->name,
	    i->pid, i->restarts);
	return true;
}

static bool on_frame(void *arg, struct wire_frame *f)
{
	struct iso *i = arg;
	int far;

	i->heard = loop_now(i->in->host->loop);
	i->pinged = 0;
	if (f->type == ISO_OPENED)
		return on_opened(i, f);
	if (f->type == ISO_ANSWER)
		return i->state == ISO_UP && iso_answer(i, f);
	if (f->type == ISO_UNTOLD)
		return i->state == ISO_UP && iso_untold(i, f);
	if (f->type == ISO_PONG)
		return i->state == ISO_UP;
	far = iso_far(i, f);
	return far > 0 ||
	       (far == 0 && i->state == ISO_UP && i->kind->frame && i->kind->frame(i, f));
}

static void on_gone(void *arg, const char *why)
{
	iso_lost(arg, why);
}

/* The worker is told what to open by iso_open_send(). */
static void attach(struct iso *i, int fd, uint32_t pid, uint32_t restarts)
{
	const struct wire_user user = {on_frame, on_gone, i};
	struct loop *l = i->in->host->loop;

	i->wire = wire_new(l, fd, &user);
	if (i->kind->secret)
		wire_secret(i->wire);
	i->state = ISO_OPENING;
	i->pid = pid;
	i->restarts = restarts;
	i->opened = false;
	loop_unwatch(&i->hang);
	i->hang = loop_timer(l, ISO_OPEN_MS, iso_late, i);
}

bool iso_take_spare(struct iso *i)
{
	struct mod_spare **p = &i->in->host->spares, *found = NULL, *s;
	const char *instance = i->in->name;
	size_t n = strlen(instance);

	while ((s = *p)) {
		if (strncmp(s->worker, instance, n) != 0 || s->worker[n] != '@') {
			p = &s->next;
		} else if (!found) {
			found = s;
			*p = s->next;
		} else {
			spare_free(p);
		}
	}
	if (!found)
		return false;
	i->worker = found->worker;
	attach(i, found->fd, found->pid, found->restarts);
	free(found);
	return true;
}

/* ---- closing ---- */

void iso_close(void *inst)
{
	struct iso *i = inst, **p;

	for (p = &i->in->host->isos; *p && *p != i; p = &(*p)->next)
		;
	if (*p)
		*p = i->next;
	if (i->state != ISO_DOWN)
		wire_send(i->wire, ISO_CLOSE, 0, NULL, NULL, NULL, 0);
	i->state = ISO_DOWN;
	wire_close(&i->wire);
	iso_copy_close(i);
	iso_fail_all(i, "it is closed");
	iso_far_drop(i);
	if (i->kind->drop)
		i->kind->drop(i);
	free(i->own);
	free(i->ask);
	free(i->worker);
	free(i->use);
	free(i->text);
	free(i->file);
	for (uint32_t k = 0; k < i->open.nmap; k++)
		free((void *)(uintptr_t)i->names[k].data);
	free(i->folder);
	free(i->directory);
	free(i);
}

struct iso *iso_of(const struct mod_inst *in)
{
	return in->m->close == iso_close ? in->data : NULL;
}

void mod_apart_free(struct mod_host *h)
{
	struct mod *mod;

	mod_await_end(h);
	mod_spares_drop(h);
	while ((mod = h->apart)) {
		h->apart = mod->next;
		free((char *)(uintptr_t)mod->m->name);
		free(mod->ops);
		free((void *)(uintptr_t)mod->m);
		free(mod);
	}
}

/* ---- what mcp says ---- */

void mod_worker_came(
    struct mod_host *h, const char *worker, int fd, uint32_t pid, uint32_t restarts)
{
	struct iso *i;

	for (i = h->isos; i && strcmp(i->worker, worker) != 0; i = i->next)
		;
	if (!i) {
		spare_add(h, worker, fd, pid, restarts);
		return;
	}
	/* The one before has ended, else mcp would not have started this one; of which nothing was
	 * heard yet, where this role was held up. */
	if (i->state != ISO_DOWN) {
		wire_read(i->wire); /* what it said at last */
		iso_lost(i, wire_eof);
	}
	attach(i, fd, pid, restarts);
	iso_open_send(i);
}

void mod_worker_ended(struct mod_host *h, const char *worker, uint32_t pid, const char *end)
{
	for (struct iso *i = h->isos; i; i = i->next)
		if (i->pid == pid && !strcmp(i->worker, worker)) {
			/* what it was given up for says more than how it was killed */
			if (i->ended != pid || !strcmp(i->end, wire_eof))
				str_copy(i->end, sizeof(i->end), end);
			i->ended = pid;
		}
}

void mod_workers(
    const struct mod_host *h, void (*fn)(void *arg, const struct mod_worker_state *), void *arg)
{
	for (const struct iso *i = h->isos; i; i = i->next) {
		const struct mod_worker_state s = {.instance = i->in->name,
		    .end = i->end,
		    .up = i->state == ISO_UP,
		    .pid = i->state == ISO_DOWN ? 0 : i->pid,
		    .restarts = i->restarts,
		    .open = i->nopen};

		fn(arg, &s);
	}
}
