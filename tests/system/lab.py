# SPDX-License-Identifier: BSD-2-Clause
"""lab.py -- what the system tests are made of: an installed copy of the server, gateways
started from it, sinks and clients that see raw bytes. Everything listens on loopback or in
a temporary folder and ends with the test."""
import contextlib, email, email.policy, fcntl, functools, json, os, pathlib, re, shutil, signal, socket, subprocess, tempfile, threading, time

BUILD = pathlib.Path(os.environ.get('META1_BUILD', 'build')).resolve()
PREFIX = '/usr/local'
ROLES = ('smtps', 'smtpc', 'qmgr', 'smar')
WAIT = float(os.environ.get('META1_TEST_WAIT', '20'))
NOBODY = 65534
# No test trusts the CAs of this machine; reading them all was half of the start of a sanitized server, and its check before
# it. (A CA is still found in the folder of OpenSSL, where one is read when it is needed.)
os.environ['SSL_CERT_FILE'] = os.devnull


def wait_for(what, fn, limit=WAIT):
    """Polls fn until it gives something true; the event is the condition, not the time."""
    end = time.monotonic() + limit
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f'waited {limit} s for {what}')
        time.sleep(0.01)


class Ports:
    """Loopback ports below the range that clients get theirs from. Each process that runs tests has a block of its own,
    which an abstract socket marks as taken while it lives: a port that is meant to be silent stays so."""
    FIRST, BLOCK, BLOCKS = 20000, 240, 50

    def __init__(self):
        self.claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for i in range(self.BLOCKS):
            self.first = self.next = self.FIRST + self.BLOCK * ((os.getpid() + i) % self.BLOCKS)
            with contextlib.suppress(OSError):
                self.claim.bind(f'\0meta1-test-ports-{self.first}')
                return
        raise RuntimeError(f'{self.BLOCKS} processes run tests: no block of ports is left')

    def free(self):
        for _ in range(self.BLOCK):
            port, self.next = self.next, self.first + (self.next + 1 - self.first) % self.BLOCK
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    s.bind(('127.0.0.1', port))
                    return port
        raise RuntimeError(f'the ports from {self.first} to {self.first + self.BLOCK - 1} are all in use')


@functools.cache
def ports():
    return Ports()


def free_port():
    return ports().free()


def tempdir(name):
    d = tempfile.mkdtemp(prefix=f'm1-{name}.', dir='/tmp')  # short: unix socket paths end at 108
    os.chmod(d, 0o755)
    return pathlib.Path(d)


def make(*args):
    """make in the build under test, one at a time: several processes may run tests of one build."""
    with open(BUILD / 'config.status') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(['make', '-s', '-C', str(BUILD), *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def ended(pid):
    """It is gone with all its threads, and so is what it had open; that it is waited for is another's matter."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rsplit(')', 1)[1].split()[0] in 'ZX' and len(os.listdir(f'/proc/{pid}/task')) == 1
    except OSError:
        return True


def cpu(pid):
    """Ticks of the processor that a process has used."""
    with open(f'/proc/{pid}/stat') as f:
        return sum(map(int, f.read().rsplit(')', 1)[1].split()[11:13]))


def busy(pid):
    """The share of a processor that it takes over a second: the span over which idleness is measured."""
    began, ticks = time.monotonic(), cpu(pid)
    time.sleep(1)
    return (cpu(pid) - ticks) / (time.monotonic() - began) / os.sysconf('SC_CLK_TCK')


def listens(port):
    """Somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 5):
        return True
    return False


def rss(pid):
    """KiB that it has in memory."""
    with open(f'/proc/{pid}/status') as f:
        return next(int(l.split()[1]) for l in f if l.startswith('VmRSS'))


def install():
    """make install into a folder that every user can enter; once a process that runs tests."""
    root = tempdir('inst')
    make('install', f'DESTDIR={root}')
    return root


def createmap(inst, *args, text=None):
    bin_ = inst / PREFIX.lstrip('/')
    with tempfile.NamedTemporaryFile('w', prefix='m1-createmap.', suffix='.conf') as conf:
        conf.write(f'module_directory = "{bin_}/lib/meta1";\n')
        conf.flush()
        return subprocess.run([bin_ / 'sbin/createmap', '-f', conf.name, *args], input=text, capture_output=True, text=True)


class Gateway:
    """One mcp with its roles. Options are given as text that goes into a section:
    Gateway(inst, smar='mailertable { name = mt; } …', files={'mt': 'example.net lmtp:…'})."""

    def __init__(self, inst, *, smtps='', smtpc='', qmgr='', smar='', top='', files=None,
                 user=None, roles=ROLES, env=None, conf=None):
        self.inst, self.dir = inst, tempdir('gw')
        self.bin = inst / PREFIX.lstrip('/')
        self.port = free_port()
        ACCEPTED.pop(self.port, None)
        self.proc, self.env = None, env or {}
        # root tests run as an ordinary user unless they say user='root'
        self.uid = None
        if os.geteuid() == 0 and user != 'root':
            self.uid = NOBODY
        for sub in ('q', 'run'):
            (self.dir / sub).mkdir()
        for name, text in (files or {}).items():
            (self.dir / name).write_text(text)
        sections = {'smtps': smtps, 'smtpc': smtpc, 'qmgr': qmgr, 'smar': smar}
        self.conf = self.dir / 'meta1.conf'
        if conf is None:
            conf = self.make_conf(sections, top, roles)
        self.conf.write_text(conf)
        if self.uid is not None:
            for p in [self.dir, *self.dir.rglob('*')]:
                os.chown(p, self.uid, self.uid)

    def make_conf(self, sections, top, roles):
        out = [f'hostname = gw.test;', f'queue_directory = "{self.dir}/q";',
               f'run_directory = "{self.dir}/run";',
               f'module_directory = "{self.bin}/lib/meta1";', top]
        for role in roles:
            body = sections[role]
            if role == 'smtps' and 'listen_socket' not in body:
                body = f'listen_socket {{ type = inet; address = 127.0.0.1; port = {self.port}; }} ' + body
            out.append(f'{role} {{\n\tpath = "{self.bin}/libexec/{role}";\n\t{body}\n}}')
        return '\n'.join(out) + '\n'

    def few_descriptors(self, role, n=40):
        """Before the start: that role may have so many."""
        program, few = f'{self.bin}/libexec/{role}', self.dir / 'few'
        few.write_text(f'#!/bin/sh\nulimit -n {n}\nexec {program} "$@"\n')
        few.chmod(0o755)
        self.conf.write_text(self.conf.read_text().replace(program, str(few)))

    # ---- life ----
    def command(self, *args):
        return [str(self.bin / 'sbin/mcp'), '-f', str(self.conf), *args]

    def run_as(self, cmd):
        if self.uid is None:
            return cmd
        return ['setpriv', f'--reuid={self.uid}', f'--regid={self.uid}', '--clear-groups', *cmd]

    def environ(self):
        return {**os.environ, 'ASAN_OPTIONS': 'abort_on_error=1:detect_leaks=0', **self.env}

    def start(self, ready=True):
        self.logfile = open(self.dir / 'log', 'ab')
        self.proc = subprocess.Popen(self.run_as(self.command()), stdin=subprocess.DEVNULL,
                                     stdout=self.logfile, stderr=self.logfile, env=self.environ(),
                                     cwd='/', start_new_session=True)
        if ready:
            wait_for(f'the greeting on port {self.port}\n{self.log()[-3000:]}', self.greets)
        return self

    def greets(self):
        if self.proc.poll() is not None:
            raise AssertionError(f'mcp ended with {self.proc.returncode}:\n{self.log()[-4000:]}')
        try:
            with socket.create_connection(('127.0.0.1', self.port), 2) as s:
                return s.recv(100).startswith(b'220')
        except OSError:
            return False

    def takes_mail(self):
        """Up to the point where a transaction may begin (all roles are connected)."""
        with contextlib.suppress(OSError, AssertionError), self.client() as c:
            c.cmd('EHLO probe.test', 250)
            return c.cmd('MAIL FROM:<probe@probe.test>').startswith('250')

    def ready(self):
        wait_for('a transaction to be possible', self.takes_mail)
        return self

    def stop(self, limit=30):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(limit)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise AssertionError('mcp did not stop in time:\n' + self.log()[-4000:])
        return self.proc.returncode if self.proc else None

    def close(self):
        try:
            rc = self.stop()
        finally:
            for pid in self.pids().values():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        text = self.log()
        assert 'AddressSanitizer' not in text and 'runtime error:' not in text, text[-8000:]
        assert 'broken promise' not in text, text[-4000:]
        keep = os.environ.get('META1_TEST_KEEP')
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        return rc

    def __enter__(self):
        try:
            return self.start().ready()
        except BaseException:  # nobody else ends what was started
            print(self.log()[-6000:])
            with contextlib.suppress(AssertionError):
                self.close()
            raise

    def __exit__(self, kind, value, tb):
        if kind:
            print(self.log()[-6000:])
        self.close()

    # ---- looking in ----
    def log(self):
        return (self.dir / 'log').read_text(errors='replace') if (self.dir / 'log').exists() else ''

    def wait_log(self, pattern, limit=WAIT):
        return wait_for(f'log line {pattern}', lambda: re.search(pattern, self.log()), limit)

    def pids(self):
        """role name -> pid, of the living children that run our configuration."""
        out = {}
        for d in pathlib.Path('/proc').iterdir():
            if not d.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                argv = (d / 'cmdline').read_bytes().split(b'\0')
                exe = os.path.basename(os.readlink(d / 'exe'))
                if str(self.conf).encode() in argv and exe in ROLES + ('mcp',):
                    if (d / 'stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z':
                        name, n = exe, 1
                        while name in out:
                            name, n = f'{exe}.{n}', n + 1
                        out[name] = int(d.name)
        return out

    def http(self, role, method, target):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self.dir / f'run/{role}.ctl'))
            s.sendall(f'{method} {target} HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n'.encode())
            data = b''
            while chunk := s.recv(65536):
                data += chunk
        head, _, body = data.partition(b'\r\n\r\n')
        return int(head.split()[1]), body.decode()

    def metrics(self, role):
        out = {}
        for line in self.http(role, 'GET', '/metrics')[1].splitlines():
            if m := re.match(r'meta1_\w+?_(\w+)\{[^}]*\} (-?\d+)', line):
                out[m[1]] = out.get(m[1], 0) + int(m[2])
        return out

    def ctl(self, *args, check=True):
        p = subprocess.run([str(self.bin / 'bin/meta1ctl'), '-f', str(self.conf), *args],
                           capture_output=True, text=True, timeout=30, env=self.environ())
        assert not check or p.returncode == 0, p.stderr
        return p

    def queue(self):
        return [json.loads(l) for l in self.ctl('queue', 'list', '--json').stdout.splitlines()]

    def known_to_qmgr(self):
        """It has said something of each mail that was accepted. One that was killed may have forgotten what it did."""
        log = self.log()
        if len(re.findall(r' mcp\.start role=qmgr ', log)) != 1:
            return True
        # a line of the log comes after the reply that it is about
        accepted = ACCEPTED.get(self.port, set()) | set(re.findall(r' smtps\.accepted id=(S\w+)', log))
        return accepted <= set(re.findall(r' (?:qmgr\.\w+|smtps\.discarded) id=(S\w+)', log))

    def queue_empty(self):
        """The 250 leaves before qmgr hears of the mail, so an empty queue alone may be one that does not have it yet."""
        with contextlib.suppress(AssertionError):  # what was deleted, or taken away, was perhaps never spoken of
            wait_for('qmgr to know all mail', self.known_to_qmgr, 5)
        wait_for('an empty queue', lambda: not self.queue())

    def settled(self, *replies):
        """What these replies to a dot accepted has come to its end: also where qmgr was killed meanwhile."""
        for reply in replies:
            self.wait_log(rf'qmgr\.done id={re.search("accepted as (S[0-9A-F]+)", reply)[1]} ')
        self.queue_empty()

    def client(self, **kw):
        return Client(('127.0.0.1', self.port), **kw)

    def verdict(self, rcpt, sender='a@client.test', source=None):
        """What is said to RCPT of a new session."""
        with self.client(source=source) as c:
            c.cmd('EHLO client.test', 250)
            c.cmd(f'MAIL FROM:<{sender}>', 250)
            return c.cmd(f'RCPT TO:<{rcpt}>')


MAPS = ('map mt { type = text; file = "mt"; } mailertable { name = mt; } '
        'map ac { type = text; file = "ac"; } access { name = ac; } ')


def relay_all(inst, port, smtps='', flags='8bitmime, access', mt=None, ac='cltaddr:127.0.0.1 RELAY\n', smar='', files=None, **kw):
    """A gateway that relays for loopback, all to one port (or as the mailertable mt says)."""
    return Gateway(inst, smtps=f'flags = {{ {flags} }}; {smtps}', smar=MAPS + smar,
                   files={'mt': mt or f'. [127.0.0.1]:{port}\n', 'ac': ac, **(files or {})}, **kw)


ACCEPTED = {}  # port: ids that a server there has named to clients of ours


class Client:
    """SMTP by hand: bytes out, replies in."""

    def __init__(self, addr, greet=True, timeout=WAIT, source=None):
        self.port = addr[1] if isinstance(addr, tuple) else None
        self.s = socket.create_connection(addr, timeout, (source, 0) if source else None) if isinstance(addr, tuple) else None
        if self.s is None:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.settimeout(timeout)
            self.s.connect(addr)
        else:
            self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b''
        self.greeting = self.reply() if greet else None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.s.close()

    def line(self):
        while b'\n' not in self.buf:
            got = self.s.recv(65536)
            if not got:
                raise ConnectionError('closed by the server' + (f' after {self.buf!r}' if self.buf else ''))
            self.buf += got
        line, _, self.buf = self.buf.partition(b'\n')
        assert line.endswith(b'\r'), f'reply line without CR: {line!r}'
        return line[:-1].decode()

    def reply(self, code=None):
        lines = [self.line()]
        while lines[-1][3:4] == '-':
            lines.append(self.line())
        text = '\n'.join(lines)
        if found := re.match(r'250 .*accepted as (S[0-9A-F]+)', text):
            ACCEPTED.setdefault(self.port, set()).add(found[1])
        if code is not None:
            assert text.startswith(str(code)), f'expected {code}, got {text!r}'
        return text

    def send(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode())

    def cmd(self, line, code=None):
        self.send(line + '\r\n')
        return self.reply(code)

    def closed(self):
        """True when the server closes (reads what it still says)."""
        try:
            while self.s.recv(65536):
                pass
            return True
        except ConnectionError:
            return True

    def mail(self, sender, rcpts, body, ehlo='client.test', params=''):
        """One transaction; body is in DATA form without the final dot. Returns the last reply."""
        if isinstance(body, str):
            body = body.encode()
        if ehlo:
            self.cmd(f'EHLO {ehlo}', 250)
        self.cmd(f'MAIL FROM:<{sender}>{params}', 250)
        for r in [rcpts] if isinstance(rcpts, str) else rcpts:
            self.cmd(f'RCPT TO:<{r}>', 250)
        self.cmd('DATA', 354)
        self.send(body + b'.\r\n')
        return self.reply()


class Sink:
    """A next hop that takes SMTP (or LMTP) and keeps raw bytes. answer(verb, arg, session) may
    give a reply of its own: text, None for the usual one, or 'close' to drop the connection;
    a 354 with the word drop in it takes one line of content and is gone, 'stop' in place of one of
    LMTP's replies after the dot ends the connection there, 'silence' says nothing any more."""

    def __init__(self, lmtp=False, path=None, answer=None, ehlo=('PIPELINING', '8BITMIME', 'SIZE 0',
                 'ENHANCEDSTATUSCODES'), address='127.0.0.1', port=None):
        self.lmtp, self.answer, self.ehlo = lmtp, answer, ehlo
        self.mails, self.connections, self.commands, self.peers = [], 0, [], []
        self.ahead = 0  # bytes that were there before the reply to a command had gone out
        self.lock = threading.Lock()
        self.path = path
        if path:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.bind(str(path))
            os.chmod(path, 0o666)
        else:
            self.port = port or free_port()
            self.s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.s.bind((address, self.port))
        self.s.listen(100)
        self.live = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, who = self.s.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.peers.append(who[0] if isinstance(who, tuple) else '')
                self.live.add(c)
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()
        for c in list(self.live):
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def wait(self, n, limit=WAIT):
        wait_for(f'{n} mails at the sink (has {len(self.mails)})', lambda: len(self.mails) >= n, limit)
        return self.mails

    def serve(self, c):
        try:
            self.talk(c, c.makefile('rb', 1 << 20))
        except (OSError, ValueError):
            pass
        finally:
            self.live.discard(c)
            c.close()

    def talk(self, c, f):
        ses = {'from': None, 'rcpts': [], 'params': ''}

        def say(text):
            c.sendall((text if text.endswith('\r\n') else text + '\r\n').encode())

        def own(verb, arg):
            with self.lock:
                self.commands.append((verb, arg))
            got = self.answer(verb, arg, ses) if self.answer else None
            if got == 'close':
                raise OSError
            if got == 'silence':
                while c.recv(65536):
                    pass
                raise OSError
            return got

        say(own('GREETING', '') or '220 sink.test ready')
        while line := f.readline(70000):
            with contextlib.suppress(BlockingIOError):
                c.setblocking(False)
                with self.lock:
                    self.ahead += len(f.peek(1))
            c.settimeout(None)
            text = line.decode('latin-1').rstrip('\r\n')
            verb, _, arg = text.partition(' ')
            verb = verb.upper()
            reply = own(verb, arg) if verb != 'DATA' else None
            if verb in ('EHLO', 'LHLO', 'HELO'):
                say(reply or '\r\n'.join(f'250-{x}' for x in ('sink.test', *self.ehlo[:-1])) +
                    f'\r\n250 {self.ehlo[-1] if self.ehlo else "sink.test"}')
            elif verb == 'MAIL':
                ses.update({'from': re.search('<(.*?)>', arg)[1], 'rcpts': [], 'params': arg.partition('> ')[2]})
                if reply and not reply.startswith('2'):
                    ses['from'] = None
                say(reply or '250 2.1.0 ok')
            elif verb == 'RCPT' and ses['from'] is None:
                say('503 5.5.1 MAIL comes first')
            elif verb == 'RCPT':
                if not reply or reply.startswith('2'):
                    ses['rcpts'].append(re.search('<(.*)>', arg)[1])
                say(reply or '250 2.1.5 ok')
            elif verb == 'DATA':
                self.data(f, ses, say, own)
            elif verb == 'RSET':
                ses.update({'from': None, 'rcpts': []})
                say(reply or '250 2.0.0 ok')
            elif verb == 'QUIT':
                say(reply or '221 2.0.0 bye')
                return
            else:
                say(reply or '250 2.0.0 ok')

    def data(self, f, ses, say, own):
        reply = own('DATA', '')
        if not reply and not ses['rcpts']:
            reply = '554 5.5.1 no valid recipients'
        if reply and not reply.startswith('3'):
            say(reply)
            return
        say(reply or '354 go on')
        if reply and 'drop' in reply:
            f.readline()
            raise OSError
        body = bytearray()
        while True:
            line = f.readline()
            if not line:
                return
            if line == b'.\r\n':
                break
            body += line
        mail = {**ses, 'body': bytes(body)}
        replies = []
        for r in ses['rcpts'] if self.lmtp else ['']:
            replies.append(own('DOT', r) or '250 2.0.0 taken')
        if any(x.startswith('2') for x in replies):
            if self.lmtp:
                mail['rcpts'] = [r for r, x in zip(ses['rcpts'], replies) if x.startswith('2')]
            with self.lock:
                self.mails.append(mail)
        for x in replies:
            if x == 'stop':
                raise OSError
            say(x)
        ses.update({'from': None, 'rcpts': []})


class Listener:
    """Listens on loopback, or at a path, from the start on; serve(c) of the class made of it speaks, in a thread a connection."""

    def __init__(self, path=None):
        self.connections = 0
        if path:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.bind(str(path))
            os.chmod(path, 0o666)
            self.s.listen(64)
        else:
            self.port = free_port()
            self.s = socket.create_server(('127.0.0.1', self.port), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.s.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Daemon:
    """A program of somebody else in the foreground, in a folder of its own, until close()."""

    def __init__(self, name, cmd=None, folder=None):
        self.dir = folder or tempdir(name)
        if cmd:
            self.run(cmd)

    def run(self, cmd, **how):
        env = {**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'}
        with open(self.dir / 'log', 'ab') as log:
            self.proc = subprocess.Popen([str(x) for x in cmd], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                         executable=shutil.which(cmd[0], path=env['PATH']), **how)

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Nsd(Daemon):
    """An authoritative name server on loopback; zones: name -> text of the zone file."""

    def __init__(self, zones):
        super().__init__('nsd')
        self.port, self.first = free_port(), next(iter(zones))
        conf = f'''server:
  ip-address: 127.0.0.1@{self.port}
  username: ""
  chroot: ""
  zonesdir: "{self.dir}"
  database: ""
  pidfile: "{self.dir}/nsd.pid"
  xfrdfile: "{self.dir}/xfrd.state"
  zonelistfile: "{self.dir}/zone.list"
  server-count: 1
remote-control:
  control-enable: no
'''
        for name, text in zones.items():
            (self.dir / f'{name}.zone').write_text(text)
            conf += f'zone:\n  name: {name}\n  zonefile: {name}.zone\n'
        (self.dir / 'nsd.conf').write_text(conf)
        self.start()

    def start(self):
        self.run(['nsd', '-d', '-c', self.dir / 'nsd.conf'])
        wait_for('nsd', self.answers)

    def answers(self):
        name = b''.join(bytes([len(x)]) + x.encode() for x in self.first.split('.'))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
            s.settimeout(0.3)
            s.connect(('127.0.0.1', self.port))
            s.send(b'\0\1\0\0\0\1\0\0\0\0\0\0' + name + b'\0\0\6\0\1')
            return s.recv(512)


class Postfix:
    """Debian's Postfix with its own folders, on loopback, sending everything to one port. Root only."""

    def __init__(self, next_port, main=''):
        assert os.geteuid() == 0, 'Postfix is started by root'
        self.dir, self.port = tempdir('pf'), free_port()
        self.path = {**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'}
        for sub in ('conf', 'queue', 'data'):
            (self.dir / sub).mkdir()
        shutil.chown(self.dir / 'data', 'postfix', 'postfix')
        (self.dir / 'conf/main.cf').write_text(f'''compatibility_level = 3.6
queue_directory = {self.dir}/queue
data_directory = {self.dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = pf.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{next_port}
relay_domains = static:all
alias_maps =
alias_database =
local_recipient_maps =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_recipient_limit = 20000
message_size_limit = 100000000
maillog_file = {self.dir}/log
maillog_file_prefixes = {self.dir}
{main}''')
        (self.dir / 'conf/master.cf').write_text(f'''127.0.0.1:{self.port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
''')
        self.control('start')
        wait_for('postfix', self.greets)

    def control(self, word):
        subprocess.run(['postfix', '-c', str(self.dir / 'conf'), word], check=word != 'stop', env=self.path,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def greets(self):
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.port), 2) as s:
            return s.recv(100).startswith(b'220')

    def sendmail(self, sender, rcpts, text):
        subprocess.run(['sendmail', '-C', str(self.dir / 'conf'), '-i', '-f', sender, '--', *rcpts], input=text, check=True,
                       env=self.path, timeout=60)

    def close(self):
        self.control('stop')
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def statuses(mails):
    """recipient -> [Status…] of the reports (RFC 3464) among mails, as a list so that a second shows."""
    out = {}
    for m in mails:
        if m['from'] == '':
            report = email.message_from_bytes(split_received(m['body'])[1], policy=email.policy.default)
            for part in report.get_payload()[1].get_payload()[1:]:
                out.setdefault(part['Final-Recipient'].split(';')[1].strip(), []).append(part['Status'])
    return out


def report_ids(mails):
    """Recipient of reports -> the ids under which reports came to it."""
    ids = {}
    for m in mails:
        if m['from'] == '':
            ids.setdefault(m['rcpts'][0], set()).add(re.search(rb'id (S\S+);', m['body'])[1])
    return ids


def split_received(body):
    """(our Received field, the rest) of a message in DATA form."""
    m = re.match(rb'Received: .*?\r\n(?![ \t])', body, re.S)
    assert m, body[:300]
    return m[0], body[m.end():]
