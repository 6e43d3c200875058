/* SPDX-License-Identifier: BSD-2-Clause */
/* Edits at RCPT. */
#define CHANGE(s, a)                                                                               \
	if (a->stage == META1_PM_RCPT)                                                             \
	s->verdict.edit = &s->edit, s->verdict.nedit = 1
#include "filter.h"
