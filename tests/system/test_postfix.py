# SPDX-License-Identifier: BSD-2-Clause
"""Postfix → us → Postfix: what a real mail server sends arrives at the other end byte for byte."""
import re

import lab, pytest

HEAD = b'From: <a@client.test>\r\nTo: <b@far.test>\r\nDate: Mon, 23 Nov 2026 05:00:00 +0000\r\nMessage-ID: <1@client.test>\r\nSubject: t\r\n\r\n'
BODIES = {
    'plain': b'hello\r\n',
    'leading dots': b'.\r\n..\r\n.two\r\n...three\r\nend\r\n',
    '8 bit': bytes(range(160, 256)) + b'\r\n' + 'grüße\r\n'.encode(),
    'blank ends': b'text\r\n\r\n\r\n',
    'no body': b'',
    'controls': b'a\tb\x01\x7f\x0b\r\n',
    '5 MB': (b'.' + b'0123456789' * 7 + b'\r\n') * 70000,
}


class Chain:
    """A first Postfix, the gateway, a second Postfix, and a sink that keeps what comes out."""

    def __init__(self, inst):
        self.sink = lab.Sink(ehlo=('PIPELINING', '8BITMIME'))
        self.last = lab.Postfix(self.sink.port)
        self.gw = lab.relay_all(inst, self.last.port, 'max_hops = 10;').start().ready()
        self.first = lab.Postfix(self.gw.port)

    def close(self):
        for x in (self.first, self.gw, self.last, self.sink):
            x.close()

    def arrived(self, mark, rcpts=1):
        """The content that came to the recipients of this mark, without the Received lines of the way."""
        def mine():
            return [m for m in list(self.sink.mails) if m['from'].startswith(mark)]
        lab.wait_for(f'{rcpts} recipients at the end of the chain', lambda: sum(len(m['rcpts']) for m in mine()) >= rcpts, 60)
        mails, bodies, who = mine(), set(), []
        for m in mails:
            body = m['body']
            hops = []
            while body.startswith(b'Received:'):
                line, body = lab.split_received(body)
                hops.append(re.search(rb'by (\S+)', line)[1])
            who.append(hops)
            bodies.add(body)
        assert len(bodies) == 1, 'all got the same'
        assert sorted(set(map(tuple, who))) == [tuple(who[0])]
        return bodies.pop(), who[0], sorted(r for m in mails for r in m['rcpts'])


@pytest.fixture(scope='module')
def chain(inst):
    c = Chain(inst)
    yield c
    c.close()


@pytest.mark.parametrize('name', BODIES)
def test_by_smtp(chain, name):
    """A client hands the exact bytes to the first Postfix by SMTP."""
    mark = 's' + re.sub(r'\W', '', name)
    text = HEAD + BODIES[name]
    stuffed = re.sub(rb'(?m)^\.', b'..', text)
    with lab.Client(('127.0.0.1', chain.first.port), timeout=60) as c:
        assert c.mail(f'{mark}@client.test', 'b@far.test', stuffed, params=' BODY=8BITMIME').startswith('250')
    body, hops, rcpts = chain.arrived(mark)
    assert body == stuffed
    assert hops == [b'pf.test', b'gw.test', b'pf.test'] and rcpts == ['b@far.test']


@pytest.mark.parametrize('end', [b'', b'\n'])
def test_by_sendmail_with_and_without_a_final_newline(chain, end):
    mark = 'nl' if end else 'nonl'
    text = (HEAD + BODIES['8 bit'] + BODIES['leading dots']).replace(b'\r\n', b'\n') + b'the end' + end
    chain.first.sendmail(f'{mark}@client.test', ['b@far.test'], text)
    body, hops, _ = chain.arrived(mark)
    want = re.sub(rb'(?m)^\.', b'..', text.rstrip(b'\n') + b'\n').replace(b'\n', b'\r\n')
    assert body == want and b'gw.test' in hops


def test_1000_recipients(chain):
    rcpts = [f'user{i}@d{i % 7}.test' for i in range(1000)]
    with lab.Client(('127.0.0.1', chain.first.port), timeout=60) as c:
        c.cmd('EHLO c.test', 250)
        c.send('MAIL FROM:<many@client.test>\r\n' + ''.join(f'RCPT TO:<{r}>\r\n' for r in rcpts) + 'DATA\r\n')
        for want in [250] * 1001 + [354]:
            c.reply(want)
        c.send(HEAD + b'hello\r\n.\r\n')
        c.reply(250)
    body, _, got = chain.arrived('many', 1000)
    assert body == HEAD + b'hello\r\n'
    assert got == sorted(rcpts), 'each recipient once'
    chain.gw.queue_empty()


def test_smtp_source_finds_nothing_to_complain_about(chain):
    import subprocess
    n = len(chain.sink.mails)
    p = subprocess.run(['smtp-source', '-s', '10', '-m', '60', '-l', '3000', '-f', 'source@client.test', '-t', 'b@far.test',
                        f'127.0.0.1:{chain.gw.port}'], env=chain.first.path, capture_output=True, timeout=60)
    assert p.returncode == 0, p.stderr
    chain.sink.wait(n + 60, 60)
    chain.gw.queue_empty()


def test_a_refusal_of_postfix_comes_back_through_us(inst):
    """Postfix as next hop says 554 to a recipient: our report names its reply; Postfix as sender carries it."""
    with lab.Sink() as back, lab.Postfix(back.port, 'smtpd_recipient_restrictions = check_recipient_access '
                                         'inline:{{no@far.test=554 5.7.1 closed for you}}, permit_mynetworks, reject\n') as last, \
            lab.relay_all(inst, last.port) as g:
        with g.client() as c:
            assert c.mail('a@client.test', ['no@far.test', 'yes@far.test'], HEAD + b'hello\r\n').startswith('250')
        back.wait(2)
        g.queue_empty()
        assert [m['rcpts'] for m in back.mails if m['from']] == [['yes@far.test']]
        report = next(m for m in back.mails if m['from'] == '')
        assert report['rcpts'] == ['a@client.test'] and b'closed for you' in report['body'] and b'Status: 5.7.1' in report['body']
