/* SPDX-License-Identifier: BSD-2-Clause */
/* Says found, and no value. */
#define FOUND(in, rq) (in)->host->finish(rq, META1_OK, NULL)
#include "bad.h"
