# SPDX-License-Identifier: BSD-2-Clause
"""SMTPUTF8 (RFC 6531) from the client to next hops that know it and that do not; IDN domains in maps."""
import json, os, re

import lab, pytest
from test_nexthop import hops

WIDE = {'ehlo': ('PIPELINING', '8BITMIME', 'SMTPUTF8')}
ASCII = b'Subject: t\r\n\r\nhello\r\n'
UTF8 = 'Subject: grün\r\n\r\nhello\r\n'.encode()
A = 'xn--bcher-kva.test'


def utf8(text):
    """What a sink, which reads bytes as Latin-1, has seen of it."""
    return text.encode().decode('latin-1')


def known(g, domain):
    """Until smar knows what the next hop of a domain offers."""
    def look():
        got = json.loads(g.http('smar', 'GET', f'/v1/route?domain={domain}')[1])
        return got if 'offers' in got else None
    return lab.wait_for(f'the offers of {domain}', look)


def test_hops_with_and_without_it(inst):
    with hops(inst, {'wide': (WIDE,), 'narrow': ({},), 'other': ({},), 'head': ({},), 'late': ({},)}) as g, g.client() as c:
        wide, narrow = g.hops['wide'][0], g.hops['narrow'][0]

        def send(sender, rcpts, body, **kw):
            reply = c.mail(sender, rcpts, body, params=' SMTPUTF8', ehlo=kw.get('ehlo'))
            assert reply.startswith('250'), reply

        # to a hop that knows it: as it came, said when needed only
        send('jörg@back.test', 'grün@wide.test', ASCII, ehlo='c.test')
        send('a@back.test', 'header@wide.test', UTF8)
        send('a@back.test', 'plain@wide.test', ASCII)
        said = {m['rcpts'][0]: m['params'] for m in wide.wait(3)}
        assert 'SMTPUTF8' in said[utf8('grün@wide.test')] and 'SMTPUTF8' in said['header@wide.test']
        assert 'SMTPUTF8' not in said['plain@wide.test']
        first = next(m for m in wide.mails if m['from'] == utf8('jörg@back.test'))
        received, rest = lab.split_received(first['body'])
        assert b' with UTF8SMTP id ' in received and received.isascii() and rest == ASCII

        # nothing is known of this hop: taken, and a report says why it could not go on
        send('a@back.test', ['grün@narrow.test', 'plain@narrow.test'], ASCII)
        send('a@back.test', 'header@head.test', UTF8)
        g.back.wait(2)
        assert [m['rcpts'] for m in narrow.wait(1)] == [['plain@narrow.test']] and not g.hops['head'][0].mails
        assert not any('SMTPUTF8' in a for v, a in narrow.commands if v == 'MAIL')
        reports = b''.join(m['body'] for m in g.back.mails)
        assert reports.count(b'Status: 5.6.7') == 2 and b'SMTPUTF8 is required' in reports

        # a sender with UTF-8 hears of it too
        send('jörg@wide.test', 'x@late.test', ASCII)
        report = wide.wait(4)[-1]
        assert report['from'] == '' and report['rcpts'] == [utf8('jörg@wide.test')] and 'SMTPUTF8' in report['params']
        assert b'5.6.7' in report['body'] and not g.hops['late'][0].mails

        # now it is known, and said at RCPT; whoever needs nothing still gets through
        assert known(g, 'narrow.test')['offers'] == ['8BITMIME', 'PIPELINING', 'SIZE']
        assert 'SMTPUTF8' in known(g, 'wide.test')['offers']
        for sender, rcpt, want in (('a@back.test', 'grün@narrow.test', '550 5.6.7'), ('jörg@back.test', 'x@narrow.test', '550 5.6.7'),
                                   ('a@back.test', 'x@narrow.test', '250'), ('jörg@back.test', 'grün@wide.test', '250'),
                                   ('jörg@back.test', 'x@other.test', '250')):
            c.cmd('RSET', 250)
            c.cmd(f'MAIL FROM:<{sender}> SMTPUTF8', 250)
            got = c.cmd(f'RCPT TO:<{rcpt}>')
            assert got.startswith(want), (sender, rcpt, got)
        assert g.metrics('smar')['rcpt_smtputf8_refused_total'] == 2
        c.cmd('RSET', 250)
        g.queue_empty()


def test_another_host_may_offer_it(inst):
    """Only when no host of the destination offers it is that final; one that does not answer may."""
    with hops(inst, {'mixed': ({}, WIDE), 'none': ({}, {}), 'down': ({}, None)}, qmgr='min_retry_delay = 1h;') as g, g.client() as c:
        def send(rcpts, body=ASCII, ehlo=None):
            reply = c.mail('a@back.test', rcpts, body, params=' SMTPUTF8', ehlo=ehlo)
            assert reply.startswith('250'), reply
        narrow, wide = g.hops['mixed']
        send(['grün@mixed.test', 'plain@mixed.test'], ehlo='c.test')
        assert [m['rcpts'] for m in wide.wait(1)] == [[utf8('grün@mixed.test')]]
        assert [m['rcpts'] for m in narrow.wait(1)] == [['plain@mixed.test']], 'who needs nothing need not go elsewhere'
        send('header@mixed.test', UTF8)
        assert wide.wait(2)[1]['rcpts'] == ['header@mixed.test'] and len(narrow.mails) == 1
        send('grün@mixed.test')  # taken at RCPT, though the first host is known to lack it
        wide.wait(3)
        send(['grün@none.test', 'plain@none.test'])
        assert [m['rcpts'] for m in g.hops['none'][0].wait(1)] == [['plain@none.test']] and not g.hops['none'][1].mails
        assert b'Status: 5.6.7' in g.back.wait(1)[0]['body']
        send('grün@down.test')
        lab.wait_for('a try', lambda: any(r['reason'] for m in g.queue() for r in m['recipients']))
        assert len(g.back.mails) == 1 and g.metrics('qmgr')['deferred_total'] == 1
        send('plain@down.test')  # the destination is not dead for it
        assert [m['rcpts'] for m in g.hops['down'][0].wait(1)] == [['plain@down.test']]


def test_headers_of_parts(inst):
    """They are not looked into (RFC 6531 3.6): a hop that knows SMTPUTF8 is told, one that does not gets 8-bit content."""
    body = ('Subject: t\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n'
            'Content-Disposition: attachment; filename="grün.txt"\r\n\r\nhello\r\n--b--\r\n').encode()
    with hops(inst, {'wide': (WIDE,), 'narrow': ({},)}) as g, g.client() as c:
        assert c.mail('a@back.test', ['x@wide.test', 'x@narrow.test'], body, params=' SMTPUTF8', ehlo='c.test').startswith('250')
        assert c.mail('a@back.test', 'unsaid@wide.test', body, ehlo=None).startswith('250')
        said = {m['rcpts'][0]: m['params'] for m in g.hops['wide'][0].wait(2) + g.hops['narrow'][0].wait(1)}
        assert {r: 'SMTPUTF8' in p for r, p in said.items()} == {'x@wide.test': True, 'x@narrow.test': False, 'unsaid@wide.test': False}
        assert lab.split_received(g.hops['narrow'][0].mails[0]['body'])[1] == body
        g.queue_empty()
        assert g.back.mails == []


def test_only_news_is_told(inst):
    """Each mail is a session of its own here; a hop that learns SMTPUTF8 is used at once."""
    with hops(inst, {'hop': ({},)}, smtpc='max_connections_idle = 0;') as g, g.client() as c:
        def told(n):
            for i in range(3):
                assert c.mail('a@back.test', f'x{i}@hop.test', ASCII, ehlo='c.test').startswith('250')
            g.queue_empty()
            lab.wait_for('smar to know', lambda: known(g, 'hop.test'))
            assert g.metrics('smtpc')['offers_told_total'] == n
        told(1)
        c.cmd('MAIL FROM:<a@back.test> SMTPUTF8', 250)
        assert c.cmd('RCPT TO:<grün@hop.test>').startswith('550 5.6.7')
        c.cmd('RSET', 250)
        g.hops['hop'][0].ehlo = WIDE['ehlo']
        told(2)
        assert c.mail('a@back.test', 'grün@hop.test', ASCII, params=' SMTPUTF8').startswith('250')
        assert utf8('grün@hop.test') in [r for m in g.hops['hop'][0].wait(7) for r in m['rcpts']]


def test_a_new_smar_is_told_anew(inst):
    """smtpc never waits for smar, and what it told an earlier life it tells the next one."""
    with hops(inst, {'narrow': ({},)}, smtpc='max_connections_idle = 0;') as g, g.client() as c:
        assert c.mail('a@back.test', 'x@narrow.test', ASCII).startswith('250')
        known(g, 'narrow.test')
        os.kill(g.pids()['smar'], 9)

        def offers():
            """Each mail is a new session, and a session tells when smar is there."""
            c.cmd('RSET', 250)
            c.cmd('MAIL FROM:<a@back.test>', 250)
            if c.cmd('RCPT TO:<y@narrow.test>').startswith('250'):
                c.cmd('DATA', 354)
                c.send(ASCII + b'.\r\n')
                c.reply(250)
            try:
                return 'offers' in g.http('smar', 'GET', '/v1/route?domain=narrow.test')[1]
            except OSError:
                return False
        lab.wait_for('the new smar to be told', offers)


@pytest.mark.parametrize('row', ['bücher.test', A], ids=['U-label', 'A-label'])
def test_a_domain_has_one_key(inst, row):
    """mailertable, access and the hop: whichever form the row has, and whichever the client says."""
    with lab.Sink() as sink, lab.relay_all(
            inst, 0, mt=f'{row} [127.0.0.1]:{sink.port}\n', ac=f'to:no@{row} error:550 5.7.1 not you\nto:{row} RELAY\nto:.{row} RELAY\n') as g, g.client() as c:
        names = ['bücher.test', 'BÜCHER.Test', A, 'XN--BCHER-KVA.TEST', 'bu\u0308cher.test']
        for i, name in enumerate(names):
            assert c.mail('a@b.test', f'u{i}@{name}', ASCII, params=' SMTPUTF8', ehlo='c.test').startswith('250'), name
            c.cmd('MAIL FROM:<a@b.test> SMTPUTF8', 250)
            assert c.cmd(f'RCPT TO:<no@{name}>').startswith('550 5.7.1 not you'), name
            assert c.cmd(f'RCPT TO:<x@sub.{name}>').startswith('250'), name
            assert c.cmd('RCPT TO:<x@bücher.other>').startswith('550 5.7.1'), name
            c.cmd('RSET', 250)
        # the hop knows no SMTPUTF8: what needs nothing but a domain goes with its A-label
        got = sorted(m['rcpts'][0] for m in sink.wait(len(names)))
        assert [r.lower() for r in got] == [f'u{i}@{A}' for i in range(len(names))]
        g.queue_empty()
        for name in names:
            assert json.loads(g.ctl('route', name, '--json').stdout)['domain'] == A
        assert len({d['key'] for d in json.loads(g.ctl('destinations', '--json').stdout)['destinations']}) == 1


def test_idn_in_the_dns_and_in_local_domains(inst):
    """What is asked of the DNS is the A-label; a local domain is the same in both forms."""
    zone = f'$TTL 60\n@ SOA a b 1 60 60 60 60\n@ NS a\na A 127.0.0.1\nxn--bcher-kva MX 10 mx\nmx A 127.0.0.1\n'
    with lab.Sink() as sink, lab.Sink(lmtp=True, path=lab.tempdir('utf8') / 's') as local, lab.Nsd({'test': zone}) as dns, \
            lab.Gateway(inst, smtps='flags = { access };', smtpc=f'remote_port = {sink.port}; LMTP_socket = "{local.path}";',
                        smar='map ac { type = text; file = "ac"; } access { name = ac; } '
                        f'nameserver = "127.0.0.1:{dns.port}"; local_domains = {{ "grün.test" }};',
                        files={'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g, g.client() as c:
        assert c.mail('a@b.test', 'x@bücher.test', ASCII, params=' SMTPUTF8').startswith('250')
        assert [m['rcpts'] for m in sink.wait(1)] == [[f'x@{A}']]
        for name in ('grün.test', 'xn--grn-ioa.test'):
            assert c.mail('a@b.test', f'x@{name}', ASCII, params=' SMTPUTF8', ehlo=None).startswith('250')
        assert {m['rcpts'][0] for m in local.wait(2)} == {'x@xn--grn-ioa.test'}
        g.queue_empty()


@pytest.mark.skipif(os.geteuid() != 0, reason='Postfix is started by root')
@pytest.mark.parametrize('enabled', ['yes', 'no'])
def test_postfix_as_next_hop(inst, enabled):
    """Postfix takes what we send with SMTPUTF8, or does not offer it and the sender hears of it."""
    with lab.Sink(**WIDE) as last, lab.Sink() as back, lab.Postfix(last.port, f'smtputf8_enable = {enabled}\n') as pf, \
            lab.relay_all(inst, 0, mt=f'back.test [127.0.0.1]:{back.port}\n. [127.0.0.1]:{pf.port}\n') as g, g.client() as c:
        assert c.mail('a@back.test', 'grün@bücher.test', UTF8, params=' SMTPUTF8').startswith('250')
        g.queue_empty()
        if enabled == 'yes':
            got = last.wait(1)[0]
            assert got['rcpts'] == [utf8('grün@bücher.test')] and 'SMTPUTF8' in got['params']
            assert re.search(rb'with UTF8SMTP id S', got['body']) and 'Subject: grün\r\n'.encode() in got['body']
        else:
            assert b'Status: 5.6.7' in back.wait(1)[0]['body'] and not last.mails
