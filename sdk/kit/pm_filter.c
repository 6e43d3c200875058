/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pm_filter.c -- modules that ask a filter: what it may say at each stage becomes the verdict that
 * it is; a filter that is silent, hangs up or speaks nonsense at each frame of a mail is a failure
 * in time, and the next session meets it when it is well again; nobody listens.
 * Comes from pmilter.c; goes to the module through pm_talk.c, to the filter by filter.h.
 * On failure: "not ok", the frame and what was answered.
 */
#include "pmilter.h"

#include <stdio.h>
#include <stdlib.h>

#define PLAN   "CHMRRRDEr"
#define FRAMES 200

static const struct pm_cut whole = {"", 0, PM_MEMORY};

/* ---- what it may say ---- */

/* The answer to a letter, the last one; up to the next. */
static const char *answer_to(const char *out, char letter, char *got, size_t size)
{
	const char *at = NULL;
	size_t n;

	for (const char *p = out; *p; p++)
		if (*p == letter && p[1] == ':' && (p == out || p[-1] == ' '))
			at = p + 2;
	n = at ? strlen(at) : 0;
	snprintf(got, size, "%.*s", (int)(n > 60 ? 60 : n), at ? at : "");
	return got;
}

static void words(struct pm_suite *s)
{
	static const struct {
		char letter;
		uint32_t stage;
	} stages[] = {{'C', META1_PM_CONNECT}, {'H', META1_PM_HELO}, {'M', META1_PM_MAIL},
	    {'R', META1_PM_RCPT}, {'D', META1_PM_DATA}, {'E', META1_PM_END}};
	static const char *const says[FLT_WORDS] = {
	    [FLT_CONTINUE] = "continue ",
	    [FLT_ACCEPT] = "accept ",
	    [FLT_REFUSE] = "refuse 550 5.7.1 ",
	    [FLT_LATER] = "refuse 451 4.7.1 ",
	    [FLT_LINES] = "refuse 554 5.7.9[one][two] ",
	    [FLT_LEAVE] = "refuse 421 ",
	    [FLT_DISCARD] = "discard ",
	    [FLT_HOLD] = "continue hold[the kit] ",
	};
	char got[64], *plain = pm_whole(s, PLAN, &pm_mail, whole);

	for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
		bool right = true;

		if (!*answer_to(plain, stages[i].letter, got, sizeof(got)))
			continue; /* it is not asked there */

		for (unsigned w = 0; w < FLT_WORDS; w++) {
			char *out;

			if ((w == FLT_DISCARD && i < 2) ||
			    (w == FLT_HOLD && stages[i].letter != 'E'))
				continue;
			s->filter->word = w;
			s->filter->word_at = stages[i].stage;
			out = pm_whole(s, PLAN, &pm_mail, whole);
			answer_to(out, stages[i].letter, got, sizeof(got));
			if (strncmp(got, says[w], strlen(says[w])) != 0) {
				kit_note(s->k, "expected %s, got %s", says[w], pm_short(out));
				right = false;
			}
			free(out);
			kit_filter_mend(s->filter);
		}
		kit_ok(s->k, right, "what its filter says at %c is what it says", stages[i].letter);
	}
	free(plain);
}

/* ---- what it does wrong ---- */

/* A talk that waits by turns, then by the clock: no real time goes by. */
static char *timed(struct pm_suite *s)
{
	struct pm_talk t;
	bool going;

	pm_begin(&t, s, PLAN, &pm_mail);
	going = pm_go(&t);
	while (going) {
		for (unsigned i = 0; i < 30 && t.stage && !t.a.told; i++)
			kit_turn(s->k);
		if (t.stage && !t.a.told)
			kit_clock(s->k, PM_END_MS + 1);
		if (t.stage && !t.a.told)
			break; /* told by the host at the deadline, so this cannot be */
		going = pm_go(&t);
	}
	pm_end(&t);
	return t.out;
}

/* On an instance of its own, so that greetings are among the frames. */
static bool one_fault(
    struct pm_suite *s, const char *want, enum flt_fault fault, unsigned at, unsigned *ends)
{
	struct kit_filter *f = s->filter;
	struct pm_suite mine = *s;
	struct meta1_err err = {""};
	char *got, *again;
	bool failed, right;

	mine.inst = kit_open(s->k, NULL, &err);
	if (!mine.inst)
		return false;
	kit_filter_mend(f);
	f->fault = fault;
	f->fault_at = at;
	got = timed(&mine);
	*ends = f->ends;
	failed = strstr(got, "failure ") || strstr(got, "unable ");
	/* a milter's answers have no number: one too many is that to the next command */
	right = (fault == FLT_TWICE && f->speaks == FLT_MILTER) || pm_as_far_as(want, got);
	kit_filter_mend(f);
	kit_clock(s->k, 120000);
	again = timed(&mine);
	if (!right || strcmp(again, want) != 0) {
		kit_note(s->k, "frame %u: %s", at, pm_short(got));
		kit_note(s->k, "afterwards: %s", pm_short(again));
		right = false;
	}
	if (right && !failed && at && fault != FLT_TWICE && !*ends) {
		kit_note(s->k, "frame %u: no failure, and no END", at);
		right = false;
	}
	free(got);
	free(again);
	kit_close(s->k, &mine.inst);
	return right;
}

static void faults(struct pm_suite *s)
{
	static const char *const names[FLT_FAULTS] = {
	    [FLT_SILENT] = "says no more",
	    [FLT_CLOSE] = "hangs up",
	    [FLT_HALF] = "hangs up within an answer",
	    [FLT_GARBAGE] = "says what is no frame",
	    [FLT_HUGE] = "begins a frame of 4 GiB",
	    [FLT_EMPTY] = "says a frame of no length",
	    [FLT_UNKNOWN] = "says a frame of no meaning",
	    [FLT_TWICE] = "answers twice",
	};
	unsigned frames = 0, n, none;
	struct pm_suite mine = *s;
	struct meta1_err err = {""};
	char *want;

	mine.inst = kit_open(s->k, NULL, &err);
	kit_filter_mend(s->filter);
	want = timed(&mine);
	frames = s->filter->ends; /* behind it nothing is asked any more */
	kit_close(s->k, &mine.inst);
	for (unsigned f = FLT_GOOD + 1; f < FLT_FAULTS; f++) {
		bool right = frames > 0 && frames < FRAMES;

		for (n = 1; n <= frames && right; n++)
			right = one_fault(s, want, f, n, &none);
		kit_ok(s->k, right,
		    "a filter that %s at each of %u frames is a failure in time, "
		    "and then asked again",
		    names[f], n - 1);
	}
	free(want);
}

static void byte_for_byte(struct pm_suite *s)
{
	char *want = pm_whole(s, PLAN, &pm_mail, whole), *got;

	s->k->host.trickle = 1;
	got = pm_whole(s, PLAN, &pm_mail, whole);
	s->k->host.trickle = 0;
	kit_ok(
	    s->k, strcmp(want, got) == 0, "the same when its filter's answers come byte for byte");
	free(want);
	free(got);
}

/* The path is there for nobody. */
static void nobody(struct pm_suite *s)
{
	struct kit_server *server = s->k->host.server;
	static struct kit_server none = {.path = "/nonexistent/filter"};
	struct pm_suite mine = *s;
	struct meta1_err err = {""};
	char *got;

	s->k->host.server = &none;
	mine.inst = kit_open(s->k, NULL, &err);
	got = mine.inst ? timed(&mine) : NULL;
	kit_ok(s->k, got && strstr(got, "failure ") && !strstr(got, "continue"),
	    "nobody listens: a failure at the first question");
	free(got);
	kit_close(s->k, &mine.inst);
	s->k->host.server = server;
}

void pm_with_filter(struct pm_suite *s)
{
	words(s);
	byte_for_byte(s);
	faults(s);
	nobody(s);
}
