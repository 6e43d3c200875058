/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * host.c -- the table of functions that a module gets from the kit, and the part of it about
 * nothing but the instance: log, counters, memory, clock. Each call is held against the law of
 * threads; memory is fenced on both sides, and wiped when it is given back.
 * Comes from modules through the table; goes to the suites as faults, counts and the log.
 * Owns blocks until they are freed or the instance is closed.
 * On failure: NULL where the suite says so; a broken law is told by the next kit_ok().
 */
#include "host_priv.h"

#include "mail/addr.h"

#include <ctype.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define COUNTERS  64
#define LOG_MAX	  (1u << 20)
#define MAGIC	  0x6d65746131206f6bu
#define MAGIC_OLD 0x6d65746131206e6fu
#define FENCE	  16 /* bytes behind a block */
#define FENCED	  0xfe
#define WIPED	  0xdf
#define KEPT	  (4u << 20) /* bytes of freed blocks */

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc lacks its header */
#define KIT_POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define KIT_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define KIT_POISON(p, n)   ((void)0)
#define KIT_UNPOISON(p, n) ((void)0)
#endif

/* ---- faults ---- */

void kit_fault(struct kit_host *h, const char *instance, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&h->lock);
	n = strlen(h->fault);
	if (!strstr(h->fault, text)) /* said once */
		snprintf(
		    h->fault + n, sizeof(h->fault) - n, "%s%s: %s", n ? "; " : "", instance, text);
	pthread_mutex_unlock(&h->lock);
}

void kit_fault_take(struct kit_host *h, char *out, size_t size)
{
	pthread_mutex_lock(&h->lock);
	str_copy(out, size, h->fault);
	h->fault[0] = '\0';
	pthread_mutex_unlock(&h->lock);
}

void kit_host_fail(struct kit_host *h, unsigned n)
{
	pthread_mutex_lock(&h->lock);
	h->fail_at = n;
	h->fallible = h->failed = 0;
	pthread_mutex_unlock(&h->lock);
}

bool kit_host_fails(struct kit_host *h, const char *call, const void *from)
{
	bool fails;

	pthread_mutex_lock(&h->lock);
	fails = ++h->fallible == h->fail_at;
	h->failed += fails;
	kit_site_asked(h, call, from, fails);
	pthread_mutex_unlock(&h->lock);
	return fails;
}

bool kit_on_loop(struct kit_inst *in, const char *call, bool any)
{
	if (in->closed) {
		kit_fault(in->host, in->name, "%s() after close()", call);
		return false;
	}
	if (!kit_worker && pthread_equal(in->host->thread, pthread_self()))
		return true;
	if (any && in->blocking)
		return false;
	kit_fault(in->host, in->name, "%s() on another thread: use post()", call);
	return false;
}

/* ---- did a call sleep? ---- */

static int64_t us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void kit_nap_begin(struct kit_nap *n)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	*n = (struct kit_nap){us(CLOCK_MONOTONIC), us(CLOCK_THREAD_CPUTIME_ID), ru.ru_nvcsw};
}

void kit_nap_end(const struct kit_nap *n, struct kit_inst *in)
{
	int64_t away = us(CLOCK_MONOTONIC) - n->wall - us(CLOCK_THREAD_CPUTIME_ID) + n->cpu;
	struct rusage ru;

	if (away < KIT_SLEPT_MS * 1000)
		return;
	getrusage(RUSAGE_THREAD, &ru);
	in->slept += ru.ru_nvcsw > n->switches;
}

/* ---- log, counters ---- */

static void host_log(struct meta1_ctx *ctx, enum meta1_level level, const char *fmt, ...)
{
	struct kit_inst *in = inst_of(ctx);
	struct kit_host *h = in->host;
	char text[1024];
	va_list ap;
	size_t n;

	kit_on_loop(in, "log", true);
	if ((unsigned)level > META1_DEBUG)
		kit_fault(h, in->name, "log(): level %u", (unsigned)level);
	va_start(ap, fmt);
	n = (size_t)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= sizeof(text))
		n = sizeof(text) - 1;
	if (h->line && pthread_equal(h->thread, pthread_self()))
		h->line(h->line_arg, in->name, level, text);
	pthread_mutex_lock(&h->lock);
	if (h->log_len + n + 2 < LOG_MAX) {
		h->log = base_realloc(h->log, h->log_len + n + 2);
		memcpy(h->log + h->log_len, text, n);
		h->log[h->log_len + n] = '\n';
		h->log_len += n + 1;
	}
	pthread_mutex_unlock(&h->lock);
}

bool kit_log_has(struct kit_host *h, struct meta1_buf text)
{
	bool has;

	pthread_mutex_lock(&h->lock);
	has = h->log && memmem(h->log, h->log_len, text.data, text.len);
	pthread_mutex_unlock(&h->lock);
	return has;
}

void kit_log_clear(struct kit_host *h)
{
	pthread_mutex_lock(&h->lock);
	h->log_len = 0;
	pthread_mutex_unlock(&h->lock);
}

static bool good_name(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (!islower((unsigned char)s[n]) && !isdigit((unsigned char)s[n]) && s[n] != '_')
			return false;
	return n > 0 && n <= 64;
}

static void host_count(struct meta1_ctx *ctx, const char *name, int64_t delta)
{
	struct kit_inst *in = inst_of(ctx);
	struct kit_counter **p, *c;
	unsigned n = 0;
	size_t len = strlen(name);

	kit_on_loop(in, "count", true);
	if (!good_name(name)) {
		kit_fault(in->host, in->name, "count(): the name \"%.64s\"", name);
		return;
	}
	pthread_mutex_lock(&in->host->lock);
	for (p = &in->counters; *p && strcmp((*p)->name, name) != 0; p = &(*p)->next)
		n++;
	if (!*p && n < COUNTERS) {
		*p = base_alloc(sizeof(*c) + len + 1);
		memcpy((*p)->name, name, len + 1);
		(*p)->gauge = len > 4 && !strcmp(name + len - 4, "_now");
	}
	if ((c = *p))
		c->value = c->gauge ? delta : c->value + delta;
	pthread_mutex_unlock(&in->host->lock);
	if (!c)
		kit_fault(in->host, in->name, "count(): more than %d names", COUNTERS);
}

int64_t kit_counter(const struct kit_inst *in, const char *name)
{
	const struct kit_counter *c;

	for (c = in->counters; c; c = c->next)
		if (!strcmp(c->name, name))
			return c->value;
	return 0;
}

/* ---- memory ---- */

static void *host_alloc(struct meta1_ctx *ctx, size_t len)
{
	struct kit_inst *in = inst_of(ctx);
	struct kit_mem *m;

	kit_on_loop(in, "alloc", true);
	if (kit_fails(in) || len > SIZE_MAX / 2)
		return NULL;
	m = calloc(1, sizeof(*m) + len + FENCE);
	if (!m)
		return NULL;
	*m = (struct kit_mem){.in = in, .name = in->m->name, .len = len, .magic = MAGIC};
	memset((char *)(m + 1) + len, FENCED, FENCE);
	pthread_mutex_lock(&in->host->lock);
	LIST_INSERT_HEAD(&in->mem, m, link);
	in->mem_bytes += len;
	pthread_mutex_unlock(&in->host->lock);
	return m + 1;
}

/* What was freed is kept for a while, wiped: a second free() is seen, and so is who writes there.
 */
static void mem_end(struct kit_host *h, struct kit_mem *m)
{
	const unsigned char *b = (const unsigned char *)(m + 1);
	size_t i;

	TAILQ_REMOVE(&h->freed, m, old);
	h->freed_bytes -= m->len;
	KIT_UNPOISON(b, m->len);
	for (i = 0; i < m->len && b[i] == WIPED; i++)
		;
	if (i < m->len)
		kit_fault(h, m->name, "wrote into a block of %zu bytes that it had freed", m->len);
	free(m);
}

static void mem_free(struct kit_inst *in, struct kit_mem *m)
{
	const unsigned char *fence = (const unsigned char *)(m + 1) + m->len;
	struct kit_host *h = in->host;
	unsigned i;

	for (i = 0; i < FENCE && fence[i] == FENCED; i++)
		;
	if (i < FENCE)
		kit_fault(h, in->name, "wrote behind a block of %zu bytes", m->len);
	pthread_mutex_lock(&h->lock);
	LIST_REMOVE(m, link);
	in->mem_bytes -= m->len;
	m->magic = MAGIC_OLD;
	m->in = NULL;
	memset(m + 1, WIPED, m->len);
	KIT_POISON(m + 1, m->len);
	TAILQ_INSERT_TAIL(&h->freed, m, old);
	h->freed_bytes += m->len;
	pthread_mutex_unlock(&h->lock);
}

/* Only on the loop: what a thread freed waits here too. */
static void mem_forget(struct kit_host *h, size_t keep)
{
	while (h->freed_bytes > keep || (keep == 0 && !TAILQ_EMPTY(&h->freed)))
		mem_end(h, TAILQ_FIRST(&h->freed));
}

/* Bytes of the whole process that are in use, without those that are kept for a while. */
size_t kit_heap(struct kit_host *h)
{
	mem_forget(h, 0);
#ifdef __SANITIZE_ADDRESS__
	return __sanitizer_get_current_allocated_bytes();
#else
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
#endif
}

static void host_free(struct meta1_ctx *ctx, void *p)
{
	struct kit_inst *in = inst_of(ctx);
	struct kit_mem *m = p ? (struct kit_mem *)p - 1 : NULL;
	bool loop = kit_on_loop(in, "free", true);

	if (!m)
		return;
	if (m->magic != MAGIC) {
		kit_fault(in->host, in->name, "free(): %s",
		    m->magic == MAGIC_OLD ? "twice" : "of what alloc() did not give");
	} else if (m->in != in) {
		kit_fault(in->host, in->name, "free(): it is of %s", m->in->name);
	} else {
		mem_free(in, m);
		if (loop)
			mem_forget(in->host, KEPT);
	}
}

void kit_mem_drop(struct kit_inst *in)
{
	while (!LIST_EMPTY(&in->mem))
		mem_free(in, LIST_FIRST(&in->mem));
}

/* ---- clock and the rest ---- */

static struct event_base *host_base(struct meta1_ctx *ctx)
{
	struct kit_inst *in = inst_of(ctx);

	if (!kit_on_loop(in, "base", false))
		return NULL;
	if (!in->m->libevent)
		kit_fault(in->host, in->name,
		    "base(), but its descriptor does not say for which libevent it was built");
	return loop_base(in->host->loop);
}

static int64_t host_now(struct meta1_ctx *ctx)
{
	return kit_on_loop(inst_of(ctx), "now", true) && !kit_worker
		   ? loop_now(inst_of(ctx)->host->loop)
		   : us(CLOCK_MONOTONIC) / 1000;
}

static int64_t host_wall(struct meta1_ctx *ctx)
{
	return kit_on_loop(inst_of(ctx), "wall", true) && !kit_worker
		   ? loop_wall(inst_of(ctx)->host->loop)
		   : time(NULL);
}

static void host_changed(struct meta1_ctx *ctx)
{
	if (kit_on_loop(inst_of(ctx), "changed", true))
		host_count(ctx, "kit_changed", 1);
}

void kit_table(struct kit_inst *in)
{
	struct kit_host *h = in->host;

	in->table = (struct meta1_host){.size = sizeof(in->table),
	    .abi_major = META1_ABI_MAJOR,
	    .abi_minor = META1_ABI_MINOR,
	    .role = h->role,
	    .offers = kit_offers(in->m),
	    .version = PACKAGE_VERSION,
	    .hostname = h->hostname,
	    .qdir = h->qdir,
	    .log = host_log,
	    .count = host_count,
	    .alloc = host_alloc,
	    .free = host_free,
	    .base = host_base,
	    .now = host_now,
	    .wall = host_wall,
	    .changed = host_changed,
	    .conn = &kit_conn_ops,
	    .domain_key = addr_domain_key};
	kit_event_table(&in->table);
	kit_ask_table(&in->table);
	kit_req_table(&in->table);
}

/* ---- life ---- */

void kit_host_start(struct kit_host *h, const char *qdir)
{
	*h = (struct kit_host){
	    .loop = loop_new(), .thread = pthread_self(), .hostname = "kit.example", .qdir = qdir};
	pthread_mutex_init(&h->lock, NULL);
	kit_sites_start(h);
	TAILQ_INIT(&h->freed);
	loop_fake_clock(h->loop, 1000000, time(NULL));
	h->work = work_new(h->loop);
}

void kit_host_end(struct kit_host *h)
{
	struct kit_module *m;

	work_free(&h->work);
	loop_turn(h->loop, false);
	kit_ring_free(h);
	mem_forget(h, 0);
	while ((m = h->modules)) {
		h->modules = m->next;
		free(m->opt);
		free(m->file);
		free(m);
	}
	loop_free(&h->loop);
	kit_sites_end(h);
	free(h->log);
	pthread_mutex_destroy(&h->lock);
}
