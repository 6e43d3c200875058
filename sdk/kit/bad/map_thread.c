/* SPDX-License-Identifier: BSD-2-Clause */
/* Logs from a worker thread. */
static void work(void *arg);
static void done(void *arg);
#define FOUND(in, rq)                                                                              \
	do {                                                                                       \
		struct meta1_buf v = {"value", 5};                                                 \
		struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &v};                  \
		(in)->host->offload((in)->ctx, work, done, in);                                    \
		(in)->host->finish(rq, META1_OK, &r);                                              \
	} while (0)
#include "bad.h"

static void work(void *arg)
{
	struct bad *in = arg;

	in->host->log(in->ctx, META1_INFO, "from a thread");
}

static void done(void *arg)
{
	(void)arg;
}
