# SPDX-License-Identifier: BSD-2-Clause
"""Servers of maps that speak the protocol and mean harm: one that orders more rounds of SCRAM than can be
computed, one that does not read; and one that is slow. They cost their askers time, and nobody else."""
import base64, contextlib, json, shutil, struct, threading, time

import lab
import pytest
from test_lookup import Control
from test_socketmap import SocketMap


def built(inst, kind):
    if not (inst / lab.PREFIX.lstrip('/') / f'lib/meta1/maps/map_{kind}.so').exists():
        pytest.skip(f'map_{kind} was not built')


class Server(lab.Listener):
    """talk(c, f) speaks with a client until it is gone."""

    def serve(self, c):
        with contextlib.suppress(OSError, EOFError), c, c.makefile('rb') as f:
            self.talk(c, f)

    @staticmethod
    def take(f, n):
        data = f.read(n)
        if len(data) < n:
            raise EOFError
        return data


class Scram(Server):
    """A PostgreSQL server up to the point where the client has to compute; .rounds are asked of it."""

    def __init__(self, rounds):
        self.rounds, self.ordered = rounds, threading.Event()
        super().__init__()

    def message(self, f, first=False):
        kind = b'' if first else self.take(f, 1)
        return kind, self.take(f, struct.unpack('!I', self.take(f, 4))[0] - 4)

    @staticmethod
    def say(c, code, text):
        c.sendall(b'R' + struct.pack('!II', 8 + len(text), code) + text)

    def talk(self, c, f):
        start = self.message(f, True)[1]
        if start == struct.pack('!I', 80877103):  # SSLRequest
            c.sendall(b'N')
            start = self.message(f, True)[1]
        assert start.startswith(struct.pack('!I', 0x30000))
        self.say(c, 10, b'SCRAM-SHA-256\0\0')
        nonce = self.message(f)[1].rpartition(b'r=')[2]
        self.say(c, 11, b'r=%sx,s=%s,i=%d' % (nonce, base64.b64encode(b'salt' * 4), self.rounds))
        self.ordered.set()
        f.read()


def test_rounds_of_scram(inst):
    """Seconds of computing are done beside the loop; the map answers in its time, and the next server is asked."""
    built(inst, 'pgsql')
    d = lab.tempdir('scram')
    (d / 'pw').write_text('s3 cret\n')
    (d / 'pw').chmod(0o640)
    shutil.chown(d / 'pw', group=lab.NOBODY)
    with Scram(2_000_000_000) as s, lab.Gateway(inst, smtps='flags = { access };', smar=(
            f'map slow {{ type = pgsql; servers = "127.0.0.1:{s.port}"; conninfo = "dbname=x user=y"; password_file = "{d}/pw"; '
            'query = "select $1"; timeout = 500ms; } map ac { type = text; rows = { "to:far.test RELAY" }; } access { name = ac; } '
            'sender_routes { name = slow; }')) as g:
        c, got = Control(g), []
        asker = threading.Thread(target=lambda: got.append(Control(g).query('slow', b'key')))
        asker.start()
        assert s.ordered.wait(lab.WAIT)
        worst = 0
        while asker.is_alive() or worst == 0:
            begun = time.monotonic()
            assert c.query('ac', b'to:far.test')['result'] == 'found'
            worst = max(worst, time.monotonic() - begun)
        asker.join()
        assert got[0]['result'] == 'tempfail' and 'takes too long' in got[0]['text'], got
        assert worst < 1, worst  # on the loop it would be all of the rounds
        begun = time.monotonic()  # its thread computes still: nobody waits for it, and it gets no second one
        assert c.query('slow', b'other')['result'] == 'tempfail'
        assert time.monotonic() - begun < 1 and s.connections == 1
        g.stop(25)  # nor does the end of smar wait for it
    shutil.rmtree(d)


def ber(tag, *parts):
    data = b''.join(parts)
    n = len(data)
    return bytes([tag]) + (bytes([n]) if n < 128 else b'\x82' + struct.pack('!H', n)) + data


class Deaf(Server):
    """An LDAP server that reads nothing until .hears is set; then every search finds the value yes."""

    def __init__(self, path):
        self.hears, self.asked = threading.Event(), 0
        super().__init__(path)

    def length(self, f):
        n = self.take(f, 1)[0]
        return n if n < 128 else int.from_bytes(self.take(f, n - 128), 'big')

    def talk(self, c, f):
        self.hears.wait()
        while True:
            assert self.take(f, 1) == b'\x30'
            body = self.take(f, self.length(f))
            number = body[:2 + body[1]]  # the message's INTEGER
            if body[len(number)] != 0x63:
                continue
            self.asked += 1
            entry = ber(0x64, ber(4, b'cn=x'), ber(0x30, ber(0x30, ber(4, b'description'), ber(0x31, ber(4, b'yes')))))
            c.sendall(ber(0x30, number, entry) + ber(0x30, number, ber(0x65, b'\x0a\1\0\4\0\4\0')))


def test_a_directory_that_does_not_read(inst):
    """More questions than the socket holds: the rest goes out when there is room, on the same connection."""
    built(inst, 'ldap')
    d = lab.tempdir('deaf')
    with Deaf(d / 's') as s, lab.Gateway(inst, smar=(
            f'map l {{ type = ldap; servers = "ldapi://{d}/s"; base = "dc=x"; filter = "(|(cn=%s)(sn=%s))"; attributes = description; '
            'timeout = 10s; ttl = 0; } local_user_map { name = l; }')) as g:
        keys = [(b'%02d' % i).ljust(880, b'*') for i in range(64)]  # 5 KiB each when quoted, twice what a socket holds
        asking = [Control(g) for _ in keys]
        for c, key in zip(asking, keys):
            c.c.request('POST', '/v1/map-query?map=l', key)
        lab.wait_for('the questions', lambda: g.metrics('smar')['map_open_now'] == len(keys))
        s.hears.set()
        for c in asking:
            got = json.loads(c.c.getresponse().read())
            assert (got['result'], got['value']) == ('found', 'yes'), got
        assert (s.asked, s.connections) == (len(keys), 1)
        assert 'smar.module' not in g.log() and 'busy' not in g.log()
    shutil.rmtree(d)


def test_a_slow_map_delays_only_its_askers(inst):
    """While the map of aliases says nothing, mail that has no business with it goes through at its pace, and so do its own
    questions that can be answered from what is kept."""
    answers = threading.Event()

    def aliases(name, key):
        if key.startswith('slow'):
            answers.wait(lab.WAIT)
        return 'OK bob@far.test' if key in ('slow', 'quick') else 'NOTFOUND'
    smar = 'map al { type = socket; address = 127.0.0.1; port = %d; mapname = al; } aliases { name = al; flags = { localpart, local_domains }; } '
    with SocketMap(aliases) as s, lab.Sink() as sink, lab.relay_all(inst, sink.port, smar=smar % s.port + 'local_domains = own.test; ') as g:
        assert g.verdict('quick@own.test').startswith('250')
        got = []
        askers = [threading.Thread(target=lambda: got.append(g.verdict('slow@own.test'))) for _ in range(20)]
        for t in askers:
            t.start()
        lab.wait_for('their questions', lambda: g.metrics('smar')['questions_now'] >= 20)
        worst = 0
        for i in range(30):
            begun = time.monotonic()
            with g.client() as c:
                assert c.mail(f'a{i}@client.test', 'u@far.test', 'Subject: t\r\n\r\n').startswith('250')
            assert g.verdict('quick@own.test', f'b{i}@client.test').startswith('250')
            worst = max(worst, time.monotonic() - begun)
        sink.wait(30)
        assert not got and worst < 2, (got, worst)
        answers.set()
        for t in askers:
            t.join(lab.WAIT)
        assert len(got) == 20 and all(x.startswith('250') for x in got), got
        assert s.asked.count('slow') == 1
