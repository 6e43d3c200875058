/* SPDX-License-Identifier: BSD-2-Clause */
/* libpmilter: answers by sm_pmfi_answer() that overtake the callback which says that they come. */
#include "pmilter_fix.h"

#include <errno.h>
#include <event2/event.h>
#include <semaphore.h>
#include <stdatomic.h>

static const char small[] = "Subject: hi\r\n\r\nbody\r\n";
static sfsistat_T at_eom;
static unsigned closes;

static sm_ret_T close_count(pmse_ctx_P s)
{
	(void)s;
	__atomic_add_fetch(&closes, 1, __ATOMIC_RELAXED); /* on a thread */
	return SM_SUCCESS;
}

static struct pf *up(const struct pmilter_S *fi)
{
	struct pf *f = pf_new("");

	closes = 0;
	pf_filter(f, fi);
	return f;
}

static _Atomic(pmse_ctx_P) on_worker;
static sem_t go_back;

/* On a thread: it is not back before the loop has answered for it. */
static sfsistat_T overtaken_eom(pmse_ctx_P se)
{
	atomic_store(&on_worker, se);
	sem_wait(&go_back);
	return at_eom;
}

static pmse_ctx_P on_a_worker(struct pf *f)
{
	pmse_ctx_P se;

	while (!(se = atomic_load(&on_worker)))
		pf_turn(f);
	atomic_store(&on_worker, NULL);
	return se;
}

static void an_answer_that_overtakes_its_callback_counts(void **state)
{
	static const struct pmilter_S fi = {.pmfi_name = "overtaken",
	    .pmfi_thrmax_s = 1,
	    .pmfi_thrmax_h = 1,
	    .pmfi_eom = overtaken_eom,
	    .pmfi_close = close_count};
	struct pf *f = up(&fi);
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);
	struct meta1_pm_ask end = {.size = sizeof(end), .stage = META1_PM_END, .msg = &m};
	struct ps s;
	pmse_ctx_P se;

	(void)state;
	assert_int_equal(sem_init(&go_back, 0, 0), 0);
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	for (unsigned i = 0; i < 3; i++) {
		at_eom = i == 1 ? SMTP_R_CONT : SMTP_R_LATER;
		ps_put(&s, &end);
		se = on_a_worker(f);
		assert_int_equal(sm_pmfi_answer(se, SMTP_R_PERM), SM_SUCCESS);
		assert_int_equal(sm_pmfi_answer(se, SMTP_R_PERM), -EINVAL);
		sem_post(&go_back);
		pf_until(f, &s.answers, i + 2);
		/* a callback that answers itself is the one to be believed */
		assert_int_equal(s.v->action, i == 1 ? META1_PM_CONTINUE : META1_PM_REFUSE);
		assert_int_equal(sm_pmfi_answer(se, SMTP_R_PERM), -EINVAL);
	}
	ps_close(&s);
	pf_until(f, &closes, 1);
	pf_free(&f);
}

static sfsistat_T eager_eom(pmse_ctx_P se)
{
	assert_int_equal(sm_pmfi_answer(se, SMTP_R_PERM), SM_SUCCESS);
	return SMTP_R_LATER;
}

static void a_callback_may_answer_before_it_says_later(void **state)
{
	static const struct pmilter_S fi = {
	    .pmfi_name = "eager", .pmfi_eom = eager_eom, .pmfi_close = close_count};
	struct pf *f = up(&fi);
	struct meta1_extent e;
	struct meta1_pm_message m = ps_message(&e, small);
	struct ps s;

	(void)state;
	ps_begin(f, &s);
	assert_int_equal(ps_ask(&s, META1_PM_CONNECT, ""), META1_OK);
	assert_int_equal(ps_end(&s, &m), META1_OK);
	assert_int_equal(s.v->action, META1_PM_REFUSE);
	ps_close(&s);
	pf_until(f, &closes, 1);
	pf_free(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_answer_that_overtakes_its_callback_counts),
	    cmocka_unit_test(a_callback_may_answer_before_it_says_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
