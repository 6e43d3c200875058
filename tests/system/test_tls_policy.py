# SPDX-License-Identifier: BSD-2-Clause
"""What TLS must achieve, destination by destination: rows of the map tls_policy and of smtpc_session_conf:, against servers whose
certificates are right and wrong. Never less than a row says, and what was required and achieved is told."""
import contextlib, hashlib, json, os, ssl, subprocess

import certs, lab, pytest
from test_tls_client import BODY, TlsSink

ONCE = 'min_retry_delay = 1h; max_retry_delay = 1h;'


def fingerprint(pem, key=False):
    der = ssl.PEM_cert_to_DER_cert(pem.read_text())
    if key:
        pub = subprocess.run(['openssl', 'x509', '-in', pem, '-noout', '-pubkey'], check=True, capture_output=True).stdout
        der = subprocess.run(['openssl', 'pkey', '-pubin', '-outform', 'DER'], input=pub, check=True, capture_output=True).stdout
    return hashlib.sha256(der).hexdigest()


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a, certs.Authority('other') as b:
        a.host, a.named_else, a.stranger = a.issue('hop', host='127.0.0.1'), a.issue('else', host='else.test'), b.issue('hop', host='127.0.0.1')
        yield a


@contextlib.contextmanager
def gateway(inst, ca, rows, mt, smtpc='', smar='', ac='', qmgr=ONCE):
    """rows: of tls_policy."""
    with lab.relay_all(inst, 0, mt=mt, files={'tp': rows}, qmgr=qmgr, top='log_level = 20;', ac='cltaddr:127.0.0.1 RELAY\n' + ac,
                       smar='map tp { type = text; file = "tp"; } tls_policy { name = tp; }' + smar,
                       smtpc=f'{smtpc} tls {{ CAcert_file = "{ca.ca}"; }}') as g:
        yield g


def send(g, rcpt, body=BODY):
    with g.client() as c:
        assert c.mail('a@far.test', rcpt, body).startswith('250')


def recipient(g, address):
    found = [r for m in g.queue() for r in m['recipients'] if r['address'] == address]
    return found[0] if found else None


def test_rows(inst, ca):
    """One gateway, one domain a row; hop: which server, how: what is achieved there, or why the mail waits."""
    cert, key, other = fingerprint(ca.stranger[0]), fingerprint(ca.stranger[0], key=True), fingerprint(ca.host[0])
    colons = ':'.join(cert[i:i + 2] for i in range(0, 64, 2)).upper()
    table = [  # row, hop, word, achieved or reason
        ('may', 'stranger', 'may,row', 'not trusted'),
        ('none', 'host', 'none,row', 'none,by policy'),
        ('may', 'plain', 'may,row', 'none,STARTTLS is not offered'),
        ('encrypt', 'stranger', 'encrypt,row', 'not trusted'),
        ('encrypt', 'plain', None, 'TLS is required: STARTTLS is not offered'),
        ('verify', 'host', 'verify,row', 'verified'),
        ('verify', 'stranger', None, 'the certificate is not to be trusted'),
        ('verify', 'named_else', None, 'the certificate is not for the host: /CN=else'),
        ('verify', 'plain', None, 'TLS is required: STARTTLS is not offered'),
        ('verify match=else.test', 'named_else', 'verify,row', 'verified'),
        ('verify match=.test', 'named_else', 'verify,row', 'verified'),
        ('verify match=other.test', 'named_else', None, 'the certificate is for none of the names that were given'),
        (f'fingerprint={other},{cert}', 'stranger', 'fingerprint,row', 'fingerprint'),
        (f'fingerprint={colons}', 'stranger', 'fingerprint,row', 'fingerprint'),
        (f'fingerprint fingerprint={key}', 'stranger', 'fingerprint,row', 'fingerprint'),
        (f'fingerprint={other}', 'stranger', None, f'the certificate is without a fingerprint that was given: {cert}, of its key {key}'),
        (f'fingerprint={cert}', 'plain', None, 'TLS is required: STARTTLS is not offered'),
        (f'verify fingerprint={other}', 'host', 'verify,row', 'verified'),
        (f'verify fingerprint={cert}', 'host', None, 'the certificate is without a fingerprint'),
    ]
    with contextlib.ExitStack() as stack:
        hops = {n: stack.enter_context(TlsSink(getattr(ca, n))) for n in ('host', 'stranger', 'named_else')}
        hops['plain'] = stack.enter_context(lab.Sink())
        rows = ''.join(f'd{i}.test {t[0]}\n' for i, t in enumerate(table))
        mt = ''.join(f'd{i}.test [127.0.0.1]:{hops[t[1]].port}\n' for i, t in enumerate(table))
        g = stack.enter_context(gateway(inst, ca, rows, mt))
        for i, _ in enumerate(table):
            send(g, f'u@d{i}.test')
        for i, (row, hop, word, how) in enumerate(table):
            at = f'u@d{i}.test'
            if word:
                g.wait_log(rf'qmgr.done .*to=<{at}> .*status=delivered .*tls="{word} .*{how}')
            else:
                why = lab.wait_for(f'a reason, {row} at {hop}', lambda: (recipient(g, at) or {}).get('reason'))
                assert how in why and ('4.7.5' in why) == ('certificate' in how), (row, hop, why)
        took = sorted(r for h in hops.values() for m in h.mails for r in m['rcpts'])
        assert took == sorted(f'u@d{i}.test' for i, t in enumerate(table) if t[2])
        assert hops['host'].plain_mails == 1 and hops['stranger'].plain_mails == hops['named_else'].plain_mails == 0


def test_keys_and_typos(inst, ca):
    """The domain of the mail, its parents, the next hop's name, "."; a row with a mistake holds mail back until it is mended."""
    with TlsSink(ca.stranger) as sink:
        mt = f'. [127.0.0.1]:{sink.port}\n'
        with gateway(inst, ca, 'a.test may\n.deep.test encrypt\n127.0.0.1 may\nc.test verfy\n. verify\n', mt,
                     qmgr='min_retry_delay = 200ms; max_retry_delay = 200ms;') as g:
            def need(domain):
                return lab.wait_for('a route', lambda: json.loads(g.ctl('--json', 'route', domain).stdout).get('tls'))
            assert [need(d) for d in ('a.test', 'x.deep.test', 'b.test')] == [['may by=row'], ['encrypt by=row'], ['may by=row']]
            send(g, 'u@c.test')
            g.wait_log('smar.tls_policy .*key=c.test error="found .*verfy.*, expected none, may, encrypt, verify')
            why = lab.wait_for('a reason', lambda: (recipient(g, 'u@c.test') or {}).get('reason'))
            assert '4.3.5' in why and 'the row "c.test" of tls_policy' in why and not sink.mails
            assert g.metrics('smar')['tls_policy_bad_total'] >= 1
            (g.dir / 'tp').write_text('c.test encrypt\n')
            assert sink.wait(1)[0]['rcpts'] == ['u@c.test'] and sink.plain_mails == 0


def test_kept_sessions_are_not_shared(inst, ca):
    """A session that was good enough for one mail is not used for another that asks for more, and the other way round."""
    with TlsSink(ca.stranger) as sink, gateway(
            inst, ca, f'a.test may\nb.test verify\nc.test encrypt\nd.test fingerprint={fingerprint(ca.stranger[0])}\n',
            f'. [127.0.0.1]:{sink.port}\n', smtpc='idle_timeout = 1m;') as g:
        def sessions():
            return json.loads(g.http('smtpc', 'GET', '/v1/sessions')[1])['sessions']
        for i, (name, new) in enumerate([('a', 1), ('c', 2), ('d', 3), ('a', 3), ('c', 3), ('d', 3)]):
            send(g, f'u@{name}.test')
            sink.wait(i + 1)
            lab.wait_for('idle sessions', lambda: [s['state'] for s in sessions()] == ['idle'] * new)
            assert sink.connections == new
        send(g, 'u@b.test')
        g.wait_log('status=deferred .*is not to be trusted')
        assert len(sink.mails) == 6 and sink.connections == 4


def test_row_of_the_hop(inst, ca):
    """smtpc_session_conf: has tls_policy too; a row of the map goes before it. One with a mistake holds mail back."""
    with TlsSink(ca.stranger) as a, TlsSink(ca.host) as b, lab.Sink(address='127.0.0.3') as plain, \
            lab.Sink(address='127.0.0.4') as typo:
        with gateway(inst, ca, 'c.test may\n', f'a.test [127.0.0.1]:{a.port}\nb.test [127.0.0.1]:{b.port}\ne.test [127.0.0.4]:{typo.port}\n. [127.0.0.3]:{plain.port}\n',
                     smtpc='flags = { session_conf };', ac='smtpc_session_conf:127.0.0.1 tls_policy = verify;\n'
                     'smtpc_session_conf:127.0.0.3 tls_policy = encrypt;\nsmtpc_session_conf:127.0.0.4 TLS_policy = verfy;\n') as g:
            for domain in 'abcde':
                send(g, f'u@{domain}.test')
            g.wait_log('smar.hop_conf .*key=smtpc_session_conf:127.0.0.4 .*mail waits until it is mended')
            g.wait_log('to=<u@e.test> .*status=deferred')
            g.wait_log('to=<u@b.test> .*status=delivered .*tls="verify .*,verified')
            g.wait_log('to=<u@c.test> .*status=delivered .*tls="may,row none,STARTTLS is not offered')
            g.wait_log('to=<u@a.test> .*status=deferred .*is not to be trusted')
            g.wait_log('to=<u@d.test> .*status=deferred .*TLS is required: STARTTLS is not offered')
            assert (a.mails, len(b.mails), len(plain.mails), typo.mails) == ([], 1, 1, [])


def test_probes(inst, ca):
    """smar says no recipient to a hop that does not meet the row, of the map or of the hop."""
    def no_such(verb, arg, ses):
        return '550 5.1.1 no such user' if verb == 'RCPT' else None
    with TlsSink(ca.stranger, answer=no_such) as sink, gateway(
            inst, ca, 'a.test encrypt\nb.test verify\nc.test verfy\n', ''.join(f'{d}.test [127.0.0.1]:{sink.port}\n' for d in 'abcd'),
            smtpc='flags = { session_conf };', ac='smtpc_session_conf:127.0.0.1 tls_policy = verify;\n',
            smar='recipient_probe { routes = { mailertable }; }') as g, g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@c.test>', 250)
        c.cmd('RCPT TO:<u@a.test>', '550 5.1.1')
        for domain in 'bcd':
            c.cmd(f'RCPT TO:<u@{domain}.test>', '45')
        assert [arg for verb, arg in sink.commands if verb == 'RCPT'] == ['TO:<u@a.test>']


@pytest.mark.skipif(os.geteuid() != 0, reason='Postfix is started by root')
def test_postfix_by_fingerprint(inst, ca):
    pem, key = ca.issue('pf', host='pf.test')
    os.chown(key, 0, 0)
    with lab.Sink() as sink, lab.Postfix(sink.port, f'''smtpd_tls_cert_file = {pem}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
''') as pf, gateway(inst, ca, f'good.test fingerprint={fingerprint(pem, key=True)}\nbad.test fingerprint={fingerprint(ca.host[0])}\n',
                    f'. [127.0.0.1]:{pf.port}\n') as g:
        send(g, 'u@good.test')
        send(g, 'u@bad.test')
        g.wait_log('to=<u@bad.test> .*status=deferred .*without a fingerprint')
        assert b'(using TLSv1.3 with cipher' in sink.wait(1)[0]['body'] and sink.mails[0]['rcpts'] == ['u@good.test']
