# SPDX-License-Identifier: BSD-2-Clause
"""milters.py -- filters for the tests: milter_try.c, which does what its command line says, a filter of Python, and the
daemons that people run. Each in a folder of its own, on a unix socket that smtps' account may connect to."""
import functools, os, pathlib, re, shutil, socket, subprocess

import lab

HERE = pathlib.Path(__file__).parent


@functools.cache
def compiled():
    """milter_try with the machine's libmilter; once a process that runs tests."""
    folder = lab.tempdir('try')
    subprocess.run(['cc', '-O1', '-o', folder / 'try', HERE / 'milter_try.c', '-lmilter', '-lpthread'], check=True)
    return folder / 'try'


def listens(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(str(path))
        except OSError:
            return False
    return True


class Milter(lab.Daemon):
    """At self.socket; start() again after stop()."""

    def __init__(self, name, folder=None):
        super().__init__(name, folder=folder)
        self.socket = self.dir / 'sock'

    def up(self, cmd, children=False):
        path, self.children = self.socket, children
        path.unlink(missing_ok=True)
        self.run(cmd)

        def there():
            assert self.proc.poll() is None, f'{cmd[0]} ended with {self.proc.returncode}: {(self.dir / "log").read_text()[-2000:]}'
            return path.exists() and (os.chmod(path, 0o777) or listens(path))
        lab.wait_for(f'{cmd[0]} at {path}', there)
        return self

    def stop(self):
        """libmilter looks every five seconds only whether it should end."""
        if self.children:
            super().stop()
        self.proc.kill()
        self.proc.wait()


class Try(Milter):
    """milter_try with these arguments, where said what it was told."""

    def __init__(self, *args, folder=None):
        super().__init__('try', folder)
        self.told = self.dir / 'told'
        self.start(*args)

    def start(self, *args):
        self.told.unlink(missing_ok=True)
        self.up([compiled(), '-p', f'unix:{self.socket}', '-l', self.told, *args])

    def restart(self, *args):
        self.stop()
        self.start(*args)

    def lines(self):
        """What it wrote down, without the look whether it listens."""
        return self.told.read_text().splitlines() if self.told.exists() else []

    def wait_for(self, word):
        return lab.wait_for(f'{word} to be told', lambda: [l for l in self.lines() if l.split()[0] == word])


def plain(text):
    """Of milter_try's file, as it was."""
    return re.sub(rb'\\x(..)', lambda m: bytes([int(m[1], 16)]), text.encode())


def content(mail):
    """What a sink got, without dots and our Received field."""
    body = re.sub(rb'^\.\.', b'.', mail['body'], flags=re.M)
    return re.sub(rb'^Received: (?:(?!\r\n[^ \t]).)*?by (?:gw\.test|mx\.example\.org).*?\r\n(?![ \t])', b'', body, count=1, flags=re.S | re.M)


def stuffed(message):
    return re.sub(rb'^\.', b'..', message, flags=re.M)


def send(gw, message, sender='a@good.test', rcpts=('b@far.test',), source=None, ehlo='client.test'):
    """One mail in a session of its own; the last reply."""
    with gw.client(source=source) as c:
        said = c.mail(sender, list(rcpts), stuffed(message), ehlo=ehlo)
        c.cmd('QUIT', 221)
    return said


def missing(*programs):
    path = os.environ['PATH'] + ':/usr/sbin:/sbin'
    return [p for p in programs if not shutil.which(p, path=path)]
