# SPDX-License-Identifier: BSD-2-Clause
"""Each option, kind of map, flag, tag, right-hand side, macro and word of a row has a test and a line in the manual.

What there is comes from the programs and tables of the source (named.py). TESTS says which test tries it: a test that is there, and
whose source, with what it uses of its file, says the words. So a new option or tag fails here until it has a test, and its
line in the manual pages: meta1.conf(5) and meta1-maps(5) are made from the records, doc/man/meta1-access.5 is written."""
import re

import lab
import pytest
from named import SRC, has, said, says, text, things

SYSTEM, UNIT = 'tests/system/test_', 'tests/unit/'
TESTS = {
    SYSTEM + 'access.py::test_decisions': 'cltaddr: from: to: protectedrcpt: lmtp: error: QUICK: <> CONT OK RELAY REJECT DISCARD '
    'protectedrcpt+cltaddr: protectedrcpt+from: protectedrcpt+relay',
    SYSTEM + 'access.py::test_helo': 'helo:',
    SYSTEM + 'access.py::test_where_it_is_said': 'smtps.flags=delay_checks',
    SYSTEM + 'session_conf.py::test_each_client_has_its_own': 'smtps_session_conf: smtps.flags=session_conf',
    SYSTEM + 'hop_conf.py::test_one_hop_and_not_another': 'smtpc_session_conf: smtpc.flags=session_conf smtpc.flags=rcpt_conf smtpc.helo_name smtpc.source_ipv4 smtpc.extensions '
    'smtpc.extensions=pipelining smtpc.extensions=size smtpc.extensions=dsn',
    SYSTEM + 'lmtp.py::test_who_gets_which': 'smtpc.extensions=ignorequota smtpc.extensions=trace',
    SYSTEM + 'hop_conf.py::test_what_is_not_used_is_not_offered': 'smtpc.extensions=8bitmime',
    SYSTEM + 'hop_conf.py::test_no_utf8_and_over_ipv6': 'smtpc.extensions=smtputf8 smtpc.source_ipv6',
    SYSTEM + 'hop_conf.py::test_recipients': 'smtpc_rcpt_conf:',
    UNIT + 'smar/tags.c::every_tag': 'certsubject: certissuer: auth: protectedrcpt+auth: protectedrcpt+certsubject: protectedrcpt+certissuer:',
    SYSTEM + 'lookup.py::test_macros': '${user} ${detail} ${subdomain} ${domain} ${0} access.flags=replace_macros',
    UNIT + 'smar/macro.c::parts': '${delimiter} ${extension} ${tag}',
    SYSTEM + 'lookup.py::test_detail_and_delimiter': 'smar.address_delimiter access.flags=implicitly_match_detail',
    SYSTEM + 'lookup.py::test_macros_in_the_mailertable': 'mailertable.name mailertable.flags=replace_macros',
    SYSTEM + 'lookup.py::test_kept_until_its_time_or_a_reload': 'map.cache_ttl map.cache_negative_ttl',
    SYSTEM + 'lookup.py::test_a_key_of_any_bytes': 'map.cache_size map_gdbm map_gdbm.file',
    SYSTEM + 'lookup.py::test_a_small_cache': 'map.cache_memory',
    UNIT + 'smar/mailertable.c::one': 'smtp: TARGET_SOCKET TARGET_PATH TARGET_ADDR TARGET_HOST TARGET_MX',
    UNIT + 'smar/mailertable.c::named': 'TARGET_NAMED',
    SYSTEM + 'flags.py::test_recipients': 'aliases.flags=localpart aliases.flags=full_address aliases.flags=local_domains aliases.flags=implicitly_match_detail '
    'aliases.flags=replace_macros aliases.flags=preserve_domain aliases.flags=keep_detail local_user_map.flags=localpart '
    'local_user_map.flags=full_address local_user_map.flags=local_domains local_user_map.flags=implicitly_match_detail '
    'virtual_aliases.flags=implicitly_match_detail virtual_aliases.flags=replace_macros virtual_aliases.flags=preserve_domain '
    'virtual_aliases.flags=keep_detail',
    SYSTEM + 'flags.py::test_senders': 'sender_routes.flags=implicitly_match_detail sender_routes.flags=replace_macros',
    SYSTEM + 'users.py::test_who_exists': 'aliases.name local_user_map.name virtual_aliases.name smar.virtual_domains',
    SYSTEM + 'users.py::test_routes_of_senders': 'sender_routes.name',
    SYSTEM + 'tls_policy.py::test_keys_and_typos': 'tls_policy.name',
    SYSTEM + 'users.py::test_ten_thousand_targets': ':include: smar.alias_include',
    SYSTEM + 'sched.py::test_limits_from_a_map': 'qmgr.conf.name',
    SYSTEM + 'dns.py::test_second_name_server_and_none': 'smar.nameserver smar.DNS_timeout smar.DNS_tries',
    SYSTEM + 'dns.py::test_names_in_random_case': 'smar.DNS_random_case',
    SYSTEM + 'dnslists.py::test_what_dnssec_proves': 'smar.trusted_nameserver',
    SYSTEM + 'dane.py::test_turned_off': 'smar.dane',
    SYSTEM + 'dnslists.py::test_the_name_of_the_client': 'smar.client_names cltname: smar.local_domains',
    SYSTEM + 'dnslists.py::test_lists_decide': 'dnsbl.domain dnsbl.tag dnsbl.weight smar.dnsbl_threshold',
    SYSTEM + 'dnslists.py::test_what_a_list_looks_up': 'dnsbl.looks_up dnsbl.looks_up=client dnsbl.looks_up=helo dnsbl.looks_up=sender',
    SYSTEM + 'dnslists.py::test_a_dead_list': 'dnsbl.on_timeout dnsbl.on_timeout=ignore dnsbl.on_timeout=temporary',
    SYSTEM + 'dnslists.py::test_each_result_has_its_row': 'cltresolve: cltresolve:ok cltresolve:none cltresolve:forged cltresolve:temp spf: spf:none spf:neutral '
    'spf:pass spf:fail spf:softfail spf:temperror spf:permerror',
    SYSTEM + 'dnslists.py::test_spf': 'smar.spf smtps.spf_header smtps.spf_header=none smtps.spf_header=received_spf smtps.spf_header=authentication_results',
    SYSTEM + 'grey.py::test_who_is_greylisted': 'greylisting.exempt.name',
    SYSTEM + 'grey.py::test_wait_expiry_and_the_net': 'greylisting.grey_wait greylisting.grey_expire greylisting.auto_white',
    SYSTEM + 'grey.py::test_white_expires': 'greylisting.white_expire greylisting.ipv4_bits greylisting.null_sender greylisting.null_sender=pass',
    SYSTEM + 'grey.py::test_reconfirmed_and_by_net': 'greylisting.white_reconfirm greylisting.ipv6_bits greylisting.null_sender=wait',
    SYSTEM + 'grey.py::test_a_flood_stays_within_its_bound': 'greylisting.max_entries',
    SYSTEM + 'grey.py::test_another_file': 'greylisting.file',
    SYSTEM + 'probe.py::test_which_are_asked': 'recipient_probe.routes recipient_probe.routes=lmtp recipient_probe.routes=mailertable '
    'recipient_probe.domains recipient_probe.conf.name',
    SYSTEM + 'probe.py::test_sender_and_utf8': 'recipient_probe.sender',
    SYSTEM + 'probe.py::test_unknown_accept': 'recipient_probe.unknown recipient_probe.unknown=accept',
    SYSTEM + 'probe.py::test_slow_hops_do_not_keep_others_and_are_remembered': 'recipient_probe.wait',
    SYSTEM + 'probe.py::test_away_known_ones_are_taken': 'recipient_probe.positive_ttl recipient_probe.negative_ttl recipient_probe.idle_timeout',
    SYSTEM + 'probe.py::test_a_burst_uses_few_connections': 'recipient_probe.max_connections recipient_probe.max_probes_per_connection',
    SYSTEM + 'probe.py::test_lines_and_times_have_bounds': 'recipient_probe.max_waiting recipient_probe.IO_timeout',
    SYSTEM + 'probe.py::test_a_hop_that_does_not_take_connections': 'recipient_probe.connect_timeout',
    SYSTEM + 'probe.py::test_what_is_kept_has_a_bound_and_a_time': 'recipient_probe.max_entries recipient_probe.positive_stale recipient_probe.unknown=tempfail',
    SYSTEM + 'filter_chain.py::test_phases': 'smtps.policy_milter.phase smtps.policy_milter.phase=verify smtps.policy_milter.phase=judge '
    'smtps.policy_milter.phase=modify smtps.policy_milter.phase=sign',
    SYSTEM + 'filter_chain.py::test_conditions': 'smtps.policy_milter.listeners smtps.policy_milter.clients smtps.policy_milter.authenticated '
    'smtps.policy_milter.authenticated=any smtps.policy_milter.authenticated=yes smtps.policy_milter.authenticated=no '
    'smtps.policy_milter.senders smtps.policy_milter.recipients smtps.policy_milter.min_size smtps.policy_milter.max_size',
    SYSTEM + 'filter_chain.py::test_shadow': 'smtps.policy_milter.shadow',
    SYSTEM + 'filter_chain.py::test_reload_and_what_is_shown': 'smtps.policy_milter.failure',
    SYSTEM + 'filters_fail.py::test_each_step_each_action': 'smtps.policy_milter.module smtps.policy_milter.timeout smtps.policy_milter.end_timeout smtps.policy_milter.flags '
    'smtps.policy_milter.flags=abort smtps.policy_milter.flags=accept_but_reconnect smtps.policy_milter.flags=tempfail '
    'smtps.policy_milter.flags=reject smtps.policy_milter.flags=quarantine',
    SYSTEM + 'filters_fail.py::test_not_again_until_a_reload': 'smtps.policy_milter.flags=accept',
    SYSTEM + 'mta_sts.py::test_which_hosts': 'mta_sts.remote_port mta_sts.CAcert_file',
    SYSTEM + 'mta_sts.py::test_authorities_of_a_folder': 'mta_sts.CAcert_directory',
    SYSTEM + 'mta_sts.py::test_another_policy_and_none': 'mta_sts.negative_ttl',
    SYSTEM + 'mta_sts.py::test_kept_over_a_restart': 'mta_sts.file',
    SYSTEM + 'mta_sts.py::test_slow_server_keeps_nobody': 'mta_sts.wait',
    SYSTEM + 'mta_sts.py::test_a_slow_fetch_ends': 'mta_sts.fetch_timeout',
    SYSTEM + 'mta_sts.py::test_fetched_anew_in_time': 'mta_sts.refresh',
    SYSTEM + 'mta_sts.py::test_bounds_and_tools': 'mta_sts.max_entries mta_sts.max_memory',
    SYSTEM + 'mta_sts.py::test_reports': 'tlsrpt.directory tlsrpt.organization tlsrpt.contact',
    SYSTEM + 'mta_sts.py::test_who_is_reported': 'tlsrpt.all_domains tlsrpt.max_domains',
    SYSTEM + 'mta_sts.py::test_old_reports_go': 'tlsrpt.keep',
    SYSTEM + 'maps.py::test_rows_of_the_configuration': 'map_text.rows access.name map.type smtps.flags=access',
    SYSTEM + 'maps.py::test_bad_lines_are_all_named': 'map_text map_regex map_cidr map_text.file map_regex.file map_cidr.file',
    SYSTEM + 'maps.py::test_regex_in_access': 'map_regex.rows',
    SYSTEM + 'maps.py::test_mistake_named_by_a_start': 'map_cidr.rows',
    SYSTEM + 'maps.py::test_sequence_of_maps': 'map_sequence map_sequence.maps',
    UNIT + 'modules/map_passwd.c::least_uid': 'map_passwd map_passwd.min_uid',
    SYSTEM + 'mapfiles.py::test_sqlite': 'map_sqlite map_sqlite.file map_sqlite.query map_sqlite.timeout map_sqlite.ttl',
    SYSTEM + 'mapfiles.py::test_lmdb': 'map_lmdb map_lmdb.file',
    UNIT + 'modules/map_dns.c::records': 'map_dns map_dns.name map_dns.record map_dns.record=txt map_dns.record=a map_dns.record=aaaa map_dns.record=mx '
    'map_dns.record=ptr map_dns.record=cname map_dns.record=srv',
    UNIT + 'modules/map_dns.c::keys': 'map_dns.reverse',
    UNIT + 'modules/map_dns.c::failures': 'map_dns.ttl',
    SYSTEM + 'socketmap.py::test_answers': 'map_socket map_socket.address map_socket.port map_socket.mapname map_socket.ttl Socket+OK Socket+NOTFOUND Socket+NOMORE '
    'Socket+TEMP Socket+TIMEOUT Socket+PERM',
    SYSTEM + 'socketmap.py::test_unix_socket': 'map_socket.path',
    SYSTEM + 'socketmap.py::test_silent_server': 'map_socket.timeout map_socket.fallback',
    SYSTEM + 'mapservers.py::test_answers_and_restart': 'map_redis map_redis.servers map_redis.timeout map_redis.ttl map_redis.command map_redis.password_file '
    'map_redis.database map_pgsql map_pgsql.servers map_pgsql.timeout map_pgsql.ttl map_pgsql.conninfo map_pgsql.query map_pgsql.password_file map_ldap '
    'map_ldap.servers map_ldap.timeout map_ldap.ttl map_ldap.base map_ldap.filter map_ldap.attributes map_ldap.bind_dn map_ldap.password_file map_ldap.ca_file',
    SYSTEM + 'mapservers.py::test_as_many_connections_as_said': 'map_redis.connections map_pgsql.connections map_ldap.connections',
    SYSTEM + 'mapservers.py::test_user_of_redis': 'map_redis.user',
    SYSTEM + 'mapservers.py::test_where_ldap_searches': 'map_ldap.scope map_ldap.scope=base map_ldap.scope=one map_ldap.scope=sub map_ldap.size_limit',
    SYSTEM + 'mapservers.py::test_ldap_over_tls': 'map_ldap.start_tls',
    SYSTEM + 'isolate.py::test_several': 'map.isolate map.isolate_memory',
    SYSTEM + 'isolate.py::test_own_user': 'map.isolate_user smtps.policy_milter.isolate_user',
    SYSTEM + 'isolate.py::test_filter': 'smtps.policy_milter.isolate smtps.policy_milter.isolate_memory',
}
TRIES = {thing.replace('+', ' '): test for test, all_ in TESTS.items() for thing in all_.split()}
# how the kinds of next hops are written
HOPS = {'TARGET_NAMED': 'transport:', 'TARGET_SOCKET': 'lmtp:', 'TARGET_PATH': 'lmtp:/path', 'TARGET_ADDR': '[192.0.2.1]', 'TARGET_HOST': '[host]', 'TARGET_MX': 'host'}


def built(thing):
    """Not every build has all map modules."""
    kind = re.match(r'map_(\w+?)(\.|$)', thing)
    return not kind or next((lab.BUILD / 'modules/maps').rglob(f'map_{kind[1]}.so'), None)


def test_each_thing_has_its_test():
    there = things()
    assert len(there) > 150 and len(set(there)) == len(there)
    missing = [t for t in there if t not in TRIES]
    assert not missing, f'no test is named for {missing}: write one, and say it in TESTS'
    gone = [t for t in TRIES if t not in there and built(t)]
    assert not gone, f'TESTS names what is not there: {gone}'
    twice = sum(len(a.split()) for a in TESTS.values()) - len(TRIES)
    assert twice == 0


@pytest.mark.parametrize('test', TESTS)
def test_its_words_are_said(test):
    source = said(test)
    silent = [t.replace('+', ' ') for t in TESTS[test].split() if built(t) and not says(source, t.replace('+', ' '))]
    assert not silent, f'{test} does not speak of {silent}'
    if test.endswith('.c'):
        assert re.search(rf'cmocka_unit_test\w*\(\s*{test.partition("::")[2]}\b', text(test.partition('::')[0]))


def parts(page, macro):
    cut = re.split(rf'^\.{macro} "?([^"\n]*)"?\n', page, flags=re.M)
    return dict(zip(cut[1::2], cut[2::2]))


def test_each_thing_has_its_line():
    conf = parts((lab.BUILD / 'doc/man/meta1.conf.5').read_text(), 'SS')
    maps = parts((lab.BUILD / 'doc/man/meta1-maps.5').read_text(), 'SS')
    access = (SRC / 'doc/man/meta1-access.5').read_text()
    rows = parts(access, 'S[sh]')
    says_it = {name: '\n'.join(re.findall(r'^\.(?:It )?Cm (.*)$', part, re.M)) for name, part in rows.items()}
    everywhere = '\n'.join(says_it.values())
    lines = {}
    for t in things():
        if m := re.fullmatch(r'map_(\w+)(?:\.(\w+)(?:=(\w+))?)?', t):
            part = maps[f'type = {m[1]}'].partition('.SH')[0]
            lines[t] = (not m[2] or f'\n.B {m[2]}\n' in part) and (not m[3] or has(part, m[3]))
        elif '.' in t and not t.startswith('$'):
            section, option, value = re.fullmatch(r'([\w.]+)\.(\w+)(?:=(\w+))?', t).groups()
            head = section if section.split('.')[0] in ('smar', 'smtps', 'smtpc', 'qmgr') else f'smar.{section}'
            part = conf[head.replace('.', ' { ') + ' }' * head.count('.')].partition('.SH')[0]
            lines[t] = f'\n.B {option}\n' in part and (not value or has(part, value))
        elif t.startswith('Socket '):
            lines[t] = has(says_it['ANSWERS OF A SOCKET MAP'], t.split()[1])
        elif t.startswith('protectedrcpt '):
            lines[t] = has(says_it['Values of protectedrcpt:'], t.split()[1])
        else:
            lines[t] = (has(everywhere, HOPS.get(t, t)) or t == 'error:' and 'error:' in everywhere)
    assert len(lines) > 150 and not [t for t, line in lines.items() if not line]


def test_where_each_flag_serves():
    """The table of flags in doc/maps.md is that of the source."""
    want = {}
    for section, flag in re.findall(r'^(\w+)\.flags=(\w+)$', '\n'.join(t for t in things() if not t.startswith('smtp')), re.M):
        want.setdefault(flag, set()).add(section)
    told = {f: set(where.split(', ')) for f, where in re.findall(r'^\| (\w+) \| .* \| ([\w, ]+) \|$', text('doc/maps.md'), re.M) if f in want}
    assert told == want
