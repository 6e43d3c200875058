/* SPDX-License-Identifier: BSD-2-Clause */
/* A failed open() does not say why. */
#define REASON(err) (void)(err)
#include "bad.h"
