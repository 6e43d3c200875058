/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes a function of the server when it is there. */
void meta1_secret_function(void) __attribute__((weak));
#define OPEN(in)  (meta1_secret_function ? meta1_secret_function() : (void)0, 0)
#define CLOSE(in) (void)0
#include "bad.h"
