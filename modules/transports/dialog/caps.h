/* SPDX-License-Identifier: BSD-2-Clause */
/* caps.h -- what a next hop offers in its reply to EHLO or LHLO. No I/O. */
#ifndef META1_DIALOG_CAPS_H
#define META1_DIALOG_CAPS_H
#include <stddef.h>
#include <stdint.h>

struct dialog_caps {
	uint32_t pipelining, eightbit, size, dsn, smtputf8, starttls, ignorequota, trace,
	    requiretls;	   /* offered: 1 */
	uint64_t max_size; /* of SIZE; 0: none told */
};

/* One line of the reply without its code; the first line of the reply (the greeting) is not
 * for here. Unknown keywords are skipped, and ENHANCEDSTATUSCODES with them: replies are
 * searched for enhanced codes from every hop. */
void dialog_caps_line(struct dialog_caps *, const char *line, size_t len);

/* The same line: mechanisms of AUTH are added to names, a blank before each but the first; what is
 * no name of one, or has no room, is left out. */
void dialog_caps_auth(char *names, size_t size, const char *line, size_t len);

uint32_t dialog_caps_offers(struct dialog_caps); /* enum meta1_offer */
/* What is left without these offers (enum meta1_offer). */
struct dialog_caps dialog_caps_without(struct dialog_caps, uint32_t without);

#endif
