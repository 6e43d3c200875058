/* SPDX-License-Identifier: BSD-2-Clause */
/* A new body that is nowhere. */
#define CHANGE(s, a)                                                                               \
	do {                                                                                       \
		static const struct meta1_extent nowhere = {.len = 100, .fd = -1};                 \
		s->edit.kind = META1_PM_BODY;                                                      \
		s->edit.extent = &nowhere;                                                         \
		s->edit.nextent = 1;                                                               \
	} while (0)
#include "filter.h"
