# SPDX-License-Identifier: BSD-2-Clause
"""Who the client is, when the peer speaks for another: the PROXY protocol with a real haproxy and with lies,
XCLIENT. Access rules, Received lines, logs and sessions see the given address, and only of trusted peers."""
import contextlib, json, re, signal, socket, subprocess

import lab, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'
ACCESS = 'cltaddr:127.0.0.1 RELAY\ncltaddr:127.0.0.5 RELAY\ncltaddr:2001:db8::5 RELAY\n'
BALANCER = '127.0.0.2'  # the address that haproxy, and we in its place, connect from
V2 = b'\r\n\r\n\0\r\nQUIT\n'
FROM_5 = b'\x7f\0\0\5\x7f\0\0\1\x10\0\0\x19'


def proxied(client='127.0.0.5'):
    return f'PROXY TCP{6 if ":" in client else 4} {client} {"::1" if ":" in client else "127.0.0.1"} 4000 25\r\n'.encode()


class Required(lab.Gateway):
    """One that answers nobody without a header: the lab's own clients bring one."""

    def client(self, header=b'PROXY UNKNOWN\r\n'):
        c = lab.Client(('127.0.0.1', self.port), greet=False, source=BALANCER)
        c.send(header)
        c.greeting = c.reply()
        return c

    def greets(self):
        try:
            with self.client():
                return True
        except OSError:
            return False


def gateway(inst, sink, smtps, kind=lab.Gateway):
    return kind(inst, smtps='flags = { 8bitmime, access }; max_bad_commands = 100; ' + smtps, smar=lab.MAPS,
                files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': ACCESS + f'cltaddr:{BALANCER} RELAY\n'})


@pytest.fixture(scope='module')
def allow(inst):
    with lab.Sink() as sink, gateway(inst, sink, f'proxy_protocol {{ mode = allow; trusted = {BALANCER}; }}') as g:
        g.sink = sink
        yield g


@pytest.fixture(scope='module')
def required(inst):
    with lab.Sink() as sink, gateway(inst, sink, f'proxy_protocol {{ mode = required; trusted = {{ 127.0.0.2/31, "::1" }}; }}',
                                     Required) as g:
        g.sink = sink
        yield g


@pytest.fixture(scope='module')
def haproxy(allow):
    """Ports of a haproxy before the gateway, by what its server line says."""
    kinds = {'v1': 'send-proxy', 'v2': 'send-proxy-v2', 'v2 with extra fields': 'send-proxy-v2 proxy-v2-options crc32c,unique-id',
             'plain': ''}
    ports = {k: lab.free_port() for k in kinds}
    conf = 'global\n\tmaxconn 50\ndefaults\n\tmode tcp\n\tunique-id-format x%pid\n'
    conf += ''.join(f'\ttimeout {t} 60s\n' for t in ('connect', 'client', 'server'))
    for n, (kind, words) in enumerate(kinds.items()):
        conf += (f'listen l{n}\n\tbind 127.0.0.1:{ports[kind]}\n'
                 f'\tserver s 127.0.0.1:{allow.port} source {BALANCER} {words}\n')
    with lab.Daemon('haproxy') as d:
        (d.dir / 'conf').write_text(conf)
        d.run(['haproxy', '-db', '-f', d.dir / 'conf'])

        def up():
            assert d.proc.poll() is None, (d.dir / 'log').read_text()
            for p in ports.values():
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(('127.0.0.1', p)):
                    continue
                return False
            return True
        lab.wait_for('haproxy', up)
        yield ports


def closed_silently(c):
    try:
        return c.s.recv(1) == b''
    except ConnectionError:
        return True


class Dropped:
    """The counter of smtps goes up by one, and the log says it."""

    def __init__(self, gw, name):
        self.gw, self.name = gw, name

    def __enter__(self):
        self.log = len(self.gw.log())
        self.before = self.gw.metrics('smtps')[self.name]

    def __exit__(self, kind, value, tb):
        if not kind:
            lab.wait_for(self.name, lambda: self.gw.metrics('smtps')[self.name] == self.before + 1)
            lab.wait_for('the log', lambda: 'smtps.proxy_refused' in self.gw.log()[self.log:])


# ---- haproxy ----

@pytest.mark.parametrize('kind', ['v1', 'v2', 'v2 with extra fields'])
def test_rules_see_the_client_behind_haproxy(allow, haproxy, kind):
    log = len(allow.log())
    allow.sink.mails.clear()
    with lab.Client(('127.0.0.1', haproxy[kind]), source='127.0.0.5') as c:
        assert c.mail('a@client.test', 'b@far.test', BODY).startswith('250')
        sessions = json.loads(allow.http('smtps', 'GET', '/v1/sessions')[1])['sessions']
        assert '127.0.0.5' in [s['client'] for s in sessions] and BALANCER not in [s['client'] for s in sessions]
    mail = lab.wait_for('this mail', lambda: [m['body'] for m in allow.sink.mails if b'([127.0.0.5])' in m['body']])[-1]
    assert BALANCER.encode() not in mail
    with lab.Client(('127.0.0.1', haproxy[kind]), source='127.0.0.6') as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        assert c.cmd('RCPT TO:<b@far.test>').startswith('550')
    lab.wait_for('the log', lambda: 'client=127.0.0.6' in allow.log()[log:])
    said = allow.log()[log:]
    assert re.search(r'smtps.accepted .*client=127.0.0.5', said)
    for client in ('127.0.0.5', '127.0.0.6'):  # the peer itself once a session, and nowhere else
        assert len(re.findall(f'peer={BALANCER} client={client} ', said)) == 1
    assert f'client={BALANCER}' not in said


def test_haproxy_without_a_header_is_itself(allow, haproxy):
    """mode = allow: it is greeted when it has said nothing for 5 seconds."""
    with lab.Client(('127.0.0.1', haproxy['plain']), source='127.0.0.6') as c:
        assert c.mail('a@client.test', 'b@far.test', BODY).startswith('250')
    lab.wait_for('this mail', lambda: any(f'([{BALANCER}])'.encode() in m['body'] for m in allow.sink.mails))


# ---- by hand ----

def test_allow_serves_others_without_a_header(allow):
    with allow.client() as c:
        assert c.mail('a@client.test', 'b@far.test', BODY).startswith('250')


@pytest.mark.parametrize('header', [proxied(), V2 + b'\x21\x11\0\x0c' + FROM_5], ids=['v1', 'v2'])
@pytest.mark.parametrize('piece', [1, 100])
def test_a_header_of_an_unlisted_peer(allow, header, piece):
    with Dropped(allow, 'proxy_unlisted_total'), allow.client() as c:
        for i in range(0, len(header), piece):
            try:
                c.send(header[i:i + piece])
            except ConnectionError:
                break
        assert c.closed()


def test_required_drops_who_is_not_listed(required):
    with Dropped(required, 'proxy_unlisted_total'), lab.Client(('127.0.0.1', required.port), greet=False, source='127.0.0.4') as c:
        assert closed_silently(c)
    assert 'client=127.0.0.4' not in required.log()


@pytest.mark.parametrize('header, client', [
    (proxied(), '[127.0.0.5]'),
    (proxied('2001:db8::5'), '[IPv6:2001:db8::5]'),
    (b'PROXY UNKNOWN 1 2 3\r\n', f'[{BALANCER}]'),
    (V2 + b'\x21\x11\0\x0c' + FROM_5, '[127.0.0.5]'),
    (V2 + b'\x21\x11\0\x11' + FROM_5 + b'\x04\0\2ab', '[127.0.0.5]'),
    (V2 + b'\x20\0\0\0', f'[{BALANCER}]'),
], ids=['v1', 'v1 IPv6', 'unknown', 'v2', 'v2 extra', 'local'])
def test_one_byte_segments(required, header, client):
    with lab.Client(('127.0.0.1', required.port), greet=False, source=BALANCER) as c:
        for b in header[:-1]:
            c.send(bytes([b]))
        c.s.settimeout(0.05)
        with pytest.raises(TimeoutError):  # not greeted before the end
            c.s.recv(1)
        c.s.settimeout(lab.WAIT)
        c.send(header[-1:])
        c.reply(220)
        assert c.mail('a@client.test', 'b@far.test', BODY).startswith('250')
    lab.wait_for(f'a mail of {client}', lambda: any(f'({client})'.encode() in m['body'] for m in required.sink.mails))


@pytest.mark.parametrize('what, counter', [
    (b'EHLO c.test\r\n', 'proxy_missing_total'),
    (b'\r\n\r\nEHLO', 'proxy_missing_total'),
    (b'PROXY TCP4 ' + b'1' * 100, 'proxy_bad_headers_total'),
    (b'PROXY TCP4 127.0.0.5 127.0.0.1 4000 25\n', 'proxy_bad_headers_total'),
    (b'PROXY TCP4 127.0.0.5 127.0.0.1 4000 99999\r\n', 'proxy_bad_headers_total'),
    (b'PROXY TCP4 127.0.0.5\r\n', 'proxy_bad_headers_total'),
    (V2 + b'\x21\x11\0\x0b' + FROM_5, 'proxy_bad_headers_total'),
    (V2 + b'\x21\x21\0\x0c' + FROM_5, 'proxy_bad_headers_total'),
    (V2 + b'\x21\x11\xff\xff' + FROM_5, 'proxy_bad_headers_total'),
    (V2 + b'\x21\x11\0\x11' + FROM_5 + b'\4\0\3ab', 'proxy_bad_headers_total'),
    (V2 + b'\x21\x11\0\x0f' + FROM_5 + b'\4\xff\xff', 'proxy_bad_headers_total'),
    (V2 + b'\x31\x11\0\x0c' + FROM_5, 'proxy_bad_headers_total'),
])
def test_lies(required, what, counter):
    with Dropped(required, counter), lab.Client(('127.0.0.1', required.port), greet=False, source=BALANCER) as c:
        c.send(what)
        assert closed_silently(c)


def test_a_header_that_does_not_end(required):
    """And one cut off; both at once, since the first takes 5 seconds."""
    with Dropped(required, 'proxy_bad_headers_total'), lab.Client(('127.0.0.1', required.port), greet=False, source=BALANCER) as c:
        c.send(proxied()[:-1])
        sessions = json.loads(required.http('smtps', 'GET', '/v1/sessions')[1])['sessions']
        assert [(s['state'], s['await']) for s in sessions if s['client'] == BALANCER] == [('proxy', 'proxy-header')]
        assert closed_silently(c)
    with Dropped(required, 'proxy_bad_headers_total'), lab.Client(('127.0.0.1', required.port), greet=False, source=BALANCER) as c:
        c.send(V2)
        c.s.shutdown(socket.SHUT_WR)
        assert closed_silently(c)


def test_the_client_behind_cannot_send_a_header(required):
    with Dropped(required, 'proxy_unlisted_total'), required.client(proxied('127.0.0.6')) as c:
        c.send(proxied())
        assert c.closed()


# ---- XCLIENT ----

def swaks(gw, source, *more):
    p = subprocess.run(['swaks', '--server', '127.0.0.1', '--port', str(gw.port), '--local-interface', source, '--from', 'a@client.test',
                        '--to', 'b@far.test', '--helo', 'proxy.test', *more], capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout


def test_xclient(inst, sink):
    with gateway(inst, sink, 'xclient = { 127.0.0.3 };') as g:
        code, said = swaks(g, '127.0.0.3')
        assert code != 0 and '550' in said, said  # it may not relay itself
        code, said = swaks(g, '127.0.0.3', '--xclient-addr', '127.0.0.5', '--xclient-name', 'five.test', '--xclient-helo', 'five.test')
        assert code == 0, said
        assert b'from five.test ([127.0.0.5])' in lab.split_received(sink.wait(1)[0]['body'])[0]
        code, said = swaks(g, '127.0.0.3', '--xclient-addr', '127.0.0.6')
        assert code != 0 and '550' in said, said
        g.wait_log('smtps.xclient peer=127.0.0.3 client=127.0.0.5 helo=five.test')
        assert re.search('smtps.accepted .*client=127.0.0.5 helo=five.test', g.log())
        with lab.Client(('127.0.0.1', g.port), source='127.0.0.6') as c:
            assert 'XCLIENT' not in c.cmd('EHLO c.test', 250) + c.cmd('HELP', 214)
            c.cmd('XCLIENT ADDR=127.0.0.5', '550 5.7.0')
            c.cmd('MAIL FROM:<a@client.test>', 250)
            assert c.cmd('RCPT TO:<b@far.test>').startswith('550')
        with lab.Client(('127.0.0.1', g.port), source='127.0.0.3') as c:
            assert 'XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT' in c.cmd('EHLO c.test', 250)
            # a kept answer about one client is none about another
            for client, code in (('127.0.0.5', 250), ('127.0.0.6', 550), ('127.0.0.5', 250), ('[UNAVAILABLE]', 550)):
                c.cmd(f'XCLIENT ADDR={client}', 220)
                c.cmd('EHLO c.test', 250)
                c.cmd('MAIL FROM:<a@client.test>', 250)
                c.cmd('XCLIENT ADDR=127.0.0.5', 503)
                c.cmd('RCPT TO:<b@far.test>', code)
                c.cmd('RSET', 250)
            for bad in ('', ' ADDR', ' ADDR=x', ' ADDR=127.0.0.5 WHAT=x', ' NAME=+0', ' ADDR=2001:db8::5'):
                c.cmd('XCLIENT' + bad, '501 5.5.4')


# ---- options ----

def test_reload_is_for_new_sessions(inst, sink):
    with gateway(inst, sink, 'xclient = 127.0.0.3;') as g, lab.Client(('127.0.0.1', g.port), source='127.0.0.3') as old:
        g.conf.write_text(g.conf.read_text().replace(
            'xclient = 127.0.0.3;', f'proxy_protocol {{ mode = allow; trusted = {BALANCER}; }}'))
        g.proc.send_signal(signal.SIGHUP)

        def refused():
            with lab.Client(('127.0.0.1', g.port), source='127.0.0.3') as c:
                return c.cmd('XCLIENT ADDR=127.0.0.5').startswith('550 5.7.0')
        lab.wait_for('the new list', refused)
        old.cmd('XCLIENT ADDR=127.0.0.5', 220)
        with lab.Client(('127.0.0.1', g.port), greet=False, source=BALANCER) as c:
            c.send(proxied())
            c.reply(220)
            c.cmd('QUIT', 221)


@pytest.mark.parametrize('text, words', [
    ('proxy_protocol { mode = required; }', ('trusted', 'mode = off')),
    ('proxy_protocol { mode = maybe; trusted = 127.0.0.1; }', ('maybe', 'off allow required')),
    ('proxy_protocol { mode = allow; trusted = { 127.0.0.1, 10.0.0.1/8 }; }', ('10.0.0.1/8', '192.0.2.0/24')),
    ('proxy_protocol { trust = 127.0.0.1; }', ('did you mean trusted?',)),
    ('xclient = { localhost };', ('xclient', 'localhost', '192.0.2.1')),
])
def test_mistakes_in_the_options(inst, text, words):
    d = lab.tempdir('conf')
    (d / 'c').write_text(f'smtps {{ {text} }}')
    p = subprocess.run([inst / lab.PREFIX.lstrip('/') / 'libexec/smtps', '-f', d / 'c', '-VVV'], capture_output=True, text=True)
    assert p.returncode == 78 and all(w in p.stderr for w in words), p.stderr


def test_effective_options(inst):
    d = lab.tempdir('conf')
    (d / 'c').write_text('smtps { xclient = unix; proxy_protocol { mode = allow; trusted = { 2001:db8::/32, 10.0.0.0/8 }; } }')
    p = subprocess.run([inst / lab.PREFIX.lstrip('/') / 'libexec/smtps', '-f', d / 'c', '-VVVV'], capture_output=True, text=True)
    for line in ('xclient = { unix };', 'proxy_protocol {', 'mode = allow;', 'trusted = { 2001:db8::/32, 10.0.0.0/8 };'):
        assert line in p.stdout, p.stdout
