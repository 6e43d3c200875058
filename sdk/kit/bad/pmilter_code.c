/* SPDX-License-Identifier: BSD-2-Clause */
/* Refuses with 250. */
#define CHANGE(s, a)                                                                               \
	if (a->stage == META1_PM_MAIL)                                                             \
	s->verdict.action = META1_PM_REFUSE, s->verdict.smtp = 250
#include "filter.h"
