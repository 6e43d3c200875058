# SPDX-License-Identifier: BSD-2-Clause
"""BDAT (RFC 3030) and bare newlines through all processes: what arrives at a next hop, byte for byte."""
import contextlib, random, socket

import lab, pytest

ENV = 'MAIL FROM:<a@client.test>\r\nRCPT TO:<b@far.test>\r\n'


@pytest.fixture(scope='module')
def gw(inst):
    with lab.Sink() as sink, lab.relay_all(
            inst, sink.port, 'max_message_size = 100KB; max_hops = 3;',
            env={'ASAN_OPTIONS': 'abort_on_error=1:detect_leaks=0:quarantine_size_mb=1'}) as g:
        g.sink = sink
        yield g


@pytest.fixture(scope='module')
def fixer(inst):
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, 'bare_newline = repair; max_message_size = 5MB;') as g:
        g.sink = sink
        yield g


def hello(g):
    c = g.client()
    c.cmd('EHLO c.test', 250)
    return c


def chunks(body, cuts):
    """BDAT commands for the body cut at these places; the last says LAST."""
    at = [0, *sorted(cuts), len(body)]
    return b''.join(b'BDAT %d%s\r\n' % (b - a, b' LAST' if i == len(at) - 2 else b'') + body[a:b]
                    for i, (a, b) in enumerate(zip(at, at[1:])))


def stuffed(body):
    """DATA form of content that has CRLF line ends only, the last one perhaps missing."""
    if body and not body.endswith(b'\r\n'):
        body += b'\r\n'
    return b''.join(b'.' + l if l.startswith(b'.') else l for l in body.splitlines(True))


def arrives(g, before, n=1):
    g.sink.wait(before + n)
    g.queue_empty()
    return [lab.split_received(m['body'])[1] for m in g.sink.mails[before:]]


BODIES = [b'Subject: t\r\n\r\nhello\r\n', b'no end', b'.', b'', b'A: b\r\n\r\n.\r\nQUIT\r\n.\r\n..\r\n.x',
          b'\r\n\0.\r\n\xe4\xf6\xff\r\n', b'x' * 5000 + b'\r\n' + b'.\r\n' * 2000]


@pytest.mark.parametrize('i', range(len(BODIES)))
def test_the_same_as_data(gw, i):
    """Each body by DATA, by one chunk, by bytes of a small one and by random cuts, pipelined and not."""
    body, rng, before = BODIES[i], random.Random(i), len(gw.sink.mails)
    cuts = [[], [len(body)], [0, 0], [min(len(body), k) for k in range(60)],
            *([rng.randrange(len(body) + 1) for _ in range(9)] for _ in range(3))]
    with hello(gw) as c:
        c.mail('a@client.test', 'b@far.test', stuffed(body), ehlo=None)
        for k, cut in enumerate(cuts):
            text = ENV.encode() + chunks(body, cut)
            if k % 2:
                c.send(text)
            else:
                for at in range(0, len(text), 1 + len(text) // 50):
                    c.send(text[at:at + 1 + len(text) // 50])
            for _ in range(3 + len(cut)):
                last = c.reply(250)
            assert 'accepted as S' in last
        c.cmd('QUIT', 221)
    got = arrives(gw, before, 1 + len(cuts))
    assert len(got) == 1 + len(cuts)
    for one in got:
        assert one == stuffed(body)


def test_mixed_in_one_session(gw):
    before = len(gw.sink.mails)
    with hello(gw) as c:
        c.send(ENV + 'BDAT 3 LAST\r\na\r\n' + ENV + 'DATA\r\nb\r\n.\r\n' + ENV + 'BDAT 0\r\nBDAT 2 LAST\r\ncc' + 'NOOP\r\n')
        for code in (250, 250, 250, 250, 250, 354, 250, 250, 250, 250, 250, 250):
            c.reply(code)
    assert sorted(arrives(gw, before, 3)) == [b'a\r\n', b'b\r\n', b'cc\r\n']


# what is sent behind EHLO; the replies; how many mails come of it
WRONG = {
    'no transaction': ('BDAT 6\r\nQUIT\r\n', '503', 0),
    'no recipient': ('MAIL FROM:<a@b.test>\r\nBDAT 6 LAST\r\nQUIT\r\nRCPT TO:<b@far.test>\r\n', '250 503 503', 0),
    'recipients refused': ('MAIL FROM:<a@b.test>\r\nRCPT TO:<bad>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n',
                           '250 501 554 503', 0),
    'DATA behind BDAT': (ENV + 'BDAT 6\r\nQUIT\r\nDATA\r\nBDAT 0 LAST\r\n', '250 250 250 503 250', 1),
    'MAIL behind BDAT': (ENV + 'BDAT 6\r\nQUIT\r\nMAIL FROM:<c@b.test>\r\nRSET\r\n', '250 250 250 503 250', 0),
    'announced too large': (ENV + 'BDAT 102401 LAST\r\n' + 'QUIT\r\n' * 17066 + '.QUIT\r\n'[:5], '250 250 552', 0),
    'grown too large': (ENV + 'BDAT 6\r\nQUIT\r\nBDAT 102395\r\n' + 'x' * 102395 + 'BDAT 6 LAST\r\nQUIT\r\n',
                        '250 250 250 552 503', 0),
    'hops': (ENV + 'BDAT 52\r\n' + 'Received: x\r\n' * 4 + 'BDAT 6 LAST\r\nQUIT\r\n', '250 250 554 503', 0),
    'bare LF': (ENV + 'BDAT 6\r\nQUIT\n\nBDAT 6 LAST\r\nQUIT\r\n', '250 250 550 503', 0),
    'bare CR at the cut': (ENV + 'BDAT 5\r\nQUIT\rBDAT 6 LAST\r\nQUIT\r\n', '250 250 250 550', 0),
    'bare CR at the end': (ENV + 'BDAT 5 LAST\r\nQUIT\r', '250 250 550', 0),
}


@pytest.mark.parametrize('name', WRONG)
@pytest.mark.parametrize('piece', [0, 1])
def test_what_is_wrong_leaves_nothing(gw, name, piece):
    text, codes, n = WRONG[name]
    before, text = len(gw.sink.mails), text.encode()
    if piece and len(text) > 5000:
        piece = 1000
    counted = gw.metrics('smtps')['messages_accepted_total']
    with hello(gw) as c:
        for i in range(0, len(text), piece or len(text)):
            c.send(text[i:i + (piece or len(text))])
        got = [c.reply()[:3] for _ in codes.split()]
        assert got == codes.split()
        # nothing of it is there, and the session knows where it is
        c.send('BDAT 6\r\nQUIT\r\nDATA\r\nRCPT TO:<b@far.test>\r\nNOOP\r\n')
        for code in (503, 503, 503, 250):
            c.reply(code)
        c.send(ENV + 'BDAT 4 LAST\r\nok\r\n')
        for code in (250, 250, 250):
            c.reply(code)
    assert sorted(arrives(gw, before, n + 1)) == sorted([b'QUIT\r\n'] * n + [b'ok\r\n'])
    assert len(gw.sink.mails) == before + n + 1
    assert gw.metrics('smtps')['messages_accepted_total'] == counted + n + 1


@pytest.mark.parametrize('line', ['BDAT', 'BDAT LAST', 'BDAT -1', 'BDAT 1x', 'BDAT 1 LAST x', 'BDAT 9223372036854775808',
                                  'BDAT ' + '9' * 400, 'BDAT ' + '0' * 600, 'BDAT ' + '0' * 5000, 'BDAT 5\0'])
def test_a_count_that_cannot_be_read_ends_the_session(gw, line):
    before = len(gw.sink.mails)
    with hello(gw) as c:
        with contextlib.suppress(OSError):
            c.send(ENV + line + '\r\nDATA\r\nevil\r\n.\r\n')
        c.reply(250)
        c.reply(250)
        assert c.reply()[:3] in ('501', '500') and c.closed()
    gw.queue_empty()
    assert len(gw.sink.mails) == before


@pytest.mark.parametrize('what', ['BDAT 0', 'endless chunk'])
def test_abuse_is_cut_off(gw, what):
    """A million empty chunks, or one of 2^62 octets: bounded memory, others are served, a limit ends it."""
    unit = b'BDAT 0\r\n' * 1000 if what == 'BDAT 0' else b'QUIT\r\n' * 10000
    before = lab.rss(gw.pids()['smtps'])
    with hello(gw) as c, hello(gw) as other:
        c.send(ENV if what == 'BDAT 0' else ENV + 'BDAT 4611686018427387904 LAST\r\n')
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 128 << 20:
                c.s.sendall(unit)
                sent += len(unit)
                if sent % (100 * len(unit)) == 0:
                    other.cmd('VRFY x', 252)
        assert sent < 100 << 20
    assert lab.rss(gw.pids()['smtps']) < before + 16384
    with gw.client() as c:
        c.cmd('NOOP', 250)


@pytest.mark.parametrize('how', ['close', 'reset'])
def test_a_client_that_vanishes_in_a_chunk(gw, how):
    text = (ENV + 'BDAT 5\r\na\r\nb\rBDAT 6 LAST\r\n\nQUIT').encode()
    before = len(gw.sink.mails)
    accepted = gw.metrics('smtps')['messages_accepted_total']
    for n in range(0, len(text), 3):
        c = hello(gw)
        c.send(text[:n])
        if how == 'reset':
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        c.s.close()
    lab.wait_for('all sessions to end', lambda: gw.metrics('smtps')['sessions_now'] == 0)
    gw.queue_empty()
    assert len(gw.sink.mails) == before
    assert gw.metrics('smtps')['messages_accepted_total'] == accepted


# ---- bare newlines made line ends ----

EVIL = b'MAIL FROM:<evil@client.test>\r\nRCPT TO:<evil@far.test>\r\nDATA\r\nevil\r\n'
FORMS = {  # after "a" and before EVIL: what the next hop gets
    b'\n.\n': b'\r\n..\r\n', b'\n.\r\n': b'\r\n..\r\n', b'\r.\r': b'\r\n..\r\n', b'\r.\r\n': b'\r\n..\r\n',
    b'\n\n': b'\r\n\r\n', b'\n\r': b'\r\n\r\n', b'\r\r\n': b'\r\n\r\n', b'\r\n\0.\r\n': b'\r\n\0.\r\n',
}
DOTS = {  # here a strict reader takes the dot of DATA for stuffing, BDAT has none
    b'\r\n.\n': (b'\r\n\r\n', b'\r\n..\r\n'), b'\r\n.\r': (b'\r\n\r\n', b'\r\n..\r\n'),
    b'\r\n.\r\r\n': (b'\r\n\r\n\r\n', b'\r\n..\r\n\r\n'),
}


@pytest.mark.parametrize('form', [*FORMS, *DOTS], ids=lambda f: repr(f)[2:-1].replace('\\', ''))
@pytest.mark.parametrize('piece', [0, 1])
def test_repair(fixer, form, piece):
    """One mail, wire of pure CRLF; what a false end hides never runs as commands."""
    data, bdat = DOTS.get(form) or (FORMS[form],) * 2
    before, body = len(fixer.sink.mails), b'a' + form + EVIL
    with hello(fixer) as c:
        for text, replies in ((b'DATA\r\n' + body + b'.\r\n', 5),
                              (chunks(body, [1, 2, 3] if piece else []), 7 if piece else 4)):
            text = ENV.encode() + text + b'NOOP\r\n'
            for i in range(0, len(text), piece or len(text)):
                c.send(text[i:i + (piece or len(text))])
            for _ in range(replies):
                assert c.reply()[:3] in ('250', '354')
        c.cmd('QUIT', 221)
    got = arrives(fixer, before, 2)
    assert sorted(got) == sorted([b'a' + data + EVIL, b'a' + bdat + EVIL])
    assert [m['rcpts'] for m in fixer.sink.mails[before:]] == [['b@far.test']] * 2


def test_repair_of_a_large_message(fixer):
    """Line ends of all kinds, over the size from which a mail has a file of its own."""
    before, rng = len(fixer.sink.mails), random.Random(1)
    body = b''.join(b'%s%d' % (rng.choice([b'', b'.', b'..']), i) + rng.choice([b'\n', b'\r\n', b'\r']) for i in range(60000)) + b'x'
    with hello(fixer) as c:
        c.send(ENV.encode() + chunks(body, [rng.randrange(len(body)) for _ in range(20)]))
        for _ in range(23):
            c.reply(250)
    plain = body.replace(b'\r\n', b'\n').replace(b'\r', b'\n').replace(b'\n', b'\r\n')
    assert arrives(fixer, before) == [stuffed(plain)]
    assert fixer.metrics('smtps')['repaired_newlines_total'] > 0
