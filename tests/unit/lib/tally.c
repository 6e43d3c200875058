/* SPDX-License-Identifier: BSD-2-Clause */
/* tally.c -- failures and mails are counted over all processes, played by several mappings; a
 * window ends; made-up names push out neither what is guessed nor what is somebody's. */
#include "../unit.h"

#include "lib/tally.h"

#include <stdio.h>
#include <unistd.h>

#define MINUTE 60000

struct world {
	int fd;
	struct tally *t[2];
};

static int set_up(void **state)
{
	static struct world w;
	struct meta1_err err = {""};

	w.fd = tally_make(2);
	assert_true(w.fd >= 0);
	for (unsigned i = 0; i < 2; i++)
		if (!(w.t[i] = tally_open(w.fd, i, &err)))
			fail_msg("%s", err.text);
	*state = &w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 2; i++)
		tally_close(&w->t[i]);
	close(w->fd);
	return 0;
}

static struct tally_key key(struct world *w, const char *name)
{
	struct tally_key k;

	tally_key(w->t[0], name, &k);
	return k;
}

static void together(void **state)
{
	struct world *w = *state;
	struct tally_key ann = key(w, "ann"), bob = key(w, "bob"), same;

	tally_key(w->t[1], "ann", &same);
	assert_memory_equal(&ann, &same, sizeof(ann));
	assert_int_equal(tally_add(w->t[0], TALLY_ACCOUNT, &ann, 1000, MINUTE), 1);
	assert_int_equal(tally_add(w->t[1], TALLY_ACCOUNT, &ann, 2000, MINUTE), 2);
	assert_int_equal(tally_add(w->t[0], TALLY_ACCOUNT, &ann, 3000, MINUTE), 3);
	assert_int_equal(tally_sum(w->t[1], TALLY_ACCOUNT, &bob, 3000), 0);
	assert_int_equal(tally_sum(w->t[1], TALLY_CLIENT, &ann, 3000), 0);
	/* each part has a window of its own */
	assert_int_equal(tally_sum(w->t[1], TALLY_ACCOUNT, &ann, 1000 + MINUTE), 1);
	assert_int_equal(tally_sum(w->t[1], TALLY_ACCOUNT, &ann, 2000 + MINUTE), 0);
	assert_int_equal(tally_add(w->t[0], TALLY_ACCOUNT, &ann, 2000 + MINUTE, MINUTE), 1);
}

/* A process that dies has not forgotten; a stranger's memory is refused. */
static void outlived(void **state)
{
	struct world *w = *state;
	struct tally_key ann = key(w, "ann");
	struct meta1_err err = {""};

	tally_add(w->t[1], TALLY_CLIENT, &ann, 1000, MINUTE);
	tally_close(&w->t[1]);
	assert_int_equal(tally_sum(w->t[0], TALLY_CLIENT, &ann, 1000), 1);
	w->t[1] = tally_open(w->fd, 1, &err);
	assert_non_null(w->t[1]);
	assert_int_equal(tally_add(w->t[1], TALLY_CLIENT, &ann, 1000, MINUTE), 2);
	assert_null(tally_open(w->fd, 2, &err));
	assert_non_null(strstr(err.text, "no room for process 2"));
}

static void whose(void **state)
{
	struct world *w = *state;
	struct tally_key ann = key(w, "192.0.2.1 ann");

	assert_false(tally_owned(w->t[0], TALLY_KNOWN, &ann, 1000));
	tally_own(w->t[1], TALLY_KNOWN, &ann, 1000, MINUTE);
	assert_true(tally_owned(w->t[0], TALLY_KNOWN, &ann, 999 + MINUTE));
	assert_false(tally_owned(w->t[0], TALLY_KNOWN, &ann, 1000 + MINUTE));
}

/* Ten times as many names as there are rows, between any two tries of those that count. */
static void flood(void **state)
{
	struct world *w = *state;
	struct tally_key owned = key(w, "owned"), guessed = key(w, "guessed"), k;
	char name[32];

	tally_own(w->t[1], TALLY_ACCOUNT, &owned, 1000, 30 * MINUTE);
	tally_add(w->t[0], TALLY_ACCOUNT, &owned, 1000, 9 * MINUTE); /* once */
	tally_add(w->t[0], TALLY_ACCOUNT, &guessed, 1000, 9 * MINUTE);
	assert_int_equal(tally_add(w->t[0], TALLY_ACCOUNT, &guessed, 1000, 9 * MINUTE), 2);
	for (unsigned i = 0; i < 10 * TALLY_ROWS; i++) {
		snprintf(name, sizeof(name), "made-up-%u", i);
		tally_key(w->t[0], name, &k);
		assert_int_equal(tally_add(w->t[0], TALLY_ACCOUNT, &k, 2000, 9 * MINUTE), 1);
	}
	assert_int_equal(tally_sum(w->t[0], TALLY_ACCOUNT, &guessed, 3000), 2);
	assert_int_equal(tally_add(w->t[0], TALLY_ACCOUNT, &owned, 3000, MINUTE), 2);
	/* where all rows are somebody's, a name that is nobody's is not counted */
	for (unsigned i = 0; i < 10 * TALLY_ROWS; i++) {
		snprintf(name, sizeof(name), "real-%u", i);
		tally_key(w->t[0], name, &k);
		tally_own(w->t[0], TALLY_ACCOUNT, &k, 3000, 30 * MINUTE);
	}
	k = key(w, "nobody");
	assert_int_equal(tally_add(w->t[0], TALLY_ACCOUNT, &k, 4000, MINUTE), 0);
	assert_int_equal(tally_sum(w->t[0], TALLY_ACCOUNT, &owned, 4000), 2);
}

static bool take(struct world *w, unsigned who, unsigned what, int64_t max, int64_t at)
{
	const struct tally_take t = {.what = what, .max = max, .ms = MINUTE};
	struct tally_key ann = key(w, "ann");
	bool first;
	uint64_t n;

	return tally_take(w->t[who], &ann, &t, at, &n, &first);
}

static void sent(void **state)
{
	struct world *w = *state;
	const struct tally_take t = {.max = 4, .ms = MINUTE};
	struct tally_key ann = key(w, "ann");
	bool first;
	uint64_t n;

	for (unsigned i = 0; i < 4; i++)
		assert_true(take(w, i % 2, 0, 4, 1000));
	assert_false(tally_take(w->t[0], &ann, &t, 1000, &n, &first));
	assert_true(first && n == 4);
	assert_false(tally_take(w->t[0], &ann, &t, 1000, &n, &first));
	assert_false(first);
	assert_true(take(w, 1, 1, 1, 1000)); /* recipients are counted apart */
	assert_false(take(w, 0, 1, 1, 1000));
	assert_true(take(w, 0, 0, 0, 1000)); /* no bound, and counted: 5 */
	/* the window before counts by its share: 2.5 of 5 in the middle of the next */
	assert_true(take(w, 0, 0, 4, 1000 + 3 * MINUTE / 2));
	assert_true(take(w, 1, 0, 4, 1000 + 3 * MINUTE / 2));
	assert_false(take(w, 1, 0, 4, 1000 + 3 * MINUTE / 2));
	assert_true(take(w, 0, 0, 1, 1000 + 9 * MINUTE));
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH(together), WITH(outlived), WITH(whose), WITH(flood), WITH(sent)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
