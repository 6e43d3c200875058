# SPDX-License-Identifier: BSD-2-Clause
"""Clients that end TLS, or the connection below it, at every byte of a message, with and without bytes in clear behind
it: the session ends, nothing is queued, nothing of them stays behind."""
import contextlib, json, os, socket, ssl, struct, subprocess

import certs, lab, pytest

ENV = b'MAIL FROM:<a@c.test>\r\nRCPT TO:<b@far.test>\r\n'
BODY = b'S: t\r\n\r\n..a\r\n'
TALKS = {'DATA': b'DATA\r\n' + BODY + b'.\r\n', 'BDAT': b'BDAT 5\r\n' + BODY[:5] + b'BDAT %d LAST\r\n' % (len(BODY) - 5) + BODY[5:]}
CLEAR = b'\r\n.\r\nMAIL FROM:<clear@c.test>\r\nRCPT TO:<b@far.test>\r\nBDAT 1 LAST\r\nxQUIT\r\n'


class Inside:
    """TLS in the test's hands: what OpenSSL says is sent when the test wants it."""

    def __init__(self, c, context):
        self.c, self.to, self.out = c, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.to, self.out, server_hostname='gw.test')
        self.step(self.tls.do_handshake)

    def step(self, fn, *args):
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                got = fn(*args)
                self.flush()
                return got
            self.flush()
            data = self.c.recv(65536)
            if not data:
                raise ConnectionError('closed by the server')
            self.to.write(data)

    def flush(self):
        if data := self.out.read():
            self.c.sendall(data)

    def send(self, data):
        self.tls.write(data)
        self.flush()

    def ask(self, line, code):
        self.send(line)
        got = b''
        while not got.endswith(b'\n') or got.split(b'\r\n')[-2][3:4] == b'-':
            got += self.step(self.tls.read, 65536)
        assert got.startswith(code), got

    def bye(self):
        """close_notify, as bytes to send."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.out.read()


@pytest.fixture(scope='module')
def gw(inst):
    with certs.Authority() as ca, lab.Sink() as sink:
        pem, key = ca.issue('gw', host='gw.test')
        with lab.relay_all(inst, sink.port, f'tls {{ cert_file = "{pem}"; key_file = "{key}"; }}') as g:
            g.sink, g.context = sink, ca.context()
            with g.client() as c:  # the store's first message opens its files
                c.mail('first@c.test', 'b@far.test', BODY)
            sink.wait(1)
            yield g


def left(g):
    m = g.metrics('smtps')
    return {'descriptors': len(os.listdir(f'/proc/{g.pids()["smtps"]}/fd')), 'transactions': m['transactions_now'], 'sessions': m['sessions_now'],
            'receiving': json.loads(g.http('smtps', 'GET', '/v1/intake')[1])['receiving']}


def leave(t, how):
    if how == 'rst':
        t.c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    elif how.startswith('close_notify'):
        t.c.sendall(t.bye() + (CLEAR if how.endswith('clear') else b''))
        with contextlib.suppress(ConnectionError):  # it ends the session by itself
            while t.c.recv(65536):
                pass
    elif how == 'clear':
        t.c.sendall(CLEAR)
        with contextlib.suppress(ConnectionError):
            while t.c.recv(65536):
                pass
    t.c.close()


@pytest.mark.parametrize('how', ['close_notify', 'close_notify and clear', 'clear', 'fin', 'rst'])
@pytest.mark.parametrize('talk', TALKS)
def test_at_every_byte(gw, talk, how):
    text = TALKS[talk]
    lab.wait_for('the last one to be gone', lambda: left(gw)['sessions'] == 0)
    before, mails = left(gw), len(gw.sink.mails)
    for k in range(len(text)):
        with gw.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('STARTTLS', 220)
            t = Inside(c.s, gw.context)
            t.ask(b'EHLO c.test\r\n', b'250')
            with contextlib.suppress(ConnectionError):
                t.send(ENV + text[:k])
                leave(t, how)
    lab.wait_for('all of it to be gone', lambda: left(gw) == before)
    gw.queue_empty()
    with gw.client() as c:  # and it still takes mail
        assert c.mail('after@c.test', 'b@far.test', BODY).startswith('250')
    gw.sink.wait(mails + 1)
    assert [m['from'] for m in gw.sink.mails[mails:]] == ['after@c.test']


def test_renegotiation(gw):
    """s_client's R: refused, and nobody else notices."""
    with gw.client() as other:
        other.cmd('EHLO c.test', 250)
        out = subprocess.run(['openssl', 's_client', '-starttls', 'smtp', '-connect', f'127.0.0.1:{gw.port}', '-tls1_2', '-crlf'],
                             input='R\n', capture_output=True, text=True, timeout=lab.WAIT)
        assert 'RENEGOTIATING' in out.stderr and 'no renegotiation' in out.stderr
        other.cmd('NOOP', 250)
