/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts fields of a name from 0. */
#define CHANGE(s, a) s->edit.kind = META1_PM_CHANGE_HEADER
#include "filter.h"
