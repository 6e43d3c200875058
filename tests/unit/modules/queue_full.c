/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_full.c -- tries modules/queue/log/ while its journal takes nothing more: an outcome that
 * was refused did not happen, and a message whose "moved" cannot be said does not move. The rest
 * of the store is played.
 */
#include "../../../modules/queue/log/log.h"

#include "../unit.h"
#include "queue_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FULL (17u << 20)

static struct store l;
static struct manager m;
static struct writer w = {.number = LOG_QM};
static const struct conf conf = {
    .segment_size = 1 << 20, .compact_rate = 1 << 20, .status_sync = 1000};
static enum meta1_status answer;
static void (*tick)(int, short, void *);
static void *tick_arg;
static unsigned moved;
static struct { /* the copy that was asked for */
	void (*done)(void *, const struct log_notice *);
	void *arg;
} copy;
static struct {
	void (*work)(void *), (*done)(void *);
	void *arg;
} job;

/* ---- the host ---- */

static struct meta1_watch *host_timer(
    struct meta1_ctx *ctx, int64_t ms, void (*fn)(int, short, void *), void *arg)
{
	(void)ctx;
	if (ms >= 0) { /* compact.c's; the journal's begins at rest */
		tick = fn;
		tick_arg = arg;
	}
	return (struct meta1_watch *)&m;
}

/* ---- the rest of the store ---- */

bool store_job(struct store *log, void (*work)(void *), void (*done)(void *), void *arg)
{
	(void)log;
	job.work = work;
	job.done = done;
	job.arg = arg;
	return true;
}
static void run_jobs(void)
{
	while (job.work != NULL) {
		void (*done)(void *) = job.done;

		job.work(job.arg);
		job.work = NULL;
		done(job.arg);
	}
}
void store_arm(struct store *log, struct meta1_watch *t, int64_t ms)
{
	(void)log, (void)t, (void)ms;
}
void store_answer(struct store *log, struct meta1_req **req, enum meta1_status st, const char *text)
{
	(void)log, (void)text;
	*req = NULL;
	answer = st;
}
void backlog_start(struct manager *mm)
{
	(void)mm;
}
void manager_pump(struct mwriter *mw)
{
	(void)mw;
}
void units_pass(struct mwriter *mw, uint64_t seg)
{
	(void)mw, (void)seg;
}
void units_count(struct mwriter *mw, uint64_t off, uint64_t life, uint64_t n, uint32_t k)
{
	(void)mw, (void)off, (void)life, (void)n, (void)k;
}
void units_settle(struct manager *mm, struct unit *u)
{
	(void)mm, (void)u;
}
void units_final(struct manager *mm, uint32_t i)
{
	table_remove(mm->t, i);
}
void units_synced(struct manager *mm)
{
	(void)mm;
}
void units_attach(struct manager *mm, uint32_t writer)
{
	(void)mm, (void)writer;
}
void ckpt_start(struct manager *mm)
{
	(void)mm;
}
void ckpt_synced(struct manager *mm)
{
	(void)mm;
}
void ckpt_free(struct ckpt **c)
{
	(void)c;
}
size_t writer_tail(void *inst, uint8_t out[META1_NOTICE_MAX])
{
	(void)inst, (void)out;
	return 0;
}
bool writer_copy(struct writer *to, const char *id, uint8_t **rec, size_t reclen,
    struct chunk **content, bool outside, void (*done)(void *, const struct log_notice *),
    void *arg)
{
	(void)to, (void)id, (void)rec, (void)reclen, (void)content, (void)outside;
	copy.done = done;
	copy.arg = arg;
	return true;
}
/* One message whose content has a file of its own. */
struct scan_batch *scan_table(int fd, uint64_t seg, uint64_t off, struct meta1_err *e)
{
	struct meta1_qrcpt rcpt = {.addr = {"a@example.org", 13}};
	struct meta1_env env = {
	    .size = sizeof(env), .nrcpt = 1, .sizeof_rcpt = sizeof(rcpt), .rcpt = &rcpt};
	size_t len = seg_rec_size("S1", &env);
	struct scan_batch *b;
	struct seg_rec r;

	(void)fd, (void)e;
	if (off != 0)
		return NULL;
	b = calloc(1, sizeof(*b) + len);
	b->seg = seg;
	b->len = LOG_ALIGN;
	b->nmsg = 1;
	b->table_len = len;
	seg_rec_encode(b->table, len, "S1", &env);
	memcpy(&r, b->table, sizeof(r));
	r.unit = 77;
	r.uwriter = 1;
	memcpy(b->table, &r, sizeof(r));
	return b;
}

/* ---- the tests ---- */

static bool on_moved(void *arg, const char *id, uint64_t key, const struct meta1_ref *ref)
{
	(void)arg, (void)key, (void)ref;
	assert_string_equal(id, "S1");
	moved++;
	return true;
}

static void start(void)
{
	static const struct meta1_qevents ev = {.size = sizeof(ev), .moved = on_moved};

	l = (struct store){.h = &host, .c = &conf, .w = &w, .m = &m, .qfd = -1};
	m = (struct manager){.l = &l, .ev = &ev, .t = table_new(), .loaded = true, .dir = -1};
	m.lock = -1;
	m.dir = -1;
	assert_true(record_open(&m));
	moved = 0;
}

static void end(void)
{
	m.j.gather.len = 0;
	compact_close(&m);
	journal_close(&m.j);
	while (m.ws != NULL) {
		struct mwriter *next = m.ws->next;

		free(m.ws);
		m.ws = next;
	}
	table_free(&m.t);
}

static enum meta1_status outcome(uint64_t key, uint32_t rcpt)
{
	struct meta1_qoutcome o = {
	    .size = sizeof(o), .id = "S1", .key = key, .rcpt = rcpt, .state = META1_R_DELIVERED};

	answer = META1_OK; /* the journal answers when it was synced */
	manager_outcome(&l, NULL, &o);
	return answer;
}

static void refused_outcome(void **state)
{
	uint64_t key;
	uint32_t i;
	size_t had;

	(void)state;
	start();
	i = table_add(m.t, 1, 7, 0, 0);
	assert_true(table_admit(m.t, i, 2, 100, 1, 0));
	table_at(m.t, i)->told = 1;
	key = table_key(m.t, i);
	had = m.j.gather.len;
	m.j.gather.len = FULL;
	assert_int_equal(outcome(key, 0), META1_TEMPFAIL);
	m.j.gather.len = had;
	assert_int_equal(outcome(key, 1), META1_OK);
	assert_int_equal(table_by_key(m.t, key), i); /* its first recipient is not done */
	assert_int_equal(m.j.put, 1);
	assert_int_equal(outcome(key, 0), META1_OK);
	assert_int_equal(table_by_key(m.t, key), 0);
	assert_int_equal(m.j.put, 2);
	end();
}

/* A segment with little in it, for there are three. */
static struct unit *sparse(uint64_t seg)
{
	uint32_t i = table_add(m.t, 1, seg, 0, 0);
	struct unit *u;

	assert_true(table_admit(m.t, i, 1, seg, 1, seg == 10 ? 77 : 0));
	table_at(m.t, i)->told = 1;
	u = table_unit(m.t, 1, seg, false);
	u->closed = true;
	return u;
}

static void move_said(bool full, bool *held)
{
	struct log_notice n = {.writer = LOG_QM, .seg = 500, .idx = 3, .life = 1};
	char dir[] = "/tmp/m1-queue-full-XXXXXX", name[24], path[64];
	struct unit *u;
	int fd;

	start();
	assert_non_null(mkdtemp(dir));
	l.qfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(l.qfd, "in", 0700), 0);
	assert_int_equal(mkdirat(l.qfd, "in/1", 0700), 0);
	seg_name(name, 's', 10);
	snprintf(path, sizeof(path), "in/1/%s", name);
	fd = openat(l.qfd, path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	u = sparse(10);
	sparse(100000);
	sparse(100001);
	compact_open(&m);
	copy.done = NULL;
	for (unsigned i = 0; i < 4 && copy.done == NULL; i++) {
		tick(-1, 0, tick_arg);
		run_jobs();
	}
	assert_non_null(copy.done);
	if (full)
		m.j.gather.len = FULL;
	copy.done(copy.arg, &n);
	run_jobs(); /* the end of the pass */
	*held = u->hold > 0;
	unlinkat(l.qfd, path, 0);
	unlinkat(l.qfd, "in/1", AT_REMOVEDIR);
	unlinkat(l.qfd, "in", AT_REMOVEDIR);
	close(l.qfd);
	rmdir(dir);
}

static void refused_move(void **state)
{
	bool held;

	(void)state;
	move_said(false, &held);
	assert_int_equal(moved, 1);
	assert_int_equal(m.j.put, 1);
	assert_false(held);
	assert_int_not_equal(table_find(m.t, LOG_QM, 500, 0, 3), 0);
	end();
	move_said(true, &held);
	assert_int_equal(moved, 0);
	assert_int_equal(m.j.put, 0);
	assert_int_not_equal(table_find(m.t, 1, 10, 0, 0), 0);
	assert_int_equal(table_find(m.t, LOG_QM, 500, 0, 3), 0);
	assert_true(held); /* that the copy does not count could not be said either */
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refused_outcome),
	    cmocka_unit_test(refused_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
