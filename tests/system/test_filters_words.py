# SPDX-License-Identifier: BSD-2-Clause
"""Filters that say the worst: replies, fields, bodies and addresses with CR, LF, NUL, without end, with codes that are none. What
a client and a next hop get is lines of SMTP all the same, one reply and one mail, or the filter has failed and its mail waits."""
import re, struct

import lab, milterd, pmilterd, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'
FAILED = b'451 4.7.1 '


class Words:
    """What a filter of the one protocol, or of the other, says."""

    def __init__(self, kind):
        self.kind = kind
        self.milter = kind == 'milter'
        self.peer = (milterd.Milter if self.milter else pmilterd.Pmilter)()
        self.go_on = b'c' if self.milter else pmilterd.GO_ON

    def reply(self, code, lines):
        if self.milter:
            last = len(lines) - 1
            return [b'y' + b'\r\n'.join(code + (b' ' if i == last else b'-') + l for i, l in enumerate(lines)) + b'\0']
        fields = [pmilterd.field(pmilterd.F_CODE, struct.pack('!H', int(code)))]
        return [pmilterd.verdict(2, *fields, *(pmilterd.field(pmilterd.F_LINE, l) for l in lines))]

    def header(self, name, value):
        if self.milter:
            return [b'h' + name + b'\0' + value + b'\0', self.go_on]
        edit = pmilterd.field(pmilterd.F_KIND, b'\1') + pmilterd.field(pmilterd.F_FIELD, name) + pmilterd.field(pmilterd.F_VALUE, value)
        return [(pmilterd.EDIT, edit), self.go_on]

    def body(self, text):
        if self.milter:
            return [b'b' + text, self.go_on]
        return [(50, pmilterd.field(pmilterd.F_DATA, BODY[:14] + text)), self.go_on]

    def rcpt(self, addr):
        if self.milter:
            return [b'+' + addr + b'\0', self.go_on]
        return [(pmilterd.EDIT, pmilterd.field(pmilterd.F_KIND, b'\6') + pmilterd.field(pmilterd.F_VALUE, addr)), self.go_on]


@pytest.fixture(scope='module', params=('milter', 'pmilter'))
def g(inst, request):
    w = Words(request.param)
    with w.peer as m, lab.Sink() as sink, lab.relay_all(
            inst, sink.port, smtps=f'max_bad_commands = 1000; policy_milter {{ module = {w.kind}; {m.socket} }}') as g:
        g.words, g.sink, g.taken = w, sink, []
        yield g
        g.queue_empty()
        assert len(sink.mails) == len(g.taken)  # each once, and nothing that was refused


def raw(c):
    """The bytes of one reply."""
    lines = []
    while not lines or lines[-1][3:4] == b'-':
        while b'\n' not in c.buf:
            got = c.s.recv(65536)
            assert got, lines
            c.buf += got
        line, _, c.buf = c.buf.partition(b'\n')
        lines.append(line + b'\n')
    return b''.join(lines)


def taken(g, reply):
    """Its id, if it was."""
    if found := re.search('accepted as (S[0-9A-F]+)', reply):
        g.taken.append(found[1])
    return found and found[1].encode()


def good(g):
    """It is used again, and its session is in step: a mail goes through."""
    g.words.peer.says = {}
    with g.client() as c:
        return taken(g, c.mail('a@from.test', 'u@far.test', BODY))


def at_mail(g, packets):
    g.words.peer.says = {'M': packets}
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.send('MAIL FROM:<a@from.test>\r\n')
        said = raw(c)
        if not said.startswith(b'421'):
            c.cmd('NOOP', 250)
    assert re.fullmatch(rb'(?:(\d{3})-[ -~]*\r\n)*(\d{3}) [ -~]*\r\n', said), said
    assert len({l[:3] for l in said.splitlines()}) == 1 and all(len(l) <= 512 for l in said.split(b'\n')), said
    assert good(g)
    return said


def test_replies(g):
    for text in (b'a\rb', b'a\nb', b'a\r\n250 2.0.0 taken\r\nb', b'\r\n.\r\n', b'\xc3\xa9\x80\xff', b'%s%n%%', b'x' * 890, b'', b'\x7f\x1b[0m\t'):
        said = at_mail(g, g.words.reply(b'554', [text]))
        assert said.startswith((b'554 ', FAILED)) and b'250' not in said[:3], (text, said)
    for lines, want in ((2, b'554'), (32, b'554'), (101, FAILED)):
        said = at_mail(g, g.words.reply(b'554', [b'x'] * lines))
        assert said.startswith(want) and said.count(b'\n') == (lines if want == b'554' else 1), (lines, said)
    if g.words.milter:
        assert at_mail(g, g.words.reply(b'554', [b'x'] * 10000)).startswith(FAILED)
        assert at_mail(g, [b'y554 a\0b\0']).startswith(FAILED)
    else:
        assert at_mail(g, g.words.reply(b'554', [b'a\0b'])).startswith(b'554 5.7.1 a?b')


def test_codes(g):
    for code in (b'250', b'354', b'200', b'399', b'600', b'999'):
        assert at_mail(g, g.words.reply(code, [b'x'])).startswith(FAILED), code
    for code in (b'400', b'421', b'451', b'500', b'599'):
        assert at_mail(g, g.words.reply(code, [b'x'])).startswith(code + b' '), code
    if g.words.milter:
        for text in (b'y\0', b'y55\0', b'y5x4 x\0', b'y554', b'y554-a\r\n555 b\0', b'yfivefivefour\0'):
            assert at_mail(g, [text]).startswith(FAILED), text


def at_end(g, packets):
    """What arrives of a mail; None: it was refused for now."""
    g.words.peer.says = {'E': packets}
    with g.client() as c:
        reply = c.mail('a@from.test', 'u@far.test', BODY)
        c.cmd('NOOP', 250)
    id = taken(g, reply)
    assert id or reply.startswith(FAILED.decode()), reply
    assert good(g)
    if not id:
        return None
    m = lab.wait_for('the mail', lambda: next((m for m in list(g.sink.mails) if id in m['body']), None))
    assert not re.search(rb'\r(?!\n)|(?<!\r)\n', m['body']) and m['rcpts'] == ['u@far.test'] and m['from'] == 'a@from.test', m
    return m['body']


def test_fields(g):
    for name in (b'', b'A B', b'A:B', b'A\r\nB', b'A\n', b'\xc3\x84', b' A', b'A\x7f'):
        assert at_end(g, g.words.header(name, b'v')) is None, name
    for value in (b'x\r\n.\r\nMAIL FROM:<evil@x.test>', b'x\n\nY: injected', b'x\rY: injected', b'\r\n.\r\n', b'\n', b'x\r\n\r\n\r\ny',
                  b'\r', b'x' * 5000, b'x\r\nFrom: evil@x.test', b'\xff\xfe'):
        body = at_end(g, g.words.header(b'X-Odd', value))
        head, _, rest = body.partition(b'\r\n\r\n')
        assert rest == b'hello\r\n' and b'\0' not in head, value
        # one field, whatever it has: its lines go on
        names = [l.split(b':')[0] for l in head.split(b'\r\n') if l[:1] not in b' \t']
        assert names == [b'Received', b'Subject', b'X-Odd'], (value, head)


def test_bodies(g):
    for text, want in ((b'a\n.\nb', b'a\r\n..\r\nb\r\n'), (b'\r.\r', b'\r\n..\r\n'), (b'.', b'..\r\n'), (b'..\r\n.x', b'...\r\n..x\r\n'),
                       (b'a\r\n.\r\nMAIL FROM:<evil@x.test>\r\n', b'a\r\n..\r\nMAIL FROM:<evil@x.test>\r\n'), (b'a\r\r\nb', b'a\r\n\r\nb\r\n'),
                       (b'\n' * 10000, b'\r\n' * 10000)):
        assert at_end(g, g.words.body(text)).partition(b'\r\n\r\n')[2] == want, text


def test_addresses(g):
    for addr in (b'', b'a b@x.test', b'x@y.test>\r\nRCPT TO:<z@y.test', b'x@y.test\r\n', b'\xff@y.test', b'x' * 400 + b'@y.test', b'x@' + b'y' * 300, b'x\ny@z.test'):
        assert at_end(g, g.words.rcpt(addr)) is None, addr
