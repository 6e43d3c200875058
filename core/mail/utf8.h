/* SPDX-License-Identifier: BSD-2-Clause */
/* utf8.h -- a character of UTF-8, read and written. No I/O. */
#ifndef META1_UTF8_H
#define META1_UTF8_H
#include "lib/base.h"

/* The character at p, of which left bytes are there (at least one), and its length; 0: not well
 * formed. */
size_t utf8_get(const unsigned char *p, size_t left, uint32_t *out);
/* Its length. */
size_t utf8_put(uint32_t, char out[4]);

#endif
