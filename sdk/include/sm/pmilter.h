/* SPDX-License-Identifier: BSD-2-Clause */
/* sm/pmilter.h -- for filters that include MeTA1's name of it. */
#include <meta1/pmfapi.h>
