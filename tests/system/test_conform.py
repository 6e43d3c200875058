# SPDX-License-Identifier: BSD-2-Clause
"""What the standards of SMTP ask and no other test shows: doc/smtp-conformance.md names them."""
import email.utils, re

import lab, pytest

BODY = b'Received: from elsewhere\r\nSubject: t\r\n\r\nhello\r\n'


@pytest.fixture(scope='module')
def gw(inst):
    long = 'to:long@far.test error:550 5.7.1 ' + 'because ' * 45 + '\n'
    with lab.Sink(ehlo=('PIPELINING', '8BITMIME', 'SMTPUTF8', 'SIZE 0')) as sink, lab.relay_all(inst, sink.port, 'max_rcpts_per_transaction = 3; vrfy = yes;',
                                           ac='cltaddr:127.0.0.1 RELAY\n' + long) as g:
        g.sink = sink
        yield g


def arrived(g, n):
    before = len(g.sink.mails)
    yield
    g.sink.wait(before + n)
    yield g.sink.mails[before:]


def test_ehlo_and_helo(gw):
    """HELO has one line and no extensions, a second greeting forgets the transaction, a name may be a literal."""
    with gw.client() as c:
        assert c.cmd('HELO [127.0.0.1]') == '250 gw.test'
        c.cmd('MAIL FROM:<a@client.test>', 250)
        assert len(c.cmd('EHLO [IPv6:::1]', 250).splitlines()) > 5
        c.cmd('RCPT TO:<b@far.test>', 503)
        assert c.cmd('MAIL FROM:<a@client.test> SIZE=1', 250)
        assert c.cmd('HELO c.test') == '250 gw.test'
        c.cmd('RCPT TO:<b@far.test>', 503)
        assert c.cmd('MAIL FROM:<a@client.test> SIZE=1').startswith('555')


@pytest.mark.parametrize('hello, word', [('EHLO', 'ESMTP'), ('HELO', 'SMTP')])
def test_the_received_line(gw, hello, word):
    """In front, whole, with a date; those that came are not touched."""
    mails = arrived(gw, 1)
    next(mails)
    with gw.client() as c:
        c.cmd(f'{hello} c.test', 250)
        one = c.mail('a@client.test', 'b@far.test', BODY, ehlo=None).split()[-1]
    [mail] = next(mails)
    line, rest = lab.split_received(mail['body'])
    assert rest == BODY
    form = rf'Received: from c\.test \(\[127\.0\.0\.1\]\)\s+by gw\.test \(meta1-\S+\)\s+with {word} id {one}\s+for <b@far\.test>;\s+(.+)\r\n'
    date = re.fullmatch(form, line.decode())
    assert date and email.utils.parsedate_to_datetime(date[1]), line
    gw.queue_empty()


def test_hosts_of_a_source_route_are_ignored(gw):
    mails = arrived(gw, 1)
    next(mails)
    with gw.client() as c:
        assert c.mail('@one.test:a@client.test', '@two.test,@three.test:b@far.test', BODY).startswith('250')
    [mail] = next(mails)
    assert (mail['from'], mail['rcpts']) == ('a@client.test', ['b@far.test'])
    gw.queue_empty()


def test_who_was_accepted_stays(gw):
    """RFC 5321 4.5.3.1.10: what is too much is 452, and the mail goes to the others."""
    mails = arrived(gw, 1)
    next(mails)
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        for i in range(3):
            c.cmd(f'RCPT TO:<b{i}@far.test>', 250)
        assert c.cmd('RCPT TO:<b3@far.test>').startswith('452 4.5.3')
        assert c.cmd('RCPT TO:<b4@far.test>').startswith('452 4.5.3')
        c.cmd('DATA', 354)
        c.send(BODY + b'.\r\n')
        c.reply(250)
    [mail] = next(mails)
    assert sorted(mail['rcpts']) == ['b0@far.test', 'b1@far.test', 'b2@far.test']
    gw.queue_empty()


def test_vrfy_takes_smtputf8(gw):
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        assert c.cmd('VRFY gr\xfc@far.test').startswith('553 5.6.7')
        assert c.cmd('VRFY gr\xfc@far.test SMTPUTF8').startswith('252 2.1.5')
        assert c.cmd('VRFY <a@far.test> SMTPUTF8').startswith('252 2.1.5')


def test_no_reply_is_longer_than_512(gw):
    """With CRLF, whatever a map says."""
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        got = c.cmd('RCPT TO:<long@far.test>')
        assert got[0] in '45' and 300 < len(got) <= 510, got


def test_never_to_a_hop_without_dsn(gw):
    """The parameter is not said, nobody is told, and the sender stays (the page says why)."""
    mails = arrived(gw, 1)
    next(mails)
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@client.test> ENVID=x RET=FULL', 250)
        c.cmd('RCPT TO:<b@far.test> NOTIFY=NEVER ORCPT=rfc822;b@far.test', 250)
        c.cmd('DATA', 354)
        c.send(BODY + b'.\r\n')
        c.reply(250)
    [mail] = next(mails)
    gw.queue_empty()
    assert mail['from'] == 'a@client.test' and 'ENVID' not in mail['params'] and 'RET' not in mail['params']
    assert gw.sink.commands[-1][0] and ('RCPT', 'TO:<b@far.test>') in gw.sink.commands
    assert not [m for m in gw.sink.mails if m['from'] == '']
