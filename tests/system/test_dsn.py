# SPDX-License-Identifier: BSD-2-Clause
"""Reports about odd things: replies, headers and addresses that somebody else chose must not break the
report, nor the line it travels on. (When there is a report at all: test_reports.py.)"""
import email, email.policy, re

import lab, pytest

HEAD = b'From: <a@client.test>\r\nSubject: t\r\n'

REPLIES = {
    '8bit': b'550 5.1.1 gr\xc3\xbc\xc3\x9fe \xff', 'controls': b'550 5.1.1 a\x01b\x1b[31mc\x7f\td', 'nul': b'550 5.1.1 a\0b',
    'cr': b'550 5.1.1 a\rSubject: forged', 'long': b'550 5.1.1 ' + b'x' * 3000, 'lines': b'\r\n'.join([b'550-5.1.1 line'] * 60) + b'\r\n550 5.1.1 end',
    'folding': b'550 5.1.1 ; "quotes" (comment <a@b> \\', 'empty': b'550', 'percent': b'550 5.1.1 %s%n%x ${x}', 'mime': b'550-5.1.1 --\r\n550 5.1.1 Content-Type: text/html',
    'blanks': b'550 5.1.1   ', 'fields': b'550-5.1.1 Final-Recipient: rfc822; other@x.test\r\n550 5.1.1 Action: delivered',
}


class RawSink(lab.Sink):
    """Its answers may be bytes."""

    def talk(self, c, f):
        class Raw:
            @staticmethod
            def sendall(data):
                for name, reply in REPLIES.items():
                    data = data.replace(b'@' + name.encode() + b'@', reply)
                c.sendall(data)

            def __getattr__(self, name):
                return getattr(c, name)
        super().talk(Raw(), f)


def refuse(verb, arg, ses):
    if verb == 'RCPT' and (m := re.search(r'<(.*)@far', arg)):
        return f'@{m[1]}@' if m[1] in REPLIES else '550 5.1.1 no'
    if verb == 'DOT' and ses['rcpts'][0].startswith('late'):
        return '554 5.6.0 not this content'


@pytest.fixture(scope='module')
def gw(inst):
    with RawSink(answer=refuse) as sink, lab.relay_all(inst, sink.port, qmgr='min_retry_delay = 1s;') as g:
        g.sink = sink
        yield g


def reports(g, to, n=1):
    """The n reports to an address, in order; each travelled as clean lines and is one parsable message."""
    def mine():
        return [m for m in list(g.sink.mails) if m['from'] == '' and m['rcpts'] == [to]]
    lab.wait_for(f'{n} reports to {to}', lambda: len(mine()) >= n)
    g.queue_empty()
    out = []
    for m in mine():
        body = m['body']
        assert all(b < 128 and (b >= 32 or b in b'\r\n\t') for b in body), 'plain ASCII without control characters'
        lines = body.split(b'\r\n')
        assert not any(b'\r' in l or b'\n' in l for l in lines), 'every line ends with CRLF'
        assert max(map(len, lines)) <= 998
        assert not any(l.startswith(b'.') and not l.startswith(b'..') for l in lines)
        report = email.message_from_bytes(re.sub(rb'(?m)^\.\.', b'.', lab.split_received(body)[1]), policy=email.policy.default)
        assert not report.defects and report.get_content_type() == 'multipart/report' and report.get_param('report-type') == 'delivery-status'
        assert [p.get_content_type() for p in report.get_payload()][1] == 'message/delivery-status'
        assert not any(p.defects for p in report.walk()), [p.defects for p in report.walk()]
        out.append(report)
    assert len(out) == n, 'no more than that'
    return out


def rows(report):
    return [dict(p.items()) for p in report.get_payload()[1].get_payload()[1:]]


@pytest.mark.parametrize('name', REPLIES)
def test_what_a_hop_says(gw, name):
    with gw.client() as c:
        assert c.mail(f'{name}@client.test', f'{name}@far.test', HEAD + b'\r\nx\r\n').startswith('250')
    row, = rows(reports(gw, f'{name}@client.test')[0])
    if name == 'nul':  # a line with NUL is a line like any other, without it
        assert row['Status'][0] in '45'
    assert row['Final-Recipient'] == f'rfc822; {name}@far.test' and row['Action'] == 'failed'
    assert row['Status'] == '5.1.1' if name != 'empty' else row['Status'].startswith('5.'), row
    assert row['Diagnostic-Code'].startswith('smtp; 550'), row


HEADERS = {
    '8bit': HEAD + 'X-Name: grüße\r\n'.encode(), 'none': b'', 'not a header': b'this is no header\r\n', 'long line': HEAD + b'X-Long: ' + b'y' * 5000 + b'\r\n',
    'many': HEAD + b''.join(b'X-%d: value\r\n' % i for i in range(5000)), 'dots': HEAD + b'..X: y\r\n', 'controls': HEAD + b'X: a\x01\x1b\x7fb\0c\r\n',
    'mime': HEAD + b'Content-Type: multipart/mixed; boundary="x"\r\nMIME-Version: 1.0\r\n', 'boundary': HEAD + b'X: y\r\n--meta1\r\n',
    'folded': HEAD + b'X: a\r\n b\r\n\tc\r\n',
}


@pytest.mark.parametrize('name', HEADERS)
def test_headers_that_come_back(gw, name):
    who = re.sub(r'\W', '', name)
    with gw.client() as c:
        assert c.mail(f'h{who}@client.test', 'nobody@far.test', HEADERS[name] + b'\r\nsecret body\r\n', params=' BODY=8BITMIME').startswith('250')
    report, = reports(gw, f'h{who}@client.test')
    assert len(report.get_payload()) == 3
    back = report.get_payload()[2]
    assert back.get_content_type() in ('text/rfc822-headers', 'message/rfc822'), back.get_content_type()
    text = back.as_string()
    assert 'secret body' not in report.as_string() and len(text) < 100000
    if HEADERS[name].startswith(HEAD):
        assert 'Subject: t' in text


def test_refused_after_data(gw):
    """One report for all recipients of the transaction."""
    with gw.client() as c:
        assert c.mail('afterdata@client.test', [f'late{i}@near.test' for i in range(3)], HEAD + b'\r\nx\r\n').startswith('250')
    report, = reports(gw, 'afterdata@client.test')
    assert [(r['Final-Recipient'], r['Status']) for r in rows(report)] == [(f'rfc822; late{i}@near.test', '5.6.0') for i in range(3)]


def test_many_recipients_fail(gw):
    rcpts = [f'user{i}@far.test' for i in range(500)]
    with gw.client(timeout=60) as c:
        c.cmd('EHLO c.test', 250)
        c.send('MAIL FROM:<many@client.test>\r\n' + ''.join(f'RCPT TO:<{r}>\r\n' for r in rcpts) + 'DATA\r\n')
        for want in [250] * 501 + [354]:
            c.reply(want)
        c.send(HEAD + b'\r\nx\r\n.\r\n')
        c.reply(250)
    report, = reports(gw, 'many@client.test')
    assert sorted(r['Final-Recipient'] for r in rows(report)) == sorted(f'rfc822; {r}' for r in rcpts)


@pytest.mark.parametrize('sender', ['"odd sender"@client.test', r'"q\"uote"@client.test', "o'brien+tag=x@client.test", '"@"@client.test',
                                    '"a, b: c;"@client.test', 'a' * 64 + '@client.test', 'x@[127.0.0.1]'])
def test_odd_senders(gw, sender):
    with gw.client() as c:
        assert c.mail(sender, 'nobody@far.test', HEAD + b'\r\nx\r\n').startswith('250')
    if sender.endswith(']'):  # our own address: no next hop but the socket for local mail, and there is none
        lab.wait_for('a report that waits', lambda: any(r['address'] == sender for m in gw.queue() for r in m['recipients']))
        for m in gw.queue():
            gw.ctl('queue', 'delete', m['id'], check=False)  # it may just have left by itself
        return
    report, = reports(gw, sender)
    assert [a.addr_spec for a in report['To'].addresses] == [sender], report['To']
    assert report['From'].addresses[0].addr_spec == 'MAILER-DAEMON@gw.test'


def test_odd_recipients(gw):
    odd = ['"two words"@far.test', r'"b\"c"@far.test', '"x; y"@far.test', '"<>"@far.test']
    with gw.client() as c:
        assert c.mail('oddrcpt@client.test', odd, HEAD + b'\r\nx\r\n').startswith('250')
    report, = reports(gw, 'oddrcpt@client.test')
    assert sorted(r['Final-Recipient'] for r in rows(report)) == sorted(f'rfc822; {r}' for r in odd)


def test_the_report_is_refused(inst):
    """A report that fails makes no other, and does not stay."""
    with lab.Sink(answer=lambda verb, arg, ses: '550 5.1.1 nobody' if verb == 'RCPT' else None) as sink, lab.relay_all(inst, sink.port) as g:
        with g.client() as c:
            assert c.mail('a@client.test', 'x@far.test', HEAD + b'\r\nx\r\n').startswith('250')
        lab.wait_for('both refusals', lambda: [a for v, a in sink.commands if v == 'RCPT'][1:])
        g.queue_empty()
        assert [a for v, a in sink.commands if v == 'RCPT'] == ['TO:<x@far.test>', 'TO:<a@client.test>']
        m = g.metrics('qmgr')
        assert m['dsn_total'] == 1 and m['bounced_total'] == 2 and sink.mails == []
