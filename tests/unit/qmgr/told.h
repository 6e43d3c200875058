/* SPDX-License-Identifier: BSD-2-Clause */
/* told.h -- a world in which somebody is told of what became of a mail. */
#ifndef TEST_QMGR_TOLD_H
#define TEST_QMGR_TOLD_H
#include "world.h"

static inline struct world *start(int64_t warning)
{
	struct world *w;

	world_delay_warning = warning;
	w = world_new(100);
	world_smtpc_up(w, 10);
	world_taken = META1_TAKEN_RELAYED;
	return w;
}

static inline void end(struct world *w)
{
	world_free(&w);
	world_double_bounce = NULL;
	world_verp = NULL;
	world_envid = NULL;
	world_flags = world_taken = 0;
}

static inline void has(const char *s, const char *part)
{
	if (!strstr(s, part))
		fail_msg("not there: %s\nin:\n%s", part, s);
}

#endif
