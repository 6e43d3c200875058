# SPDX-License-Identifier: BSD-2-Clause
"""AUTH of smtps against Cyrus SASL with a real sasldb: what is offered when, mechanisms by the clients that people
use, relaying by it, and what a wrong, odd or hostile exchange gets."""
import base64, hmac, json, os, smtplib, subprocess, time

import certs, lab, pytest
from stores import passwords

USER, SECRET = 'ann', 'pw 123=x'


@pytest.fixture(scope='module')
def sasl():
    with passwords(USER, SECRET, 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256') as d:
        yield d


def gateway(inst, port, sasl, options, ca=None, delay='10ms'):
    tls = f'tls {{ cert_file = "{ca.host[0]}"; key_file = "{ca.host[1]}"; }} ' if ca else ''
    return lab.relay_all(inst, port, ac='from:nobody@ REJECT\n',
                         smtps=f'auth {{ config_path = "{sasl}"; failure_delay = {delay}; {options} }} {tls}')


@pytest.fixture(scope='module')
def gw(inst, sasl):
    with certs.Authority() as ca, lab.Sink() as sink:
        ca.host = ca.issue('gw', host='gw.test')
        with gateway(inst, sink.port, sasl, 'trusted_mechanisms = { CRAM-MD5, scram-sha-256, PLAIN, GSSAPI };', ca) as g:
            g.sink, g.ca = sink, ca
            yield g


def b64(s):
    return base64.b64encode(s if isinstance(s, bytes) else s.encode()).decode()


def plain(user=USER, secret=SECRET, act_as=''):
    return b64(f'{act_as}\0{user}\0{secret}')


def offered(c):
    lines = c.cmd('EHLO client.test', 250).split('\n')
    return [line[9:] for line in lines if line[4:].startswith('AUTH ')]


def test_offers(gw):
    """What the module has and the admin trusts; what sends the password itself only inside TLS."""
    with gw.client() as c:
        assert offered(c) == ['CRAM-MD5 SCRAM-SHA-256'] or offered(c) == ['SCRAM-SHA-256 CRAM-MD5']
        assert c.cmd('AUTH PLAIN ' + plain()).startswith('504 5.5.4')
        certs.starttls(c, gw.ca.context())
        assert sorted(offered(c)[0].split()) == ['CRAM-MD5', 'PLAIN', 'SCRAM-SHA-256']
        c.cmd('AUTH PLAIN ' + plain(), 235)
        c.cmd('MAIL FROM:<a@client.test> AUTH=<>', 250)
        c.cmd('RCPT TO:<b@far.test>', 250)


def test_relaying_by_cram_md5(gw):
    """swaks authenticates and relays; the mail says so, and the log who it was."""
    args = ['swaks', '--server', f'127.0.0.1:{gw.port}', '--from', 'a@client.test', '--to', 'b@far.test', '--body', 'hi']
    assert '550' in subprocess.run(args, capture_output=True, text=True).stdout
    n = len(gw.sink.mails)
    out = subprocess.run(args + ['--auth', 'CRAM-MD5', '--auth-user', USER, '--auth-password', SECRET], capture_output=True, text=True)
    assert out.returncode == 0, out.stdout
    assert b' with ESMTPA id ' in gw.sink.wait(n + 1)[-1]['body']
    assert 'smtps.auth' in gw.log() and f'mechanism=CRAM-MD5 result=accepted user={USER}' in gw.log()
    assert SECRET not in gw.log() and b64(SECRET) not in gw.log()


def test_python_inside_tls(gw):
    with smtplib.SMTP('127.0.0.1', gw.port) as s:
        s.starttls(context=gw.ca.context())
        s.login(USER, SECRET)
        n = len(gw.sink.mails)
        s.sendmail('a@client.test', ['b@far.test'], 'Subject: x\r\n\r\nhi\r\n')
        assert b' with ESMTPSA id ' in gw.sink.wait(n + 1)[-1]['body']
        sessions = json.loads(gw.http('smtps', 'GET', '/v1/sessions')[1])['sessions']
        assert USER in [x['user'] for x in sessions]


def test_order(gw):
    with gw.client() as c:
        assert c.cmd('AUTH CRAM-MD5').startswith('503')
        c.cmd('HELO client.test', 250)
        assert c.cmd('AUTH CRAM-MD5').startswith('503 5.5.1 Say EHLO')
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        assert c.cmd('AUTH CRAM-MD5').startswith('503')
        c.cmd('RSET', 250)
        assert c.cmd('AUTH').startswith('504') and c.cmd('AUTH GSSAPI').startswith('504')
        c.cmd('AUTH CRAM-MD5', 334)
        assert c.cmd('*').startswith('501')
        assert c.cmd('NOOP').startswith('250')
        log_in(c)
        assert c.cmd('AUTH CRAM-MD5').startswith('503 5.5.1 You have')
        for again in ('RSET', 'EHLO client.test'):
            c.cmd(again, 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        c.cmd('RCPT TO:<b@far.test>', 250)


def log_in(c, secret=SECRET):
    text = c.cmd('AUTH cram-md5', 334).split(' ')[1]
    digest = hmac.new(secret.encode(), base64.b64decode(text), 'md5').hexdigest()
    return c.cmd(b64(f'{USER} {digest}'))


def test_starttls_forgets(gw):
    """Who was proven in plain is nobody inside TLS (RFC 4954, 4)."""
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        assert log_in(c).startswith('235')
        certs.starttls(c, gw.ca.context())
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        assert c.cmd('RCPT TO:<b@far.test>').startswith('550')


@pytest.mark.parametrize('line', ['', '=', '====', 'Zg', 'Zm9v Zm9v', 'Zh==', '\x7f', 'A' * 12288, b64(b'\0' * 9000), b64(b'\xff' * 40), 'QUIT'])
def test_odd_responses(gw, line):
    """Refused, and the session goes on as if AUTH had never been said; nothing of it is a command."""
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        c.cmd('AUTH CRAM-MD5', 334)
        assert c.cmd(line)[:3] in ('501', '535'), line
        c.cmd('NOOP', 250)
        assert log_in(c).startswith('235')


@pytest.mark.parametrize('value, reply', [('<>', '250'), ('a+40b.test', '250'), ('', '501 5.5.4'), ('a+4', '501 5.5.4'), ('a=b', '501 5.5.4')])
def test_parameter_of_mail(gw, value, reply):
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        assert c.cmd(f'MAIL FROM:<a@client.test> AUTH={value}').startswith(reply)


def test_too_long_a_response(gw):
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        c.cmd('AUTH CRAM-MD5', 334)
        assert c.cmd('A' * 20000).startswith('500 5.5.2')
        c.cmd('NOOP', 250)


def test_wrong_secrets(gw):
    """Two are refused, each later than the one before; the third ends the session."""
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        assert log_in(c, 'wrong').startswith('535 5.7.8') and log_in(c, 'wrong').startswith('535 5.7.8')
        assert log_in(c, 'wrong').startswith('421 4.7.0') and c.closed()
    assert 'result=refused' in gw.log()


def test_failures_cost_time(inst, sasl, sink):
    with gateway(inst, sink.port, sasl, 'trusted_mechanisms = CRAM-MD5;', delay='200ms') as g, g.client() as c:
        c.cmd('EHLO client.test', 250)
        start = time.monotonic()
        assert log_in(c, 'wrong').startswith('535')
        first = time.monotonic() - start
        assert log_in(c, 'wrong').startswith('535')
        assert first > 0.19 and time.monotonic() - start - first > 0.39


def test_left_alone(gw):
    """Clients that go away in each step leave nothing behind."""
    for said in (['AUTH CRAM-MD5'], ['AUTH CRAM-MD5', b64('x y')], ['AUTH SCRAM-SHA-256 ' + b64('n,,n=ann,r=abc')]):
        with gw.client() as c:
            c.cmd('EHLO client.test', 250)
            for line in said[:-1]:
                c.cmd(line)
            c.send(said[-1] + '\r\n')
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        assert log_in(c).startswith('235')


def test_secrets_cannot_be_asked(inst, sink):
    """saslauthd is away: 454, and no wrong password."""
    d = lab.tempdir('sasl')
    (d / 'smtps.conf').write_text(f'pwcheck_method: saslauthd\nsaslauthd_path: {d}/none\nmech_list: PLAIN\n')
    d.chmod(0o755)
    with gateway(inst, sink.port, d, 'trusted_mechanisms = PLAIN; flags = { plaintext };') as g, g.client() as c:
        assert offered(c) == ['PLAIN']
        assert c.cmd('AUTH PLAIN ' + plain()).startswith('454 4.7.0')
        c.cmd('NOOP', 250)
    subprocess.run(['rm', '-r', d], check=True)


def test_what_cannot_be_judged_has_a_bound(inst, sink):
    """A client that can force 454 is not served for ever."""
    d = lab.tempdir('sasl')
    (d / 'smtps.conf').write_text(f'pwcheck_method: saslauthd\nsaslauthd_path: {d}/none\nmech_list: PLAIN\n')
    d.chmod(0o755)
    with lab.relay_all(inst, sink.port, smtps=f'max_nop_commands = 3; auth {{ config_path = "{d}"; trusted_mechanisms = PLAIN; '
                       'flags = { plaintext }; }') as g, g.client() as c:
        c.cmd('EHLO client.test', 250)
        for _ in range(3):
            assert c.cmd('AUTH PLAIN ' + plain()).startswith('454')
        assert c.cmd('AUTH PLAIN ' + plain()).startswith('421') and c.closed()
    subprocess.run(['rm', '-r', d], check=True)


def test_tls_only(inst, sasl, sink):
    with certs.Authority() as ca:
        ca.host = ca.issue('gw', host='gw.test')
        with gateway(inst, sink.port, sasl, 'trusted_mechanisms = CRAM-MD5; flags = { tls_only };', ca) as g, g.client() as c:
            assert offered(c) == []
            assert c.cmd('AUTH CRAM-MD5').startswith('538 5.7.11')
            certs.starttls(c, ca.context())
            c.cmd('EHLO client.test', 250)
            assert log_in(c).startswith('235')


def test_noplaintext(inst, sasl, sink):
    """Not inside TLS either."""
    with certs.Authority() as ca:
        ca.host = ca.issue('gw', host='gw.test')
        with gateway(inst, sink.port, sasl, 'trusted_mechanisms = { CRAM-MD5, PLAIN, LOGIN }; flags = { noplaintext };', ca) as g, g.client() as c:
            assert offered(c) == ['CRAM-MD5']
            certs.starttls(c, ca.context())
            assert offered(c) == ['CRAM-MD5']
            assert c.cmd('AUTH PLAIN ' + plain()).startswith('504')
            assert log_in(c).startswith('235')
