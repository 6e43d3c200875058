# SPDX-License-Identifier: BSD-2-Clause
"""Maps in files of a database: map_sqlite with the sqlite3 program as the writer, map_lmdb with createmap."""
import os, re, shutil, subprocess

import lab
import pytest

SANITIZED = 'fsanitize' in (lab.BUILD / 'config.status').read_text()
FULL = os.environ.get('META1_FULL') == '1'


def module(inst, name):
    if not (inst / lab.PREFIX.lstrip('/') / f'lib/meta1/maps/{name}.so').exists():
        pytest.skip(f'{name} was not built')


def sqlite(db, text):
    subprocess.run(['sqlite3', '-bail', str(db)], input=text, text=True, check=True, timeout=30, stdout=subprocess.DEVNULL)


@pytest.fixture
def folder():
    d = lab.tempdir('db')
    yield d
    shutil.rmtree(d)


@pytest.mark.parametrize('journal', ('delete', 'wal'))
def test_sqlite(inst, folder, journal):
    """The key is bound; a change and a new file are taken up; a lock of a writer is 451, not "no such row"."""
    module(inst, 'map_sqlite')
    db = folder / 'db'
    sqlite(db, f'''PRAGMA journal_mode = {journal}; CREATE TABLE acc(k TEXT PRIMARY KEY, v TEXT);
        INSERT INTO acc VALUES('to:far.test', 'RELAY'), ('to:no@far.test', 'error:550 5.1.1 none'), ('to:it''s@far.test', 'error:550 5.1.1 quoted');''')
    shutil.chown(folder, lab.NOBODY)
    for p in folder.iterdir():
        shutil.chown(p, lab.NOBODY)
    smar = (f'map ac {{ type = sqlite; file = "{db}"; query = "SELECT v FROM acc WHERE k = ?"; timeout = 300ms; ttl = 0; }} '
            'access { name = ac; }')
    with lab.Gateway(inst, smtps='flags = { access };', smar=smar) as g:
        assert g.verdict('u@far.test').startswith('250')
        assert g.verdict('no@far.test') == '550 5.1.1 none'
        assert g.verdict("it's@far.test") == '550 5.1.1 quoted'
        assert g.verdict("'or'1'='1@else.test").startswith('550 5.7.1')
        sqlite(db, "UPDATE acc SET v = 'error:550 5.1.1 gone' WHERE k = 'to:no@far.test';")
        lab.wait_for('the change', lambda: g.verdict('no@far.test') == '550 5.1.1 gone')
        if journal == 'delete':
            w = subprocess.Popen(['sqlite3', str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            w.stdin.write('BEGIN EXCLUSIVE; SELECT 1;\n')
            w.stdin.flush()
            assert w.stdout.readline() == '1\n'
            assert g.verdict('new@far.test').startswith('451 4.3.0')
            assert 'locked by a writer' in g.log()
            w.communicate('ROLLBACK;\n', timeout=10)
        if journal == 'wal':  # such a file is not to be replaced under its log
            return
        sqlite(folder / 'new', "CREATE TABLE acc(k TEXT, v TEXT); INSERT INTO acc VALUES('to:far.test', 'error:550 5.7.1 closed');")
        os.chmod(folder / 'new', 0o644)
        os.rename(folder / 'new', db)
        lab.wait_for('the new file', lambda: g.verdict('x@far.test') == '550 5.7.1 closed')
        db.write_bytes(b'no database at all, and the old content stays in use' * 100)
        g.wait_log(r'db: .*the old content stays in use')
        assert g.greets() and len(g.pids()) == 5


def test_lmdb(inst, folder):
    """Made by createmap, replaced while in use; a bad text changes nothing and names its lines."""
    module(inst, 'map_lmdb')
    db = folder / 'acc.lmdb'
    assert lab.createmap(inst, 'lmdb', str(db), text='to:far.test RELAY\n').returncode == 0
    assert [p.name for p in folder.iterdir()] == ['acc.lmdb']
    before = db.read_bytes()
    bad = lab.createmap(inst, 'lmdb', str(db), text='a 1\nA 2\nx\0 2\n')
    assert bad.returncode == 65 and 'stdin:2: ' in bad.stderr and 'stdin:3: ' in bad.stderr
    long = lab.createmap(inst, 'lmdb', str(db), text='k' * 600 + ' 1\n')
    assert long.returncode == 1 and '511 bytes' in long.stderr
    assert db.read_bytes() == before and [p.name for p in folder.iterdir()] == ['acc.lmdb']
    with lab.Gateway(inst, smtps='flags = { access };', smar=f'map ac {{ type = lmdb; file = "{db}"; }} access {{ name = ac; }}') as g:
        assert g.verdict('u@far.test').startswith('250')
        for i in range(3 if FULL else 1):
            assert lab.createmap(inst, 'lmdb', str(db), text=f'to:far.test error:550 5.7.1 closed {i}\n').returncode == 0
            lab.wait_for('the new map', lambda i=i: g.verdict('u@far.test') == f'550 5.7.1 closed {i}')
        os.truncate(db, 4096)  # it cannot be read any more, and ends nobody
        lab.wait_for('a temporary failure', lambda: g.verdict('z@far.test').startswith('451'))
        assert len(g.pids()) == 5


def anonymous_kib(pid):
    return int(re.search(r'^RssAnon:\s+(\d+)', open(f'/proc/{pid}/status').read(), re.M)[1])


@pytest.mark.skipif(not FULL, reason='META1_FULL=1')
def test_lmdb_of_a_million_keys(inst, folder):
    """Memory of smar does not grow with the map."""
    module(inst, 'map_lmdb')
    db = folder / 'big.lmdb'
    text = ''.join(f'to:user{i * 7919 % 1000003}@far.test error:550 5.1.1 number {i}\n' for i in range(1000000))
    assert lab.createmap(inst, 'lmdb', str(db), text=text + 'to:far.test RELAY\n').returncode == 0
    with lab.Gateway(inst, smtps='flags = { access };', smar=f'map ac {{ type = lmdb; file = "{db}"; }} access {{ name = ac; }}') as g:
        assert g.verdict('nobody@far.test').startswith('250')
        before = anonymous_kib(g.pids()['smar'])
        for i in range(0, 1000000, 2003):
            assert g.verdict(f'user{i * 7919 % 1000003}@far.test') == f'550 5.1.1 number {i}'
        assert SANITIZED or anonymous_kib(g.pids()['smar']) - before < 4096


def test_dns(inst):
    """Routes from TXT records of a real name server: found, not there (an MX is looked for), and away (later)."""
    with lab.Sink() as sink, lab.Nsd({'routes.test': f'''$ORIGIN routes.test.
$TTL 1
@ IN SOA ns h 1 3600 600 86400 1
@ IN NS ns
ns IN A 127.0.0.1
far.test IN TXT "[127.0.0.1]:" "{sink.port}"
'''}) as nsd:
        smar = (f'nameserver = "127.0.0.1:{nsd.port}"; DNS_timeout = 300ms; DNS_tries = 1; map mt {{ type = dns; name = "%s.routes.test"; }} '
                'mailertable { name = mt; } map ac { type = text; rows = { "cltaddr:127.0.0.1 RELAY" }; } access { name = ac; }')
        with lab.Gateway(inst, smtps='flags = { access };', smar=smar) as g:
            with g.client() as c:
                assert c.mail('a@client.test', 'b@far.test', 'Subject: x\r\n\r\ny\r\n').startswith('250')
            assert sink.wait(1)[0]['rcpts'] == ['b@far.test']
            nsd.stop()
            assert g.verdict('b@other.test').startswith('451 4.3.0')
            g.wait_log(r'smar.map map=mt key=other.test')
            nsd.start()
            lab.wait_for('DNS to be asked again', lambda: g.verdict('b@third.test').startswith('250'))
