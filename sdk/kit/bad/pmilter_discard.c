/* SPDX-License-Identifier: BSD-2-Clause */
/* Throws away what is not there yet. */
#define CHANGE(s, a)                                                                               \
	if (a->stage == META1_PM_CONNECT)                                                          \
	s->verdict.action = META1_PM_DISCARD
#include "filter.h"
