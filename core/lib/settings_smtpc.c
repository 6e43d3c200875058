/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_smtpc.c -- every option of the section smtpc and of those in it, in the order of
 * meta1.conf(5). What records are and what is made of them: settings_records.c. Owns nothing.
 */
#include "settings_records.h"

static const struct meta1_opt opt_smtpc[] = {
    META1_OPT_PATH(struct set_smtpc, LMTP_socket, NULL, META1_O_QDIR | META1_O_MAYLACK,
	"Unix socket of the server that takes local mail (LMTP)."),
    META1_OPT_MSEC(struct set_smtpc, IO_timeout, "5m", "1s..1d",
	"How long a server may be silent; the phases of RFC 5321 that need longer have it."),
    META1_OPT_MSEC(struct set_smtpc, connect_timeout, "1m", "1s..1h",
	"How long a connection may take to be made."),
    META1_OPT_INT(
	struct set_smtpc, remote_port, "25", "1..65535", "Port of next hops found through DNS."),
    META1_OPT_INT(struct set_smtpc, max_connections_idle, "100", "0..100000",
	"Connections kept open for the next mail."),
    META1_OPT_MSEC(
	struct set_smtpc, idle_timeout, "5s", "0..10m", "How long such a connection is kept."),
    META1_OPT_INT(struct set_smtpc, max_mails_per_connection, "100", "1..1000000",
	"Mails sent over one connection before it is closed."),
    META1_OPT_ENUM(struct set_smtpc, no_8bitmime, "send", "send|bounce",
	"What happens to an 8-bit mail when the next hop lacks 8BITMIME: sent as it is, or "
	"returned with 5.6.3; then a recipient whose next hop is known to lack it is refused "
	"when MAIL says BODY=8BITMIME."),
    META1_OPT_FLAGS(struct set_smtpc, flags, "", "session_conf|rcpt_conf",
	"session_conf asks smar's access map for a row smtpc_session_conf:HOP, by name or address "
	"of each next hop; rcpt_conf for a row smtpc_rcpt_conf:RECIPIENT. They hold options of "
	"this "
	"section for that hop or recipient, see OPTIONS OF NEXT HOPS."),
    META1_OPT_FLAGS(struct set_smtpc, extensions,
	"smtputf8, 8bitmime, size, pipelining, dsn, trace",
	"smtputf8|8bitmime|size|pipelining|dsn|ignorequota|trace",
	"What is used of what a next hop offers; dont_pipelining and its like for hops that offer "
	"what they cannot do. Two are of LMTP stores like Cyrus: trace names each mail by its id "
	"in the store's log; ignorequota, off unless said, delivers into mailboxes that are full."),
    META1_OPT_STR(struct set_smtpc, helo_name, "", 0,
	"Our name in EHLO and LHLO; \"\": hostname. It should be that of the address that "
	"connections come from."),
    META1_OPT_STR(struct set_smtpc, source_ipv4, "", 0,
	"Address of this machine that connections to IPv4 hosts come from; \"\": as the system "
	"chooses, and so when this machine has it not, with a warning."),
    META1_OPT_STR(struct set_smtpc, source_ipv6, "", 0, "The same for IPv6."),
    META1_OPT_ENUM(struct set_smtpc, tls_policy, "may", "none|may|encrypt|verify",
	"may uses STARTTLS when a next hop offers it, and delivers in plain when it does not, or "
	"when the handshake fails; encrypt delivers with TLS only, whoever the hop is; verify only "
	"to a hop whose certificate is of a trusted CA and for its name, that of the mailertable "
	"or the MX record; what cannot be delivered so waits in the queue. none never uses it."),
    META1_OPT_STR(struct set_smtpc, login, "", 0,
	"Whose credentials are shown, with a section auth: the name of a row of its file; \"\": "
	"the "
	"row of the next hop, if there is one; none: nobody's."),
};
RECORDS(smtpc);

static const struct meta1_opt opt_tls_client[] = {TLS_OPTIONS};
RECORDS(tls_client);

static const struct meta1_opt opt_login[] = {
    META1_OPT_PATH(struct set_login, file, NULL, META1_O_REQUIRED,
	"Credentials: a line for each next hop, HOST:PORT, HOST or .PARENT, then "
	"words: "
	"user=NAME, and password=SECRET to the end of the line, or token_file=PATH, or "
	"token_command=PATH ARGUMENTS; act_as=NAME and realm=NAME. Rights as of a key_file. A hop "
	"that has a row gets no mail without AUTH. A reload reads it anew."),
    META1_OPT_LIST(struct set_login, modules, "oauth, cyrus", 0,
	"Who has the mechanisms: modules auth_NAME, asked in this order; their options stand in "
	"sections module auth_NAME."),
    META1_OPT_LIST(struct set_login, trusted_mechanisms, "", 0,
	"SASL mechanisms that may be used; all that the modules have unless set."),
    META1_OPT_FLAGS(struct set_login, flags, "",
	"noplaintext|noactive|nodictionary|forward_secrecy|noanonymous|pass_credentials|mutual_"
	"auth|without_tls|plaintext",
	"Mechanisms that send the password or token as it is are used only when TLS has proved "
	"that the hop is who it should be, unless plaintext is set. AUTH is said inside TLS only, "
	"unless without_tls is set. The others as in smtps."),
    META1_OPT_MSEC(struct set_login, token_time, "1m", "0s..1d",
	"How long the word of a token_command is kept; one that a hop refuses is thrown away. A "
	"token_file is read for each login."),
    META1_OPT_MSEC(
	struct set_login, token_timeout, "10s", "1s..2m", "How long a token_command may take."),
    ISOLATE_OPTIONS(struct set_login),
};
RECORDS(login);

static const struct meta1_opt opt_transport[] = {
    META1_OPT_STR(struct set_transport, module, "", 0,
	"Kind of the transport: module transport_NAME; empty: the section's own name."),
    ISOLATE_OPTIONS(struct set_transport),
};
RECORDS(transport);

const struct settings_section sections_smtpc[] = {
    SECTION("smtpc", smtpc, struct set_smtpc, "Delivers mail."),
    SECTION("smtpc.tls", tls_client, struct set_tls,
	"Our certificate, shown to next hops that ask for one, and the CAs that theirs are held "
	"against: those of the system unless CAcert_file or CAcert_directory is set."),
    SECTION("smtpc.auth", login, struct set_login,
	"AUTH at next hops, with the credentials of a file. When it fails the mail waits (4.7.8), "
	"and "
	"the next host is tried."),
    SECTION("smtpc.transport", transport, struct set_transport,
	"A way out beside SMTP and LMTP, with a name: the row NAME: of the mailertable leads mail "
	"there, and what stands behind the colon is for its module, as further options are."),
    {NULL, NULL, NULL, 0},
};
