/* SPDX-License-Identifier: BSD-2-Clause */
/* addr.h -- paths of RFC 5321 (4.1.2) and 6531 (3.3): parse, bounds (4.5.3.1), keys. No I/O. */
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
	bool utf8;		 /* has bytes above 127, perhaps in its source route */
};
/* ADDR_NULL also says that the path is a sender: its errors are 5.1.7, else 5.1.3. */
enum addr_flag { ADDR_NULL = 1 /* <> is allowed */, ADDR_POSTMASTER = 2 /* bare <postmaster> */ };

/* Parses "<…>" at the start of text; *used is the length up to and with the '>'. 0, or -1
 * with an enhanced status and the reason in err: "5.1.3 …", "5.1.7 …", fit for the reply.
 * A source route is checked and dropped (RFC 5321, appendix C). UTF-8 is taken where RFC 6531
 * has it; a caller whose client did not say SMTPUTF8 refuses what has utf8 set. Bounds are of
 * bytes. Letters are not normalised: a local part belongs to its host. */
int addr_path(
    const char *text, size_t len, unsigned flags, struct addr *, size_t *used, struct meta1_err *);
bool addr_domain_ok(struct meta1_buf domain); /* LDH labels, U-labels, or an address literal */
bool addr_utf8(struct meta1_buf);	      /* has bytes above 127 */
bool addr_dot_string(struct meta1_buf local); /* a local part that needs no quotes */
/* Bytes above 127 in the local part of local@domain: no A-label helps, it needs SMTPUTF8. */
bool addr_utf8_local(struct meta1_buf path);
bool addr_is_postmaster(const struct addr *); /* local part, any case, quoted or not */
/* The one form in which a domain is looked up, compared and kept: lower case, A-labels, no final
 * dot. 0, or -1: it does not fit, or its U-labels are none. */
int addr_domain_key(struct meta1_buf domain, char *out, size_t size);

#endif
