/* SPDX-License-Identifier: BSD-2-Clause */
/* caps.c -- what destinations offer: for an hour, bounded, and only a sure "no" is one. */
#include "../unit.h"
#include "smar/smar.h"

#include <meta1/transport.h>

#define HOUR (60 * 60 * 1000)

static void learn(struct smar_caps *c, const char *key, uint64_t offers, int64_t now)
{
	struct p_caps m = {
	    .key = buf_str(key), .offers = offers, .max_size = 1000, .host = 7, .hosts = 1};

	smar_caps_learn(c, &m, now);
}

static void learn_of(
    struct smar_caps *c, uint64_t host, uint64_t hosts, uint64_t offers, int64_t now)
{
	struct p_caps m = {.key = buf_str("a"), .offers = offers, .host = host, .hosts = hosts};

	smar_caps_learn(c, &m, now);
}

static bool lacks(struct smar_caps *c, const char *key, int64_t now)
{
	return smar_caps_lacks(c, buf_str(key), META1_OFFER_SMTPUTF8, now);
}

static void an_hour(void **state)
{
	struct smar_caps *c = smar_caps_new(9);
	uint32_t offers = 0;
	uint64_t size = 0;

	(void)state;
	assert_false(smar_caps_any(c));
	assert_false(lacks(c, "a", 0));
	learn(c, "", 0, 0);
	assert_false(smar_caps_any(c));
	learn(c, "a", META1_OFFER_8BITMIME, 0);
	learn(c, "b", META1_OFFER_8BITMIME | META1_OFFER_SMTPUTF8 | 1u << 31, 0);
	assert_true(lacks(c, "a", HOUR - 1));
	assert_false(lacks(c, "b", HOUR - 1));
	assert_false(lacks(c, "ab", 0));
	assert_true(smar_caps_known(c, buf_str("a"), 1, &offers, &size));
	assert_true(offers == META1_OFFER_8BITMIME && size == 1000);
	assert_false(lacks(c, "a", HOUR)); /* forgotten: it may have changed */
	assert_false(smar_caps_known(c, buf_str("a"), HOUR, &offers, &size));
	smar_caps_free(&c);
	assert_null(c);
}

/* Hosts of one destination differ: one that has it is enough, or one that nobody has seen. */
static void mixed_hosts(void **state)
{
	struct smar_caps *c = smar_caps_new(9);

	(void)state;
	learn_of(c, 1, 2, 0, 0);
	assert_false(lacks(c, "a", 1)); /* the other may have it */
	learn_of(c, 2, 2, META1_OFFER_SMTPUTF8, HOUR / 2);
	assert_false(lacks(c, "a", HOUR / 2));
	learn_of(c, 2, 2, 0, HOUR / 2 + 1); /* not any more */
	assert_true(lacks(c, "a", HOUR - 1));
	assert_false(lacks(c, "a", HOUR)); /* of the first nothing is known any more */
	learn_of(c, 1, 2, 0, HOUR);
	assert_true(lacks(c, "a", HOUR));
	smar_caps_free(&c);
}

/* More hosts than are kept: never sure, and the memory is bounded. */
static void many_hosts(void **state)
{
	struct smar_caps *c = smar_caps_new(9);

	(void)state;
	for (uint64_t i = 0; i < 64; i++)
		learn_of(c, i, 64, 0, (int64_t)i);
	assert_false(lacks(c, "a", 64));
	for (uint64_t i = 0; i < 16; i++)
		learn_of(c, i, 16, 0, 100);
	assert_true(lacks(c, "a", 101));
	smar_caps_free(&c);
}

static void bounded(void **state)
{
	struct smar_caps *c = smar_caps_new(3);
	char key[8];

	(void)state;
	for (int i = 0; i < 3; i++) {
		snprintf(key, sizeof(key), "%d", i);
		learn(c, key, 0, i);
	}
	learn(c, "0", 0, 3); /* told again: 1 is the oldest now */
	learn(c, "3", 0, 4);
	assert_true(lacks(c, "0", 5) && lacks(c, "2", 5) && lacks(c, "3", 5));
	assert_false(lacks(c, "1", 5));
	smar_caps_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_hour),
	    cmocka_unit_test(mixed_hosts),
	    cmocka_unit_test(many_hosts),
	    cmocka_unit_test(bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
