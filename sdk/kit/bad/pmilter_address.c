/* SPDX-License-Identifier: BSD-2-Clause */
/* A recipient with a line end in the address. */
#define CHANGE(s, a)                                                                               \
	do {                                                                                       \
		s->edit.kind = META1_PM_ADD_RCPT;                                                  \
		s->edit.value = (struct meta1_buf){"a@b.example\r\nDATA", 17};                     \
	} while (0)
#include "filter.h"
