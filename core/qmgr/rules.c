/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rules.c -- what the result of a try means for a recipient, and when the next try is due.
 * Comes from outcome.c, goes back there. Owns nothing; no I/O, so that tables can test it.
 *
 *	status     scope     first time        at the end of its time
 *	OK         any       done
 *	PERMFAIL   mail      bounce
 *	CANCELED   session   again at once, however often and old
 *	any else   session   again at once     bounce (second time: as host)
 *	any else   mail      wait by age       bounce
 *	any else   host      wait for host     bounce; never the recipient's blame
 */
#include "qmgr/qmgr.h"

#define HOST_WAIT_MS 60000 /* a living destination failed: soon again */

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
	return v < low ? low : v > high ? high : v;
}

/* The longer it waited, the longer it waits: the delay is the age, within the limits, give or
 * take a tenth (so that a flood of failures does not come back as one). */
int64_t qmgr_rules_delay(const struct qmgr_limits *lim, int64_t age, uint32_t dice)
{
	int64_t d = clamp(age, lim->min_retry, lim->max_retry);

	return d - d / 10 + (int64_t)(dice % 1024) * (d / 5) / 1024;
}

struct qmgr_ruling qmgr_rules_judge(const struct qmgr_limits *lim, const struct qmgr_case *c)
{
	struct qmgr_ruling r = {.verdict = QV_WAIT};

	if (c->status == META1_OK) {
		r.verdict = QV_DONE;
		return r;
	}
	if (c->status == META1_PERMFAIL && c->scope == META1_ABOUT_MAIL) {
		r.verdict = QV_BOUNCE;
		r.blame = true;
		return r;
	}
	if (c->status == META1_CANCELED && c->scope == META1_ABOUT_SESSION) {
		r.verdict = QV_AGAIN; /* smtpc stops in order: this was no try */
		return r;
	}
	if (c->age >= lim->max_queue) {
		r.verdict = QV_BOUNCE;
		r.expired = true;
		return r;
	}
	if (c->scope == META1_ABOUT_SESSION && !c->again) {
		r.verdict = QV_AGAIN;
		return r;
	}
	if (c->scope == META1_ABOUT_MAIL) {
		r.blame = true;
		r.delay = qmgr_rules_delay(lim, c->age, c->dice);
	} else if (c->dead_for > 0) {
		r.delay = c->dead_for + (int64_t)(c->dice % 1024) * (c->dead_for / 10) / 1024;
	} else {
		r.delay = lim->min_retry < HOST_WAIT_MS ? lim->min_retry : HOST_WAIT_MS;
	}
	/* One try at the very end, rather than a bounce long after it. */
	if (c->age + r.delay > lim->max_queue) {
		int64_t least = lim->min_retry < r.delay ? lim->min_retry : r.delay;

		r.delay = clamp(lim->max_queue - c->age, least, r.delay);
	}
	return r;
}
