/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_smtps.c -- every option of the section smtps and of those in it, in the order of
 * meta1.conf(5); those of policy_milter, which go with its rules, are in settings_filter.c.
 * What records are and what is made of them: settings_records.c. Owns nothing.
 */
#include "settings_records.h"

static const struct meta1_opt opt_smtps[] = {
    META1_OPT_FLAGS(struct set_smtps, flags, "8bitmime, smtputf8, delay_checks",
	"8bitmime|access|smtputf8|prdr|delay_checks|session_conf",
	"8bitmime offers 8BITMIME; smtputf8 offers SMTPUTF8 (RFC 6531), which needs 8bitmime and "
	"is "
	"not offered without it; access asks smar's access map about clients, senders and "
	"recipients; prdr offers PRDR, a reply for each recipient after the content; "
	"delay_checks answers what the access map says about client, HELO and sender at RCPT, so "
	"that postmaster can be reached and whoever may relay by AUTH or a certificate is not "
	"judged "
	"by address and name; with dont_delay_checks it is answered at MAIL; session_conf asks the "
	"access map for a row "
	"smtps_session_conf:CLIENT with options for the sessions of that client."),
    META1_OPT(struct set_smtps, CDB_gid, META1_INT, int64_t, "-1", "-1..4294967294",
	META1_O_GROUP | META1_O_RESTART,
	"Group, by number or name, that may read stored mail: smtpc's and qmgr's users are in it; "
	"-1 is none."),
    META1_OPT_MSEC(
	struct set_smtps, IO_timeout, "5m", "1s..1d", "How long a client may be silent."),
    META1_OPT_BYTES(struct set_smtps, max_message_size, "67108864", "1KB..1TB",
	"Largest mail that is taken, announced as SIZE."),
    META1_OPT_INT(struct set_smtps, max_hops, "30", "1..1000",
	"A mail with more Received lines is in a loop and refused."),
    META1_OPT_INT(struct set_smtps, max_rcpts_per_transaction, "1000", "1..10000",
	"Recipients of one mail; the standard asks for at least 100."),
    META1_OPT_INT(struct set_smtps, max_rcpts_per_session, "1000000", "1..1000000000",
	"Recipients of one connection."),
    META1_OPT_INT(
	struct set_smtps, max_transactions, "100000", "1..1000000000", "Mails of one connection."),
    META1_OPT_INT(struct set_smtps, max_bad_commands, "20", "1..1000000",
	"Unknown or misplaced commands before the connection is closed."),
    META1_OPT_INT(struct set_smtps, max_nop_commands, "100", "1..1000000",
	"Commands that move no mail (NOOP, RSET, VRFY, HELP, EHLO) before the connection is "
	"closed."),
    META1_OPT_INT(struct set_smtps, max_invalid_addresses, "100", "1..1000000",
	"Refused recipients before the connection is closed."),
    META1_OPT_INT(struct set_smtps, max_sessions, "1000", "1..1000000",
	"Connections at a time of one process."),
    META1_OPT_BYTES(struct set_smtps, max_memory, "512MB", "1MB..1TB",
	"Memory of all sessions of one process together; over it new connections are refused with "
	"421 and new mail with 452."),
    META1_OPT_MSEC(struct set_smtps, queue_wait, "5s", "0..2m",
	"When the queue lets no more mail in, MAIL waits so long for room and is then answered "
	"451; 0: at once."),
    META1_OPT_INT(struct set_smtps, tarpit_after, "0", "0..1000000",
	"After so many bad commands and refused recipients of a connection each further one is "
	"followed by a pause; 0: never."),
    META1_OPT_MSEC(struct set_smtps, tarpit_delay, "1s", "10ms..1m",
	"The first such pause; each is twice the one before."),
    META1_OPT_MSEC(
	struct set_smtps, tarpit_max_delay, "20s", "10ms..2m", "The longest such pause."),
    META1_OPT_ENUM(struct set_smtps, spf_header, "none", "none|received_spf|authentication_results",
	"What smar found out with spf = yes is put into the header as Received-SPF (RFC 7208) or "
	"Authentication-Results (RFC 8601); with the latter, fields of that name which came with "
	"the "
	"mail and claim to be of this host are taken out."),
    META1_OPT_BOOL(struct set_smtps, vrfy, "no",
	"no answers 252 to every VRFY; yes tells what RCPT would say to the address. EXPN is never "
	"offered."),
    META1_OPT_MSEC(struct set_smtps, greet_delay, "0", "0..5m",
	"Pause before the greeting; who speaks in it is refused."),
    META1_OPT_ENUM(struct set_smtps, bare_newline, "reject", "reject|repair",
	"What a CR or LF that is not part of a line end does to a mail: it is refused with 550 "
	"5.6.11, or taken with each such byte made a line end, CRLF."),
    META1_OPT_LIST(struct set_smtps, xclient, "", 0,
	"Peers that may say by XCLIENT for whom they speak: addresses, networks such as "
	"192.0.2.0/24, or unix. Behind a balancer the address that it gave is looked for."),
    META1_OPT_LIST(struct set_smtps, verp_clients, "", 0,
	"Clients that may say XVERP, or XVERP=+= with delimiters, at MAIL, as the mailing lists of "
	"this site: addresses, networks, or unix. Then each recipient of the mail has a sender "
	"address "
	"of its own, and one mail becomes as many deliveries: so nobody else may ask for it."),
};
RECORDS(smtps);

static const struct meta1_opt opt_proxy[] = {
    REC(struct set_smtps, proxy_mode, "mode", META1_ENUM, "off", "off|allow|required", 0,
	"allow takes a header from trusted peers, greets those that say nothing for 5 seconds "
	"under their own address, and serves all others without; required serves only trusted "
	"peers, and only with a header. A header of anybody else ends the connection."),
    REC(struct set_smtps, proxy_trusted, "trusted", META1_LIST, "", "", 0,
	"Peers whose header is believed: addresses, networks such as 192.0.2.0/24, or unix for "
	"those of unix sockets."),
};
RECORDS(proxy);

static const struct meta1_opt opt_client[] = {
    REC(struct set_smtps, client_connections, "max_connections", META1_INT, "100", "0..65535", 0,
	"Connections at a time of one client, over all smtps sections and processes; 0: any "
	"number."),
    REC(struct set_smtps, client_rate, "max_connection_rate", META1_INT, "0", "0..65535", 0,
	"Connections of one client in a minute, likewise; 0: any number. Refused ones do not "
	"count."),
    REC(struct set_smtps, client_ipv4, "ipv4_prefix", META1_INT, "32", "8..32", 0,
	"Bits of an IPv4 address that make a client."),
    REC(struct set_smtps, client_ipv6, "ipv6_prefix", META1_INT, "64", "16..128", 0,
	"Bits of an IPv6 address that make a client: a /64 is commonly one machine's."),
    REC(struct set_smtps, client_exempt, "exempt", META1_LIST, "127.0.0.0/8, ::1", "", 0,
	"Clients without these limits: addresses, networks such as 192.0.2.0/24. Peers of unix "
	"sockets, and trusted peers of xclient and proxy_protocol that speak for themselves, have "
	"none either."),
};
RECORDS(client);

static const struct meta1_opt opt_tls[] = {
    TLS_OPTIONS,
    META1_OPT_LIST(struct set_tls, OCSP_file, NULL, 0,
	"Responses of OCSP, DER, about these certificates, in any order: each is shown to clients "
	"that ask, beside its certificate. A file that changes is read again; one that is not "
	"there, too old, or about none of the certificates is left out, with a warning."),
    META1_OPT_FLAGS(struct set_tls, flags, "request_cert", "request_cert|tls_only",
	"tls_only takes MAIL, VRFY and AUTH with TLS only, but for clients on a unix socket. "
	"request_cert asks clients for a certificate, when there is a CAcert_file or "
	"CAcert_directory to verify it with; none need have one. The names of the CAs in "
	"CAcert_file are sent to the client: keep it short."),
};
RECORDS(tls);

static const struct meta1_opt opt_auth[] = {
    META1_OPT_STR(struct set_auth, module, "cyrus", 0,
	"Who has the mechanisms: module auth_NAME; further options here are that module's."),
    META1_OPT_LIST(struct set_auth, trusted_mechanisms, "", 0,
	"SASL mechanisms that are offered and allow relaying, of those that the module has."),
    META1_OPT_FLAGS(struct set_auth, flags, "",
	"noplaintext|noactive|nodictionary|forward_secrecy|noanonymous|pass_credentials|mutual_"
	"auth|tls_only|plaintext",
	"noplaintext offers no mechanism that sends the password as it is, with TLS either; "
	"without TLS none "
	"is offered unless plaintext is set. tls_only offers AUTH with TLS only. noactive, "
	"nodictionary, forward_secrecy, "
	"pass_credentials and mutual_auth leave out mechanisms that lack what Cyrus SASL calls so; "
	"anonymous ones "
	"are never offered."),
    META1_OPT_INT(struct set_auth, max_failures, "3", "0..1000",
	"So many refused tries end the session; 0: no bound."),
    META1_OPT_MSEC(struct set_auth, failure_delay, "1s", "0s..30s",
	"Pause before a refusal is said; each further one in a session waits twice as long, 30 s "
	"at most."),
    META1_OPT_INT(struct set_auth, max_client_failures, "30", "0..1000000",
	"A client with so many refused tries within failure_window is told 421, and nobody is "
	"asked "
	"about its secret. Clients are counted by network, and exempt, as in client_limits. 0: no "
	"bound."),
    META1_OPT_INT(struct set_auth, max_account_failures, "30", "0..1000000",
	"The same for an account, from wherever it is tried: 454, but for clients that have logged "
	"in as it within 30 days."),
    META1_OPT_MSEC(struct set_auth, failure_window, "10m", "1s..1d",
	"For how long such failures count, from the first one on."),
    ISOLATE_OPTIONS(struct set_auth),
};
RECORDS(auth);

static const struct meta1_opt opt_account[] = {
    META1_OPT_INT(struct set_auth, max_mails, "0", "0..100000000",
	"Mails that one account may send within the window; then MAIL is answered 450. 0: no "
	"bound."),
    META1_OPT_INT(
	struct set_auth, max_rcpts, "0", "0..100000000", "The same for recipients, at RCPT."),
    META1_OPT_MSEC(struct set_auth, window, "1h", "1s..30d",
	"Time in which they are counted; what was sent in the one before counts by its share."),
};
RECORDS(account);

const struct settings_section sections_smtps[] = {
    SECTION("smtps", smtps, struct set_smtps, "Receives mail; several sections need names."),
    SECTION("smtps.proxy_protocol", proxy, struct set_smtps,
	"The PROXY protocol, versions 1 and 2, of load balancers: the address that the header "
	"gives is the client's in all rules, limits, logs and Received lines."),
    SECTION("smtps.client_limits", client, struct set_smtps,
	"What one client may take of the server; behind XCLIENT or the PROXY protocol the address "
	"that was given is the client."),
    SECTION("smtps.tls", tls, struct set_tls,
	"STARTTLS is offered when this section is there; it needs cert_file and key_file. A reload "
	"reads all files anew."),
    SECTION("smtps.auth", auth, struct set_auth,
	"AUTH is offered when this section is there: whoever authenticates may relay."),
    SECTION("smtps.auth.account_limits", account, struct set_auth,
	"How much whoever has authenticated may send, by the name whose secret was shown: what a "
	"stolen password is good for."),
    SECTION("smtps.policy_milter", filter, struct set_filter,
	"A policy filter, or with module = mux several, each with a name: filter NAME. Further "
	"options, where it is above all, are those of its module; see doc/filters.md."),
    {NULL, NULL, NULL, 0},
};
