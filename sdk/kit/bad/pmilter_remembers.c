/* SPDX-License-Identifier: BSD-2-Clause */
/* Does not forget a session's first mail. */
#define RESET(s) (void)(s)
#define CHANGE(s, a)                                                                               \
	if (s->mails > 1)                                                                          \
	s->verdict.note = "another one"
#include "filter.h"
