/* SPDX-License-Identifier: BSD-2-Clause */
/* Holds a mail at MAIL. */
#define CHANGE(s, a)                                                                               \
	if (a->stage == META1_PM_MAIL)                                                             \
	s->verdict.hold = "odd"
#include "filter.h"
