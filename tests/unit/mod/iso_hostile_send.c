/* SPDX-License-Identifier: BSD-2-Clause */
/* A transport's worker that lies: results of recipients that nobody asked for, given twice or of no
 * kind that there is, an end before the answer, words of an older life. What was told before
 * counts; no recipient is done that was not said to be. */
#include "liar.h"

#include "../unit.h"

#include <meta1/transport.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define NRCPT 3

struct mail {
	struct liar *l;
	const struct meta1_transport_ops *ops;
	void *sess;
	struct meta1_req *req;
	uint32_t id; /* of the question */
	unsigned times, nresult;
	enum meta1_status st, result[NRCPT];
	uint16_t scope;
};

static int up(void **state)
{
	struct mail *t = base_alloc(sizeof(*t));

	t->l = liar_new("transport");
	t->ops = mod_ops(t->l->in);
	*state = t;
	return 0;
}

static int down(void **state)
{
	struct mail *t = *state;

	liar_free(t->l);
	free(t);
	return 0;
}

static void result(void *arg, uint32_t i, enum meta1_status st, const struct meta1_reply *r)
{
	struct mail *t = arg;

	(void)r;
	assert_true(i < NRCPT);
	t->result[i] = st;
	t->nresult++;
}

static void said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct mail *t = arg;

	t->times++;
	t->st = st;
	t->scope = r->scope;
	t->req = NULL;
}

static struct meta1_req *request(struct mail *t)
{
	t->times = t->nresult = 0;
	for (unsigned i = 0; i < NRCPT; i++)
		t->result[i] = META1_CANCELED;
	return t->req = mod_req(t->l->in, loop_now(t->l->f->host.loop) + 1000, said, t);
}

static void open_session(struct mail *t)
{
	const struct meta1_hop hop = {
	    .size = sizeof(hop), .host = "hop.test", .addr = "192.0.2.1", .port = 25};

	t->l->kills = 0;
	t->ops->open(mod_data(t->l->in), request(t), &hop, &t->sess);
	fix_turns(t->l->f);
	t->id = liar_asked(t->l);
}

static void send_mail(struct mail *t)
{
	static const struct meta1_rcpt rcpt[NRCPT] = {
	    {.addr = {"a@b.test", 8}}, {.addr = {"c@b.test", 8}}, {.addr = {"d@b.test", 8}}};
	static const struct meta1_extent text = {.mem = "text\r\n", .len = 6, .fd = -1};
	static const struct meta1_mail mail = {.size = sizeof(mail),
	    .nrcpt = NRCPT,
	    .sizeof_rcpt = sizeof(rcpt[0]),
	    .id = "1",
	    .rcpt = rcpt,
	    .extent = &text,
	    .nextent = 1,
	    .bytes = 6};

	mod_req_rcpts(request(t), result, NRCPT);
	t->ops->send(t->sess, t->req, &mail);
	fix_turns(t->l->f);
	t->id = liar_asked(t->l);
}

static void tell(struct mail *t, enum meta1_status st)
{
	const struct iso_tr_answer m = {.status = st, .usable = 1};

	liar_tell(t->l, ISO_ANSWER, t->id, &iso_shape_tr_answer, &m, NULL, 0);
}

static void tell_result(struct mail *t, const struct iso_tr_rcpt *m)
{
	liar_tell(t->l, ISO_TR_RCPT, t->id, &iso_shape_tr_rcpt, m, NULL, 0);
}

/* A session is open, the mail is with the worker. */
static void begin(struct mail *t)
{
	open_session(t);
	tell(t, META1_OK);
	fix_turns(t->l->f);
	assert_int_equal(t->times, 1);
	assert_int_equal(t->st, META1_OK);
	assert_true(t->ops->usable(t->sess));
	send_mail(t);
}

static void end(struct mail *t)
{
	if (!t->times)
		mod_req_cancel(&t->req);
	t->ops->shut(&t->sess);
	fix_turns(t->l->f);
	if (t->l->kills)
		liar_come(t->l);
}

#define REPLY(...)                                                                                 \
	&(const struct meta1_reply)                                                                \
	{                                                                                          \
		.size = sizeof(struct meta1_reply), __VA_ARGS__                                    \
	}

/* After the result of recipient 0, which is good, the worker says this, and that all is well. */
static void test_results(void **state)
{
	const struct {
		struct iso_tr_rcpt said;
		bool good;
	} rows[] = {{{1, META1_PERMFAIL, REPLY(.smtp = 550, .dsn = "5.1.1")}, true},
	    {{2, META1_OK, NULL}, true}, {{0, META1_OK, NULL}, false},
	    {{NRCPT, META1_OK, NULL}, false}, {{NRCPT + 5, META1_OK, NULL}, false},
	    {{UINT32_MAX, META1_OK, NULL}, false}, {{1, META1_CANCELED + 1, NULL}, false},
	    {{1, UINT32_MAX, NULL}, false}, {{1, META1_PERMFAIL, REPLY(.dsn = "5.\r\n1")}, false},
	    {{1, META1_PERMFAIL, REPLY(.smtp = 99)}, false},
	    {{1, META1_PERMFAIL, REPLY(.smtp = 600)}, false},
	    {{1, META1_PERMFAIL, REPLY(.scope = META1_ABOUT_OFFER + 1)}, false},
	    {{1, META1_OK, REPLY(.taken = META1_TAKEN_FINAL + 1)}, false},
	    {{1, META1_OK, REPLY(.tls = META1_TLS_UNMATCHED + 1)}, false}};
	struct mail *t = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool good = rows[i].good;

		begin(t);
		tell_result(t, &(struct iso_tr_rcpt){.rcpt = 0, .status = META1_OK});
		tell_result(t, &rows[i].said);
		tell(t, META1_OK);
		fix_turns(t->l->f);
		if (t->times != 1 || t->st != (good ? META1_OK : META1_TEMPFAIL) ||
		    t->nresult != 1u + good || t->result[0] != META1_OK || t->l->kills != !good ||
		    (good && t->result[rows[i].said.rcpt] != rows[i].said.status) ||
		    (!good && t->scope != META1_ABOUT_MAIL))
			fail_msg("row %zu: %u times, %d, %u results, %u killed", i, t->times,
			    (int)t->st, t->nresult, t->l->kills);
		end(t);
	}
}

static void test_answers(void **state)
{
	static const enum meta1_status wrong[] = {
	    META1_MORE, META1_CANCELED + 1, (enum meta1_status)UINT32_MAX};
	struct mail *t = *state;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		begin(t);
		tell(t, wrong[i]);
		fix_turns(t->l->f);
		assert_int_equal(t->times, 1);
		assert_int_equal(t->st, META1_TEMPFAIL);
		assert_int_equal(t->scope, META1_ABOUT_MAIL);
		assert_int_equal(t->l->kills, 1);
		end(t);
	}
	open_session(t); /* there are no recipients yet */
	tell_result(t, &(struct iso_tr_rcpt){.rcpt = 0, .status = META1_OK});
	fix_turns(t->l->f);
	assert_int_equal(t->st, META1_TEMPFAIL);
	assert_int_equal(t->nresult, 0);
	assert_int_equal(t->l->kills, 1);
	end(t);
	begin(t); /* its answer was the last of it */
	tell(t, META1_TEMPFAIL);
	tell_result(t, &(struct iso_tr_rcpt){.rcpt = 1, .status = META1_OK});
	fix_turns(t->l->f);
	assert_int_equal(t->times, 1);
	assert_int_equal(t->st, META1_TEMPFAIL);
	assert_int_equal(t->nresult, 0);
	assert_int_equal(t->l->kills, 1);
	end(t);
}

/* It ends in the midst of a mail: what it said holds, the rest is to be tried again; the next one
 * knows nothing of the session, and what it says of the old question is nonsense. */
static void test_next_life(void **state)
{
	struct mail *t = *state;
	uint32_t old;

	begin(t);
	tell_result(t, &(struct iso_tr_rcpt){.rcpt = 1, .status = META1_OK});
	close(t->l->fd);
	t->l->fd = -1;
	fix_turns(t->l->f);
	assert_int_equal(t->times, 1);
	assert_int_equal(t->st, META1_TEMPFAIL);
	assert_int_equal(t->scope, META1_ABOUT_MAIL);
	assert_int_equal(t->nresult, 1);
	assert_int_equal(t->result[1], META1_OK);
	assert_false(t->ops->usable(t->sess));
	liar_come(t->l);
	assert_false(t->ops->usable(t->sess));
	old = t->id;
	send_mail(t);
	assert_int_equal(t->id, 0); /* it was not asked */
	fix_turns(t->l->f);
	assert_int_equal(t->st, META1_TEMPFAIL);
	assert_int_equal(t->scope, META1_ABOUT_SESSION);
	t->l->kills = 0;
	end(t);
	begin(t);
	assert_int_not_equal(t->id, old);
	t->id = old;
	tell(t, META1_OK);
	fix_turns(t->l->f);
	assert_int_equal(t->times, 1);
	assert_int_equal(t->st, META1_TEMPFAIL);
	assert_int_equal(t->l->kills, 1);
	end(t);
}

/* Whoever asked is gone: what the worker says of the mail is heard by nobody. */
static void test_canceled(void **state)
{
	struct mail *t = *state;

	begin(t);
	mod_req_cancel(&t->req);
	tell_result(t, &(struct iso_tr_rcpt){.rcpt = NRCPT, .status = META1_OK});
	tell(t, META1_OK);
	fix_turns(t->l->f);
	assert_int_equal(t->times, 0);
	assert_int_equal(t->nresult, 0);
	assert_int_equal(t->l->kills, 0);
	end(t);
}

static void test_each_byte(void **state)
{
	const struct meta1_caps caps = {.size = sizeof(caps), .offers = 3, .max_size = 1000};
	const struct iso_tr_rcpt one = {1, META1_PERMFAIL,
	    REPLY(.smtp = 550, .dsn = "5.1.1", .text = "no such user", .host = "hop.test")};
	const struct iso_tr_answer all = {.status = META1_TEMPFAIL,
	    .usable = 1,
	    .reply = REPLY(.smtp = 450, .dsn = "4.2.0", .text = "later"),
	    .caps = &caps,
	    .tls = "TLSv1.3"};
	struct mail *t = *state;
	struct packed p[2] = {{0}, {0}};
	unsigned lost = 0, fine = 0;

	assert_true(shape_pack(&iso_shape_tr_rcpt, &one, &p[0]));
	assert_true(shape_pack(&iso_shape_tr_answer, &all, &p[1]));
	for (size_t i = 0; i < 2 * (p[0].n + p[1].n); i++) {
		struct packed *q = &p[i / 2 >= p[0].n];
		uint8_t *b = &q->b[i / 2 - (q == p ? 0 : p[0].n)];

		begin(t);
		*b ^= i % 2 ? 0xff : 0x01;
		for (unsigned k = 0; k < 2; k++)
			liar_say(t->l,
			    &(struct wire_head){
				(uint32_t)p[k].n, k ? ISO_ANSWER : ISO_TR_RCPT, 0, t->id},
			    p[k].b, NULL);
		*b ^= i % 2 ? 0xff : 0x01;
		fix_turns(t->l->f);
		assert_int_equal(t->times, 1);
		assert_true(t->nresult <= 1);
		lost += t->l->kills;
		fine += !t->l->kills;
		end(t);
	}
	assert_true(lost > 0 && fine > 0);
	free(p[0].b);
	free(p[1].b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_results, up, down),
	    cmocka_unit_test_setup_teardown(test_answers, up, down),
	    cmocka_unit_test_setup_teardown(test_next_life, up, down),
	    cmocka_unit_test_setup_teardown(test_canceled, up, down),
	    cmocka_unit_test_setup_teardown(test_each_byte, up, down)};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
