/* SPDX-License-Identifier: BSD-2-Clause */
/* Its reply has no size. */
#define ABSENT(in, rq)                                                                             \
	do {                                                                                       \
		struct meta1_reply r = {.text = "not there"};                                      \
		(in)->host->finish(rq, META1_NOTFOUND, &r);                                        \
	} while (0)
#include "bad.h"
