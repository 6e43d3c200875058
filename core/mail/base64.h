/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base64.h -- base64 of RFC 4648, section 4, as SASL in SMTP wants it: no line ends, no blanks,
 * padding where it belongs, nothing else accepted.
 */
#ifndef META1_BASE64_H
#define META1_BASE64_H
#include "lib/base.h"

#include <sys/types.h>

#define BASE64_LEN(n) (((n) + 2) / 3 * 4) /* characters of n bytes */

/* BASE64_LEN(in.len) characters and a NUL. */
void base64_encode(char *out, struct meta1_buf in);
/* Room for in.len / 4 * 3 bytes. Length, or -1: that is no base64. */
ssize_t base64_decode(uint8_t *out, struct meta1_buf in);

#endif
