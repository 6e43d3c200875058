/* SPDX-License-Identifier: BSD-2-Clause */
/* Fails, and does not say why. */
#define FINISH(s, rq, reply)                                                                       \
	(s)->f->host->finish(rq, a->stage == META1_PM_END ? META1_TEMPFAIL : META1_OK,             \
	    a->stage == META1_PM_END ? NULL : reply)
#include "filter.h"
