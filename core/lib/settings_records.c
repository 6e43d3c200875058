/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_records.c -- every option of the core: name, type, default, range, one sentence.
 *
 * Parser, checks, the effective listing and meta1.conf(5) are all made from
 * these; an option is added by a field in settings.h and a record here.
 * Owns nothing, never fails; a test checks the records themselves.
 * It is over 500 lines: whoever looks for an option finds it in this one table.
 */
#include "settings_records.h"

#define RECORDS(x) const struct settings_records rec_##x = {opt_##x, ARRAY_LEN(opt_##x)}
/* A record whose C field has another name than the option, or more flags than the macro. */
#define REC(T, f, oname, ty, d, r, fl, text)                                                       \
	{                                                                                          \
		.name = oname, .def = d, .range = r, .doc = text, .type = ty, .flags = fl,         \
		.off = offsetof(T, f)                                                              \
	}

static const struct meta1_opt opt_global[] = {
    META1_OPT_STR(struct settings, hostname, NULL, META1_O_RESTART,
	"Name of this host in greetings, EHLO and Received lines; the system's host name unless "
	"set."),
    META1_OPT_PATH(struct settings, queue_directory, "/var/spool/meta1",
	META1_O_MAYLACK | META1_O_RESTART,
	"Folder of the queue store and of relative socket names."),
    META1_OPT_PATH(struct settings, run_directory, "/run/meta1", META1_O_MAYLACK | META1_O_RESTART,
	"Folder of the control sockets ROLE.ctl."),
    META1_OPT_PATH(struct settings, module_directory, PKGLIBDIR, META1_O_MAYLACK | META1_O_RESTART,
	"Folder of the modules, one folder a kind below it."),
    META1_OPT_INT(struct settings, log_level, "12", "0..24",
	"How much is logged by roles that do not say otherwise: 0 errors, 4 warnings, 9 events of "
	"the server, 12 two lines a message, 20 and 24 for debugging."),
};
RECORDS(global);

static const struct meta1_opt opt_control[] = {
    REC(struct settings, control_admins, "admins", META1_LIST, "", "", META1_O_USER,
	"Accounts that may delete mail and empty caches through the control sockets, beside root "
	"and the role's own."),
};
RECORDS(control);

static const struct meta1_opt opt_role[] = {
    META1_OPT_INT(struct set_role, log_level, NULL, "0..24",
	"How much this role logs; the global log_level unless set."),
    META1_OPT_STR(struct set_role, user, NULL, META1_O_USER | META1_O_RESTART,
	"Account the role runs as; that of mcp unless set, which must not be root."),
    META1_OPT_STR(struct set_role, group, NULL, META1_O_GROUP | META1_O_RESTART,
	"Group the role runs as; the account's own unless set."),
    META1_OPT_PATH(struct set_role, path, NULL, META1_O_RESTART,
	"Program of the role; the installed one unless set."),
    META1_OPT_STR(struct set_role, arguments, NULL, META1_O_RESTART,
	"The program's arguments as one text, its own name first; \"ROLE -f FILE\" unless set."),
    META1_OPT_ENUM(struct set_role, start_action, "wait", "wait|pass|accept|nostartaccept",
	"wait and pass start the role at once, accept and nostartaccept at the first connection; "
	"with pass the listening sockets come through pass_fd_socket."),
    META1_OPT_PATH(struct set_role, pass_fd_socket, NULL,
	META1_O_QDIR | META1_O_MAYLACK | META1_O_RESTART,
	"Unix socket through which mcp hands the listening sockets over."),
    META1_OPT_LIST(struct set_role, restart_dependencies, "", 0,
	"Roles that are restarted too when this one is."),
    META1_OPT_MSEC(struct set_role, wait_for_server, "0", "0..1h",
	"After this time without the roles it asks a starting role ends and is started anew; 0: it "
	"waits."),
    META1_OPT_MSEC(struct set_role, wait_for_client, "0", "0..1h",
	"After this time without a role that asks it a started role warns; 0: never."),
    META1_OPT(struct set_role, processes, META1_INT, int64_t, "1", "1..64", META1_O_RESTART,
	"Number of processes of this section; more than one only for smtps and smtpc."),
};
RECORDS(role);

static const struct meta1_opt opt_log[] = {
    META1_OPT_STR(struct set_log, facility, NULL, 0,
	"Log to syslog with this facility: mail, daemon, user, local0 to local7."),
    META1_OPT_STR(struct set_log, ident, NULL, 0, "Name in the log lines; the role's unless set."),
    META1_OPT_PATH(
	struct set_log, file, NULL, META1_O_QDIR | META1_O_MAYLACK, "Log to this file instead."),
    META1_OPT_ENUM(struct set_log, format, "text", "text|json",
	"Lines of key=value pairs, or a JSON object a line."),
};
RECORDS(log);

static const struct meta1_opt opt_listen[] = {
    META1_OPT_ENUM(struct set_listen, type, "inet", "inet|inet6|unix", "Kind of the socket."),
    META1_OPT_STR(
	struct set_listen, address, NULL, 0, "Address to listen on; all addresses unless set."),
    META1_OPT_INT(struct set_listen, port, NULL, "1..65535", "Port to listen on; 25 unless set."),
    META1_OPT_PATH(
	struct set_listen, path, NULL, META1_O_QDIR | META1_O_MAYLACK, "Name of a unix socket."),
    META1_OPT_STR(struct set_listen, umask, NULL, 0,
	"Rights that the unix socket lacks, octal; 000 unless set: all may connect."),
    META1_OPT_STR(struct set_listen, user, NULL, META1_O_USER, "Owner of the unix socket."),
    META1_OPT_STR(struct set_listen, group, NULL, META1_O_GROUP, "Group of the unix socket."),
    META1_OPT_BOOL(struct set_listen, tls, "no",
	"TLS from the first byte, as on port 465, instead of by STARTTLS; the section tls says "
	"with which certificates."),
};
RECORDS(listen);

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

static const struct meta1_opt opt_smar[] = {
    META1_OPT_LIST(struct set_smar, nameserver, "", 0,
	"Name servers: 127.0.0.1, \"127.0.0.1:5353\", \"[::1]:53\"; those of /etc/resolv.conf "
	"unless set."),
    META1_OPT_LIST(struct set_smar, trusted_nameserver, "", 0,
	"Those of the name servers that check DNSSEC and are reached over a way that nobody else "
	"can "
	"write to: what they mark as proven (AD) is taken as proven. None unless named, 127.0.0.1 "
	"neither."),
    META1_OPT_BOOL(struct set_smar, DNS_random_case, "yes",
	"Names are sent in random case and must come back so, which makes answers harder to forge. "
	"A "
	"server that answers in another case is asked over TCP, then as it likes it; no is for one "
	"that does not answer at all, or has no TCP."),
    META1_OPT_MSEC(struct set_smar, DNS_timeout, "6s", "100ms..1m",
	"How long one query to one name server may take."),
    META1_OPT_INT(
	struct set_smar, DNS_tries, "3", "1..10", "Queries before a name is a temporary failure."),
    META1_OPT_LIST(struct set_smar, local_domains, "", 0,
	"Domains whose mail is delivered here, besides those with lmtp: in the mailertable."),
    META1_OPT_LIST(struct set_smar, virtual_domains, "", 0,
	"Domains whose addresses are rows of virtual_aliases and nothing else, besides those for "
	"which that map has a row itself: who has no row does not exist (550 5.1.1)."),
    META1_OPT_LIST(struct set_smar, alias_include, "", 0,
	"Folders whose files the rows of aliases and virtual_aliases may name: "
	":include:/folder/file, an address or several a line. Files of root or of smar's account "
	"that nobody else may write; none unless set."),
    META1_OPT_STR(struct set_smar, address_delimiter, "+", 0,
	"Characters of which the first in a local part begins its detail, user+detail; \"\": "
	"addresses have no details."),
    META1_OPT_BOOL(struct set_smar, client_names, "no",
	"The name of each client is looked up in the DNS, and believed when it has the client's "
	"address: it stands in Received lines, and the access map is asked about cltname: and "
	"cltresolve:."),
    META1_OPT_BOOL(struct set_smar, spf, "no",
	"May the client send mail of this sender's domain (SPF, RFC 7208)? The access map is asked "
	"about the result, spf:fail and so on; see spf_header of smtps."),
    META1_OPT_BOOL(struct set_smar, dane, "yes",
	"A next hop that says by TLSA records how it is known (DANE, RFC 7672) gets mail only when "
	"it "
	"is that, with nothing to configure but a trusted_nameserver: without one nobody is "
	"asked."),
    META1_OPT_INT(struct set_smar, dnsbl_threshold, "0", "0..100000",
	"A client is refused (550 5.7.1) when the weights of the DNS lists that it is on come to "
	"this sum; 0: weights decide nothing."),
};
RECORDS(smar);

static const struct meta1_opt opt_qmgr[] = {
    META1_OPT_INT(struct set_qmgr, AQ_max_entries, "8192", "16..10000000",
	"Recipients that may be under way at a time; more wait for their turn."),
    META1_OPT_BYTES(struct set_qmgr, max_memory, "512MB", "256KB..1TB",
	"Memory for what is queued. Up to a quarter holds envelopes that wait; of all others only "
	"an index of some 160 bytes a message stays in memory. Near the end of it senders are "
	"slowed down, then told to come again (451)."),
    META1_OPT_MSEC(
	struct set_qmgr, min_retry_delay, "5m", "100ms..1d", "Pause after the first failed try."),
    META1_OPT_MSEC(
	struct set_qmgr, max_retry_delay, "4h", "100ms..1w", "Longest pause between two tries."),
    META1_OPT_MSEC(struct set_qmgr, history_time, "7d", "0..520w",
	"How long the outcomes of mail that left the queue are kept, for meta1ctl queue fsck."),
    META1_OPT_BYTES(struct set_qmgr, history_size, "1GB", "0..1TB",
	"Bytes on disk that the history may have; the oldest goes first. A recipient takes some "
	"300 bytes, so 1GB holds the last 3.5 million, a week of 6 a second."),
    META1_OPT_MSEC(struct set_qmgr, max_time_in_queue, "5d", "1s..52w",
	"After this time an undelivered mail is returned to its sender."),
    META1_OPT_MSEC(struct set_qmgr, delay_warning, "4h", "0..52w",
	"When a mail has waited so long its sender is told, once, unless NOTIFY (RFC 3461) says "
	"otherwise; 0: never."),
    META1_OPT_BYTES(struct set_qmgr, max_returned_size, "64KB", "0..1MB",
	"A failed mail up to this size is returned whole if its sender said RET=FULL (RFC 3461); "
	"of others the report has the headers."),
    META1_OPT_STR(struct set_qmgr, double_bounce, "", 0,
	"Address that gets a report when mail without a sender fails, a report itself above all; "
	"such mail to this address is dropped. Unset: it is dropped at once."),
    META1_OPT_BOOL(struct set_qmgr, dsn_filters, "no",
	"Reports to senders are shown to the filters of smtps (policy_milter) before they are "
	"queued, as mail that came by a socket of the name " FILTER_REPORTS "."),
    META1_OPT_LIST(struct set_qmgr, verp_senders, "", 0,
	"Senders whose mail is sent to each recipient on its own, from an address that names the "
	"recipient (VERP): \"list@example.org\", \"@lists.example.org\" for a domain, \"*\" for "
	"all."),
    META1_OPT_STR(struct set_qmgr, verp_delimiters, "+=", 0,
	"The two characters of such an address: list+user=domain@example.org."),
};
RECORDS(qmgr);

static const struct meta1_opt opt_transport[] = {
    META1_OPT_STR(struct set_transport, module, "", 0,
	"Kind of the transport: module transport_NAME; empty: the section's own name."),
};
RECORDS(transport);

static const struct meta1_opt opt_qmgr_smtpc[] = {
    META1_OPT_INT(struct set_qmgr, initial_connections, "10", "1..10000",
	"Connections to a destination that is not known yet."),
    META1_OPT_INT(struct set_qmgr, max_connections, "100", "1..10000",
	"Most connections to one destination."),
};
RECORDS(qmgr_smtpc);

static const struct meta1_opt opt_queue[] = {
    REC(struct set_qmgr, queue_type, "type", META1_STR, "log", "", META1_O_RESTART,
	"Kind of the queue store: module queue_TYPE."),
};
RECORDS(queue);

static const struct meta1_opt opt_map[] = {
    META1_OPT_STR(struct set_map, type, NULL, META1_O_REQUIRED,
	"Kind of the map: module map_TYPE; hash is map_gdbm."),
    META1_OPT_INT(struct set_map, cache_size, "-1", "-1..1000000",
	"Answers that smar keeps in front of the map; 0: none; -1: 10000, but none for a map that "
	"answers from memory or a local file (text, regex, cidr, hash, lmdb). A reload, and a "
	"change "
	"that "
	"the map sees, empties it."),
    META1_OPT_BYTES(struct set_map, cache_memory, "8MB", "64KB..1GB",
	"Memory of these answers; the one unused for longest goes first."),
    META1_OPT_MSEC(struct set_map, cache_ttl, "5m", "0..1d",
	"Longest time for which a value is kept, by smar and by those who ask it; shorter when the "
	"map says so."),
    META1_OPT_MSEC(struct set_map, cache_negative_ttl, "30s", "0..1d",
	"The same for \"not found\". Failures are never kept."),
    ISOLATE_OPTIONS(struct set_map),
};
RECORDS(map);

static const struct meta1_opt opt_dnsbl[] = {
    META1_OPT_STR(struct set_dnsbl, domain, NULL, META1_O_REQUIRED,
	"Domain of the list: for the client 192.0.2.1 the name 1.2.0.192.DOMAIN is looked up."),
    META1_OPT_STR(struct set_dnsbl, tag, "", 0,
	"Each answer is looked up in the access map under this tag, for example zen:127.0.0.2, "
	"with "
	"its networks, zen:127.0.0; the row decides. Unset: the list counts by its weight alone."),
    META1_OPT_INT(struct set_dnsbl, weight, "1", "-1000..1000",
	"What an answer of this list adds to the sum that dnsbl_threshold is about; negative for a "
	"list of good clients."),
    META1_OPT_ENUM(struct set_dnsbl, looks_up, "client", "client|helo|sender",
	"What is looked up: the client's address, or the domain of its HELO or of the sender."),
    META1_OPT_ENUM(struct set_dnsbl, on_timeout, "ignore", "ignore|temporary",
	"A list that does not answer is taken as one that says nothing, or the client is told to "
	"come again (451)."),
};
RECORDS(dnsbl);

static const struct meta1_opt opt_greylisting[] = {
    META1_OPT_PATH(struct set_greylisting, file, "smar/greylist",
	META1_O_QDIR | META1_O_MAYLACK | META1_O_RESTART,
	"Where the list is kept over restarts; below queue_directory unless absolute."),
    META1_OPT_MSEC(struct set_greylisting, grey_wait, "5m", "1s..1d",
	"A sender that is new to a recipient is told to come again (450 4.7.1), and is accepted "
	"when it comes after this time."),
    META1_OPT_MSEC(struct set_greylisting, grey_expire, "1d", "2s..52w",
	"Who comes again later than this after its first try is new once more."),
    META1_OPT_MSEC(struct set_greylisting, white_expire, "36d", "1s..520w",
	"Who was accepted is accepted at once until it sent nothing for so long."),
    META1_OPT_MSEC(struct set_greylisting, white_reconfirm, "0", "0..520w",
	"Who was accepted must wait and come again once in this time even if it sends all the "
	"while; 0: never."),
    META1_OPT_INT(struct set_greylisting, ipv4_bits, "24", "8..32",
	"Bits of an IPv4 address that make a client."),
    META1_OPT_INT(struct set_greylisting, ipv6_bits, "64", "16..128",
	"Bits of an IPv6 address that make a client."),
    META1_OPT_INT(struct set_greylisting, auto_white, "5", "0..1000000",
	"When so many senders and recipients of one client waited and came again, the client waits "
	"no more, until it sent nothing for white_expire; 0: never."),
    META1_OPT_ENUM(struct set_greylisting, null_sender, "wait", "wait|pass",
	"Whether mail with the null sender <>, reports above all, waits like other mail."),
    META1_OPT(struct set_greylisting, max_entries, META1_INT, int64_t, "500000", "64..50000000",
	META1_O_RESTART,
	"Entries of the list, of at most 336 bytes of memory each, commonly 170; when it is full "
	"the oldest that are not yet accepted go first. Of those one net (IPv6: 48 bits of it) has "
	"an eighth of all at most."),
};
RECORDS(greylisting);

static const struct meta1_opt opt_probe[] = {
    META1_OPT_FLAGS(struct set_probe, routes, "", "lmtp|mailertable",
	"Recipients that are probed by where their mail goes: lmtp: to a next hop that speaks "
	"LMTP; "
	"mailertable: by a row of the mailertable other than \".\"."),
    META1_OPT_LIST(struct set_probe, domains, "", 0, "Domains whose recipients are probed."),
    META1_OPT_STR(struct set_probe, sender, "", 0,
	"Sender of the probes, as in MAIL FROM; the null sender <> unless set."),
    META1_OPT_ENUM(struct set_probe, unknown, "tempfail", "tempfail|accept",
	"What a recipient gets when the next hop cannot say (it is away, slow, or answers 4xx) and "
	"did not take it within positive_stale: 450, or it is accepted."),
    META1_OPT_MSEC(struct set_probe, wait, "6s", "100ms..9s",
	"A client waits so long for a probe; the probe goes on without it, and its result is kept "
	"for when the client comes again."),
    META1_OPT_MSEC(
	struct set_probe, connect_timeout, "5s", "100ms..60s", "Wait for a connection to a hop."),
    META1_OPT_MSEC(struct set_probe, IO_timeout, "30s", "100ms..5m",
	"Wait for a reply of a hop, and for a probe as a whole."),
    META1_OPT_MSEC(struct set_probe, idle_timeout, "5s", "0..5m",
	"A connection is kept so long for the next probe; 0: it is closed after each."),
    META1_OPT_MSEC(struct set_probe, positive_ttl, "2h", "0..30d",
	"A recipient that the hop takes is not asked about again for so long."),
    META1_OPT_MSEC(struct set_probe, positive_stale, "7d", "0..365d",
	"For so long it is accepted when the hop cannot say."),
    META1_OPT_MSEC(struct set_probe, negative_ttl, "10m", "0..1d",
	"A recipient that the hop refuses is refused for so long without asking again."),
    META1_OPT_INT(struct set_probe, max_entries, "50000", "16..5000000",
	"Recipients kept that hops take, and as many that they refuse; what was used longest ago "
	"goes first. At most 1 KiB of memory each, commonly 300 bytes."),
    META1_OPT_INT(
	struct set_probe, max_connections, "4", "1..100", "Connections to one next hop at a time."),
    META1_OPT_INT(struct set_probe, max_waiting, "500", "1..10000",
	"Probes that wait for a connection to one next hop; one more is as if the hop could not "
	"say."),
    META1_OPT_INT(struct set_probe, max_probes_per_connection, "100", "1..10000",
	"After so many probes a connection is closed."),
};
RECORDS(probe);

static const struct meta1_opt opt_mta_sts[] = {
    META1_OPT_PATH(struct set_mta_sts, file, "smar/mta-sts",
	META1_O_QDIR | META1_O_MAYLACK | META1_O_RESTART,
	"Where policies are kept over restarts; below queue_directory unless absolute."),
    META1_OPT_PATH(struct set_mta_sts, CAcert_file, NULL, 0,
	"CA certificates, PEM, that servers of policies are held against; those of the system "
	"unless this or CAcert_directory is set."),
    META1_OPT_PATH(struct set_mta_sts, CAcert_directory, NULL, 0,
	"Folder of such certificates under their hashed names."),
    META1_OPT_MSEC(
	struct set_mta_sts, fetch_timeout, "20s", "1s..60s", "A fetch as a whole takes no longer."),
    META1_OPT_MSEC(struct set_mta_sts, wait, "5s", "0..9s",
	"The route of a mail waits so long for a policy that is not known; then it goes on "
	"without, "
	"or with the one before, and the fetch goes on."),
    META1_OPT_MSEC(struct set_mta_sts, refresh, "1d", "1s..30d",
	"A policy that was used is fetched anew when it is so old, or half of its max_age."),
    META1_OPT_MSEC(struct set_mta_sts, negative_ttl, "5m", "1s..1d",
	"After a fetch that failed none is tried for so long."),
    META1_OPT_INT(struct set_mta_sts, max_entries, "10000", "16..1000000",
	"Policies that are kept; what was used longest ago goes first."),
    META1_OPT_BYTES(struct set_mta_sts, max_memory, "16MB", "64KB..1GB",
	"Memory that they may take, commonly 500 bytes each."),
    META1_OPT_INT(
	struct set_mta_sts, remote_port, "443", "1..65535", "Port of the servers of policies."),
};
RECORDS(mta_sts);

static const struct meta1_opt opt_tlsrpt[] = {
    META1_OPT_PATH(struct set_tlsrpt, directory, "smar/tlsrpt",
	META1_O_QDIR | META1_O_MAYLACK | META1_O_RESTART,
	"Folder of the reports, DAY_DOMAIN.json; below queue_directory unless absolute, made when "
	"it "
	"is missing."),
    META1_OPT_STR(struct set_tlsrpt, organization, "", 0,
	"Name of the organization in the reports; the hostname unless set."),
    META1_OPT_STR(struct set_tlsrpt, contact, "", 0,
	"Address of those to ask about a report; postmaster at the hostname unless set."),
    META1_OPT_BOOL(struct set_tlsrpt, all_domains, "no",
	"Whether domains are reported that ask for no reports, having no TXT record "
	"_smtp._tls.DOMAIN."),
    META1_OPT_MSEC(
	struct set_tlsrpt, keep, "30d", "1d..520w", "Reports that are older are removed."),
    META1_OPT_INT(struct set_tlsrpt, max_domains, "20000", "16..1000000",
	"Domains of a day; of one more nothing is counted. At most 64 KiB of memory each, commonly "
	"1 "
	"KiB."),
};
RECORDS(tlsrpt);

static const struct meta1_opt opt_lookup[] = {
    META1_OPT_STR(
	struct set_use, name, NULL, META1_O_REQUIRED, "Name of the map section that answers."),
};
RECORDS(lookup);

static const struct meta1_opt opt_use[] = {
    META1_OPT_STR(
	struct set_use, name, NULL, META1_O_REQUIRED, "Name of the map section that answers."),
    META1_OPT_FLAGS(struct set_use, flags, "implicitly_match_detail",
	"localpart|full_address|local_domains|implicitly_match_detail|replace_macros|"
	"preserve_domain|keep_detail",
	"How the map is asked and its value taken, see KEYS OF MAPS: localpart asks for the part "
	"before the @ only, with full_address for both, the whole address first; local_domains "
	"asks only about addresses in local domains; implicitly_match_detail lets a row for user "
	"serve user+detail too; replace_macros replaces ${user} and its like in the value; "
	"preserve_domain leaves a target without a domain in that of the address, not in ours; "
	"keep_detail gives a target the detail of the address, unless the row is one for just "
	"that detail."),
};
RECORDS(use);

#define USE_F_KEYS (USE_F_LOCALPART | USE_F_FULL_ADDRESS | USE_F_LOCAL_DOMAINS | USE_F_DETAIL)
const struct set_use_kind set_use_kinds[USES] = {
    [USE_ACCESS] = {"access", USE_F_DETAIL | USE_F_MACROS},
    [USE_MAILERTABLE] = {"mailertable", USE_F_MACROS},
    [USE_ALIASES] = {"aliases",
	USE_F_KEYS | USE_F_MACROS | USE_F_PRESERVE_DOMAIN | USE_F_KEEP_DETAIL},
    [USE_LOCAL_USERS] = {"local_user_map", USE_F_KEYS},
    [USE_SENDER_ROUTES] = {"sender_routes", USE_F_DETAIL | USE_F_MACROS},
    [USE_VIRTUAL] = {"virtual_aliases",
	USE_F_DETAIL | USE_F_MACROS | USE_F_PRESERVE_DOMAIN | USE_F_KEEP_DETAIL},
    [USE_TLS_POLICY] = {"tls_policy", 0},
};

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

static const struct meta1_opt opt_tls_client[] = {TLS_OPTIONS};
RECORDS(tls_client);

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
};
RECORDS(login);

#define GROUP(p, x, T, text)                                                                       \
	{                                                                                          \
		p, text, opt_##x, ARRAY_LEN(opt_##x), sizeof(T)                                    \
	}
static const struct settings_group groups[] = {
    GROUP("", global, struct settings, "Outside of all sections."),
    GROUP("control", control, struct settings, "Rights on the control sockets."),
    GROUP("ROLE", role, struct set_role, "In smtps, smtpc, qmgr and smar alike."),
    GROUP("ROLE.log", log, struct set_log, "Where a role logs; standard error without it."),
    GROUP("ROLE.listen_socket", listen, struct set_listen,
	"A socket that mcp opens for the role; several need names."),
    GROUP("smtps", smtps, struct set_smtps, "Receives mail; several sections need names."),
    GROUP("smtps.proxy_protocol", proxy, struct set_smtps,
	"The PROXY protocol, versions 1 and 2, of load balancers: the address that the header "
	"gives is the client's in all rules, limits, logs and Received lines."),
    GROUP("smtps.client_limits", client, struct set_smtps,
	"What one client may take of the server; behind XCLIENT or the PROXY protocol the address "
	"that was given is the client."),
    GROUP("smtps.tls", tls, struct set_tls,
	"STARTTLS is offered when this section is there; it needs cert_file and key_file. A reload "
	"reads all files anew."),
    GROUP("smtps.auth", auth, struct set_auth,
	"AUTH is offered when this section is there: whoever authenticates may relay."),
    GROUP("smtps.auth.account_limits", account, struct set_auth,
	"How much whoever has authenticated may send, by the name whose secret was shown: what a "
	"stolen password is good for."),
    GROUP("smtps.policy_milter", filter, struct set_filter,
	"A policy filter, or with module = mux several, each with a name: filter NAME. Further "
	"options, where it is above all, are those of its module; see doc/filters.md."),
    GROUP("smtpc", smtpc, struct set_smtpc, "Delivers mail."),
    GROUP("smtpc.tls", tls_client, struct set_tls,
	"Our certificate, shown to next hops that ask for one, and the CAs that theirs are held "
	"against: those of the system unless CAcert_file or CAcert_directory is set."),
    GROUP("smtpc.auth", login, struct set_login,
	"AUTH at next hops, with the credentials of a file. When it fails the mail waits (4.7.8), "
	"and "
	"the next host is tried."),
    GROUP("smtpc.transport", transport, struct set_transport,
	"A way out beside SMTP and LMTP, with a name: the row NAME: of the mailertable leads mail "
	"there, and what stands behind the colon is for its module, as further options are."),
    GROUP("qmgr", qmgr, struct set_qmgr, "Keeps the queue and decides what is delivered when."),
    GROUP("qmgr.smtpc", qmgr_smtpc, struct set_qmgr, "Limits for each destination."),
    GROUP("qmgr.conf", lookup, struct set_use,
	"Limits of single destinations, from a map of smar; see LIMITS OF DESTINATIONS."),
    GROUP("qmgr.queue", queue, struct set_qmgr,
	"The queue store; further options are those of its module."),
    GROUP("smar", smar, struct set_smar, "Decides about addresses and finds the next hops."),
    GROUP("smar.map", map, struct set_map,
	"A map, with a name; further options are those of its module."),
    GROUP("smar.dnsbl", dnsbl, struct set_dnsbl,
	"A list in the DNS of bad or good clients or domains; several need names."),
    GROUP("smar.greylisting", greylisting, struct set_greylisting,
	"Who sends to a recipient for the first time is told to come again."),
    GROUP("smar.greylisting.exempt", lookup, struct set_use,
	"A map of who is not greylisted: keys cltaddr:, from: and to: as in the access map, each "
	"with OK, or CONT for no opinion."),
    GROUP("smar.recipient_probe", probe, struct set_probe,
	"Recipients are accepted at RCPT only when their next hop would take them: it is asked, "
	"MAIL "
	"and RCPT without a mail. Nobody is probed unless routes, domains or conf say so."),
    GROUP("smar.recipient_probe.conf", lookup, struct set_use,
	"A map that says it domain by domain, before the other two; keys as in the mailertable, "
	"values no (not probed), yes, or yes with what unknown is there: tempfail or accept."),
    GROUP("smar.mta_sts", mta_sts, struct set_mta_sts,
	"With this section, which may be empty, policies of MTA-STS (RFC 8461) are fetched and "
	"kept: domains whose next hops are their MX hosts may demand TLS and a certificate."),
    GROUP("smar.tlsrpt", tlsrpt, struct set_tlsrpt,
	"With this section, which may be empty, each session to a next hop that a domain's MX "
	"records say is counted, and a report a day and domain written (RFC 8460)."),
    GROUP("smar.access", use, struct set_use,
	"Who may relay, what is refused. Of the flags implicitly_match_detail and replace_macros "
	"serve here. Of a name with more than 20 parent domains, here and in the maps below, the "
	"name itself and its 20 shortest parents are looked up."),
    GROUP("smar.mailertable", use, struct set_use,
	"Where domains go, which are local. Of the flags replace_macros serves here."),
    GROUP("smar.aliases", use, struct set_use,
	"Whom an address stands for: addresses with blanks or commas between, see ALIASES."),
    GROUP("smar.local_user_map", use, struct set_use,
	"Which local users exist: a local recipient that is neither here nor an alias is refused "
	"with 550 5.1.1. Without it all are taken."),
    GROUP("smar.sender_routes", use, struct set_use,
	"Next hops, as in the mailertable, by the sender: user@domain, domain, .parent, <>. For "
	"mail "
	"that is not local and whose domain has no row of its own in the mailertable; before the "
	"row \".\" and MX records."),
    GROUP("smar.virtual_aliases", use, struct set_use,
	"The same as aliases by the whole address, user@domain or domain for all the rest of it; "
	"asked before them, for local domains and for virtual ones."),
    GROUP("smar.tls_policy", use, struct set_use,
	"What TLS must achieve towards the next hops of a domain, in place of smtpc's tls_policy: "
	"none, may, encrypt, verify match=NAME,..., fingerprint=HEX,... (doc/tls.md). Keys as in "
	"the "
	"mailertable, the domain of the mail before the next hop's name. A row with a mistake "
	"holds the mail back."),
};

const struct settings_group *settings_groups(size_t *n)
{
	*n = ARRAY_LEN(groups);
	return groups;
}
