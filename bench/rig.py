# SPDX-License-Identifier: BSD-2-Clause
"""rig.py -- what the benchmarks share: the two servers, the sink that counts, CPU and memory of a server.

A benchmark says which command it is in its own head; figures and their commands stand in doc/performance.md.
"""
import contextlib, os, pathlib, re, signal, subprocess, sys, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'tests/system'))
import lab  # noqa: E402

HZ = os.sysconf('SC_CLK_TCK')


def stat(pid):
    f = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return {'ppid': int(f[1]), 'cpu': int(f[11]) + int(f[12]), 'dead': int(f[13]) + int(f[14])}


def family(root):
    """pid → stat of root and all its descendants."""
    table = {}
    for d in os.listdir('/proc'):
        if d.isdigit():
            with contextlib.suppress(OSError):
                table[int(d)] = stat(d)
    out, more = {root: table[root]}, True
    while more:
        more = {p: s for p, s in table.items() if p not in out and s['ppid'] in out}
        out.update(more)
    return out


def cpu_seconds(root):
    fam = family(root)
    return sum(s['cpu'] for s in fam.values()) / HZ + fam[root]['dead'] / HZ


def ran_us(pid):
    """Microseconds that all threads of a process ran, as the scheduler counts them."""
    return sum(int((t / 'schedstat').read_text().split()[0]) for t in pathlib.Path(f'/proc/{pid}/task').iterdir()) / 1000


def cpu_of(server):
    """Seconds of CPU of all processes of a server, in a group of their own or by their parents."""
    return server.group.seconds() if getattr(server, 'group', None) else cpu_seconds(server.root)


class Group:
    """A control group that only counts: a child whose parent ignores its end is in nobody's sum (Exim's deliveries)."""

    def __init__(self, name):
        v1 = pathlib.Path('/sys/fs/cgroup/cpuacct')
        self.dir = (v1 if v1.is_dir() else pathlib.Path('/sys/fs/cgroup')) / name
        self.file, self.unit = (self.dir / 'cpuacct.usage', 1e9) if v1.is_dir() else (self.dir / 'cpu.stat', 1e6)
        self.dir.mkdir()

    def take(self, pids):
        """These, and what they start from now on."""
        for pid in pids:
            (self.dir / 'cgroup.procs').write_text(str(pid))

    def seconds(self):
        return int(re.search(r'\d+', self.file.read_text())[0]) / self.unit

    def close(self):
        self.dir.rmdir()


def pss_mib(root):
    total = 0
    for pid in family(root):
        with contextlib.suppress(OSError):
            m = re.search(r'^Pss:\s+(\d+)', pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text(), re.M)
            total += int(m[1]) if m else 0
    return total / 1024


class Sink:
    """smtp-sink -c: its counter of messages is read from its output."""

    def __init__(self, port, *options, where=None):
        """At a port of loopback, or where smtp-sink may be else: unix:/path."""
        self.port = port
        self.proc = subprocess.Popen(['smtp-sink', *(['-u', 'nobody'] if os.geteuid() == 0 else []), '-c', *options, where or f'127.0.0.1:{port}', '1000'],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.count, self.last = 0, 0.0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        tail = b''
        while chunk := os.read(self.proc.stdout.fileno(), 65536):
            tail = (tail + chunk)[-400:]
            found = re.findall(rb'mesg=(\d+)\r', tail)
            if found:
                n = int(found[-1])
                if n > self.count:
                    self.count, self.last = n, time.monotonic()
            time.sleep(0.004)

    def wait(self, n, limit):
        end = time.monotonic() + limit
        while self.count < n and time.monotonic() < end:
            time.sleep(0.005)
        return self.count >= n

    def close(self):
        self.proc.kill()
        self.proc.wait()


class Direct:
    """No server between: what source and sink can do."""
    name = 'direct'

    def __init__(self, inst, sink, hops):
        self.port, self.root = sink.port, sink.proc.pid

    def roles(self):
        return {}

    def close(self):
        pass


class Meta1:
    """Ours, as an ordinary user; hops: domain -> port, all else goes to the sink."""
    name = 'meta1'

    def __init__(self, inst, sink, hops, **sections):
        table = ''.join(f'{d} [127.0.0.1]:{p}\n' for d, p in hops.items())
        self.g = lab.Gateway(inst, user=None,
                             smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } '
                             'map ac { type = text; file = "ac"; } access { name = ac; }',
                             smtps='flags = { 8bitmime, access }; log_level = 12;' + sections.pop('smtps', ''),
                             files={'mt': f'{table}. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}, **sections)
        self.g.start().ready()
        self.port, self.root = self.g.port, self.g.proc.pid

    def roles(self):
        return {n: p for n, p in self.g.pids().items() if n != 'mcp'}

    def close(self):
        self.g.close()


def postfix(inst, sink, hops, more=''):
    """Debian's Postfix, tuned for the comparison."""
    rows = ' '.join(f'{d}=smtp:[127.0.0.1]:{p}' for d, p in hops.items())
    server = lab.Postfix(sink.port, f'''default_process_limit = 200
smtp_destination_concurrency_limit = 100
initial_destination_concurrency = 20
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
{f'transport_maps = inline:{{ {rows} }}' if rows else ''}
{more}''')
    server.name, server.root = 'postfix', int((server.dir / 'queue/pid/master.pid').read_text())
    server.roles = lambda: {'master and children': server.root}
    return server
