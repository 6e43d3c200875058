/* SPDX-License-Identifier: BSD-2-Clause */
/* idn.h -- internationalised domain names (RFC 5890, UTS 46): U-labels and A-labels. No I/O. */
#ifndef META1_IDN_H
#define META1_IDN_H
#include "lib/base.h"

/* The name with A-labels in place of its U-labels, lower case; 0, or -1: it is no name, or too
 * long for size or for the DNS. What comes out may still be no host name: the caller looks. */
int idn_ascii(struct meta1_buf name, char *out, size_t size);
/* The same name as people write it: U-labels in place of A-labels, lower case, NFC. false: it has
 * no A-label, or one that is none. */
bool idn_text(const char *name, char *out, size_t size);

#endif
