# SPDX-License-Identifier: BSD-2-Clause
"""isolate = yes: modules in worker processes of their own: they answer as they would inside; a worker that is killed, crashes or
hangs costs temporary failures and is started again; reload; own account; what cannot be isolated is refused by name."""
import collections, contextlib, json, os, pathlib, pwd, re, resource, signal, subprocess, threading

import certs, lab, milterd
import pytest
from stores import passwords
from test_auth import SECRET, USER, b64, log_in, offered, plain
from test_auth_client import ANN, PLAIN, AuthSink, Files, Hop, relay, send

ISOLATED = 'map ac { type = text; file = "ac"; isolate = yes; } access { name = ac; } map mt { type = text; file = "mt"; } mailertable { name = mt; } '
ROWS = 'cltaddr:127.0.0.1 RELAY\nto:no@far.test error:550 5.7.1 not him\n'


def gateway(inst, port, smar=ISOLATED, ac=ROWS, **kw):
    return lab.Gateway(inst, smtps='flags = { 8bitmime, access };', smar=smar, files={'mt': f'. [127.0.0.1]:{port}\n', 'ac': ac}, **kw)


def workers(g, role='smar'):
    return {w['instance']: w for w in json.loads(g.http(role, 'GET', '/v1/workers')[1])['workers']}


def worker(g, name='map_text/ac', role='smar'):
    return workers(g, role)[name]


def up_again(g, old, name='map_text/ac', role='smar'):
    def new():
        w = worker(g, name, role)
        return w if w['state'] == 'up' and w['pid'] != old else None
    return lab.wait_for('a new worker', new)


def dies(g, name, rcpt):
    """The worker is killed until a question about a new recipient meets nobody; each pause is longer than the one before."""
    def temporary():
        w, n = worker(g, name), len(re.findall('warning module.worker', g.log()))
        if w['state'] == 'up':
            os.kill(w['pid'], signal.SIGKILL)
            lab.wait_for('the role to see it', lambda: len(re.findall('warning module.worker', g.log())) > n)
        dies.n += 1
        return g.verdict(rcpt.replace('%', str(dies.n))).startswith('451')
    lab.wait_for('a temporary failure', temporary)


dies.n = 0


@contextlib.contextmanager
def few_files():
    """What is started meanwhile has the limit of descriptors that it has where nobody set it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def gone(pid):
    return not os.path.exists(f'/proc/{pid}') or lab.ended(pid)


def test_map(inst):
    """Answers, is shown, is killed in the middle of questions, comes back; mail goes on."""
    with lab.Sink() as sink, few_files(), gateway(inst, sink.port) as g:
        limit = re.search(r'^Max open files +(\d+) +(\d+)', pathlib.Path(f'/proc/{worker(g)["pid"]}/limits').read_text(), re.M)
        assert limit[1] == limit[2]
        assert g.verdict('u@far.test').startswith('250')
        assert g.verdict('no@far.test').startswith('550 5.7.1 not him')
        first = worker(g)
        assert first['state'] == 'up' and first['restarts'] == 0 and first['last_end'] == ''
        argv = pathlib.Path(f'/proc/{first["pid"]}/cmdline').read_bytes().split(b'\0')
        assert argv[:2] == [b'smar', b'map_text/ac@1']
        dies(g, 'map_text/ac', 'u%@far.test')
        lab.wait_for('how it ended', lambda: re.search(
            r'isolated: smar map_text/ac (up, pid \d+, \d+ restarts|down(, \d+ restarts)?), last end: killed by SIGKILL', g.ctl('module', 'info', 'map_text').stdout))
        second = up_again(g, first['pid'])
        assert second['restarts'] >= 1 and second['last_end'] == 'killed by SIGKILL'
        assert g.verdict('again@far.test').startswith('250')
        with g.client() as c:
            assert c.mail('a@from.test', 'u@far.test', b'Subject: t\r\n\r\nhello\r\n').startswith('250')
        sink.wait(1)
        assert re.search(r'mcp\.worker role=smar instance=map_text/ac@1 pid=\d+ status="killed by SIGKILL" restart_in_s=1', g.log())
        m = g.metrics('smar')
        assert m['module_worker_ends_total'] == second['restarts'] and m['module_worker_up_now'] == 1
        listed = json.loads(next(l for l in g.ctl('module', 'list', '--json').stdout.splitlines() if '"map_text"' in l))
        assert [(w['process'], w['instance'], w['state'], w['restarts']) for w in listed['isolated']] == [('smar', 'map_text/ac', 'up', second['restarts'])]
        # the role was never touched, and nothing is left behind
        assert g.log().count('mcp.start role=smar ') == 1
        pid = worker(g)['pid']
        g.stop()
        lab.wait_for('the worker to end', lambda: gone(pid))


def test_several(inst):
    """Maps that ask each other through their role, each in a process of its own; many keys; one that dies is not missed by the other."""
    smar = ('map one { type = text; rows = { "to:one@far.test RELAY" }; isolate = yes; } map two { type = text; rows = { "to:two@far.test RELAY" }; } '
            'map both { type = sequence; maps = { one, two }; isolate = yes; isolate_memory = 0; } access { name = both; } '
            'map mt { type = regex; rows = { "/./ [127.0.0.1]:9" }; isolate = yes; } mailertable { name = mt; }')
    with lab.Gateway(inst, smtps='flags = { 8bitmime, access }; max_rcpts_per_transaction = 1000; max_invalid_addresses = 1000;', smar=smar) as g:
        assert set(workers(g)) == {'map_text/one', 'map_sequence/both', 'map_regex/mt'}
        assert g.verdict('one@far.test').startswith('250')
        assert g.verdict('two@far.test').startswith('250')
        with g.client() as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('MAIL FROM:<a@client.test>', 250)
            c.send(b''.join(b'RCPT TO:<%s@far.test>\r\n' % (b'one' if i % 2 else b'x%d' % i) for i in range(400)))
            said = [c.reply()[:3] for _ in range(400)]
        assert said == ['250' if i % 2 else '550' for i in range(400)]
        dies(g, 'map_text/one', 'one%@far.test')
        assert worker(g, 'map_sequence/both')['restarts'] == 0
        up_again(g, 0, 'map_text/one')
        assert g.verdict('one+d@far.test').startswith('250')


def test_reload(inst):
    """A reload opens new ones beside the old, or none of it counts."""
    with gateway(inst, 9) as g:
        first = worker(g)['pid']

        def reload(word):
            n = g.log().count('mcp.reload result=')
            g.proc.send_signal(signal.SIGHUP)
            line = lab.wait_for('the end of a reload', lambda: g.log().split('mcp.reload result=')[n + 1:])[0]
            assert line.lstrip('"').startswith(word), line
        (g.dir / 'ac').write_text(ROWS + 'to:new@far.test error:550 5.7.1 nor her\n')
        reload('committed')
        second = up_again(g, first)  # the old one is there until it has drained
        assert second['restarts'] == 0
        assert g.verdict('new@far.test').startswith('550 5.7.1 nor her')
        lab.wait_for('the old worker to end', lambda: gone(first))
        g.conf.write_text(g.conf.read_text().replace('map ac {', 'map bad { type = gdbm; file = "mt"; isolate = yes; } map ac {'))
        reload('refused')
        assert 'role=smar answer=refused why="map bad: map_gdbm/bad: ' in g.log()
        assert worker(g)['pid'] == second['pid']
        assert g.verdict('u@far.test').startswith('250')
        # of what was refused nothing runs on
        started = {int(n) for n in re.findall(r'mcp\.worker role=smar instance=\S+@3 pid=(\d+) ', g.log())}
        assert len(started) >= 2 and second['pid'] not in started
        lab.wait_for('their end', lambda: all(gone(n) for n in started))
        g.conf.write_text(re.sub('map bad {.*?} ', '', g.conf.read_text()).replace('isolate = yes;', ''))
        reload('committed')
        lab.wait_for('nothing isolated', lambda: workers(g) == {})
        lab.wait_for('the worker to end', lambda: gone(second['pid']))
        assert g.verdict('no@far.test').startswith('550 5.7.1 not him')


def held_back(g, role, which):
    """Before the start: what has that among its arguments begins when somebody writes into the FIFO that is returned, a line for each."""
    program, gate, script = f'{g.bin}/libexec/{role}', g.dir / 'gate', g.dir / 'held'
    os.mkfifo(gate)
    script.write_text(f'#!/bin/sh\ncase "$*" in *{which}*) read line < {gate};; esac\nexec {program} "$@"\n')
    script.chmod(0o755)
    if g.uid is not None:
        os.chown(gate, g.uid, g.uid)
    g.conf.write_text(g.conf.read_text().replace(program, str(script)))
    return gate


def held_worker(g, life):
    return int(re.search(r'pid=(\d+)', g.wait_log(rf'mcp\.worker role=smar instance=map_text/ac@{life} pid=\d+').group())[1])


def test_slow_open(inst):
    """A worker that takes its time to open holds nobody up: the role serves while step one of a reload waits for it; one that ends before
    it is open refuses the reload, by name; a stop waits for none."""
    g = gateway(inst, 9)
    try:
        gate = held_back(g, 'smar', 'map_text/ac@[2-9]')
        g.start().ready()
        first = worker(g)['pid']
        g.proc.send_signal(signal.SIGHUP)
        held_worker(g, 2)
        for i in range(3):  # names that smar has not been asked for yet: it asks the worker of before
            assert g.verdict(f'u{i}@far.test').startswith('250')
        assert 'mcp.reload result' not in g.log()
        gate.write_text('go\n')
        g.wait_log('mcp.reload result="?committed')
        assert up_again(g, first)['restarts'] == 0
        assert g.verdict('u@far.test').startswith('250')
        g.proc.send_signal(signal.SIGHUP)
        pid = held_worker(g, 3)
        os.kill(pid, signal.SIGKILL)
        g.wait_log(f'role=smar answer=refused why="map ac: map_text/ac: its worker process {pid} did not open it: it ended"')
        g.wait_log('mcp.reload result="?refused')
        assert g.verdict('v@far.test').startswith('250')
        g.proc.send_signal(signal.SIGHUP)
        pid = held_worker(g, 4)
        assert g.stop(8) == 0
        lab.wait_for('the worker to end', lambda: gone(pid))
    finally:
        g.close()


def test_restart_while_a_reload_checks(inst):
    """Who starts between the beginning of a reload and its first step has other workers than that step brings."""
    def at(gate):
        def reader():
            with contextlib.suppress(OSError):
                return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        return lab.wait_for('a check to begin', reader)

    def go(fd):
        os.write(fd, b'go\n')
        os.close(fd)
    g = gateway(inst, 9)
    try:
        gate = held_back(g, 'smar', '?-C')
        g.start(ready=False)
        go(at(gate))
        g.ready()
        g.proc.send_signal(signal.SIGHUP)
        check, first = at(gate), worker(g)['pid']
        os.kill(g.pids()['smar'], signal.SIGKILL)
        second = lab.wait_for('smar again', lambda: g.log().count('mcp.ready role=smar') == 2 and worker(g)['pid'])
        assert second != first
        go(check)
        g.wait_log('mcp.reload result="?committed')
        third = up_again(g, second)
        lab.wait_for('the worker of before to end', lambda: gone(second))
        assert g.verdict('u@far.test').startswith('250')
        assert worker(g)['pid'] == third['pid'] and third['restarts'] == 0
        assert len(re.findall(r'mcp\.worker role=smar instance=map_text/ac@2 ', g.log())) == 1
    finally:
        g.close()


def test_stop_while_it_starts(inst):
    """A start waits for the workers; a stop in the middle of it does not."""
    g = gateway(inst, 9)
    try:
        held_back(g, 'smar', 'map_text/ac@1')
        g.start(ready=False)
        pid = held_worker(g, 1)
        assert g.stop(8) == 0
        lab.wait_for('the worker to end', lambda: gone(pid))
        assert 'role=smar error' not in g.log()
    finally:
        g.close()


SOON = {'META1_BACKOFF_MAX_MS': '100'}  # a worker that ended is started again
HEADERS = 'module = headers; add = {{ "X-By: a worker" }}; remove = {{ "X-Gone" }}; isolate = yes; isolate_memory = 256MB; {} '


def filtered(inst, port, filters, **kw):
    """A gateway with these filters: {name: options}."""
    chain = ''.join(f'filter {n} {{ {o} }} ' for n, o in filters.items())
    return lab.relay_all(inst, port, smtps=f'policy_milter {{ module = mux; {chain} }}', **kw)


def arrives(g, sink, body):
    with g.client() as c:
        reply = c.mail('a@from.test', 'u@far.test', body)
    assert reply.startswith('250'), reply
    id = re.search('accepted as (S[0-9A-F]+)', reply)[1].encode()
    return lab.wait_for('the mail', lambda: next((m['body'] for m in list(sink.mails) if id in m['body']), None))


def test_filter(inst):
    """Edits of a worker, of short and of long mail; of one that answers with a body of its own, which has a connection; killed and hanging
    ones are temporary failures, then edits again."""
    large = b''.join(b'line %d of a long text that goes into a file\r\n' % i for i in range(30000))
    new = b''.join(b'another body %d\r\n' % i for i in range(10000))
    with lab.Sink() as sink, milterd.Milter() as m, \
            filtered(inst, sink.port, {'head': HEADERS.format('timeout = 500ms; end_timeout = 500ms;'), 'own': f'module = milter; isolate = yes; {m.socket}'}, env=SOON) as g:
        assert set(workers(g, 'smtps')) == {'pmilter_headers/head', 'pmilter_milter/own'}
        out = arrives(g, sink, b'Subject: t\r\nX-Gone: x\r\n\r\nhello\r\n')
        assert b'\r\nX-By: a worker\r\n' in out and b'X-Gone' not in out and out.endswith(b'\r\n\r\nhello\r\n')
        assert arrives(g, sink, b'Subject: t\r\n\r\n' + large).endswith(b'\r\nX-By: a worker\r\n\r\n' + large)
        m.says = {'E': [milterd.add_header('X-Own', 'yes'), *[b'b' + new[i:i + 60000] for i in range(0, len(new), 60000)], b'c']}
        out = arrives(g, sink, b'Subject: t\r\n\r\nhello\r\n')
        assert b'\r\nX-Own: yes\r\n' in out and out.endswith(b'\r\n\r\n' + new)
        # more than a frame has: of that mail alone, the worker goes on
        m.says = {'E': [*[milterd.add_header('X-Large', 'x' * 50000)] * 100, b'c']}
        with g.client() as c:
            assert c.mail('a@from.test', 'u@far.test', b'Subject: t\r\n\r\nhello\r\n').startswith('451')
        m.says = {}
        assert b'\r\nX-By: a worker\r\n' in arrives(g, sink, b'Subject: t\r\n\r\nhello\r\n')
        assert 'is too large for a worker process' in g.log() and worker(g, 'pmilter_milter/own', 'smtps')['restarts'] == 0
        shown = {f['name']: f for f in json.loads(g.http('smtps', 'GET', '/v1/filters')[1])['filters']}
        pid = worker(g, 'pmilter_headers/head', 'smtps')['pid']
        assert shown['head']['connected'] and shown['head']['peer'] == f'process {pid}'
        # it hangs in the middle of a session: the timeout of the filter, then it is killed
        with g.client() as c:
            c.cmd('EHLO client.test', 250)
            os.kill(pid, signal.SIGSTOP)
            assert c.mail('a@from.test', 'u@far.test', b'Subject: lost\r\n\r\nhello\r\n', ehlo=None).startswith('451')
            g.wait_log(rf'module\.worker instance=pmilter_headers/head pid={pid} questions=1 error="does not answer"')
            up_again(g, pid, 'pmilter_headers/head', 'smtps')
            # the same session goes on with the next worker
            assert c.mail('a@from.test', 'u@far.test', b'Subject: again\r\n\r\nhello\r\n', ehlo=None).startswith('250')
        lab.wait_for('the mail', lambda: any(b'Subject: again' in x['body'] and b'X-By' in x['body'] for x in list(sink.mails)))
        assert worker(g, 'pmilter_milter/own', 'smtps')['restarts'] == 0
        assert g.log().count('mcp.start role=smtps ') == 1


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as ca:
        ca.host, ca.hop = ca.issue('gw', host='gw.test'), ca.issue('hop', host='127.0.0.1')
        ca.ann, ca.bob = ca.issue('ann', host='ann.test'), ca.issue('bob')
        yield ca


def kills(g, name, role):
    """The worker, and the role has seen it."""
    pid, n = worker(g, name, role)['pid'], g.log().count(' warning module.worker ')
    os.kill(pid, signal.SIGKILL)
    lab.wait_for('the role to see it', lambda: g.log().count(' warning module.worker ') > n)
    return pid


def test_server_auth(inst, ca):
    """Mechanisms as inside, by what each connection is; a worker that ends is 454 in the dialog, also in the middle, and no session is lost;
    what it offered stays offered. No secret is in the log."""
    tls = f'tls {{ cert_file = "{ca.host[0]}"; key_file = "{ca.host[1]}"; }}'
    with passwords(USER, SECRET, 'PLAIN CRAM-MD5') as sasl, lab.Sink() as sink, \
            lab.relay_all(inst, sink.port, ac='from:nobody@ REJECT\n', smtps=f'auth {{ config_path = "{sasl}"; failure_delay = 0; isolate = yes; '
                          f'isolate_memory = 256MB; trusted_mechanisms = {{ CRAM-MD5, PLAIN }}; }} {tls}', env=SOON) as g:
        assert set(workers(g, 'smtps')) == {'auth_cyrus/auth'}
        with g.client() as c:
            assert offered(c) == ['CRAM-MD5'] and c.cmd('AUTH PLAIN ' + plain()).startswith('504')
            assert log_in(c, 'wrong').startswith('535')
            c.cmd('AUTH CRAM-MD5', 334)
            c.cmd('*', 501)
            assert log_in(c).startswith('235')
        with g.client() as c:
            certs.starttls(c, ca.context())
            assert sorted(offered(c)[0].split()) == ['CRAM-MD5', 'PLAIN']
            c.cmd('AUTH PLAIN ' + plain(), 235)
            assert c.mail('a@client.test', 'b@far.test', b'Subject: t\r\n\r\nhello\r\n', ehlo=None).startswith('250')
        sink.wait(1)
        with g.client() as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('AUTH CRAM-MD5', 334)
            pid = kills(g, 'auth_cyrus/auth', 'smtps')
            assert c.cmd(b64(f'{USER} 0')).startswith('454 4.7.0')
            assert offered(c) == ['CRAM-MD5']
            up_again(g, pid, 'auth_cyrus/auth', 'smtps')
            assert log_in(c).startswith('235')
        assert g.log().count('mcp.start role=smtps ') == 1
        assert SECRET not in g.log() and b64(SECRET) not in g.log() and plain() not in g.log()


def test_server_auth_by_certificate(inst, ca):
    """What is offered depends on the certificate: each client is told what is right for it, the first time."""
    with lab.relay_all(inst, 9, ac='from:nobody@ REJECT\n', smtps='auth { module = external; trusted_mechanisms = EXTERNAL; identity = dns; failure_delay = 0; isolate = yes; } '
                       f'tls {{ cert_file = "{ca.host[0]}"; key_file = "{ca.host[1]}"; CAcert_file = "{ca.ca}"; }}') as g:
        for cert, want in ((None, []), (ca.ann, ['EXTERNAL']), (ca.bob, []), (ca.ann, ['EXTERNAL'])):
            with g.client() as c:
                certs.starttls(c, ca.context(cert))
                assert offered(c) == want
                if want:
                    assert c.cmd('AUTH EXTERNAL ' + b64('bob.test')).startswith('535')
                    assert c.cmd('AUTH EXTERNAL =').startswith('235')


def test_client_auth(inst, ca):
    """The mechanisms of smtpc in workers: the row's secret goes to the hop; while there is no worker mail waits."""
    files, hop = Files(), Hop()
    with AuthSink(ca.hop, hop) as sink, relay(inst, sink.port, ca, files, ANN, auth='isolate = yes;', smtpc='idle_timeout = 0;', env=SOON) as g:
        assert set(workers(g, 'smtpc')) == {'auth_oauth/oauth', 'auth_cyrus/cyrus'}
        send(g)
        sink.wait(1)
        os.kill(worker(g, 'auth_cyrus/cyrus', 'smtpc')['pid'], signal.SIGSTOP)
        send(g)
        lab.wait_for('the question', lambda: worker(g, 'auth_cyrus/cyrus', 'smtpc')['questions'])
        pid = kills(g, 'auth_cyrus/cyrus', 'smtpc')
        g.wait_log('status=deferred .*its worker process ended')
        up_again(g, pid, 'auth_cyrus/cyrus', 'smtpc')
        g.ctl('queue', 'flush')
        sink.wait(2)
        g.queue_empty()
        assert hop.heard == [PLAIN] * 2 and SECRET not in g.log()
    subprocess.run(['rm', '-r', files.dir], check=True)


def boxes(inst, path, smtpc='', more='', **kw):
    """A gateway whose mail for box.test goes by LMTP from a worker."""
    return lab.relay_all(inst, 9, mt=f'box.test box:{path}\n{more}', smtpc=f'transport box {{ module = lmtp; isolate = yes; }} {smtpc}',
                         qmgr='min_retry_delay = 1h; max_retry_delay = 1h;', **kw)


BOX = 'transport_lmtp/box'


def test_transport(inst):
    """Delivers as it would inside: results for each recipient, short and long mail, a session for several; killed with a mail it is a temporary
    failure, then delivered, once; hanging ones are found; other mail goes on."""
    large = b'Subject: large\r\n\r\n' + b''.join(b'line %d of a text that goes by a descriptor\r\n' % i for i in range(30000))
    wait = []

    def answer(verb, arg, ses):
        if verb == 'RCPT' and 'no@' in arg:
            return '550 5.1.1 not here'
        if verb == 'DOT' and wait:
            return wait.pop()
    folder = lab.tempdir('box')
    with lab.Sink(lmtp=True, path=folder / 's', answer=answer) as sink, boxes(inst, folder / 's', env={'META1_WORKER_PING_MS': '300', **SOON}) as g:
        assert set(workers(g, 'smtpc')) == {BOX}
        with g.client() as c:
            assert c.mail('a@from.test', ['u@box.test', 'no@box.test', 'v@box.test'], b'Subject: t\r\n\r\nhello\r\n').startswith('250')
            assert c.mail('a@from.test', 'u@box.test', large, ehlo=None).startswith('250')
        sink.wait(2)
        assert sorted(len(m['rcpts']) for m in sink.mails) == [1, 2]
        assert next(m['body'] for m in sink.mails if len(m['rcpts']) == 1).endswith(large)
        g.wait_log('to=<no@box.test> .*status=bounced .*5.1.1 not here')
        for how in 'killed', 'hangs':
            n = len(sink.mails)
            wait.append('silence')
            with g.client() as c:
                assert c.mail('a@from.test', f'{how}@box.test', b'Subject: again\r\n\r\nhello\r\n').startswith('250')
            lab.wait_for('the dot', lambda: not wait)
            pid = worker(g, BOX, 'smtpc')['pid']
            os.kill(pid, signal.SIGKILL if how == 'killed' else signal.SIGSTOP)
            g.wait_log(f'to=<{how}@box.test> .*status=deferred .*its worker process ended')
            up_again(g, pid, BOX, 'smtpc')
            g.ctl('queue', 'flush')
            lab.wait_for('the mail', lambda: [f'{how}@box.test'] in [m['rcpts'] for m in sink.mails[n:]])
            g.wait_log(f'to=<{how}@box.test> .*status=delivered')
            assert [m['rcpts'] for m in sink.mails].count([f'{how}@box.test']) == 1
        assert 'error="does not answer"' in g.log()
        assert g.log().count('mcp.start role=smtpc ') == 1
        assert re.search(rf'isolated: smtpc {BOX} up, pid \d+, \d restarts?, last end: ', g.ctl('module', 'info', 'transport_lmtp').stdout)
    subprocess.run(['rm', '-r', folder], check=True)


def test_transport_stops_and_reloads(inst):
    """A stop does not wait for what the hop cannot have; a reload opens another beside the old one, or none."""
    silent = []

    def answer(verb, arg, ses):
        return 'silence' if verb == 'MAIL' and silent else None
    folder = lab.tempdir('box')
    with lab.Sink(lmtp=True, path=folder / 's', answer=answer) as sink, boxes(inst, folder / 's') as g:
        def reload(old, new):
            n = g.log().count('mcp.reload result=')
            g.conf.write_text(g.conf.read_text().replace(old, new))
            g.proc.send_signal(signal.SIGHUP)
            lab.wait_for('the end of a reload', lambda: g.log().count('mcp.reload result=') > n)

        def mail(to='u@box.test'):
            with g.client() as c:
                assert c.mail('a@from.test', to, b'Subject: t\r\n\r\nhello\r\n').startswith('250')
        mail()
        sink.wait(1)
        first = worker(g, BOX, 'smtpc')['pid']
        reload('isolate = yes; }', 'isolate = yes; } transport other { module = lmtp; isolate = yes; }')
        lab.wait_for('both', lambda: set(workers(g, 'smtpc')) == {BOX, 'transport_lmtp/other'})
        lab.wait_for('the old worker to end', lambda: gone(first))
        mail()
        sink.wait(2)
        reload('transport other { module = lmtp; isolate = yes; }', '')
        lab.wait_for('one of them', lambda: set(workers(g, 'smtpc')) == {BOX})
        silent.append(True)
        mail('late@box.test')
        lab.wait_for('the question', lambda: worker(g, BOX, 'smtpc')['questions'])
        assert g.stop(8) == 0  # far less than what the hop would have to answer in
        assert 'its time is over' not in g.log()
    subprocess.run(['rm', '-r', folder], check=True)


def test_cannot_open(inst):
    """What the module says at open is said as if it were inside, and nothing starts."""
    g = gateway(inst, 9, smar='map ac { type = gdbm; file = "ac"; isolate = yes; } access { name = ac; }')
    try:
        g.start(ready=False)
        g.wait_log(r'smar\[\d+\] error role\.start error="map ac: map_gdbm/ac: ')
    finally:
        g.close()


def check(inst, conf, program='sbin/mcp', **kw):
    g = lab.Gateway(inst, conf=conf, **kw)
    try:
        return subprocess.run(g.run_as([str(g.bin / program), '-f', str(g.conf), '-VVV']), capture_output=True, text=True, env=g.environ())
    finally:
        g.close()


def test_refused(inst):
    """Kinds that have no worker: by name, with the reason; and options that would do nothing."""
    p = check(inst, 'smtps { listen_socket { port = 2525; } policy_milter { module = mux; isolate = yes; filter f { module = headers; isolate_user = root; } } }\n'
              'qmgr { queue { type = log; isolate = yes; } }\n'
              'smtpc { module transport_smtp { isolate = yes; } module auth_cyrus { isolate = yes; } transport x { module = lmtp; isolate_memory = 1MB; } }\n'
              'smar { module map_text { isolate = yes; } }\n')
    out = p.stdout + p.stderr
    assert p.returncode == 78
    for text in ('policy_milter: option isolate: say it in the section of the filter', 'option isolate_user is without effect: isolate is not set',
                 'queue: option isolate: a queue store runs inside its roles', 'module transport_smtp: option isolate: say it in a section of smtpc, transport NAME',
                 'module auth_cyrus: option isolate: say it in the section of the mechanisms', 'option isolate_memory is without effect: isolate is not set', 'module map_text: option isolate: say it in the section of the map'):
        assert text in out, f'{text}\n{out}'


def uid(pid):
    return int(re.search(r'^Uid:\t(\d+)', pathlib.Path(f'/proc/{pid}/status').read_text(), re.M)[1])


def held_files(pid):
    """What a process has open, with the names of all that it could read by it; sockets as one word."""
    return sorted(re.sub(r':\[\d+\]$', '', os.readlink(f'/proc/{pid}/fd/{n}')) for n in os.listdir(f'/proc/{pid}/fd'))


def test_nothing_else_in_it(inst):
    """A worker has no descriptor, variable or privilege of mcp or its role, also not of another mail than the one it has: what it can read of the
    store is that mail. It ends with its role."""
    held = threading.Event()

    def answer(verb, arg, ses):
        if verb == 'DOT' and not held.is_set():
            held.set()
            return 'silence'
    secret, large = b'a secret of somebody else\r\n', b'Subject: l\r\n\r\n' + b'a line of a text that goes by a copy\r\n' * 5000
    folder = lab.tempdir('box')
    with lab.Sink(lmtp=True, path=folder / 's', answer=answer) as sink, boxes(inst, folder / 's', more='. [127.0.0.1]:9\n', env={'NOTIFY_SOCKET': str(folder / 'n'), **SOON}) as g:
        pid = worker(g, BOX, 'smtpc')['pid']
        idle = held_files(pid)
        # stdin; where lines go; the stream to its role; the loop's own
        assert set(idle) <= {'/dev/null', str(g.dir / 'log'), 'socket', 'anon_inode:[eventpoll]', 'anon_inode:[eventfd]', 'anon_inode:[timerfd]', 'pipe'}, idle
        assert idle.count('socket') == 1, idle
        env = pathlib.Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
        assert not [v for v in env if v.startswith((b'META1_MCP_FD', b'META1_CONF_FD', b'NOTIFY_SOCKET', b'LISTEN_'))]
        assert re.search(r'^NoNewPrivs:\t1$', pathlib.Path(f'/proc/{pid}/status').read_text(), re.M)
        with g.client() as c:
            c.cmd('EHLO client.test', 250)
            for to, text in (('a@later.test', b'Subject: s\r\n\r\n' + secret), ('u@box.test', large)):
                assert c.mail('a@from.test', to, text, ehlo=None).startswith('250')
        assert held.wait(lab.WAIT)
        files = list((collections.Counter(held_files(pid)) - collections.Counter(idle)).elements())
        assert files == ['/memfd:content (deleted)', 'socket'], files  # the mail, and the connection to its hop
        found = [pathlib.Path(f'/proc/{pid}/fd/{n}').read_bytes() for n in os.listdir(f'/proc/{pid}/fd') if 'memfd' in os.readlink(f'/proc/{pid}/fd/{n}')]
        assert found[0].endswith(large.partition(b'\r\n\r\n')[2]) and secret not in found[0] and len(found[0]) < len(large) + 500
        role = g.pids()['smtpc']
        os.kill(role, signal.SIGKILL)
        lab.wait_for('the worker to end', lambda: gone(pid))
        lab.wait_for('another one', lambda: BOX in g.log().split(f'pid={pid}')[-1])
    subprocess.run(['rm', '-r', folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can change users')
def test_files_of_its_own_user(inst, ca):
    """The check names each file of the section tls that the worker's account cannot read, and what to do."""
    d = lab.tempdir('tls')
    for name in 'cert', 'key', 'ca', 'crl', 'dir/0a1b2c3d.0':
        (d / name).parent.mkdir(exist_ok=True)
        (d / name).write_bytes(pathlib.Path({'key': ca.hop[1], 'cert': ca.hop[0]}.get(name, ca.ca)).read_bytes())
        (d / name).chmod(0o600)
    (d / 'dir').chmod(0o755)
    conf = (f'smtpc {{ tls {{ cert_file = "{d}/cert"; key_file = "{d}/key"; CAcert_file = "{d}/ca"; CAcert_directory = "{d}/dir"; CRL_file = "{d}/crl"; }} '
            'transport box { module = smtp; isolate = yes; isolate_user = man; } }\nsmtps { listen_socket { port = 2525; } }\nqmgr { }\nsmar { }\n')

    def found(conf):
        p = check(inst, f'module_directory = "{inst}{lab.PREFIX}/lib/meta1"; {conf}', 'libexec/smtpc', user='root')
        return p.stdout + p.stderr
    out = found(conf)
    for name, option in (('cert', 'cert_file'), ('key', 'key_file'), ('ca', 'CAcert_file'), ('crl', 'CRL_file'), ('dir/0a1b2c3d.0', 'CAcert_directory')):
        assert f'transport box: option smtpc.tls.{option}: its worker runs as man, who cannot read {d}/{name} ' in out, out
        assert f'setfacl -m u:man:r {d}/{name}' in out
    for name in 'cert', 'key', 'ca', 'crl', 'dir/0a1b2c3d.0':
        (d / name).chmod(0o644)
    (d / 'dir').chmod(0o700)
    out = found(conf)
    assert f'option smtpc.tls.CAcert_directory: its worker runs as man, who cannot pass {d}/dir ' in out
    assert out.count('its worker runs as man') == 1, out
    (d / 'dir').chmod(0o755)
    assert 'its worker runs as man' not in found(conf)
    subprocess.run(['rm', '-r', d], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can change users')
def test_own_user(inst):
    """isolate_user: another account than the role's, without any right, and nothing of the role's open in it."""
    users = {r: f'user = {u};' for r, u in zip(('smtps', 'smtpc', 'qmgr', 'smar'), ('daemon', 'nobody', 'mail', 'games'))}
    text = 'map ac { type = text; rows = { "cltaddr:127.0.0.1 RELAY" }; isolate = yes; isolate_user = man; } access { name = ac; } '
    users['smtps'] += ' flags = { 8bitmime, access }; policy_milter { ' + HEADERS.format('isolate_user = games;') + '} auth { module = external; ' \
        'trusted_mechanisms = EXTERNAL; isolate = yes; isolate_user = man; }'
    users['smtpc'] += ' transport box { module = lmtp; isolate = yes; isolate_user = man; }'
    folder, large = lab.tempdir('box'), b'Subject: t\r\n\r\n' + b'a line of a text that goes by a descriptor\r\n' * 5000
    users['smar'] += text + 'map mt {{ type = text; rows = {{ ". [127.0.0.1]:9", "box.test box:{}" }}; }} mailertable {{ name = mt; }}'.format(folder / 's')
    with lab.Sink(lmtp=True, path=folder / 's') as sink, lab.Gateway(inst, user='root', env={'META1_TEST_ENV': '1'}, **users) as g:
        assert g.verdict('u@far.test').startswith('250')
        pid = worker(g)['pid']
        fields = dict(l.split(':\t', 1) for l in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines() if ':\t' in l)
        man = pwd.getpwnam('man')
        assert fields['Uid'].split() == [str(man.pw_uid)] * 4 and fields['Gid'].split() == [str(man.pw_gid)] * 4
        assert int(fields['CapEff'], 16) == 0 and fields['NoNewPrivs'] == '1'
        held = [os.readlink(f'/proc/{pid}/fd/{n}') for n in os.listdir(f'/proc/{pid}/fd')]
        assert not [f for f in held if str(g.dir) in f and not f.endswith('/log')], held
        # one of the same account could not look into it (a build with sanitizers could)
        assert os.stat(f'/proc/{pid}/mem').st_uid == (man.pw_uid if 'libasan' in pathlib.Path(f'/proc/{pid}/maps').read_text() else 0)
        pid = worker(g, 'pmilter_headers/policy_milter', 'smtps')['pid']
        assert uid(pid) == pwd.getpwnam('games').pw_uid
        # one that may not even look into the queue delivers what is in it
        for name, role in ((BOX, 'smtpc'), ('auth_external/auth', 'smtps')):
            assert uid(worker(g, name, role)['pid']) == man.pw_uid
        with g.client() as c:
            assert c.mail('a@from.test', 'u@box.test', large).startswith('250')
        assert sink.wait(1)[0]['body'].endswith(large.partition(b'\r\n\r\n')[2])  # a filter has changed the header
        conf = g.conf.read_text()
        g.conf.write_text(conf.replace('rows = { "cltaddr:127.0.0.1 RELAY" }; isolate', 'file = "/etc/shadow"; isolate'))
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('smar: map ac: option file: its worker runs as man, who cannot read /etc/shadow .*setfacl -m u:man:r /etc/shadow')
        g.wait_log('mcp.reload result="?refused')
        g.conf.write_text(conf.replace('isolate_user = man', 'isolate_user = root'))
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('isolate_user: its worker would run with uid 0')
    subprocess.run(['rm', '-r', folder], check=True)
