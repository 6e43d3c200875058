/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers the sender two times. */
#define FINISH(s, rq, reply)                                                                       \
	do {                                                                                       \
		(s)->f->host->finish(rq, META1_OK, reply);                                         \
		if (a->stage == META1_PM_MAIL)                                                     \
			(s)->f->host->finish(rq, META1_OK, reply);                                 \
	} while (0)
#include "filter.h"
