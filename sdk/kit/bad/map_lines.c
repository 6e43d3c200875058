/* SPDX-License-Identifier: BSD-2-Clause */
/* Its reason is two lines. */
#define ABSENT(in, rq)                                                                             \
	do {                                                                                       \
		struct meta1_reply r = {.size = sizeof(r), .text = "not\nthere"};                  \
		(in)->host->finish(rq, META1_NOTFOUND, &r);                                        \
	} while (0)
#include "bad.h"
