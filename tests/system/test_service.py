# SPDX-License-Identifier: BSD-2-Clause
"""mcp and a service manager that speaks systemd's protocol: what it is told, and the sockets that it opens."""
import fcntl, os, re, signal, socket, subprocess

import lab, pytest
from test_mcp import MCP, Server, alive, wait


class Managed(Server):
    """Started as a manager does it: pids in the environment are those of mcp, sockets are descriptors from 3 on."""

    def start_with(self, env, sockets=(), ready=True):
        self.log = open(self.dir / 'log', 'a')
        moved = [fcntl.fcntl(s, fcntl.F_DUPFD, 50) for s in sockets]
        redirect = ' '.join(f'{3 + i}<&{fd}' for i, fd in enumerate(moved))
        script = f'exec {redirect}; {env} exec {MCP} -f {self.conf}' if redirect else f'{env} exec {MCP} -f {self.conf}'
        self.process = subprocess.Popen(['bash', '-c', script], env=self.env, stderr=self.log, pass_fds=moved)
        for fd in moved:
            os.close(fd)
        if ready:
            wait(lambda: self.said('mcp.ready') >= len(self.sections))
        return self


@pytest.fixture
def server():
    s = Managed(lab.free_port())
    yield s
    s.close()


def listening(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', port))
    s.listen(10)
    return s


@pytest.mark.parametrize('kind', ['file', 'abstract'])
def test_what_it_is_told(server, kind):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        where = str(server.dir / 'notify')
        manager.bind(where if kind == 'file' else '\0' + where)
        manager.settimeout(lab.WAIT)

        def next_but(word):
            while (said := manager.recv(4096).decode()) == word:
                pass
            return said
        server.start_with(f'NOTIFY_SOCKET={"" if kind == "file" else "@"}{where} WATCHDOG_USEC=100000 WATCHDOG_PID=$$')
        assert manager.recv(4096) == b'READY=1'
        assert [manager.recv(4096) for _ in range(3)] == [b'WATCHDOG=1'] * 3
        environ = open(f'/proc/{server.pid("smar")}/environ').read()
        assert 'META1_MCP_FD' in environ and not re.search('NOTIFY_|WATCHDOG_|LISTEN_', environ)
        server.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(r'RELOADING=1\nMONOTONIC_USEC=\d+', next_but('WATCHDOG=1'))
        assert next_but('WATCHDOG=1') == 'READY=1'
        wait(lambda: server.said('result=committed'))
        server.process.send_signal(signal.SIGTERM)
        assert next_but('WATCHDOG=1') == 'STOPPING=1' and server.process.wait(40) == 0


def test_another_process_is_watched(server):
    """WATCHDOG_PID and LISTEN_PID of somebody else are not for mcp."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, listening(lab.free_port()) as other:
        manager.bind(str(server.dir / 'notify'))
        server.start_with(f'NOTIFY_SOCKET={server.dir}/notify WATCHDOG_USEC=1000 WATCHDOG_PID=1 LISTEN_PID=1 LISTEN_FDS=1', [other])
        server.stop()
        manager.setblocking(False)
        said = []
        with pytest.raises(BlockingIOError):
            while True:
                said.append(manager.recv(4096))
    assert said == [b'READY=1', b'STOPPING=1'] and server.said('listen_socket; it waits') == 0


def given_to_a_reload(server, s):
    """One that nobody wanted, goes, and comes again: it is the manager's all the while."""
    port, were = s.getsockname()[1], server.options['smtps']
    for n in (1, 2):
        early = socket.create_connection(('127.0.0.1', port), lab.WAIT)
        server.options['smtps'] = were + f' listen_socket odd {{ type = inet; address = 127.0.0.1; port = {port}; }}'
        server.write()
        server.process.send_signal(signal.SIGHUP)
        wait(lambda: early.recv(100))
        early.close()
        wait(lambda: server.said('mcp.reload result=committed') == 2 * n - 1)
        server.options['smtps'] = were
        server.write()
        server.process.send_signal(signal.SIGHUP)
        wait(lambda: server.said('mcp.reload result=committed') == 2 * n)


@pytest.mark.parametrize('processes', [1, 3])
def test_sockets_that_are_open(server, processes):
    """What comes before mcp listens waits; the socket is the manager's and lives on."""
    server.options['smtps'] = f'processes = {processes}; listen_socket u {{ type = unix; path = "{server.dir}/u"; }}'
    server.write()
    with listening(server.port) as s, listening(lab.free_port()) as odd, socket.socket(socket.AF_UNIX) as u, \
            socket.create_connection(('127.0.0.1', server.port), lab.WAIT) as early:
        u.bind(str(server.dir / 'u'))
        u.listen(10)
        server.start_with('LISTEN_PID=$$ LISTEN_FDS=3', [odd, s, u])
        assert early.recv(100) and server.greet()
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(lab.WAIT)
            c.connect(str(server.dir / 'u'))
            assert c.recv(100)
        assert server.said('that of no listen_socket; it waits') == 1
        wait(lambda: len(server.gone('go', 'smtps')) == processes)
        pids = [pid for _, pid in server.gone('start', 'smtps')]
        given_to_a_reload(server, odd)
        assert server.stop() == 0 and not any(map(alive, pids))
        socket.create_connection(('127.0.0.1', server.port), lab.WAIT).close()  # it waits for the next life
        assert (server.dir / 'u').is_socket()


def test_a_socket_that_moves(server):
    """To another section, back when that one goes, and whoever connects meanwhile is served by one or the other."""
    port, n = f' listen_socket {{ type = inet; address = 127.0.0.1; port = {server.port}; }}', 0
    server.listen = ''
    with listening(server.port) as s:
        def where(section, also=('smtps', 'smtps b')):
            server.sections = [*also, 'qmgr', 'smar']
            for i, name in enumerate(also):
                server.options[name] = f'listen_socket u {{ type = unix; path = "{server.dir}/u{i}"; }}' + port * (name == section)
            server.write()

        def moves(*how):
            nonlocal n
            n += 1
            where(*how)
            server.process.send_signal(signal.SIGHUP)
            early = socket.create_connection(('127.0.0.1', server.port), lab.WAIT)
            wait(lambda: server.said('mcp.reload result=committed') == n)
            early.settimeout(lab.WAIT)
            assert early.recv(100)
            early.close()

        where('smtps')
        server.start_with('LISTEN_PID=$$ LISTEN_FDS=1', [s])
        b, a = (pid for _, pid in server.gone('start', 'smtps'))
        inode = os.fstat(s.fileno()).st_ino
        assert server.greet() == a
        moves('smtps b')
        wait(lambda: server.greet() == b)
        moves('smtps', ['smtps'])
        wait(lambda: server.greet() == a and not alive(b))
        moves('smtps b')
        wait(lambda: server.greet() not in (a, b))
        assert {os.readlink(f'/proc/{server.process.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{server.process.pid}/fd')} >= {f'socket:[{inode}]'}
        assert server.stop() == 0
        socket.create_connection(('127.0.0.1', server.port), lab.WAIT).close()  # it waits for the next life


def test_sockets_that_cannot_be_used(server):
    """Closed descriptors, files and sockets that do not listen: mcp opens its own."""
    with open('/dev/null') as null, socket.socket() as mute:
        server.start_with('LISTEN_PID=$$ LISTEN_FDS=9', [null, mute])
        assert server.greet()
