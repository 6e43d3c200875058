/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of malloc() that it never gives back. */
#define OPEN(in)  ((in)->block = malloc(100)) ? 0 : -1
#define CLOSE(in) (in)->block = NULL
#include "bad.h"
