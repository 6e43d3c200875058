/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker of SASL mechanisms that lies: names that are none, for whom nobody asked; answers of no
 * kind; words of an exchange that an older one had. Nobody is proven by it but by its own OK. */
#include "liar.h"

#include "../unit.h"

#include <meta1/auth.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct login {
	struct liar *l;
	const struct meta1_auth_ops *ops;
	struct said said;
	uint32_t id; /* of the question */
};

static int up(void **state)
{
	struct login *t = base_alloc(sizeof(*t));

	t->l = liar_new("auth");
	t->ops = mod_ops(t->l->in);
	*state = t;
	return 0;
}

static int down(void **state)
{
	struct login *t = *state;

	liar_free(t->l);
	free(t);
	return 0;
}

static const struct meta1_auth_peer one = {.size = sizeof(one), .external = "one"},
				    other = {.size = sizeof(other), .external = "other"};

static int64_t soon(const struct login *t)
{
	return loop_now(t->l->f->host.loop) + 1000;
}

static void learn(struct login *t, const struct meta1_auth_peer *p, struct said *s)
{
	*s = (struct said){0};
	t->l->kills = 0;
	assert_non_null(mod_auth_ask(t->l->in, p, soon(t), fix_said, s));
	fix_turns(t->l->f);
	t->id = liar_asked(t->l);
}

static void tell(struct login *t, uint32_t id, enum meta1_status st, uint32_t n, const char *val)
{
	const struct meta1_buf v[] = {{val, val ? strlen(val) : 0}, {"two", 3}};
	const struct meta1_reply r = {.size = sizeof(r), .nval = n, .val = v};
	const struct iso_answer m = {.status = st, .reply = val ? &r : NULL};

	liar_tell(t->l, ISO_ANSWER, id, &iso_shape_answer, &m, NULL, 0);
	fix_turns(t->l->f);
}

static const char *offered(const struct login *t, const struct meta1_auth_peer *p)
{
	static char names[64];

	t->ops->offer(mod_data(t->l->in), p, names, sizeof(names));
	return names;
}

static void test_names(void **state)
{
	static const struct {
		const char *val;
		uint32_t n;
	} bad[] = {{"PLAIN\r\n250 X", 1}, {"PLAIN\r\n", 1}, {"plain", 1}, {"A=B", 1}, {"A\x7f", 1},
	    {"PLAIN", 2}, {"", 0}, {NULL, 0}};
	struct login *t = *state;
	char many[2000] = "";

	learn(t, &one, &t->said);
	tell(t, t->id, META1_OK, 1, "PLAIN LOGIN");
	assert_string_equal(offered(t, &one), "PLAIN LOGIN");
	assert_string_equal(offered(t, &other), "");
	assert_true(mod_auth_knows(t->l->in, &one));
	assert_false(mod_auth_knows(t->l->in, &other));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		learn(t, &other, &t->said);
		tell(t, t->id, META1_OK, bad[i].n, bad[i].val);
		if (t->said.times != 1 || t->said.st != META1_TEMPFAIL || t->l->kills != 1)
			fail_msg("row %zu: %u times, %d, %u killed", i, t->said.times,
			    (int)t->said.st, t->l->kills);
		assert_string_equal(offered(t, &other), "");
		assert_string_equal(offered(t, &one), "PLAIN LOGIN");
		liar_come(t->l);
	}
	for (unsigned k = 0; k < 200; k++)
		strcat(many, "EXTERNAL ");
	learn(t, &other, &t->said);
	tell(t, t->id, META1_OK, 1, many);
	assert_int_equal(t->said.st, META1_OK); /* whole ones, as many as there is room for */
	assert_string_equal(
	    offered(t, &other), "EXTERNAL EXTERNAL EXTERNAL EXTERNAL EXTERNAL EXTERNAL EXTERNAL");
}

/* So many kinds of peers that the first is forgotten before it is answered: its names are no one
 * else's. */
static void test_forgotten(void **state)
{
	struct login *t = *state;
	static struct said said[64];
	char name[16];
	struct meta1_auth_peer p = one;
	uint32_t first, second;

	learn(t, &one, &t->said);
	first = t->id;
	for (unsigned k = 0; k < ARRAY_LEN(said); k++) {
		snprintf(name, sizeof(name), "peer%u", k);
		p.external = name;
		learn(t, &p, &said[k]);
	}
	second = t->id;
	tell(t, first, META1_OK, 1, "EXTERNAL");
	assert_int_equal(t->said.times, 1);
	assert_string_equal(offered(t, &p), "");
	assert_string_equal(offered(t, &one), "");
	tell(t, second, META1_OK, 1, "PLAIN");
	assert_string_equal(offered(t, &p), "PLAIN");
	assert_int_equal(t->l->kills, 0);
}

static void begin(struct login *t, void **conv)
{
	struct meta1_req *rq = mod_req(t->l->in, soon(t), fix_said, &t->said);

	t->said = (struct said){0};
	t->l->kills = 0;
	t->ops->start(mod_data(t->l->in), rq, &one, "PLAIN", NULL, conv);
	fix_turns(t->l->f);
	t->id = liar_asked(t->l);
}

static void test_answers(void **state)
{
	static const enum meta1_status wrong[] = {
	    META1_CANCELED + 1, (enum meta1_status)99, (enum meta1_status)UINT32_MAX};
	struct login *t = *state;
	void *conv;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		begin(t, &conv);
		tell(t, t->id, wrong[i], 1, "someone");
		assert_int_equal(t->said.times, 1);
		assert_int_equal(t->said.st, META1_TEMPFAIL);
		assert_int_equal(t->l->kills, 1);
		t->ops->end(&conv);
		liar_come(t->l);
	}
	begin(t, &conv);
	tell(t, t->id + 0x10000, META1_OK, 1, "someone");
	assert_int_equal(t->said.st, META1_TEMPFAIL);
	assert_int_equal(t->l->kills, 1);
	t->ops->end(&conv);
}

/* The exchange was with another process: the next one hears nothing of it. */
static void test_next_life(void **state)
{
	struct login *t = *state;
	uint32_t old;
	void *conv;

	begin(t, &conv);
	tell(t, t->id, META1_MORE, 1, "challenge");
	assert_int_equal(t->said.st, META1_MORE);
	old = t->id;
	liar_come(t->l);
	t->said = (struct said){0};
	t->ops->step(conv, mod_req(t->l->in, soon(t), fix_said, &t->said), buf_str("secret"));
	fix_turns(t->l->f);
	assert_int_equal(liar_asked(t->l), 0);
	assert_int_equal(t->said.st, META1_TEMPFAIL);
	t->ops->end(&conv);
	fix_turns(t->l->f);
	assert_int_equal(liar_asked(t->l), 0);
	begin(t, &conv);
	tell(t, old, META1_OK, 1, "someone");
	assert_int_equal(t->said.times, 1);
	assert_int_equal(t->said.st, META1_TEMPFAIL);
	assert_int_equal(t->l->kills, 1);
	t->ops->end(&conv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_names, up, down),
	    cmocka_unit_test_setup_teardown(test_forgotten, up, down),
	    cmocka_unit_test_setup_teardown(test_answers, up, down),
	    cmocka_unit_test_setup_teardown(test_next_life, up, down)};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
