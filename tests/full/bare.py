# SPDX-License-Identifier: BSD-2-Clause
"""bare.py -- nothing but Debian 12's base, which debootstrap makes, and the sources in /meta1.

Needs root. All mounts are in a mount namespace of the command that wants them."""
import concurrent.futures, contextlib, ctypes, os, pathlib, re, shutil, signal, subprocess, tempfile

import lab

SRC = pathlib.Path(os.environ['META1_SRC'])
PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
CLONE_NEWNET = 0x40000000
# bound onto itself the folder is a mount point, so that tests in there may have mounts of their own
ENTER = 'mount --rbind "$0" "$0" && mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


def mirror():
    """Where this machine has its Debian from; empty: debootstrap's own choice."""
    for f in [pathlib.Path('/etc/apt/sources.list'), *sorted(pathlib.Path('/etc/apt/sources.list.d').glob('*'))]:
        if not f.is_file():
            continue
        for part in re.split(r'\n\s*\n', f.read_text()) if f.suffix == '.sources' else f.read_text().splitlines():
            part = re.sub(r'#.*', '', part)
            uri = re.search(r'\b[a-z]+:/\S+', part)
            if uri and re.search(r'\bbookworm\s', part + '\n') and re.search(r'\bmain\b', part):
                return [uri[0]]
    return []


def copy_tree(to):
    """The files that git knows, as they are now; of a tarball everything."""
    names = subprocess.run(['git', '-c', 'safe.directory=*', 'ls-files', '-z'], cwd=SRC, capture_output=True)
    if names.returncode:
        shutil.copytree(SRC, to, ignore=shutil.ignore_patterns('.git'))
        return
    for name in filter(None, names.stdout.decode().split('\0')):
        if (SRC / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SRC / name, to / name)


def client_in(pid, port=25):
    """A session with a server on the loopback of the network that this process is in."""
    def inside():
        with open(f'/proc/{pid}/ns/net') as net:
            assert ctypes.CDLL(None, use_errno=True).setns(net.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        return lab.Client(('127.0.0.1', port))
    with concurrent.futures.ThreadPoolExecutor(1) as thread:  # which alone goes there
        return thread.submit(inside).result()


class Bare:
    """META1_BARE names a root folder that is there, for whoever works on such a test: it is used and kept."""

    def __init__(self):
        self.dir = None
        if kept := os.environ.get('META1_BARE'):
            self.root = pathlib.Path(kept)
            self.id = self.root.stat()
            return
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='meta1-bare.', dir='/tmp'))
        self.dir.chmod(0o755)
        self.root = self.dir / 'root'
        subprocess.run(['debootstrap', '--variant=minbase', 'bookworm', str(self.root), *mirror()],
                       check=True, stdout=subprocess.DEVNULL, timeout=1200)
        self.id = self.root.stat()
        copy_tree(self.root / 'meta1')

    def command(self, *cmd, user=None):
        as_user = ['setpriv', f'--reuid={user}', f'--regid={user}', '--init-groups'] if user else []
        env = [f'{k}={v}' for k, v in os.environ.items() if k.lower() in ('http_proxy', 'https_proxy', 'no_proxy')]
        home = f'/home/{user}' if user else '/root'
        return ['unshare', '-m', 'sh', '-c', ENTER, str(self.root), *as_user, 'env', '-i', f'PATH={PATH}',
                f'HOME={home}', *env, *cmd]

    def run(self, *cmd, user=None, limit=900):
        return subprocess.run(self.command(*cmd, user=user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=limit)

    def processes(self):
        """name -> [(pid, user)] of what runs in there."""
        users = {int(f[2]): f[0] for f in (line.split(':') for line in
                                           (self.root / 'etc/passwd').read_text().splitlines())}
        found = {}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                at = os.stat(f'/proc/{pid}/root/')
                status = dict(line.split(':\t', 1) for line in
                              pathlib.Path(f'/proc/{pid}/status').read_text().splitlines() if ':\t' in line)
            except OSError:
                continue
            if (at.st_dev, at.st_ino) == (self.id.st_dev, self.id.st_ino):
                uid = int(status['Uid'].split()[1])
                found.setdefault(status['Name'], []).append((int(pid), users.get(uid, uid)))
        return found

    def close(self):
        def ended():
            running = self.processes().values()
            for pid, _ in (entry for entries in running for entry in entries):
                with contextlib.suppress(ProcessLookupError):  # it may be on its way out by itself
                    os.kill(pid, signal.SIGKILL)
            return not running
        lab.wait_for('the end of everything in there', ended)
        if self.dir:
            shutil.rmtree(self.dir)


# what a failed test would leave to the next one
PURGE = """
rm -rf /run/meta1
dpkg -l 'meta1*' | awk '/^[a-z]/ { print $2 }' | xargs -r dpkg -P
rm -rf /etc/meta1 /var/spool/meta1 /srv/queue /run/meta1 /usr/lib/*/meta1 /root/map_even
"""


def cleared(bare):
    policy(bare, 101)
    bare.run('sh', '-c', PURGE)


def policy(bare, status):
    """May packages start what they bring?"""
    f = bare.root / 'usr/sbin/policy-rc.d'
    f.write_text(f'#!/bin/sh\nexit {status}\n')
    f.chmod(0o755)
