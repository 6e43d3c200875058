# SPDX-License-Identifier: BSD-2-Clause
"""What an admin did is done: kill -9 of qmgr right after the answer takes nothing back."""
import json, os, signal, threading

import lab, pytest

# the window in which an answer that does not wait for the sync would be a lie
SLOW = 'status_sync = 400ms;'


def rcpt(g, mid, addr):
    for m in g.queue():
        for r in m['recipients']:
            if m['id'] == mid and r['address'] == addr:
                return r
    return None


def kill(g):
    """Kills qmgr; returns when the new one knows all mail."""
    old = g.pids()['qmgr']
    os.kill(old, signal.SIGKILL)

    def back():
        if g.pids().get('qmgr') in (None, old):
            return False
        try:
            return json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['recovered']
        except OSError:
            return False
    lab.wait_for('qmgr to be back', back)


@pytest.mark.parametrize('kind', ['log', 'dir'])
def test_killed_right_after_the_answer(inst, kind):
    stuck, go_on = threading.Event(), threading.Event()

    def answer(verb, arg, session):
        if verb != 'RCPT':
            return None
        if 'stuck@' in arg:
            stuck.set()
            go_on.wait(60)
        return '450 4.2.0 not now'

    with lab.Sink(answer=answer) as sink, lab.Sink() as other, lab.relay_all(
            inst, sink.port, qmgr=f'min_retry_delay = 1h; max_retry_delay = 2h; queue {{ type = {kind}; {SLOW} }}',
            env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        names = ('held', 'way', 'gone', 'freed')
        with g.client() as c:
            ids = {n: c.mail('a@client.test', [f'{n}@far.test', f'rest@{n}.test'], b'Subject: x\r\n\r\nx\r\n',
                             ehlo='client.test' if n == 'held' else None).split()[-1] for n in names}
            ids['stuck'] = c.mail('a@client.test', 'stuck@far.test', b'Subject: x\r\n\r\nx\r\n', ehlo=None).split()[-1]
        assert stuck.wait(20)
        lab.wait_for('a try of each', lambda: all((rcpt(g, ids[n], f'{n}@far.test') or {}).get('tries') for n in names))

        g.ctl('queue', 'hold', ids['held'], '--recipient', 'held@far.test')
        assert 'just under way' in g.ctl('queue', 'delete', ids['stuck']).stdout
        kill(g)
        assert rcpt(g, ids['held'], 'held@far.test')['state'] == 'held'
        assert rcpt(g, ids['held'], 'rest@held.test')['state'] == 'waiting'
        lab.wait_for('the deleted one to be gone', lambda: rcpt(g, ids['stuck'], 'stuck@far.test') is None)

        g.ctl('queue', 'delete', ids['gone'], '--recipient', 'gone@far.test')
        kill(g)
        assert rcpt(g, ids['gone'], 'gone@far.test')['state'] == 'deleted'
        assert rcpt(g, ids['gone'], 'rest@gone.test')['state'] == 'waiting'

        g.ctl('queue', 'requeue', ids['way'], '--recipient', 'way@far.test', '--to', f'[127.0.0.1]:{other.port}')
        g.ctl('queue', 'hold', ids['freed'])
        g.ctl('queue', 'release', ids['freed'])
        kill(g)
        other.wait(1)
        assert other.mails[0]['rcpts'] == ['way@far.test']
        assert rcpt(g, ids['freed'], 'freed@far.test')['state'] in ('waiting', 'delivering', 'queued', 'routing')
        go_on.set()
        assert not any('stuck' in r for m in sink.mails + other.mails for r in m['rcpts'])
