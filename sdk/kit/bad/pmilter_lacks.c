/* SPDX-License-Identifier: BSD-2-Clause */
/* Cannot be told that nobody waits any more. */
#define CANCEL NULL
#include "filter.h"
