/* SPDX-License-Identifier: BSD-2-Clause */
/* A failed open() does not say why. */
#define NO_REASON
#include "bad.h"
