/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opt_moved.c -- what options of MeTA1 and Postfix that we do not have are called here, for the
 * message about an unknown one: who comes from there types them from memory.
 *
 * Comes from: opt_unknown(). Goes to: the message. doc/migrate.md tells the same, and a test holds
 * both together. Owns nothing but constants; never fails.
 */
#include "lib/opt.h"

#include <string.h>
#include <strings.h>

#define ONE_STORE "one store keeps all mail: queue { } in qmgr"
#define LOOPS	  "each process is one loop: processes, and max_sessions in smtps"

static const struct {
	const char *name, *here;
} moved[] = {
    /* MeTA1 */
    {"CDB", ONE_STORE},
    {"CDB_base_directory", ONE_STORE},
    {"IBDB", ONE_STORE ", commit_delay there"},
    {"IQDB_max_entries", ONE_STORE},
    {"DEFEDB", ONE_STORE},
    {"EDB", ONE_STORE},
    {"access_map", "access { name = MAP; } in smar"},
    {"debug_level", "log_level"},
    {"DNS_flags", "name servers are asked over UDP, then TCP: DNS_timeout, DNS_tries"},
    {"initial_threads", LOOPS},
    {"wait_threads", LOOPS},
    {"max_threads", LOOPS},
    {"max_transactions_per_session", "max_transactions"},
    /* Postfix */
    {"myhostname", "hostname"},
    {"mydestination", "a row with lmtp: in the mailertable, or local_domains in smar"},
    {"relay_domains", "a row to:DOMAIN RELAY in the map of access, and one of the mailertable"},
    {"mynetworks", "a row cltaddr:NET RELAY in the map of access"},
    {"relayhost", "the row . [HOST] of the mailertable"},
    {"sender_dependent_relayhost_maps", "sender_routes in smar"},
    {"transport_maps", "mailertable in smar"},
    {"mailbox_transport", "LMTP_socket in smtpc, or lmtp: in the mailertable"},
    {"virtual_transport", "LMTP_socket in smtpc, or lmtp: in the mailertable"},
    {"alias_maps", "aliases in smar"},
    {"alias_database", "aliases in smar"},
    {"virtual_alias_maps", "virtual_aliases in smar"},
    {"virtual_alias_domains", "virtual_domains in smar"},
    {"local_recipient_maps", "local_user_map in smar"},
    {"relay_recipient_maps", "local_user_map in smar"},
    {"recipient_delimiter", "address_delimiter in smar"},
    {"smtpd_client_restrictions", "rows cltaddr: in the map of access"},
    {"smtpd_helo_restrictions", "rows helo: in the map of access"},
    {"smtpd_sender_restrictions", "rows from: in the map of access"},
    {"smtpd_recipient_restrictions", "rows to: in the map of access"},
    {"smtpd_relay_restrictions", "rows cltaddr: and to: with RELAY in the map of access"},
    {"smtpd_delay_reject", "the flag delay_checks in smtps"},
    {"postscreen_greet_wait", "greet_delay in smtps"},
    {"postscreen_dnsbl_sites", "dnsbl in smar"},
    {"postscreen_dnsbl_threshold", "dnsbl_threshold in smar"},
    {"smtpd_client_connection_count_limit", "client_limits { max_connections } in smtps"},
    {"smtpd_client_connection_rate_limit", "client_limits { max_connection_rate } in smtps"},
    {"smtpd_sasl_type", "auth { module } in smtps"},
    {"smtpd_sasl_auth_enable", "auth { } in smtps"},
    {"smtpd_tls_auth_only", "the flag tls_only in auth of smtps"},
    {"smtpd_tls_cert_file", "tls { cert_file } in smtps"},
    {"smtpd_tls_key_file", "tls { key_file } in smtps"},
    {"smtpd_tls_security_level", "tls { } in smtps"},
    {"smtp_tls_security_level", "tls_policy in smtpc"},
    {"smtp_tls_policy_maps", "tls_policy { name = MAP; } in smar"},
    {"smtp_sasl_password_maps", "auth { file } in smtpc"},
    {"smtp_bind_address", "source_ipv4 in smtpc"},
    {"smtp_bind_address6", "source_ipv6 in smtpc"},
    {"smtp_helo_name", "helo_name in smtpc"},
    {"smtpd_milters", "policy_milter { } in smtps"},
    {"milter_default_action", "failure of a filter in policy_milter"},
    {"message_size_limit", "max_message_size in smtps"},
    {"smtpd_recipient_limit", "max_rcpts_per_transaction in smtps"},
    {"smtpd_hard_error_limit", "max_bad_commands in smtps"},
    {"default_destination_concurrency_limit", "smtpc { max_connections } in qmgr"},
    {"initial_destination_concurrency", "smtpc { initial_connections } in qmgr"},
    {"default_destination_rate_delay", "rate in a row of conf { } in qmgr"},
    {"minimal_backoff_time", "min_retry_delay in qmgr"},
    {"maximal_backoff_time", "max_retry_delay in qmgr"},
    {"maximal_queue_lifetime", "max_time_in_queue in qmgr"},
    {"delay_warning_time", "delay_warning in qmgr"},
    {"qmgr_message_active_limit", "AQ_max_entries in qmgr"},
    {"default_verp_delimiters", "verp_delimiters in qmgr"},
    {"smtpd_authorized_verp_clients", "verp_clients in smtps"},
    {"smtpd_upstream_proxy_protocol", "proxy_protocol in smtps"},
    {"smtpd_authorized_xclient_hosts", "xclient in smtps"},
    {"smtpd_forbid_bare_newline", "bare_newline in smtps"},
    {"header_checks", "policy_milter { module = headers; } in smtps"},
    {"masquerade_domains", "policy_milter { module = headers; } in smtps"},
    {"smtp_generic_maps", "policy_milter { module = headers; } in smtps"},
};

const char *opt_moved(const char *name)
{
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++)
		if (strcasecmp(moved[i].name, name) == 0)
			return moved[i].here;
	return NULL;
}
