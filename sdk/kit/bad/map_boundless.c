/* SPDX-License-Identifier: BSD-2-Clause */
/* Its option has no range. */
#define OPTION META1_OPT_INT(struct conf, number, "1", "", "A number.")
#include "bad.h"
