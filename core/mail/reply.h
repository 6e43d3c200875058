/* SPDX-License-Identifier: BSD-2-Clause */
/* reply.h -- SMTP reply texts: enhanced codes, and what a status means. No I/O. */
#ifndef META1_REPLY_H
#define META1_REPLY_H
#include "lib/base.h"

/* The enhanced code at the start of a reply text ("5.1.1 no such user") into out; the length
 * it takes in text with the blanks behind it, 0 when there is none. The class must equal that
 * of the code (RFC 2034); code 0: any class. out is "" when there is none. */
size_t reply_dsn(int code, const char *text, char out[12]);
/* A default enhanced code for a three-digit reply (RFC 3463, RFC 5248). */
const char *reply_default_dsn(int code);
/* Printable, one line, at most size-1 bytes: control characters and DEL become '?'. Bytes
 * above 127 stay (the log escapes them). */
void reply_clean(const char *text, size_t len, char *out, size_t size);
/* The same, and bytes above 127 become '?' too: for JSON, which knows UTF-8 alone. */
void reply_ascii(const char *text, size_t len, char *out, size_t size);

#endif
