/* SPDX-License-Identifier: BSD-2-Clause */
/* date.h -- dates as mail writes them (RFC 5322 3.3). No I/O. */
#ifndef META1_DATE_H
#define META1_DATE_H
#include "lib/base.h"

#define DATE_SIZE 40
/* wall: seconds since 1970; utc: +0000 instead of the machine's zone. Returns out. */
const char *date_text(int64_t wall, bool utc, char out[DATE_SIZE]);

#endif
