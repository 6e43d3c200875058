# SPDX-License-Identifier: BSD-2-Clause
"""Reload: every 100 ms under load nothing is lost, sessions end with what they began with, old settings go; what
needs a restart gets it; who may ask for it, and what becomes of a file of conf.d that the rest does not go with."""
import collections
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import lab
import pytest
from test_sections import inner

FULL = bool(os.environ.get('META1_FULL'))
RELOADS = int(os.environ.get('META1_RELOADS', 100 if FULL else 8))
FILTER = ('policy_milter { module = mux; filter own { module = headers; add = { "X-Turn: 0" }; } } ')
INCLUDE = 'include "conf.d/*.conf";\n'


def with_files(g, files=None):
    """conf.d beside its configuration, which it includes."""
    d = g.dir / 'conf.d'
    d.mkdir()
    for name, text in (files or {}).items():
        (d / name).write_text(text)
    for p in (d, *d.iterdir()):
        if g.uid is not None:
            os.chown(p, g.uid, g.uid)
    with open(g.conf, 'a') as f:
        f.write(INCLUDE)
    return d


def asked(g, text):
    """What mcp answers on its socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(lab.WAIT)
        s.connect(str(g.dir / 'run/mcp.sock'))
        s.sendall(text)
        return b''.join(iter(lambda: s.recv(65536), b'')).decode()


def size_of(ehlo):
    return int(re.search(r'^250[ -]SIZE (\d+)', ehlo, re.M)[1])


class Turns:
    """A configuration whose max_message_size and headers say which turn it is of; with sections, one comes and goes, and so
    do processes of the others."""

    def __init__(self, g, sections=False):
        self.g, self.text, self.n, self.sections = g, g.conf.read_text(), 0, sections
        g.other = lab.free_port()

    def next(self):
        self.n += 1
        new, text = self.g.dir / 'next', self.text.replace('100000', str(100000 + self.n)).replace('X-Turn: 0', f'X-Turn: {self.n}')
        if self.sections:
            text = text.replace('smtps {', f'smtps {{ processes = {1 + self.n % 3}; ').replace('smtpc {', f'smtpc {{ processes = {1 + self.n // 2 % 2}; ')
            text += inner(self.g) * (self.n % 4 < 2)
        new.write_text(text)
        new.replace(self.g.conf)

    def taken(self):
        return len(re.findall(r' mcp\.reload result=committed', self.g.log()))


class Left(Exception):
    """It was said to come again, between two mails."""


class Load(threading.Thread):
    """Sessions of several mails; whatever is not as it must be is an error. left: sessions that had to come again, lost:
    connections that a process which never was up could not take, as one that a further reload took away at once."""

    def __init__(self, g, who, leaves=False):
        super().__init__(daemon=True)
        self.g, self.who, self.leaves, self.over, self.errors, self.sent, self.left, self.lost = g, who, leaves, False, [], [], 0, 0

    def run(self):
        try:
            while not self.over:
                try:
                    with self.g.client() as c:
                        self.session(c)
                except Left:
                    self.left += 1
                except ConnectionError:
                    if not self.leaves:
                        raise
                    self.lost += 1
        except Exception as e:
            self.errors.append(repr(e))

    def say(self, c, line, code=250):
        reply = c.cmd(line)
        if self.leaves and 'has a new configuration' in reply:
            raise Left
        assert reply.startswith(str(code)), reply
        return reply

    def session(self, c):
        size = size_of(self.say(c, 'EHLO load.test'))
        for i in range(5):
            mark = f'{self.who}-{len(self.sent)}'
            for line, code in (('MAIL FROM:<a@load.test>', 250), (f'RCPT TO:<{mark}@sink.test>', 250), ('DATA', 354)):
                self.say(c, line, code)
            c.send(f'Subject: {mark}\r\n\r\nx\r\n.\r\n')
            try:
                c.reply(250)
            except ConnectionError as e:
                raise AssertionError(f'no reply to the dot of {mark}') from e
            self.sent.append(mark)
            assert size_of(self.say(c, 'EHLO load.test')) == size, 'other settings in the same session'
        self.say(c, 'QUIT', 221)


def gateway(inst, sink, **kw):
    return lab.relay_all(inst, sink.port, smtps='max_message_size = 100000; ' + FILTER + kw.pop('smtps', ''), **kw)


def memory(pids):
    return {role: lab.rss(pid) for role, pid in pids.items()}


def test_reloads_under_load(inst):
    with lab.Sink() as sink, gateway(inst, sink) as g:
        turns = Turns(g, RELOADS >= 100)
        load = [Load(g, f't{i}', RELOADS >= 100) for i in range(3)]
        pids = g.pids()
        for t in load:
            t.start()
        begin, end = None, time.monotonic() + 60 + 4 * RELOADS
        while turns.taken() < RELOADS:
            assert time.monotonic() < end, f'{turns.taken()} reloads only'
            assert not [t.errors for t in load if t.errors]
            turns.next()
            g.proc.send_signal(signal.SIGHUP)
            time.sleep(0.1)  # the pace of the reloads, no synchronisation
            if begin is None and turns.taken() >= RELOADS // 2:
                begin = memory(pids)
        for t in load:
            t.over = True
        for t in load:
            t.join(lab.WAIT)
        after = memory(pids)
        assert not [t.errors for t in load if t.errors]
        sent = [m for t in load for m in t.sent]
        assert len(sent) > RELOADS
        sink.wait(len(sent))
        g.queue_empty()
        got = collections.Counter(m['rcpts'][0].split('@')[0] for m in sink.mails)
        assert got == collections.Counter(sent)
        turn = {re.search(rb'^X-Turn: (\d+)', m['body'], re.M)[1] for m in sink.mails}
        assert len(turn) > 2, turn
        assert set(pids.values()) <= set(g.pids().values()), 'a process was restarted'
        g.proc.send_signal(signal.SIGHUP)
        one_is_left(g)
        print({r: (begin[r], after[r]) for r in after}, turns.taken(), 'mails', len(sent), 'left', sum(t.left for t in load), 'lost', sum(t.lost for t in load))
        if RELOADS >= 100:  # a configuration is some 100 KiB: half of them would be many MiB
            for role, kib in after.items():
                assert kib - begin[role] < 3000, (role, begin, after)


def one_is_left(g):
    """The one in force, and that with which the queue was opened at the start."""
    for role in lab.ROLES:
        lab.wait_for(f'old configurations of {role} to go', lambda: g.metrics(role)['configurations_now'] <= 2)


def test_stopped_between_the_steps(inst):
    """A role that has opened a new configuration and is stopped before it hears what becomes of it ends in order."""
    with lab.Sink() as sink, gateway(inst, sink) as g:
        ready = ('smtps', 'smtpc', 'qmgr')
        smar = g.pids()['smar']
        os.kill(smar, signal.SIGSTOP)  # so it does not come to the second step
        g.proc.send_signal(signal.SIGHUP)
        lab.wait_for('the others to be ready', lambda: all(g.metrics(r)['configurations_now'] >= 2 for r in ready))
        g.proc.send_signal(signal.SIGTERM)
        lab.wait_for('their end', lambda: not set(g.pids()) & set(ready))
        os.kill(smar, signal.SIGCONT)
        assert g.proc.wait(lab.WAIT) == 0
        assert 'killed by' not in g.log() and not re.search(r'status="?exit [1-9]', g.log())


def test_sessions_over_reloads(inst):
    """One says what it said at its begin, its mail meets the filters of then; the settings go with it. Of many reloads
    the newest six settings stay: who has older ones is asked to come again, after the mail that it is at."""
    with lab.Sink() as sink, gateway(inst, sink, smtps='IO_timeout = 60s; ') as g:
        turns, held, idle = Turns(g), [], {}
        for i in range(8):
            c = g.client()
            c.size = size_of(c.cmd('EHLO hold.test', 250))
            if i in (0, 1, 2, 3):
                c.cmd('MAIL FROM:<a@hold.test>', 250)
                held.append(c)
            else:
                idle[i] = c
            if i == 1:
                idle[i] = g.client()
                idle[i].cmd('EHLO idle.test', 250)
            turns.next()
            g.ctl('reload')
        idle.pop(1).reply(421)
        assert len({c.size for c in [*held, *idle.values()]}) == 8
        assert 6 < g.metrics('smtps')['configurations_now'] <= 10
        for c in idle.values():
            c.cmd('NOOP', 250)
            c.s.close()
        for i, c in enumerate(held):
            c.cmd(f'RCPT TO:<m{i}@sink.test>', 250)
            c.cmd('DATA', 354)
            c.send(f'Subject: {i}\r\n\r\nx\r\n.\r\n')
            c.reply(250)
            if i < 3:
                assert 'has a new configuration' in c.reply(421)
            else:
                assert size_of(c.cmd('EHLO hold.test', 250)) == c.size
            c.s.close()
        turn = {m['rcpts'][0][1]: re.search(rb'^X-Turn: (\d+)', m['body'], re.M)[1] for m in sink.wait(4)}
        assert turn == {str(i): b'%d' % i for i in range(4)}
        one_is_left(g)
        with g.client() as c:
            assert size_of(c.cmd('EHLO new.test', 250)) == 100008


def test_what_a_reload_says(inst):
    """Done, tried, refused with the place; what needs a restart gets it, and nobody is turned away meanwhile."""
    with lab.Sink() as sink, lab.relay_all(inst, sink.port) as g:
        good = g.conf.read_text()
        assert g.ctl('reload').stdout == 'all roles have the new configuration\n'
        g.conf.write_text(good + 'smar { no_such = 1; }\n')
        p = g.ctl('reload', check=False)
        assert p.returncode == 78 and 'no_such' in p.stderr and f'{g.conf}:' in p.stderr
        said = asked(g, b'reload\n')
        assert said.startswith(f'refused\n{g.conf}:') and 'no_such' in said and said.count('unknown option') == 1
        g.conf.write_text(re.sub(r'(?s)smar \{.*?\n\}\n', '', good))
        said = g.ctl('reload', '--dry-run').stdout
        assert 'warning: smtps asks smar, and there is no section smar: ' in said and 'smar: ends: its section is gone' in said
        g.conf.write_text(good.replace('smar {', 'smar { DNS_tries = 2; '))
        pids = g.pids()
        p = g.ctl('reload', '--dry-run')
        assert re.search(r'^smar: needs a restart: .*DNS_tries', p.stdout, re.M) and 'would be taken' in p.stdout
        assert g.pids() == pids
        stop, greeted = threading.Event(), []

        def knock():
            while not stop.is_set():
                with g.client() as c:
                    greeted.append(c.greeting)

        t = threading.Thread(target=knock, daemon=True)
        t.start()
        p = g.ctl('reload')
        stop.set()
        t.join(lab.WAIT)
        assert re.search(r'^smar: needs a restart: .*DNS_tries', p.stdout, re.M)
        new = g.pids()
        assert new['smar'] != pids['smar'] and {k: v for k, v in new.items() if k != 'smar'} == {k: v for k, v in pids.items() if k != 'smar'}
        assert greeted and all(x.startswith('220') for x in greeted)
        lab.wait_for('mail to be taken', g.takes_mail)
        g.conf.write_text(good.replace('queue_directory = "', 'queue_directory = "/other'))
        p = g.ctl('reload', check=False)
        assert p.returncode == 78 and f'queue_directory: {g.dir}/q is in use and cannot become /other{g.dir}/q' in p.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason='asks as several accounts')
def test_who_may_ask(inst):
    """An account in control.admins may, another hears no; a name is no path, and what is no request is said to be none."""
    with lab.Gateway(inst, top='control { admins = { daemon }; }') as g:
        d = with_files(g, {'spf.conf.sample': 'smar { spf = yes; }\n'})
        g.ctl('reload')
        sock = g.dir / 'run/mcp.sock'
        assert sock.stat().st_mode & 0o7 == 0, 'for the group alone'
        os.chmod(sock, 0o666)

        def as_(uid, *words):
            return subprocess.run(['setpriv', f'--reuid={uid}', f'--regid={uid}', '--clear-groups', str(g.bin / 'bin/meta1ctl'),
                                   '-f', str(g.conf), *words], capture_output=True, text=True, timeout=60, env=g.environ())

        p = as_(3, 'module', 'enable', 'spf')
        assert p.returncode == 1 and 'control { admins' in p.stderr and not (d / 'spf.conf').exists()
        p = as_(1, 'module', 'enable', 'spf')
        assert p.returncode == 0, p.stderr
        assert os.readlink(d / 'spf.conf') == 'spf.conf.sample'
        assert as_(3, 'reload').returncode == 1 and as_(1, 'reload').returncode == 0
        assert as_(1, 'module', 'disable', 'spf').returncode == 0 and not (d / 'spf.conf').is_symlink()
        lab.wait_for('lines of all that it asked', lambda: len(re.findall(r'mcp\.control uid=1 ', g.log())) == 3)

        def ask(text):
            return asked(g, text)

        assert ask(b'enable ../spf\n').startswith('wrong\n../spf: expected a name of a to z')
        assert ask(b'enable\n').startswith('wrong\n') and ask(b'reload now\n').startswith('wrong\n')
        assert ask(b'GET /v1/status HTTP/1.0\r\n\r\n').startswith('wrong\n')
        assert ask(b'x' * 5000).startswith('wrong\n') and ask(b'reload\n') == 'done\n'


def opened(fifo):
    """To write; None: nobody reads."""
    with contextlib.suppress(OSError):
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


def test_taken_back(inst):
    """What the rest does not go with: at the check, in a role, or when a restarted role does not come up."""
    g = lab.Gateway(inst)
    files = {
        'twice.conf.sample': 'smar { spf = no; }\n',
        'spf.conf.sample': 'smar { spf = yes; }\n',
        'unknown.conf.sample': 'smar { map x { type = nothing_like_it; } }\n',
        'grey.conf.sample': 'smar { greylisting { file = "/proc/none/x"; } }\n',
        'good.conf.sample': 'smar { greylisting { } }\n',
        'tries.conf.sample': 'smar { DNS_tries = 2; }\n',
    }
    d = with_files(g, files)
    late = g.dir / 'late'
    late.write_text(f'#!/bin/sh\ncase "$*" in *" -C"*) ;; *) [ -p {g.dir}/gate ] && {{ read line < {g.dir}/gate; exit 78; }}\nrm {g.dir}/q/smar/killed 2> {os.devnull} && kill -9 $$;; esac\nexec {g.bin}/libexec/smar "$@"\n')
    late.chmod(0o755)
    g.conf.write_text(g.conf.read_text().replace(f'{g.bin}/libexec/smar', str(late)))
    with g:
        p = g.ctl('module', 'enable', 'unknown', check=False)
        assert p.returncode == 78 and 'map_nothing_like_it' in p.stderr and 'taken back' in p.stderr, p.stderr
        assert g.ctl('module', 'enable', 'spf').stdout == 'conf.d/spf.conf is on\n'
        p = g.ctl('module', 'enable', 'twice', check=False)
        assert p.returncode == 78 and f'{d}/twice.conf:1' in p.stderr and f'{d}/spf.conf:1' in p.stderr, p.stderr
        p = g.ctl('module', 'enable', 'grey', check=False)
        assert p.returncode == 78 and 'smar does not come up with it' in p.stderr and 'taken back' in p.stderr, p.stderr
        assert sorted(p.name for p in d.iterdir() if p.is_symlink()) == ['spf.conf']
        lab.wait_for('mail to be taken', g.takes_mail)
        # killed, and so in its back-off when that is taken back: it starts at once, and is waited for
        (g.dir / 'q/smar/killed').touch()
        p = g.ctl('module', 'enable', 'tries', check=False)
        assert p.returncode == 78 and p.stderr.splitlines()[-3:] == ['smar does not come up with it; its log says why', 'taken back', 'meta1ctl: refused'], p.stderr
        p = g.ctl('module', 'enable', 'good')
        assert 'smar: needs a restart: ' in p.stdout and p.stdout.endswith('conf.d/good.conf is on\n')
        lab.wait_for('mail to be taken', g.takes_mail)
        assert 'smar: needs a restart: ' in g.ctl('module', 'disable', 'good').stdout
        # the rest has an error by then: it cannot be taken back
        gate, text, said = g.dir / 'gate', g.conf.read_text(), []
        os.mkfifo(gate, 0o644)
        gate.chmod(0o644)
        asks = threading.Thread(target=lambda: said.append(g.ctl('module', 'enable', 'good', check=False)))
        asks.start()
        fd = lab.wait_for('smar to start', lambda: opened(gate))
        g.conf.write_text(text + 'nonsense = 1;\n')
        os.close(fd)
        asks.join(lab.WAIT)
        assert said[0].returncode == 1 and 'smar does not come up with it' in said[0].stderr, said
        assert 'nonsense' in said[0].stderr and 'the reload for that was refused' in said[0].stderr and 'taken back' not in said[0].stderr, said
        assert sorted(p.name for p in d.iterdir() if p.is_symlink()) == ['spf.conf']
        gate.unlink()
        g.conf.write_text(text)
        g.ctl('reload')
        lab.wait_for('mail to be taken', g.takes_mail)


def test_files_that_are_no_samples(inst):
    """Nothing is linked that others could have written, and nothing that has no effect."""
    g = lab.Gateway(inst)
    d = with_files(g, {'own.conf': 'smar { spf = yes; }\n', 'soft.conf.sample': 'smar { spf = yes; }\n', 'a.conf.sample': 'smar { client_names = yes; }\n'})
    (d / 'linked.conf.sample').symlink_to('/etc/passwd')
    (d / 'soft.conf.sample').chmod(0o666)
    with g:
        for name, why in (('linked', 'belongs to root'), ('soft', 'belongs to root'), ('none', 'no such file'), ('own', 'no such file'), ('A', 'expected a name')):
            p = g.ctl('module', 'enable', name, check=False)
            assert p.returncode == 1 and why in p.stderr, (name, p.stderr)
        assert 'edit it, or take it away' in g.ctl('module', 'disable', 'own', check=False).stderr
        assert 'is not enabled' in g.ctl('module', 'disable', 'a', check=False).stderr
        g.ctl('module', 'enable', 'a')
        assert 'is enabled already' in g.ctl('module', 'enable', 'a', check=False).stderr
        g.ctl('module', 'disable', 'a')
        d.chmod(0o777)
        p = g.ctl('module', 'enable', 'a', check=False)
        assert p.returncode == 1 and 'can write into it' in p.stderr
        d.chmod(0o755)
        g.conf.write_text(g.conf.read_text().replace(INCLUDE, ''))
        p = g.ctl('module', 'enable', 'a', check=False)
        assert p.returncode == 78 and 'does not include conf.d' in p.stderr and not (d / 'a.conf').is_symlink()


def test_a_named_transport(inst):
    """Added, changed, taken away while mail for it waits and while one is under way: each comes once, by what there is."""
    busy, go, later = threading.Event(), threading.Event(), {'wait1'}

    def answer(verb, arg, ses):
        if verb == 'DOT' and 'slow' in ses['rcpts'][0]:
            busy.set()
            assert go.wait(lab.WAIT)
        return '451 4.2.1 later' if verb == 'RCPT' and any(who in arg for who in later) else None

    with lab.Sink(answer=answer) as sink, lab.relay_all(inst, sink.port, mt=f'a.test way:[127.0.0.1]:{sink.port}\n. [127.0.0.1]:{sink.port}\n') as g:
        text = g.conf.read_text()

        def has(section):
            g.conf.write_text(text.replace('smtpc {', f'smtpc {{ {section}'))
            p = g.ctl('reload')
            assert 'restart' not in p.stdout, p.stdout
            return p.stdout

        def send(who):
            with g.client() as c:
                c.cmd('EHLO a.test', 250)
                c.cmd('MAIL FROM:<x@x.test>', 250)
                said = c.cmd(f'RCPT TO:<{who}@a.test>')
                if said.startswith('250'):
                    c.cmd('DATA', 354)
                    c.send('Subject: x\r\n\r\nx\r\n.\r\n')
                    c.reply(250)
                return said

        def hello():
            return [verb for verb, _ in sink.commands if verb in ('EHLO', 'LHLO')][-1]

        assert send('none').startswith('250')  # as any mail whose route cannot be told now
        lab.wait_for('it to wait', lambda: 'smtpc has no transport way { }' in str(g.queue()))
        has('transport way { module = smtp; }')
        send('wait1')
        lab.wait_for('it to wait', lambda: 'later' in str(g.queue()))
        send('slow1')
        assert busy.wait(lab.WAIT) and hello() == 'EHLO'
        has('transport way { module = lmtp; }')
        send('new')
        sink.wait(1)
        assert hello() == 'LHLO' and not go.is_set()
        assert f'{g.dir}/mt:1:1: warning: smar.mailertable: row a.test: "way:[127.0.0.1]:{sink.port}": smtpc has no transport way' in has('')
        later.clear()
        g.ctl('queue', 'flush')
        lab.wait_for('both to wait for it', lambda: str(g.queue()).count('smtpc has no transport way { }') == 2)
        go.set()
        sink.wait(2)
        has('transport way { module = lmtp; }')
        g.ctl('queue', 'flush')
        sink.wait(4)
        g.queue_empty()
        assert sorted(m['rcpts'][0] for m in sink.mails) == [f'{who}@a.test' for who in ('new', 'none', 'slow1', 'wait1')]


def test_dependencies_of_one_that_restarts(inst):
    """It has stopped another for its restart and then, by a reload, is not to: that one starts all the same."""
    with lab.Sink() as sink, gateway(inst, sink, qmgr='restart_dependencies = smtpc;') as g:
        pids = g.pids()
        os.kill(pids['smtpc'], signal.SIGSTOP)  # told to end, it cannot
        os.kill(pids['qmgr'], signal.SIGKILL)
        g.wait_log('mcp.stop role=smtpc .* why=restart_dependencies')
        g.conf.write_text(g.conf.read_text().replace('restart_dependencies = smtpc;', ''))
        g.ctl('reload')
        os.kill(pids['smtpc'], signal.SIGCONT)
        g.wait_log(r'(?s)(mcp\.ready role=smtpc .*){2}')
