/* SPDX-License-Identifier: BSD-2-Clause */
/* Has no answer to DATA, nor to cancel(). */
#define FINISH(s, rq, reply)                                                                       \
	do {                                                                                       \
		if (a->stage != META1_PM_DATA)                                                     \
			(s)->f->host->finish(rq, META1_OK, reply);                                 \
	} while (0)
#include "filter.h"
