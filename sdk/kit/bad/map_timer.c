/* SPDX-License-Identifier: BSD-2-Clause */
/* A timer outlives close(). */
#include <meta1/module.h>
static void never(int fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}
#define OPEN(in)  ((in)->timer = (in)->host->watch_timer((in)->ctx, 9000, never, in)) ? 0 : -1
#define CLOSE(in) ((void)0)
#include "bad.h"
