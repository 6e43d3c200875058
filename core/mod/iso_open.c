/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_open.c -- the first open of an isolated instance: with the worker that mcp has started, what
 * the configuration says of it, and the names of the role's other maps. The loop does not wait: the
 * role goes on serving, and is told when all are open.
 * Comes from roles (mod_use) and from role.c and role_mcp.c (mod_await); goes over the wire to
 * worker.c, and to iso.c. Owns who waits.
 * On failure: why, as an instance without a worker says it; the role closes what it has.
 */
#include "mod/iso.h"

#include "lib/log.h"

#include <stdio.h>
#include <stdlib.h>

struct mod_await {
	mod_await_fn done;
	void *arg;
	struct task task;
	struct meta1_err err; /* of the first that is not open */
};

static const struct iso_kind *const kinds[] = {&iso_map, &iso_pmilter, &iso_auth, &iso_transport};

/* ---- what it is told ---- */

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

/* The role's other maps, of the same configuration. */
static void know_maps(struct iso *i)
{
	struct mod_inst *in;
	uint32_t k;

	for (in = i->in->host->insts; in && i->open.nmap < ISO_MAPS_MAX; in = in->next) {
		if (in->m->kind != META1_MAP || in->life != i->in->life || in->closing ||
		    !strcmp(in->base, i->in->base))
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
	if (i->kind->fill)
		i->kind->fill(i, set);
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

static struct mod_inst *open_apart(struct mod_host *h, const struct iso_kind *kind,
    const struct settings_module *sm, struct settings *set, const char *const *core,
    struct meta1_err *err)
{
	struct mod_inst *in = mod_inst_new(h, stand_in(h, sm->module, kind), sm->instance, NULL);
	const char *use = strchr(sm->use, ':');
	struct iso *i = base_alloc(sizeof(*i));

	in->data = i;
	*i = (struct iso){.next = h->isos, .in = in, .kind = kind, .first = true};
	TAILQ_INIT(&i->copies);
	i->use = base_strdup(use ? use + 2 : sm->use);
	h->isos = i;
	if (!iso_take_spare(i)) {
		err_set(err,
		    "%s: mcp has started no worker process for it: reload, so that mcp "
		    "reads the same configuration as this role",
		    in->name);
		iso_close(i);
		mod_inst_fail(in);
		return NULL;
	}
	fill_open(i, sm, set, core);
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

/* ---- who waits ---- */

static void awaited(void *arg)
{
	struct mod_host *h = arg;
	struct mod_await *w = h->await;

	h->await = NULL;
	w->done(w->arg, w->err.text[0] ? &w->err : NULL);
	free(w);
}

static bool pending(const struct mod_host *h)
{
	const struct iso *i = h->isos;

	while (i && !i->first)
		i = i->next;
	return i != NULL;
}

void iso_open_first(struct iso *i, const char *why)
{
	struct mod_host *h = i->in->host;
	struct mod_await *w = h->await;

	i->first = false;
	if (!w)
		return;
	if (why && !w->err.text[0])
		err_set(&w->err, "%s: %.400s", i->use, why);
	if (why || !pending(h))
		loop_defer(h->loop, &w->task);
}

void iso_open_lost(struct iso *i, const char *why)
{
	struct meta1_err err;

	err_set(&err, "%s: its worker process %u did not open it: %s", i->in->name, i->pid, why);
	iso_open_first(i, err.text);
}

void iso_open_send(struct iso *i)
{
	wire_send(i->wire, ISO_OPEN, 0, &iso_shape_open, &i->open, NULL, 0);
}

bool mod_await(struct mod_host *h, mod_await_fn done, void *arg)
{
	ensure(!h->await);
	if (!pending(h))
		return false;
	h->await = base_alloc(sizeof(*h->await));
	*h->await = (struct mod_await){.done = done, .arg = arg};
	task_init(&h->await->task, awaited, h);
	for (struct iso *i = h->isos; i; i = i->next) {
		if (!i->first)
			continue;
		know_maps(i); /* all are there now, in whatever order the file has them */
		iso_open_send(i);
	}
	return true;
}

bool mod_await_end(struct mod_host *h)
{
	struct mod_await *w = h->await;
	bool waited = w != NULL;

	h->await = NULL;
	if (waited)
		task_cancel(&w->task);
	free(w);
	return waited;
}
