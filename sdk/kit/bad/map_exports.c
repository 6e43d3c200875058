/* SPDX-License-Identifier: BSD-2-Clause */
/* Shows a symbol of its own to everybody. */
__attribute__((visibility("default"))) int everybody_sees_this;
#include "bad.h"
