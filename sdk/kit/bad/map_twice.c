/* SPDX-License-Identifier: BSD-2-Clause */
/* Finishes what is absent two times. */
#define ABSENT(in, rq)                                                                             \
	do {                                                                                       \
		(in)->host->finish(rq, META1_NOTFOUND, NULL);                                      \
		(in)->host->finish(rq, META1_NOTFOUND, NULL);                                      \
	} while (0)
#include "bad.h"
