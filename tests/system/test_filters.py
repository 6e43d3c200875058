# SPDX-License-Identifier: BSD-2-Clause
"""What smtps does with what filters say: stages and replies, edits on their way into the store, holds, and a client, a disk or a
server that goes away meanwhile. The filter is scripted."""
import contextlib, json, re, struct, time

import lab, milterd, pytest

MAIL = b'Subject: t\r\n\r\nhello\r\n'


@contextlib.contextmanager
def filtered(inst, says=None, options='', **kw):
    with milterd.Milter(says=says) as m, lab.Sink() as sink:
        with lab.relay_all(inst, sink.port, smtps=f'policy_milter {{ module = milter; {m.socket} {options} }}', **kw) as g:
            g.filter, g.sink = m, sink
            m.heard.clear()
            yield g


@pytest.fixture(scope='module')
def g(inst):
    with filtered(inst, flags='8bitmime, access, prdr') as g:
        yield g


@pytest.fixture(autouse=True)
def quiet(request):
    if 'g' in request.fixturenames:
        g = request.getfixturevalue('g')
        g.filter.says = {}
        g.filter.heard.clear()


def insert(at, name, value):
    return b'i' + struct.pack('!I', at) + name.encode() + b'\0' + value.encode() + b'\0'


def arrived(g, reply):
    id = re.search('accepted as (S[0-9A-F]+)', reply)[1].encode()
    return lab.wait_for(f'{id} at the sink', lambda: next((m for m in list(g.sink.mails) if id in m['body']), None))


def words(g):
    """What it heard, as letters, without macros and header lines."""
    return ''.join(k for k, _ in g.filter.heard if k not in 'ODLNQK')


def sent(g, body=MAIL, rcpts='u@far.test', **kw):
    with g.client() as c:
        return c.mail('a@from.test', rcpts, body, **kw)


def test_where_lines_go(g):
    """What a filter puts first stands above our Received line, which stands above the client's first own field."""
    g.filter.says = {'E': [insert(0, 'X-Top', 'one'), milterd.add_header('X-End', 'two\n three'), b'c']}
    body = arrived(g, sent(g, b'Received: old\r\nSubject: t\r\n\r\n..dot\r\n'))['body']
    assert re.fullmatch(rb'X-Top: one\r\nReceived: from client\.test .*?;\r\n\t[^\r]*\r\nReceived: old\r\nSubject: t\r\n'
                        rb'X-End: two\r\n[ \t]three\r\n\r\n\.\.?dot\r\n', body, re.S), body


def test_envelope(g):
    g.filter.says = {'E': [b'-<v@far.test>\0', b'+<w@far.test>\0', b'e<new@sender.test>\0', b'c']}
    m = arrived(g, sent(g, rcpts=['u@far.test', 'v@far.test']))
    assert m['from'] == 'new@sender.test' and sorted(m['rcpts']) == ['u@far.test', 'w@far.test'] and b'for <' not in m['body']
    g.filter.says = {'E': [b'-<u@far.test>\0', b'c']}
    assert sent(g).startswith('250')
    g.wait_log(r'smtps\.discarded .* filter=')


@pytest.mark.parametrize('bdat', [False, True])
def test_large(g, bdat):
    """Beyond 256 KiB: in a file without a name; not a byte is another, and the folder is as before."""
    rows = b''.join(b'%07d .%s\r\n' % (i, b'x' * 60) if i % 7 else b'.%d\r\n' % i for i in range(6000))
    before = sorted(p.name for p in (g.dir / 'q/in').iterdir())
    g.filter.says = {'E': [insert(0, 'X-Top', 'one'), b'c']}
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@b.test>', 250)
        c.cmd('RCPT TO:<u@far.test>', 250)
        body = b'Subject: t\r\n\r\n' + rows
        if bdat:
            for i in range(0, len(body), 200000):
                part = body[i:i + 200000]
                c.send(b'BDAT %d%s\r\n' % (len(part), b' LAST' if i + 200000 >= len(body) else b'') + part)
                reply = c.reply(250)
        else:
            c.cmd('DATA', 354)
            c.send(b'Subject: t\r\n\r\n' + re.sub(rb'(?m)^\.', b'..', rows) + b'.\r\n')
            reply = c.reply(250)
    got = arrived(g, reply)['body']
    assert got.startswith(b'X-Top: one\r\nReceived: ')
    got = got[got.index(b'\r\n\r\n') + 4:]
    assert got == re.sub(rb'(?m)^\.', b'..', rows)  # as it stands on the wire
    assert [n for n in sorted(p.name for p in (g.dir / 'q/in').iterdir()) if n not in before and n.startswith('image')] == []
    heard = b''.join(d for k, d in g.filter.heard if k == 'B')
    assert heard == rows


def test_prdr(g):
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@b.test> PRDR', 250)
        c.cmd('RCPT TO:<u@far.test>', 250)
        c.cmd('RCPT TO:<v@far.test>', 250)
        c.cmd('DATA', 354)
        c.send(MAIL + b'.\r\n')
        assert [c.reply()[:3] for _ in range(4)] == ['353', '250', '250', '250']


def test_pipelined(g):
    """Commands that came with those before wait for the filter as one by one."""
    g.filter.says = {'R': [milterd.reply_code('550 5.7.9 not him')]}
    with g.client() as c:
        c.send('EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<u@far.test>\r\nDATA\r\nRSET\r\nMAIL FROM:<c@b.test>\r\nQUIT\r\n')
        assert [c.reply()[:3] for _ in range(7)] == ['250', '250', '550', '554', '250', '250', '221']
    lab.wait_for('its last word', lambda: words(g) == 'CHMRAMA')


def test_the_client_goes(g):
    """While the filter judges its mail: reset, it is dropped, for nobody heard 250; the next client is served all the same."""
    g.filter.says = {'E': 'stall'}
    before = g.metrics('smtps')['unfinished_messages_total']
    c = g.client()
    c.cmd('EHLO c.test', 250)
    c.send('MAIL FROM:<a@b.test>\r\nRCPT TO:<u@far.test>\r\nDATA\r\n')
    for code in (250, 250, 354):
        c.reply(code)
    c.send(b'X-Mark: gone\r\n' + MAIL + b'.\r\n')
    lab.wait_for('the question', lambda: words(g).endswith('E'))
    shown = json.loads(g.http('smtps', 'GET', '/v1/sessions')[1])['sessions'][0]
    assert (shown['state'], shown['await']) == ('commit', 'policy filter')
    c.s.setsockopt(lab.socket.SOL_SOCKET, lab.socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.s.close()
    lab.wait_for('the end of it', lambda: g.metrics('smtps')['unfinished_messages_total'] == before + 1)
    g.filter.says = {}
    arrived(g, sent(g))
    assert not any(b'X-Mark' in m['body'] for m in g.sink.mails)


def again(look):
    """What it sees, as soon as qmgr answers."""
    with contextlib.suppress(AssertionError, OSError):
        return look()


@pytest.mark.parametrize('store', ['log', 'dir'])
def test_a_quarantine_that_is_busy(inst, store):
    """qmgr is told of each held mail, with why, as of any other: none has to be read from the store."""
    says = {'E': [milterd.quarantine('odd'), b'c']}
    with filtered(inst, says, flags='8bitmime, access', qmgr=f'queue {{ type = {store}; }}') as g:
        before = g.metrics('smtps')['queued_not_sent_total']
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            for i in range(20):
                assert c.mail(f'a{i}@from.test', 'u@far.test', MAIL, ehlo=None).startswith('250')
        assert lab.wait_for('all of them', lambda: len(q := g.queue()) == 20 and q)
        assert {(r['state'], r['reason']) for m in g.queue() for r in m['recipients']} == {('held', 'filter policy_milter: odd')}
        assert g.metrics('smtps')['queued_not_sent_total'] == before and not g.sink.mails


def test_held_and_stopped(inst):
    """A quarantined mail waits with the filter's reason, over a crash and a restart, until it is released. A server that stops does not
    wait for a filter: the client hears 421, nothing is kept, and nothing was promised."""
    with filtered(inst, {'E': [milterd.quarantine('odd; "quoted" \\ \r\nbroken'), b'c']}, 'end_timeout = 5m;') as g:
        reply = sent(g, rcpts=['u@far.test', 'v@far.test'])
        assert reply.startswith('250')
        g.wait_log(r'smtps\.held id=')

        def held():
            q = g.queue()
            return len(q) == 1 and [r['state'] for r in q[0]['recipients']] == ['held', 'held'] and q[0]['recipients'][0]['reason']
        why = lab.wait_for('a held mail', held)
        assert why.startswith('filter policy_milter: odd; "quoted" \\')
        was = g.pids()['qmgr']
        lab.os.kill(was, lab.signal.SIGKILL)
        lab.wait_for('another qmgr', lambda: g.pids().get('qmgr', was) != was)
        assert lab.wait_for('it is there again', lambda: again(held)) == why
        g.ready()
        g.filter.says = {'E': 'stall'}
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.send('MAIL FROM:<a@b.test>\r\nRCPT TO:<u@far.test>\r\nDATA\r\n')
            for code in (250, 250, 354):
                c.reply(code)
            g.filter.heard.clear()
            c.send(MAIL + b'.\r\n')
            lab.wait_for('the question', lambda: words(g).endswith('E'))
            began = time.monotonic()
            g.proc.send_signal(lab.signal.SIGTERM)
            c.reply(421)
            assert c.closed()
            g.stop()
        assert time.monotonic() - began < 20
        g.filter.says = {}
        g.start().ready()
        assert lab.wait_for('it is there again', held) == why and not g.sink.mails
        assert 'held by a policy filter until it is released' in g.ctl('queue', 'why', g.queue()[0]['id']).stdout
        g.ctl('queue', 'release', g.queue()[0]['id'])
        g.queue_empty()
        assert sorted(r for m in g.sink.mails for r in m['rcpts']) == ['u@far.test', 'v@far.test']
