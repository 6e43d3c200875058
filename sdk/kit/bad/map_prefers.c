/* SPDX-License-Identifier: BSD-2-Clause */
/* What is refused for good comes with a reply that says it is not. */
#define FOUND(in, rq)                                                                              \
	do {                                                                                       \
		struct meta1_reply r = {.size = sizeof(r), .smtp = 450};                           \
		(in)->host->finish(rq, META1_PERMFAIL, &r);                                        \
	} while (0)
#include "bad.h"
