/* SPDX-License-Identifier: BSD-2-Clause */
/* Two lines in one line of a reply. */
#define CHANGE(s, a)                                                                               \
	do {                                                                                       \
		if (a->stage != META1_PM_MAIL)                                                     \
			break;                                                                     \
		s->line = (struct meta1_buf){"no\r\n250 yes", 11};                                 \
		s->verdict.action = META1_PM_REFUSE;                                               \
		s->verdict.line = &s->line;                                                        \
		s->verdict.nline = 1;                                                              \
	} while (0)
#include "filter.h"
