/* SPDX-License-Identifier: BSD-2-Clause */
/* expand.c -- tries core/qmgr/bounce.c in the whole of qmgr: who is told of the members of a list,
 * of an alias with several targets, and how a report comes to an alias. */
#include "told.h"

/* Members of a list are sent to from its owner, who gets the reports about them; the others' go
 * to who sent the mail. */
static void owners_of_lists(void **state)
{
	struct world *w = start(3600000);
	struct delivery *d;
	unsigned own = 0, nbounce = 0;

	(void)state;
	world_mail(w, "S1", "me@example.org",
	    "a@one.example b@one.example/0//owner-l@x c@one.example/0//owner-l@x "
	    "d@one.example/0//owner-k@x");
	world_run(w);
	assert_int_equal(w->nd, 3); /* one a sender */
	for (unsigned i = 0; i < 3; i++) {
		d = &w->d[i];
		if (!strcmp(d->from, "owner-l@x")) {
			assert_string_equal(d->rcpts, "b@one.example c@one.example");
			own++;
		} else if (!strcmp(d->from, "owner-k@x")) {
			assert_string_equal(d->rcpts, "d@one.example");
			own++;
		} else {
			assert_string_equal(d->from, "me@example.org");
			assert_string_equal(d->rcpts, "a@one.example");
		}
	}
	assert_int_equal(own, 2);
	while ((d = world_open(w, "one.example")))
		world_end(w, d, META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(w);
	assert_int_equal(w->ns, 3);
	for (unsigned i = 0; i < 3; i++) {
		const char *to = w->s[i].to, *text = w->s[i].text;

		if (!strcmp(to, "owner-l@x")) {
			has(text, "Final-Recipient: rfc822; b@one.example\r\n");
			has(text, "Final-Recipient: rfc822; c@one.example\r\n");
			assert_null(strstr(text, "rfc822; a@"));
			assert_null(strstr(text, "rfc822; d@"));
		} else if (!strcmp(to, "owner-k@x")) {
			has(text, "Final-Recipient: rfc822; d@one.example\r\n");
		} else {
			assert_string_equal(to, "me@example.org");
			has(text, "Final-Recipient: rfc822; a@one.example\r\n");
			nbounce++;
		}
	}
	assert_int_equal(nbounce, 1);
	end(w);
}

/* Two targets of an alias whose sender wants to know of success: told of by the first of them. */
#define ORCPT "rfc822;team@example.org"
static const struct meta1_qrcpt targets[] = {{.addr = {"a@one.example", 13},
						 .flags = META1_RF_EXPANDED | META1_RF_TELL,
						 .alias = {"team@example.org", 16},
						 .orcpt = {ORCPT, sizeof(ORCPT) - 1},
						 .notify = META1_N_NEVER},
    {.addr = {"b@one.example", 13},
	.flags = META1_RF_EXPANDED,
	.orcpt = {ORCPT, sizeof(ORCPT) - 1},
	.notify = META1_N_NEVER}};

static void deliver_all(struct world *w)
{
	struct delivery *d;

	while ((d = world_open(w, "one.example"))) {
		world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
		world_run(w);
	}
}

/* Of an alias with several targets the sender who wants to know of success is told once that it was
 * expanded, before they are tried; nothing more of their success. */
static void expanded_aliases(void **state)
{
	struct world *w = start(0);

	(void)state;
	w->store_holds = true;
	world_entry(w, "S1", "me@example.org", targets, 2, WALL0);
	world_run(w);
	assert_string_equal(world_outcome(w, "S1", 0).reason, "report=5 expanded; ");
	assert_string_equal(world_open(w, "one.example")->rcpts, "b@one.example");
	w->store_holds = false;
	world_pass(w, 2);
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].to, "me@example.org");
	has(w->s[0].text, "Original-Recipient: rfc822; team@example.org\r\n"
			  "Final-Recipient: rfc822; team@example.org\r\n"
			  "Action: expanded\r\nStatus: 2.0.0\r\n");
	assert_null(strstr(w->s[0].text, "one.example"));
	assert_string_equal(world_outcome(w, "S1", 0).reason, "told; ");
	deliver_all(w);
	assert_int_equal(world_outcome(w, "S1", 0).state, META1_R_DELIVERED);
	assert_int_equal(w->ns, 1);
	end(w);
}

/* Also over restarts: the report was not written, was written, is told of. */
static void expanded_before_a_restart(void **state)
{
	struct meta1_qrcpt r[] = {targets[0], targets[1]},
			   to = {.addr = buf_str("me@example.org"), .notify = META1_N_NEVER};
	struct world *w = start(0);

	(void)state;
	r[0].reason = buf_str("report=5 expanded; ");
	world_entry(w, "S2", "me@example.org", r, 2, WALL0);
	world_entry(w, "S3", "me@example.org", r, 2, WALL0);
	world_entry(w, "S3-5", "", &to, 1, WALL0);
	r[0].reason = buf_str("told; ");
	world_entry(w, "S4", "me@example.org", r, 2, WALL0);
	world_recovered(w);
	world_pass(w, 2);
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].id, "S2-5");
	assert_string_equal(world_outcome(w, "S3", 0).reason, "told; ");
	end(w);
}

/* To a list with an owner it is delivered; and delivery does not wait for a report that cannot be
 * written. */
static void told_of_a_list(void **state)
{
	struct meta1_qrcpt r = targets[0];
	struct world *w = start(0);
	struct delivery *d;

	(void)state;
	r.flags = META1_RF_LIST | META1_RF_TELL;
	r.sender = buf_str("owner-team@example.org");
	world_entry(w, "S5", "me@example.org", &r, 1, WALL0);
	world_pass(w, 2);
	assert_int_equal(w->ns, 1);
	assert_string_equal(w->s[0].to, "me@example.org");
	has(w->s[0].text, "Final-Recipient: rfc822; team@example.org\r\nAction: delivered\r\n");
	deliver_all(w);
	w->commit_fails = true;
	world_entry(w, "S6", "me@example.org", &r, 1, WALL0);
	world_pass(w, 2);
	assert_int_equal(w->ns, 1);
	d = world_open(w, "one.example");
	assert_non_null(d);
	assert_string_equal(d->id, "S6");
	end(w);
}

/* A report to an alias is for those it stands for; while smar cannot say it is written later. */
static void reports_to_aliases(void **state)
{
	struct world *w = start(0);
	unsigned to = 0;

	(void)state;
	world_mail(w, "S1", "alias@x", "a@one.example");
	world_run(w);
	world_end(w, world_open(w, "one.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(w);
	assert_int_equal(w->ns, 1);
	for (unsigned i = 0; i < w->nd; i++)
		to += !strcmp(w->d[i].rcpts, "one@x two@x") && !w->d[i].from[0];
	assert_int_equal(to, 1);
	world_mail(w, "S2", "away@x", "a@two.example");
	world_run(w);
	world_end(w, world_open(w, "two.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_run(w);
	assert_int_equal(w->ns, 1);
	world_pass(w, 40);
	assert_int_equal(w->ns, 2);
	assert_string_equal(w->s[1].to, "away@x");
	world_mail(w, "S3", "lost@x", "a@three.example"); /* not known for days: then as it is */
	world_run(w);
	world_end(w, world_open(w, "three.example"), META1_PERMFAIL, META1_ABOUT_MAIL, 550, "no");
	world_pass(w, 400000);
	assert_int_equal(w->ns, 2);
	world_pass(w, 60000);
	assert_int_equal(w->ns, 3);
	assert_string_equal(w->s[2].to, "lost@x");
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(owners_of_lists),
	    cmocka_unit_test(expanded_aliases),
	    cmocka_unit_test(expanded_before_a_restart),
	    cmocka_unit_test(told_of_a_list),
	    cmocka_unit_test(reports_to_aliases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
