# SPDX-License-Identifier: BSD-2-Clause
"""meta1ctl queue export and import: mail as files, and back into a queue."""
import fcntl, json, os, random, re, shutil, socket, subprocess

import lab, pytest

OTHER = 12345  # a user that is not in any group of ours
DSN = ('PIPELINING', '8BITMIME', 'DSN', 'SIZE 0', 'ENHANCEDSTATUSCODES')


class Later:
    """A next hop that takes only ok@… until it is open."""

    def __init__(self):
        self.open = False

    def __call__(self, verb, arg, s):
        return '451 4.3.2 later' if verb == 'RCPT' and not self.open and '<ok' not in arg else None


def odd_mails():
    """(sender, recipients, content as stored without our Received, parameters of MAIL and RCPT)"""
    rng = random.Random(7)
    yield 's@x.test', ['a@far.test'], b'Subject: dots\r\n\r\n..one\r\n....three\r\n..\r\nend\r\n', '', ''
    yield '', ['null@far.test'], b'Subject: null sender\r\n\r\nx\r\n', '', ''
    yield 's@x.test', ['eight@far.test'], b'Subject: \xc3\xa4\r\n\r\n' + bytes(range(128, 256)) + b'\0\r\n', ' BODY=8BITMIME', ''
    yield 's@x.test', ['big@far.test'], b'Subject: big\r\n\r\n' + b''.join(
        bytes(rng.choices(range(97, 123), k=70)) + b'\r\n..dot\r\n' for _ in range(4000)), '', ''
    yield 's@x.test', [f'many{n}@far.test' for n in range(700)], b'Subject: many\r\n\r\nx\r\n', '', ''
    yield 's@x.test', ['ok@far.test', 'some@far.test'], b'Subject: some are done\r\n\r\nx\r\n', '', ''
    yield 's@x.test', ['d@far.test'], b'Subject: dsn\r\n\r\nx\r\n', ' RET=HDRS ENVID=a+2Bb', ' NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+2Bd@o.test'
    yield 's@x.test', ['held@far.test'], b'Subject: held\r\n\r\nx\r\n', '', ''
    yield 's@x.test', ['empty@far.test'], b'', '', ''
    for n in range(90):
        lines = [(b'.' if rng.random() < .3 else b'') + bytes(rng.choices(range(32, 127), k=rng.randrange(60))) for _ in range(rng.randrange(30))]
        lines = [b'.' + l if l.startswith(b'.') else l for l in lines]
        yield f's{n}@x.test', [f'r{n}@far.test'], f'Subject: {n}\r\n\r\n'.encode() + b''.join(l + b'\r\n' for l in lines), '', ''


def put(c, sender, rcpts, body, mp, rp):
    c.send(f'MAIL FROM:<{sender}>{mp}\r\n' + ''.join(f'RCPT TO:<{r}>{rp}\r\n' for r in rcpts) + 'DATA\r\n')
    for _ in range(len(rcpts) + 1):
        c.reply(250)
    c.reply(354)
    c.send(body + b'.\r\n')
    return c.reply(250).split()[-1]


def tried(g, n):
    """All are in the queue and none of them is on its way."""
    rows = g.queue()
    return len(rows) == n and all(r['state'] in ('held', 'delivered') or r['state'] == 'waiting' and r['reason']
                                  for m in rows for r in m['recipients'])


def wipe(g):
    g.stop()
    shutil.rmtree(g.dir / 'q')
    (g.dir / 'q').mkdir()
    if g.uid is not None:
        os.chown(g.dir / 'q', g.uid, g.uid)
    g.start().ready()
    assert not g.queue()


def unstuffed(body):
    return re.sub(rb'(?m)^\.', b'', body)


@pytest.mark.parametrize('kind', ['log', 'dir'])
def test_export_wipe_import_deliver(inst, kind):
    """A hundred odd messages leave as files and come back; what is delivered is theirs to the byte."""
    later = Later()
    store = '' if kind == 'log' else 'queue { type = dir; min_free = 0; }'
    with lab.Sink(answer=later, ehlo=DSN) as sink, lab.relay_all(
            inst, sink.port, smtps='max_rcpts_per_transaction = 1000;', qmgr=f'min_retry_delay = 10m; {store}') as g:
        sent = {}
        with g.client() as c:
            c.cmd('EHLO odd.test', 250)
            for m in odd_mails():
                sent[put(c, *m)] = m
            text = b'Subject: bdat\r\n\r\n.no newline at its end'
            c.cmd('MAIL FROM:<s@x.test>', 250)
            c.cmd('RCPT TO:<bdat@far.test>', 250)
            c.send(f'BDAT {len(text)} LAST\r\n'.encode() + text)
            sent[c.reply(250).split()[-1]] = ('s@x.test', ['bdat@far.test'], text.replace(b'.no', b'..no') + b'\r\n', '', '')
        assert len(sent) == 100
        held = next(i for i, m in sent.items() if m[1] == ['held@far.test'])
        g.ctl('queue', 'hold', held)
        lab.wait_for('a try of each', lambda: tried(g, 100))
        assert 'Subject: some are done' in sink.wait(1)[0]['body'].decode() and len(sink.mails) == 1
        out = g.dir / 'out'
        assert '100 messages exported' in g.ctl('queue', 'export', str(out)).stdout
        assert out.stat().st_mode & 0o777 == 0o700
        assert sorted(p.name for p in out.iterdir()) == sorted(f'{i}.{e}' for i in sent for e in ('eml', 'json'))
        assert {p.stat().st_mode & 0o777 for p in out.iterdir()} == {0o600}
        for i, m in sent.items():
            env = json.loads((out / f'{i}.json').read_text())
            eml = (out / f'{i}.eml').read_bytes()
            assert env['from'] == m[0] and [r['address'] for r in env['recipients']] == m[1] and env['size'] == len(eml)
            assert lab.split_received(eml)[1] == unstuffed(m[2])
        some = json.loads((out / f'{next(i for i, m in sent.items() if "some@far.test" in m[1])}.json').read_text())
        assert [r['state'] for r in some['recipients']] == ['delivered', 'waiting']
        before = g.ctl('queue', 'export', str(out), held, check=False)
        assert before.returncode == 1 and 'nothing is overwritten' in before.stderr and (out / f'{held}.eml').stat().st_size
        wipe(g)
        p = g.ctl('queue', 'import', str(out))
        assert '100 messages imported' in p.stdout
        ids = dict(re.findall(r'(?m)/(\w+)\.json: queued as (\w+),', p.stdout))
        assert set(ids) == set(sent) and all(x.endswith('FF') for x in ids.values()) and len(set(ids.values())) == 100
        rows = {m['id']: m for m in g.queue()}
        assert set(rows) == set(ids.values())
        assert rows[ids[held]]['recipients'][0]['state'] == 'held', rows[ids[held]]
        once = next(rows[ids[i]] for i, m in sent.items() if m[1] == ['a@far.test'])['recipients'][0]
        assert once['tries'] == 1 and '4.3.2 later' in once['reason'] and once['next_try'], 'nothing is tried before its time'
        g.stop()  # all of it survives a restart
        g.start().ready()
        again = lab.wait_for('all of them', lambda: (r := {m['id']: m for m in g.queue()}).keys() == rows.keys() and r)
        assert again[ids[held]]['recipients'][0]['state'] == 'held'
        later.open = True
        g.ctl('queue', 'flush')
        lab.wait_for('the held one alone', lambda: [m['id'] for m in g.queue()] == [ids[held]])
        g.ctl('queue', 'release', ids[held])
        g.queue_empty()
        got = {}
        for m in sink.mails[1:]:
            for r in m['rcpts']:
                assert r not in got, 'twice'
                got[r] = m
        want = {r: m for m in sent.values() for r in m[1] if r != 'ok@far.test'}
        assert set(got) == set(want)
        for r, m in want.items():
            assert got[r]['from'] == m[0] and lab.split_received(got[r]['body'])[1] == m[2]
        assert 'RET=HDRS' in got['d@far.test']['params'] and 'ENVID=a+2Bb' in got['d@far.test']['params']
        assert any('NOTIFY=SUCCESS,FAILURE' in a and 'ORCPT=rfc822;o+2Bd@o.test' in a for v, a in sink.commands if v == 'RCPT')


# ---- what is refused ----

@pytest.fixture(scope='module')
def gw(inst):
    """One message that waits, exported once."""
    with lab.Sink(answer=Later()) as sink, lab.relay_all(inst, sink.port) as g:
        with g.client() as c:
            g.id = c.mail('s@x.test', ['a@far.test', 'b@far.test'], b'Subject: t\r\n\r\nhello\r\n').split()[-1]
        g.out = g.dir / 'out'
        g.ctl('queue', 'export', str(g.out), 'all')
        yield g


def spoil(env, **change):
    env.update(change)
    return env


def rcpt(env, **change):
    env['recipients'][1].update(change)
    return env


BAD = [
    (lambda e: spoil(e, format='other/9'), None, r'm\.json: format: found "other/9", expected "meta1-envelope/1"'),
    (lambda e: spoil(e, **{'from': 'a b@x'}), None, r'm\.json: from: '),
    (lambda e: spoil(e, **{'from': 'a@x.test> BODY=7BIT'}), None, r'm\.json: from: '),
    (lambda e: spoil(e, time='now'), None, r'm\.json: time: expected a whole number'),
    (lambda e: spoil(e, flags=['9bit']), None, r'm\.json: flags: found "9bit", expected one of "8bitmime"'),
    (lambda e: spoil(e, envid='a b\n'), None, r'm\.json: envid: '),
    (lambda e: spoil(e, fom='x'), None, r'm\.json: fom: unknown field; did you mean from\?'),
    (lambda e: spoil(e, size=7), None, r'm\.json: size: found \d+ bytes of content, expected 7'),
    (lambda e: spoil(e, recipients={}), None, r'm\.json: recipients: expected a list'),
    (lambda e: spoil(e, recipients=[]), None, r'm\.json: recipients: there are none'),
    (lambda e: spoil(e, recipients=[{**e['recipients'][0], 'state': 'delivered'}]), None, r'm\.json: recipients: none of them waits'),
    (lambda e: rcpt(e, address='nobody'), None, r'm\.json: recipients\[1\]: address: '),
    (lambda e: rcpt(e, address='a@x.test\r\nDATA'), None, r'm\.json: recipients\[1\]: address: has a control character'),
    (lambda e: rcpt(e, address='ä@x.test'), None, r'm\.json: recipients\[1\]: address: .*needs "smtputf8" in flags'),
    (lambda e: rcpt(e, state='done'), None, r'm\.json: recipients\[1\]: state: found "done", expected one of "waiting"'),
    (lambda e: rcpt(e, notify=['never', 'delay']), None, r'm\.json: recipients\[1\]: notify: "never" stands alone'),
    (lambda e: rcpt(e, via='a b'), None, r'm\.json: recipients\[1\]: via: '),
    (lambda e: rcpt(e, held=1), None, r'm\.json: recipients\[1\]: held: expected true or false'),
    (lambda e: '{"format":\n "meta1-envelope/1",\n oops', None, r'm\.json: line 3: '),
    (None, None, r'm\.json: No such file'),
    (lambda e: e, lambda b: None, r'm\.eml: No such file'),
    (lambda e: e, lambda b: b.replace(b'\r\n', b'\n'), r'm\.eml: line 1: a bare LF; expected lines that end in CRLF'),
    (lambda e: e, lambda b: b + b'a\rb\r\n', r'm\.eml: line \d+: a bare CR'),
    (lambda e: spoil(e, size=0), lambda b: b[:-2], r'm\.eml: line \d+: has no end'),
    (lambda e: e, lambda b: b[:-7], r'm\.json: size: found'),
]


@pytest.mark.parametrize('n', range(len(BAD)))
def test_refused_in_words(gw, n):
    make, change, words = BAD[n]
    env, text = json.loads((gw.out / f'{gw.id}.json').read_text()), (gw.out / f'{gw.id}.eml').read_bytes()
    d = gw.dir / f'bad{n}'
    d.mkdir()
    if make:
        env = make(env)
        (d / 'm.json').write_text(env if isinstance(env, str) else json.dumps(env))
    text = change(text) if change else text
    if text is not None:
        (d / 'm.eml').write_bytes(text)
    p = gw.ctl('queue', 'import', str(d), check=False)
    assert p.returncode == 1 and re.search(words, p.stderr) and len(p.stderr.splitlines()) == 1, p
    assert '0 messages imported' in p.stdout
    assert [m['id'] for m in gw.queue()] == [gw.id], 'nothing of it is queued'
    assert gw.http('qmgr', 'GET', '/metrics')[0] == 200


def test_ids_make_no_path(gw):
    for bad in ('../x', '/etc/x', '', '.', 'a/b', 'a' * 40, '-x'):
        p = gw.ctl('queue', 'export', str(gw.dir / 'paths'), '--', bad, check=False)
        assert p.returncode == 1 and 'is no id of a message' in p.stderr, p
    assert list((gw.dir / 'paths').iterdir()) == []
    p = gw.ctl('queue', 'export', str(gw.conf), check=False)
    assert p.returncode == 1 and 'expected: a folder' in p.stderr
    p = gw.ctl('queue', 'export', str(gw.dir / 'paths'), 'S0000000000000FFFFF', check=False)
    assert p.returncode == 1 and 'not in the queue' in p.stderr and list((gw.dir / 'paths').iterdir()) == []
    (gw.dir / f'paths/{gw.id}.json').symlink_to(gw.dir / 'elsewhere')
    p = gw.ctl('queue', 'export', str(gw.dir / 'paths'), gw.id, check=False)
    assert p.returncode == 1 and not (gw.dir / 'elsewhere').exists() and not (gw.dir / f'paths/{gw.id}.eml').exists()


def post(g, target, body=b'', user=None):
    """(status, answer) of a POST with a body."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(g.dir / 'run/qmgr.ctl'))
        s.sendall(f'POST {target} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body)
        data = b''
        while chunk := s.recv(65536):
            data += chunk
    head, _, text = data.partition(b'\r\n\r\n')
    return int(head.split()[1]), json.loads(text)


def test_half_an_import_is_nothing(gw):
    """What its client leaves, or what qmgr's end interrupts, never becomes mail."""
    begin = json.dumps({'from': 's@x.test', 'time': 1700000000}).encode()
    ids = []
    for _ in range(4):
        status, got = post(gw, '/v1/import', begin)
        assert status == 200, got
        ids.append(got['id'])
        assert post(gw, f'/v1/import/{got["id"]}?part=recipients', b'[{"address":"h@far.test"}]') == (200, {'id': got['id'], 'recipients': 1})
        assert post(gw, f'/v1/import/{got["id"]}?part=content', b'Subject: half\r\n')[1]['taken'] == 15
    status, got = post(gw, '/v1/import', begin)
    assert status == 503 and 'try again' in got['error']
    assert gw.http('qmgr', 'DELETE', f'/v1/import/{ids[0]}')[0] == 200
    assert post(gw, f'/v1/import/{ids[0]}?part=commit')[0] == 404
    assert post(gw, f'/v1/import/{ids[1]}?part=nothing')[0] == 400
    assert post(gw, '/v1/import', b'[1]')[0] == 400 and post(gw, '/v1/import', b'{')[0] == 400
    gw.stop()
    gw.start().ready()
    lab.wait_for('the recovery', lambda: json.loads(gw.http('qmgr', 'GET', '/v1/status')[1])['recovered'])
    assert [m['id'] for m in gw.queue()] == [gw.id]


def test_only_admins(gw):
    (gw.dir / 'run/qmgr.ctl').chmod(0o666)
    for args in (['export', str(gw.dir / 'theirs')], ['import', str(gw.dir / 'copy')]):
        shutil.rmtree(gw.dir / 'copy', ignore_errors=True)
        shutil.copytree(gw.out, gw.dir / 'copy')
        for p in [gw.dir / 'copy', *(gw.dir / 'copy').iterdir()]:
            os.chown(p, OTHER, OTHER)
        (gw.dir / 'theirs').mkdir(exist_ok=True)
        os.chown(gw.dir / 'theirs', OTHER, OTHER)
        p = subprocess.run(['setpriv', f'--reuid={OTHER}', f'--regid={OTHER}', '--clear-groups', gw.bin / 'bin/meta1ctl', '-f', gw.conf,
                            'queue', *args], capture_output=True, text=True, timeout=30, env=gw.environ())
        assert p.returncode == 1 and 'this needs root or a user named in control' in p.stderr, p
    assert list((gw.dir / 'theirs').iterdir()) == []
    (gw.dir / 'run/qmgr.ctl').chmod(0o600)


def test_import_into_a_stopped_queue(inst):
    g = lab.relay_all(inst, lab.free_port())
    try:
        p = g.ctl('queue', 'import', str(g.dir), check=False)
        assert p.returncode == 1
        p = g.ctl('queue', 'export', str(g.dir / 'out'), check=False)
        assert p.returncode == 1 and 'queue folder state: No such file' in p.stderr
    finally:
        g.close()


def exported(folder):
    """id -> (envelope, text)"""
    return {p.stem: (json.loads(p.read_text()), p.with_suffix('.eml').read_bytes()) for p in folder.glob('*.json')}


def same_envelopes(a, b):
    """Times are rounded, and told from a clock that goes on: some seconds are no difference. Of a recipient that is done
    only that counts."""
    for i in a:
        for r, t in zip(a[i][0]['recipients'], b[i][0]['recipients']):
            assert abs(r.pop('next_try') - t.pop('next_try')) <= 5
            if r['state'] == t['state'] != 'waiting':
                r['tries'], r['reason'] = t['tries'], t['reason']
    assert a == b


@pytest.mark.parametrize('kind', ['log', 'dir'])
def test_export_from_a_stopped_queue(inst, kind):
    """The gateway is down, by a stop or by a kill: meta1ctl reads the store itself and writes what qmgr would have written,
    or refuses when somebody has it."""
    with lab.Sink(answer=Later(), ehlo=DSN) as sink, lab.relay_all(
            inst, sink.port, smtps='max_rcpts_per_transaction = 1000;', qmgr=f'min_retry_delay = 10m; queue {{ type = {kind}; min_free = 0; }}') as g:
        sent = {}
        with g.client() as c:
            c.cmd('EHLO odd.test', 250)
            for n, m in enumerate(odd_mails()):
                if n < 30:
                    sent[put(c, *m)] = m
        held = next(i for i, m in sent.items() if m[1] == ['held@far.test'])
        g.ctl('queue', 'hold', held)
        g.ctl('queue', 'requeue', next(i for i, m in sent.items() if m[1] == ['r0@far.test']), '--to', f'[127.0.0.1]:{sink.port}')
        lab.wait_for('a try of each', lambda: tried(g, 30) and any(
            r['address'] == 'r0@far.test' and r['tries'] == 1 and r['next_try'] and r.get('via') for m in g.queue() for r in m['recipients']))
        g.ctl('queue', 'export', str(g.dir / 'asked'))
        asked = exported(g.dir / 'asked')
        assert set(asked) == set(sent)
        g.stop()
        before = sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in (g.dir / 'q').rglob('*'))
        assert '30 messages exported' in g.ctl('queue', 'export', str(g.dir / 'stopped')).stdout
        assert before == sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in (g.dir / 'q').rglob('*')), 'it changed something'
        same_envelopes(json.loads(json.dumps({i: (e, t.decode('latin1')) for i, (e, t) in asked.items()})),
                       json.loads(json.dumps({i: (e, t.decode('latin1')) for i, (e, t) in exported(g.dir / 'stopped').items()})))
        two = sorted(sent)[:2]
        p = g.ctl('queue', 'export', '--json', str(g.dir / 'two'), *two, 'S0123', check=False)
        assert p.returncode == 1 and 'S0123: not in the queue' in p.stderr and set(exported(g.dir / 'two')) == set(two)
        p = g.ctl('queue', 'export', str(g.dir / 'x'), '--sender', 's@x.test', check=False)
        assert p.returncode == 1 and 'only it knows filters' in p.stderr and not list((g.dir / 'x').iterdir())
        with open(g.dir / 'q/state/lock') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            p = g.ctl('queue', 'export', str(g.dir / 'x'), check=False)
            assert p.returncode == 1 and 'a qmgr has it' in p.stderr and not list((g.dir / 'x').iterdir())
        # one that is damaged is named, the others come
        path = next(p for p in sorted((g.dir / 'q/in').rglob('*')) if p.is_file() and b'Subject: dots' in p.read_bytes())
        path.write_bytes(path.read_bytes().replace(b'Subject: dots', b'Subject: DOTS'))
        p = g.ctl('queue', 'export', str(g.dir / 'y'), check=False)
        assert p.returncode == 1 and len(exported(g.dir / 'y')) == 29 and 'content' in p.stderr, p
        path.write_bytes(path.read_bytes().replace(b'Subject: DOTS', b'Subject: dots'))
        g.start().ready()
        pids = g.pids()
        for name in sorted(pids, key=lambda n: n != 'mcp'):
            os.kill(pids[name], 9)
        g.proc.wait()
        lab.wait_for('all to be gone', lambda: not g.pids())
        assert set(exported(g.dir / 'stopped')) == set(sent)
        assert '30 messages exported' in g.ctl('queue', 'export', str(g.dir / 'killed')).stdout
        wipe(g)
        g.ctl('queue', 'import', str(g.dir / 'stopped'))
        assert len(g.queue()) == 30 and sum(r['state'] == 'held' for m in g.queue() for r in m['recipients']) == 1
