# SPDX-License-Identifier: BSD-2-Clause
"""The two commands of the README on a bare Debian 12."""
import os, re, signal, subprocess

import lab, pytest
from bare import Bare, copy_tree


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
