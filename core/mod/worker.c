/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c -- a process that serves one isolated instance: waits to be told which, opens it,
 * answers questions, ends when the role closes the stream. Comes from core/role.c, whose program
 * mcp starts as a worker; the other end is iso.c of a role. Goes to load.c and inst.c, as a role
 * would, and to worker_KIND.c. Owns everything of the process. On failure: the reason to the role,
 * and an exit status from which mcp knows to start another one, later each time.
 */
#include "mod/worker.h"

#include "lib/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nobody says what to open: the configuration came to nothing. Longer than mcp lets a role take to
 * start: MCP_SILENT_INIT times MCP_PING_MS. */
#define PATIENCE_MS 600000
#define END_MS	    2000 /* for what runs on threads */
#define HUNG_S	    10	 /* for all of the end; then the module hangs */

static const struct worker_kind *const kinds[] = {
    &worker_map, &worker_pmilter, &worker_auth, &worker_transport};

/* ---- questions ---- */

struct worker_ask *worker_asked(struct worker *w, uint32_t id)
{
	struct worker_ask *a;

	HASH_FIND(hh, w->asks, &id, sizeof(id), a);
	return a;
}

struct worker_ask *worker_ask(struct worker *w, uint32_t id, void *of)
{
	struct worker_ask *a;

	if (worker_asked(w, id))
		return NULL;
	a = base_alloc(sizeof(*a));
	*a = (struct worker_ask){.id = id, .w = w, .of = of};
	HASH_ADD(hh, w->asks, id, sizeof(id), a);
	return a;
}

static void ask_free(struct worker_ask *a)
{
	HASH_DEL(a->w->asks, a);
	if (a->free_of)
		a->free_of(a->of);
	free(a);
}

void worker_begin(struct worker_ask *a, int64_t ms, mod_done_fn done)
{
	a->req = mod_req_new(a->w->in, worker_deadline(a->w, ms), done, a);
	if (a->free_of)
		mod_req_keep(a->req, a->free_of, a->of);
	a->free_of = NULL;
}

void worker_send(struct worker_ask *a, const struct shape *s, const void *msg, int *fds, unsigned n)
{
	struct worker *w = a->w;

	if (!wire_send(w->wire, ISO_ANSWER, a->id, s, msg, fds, n))
		wire_send(w->wire, ISO_UNTOLD, a->id, NULL, NULL, NULL, 0);
	ask_free(a);
	worker_tally(w);
}

void worker_answer(struct worker_ask *a, enum meta1_status st, const struct meta1_reply *r)
{
	const struct iso_answer m = {.status = st, .reply = r};

	worker_send(a, &iso_shape_answer, &m, NULL, 0);
}

int64_t worker_deadline(const struct worker *w, int64_t ms)
{
	return loop_now(w->loop) + (ms < 0 ? 0 : ms > 86400000 ? 86400000 : ms);
}

void worker_give_up(struct worker_ask *a, const struct shape *s, const void *msg)
{
	mod_req_cancel(&a->req);
	worker_send(a, s, msg, NULL, 0);
}

/* The role does not listen any more, but counts the answer. */
static void cancel(struct worker *w, uint32_t id)
{
	const struct iso_answer m = {.status = META1_CANCELED};
	struct worker_ask *a = worker_asked(w, id);

	if (a) /* else its answer is on the way */
		worker_give_up(a, &iso_shape_answer, &m);
}

static void drop_asks(struct worker *w)
{
	struct worker_ask *a, *next;

	HASH_ITER (hh, w->asks, a, next) {
		mod_req_cancel(&a->req);
		ask_free(a);
	}
}

/* ---- opening ---- */

static void limit_memory(uint64_t bytes)
{
#ifndef META1_SANITIZED
	const struct rlimit data = {.rlim_cur = bytes, .rlim_max = bytes};

	if (bytes)
		setrlimit(RLIMIT_DATA, &data);
#else
	(void)bytes; /* its shadow is data too */
#endif
}

static void fill_host(struct worker *w, const struct iso_open *m)
{
	w->host.role = (enum meta1_role)m->role;
	w->host.process = m->process;
	w->host.hostname = m->hostname;
	w->host.qdir = m->qdir;
	w->host.module_directory = m->directory;
#ifdef META1_DEVELOPER
	w->host.strict = true;
#endif
}

static void conf_words(struct conf *c, char *out, size_t size)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	conf_report(c, f);
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	str_copy(out, size, text);
	free(text);
}

static int open_it(struct worker *w, const struct iso_open *m, struct meta1_err *err)
{
	struct mod *mod;

	if (!m->version || strcmp(m->version, PACKAGE_VERSION) != 0)
		return err_set(err,
		    "%s/%s: its worker process is version %s, and the role another: restart it",
		    m->module, m->instance, PACKAGE_VERSION);
	fill_host(w, m);
	limit_memory(m->memory);
	worker_far_open(w, m);
	mod = mod_load(&w->host, m->module, err);
	if (!mod)
		return -1;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		if (kinds[k]->kind == (enum meta1_kind)mod_descriptor(mod)->kind)
			w->kind = kinds[k];
	if (w->kind && w->kind->secret)
		wire_secret(w->wire);
	if (!w->kind)
		return err_set(err, "%s: modules of its kind run in no worker process", m->module);
	w->conf = conf_read_text(m->file, m->text);
	conf_set_dir(w->conf, m->folder);
	if (conf_errors(w->conf) == 0)
		w->in = mod_open(
		    &w->host, mod, m->instance, w->conf, conf_root(w->conf), NULL, OPT_START, err);
	if (conf_errors(w->conf))
		conf_words(w->conf, err->text, sizeof(err->text));
	if (!w->in)
		return -1;
	mod_req_limit(w->in, UINT32_MAX); /* the role has the limit */
	return w->kind->opened ? w->kind->opened(w, m, err) : 0;
}

static bool on_open(struct worker *w, struct wire_frame *f)
{
	struct iso_opened said = {.pid = (uint32_t)getpid()};
	struct meta1_err err = {""};
	struct iso_open m;

	if (w->begun)
		return false;
	w->begun = true;
	loop_unwatch(&w->patience);
	w->bytes = base_alloc(f->n + 1);
	memcpy(w->bytes, f->p, f->n);
	if (!shape_unpack(&iso_shape_open, w->bytes, f->n, &w->pool, &m) || !m.module ||
	    !m.instance || !m.file || !m.folder || !m.text || !m.hostname || !m.qdir)
		return false;
	if (open_it(w, &m, &err) < 0) {
		said.status = 1;
		said.text = err.text[0] ? err.text : "no reason given";
		w->failed = true;
	} else if (w->kind->tell) {
		w->kind->tell(w, &said);
	}
	wire_send(w->wire, ISO_OPENED, 0, &iso_shape_opened, &said, NULL, 0);
	worker_tally(w);
	return true;
}

/* ---- draining ---- */

static void drained(void *arg)
{
	worker_answer(arg, META1_OK, NULL);
}

/* No question follows; the module may have something of its own to finish. */
static bool on_drain(struct worker *w, struct wire_frame *f)
{
	struct worker_ask *a;
	struct iso_drain m;
	struct pool pool;

	pool_init(&pool, 0);
	if (w->draining || !shape_unpack(&iso_shape_drain, f->p, f->n, &pool, &m))
		return false;
	a = worker_ask(w, f->id, NULL);
	if (!a)
		return false;
	w->draining = true;
	mod_drain(w->in, worker_deadline(w, m.ms), drained, a);
	return true;
}

/* ---- the stream ---- */

static bool on_frame(void *arg, struct wire_frame *f)
{
	struct worker *w = arg;

	if (f->type == ISO_OPEN)
		return on_open(w, f);
	if (f->type == ISO_CLOSE) {
		w->closing = true;
		return true;
	}
	if (!w->in)
		return w->failed; /* it was said that it is not open */
	if (f->type == ISO_CANCEL) {
		cancel(w, f->id);
		return true;
	}
	if (f->type == ISO_FAR)
		return worker_far_answer(w, f);
	if (f->type == ISO_DRAIN)
		return on_drain(w, f);
	if (f->type == ISO_PING)
		return wire_send(w->wire, ISO_PONG, 0, NULL, NULL, NULL, 0);
	return w->kind->frame(w, f) > 0;
}

static void on_gone(void *arg, const char *why)
{
	struct worker *w = arg;

	(void)why;
	loop_stop(w->loop);
}

static void too_long(int fd, short what, void *arg)
{
	(void)fd, (void)what;
	on_gone(arg, "nobody says what to open");
}

/* ---- the process ---- */

/* Workers of several instances may have one account: none of them looks into another's memory,
 * descriptors and secrets, and none is written into a core file. */
static void keep_private(void)
{
#if !defined(__SANITIZE_ADDRESS__)
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* its search for leaks looks from outside */
#endif
}

static void protect(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	keep_private();
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* of a terminal: the role says when */
}

/* The role has hung up, and the module still holds this process in a call: nobody is there any more
 * who would find that out, and mcp need not start another one. */
static void *last_resort(void *fd)
{
	struct pollfd p = {.fd = (int)(intptr_t)fd};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	sleep(HUNG_S);
	_exit(MOD_WORKER_DONE);
}

static void watch_the_role(int fd)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 64u << 10);
	(void)!pthread_create(&t, &attr, last_resort, (void *)(intptr_t)fd);
	pthread_attr_destroy(&attr);
}

/* A role that just hung up thinks that something is wrong with this process: mcp starts another. */
static int exit_status(const struct worker *w)
{
	return w->closing || !w->begun ? MOD_WORKER_DONE : EXIT_TEMP;
}

static void clean_up(struct worker *w)
{
	bool idle;

	drop_asks(w);
	if (w->kind && w->kind->end && w->in)
		w->kind->end(w);
	mod_close(&w->in);
	worker_far_close(w);
	loop_unwatch(&w->patience);
	loop_unwatch(&w->tally);
	idle = work_wait(w->work, END_MS);
	if (!idle)
		_exit(exit_status(w)); /* nothing is cleaned up under a thread's feet */
	while (loop_posted(w->loop))
		;
	wire_close(&w->wire);
	work_free(&w->work);
	mod_unload_all(&w->host);
	conf_free(&w->conf);
	pool_clear(&w->pool);
	free(w->bytes);
	log_close();
	loop_free(&w->loop);
}

int mod_worker_main(int fd)
{
	static struct worker w;
	const struct wire_user user = {on_frame, on_gone, &w};
	const struct log_conf conf = {.ident = "worker", .level = LOG_L_WARN};
	struct meta1_err err;

	protect();
	w = (struct worker){0};
	w.loop = w.host.loop = loop_new();
	w.work = w.host.work = work_new(w.loop);
	log_open(w.loop, &conf, &err); /* stderr; lines of the module go to the role */
	pool_init(&w.pool, ISO_POOL_MAX);
	watch_the_role(fd);
	w.wire = wire_new(w.loop, fd, &user);
	w.patience = loop_timer(w.loop, PATIENCE_MS, too_long, &w);
	loop_run(w.loop);
	clean_up(&w);
	return exit_status(&w);
}
