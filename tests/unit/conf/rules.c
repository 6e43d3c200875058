/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rules.c -- tries core/lib/settings.h: rules over several options, a row each with what is said of
 * a text that breaks it.
 */
#include "conf_unit.h"

static const struct {
	const char *text;
	unsigned errors; /* in a check */
	const char *want;
} rule[] = {
    {"smar { recipient_probe { wait = 1s; } }", 1, "nobody would be probed: expected routes"},
    {"smar { recipient_probe { domains = a.test; } }", 0, NULL},
    {"smar { recipient_probe { conf { name = m; } } }", 1, "map m"},
    {"smtps { lgo_level = 1; }", 1,
	"t:1:9: unknown option lgo_level in smtps; did you mean log_level?"},
    {"smtp { }", 1, "t:1:1: unknown section smtp; did you mean smtps?"},
    {"hotsname = a;", 1, "t:1:1: unknown option hotsname; did you mean hostname?"},
    {"smtps { listen_sokcet { } }", 1, "did you mean listen_socket?"},
    {"smtps { listen_socket { prot = 1; } }", 1,
	"t:1:25: unknown option prot in smtps.listen_socket; did you mean port?"},
    {"smtps MSA { prot = 1; }", 1, "unknown option prot in smtps MSA"},
    {"smar x { }", 1, "t:1:1: section smar takes no name, found x"},
    {"smtpc { } smtpc { user = root; }", 0, NULL},
    {"smtpc { listen_socket { } }", 1, "t:1:9: smtpc: only smtps has a listen_socket"},
    {"smtps { listen_socket { type = inet6; } listen_socket b { port = 587; } }", 0, NULL},
    {"smtps { listen_socket { type = unix; } }", 1, "a unix socket needs a path"},
    {"smtps { listen_socket { type = unix; path = p; port = 1; } }", 1,
	"t:1:48: smtps.listen_socket: port is for type inet and inet6, this is unix"},
    {"smtps { listen_socket { path = p; } }", 1, "path is for type unix, this is inet"},
    {"smtps { listen_socket { address = \"::1\"; } }", 1,
	"found ::1, expected an IPv4 address; IPv6 is type = inet6"},
    {"smtps { listen_socket { address = \"::1\"; type = inet6; } }", 0, NULL},
    {"smtps { listen_socket { type = unix; path = p; umask = 088; } }", 1,
	"found umask 088, expected octal"},
    {"smtps { start_action = accept; }", 1,
	"t:1:24: smtps: this start_action needs a listen_socket section"},
    {"qmgr { processes = 2; }", 1, "only smtps and smtpc run as several processes"},
    {"smtps { processes = 2; pass_fd_socket = x; }", 1, "pass_fd_socket serves one process"},
    {"qmgr { restart_dependencies = { smtpc, smtsp }; }", 1,
	"t:1:40: qmgr: restart_dependencies: there is no section smtsp; did you mean "
	"smtps?"},
    {"smtps MSA { } qmgr { restart_dependencies = MSA; }", 0, NULL},
    {"smar { access { name = acces; } map access { type = text; } }", 1,
	"t:1:24: smar.access: there is no map acces; did you mean access?"},
    {"smar { mailertable { name = \"mt\"; } map mt { type = text; } }", 0, NULL},
    {"smar { mailertable { } }", 1, "smar.mailertable: option name is missing"},
    {"smar { map m { type = text; } mailertable { name = m; flags = { replace_macros }; } "
     "access { name = m; flags = { replace_macros, dont_implicitly_match_detail }; } }",
	0, NULL},
    {"smar { map m { type = text; } mailertable { name = m; flags = localpart; } }", 1,
	"t:1:63: smar.mailertable: the flag localpart does nothing here; remove it"},
    {"smar { map m { type = text; } access { name = m; flags = { dont_keep_detail }; } }", 1,
	"the flag dont_keep_detail does nothing here"},
    {"smar { address_delimiter = \"\"; }", 0, NULL},
    {"smar { address_delimiter = \"+-\"; }", 0, NULL},
    {"smar { address_delimiter = \"a\"; }", 1,
	"t:1:28: smar: address_delimiter: found \"a\", expected at most 7 of +-=_~#!&^%"},
    {"smar { address_delimiter = \"+-=+-=+-=\"; }", 1, "expected at most 7 of"},
    {"smar { map { type = text; } }", 1, "a map needs a name"},
    {"smar { map x { file = y; } }", 1, "t:1:8: smar.map x: option type is missing"},
    {"smar { nameserver = { 127.0.0.1:5353, \"[::1]:53\", \"::1\", \"[::1]\" }; }", 0, NULL},
    {"smar { nameserver = { 127.0.0.1, localhost }; }", 1,
	"t:1:34: smar: option nameserver: found localhost, expected an address"},
    {"smar { nameserver = 127.0.0.1:70000; }", 1, "expected an address"},
    {"qmgr { smtpc { initial_connections = 101; } }", 1,
	"initial_connections (101) is more than max_connections (100)"},
    {"qmgr { min_retry_delay = 5h; }", 1, "min_retry_delay is longer than max_retry_delay"},
    {"hostname = \"a b\";", 1, "t:1:12: option hostname: found a b, expected a host name"},
    {"run_directory = "
     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaa;",
	1, "too long for the sockets"},
    {"smtps { log { facility = mial; } }", 1, "unknown syslog facility mial; did you mean mail?"},
    {"smtps { log { facility = mail; file = x; } }", 1, "facility and file exclude each other"},
    {"smtps { policy_milter a { } policy_milter b { } }", 1, "a second policy_milter"},
    {"smtps { policy_milter { anything = x; of { a = module; } } }", 0, NULL},
    {"smtps { policy_milter { flags = accept; flags = abort; } }", 1, "is set twice"},
    {"smtps { policy_milter { flags = { accept, abort }; } }", 1,
	"t:1:35: smtps.policy_milter: option flags: found several words, expected one: abort|"},
    {"smtps { policy_milter { flags = acept; } }", 1, "did you mean accept?"},
    {"smtps { policy_milter { failure = abort; flags = abort; } }", 1,
	"t:1:35: smtps.policy_milter: flags and failure say the same thing"},
    {"smtps { policy_milter { failure = accept_but_reconnect; } }", 1,
	"option failure: found accept_but_reconnect, expected accept, tempfail, reject, "
	"quarantine or abort"},
    {"smtps MX { policy_milter p { phase = modfy; } }", 1,
	"t:1:38: smtps MX.policy_milter p: option phase: found modfy, expected"},
    {"smtps { policy_milter { module = milter; filter f { } } }", 1,
	"sections filter need module = mux"},
    {"smtps { policy_milter { module = mux; } }", 1, "module = mux needs sections filter NAME"},
    {"smtps { policy_milter { module = mux; filter { } } }", 1, "a filter needs a name"},
    {"smtps { policy_milter { module = mux; filter f { module = mux; } } }", 1,
	"t:1:39: smtps.policy_milter.filter f: a mux is no filter of a mux"},
    {"smtps { policy_milter { module = mux; flter f { } filter g { } } }", 1,
	"unknown section flter in smtps.policy_milter; did you mean filter?"},
    {"smtps { policy_milter { module = mux; timeout = 1m; filter g { } } }", 1,
	"t:1:39: unknown option timeout in smtps.policy_milter"},
    {"smtps { policy_milter { min_size = 2KB; max_size = 1KB; } }", 1,
	"t:1:36: smtps.policy_milter: min_size is more than max_size"},
    {"smtps { policy_milter { clients = { unix, 10.0.0.0/8, nonsense }; } }", 1,
	"option clients: found nonsense"},
    {"smtps { listen_socket a { } listen_socket subm { port = 587; } "
     "policy_milter { listeners = { a, sumb, \"0.0.0.0:25\" }; } }",
	1, "there is no listen_socket sumb here; did you mean subm?"},
    {"smtps { listen_socket a { } listen_socket subm { port = 587; } "
     "policy_milter { listeners = { outside }; } }",
	1, "there is no listen_socket outside here; there is: dsn_filters, a, subm"},
    {"smtps { listen_socket a { } policy_milter { listeners = { a, dsn_filters }; } } "
     "qmgr { dsn_filters = yes; }",
	0, NULL},
    {"smtps { policy_milter { } } qmgr { dsn_filters = yes; }", 0, NULL},
    {"smtps { } qmgr { dsn_filters = yes; }", 1,
	"t:1:32: qmgr: dsn_filters = yes, but no filter judges reports"},
    {"smtps { listen_socket a { } policy_milter { listeners = a; } } qmgr { dsn_filters = yes; }",
	1, "no smtps section has a policy_milter with listeners unset or with dsn_filters in it"},
    {"smtps { listen_socket dsn_filters { } }", 1,
	"t:1:9: no listen_socket can have the name dsn_filters"},
    {"smtps { policy_milter { senders = { a@b.test, b.test, .b.test, \"<>\" }; } }", 0, NULL},
    {"smtps { policy_milter { senders = { a@b.test, @b.test }; } }", 1,
	"t:1:47: smtps.policy_milter: option senders: found @b.test, expected user@domain"},
    {"smtps { policy_milter { recipients = { a@.b.test }; } }", 1, "option recipients: found a@."},
    {"smtps { policy_milter { recipients = \"\"; } }", 1, "expected user@domain"},
    {"smtps { proxy_protocol { mode = allow; trusted = { unix, 10.0.0.0/8, ::1 }; } }", 0, NULL},
    {"smtps { proxy_protocol { trusted = ::1; } }", 0, NULL},
    {"smtps { proxy_protocol { mode = allow; } }", 1,
	"t:1:9: smtps.proxy_protocol: nobody is trusted to send a header"},
    {"smtps { proxy_protocol x { } }", 1, "section proxy_protocol takes no name, found x"},
    {"smtps { proxy_protocol { trusted = { ::1, 10.0.0.1/8 }; } }", 1,
	"t:1:43: option trusted: found 10.0.0.1/8, expected an address such as 192.0.2.1"},
    {"smtps { xclient = mx.example; }", 1, "t:1:19: option xclient: found mx.example"},
    {"smtps { module x { } }", 1, "found x, expected a module's name"},
    {"control { admins = nosuchuser; }", 0, "warning: control: option admins: user nosuchuser"},
    {"smtps { CDB_gid = nosuchgroup; }", 0, "warning: smtps: option CDB_gid: group nosuchgroup"},
    {"smtps { tls { cert_fiel = x; cert_file = a; key_file = a; } }", 1, "did you mean cert_file?"},
    {"smtps { tls { } }", 1, "t:1:9: smtps.tls: a server needs cert_file and key_file\n"},
    {"smtps { tls { cert_file = { a, b }; key_file = a; } }", 1,
	"cert_file and key_file name different numbers of files"},
    {"smtps { listen_socket { tls = yes; } }", 1, "tls = yes needs a section tls"},
};

static void rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rule); i++) {
		struct settings *s = settings_load_text("t", rule[i].text, OPT_CHECK);
		expect_report(s->conf, rule[i].errors, rule[i].want, rule[i].text);
		settings_free(&s);
	}
}

/* What this version cannot do is one clear line at the start. */
static void refused_at_start(void **state)
{
	static const struct {
		const char *text, *want;
	} t[] = {
	    {"smtps { user = nosuchuser; }",
		"t:1:16: smtps: option user: user nosuchuser: there is no"},
	    {"smtps { path = /no/such; }", "option path: file /no/such: No such file"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct settings *s = settings_load_text("t", t[i].text, OPT_START);
		expect_report(s->conf, 1, t[i].want, t[i].text);
		settings_free(&s);
		s = settings_load_text("t", t[i].text, OPT_CHECK);
		expect_report(s->conf, 0, "warning: ", t[i].text);
		settings_free(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rules),
	    cmocka_unit_test(refused_at_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
