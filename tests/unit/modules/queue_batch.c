/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_batch.c -- tries modules/queue/log/batch.c with a thread that is done with its job before
 * store_job() is back: what goes into a batch is settled by then. More waits than one batch takes.
 */
#include "../../../modules/queue/log/log.h"

#include "../unit.h"
#include "queue_host.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAILS 20u
#define PIECE (1u << 20)

static const struct conf conf = {.segment_size = 64 << 20};
static struct store l = {.h = &host, .c = &conf};
static struct writer w = {.l = &l, .fd = -1};
static unsigned stored;
static struct {
	void (*done)(void *);
	void *arg;
} job;

/* ---- the host and the rest of the store ---- */

static struct meta1_watch *host_timer(
    struct meta1_ctx *ctx, int64_t ms, void (*fn)(int, short, void *), void *arg)
{
	(void)ctx, (void)ms, (void)fn, (void)arg;
	return NULL;
}
bool store_job(struct store *s, void (*work)(void *), void (*done)(void *), void *arg)
{
	(void)s;
	assert_null(job.done);
	work(arg);
	job.done = done;
	job.arg = arg;
	return true;
}
void store_arm(struct store *s, struct meta1_watch *t, int64_t ms)
{
	(void)s, (void)t, (void)ms;
}
void store_answer(struct store *s, struct meta1_req **req, enum meta1_status st, const char *text)
{
	(void)s, (void)req, (void)st;
	fail_msg("%s", text);
}
uint64_t ids_next(struct ids *i)
{
	return ++i->next;
}
uint64_t space_spare(struct writer *ww)
{
	(void)ww;
	return 0;
}
void space_unspare(struct writer *ww, uint64_t number)
{
	(void)ww, (void)number;
}
void space_out(struct writer *ww)
{
	(void)ww;
}
uint64_t big_unit(const struct big *b)
{
	(void)b;
	return 0;
}
uint64_t big_sum(const struct big *b)
{
	(void)b;
	return 0;
}
void big_free(struct meta1_qmsg *m)
{
	(void)m;
}
void big_drop(struct meta1_qmsg **mp)
{
	(void)mp;
}
void writer_drop(struct meta1_qmsg **mp)
{
	struct meta1_qmsg *m = *mp;

	*mp = NULL;
	stored++;
	free(m->head);
	free(m->rec);
	free(m);
}

/* ---- the test ---- */

static void gather(void)
{
	const struct meta1_qrcpt to = {.addr = {"to@example.org", 14}};
	const struct meta1_env env = {
	    .size = sizeof(env), .nrcpt = 1, .sizeof_rcpt = sizeof(to), .rcpt = &to};
	struct meta1_qmsg *m = calloc(1, sizeof(*m));

	m->w = &w;
	strcpy(m->id, "S1");
	m->reclen = seg_rec_size(m->id, &env);
	m->rec = malloc(m->reclen);
	seg_rec_encode(m->rec, m->reclen, m->id, &env);
	m->head = m->tail = calloc(1, sizeof(*m->head) + PIECE);
	m->head->len = m->head->cap = PIECE;
	m->len = PIECE;
	*w.qtail = m;
	w.qtail = &m->next;
	w.qbytes += m->reclen + m->len;
}

/* How many of those that wait a thread has touched. */
static unsigned touched(void)
{
	unsigned n = 0;

	for (const struct meta1_qmsg *m = w.q; m; m = m->next)
		n += m->sum != 0;
	return n;
}

static void a_thread_sees_its_own_alone(void **state)
{
	char dir[] = "/tmp/meta1-batch.XXXXXX", name[64];
	unsigned before = 0, batches = 0;

	(void)state;
	assert_non_null(mkdtemp(dir));
	w.dir = open(dir, O_RDONLY | O_DIRECTORY);
	w.qtail = &w.q;
	for (unsigned i = 0; i < MAILS; i++)
		gather();
	for (; w.q; batches++, before = stored) {
		void (*done)(void *);

		assert_true(batch_start(&w));
		assert_int_equal(touched(), 0);
		done = job.done;
		job.done = NULL;
		done(job.arg);
		assert_in_range(stored - before, 1, LOG_BATCH_MAX / PIECE);
	}
	assert_int_equal(stored, MAILS);
	assert_int_equal(batches, 3);
	assert_int_equal(w.qbytes, 0);
	assert_ptr_equal(w.qtail, &w.q);
	close(w.fd);
	close(w.dir);
	snprintf(name, sizeof(name), "%s/s%016llx", dir, (unsigned long long)w.seg);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_thread_sees_its_own_alone)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
