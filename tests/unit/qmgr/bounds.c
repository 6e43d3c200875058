/* SPDX-License-Identifier: BSD-2-Clause */
/* bounds.c -- tries core/qmgr/bounds.c and what sched.c makes of it: the row of a destination, its
 * connections, its rate. The clock is a number. */
#include "sched_set.h"

static struct qmgr_bounds bounds(const char *text)
{
	struct qmgr_bounds b;
	struct meta1_err err;

	if (qmgr_bounds_parse(&b, buf_str(text), &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return b;
}

static void rows(void **state)
{
	static const struct {
		const char *text;
		struct qmgr_bounds want;
	} good[] = {
	    {"", {0}},
	    {"max_connections = 5; rate = 10/1m;", {.max = 5, .msg_us = 6000000}},
	    {"MAX_connections = 5", {.max = 5}},
	    {"initial_connections = 1; max_recipients = 20;", {.initial = 1, .max_rcpts = 20}},
	    {"rate=1/1h", {.msg_us = 3600000000}},
	    {"recipient_rate = 100/1m;", {.rcpt_us = 600000, .max_rcpts = 10}},
	    {"recipient_rate = \"5/1s\"; max_recipients = 7;", {.rcpt_us = 200000, .max_rcpts = 1}},
	};
	static const char *const bad[] = {"max_connections = many;", "max_connections = 10001;",
	    "rate = 10;", "rate = 10/1x;", "rate = 0/1m;", "rate = 1/0s", "rate = /1m",
	    "speed = 5;", "include \"/etc/passwd\";", "a { b = 1; }", "max_connections = { 1, 2 };",
	    "max_connections = 1; max_connections = 2;", "max_connections"};
	struct qmgr_bounds b;
	struct meta1_err err;
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(good); i++) {
		b = bounds(good[i].text);
		if (memcmp(&b, &good[i].want, sizeof(b)))
			fail_msg("%s: %u %u %u %lld %lld", good[i].text, b.max, b.initial,
			    b.max_rcpts, (long long)b.msg_us, (long long)b.rcpt_us);
	}
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		memset(&b, 1, sizeof(b));
		if (qmgr_bounds_parse(&b, buf_str(bad[i]), &err) == 0)
			fail_msg("%s: taken", bad[i]);
		assert_true(strlen(err.text) > 10);
		assert_int_equal(b.max + b.initial + b.max_rcpts, 0);
	}
	memset(&b, 0, sizeof(b));
}

/* Deliveries of that destination that may begin from now until then, in steps of 10 ms. */
static unsigned sent_until(struct set *t, struct qmgr_dest *d, int64_t *now, int64_t until)
{
	struct qmgr_list l;
	unsigned n = 0;

	for (; *now < until; *now += 10)
		while (qmgr_sched_next(&t->s, &l, *now)) {
			n += l.n;
			qmgr_sched_done(&t->s, d, l.n, QF_OK, *now, *now);
		}
	return n;
}

static void rates(void **state)
{
	static const struct {
		const char *row;
		unsigned each; /* recipients of a message */
		int64_t ms;
		unsigned least, most; /* recipients */
	} row[] = {
	    {"rate = 10/1m;", 1, 60000, 10, 10},
	    {"rate = 10/1m;", 3, 60000, 30, 30},
	    {"recipient_rate = 10/1m;", 3, 60000, 10, 11},
	    {"recipient_rate = 100/1m;", 50, 60000, 100, 110},
	    {"rate = 1/1h;", 1, 7200000, 2, 2},
	    {"rate = 500/1s;", 1, 10000, 4900, 5101},
	    {"rate = 10/1m; recipient_rate = 20/1m;", 3, 60000, 15, 20},
	};
	static const char m[6000];
	unsigned i, k, n;

	(void)state;
	for (i = 0; i < ARRAY_LEN(row); i++) {
		struct set *t = set_new();
		struct qmgr_dest *d = dest(t, "a");
		struct qmgr_bounds b = bounds(row[i].row);
		int64_t now = 100000000;

		qmgr_sched_bound(&t->s, d, &b);
		for (k = 0; t->used + row[i].each <= 6000; k++)
			mail(t, d, "x", &m[k], (int)row[i].each);
		n = sent_until(t, d, &now, now + row[i].ms);
		if (n < row[i].least || n > row[i].most)
			fail_msg("%s: %u", row[i].row, n);
		assert_true(qmgr_sched_rest(&t->s) > now - 10);
		set_free(t);
	}
}

/* A pause gives no right to a burst; another destination is not held up. */
static void no_burst(void **state)
{
	static const char m[100];
	struct set *t = set_new();
	struct qmgr_dest *a = dest(t, "a"), *b = dest(t, "b");
	struct qmgr_bounds slow = bounds("rate = 1/1m;");
	struct qmgr_list l;
	int64_t now = 1000000;
	int i;

	(void)state;
	qmgr_sched_bound(&t->s, a, &slow);
	for (i = 0; i < 50; i++)
		mail(t, a, "x", &m[i], 1);
	assert_ptr_equal(qmgr_sched_next(&t->s, &l, now), a);
	assert_null(qmgr_sched_next(&t->s, &l, now));
	mail(t, b, "x", &m[60], 1);
	assert_ptr_equal(qmgr_sched_next(&t->s, &l, now + 1), b);
	now += 3600000;
	assert_ptr_equal(qmgr_sched_next(&t->s, &l, now), a);
	assert_null(qmgr_sched_next(&t->s, &l, now));
	assert_in_range(qmgr_sched_rest(&t->s), now + 59000, now + 60100);
	set_free(t);
}

/* With a rate of 10 in a minute a mailing queues what goes in a minute, and gets places for the
 * rest; another sender's single mail finds its place at once. */
static void late_ones_wait_elsewhere(void **state)
{
	static const char m[200];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_bounds b = bounds("rate = 10/1m;");
	struct qmgr_limits wide = lim;
	int64_t late, before = 0;
	int i, waits = 0;

	(void)state;
	wide.aq_max = 4000;
	qmgr_sched_conf(&t->s, &wide);
	assert_int_equal(qmgr_sched_late(&t->s, d, "list", 5000), 0); /* no rate */
	qmgr_sched_bound(&t->s, d, &b);
	for (i = 0; i < 100; i++) {
		late = qmgr_sched_late(&t->s, d, "list", 5000);
		if (!late) {
			mail(t, d, "list", &m[i], 1);
			continue;
		}
		assert_true(late >= before + 6000);
		before = late;
		waits++;
	}
	assert_in_range(waits, 88, 91);
	assert_in_range(before, 590000, 610000);
	assert_int_equal(qmgr_sched_late(&t->s, d, "person", 5000), 0);
	set_free(t);
}

/* A mailing of more than the longest pause lets go: when those that were sent away so long come
 * back, there are places for them at once. */
static void places_end_with_the_pause(void **state)
{
	static const char m[20];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_bounds b = bounds("rate = 10/1m;");
	int64_t late = 0;
	int i;

	(void)state;
	qmgr_sched_bound(&t->s, d, &b);
	for (i = 0; i < 11; i++)
		mail(t, d, "list", &m[i], 1);
	for (i = 0; i < 2000; i++)
		late = qmgr_sched_late(&t->s, d, "list", 5000);
	assert_int_equal(late, lim.max_retry);
	late = qmgr_sched_late(&t->s, d, "list", 5000 + lim.max_retry);
	assert_in_range(late, 6000, 11 * 6000 + 6000);
	set_free(t);
}

static void own_connections(void **state)
{
	static const char m[64];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_bounds b = bounds("max_connections = 3; initial_connections = 1;"), none = {0};
	struct qmgr_list l;
	int i;

	(void)state;
	qmgr_sched_bound(&t->s, d, &b);
	assert_int_equal(d->limit, 1);
	for (i = 0; i < 64; i++)
		mail(t, d, "x", &m[i], 1);
	for (i = 0; i < 9; i++) {
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		qmgr_sched_done(&t->s, d, 1, QF_OK, 1, 2);
	}
	assert_int_equal(d->limit, 3);
	qmgr_sched_conf(&t->s, &lim); /* a reload of the general ones changes nothing */
	assert_int_equal(d->limit, 3);
	qmgr_sched_bound(&t->s, d, &none); /* the row is gone */
	for (i = 0; i < 9; i++) {
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		qmgr_sched_done(&t->s, d, 1, QF_OK, 1, 2);
	}
	assert_int_equal(d->limit, 8);
	set_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows),
	    cmocka_unit_test(rates),
	    cmocka_unit_test(no_burst),
	    cmocka_unit_test(late_ones_wait_elsewhere),
	    cmocka_unit_test(places_end_with_the_pause),
	    cmocka_unit_test(own_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
