/* SPDX-License-Identifier: BSD-2-Clause */
/* Wants a function of the server. */
extern int meta1_secret_function(void);
#define OPEN(in) meta1_secret_function()
#include "bad.h"
