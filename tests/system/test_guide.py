# SPDX-License-Identifier: BSD-2-Clause
"""doc/admin.md, all but its decisions (test_admin.py): one gateway in which things are as the page tells them; each command that
it shows, in its order, says what it shows.

META1_WRITE=1 writes the output of each command anew into the page instead of comparing."""
import os, pathlib, re, shlex, subprocess

import lab, pytest

PAGE = pathlib.Path(os.environ.get('META1_SRC', pathlib.Path(__file__).resolve().parents[2])) / 'doc/admin.md'
COMMAND = re.compile(r'^    \$ (?!meta1ctl explain)(.*)\n((?:    (?!\$).*\n)*)', re.M)
IDS = ['S000000000000000200', 'S000000000000000400', 'S000000000000000600', 'S000000000000000800']  # the last one: any other
MEANT = [  # what differs from run to run
    (r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', '2026-11-27 10:00:00'), (r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000', '2026-11-27T10:00:00.000+0000'),
    (r'\bpid \d+', 'pid 4711'), (r'(smtps|smtpc|qmgr|smar|mcp)\[\d+\]', r'\1[4711]'), (r'\bup \d+ s', 'up 60 s'), (r'\b\d+\.\d+ ms', '0.1 ms'),
    (r'\bmemory \d+', 'memory 2400'), (r'\bdelay=\d+', 'delay=0'), (r' +0\.\d{3}  ', '     0.100  '), (r'\bnext_s=\d+', 'next_s=300'), (r'\b\d+ bytes', '160 bytes'), (r'\bsize=\d+', 'size=160'),
    (r'\bversion \d+\.\d+\.\d+', 'version 0.1.0'), (r'\bsession=\d+', 'session=7'), (r'^(\w+ +map_text +)( +\d+)( +\d+)( +\d+)( +\d+)( +\d+)', lambda m: m[1] + ''.join(t.rjust(len(n)) for t, n in zip('12 0 0 5 7'.split(), m.groups()[1:]))),
]


def block(name):
    """The indented text behind "PATH:" in the page."""
    text = re.search(rf'^[^\n]*`/etc/meta1/{name}`[^\n]*:\n\n((?:    (?!\$).*\n|\n(?=    (?!\$)))+)', PAGE.read_text(), re.M)[1]
    return re.sub('^    ', '', text, flags=re.M)


class World:
    def __init__(self, inst):
        self.dead, self.store_at = lab.free_port(), lab.tempdir('store')
        self.full = lab.Sink(address='127.0.0.26', answer=lambda verb, arg, session: '452 4.2.2 mailbox full' if verb == 'RCPT' else None)
        self.store = lab.Sink(lmtp=True, path=self.store_at / 'lmtp')
        self.names = [(str(self.store_at), '/run/store')]
        g = self.g = lab.Gateway(inst, conf='', files={'access': self.real(block('access')), 'mt': self.real(block('mt')), 'typo.conf': block('typo.conf')})
        self.names += [(str(g.bin / 'lib/meta1'), '/usr/lib/meta1'), (str(g.bin), '/usr'), (f'{g.dir}/q', '/var/spool/meta1'), (f'{g.dir}/run', '/run/meta1'), (str(g.dir), '/etc/meta1'),
                       (f'127.0.0.25:{self.dead}', '192.0.2.25:25'), (f'127.0.0.26:{self.full.port}', '192.0.2.26:25'), ('127.0.0.', '192.0.2.'), ('127.0.1.7', '198.51.100.7')]
        for section in lab.ROLES:  # which on this machine are elsewhere
            g.conf.write_text(g.conf.read_text() + f'{section} {{ path = "{g.bin}/libexec/{section}"; }}\n')
        mine = re.sub(r'port = 25;', f'address = 127.0.0.1; port = {g.port};', self.real(block('conf.d/mine.conf')))
        g.conf.write_text(f'queue_directory = "{g.dir}/q"; run_directory = "{g.dir}/run"; module_directory = "{g.bin}/lib/meta1";\n{g.conf.read_text()}{mine}')

    def real(self, text):
        """The page's addresses, as this machine has them."""
        return (text.replace('[192.0.2.25]', f'[127.0.0.25]:{self.dead}').replace('[192.0.2.26]', f'[127.0.0.26]:{self.full.port}').replace('192.0.2', '127.0.0')
                .replace('/run/store', str(self.store_at)))

    def __enter__(self):
        self.g.__enter__()
        self.ids = []
        with self.g.client(source='127.0.0.10') as c:
            for n, (sender, rcpts) in enumerate((('bob@far.example', 'ann@example.org'), ('ann@example.org', ['joe@dead.example', 'sue@dead.example']), ('ann@example.org', 'max@full.example'))):
                said = c.mail(sender, rcpts, 'Subject: hello\r\n\r\nhello\r\n', ehlo=None if n else 'pc.example.org')
                self.ids.append(re.search(r'S[0-9A-F]{18}', said)[0])
        assert self.g.verdict('joe@other.example', 'bob@far.example', '127.0.1.7').startswith('550 5.7.1')
        self.g.wait_log(f'qmgr.done id={self.ids[0]}')
        for i in self.ids[1:]:
            self.g.wait_log(f'qmgr.deferred id={i}')
        return self

    def __exit__(self, *exc):
        self.g.__exit__(*exc)
        self.full.close()
        self.store.close()
        self.store_at.rmdir()

    def say(self, command):
        command = re.sub(r'S[0-9A-F]{18}', lambda m: self.ids[IDS.index(m[0])], command).replace('192.0.2', '127.0.0').replace('/etc/meta1', str(self.g.dir))
        if found := re.fullmatch(r'journalctl -u meta1 \| grep (\S+)', command):
            out = ''.join(line + '\n' for line in self.g.log().splitlines() if found[1] in line)
        else:
            name, *args = shlex.split(command)
            where = next(self.g.bin / d / name for d in ('bin', 'sbin') if (self.g.bin / d / name).exists())
            if '-f' not in args:
                args = ['-f', str(self.g.conf), *args]
            cmd = [str(where), *args] if name == 'meta1ctl' else self.g.run_as([str(where), *args])
            done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=self.g.environ())
            out = done.stdout
        for mine, theirs in self.names:
            # in a table the next column stays where it was
            out = re.sub(re.escape(mine) + r'(?=(\S*)(  )?)', lambda m: theirs + (' ' * (len(mine) - len(theirs)) if m[2] and not m[1] else ''), out)
        out = re.sub(r'S[0-9A-F]{18}', lambda m: IDS[self.ids.index(m[0]) if m[0] in self.ids else -1], out)
        for pattern, text in MEANT:
            out = re.sub(pattern, text, out, flags=re.M)
        return out.rstrip('\n') + '\n'


@pytest.fixture(scope='module')
def world(inst):
    with World(inst) as w:
        yield w


def test_the_page_shows_what_is_said(world):
    page = PAGE.read_text()
    shown = COMMAND.findall(page)
    assert len(shown) >= 15
    if os.environ.get('META1_WRITE'):
        PAGE.write_text(COMMAND.sub(lambda m: f'    $ {m[1]}\n' + re.sub('^(?=.)', '    ', world.say(m[1]).rstrip('\n'), flags=re.M) + '\n', page))
        return
    for command, text in shown:
        said, want = world.say(command), re.sub('^    ', '', text, flags=re.M)
        assert re.sub(' +', ' ', said) == re.sub(' +', ' ', want), f'{command}: if it is meant, META1_WRITE=1 and this test write the page anew'


def test_what_is_told_of_symptoms_is_there():
    """Words of queue why, replies and events of the log are those of the programs."""
    wrong = PAGE.read_text().split('## What is wrong?')[1].split('## Policy')[0]
    core = '\n'.join(p.read_text() for p in (PAGE.parents[1] / 'core').rglob('*.c'))
    words = set(re.findall(r'\bsay\(c, "(\w+)"', (PAGE.parents[1] / 'core/qmgr/why.c').read_text()))
    rows = {w for row in re.findall(r'^\| ([\w, ]+) \|', wrong, re.M) for w in row.split(', ')}
    assert len(words) > 12 and not words - rows
    replies = re.findall(r'^\| [^|]*?(\d{3}) (\d\.\d\.\d)', wrong, re.M)
    assert len(replies) > 8
    assert not [r for r in replies if not re.search(rf'\b{r[0]}\b[", ]*(META1_\w+, )?"?{re.escape(r[1])}\b', core)]
    events = set(re.findall(r'\b(?:smtps|smtpc|qmgr|smar|mcp)\.[a-z_]+\b', wrong))
    assert len(events) > 12 and not [e for e in events if f'"{e}"' not in core and f'.{e.split(".")[1]}' not in core]
