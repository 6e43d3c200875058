# SPDX-License-Identifier: BSD-2-Clause
"""doc/tutorial-cyrus.md as it stands: each block of commands is typed into one shell on a bare Debian 12, and what the page shows
behind it is looked for in what was said."""
import os, re, secrets, selectors, subprocess, time

import pytest
from bare import ENTER, PATH, SRC, Bare

PAGE = SRC / 'doc/tutorial-cyrus.md'
LIMIT = 1200  # of a block; the build is the longest


def blocks():
    """(first line, commands, lines of the output) of each block of the page."""
    parts = re.findall(r'^```(sh)?\n(.*?)^```\n', PAGE.read_text(), re.M | re.S)
    out = []
    for kind, text in parts:
        if kind:
            out.append([text.splitlines()[0], text, []])
        else:
            assert out and not out[-1][2], f'output without commands: {text}'
            out[-1][2] = text.splitlines()
    return out


def missing(said, lines):
    """The first of the lines that is not said, each behind the one before; … is anything."""
    at = 0
    for line in lines:
        wanted = '.*'.join(map(re.escape, line.split('…')))
        found = re.compile(f'^{wanted}$', re.M).search(said, at)
        if not found:
            return line
        at = found.end()
    return None


class Shell:
    """One bash in there, with a network of its own but for those who fetch packages; all it starts ends with it."""

    def __init__(self, bare):
        self.bare, self.at = bare, b''
        inside = 'ip link set lo up && ' + ENTER
        env = ['env', '-i', f'PATH=/usr/local/sbin:/usr/local/bin:{PATH}', 'HOME=/root', 'LC_ALL=C.UTF-8']
        self.p = subprocess.Popen(['unshare', '-mnpu', '--fork', '--kill-child', 'sh', '-c', inside, str(bare.root), *env, 'sh', '-c', 'cd /meta1 && exec bash'],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def type(self, text):
        """Stops at the first command that fails, as somebody who types would. Returns what was said and the exit status."""
        if re.search(r'^apt-get ', text, re.M):
            done = self.bare.run('env', 'DEBIAN_FRONTEND=noninteractive', 'bash', '-ec', text, limit=LIMIT)
            return done.stdout, done.returncode
        word = secrets.token_hex(8)
        file = self.bare.root / 'tmp/block'
        file.write_text(text)
        self.p.stdin.write(f'bash -e /tmp/block </dev/null; echo "{word} $?"\n'.encode())
        self.p.stdin.flush()
        end, said = time.monotonic() + LIMIT, b''
        with selectors.DefaultSelector() as sel:
            sel.register(self.p.stdout, selectors.EVENT_READ)
            while not (over := re.search(rb'%s (\d+)\n' % word.encode(), said)):
                assert sel.select(max(0, end - time.monotonic())), f'{LIMIT} s are over:\n{said.decode()[-4000:]}'
                got = os.read(self.p.stdout.fileno(), 65536)
                assert got, f'the shell has ended:\n{said.decode()[-4000:]}'
                said += got
        return said[:over.start()].decode(errors='replace').replace('\r', ''), int(over[1])

    def close(self):
        self.p.kill()
        self.p.wait()


def test_every_command_of_the_page():
    if os.geteuid():
        pytest.fail('a bare Debian can be made by root only')
    bare = Bare()
    # what a package would start at a boot does not start here by being installed
    (bare.root / 'usr/sbin/policy-rc.d').write_text('#!/bin/sh\nexit 101\n')
    (bare.root / 'usr/sbin/policy-rc.d').chmod(0o755)
    shell = Shell(bare)
    try:
        for first, text, lines in blocks():
            said, status = shell.type(text)
            print(f'$ {text}{said[-3000:]}')
            assert status == 0, f'{first}: exit status {status}\n{said[-6000:]}'
            lack = missing(said, lines)
            assert lack is None, f'{first}: the page shows "{lack}"\n{said[-6000:]}'
    finally:
        shell.close()
        bare.close()
