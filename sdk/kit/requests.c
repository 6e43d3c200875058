/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * requests.c -- the suite of the law of requests, by look-ups: each is finished once,
 * also when the asker goes away or the deadline passes, a thousand at a time.
 * Comes from modtest.c; other kinds are held to the same law by their own suites.
 * On failure: the host's complaint is shown with the line.
 */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>

#define MANY 1000

static struct kit_answer many[MANY];

static struct meta1_req *ask(struct kit *k, struct kit_inst *in, unsigned i)
{
	char key[32];

	snprintf(key, sizeof(key), "key-%u.invalid", i);
	kit_ask(k, in, buf_str(key), &many[i]);
	return many[i].req;
}

static unsigned told(bool once)
{
	unsigned i, n = 0;

	for (i = 0; i < MANY; i++) {
		n += once ? many[i].times == 1 : many[i].times > 0;
		kit_answer_free(&many[i]);
	}
	return n;
}

static void slept(struct kit *k, struct kit_inst *in)
{
	kit_ok(k, kit_slept(in) < 3,
	    "no call holds the loop asleep (%u times over 100 ms; what may sleep is for offload())",
	    kit_slept(in));
}

/* Of one that sleeps thousands need not be tried. */
static bool awake(struct kit *k, struct kit_inst *in)
{
	unsigned i;

	for (i = 0; i < 4; i++) {
		ask(k, in, i);
		kit_wait(k, &many[i]);
		kit_answer_free(&many[i]);
	}
	if (kit_slept(in) < 3)
		return true;
	slept(k, in);
	kit_close(k, &in);
	return false;
}

static void thousand(struct kit *k, struct kit_inst *in)
{
	unsigned i, n;

	for (i = 0; i < MANY; i++)
		ask(k, in, i);
	for (i = 0; i < MANY; i++)
		kit_wait(k, &many[i]);
	n = told(true);
	kit_ok(k, n == MANY, "%u of %d look-ups at a time are answered once", n, MANY);
}

static void cancelled(struct kit *k, struct kit_inst *in)
{
	struct meta1_req *rq;
	unsigned i, n;

	for (i = 0; i < MANY; i++) {
		rq = ask(k, in, i);
		if (i % 3 == 1)
			kit_turn(k); /* at different steps */
		if (!many[i].told)
			kit_req_cancel(&rq);
		else
			many[i].times = 0;
	}
	for (i = 0; i < 100; i++)
		kit_turn(k);
	kit_clock(k, 10 * KIT_DEADLINE_MS);
	n = told(false);
	kit_ok(k, n == 0, "%u of %d look-ups are answered after the asker left", n, MANY);
}

static void overdue(struct kit *k, struct kit_inst *in)
{
	unsigned i, n;

	for (i = 0; i < MANY; i++)
		ask(k, in, i);
	kit_clock(k, KIT_DEADLINE_MS);
	for (i = 0; i < MANY; i++)
		kit_wait(k, &many[i]);
	n = told(true);
	kit_ok(
	    k, n == MANY, "%u of %d look-ups are answered once when the deadline passes", n, MANY);
	kit_clock(k, 10 * KIT_DEADLINE_MS);
	kit_ok(k, true, "and finished within two more");
}

/* What is under way is finished, then the instance may be closed. */
static void drained(struct kit *k, struct kit_inst *in)
{
	unsigned i, n;
	bool ended;

	for (i = 0; i < MANY; i++)
		ask(k, in, i);
	ended = kit_inst_drain(in, 10 * KIT_DEADLINE_MS);
	for (i = 0; i < MANY; i++)
		kit_wait(k, &many[i]);
	n = told(true);
	kit_ok(k, ended && n == MANY, "%u of %d look-ups are answered once by a drain", n, MANY);
}

int kit_requests(struct kit *k)
{
	struct meta1_err err = {""};
	struct kit_inst *in;

	if (k->m->kind != META1_MAP)
		return 0;
	in = kit_open(k, NULL, &err);
	if (!kit_ok(k, in != NULL, "opens for requests %s", err.text))
		return -1;
	if (!awake(k, in))
		return -1;
	thousand(k, in);
	cancelled(k, in);
	overdue(k, in);
	slept(k, in);
	drained(k, in);
	kit_close(k, &in);
	kit_ok(k, true, "closes after all that, nothing left");
	return 0;
}
