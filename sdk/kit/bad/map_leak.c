/* SPDX-License-Identifier: BSD-2-Clause */
/* A block is not given back. */
#define CLOSE(in) ((void)0)
#include "bad.h"
