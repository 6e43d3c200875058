# SPDX-License-Identifier: BSD-2-Clause
"""Promises 2 and 3: after a kill at any point every acknowledged mail is there once, none is half; what
is torn is cut, what is damaged goes to quarantine, and the start goes on; what was recorded as
done is not done again."""
import fcntl, json, os, re, signal, struct, threading

import pytest

import lab
from test_faults import SLOW, arrived, mail, queue
from trace import Strace

MAGIC = struct.pack('=Q', 0x31484354424d314d)


class Gate(lab.Sink):
    """A next hop that takes nothing before it is opened."""

    def __init__(self):
        self.open = threading.Event()
        super().__init__(answer=lambda verb, arg, s: None if verb != 'RCPT' or self.open.is_set() else '451 4.3.2 not now')


def kill_all(g):
    """As a power cut does, but for the disk: mcp first, so that it starts nothing."""
    pids = g.pids()
    for name in sorted(pids, key=lambda n: n != 'mcp'):
        os.kill(pids[name], signal.SIGKILL)
    g.proc.wait()
    lab.wait_for('all to be gone', lambda: all(map(lab.ended, pids.values())) and not g.pids())


def send(g, numbers, **kw):
    """One after the other, so that each has a batch of its own; number -> id."""
    with g.client() as c:
        c.cmd('EHLO recovery.test', 250)
        return {n: re.search(r'as (S\w+)', mail(c, n, **kw))[1] for n in numbers}


def segment_with(g, id_):
    for p in sorted((g.dir / 'q/in').glob('*/s*')):
        if (at := p.read_bytes().find(id_.encode())) >= 0:
            return p, at
    raise AssertionError(f'{id_} is in no segment')


def flip(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x55]))


def again(g, sink, expected):
    g.start().ready()
    sink.open.set()
    lab.wait_for('the start to be over', lambda: '"recovered": true' in g.ctl('status', '--json').stdout or
                 'qmgr.recovered' in g.log())
    lab.wait_for('what was acknowledged', lambda: set(arrived(sink)) >= set(expected))


def test_done_is_not_done_again(inst):
    """kill -9 of all after the outcomes are durable: nothing is repeated, what waits is tried."""
    with lab.Sink(answer=lambda verb, arg, s: '451 4.3.2 later' if verb == 'RCPT' and hold.is_set() and 'r7' in arg else None) as sink:
        hold = threading.Event()
        hold.set()
        with lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g:
            for size in (100, 400000):
                first = len(sink.mails)
                with g.client() as c:
                    c.cmd('EHLO recovery.test', 250)
                    for n in range(5):
                        assert c.mail('a@x.test', [f'r{n}@far.test', 'r7@far.test'],
                                      b'Subject: x\r\n\r\n' + b'0123456789\r\n' * (size // 12), ehlo=None).startswith('250')
                lab.wait_for('five deliveries', lambda: len([m for m in sink.mails[first:] if 'r7' not in str(m['rcpts'])]) == 5)
                lab.wait_for('their outcomes', lambda: all(r['state'] != 'delivering' for m in g.queue() for r in m['recipients']))
                # r7 waits: its outcome was recorded behind the others', so theirs are safe when it is synced
                syncs = g.metrics('qmgr').get('module_journal_syncs_total', 0)
                lab.wait_for('a further sync of the journal', lambda: g.metrics('qmgr').get('module_journal_syncs_total', 0) > syncs)
                kill_all(g)
                g.start().ready()
            hold.clear()
            lab.wait_for('the ten that waited', lambda: len([m for m in sink.mails if 'r7@far.test' in m['rcpts']]) == 10)
            g.queue_empty()
            assert len(sink.mails) == 20, 'something was delivered twice'


@pytest.mark.parametrize('kind', ['log; checkpoint_size = 64KB', 'dir; journal_size = 64KB'], ids=['log', 'dir'])
def test_start_reads_no_content(inst, kind):
    """A start is linear in envelopes: of 14 MB that wait, in segments and in files of their own, qmgr reads next to nothing.
    Only the newest are read whole, since they might be torn: here those are small."""
    with Gate() as sink, lab.relay_all(inst, sink.port, qmgr=f'min_retry_delay = 1h; queue {{ type = {kind}; }}') as g:
        send(g, range(40), size=100000)
        send(g, range(40, 50), size=1000000)
        send(g, range(50, 120))
        lab.wait_for('all to be known', lambda: json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['messages'] == 120)
        g.stop()
        g.start().ready()
        lab.wait_for('all to be known again', lambda: json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['recovered'])
        assert json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['messages'] == 120
        with open(f'/proc/{g.pids()["qmgr"]}/io') as f:
            read = int(re.search(r'rchar: (\d+)', f.read())[1])
        assert read < 3500000, f'{read} bytes read at a start'  # some blocks for each batch


def test_killed_between_write_and_sync(inst):
    """The batch stands there whole, unacknowledged: it may come or not; the rest comes."""
    with Gate() as sink, lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g:
        ids = send(g, range(3))
        os.kill(g.pids()['mcp'], signal.SIGSTOP)
        with Strace(g, ('smtps',), '-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EINTR:signal=KILL'):
            try:
                send(g, [3])
                raise AssertionError('acknowledged without a sync')
            except (ConnectionError, OSError):
                pass
        kill_all(g)
        again(g, sink, ids)
        g.queue_empty()
        assert arrived(sink) in ([0, 1, 2], [0, 1, 2, 3])


def test_torn_tail(inst):
    """The same, and the end of the write is missing: cut with a line in the log, nothing half."""
    with Gate() as sink, lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g:
        ids = send(g, range(3))
        # nor may qmgr see that smtps is dead: it would find the batch whole, sync it and believe it
        for name in ('mcp', 'qmgr'):
            os.kill(g.pids()[name], signal.SIGSTOP)
        with Strace(g, ('smtps',), '-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EINTR:signal=KILL'):
            try:
                send(g, [3], size=20000)
                raise AssertionError('acknowledged without a sync')
            except (ConnectionError, OSError):
                pass
        kill_all(g)
        path, at = segment_with(g, ids[2])
        data = path.read_bytes()
        start = data.rindex(MAGIC)
        assert start > at and b'Subject: 3' in data[start:]
        with open(path, 'r+b') as f:
            f.seek(start + 8192)
            f.write(bytes(4096))
        again(g, sink, ids)
        g.queue_empty()
        assert arrived(sink) == [0, 1, 2]
        assert 'torn end' in g.log()


def test_flipped_bytes(inst):
    """One bad record never stops the start: quarantined and named; all others arrive."""
    with Gate() as sink, lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g:
        ids = send(g, range(8))
        lab.wait_for('a try of each, recorded', lambda: g.metrics('qmgr').get('module_journal_syncs_total', 0) > 0 and
                     all(r['tries'] for m in g.queue() for r in m['recipients']))
        syncs = g.metrics('qmgr').get('module_journal_syncs_total', 0)
        lab.wait_for('one more sync', lambda: g.metrics('qmgr').get('module_journal_syncs_total', 0) > syncs)
        kill_all(g)
        path, at = segment_with(g, ids[2])
        flip(path, at)  # in the table of envelopes
        path, at = segment_with(g, ids[4])
        flip(path, at - at % 4096 + 20)  # in a header
        path, at = segment_with(g, ids[5])
        flip(path, path.read_bytes().index(b'Subject: 5') + 15)  # in the content
        path, at = segment_with(g, ids[7])
        flip(path, at)  # in the newest of all
        again(g, sink, [0, 1, 3, 6])
        kept = sorted(p.read_bytes() for p in (g.dir / 'q/state/quarantine').iterdir())
        assert len(kept) == 3, f'{len(kept)} damaged ranges were kept'
        assert g.log().count('qmgr.damage') >= 1
        lab.wait_for('the one whose content is damaged to be left', lambda: [m['id'] for m in g.queue()] == [ids[5]])
        assert arrived(sink) == [0, 1, 3, 6]
        assert 'checksum differs' in g.log()


def test_counter_of_numbers(inst):
    """A lost or torn in/ids never gives a number twice: no mail is taken for another one."""
    with Gate() as sink, lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g:
        ids, n = {}, 0
        for harm in (lambda p: p.unlink(), lambda p: p.write_bytes(b''), lambda p: p.write_bytes(p.read_bytes()[:9]),
                     lambda p: flip(p, 9), lambda p: None):
            ids |= send(g, range(n, n + 4))
            n += 4
            kill_all(g)
            harm(g.dir / 'q/in/ids')
            g.start().ready()
        assert len(set(ids.values())) == n
        sink.open.set()
        lab.wait_for('all of it', lambda: set(arrived(sink)) == set(ids))
        g.queue_empty()
        assert arrived(sink) == sorted(ids)


def test_last_words_of_smtps(inst):
    """smtps dies with mail acknowledged that qmgr did not hear of, and its successor works in another
    folder: qmgr reads what is there all the same."""
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g:
        pids = g.pids()
        os.kill(pids['qmgr'], signal.SIGSTOP)
        long_ = ['r%d.%s@%s.test' % (i, 'x' * 50, 'y' * 60 + '.' + 'z' * 60) for i in range(800)]
        with g.client() as c:
            c.cmd('EHLO recovery.test', 250)
            for i in range(14):  # until the channel takes no more
                assert c.mail('a@x.test', long_, f'Subject: {i}\r\n\r\n', ehlo=None).startswith('250')
            assert g.metrics('smtps')['queued_not_sent_total'] > 0
            assert mail(c, 14).startswith('250')
        os.kill(pids['mcp'], signal.SIGSTOP)
        os.kill(pids['smtps'], signal.SIGKILL)
        with open(g.dir / 'q/in/0/lock') as lock:
            lab.wait_for('its lock', lambda: taken(lock))
            for role in ('qmgr', 'mcp'):
                os.kill(pids[role], signal.SIGCONT)
            lab.wait_for('another folder', lambda: (g.dir / 'q/in/1').exists() and g.greets())
        lab.wait_for('the last one', lambda: any('r14@far.test' in m['rcpts'] for m in list(sink.mails)))


def taken(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def test_freed_before_a_checkpoint(inst):
    """A segment that was done and is gone is no damage, also when its outcomes are known and no checkpoint
    has its end: one that fails, or a power loss at that moment. Both of a client and of qmgr itself."""
    with lab.Sink(answer=lambda verb, arg, s: '550 5.1.1 nobody' if verb == 'RCPT' and '<r1@' in arg else None) as sink, \
            lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g:
        state = g.dir / 'q/state'
        send(g, range(2))
        lab.wait_for('mail and report', lambda: any(not m['from'] for m in sink.mails))
        g.queue_empty()
        assert not list(state.glob('checkpoint.*'))
        (state / 'checkpoint.tmp').mkdir()  # from here on no checkpoint can be written
        old = [p for d in ('in', 'qm') for p in (g.dir / 'q' / d).rglob('s*') if p.is_file()]
        assert {p.parent.name for p in old} == {'0', 'qm'}
        syncs = g.metrics('qmgr').get('module_journal_syncs_total', 0)
        assert syncs > 0
        kill_all(g)
        g.start().ready()
        lab.wait_for('segments of the earlier life to go', lambda: not any(p.exists() for p in old))
        kill_all(g)
        g.start().ready()
        g.wait_log('qmgr.recovered')
        lab.wait_for('the start to be over', lambda: g.log().count('qmgr.recovered') >= 2)
        assert 'checkpoint' in g.log() and 'qmgr.damage' not in g.log(), g.log()[-2000:]
        assert not g.queue() and len(sink.mails) == 2
