/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes the server's loop and does not say for which libevent it was built. */
#define OPEN(in)                                                                                   \
	((in)->host->base((in)->ctx), (in)->block = (in)->host->alloc((in)->ctx, 64)) ? 0 : -1
#include "bad.h"
