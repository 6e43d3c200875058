# SPDX-License-Identifier: BSD-2-Clause
"""What STARTTLS and AUTH prove of a client, as filters of both protocols hear it: macros, held against what the client itself
knows of the session."""
import base64

import certs, lab, milters, pytest
from stores import passwords
from test_pmilter import pmfilter, words

SHOWN = ('{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer} {cn_subject} {cn_issuer} {verify} '
         '{auth_type} {auth_authen} {auth_author} {auth_ssf}')
PLAIN = base64.b64encode(b'\0ann\0secret').decode()


@pytest.fixture(scope='module')
def gw(inst):
    with certs.Authority() as ca, passwords('ann', 'secret', 'PLAIN') as sasl, lab.Sink() as sink, \
            milters.Try('-g', SHOWN) as milter, pmfilter() as pm:
        host, (cert, key) = ca.issue('gw', host='gw.test'), ca.issue('ann')
        smtps = (f'tls {{ cert_file = "{host[0]}"; key_file = "{host[1]}"; CAcert_file = "{ca.ca}"; CAcert_directory = "{ca.dir}"; }} '
                 f'auth {{ config_path = "{sasl}"; trusted_mechanisms = PLAIN; }} policy_milter {{ module = mux; '
                 f'filter milter {{ module = milter; socket {{ path = "{milter.socket}"; }} }} filter pm {{ socket {{ path = "{pm.sock}"; }} }} }}')
        with lab.relay_all(inst, sink.port, smtps=smtps) as g:
            g.ca, g.cert, g.milter, g.pm = ca, (cert, key), milter, pm
            yield g


def session(gw, name, tls=None, auth=False):
    """One mail of NAME@client.test; what the client knows of TLS."""
    with gw.client() as c:
        if tls:
            certs.starttls(c, tls)
        c.cmd(f'EHLO {name}.test', 250)
        if auth:
            c.cmd(f'AUTH PLAIN {PLAIN}', 235)
        c.cmd(f'MAIL FROM:<{name}@client.test>' + (' AUTH=boss@client.test' if auth else ''), 250)
        c.cmd('RCPT TO:<b@far.test>', 250)
        c.cmd('DATA', 354)
        c.cmd('Subject: t\r\n\r\nx\r\n.', 250)
        return c.s.cipher() if tls else None


def heard(gw, name):
    """What the milter saw from MAIL on to the end, and the pmilter at the end, of that session."""
    def mail():
        lines = gw.milter.lines()
        at = [i for i, l in enumerate(lines) if l.startswith(f'mail <{name}@')]
        end = [l for l in lines[at[0]:] if l.startswith('eom')] if at else []
        return end and (lines[at[0]], end[0])
    first, last = lab.wait_for('the milter to hear all of it', mail)
    serial = gw.pm.heard(f'helo {name}.test')[0].split(' ')[0]
    return words(first), words(last), words(gw.pm.heard(f'{serial} eom')[0])


def test_certificate_and_password(gw):
    """Version, cipher and its bits are those of the client's own session; it was verified, and AUTH= of MAIL names another."""
    cipher, version, bits = session(gw, 'proven', gw.ca.context(gw.cert), auth=True)
    first, last, pm = heard(gw, 'proven')
    known = {'tls_version': version, 'cipher': cipher, 'cipher_bits': str(bits), 'cert_subject': '/CN=ann', 'cert_issuer': '/CN=ca',
             'cn_subject': 'ann', 'cn_issuer': 'ca', 'verify': 'OK', 'auth_type': 'PLAIN', 'auth_authen': 'ann',
             'auth_author': 'boss@client.test'}
    milter = {f'{{{k}}}': v for k, v in known.items()}
    for line in (first, last):
        assert {k: line.get(k) for k in milter} == milter and '{auth_ssf}' not in line
    names = {'cipher': 'tls_cipher_suite', 'cipher_bits': 'tls_cipher_bits', 'verify': 'tls_vrfy'}
    names |= {k: f'tls_{k}' for k in ('cert_subject', 'cert_issuer', 'cn_subject', 'cn_issuer')}
    assert {names.get(k, k): pm.get(names.get(k, k)) for k in known} == {names.get(k, k): v for k, v in known.items()}
    assert pm['tls_alg_bits'] == str(bits)


def test_without_a_certificate(gw):
    """TLS alone proves nobody; who did not log in is nobody either."""
    session(gw, 'unproven', gw.ca.context())
    first, last, pm = heard(gw, 'unproven')
    assert last['{verify}'] == 'NO' == pm['tls_vrfy'] and last['{tls_version}'].startswith('TLSv1')
    for line, part in ((first, '{auth'), (last, '{auth'), (last, '{c'), (pm, 'auth'), (pm, 'tls_c')):
        assert not [k for k in line if k.startswith(part) and not k.startswith(('{cipher', 'tls_cipher'))], line


def test_in_plain(gw):
    session(gw, 'plain')
    first, last, pm = heard(gw, 'plain')
    assert not [k for k in (*first, *last) if k.startswith('{')] and not [k for k in pm if k.startswith(('tls', 'auth'))]
