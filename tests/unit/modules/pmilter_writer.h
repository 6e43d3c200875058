/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_writer.h -- a filter of libpmilter that writes down what it hears, and answers as a test
 * says. */
#ifndef META1_TEST_PMILTER_WRITER_H
#define META1_TEST_PMILTER_WRITER_H
#include "pmilter_fix.h"

extern char pw_heard[4096]; /* "stage argument;" */
extern char pw_content[8 << 20];
extern size_t pw_ncontent;
extern unsigned pw_closes, pw_aborts;
extern sfsistat_T pw_at_eom, pw_at_msg;
extern pmse_ctx_P pw_later; /* the session that was last asked END */
extern const struct pmilter_S pw_filter;
extern const char pw_small[]; /* a message */

sfsistat_T pw_on_eom(pmse_ctx_P);
sm_ret_T pw_on_close(pmse_ctx_P);
struct pf *pw_up(const struct pmilter_S *, const char *options);
void pw_down(struct pf *, struct ps *, unsigned closed);
void pw_envelope(struct ps *); /* connect, helo, mail, rcpt, data; without END */

#endif
