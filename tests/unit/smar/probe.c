/* SPDX-License-Identifier: BSD-2-Clause */
/* probe.c -- probes of next hops: what is kept, what is heard, who waits. */
#include "probes.h"

/* ---- what is kept ---- */
static void kept_for_its_time(void **state)
{
	static const struct {
		enum probe_word word;
		int64_t after;
		int fresh; /* 1: answers alone, 0: stale, -1: is gone */
	} row[] = {{PROBE_YES, 0, 1}, {PROBE_YES, 59999, 1}, {PROBE_YES, 60000, 0},
	    {PROBE_YES, 599999, 0}, {PROBE_YES, 600000, -1}, {PROBE_NO, 0, 1}, {PROBE_NO, 9999, 1},
	    {PROBE_NO, 10000, -1}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct probe_cache *c = &prober->cache;
		struct probe_said said;
		struct probe_answer a;

		probe_cache_forget(c, NULL);
		probe_say(&said, row[i].word, "5.1.1", "text");
		probe_cache_put(c, "u@a.test", &said, 500);
		assert_int_equal(
		    probe_cache_get(c, "u@a.test", 500 + row[i].after, &a), row[i].fresh >= 0);
		if (row[i].fresh < 0)
			continue;
		assert_int_equal(a.said.word, row[i].word);
		assert_string_equal(a.said.text, "text");
		assert_string_equal(a.said.dsn, "5.1.1");
		assert_int_equal(a.left > 0, row[i].fresh);
		assert_int_equal(a.age, row[i].after);
	}
}

static void put(const char *key, enum probe_word word)
{
	struct probe_said said;

	probe_say(&said, word, "", "");
	probe_cache_put(&prober->cache, key, &said, now);
}

static void the_last_word_stands(void **state)
{
	(void)state;
	put("u@a.test", PROBE_YES);
	put("u@a.test", PROBE_NO);
	assert_int_equal(word_of("u@a.test"), PROBE_NO);
	put("u@a.test", PROBE_YES);
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
	assert_int_equal(lru_count(&prober->cache.no), 0);
	put("v@a.test", PROBE_NO);
	prober_changed(prober); /* a row may have led to the wrong hop */
	assert_int_equal(word_of("v@a.test"), -1);
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
}

static void forgotten_by_name(void **state)
{
	(void)state;
	put("u@a.test", PROBE_YES);
	put("v@a.test", PROBE_NO);
	put("u@b.a.test", PROBE_YES);
	put("w@c.test", PROBE_NO);
	assert_int_equal(probe_cache_forget(&prober->cache, "u@none.test"), 0);
	assert_int_equal(probe_cache_forget(&prober->cache, "w@c.test"), 1);
	assert_int_equal(probe_cache_forget(&prober->cache, "@A.test"), 2);
	assert_int_equal(word_of("u@b.a.test"), PROBE_YES);
	assert_int_equal(probe_cache_forget(&prober->cache, NULL), 1);
}

/* Names that are tried displace each other, not those that are known. */
static void bounded(void **state)
{
	char key[40];

	(void)state;
	put("known@a.test", PROBE_YES);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "guess%d@a.test", i);
		put(key, PROBE_NO);
	}
	assert_int_equal(word_of("known@a.test"), PROBE_YES);
	assert_int_equal(lru_count(&prober->cache.no), 100);
	assert_int_equal(word_of("guess899@a.test"), -1);
	assert_int_equal(word_of("guess900@a.test"), PROBE_NO);
}

/* ---- what a hop says ---- */
static void words(void **state)
{
	static const struct {
		int code;
		const char *dsn, *text;
		enum meta1_status st;
		int scope;
		enum probe_word word;
		const char *want;
		bool kept;
	} row[] = {
	    {250, "2.1.5", "ok", META1_OK, 0, PROBE_YES, "ok", true},
	    {550, "5.1.1", "no such user", META1_OK, 0, PROBE_NO, "no such user", true},
	    {452, "4.2.2", "over quota", META1_OK, 0, PROBE_UNKNOWN, "over quota", false},
	    {550, "", "caf\303\251 \033[1m\r\n250 ok", META1_OK, 0, PROBE_NO, "caf?? ?[1m??250 ok",
		true},
	    /* of the session, the sender or the host: nothing about the recipient */
	    {0, "", "", META1_PERMFAIL, META1_ABOUT_MAIL, PROBE_UNKNOWN,
		"the next hop refuses to be asked", false},
	    {0, "", "", META1_TEMPFAIL, META1_ABOUT_MAIL, PROBE_UNKNOWN,
		"the next hop did not answer in time", false},
	    {0, "", "", META1_PERMFAIL, META1_ABOUT_OFFER, PROBE_UNKNOWN,
		"the next hop does not offer what is needed to ask it", false},
	    {0, "", "", META1_TEMPFAIL, META1_ABOUT_HOST, PROBE_UNKNOWN, "the next hop broke off",
		false},
	    /* a word about it counts, however the session ended */
	    {550, "5.1.1", "no", META1_TEMPFAIL, META1_ABOUT_HOST, PROBE_NO, "no", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct asked q;
		char key[20];

		snprintf(key, sizeof(key), "u%zu@a.test", i);
		ask(&q, key);
		if (!open_reqs->probe)
			opened();
		assert_string_equal(open_reqs->end->rcpt, key);
		assert_string_equal(open_reqs->end->from, "prober@gw.test");
		says(row[i].code, row[i].dsn, row[i].text, row[i].st, row[i].scope);
		is(&q, row[i].word, row[i].code ? row[i].dsn : "", row[i].want);
		assert_int_equal(word_of(key), row[i].kept ? (int)row[i].word : -1);
		assert_true(q.a.asked);
	}
}

static void long_text(void **state)
{
	char text[1000];
	struct asked q;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ask(&q, "u@a.test");
	opened();
	says(550, "5.1.1", text, META1_OK, 0);
	assert_int_equal(strlen(q.a.said.text), PROBE_TEXT_MAX);
}

/* ---- who waits ---- */
static void one_question_for_many(void **state)
{
	struct asked q[3], other;

	(void)state;
	ask(&q[0], "u@a.test");
	ask(&other, "U@a.test");
	ask(&q[1], "u@a.test");
	opened();
	ask(&q[2], "u@a.test");
	says(0, "", "", META1_OK, 0); /* opened for the other one */
	takes();
	takes();
	assert_int_equal(probes, 2);
	for (int i = 0; i < 3; i++)
		is(&q[i], PROBE_YES, "2.1.5", "ok");
	is(&other, PROBE_YES, "2.1.5", "ok");
}

/* What was asked before a map or the configuration changed, or all was forgotten: perhaps of the
 * wrong hop. Only who waited hears of it, and no refusal. */
static void a_change_meanwhile(void **state)
{
	static struct smar_policy other;

	(void)state;
	other = (struct smar_policy){.refs = 1, .probe = &gear};
	for (int how = 0; how < 4; how++) {
		struct asked before[2], after, again;
		char key[20], yes[20];

		snprintf(key, sizeof(key), "u%d@a.test", how);
		snprintf(yes, sizeof(yes), "v%d@a.test", how);
		ask(&before[0], key);
		ask(&before[1], yes);
		opened();
		opened();
		if (how == 0)
			prober_changed(prober);
		else if (how == 1)
			assert_int_equal(prober_forget(prober, NULL), 1); /* of how 0 */
		else if (how == 2)
			prober_use(prober, &other);
		if (how == 2) /* by the policy of before, as the two of how 3 */
			ask(&again, key);
		if (how < 2) {
			ask(&after, key);
			assert_int_equal(HASH_COUNT(prober->flights), 1);
		} else {
			assert_null(prober->flights);
		}
		says(550, "5.1.1", "no such user", META1_OK, 0);
		is(&before[0], PROBE_UNKNOWN, "",
		    "the configuration changed while the next hop was asked");
		assert_int_equal(word_of(key), -1);
		takes();
		is(&before[1], PROBE_YES, "2.1.5", "ok");
		assert_int_equal(before[1].a.left, 0);
		assert_int_equal(word_of(yes), -1);
		while (open_reqs)
			if (!open_reqs->probe)
				opened();
			else
				says(550, "5.1.1", "no such user", META1_OK, 0);
		if (how == 2)
			is(&again, PROBE_UNKNOWN, "",
			    "the configuration changed while the next hop was asked");
		if (how < 2)
			is(&after, PROBE_NO, "5.1.1", "no such user");
		assert_int_equal(word_of(key), how < 2 ? PROBE_NO : -1);
		pass(5001);
	}
	prober_use(prober, &policy);
	assert_int_equal(other.refs, 1);
}

static void late(void **state)
{
	struct asked q;

	(void)state;
	ask(&q, "u@a.test");
	opened();
	pass(5999);
	assert_int_equal(q.told, 0);
	pass(2);
	is(&q, PROBE_UNKNOWN, "", "the next hop has not answered yet");
	takes();
	assert_int_equal(q.told, 1);
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
	/* what never answers ends too */
	ask(&q, "v@a.test");
	pass(30001);
	assert_int_equal(q.told, 1);
	assert_null(open_reqs);
	assert_null(prober->flights);
}

static void stale(void **state)
{
	struct asked q;

	(void)state;
	put("u@a.test", PROBE_YES);
	pass(60000);
	assert_int_equal(word_of("u@a.test"), -1);
	ask(&q, "u@a.test");
	opened();
	says(450, "4.3.2", "later", META1_OK, 0);
	is(&q, PROBE_YES, "", "later");
	assert_true(q.a.stale && q.a.left == 0);
	put("v@a.test", PROBE_YES);
	pass(600000);
	ask(&q, "v@a.test");
	opened();
	says(450, "4.3.2", "later", META1_OK, 0);
	is(&q, PROBE_UNKNOWN, "4.3.2", "later");
}

static void no_trace(void **state)
{
	struct asked q, live;

	(void)state;
	ask_at(&q, "u@a.test", "1", false);
	opened();
	takes();
	is(&q, PROBE_YES, "2.1.5", "ok");
	assert_int_equal(word_of("u@a.test"), -1);
	ask_at(&q, "u@a.test", "1", false);
	ask(&live, "u@a.test");
	takes();
	is(&live, PROBE_YES, "2.1.5", "ok");
	assert_int_equal(word_of("u@a.test"), PROBE_YES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {T(kept_for_its_time), T(the_last_word_stands),
	    T(forgotten_by_name), T(bounded), T(words), T(long_text), T(one_question_for_many),
	    T(a_change_meanwhile), T(late), T(stale), T(no_trace)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
