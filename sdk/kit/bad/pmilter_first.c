/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks at the first piece of the content only. */
#define LENGTH(m) (m)->nextent ? (size_t)(m)->extent[0].len : 0
#include "filter.h"
