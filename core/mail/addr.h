/* SPDX-License-Identifier: BSD-2-Clause */
/* addr.h -- paths of RFC 5321 (4.1.2): parse, bounds (4.5.3.1), compare. No I/O. */
#ifndef META1_ADDR_H
#define META1_ADDR_H
#include "lib/base.h"

#define ADDR_LOCAL_MAX	64
#define ADDR_DOMAIN_MAX 255
#define ADDR_PATH_MAX	320 /* local@domain, ours; RFC's path limit is 256 with brackets */

struct addr {			 /* slices of the text given */
	struct meta1_buf whole;	 /* local@domain, without brackets and source route */
	struct meta1_buf local;	 /* as written, quotes included */
	struct meta1_buf domain; /* "" for <> and a bare <postmaster> */
};
/* ADDR_NULL also says that the path is a sender: its errors are 5.1.7, else 5.1.3. */
enum addr_flag { ADDR_NULL = 1 /* <> is allowed */, ADDR_POSTMASTER = 2 /* bare <postmaster> */ };

/* Parses "<…>" at the start of text; *used is the length up to and with the '>'. 0, or -1
 * with an enhanced status and the reason in err: "5.1.3 …", "5.1.7 …", fit for the reply.
 * A source route is checked and dropped (RFC 5321, appendix C). Bytes above 127 are refused:
 * SMTPUTF8 is not offered. */
int addr_path(
    const char *text, size_t len, unsigned flags, struct addr *, size_t *used, struct meta1_err *);
bool addr_domain_ok(struct meta1_buf domain); /* LDH labels or an address literal */
bool addr_is_postmaster(const struct addr *); /* local part, any case, quoted or not */
/* Domain in lower case without a final dot; 0, or -1 when it does not fit. */
int addr_domain_key(struct meta1_buf domain, char *out, size_t size);

#endif
