/* SPDX-License-Identifier: BSD-2-Clause */
/* Frees a block twice. */
#define CLOSE(in)                                                                                  \
	((in)->host->free((in)->ctx, (in)->block), (in)->host->free((in)->ctx, (in)->block))
#include "bad.h"
