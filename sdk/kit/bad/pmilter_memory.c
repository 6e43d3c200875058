/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes all content for memory. */
#define LENGTH(m) (m)->nextent ? strnlen((m)->extent[0].mem, (m)->extent[0].len) : 0
#include "filter.h"
