/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps every law: what is refused of the others is not in bad.h. */
#include "bad.h"
