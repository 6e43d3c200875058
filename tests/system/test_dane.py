# SPDX-License-Identifier: BSD-2-Clause
"""DANE (RFC 7672): what the TLSA records of a next hop ask of it, with signed zones in nsd, unbound before them, and hops with
real certificates. All hops listen on one port, each on an address of its own."""
import hashlib, json, re, socket, subprocess

import certs, lab, named, pytest, signed
from test_tls_client import TlsSink

BODY = b'Subject: t\r\n\r\nhello\r\n'
HOSTS = ('ok', 'ta', 'wrong', 'bogus', 'odd', 'mute', 'slow', 'far', 'second')


def der(path, *args):
    return subprocess.run(['openssl', 'x509', '-in', path, *args], check=True, capture_output=True).stdout


def spki(path):
    """SHA-256 of the public key of a certificate, of the whole of which is 3 0 1 and 2 0 1."""
    pem = subprocess.run(['openssl', 'x509', '-in', path, '-noout', '-pubkey'], check=True, capture_output=True).stdout
    return hashlib.sha256(subprocess.run(['openssl', 'pkey', '-pubin', '-outform', 'DER'], input=pem, check=True,
                                         capture_output=True).stdout).hexdigest()


def whole(path):
    return hashlib.sha256(der(path, '-outform', 'DER')).hexdigest()


class World:
    """The zones, the resolver, the hops by name, one gateway that trusts the resolver."""

    def __init__(self):
        self.port, self.sink, self.addr = lab.free_port(), {}, {h: f'127.0.7.{i + 1}' for i, h in enumerate(HOSTS)}
        self.silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.silent.bind(('127.0.0.1', 0))
        self.ca = certs.Authority()
        self.cert = {h: self.ca.issue(h, host=f'mx-{h}.dane.test') for h in HOSTS if h != 'far'}
        self.cert['far'] = self.ca.issue('far', host='elsewhere.test')  # nobody's name: the key alone counts
        chain = self.cert['ta'][0]
        chain.write_text(chain.read_text() + self.ca.ca.read_text())
        for h in HOSTS:
            sink = self.sink[h] = TlsSink(self.cert[h], 'not offered' if h == 'mute' else None, address=self.addr[h], port=self.port)
            sink.sni = []
            sink.context.sni_callback = lambda tls, name, context, to=sink.sni: to.append(name)

    def tlsa(self, host, text):
        return f'_{self.port}._tcp.{host} IN TLSA {text}\n'

    def zones(self):
        a = ''.join(f'mx-{h} IN A {self.addr[h]}\n{h} IN MX 10 mx-{h}\n' for h in HOSTS)
        own = ''.join(self.tlsa(f'mx-{h}', f'3 1 1 {spki(self.cert[h][0])}') for h in ('ok', 'bogus', 'mute', 'far'))
        return (a + own + self.tlsa('mx-ta', f'2 0 1 {whole(self.ca.ca)}') + self.tlsa('mx-wrong', f'3 1 1 {spki(self.cert["ok"][0])}') +
                self.tlsa('mx-odd', f'1 1 1 {spki(self.cert["ok"][0])}') + 'alias IN MX 10 mx-alias\nmx-alias IN CNAME mx-far\n'
                'both IN MX 10 mx-bogus\nboth IN MX 20 mx-second\n')

    def close(self):
        for s in self.sink.values():
            s.close()
        self.silent.close()
        self.ca.close()


@pytest.fixture(scope='module')
def world(inst):
    w = World()
    try:
        plain = f'@ IN MX 10 mx\nmx IN A {w.addr["wrong"]}\n' + w.tlsa('mx', f'3 1 1 {"00" * 32}')
        with signed.resolver({'dane.test': w.zones()}, {'plain.test': plain},
                             forged=[(f'_{w.port}._tcp.mx-bogus.dane.test', 'TLSA')],
                             silent=('_tcp.mx-slow.dane.test', w.silent.getsockname()[1])) as dns:
            w.dns = dns
            with gateway(inst, w) as g:
                w.g = g
                lab.wait_for('unbound', lambda: ask(g, 'dane.test', 'SOA')['status'] == 'ok')
                yield w
    finally:
        w.close()


def gateway(inst, w, smar='', policy='may', files=None):
    server = f'"127.0.0.1:{w.dns}"'
    return lab.relay_all(inst, 0, mt='none.test lmtp:\n', smtpc=f'remote_port = {w.port}; tls_policy = {policy};',
                         smar=f'nameserver = {server}; trusted_nameserver = {server}; DNS_timeout = 2s; DNS_tries = 1; {smar}',
                         qmgr='min_retry_delay = 1h; max_retry_delay = 1h;', files=files)


def ask(g, name, kind):
    return json.loads(g.ctl('dns', name, kind, '--json').stdout)


def send(g, to):
    with g.client() as c:
        reply = c.mail('a@from.test', f'u@{to}', BODY)
        assert reply.startswith('250'), reply


def hop_tls(g, host):
    """What the sessions to this host say of their TLS."""
    return {s['tls'] for s in json.loads(g.http('smtpc', 'GET', '/v1/sessions')[1])['sessions'] if host in str(s)}


@pytest.mark.parametrize('to, sink, how', [
    ('ok', 'ok', 'DANE-EE'), ('ta', 'ta', 'DANE-TA'), ('far', 'far', 'DANE-EE'), ('alias', 'far', 'DANE-EE'), ('odd', 'odd', 'not trusted'),
    ('both', 'second', 'not trusted')])
def test_delivered(world, to, sink, how):
    """By its key, whatever its name; by its authority; an alias by what it stands for; with records of no use with TLS, whoever it
    is; to the next host where the first one's records are forged."""
    before = len(world.sink[sink].mails)
    send(world.g, f'{to}.dane.test')
    mail = world.sink[sink].wait(before + 1)[-1]
    assert mail['rcpts'] == [f'u@{to}.dane.test'] and world.sink[sink].plain_mails == 0
    world.g.wait_log(rf'to=<u@{to}\.dane\.test> .*status=delivered')
    assert world.sink[sink].sni[-1] == f'mx-{sink}.dane.test'
    assert any(t.startswith('TLSv1.3,') and t.endswith(',' + how) for t in hop_tls(world.g, f'mx-{sink}' if to != 'alias' else 'mx-alias'))


@pytest.mark.parametrize('to, reason', [
    ('wrong', r'4\.7\.5'), ('mute', r'4\.7\.4 .*STARTTLS is not offered'),
    ('bogus', r'4\.4\.3 the TLSA records of mx-bogus\.dane\.test cannot be had now: .*SERVFAIL'),
    ('slow', r'4\.4\.3 the TLSA records of mx-slow\.dane\.test cannot be had now')])
def test_waits(world, to, reason):
    """Another key, no STARTTLS, forged records, records that nobody gives: nothing is said of the mail, not even in plain."""
    sink = world.sink[to]
    before = len(sink.mails), sink.plain_mails, [v for v, _ in sink.commands if v in ('MAIL', 'RCPT', 'DATA')]
    send(world.g, f'{to}.dane.test')
    entry = lab.wait_for('its reason', lambda: [r for m in world.g.queue() for r in m['recipients']
                                                if r['address'] == f'u@{to}.dane.test' and r['reason']])[0]

    assert re.search(reason, entry['reason']), entry
    assert before == (len(sink.mails), sink.plain_mails, [v for v, _ in sink.commands if v in ('MAIL', 'RCPT', 'DATA')])


def test_without_dnssec(world):
    """Records of a zone that is not signed mean nothing, as before."""
    before = len(world.sink['wrong'].mails)
    send(world.g, 'plain.test')
    assert world.sink['wrong'].wait(before + 1)[-1]['rcpts'] == ['u@plain.test']


def test_turned_off(inst, world):
    with gateway(inst, world, 'dane = no;') as g:
        before = len(world.sink['wrong'].mails)
        send(g, 'wrong.dane.test')
        assert world.sink['wrong'].wait(before + 1)[-1]['rcpts'] == ['u@wrong.dane.test']


def test_a_row_stands_above(inst, world):
    """What an admin says of a domain holds, whatever its records are, and even when they cannot be had."""
    with gateway(inst, world, 'map tp { type = text; file = "tp"; } tls_policy { name = tp; }',
                 files={'tp': 'wrong.dane.test encrypt\nbogus.dane.test may\n'}) as g:
        for to in ('wrong', 'bogus'):
            before = len(world.sink[to].mails)
            send(g, f'{to}.dane.test')
            assert world.sink[to].wait(before + 1)[-1]['rcpts'] == [f'u@{to}.dane.test']
        assert g.metrics('smar')['dane_questions_total'] == 0
        assert 'required: TLS, with whoever it is, by a row of tls_policy' in tls_test(world, 'wrong.dane.test', 0, g)


def test_in_reports(inst, world):
    """What reports to the domains say, also where a row wants DANE; what nobody sends mail to is in none."""
    with gateway(inst, world, 'tlsrpt { all_domains = yes; } map tp { type = text; file = "tp"; } tls_policy { name = tp; }',
                 files={'tp': 'plain.test dane\nodd.dane.test dane\nfar.dane.test dane\n'}) as g:
        for to in ('bogus.dane.test', 'plain.test'):
            assert '4.' in g.ctl('route', to).stdout
        assert g.ctl('tls', 'report', '--json').stdout == ''
        want = {'ok.dane.test': (1, None), 'far.dane.test': (1, None), 'wrong.dane.test': (0, 'tlsa-invalid'), 'mute.dane.test': (0, 'starttls-not-supported'),
                'bogus.dane.test': (0, 'dnssec-invalid'), 'plain.test': (0, 'dane-required'), 'odd.dane.test': (0, 'tlsa-invalid')}
        for to in want:
            send(g, to)

        def reports():
            found = [json.loads(line)['policies'] for line in g.ctl('tls', 'report', '--json').stdout.splitlines()]
            return {p['policy']['policy-domain']: p for p, in found} if len(found) == len(want) else None
        found = lab.wait_for('the reports', reports)
        assert json.loads(g.ctl('route', 'far.dane.test', '--json').stdout)['tls'][0].startswith('dane by=row domain=far.dane.test ')
        for to, (good, result) in want.items():
            p, host = found[to], 'mx.plain.test' if to == 'plain.test' else f'mx-{to}'
            assert p['policy']['policy-type'] == 'tlsa' and p['summary']['total-successful-session-count'] == good
            assert [(f['result-type'], f['receiving-mx-hostname']) for f in p['failure-details']] == ([(result, host)] if result else []), p
            assert [f.get('sending-mta-ip') for f in p['failure-details']] == (['127.0.0.1'] if to.startswith(('wrong', 'mute')) else [None] if result else [])
        assert found['ok.dane.test']['policy']['policy-string'] == [f'3 1 1 {spki(world.cert["ok"][0])}']


def test_an_odd_record_in_a_report(inst, world):
    with gateway(inst, world, 'tlsrpt { all_domains = yes; }') as g:
        send(g, 'odd.dane.test')
        line = lab.wait_for('the report', lambda: g.ctl('tls', 'report', '--json').stdout)
        p, = json.loads(line)['policies']
        f, = p['failure-details']
        assert (p['policy']['policy-type'], f['result-type'], f['sending-mta-ip']) == ('tlsa', 'tlsa-invalid', '127.0.0.1')


def test_route_says_so(world):
    route = json.loads(world.g.ctl('route', 'ta.dane.test', '--json').stdout)
    assert route['secure'] == ['all']
    assert route['tls'] == [f'dane by=dane domain=ta.dane.test match=mx-ta.dane.test,ta.dane.test tlsa=2:0:1:{whole(world.ca.ca)}']


# ---- meta1ctl tls test ----

def tls_test(world, to, want, g=None):
    """What it says, without a word of mail to anybody."""
    mails = {h: len([v for v, _ in s.commands if v in ('MAIL', 'RCPT', 'DATA')]) for h, s in world.sink.items()}
    p = (g or world.g).ctl('tls', 'test', to, check=False)
    assert p.returncode == want, p.stdout + p.stderr
    assert mails == {h: len([v for v, _ in s.commands if v in ('MAIL', 'RCPT', 'DATA')]) for h, s in world.sink.items()}
    return p.stdout


def test_what_a_delivery_would_do(world):
    said = tls_test(world, 'ok.dane.test', 0)
    assert f'{world.addr["ok"]} port {world.port}, mx-ok.dane.test\n  required: TLS, and a certificate that its TLSA records mean, by DANE\n' in said
    assert '  TLSv1.3, TLS_' in said and '  certificate of /CN=ok, issued by /CN=ca\n    good until 20' in said
    assert f'SHA-256 {whole(world.cert["ok"][0])}\n    of its key {spki(world.cert["ok"][0])}\n' in said
    assert 'it is what is required (DANE-EE)\n' in said and said.endswith(f'a delivery would go to mx-ok.dane.test ({world.addr["ok"]})\n')
    said = tls_test(world, 'u@plain.test', 0)
    assert 'required: TLS when it is offered, with whoever it is, by the option tls_policy of smtpc' in said
    assert 'signed by nobody that is trusted, not for the host' in said and 'what is required' not in said


@pytest.mark.parametrize('to, reasons', [
    ('wrong.dane.test', ['it is not what is required: not the one of the TLSA records', 'no mail would go: 4.7.5', 'no delivery would go now']),
    ('mute.dane.test', ['no mail would go: 4.7.4 TLS is required: STARTTLS is not offered', 'no delivery would go now']),
    ('bogus.dane.test', ['451 4.4.3 the TLSA records of mx-bogus.dane.test cannot be had now', 'mail would wait in the queue']),
    ('nowhere.dane.test', ['550 5.1.2 nowhere.dane.test does not exist', 'mail would be returned'])])
def test_why_a_delivery_would_not_go(world, to, reasons):
    said = tls_test(world, to, 1)
    for r in reasons:
        assert r in said, said


def test_as_json(world):
    p = world.g.ctl('tls', 'test', 'wrong.dane.test', '--json', check=False)
    got = json.loads(p.stdout)
    assert p.returncode == 1 and not got['goes'] and got['route']['secure'] == ['all']
    hop = got['hops'][0]
    assert {*hop, *hop['certificate']} <= set(re.findall(r'`(\w+)`', named.text('doc/control-api.md')))
    assert hop['required'] == 'dane,dane' and hop['certificate']['sha256'] == whole(world.cert['wrong'][0]) and hop['certificate']['trusted'] is False
    p = world.g.ctl('tls', 'test', 'odd.dane.test', '--json')
    assert json.loads(p.stdout)['hops'][0]['required'] == 'encrypt,dane'


def test_a_stop_does_not_wait_for_it(inst):
    """smtpc is stopped while a hop says nothing."""
    with lab.Sink(answer=lambda verb, arg, ses: 'silence') as sink, lab.relay_all(inst, sink.port) as g:
        cmd = [str(g.bin / 'bin/meta1ctl'), '-f', str(g.conf), 'tls', 'test', 'any.test']
        with subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=g.environ()) as p:
            lab.wait_for('the connection', lambda: sink.connections)
            g.stop()
            assert 'smtpc is stopping' in p.communicate()[1] and p.returncode == 1
