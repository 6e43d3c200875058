/* SPDX-License-Identifier: BSD-2-Clause */
/* Never answers for an absent key, whatever cancel() says. */
#include <meta1/map.h>
static void cancel(void *inst, struct meta1_req *rq)
{
	(void)inst, (void)rq;
}
#define ABSENT(in, rq) ((void)0)
#define EXTRA_OPS      .cancel = cancel
#include "bad.h"
