/* SPDX-License-Identifier: BSD-2-Clause */
/* settings_records.h -- the records, shared by settings.c (binding) and settings_print.c. */
#ifndef META1_SETTINGS_RECORDS_H
#define META1_SETTINGS_RECORDS_H
#include "settings.h"

struct settings_records {
	const struct meta1_opt *opt;
	size_t n;
};
extern const struct settings_records rec_global, rec_control, rec_role, rec_log, rec_listen,
    rec_smtps, rec_proxy, rec_client, rec_smtpc, rec_transport, rec_smar, rec_qmgr, rec_qmgr_smtpc,
    rec_queue, rec_map, rec_dnsbl, rec_greylisting, rec_probe, rec_mta_sts, rec_tlsrpt, rec_lookup,
    rec_use, rec_tls, rec_tls_client, rec_auth, rec_login, rec_account, rec_filter;
/* Of each kind of instance that can run in a worker: T has a struct set_isolate iso. */
#define ISOLATE_OPTION(T, f, oname, ty, d, r, fl, text)                                            \
	{                                                                                          \
		.name = oname, .def = d, .range = r, .doc = text, .type = ty, .flags = fl,         \
		.off = offsetof(T, iso.f)                                                          \
	}
#define ISOLATE_OPTIONS(T)                                                                         \
	ISOLATE_OPTION(T, on, "isolate", META1_BOOL, "no", "", 0,                                  \
	    "Run the module in a process of its own, one for each process of the role: when it "   \
	    "crashes or hangs, what it was asked is a temporary failure, and it is started "       \
	    "again."),                                                                             \
	    ISOLATE_OPTION(T, user, "isolate_user", META1_STR, NULL, "", META1_O_USER,             \
		"Account of that process, when mcp runs as root; that of the role unless set."),   \
	    ISOLATE_OPTION(T, memory, "isolate_memory", META1_BYTES, "512MB", "0..1TB", 0,         \
		"Most memory for data in that process, beyond which it gets none; 0: no bound.")
enum { ISOLATE_OPTION_COUNT = 3, FILTER_OPTIONS = 14 + ISOLATE_OPTION_COUNT };
extern const struct meta1_opt opt_filter[FILTER_OPTIONS]; /* settings_filter.c */

#endif
