/* SPDX-License-Identifier: BSD-2-Clause */
/* tls_required.h -- the header field "TLS-Required: No" (RFC 8689 5), looked for while content
 * passes by, however it is cut. No I/O. */
#ifndef META1_TLS_REQUIRED_H
#define META1_TLS_REQUIRED_H
#include "lib/base.h"

/* In the flags of a mail, where modules see a bit without a name: its header says so. Mail that was
 * stored by an older version has no such bit, and smtpc looks into it. */
#define MAIL_TLS_NO 16384u

struct tls_required {  /* begins as zeros */
	char line[64]; /* the begin of a line that may be the field */
	size_t n;      /* bytes of the line so far */
	bool other;    /* it is another field */
	bool over;     /* so is the header: more changes nothing */
	bool no;
};
void tls_required_look(struct tls_required *, const void *, size_t);
/* The header is over, and said No. */
bool tls_required_no(const struct tls_required *);

#endif
