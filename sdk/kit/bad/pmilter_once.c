/* SPDX-License-Identifier: BSD-2-Clause */
/* Forgets .wants at the end of a mail: the next one of the session would pass unjudged. */
#define CHANGE(s, a) (s)->verdict.wants = (a)->stage == META1_PM_END ? 0 : WANTS
#include "filter.h"
