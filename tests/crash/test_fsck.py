# SPDX-License-Identifier: BSD-2-Clause
"""Promise 7: meta1ctl queue fsck accounts for every message that was accepted, says what was done with it
and by whom, and sees what is missing; and promise 4 from the outside: a few old messages do not
keep the space of thousands that are done."""
import json, os, random, re, shutil, signal, subprocess, threading

import lab
from test_faults import SLOW, queue
from test_recovery import Gate, flip, kill_all, segment_with, send


def fsck(g):
    """(exit status, id -> states of its recipients, findings, summary, raw)"""
    p = g.ctl('queue', 'fsck', '--json', check=False)
    fates, findings, summary = {}, [], None
    for line in p.stdout.splitlines():
        j = json.loads(line)
        if 'id' in j:
            fates.setdefault(j['id'], []).append(j)
        elif 'finding' in j:
            findings.append((j['finding'], j['text']))
        else:
            summary = j['summary']
    assert summary is not None, p.stdout + p.stderr
    return p.returncode, fates, findings, summary


def faults(findings):
    return [f for f in findings if f[0] in ('lost', 'damage', 'quarantine')]


def states(fates):
    return {i: sorted(f['state'] for f in v) for i, v in fates.items()}


def du(path):
    return sum(p.stat().st_blocks * 512 for p in path.rglob('*') if p.is_file())


def test_every_fate(inst):
    answers = {'r0': None, 'r1': '550 5.1.1 nobody', 'r2': '451 4.3.2 later', 'r3': '451 4.3.2 later'}
    with lab.Sink(answer=lambda verb, arg, s: answers.get(arg.split('<')[1][:2]) if verb == 'RCPT' and '<r' in arg else None) as sink, \
            lab.relay_all(inst, sink.port, qmgr=queue()) as g:
        ids = send(g, range(4))
        with g.client() as c:
            c.cmd('EHLO fsck.test', 250)
            both = c.mail('a@x.test', ['r0@far.test', 'r2@far.test'], 'Subject: two\r\n\r\n', ehlo=None).split(' as ')[1].split()[0]
            big = c.mail('a@x.test', ['r0@far.test'], b'Subject: big\r\n\r\n' + b'0123456789\r\n' * 40000, ehlo=None).split(' as ')[1].split()[0]
        lab.wait_for('the deferred', lambda: {m['id'] for m in g.queue() if all(r['tries'] for r in m['recipients'] if r['state'] == 'waiting')}
                     == {ids[2], ids[3], both})
        g.ctl('queue', 'delete', ids[3])
        want = {ids[0]: ['delivered'], ids[1]: ['bounced'], ids[2]: ['waiting'], ids[3]: ['deleted'],
                both: ['delivered', 'waiting'], big: ['delivered']}
        rc, fates, found, summary = fsck(g)  # in use
        assert rc == 0 and not faults(found), found
        assert summary['in_use']
        # a deletion is told before it is recorded, which takes up to status_sync
        lab.wait_for('all of it to be recorded', lambda: {i: states(fsck(g)[1]).get(i) for i in want} == want)
        kill_all(g)
        rc, fates, found, summary = fsck(g)
        got = states(fates)
        assert rc == 0 and not faults(found), found
        assert {i: got.get(i) for i in want} == want
        assert not summary['in_use'] and summary['waiting'] == 2
        assert fates[ids[1]][0]['by'] == ids[1] + '-1', 'by which report'
        assert str(os.getuid()) in fates[ids[3]][0]['by'], 'by which admin'
        assert fates[ids[0]][0]['sender'] == 'a@fault.test' and fates[ids[0]][0]['recipient'] == 'r0@far.test'
        before = sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in (g.dir / 'q').rglob('*'))
        fsck(g)
        assert before == sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in (g.dir / 'q').rglob('*')), 'fsck changed something'
        # it sees what is damaged and what is missing
        path, at = segment_with(g, ids[2])
        whole = path.read_bytes()
        flip(path, whole.index(b'Subject: 2') + 12)
        rc, _, found, _ = fsck(g)
        assert rc == 1 and any(k == 'damage' and ids[2] in t for k, t in found), found
        path.write_bytes(whole)
        flip(path, at)
        rc, _, found, _ = fsck(g)
        assert rc == 1 and any(k == 'lost' for k, _ in found) and any(k == 'damage' for k, _ in found), found
        path.unlink()
        rc, _, found, _ = fsck(g)
        assert rc == 1 and any(k == 'lost' for k, _ in found), found
        path.write_bytes(whole)
        shutil.rmtree(g.dir / 'q/state')
        (g.dir / 'q/state').mkdir()
        rc, fates, found, _ = fsck(g)
        assert ids[2] in fates, 'without the state everything waits'


def test_sparse_segments(inst):
    """Thousands done, a few wait: the space comes back, and they arrive from where they were moved to."""
    stay = (3, 150, 290)
    with Gate() as gate, lab.relay_all(inst, gate.port, qmgr=queue(compact_after='0', spare_segments=0) + 'history_size = 256KB; ') as g:
        hold = threading.Event()
        gate.open.set()
        gate.answer = lambda verb, arg, s: '451 4.3.2 not now' if verb == 'RCPT' and not hold.is_set() and \
            any(f'<r{n}@' in arg for n in stay) else None
        ids = send(g, range(300), size=20000)
        lab.wait_for('all but three', lambda: {m['id'] for m in g.queue()} == {ids[n] for n in stay})
        lab.wait_for('compaction', lambda: g.metrics('qmgr').get('module_compacted_messages_total', 0) >= 1 or
                     du(g.dir / 'q/in') + du(g.dir / 'q/qm') <= 6 * (256 << 10))
        lab.wait_for('the space', lambda: du(g.dir / 'q/in') + du(g.dir / 'q/qm') <= 2 * 3 * 24000 + 6 * (256 << 10), limit=60)
        rc, fates, found, _ = fsck(g)
        assert rc == 0 and not faults(found), found
        kill_all(g)
        rc, fates, found, _ = fsck(g)
        assert rc == 0 and not faults(found), found
        hold.set()
        g.start().ready()
        g.ctl('queue', 'flush')
        lab.wait_for('the three', lambda: {m['rcpts'][0] for m in gate.mails} >= {f'r{n}@far.test' for n in stay})
        g.queue_empty()
        assert len(gate.mails) == 300
        g.stop()
        rc, fates, found, summary = fsck(g)
        assert rc == 0 and summary['waiting'] == 0, found


def pour(g, n):
    """Mails of no content, as fast as they are taken."""
    source = subprocess.run(['smtp-source', '-d', '-s', '4', '-m', str(n), '-f', 'many@fault.test', '-t', 'x@far.test', f'127.0.0.1:{g.port}'],
                            capture_output=True, text=True)
    assert source.returncode == 0, source.stderr


def test_what_the_history_no_longer_tells(inst):
    """An old segment stays for what waits in it; those behind it are gone, and the history that told of them too: no loss."""
    with Gate() as gate, lab.relay_all(inst, gate.port, qmgr=queue(compact_after='1d', spare_segments=0, segment_size='64KB') +
                                       'history_size = 256KB; min_retry_delay = 1h; max_retry_delay = 1h; ') as g:
        stays = send(g, (0,))[0]
        lab.wait_for('a try of it', lambda: all(r['tries'] for m in g.queue() for r in m['recipients']))
        gate.open.set()
        files = lambda: sorted(p.name for p in (g.dir / 'q/state').glob('history.*'))

        def forgotten():
            pour(g, 500)
            lab.wait_for('all but one', lambda: {m['id'] for m in g.queue()} == {stays}, 60)
            return files() and int(files()[0].split('.')[1], 16) > 1
        lab.wait_for('the first of the history to go', forgotten, 120)
        lab.wait_for('segments to be gone', lambda: len(list((g.dir / 'q/in/0').glob('s*'))) <= 3)
        rc, fates, found, summary = fsck(g)
        assert rc == 0 and not faults(found) and summary['waiting'] == 1, found
        kill_all(g)
        rc, fates, found, summary = fsck(g)
        assert rc == 0 and not faults(found) and summary['waiting'] == 1, found


def test_checkpoint_of_a_table_with_holes(inst):
    """More messages than a checkpoint writes in a turn, deleted all but the oldest and the newest: what it
    finds between them is nothing, again and again."""
    with Gate() as gate, lab.relay_all(inst, gate.port, qmgr=queue() + 'min_retry_delay = 1h; max_retry_delay = 1h; ') as g:
        ends = send(g, (0,))
        pour(g, 7000)
        ends |= send(g, (1,))
        lab.wait_for('all to be known', lambda: json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['messages'] == 7002)
        pid = g.pids()['qmgr']
        g.ctl('queue', 'delete', '--sender', 'many@fault.test')
        lab.wait_for('the two that stay', lambda: {m['id'] for m in g.queue()} == set(ends.values()))
        before = g.metrics('qmgr').get('module_checkpoints_total', 0)
        for n in range(2, 80):  # records, until a checkpoint is due
            one = send(g, (n,))[n]
            lab.wait_for('qmgr to hear of it', lambda: g.ctl('queue', 'delete', one, check=False).returncode == 0)
        lab.wait_for('a checkpoint', lambda: g.metrics('qmgr').get('module_checkpoints_total', 0) > before)
        assert g.pids()['qmgr'] == pid
        kill_all(g)
        gate.open.set()
        g.start().ready()
        g.ctl('queue', 'flush')
        lab.wait_for('the two', lambda: sorted(m['rcpts'][0] for m in gate.mails) == ['r0@far.test', 'r1@far.test'])


def test_done_while_a_checkpoint_is_written(inst):
    """A mail that came while a checkpoint was written may stand in it and behind its cursor. It was delivered since: not once more."""
    lab.make('tests/crash/rewind')
    with Gate() as gate, lab.relay_all(inst, gate.port, qmgr=queue() + 'min_retry_delay = 1h; max_retry_delay = 1h; ') as g:
        one = send(g, (0,))[0]
        lab.wait_for('a try of it', lambda: all(r['tries'] for m in g.queue() for r in m['recipients']))
        os.kill(old := g.pids()['qmgr'], signal.SIGKILL)
        lab.wait_for('another qmgr', lambda: g.pids().get('qmgr', old) != old)
        lab.wait_for('the checkpoint of a start', lambda: g.metrics('qmgr').get('module_checkpoints_total', 0) > 0)
        gate.open.set()
        g.ctl('queue', 'flush')
        lab.wait_for('its delivery', lambda: len(gate.mails) == 1 and not g.queue())
        lab.wait_for('the record of it', lambda: fsck(g)[1][one][0]['state'] == 'delivered')
        kill_all(g)
        for f in (g.dir / 'q/state').glob('checkpoint.*'):
            subprocess.run([lab.BUILD / 'tests/crash/rewind', f], check=True)
        g.start().ready()
        found = lab.wait_for('what waits', lambda: re.findall(r'qmgr\.recovered messages=(\d+)', g.log())[-1:])
        rc, fates, faulty, summary = fsck(g)
        assert found == ['0'] and len(gate.mails) == 1 and (rc, summary['waiting'], states(fates)) == (0, 0, {one: ['delivered']}), (found, faulty, summary)


def test_flipped_bits_anywhere(inst):
    """Bits turned at random in every kind of file of a stopped queue: the start goes on, all else is
    delivered, and what is lost is named."""
    rng = random.Random(4)
    with Gate() as gate, lab.relay_all(inst, gate.port, qmgr=queue() + SLOW) as g:
        ids = send(g, range(6))
        gate.open.set()
        g.queue_empty()
        gate.open.clear()
        g.stop()
        g.start().ready()
        waiting = send(g, range(10, 16))
        lab.wait_for('all six', lambda: len(g.queue()) == 6)
        g.stop()
        for p in sorted((g.dir / 'q').rglob('*')):
            if p.is_file() and p.stat().st_size and p.name.split('.')[0] in ('journal', 'checkpoint', 'history', 'ids'):
                flip(p, rng.randrange(min(p.stat().st_size, 4096)))
        rc, _, found, _ = fsck(g)
        assert rc == 1 and faults(found), 'damage is not seen'
        gate.open.set()
        g.start().ready()
        lab.wait_for('what was acknowledged', lambda: {m['rcpts'][0] for m in gate.mails} >= {f'r{n}@far.test' for n in waiting})
        g.queue_empty()


def test_max_disk(inst):
    """452 before the queue takes more than it may; taken again when there is less."""
    with Gate() as gate, lab.relay_all(inst, gate.port, smtps='max_message_size = 1MB; ',
                                       qmgr=queue(max_disk='3MB', spare_segments=0) + SLOW) as g:
        replies = []

        def one():
            with g.client() as c:
                c.cmd('EHLO disk.test', 250)
                c.cmd('MAIL FROM:<a@x.test>', 250)
                c.cmd('RCPT TO:<r1@far.test>', 250)
                reply = c.cmd('DATA')
                if reply.startswith('354'):
                    c.send(b'Subject: x\r\n\r\n' + b'0123456789\r\n' * 33000 + b'.\r\n')
                    reply = c.reply()
                replies.append(reply)
            return replies[-1]
        lab.wait_for('no more room', lambda: one().startswith('452 4.3.1'), limit=60)
        taken = sum(r.startswith('250') for r in replies)
        assert taken >= 3 and all(r.startswith(('250', '452 4.3.1')) for r in replies), replies
        assert 'max_disk' in g.log()
        gate.open.set()
        g.queue_empty()
        lab.wait_for('room again', lambda: one().startswith('250'))
        lab.wait_for('all', lambda: len(gate.mails) == sum(r.startswith('250') for r in replies))


def test_another_format(inst):
    """A queue of another version is refused with what to do, and stays as it was."""
    with Gate() as gate, lab.relay_all(inst, gate.port, qmgr=queue()) as g:
        ids = send(g, range(2))
        g.stop()
        path, _ = segment_with(g, ids[0])
        whole = path.read_bytes()
        with open(path, 'r+b') as f:
            f.seek(8)
            f.write((7).to_bytes(4, 'little'))
            f.seek(96)  # the checksum, too: it is not a turned bit
            f.write(b'\0' * 8)
        changed = path.read_bytes()
        g.start(ready=False)
        lab.wait_for('its refusal', lambda: 'format version 7' in g.log())
        assert path.read_bytes() == changed
        g.stop()
        path.write_bytes(whole)
        gate.open.set()
        g.start().ready()
        g.ctl('queue', 'flush')
        lab.wait_for('both', lambda: len(gate.mails) >= 2)
