/* SPDX-License-Identifier: BSD-2-Clause */
/* xtext.h -- the words in which RFC 3461 and RFC 6533 carry text: xtext, and addresses with a
 * type. No I/O. */
#ifndef META1_XTEXT_H
#define META1_XTEXT_H
#include "lib/base.h"

#define XTEXT_ENVID_MAX 100 /* RFC 3461 4.4, 4.2: as encoded */
#define XTEXT_ORCPT_MAX 500

/* Well formed, not empty, and nothing in it, encoded or not, but printable ASCII and blanks. */
bool xtext_ok(struct meta1_buf);
/* Decodes what is xtext_ok() into out, with NUL; what has no room is cut off. */
void xtext_decode(struct meta1_buf, char *out, size_t size);
/* "type;text" of ORCPT. type utf-8 has the forms of RFC 6533 3: \x{10FFFF}, and, if utf8,
 * UTF-8 as it is. */
bool xtext_orcpt_ok(struct meta1_buf, bool utf8);
/* The same in ASCII, as any hop takes it, without NUL; its length, 0: it does not fit. */
size_t xtext_orcpt_ascii(struct meta1_buf, char *out, size_t size);
/* "rfc822;a@b" of an ASCII address, encoded; its length without NUL, 0: it does not fit. */
size_t xtext_encode_orcpt(struct meta1_buf, char *out, size_t size);
/* An ORCPT that is xtext_orcpt_ok() as a field of a report has it: "type; text". utf8: the
 * report may have UTF-8; else what is not ASCII is written as \x{...}. */
void xtext_orcpt_field(const char *orcpt, bool utf8, char *out, size_t size);
/* An address in that form: "rfc822; a@b", or "utf-8; …" when it is not ASCII. */
void xtext_addr_field(const char *addr, bool utf8, char *out, size_t size);
bool xtext_ascii(const char *);
bool xtext_utf8(const char *, size_t); /* UTF-8 to the letter of RFC 3629 */

#endif
