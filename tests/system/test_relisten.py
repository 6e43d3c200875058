# SPDX-License-Identifier: BSD-2-Clause
"""Listeners that a reload adds, changes and takes away: nobody is refused at those that stay, who is there goes on to
the end, and what cannot be opened refuses the whole reload."""
import os
import re
import signal
import socket
import threading

import lab
import pytest


def greeting(where):
    with socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX) as s:
        s.settimeout(lab.WAIT)
        s.connect(('127.0.0.1', where) if isinstance(where, int) else str(where))
        return s.recv(1000)


class Knock(threading.Thread):
    """Connects all the while; each must be greeted."""

    def __init__(self, where):
        super().__init__(daemon=True)
        self.where, self.over, self.n, self.error = where, False, 0, None
        self.start()

    def run(self):
        try:
            while not self.over:
                assert greeting(self.where).startswith(b'220')
                self.n += 1
        except Exception as e:
            self.error = repr(e)

    def stop(self):
        n = self.n
        lab.wait_for('some more to be greeted', lambda: self.error or self.n > n + 2)
        self.over = True
        self.join(lab.WAIT)
        assert not self.error, f'{self.error} after {self.n}'


def inet(port, name='', address='127.0.0.1', more=''):
    return f'listen_socket {name} {{ type = inet; address = {address}; port = {port}; {more}}} '


def gateway(inst, sink, smtps='', **kw):
    g = lab.relay_all(inst, sink.port, ac='cltaddr:127.0.0.1 RELAY\ncltaddr:unix RELAY\n', smtps=smtps, **kw)
    g.text = re.sub(r'listen_socket \{.*?\}', 'LISTENERS', g.conf.read_text())
    assert 'LISTENERS' in g.text
    return g


def has(g, *sockets):
    g.conf.write_text(g.text.replace('LISTENERS', ''.join(sockets)))
    return g


def deliver(g, where, rcpt):
    with lab.Client(('127.0.0.1', where)) as c:
        assert c.mail('a@a.test', rcpt, 'Subject: x\r\n\r\nx\r\n').startswith('250')


def test_added_and_taken_away(inst):
    with lab.Sink() as sink, gateway(inst, sink, 'processes = 2;') as g:
        other, pids = lab.free_port(), g.pids()
        first, new = inet(g.port), inet(other, 'new')
        knock = Knock(g.port)
        held = g.client()
        held.cmd('EHLO a.test', 250)
        held.cmd('MAIL FROM:<a@a.test>', 250)
        has(g, new, first).ctl('reload')
        late = Knock(other)
        deliver(g, other, 'b@sink.test')
        knock.stop()
        has(g, new).ctl('reload')
        lab.wait_for('the first to be closed', lambda: not lab.listens(g.port))
        held.cmd('RCPT TO:<c@sink.test>', 250)
        held.cmd('DATA', 354)
        held.send('Subject: held\r\n\r\nx\r\n.\r\n')
        held.reply(250)
        held.s.close()
        has(g, first, new).ctl('reload')
        late.stop()
        deliver(g, g.port, 'd@sink.test')
        assert {m['rcpts'][0] for m in sink.wait(3)} == {'b@sink.test', 'c@sink.test', 'd@sink.test'}
        assert g.pids() == pids, 'a process was restarted'


def test_the_same_port(inst):
    """From all addresses to one and back: whoever connects meanwhile is served by one or the other."""
    with lab.Sink() as sink, gateway(inst, sink) as g:
        knock = Knock(g.port)
        for address in ('0.0.0.0', '127.0.0.1', '0.0.0.0'):
            has(g, inet(g.port, address=address)).ctl('reload')
            lab.wait_for(f'the socket of {address}', lambda: f'socket={address}:{g.port} action=opened' in g.log())
        knock.stop()
        with socket.socket() as s, pytest.raises(OSError):  # nobody else may share it
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(('0.0.0.0', g.port))


def test_socket_files(inst):
    """Rights change under the same name; it goes with its listener."""
    with lab.Sink() as sink, gateway(inst, sink) as g:
        path = g.dir / 'q/submit'
        first = inet(g.port)

        def unix(more=''):
            return f'listen_socket local {{ type = unix; path = submit; {more} }} '

        has(g, first, unix('umask = 007;')).ctl('reload')
        assert path.stat().st_mode & 0o777 == 0o660
        knock = Knock(path)
        for mask, mode in (('077', 0o600), ('000', 0o666)):
            has(g, unix(f'umask = {mask};'), first).ctl('reload')
            assert path.stat().st_mode & 0o777 == mode
        inode = path.stat().st_ino
        has(g, first, unix('umask = 000;')).ctl('reload')
        assert path.stat().st_ino == inode, 'the same socket'
        knock.stop()
        assert [p.name for p in path.parent.glob('submit*')] == ['submit']
        has(g, first).ctl('reload')
        assert not path.exists()


def test_refused_as_a_whole(inst):
    """A port that somebody has, a file that is no socket: named, nothing is left, and the old go on."""
    with lab.Sink() as sink, gateway(inst, sink) as g:
        other, file = lab.free_port(), g.dir / 'q/file'
        file.write_text('x')
        local = 'listen_socket a { type = unix; path = submit; } '
        knock = Knock(g.port)
        for bad, why, how in ((inet(sink.port, 'bad'), f'cannot listen on 127.0.0.1:{sink.port}: Address already in use', []),
                              ('listen_socket bad { type = unix; path = file; } ', 'a file that is no socket', ['--dry-run']),
                              ('listen_socket bad { type = unix; path = bad; group = root; } ', 'bad: Operation not permitted', [])):
            p = has(g, local, inet(other, 'b'), bad, 'max_hops = 17; ').ctl('reload', *how, check=False)
            assert p.returncode == 78 and re.search(rf'{g.conf}:\d+:\d+: .*{re.escape(why)}', p.stderr), p.stderr
            assert not any((g.dir / 'q' / name).exists() for name in ('submit', 'bad')) and not lab.listens(other)
        assert 'would be taken' in has(g, local, inet(other, 'b'), inet(g.port, 'c')).ctl('reload', '--dry-run').stdout
        assert not (g.dir / 'q/submit').exists()
        lab.wait_for('smtps to close what was tried', lambda: not lab.listens(other))
        knock.stop()
        g.ctl('reload')
        assert greeting(other).startswith(b'220') and greeting(g.dir / 'q/submit').startswith(b'220')


def test_names_of_listeners(inst):
    """What a listen_socket is called, and so which filters judge who comes by it, holds from the reload on."""
    with lab.Sink() as sink:
        g = gateway(inst, sink, 'policy_milter { module = headers; listeners = { in }; add = { "X-In: yes" }; } ')
        other = lab.free_port()
        with has(g, inet(g.port, 'out'), inet(other, 'in')):
            deliver(g, g.port, 'out@sink.test')
            has(g, inet(g.port, 'in'), inet(other, 'out')).ctl('reload')
            deliver(g, g.port, 'in@sink.test')
            mails = {m['rcpts'][0]: m['body'] for m in sink.wait(2)}
            assert b'X-In: yes' in mails['in@sink.test'] and b'X-In' not in mails['out@sink.test']


def test_started_between_the_steps(inst):
    """A process that agreed and ended before the others did is back with the sockets of before: it starts once more."""
    with lab.Sink() as sink, gateway(inst, sink, 'processes = 2;', env={'META1_BACKOFF_MAX_MS': '100'}) as g:
        other = lab.free_port()
        one, two = (int(g.wait_log(rf'mcp\.ready role={name} pid=(\d+)')[1]) for name in ('smtps', r'smtps\.1'))
        has(g, inet(g.port), inet(other, 'new'))
        os.kill(two, signal.SIGSTOP)
        g.proc.send_signal(signal.SIGHUP)
        lab.wait_for('the new socket', lambda: lab.listens(other))
        for _ in range(2):  # each has asked, answered and heard by then
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(lab.WAIT)
                s.connect(str(g.dir / 'run/mcp.sock'))
                s.sendall(b'?\n')
                assert s.recv(100)
            assert g.http('smtps', 'GET', '/metrics')[0] == 200
        os.kill(one, signal.SIGKILL)
        g.wait_log(r'(?s)(mcp\.ready role=smtps pid.*){2}')
        os.kill(two, signal.SIGCONT)
        g.wait_log('mcp.reload result=committed')
        for _ in range(16):  # the kernel gives some to each
            assert greeting(other).startswith(b'220')
