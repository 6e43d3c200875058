/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeps in a look-up. */
#include <unistd.h>
#define ABSENT(in, rq)                                                                             \
	do {                                                                                       \
		static int n;                                                                      \
                                                                                                   \
		if (n++ < 5)                                                                       \
			usleep(150000);                                                            \
		(in)->host->finish(rq, META1_NOTFOUND, NULL);                                      \
	} while (0)
#include "bad.h"
