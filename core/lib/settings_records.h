/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_records.h -- the records, shared by settings.c (binding) and settings_print.c, and the
 * macros that the tables of them are written with: settings_records.c says where each is.
 */
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
#define RECORDS(x) const struct settings_records rec_##x = {opt_##x, ARRAY_LEN(opt_##x)}
/* A record whose C field has another name than the option, or more flags than the macro. */
#define REC(T, f, oname, ty, d, r, fl, text)                                                       \
	{                                                                                          \
		.name = oname, .def = d, .range = r, .doc = text, .type = ty, .flags = fl,         \
		.off = offsetof(T, f)                                                              \
	}

/* A section as the manual shows it; those of a role in one table, ended by path NULL. */
struct settings_section {
	const char *path; /* as in struct settings_group */
	const struct settings_records *rec;
	const char *doc;
	size_t size; /* of the struct that it fills */
};
#define SECTION(p, x, T, text)                                                                     \
	{                                                                                          \
		p, &rec_##x, text, sizeof(T)                                                       \
	}
extern const struct settings_section sections_smtps[], sections_smtpc[], sections_qmgr[],
    sections_smar[];

/* The sections to which an option or a section of that name belongs, as text in buf; NULL: none, or
 * so many that it tells nothing. */
const char *settings_home(const char *name, char *buf, size_t size);

/* Of tls { } in smtps and smtpc. */
#define TLS_OPTIONS                                                                                \
	META1_OPT_LIST(struct set_tls, cert_file, NULL, 0,                                         \
	    "Certificate, PEM, with those between it and its root behind it; or several, such as " \
	    "one "                                                                                 \
	    "with an ECDSA key beside one with an RSA key, or of other names (SNI)."),             \
	    META1_OPT_LIST(struct set_tls, key_file, NULL, 0,                                      \
		"Its key, PEM, not encrypted, that only root or the role's account may write, "    \
		"and "                                                                             \
		"only it and its group read; as many as cert_file has, in the same order."),       \
	    META1_OPT_PATH(struct set_tls, CAcert_file, NULL, 0, "Trusted CA certificates, PEM."), \
	    META1_OPT_PATH(struct set_tls, CAcert_directory, NULL, 0,                              \
		"Folder of trusted CA certificates under their hashed names."),                    \
	    META1_OPT_PATH(struct set_tls, CRL_file, NULL, 0,                                      \
		"Lists of revoked certificates, PEM, of each CA that signs certificates of "       \
		"peers; "                                                                          \
		"a certificate whose CA has no list in it, or an old one, is not verified."),      \
	    META1_OPT_STR(struct set_tls, ciphers, "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES", 0,     \
		"Ciphers of TLS 1.2, in OpenSSL's words. Versions are 1.2 and 1.3.")

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
