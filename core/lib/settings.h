/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.h -- the core's options, each one record, and the structs they fill.
 * The C field has the option's name. settings_records.c and, a file a role, settings_smtps.c,
 * settings_smtpc.c, settings_qmgr.c and settings_smar.c hold the records; from them come parser,
 * checks, -VVVV, the sample files and meta1.conf(5).
 *
 * A section that a module serves (map, queue, auth, policy_milter)
 * keeps its raw conf_section: the options that the core does not know belong to the
 * module and are bound when its descriptor is there (core/mod).
 */
#ifndef META1_SETTINGS_H
#define META1_SETTINGS_H
#include "opt.h"

enum { START_WAIT, START_PASS, START_ACCEPT, START_NOSTARTACCEPT };
enum { SOCK_INET, SOCK_INET6, SOCK_UNIX };
enum { NEWLINE_REJECT, NEWLINE_REPAIR }; /* bare_newline */
enum { SPF_HEADER_NONE, SPF_HEADER_RECEIVED, SPF_HEADER_RESULTS };
enum { PROXY_MODE_OFF, PROXY_MODE_ALLOW, PROXY_MODE_REQUIRED };
enum { TLS_POLICY_NONE, TLS_POLICY_MAY, TLS_POLICY_ENCRYPT, TLS_POLICY_VERIFY };
enum { NO_8BITMIME_SEND, NO_8BITMIME_BOUNCE };
/* bits in the order of the record's range */
enum {
	SMTPS_F_8BITMIME = 1,
	SMTPS_F_ACCESS = 2,
	SMTPS_F_SMTPUTF8 = 4,
	SMTPS_F_PRDR = 8,
	SMTPS_F_DELAY = 16,
	SMTPS_F_SESSION_CONF = 32
};

enum { SMTPC_F_SESSION_CONF = 1, SMTPC_F_RCPT_CONF = 2 };

struct set_log { /* log { } */
	const char *facility, *ident, *file;
	int32_t format; /* text|json */
	bool given;
};

struct set_listen {					   /* listen_socket { } */
	int32_t type;					   /* SOCK_ */
	const char *address, *path, *user, *group, *umask; /* NULL: not said; address: any */
	int64_t port;					   /* 0 for unix */
	int32_t tls;					   /* from the first byte */
	struct conf_section *section;
	struct conf_pos pos;
};

/* What every role section has; mcp reads most of it. */
struct set_role {
	const char *keyword;	      /* smtps, smtpc, smar, qmgr */
	const char *name;	      /* several smtps sections; NULL else */
	struct conf_section *section; /* NULL: the file has none, all is default */
	int64_t log_level;
	const char *user, *group, *path, *arguments, *pass_fd_socket;
	int32_t start_action;
	int64_t wait_for_server, wait_for_client; /* ms */
	int64_t processes;
	const char *const *restart_dependencies;
	struct set_log log;
	struct set_listen *listen;
	unsigned nlisten;
};

enum { TLS_F_REQUEST_CERT = 1, TLS_F_TLS_ONLY = 2 };
struct set_tls {					/* tls { } */
	const char *const *cert_file, *const *key_file; /* the n-th of one with that of the other */
	const char *const *OCSP_file;			/* of smtps */
	const char *CAcert_file, *CAcert_directory, *CRL_file, *ciphers;
	uint64_t flags; /* of smtps */
};
/* Bits 0 to 6 are those of enum meta1_auth_flag. */
enum { AUTH_F_TLS_ONLY = 128, AUTH_F_PLAINTEXT = 256 };
struct set_isolate { /* of the sections of instances that can run in a process of their own */
	int32_t on;
	const char *user; /* NULL: the role's */
	int64_t memory;	  /* bytes; 0: any */
};
struct set_auth { /* auth { }; further options are those of its module */
	const char *module;
	const char *const *trusted_mechanisms;
	uint64_t flags;
	int64_t max_failures, failure_delay, max_client_failures, max_account_failures,
	    failure_window;
	int64_t max_mails, max_rcpts, window; /* account_limits { } */
	struct conf_section *account_limits;  /* or NULL */
	struct set_isolate iso;
};

/* Bits 0 to 6 as above. */
enum { LOGIN_F_WITHOUT_TLS = 128, LOGIN_F_PLAINTEXT = 256 };
struct set_login { /* auth { } of smtpc */
	const char *file;
	const char *const *modules, *const *trusted_mechanisms;
	uint64_t flags;
	int64_t token_time, token_timeout; /* ms */
	struct set_isolate iso;		   /* of each of the modules */
};

/* When a filter fails; in the order of the flags' range. */
enum {
	FAILURE_ABORT,
	FAILURE_ACCEPT,
	FAILURE_ACCEPT_BUT_RECONNECT,
	FAILURE_TEMPFAIL,
	FAILURE_REJECT,
	FAILURE_QUARANTINE
};
enum { FILTER_VERIFY, FILTER_JUDGE, FILTER_MODIFY, FILTER_SIGN, FILTER_PHASES };
enum { FILTER_AUTH_ANY, FILTER_AUTH_YES, FILTER_AUTH_NO };
enum { FILTERS_MAX = 32 };
/* How conditions of filters name the reports of qmgr (dsn_filters). */
#define FILTER_REPORTS "dsn_filters"

struct set_filter { /* policy_milter { }, or filter NAME { } in it; the rest is its module's */
	const char *name, *module, *failure;
	int64_t timeout, end_timeout; /* ms */
	uint64_t flags;
	int32_t fails;		       /* FAILURE_: of flags or failure */
	int32_t phase;		       /* FILTER_ */
	int32_t shadow, authenticated; /* FILTER_AUTH_ */
	const char *const *listeners, *const *clients, *const *senders, *const *recipients;
	int64_t min_size, max_size; /* 0: none */
	struct set_isolate iso;
	struct conf_section *section;
};

struct set_smtps {
	struct set_role role;
	uint64_t flags;
	int64_t CDB_gid /* -1: not set */, IO_timeout, max_message_size, max_hops,
	    max_rcpts_per_transaction, max_rcpts_per_session, max_transactions, max_bad_commands,
	    max_nop_commands, max_invalid_addresses, max_sessions, max_memory, queue_wait,
	    greet_delay, tarpit_after, tarpit_delay, tarpit_max_delay;
	int32_t vrfy;
	int32_t spf_header; /* SPF_HEADER_ */
	int32_t bare_newline;
	const char *const *xclient, *const *verp_clients;
	int32_t proxy_mode; /* proxy_protocol { } */
	const char *const *proxy_trusted;
	struct conf_section *proxy_protocol;				   /* or NULL */
	int64_t client_connections, client_rate, client_ipv4, client_ipv6; /* client_limits { } */
	const char *const *client_exempt;
	struct conf_section *client_limits; /* or NULL */
	struct conf_section *policy_milter; /* or NULL: no filter */
	struct set_filter *filter;	    /* in the order of the file */
	unsigned nfilter;
	bool mux;		   /* policy_milter is no filter itself, it has some */
	struct conf_section *tls;  /* or NULL */
	struct conf_section *auth; /* likewise */
	struct set_tls tls_set;
	struct set_auth auth_set;
};

enum { SET_TRANSPORT_NAME = 32 };
struct set_transport { /* transport NAME { } of smtpc; the rest is its module's */
	const char *name, *module;
	struct set_isolate iso;
	struct conf_section *section;
};

struct set_smtpc {
	struct set_role role;
	const char *LMTP_socket;
	int64_t IO_timeout, connect_timeout, remote_port, max_connections_idle, idle_timeout,
	    max_mails_per_connection;
	uint64_t flags /* SMTPC_F_ */, extensions /* enum meta1_offer */;
	const char *helo_name, *source_ipv4, *source_ipv6;
	int32_t no_8bitmime, tls_policy; /* TLS_POLICY_ */
	const char *login;
	struct conf_section *tls, *auth; /* or NULL */
	struct set_tls tls_set;
	struct set_login login_set;
	struct set_transport *transport;
	unsigned ntransport;
	const char *const *transport_names; /* of them, ended by NULL */
};

struct set_map { /* map NAME { type; module's options } */
	const char *name, *type;
	int64_t cache_size, cache_memory, cache_ttl, cache_negative_ttl;
	struct set_isolate iso;
	struct conf_section *section;
};

struct set_use {	  /* access { } and its like: which map answers, and how it is asked */
	const char *name; /* NULL: no such section */
	uint64_t flags;	  /* USE_F_ */
};
/* bits in the order of the record's range; what each does stands in its text */
enum {
	USE_F_LOCALPART = 1,
	USE_F_FULL_ADDRESS = 2,
	USE_F_LOCAL_DOMAINS = 4,
	USE_F_DETAIL = 8, /* implicitly_match_detail */
	USE_F_MACROS = 16,
	USE_F_PRESERVE_DOMAIN = 32,
	USE_F_KEEP_DETAIL = 64
};
/* The sections of smar that use a map, in the order of the table in settings_smar.c. */
enum {
	USE_ACCESS,
	USE_MAILERTABLE,
	USE_ALIASES,
	USE_LOCAL_USERS,
	USE_VIRTUAL,
	USE_SENDER_ROUTES,
	USE_TLS_POLICY,
	USES
};
struct set_use_kind {
	const char *keyword;
	uint64_t flags; /* those that mean something there */
};
extern const struct set_use_kind set_use_kinds[USES];

enum { DNSBL_ON_CLIENT, DNSBL_ON_HELO, DNSBL_ON_SENDER };
enum { DNSBL_IGNORE, DNSBL_TEMPORARY };
struct set_dnsbl { /* dnsbl NAME { } */
	const char *name, *domain, *tag;
	int64_t weight;
	int32_t looks_up;   /* DNSBL_ON_ */
	int32_t on_timeout; /* DNSBL_IGNORE, DNSBL_TEMPORARY */
	struct conf_section *section;
};

enum { NULL_SENDER_WAIT, NULL_SENDER_PASS };
struct set_greylisting { /* greylisting { } */
	const char *file;
	int64_t grey_wait, grey_expire, white_expire, white_reconfirm; /* ms */
	int64_t ipv4_bits, ipv6_bits, auto_white, max_entries;
	int32_t null_sender;
	struct set_use exempt;
	struct conf_section *section; /* NULL: none */
};

enum { PROBE_UNKNOWN_TEMPFAIL, PROBE_UNKNOWN_ACCEPT };
enum { PROBE_ROUTE_LMTP = 1, PROBE_ROUTE_MAILERTABLE = 2 };
struct set_probe { /* recipient_probe { } */
	uint64_t routes;
	const char *const *domains;
	const char *sender;
	int32_t unknown;
	int64_t wait, connect_timeout, IO_timeout, idle_timeout; /* ms */
	int64_t positive_ttl, positive_stale, negative_ttl;	 /* ms */
	int64_t max_entries, max_connections, max_waiting, max_probes_per_connection;
	struct set_use conf;
	struct conf_section *section; /* NULL: none */
};

struct set_mta_sts { /* mta_sts { } */
	const char *file, *CAcert_file, *CAcert_directory;
	int64_t fetch_timeout, wait, refresh, negative_ttl; /* ms */
	int64_t max_entries, max_memory, remote_port;
	struct conf_section *section; /* NULL: none */
};

struct set_tlsrpt { /* tlsrpt { } */
	const char *directory, *organization, *contact;
	int32_t all_domains;
	int64_t keep /* ms */, max_domains;
	struct conf_section *section; /* NULL: none */
};

struct set_smar {
	struct set_role role;
	const char *const *nameserver, *const *trusted_nameserver;
	int64_t DNS_timeout, DNS_tries;
	int32_t DNS_random_case;
	const char *const *local_domains; /* besides the mailertable's lmtp: rows */
	struct set_map *map;
	unsigned nmap;
	const char *address_delimiter;
	const char *const *virtual_domains, *const *alias_include;
	struct set_use use[USES];
	int32_t client_names, spf, dane;
	struct set_dnsbl *dnsbl;
	unsigned ndnsbl;
	int64_t dnsbl_threshold; /* 0: weights decide nothing */
	struct set_greylisting greylisting;
	struct set_probe probe;
	struct set_mta_sts mta_sts;
	struct set_tlsrpt tlsrpt;
};

struct set_qmgr {
	struct set_role role;
	int64_t AQ_max_entries, max_memory, initial_connections, max_connections, min_retry_delay,
	    max_retry_delay, max_time_in_queue, history_time, history_size, delay_warning,
	    max_returned_size;
	const char *double_bounce; /* "" or an address */
	const char *const *verp_senders;
	const char *verp_delimiters;
	int32_t dsn_filters;
	struct set_use conf;	    /* a map of smar: limits of destinations */
	const char *queue_type;	    /* log */
	struct conf_section *queue; /* or NULL */
};

struct settings {
	struct conf *conf;
	const char *file; /* absolute */
	const char *hostname, *queue_directory, *run_directory, *module_directory;
	int64_t log_level;
	const char *const *control_admins; /* control { admins } */
	/* Sections in file order (start is the reverse). */
	struct set_role **role;
	unsigned nrole;
	struct set_smtps *smtps; /* several; with none in the file smtps[0] has the defaults */
	unsigned nsmtps;
	struct set_smtpc smtpc;
	struct set_smar smar;
	struct set_qmgr qmgr;
};

/* Reads, binds and checks; always returns a struct; conf_errors(s->conf) tells. It lives in its
 * conf: whoever keeps something of it takes a reference, conf_ref(s->conf). */
struct settings *settings_load(const char *file, enum opt_mode);
/* The same from what mcp has read, conf_read_packed(). */
struct settings *settings_load_packed(int fd, const char *file, enum opt_mode);
struct settings *settings_load_text(const char *name, const char *text, enum opt_mode);
void settings_free(struct settings **);
/* Effective configuration: every option with value and origin (default or FILE:LINE).
 * With role: only its part and the global one. */
void settings_print(struct settings *, const char *role, void *stdio_file);
/* A filter of the section may judge the reports of qmgr: its listeners say all, or name them. */
bool settings_filter_reports(const struct set_smtps *);

/* All records, for the manual and for tests, in the order of the manual. */
struct settings_group {
	const char *path; /* "", "smtps", "smtps.tls", "ROLE.log", … */
	const char *doc;
	const struct meta1_opt *opt;
	size_t n, size; /* of opt; of the struct it fills */
};
const struct settings_group *settings_groups(size_t *n);

/* The table of defaults that alone names modules in the core: what loads which module. */
struct settings_module {
	const char *use;	      /* what in the configuration asks for it, for messages */
	const char *kind;	      /* map, transport, auth, pmilter, queue */
	const char *module;	      /* kind_what */
	struct conf_section *section; /* its options, or NULL */
	const char *instance;	      /* name of the instance */
	struct conf_pos pos;
	const struct set_isolate *isolate; /* NULL: it runs inside the role */
};
/* The modules that the role would load for this configuration, each instance once; for smtps
 * those of all smtps sections (section->parent tells whose). Caller frees the array. */
unsigned settings_modules(struct settings *, enum meta1_role, struct settings_module **);
/* Its rows are lines of text, in its file or its option rows, as meta1/textline.h reads them. */
bool settings_map_of_lines(const struct set_map *);
/* Options of the core in the section of a module of that kind, ended by NULL. */
const char *const *settings_core_names(const char *kind);
/* kind_what may not call an option so: it would never get it. */
bool settings_core_takes(const char *module, const char *option);

#endif
