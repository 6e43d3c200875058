# SPDX-License-Identifier: BSD-2-Clause
"""TLS of smtps as clients see it: STARTTLS with the tools that admins use, TLS from the first byte, relaying by
certificate, certificates changed by a reload."""
import contextlib, json, signal, socket, subprocess

import certs, lab, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'
ACCESS = 'certissuer:/cn=ca RELAY\ncertsubject:/cn=blocked ERROR:550 5.7.1 not you\n'


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a, certs.Authority('other') as b:
        a.host, a.rsa = a.issue('gw', host='gw.test'), a.issue('rsa', host='gw.test', rsa=2048)
        a.second = a.issue('second', host='second.test')
        a.ann, a.blocked, a.eve = a.issue('ann'), a.issue('blocked'), b.issue('eve')
        yield a


def section(ca, *pairs, more=''):
    one = [', '.join(f'"{p[i]}"' for p in pairs) for i in (0, 1)]
    return (f'tls {{ cert_file = {{ {one[0]} }}; key_file = {{ {one[1]} }}; CAcert_file = "{ca.ca}"; '
            f'CAcert_directory = "{ca.dir}"; {more} }} ')


@pytest.fixture(scope='module')
def gw(inst, ca):
    port = lab.free_port()
    with lab.Sink() as sink:
        g = lab.relay_all(inst, sink.port, ac=ACCESS, smtps=section(ca, ca.host, ca.rsa, ca.second) +
                          f'listen_socket smtps {{ type = inet; address = 127.0.0.1; port = {port}; tls = yes; }} ')
        text = g.conf.read_text()
        g.conf.write_text(text.replace('listen_socket smtps', f'listen_socket smtp {{ type = inet; address = 127.0.0.1; '
                                       f'port = {g.port}; }} listen_socket smtps', 1))
        with g:
            g.sink, g.tls_port = sink, port
            yield g


def test_tools(gw, ca):
    """swaks, openssl and Postfix's own client, against the files of the configuration."""
    swaks = subprocess.run(['swaks', '--server', f'127.0.0.1:{gw.port}', '--tls', '--tls-cert', ca.ann[0], '--tls-key', ca.ann[1],
                            '--from', 'a@far.test', '--to', 'b@far.test', '--body', 'hi'], capture_output=True, text=True)
    assert swaks.returncode == 0, swaks.stdout + swaks.stderr
    received = gw.sink.wait(len(gw.sink.mails) or 1)[-1]['body'].split(b'\r\nfor')[0]
    assert b' with ESMTPS id ' in received and b'cipher=TLS_AES_256_GCM_SHA384, bits=256, verify=OK)' in received
    for sigalg, name in (('ECDSA+SHA256', 'gw'), ('RSA-PSS+SHA256', 'rsa')):
        out = subprocess.run(['openssl', 's_client', '-starttls', 'smtp', '-connect', f'127.0.0.1:{gw.port}', '-CAfile', ca.ca,
                              '-sigalgs', sigalg, '-verify_return_error', '-servername', 'gw.test'], input='QUIT\n',
                             capture_output=True, text=True).stdout
        assert f'subject=CN = {name}' in out and 'Verify return code: 0 (ok)' in out
    finger = subprocess.run(['posttls-finger', '-c', '-l', 'secure', '-F', ca.ca, f'[127.0.0.1]:{gw.port}', 'gw.test'],
                            capture_output=True, text=True)
    assert 'Verified TLS connection established' in finger.stdout + finger.stderr


@pytest.mark.parametrize('who, reply', [('ann', '250'), ('blocked', '550 5.7.1'), ('eve', '550'), (None, '550')])
def test_relay_by_certificate(gw, ca, who, reply):
    """A certificate of our CA lets relay, one of another CA does not, nor does none; explain says the same."""
    with gw.client() as c:
        certs.starttls(c, ca.context(getattr(ca, who) if who else None))
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<a@far.test>', 250)
        assert c.cmd('RCPT TO:<b@far.test>').startswith(reply)
        sessions = [s for s in gw_sessions(gw) if s['tls']]
        assert sessions[0]['tls']['verify'] == {'ann': 'OK', 'blocked': 'OK', 'eve': 'FAIL', None: 'NO'}[who]


@pytest.mark.parametrize('first', ['STARTTLS', 'XCLIENT'])
def test_a_certificate_is_not_of_whom_its_owner_speaks_for(inst, ca, sink, first):
    """A filter in front has a certificate that may relay; for those whom it names by XCLIENT that proves nothing."""
    with lab.relay_all(inst, sink.port, ac=ACCESS, smtps=section(ca, ca.host) + 'xclient = 127.0.0.1; ') as g, g.client() as c:
        if first == 'STARTTLS':
            certs.starttls(c, ca.context(ca.ann))
        c.cmd('EHLO filter.test', 250)
        c.cmd('XCLIENT ADDR=203.0.113.9', 220)
        if first == 'XCLIENT':
            certs.starttls(c, ca.context(ca.ann))
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<a@far.test>', 250)
        assert c.cmd('RCPT TO:<b@far.test>').startswith('550')


def gw_sessions(gw):
    return json.loads(gw.http('smtps', 'GET', '/v1/sessions')[1])['sessions']


def test_without_tls(gw):
    with gw.client() as c:
        assert 'STARTTLS' in c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<a@far.test>', 250)
        assert c.cmd('RCPT TO:<b@far.test>').startswith('550')
        assert c.cmd('STARTTLS').startswith('503')


def test_from_the_first_byte(gw, ca):
    with lab.Client(('127.0.0.1', gw.tls_port), greet=False) as c:
        c.s = ca.context(ca.ann).wrap_socket(c.s, server_hostname='second.test')
        assert dict(x[0] for x in c.s.getpeercert()['subject'])['commonName'] == 'second'
        c.reply(220)
        assert c.mail('a@far.test', 'b@far.test', BODY).startswith('250')
    with lab.Client(('127.0.0.1', gw.tls_port), greet=False) as c:
        c.send('EHLO plain.test\r\n')
        assert c.closed()
    gw.wait_log('smtps.tls_failed .*client=127.0.0.1')


def test_injection(gw, ca):
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        c.send('STARTTLS\r\nMAIL FROM:<evil@far.test>\r\nNOOP\r\n')
        c.reply(220)
        assert c.buf == b''
        c.s = ca.context(ca.ann).wrap_socket(c.s, server_hostname='gw.test')
        assert c.cmd('NOOP').startswith('250')
        c.cmd('EHLO client.test', 250)
        assert c.cmd('RCPT TO:<b@far.test>').startswith('503')
    gw.wait_log('smtps.tls_injected .*bytes=33')


def test_tls_only(inst, ca, sink):
    """MAIL, VRFY and AUTH wait for TLS; the rest, and a client on a unix socket, do not."""
    g = lab.relay_all(inst, sink.port, ac=ACCESS + 'cltaddr:unix RELAY\n', smtps=section(ca, ca.host, more='flags = { tls_only };') +
                      f'listen_socket u {{ type = unix; path = s; umask = 000; }} ')
    text = g.conf.read_text().replace('path = s;', f'path = "{g.dir}/s";')
    g.conf.write_text(text.replace('listen_socket u', f'listen_socket smtp {{ type = inet; address = 127.0.0.1; port = {g.port}; }} listen_socket u', 1))

    def takes_mail():  # on the unix socket, where no TLS is wanted
        with lab.Client(f'{g.dir}/s') as c:
            c.cmd('EHLO client.test', 250)
            return c.cmd('MAIL FROM:<a@far.test>').startswith('250')
    with contextlib.closing(g):
        g.start()
        lab.wait_for('a transaction to be possible', takes_mail)
        with g.client() as c:
            assert 'AUTH' not in c.cmd('EHLO client.test', 250)
            for line in ('MAIL FROM:<a@far.test>', 'VRFY a', 'MAIL rubbish'):
                c.cmd(line, '530 5.7.0 TLS comes first, say STARTTLS')
            c.cmd('NOOP', 250)
            c.cmd('RSET', 250)
            certs.starttls(c, ca.context(ca.ann))
            assert c.mail('a@far.test', 'b@far.test', BODY).startswith('250')
        with lab.Client(f'{g.dir}/s') as c:
            assert c.mail('a@far.test', 'b@far.test', BODY).startswith('250')


def test_ocsp(inst, ca, sink):
    """What an admin's cron job puts there is shown, anew when it is replaced, and left out when it is old."""
    (ca.dir / 'index.txt').write_text('')
    pem, staple = ca.host[0], ca.dir / 'gw.ocsp'
    index = ca.dir / 'index.txt'
    serial = subprocess.run(['openssl', 'x509', '-noout', '-serial', '-in', pem], capture_output=True, text=True).stdout.strip().split('=')[1]
    index.write_text(f'V\t350101000000Z\t\t{serial}\tunknown\t/CN=gw\n')

    def fetch(*more):
        ca.run('ocsp', '-index', str(index), '-CA', str(ca.ca), '-rsigner', str(ca.ca), '-rkey', str(ca.ca.with_suffix('.key')),
               '-issuer', str(ca.ca), '-cert', str(pem), '-respout', 'new.ocsp', *more)
        (ca.dir / 'new.ocsp').chmod(0o644)
        (ca.dir / 'new.ocsp').rename(staple)

    def shown():
        out = subprocess.run(['openssl', 's_client', '-starttls', 'smtp', '-connect', f'127.0.0.1:{g.port}', '-CAfile', ca.ca, '-status'],
                             input='QUIT\n', capture_output=True, text=True).stdout
        assert 'Verify return code: 0 (ok)' in out
        return 'OCSP Response Status: successful' in out and 'Cert Status: good' in out

    with lab.relay_all(inst, sink.port, smtps=section(ca, ca.host, more=f'OCSP_file = "{staple}";')) as g:
        g.wait_log(f'warning tls.ocsp file={staple} result="left out" error="No such file or directory"')
        assert not shown()
        fetch('-ndays', '1')
        lab.wait_for('the response to be shown', shown)
        index.write_text(f'R\t350101000000Z\t200101000000Z\t{serial}\tunknown\t/CN=gw\n')
        fetch('-ndays', '1')
        lab.wait_for('it to be left out', lambda: not shown())
        g.wait_log('result="left out" error="says that the certificate is revoked"')


def test_large_mail(gw, ca):
    body = BODY + b'0123456789012345678901234567890123456789012345678901234567890\r\n' * 50000
    n = len(gw.sink.mails)
    with gw.client() as c:
        certs.starttls(c, ca.context(ca.ann))
        assert c.mail('a@far.test', 'b@far.test', body).startswith('250')
    assert gw.sink.wait(n + 1)[-1]['body'].endswith(body)


def test_reload(inst, ca):
    """New files serve new sessions; a session of before goes on; what is wrong is refused, and the old serves."""
    cert = ca.issue('first', host='gw.test', file='live')

    def subject():
        with g.client() as c:
            return dict(x[0] for x in certs.starttls(c, ca.context())['subject'])['commonName']

    with lab.Sink() as sink, lab.relay_all(inst, sink.port, ac=ACCESS, smtps=section(ca, cert)) as g:
        assert subject() == 'first'
        pids = g.pids()
        with g.client() as c:
            certs.starttls(c, ca.context(ca.ann))
            ca.issue('newer', host='gw.test', file='live')
            g.proc.send_signal(signal.SIGHUP)
            lab.wait_for('the new certificate', lambda: subject() == 'newer')
            assert c.mail('a@far.test', 'b@far.test', BODY).startswith('250')
        cert[1].chmod(0o644)
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mode 644 lets others have it')
        g.wait_log('result="refused, the old configuration goes on"')
        assert subject() == 'newer'
        assert g.pids() == pids
    g = lab.relay_all(inst, 1, smtps=section(ca, cert))
    try:
        g.start(ready=False)
        assert g.proc.wait(30) == 78
        assert f'key_file {cert[1]}: mode 644' in g.log()
    finally:
        g.close()


@pytest.mark.parametrize('hello', [b'\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00', b'\x15\x03\x01\x00\x02\x02\x28', b'NOOP\r\n', b''])
def test_broken_handshake(gw, hello):
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        c.cmd('STARTTLS', 220)
        c.send(hello)
        c.s.shutdown(socket.SHUT_WR)
        got = b''
        with contextlib.suppress(ConnectionError):
            while part := c.s.recv(1000):
                got += part
        assert b'250' not in got and b'500' not in got
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
