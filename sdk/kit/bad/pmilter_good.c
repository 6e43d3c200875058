/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps every law: what is refused of the others is not in filter.h. */
#include "filter.h"
