/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes want of memory for a definite no. */
#define FOUND(in, rq)                                                                              \
	do {                                                                                       \
		struct meta1_buf v = {(in)->host->req_alloc(rq, 5), 5};                            \
		struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &v};                  \
                                                                                                   \
		if (v.data)                                                                        \
			memcpy((void *)(size_t)v.data, "value", 5);                                \
		(in)->host->finish(rq, v.data ? META1_OK : META1_NOTFOUND, v.data ? &r : NULL);    \
	} while (0)
#include "bad.h"
