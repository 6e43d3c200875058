/* SPDX-License-Identifier: BSD-2-Clause */
/* Edits a mail that it refuses. */
#define CHANGE(s, a)                                                                               \
	if (a->stage == META1_PM_END)                                                              \
	s->verdict.action = META1_PM_REFUSE
#include "filter.h"
