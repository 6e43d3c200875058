# SPDX-License-Identifier: BSD-2-Clause
"""The admin's tools: meta1ctl and mailq, counters in Prometheus' format, rights on the control sockets,
and swaks as a client that somebody else wrote."""
import json, os, re, subprocess

import lab, pytest

BODY = 'Subject: t\r\n\r\nhello\r\n'
OTHER = 12345  # a user that is not in any group of ours


@pytest.fixture(scope='module')
def gw(inst):
    """Mail to wait.test waits (nobody listens there), the rest goes to the sink."""
    with lab.Sink() as sink, lab.relay_all(
            inst, 0, mt=f'wait.test [127.0.0.1]:{lab.free_port()}\n. [127.0.0.1]:{sink.port}\n') as g:
        g.sink = sink
        yield g


@pytest.fixture
def waiting(gw):
    """Two messages in the queue, with their failed first try; gone afterwards."""
    with gw.client() as c:
        ids = [c.mail('a@client.test', 'x@wait.test', BODY).split()[-1],
               c.mail('', ['y@wait.test', 'z@wait.test'], BODY, ehlo=None).split()[-1]]

    def tried():
        rows = {m['id']: m for m in gw.queue()}
        return set(ids) <= set(rows) and all(r['reason'] for i in ids for r in rows[i]['recipients'])
    lab.wait_for('two messages that wait', tried)
    yield ids
    for i in ids:
        gw.ctl('queue', 'delete', i, check=False)
    gw.queue_empty()


def test_status(gw):
    text = gw.ctl('status').stdout
    pids = gw.pids()
    for role in lab.ROLES:
        assert re.search(rf'(?m)^{role}\s+pid {pids[role]}, up \d+ s, version \S+', text), text
    rows = [json.loads(l) for l in gw.ctl('status', '--json').stdout.splitlines()]
    assert {r['role']: r['pid'] for r in rows} == {r: pids[r] for r in lab.ROLES}
    assert next(r for r in rows if r['role'] == 'qmgr')['recovered'] is True


def test_status_of_a_role_that_hangs(inst, sink):
    with lab.relay_all(inst, sink.port) as g:
        (g.dir / 'run/smar.ctl').unlink()
        p = g.ctl('status', check=False)
        assert 'smar ' not in p.stdout and 'qmgr ' in p.stdout
        gone = lab.socket.socket(lab.socket.AF_UNIX)
        gone.bind(str(g.dir / 'run/smar.ctl'))  # nobody answers there
        gone.close()
        p = g.ctl('status', check=False)
        assert p.returncode == 1 and re.search(r'(?m)^smar\s+down: .*refused', p.stdout), p


def test_queue_list_and_show(gw, waiting):
    one, two = waiting
    text = gw.ctl('queue', 'list').stdout
    assert re.search(rf'(?m)^{one}  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  \d+ bytes  from <a@client.test>$', text), text
    assert re.search(r'(?m)^    waiting +<x@wait.test>  next try .*\(.*refused.*\)$', text), text
    assert 'from <>' in text and text.endswith('2 messages\n')
    mailq = [gw.bin / 'bin/mailq', '-f', gw.conf]
    lab.wait_for('mailq to say the same', lambda: subprocess.run(mailq, capture_output=True, text=True).stdout == gw.ctl('queue', 'list').stdout)
    rows = {m['id']: m for m in gw.queue()}
    assert [r['address'] for r in rows[two]['recipients']] == ['y@wait.test', 'z@wait.test']
    assert rows[one]['sender'] == 'a@client.test' and rows[one]['size'] > len(BODY) and rows[one]['time'] > 1e9
    assert {'address', 'state', 'next_try', 'reason', 'tries'} <= set(rows[one]['recipients'][0])
    shown = json.loads(gw.ctl('queue', 'show', one, '--json').stdout)
    assert shown['id'] == one and shown['recipients_total'] == 1
    assert '<x@wait.test>' in gw.ctl('queue', 'show', one).stdout
    p = gw.ctl('queue', 'show', 'S0000000000000FFFFF', check=False)
    assert p.returncode == 1 and 'S0000000000000FFFFF: not in the queue' in p.stderr and p.stdout == ''
    p = gw.ctl('queue', 'show', '../../status?x=1', check=False)
    assert p.returncode == 1 and p.stdout == ''


def test_queue_flush_and_delete(gw, waiting):
    one, two = waiting

    def tries():
        return gw.metrics('qmgr')['deferred_total']
    before = tries()
    gw.ctl('queue', 'flush', one)
    lab.wait_for('a try of one', lambda: tries() == before + 1)
    gw.ctl('queue', 'flush')
    # the host refuses again: who was not yet on the way is put off without a try of its own
    lab.wait_for('another try', lambda: tries() > before + 1)
    p = gw.ctl('queue', 'flush', 'S0000000000000FFFFF', check=False)
    assert p.returncode == 1 and 'not in the queue' in p.stderr
    assert '1 recipients deleted' in gw.ctl('queue', 'delete', one).stdout
    lab.wait_for('one message', lambda: [m['id'] for m in gw.queue()] == [two])
    got = json.loads(gw.ctl('queue', 'delete', two, '--json').stdout)
    assert got['recipients'] == 2
    gw.queue_empty()
    assert gw.ctl('queue', 'list').stdout == 'the queue is empty\n' and gw.ctl('queue', 'list', '--json').stdout == ''
    assert gw.sink.mails == [] or all(m['from'] != '' for m in gw.sink.mails), 'deleting tells nobody'
    assert gw.ctl('queue', 'delete', one, check=False).returncode == 1


def test_filters_and_verbs(gw, waiting):
    """Each verb by filters, told first; only the recipients that are meant."""
    one, two = waiting

    def states():
        return {r['address']: r['state'] for m in gw.queue() for r in m['recipients']}
    for args, want in [(['--sender', 'A@client.test'], {'x'}), (['--sender', '<>'], {'y', 'z'}), (['--recipient', 'y@wait.test'], {'y'}),
                       (['--domain', 'wait.test', '--sender', '@client.test'], {'x'}), (['--domain', '.test'], {'x', 'y', 'z'}),
                       (['--domain', 'none.test'], set()), (['--older', '1d'], set()), (['--younger', '1d', '--smaller', '1MB'], {'x', 'y', 'z'}),
                       (['--larger', '1MB'], set()), (['--reason', 'REFUSED'], {'x', 'y', 'z'}), (['--reason', 'moon'], set()), (['--state', 'held'], set())]:
        got = [json.loads(l) for l in gw.ctl('queue', 'list', '--json', *args).stdout.splitlines()]
        assert {r['address'][0] for m in got for r in m['recipients']} == want, args
    assert gw.ctl('queue', 'list', '--domain', 'none.test').stdout == 'no such mail in the queue\n'
    p = subprocess.run([gw.bin / 'bin/mailq', '-f', gw.conf, '--sender', '<>'], capture_output=True, text=True)
    assert p.stdout.endswith('1 message\n') and one not in p.stdout
    for args, words in [(['list', '--older', 'soon'], 'expected a time'), (['list', '--state', 'asleep'], 'expected waiting'), (['hold'], 'say which'),
                        (['delete'], 'say which'), (['requeue', one, '--to', 'a b'], 'next hops'), (['release', '--larger', 'x'], '--larger')]:
        p = gw.ctl('queue', *args, check=False)
        assert p.returncode in (1, 64) and words in p.stderr and not p.stdout, (args, p)
    assert '1 recipients would be held' in gw.ctl('queue', 'hold', '--recipient', 'y@wait.test', '--dry-run').stdout
    assert set(states().values()) == {'waiting'}
    assert '1 recipients held' in gw.ctl('queue', 'hold', '--recipient', 'y@wait.test').stdout
    assert states() == {'x@wait.test': 'waiting', 'y@wait.test': 'held', 'z@wait.test': 'waiting'}
    why = json.loads(gw.ctl('queue', 'why', two, '--json').stdout)
    assert [r['waits_for'] for r in why['recipients']] == ['held', 'dead_destination'] and why['recipients'][1]['until'] > why['time']
    assert re.search('y@wait.test> waits for held: held by uid \\d+', gw.ctl('queue', 'why', two).stdout)
    assert gw.ctl('queue', 'why', 'S0000000000000FFFFF', check=False).returncode == 1
    gw.ctl('queue', 'flush')
    assert states()['y@wait.test'] == 'held'
    assert '3 recipients would be deleted' in gw.ctl('queue', 'delete', '--all', '--dry-run').stdout
    before = len(gw.sink.mails)
    assert '2 recipients queued anew' in gw.ctl('queue', 'requeue', '--sender', '<>', '--to', f'[127.0.0.1]:{gw.sink.port}').stdout
    gw.sink.wait(before + 1)
    lab.wait_for('z is delivered', lambda: states() == {'x@wait.test': 'waiting', 'y@wait.test': 'held'} or states().get('z@wait.test') == 'delivered')
    assert gw.sink.mails[-1]['rcpts'] == ['z@wait.test']
    assert '1 recipients released' in gw.ctl('queue', 'release', '--state', 'held').stdout
    gw.sink.wait(before + 2)
    assert gw.sink.mails[-1]['rcpts'] == ['y@wait.test']
    assert '1 recipients deleted' in gw.ctl('queue', 'delete', '--domain', 'wait.test').stdout
    gw.queue_empty()


def test_hold_and_way_survive_a_restart(inst):
    with lab.Sink() as sink, lab.relay_all(inst, lab.free_port()) as g:
        with g.client() as c:
            a = c.mail('a@client.test', ['held@far.test', 'way@far.test'], BODY).split()[-1]
        lab.wait_for('a try', lambda: all(r['reason'] for r in g.queue()[0]['recipients']))
        g.ctl('queue', 'hold', a, '--recipient', 'held@far.test')
        other = lab.free_port()
        g.ctl('queue', 'requeue', a, '--recipient', 'way@far.test', '--to', f'[127.0.0.1]:{other}')
        lab.wait_for('a try there', lambda: str(other) in str(g.http('qmgr', 'GET', '/v1/destinations')) and
                     'refused' in g.queue()[0]['recipients'][1]['reason'])
        g.stop()
        g.start()
        got = lab.wait_for('the mail', g.queue)[0]['recipients']
        assert got[0]['state'] == 'held' and got[0]['next_try'] == 0 and 'held=' not in got[0]['reason'], got
        assert got[1]['via'] == f'[127.0.0.1]:{other}'
        with lab.Sink(port=other) as there:
            g.ctl('queue', 'flush')
            there.wait(1)
            assert there.mails[0]['rcpts'] == ['way@far.test']
        g.ctl('queue', 'requeue', a, '--to', f'[127.0.0.1]:{sink.port}')
        assert g.queue()[0]['recipients'][0]['state'] == 'held' and not sink.mails
        g.ctl('queue', 'release', a)
        sink.wait(1)
        g.queue_empty()


def test_text_of_a_message(gw, waiting):
    one = waiting[0]
    text = gw.ctl('queue', 'show', one, '--content').stdout
    assert text.startswith('Received: from client.test') and text.endswith('Subject: t\n\nhello\n'), text
    head = gw.ctl('queue', 'show', one, '--headers').stdout
    assert head.endswith('Subject: t\n') and 'hello' not in head
    assert gw.http('qmgr', 'GET', f'/v1/content/{one}')[1] == text.replace('\n', '\r\n')
    assert gw.ctl('queue', 'show', 'S0000000000000FFFFF', '--content', check=False).returncode == 1
    with lab.socket.socket(lab.socket.AF_UNIX) as s:  # gone before the answer
        s.connect(str(gw.dir / 'run/qmgr.ctl'))
        s.sendall(f'GET /v1/content/{one} HTTP/1.0\r\n\r\n'.encode())
    assert gw.http('qmgr', 'GET', '/v1/status')[0] == 200


def test_other_commands(gw):
    for args, words in [(['queu', 'list'], 'did you mean queue list?'), (['metric'], 'did you mean metrics?'),
                        (['queue', 'lst'], 'did you mean queue list?'), (['sing'], 'unknown command sing'), (['queue'], 'unknown command queue')]:
        p = gw.ctl(*args, check=False)
        assert p.returncode == 64 and words in p.stderr and p.stdout == '', p
    assert gw.ctl('queue', 'show', check=False).returncode == 64
    assert 'queue list' in gw.ctl('--help').stdout and gw.ctl('help').stdout == gw.ctl('--help').stdout
    for args, words in [(['queue', 'list', '--sise', '3'], 'unknown option --sise'), (['queue', 'list', '--oder', '2d'], 'did you mean --older?'),
                        (['queue', 'list', '--older'], 'option --older needs a value'), (['status', '-x'], 'unknown option -x')]:
        p = gw.ctl(*args, check=False)
        assert p.returncode == 64 and words in p.stderr and len(p.stderr.splitlines()) == 1 and not p.stdout, p
    with gw.client():
        text = gw.ctl('sessions').stdout
        assert text.split()[:2] == ['serial', 'client'] and '127.0.0.1' in text
    assert re.search(r'(?m)^active +allowed .*destination +last failure$', gw.ctl('destinations').stdout)
    assert json.loads(gw.ctl('sessions', '--json').stdout)['sessions'] == []
    got = json.loads(gw.ctl('route', 'far.test', '--json').stdout)  # the first to ask: it waits for the answer
    assert got['status'] == 'ok' and got['transport'] == 'smtp' and got['hops'][0].startswith('127.0.0.1 '), got
    assert json.loads(gw.ctl('get', 'smar', '/v1/maps', '--json').stdout)['maps']
    p = gw.ctl('get', 'smar', '/v1/nothing', check=False)
    assert p.returncode == 1 and 'no such request' in p.stderr
    p = subprocess.run([gw.bin / 'bin/meta1ctl', '-f', '/nonexistent.conf', 'status'], capture_output=True, text=True)
    assert p.returncode == 78 and '/nonexistent.conf' in p.stderr


# ---- Prometheus ----

def check_metrics(text):
    """The rules of the text format (0.0.4) that a scraper relies on; what promtool complains about."""
    families, seen, now, closed = {}, set(), None, set()
    assert text.endswith('\n')
    for n, line in enumerate(text.splitlines(), 1):
        if m := re.fullmatch(r'# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)', line):
            if m[2] != now:
                assert m[2] not in closed, f'{n}: {m[2]} is not together'
                closed.add(m[2])
                now = m[2]
            kinds = families.setdefault(m[2], {})
            assert m[1] not in kinds, f'{n}: second {m[1]} of {m[2]}'
            kinds[m[1]] = m[3]
            continue
        m = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\[\\n"])*",?)+)\})? (-?\d+(?:\.\d+)?)', line)
        assert m, f'{n}: {line!r}'
        assert m[1] == now and {'HELP', 'TYPE'} <= set(families[now]), f'{n}: {m[1]} without its HELP and TYPE before'
        kind = families[now]['TYPE']
        assert kind in ('counter', 'gauge')
        assert (kind == 'counter') == m[1].endswith('_total'), f'{n}: {m[1]} is a {kind}'
        assert (m[1], m[2]) not in seen, f'{n}: {m[1]}{{{m[2]}}} twice'
        assert kind == 'gauge' or float(m[3]) >= 0
        seen.add((m[1], m[2]))
    return families


def test_metrics(gw):
    for role in lab.ROLES:
        families = check_metrics(gw.http(role, 'GET', '/metrics')[1])
        assert families and all(f.startswith(f'meta1_{role}_') for f in families)
        assert f'meta1_{role}_start_time_seconds' in families
    assert set(check_metrics(gw.ctl('metrics').stdout)) >= {'meta1_smtps_messages_accepted_total', 'meta1_qmgr_delivered_total'}


def test_metrics_of_several_processes(inst, sink):
    """One family for all processes of a role, told apart by a label."""
    with lab.relay_all(inst, sink.port, 'processes = 2;') as g:
        text = g.ctl('metrics').stdout
        assert len(re.findall(r'(?m)^meta1_smtps_connections_total\{', text)) == 2
        check_metrics(text)


# ---- rights ----

def as_user(g, uid, gid, method, target, role='qmgr'):
    """The status of a request by that user, or the error of connecting."""
    code = ('import socket,sys; s=socket.socket(socket.AF_UNIX)\n'
            'try: s.connect(sys.argv[1])\nexcept OSError as e: print(type(e).__name__); sys.exit()\n'
            's.sendall(f"{sys.argv[2]} {sys.argv[3]} HTTP/1.0\\r\\nContent-Length: 0\\r\\n\\r\\n".encode()); print(s.recv(4096).split()[1].decode())')
    p = subprocess.run(['setpriv', f'--reuid={uid}', f'--regid={gid}', '--clear-groups', '/usr/bin/python3', '-c', code,
                        str(g.dir / f'run/{role}.ctl'), method, target], capture_output=True, text=True, timeout=20)
    assert p.returncode == 0, p.stderr
    return p.stdout.strip()


def test_rights_on_control_sockets(inst, gw, waiting):
    one, two = waiting
    refused = gw.metrics('qmgr')['control_refused_total']
    for role in lab.ROLES:  # run by an ordinary user there is no group to share them with
        assert os.stat(gw.dir / f'run/{role}.ctl').st_mode & 0o777 == 0o600
        assert as_user(gw, OTHER, OTHER, 'GET', '/v1/status', role) == 'PermissionError'
    (gw.dir / 'run/qmgr.ctl').chmod(0o660)  # as it is for the group meta1
    group = lab.NOBODY
    assert as_user(gw, OTHER, group, 'GET', '/v1/queue') == '200'
    assert as_user(gw, OTHER, group, 'POST', '/v1/queue/flush') == '200'
    assert as_user(gw, OTHER, group, 'DELETE', f'/v1/queue/{one}') == '403'
    assert as_user(gw, OTHER, group, 'POST', f'/v1/queue/{one}') == '405'
    assert as_user(gw, OTHER, group, 'POST', f'/v1/queue/delete?id={one}') == '403'
    assert as_user(gw, OTHER, group, 'GET', f'/v1/content/{one}') == '403'
    for verb in ('hold', 'release', 'requeue'):
        assert as_user(gw, OTHER, group, 'POST', f'/v1/queue/{verb}?id={one}') == '200'
    assert as_user(gw, OTHER, group, 'GET', f'/v1/why/{one}') == '200'
    # who may say where mail goes may read it
    assert as_user(gw, OTHER, group, 'POST', f'/v1/queue/requeue?id={one}&to=%5B127.0.0.1%5D:1&admin=true') == '403'
    assert gw.metrics('qmgr')['control_refused_total'] == refused + 3
    assert {m['id'] for m in gw.queue()} == {one, two}
    assert as_user(gw, 0, 0, 'DELETE', f'/v1/queue/{one}') == '200'
    lab.wait_for('one message', lambda: [m['id'] for m in gw.queue()] == [two])


def test_named_admins_may(inst):
    with lab.relay_all(inst, lab.free_port(), top=f'control {{ admins = {{ "{OTHER}" }}; }}') as g:
        with g.client() as c:
            mid = c.mail('a@client.test', 'x@wait.test', BODY).split()[-1]
        lab.wait_for('the message', g.queue)
        (g.dir / 'run/qmgr.ctl').chmod(0o660)
        assert as_user(g, OTHER + 1, lab.NOBODY, 'DELETE', f'/v1/queue/{mid}') == '403'
        assert as_user(g, OTHER, lab.NOBODY, 'DELETE', f'/v1/queue/{mid}') == '200'
        g.queue_empty()


@pytest.mark.parametrize('bad', [b'\r\n\r\n', b'GET\r\n\r\n', b'GET /v1/queue HTTP/9.9\r\n\r\n', b'G' * 200000, b'GET /' + b'x' * 100000 + b' HTTP/1.0\r\n\r\n',
                                 b'GET /%00%ff%zz HTTP/1.0\r\n\r\n', b'POST /v1/queue/flush HTTP/1.0\r\nContent-Length: 99999999999\r\n\r\n',
                                 b'GET /v1/queue?limit=-1&cursor=%00 HTTP/1.0\r\n\r\n', b'DELETE /v1/queue/%2e%2e%2f HTTP/1.0\r\n\r\n'], ids=range(9))
def test_bad_requests_end_only_themselves(gw, bad):
    pid = gw.pids()['qmgr']
    with lab.socket.socket(lab.socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(gw.dir / 'run/qmgr.ctl'))
        try:
            s.sendall(bad)
            s.shutdown(lab.socket.SHUT_WR)
            got = s.recv(4096)
        except OSError:
            got = b''
    assert got == b'' or got.split()[1][:1] == b'4', got
    assert gw.http('qmgr', 'GET', '/v1/status')[0] == 200 and gw.pids()['qmgr'] == pid


# ---- swaks ----

def test_swaks(gw):
    before = len(gw.sink.mails)
    p = subprocess.run(['swaks', '--server', '127.0.0.1', '--port', str(gw.port), '--from', 's@client.test', '--to', 'b@far.test,c@far.test',
                        '--header', 'Subject: from swaks', '--body', 'one\n.two\n', '--pipeline'], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=30)
    assert p.returncode == 0, p.stdout + p.stderr
    gw.sink.wait(before + 1)
    gw.queue_empty()
    mails = gw.sink.mails[before:]
    assert sorted(r for m in mails for r in m['rcpts']) == ['b@far.test', 'c@far.test']
    assert all(b'Subject: from swaks\r\n' in m['body'] and b'\r\n..two\r\n' in m['body'] for m in mails)
    p = subprocess.run(['swaks', '--server', '127.0.0.1', '--port', str(gw.port), '--to', 'b@far.test', '--quit-after', 'RCPT', '--from', 'bad'],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert p.returncode == 23, 'swaks tells a refused MAIL'
