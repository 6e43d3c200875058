/* SPDX-License-Identifier: BSD-2-Clause */
/* Falls over a long key. */
#define ABSENT(in, rq)                                                                             \
	do {                                                                                       \
		if (key.len > 60000)                                                               \
			abort();                                                                   \
		(in)->host->finish(rq, META1_NOTFOUND, NULL);                                      \
	} while (0)
#include "bad.h"
