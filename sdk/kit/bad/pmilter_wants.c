/* SPDX-License-Identifier: BSD-2-Clause */
/* Wants a stage that there is not. */
#define CHANGE(s, a) s->verdict.wants |= 0x4000
#include "filter.h"
