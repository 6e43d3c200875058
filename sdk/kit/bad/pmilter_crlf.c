/* SPDX-License-Identifier: BSD-2-Clause */
/* Two fields in the name of one. */
#define CHANGE(s, a)                                                                               \
	s->edit.name = (struct meta1_buf)                                                          \
	{                                                                                          \
		"X-A: 1\r\nX-B", 11                                                                \
	}
#include "filter.h"
