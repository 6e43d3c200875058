/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps a request until the next one comes, which may be never. */
#define ABSENT(in, rq)                                                                             \
	do {                                                                                       \
		if ((in)->req)                                                                     \
			(in)->host->finish((in)->req, META1_NOTFOUND, NULL);                       \
		(in)->req = rq;                                                                    \
	} while (0)
#include "bad.h"
