# SPDX-License-Identifier: BSD-2-Clause
"""Clients that leave at every byte of what they say: nothing is queued unless all of a message had come, nothing
of them stays behind (sessions, transactions, credits, descriptors, memory)."""
import contextlib, json, os, socket, struct

import lab, pytest

ENV = b'EHLO c.test\r\nMAIL FROM:<a%04d@c.test>\r\nRCPT TO:<b@far.test>\r\n'
BODY = b'Subject: t\r\n\r\n.a\r\n'
TALKS = {  # what is said, and how much of it makes a message
    'commands': (ENV + b'RCPT TO:<bad>\r\nVRFY x\r\nNOOP\r\nXCLIENT NAME=x\r\nHELP\r\nRSET\r\nMAIL FROM:<>\r\nQUIT\r\n', None),
    'DATA': (ENV + b'DATA\r\n' + BODY.replace(b'\n.', b'\n..') + b'.\r\n', 0),
    'BDAT': (ENV + b'BDAT 5\r\n' + BODY[:5] + b'BDAT 0\r\nBDAT %d LAST\r\n' % (len(BODY) - 5) + BODY[5:], 0),
    'refused': (ENV + b'BDAT 9\r\na\nb\r\nQUITBDAT 6 LAST\r\nQUIT\r\n', None),
}


@pytest.fixture(scope='module')
def gw(inst):
    # leaks are looked for when a process ends; see close() below
    options = {'ASAN_OPTIONS': 'abort_on_error=1:detect_leaks=1', 'LSAN_OPTIONS': 'report_objects=0'}
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, 'max_bad_commands = 1000;', env=options) as g:
        g.sink = sink
        with g.client() as c:  # the store's first message opens its files
            c.mail('a0000@c.test', 'b@far.test', BODY)
        yield g
        g.stop()
        assert 'LeakSanitizer' not in g.log(), g.log()[-6000:]


def left(g):
    """Of the 1000 credits qmgr gives anew what was given back, a quarter at a time."""
    intake = json.loads(g.http('smtps', 'GET', '/v1/intake')[1])
    return {'descriptors': len(os.listdir(f'/proc/{g.pids()["smtps"]}/fd')), 'credits': intake['credits'] >= 750, 'receiving': intake['receiving'],
            'transactions': g.metrics('smtps')['transactions_now'], 'sessions': g.metrics('smtps')['sessions_now']}


def leave(c, how):
    """True when the reply to the message was read."""
    if how == 'rst':
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    elif how == 'half':
        c.s.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while True:
                c.buf += c.s.recv(65536) or b'END'
                if c.buf.endswith(b'END'):
                    break
    c.s.close()
    return b'accepted as S' in c.buf


@pytest.mark.parametrize('how', ['fin', 'rst', 'half'])
@pytest.mark.parametrize('talk', TALKS)
def test_at_every_byte(gw, talk, how):
    text, whole = TALKS[talk]
    n = len(text % 0)
    lab.wait_for('the last one to be gone', lambda: left(gw)['sessions'] == 0)
    gw.queue_empty()
    before, mails = left(gw), len(gw.sink.mails)
    heard = set()
    for k in range(n + 1):
        c = gw.client(greet=k % 2 == 0)
        with contextlib.suppress(ConnectionError):
            c.send((text % k)[:k])
        if leave(c, how):
            heard.add(k)
    seen = []

    def gone():  # one look decides: between two a request of ours may still hold a descriptor
        seen.append(left(gw))
        return seen[-1] == before
    with contextlib.suppress(AssertionError):
        lab.wait_for('all of it to be gone', gone)
    assert seen[-1] == before
    gw.queue_empty()
    got = [int(m['from'][1:5]) for m in gw.sink.mails[mails:]]
    due = {n} if whole is not None else set()
    assert len(got) == len(set(got)), 'one is there twice'
    assert heard <= set(got) <= due, f'{got} were delivered, {heard} acknowledged, whole ones were {due}'
    if how != 'rst':  # its bytes came, so it is there
        assert set(got) == due
    if how == 'half':
        assert heard == due
    assert all(lab.split_received(m['body'])[1] == BODY.replace(b'\n.', b'\n..') for m in gw.sink.mails[mails:])


def test_at_every_byte_of_a_second_message(gw):
    """What was acknowledged before the client vanished in its next message is there once."""
    text = ENV + b'DATA\r\n.\r\n'
    second = b'MAIL FROM:<second@c.test>\r\nRCPT TO:<b@far.test>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\n'
    mails = len(gw.sink.mails)
    for k in range(len(second)):
        with gw.client() as c:
            c.send(text % k + second[:k])
            while 'accepted as S' not in c.reply():
                pass
            leave(c, 'rst')
    gw.sink.wait(mails + len(second))
    lab.wait_for('all of it to be gone', lambda: left(gw)['sessions'] == left(gw)['transactions'] == 0)
    gw.queue_empty()
    assert sorted(m['from'] for m in gw.sink.mails[mails:]) == [f'a{k:04}@c.test' for k in range(len(second))]
