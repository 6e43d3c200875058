/* SPDX-License-Identifier: BSD-2-Clause */
/* sched.c -- tries core/qmgr/sched.c: turns of destinations and senders, growth and shrinking,
 * dead destinations, grouping, the share of the active queue. The clock is a number. */
#include "sched_set.h"

/* Recipients of the one delivery that ends; of many, as many each. */
static uint32_t n_of(const struct qmgr_dest *d)
{
	return d->sent / d->active;
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
	    cmocka_unit_test(restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
