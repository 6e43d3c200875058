/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso.c -- the life of an isolated instance in its role: opened with the worker that mcp has
 * started, opened again with each one that follows, closed by closing the stream.
 * Comes from roles (mod_use) and from role_mcp.c (workers that come and end); goes to iso_ask.c,
 * and over the wire to worker.c. Owns the stream, and workers that no instance has taken yet.
 * On failure: while there is no worker each question is a temporary failure; mcp starts the next
 * one, later each time. A first open that fails says why, as an instance without a worker does.
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

static const struct iso_kind *const kinds[] = {&iso_map, &iso_pmilter, &iso_auth, &iso_transport};

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

/* The newest one for that instance; older ones are of configurations that came to nothing. */
static struct mod_spare *spare_take(struct mod_host *h, const char *instance)
{
	struct mod_spare **p = &h->spares, *found = NULL, *s;
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
	return found;
}

/* ---- the stream ---- */

static void up(struct iso *i, bool is)
{
	i->state = is ? ISO_UP : ISO_DOWN;
	i->in->table.count(iso_ctx(i), "worker_up_now", is);
}

void iso_lost(struct iso *i, const char *why)
{
	struct mod_host *h = i->in->host;

	if (i->state == ISO_DOWN)
		return;
	up(i, false);
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
}

static bool on_opened(struct iso *i, struct wire_frame *f)
{
	struct iso_opened m;
	struct pool pool;
	bool ok;

	pool_init(&pool, ISO_POOL_MAX);
	ok = shape_unpack(&iso_shape_opened, f->p, f->n, &pool, &m) && i->state == ISO_OPENING &&
	     !i->opened;
	if (ok && !m.status && i->kind->opened)
		i->kind->opened(i, &m);
	if (ok && m.status)
		str_copy(i->answer.text, sizeof(i->answer.text), m.text ? m.text : "no reason");
	pool_clear(&pool);
	if (!ok)
		return false;
	i->opened = true;
	if (i->answer.text[0]) {
		if (!i->first)
			iso_lost(i, i->answer.text);
		return true;
	}
	loop_unwatch(&i->hang);
	up(i, true);
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
	i->answer.text[0] = '\0';
	loop_unwatch(&i->hang);
	i->hang = loop_timer(l, ISO_OPEN_MS, iso_late, i);
	wire_send(i->wire, ISO_OPEN, 0, &iso_shape_open, &i->open, NULL, 0);
}

/* ---- opening ---- */

static bool is_core(const char *const *core, const char *name)
{
	for (; core && *core; core++)
		if (strcasecmp(*core, name) == 0)
			return true;
	return false;
}

static void print_values(const struct conf_option *o, FILE *out)
{
	fprintf(out, "%s = %s", o->name, o->is_list ? "{ " : "");
	for (const struct conf_value *v = o->values; v; v = v->next) {
		conf_quote(v->text, out);
		fputs(v->next ? ", " : "", out);
	}
	fputs(o->is_list ? " };\n" : ";\n", out);
}

/* What of the section is the module's, in the language of the file. Sections that the core took
 * are not: its own worker hears no other secret than the module's. */
static void print_section(const struct conf_section *s, const char *const *core, FILE *out)
{
	for (const struct conf_option *o = s ? s->options : NULL; o; o = o->next)
		if (!is_core(core, o->name))
			print_values(o, out);
	for (const struct conf_section *t = s ? s->sections : NULL; t; t = t->next) {
		if (t->used)
			continue;
		fprintf(out, "%s ", t->keyword);
		if (t->name)
			conf_quote(t->name, out);
		fputs(" {\n", out);
		print_section(t, NULL, out);
		fputs("}\n", out);
	}
}

static char *section_text(const struct conf_section *s, const char *const *core)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return base_strdup("");
	print_section(s, core, out);
	fclose(out);
	return text;
}

static uint32_t log_level(void)
{
	uint32_t level = LOG_L_DEBUG;

	while (level > 0 && !log_on((enum log_level)level))
		level--;
	return level;
}

/* The role's other maps as they are now: the newest where a reload has two of a name. */
static void know_maps(struct iso *i)
{
	struct mod_inst *in;
	uint32_t k;

	for (in = i->in->host->insts; in && i->open.nmap < ISO_MAPS_MAX; in = in->next) {
		if (in->m->kind != META1_MAP || in->closing || !strcmp(in->base, i->in->base))
			continue;
		for (k = 0; k < i->open.nmap && !buf_eq(i->names[k], buf_str(in->base)); k++)
			;
		if (k < i->open.nmap)
			continue;
		i->map[k] = i->in->table.map(iso_ctx(i), in->base);
		i->names[k] = buf_str(base_strdup(in->base)); /* it may go before this one does */
		i->open.nmap++;
	}
	i->open.map = i->names;
}

static void fill_open(
    struct iso *i, const struct settings_module *sm, struct settings *set, const char *const *core)
{
	struct mod_host *h = i->in->host;

	i->text = section_text(sm->section, core);
	i->file = base_strdup(set->file ? set->file : "");
	i->folder = base_strdup(conf_dir(set->conf));
	i->directory = base_strdup(h->module_directory ? h->module_directory : "");
	i->open = (struct iso_open){.version = PACKAGE_VERSION,
	    .module = i->in->m->name,
	    .instance = i->in->base,
	    .file = i->file,
	    .folder = i->folder,
	    .text = i->text,
	    .hostname = i->in->hostname,
	    .qdir = i->in->qdir,
	    .directory = i->directory,
	    .role = h->role,
	    .process = h->process,
	    .log_level = log_level(),
	    .memory = (uint64_t)sm->isolate->memory};
	know_maps(i);
	if (i->kind->fill)
		i->kind->fill(i, set);
}

/* ---- closing ---- */

static void iso_close(void *inst)
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
	iso_fail_all(i, "it is closed");
	iso_far_drop(i);
	if (i->kind->drop)
		i->kind->drop(i);
	free(i->own);
	free(i->ask);
	free(i->worker);
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

static int iso_open_unused(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	(void)h, (void)ctx, (void)conf, (void)inst;
	return err_set(err, "it is opened by mod_use()");
}

/* What stands for the module: its name and kind, and the operations of iso_KIND.c. */
static const struct meta1_module *stand_in(
    struct mod_host *h, const char *name, const struct iso_kind *kind)
{
	struct meta1_module *m;
	struct mod *mod;

	for (mod = h->apart; mod; mod = mod->next)
		if (!strcmp(mod->m->name, name))
			return mod->m;
	mod = base_alloc(sizeof(*mod));
	m = base_alloc(sizeof(*m));
	*m = (struct meta1_module){.magic = META1_MODULE_MAGIC,
	    .size = sizeof(*m),
	    .abi_major = META1_ABI_MAJOR,
	    .abi_minor = META1_ABI_MINOR,
	    .kind = kind->kind,
	    .roles = h->role,
	    .name = base_strdup(name),
	    .version = PACKAGE_VERSION,
	    .summary = "stands for a module in a worker process",
	    .open = iso_open_unused,
	    .drain = iso_drain,
	    .close = iso_close,
	    .ops = kind->ops};
	if (kind->ops_size) {
		m->ops = mod->ops = base_alloc(kind->ops_size);
		memcpy(mod->ops, kind->ops, kind->ops_size);
	}
	mod->m = m;
	mod->next = h->apart;
	h->apart = mod;
	return m;
}

void mod_apart_free(struct mod_host *h)
{
	struct mod *mod;

	mod_spares_drop(h);
	while ((mod = h->apart)) {
		h->apart = mod->next;
		free((char *)(uintptr_t)mod->m->name);
		free(mod->ops);
		free((void *)(uintptr_t)mod->m);
		free(mod);
	}
}

static int wait_open(struct iso *i, struct meta1_err *err)
{
	i->first = true;
	wire_wait(i->wire, ISO_OPEN_MS, &i->opened);
	i->first = false;
	if (!i->opened)
		return err_set(err,
		    "%s: its worker process %u ended, or did not open it within %d s", i->in->name,
		    i->pid, ISO_OPEN_MS / 1000);
	if (i->answer.text[0])
		return err_set(err, "%.500s", i->answer.text);
	return 0;
}

static struct mod_inst *open_apart(struct mod_host *h, const struct iso_kind *kind,
    const struct settings_module *sm, struct settings *set, const char *const *core,
    struct meta1_err *err)
{
	struct mod_inst *in = mod_inst_new(h, stand_in(h, sm->module, kind), sm->instance, NULL);
	struct mod_spare *s = spare_take(h, in->name);
	struct iso *i;

	if (!s) {
		err_set(err,
		    "%s: mcp has started no worker process for it: reload, so that mcp "
		    "reads the same configuration as this role",
		    in->name);
		mod_inst_fail(in);
		return NULL;
	}
	i = base_alloc(sizeof(*i));
	in->data = i;
	*i = (struct iso){.next = h->isos, .in = in, .kind = kind, .worker = s->worker};
	h->isos = i;
	fill_open(i, sm, set, core);
	attach(i, s->fd, s->pid, s->restarts);
	free(s);
	if (wait_open(i, err) < 0) {
		iso_close(i);
		mod_inst_fail(in);
		return NULL;
	}
	mod_inst_add(in);
	return in;
}

struct mod_inst *mod_use(struct mod_host *h, const struct settings_module *sm, struct settings *set,
    const char *const *core, struct meta1_err *err)
{
	struct mod *mod;

	for (size_t k = 0; sm->isolate && k < ARRAY_LEN(kinds); k++)
		if (!strcmp(kinds[k]->name, sm->kind))
			return open_apart(h, kinds[k], sm, set, core, err);
	if (sm->isolate) { /* its configuration is refused before it comes here */
		err_set(err, "%s/%s: isolate: this kind has no worker", sm->module, sm->instance);
		return NULL;
	}
	mod = mod_load(h, sm->module, err);
	return mod ? mod_open(h, mod, sm->instance, set->conf, sm->section, core, OPT_START, err)
		   : NULL;
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
