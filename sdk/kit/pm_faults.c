/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pm_faults.c -- what goes wrong around a filter: the client leaves, or a deadline passes, at every
 * turn of a mail; each call of the host, or of malloc(), fails in turn.
 * Comes from pmilter.c; goes to the module through pm_talk.c.
 * On failure: "not ok" with the turn or the call, and what was answered.
 */
#include "pmilter.h"

#include <stdlib.h>

#define TURNS	  500
#define PATIENCE  100
#define CALLS_MAX 1000
#define PLAN	  "CHMRRDEr"

/* At turn n the client leaves, or the deadline passes. True: the mail was over before. */
static bool broken_off(struct pm_suite *s, unsigned n, bool late, bool *right)
{
	struct pm_talk t;
	bool over;

	pm_begin(&t, s, PLAN, &pm_mail);
	over = !pm_go(&t);
	for (unsigned i = 0; i < n && !over; i++) {
		loop_turn(s->k->host.loop, false);
		if (i > PATIENCE)
			kit_clock(s->k, 250); /* it may try again in a while */
		over = !pm_go(&t);
	}
	if (t.stage && !t.a.told && late) {
		kit_clock(s->k, PM_END_MS + 1);
		*right = *right && t.a.told && t.a.times == 1;
		pm_go(&t);
	}
	pm_free(&t);
	for (unsigned i = 0; i < 5; i++)
		loop_turn(s->k->host.loop, false);
	kit_clock(s->k, 2 * PM_END_MS + 60000); /* what is never finished is a fault now */
	return over;
}

static void breaks(struct pm_suite *s, bool late)
{
	bool right = true;
	unsigned n;

	for (n = 0; n < TURNS && !broken_off(s, n, late, &right); n++)
		;
	kit_ok(s->k, right && n < TURNS, "%s at each of %u turns",
	    late ? "a deadline passes" : "the client leaves", n);
}

static void failing(struct pm_suite *s)
{
	static const struct pm_cut turns = {"", 50, PM_TURNS};
	char *want = pm_whole(s, PLAN, &pm_mail, turns), *got = NULL;
	bool there_was = true, right = true;
	unsigned n, failures = 0;

	for (n = 1; n < CALLS_MAX && there_was && right; n++) {
		kit_host_fail(&s->k->host, n);
		got = pm_whole(s, PLAN, &pm_mail, turns);
		there_was = s->k->host.failed > 0;
		kit_host_fail(&s->k->host, 0);
		right = pm_as_far_as(want, got);
		failures += strstr(got, "failure ") || strstr(got, "unable ");
		if (!right) {
			kit_note(s->k, "it says: %s", pm_short(want));
			kit_note(s->k, "when call %u fails: %s", n,
			    *got ? pm_short(got) : "nothing, since it wants no stage: mail passes");
		}
		free(got);
		kit_clock(s->k, 60000); /* a filter that was given up is tried again */
	}
	kit_ok(s->k, right && n < CALLS_MAX,
	    "the same answers, or a failure, when each of %u calls fails in turn (%u failures)",
	    n - 1, failures);
	got = pm_whole(s, PLAN, &pm_mail, turns);
	kit_ok(s->k, strcmp(got, want) == 0, "and afterwards all is as before");
	free(got);
	free(want);
}

/* Files of its own give a part of what was asked for. */
static void parts(struct pm_suite *s)
{
	static const struct pm_cut file = {"", 0, PM_FILE};
	char *want = pm_whole(s, PLAN, &pm_mail, file), *got;

	s->k->host.parts = true;
	got = pm_whole(s, PLAN, &pm_mail, file);
	s->k->host.parts = false;
	kit_ok(s->k, strcmp(got, want) == 0, "the same when reads and writes do a half");
	free(got);
	free(want);
}

void pm_faults(struct pm_suite *s)
{
	parts(s);
	breaks(s, false);
	breaks(s, true);
	failing(s);
}
