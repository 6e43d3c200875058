/* SPDX-License-Identifier: BSD-2-Clause */
/* until.h -- a loop waits for its events until something is so; a test ends after 20 s in vain. */
#ifndef META1_TEST_UNTIL_H
#define META1_TEST_UNTIL_H
#include "lib/loop.h"

#include "unit.h"

#include <event2/event.h>

static inline void until_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
}

/* By the machine's clock, whatever the loop has for one. */
static inline struct event *until_guard(struct loop *l, bool *late)
{
	const struct timeval most = {20, 0};
	struct event *e = evtimer_new(loop_base(l), until_late, late);

	assert_non_null(e);
	assert_int_equal(evtimer_add(e, &most), 0);
	return e;
}

/* For what an event of the loop brings about: what a thread or process tells it, too. */
#define LOOP_UNTIL(l, so)                                                                          \
	do {                                                                                       \
		bool late_ = false;                                                                \
		struct event *guard_ = until_guard(l, &late_);                                     \
                                                                                                   \
		while (!(so) && !late_)                                                            \
			loop_turn(l, true);                                                        \
		event_free(guard_);                                                                \
		if (late_)                                                                         \
			fail_msg("20 s in vain: %s", #so);                                         \
	} while (0)

#endif
