# SPDX-License-Identifier: BSD-2-Clause
"""Promise 5 and what hangs on it: failing writes and syncs, a full disk. Nothing is acknowledged that
is not safe, nothing is done twice, and work goes on when the fault is over."""
import errno, os, pathlib, signal, subprocess, threading

import pytest

import lab
from smalldisk import SmallDisk
from trace import Strace

SLOW = 'min_retry_delay = 1s; max_retry_delay = 2s; '


STORES = ('log', 'dir')
DIR = 'queue { type = dir; min_free = 0; status_sync = 20ms; } '


def queue(**options):
    given = {'status_sync': '20ms', 'segment_size': '256KB', 'checkpoint_size': '64KB', **options}
    return 'queue { type = log; ' + ' '.join(f'{k} = {v};' for k, v in given.items()) + ' } '


def mail(c, n, size=100):
    return c.mail('a@fault.test', f'r{n}@far.test', f'Subject: {n}\r\n\r\n'.encode() + b'0123456789\r\n' * (size // 12), ehlo=None)


def arrived(sink):
    return sorted(int(m['rcpts'][0].split('@')[0][1:]) for m in list(sink.mails))


def counts(g, role, name):
    return g.metrics(role).get(f'module_{name}_total', 0)


def faulty(inst, sink, call, errno, who, n=6, store='log'):
    """Mail while every third call of one kind fails; (acknowledged, refused)."""
    good, bad = [], []
    with lab.relay_all(inst, sink.port, qmgr=(DIR if store == 'dir' else queue()) + SLOW) as g:
        with g.client() as c, Strace(g, (who,), '-e', f'trace={call}', '-e', f'inject={call}:error={errno}:when=2+3'):
            c.cmd('EHLO fault.test', 250)
            for i in range(n):
                reply = mail(c, i, size=400000 if i % 3 == 1 else 100)
                (good if reply.startswith('250') else bad).append(i)
                assert reply.startswith(('250', '452 4.3.1')), reply
        with g.client() as c:  # the fault is over
            c.cmd('EHLO fault.test', 250)
            assert mail(c, 100).startswith('250')
        lab.wait_for('what was acknowledged', lambda: set(arrived(sink)) >= set(good + [100]))
        g.queue_empty()
        assert arrived(sink) == good + [100], 'refused mail was delivered, or some twice'
        lab.wait_for('no own file left', lambda: not [f for p in ('b*', 't*', '*/m*') for f in (g.dir / 'q/in/0').glob(p) if f.is_file()])
    return good, bad


@pytest.mark.parametrize('store', STORES)
def test_failed_sync_of_smtps(inst, sink, store):
    good, bad = faulty(inst, sink, 'fdatasync', 'EIO', 'smtps', store=store)
    assert good and bad


@pytest.mark.parametrize('store', STORES)
def test_failed_write_of_smtps(inst, sink, store):
    good, bad = faulty(inst, sink, 'pwritev' if store == 'log' else 'pwrite64', 'EIO', 'smtps', store=store)
    assert good and bad


@pytest.mark.parametrize('store', STORES)
def test_failed_sync_of_directory(inst, sink, store):
    good, bad = faulty(inst, sink, 'fsync', 'EIO', 'smtps', store=store)
    assert good and bad


def test_failed_name(inst, sink):
    """queue_dir: a file that does not get its name is no message."""
    good, bad = faulty(inst, sink, 'renameat', 'EIO', 'smtps', store='dir')
    assert good and bad


@pytest.mark.parametrize('store', STORES)
def test_failed_sync_of_journal(inst, sink, store):
    """Outcomes wait for a journal that can be synced; failed ones do not heap up; nothing is repeated."""
    with lab.relay_all(inst, sink.port, qmgr=(DIR if store == 'dir' else queue()) + SLOW) as g:
        with g.client() as c:
            c.cmd('EHLO fault.test', 250)
            with Strace(g, ('qmgr',), '-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO:when=1..4'):
                for i in range(5):
                    assert mail(c, i).startswith('250')
                lab.wait_for('failures to be seen', lambda: counts(g, 'qmgr', 'failed_journal_syncs') >= 3)
                assert g.queue()
                g.queue_empty()
            assert len(list((g.dir / 'q/state').glob('journal.*' if store == 'log' else 'outcomes.*'))) <= 2
            old = g.pids()['qmgr']
            os.kill(old, 9)
            lab.wait_for('a new qmgr', lambda: g.pids().get('qmgr', old) != old)
            g.ready()
            assert mail(c, 5).startswith('250')
        lab.wait_for('the last mail', lambda: 5 in arrived(sink))
        g.queue_empty()
        assert arrived(sink) == list(range(6))


def test_deleted_while_delivered(inst):
    """A mail that an admin deletes while it is being delivered leaves the queue when that is over, and not
    before: its place must not be written again while somebody reads it."""
    hang, go = threading.Event(), threading.Event()

    def answer(verb, arg, session):
        if verb == 'DOT':
            hang.set()
            go.wait(20)
    with lab.Sink(answer=answer) as sink, lab.relay_all(inst, sink.port, qmgr=queue()) as g, g.client() as c:
        c.cmd('EHLO fault.test', 250)
        id_ = mail(c, 1).split()[-1]
        assert hang.wait(20)
        g.ctl('queue', 'delete', id_)
        assert counts(g, 'qmgr', 'journal_syncs') == 1  # that it is deleted is on disk, its end is not
        m, = g.queue()
        assert m['id'] == id_ and m['recipients'][0]['state'] == 'deleted' and counts(g, 'qmgr', 'dead_units_now') == 0
        go.set()
        g.queue_empty()
        lab.wait_for('its end to be synced', lambda: counts(g, 'qmgr', 'journal_syncs') >= 2)
        assert 'unrecorded' not in g.log()


def test_no_room_for_a_segment(inst, sink):
    """fallocate fails: the mail of that moment is refused, and later mail taken."""
    good, bad = faulty(inst, sink, 'fallocate', 'ENOSPC', 'smtps', n=12)
    assert good


def test_content_that_cannot_be_read(inst, sink):
    """smtpc gets EIO from the store: nothing is sent, nothing bounces, it is delivered later."""
    with lab.relay_all(inst, sink.port, qmgr=queue() + SLOW) as g, g.client() as c:
        c.cmd('EHLO fault.test', 250)
        with Strace(g, ('smtpc',), '-e', 'trace=pread64,preadv,preadv2,sendfile', '-e', 'inject=pread64,preadv,preadv2,sendfile:error=EIO:when=1..4'):
            for i in range(4):
                assert mail(c, i, size=400000 if i == 2 else 100).startswith('250')
            lab.wait_for('all of it', lambda: arrived(sink) == list(range(4)) or g.ctl('queue', 'flush') and False, 40)
        g.queue_empty()
        assert all(m['from'] for m in sink.mails), 'something bounced'
        for m in sink.mails:
            n = m['rcpts'][0].split('@')[0][1:]
            assert lab.split_received(m['body'])[1].startswith(f'Subject: {n}\r\n'.encode())


class LoopDisk(SmallDisk):
    """The same on a file of 24 MB with ext4 in it, which turns read-only at an error."""

    def run_as(self, cmd):
        q, image = self.dir / 'q', self.dir / 'image'
        if not image.exists():
            with open(image, 'wb') as f:
                f.truncate(24 << 20)
            subprocess.run(['mkfs.ext4', '-q', '-J', 'size=4', str(image)], check=True,
                           env={**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'})
        return ['unshare', '-m', 'sh', '-c', 'mount -o loop,errors=remount-ro "$1" "$0" && shift && rm -rf "$0/lost+found" && '
                f'chown {self.uid}:{self.uid} "$0" && chmod 755 "$0" && exec "$@"', str(q), str(image), *lab.Gateway.run_as(self, cmd)]

    def device(self):
        with open(f'/proc/{self.proc.pid}/mounts') as f:
            return next(line.split()[0] for line in f if line.split()[1] == str(self.dir / 'q')).split('/')[-1]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='mounts need root')


def small_disk(inst, port, kind=None, **options):
    return (kind or SmallDisk)(inst, smtps='flags = { 8bitmime, access };', smar=lab.MAPS, qmgr=queue(**options) + SLOW,
                     files={'mt': f'. [127.0.0.1]:{port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'})


def fill(g, first=0, size=100000):
    """Sends until the queue takes no more; the numbers that it took."""
    took, i = [], first
    with g.client() as c:
        c.cmd('EHLO fault.test', 250)
        while True:
            c.cmd('MAIL FROM:<a@fault.test>', 250)
            c.cmd(f'RCPT TO:<r{i}@far.test>', 250)
            reply = c.cmd('DATA')
            if reply.startswith('354'):
                c.send(f'Subject: {i}\r\n\r\n'.encode() + b'0123456789\r\n' * (size // 12) + b'.\r\n')
                reply = c.reply()
            if not reply.startswith('250'):
                assert reply.startswith('452 4.3.1'), reply
                return took
            took.append(i)
            i += 1
            assert i < first + 1000


def full_disk(inst, kind=None, **options):
    open_ = threading.Event()
    with lab.Sink(answer=lambda verb, arg, s: None if open_.is_set() or verb != 'RCPT' else '451 4.3.2 not now') as sink, \
            small_disk(inst, sink.port, kind, **options) as g:
        took = fill(g)
        assert len(took) >= 3, took
        open_.set()
        g.ctl('queue', 'flush')
        lab.wait_for('what was acknowledged', lambda: set(arrived(sink)) >= set(took), 40)
        lab.wait_for('an empty queue', lambda: not g.queue() or g.ctl('queue', 'flush') and False)

        def takes():
            with g.client() as c:
                c.cmd('EHLO fault.test', 250)
                c.cmd('MAIL FROM:<a@fault.test>', 250)
                c.cmd('RCPT TO:<r2000@far.test>', 250)
                if not c.cmd('DATA').startswith('354'):
                    return False
                c.send('Subject: 2000\r\n\r\nx\r\n.\r\n')
                return c.reply().startswith('250')
        lab.wait_for('mail to be taken again', takes)
        lab.wait_for('that mail', lambda: 2000 in arrived(sink))
        assert arrived(sink) == took + [2000]


def test_full_disk_by_min_free(inst):
    full_disk(inst, min_free='1MB')


def test_full_disk_to_the_last_block(inst):
    full_disk(inst, min_free='0', segment_size='64KB')


@needs_root
def test_full_disk_of_ext4(inst):
    full_disk(inst, LoopDisk, min_free='0', segment_size='64KB')


@needs_root
def test_disk_turns_read_only(inst):
    """As ext4 does at an error of the device: nothing more is acknowledged, no role dies of it; after a repair
    and a start all that was acknowledged is there, and what is new is taken."""
    open_ = threading.Event()
    with lab.Sink(answer=lambda verb, arg, s: None if open_.is_set() or verb != 'RCPT' else '451 4.3.2 not now') as sink:
        g = small_disk(inst, sink.port, LoopDisk, min_free='0')
        with g:
            with g.client() as c:
                c.cmd('EHLO fault.test', 250)
                for i in range(6):
                    assert mail(c, i, size=400000 if i == 2 else 1000).startswith('250')
                trigger = pathlib.Path(f'/sys/fs/ext4/{g.device()}/trigger_fs_error')
                if not os.access(trigger, os.W_OK):
                    pytest.skip('this kernel lets nobody trigger an error of ext4')
                trigger.write_text('test')
                pids = g.pids()
                for i in range(6, 12):
                    assert mail(c, i, size=400000 if i == 8 else 1000).startswith('452 4.3.1')
            lab.wait_for('the journal to fail too', lambda: g.ctl('queue', 'flush') and counts(g, 'qmgr', 'failed_journal_syncs'))
            assert g.pids() == pids, 'a role ended'
            for name in sorted(pids, key=lambda n: n != 'mcp'):
                os.kill(pids[name], 9)
            g.proc.wait()
            lab.wait_for('all to be gone', lambda: not g.pids())
            subprocess.run(['e2fsck', '-fy', str(g.dir / 'image')], stdout=subprocess.DEVNULL, check=False,
                           env={**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'})
            open_.set()
            g.start().ready()
            lab.wait_for('what was acknowledged', lambda: set(arrived(sink)) >= set(range(6)), 40)
            with g.client() as c:
                c.cmd('EHLO fault.test', 250)
                assert mail(c, 100).startswith('250')
            lab.wait_for('new mail', lambda: 100 in arrived(sink))
            g.queue_empty()
            assert set(arrived(sink)) <= {*range(6), 100}, 'refused mail was delivered'
            assert 'qmgr.damage' not in g.log()


def test_full_disk_of_spares(inst):
    """Free segments that are kept for reuse must not be what fills the disk."""
    full_disk(inst, min_free='2MB', spare_segments='16')


def test_memory_of_what_is_gone(inst):
    """qmgr does not remember for ever each segment that came free."""
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, qmgr=queue(segment_size='64KB')) as g:
        def one(k):
            with g.client() as c:
                c.cmd('EHLO fault.test', 250)
                for i in range(90):
                    assert mail(c, 1000 * k + i, size=40000).startswith('250')
        clients = [threading.Thread(target=one, args=(k,)) for k in range(6)]
        for t in clients:
            t.start()
        for t in clients:
            t.join()
        sink.wait(540)
        g.queue_empty()
        lab.wait_for('segments to be free', lambda: len(list((g.dir / 'q/in/0').glob('s*'))) <= 2)
        assert 'module_dead_units_now' in g.metrics('qmgr')
        lab.wait_for('their memory to be free', lambda: g.metrics('qmgr')['module_dead_units_now'] < 300)


def test_folder_that_cannot_be_read(inst, sink):
    """A qmgr that cannot list its folders does not take them for empty: nothing is done again."""
    with lab.relay_all(inst, sink.port, qmgr=queue() + SLOW, env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        with g.client() as c:
            c.cmd('EHLO fault.test', 250)
            for i in range(5):
                assert mail(c, i).startswith('250')
        sink.wait(5)
        g.queue_empty()
        with Strace(g, ('mcp',), '-e', 'trace=getdents64', '-e', 'inject=getdents64:error=EIO'):
            old = g.pids()['qmgr']
            os.kill(old, 9)
            g.wait_log(r'(Input/output error|qmgr\.recovered messages=[^0])')
        g.ready()
        with g.client() as c:
            c.cmd('EHLO fault.test', 250)
            assert mail(c, 5).startswith('250')
        lab.wait_for('the last mail', lambda: 5 in arrived(sink))
        g.queue_empty()
        assert arrived(sink) == list(range(6))


class FullDisk(SmallDisk):
    """Somebody else fills what is left of the disk."""
    SIZE = '24m'

    def fill(self):
        """Again whenever something came free meanwhile: a qmgr that just began drops what it does not need any more."""
        def full():
            with open(self.q() / 'ballast', 'ab', buffering=0) as f:
                try:
                    while f.write(bytes(4096)):
                        pass
                except OSError as e:
                    assert e.errno == errno.ENOSPC
            return self.free() == 0
        lab.wait_for('a full disk', full)


def test_outcomes_are_not_said_again_on_a_full_disk(inst):
    """A file of outcomes that is large enough cannot be followed by another: then what waits is not said again in the old
    one, which would fill it, time and again. When there is room it becomes history."""
    with lab.Sink(answer=lambda verb, arg, s: '451 4.3.2 later' if verb == 'RCPT' else None) as sink, FullDisk(
            inst, smtps='flags = { 8bitmime, access };', smar=lab.MAPS, files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'},
            qmgr='queue { type = dir; min_free = 0; journal_size = 64KB; } min_retry_delay = 10m;', env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        state = g.q() / 'state'

        def tries():
            return [r['tries'] for m in g.queue() for r in m['recipients']]

        def flush():
            had = tries()
            g.ctl('queue', 'flush')
            lab.wait_for('a try of each', lambda: all(n > h for n, h in zip(tries(), had)))
        with g.client() as c:
            c.cmd('EHLO dir.test', 250)
            for n in range(4):
                assert c.mail('s@x.test', f'r{n}@far.test', 'Subject: x\r\n\r\nx\r\n', ehlo=None).startswith('250')
            lab.wait_for('a try of each', lambda: len(tries()) == 4 and all(tries()))
            g.fill()
        file = min(state.glob('outcomes.*'))
        for _ in range(16):
            flush()
            if counts(g, 'qmgr', 'journal_syncs') >= 17:  # each takes 4096 bytes at least
                break
        for _ in range(3):
            flush()

        def said():
            rows = [line.split() for line in file.read_bytes().replace(b'\0', b'').split(b'\n')]
            return [(r[2], r[3], int(r[5])) for r in rows if len(r) > 8]  # number, recipient, tries
        last = max(tries())
        lab.wait_for('the last tries to be in the file', lambda: sum(t == last for _, _, t in said()) == 4)
        assert len(set(said())) == len(said()), 'what was said was said again in the same file'
        assert [f for f in state.glob('outcomes.*')] == [file] and not counts(g, 'qmgr', 'failed_journal_syncs')
        (g.q() / 'ballast').unlink()
        old, had = g.pids()['qmgr'], tries()
        os.kill(old, signal.SIGKILL)
        lab.wait_for('a new qmgr', lambda: g.pids().get('qmgr', old) != old)
        g.ready()
        lab.wait_for('the old file to be history', lambda: not file.exists() and (state / file.name.replace('outcomes', 'history')).exists())
        lab.wait_for('the queue to be known again', lambda: sorted(tries()) == sorted(had))


def test_outcomes_and_reports_on_a_full_disk(inst):
    """Not a block is left: what is delivered is recorded, what fails is reported, and space comes back from nothing but
    that; and the same after a kill of qmgr, which must begin a new file of outcomes."""
    open_, refuse = threading.Event(), threading.Event()

    def answer(verb, arg, s):
        if verb != 'RCPT' or open_.is_set() and 'nobody' not in arg or 's@x.test' in arg:
            return None
        return '550 5.1.1 no such user' if refuse.is_set() and 'nobody' in arg else '451 4.3.2 later'
    with lab.Sink(answer=answer) as sink, FullDisk(
            inst, smtps='flags = { 8bitmime, access };', smar=lab.MAPS, files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'},
            qmgr='queue { type = dir; min_free = 0; journal_size = 1MB; } min_retry_delay = 10m;', env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        to = [f'r{n}@far.test' for n in range(6)] + [f'nobody{n}@far.test' for n in range(6)]
        with g.client() as c:
            c.cmd('EHLO dir.test', 250)
            for r in to:
                assert c.mail('s@x.test', r, 'Subject: x\r\n\r\nx\r\n', ehlo=None).startswith('250')
            lab.wait_for('a try of each', lambda: all(r['tries'] for m in g.queue() for r in m['recipients']))
            g.fill()
            c.cmd('MAIL FROM:<s@x.test>', 250)
            c.cmd('RCPT TO:<r99@far.test>', 250)
            reply = c.cmd('DATA')
            if reply.startswith('354'):
                c.send(b'Subject: x\r\n\r\nx\r\n.\r\n')
                reply = c.reply()
            assert reply.startswith('452 4.3.1'), reply
        old = g.pids()['qmgr']
        os.kill(old, signal.SIGKILL)
        lab.wait_for('a new qmgr', lambda: g.pids().get('qmgr', old) != old)
        g.ready()
        g.fill()
        lab.wait_for('the queue to be known again', lambda: len(g.queue()) == len(to))
        g.fill()
        refuse.set()  # nothing is delivered that would give room back before the first report
        g.ctl('queue', 'flush')
        lab.wait_for('the reports', lambda: len(g.queue()) == 6, 40)
        open_.set()
        g.ctl('queue', 'flush')
        lab.wait_for('an empty queue', lambda: not g.queue() or g.ctl('queue', 'flush') and False, 40)
        got = [m['rcpts'][0] for m in sink.mails]
        assert sorted(r for r in got if r != 's@x.test') == sorted(to[:6])
        assert lab.statuses(sink.mails) == {r: ['5.1.1'] for r in to[6:]}
        lab.wait_for('no file to be left', lambda: not list(g.q().glob('in/*/*/m*')) and not list(g.q().glob('qm/*/m*')))
        assert (g.q() / 'ballast').stat().st_size > 1 << 20
        (g.q() / 'ballast').unlink()
