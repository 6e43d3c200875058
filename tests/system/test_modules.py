# SPDX-License-Identifier: BSD-2-Clause
"""A stranger's module: doc/modules.md, each command of it, from an installation alone; then it answers a live look-up."""
import json, os, platform, re, shutil, subprocess

import lab, pytest
from named import SRC
from test_lookup import Control


def shell(where, script, env):
    p = subprocess.run(['/bin/bash', '-eu'], input=script, cwd=where, env=env, capture_output=True, text=True, timeout=120)
    assert p.returncode == 0, f'{script}\n{p.stdout[-3000:]}{p.stderr[-3000:]}'
    return p.stdout


@pytest.fixture(scope='module')
def own(inst):
    """An installation of our own, into which modules may be put: its root, prefix, and what a shell must know of it."""
    root = lab.tempdir('own')
    shutil.copytree(inst, root, symlinks=True, dirs_exist_ok=True)
    prefix = root / lab.PREFIX.lstrip('/')
    pc = prefix / 'lib/pkgconfig/meta1-module.pc'
    pc.write_text(pc.read_text().replace(lab.PREFIX, str(prefix)))
    return root, prefix, dict(os.environ, PATH=f'{prefix}/bin:{os.environ["PATH"]}', PKG_CONFIG_PATH=str(pc.parent),
                              MANDIR=str(prefix / 'share/man'), CFLAGS='-O1 -Wall -Wextra -Wshadow -Werror')


def test_the_guide(own, tmp_path):
    root, prefix, env = own
    blocks = re.findall(r'^```sh\n(.*?)^```', (SRC / 'doc/modules.md').read_text(), re.M | re.S)
    assert len(blocks) == 3
    begin, check, install = blocks
    out = shell(tmp_path, begin, env)
    assert re.search(r'^\d+ passed, 0 failed$', out, re.M)
    mine = tmp_path / 'map_even'
    assert re.search(r'^\d+ passed, 0 failed$', shell(mine, check, env), re.M)
    shell(mine, install, env)
    assert (prefix / 'lib/meta1/maps/map_even.so').exists() and (prefix / 'share/man/man5/map_even.5').exists()
    assert 'type = even;' in (mine / 'map_even.conf.sample').read_text()
    with lab.Gateway(root, smar='map numbers { type = even; value = "yes"; }') as g:
        assert Control(g).query('numbers', b'even-2')['result'] == 'found'
        assert Control(g).query('numbers', b'odd-1')['result'] == 'notfound'


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='the kept module of ABI 1.0 is of x86-64')
def test_a_module_of_abi_1_0_answers(own):
    root, prefix, _ = own
    so = prefix / 'lib/meta1/maps/map_abi10.so'
    shutil.copy(SRC / 'tests/unit/mod/abi10/map_abi10.so', so)
    so.chmod(0o755)
    with lab.Gateway(root, smar='map kept { type = abi10; an_int = 8; a_bool = no; list = { x, y, z }; flags = { green }; }') as g:
        for key, value in {'now': 'value', 'later': 'value', 'posted': 'value', 'thread': 'value of a thread', 'domain': 'example.org',
                           'options': '0 1 8 65536 1500 7 value / x+y+'}.items():
            said = Control(g).query('kept', key.encode())
            assert (said['result'], said['value']) == ('found', value), (key, said)
        assert Control(g).query('kept', b'else')['result'] == 'notfound'


@pytest.fixture(scope='module')
def examples(own):
    """Each worked example, built out of tree, tried and installed."""
    root, prefix, env = own
    where = lab.tempdir('examples')
    found = sorted(p.name for p in (prefix / 'share/meta1/examples').iterdir())
    for name in found:
        shutil.copytree(prefix / 'share/meta1/examples' / name, where / name)
        assert re.search(r'^\d+ passed, 0 failed$', shell(where / name, 'make check && make install', env), re.M)
    return found


def test_the_examples(own, examples):
    root, prefix, _ = own
    assert examples == ['map_table', 'pmilter_rate', 'transport_maildir']
    table = lab.tempdir('table') / 'table'
    table.write_text('One 1\n')
    with lab.Gateway(root, smar=f'map ac {{ type = text; file = "ac"; }} access {{ name = ac; }} map t {{ type = table; file = "{table}"; interval = 100ms; }}',
                     smtps='policy_milter { module = rate; limit = 2; } flags = { access }; ',
                     files={'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g:
        assert Control(g).query('t', b'one')['value'] == '1'
        (table.parent / 'new').write_text('one 2\n')
        (table.parent / 'new').rename(table)
        lab.wait_for('the new row', lambda: Control(g).query('t', b'one')['value'] == '2')
        with g.client() as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('MAIL FROM:<a@client.test>', 250)
            c.cmd('RCPT TO:<a@far.test>', 250)
            c.cmd('RCPT TO:<b@far.test>', 250)
            assert c.cmd('RCPT TO:<c@far.test>', 450).startswith('450 4.7.1 more than 2 recipients')


def box(folder, *sub):
    for d in ('', 'new', 'cur', 'tmp', *sub):
        (folder / d).mkdir(parents=True)
    for d in [folder, *folder.rglob('*')]:
        os.chown(d, lab.NOBODY if os.geteuid() == 0 else -1, -1)


def mails(folder):
    return [p.read_bytes() for p in sorted((folder / 'new').iterdir())]


def test_mail_by_a_strangers_transport(own, examples):
    """SMTP in, a row of the mailertable, an out-of-tree Maildir: users, details, who is not there, who cannot be written."""
    root, prefix, _ = own
    dirs = lab.tempdir('dirs')
    box(dirs / 'ann', '.work', '.work/new', '.work/cur', '.work/tmp')
    box(dirs / 'bob')
    box(dirs / 'net' / 'ann')
    (dirs / 'bob/tmp').rmdir()
    (dirs / 'bob/tmp').write_text('')
    rows = f'example.org boxes:\nexample.net Boxes:{dirs}/net\nwrong.test boxs:\n'
    with lab.Gateway(root, smtps='flags = { 8bitmime, access };', smar=lab.MAPS, files={'mt': rows, 'ac': ''}, qmgr='min_retry_delay = 1h;',
                     smtpc=f'transport boxes {{ module = maildir; folder = "{dirs}"; }}') as g:
        with g.client() as c:  # local domains: nobody needs to permit relaying
            body = 'From: ann@example.org\r\nSubject: t\r\n\r\n..dot\r\n..\r\n' + 'x' * 900 + '\r\n'
            to = ['Ann+work@example.org', 'ann+none@example.org', 'bob@example.org', 'eve@example.org', '"../ann"@example.org']
            assert c.mail('ann@example.org', to, body).startswith('250')
            assert c.mail('', 'ann@example.net', 'Subject: null\r\n\r\n', ehlo=None).startswith('250')
        # its own, and the report about two whom nobody knows
        lab.wait_for('the mails', lambda: [len(mails(d)) for d in (dirs / 'ann/.work', dirs / 'ann', dirs / 'net/ann')] == [1, 2, 1])
        mail, = mails(dirs / 'ann/.work')
        assert mail.startswith(b'Return-Path: <ann@example.org>\nDelivered-To: Ann+work@example.org\nReceived: ')
        assert mail.endswith(b'\n\n.dot\n.\n' + b'x' * 900 + b'\n') and b'\r' not in mail
        assert mails(dirs / 'net/ann')[0].startswith(b'Return-Path: <>\nDelivered-To: ann@example.net\n')
        report, = [m for m in mails(dirs / 'ann') if m.startswith(b'Return-Path: <>')]
        assert set(re.findall(rb'Final-Recipient: rfc822; ?(\S+)', report)) == {b'eve@example.org', b'"../ann"@example.org'}
        assert report.count(b'Status: 5.1.1') == 2 and b'there is no such user' in report
        # who cannot be written waits
        waiting = lab.wait_for('bob to wait', lambda: [m for m in g.queue() if 'the mailbox cannot be written now' in json.dumps(m)])
        assert [r['address'] for r in waiting[0]['recipients'] if r['state'] == 'waiting'] == ['bob@example.org']
        (dirs / 'bob/tmp').unlink()
        (dirs / 'bob/tmp').mkdir()
        os.chown(dirs / 'bob/tmp', lab.NOBODY if os.geteuid() == 0 else -1, -1)
        g.ctl('queue', 'flush')
        lab.wait_for('the mail of bob', lambda: len(mails(dirs / 'bob')) == 1)
        said = g.ctl('route', 'example.org').stdout
        assert 'boxes' in said
        wrong = g.ctl('route', 'wrong.test', check=False)
        assert 'smtpc has no transport boxs { }' in wrong.stdout + wrong.stderr and 'did you mean boxes:?' in wrong.stdout + wrong.stderr


def test_two_sections_with_one_maildir(own, examples):
    """Mails of one second, by two instances in one process: each has a file of its own."""
    dirs = lab.tempdir('shared')
    box(dirs / 'ann')
    with lab.Gateway(own[0], smtps='flags = { 8bitmime, access };', smar=lab.MAPS, files={'mt': 'example.org one:\nexample.net two:\n', 'ac': ''},
                     smtpc=''.join(f'transport {n} {{ module = maildir; folder = "{dirs}"; }} ' for n in ('one', 'two'))) as g:
        with g.client() as c:
            for i in range(20):
                assert c.mail('a@b.test', f'ann@example.{("org", "net")[i % 2]}', f'Subject: {i}\r\n\r\n', ehlo=None if i else 'c.test').startswith('250')
        g.queue_empty()
        assert len(mails(dirs / 'ann')) == 20


@pytest.mark.parametrize('section, why', [
    ('transport maildir { foldr = "/x"; }', 'foldr'),
    ('transport { }', 'a transport needs a name'),
    ('transport smtp { }', 'is there without a section'),
    ('transport 8x { module = smtp; }', 'a letter first'),
    ('transport boxes { module = maildirr; }', 'there is transport_maildir'),
    ('transprot boxes { module = maildir; }', 'did you mean transport?'),
])
def test_a_wrong_section_is_explained(own, examples, section, why):
    g = lab.Gateway(own[0], smtpc=section)
    p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ(), timeout=60)
    assert p.returncode != 0 and why in p.stderr + p.stdout, p.stderr + p.stdout


def test_listed_and_described(inst, tmp_path):
    with lab.Gateway(inst, smar='map t { type = text; rows = { "a b" }; }') as g:
        mods = {m['name']: m for m in map(json.loads, g.ctl('module', 'list', '--json').stdout.splitlines())}
        assert mods['map_text']['used_by'] == ['smar (smar: map t)'] and mods['map_text']['roles'] == ['smar', 'tools']
        assert mods['transport_smtp']['kind'] == 'transport' and mods['map_text']['abi'].startswith('1.')
        info = g.ctl('module', 'info', 'map_text').stdout
        assert 'map_text' in info and '  file ' in info and 'maps/map_text.so' in info
        p = g.ctl('module', 'info', 'map_tex', check=False)
        assert p.returncode == 1 and 'there is no such module' in p.stderr


def test_what_would_bring_it(inst):
    """A configuration names what is not there: the message says which package, sample and command would bring it."""
    g = lab.Gateway(inst, smar='access { name = nums; } map odd { type = odd; }')
    with open(g.conf, 'a') as f:
        f.write('include "conf.d/*.conf";\n')
    d = g.dir / 'conf.d'
    d.mkdir()
    (d / 'zero.conf.sample').write_text('smar { map zero { type = text; rows = { "a b" }; } }\n# All options of map_odd, with their defaults.\n')
    (d / 'numbers.conf.sample').write_text('smar { map nums { type = text; rows = { "a b" }; } }\n')
    (d / 'gone.conf.sample').write_text('smar { map gone { type = gone; } }\n')
    (d / 'gone.conf').symlink_to('gone.conf.sample')

    def said():
        p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ(), timeout=60)
        return p.stderr + p.stdout

    assert 'there is no map nums; conf.d/numbers.conf.sample has one: meta1ctl module enable numbers' in said()
    (d / 'numbers.conf').symlink_to('numbers.conf.sample')
    odd, gone = (next(l for l in said().splitlines() if f'map_{name}.so: no such file' in l) for name in ('odd', 'gone'))
    assert 'meta1-map-odd' in odd and odd.endswith('; conf.d/zero.conf.sample shows its use, and meta1ctl module enable zero switches it on')
    assert '/conf.d/gone.conf:1' in gone and gone.endswith('; or do without what asks for it: meta1ctl module disable gone')


def test_enabled_and_disabled(inst):
    g = lab.Gateway(inst)
    with open(g.conf, 'a') as f:
        f.write('include "conf.d/*.conf";\n')
    d = g.dir / 'conf.d'
    d.mkdir()
    if g.uid is not None:
        os.chown(d, g.uid, g.uid)  # mcp makes the link
    (d / 'nums.conf.sample').write_text('smar { map nums { type = text; rows = { "one 1" }; } }\n')
    (d / 'bad.conf.sample').write_text('smar { no_such_option = 1; }\n')
    (d / 'own.conf').write_text('smar { local_domains = example.org; }\n')

    def stopped(*words):
        return subprocess.run(g.run_as([str(g.bin / 'bin/meta1ctl'), '-f', str(g.conf), *words]), capture_output=True, text=True, env=g.environ())

    assert 'counts from the next start' in stopped('module', 'enable', 'nums').stdout and (d / 'nums.conf').is_symlink()
    bad = stopped('module', 'enable', 'bad')
    assert bad.returncode == 78 and 'no_such_option' in bad.stderr and not (d / 'bad.conf').is_symlink()
    assert stopped('module', 'disable', 'nums').returncode == 0 and not (d / 'nums.conf').is_symlink()
    with g:
        assert g.ctl('module', 'enable', 'nums').stdout == 'conf.d/nums.conf is on\n'
        assert 'nums' in g.ctl('map', 'list').stdout
        assert Control(g).query('nums', b'one')['result'] == 'found'
        again = g.ctl('module', 'enable', 'nums', check=False)
        assert again.returncode == 1 and 'is enabled already' in again.stderr
        bad = g.ctl('module', 'enable', 'bad', check=False)
        assert bad.returncode == 78 and 'no_such_option' in bad.stderr and not (d / 'bad.conf').is_symlink()
        own = g.ctl('module', 'disable', 'own', check=False)
        assert own.returncode == 1 and (d / 'own.conf').exists()
        assert 'no such file' in g.ctl('module', 'enable', 'none', check=False).stderr
        assert 'did you mean nums?' in g.ctl('module', 'enable', 'num', check=False).stderr
        assert 'of Debian, its package is meta1-map-odd' in g.ctl('module', 'enable', 'map_odd', check=False).stderr
        g.ctl('module', 'disable', 'nums')
        assert 'nums' not in g.ctl('map', 'list').stdout
        assert not (d / 'nums.conf').is_symlink()
