/* SPDX-License-Identifier: BSD-2-Clause */
/* Its drain() never ends. */
#include <meta1/module.h>
static void drain(void *inst, struct meta1_req *rq)
{
	(void)inst, (void)rq;
}
#define EXTRA_FIELDS .drain = drain
#include "bad.h"
