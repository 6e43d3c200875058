/* SPDX-License-Identifier: BSD-2-Clause */
/* map.c -- what is kept in front of a map, who comes along with whose question, and who waits how
 * long. The map is a list of open questions that the test answers. */
#include "../unit.h"
#include "smar/smar.h"

#include <stdio.h>
#include <stdlib.h>

struct open { /* a question at the map */
	char key[SMAR_KEY_MAX];
	size_t len;
	int64_t deadline;
	mod_done_fn fn;
	void *arg;
};
struct world {
	struct smar_map map; /* first */
	struct loop *loop;
	struct open open[64];
	unsigned nopen, asked;
};
struct asker {
	struct smar_ask ask;
	unsigned told;
	enum meta1_status status;
	uint32_t ttl;
	char value[64], text[64];
};

static struct meta1_req *lookup(
    struct smar_map *m, struct meta1_buf key, int64_t deadline, mod_done_fn fn, void *arg)
{
	struct world *w = (struct world *)(void *)m;
	struct open *o = &w->open[w->nopen++];

	w->asked++;
	memcpy(o->key, key.data, key.len);
	o->key[key.len] = '\0';
	o->len = key.len;
	o->deadline = deadline;
	o->fn = fn;
	o->arg = arg;
	return NULL;
}

/* Answers the oldest open question. */
static void answer(struct world *w, enum meta1_status status, const char *value, uint32_t ttl)
{
	struct meta1_buf val = buf_str(value ? value : "");
	struct meta1_reply r = {.size = sizeof(r), .ttl = ttl, .nval = value ? 1 : 0, .val = &val};
	struct open o = w->open[0];

	assert_true(w->nopen > 0);
	memmove(w->open, w->open + 1, --w->nopen * sizeof(o));
	o.fn(o.arg, status, &r);
}

static void told(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct asker *a = arg;

	a->told++;
	a->status = status;
	a->ttl = r->ttl;
	str_copy(a->text, sizeof(a->text), r->text ? r->text : "");
	if (r->nval)
		snprintf(a->value, sizeof(a->value), "%.*s", (int)r->val[0].len,
		    (const char *)r->val[0].data);
}

static void ask(struct world *w, struct asker *a, const char *key, int64_t ms)
{
	memset(a, 0, sizeof(*a));
	smar_map_ask(&w->map, &a->ask, buf_str(key), loop_now(w->loop) + ms, told, a);
}

static void now(struct world *w, int64_t ms)
{
	loop_fake_clock(w->loop, ms, 1000);
	loop_turn(w->loop, false);
}

static int set_up(void **state)
{
	static const struct set_map set = {.cache_size = 3,
	    .cache_memory = 1 << 20,
	    .cache_ttl = 60000,
	    .cache_negative_ttl = 5000};
	static char name[] = "m";
	struct world *w = base_alloc(sizeof(*w));

	w->loop = loop_new();
	loop_fake_clock(w->loop, 1000000, 1000);
	w->map.name = name;
	w->map.loop = w->loop;
	w->map.lookup = lookup;
	smar_map_cache(&w->map, &set);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	smar_map_end(&w->map);
	loop_free(&w->loop);
	free(w);
	return 0;
}

static bool known(struct world *w, const char *key, enum meta1_status status, uint32_t ttl)
{
	struct meta1_reply r;
	enum meta1_status got;

	if (!smar_map_known(&w->map, buf_str(key), &got, &r))
		return false;
	assert_int_equal(got, status);
	assert_int_equal(r.ttl, ttl);
	return true;
}

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

/* ---- seek.c with what is kept ---- */
struct found {
	unsigned told;
	enum meta1_status status;
	bool nomore;
	char value[200], key[200], why[300];
};

static void on_found(void *arg, const struct smar_found *f)
{
	struct found *out = arg;

	out->told++;
	out->status = f->status;
	out->nomore = f->nomore;
	str_copy(out->key, sizeof(out->key), f->key);
	str_copy(out->why, sizeof(out->why), f->why ? f->why : "");
	snprintf(out->value, sizeof(out->value), "%.*s", (int)f->value.len,
	    f->value.data ? (const char *)f->value.data : "");
}

static struct found seek(struct world *w, struct smar_seek *s, const struct smar_use *use,
    const char *local, const char *domain)
{
	struct found f = {.told = 0};

	smar_keys_path(&s->keys, use, "", local, domain);
	smar_seek_start(s, use, loop_now(w->loop) + 10000, on_found, &f);
	assert_false(f.told); /* never inside the call, known or not */
	for (int i = 0; i < 20 && !f.told; i++) {
		if (w->nopen == 0)
			loop_turn(w->loop, false);
		else if (strcmp(w->open[0].key, "b.test") == 0)
			answer(w, META1_OK, "to ${user}", 300);
		else if (strcmp(w->open[0].key, "stop+*@b.test") == 0)
			answer(w, META1_NOMORE, NULL, 300);
		else if (strcmp(w->open[0].key, "ill@b.test") == 0)
			answer(w, META1_PERMFAIL, NULL, 300);
		else
			answer(w, META1_NOTFOUND, NULL, 300);
	}
	assert_int_equal(f.told, 1);
	return f;
}

static void seeks(void **state)
{
	struct world *w = *state;
	struct smar_use use = {&w->map, USE_F_DETAIL, "+"};
	struct smar_seek s;
	struct found f;

	lru_init(&w->map.cache, 100, 1 << 20);
	for (int i = 0; i < 3; i++) { /* the second and third time all keys are known */
		f = seek(w, &s, &use, "u", "b.test");
		assert_int_equal(f.status, META1_OK);
		assert_string_equal(f.key, "b.test");
		assert_string_equal(f.value, "to ${user}");
		assert_int_equal(w->asked, 3);
	}
	use.flags |= USE_F_MACROS;
	f = seek(w, &s, &use, "u", "b.test");
	assert_string_equal(f.value, "to u");
	f = seek(w, &s, &use, "a/b", "b.test");
	assert_int_equal(f.status, META1_PERMFAIL);
	assert_non_null(strstr(f.why, "do not belong"));
	f = seek(w, &s, &use, "stop", "b.test");
	assert_int_equal(f.status, META1_NOTFOUND);
	assert_true(f.nomore);
	f = seek(w, &s, &use, "ill", "b.test");
	assert_int_equal(f.status, META1_PERMFAIL);
	use.flags |= USE_F_LOCALPART;
	f = seek(w, &s, &use, "u", "b.test");
	assert_int_equal(f.status, META1_NOTFOUND);
	assert_false(f.nomore);
}

/* ---- a map that answers inside the call ---- */
static enum meta1_status find(struct smar_map *m, struct meta1_buf key, struct meta1_reply *r)
{
	static const struct meta1_buf val = {"v", 1};
	struct world *w = (struct world *)(void *)m;

	w->asked++;
	*r = (struct meta1_reply){.size = sizeof(*r), .ttl = 60, .text = "broken"};
	if (buf_eq(key, buf_str("bad@b.test")))
		return META1_TEMPFAIL;
	if (!buf_eq(key, buf_str("u@b.test")))
		return META1_NOTFOUND;
	r->nval = 1;
	r->val = &val;
	return META1_OK;
}

static struct found seek_now(
    struct world *w, struct smar_seek *s, const struct smar_use *use, const char *local)
{
	struct found f = {.told = 0};

	smar_keys_path(&s->keys, use, "", local, "b.test");
	smar_seek_now(s, use, loop_now(w->loop) + 10000, on_found, &f);
	return f;
}

static void inside_the_call(void **state)
{
	struct world *w = *state;
	struct smar_use use = {&w->map, 0, "+"};
	struct smar_seek s;
	struct found f;

	w->map.find = find;
	for (int i = 1; i <= 3; i++) { /* nothing is kept */
		assert_true(known(w, "u@b.test", META1_OK, 60));
		assert_int_equal(w->asked, i);
	}
	f = seek_now(w, &s, &use, "u");
	assert_int_equal(f.told, 1);
	assert_string_equal(f.value, "v");
	f = seek_now(w, &s, &use, "nobody");
	assert_int_equal(f.status, META1_NOTFOUND);
	assert_string_equal(f.key, ".test");
	f = seek_now(w, &s, &use, "bad");
	assert_int_equal(f.status, META1_TEMPFAIL);
	assert_string_equal(f.why, "broken");
	assert_int_equal(w->map.count.asked, w->asked);
	assert_int_equal(w->map.count.found, 4);
	assert_int_equal(w->map.count.missing, 4);
	assert_int_equal(w->map.count.temp, 1);
	assert_int_equal(w->map.count.hits + w->map.open, 0);
	/* who cannot bear it is told later */
	f = seek(w, &s, &use, "u", "b.test");
	assert_string_equal(f.value, "v");
	/* a map that does not know at once is asked all the same */
	w->map.find = NULL;
	smar_keys_word(&s.keys, "", "u");
	memset(&f, 0, sizeof(f));
	smar_seek_now(&s, &use, loop_now(w->loop) + 10000, on_found, &f);
	assert_int_equal(f.told, 0);
	answer(w, META1_OK, "late", 0);
	assert_string_equal(f.value, "late");
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
	    TEST(seeks),
	    TEST(inside_the_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
