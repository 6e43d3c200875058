/* SPDX-License-Identifier: BSD-2-Clause */
/* The default of its option is outside of the range. */
#define OPTION META1_OPT_INT(struct conf, number, "10", "0..9", "A number.")
#include "bad.h"
