/* SPDX-License-Identifier: BSD-2-Clause */
/* Does not look whether malloc() had memory. */
#define OPEN(in)  (memset((in)->block = malloc(100), 0, 100), 0)
#define CLOSE(in) free((in)->block)
#include "bad.h"
