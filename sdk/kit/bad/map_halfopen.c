/* SPDX-License-Identifier: BSD-2-Clause */
/* A failed open() leaves something. */
#define LEAVES_IT
#include "bad.h"
