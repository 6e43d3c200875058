# SPDX-License-Identifier: BSD-2-Clause
"""Mail through all five processes to a next hop, byte for byte."""
import lab, pytest

HEAD = b'From: <a@client.test>\r\nSubject: t\r\n\r\n'
BODIES = {
    'plain': HEAD + b'hello\r\n',
    'empty': b'',
    'headers only': b'Subject: only\r\n',
    'leading dots': HEAD + b'..\r\n..two\r\n...three\r\nend\r\n',
    '8bit': HEAD + bytes(range(128, 256)) + b'\r\n' + 'grüße'.encode() + b'\r\n',
    'controls': HEAD + bytes(x for x in range(0, 32) if x not in (10, 13)) + b'\x7f\r\n',
    'long line': HEAD + b'x' * 990 + b'\r\n',
    'very long line': HEAD + b'y' * 200000 + b'\r\n',
    'blank ends': HEAD + b'text\r\n\r\n\r\n',
    '300 KiB': HEAD + b'0123456789abcdef' * 4 * 4800 + b'\r\n',
}


@pytest.mark.parametrize('name', BODIES)
def test_bytes_arrive_as_sent(relay, sink, name):
    with relay.client() as c:
        reply = c.mail('a@client.test', 'b@far.test', BODIES[name], params=' BODY=8BITMIME')
        assert reply.startswith('250 2.0.0'), reply
    m = sink.wait(1)[0]
    received, rest = lab.split_received(m['body'])
    assert rest == BODIES[name]
    assert m['from'] == 'a@client.test' and m['rcpts'] == ['b@far.test']
    assert b'from client.test ([127.0.0.1])' in received and b'by gw.test (meta1-' in received
    assert b' with ESMTP id S' in received
    relay.queue_empty()


def test_50_megabytes(relay, sink):
    line = b'0123456789' * 7 + b'\r\n'
    body = HEAD + line * (50_000_000 // len(line))
    with relay.client(timeout=120) as c:
        assert c.mail('a@client.test', 'b@far.test', body).startswith('250')
    assert lab.split_received(sink.wait(1, 90)[0]['body'])[1] == body


def test_1000_recipients(relay, sink):
    rcpts = [f'user{i}@far.test' for i in range(1000)]
    with relay.client(timeout=60) as c:
        c.cmd('EHLO c.test', 250)
        c.send('MAIL FROM:<a@client.test>\r\n' + ''.join(f'RCPT TO:<{r}>\r\n' for r in rcpts) + 'DATA\r\n')
        c.reply(250)
        for r in rcpts:
            c.reply(250)
        c.reply(354)
        c.send(BODIES['plain'] + b'.\r\n')
        c.reply(250)
    lab.wait_for('1000 recipients', lambda: sum(len(m['rcpts']) for m in sink.mails) >= 1000)
    assert sorted(r for m in sink.mails for r in m['rcpts']) == sorted(rcpts)
    relay.queue_empty()


def test_null_sender_and_many_in_one_session(relay, sink):
    with relay.client() as c:
        assert c.mail('', 'b@far.test', BODIES['plain']).startswith('250')
        for i in range(30):
            assert c.mail('a@client.test', f'b{i}@far.test', HEAD + b'%d\r\n' % i, ehlo=None).startswith('250')
    mails = sink.wait(31)
    assert mails[0]['from'] == '' or '' in [m['from'] for m in mails]
    assert {m['rcpts'][0] for m in mails} == {'b@far.test', *(f'b{i}@far.test' for i in range(30))}
    assert sink.connections < 31, 'connections are reused'


def test_ids_never_repeat_over_restarts(inst, sink):
    ids = []
    with lab.Gateway(inst, smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } '
                     'map ac { type = text; file = "ac"; } access { name = ac; }',
                     smtps='flags = { 8bitmime, access };',
                     files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g:
        for how in ('term', 'kill', 'none'):
            with g.client() as c:
                for _ in range(5):
                    reply = c.mail('a@client.test', 'b@far.test', BODIES['plain'])
                    ids.append(reply.split()[-1])
            if how == 'term':
                g.stop()
                g.start().ready()
            elif how == 'kill':
                import os, signal
                os.kill(g.pids()['smtps'], signal.SIGKILL)
                lab.wait_for('a new smtps', g.takes_mail)
    assert len(set(ids)) == 15, ids
    import re
    assert all(re.fullmatch(r'S[0-9A-F]{18}', i) for i in ids), ids


def test_temporary_failure_is_tried_again(inst):
    fails = [3]

    def answer(verb, arg, ses):
        if verb == 'RCPT' and fails[0]:
            fails[0] -= 1
            return '450 4.2.1 later'
    with lab.Sink(answer=answer) as sink, \
            lab.Gateway(inst, smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } '
                        'map ac { type = text; file = "ac"; } access { name = ac; }',
                        smtps='flags = { 8bitmime, access };', qmgr='min_retry_delay = 1s; max_retry_delay = 1s;',
                        files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g:
        with g.client() as c:
            assert c.mail('a@client.test', ['b@far.test', 'c@far.test'], BODIES['plain']).startswith('250')
        lab.wait_for('both recipients', lambda: sum(len(m['rcpts']) for m in sink.mails) == 2)
        g.queue_empty()
        assert sorted(r for m in sink.mails for r in m['rcpts']) == ['b@far.test', 'c@far.test']


def test_waits_over_a_restart_and_goes_on(inst):
    """What was acknowledged while the next hop was away arrives once it is back."""
    port = lab.free_port()
    g = lab.Gateway(inst, smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } '
                    'map ac { type = text; file = "ac"; } access { name = ac; }',
                    smtps='flags = { 8bitmime, access };', qmgr='min_retry_delay = 1s; max_retry_delay = 2s;',
                    files={'mt': f'. [127.0.0.1]:{port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'})
    try:
        g.start().ready()
        with g.client() as c:
            for i in range(20):
                assert c.mail('a@client.test', f'b{i}@far.test', HEAD + b'%d\r\n' % i).startswith('250')
        lab.wait_for('20 messages in the queue', lambda: len(g.queue()) == 20)
        g.stop()
        g.start().ready()
        lab.wait_for('20 messages after the restart', lambda: len(g.queue()) == 20)
        orig = lab.free_port
        lab.free_port = lambda: port
        try:
            sink = lab.Sink()
        finally:
            lab.free_port = orig
        with sink:
            g.ctl('queue', 'flush')
            sink.wait(20, 40)
            assert sorted(m['rcpts'][0] for m in sink.mails) == sorted(f'b{i}@far.test' for i in range(20))
            g.queue_empty()
    finally:
        g.close()


def test_orderly_stops_of_smtpc_put_nothing_off(inst):
    """What smtpc breaks off in its envelope because it stops was no try, however often it happens."""
    import os, signal, threading
    go, seen = threading.Event(), []

    def answer(verb, arg, ses):
        if verb == 'MAIL':
            seen.append(arg)
            go.wait(30)
    with lab.Sink(answer=answer) as sink, lab.relay_all(inst, sink.port) as g:
        with g.client() as c:
            assert c.mail('a@client.test', ['b@far.test', 'c@far.test'], BODIES['plain']).startswith('250')
        for n in range(1, 3):
            lab.wait_for(f'try {n}', lambda: len(seen) >= n)
            os.kill(g.pids()['smtpc'], signal.SIGTERM)
        lab.wait_for('the last try', lambda: len(seen) >= 3)
        go.set()
        sink.wait(1)
        g.queue_empty()
        assert g.metrics('qmgr')['deferred_total'] == 0
        assert sum(len(m['rcpts']) for m in sink.mails) == 2
