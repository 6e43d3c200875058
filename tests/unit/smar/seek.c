/* SPDX-License-Identifier: BSD-2-Clause */
/* seek.c -- key after key: with what is kept, and of a map that answers inside the call. */
#include "openmap.h"

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
	    TEST(seeks),
	    TEST(inside_the_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
