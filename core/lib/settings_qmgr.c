/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_qmgr.c -- every option of the section qmgr and of those in it, in the order of
 * meta1.conf(5). What records are and what is made of them: settings_records.c. Owns nothing.
 */
#include "settings_records.h"

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

const struct settings_section sections_qmgr[] = {
    SECTION("qmgr", qmgr, struct set_qmgr, "Keeps the queue and decides what is delivered when."),
    SECTION("qmgr.smtpc", qmgr_smtpc, struct set_qmgr, "Limits for each destination."),
    SECTION("qmgr.conf", lookup, struct set_use,
	"Limits of single destinations, from a map of smar; see LIMITS OF DESTINATIONS."),
    SECTION("qmgr.queue", queue, struct set_qmgr,
	"The queue store; further options are those of its module."),
    {NULL, NULL, NULL, 0},
};
