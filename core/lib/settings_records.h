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
    rec_smtps, rec_proxy, rec_client, rec_smtpc, rec_smar, rec_qmgr, rec_qmgr_smtpc, rec_queue,
    rec_map, rec_dnsbl, rec_greylisting, rec_probe, rec_mta_sts, rec_tlsrpt, rec_lookup, rec_use,
    rec_tls, rec_tls_client, rec_auth, rec_login, rec_account, rec_filter;
enum { FILTER_OPTIONS = 14 };
extern const struct meta1_opt opt_filter[FILTER_OPTIONS]; /* settings_filter.c */

#endif
