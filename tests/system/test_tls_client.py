# SPDX-License-Identifier: BSD-2-Clause
"""STARTTLS of smtpc: used when it is offered, in plain again where the policy lets it and nowhere else, against
scripted peers that break each step and a real Postfix."""
import json, os, signal, ssl

import certs, lab, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a, certs.Authority('other') as b:
        a.host, a.named_else, a.us = a.issue('hop', host='127.0.0.1'), a.issue('else', host='else.test'), a.issue('us')
        a.stranger = b.issue('hop', host='127.0.0.1')
        yield a


class Inside:
    """A connection after STARTTLS as Sink.talk() wants it: the greeting was said before."""

    def __init__(self, c):
        self.c, self.f, self.said = c, c.makefile('rb'), False

    def sendall(self, data):
        if self.said:
            self.c.sendall(data)
        self.said = True

    def readline(self, n=-1):
        return self.f.readline(n)

    def recv(self, n):
        return self.f.read1(n)

    def peek(self, n):
        return b''

    def setblocking(self, on):
        pass

    settimeout = setblocking


class TlsSink(lab.Sink):
    """break_at: what goes wrong, and where."""

    def __init__(self, cert, break_at=None, **kw):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*cert)
        self.break_at, self.tls, self.plain_mails = break_at, [], 0
        super().__init__(**kw)

    def talk(self, c, f):
        c.sendall(b'220 sink.test ready\r\n')
        while line := f.readline():
            verb = line.split()[0].upper()
            if verb == b'EHLO' and self.break_at == 'no ehlo':
                c.sendall(b'502 what\r\n')
            elif verb == b'EHLO':
                c.sendall(b'250-sink.test\r\n250-PIPELINING\r\n' + (b'' if self.break_at == 'not offered' else b'250-STARTTLS\r\n') +
                          (b'250-SIZE 10\r\n' if self.break_at == 'small' else b'') + b'250 8BITMIME\r\n')
            elif verb == b'STARTTLS':
                return self.starttls(c)
            elif verb == b'HELO':
                c.sendall(b'250 sink.test\r\n')
            else:
                return self.in_plain(c, f, line)

    def in_plain(self, c, f, line):
        """A mail without TLS: the rest of the session as the plain sink has it."""
        class Again(Inside):
            def __init__(self, c, f):
                self.c, self.f, self.said, self.first = c, f, False, line

            def readline(self, n=-1):
                got, self.first = self.first, b''
                return got or self.f.readline(n)
        self.plain_mails += 1
        both = Again(c, f)
        super().talk(both, both)

    @staticmethod
    def hang(c):
        while c.recv(1000):
            pass

    def starttls(self, c):
        at = self.break_at
        if at == 'refused':
            c.sendall(b'454 4.7.0 not now\r\n')
            return super().talk(*[Inside(c)] * 2)
        if at == 'closed':
            return
        if at == 'silent':
            return self.hang(c)
        c.sendall(b'220 go\r\n250 injected\r\n' if at == 'injected' else b'220 go\r\n')
        if at == 'hello':
            c.recv(10)
            return
        if at == 'hang':
            return self.hang(c)
        if at == 'garbage':
            c.sendall(b'550 no TLS here\r\n')
            c.recv(1000)
            return
        inside = self.context.wrap_socket(c, server_side=True)
        self.tls.append(inside.version())
        if at == 'after':
            inside.close()
            return
        if at == 'mute':
            return self.hang(inside)
        both = Inside(inside)
        super().talk(both, both)


def smtpc(ca, policy, more='', options=''):
    return f'tls_policy = {policy}; {options} tls {{ CAcert_file = "{ca.ca}"; {more} }}'


def relay(inst, sink, ca, policy='may', more='', options='', **kw):
    return lab.relay_all(inst, sink.port, smtpc=smtpc(ca, policy, more, options),
                         qmgr='min_retry_delay = 1h; max_retry_delay = 1h;', **kw)


def send(g):
    with g.client() as c:
        assert c.mail('a@far.test', 'b@far.test', BODY).startswith('250')


@pytest.mark.parametrize('cert', ['host', 'stranger', 'named_else'])
@pytest.mark.parametrize('policy', ['may', 'encrypt'])
def test_offered(inst, ca, cert, policy):
    """Encrypted with whoever it is, EHLO anew, and the sessions tell how."""
    with TlsSink(getattr(ca, cert)) as sink, relay(inst, sink, ca, policy) as g:
        send(g)
        assert sink.wait(1)[0]['from'] == 'a@far.test'
        assert sink.tls == ['TLSv1.3'] and sink.plain_mails == 0
        assert [v for v, _ in sink.commands][1:3] == ['EHLO', 'MAIL']
        tls = sessions(g)[0]['tls']
        assert tls.startswith('TLSv1.3,TLS_') and tls.endswith({'host': 'verified', 'stranger': 'not trusted',
                                                               'named_else': 'trusted'}[cert])


def sessions(g):
    return json.loads(g.http('smtpc', 'GET', '/v1/sessions')[1])['sessions']


BROKEN = ['not offered', 'no ehlo', 'refused', 'closed', 'hello', 'garbage', 'after', 'silent', 'hang', 'mute']


def waits(at):
    return 'IO_timeout = 2s;' if at in ('silent', 'hang', 'mute') else ''


@pytest.mark.parametrize('at', BROKEN)
def test_in_plain_where_it_may(inst, ca, at):
    with TlsSink(ca.host, at) as sink, relay(inst, sink, ca, options=waits(at)) as g:
        send(g)
        assert sink.wait(1)[0]['body'].endswith(BODY)
        g.queue_empty()


@pytest.mark.parametrize('at', [*BROKEN, 'injected'])
def test_never_in_plain(inst, ca, at):
    with TlsSink(ca.host, at) as sink, relay(inst, sink, ca, 'encrypt', options=waits(at)) as g:
        send(g)
        g.wait_log('status=deferred')
        assert sink.mails == [] and sink.plain_mails == 0 and len(g.queue()) == 1


def test_injected(inst, ca):
    """A hop that says more than its reply to STARTTLS gets nothing, not even in plain."""
    with TlsSink(ca.host, 'injected') as sink, relay(inst, sink, ca) as g:
        send(g)
        g.wait_log('status=deferred .*sent 14 bytes behind its reply to STARTTLS')
        assert sink.mails == [] and sink.tls == []


@pytest.mark.parametrize('cert, reason', [('host', None), ('named_else', 'is not for the host: /CN=else'),
                                          ('stranger', 'is not to be trusted: ')])
def test_verify(inst, ca, cert, reason):
    with TlsSink(getattr(ca, cert)) as sink, relay(inst, sink, ca, 'verify') as g:
        send(g)
        if reason:
            g.wait_log('status=deferred .*' + reason)
            assert sink.mails == []
        else:
            sink.wait(1)
            assert sessions(g)[0]['tls'].endswith(',verified')


def test_what_was_offered_in_plain_is_forgotten(inst, ca):
    """Mail of more than 10 bytes, and one that is a file of its own."""
    large = BODY + b'0123456789 abcdefghijklmnopqrstuvwxyz\r\n' * 40000
    with TlsSink(ca.host, 'small', ehlo=('PIPELINING', '8BITMIME')) as sink, relay(inst, sink, ca, 'encrypt') as g:
        with g.client() as c:
            for body in (BODY, large):
                assert c.mail('a@far.test', 'b@far.test', body).startswith('250')
        assert sorted(len(m['body']) > 1000000 for m in sink.wait(2)) == [False, True]
        assert any(m['body'].endswith(large) for m in sink.mails)


@pytest.mark.parametrize('first, then', [('may', 'verify'), ('none', 'encrypt')])
def test_kept_session_of_another_policy(inst, ca, first, then):
    with TlsSink(ca.stranger) as sink, relay(inst, sink, ca, first) as g:
        send(g)
        sink.wait(1)
        lab.wait_for('an idle session', lambda: [s['state'] for s in sessions(g)] == ['idle'])
        conf = g.conf.read_text()
        g.conf.write_text(conf.replace(f'tls_policy = {first};', f'tls_policy = {then};'))
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mcp.reload result=committed')
        lab.wait_for('the end of the session', lambda: not sessions(g))
        send(g)
        if then == 'verify':
            g.wait_log('status=deferred .*is not to be trusted: ')
            assert len(sink.mails) == 1
        else:
            assert len(sink.wait(2)) == 2 and sink.plain_mails == 1 and sink.tls == ['TLSv1.3']


@pytest.mark.parametrize('policy, cert, at, asked', [
    ('may', 'stranger', None, 'tls'), ('encrypt', 'stranger', None, 'tls'), ('verify', 'host', None, 'tls'),
    ('none', 'host', None, 'plain'), ('may', 'host', 'garbage', 'plain'),
    ('verify', 'stranger', None, ''), ('verify', 'named_else', None, ''), ('encrypt', 'host', 'not offered', ''),
    ('encrypt', 'host', 'garbage', ''), ('may', 'host', 'injected', '')])
def test_probes(inst, ca, policy, cert, at, asked):
    """smar asks a next hop about a recipient as smtpc would deliver there, and says nothing where that would not."""
    def no_such(verb, arg, ses):
        return '550 5.1.1 no such user' if verb == 'RCPT' else None
    with TlsSink(getattr(ca, cert), at, answer=no_such) as sink, \
            relay(inst, sink, ca, policy, mt=f'far.test [127.0.0.1]:{sink.port}\n',
                  smar='recipient_probe { routes = { mailertable }; }') as g, g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@c.test>', 250)
        c.cmd('RCPT TO:<b@far.test>', '550 5.1.1 the next hop says' if asked else '450 4.4.1')
        assert [v for v, _ in sink.commands].count('RCPT') == bool(asked)
        assert sink.plain_mails == (asked == 'plain') and (asked != 'tls' or sink.tls == ['TLSv1.3'])


def test_unix_socket(inst, ca):
    """Nothing is said to be encrypted on a socket of this machine, whatever the policy."""
    with lab.Sink(lmtp=True, path=lab.tempdir('tls') / 's') as sink, \
            lab.relay_all(inst, 0, mt=f'far.test lmtp:{sink.path}\n', smtpc=smtpc(ca, 'verify')) as g:
        send(g)
        sink.wait(1)


def test_none(inst, ca):
    with TlsSink(ca.host) as sink, relay(inst, sink, ca, 'none') as g:
        send(g)
        sink.wait(1)
        assert sink.tls == [] and sink.plain_mails == 1


@pytest.mark.skipif(os.geteuid() != 0, reason='Postfix is started by root')
def test_postfix(inst, ca):
    """A real Postfix that wants TLS and asks for our certificate; it relays on to a sink."""
    pem, key = ca.issue('pf', host='pf.test')
    os.chown(key, 0, 0)
    with lab.Sink() as sink, lab.Postfix(sink.port, f'''smtpd_tls_cert_file = {pem}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = encrypt
smtpd_tls_ask_ccert = yes
smtpd_tls_CAfile = {ca.ca}
smtpd_tls_received_header = yes
''') as pf, relay(inst, pf, ca, 'encrypt', f'cert_file = "{ca.us[0]}"; key_file = "{ca.us[1]}";') as g:
        send(g)
        body = sink.wait(1)[0]['body']
        assert b'(using TLSv1.3 with cipher' in body and b'(Client CN "us", Issuer "ca" (verified OK))' in body
