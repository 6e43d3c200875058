# SPDX-License-Identifier: BSD-2-Clause
"""Filters and the disk: what they bring or are told of a large mail is read and written by worker threads, never by the thread that
serves the others; and a queue that is full in earnest, while filters edit and replace."""
import contextlib, json, os, re, signal, subprocess, threading

import lab, milterd, pytest
from smalldisk import SmallDisk
from test_pmilter import pmfilter, with_filter

LINE = b'abc def ' * 8 + b'\r\n'


def large(size, field=b'X-Do: replace'):
    return b'Subject: t\r\n' + field + b'\r\n\r\n' + LINE * (size // len(LINE))


@contextlib.contextmanager
def traced(g, pid, path):
    """What a process does with files meanwhile, a line each: thread, call."""
    with subprocess.Popen(['strace', '-f', '-qq', '-y', '-s', '0', '-o', path, '-p', str(pid), '-e',
                           'trace=pread64,pwrite64,read,write,preadv,pwritev,sendfile,fdatasync,fsync,ftruncate,copy_file_range'],
                          stderr=subprocess.PIPE) as p:
        try:
            lab.wait_for('strace', lambda: re.search(r'TracerPid:\t(?!0)', open(f'/proc/{pid}/status').read()))
            yield
        finally:
            p.send_signal(signal.SIGINT)
            p.wait(20)


def test_whose_thread_it_is(inst, tmp_path):
    """A mail of 1 MiB to a filter, which replaces it with lines that end with LF alone, then to one that adds a field."""
    with pmfilter() as f, milterd.Milter(says={'E': [milterd.add_header('X-After', 'y'), b'c']}, protocol=0x10) as m, lab.Sink() as sink:
        chain = (f'filter a {{ module = pmilter; socket {{ type = unix; path = "{f.sock}"; }} }} '
                 f'filter b {{ module = milter; {m.socket} phase = sign; }}')
        with lab.relay_all(inst, sink.port, smtps=f'policy_milter {{ module = mux; {chain} }}') as g:
            lab.wait_for('the filter', lambda: json.loads(g.http('smtps', 'GET', '/v1/filters')[1])['filters'][0]['connected'])
            pid = g.pids()['smtps']
            with traced(g, pid, tmp_path / 'trace'), g.client() as c:
                reply = c.mail('a@b.test', 'u@far.test', large(1 << 20))
            assert reply.startswith('250'), reply
            body = sink.wait(1)[0]['body']
            assert body.count(b'ABC DEF ') == 8 * ((1 << 20) // len(LINE)) and b'X-After: y\r\n' in body
        calls = [l for l in (tmp_path / 'trace').read_text().splitlines() if '/q/in/' in l]
        by = {name: [l for l in calls if (int(l.split()[0]) == pid) == here] for name, here in (('loop', True), ('workers', False))}
        assert any('pwrite64' in l for l in by['workers']) and any('pread64' in l for l in by['workers'])
        # the store's own file is the loop's by design: written to memory of the system, synced by a worker
        assert [l for l in by['loop'] if '(deleted)' in l or '/#' in l] == []


class Waits(milterd.Milter):
    """At the end of a mail it waits for go."""

    def __init__(self):
        self.go = threading.Event()
        super().__init__(says={'E': 'until_go'})

    def until_go(self, c, f):
        self.go.wait()
        self.frame(c, b'c')


def test_memory_is_bounded(inst):
    """Many clients send large mails to a filter that does not answer: others are told to come again, and when it answers all is
    as before, each mail taken once."""
    n, size = 24, 300_000
    with Waits() as m, lab.Sink() as sink, lab.relay_all(inst, sink.port, smtps=f'max_memory = 4MB; policy_milter {{ module = milter; {m.socket} }}') as g, \
            contextlib.ExitStack() as stack:
        early = stack.enter_context(g.client())
        early.cmd('EHLO early.test', 250)
        senders = []
        for i in range(n):
            with contextlib.suppress(AssertionError):
                c = lab.Client(('127.0.0.1', g.port), greet=False)
                stack.enter_context(c)
                assert c.reply().startswith('220')
                c.cmd('EHLO c.test', 250)
                c.cmd('MAIL FROM:<a@b.test>', 250)
                c.cmd('RCPT TO:<u@far.test>', 250)
                c.cmd('DATA', 354)
                senders.append(c)
        for c in senders:
            c.send(large(size, b'X-Do: nothing') + b'.\r\n')
        assert len(senders) == n
        lab.wait_for('all of them at the filter', lambda: sum(k == 'E' for k, _ in list(m.heard)) == n)
        held = g.metrics('smtps')['session_bytes_now']
        assert 4 << 20 < held < n * (2 * size + (64 << 10))
        assert early.cmd('MAIL FROM:<a@b.test>').startswith('452 4.3.1')
        late = stack.enter_context(lab.Client(('127.0.0.1', g.port), greet=False))
        assert late.reply().startswith('421 4.3.2') and late.closed()
        m.go.set()
        for c in senders:
            c.reply(250)
        lab.wait_for('memory to come back', lambda: g.metrics('smtps')['session_bytes_now'] < 1 << 20)
        early.mail('a@b.test', 'u@far.test', large(1000, b'X-Do: nothing'), ehlo=None)
        sink.wait(n + 1)


def test_memory_of_what_a_filter_says(inst):
    """It sends a body of 6 MB and says no more: what its module keeps of that counts as well."""
    class Talks(Waits):
        def until_go(self, c, f):
            for _ in range(96):
                self.frame(c, b'b' + b'x' * 65533 + b'\r\n')
            super().until_go(c, f)

    with Talks() as m, lab.Sink() as sink, lab.relay_all(inst, sink.port, smtps=f'max_memory = 4MB; policy_milter {{ module = milter; {m.socket} }}') as g:
        with g.client() as early, g.client() as c:
            early.cmd('EHLO early.test', 250)
            for line in ('EHLO c.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@far.test>'):
                c.cmd(line, 250)
            c.cmd('DATA', 354)
            c.send(b'Subject: t\r\n\r\nx\r\n.\r\n')
            lab.wait_for('452', lambda: early.cmd('MAIL FROM:<a@b.test>').startswith('452 4.3.1') or not early.cmd('RSET', 250))
            m.go.set()
            c.reply(250)
            lab.wait_for('memory to come back', lambda: early.cmd('MAIL FROM:<a@b.test>').startswith('250'))
        assert sink.wait(1)[0]['body'].count(b'x' * 65533) == 96


class Disk(SmallDisk):
    SIZE = '16m'

    def fill(self):
        """Until not a byte more has room."""
        self.ballast = self.q() / 'in/ballast'
        with open(self.ballast, 'wb', buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(bytes(1 << 16))
        assert self.free() < 1 << 16


@pytest.mark.skipif(os.geteuid() != 0, reason='mounts need root')
def test_a_full_disk(inst):
    """It fills up while mails come, or while filters work: 452, nothing half edited, nobody's failure but the disk's; and all is
    well when there is space again."""
    store = 'queue { min_free = 1MB; segment_size = 1MB; checkpoint_size = 64KB; spare_segments = 0; memory = 1MB; }'
    with pmfilter() as f, milterd.Milter(says={'E': [milterd.add_header('X-After', 'y'), b'c']}) as m, lab.Sink() as sink:
        chain = (f'filter a {{ module = pmilter; socket {{ type = unix; path = "{f.sock}"; }} }} '
                 f'filter b {{ module = milter; {m.socket} phase = sign; }}')
        with Disk(inst, smtps=f'flags = {{ 8bitmime, access }}; policy_milter {{ module = mux; {chain} }}', smar=lab.MAPS, qmgr=store,
                  files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g:
            # the mail has no room; what the filter makes of it has none
            for size in (1_000_000, 200_000):
                lab.wait_for('mail to be taken', g.takes_mail)
                with g.client() as c:
                    for line in ('EHLO c.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@far.test>'):
                        c.cmd(line, 250)
                    c.cmd('DATA', 354)
                    g.fill()
                    c.send(large(size) + b'.\r\n')
                    assert c.reply().startswith('452 4.3.1'), size
                    g.ballast.unlink()
            shown = {x['name']: x for x in json.loads(g.http('smtps', 'GET', '/v1/filters')[1])['filters']}
            assert all(x['counts']['failed'] == 0 and x['breaker'] == 'closed' for x in shown.values()), shown
            assert 'smtps.filter_no_room filter=a' in g.log()
            lab.wait_for('mail to be taken', g.takes_mail)
            with g.client() as c:
                for size in (1_000_000, 200_000):
                    assert c.mail('a@b.test', 'u@far.test', large(size)).startswith('250')
            got = [x['body'] for x in sink.wait(2)]
            assert len(got) == 2 and all(b'X-After: y' in b and b'ABC DEF' in b and b'abc' not in b for b in got)
            g.queue_empty()
