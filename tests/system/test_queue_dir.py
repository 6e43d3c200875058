# SPDX-License-Identifier: BSD-2-Clause
"""queue { type = dir; }: mail through the gateway, with files that an admin can read."""
import os, signal, threading

import lab

DIR = 'queue { type = dir; min_free = 0; } min_retry_delay = 1s; max_retry_delay = 2s;'


def files(g):
    return sorted((g.dir / 'q').glob('in/*/*/m*'))


def test_through_the_gateway(inst):
    """Waiting mail is a file with its content and its envelope; it survives kills of all, goes when it is
    delivered, is a report when it fails, and is gone when it is deleted."""
    open_ = threading.Event()

    def answer(verb, arg, s):
        if verb == 'RCPT' and 'nobody' in arg:
            return '550 5.1.1 no such user'
        return '451 4.3.2 later' if verb == 'RCPT' and not open_.is_set() else None
    with lab.Sink(answer=answer) as sink, lab.relay_all(inst, sink.port, qmgr=DIR, smtps='processes = 2;',
                                                        env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        ids = []
        with g.client() as c:
            c.cmd('EHLO dir.test', 250)
            for n in range(20):
                body = f'Subject: {n}\r\n\r\n'.encode() + b'..dots\r\n' + b'0123456789\r\n' * (40000 if n == 3 else 10)
                ids.append(c.mail(f's{n}@x.test', [f'r{n}@far.test'] + (['nobody@far.test'] if n == 5 else []),
                                  body, ehlo=None).split()[-1])
        lab.wait_for('a file a message', lambda: len(files(g)) == 20)
        text = next(f for f in files(g) if ids[5].encode() in f.read_bytes()).read_bytes()
        assert b'\r\n..dots\r\n' in text and b'\nfrom s5@x.test\n' in text and b'\nrcpt r5@far.test\nrcpt nobody@far.test\n' in text
        g.ctl('queue', 'delete', ids[7])
        lab.wait_for('its file to go', lambda: len(files(g)) == 19)
        for _ in range(2):
            pids = g.pids()
            for name in sorted(pids, key=lambda n: n != 'mcp'):
                os.kill(pids[name], signal.SIGKILL)
            g.proc.wait()
            lab.wait_for('all to be gone', lambda: not g.pids())
            g.start().ready()
            lab.wait_for('the queue to be known again', lambda: {m['id'] for m in g.queue()} >= set(ids) - {ids[7]})
        open_.set()
        g.ctl('queue', 'flush')
        lab.wait_for('an empty queue', lambda: not g.queue() or g.ctl('queue', 'flush') and False, 40)
        mails = [m for m in sink.mails if m['from']]
        assert sorted(m['rcpts'][0] for m in mails) == sorted(f'r{n}@far.test' for n in range(20) if n != 7)
        big = next(m for m in mails if m['rcpts'] == ['r3@far.test'])
        assert lab.split_received(big['body'])[1] == b'Subject: 3\r\n\r\n..dots\r\n' + b'0123456789\r\n' * 40000
        assert lab.statuses(sink.mails) == {'nobody@far.test': ['5.1.1']}
        lab.wait_for('no file to be left', lambda: not list((g.dir / 'q').glob('*/*/*/m*')) and not list((g.dir / 'q').glob('qm/*/m*')))


def test_file_that_is_damaged_or_gone(inst):
    """A damaged file is named and stays; one that was moved away is out of the queue; the rest is delivered."""
    open_ = threading.Event()
    with lab.Sink(answer=lambda v, a, s: None if v != 'RCPT' or open_.is_set() else '451 4.3.2 later') as sink, \
            lab.relay_all(inst, sink.port, qmgr=DIR) as g:
        with g.client() as c:
            c.cmd('EHLO dir.test', 250)
            for n in range(4):
                assert c.mail('s@x.test', f'r{n}@far.test', f'Subject: {n}\r\n\r\nx\r\n', ehlo=None).startswith('250')
        lab.wait_for('a file a message', lambda: len(files(g)) == 4)
        g.stop()
        a, b = files(g)[:2]
        data = a.read_bytes()
        a.write_bytes(data.replace(b'rcpt r0@', b'rcpt rX@'))
        b.rename(g.dir / 'taken')
        open_.set()
        g.start().ready()
        lab.wait_for('the rest', lambda: sorted(m['rcpts'][0] for m in sink.mails) == ['r2@far.test', 'r3@far.test'])
        assert 'qmgr.damage' in g.log() and a.name in g.log() and a.exists()
        g.stop()
        (g.dir / 'taken').rename(b)
        a.write_bytes(data)
        g.start().ready()
        lab.wait_for('those too', lambda: sorted(m['rcpts'][0] for m in sink.mails) == [f'r{n}@far.test' for n in range(4)])
        g.queue_empty()


def test_a_tool_leaves_no_trace(inst):
    """meta1ctl queue fsck says that it cannot, and takes no writer's folder: as root it would shut out smtps."""
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, qmgr=DIR) as g:
        before = sorted(str(p) for p in (g.dir / 'q').rglob('*'))
        p = g.ctl('queue', 'fsck', check=False)
        assert p.returncode == 2 and 'cannot check its store' in p.stderr and 'accounted for' not in p.stdout
        assert sorted(str(p) for p in (g.dir / 'q').rglob('*')) == before


def test_one_store_does_not_pass_over_the_mail_of_another(inst):
    """A change of the type with mail in the queue is refused at the start, in words, both ways."""
    for first, then in (('log', 'dir'), ('dir', 'log')):
        with lab.Sink(answer=lambda verb, arg, s: '451 4.3.2 later' if verb == 'RCPT' else None) as sink, \
                lab.relay_all(inst, sink.port, qmgr=f'queue {{ type = {first}; }}') as g:
            with g.client() as c:
                c.mail('a@x.test', ['b@far.test'], 'Subject: waits\r\n\r\n')
            g.stop()
            g.conf.write_text(g.conf.read_text().replace(f'type = {first};', f'type = {then};'))
            g.start(ready=False)
            g.wait_log(f'is mail of a queue of type {first}: start with queue {{ type = {first}; }}')
            g.stop()
            g.conf.write_text(g.conf.read_text().replace(f'type = {then};', f'type = {first};'))
            g.start().ready()
            lab.wait_for('the mail that waits', lambda: len(g.queue()) == 1)
