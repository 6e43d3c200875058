/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes out who is no recipient. */
#define CHANGE(s, a)                                                                               \
	do {                                                                                       \
		s->edit.kind = META1_PM_DEL_RCPT;                                                  \
		s->edit.value = (struct meta1_buf){"stranger@b.example", 18};                      \
	} while (0)
#include "filter.h"
