# SPDX-License-Identifier: BSD-2-Clause
"""A damaged byte in the queue is told and set aside; it never stops the start, and costs at most the
message that it stands in."""
import json, os, signal

import lab, pytest

N = 8


def body(i):
    return b'Subject: %d\r\n\r\n' % i + b'line of message %d\r\n' % i * 50


def flip(path, at, mask=0xff):
    with open(path, 'r+b') as f:
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes([b[0] ^ mask]))


def batches(path):
    """Offsets of the batches of a segment: each begins with its magic, at a multiple of 4096."""
    data = path.read_bytes()
    return [at for at in range(0, len(data), 4096) if data[at:at + 8] in (b'M1MBTCH1', b'1HCTBM1M')]


@pytest.mark.parametrize('what', ['header', 'table', 'content', 'journal', 'checkpoint', 'counter', 'rubbish'])
@pytest.mark.parametrize('stopped', ['stopped', 'killed'])
def test_damage_is_set_aside(inst, what, stopped):
    port = lab.free_port()
    g = lab.relay_all(inst, port, qmgr='min_retry_delay = 1h;')
    try:
        g.start().ready()
        ids = []
        for i in range(N):
            with g.client() as c:  # one after the other: each in a batch of its own
                ids.append(c.mail(f'a{i}@client.test', f'b{i}@far.test', body(i)).split()[-1])
        lab.wait_for('all in the queue', lambda: len(g.queue()) == N)
        if stopped == 'stopped':
            g.stop()
        else:
            os.killpg(g.proc.pid, signal.SIGKILL)
            for pid in g.pids().values():
                os.kill(pid, signal.SIGKILL)
            g.proc.wait()
            lab.wait_for('all to be gone', lambda: not g.pids())
        q = g.dir / 'q'
        seg = next(p for p in sorted(q.glob('in/*/s*')) if len(batches(p)) >= N)
        at = batches(seg)[3]
        if what in ('header', 'table', 'content'):
            flip(seg, at + {'header': 20, 'table': 150, 'content': 1024}[what])
        elif what in ('journal', 'checkpoint'):
            for p in q.glob(f'state/{what}.*'):
                if p.stat().st_size:
                    flip(p, min(200, p.stat().st_size - 1))
        elif what == 'counter':
            for p in (q / 'in/ids', q / 'state/ids'):
                if p.exists():
                    flip(p, 9)
        else:
            (seg.parent / 'sFFFFFFFFFFFFFFFF').write_bytes(os.urandom(20000))
            (q / 'state/journal.99999999').write_bytes(b'rubbish')
            (seg.parent / 'not-ours').write_text('x')
            for p in (seg.parent / 'sFFFFFFFFFFFFFFFF', q / 'state/journal.99999999', seg.parent / 'not-ours'):
                os.chown(p, seg.stat().st_uid, seg.stat().st_gid)
        g.start().ready()
        with lab.Sink(port=port) as sink:
            with g.client() as c:  # new mail is taken, under a number of its own
                new = c.mail('new@client.test', 'new@far.test', body(99)).split()[-1]
            assert new not in ids
            # what is still being read is not there to be flushed
            lab.wait_for('the whole queue', lambda: json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['recovered'])
            g.ctl('queue', 'flush')
            hurt = {3} if what in ('header', 'table', 'content') else set()
            want = {f'b{i}@far.test' for i in range(N) if i not in hurt} | {'new@far.test'}
            lab.wait_for('what is whole', lambda: want <= {r for m in sink.mails for r in m['rcpts']})
            got = {r: lab.split_received(m['body'])[1] for m in sink.mails for r in m['rcpts']}
            for r, text in got.items():
                i = 99 if r.startswith('new') else int(r[1:].split('@')[0])
                assert text == body(i) or what == 'content' and i == 3, r
            assert len(sink.mails) == len(got), 'nothing twice'
            if len(got) < N + 1:
                g.wait_log('qmgr.damage|smtpc.content')
                assert what in ('table', 'header', 'content')
    finally:
        g.close()


@pytest.mark.parametrize('kind', ['log', 'dir'])
def test_unreadable_while_it_waits(inst, kind):
    """An envelope that turns out damaged when it is read again is listed, shown and deleted; no filter takes it."""
    g = lab.relay_all(inst, lab.free_port(), qmgr=f'min_retry_delay = 1h; max_memory = 768KB; queue {{ type = {kind}; }}')
    with g:
        ids = []
        while len(ids) < 3000 and not g.metrics('qmgr')['envelopes_unloaded_total'] > 20:  # until memory keeps no more
            with g.client() as c:
                ids += [c.mail('a@client.test', [f'r{i}@far.test', f's{i}@far.test'], b'Subject: x\r\n\r\nx\r\n', ehlo=None if i else 'client.test').split()[-1]
                        for i in range(50)]
        lab.wait_for('nothing to be tried', lambda: json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['active_recipients'] == 0)
        if kind == 'log':
            for seg in (g.dir / 'q').glob('in/*/s*'):
                for at in batches(seg):
                    flip(seg, at + 150)
        else:
            for p in (g.dir / 'q').glob('in/*/*/m*'):
                flip(p, p.stat().st_size - 150)  # of the envelope, before the last line
        rows = [json.loads(l) for l in g.ctl('queue', 'list', '--json').stdout.splitlines()]
        lost = [m for m in rows if m.get('unreadable')]
        assert len(rows) == len(ids) and lost and all(m['recipients_total'] == 2 for m in lost)
        one = lost[0]['id']
        shown = json.loads(g.ctl('queue', 'show', one, '--json').stdout)
        assert shown['id'] == one and [r['state'] for r in shown['recipients']] == ['waiting'] * 2
        assert f'{one}  cannot be read' in g.ctl('queue', 'list').stdout
        assert g.ctl('queue', 'show', one, '--content', check=False).returncode == 1
        assert json.loads(g.ctl('queue', 'why', one, '--json').stdout)['recipients'][0]['waits_for'] == 'envelope'
        hidden = next(i for i in reversed(ids) if i not in {m['id'] for m in rows})
        assert json.loads(g.ctl('queue', 'show', hidden, '--json').stdout)['unreadable'] is True
        assert '0 recipients' in g.ctl('queue', 'delete', '--sender', '<>').stdout
        assert '2 recipients deleted' in g.ctl('queue', 'delete', one).stdout
        assert '2 recipients deleted' in g.ctl('queue', 'delete', hidden).stdout
        assert g.ctl('queue', 'show', one, check=False).returncode == 1
        g.ctl('queue', 'delete', '--all')
        lab.wait_for('an empty queue', lambda: not g.queue())
