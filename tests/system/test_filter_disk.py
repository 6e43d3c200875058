# SPDX-License-Identifier: BSD-2-Clause
"""Filters and the disk: what they bring or are told of a large mail is read and written by worker threads, never by the thread that
serves the others; and a queue that is full in earnest, while filters edit and replace."""
import contextlib, json, re, signal, subprocess, threading

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
