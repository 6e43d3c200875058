# SPDX-License-Identifier: BSD-2-Clause
"""The two commands of the README on nothing but Debian 12's base, which debootstrap makes.

Needs root. All mounts are in a mount namespace of the command that wants them."""
import os, pathlib, re, shutil, signal, subprocess, tempfile

import pytest

import lab

SRC = pathlib.Path(os.environ['META1_SRC'])
PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
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


class Bare:
    def __init__(self):
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
        for entries in self.processes().values():
            for pid, _ in entries:
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir)


@pytest.fixture(scope='module')
def bare():
    if os.geteuid():
        pytest.fail('a bare Debian can be made by root only')
    b = Bare()
    yield b
    b.close()


def assert_delivered(done):
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r'^delivered: /\S+/mail/demo/new/', done.stdout, re.M), done.stdout
    assert 'Subject: hello' in done.stdout and 'It works.' in done.stdout


def test_missing_packages_are_named(bare):
    subprocess.run(['chroot', str(bare.root), 'useradd', '-m', 'someone'], check=True)
    done = bare.run('/meta1/quickstart', '--once', user='someone')
    assert done.returncode == 69, done.stdout
    assert 'apt-get install' in done.stdout and 'libevent-dev' in done.stdout


def test_quickstart_once_by_root(bare):
    assert_delivered(bare.run('/meta1/quickstart', '--once', '--port', str(lab.free_port())))
    assert not bare.processes()


def test_roles_of_the_demo_drop_to_users_of_their_own(bare):
    demo = subprocess.Popen(bare.command('/meta1/quickstart', '--port', str(lab.free_port())), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            # a shell that puts us into the background has it ignored, for good
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    said = []
    for line in demo.stdout:
        said.append(line)
        if 'A gateway runs' in line:
            break
    else:
        pytest.fail(''.join(said))
    try:
        users = {name: {user for _, user in entries} for name, entries in bare.processes().items()}
        assert users['mcp'] == {'root'}
        assert {r: users.get(r) for r in lab.ROLES} == {'smtps': {'meta1s'}, 'smtpc': {'meta1c'},
                                                        'qmgr': {'meta1q'}, 'smar': {'meta1m'}}
    finally:
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, rest
    lab.wait_for('everything to end', lambda: not bare.processes())


def test_quickstart_once_by_an_ordinary_user(bare):
    home = bare.root / 'home/someone/meta1'
    copy_tree(home)
    subprocess.run(['chroot', str(bare.root), 'chown', '-R', 'someone:someone', '/home/someone'], check=True)
    assert_delivered(bare.run('/home/someone/meta1/quickstart', '--once', '--port', str(lab.free_port()),
                              user='someone'))


def test_check(bare):
    done = bare.run('/meta1/check', limit=2400)
    assert done.returncode == 0 and re.search(r'^[0-9]+ passed, 0 failed$', done.stdout.splitlines()[-1]), \
        done.stdout[-6000:]
