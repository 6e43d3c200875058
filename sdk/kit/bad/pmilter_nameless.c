/* SPDX-License-Identifier: BSD-2-Clause */
/* A field without a name. */
#define CHANGE(s, a)                                                                               \
	s->edit.name = (struct meta1_buf)                                                          \
	{                                                                                          \
		"", 0                                                                              \
	}
#include "filter.h"
