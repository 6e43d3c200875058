# SPDX-License-Identifier: BSD-2-Clause
"""trace.py -- strace on running roles: what they did, in order; or failures put into them."""
import os, re, signal, subprocess

import lab

LINE = re.compile(r'^(\d+) +(.*)$')
CALL = re.compile(r'^(\w+)\((.*)\)\s+= (-?\d+|\?)(.*)$', re.S)


class Call:
    """One system call; begin and end are places in the order of all."""

    def __init__(self, pid, name, args, ret, begin, end):
        self.pid, self.name, self.args, self.ret, self.begin, self.end = pid, name, args, ret, begin, end

    def __repr__(self):
        return f'{self.begin}-{self.end} {self.pid} {self.name}({self.args[:150]}) = {self.ret}'


class Strace:
    """with Strace(g, ('smtps',), '-e', 'trace=fdatasync'): …  calls() afterwards."""

    def __init__(self, g, roles, *options):
        self.out = g.dir / ('strace.' + '.'.join(roles))
        pids = g.pids()
        cmd = ['strace', '-f', '-o', str(self.out), *options]
        for r in roles:
            cmd += ['-p', str(pids[r])]
        self.p = subprocess.Popen(cmd, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        # it says "Process N attached" for each of them, threads and all
        said = b''
        for _ in roles:
            said += self.p.stderr.readline()
        assert b'attached' in said, said
        for r in roles:
            lab.wait_for(f'strace to hold {r}', lambda pid=pids[r]: all(
                f'TracerPid:\t{self.p.pid}\n' in self.status(pid, t) for t in self.threads(pid)))

    @staticmethod
    def threads(pid):
        try:
            return os.listdir(f'/proc/{pid}/task')
        except OSError:
            return []

    def status(self, pid, task):
        try:
            with open(f'/proc/{pid}/task/{task}/status') as f:
                return f.read()
        except OSError:
            return f'TracerPid:\t{self.p.pid}\n'

    def stop(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGINT)
            try:
                self.p.communicate(timeout=10)
            except subprocess.TimeoutExpired:  # it can wait for ever for a tracee that was killed
                self.p.kill()
                self.p.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def calls(self):
        self.stop()
        done, open_ = [], {}
        for at, line in enumerate(self.out.read_text(errors='replace').split('\n')):
            m = LINE.match(line)
            if not m:
                continue
            pid, text, begin = int(m[1]), m[2], at
            if text.endswith('<unfinished ...>'):
                open_[pid] = (at, text[:-len('<unfinished ...>')])
                continue
            if r := re.match(r'<\.\.\. \w+ resumed>(.*)$', text, re.S):
                if pid not in open_:
                    continue
                begin, head = open_.pop(pid)
                text = head + r[1]
            if c := CALL.match(text):
                done.append(Call(pid, c[1], c[2], -1 if c[3] == '?' else int(c[3]), begin, at))
        return done
