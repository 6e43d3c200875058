/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_smar.c -- every option of the section smar and of those in it, in the order of
 * meta1.conf(5); and which flags mean something where a map is used.
 * What records are and what is made of them: settings_records.c. Owns nothing.
 */
#include "settings_records.h"

static const struct meta1_opt opt_smar[] = {
    META1_OPT_LIST(struct set_smar, nameserver, "", META1_O_RESTART,
	"Name servers: 127.0.0.1, \"127.0.0.1:5353\", \"[::1]:53\"; those of /etc/resolv.conf "
	"unless set."),
    META1_OPT_LIST(struct set_smar, trusted_nameserver, "", META1_O_RESTART,
	"Those of the name servers that check DNSSEC and are reached over a way that nobody else "
	"can "
	"write to: what they mark as proven (AD) is taken as proven. None unless named, 127.0.0.1 "
	"neither."),
    META1_OPT(struct set_smar, DNS_random_case, META1_BOOL, int32_t, "yes", "", META1_O_RESTART,
	"Names are sent in random case and must come back so, which makes answers harder to forge. "
	"A "
	"server that answers in another case is asked over TCP, then as it likes it; no is for one "
	"that does not answer at all, or has no TCP."),
    META1_OPT(struct set_smar, DNS_timeout, META1_MSEC, int64_t, "6s", "100ms..1m", META1_O_RESTART,
	"How long one query to one name server may take."),
    META1_OPT(struct set_smar, DNS_tries, META1_INT, int64_t, "3", "1..10", META1_O_RESTART,
	"Queries before a name is a temporary failure."),
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
    META1_OPT(struct set_smar, dane, META1_BOOL, int32_t, "yes", "", META1_O_RESTART,
	"A next hop that says by TLSA records how it is known (DANE, RFC 7672) gets mail only when "
	"it "
	"is that, with nothing to configure but a trusted_nameserver: without one nobody is "
	"asked."),
    META1_OPT_INT(struct set_smar, dnsbl_threshold, "0", "0..100000",
	"A client is refused (550 5.7.1) when the weights of the DNS lists that it is on come to "
	"this sum; 0: weights decide nothing."),
};
RECORDS(smar);

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

const struct settings_section sections_smar[] = {
    SECTION("smar", smar, struct set_smar, "Decides about addresses and finds the next hops."),
    SECTION("smar.map", map, struct set_map,
	"A map, with a name; further options are those of its module."),
    SECTION("smar.dnsbl", dnsbl, struct set_dnsbl,
	"A list in the DNS of bad or good clients or domains; several need names."),
    SECTION("smar.greylisting", greylisting, struct set_greylisting,
	"Who sends to a recipient for the first time is told to come again."),
    SECTION("smar.greylisting.exempt", lookup, struct set_use,
	"A map of who is not greylisted: keys cltaddr:, from: and to: as in the access map, each "
	"with OK, or CONT for no opinion."),
    SECTION("smar.recipient_probe", probe, struct set_probe,
	"Recipients are accepted at RCPT only when their next hop would take them: it is asked, "
	"MAIL "
	"and RCPT without a mail. Nobody is probed unless routes, domains or conf say so."),
    SECTION("smar.recipient_probe.conf", lookup, struct set_use,
	"A map that says it domain by domain, before the other two; keys as in the mailertable, "
	"values no (not probed), yes, or yes with what unknown is there: tempfail or accept."),
    SECTION("smar.mta_sts", mta_sts, struct set_mta_sts,
	"With this section, which may be empty, policies of MTA-STS (RFC 8461) are fetched and "
	"kept: domains whose next hops are their MX hosts may demand TLS and a certificate."),
    SECTION("smar.tlsrpt", tlsrpt, struct set_tlsrpt,
	"With this section, which may be empty, each session to a next hop that a domain's MX "
	"records say is counted, and a report a day and domain written (RFC 8460)."),
    SECTION("smar.access", use, struct set_use,
	"Who may relay, what is refused. Of the flags implicitly_match_detail and replace_macros "
	"serve here. Of a name with more than 20 parent domains, here and in the maps below, the "
	"name itself and its 20 shortest parents are looked up."),
    SECTION("smar.mailertable", use, struct set_use,
	"Where domains go, which are local. Of the flags replace_macros serves here."),
    SECTION("smar.aliases", use, struct set_use,
	"Whom an address stands for: addresses with blanks or commas between, see ALIASES."),
    SECTION("smar.local_user_map", use, struct set_use,
	"Which local users exist: a local recipient that is neither here nor an alias is refused "
	"with 550 5.1.1. Without it all are taken."),
    SECTION("smar.sender_routes", use, struct set_use,
	"Next hops, as in the mailertable, by the sender: user@domain, domain, .parent, <>. For "
	"mail "
	"that is not local and whose domain has no row of its own in the mailertable; before the "
	"row \".\" and MX records."),
    SECTION("smar.virtual_aliases", use, struct set_use,
	"The same as aliases by the whole address, user@domain or domain for all the rest of it; "
	"asked before them, for local domains and for virtual ones."),
    SECTION("smar.tls_policy", use, struct set_use,
	"What TLS must achieve towards the next hops of a domain, in place of smtpc's tls_policy: "
	"none, may, encrypt, verify match=NAME,..., fingerprint=HEX,... (doc/tls.md). Keys as in "
	"the "
	"mailertable, the domain of the mail before the next hop's name. A row with a mistake "
	"holds the mail back."),
    {NULL, NULL, NULL, 0},
};
