/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_thread.c -- handshakes on worker threads: closed or out of time meanwhile, and more of them
 * than the threads take. Run with ThreadSanitizer too (make check-threads).
 */
#include "tls_side.h"

#include <pthread.h>

/* ---- jobs that wait for the test ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint inside;
static unsigned finished;

static void wait_at_gate(void *arg)
{
	(void)arg;
	inside++;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static void job_finished(void *arg)
{
	(void)arg;
	finished++;
}

/* The context's threads have this many jobs, four of which run and wait. */
static void occupy(struct tls_ctx *s, unsigned n)
{
	pthread_mutex_lock(&gate);
	gated = true;
	inside = finished = 0;
	for (unsigned i = 0; i < n; i++)
		assert_true(work_do(work, &s->owner, wait_at_gate, job_finished, NULL));
}

static void let_go(unsigned n)
{
	gated = false;
	pthread_mutex_unlock(&gate);
	while (finished < n)
		loop_turn(loop, true);
}

/* ---- tests ---- */

/* A conn may be closed while a worker thread has its handshake. */
static void closed_in_thread(void **state)
{
	struct tls_ctx *s = good("rsa", true), *c = good(NULL, false);

	(void)state;
	for (unsigned turns = 1; turns < 12; turns++) {
		struct side a, b;

		both(&a, &b);
		start(&a, s, NULL, "");
		start(&b, c, NULL, NULL);
		for (unsigned i = 0; i < turns; i++)
			loop_turn(loop, false);
		over(&a);
		over(&b);
	}
	tls_ctx_free(&s);
	tls_ctx_free(&c);
	settle();
}

/* What nobody waits for any more is not done: the threads have better things to do. */
static void closed_before(void **state)
{
	struct tls_ctx *s = good("rsa", true), *c = good(NULL, false);
	struct side a, b;

	(void)state;
	occupy(s, 4);
	both(&a, &b);
	start(&a, s, NULL, "");
	start(&b, c, NULL, NULL);
	settle();
	assert_int_equal(s->owner.waiting, 1);
	over(&a);
	over(&b);
	let_go(4);
	settle();
	assert_int_equal(s->owner.running + s->owner.waiting, 0);
	assert_int_equal(SSL_CTX_sess_accept(s->ssl), 0);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

static void ticked(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* A peer that sends on while its handshake is in line wakes up nobody. */
static void calm(struct side *peer)
{
	bool over = false;
	struct watch *w = loop_timer(loop, 50, ticked, &over);
	unsigned turns = 0;

	assert_int_equal(send(conn_fd(peer->c), "more", 4, 0), 4);
	for (; !over; turns++)
		loop_turn(loop, true);
	loop_unwatch(&w);
	assert_in_range(turns, 1, 20);
}

/* When the threads have all that they take, handshakes wait in line; none runs on the loop. */
static void full(void **state)
{
	struct tls_ctx *s = good("rsa", true), *c = good(NULL, false);
	struct side a[3], b[3];

	(void)state;
	occupy(s, 1023);
	for (unsigned i = 0; i < 3; i++) {
		both(&a[i], &b[i]);
		start(&a[i], s, NULL, "");
		start(&b[i], c, "mx.test", NULL);
	}
	settle();
	assert_int_equal(s->owner.running + s->owner.waiting, 1024);
	assert_int_equal(SSL_CTX_sess_accept(s->ssl), 0);
	calm(&b[1]);
	over(&a[1]); /* one in line goes */
	over(&b[1]);
	let_go(1023);
	while (!(a[0].secured && a[2].secured))
		loop_turn(loop, true);
	for (unsigned i = 0; i < 3; i += 2) {
		conn_write(b[i].c, "NOOP", 4);
		got(&a[i], "NOOP");
		over(&a[i]);
		over(&b[i]);
	}
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

static atomic_bool held;

/* Relaxed, so that it puts nothing in order that is not in order without it. */
static int hold(SSL *ssl, void *arg)
{
	(void)ssl;
	(void)arg;
	inside++;
	while (atomic_load_explicit(&held, memory_order_relaxed))
		usleep(1000);
	return 1;
}

/* Its time ends while a thread has it: that is told at once, and the thread is waited for. */
static void late(void **state)
{
	(void)state;
	for (int closes = 0; closes < 2; closes++) {
		struct tls_ctx *s = good("rsa", true), *c = good(NULL, false);
		struct tls_want want = {.listen = ""};
		struct meta1_err err = {""};
		struct side a, b;
		size_t dropped;

		SSL_CTX_set_cert_cb(s->ssl, hold, NULL);
		atomic_store_explicit(&held, true, memory_order_relaxed);
		inside = 0;
		both(&a, &b);
		assert_int_equal(conn_starttls(a.c, s, &want, 2000, &dropped, &err), 0);
		start(&b, c, NULL, NULL);
		while (!inside || !a.ends)
			loop_turn(loop, false);
		assert_int_equal(a.how, CONN_TLS);
		assert_string_equal(a.why, "the TLS handshake took too long");
		if (closes)
			over(&b);
		atomic_store_explicit(&held, false, memory_order_relaxed);
		while (s->owner.running)
			loop_turn(loop, true);
		settle();
		assert_int_equal(a.ends, 1);
		assert_int_equal(a.secured, 0);
		over(&a);
		if (!closes)
			over(&b);
		tls_ctx_free(&s);
		tls_ctx_free(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(late),
	    cmocka_unit_test(closed_in_thread), cmocka_unit_test(closed_before),
	    cmocka_unit_test(full)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
