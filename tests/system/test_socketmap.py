# SPDX-License-Identifier: BSD-2-Clause
"""map_socket: a server that answers well, and servers that lie, hang, flood, or close at each byte."""
import contextlib
import re
import subprocess
import threading
import time

import lab
import pytest


class Cut(bytes):
    """Sent as it is, and then the connection is closed."""


class SocketMap(lab.Listener):
    """Answers netstrings by answer(mapname, key) -> payload; bytes are sent as they are, None: silence."""

    def __init__(self, answer, path=None):
        self.answer, self.asked = answer, []
        super().__init__(path)

    def serve(self, c):
        with contextlib.suppress(OSError, ValueError), c, c.makefile('rb') as f:
            while True:
                digits = b''
                while (b := f.read(1)) != b':':
                    digits += b
                    if not b:
                        return
                name, _, key = f.read(int(digits)).decode('latin-1').partition(' ')
                assert f.read(1) == b','
                self.asked.append(key)
                said = self.answer(name, key)
                if said is None:
                    continue
                if isinstance(said, Cut):
                    c.sendall(said)
                    return
                c.sendall(said if isinstance(said, bytes) else b'%d:%s,' % (len(said), said.encode()))


def gateway(inst, port, more='', **kw):
    return lab.Gateway(inst, smtps='flags = { access };', smar='map ac { type = socket; address = "127.0.0.1"; '
                       f'port = {port}; mapname = access; ttl = 0; {more} }} access {{ name = ac; }}', **kw)


def rows(name, key):
    assert name == 'access'
    table = {'to:far.test': 'OK RELAY', 'to:bad@far.test': 'OK error:550 5.1.1 no such user', 'to:slow@far.test': 'TEMP database is away',
             'to:late@far.test': 'TIMEOUT', 'to:perm@far.test': 'PERM broken', 'to:stop@far.test': 'NOMORE'}
    return table.get(key, 'NOTFOUND')


def test_answers(inst):
    with SocketMap(rows) as s, gateway(inst, s.port) as g:
        assert g.verdict('u@far.test').startswith('250')
        assert g.verdict('bad@far.test') == '550 5.1.1 no such user'
        for user in ('slow', 'late'):
            assert g.verdict(f'{user}@far.test').startswith('451 4.3.0'), user
        assert g.verdict('perm@far.test').startswith('554 5.3.0')
        assert 'says TEMP database is away' in g.log()
        # a definite no that stops less specific keys: to:far.test would have let it relay
        assert g.verdict('stop@far.test').startswith('550 5.7.1')
        assert s.connections == 1 and 'to:stop@far.test' in s.asked


def test_unix_socket(inst):
    d = lab.tempdir('smap')
    with SocketMap(rows, d / 's'), lab.Gateway(inst, smtps='flags = { access };', smar=f'map ac {{ type = socket; path = "{d}/s"; '
                                               'mapname = access; } access { name = ac; }') as g:
        assert g.verdict('u@far.test').startswith('250')


def test_many_at_once(inst):
    """Questions are on their way together, answers come in their order."""
    gate = threading.Event()

    def held(name, key):
        gate.wait(10)
        return rows(name, key)
    with SocketMap(held) as s, gateway(inst, s.port) as g:
        clients = [g.client() for _ in range(20)]
        for i, c in enumerate(clients):
            c.cmd('EHLO client.test', 250)
            c.cmd('MAIL FROM:<a@client.test>', 250)
            c.send(f'RCPT TO:<{"bad" if i % 2 else "u"}@far.test>\r\n')
        lab.wait_for('the first question', lambda: s.asked)
        gate.set()
        for i, c in enumerate(clients):
            assert c.reply().startswith('550 5.1.1' if i % 2 else '250')
            c.s.close()
        assert s.connections == 1


def test_fallback(inst):
    """The second server answers when the first is not there, and the first is used again when it is."""
    with SocketMap(rows) as second:
        first = lab.free_port()
        with gateway(inst, first, f'fallback = {{ "127.0.0.1:{second.port}" }};') as g:
            assert g.verdict('u@far.test').startswith('250')
            assert second.asked and f'127.0.0.1 port {first}: Connection refused' in g.log()


def test_no_server(inst):
    with gateway(inst, lab.free_port()) as g:
        assert g.verdict('u@far.test').startswith('451 4.3.0')
        assert g.verdict('u2@far.test').startswith('451 4.3.0')


def test_silent_server(inst):
    """It delays only those who ask it, and the next server is asked after the time-out."""
    with SocketMap(lambda name, key: None) as dumb, SocketMap(rows) as good, \
            gateway(inst, dumb.port, f'timeout = 300ms; fallback = {{ "127.0.0.1:{good.port}" }};') as g:
        start = time.monotonic()
        assert g.verdict('u@far.test').startswith('250')
        assert 0.2 < time.monotonic() - start < 5
        assert 'the answer takes too long' in g.log()


@pytest.fixture(scope='module')
def liar(inst):
    with SocketMap(rows) as s, gateway(inst, s.port) as g:
        yield s, g


@pytest.mark.parametrize('said', (b'hello\r\n', b'99999999:OK,', b'2:OK;', b'5:MAYBE,', b'40000:' + b'x' * 40000 + b',', b':,', b'2:OK,2:OK,2:OK,',
                                  b'-1:OK,', b'3:NOT,', b'\0' * 100), ids=range(10))
def test_liars(liar, said):
    """What is no answer is a temporary failure, never found and never not found."""
    s, g = liar
    s.answer = lambda name, key: said
    reply = g.verdict(f'u{len(s.asked)}@far.test')
    # "2:OK,": found, with an empty value, which is no right-hand side of access
    assert reply.startswith('451 4.3'), reply


def test_closed_at_each_byte(liar):
    s, g = liar
    whole = b'8:OK RELAY,'
    for n in range(len(whole)):
        s.answer = lambda name, key, n=n: Cut(whole[:n])
        lab.wait_for('a temporary failure', lambda n=n: g.verdict(f'n{n}.{len(s.asked)}@far.test').startswith('451 4.3.0'))
    s.answer = rows
    lab.wait_for('the server to be asked again', lambda: g.verdict(f'z{len(s.asked)}@far.test').startswith('250'))


def test_mistakes_of_the_configuration(inst):
    cases = (('mapname = a;', 'say either path, or address and port'),
             ('mapname = a; address = "127.0.0.1";', 'expected a port from 1 to 65535'),
             ('mapname = a; address = "localhost"; port = 5;', 'expected an IP address'),
             ('mapname = "a b"; path = "/x";', 'mapname: expected a word'),
             ('mapname = a; path = "/x"; fallback = { "nonsense" };', r'expected \\"/path\\"|expected "/path"'))
    for options, said in cases:
        g = lab.Gateway(inst, smar=f'map ac {{ type = socket; {options} }} access {{ name = ac; }}')
        p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
        g.close()
        assert p.returncode == 78 and re.search(said, p.stderr), (options, p.stderr)
