/* SPDX-License-Identifier: BSD-2-Clause */
/* Believes that memory is always there. */
#define OPEN(in) ((in)->block = (in)->host->alloc((in)->ctx, 64), (in)->block[0] = 1, 0)
#include "bad.h"
