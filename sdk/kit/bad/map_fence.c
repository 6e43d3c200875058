/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes one byte behind its block. */
#define OPEN(in) ((in)->block = (in)->host->alloc((in)->ctx, 64)) ? ((in)->block[64] = 1, 0) : -1
#include "bad.h"
