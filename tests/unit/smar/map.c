/* SPDX-License-Identifier: BSD-2-Clause */
/* map.c -- what is kept in front of a map, who comes along with whose question, and who waits how
 * long. */
#include "openmap.h"

static void kept_for_a_while(void **state)
{
	struct world *w = *state;
	struct asker a;

	ask(w, &a, "k", 10000);
	assert_false(a.told);
	answer(w, META1_OK, "v", 300);
	assert_int_equal(a.told, 1);
	assert_string_equal(a.value, "v");
	assert_int_equal(a.ttl, 60); /* ours is the shorter one, for the asker too */
	assert_true(known(w, "k", META1_OK, 60));
	now(w, 1030000);
	assert_true(known(w, "k", META1_OK, 30));
	now(w, 1060000);
	assert_false(known(w, "k", META1_OK, 0));
	/* the map's own time when that is shorter; nothing is kept for 0 s */
	ask(w, &a, "k", 10000);
	answer(w, META1_OK, "v", 2);
	assert_true(known(w, "k", META1_OK, 2));
	ask(w, &a, "z", 10000);
	answer(w, META1_OK, "v", 0);
	assert_false(known(w, "z", META1_OK, 0));
	ask(w, &a, "n", 10000);
	answer(w, META1_NOTFOUND, NULL, 300);
	assert_int_equal(a.ttl, 5);
	assert_true(known(w, "n", META1_NOTFOUND, 5));
	ask(w, &a, "o", 10000);
	answer(w, META1_NOMORE, NULL, 300);
	assert_true(known(w, "o", META1_NOMORE, 5));
	assert_int_equal(w->map.count.hits, 5);
	assert_int_equal(w->map.count.found, 3);
	assert_int_equal(w->map.count.missing, 2);
	assert_int_equal(w->map.open, 0);
}

static void failures_are_not_kept(void **state)
{
	static const enum meta1_status fail[] = {META1_TEMPFAIL, META1_PERMFAIL};
	struct world *w = *state;
	struct asker a;

	for (size_t i = 0; i < ARRAY_LEN(fail); i++) {
		ask(w, &a, "k", 10000);
		answer(w, fail[i], NULL, 300);
		assert_int_equal(a.status, fail[i]);
		assert_false(known(w, "k", fail[i], 0));
	}
	assert_int_equal(w->map.count.temp, 1);
	assert_int_equal(w->map.count.perm, 1);
}

/* The one used longest ago goes; memory counts as well as number; a huge value is not kept. */
static void bounded(void **state)
{
	struct world *w = *state;
	char key[16], *huge = base_alloc(70000);
	struct asker a;

	for (int i = 0; i < 3; i++) {
		snprintf(key, sizeof(key), "%d", i);
		ask(w, &a, key, 10000);
		answer(w, META1_OK, key, 300);
	}
	assert_true(known(w, "0", META1_OK, 60));
	ask(w, &a, "3", 10000);
	answer(w, META1_OK, "3", 300);
	assert_true(known(w, "0", META1_OK, 60));
	assert_false(known(w, "1", META1_OK, 60));
	assert_int_equal(lru_count(&w->map.cache), 3);
	memset(huge, 'x', 69999);
	w->map.cache.most = 65536;
	ask(w, &a, "huge", 10000);
	answer(w, META1_OK, huge, 300);
	assert_false(known(w, "huge", META1_OK, 60));
	assert_true(known(w, "0", META1_OK, 60));
	free(huge);
}

static void ten_thousand_keys(void **state)
{
	struct world *w = *state;
	struct asker a;
	char key[600];
	size_t most = 256 * 1024;

	lru_init(&w->map.cache, 100000, most);
	memset(key, 'k', sizeof(key));
	for (int i = 0; i < 10000; i++) {
		key[snprintf(key, 10, "%d.", i)] = 'k';
		key[100 + i % 500] = '\0';
		ask(w, &a, key, 10000);
		answer(w, i % 2 ? META1_OK : META1_NOTFOUND, i % 2 ? "value" : NULL, 300);
		key[100 + i % 500] = 'k';
		assert_true(w->map.cache.memory <= most);
	}
	assert_true(lru_count(&w->map.cache) > 200);
	lru_clear(&w->map.cache);
	assert_int_equal(w->map.cache.memory, 0);
	lru_init(&w->map.cache, 1000, 100 << 20);
	for (int i = 0; i < 10000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		ask(w, &a, key, 10000);
		answer(w, META1_OK, "v", 300);
	}
	assert_int_equal(lru_count(&w->map.cache), 1000);
	assert_true(known(w, "9000", META1_OK, 60));
	assert_false(known(w, "8999", META1_OK, 60));
}

/* Keys are bytes: none is taken for another. */
static void any_byte(void **state)
{
	struct world *w = *state;
	struct asker a;
	struct meta1_reply r;
	enum meta1_status got;

	lru_init(&w->map.cache, 100000, 100 << 20);
	for (int i = 0; i < 256; i++) {
		char key[3] = {'a', (char)i, 'b'}, value[8];

		snprintf(value, sizeof(value), "%d", i);
		memset(&a, 0, sizeof(a));
		assert_false(smar_map_known(&w->map, buf_of(key, 3), &got, &r));
		smar_map_ask(&w->map, &a.ask, buf_of(key, 3), loop_now(w->loop) + 9, told, &a);
		assert_int_equal(w->open[0].len, 3);
		assert_memory_equal(w->open[0].key, key, 3);
		answer(w, META1_OK, value, 300);
	}
	for (int i = 0; i < 256; i++) {
		char key[3] = {'a', (char)i, 'b'};

		assert_true(smar_map_known(&w->map, buf_of(key, 3), &got, &r));
		assert_int_equal(atoi(r.val[0].data), i);
		assert_false(smar_map_known(&w->map, buf_of(key, 2), &got, &r));
	}
	assert_false(smar_map_known(&w->map, buf_of("", 0), &got, &r));
}

static void asked_once(void **state)
{
	struct world *w = *state;
	struct asker a[20], other;

	for (int i = 0; i < 20; i++)
		ask(w, &a[i], "k", 10000);
	ask(w, &other, "j", 10000);
	assert_int_equal(w->asked, 2);
	assert_int_equal(w->map.count.joined, 19);
	answer(w, META1_OK, "v", 0); /* also what is not kept serves all who wait */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(a[i].told, 1);
		assert_string_equal(a[i].value, "v");
	}
	assert_false(other.told);
	answer(w, META1_NOTFOUND, NULL, 0);
	assert_int_equal(other.status, META1_NOTFOUND);
	ask(w, &other, "k", 10000);
	assert_int_equal(w->asked, 3);
	answer(w, META1_PERMFAIL, NULL, 0);
}

/* Each waits as long as it may: less than the one it came along with, or longer. */
static void deadlines(void **state)
{
	struct world *w = *state;
	struct asker first, brief, patient;

	ask(w, &first, "k", 5000);
	ask(w, &brief, "k", 1000);
	now(w, 1002000);
	assert_int_equal(brief.told, 1);
	assert_int_equal(brief.status, META1_TEMPFAIL);
	assert_string_equal(brief.text, "no answer in time");
	ask(w, &patient, "k", 8000);
	assert_int_equal(w->asked, 1);
	assert_int_equal(w->open[0].deadline, 1005000);
	now(w, 1005000);
	answer(w, META1_TEMPFAIL, NULL, 0); /* as the host says at the deadline */
	assert_int_equal(first.status, META1_TEMPFAIL);
	assert_int_equal(first.told, 1);
	assert_false(patient.told);
	assert_int_equal(w->asked, 2); /* asked anew for who has time */
	assert_int_equal(w->open[0].deadline, 1010000);
	answer(w, META1_OK, "late", 10);
	assert_string_equal(patient.value, "late");
	assert_true(known(w, "k", META1_OK, 10));
	/* a failure before the deadline is everybody's */
	ask(w, &first, "x", 5000);
	ask(w, &patient, "x", 9000);
	answer(w, META1_TEMPFAIL, NULL, 0);
	assert_int_equal(first.told + patient.told, 2);
	assert_int_equal(w->asked, 3);
	assert_int_equal(w->map.open, 0);
}

/* An asker asks anew in its own answer. */
static void told_and_ask(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct asker *a = arg;
	struct world *w = (struct world *)(void *)a->ask.map;

	told(arg, status, r);
	if (a->told < 2)
		smar_map_ask(
		    &w->map, &a->ask, buf_str("k"), loop_now(w->loop) + 9, told_and_ask, a);
}

static void from_within(void **state)
{
	struct world *w = *state;
	struct asker a = {.told = 0}, b;

	smar_map_ask(&w->map, &a.ask, buf_str("k"), loop_now(w->loop) + 9, told_and_ask, &a);
	ask(w, &b, "k", 9);
	answer(w, META1_TEMPFAIL, NULL, 0);
	assert_int_equal(a.told, 1);
	assert_int_equal(b.told, 1);
	assert_int_equal(w->nopen, 1);
	answer(w, META1_TEMPFAIL, NULL, 0);
	assert_int_equal(a.told, 2);
}

/* A change of the map: what is under way is told, not kept, and not joined any more. */
static void flushed(void **state)
{
	struct world *w = *state;
	struct asker a, b;

	ask(w, &a, "old", 10000);
	answer(w, META1_OK, "v", 300);
	ask(w, &a, "k", 10000);
	assert_int_equal(smar_map_flush(&w->map), 1);
	assert_false(known(w, "old", META1_OK, 60));
	ask(w, &b, "k", 10000);
	assert_int_equal(w->nopen, 2);
	answer(w, META1_OK, "before", 300);
	assert_string_equal(a.value, "before");
	assert_false(known(w, "k", META1_OK, 60));
	assert_false(b.told);
	answer(w, META1_OK, "after", 300);
	assert_string_equal(b.value, "after");
	assert_true(known(w, "k", META1_OK, 60));
}

/* Without a cache questions still come along with each other; a local map is asked as it is. */
static void no_cache(void **state)
{
	struct world *w = *state;
	struct asker a, b;

	w->map.cache.max = 0;
	ask(w, &a, "k", 10000);
	ask(w, &b, "k", 10000);
	answer(w, META1_OK, "v", 300);
	assert_int_equal(w->asked, 1);
	assert_int_equal(b.ttl, 300);
	assert_false(known(w, "k", META1_OK, 60));
	w->map.local = true;
	ask(w, &a, "k", 10000);
	ask(w, &b, "k", 10000);
	assert_int_equal(w->asked, 3);
	answer(w, META1_OK, "v", 300);
	answer(w, META1_NOTFOUND, NULL, 300);
	assert_int_equal(a.told + b.told, 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(kept_for_a_while),
	    TEST(failures_are_not_kept),
	    TEST(bounded),
	    TEST(ten_thousand_keys),
	    TEST(any_byte),
	    TEST(asked_once),
	    TEST(deadlines),
	    TEST(from_within),
	    TEST(flushed),
	    TEST(no_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
