/* SPDX-License-Identifier: BSD-2-Clause */
/* What a session had it gives back at close() only. */
#define KEEPS_IT
#define END(s, sess) *(sess) = NULL
#define CLOSE(f)                                                                                   \
	for (struct sess * s; (s = (f)->all);) {                                                   \
		(f)->all = s->next;                                                                \
		(f)->host->free((f)->ctx, s);                                                      \
	}
#include "filter.h"
