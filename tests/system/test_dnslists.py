# SPDX-License-Identifier: BSD-2-Clause
"""What the DNS says of clients and senders: names with forward confirmation, DNS lists (rbldnsd), SPF, and what of
it is written into the mail; answers that DNSSEC proves (unbound, signed zones)."""
import contextlib, json, os, re, signal, socket, struct, subprocess, threading

import lab, pytest, signed

BODY = 'Subject: t\r\n\r\nhello\r\n'
PTR = signed.HEAD.format('2.0.192.in-addr.arpa') + '''
1 IN PTR mail.good.test.
2 IN PTR mail.good.test.
'''
GOOD = signed.HEAD.format('good.test') + '''
mail IN A 192.0.2.1
@ IN TXT "v=spf1 ip4:192.0.2.1 -all exp=why.good.test"
why IN TXT "ask %{o} about %{i}"
soft IN TXT "v=spf1 ~all"
neutral IN TXT "v=spf1 ?all"
broken IN TXT "v=spf1 ip4:1.2.3 -all"
'''
AC = '''cltaddr:198.51.100.1 RELAY
cltname:.good.test RELAY
cltresolve:forged error:550 5.7.25 your name is not yours
zen:127.0.0.2 error:550 5.7.1 listed
zen:127.0.0.4 CONT
zen:127.0.0.9 OK
names:127.0.1 REJECT
spf:fail error:550 5.7.23 not from there
spf:permerror error:550 5.7.24 mend your record
'''
BAD = '''$SOA 60 ns.bl.test hostmaster.bl.test 0 600 300 86400 60
$NS 60 ns.bl.test
$TTL 60
:127.0.0.2:bad
203.0.113.2
203.0.113.9
:127.0.0.4:dynamic
203.0.113.4
:127.0.0.9:good
203.0.113.10
'''
ALSO = '''$SOA 60 ns.al.test hostmaster.al.test 0 600 300 86400 60
$NS 60 ns.al.test
$TTL 60
:127.0.0.3:also
203.0.113.4
203.0.113.3
'''
NAMES = '''$SOA 60 ns.nl.test hostmaster.nl.test 0 600 300 86400 60
$NS 60 ns.nl.test
$TTL 60
:127.0.1.2:bad name
spam.test
'''


class Splitter:
    """One name server before several: who answers stands in the end of the name. Those that have no port answer nothing."""

    def __init__(self, ports):
        self.ports = ports
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(('127.0.0.1', 0))
        self.port = self.s.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                query, peer = self.s.recvfrom(4096)
            except OSError:
                return
            name, at = [], 12
            while query[at]:
                name.append(query[at + 1:at + 1 + query[at]].decode('latin-1').lower())
                at += 1 + query[at]
            port = next((p for end, p in self.ports.items() if '.'.join(name).endswith(end)), None)
            if port:
                threading.Thread(target=self.ask, args=(port, query, peer), daemon=True).start()

    def ask(self, port, query, peer):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
            s.settimeout(3)
            s.sendto(query, ('127.0.0.1', port))
            self.s.sendto(s.recv(4096), peer)

    def close(self):
        self.s.close()


@contextlib.contextmanager
def rbldnsd():
    d = lab.Daemon('rbl')
    port = lab.free_port()
    for name, text in (('bad', BAD), ('also', ALSO), ('names', NAMES)):
        (d.dir / name).write_text(text)
    user = ['-u', 'rbldns'] if os.geteuid() == 0 else []
    d.run(['rbldnsd', '-n', '-q', '-b', f'127.0.0.1/{port}', '-r', d.dir, *user,
           'bl.test:ip4set:bad', 'al.test:ip4set:also', 'nl.test:dnset:names'])
    try:
        yield port
    finally:
        d.close()


@pytest.fixture(scope='module')
def dns():
    with lab.Nsd({'good.test': GOOD, '2.0.192.in-addr.arpa': PTR}) as nsd, rbldnsd() as rbl:
        split = Splitter({'.bl.test': rbl, '.al.test': rbl, '.nl.test': rbl, 'good.test': nsd.port,
                          '.2.0.192.in-addr.arpa': nsd.port})
        lab.wait_for('rbldnsd', lambda: alive(rbl))
        yield split
        split.close()


def alive(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
        s.settimeout(0.3)
        s.connect(('127.0.0.1', port))
        s.send(b'\0\1\0\0\0\1\0\0\0\0\0\0\2bl\4test\0\0\6\0\1')
        return s.recv(512)


LISTS = '''dnsbl zen { domain = bl.test; tag = zen; weight = 3; } dnsbl also { domain = al.test; weight = 2; }
dnsbl names { domain = nl.test; tag = names; looks_up = sender; } dnsbl_threshold = 5;'''


def gateway(inst, sink, dns, smar='', smtps='', ac=AC):
    return lab.relay_all(inst, sink.port, smtps='xclient = { 127.0.0.1 }; ' + smtps, ac=ac,
                         smar=f'nameserver = "127.0.0.1:{dns.port}"; DNS_timeout = 300ms; DNS_tries = 1; '
                         'local_domains = { here.test }; ' + smar)


def send(g, addr, sender, rcpt='u@here.test', helo='client.test', body=BODY):
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd(f'XCLIENT ADDR={addr}', 220)
        c.cmd(f'EHLO {helo}', 250)
        said = c.cmd(f'MAIL FROM:<{sender}>')
        if said.startswith('250'):
            said = c.cmd(f'RCPT TO:<{rcpt}>')
        if not said.startswith('250'):
            return said
        c.cmd('DATA', 354)
        c.send(body.encode() + b'.\r\n')
        return c.reply()


def test_the_name_of_the_client(inst, sink, dns):
    with gateway(inst, sink, dns, 'client_names = yes;') as g:
        # its name may relay, and stands in the Received line
        assert send(g, '192.0.2.1', 'a@x.test', 'u@there.test').startswith('250')
        assert b'Received: from client.test (mail.good.test [192.0.2.1])' in sink.wait(1)[0]['body']
        g.wait_log(r'smtps.accepted .*client=192.0.2.1 helo=client.test name=mail.good.test')
        # the same PTR of another address is worth nothing
        assert send(g, '192.0.2.2', 'a@x.test').startswith('550 5.7.25')
        # none, and a name server that does not answer: no name, no harm
        for addr in ('192.0.2.3', '203.0.113.77'):
            assert send(g, addr, 'a@x.test', 'u@there.test').startswith('550 5.7.1 relaying denied')
        assert g.metrics('smar')['client_names_forged_total'] >= 1
        # ten recipients do not wait ten times for a name server that is silent
        before = g.metrics('smar')['dns_timeouts_total']
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('XCLIENT ADDR=203.0.113.78', 220)
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<a@x.test>', 250)
            for i in range(10):
                c.cmd(f'RCPT TO:<u{i}@here.test>', 250)
        assert g.metrics('smar')['dns_timeouts_total'] <= before + 1


def test_lists_decide(inst, sink, dns):
    with gateway(inst, sink, dns, LISTS) as g:
        assert send(g, '203.0.113.2', 'a@x.test').startswith('550 5.7.1 listed')
        assert send(g, '203.0.113.3', 'a@x.test').startswith('250')           # 2 of 5
        assert 'zen 127.0.0.4' in send(g, '203.0.113.4', 'a@x.test')          # CONT, and 3 + 2
        assert send(g, '203.0.113.10', 'a@x.test').startswith('250')          # OK
        assert send(g, '203.0.113.50', 'a@x.test').startswith('250')
        assert send(g, '203.0.113.50', 'a@spam.test').startswith('550 5.7.1 access denied')
        assert send(g, '198.51.100.1', 'a@spam.test', 'u@there.test').startswith('250')  # may relay: not judged
        assert send(g, '203.0.113.2', 'a@x.test', 'postmaster@here.test').startswith('250')
        shown = g.ctl('explain', '--ip', '203.0.113.4', '--helo', 'h.test', '--from', 'a@x.test', '--to', 'u@here.test').stdout
        assert re.search(r'CONNECT +dnsbl .*550 5.7.1 refused because of DNS lists: also 127.0.0.3, zen 127.0.0.4', shown), shown
        lists = {x['name']: x for x in json.loads(g.ctl('dns', '--json').stdout)['lists']}
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mcp.reload result=committed')
        assert {x['name']: x for x in json.loads(g.ctl('dns', '--json').stdout)['lists']} == lists, 'a reload forgets no counts'
        assert lists['zen']['listed'] >= 3 and lists['zen']['failures'] == 0 and not lists['zen']['resting'], lists


RESULTS = {'cltresolve:ok': ('192.0.2.1', 'a@x.test'), 'cltresolve:none': ('192.0.2.3', 'a@x.test'), 'cltresolve:forged': ('192.0.2.2', 'a@x.test'),
           'cltresolve:temp': ('203.0.113.77', 'a@x.test'), 'spf:pass': ('192.0.2.1', 'a@good.test'), 'spf:fail': ('192.0.2.3', 'a@good.test'),
           'spf:softfail': ('192.0.2.3', 'a@soft.good.test'), 'spf:neutral': ('192.0.2.3', 'a@neutral.good.test'),
           'spf:none': ('192.0.2.3', 'a@mail.good.test'), 'spf:temperror': ('192.0.2.3', 'a@silent.test'), 'spf:permerror': ('192.0.2.3', 'a@broken.good.test')}


def test_each_result_has_its_row(inst, sink, dns):
    """What the DNS says of client and sender is a key of the access map, each result one of its own."""
    for kind, option in (('cltresolve', 'client_names = yes;'), ('spf', 'spf = yes;')):
        rows = {k: v for k, v in RESULTS.items() if k.startswith(kind)}
        ac = ''.join(f'{k} error:550 5.7.{i + 40} {k.partition(":")[2]} it is\n' for i, k in enumerate(rows))
        with gateway(inst, sink, dns, option, ac=ac) as g:
            for i, (key, (addr, sender)) in enumerate(rows.items()):
                assert send(g, addr, sender) == f'550 5.7.{i + 40} {key.partition(":")[2]} it is'


def test_what_a_list_looks_up(inst, sink, dns):
    """The client, its HELO name, the domain of the sender: each list has what it is made for."""
    lists = ''.join(f'dnsbl {n} {{ domain = {d}; tag = by{n}; looks_up = {n}; }} ' for n, d in
                    (('client', 'bl.test'), ('helo', 'nl.test'), ('sender', 'nl.test')))
    rows = 'byclient:127.0.0 error:550 5.7.1 client\nbyhelo:127.0.1.2 error:550 5.7.1 helo\nbysender:127.0.1.2 error:550 5.7.1 sender\n'
    with gateway(inst, sink, dns, lists, ac=rows) as g:
        assert send(g, '203.0.113.2', 'a@x.test') == '550 5.7.1 client'
        assert send(g, '203.0.113.50', 'a@x.test', helo='spam.test') == '550 5.7.1 helo'
        assert send(g, '203.0.113.50', 'a@spam.test') == '550 5.7.1 sender'
        assert send(g, '203.0.113.50', 'a@x.test').startswith('250')


def test_a_dead_list(inst, sink, dns):
    """A list that does not answer is taken as silent, or as a reason to wait; after five failures it is left alone."""
    dead = 'dnsbl dead { domain = dead.test; weight = 9; %s } dnsbl_threshold = 9;'
    with gateway(inst, sink, dns, dead % 'on_timeout = ignore;') as g:
        for i in range(6):
            assert send(g, f'203.0.113.{60 + i}', 'a@x.test').startswith('250')
        got = json.loads(g.ctl('dns', '--json').stdout)
        assert got['lists'][0]['resting'] and got['lists'][0]['failures'] == 5, got
        assert got['servers'][0]['timeouts'] >= 5 and got['servers'][0]['last_error'] == 'no answer in time', got
        g.wait_log('smar.dnsbl list=dead')
    with gateway(inst, sink, dns, dead % 'on_timeout = temporary;') as g:
        assert send(g, '203.0.113.60', 'a@x.test').startswith('451 4.4.3')


def test_spf(inst, sink, dns):
    with gateway(inst, sink, dns, 'spf = yes;', 'spf_header = authentication_results;') as g:
        forged = ('Authentication-Results: gw.test; spf=pass\r\n\tsmtp.mailfrom=bank.test\r\nAuthentication-Results: other.test; dkim=pass\r\n'
                  'AUTHENTICATION-results :\tGW.test;\r\n\tdkim=pass\r\n')
        assert send(g, '192.0.2.1', 'a@good.test', body=forged + BODY).startswith('250')
        assert send(g, '192.0.2.3', 'a@good.test').startswith('550 5.7.23 not from there')
        assert send(g, '192.0.2.3', 'a@broken.good.test').startswith('550 5.7.24')
        assert send(g, '192.0.2.3', 'a@soft.good.test').startswith('250')
        assert send(g, '192.0.2.1', '', helo='good.test').startswith('250')
        assert send(g, '192.0.2.3', '', helo='good.test').startswith('550 5.7.23')
        g.queue_empty()
        mail = {m['from']: m['body'] for m in sink.mails}
        head = mail['a@good.test'].split(b'\r\n\r\n')[0]
        assert head.startswith(b'Authentication-Results: gw.test;\r\n\tspf=pass smtp.mailfrom=a@good.test\r\nReceived: from'), head
        assert head.count(b'gw.test;') == 1 and b'bank.test' not in head and b'Authentication-Results: other.test; dkim=pass' in head
        assert head.endswith(b'Subject: t')
        assert b'spf=softfail smtp.mailfrom=a@soft.good.test' in mail['a@soft.good.test']
        assert b'spf=pass smtp.helo=good.test' in mail['']
        assert g.queue() == []
    with gateway(inst, sink, dns, 'spf = yes;', 'spf_header = received_spf;') as g:
        assert send(g, '192.0.2.1', '"x y"@good.test').startswith('250')
        g.queue_empty()
        head = sink.mails[-1]['body'].split(b'Received: from')[0]
        assert head.startswith(b'Received-SPF: pass (gw.test:') and b'client-ip=192.0.2.1;' in head and b'mechanism="ip4:192.0.2.1"' in head, head
        assert b'identity=mailfrom' in head and rb'envelope-from="\"x y\"@good.test"' in head, head
    with gateway(inst, sink, dns, 'spf = yes;', 'spf_header = none;') as g:
        assert send(g, '192.0.2.1', 'a@good.test').startswith('250')
        g.queue_empty()
        assert sink.mails[-1]['body'].startswith(b'Received: from') and sink.mails[-1]['from'] == 'a@good.test'


# ---- DNSSEC ----

SIGNED = '@ IN MX 10 mx\nmx IN A 127.0.0.11\nalias IN CNAME mx\n'


def test_what_dnssec_proves(inst, sink):
    with signed.resolver({'good.test': SIGNED}, {'plain.test': SIGNED}, {'expired.test': SIGNED}) as port:
        def ask(g, name, kind):
            return json.loads(g.ctl('dns', name, kind, '--json').stdout)
        server = f'nameserver = "127.0.0.1:{port}"; DNS_timeout = 2s; '
        with lab.relay_all(inst, sink.port, smar=server + f'trusted_nameserver = "127.0.0.1:{port}";') as g:
            lab.wait_for('unbound', lambda: ask(g, 'plain.test', 'MX')['status'] == 'ok')
            for name, kind, status, secure in (('good.test', 'MX', 'ok', True), ('alias.good.test', 'A', 'ok', True),
                                               ('no.good.test', 'A', 'nxdomain', True), ('good.test', 'TXT', 'nodata', True),
                                               ('plain.test', 'MX', 'ok', False), ('expired.test', 'MX', 'tempfail', False)):
                got = ask(g, name, kind)
                assert (got['status'], got['secure']) == (status, secure), (name, kind, got)
            assert json.loads(g.ctl('dns', '--json').stdout)['servers'][0]['trusted']
        with lab.relay_all(inst, 0, smar=server + f'trusted_nameserver = "127.0.0.1:{port}";', mt='none.test lmtp:\n') as g:
            def secure(domain):
                return json.loads(g.ctl('route', domain, '--json').stdout)['secure']
            lab.wait_for('the routes', lambda: (secure('good.test'), secure('plain.test')) == (['all'], ['nothing']))
        with lab.relay_all(inst, sink.port, smar=server) as g:  # on loopback, and still not trusted
            got = ask(g, 'good.test', 'MX')
            assert (got['status'], got['secure']) == ('ok', False), got
