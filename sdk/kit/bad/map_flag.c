/* SPDX-License-Identifier: BSD-2-Clause */
/* Has a flag that nobody knows. */
#define EXTRA_FIELDS .flags = 64
#include "bad.h"
