/* SPDX-License-Identifier: BSD-2-Clause */
/* Loses a session that ended. */
#define END(s, sess) *(sess) = NULL
#include "filter.h"
