/* SPDX-License-Identifier: BSD-2-Clause */
/* sched.c -- tries core/qmgr/sched.c: turns of destinations and senders, growth and shrinking,
 * dead destinations, grouping, the share of the active queue. The clock is a number. */
#include "../unit.h"
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

static const struct qmgr_limits lim = {.aq_max = 40,
    .initial = 2,
    .max_conn = 8,
    .min_retry = 300000,
    .max_retry = 3600000,
    .max_queue = 432000000};

struct set {
	struct qmgr_sched s;
	struct qmgr_item item[8000];
	unsigned used;
};

static struct set *set_new(void)
{
	struct set *t = base_alloc(sizeof(*t));

	qmgr_sched_init(&t->s);
	qmgr_sched_conf(&t->s, &lim);
	return t;
}

static void set_free(struct set *t)
{
	qmgr_sched_free(&t->s);
	free(t);
}

/* n recipients of the message called group. */
static void mail(struct set *t, struct qmgr_dest *d, const char *from, const void *group, int n)
{
	while (n--) {
		struct qmgr_item *i = &t->item[t->used++];

		i->group = group;
		qmgr_sched_add(&t->s, d, from, i);
	}
}

/* Recipients of the one delivery that ends; of many, as many each. */
static uint32_t n_of(const struct qmgr_dest *d)
{
	return d->sent / d->active;
}

static struct qmgr_dest *dest(struct set *t, const char *key)
{
	return qmgr_sched_dest(&t->s, key, strlen(key));
}

static void groups_go_together(void **state)
{
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;

	(void)state;
	mail(t, d, "x", "m1", 3);
	mail(t, d, "x", "m2", 2500);
	assert_ptr_equal(qmgr_sched_next(&t->s, &l, 0), d);
	assert_int_equal(l.n, 3);
	assert_ptr_equal(qmgr_sched_next(&t->s, &l, 0), d);
	assert_int_equal(l.n, 1000);
	assert_string_equal(l.head->group, "m2");
	assert_null(qmgr_sched_next(&t->s, &l, 0)); /* initial is 2 */
	assert_false(qmgr_sched_done(&t->s, d, n_of(d), QF_NEUTRAL, 0, 1));
	assert_ptr_equal(qmgr_sched_next(&t->s, &l, 0), d);
	assert_int_equal(l.n, 1000);
	qmgr_sched_done(&t->s, d, n_of(d), QF_NEUTRAL, 0, 1);
	assert_ptr_equal(qmgr_sched_next(&t->s, &l, 0), d);
	assert_int_equal(l.n, 500);
	assert_int_equal(d->queued, 0);
	set_free(t);
}

static void destinations_take_turns(void **state)
{
	static const char *const want[] = {"a", "b", "c", "a", "c"};
	struct set *t = set_new();
	struct qmgr_dest *a = dest(t, "a"), *b = dest(t, "b"), *c = dest(t, "c");
	struct qmgr_dest *z = dest(t, "z");
	static const char m[9];
	struct qmgr_list l;
	unsigned i;

	(void)state;
	z->limit = 0; /* what waits there makes of x no newcomer */
	mail(t, z, "x", &m[8], QMGR_LITTLE);
	for (i = 0; i < 4; i++)
		mail(t, a, "x", &m[i], 1);
	mail(t, b, "x", &m[4], 1);
	for (i = 5; i < 8; i++)
		mail(t, c, "x", &m[i], 1);
	for (i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(qmgr_sched_next(&t->s, &l, 0)->key, want[i]);
	assert_null(qmgr_sched_next(&t->s, &l, 0)); /* each has its two */
	set_free(t);
}

/* A mailing of 500 single mails is there first; another sender's mail does not wait for it. */
static void senders_take_turns(void **state)
{
	static const char m[501];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;
	int i, at = -1;

	(void)state;
	for (i = 0; i < 500; i++)
		mail(t, d, "list", &m[i], 1);
	mail(t, d, "person", &m[500], 1);
	for (i = 0; i < 501; i++) {
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		if (l.head->group == &m[500])
			at = i;
		qmgr_sched_done(&t->s, d, n_of(d), QF_NEUTRAL, 0, 1);
	}
	assert_in_range(at, 0, 2);
	set_free(t);
}

/* One sender has something for each of 3000 destinations; another's mail, to one of them or to a
 * further one, goes within two deliveries. Newcomers without end do not keep the mailing off. */
static void newcomer_and_a_wide_mailing(void **state)
{
	static const char m[3400];
	struct set *t = set_new();
	struct qmgr_list l;
	char key[16], from[16];
	int i, at = -1, list = 0;

	(void)state;
	for (i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "d%d", i);
		mail(t, dest(t, key), "list", &m[i], 1);
	}
	for (i = 0; i < 100; i++)
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
	mail(t, dest(t, "d2000"), "person", &m[3000], 1);
	mail(t, dest(t, "else"), "another", &m[3001], 1);
	for (i = 0; i < 6; i++) {
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		if (l.head->group == &m[3000] || l.head->group == &m[3001])
			at = i;
	}
	assert_in_range(at, 1, 5);
	for (i = 0; i < 200; i++) {
		snprintf(from, sizeof(from), "n%d", i);
		mail(t, dest(t, from), from, &m[3100 + i], 1);
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		list += (const char *)l.head->group < &m[3000];
	}
	assert_in_range(list, 99, 101);
	set_free(t);
}

/* A destination that has its share takes the first of another sender, one each, to twice that. */
static void full_but_for_newcomers(void **state)
{
	static const char m[40];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	char from[16];
	int i;

	(void)state;
	for (i = 0; i < 10; i++) /* a quarter of aq_max */
		mail(t, d, "list", &m[i], 1);
	assert_true(qmgr_sched_full(&t->s, d, "list", &m[11]));
	assert_false(qmgr_sched_full(&t->s, d, "list", &m[9]));
	for (i = 0; i < 10; i++) {
		snprintf(from, sizeof(from), "n%d", i);
		assert_false(qmgr_sched_full(&t->s, d, from, &m[12 + i]));
		mail(t, d, from, &m[12 + i], 1);
		assert_true(qmgr_sched_full(&t->s, d, from, &m[30]));
	}
	assert_true(qmgr_sched_full(&t->s, d, "late", &m[31]));
	assert_int_equal(t->s.counted, 10);
	set_free(t);
}

/* One mail with 1000 recipients costs its sender as many turns as 1000 mails. */
static void big_mail_pays(void **state)
{
	static const char m[300];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;
	int i, at = -1;

	(void)state;
	mail(t, d, "list", &m[0], 1000);
	mail(t, d, "list", &m[1], 1000);
	for (i = 2; i < 300; i++)
		mail(t, d, "person", &m[i], 1);
	for (i = 0; i < 300; i++) {
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		if (l.head->group == &m[1])
			at = i;
		qmgr_sched_done(&t->s, d, n_of(d), QF_NEUTRAL, 0, 1);
	}
	assert_in_range(at, 290, 299);
	set_free(t);
}

static void slow_start(void **state)
{
	static const char m[64];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;
	int i;

	(void)state;
	for (i = 0; i < 64; i++)
		mail(t, d, "x", &m[i], 1);
	assert_int_equal(d->limit, 2);
	for (i = 0; i < 20; i++) {
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		qmgr_sched_done(&t->s, d, n_of(d), QF_OK, 1, 2);
		assert_int_equal(d->limit, i < 6 ? 3 + i : 8);
	}
	for (i = 0; i < 8; i++)
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
	assert_null(qmgr_sched_next(&t->s, &l, 0));
	assert_int_equal(d->active, 8);
	set_free(t);
}

static void shrink_and_die(void **state)
{
	static const char m[64];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;
	int64_t now = 1000;
	int i, n;

	(void)state;
	for (i = 0; i < 64; i++)
		mail(t, d, "x", &m[i], 1);
	d->limit = 8;
	for (i = 0; i < 8; i++)
		qmgr_sched_next(&t->s, &l, 0);
	/* Eight failures of one burst count once. */
	for (i = 0; i < 8; i++)
		assert_false(qmgr_sched_done(&t->s, d, n_of(d), QF_REFUSED, now, now + 10));
	assert_int_equal(d->limit, 4);
	for (now = 2000, n = 4; n > 1; n /= 2, now += 1000) {
		qmgr_sched_next(&t->s, &l, 0);
		assert_false(qmgr_sched_done(&t->s, d, n_of(d), QF_REFUSED, now, now + 10));
		assert_int_equal(d->limit, n / 2);
	}
	qmgr_sched_next(&t->s, &l, 0);
	assert_true(qmgr_sched_done(&t->s, d, n_of(d), QF_REFUSED, now, now + 10));
	assert_int_equal(qmgr_sched_dead(d, now + 10), QMGR_DEAD_MS);
	while (qmgr_sched_take(&t->s, d))
		n++;
	assert_int_equal(n, 1 + 64 - 8 - 3);
	assert_null(qmgr_sched_next(&t->s, &l, 0));
	assert_int_equal(t->s.counted, 0);
	set_free(t);
}

/* Each pause is twice the last one, up to max_retry; one delivery probes; success forgets. */
static void dead_host(void **state)
{
	static const int64_t pause[] = {
	    60000, 120000, 240000, 480000, 960000, 1920000, 3600000, 3600000};
	static const char m[32];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;
	int64_t now = 5000;
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(pause); i++) {
		mail(t, d, "x", &m[2 * i], 1);
		mail(t, d, "x", &m[2 * i + 1], 1);
		assert_non_null(qmgr_sched_next(&t->s, &l, 0));
		if (i)
			assert_null(qmgr_sched_next(&t->s, &l, 0)); /* one probes */
		assert_true(qmgr_sched_done(&t->s, d, n_of(d), QF_NOBODY, now, now + 1));
		assert_int_equal(qmgr_sched_dead(d, now + 1), pause[i]);
		while (qmgr_sched_take(&t->s, d))
			;
		now += 1 + pause[i];
		assert_int_equal(qmgr_sched_dead(d, now), 0);
	}
	mail(t, d, "x", &m[30], 1);
	qmgr_sched_next(&t->s, &l, 0);
	assert_false(qmgr_sched_done(&t->s, d, n_of(d), QF_OK, now, now + 1));
	assert_int_equal(d->limit, 2);
	assert_int_equal(d->dead_delay, 0);
	set_free(t);
}

/* A failure to connect beside deliveries that go well does not kill. */
static void one_of_many_fails(void **state)
{
	static const char m[8];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;
	int i;

	(void)state;
	for (i = 0; i < 8; i++)
		mail(t, d, "x", &m[i], 1);
	d->limit = 8;
	for (i = 0; i < 3; i++)
		qmgr_sched_next(&t->s, &l, 0);
	qmgr_sched_done(&t->s, d, n_of(d), QF_OK, 100, 150);
	assert_false(qmgr_sched_done(&t->s, d, n_of(d), QF_NOBODY, 100, 160));
	assert_int_equal(d->limit, 4);
	set_free(t);
}

/* Of 40 active recipients one destination may hold 10, the others wait behind its door. */
static void share_of_active(void **state)
{
	static const char m[4];
	struct set *t = set_new();
	struct qmgr_dest *a = dest(t, "a"), *b = dest(t, "b");
	struct qmgr_list l;

	(void)state;
	mail(t, a, "x", &m[0], 5000);
	assert_int_equal(t->s.counted, 10);
	mail(t, b, "x", &m[1], 3);
	assert_int_equal(t->s.counted, 13);
	qmgr_sched_next(&t->s, &l, 0); /* 1000 of a */
	assert_int_equal(t->s.counted, 13);
	qmgr_sched_next(&t->s, &l, 0);	    /* b */
	assert_int_equal(t->s.counted, 13); /* what is at smtpc counts too */
	qmgr_sched_done(&t->s, b, 3, QF_OK, 0, 1);
	assert_int_equal(t->s.counted, 10);
	while (qmgr_sched_take(&t->s, a))
		;
	assert_int_equal(t->s.counted, 10);
	qmgr_sched_done(&t->s, a, 1000, QF_OK, 0, 1);
	assert_int_equal(t->s.counted, 0);
	set_free(t);
}

static void forgotten_when_idle(void **state)
{
	static const char m[2];
	struct set *t = set_new();
	struct qmgr_dest *d = dest(t, "a");
	struct qmgr_list l;

	(void)state;
	mail(t, d, "x", &m[0], 1);
	qmgr_sched_unref(&t->s, &d, 10);
	assert_null(d);
	assert_int_equal(HASH_COUNT(t->s.dests), 1); /* it holds mail */
	d = qmgr_sched_next(&t->s, &l, 0);
	assert_true(qmgr_sched_done(&t->s, d, n_of(d), QF_NOBODY, 10, 11));
	qmgr_sched_tidy(&t->s, 20);
	assert_int_equal(HASH_COUNT(t->s.dests), 1); /* that it is dead is worth knowing */
	qmgr_sched_tidy(&t->s, 11 + QMGR_DEAD_MS);
	assert_int_equal(HASH_COUNT(t->s.dests), 0);
	set_free(t);
}

/* ---- limits of one destination ---- */

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

static void restored(void **state)
{
	struct set *t = set_new();
	struct qmgr_dest *d;

	(void)state;
	qmgr_sched_restore(&t->s, "a", 1, 100000, 240000, 50000);
	qmgr_sched_restore(&t->s, "far", 3, INT64_MAX, INT64_MAX, 50000);
	d = dest(t, "a");
	assert_int_equal(qmgr_sched_dead(d, 50000), 50000);
	assert_int_equal(d->limit, 1);
	assert_int_equal(d->dead_delay, 240000);
	d = dest(t, "far"); /* never longer than the longest pause */
	assert_int_equal(qmgr_sched_dead(d, 50000), lim.max_retry);
	assert_false(t->s.changed);
	qmgr_sched_revive(&t->s, d);
	assert_true(t->s.changed);
	set_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(groups_go_together),
	    cmocka_unit_test(destinations_take_turns),
	    cmocka_unit_test(senders_take_turns),
	    cmocka_unit_test(newcomer_and_a_wide_mailing),
	    cmocka_unit_test(full_but_for_newcomers),
	    cmocka_unit_test(big_mail_pays),
	    cmocka_unit_test(slow_start),
	    cmocka_unit_test(shrink_and_die),
	    cmocka_unit_test(dead_host),
	    cmocka_unit_test(one_of_many_fails),
	    cmocka_unit_test(share_of_active),
	    cmocka_unit_test(forgotten_when_idle),
	    cmocka_unit_test(rows),
	    cmocka_unit_test(rates),
	    cmocka_unit_test(no_burst),
	    cmocka_unit_test(late_ones_wait_elsewhere),
	    cmocka_unit_test(own_connections),
	    cmocka_unit_test(restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
