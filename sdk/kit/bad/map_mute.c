/* SPDX-License-Identifier: BSD-2-Clause */
/* Its option is not described. */
#define OPTION META1_OPT_STR(struct conf, word, "a", 0, "word")
#include "bad.h"
