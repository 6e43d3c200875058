/* SPDX-License-Identifier: BSD-2-Clause */
/* Has another value. */
#define FOUND(in, rq)                                                                              \
	do {                                                                                       \
		struct meta1_buf v = {"valuf", 5};                                                 \
		struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &v};                  \
		(in)->host->finish(rq, META1_OK, &r);                                              \
	} while (0)
#include "bad.h"
