/* SPDX-License-Identifier: BSD-2-Clause */
/* Its note is the sender as it was asked, which is there during the call only. */
#define CHANGE(s, a)                                                                               \
	if (a->stage == META1_PM_MAIL)                                                             \
	s->verdict.note = a->arg.data
#include "filter.h"
