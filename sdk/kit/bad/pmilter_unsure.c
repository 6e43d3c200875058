/* SPDX-License-Identifier: BSD-2-Clause */
/* Refuses a client for want of memory. */
#define CHANGE(s, a)                                                                               \
	do {                                                                                       \
		void *p = s->f->host->alloc(s->f->ctx, 10);                                        \
		if (!p)                                                                            \
			s->verdict.action = META1_PM_REFUSE, s->verdict.nedit = 0;                 \
		s->f->host->free(s->f->ctx, p);                                                    \
	} while (0)
#include "filter.h"
