/* SPDX-License-Identifier: BSD-2-Clause */
/* opt_manual.h -- option records in manual pages. file: a FILE. */
#ifndef META1_OPT_MANUAL_H
#define META1_OPT_MANUAL_H
#include "opt.h"

void opt_manual(const struct meta1_opt *, void *file); /* as a paragraph */
void opt_manual_text(const char *, void *file);	       /* as a page has it */

#endif
