/* SPDX-License-Identifier: BSD-2-Clause */
/* Does not look whether there was memory. */
#define NO_MEMORY(f, sess) (void)(f)
#include "filter.h"
