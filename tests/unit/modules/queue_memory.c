/* SPDX-License-Identifier: BSD-2-Clause */
/* queue_memory.c -- what counts in the bound of modules/queue/memory: contents, envelopes, reasons;
 * and all of it comes back. */
#include "../../../modules/queue/memory/queue_memory.c"

#include "../unit.h"

static enum meta1_status said;

static void finish(struct meta1_req *req, enum meta1_status st, const struct meta1_reply *r)
{
	(void)req, (void)r;
	said = st;
}
static const struct meta1_host host = {.size = sizeof(host), .finish = finish};
static const struct memory_conf conf = {.memory = 65536};
static char word[32768];

/* A message with one address of so many bytes. */
static enum meta1_status store_one(struct store *s, size_t addr, size_t content)
{
	struct meta1_qrcpt rcpt = {.addr = {word, addr}};
	struct meta1_env env = {
	    .size = sizeof(env), .nrcpt = 1, .sizeof_rcpt = sizeof(rcpt), .rcpt = &rcpt};
	struct meta1_err e;
	struct meta1_qmsg *m;

	if (memory_begin(s, "S1", NULL, NULL, &m, &e) != META1_OK)
		return META1_TEMPFAIL;
	if (memory_write(m, word, content) != META1_OK) {
		memory_abort(&m);
		return META1_TEMPFAIL;
	}
	memory_commit(&m, NULL, &env);
	return said;
}

static void outcome(struct store *s, uint64_t key, enum meta1_rstate state, size_t reason)
{
	struct meta1_qoutcome o = {
	    .size = sizeof(o), .id = "S1", .key = key, .state = state, .reason = {word, reason}};

	memory_outcome(s, NULL, &o);
}

static void bounded(void **state)
{
	static const struct {
		size_t addr, content, reason;
		unsigned least, most; /* so many are taken */
	} t[] = {{20, 1000, 0, 40, 64}, {8000, 1000, 0, 6, 8}, {30000, 10, 0, 2, 2},
	    {20, 1000, 8000, 6, 40}};

	(void)state;
	memset(word, 'x', sizeof(word));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct meta1_err e;
		struct store *s;
		unsigned n = 0;
		void *inst = NULL;

		assert_int_equal(memory_open(&host, NULL, &conf, &inst, &e), 0);
		s = inst;
		while (n < 1000 && store_one(s, t[i].addr, t[i].content) == META1_OK) {
			outcome(s, ++n, META1_R_WAITING, t[i].reason);
			assert_true(s->used <= conf.memory);
		}
		if (n < t[i].least || n > t[i].most)
			fail_msg("row %zu: %u were taken, expected %u to %u", i, n, t[i].least,
			    t[i].most);
		while (n > 0)
			outcome(s, n--, META1_R_DELIVERED, 100);
		assert_int_equal(s->used, 0);
		memory_close(inst);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(bounded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
