/* SPDX-License-Identifier: BSD-2-Clause */
/* Says no where realloc() has no memory: an absent key, for all that the asker knows. */
#define FOUND(in, rq)                                                                              \
	do {                                                                                       \
		char *v = realloc(NULL, 5);                                                        \
		struct meta1_buf b = {v, 5};                                                       \
		struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &b};                  \
		if (v)                                                                             \
			memcpy(v, "value", 5);                                                     \
		(in)->host->finish(rq, v ? META1_OK : META1_NOTFOUND, v ? &r : NULL);              \
		free(v);                                                                           \
	} while (0)
#include "bad.h"
