/* SPDX-License-Identifier: BSD-2-Clause */
/* What is not there is a temporary failure. */
#define ABSENT(in, rq) (in)->host->finish(rq, META1_TEMPFAIL, NULL)
#include "bad.h"
