# SPDX-License-Identifier: BSD-2-Clause
"""recipient_probe: at RCPT the next hop is asked, by LMTP and SMTP; what it says, and what it does instead."""
import concurrent.futures, contextlib, json, os, pathlib, re, shutil, signal, socket, subprocess, threading, time

import lab, pytest, stores

BODY = 'Subject: t\r\n\r\nhello\r\n'
AC = 'to:far.test RELAY\nto:other.test RELAY\nto:smart.test RELAY\n'
ALL = 'routes = { lmtp, mailertable }; '


def gateway(inst, mt, options=ALL, files=None, smar='', **kw):
    return lab.relay_all(inst, 0, mt=mt, ac=AC, files=files,
                         smar=f'{smar} recipient_probe {{ {options} }}', **kw)


def rcpt(g, *to, sender='a@client.test', params=''):
    """The replies to RCPT in one session, the last one's alone when there is one."""
    with g.client(timeout=40) as c:
        c.cmd('EHLO c.test', 250)
        c.cmd(f'MAIL FROM:<{sender}>{params}', 250)
        got = [c.cmd(f'RCPT TO:<{t}>') for t in to]
        assert c.cmd('NOOP').startswith('250'), 'no reply of a hop may leave one behind'
    return got if len(to) > 1 else got[0]


def asked(sink):
    return [a for v, a in sink.commands if v == 'RCPT']


class Raw:
    """A hop that does talk(connection, file) on each connection."""

    def __init__(self, talk, address='127.0.0.1'):
        self.s, self.talk, self.connections = socket.create_server((address, 0)), talk, 0
        self.port = self.s.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                c = self.s.accept()[0]
                self.connections += 1
                threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        with contextlib.suppress(OSError), c:
            self.talk(c, c.makefile('rb'))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()


# ---- what a hop says ----

SAYS = {
    'taken': (None, '250 2.1.5 recipient ok'),
    'none': ('550-Mailbox unknown. Either there is no such mailbox\r\n550-or you may not see it.\r\n550 5.1.1 User unknown',
             '550 5.1.1 the next hop says: Mailbox unknown. Either there is no such mailbox or you may not see it. User unknown'),
    'nocode': ('550 gone', '550 5.1.1 the next hop says: gone'),
    'notext': ('550', '550 5.1.1 the next hop says: no such recipient'),
    'off': ('550 5.2.1 switched off', '550 5.2.1 the next hop says: switched off'),
    'policy': ('554 5.7.1 not from you', '550 5.7.1 the next hop says: not from you'),
    'full': ('452 4.2.2 over quota', '450 4.2.2 the recipient cannot be verified now: over quota'),
    'grey': ('450 come again', '450 4.4.1 the recipient cannot be verified now: come again'),
    'toomany': ('552 too many', '450 4.5.3 the recipient cannot be verified now: too many'),
    'inject': ('550 5.1.1 a\rb\x00\x1b[31m\xe9 250 2.0.0', '550 5.1.1 the next hop says: a?b??[31m?? 250 2.0.0'),
    'long': ('550 5.1.1 ' + 'x' * 3000, '550 5.1.1 the next hop says: ' + 'x' * 200),
    # nothing about the recipient
    'bye': ('421 4.3.2 bye', '450 4.4.1 the recipient cannot be verified now: the next hop broke off'),
    'close': ('close', '450 4.4.1 the recipient cannot be verified now: the next hop broke off'),
    'garbage': ('what?', '450 4.4.1 the recipient cannot be verified now: the next hop broke off'),
    'longline': ('550 ' + 'x' * 5000, '450 4.4.1 the recipient cannot be verified now: the next hop broke off'),
    'lines': ('550-x\r\n' * 1000 + '550 x', '450 4.4.1 the recipient cannot be verified now: the next hop broke off'),
    'two': ('550 5.1.1 no\r\n250 2.1.5 yes', '550 5.1.1 the next hop says: no'),
    'silence': ('silence', '450 4.4.1 the recipient cannot be verified now: the next hop has not answered yet'),
}


def sayer(verb, arg, ses):
    if verb == 'RCPT':
        return SAYS.get(re.search('<(.*)@', arg)[1], (None,))[0]


@pytest.fixture(scope='module')
def hops(inst):
    with lab.Sink(lmtp=True, answer=sayer) as lmtp, lab.Sink(answer=sayer, ehlo=('8BITMIME', 'SIZE 1000')) as smtp, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{lmtp.port}\nfar.test [127.0.0.1]:{smtp.port}\n',
                    ALL + 'wait = 1500ms; max_connections = 8;') as g:
        g.lmtp, g.smtp = lmtp, smtp
        yield g


@pytest.mark.parametrize('name', SAYS)
@pytest.mark.parametrize('domain', ['l.test', 'far.test'])
def test_what_a_hop_says(hops, domain, name):
    """The same by LMTP with PIPELINING and by SMTP without."""
    assert rcpt(hops, f'{name}@{domain}') == SAYS[name][1]
    sink = hops.lmtp if domain == 'l.test' else hops.smtp
    assert asked(sink).count(f'TO:<{name}@{domain}>') == 1, 'only the hop that hung up is asked again'
    assert not any(v == 'DATA' for v, _ in sink.commands)
    mails = {a for v, a in sink.commands if v == 'MAIL'}
    assert mails == {'FROM:<>'}, 'the null sender, and no SIZE'
    assert hops.pids().keys() >= {'smar'}


def test_a_mail_comes_through(hops):
    with hops.client() as c:
        assert c.mail('a@client.test', ['taken@l.test', 'taken+box@l.test', 'taken@far.test'], BODY).startswith('250')
    hops.queue_empty()
    assert sorted(r for m in hops.lmtp.mails + hops.smtp.mails for r in m['rcpts']) == [
        'taken+box@l.test', 'taken@far.test', 'taken@l.test']
    assert asked(hops.lmtp).count('TO:<taken+box@l.test>') == 2, 'a detail is asked for as it is delivered: a probe and the mail'


def test_the_hop_decides_about_case(hops):
    rcpt(hops, 'Case@l.test', 'case@L.TEST', 'case@l.test')
    assert [a for a in asked(hops.lmtp) if 'ase@' in a] == ['TO:<Case@l.test>', 'TO:<case@L.TEST>']


def test_explain_shows_it_and_leaves_no_trace(hops):
    def explain(to):
        p = hops.ctl('explain', '--ip', '192.0.2.7', '--from', 'a@b.test', '--to', to, check=False)
        return p.stdout
    rcpt(hops, 'none@far.test')
    text = explain('none@far.test')
    assert '(by probe)' in text
    assert re.search(r'probe +.*kept, \d+ s old: 5\.1\.1 Mailbox unknown', text), text
    before = len(asked(hops.lmtp))
    for _ in range(2):
        text = explain('explained@l.test')
        assert re.search(rf'probe +.*lmtp 127\.0\.0\.1 {hops.lmtp.port} \S+: 2\.1\.5 ok', text), text
    assert 'the next hop takes it' in text
    assert len(asked(hops.lmtp)) == before + 2
    assert 'explained@l.test' not in hops.ctl('probe', 'list').stdout


def test_vrfy_says_it_too_or_not_at_all(hops):
    with hops.client() as c:
        c.cmd('EHLO c.test', 250)
        assert not c.cmd('VRFY <taken@l.test>').startswith('250'), 'VRFY never says that an address is good'


def test_each_byte_of_a_dialogue(inst):
    """The hop closes after so many bytes of all it says: 450 until the last one was said, then 550."""
    lines = [b'220 h\r\n', b'250 h\r\n', b'250 ok\r\n', b'550 5.1.1 no\r\n']
    total = sum(map(len, lines))

    def talk(c, f):
        left = int(c.getsockname()[0].split('.')[3]) - 1
        for line in lines:
            for i in range(min(left, len(line))):
                c.send(line[i:i + 1])
            left -= len(line)
            if left < 0 or not f.readline():
                return
        f.read()
    with Raw(talk, '0.0.0.0') as hop:
        rows = ''.join(f'd{k}.test lmtp:[127.0.2.{k + 1}]:{hop.port}\n' for k in range(total + 1))
        with gateway(inst, rows) as g:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                got = list(pool.map(lambda k: rcpt(g, f'u@d{k}.test'), range(total + 1)))
            assert hop.connections == total + 1, 'no two of them are one hop'
            assert got[-1] == '550 5.1.1 the next hop says: no'
            for k, reply in enumerate(got[:-1]):
                assert re.match(r'450 4\.4\.1 the recipient cannot be verified now: the next hop (cannot be reached|broke off)', reply), (k, reply)


@pytest.mark.parametrize('answers, want', [
    ({'GREETING': '554 5.7.1 not you'}, 'the next hop cannot be reached'),
    ({'GREETING': '421 4.3.2 busy'}, 'the next hop cannot be reached'),
    ({'LHLO': '550 5.7.1 not you'}, 'the next hop cannot be reached'),
    ({'MAIL': '550 5.7.1 not this sender'}, 'the next hop refuses to be asked'),
    ({'MAIL': '450 4.7.1 not now'}, 'the next hop refuses to be asked'),
])
def test_5xx_before_rcpt_is_not_about_the_recipient(inst, answers, want):
    with lab.Sink(lmtp=True, answer=lambda v, a, s: answers.get(v)) as sink, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\n') as g:
        assert rcpt(g, 'u@l.test') == f'450 4.4.1 the recipient cannot be verified now: {want}'
        assert g.metrics('smar')['probes_no_total'] == 0
        assert json.loads(g.ctl('probe', 'list', '--json').stdout)['entries'] == []


@pytest.mark.parametrize('verb, says', [('MAIL', '530 5.7.0 Authentication required'), ('RCPT', '554 5.7.1 Relay access denied'), ('RCPT', '550 5.1.1 none')])
def test_a_hop_that_wants_auth(inst, verb, says):
    """Its secrets are smtpc's, so it cannot be asked: the recipient is taken; what it says of one is heard all the same."""
    creds = lab.tempdir('creds') / 'creds'
    creds.parent.chmod(0o755)
    creds.write_text('some.hop user=a password=b\n')
    creds.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(creds, lab.NOBODY, lab.NOBODY)
    with lab.Sink(answer=lambda v, a, s: says if v == verb else None) as sink, \
            gateway(inst, f'far.test [127.0.0.1]:{sink.port}\n', smtpc=f'auth {{ file = "{creds}"; }}') as g:
        got = rcpt(g, 'u@far.test')
        assert got.startswith('550 5.1.1' if 'none' in says else '250'), got
        if 'none' not in says:
            assert 'the next hop wants AUTH' in g.ctl('explain', '--ip', '192.0.2.7', '--from', 'a@b.test', '--to', 'u@far.test').stdout


def test_a_flood_ends_within_bounds(inst):
    """A hop that talks without end and one that drips: the client has its answer, memory stays."""
    def flood(c, f):
        c.sendall(b'220-' + b'x' * 4000)
        while True:
            c.sendall(b'x' * 65536)

    def drip(c, f):
        c.sendall(b'220 h\r\n')
        f.readline()
        while True:
            c.sendall(b'250-x\r\n' * 50)
            time.sleep(0.05)
    with Raw(flood) as a, Raw(drip) as b, \
            gateway(inst, f'a.test lmtp:[127.0.0.1]:{a.port}\nb.test lmtp:[127.0.0.1]:{b.port}\n', ALL + 'wait = 2s;') as g:
        def rss():
            return int(re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{g.pids()["smar"]}/status').read_text())[1])
        before = rss()
        for domain in ('a.test', 'b.test'):
            assert rcpt(g, f'u@{domain}').startswith('450 4.4.1')
        assert rss() < before + 20000


# ---- when it cannot say ----

def test_away_known_ones_are_taken(inst):
    d = lab.tempdir('probe')
    hop = lab.Sink(lmtp=True, path=d / 's', answer=lambda v, a, s: '550 5.1.1 no' if v == 'RCPT' and 'bad' in a else None)
    with gateway(inst, f'l.test lmtp:{d}/s\n', ALL + 'positive_ttl = 0; negative_ttl = 0; idle_timeout = 0;') as g:
        assert [r[:9] for r in rcpt(g, 'u@l.test', 'bad@l.test')] == ['250 2.1.5', '550 5.1.1']
        hop.close()
        want = ['250 2.1.5 recipient ok'] + 2 * ['450 4.4.1 the recipient cannot be verified now: the next hop cannot be reached']
        assert rcpt(g, 'u@l.test', 'bad@l.test', 'new@l.test') == want
        assert g.metrics('smar')['probes_stale_total'] == 1
        assert re.search(r'taken|stale', g.ctl('probe', 'list', 'u@l.test').stdout)
        assert re.search(rf'lmtp {re.escape(str(d))}/s 0\n', g.ctl('probe', 'hops').stdout)
        assert len(re.findall('smar.probe', g.log())) == 1, 'said once, not for each'
    shutil.rmtree(d)


def test_unknown_accept(inst):
    with gateway(inst, f'l.test lmtp:[127.0.0.1]:{lab.free_port()}\n', ALL + 'unknown = accept;') as g:
        assert rcpt(g, 'u@l.test').startswith('250')
        assert 'the next hop cannot say: accepted' in g.ctl('explain', '--ip', '192.0.2.7', '--from', 'a@b.test', '--to', 'u@l.test').stdout


def test_slow_hops_do_not_keep_others_and_are_remembered(inst):
    """A hop that answers after its client's time: 450, and at the next try the answer is there."""
    release = threading.Event()

    def answer(verb, arg, ses):
        if verb == 'RCPT' and 'slow' in arg:
            release.wait(20)
            return '550 5.1.1 no' if 'bad' in arg else None
    with lab.Sink(lmtp=True, answer=answer) as sink, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\n', ALL + 'wait = 500ms;') as g:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            slow = [pool.submit(rcpt, g, t) for t in ('slow@l.test', 'slow@l.test', 'slowbad@l.test')]
            assert rcpt(g, 'quick@l.test').startswith('250')
            assert not release.is_set()
            for f in slow:
                assert f.result() == '450 4.4.1 the recipient cannot be verified now: the next hop has not answered yet'
        assert sorted(asked(sink)) == ['TO:<quick@l.test>', 'TO:<slow@l.test>', 'TO:<slowbad@l.test>']
        release.set()
        lab.wait_for('the answers', lambda: g.metrics('smar')['probes_now'] == 0)
        assert [r[:3] for r in rcpt(g, 'slow@l.test', 'slowbad@l.test')] == ['250', '550']
        assert len(asked(sink)) == 3
        m = g.metrics('smar')
        assert (m['probes_joined_total'], m['probes_late_total'], m['probe_cached_yes'], m['probe_cached_no']) == (1, 3, 2, 1)


# ---- a burst ----

def test_a_burst_uses_few_connections(inst):
    live, most, lock = set(), [0], threading.Lock()

    def answer(verb, arg, ses):
        with lock:
            if verb == 'MAIL':
                live.add(id(ses))
                most[0] = max(most[0], len(live))
            if verb in ('QUIT', 'RSET'):
                live.discard(id(ses))
        return '550 5.1.1 no' if verb == 'RCPT' and 'bad' in arg else None
    with lab.Sink(lmtp=True, answer=answer) as sink, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\n', ALL + 'max_connections = 3; max_probes_per_connection = 50;') as g:
        names = [f'{"bad" if i % 3 == 0 else "ok"}{i}@l.test' for i in range(200)]
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            got = list(pool.map(lambda i: rcpt(g, *names[i * 10:i * 10 + 10], *names[:5]), range(20)))
        for i, replies in enumerate(got):
            for name, reply in zip(names[i * 10:i * 10 + 10] + names[:5], replies):
                assert reply[:3] == ('550' if 'bad' in name else '250'), (name, reply)
        assert len(asked(sink)) == 200, 'each once'
        # one that has said goodbye is replaced, perhaps before its QUIT was read here
        assert most[0] <= 2 * 3 and 4 <= sink.connections <= 12, (most, sink.connections)


def test_lines_and_times_have_bounds(inst):
    """One connection that says nothing: two may wait for it, the others hear so at once; all end in IO_timeout."""
    with lab.Sink(lmtp=True, answer=lambda v, a, s: 'silence' if v == 'RCPT' else None) as sink, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\n', ALL + 'max_connections = 1; max_waiting = 2; IO_timeout = 3s;') as g:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            got = sorted(r.partition('now: ')[2] for r in pool.map(lambda i: rcpt(g, f'u{i}@l.test'), range(6)))
        assert got.count('too many probes wait for the next hop') == 3, got
        assert all(re.match('the next hop (did not answer in time|broke off)', r) for r in got[:3]), got


def test_a_hop_that_does_not_take_connections(inst):
    """Its line of connections is full, so that a connection hangs: connect_timeout."""
    with socket.create_server(('127.0.0.1', 0), backlog=0) as full, contextlib.ExitStack() as held:
        port = full.getsockname()[1]
        for _ in range(8):
            s = held.enter_context(socket.socket())
            s.setblocking(False)
            s.connect_ex(('127.0.0.1', port))
        with gateway(inst, f'l.test lmtp:[127.0.0.1]:{port}\n', ALL + 'connect_timeout = 500ms;') as g:
            assert rcpt(g, 'u@l.test') == '450 4.4.1 the recipient cannot be verified now: the next hop cannot be reached'


def test_what_is_kept_has_a_bound_and_a_time(inst):
    d = lab.tempdir('probe')
    hop = lab.Sink(lmtp=True, path=d / 's', answer=lambda v, a, s: '550 5.1.1 no' if v == 'RCPT' and 'bad' in a else None)
    with gateway(inst, f'l.test lmtp:{d}/s\n', ALL + 'max_entries = 16; positive_ttl = 0; positive_stale = 0; idle_timeout = 0; unknown = tempfail;') as g:
        assert {r[:3] for r in rcpt(g, 'u@l.test', *[f'bad{i}@l.test' for i in range(20)])} == {'250', '550'}
        assert g.metrics('smar')['probe_cached_no'] == 16
        hop.close()
        assert rcpt(g, 'u@l.test').startswith('450 4.4.1'), 'nobody is known for longer than positive_stale'
    shutil.rmtree(d)


# ---- which are asked ----

@pytest.mark.parametrize('options, probed', [
    ('routes = lmtp;', {'u@l.test'}),
    ('routes = mailertable;', {'u@l.test', 'u@far.test'}),
    ('domains = far.test;', {'u@far.test'}),
    ('domains = { smart.test };', {'u@smart.test'}),
    ('routes = { lmtp, mailertable }; conf { name = pr; }', {'u@far.test', 'u@other.test', 'u@smart.test'}),
])
def test_which_are_asked(inst, options, probed):
    everybody = ['u@l.test', 'u@far.test', 'u@other.test', 'u@smart.test']
    with lab.Sink(lmtp=True) as lmtp, lab.Sink() as smtp, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{lmtp.port}\nfar.test [127.0.0.1]:{smtp.port}\n. [127.0.0.1]:{smtp.port}\n', options,
                    files={'pr': 'l.test no\nother.test yes\nsmart.test accept\n', 'al': 'team u@l.test, v@far.test\n'},
                    smar='map pr { type = text; file = "pr"; } map al { type = text; file = "al"; } '
                         'aliases { name = al; flags = { localpart, local_domains }; }') as g:
        assert {r[:3] for r in rcpt(g, *everybody, 'team@l.test', 'postmaster@l.test', 'postmaster')} == {'250'}
        assert {a[4:-1] for a in asked(lmtp) + asked(smtp)} == probed


def test_a_map_says_what_happens_when_it_cannot_say(inst):
    dead = lab.free_port()
    with gateway(inst, f'. [127.0.0.1]:{dead}\n', 'conf { name = pr; }', files={'pr': 'far.test accept\nother.test tempfail\nsmart.test nonsense\n'},
                 smar='map pr { type = text; file = "pr"; }') as g:
        assert [r[:3] for r in rcpt(g, 'u@far.test', 'u@other.test', 'u@smart.test')] == ['250', '450', '450']
        g.wait_log(r'smar\.probe .*expected no, yes, accept or tempfail')


def test_sender_and_utf8(inst):
    with lab.Sink(lmtp=True) as ascii_only, lab.Sink(lmtp=True, ehlo=('PIPELINING', '8BITMIME', 'SMTPUTF8')) as wide, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{ascii_only.port}\nw.test lmtp:[127.0.0.1]:{wide.port}\n',
                    ALL + 'sender = prober@gw.test;') as g:
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<a@client.test> SMTPUTF8', 250)
            c.send('RCPT TO:<ü@l.test>\r\n'.encode())
            assert c.reply().startswith('550 5.6.7')
            c.send('RCPT TO:<ü@w.test>\r\n'.encode())
            assert c.reply().startswith('250')
        assert [a for v, a in wide.commands if v == 'MAIL'] == ['FROM:<prober@gw.test> SMTPUTF8']
        assert asked(ascii_only) == []


# ---- admins ----

def test_list_flush_reload(inst):
    bad = ['550 5.1.1 no']
    with lab.Sink(lmtp=True, answer=lambda v, a, s: bad[0] if v == 'RCPT' and 'bad' in a else None) as sink, \
            gateway(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\nm.test lmtp:[127.0.0.1]:{sink.port}\n') as g:
        names = ['u@l.test', 'bad@l.test', 'bad@m.test', 'bad2@l.test']

        def ask():
            return [r[:3] for r in rcpt(g, *names)]
        assert ask() == ['250', '550', '550', '550'] == ask()
        entries = json.loads(g.ctl('probe', 'list', '--json').stdout)['entries']
        assert [(e['recipient'], e['state'], e['dsn'], e['text']) for e in entries] == [
            ('bad@l.test', 'refused', '5.1.1', 'no'), ('bad@m.test', 'refused', '5.1.1', 'no'), ('bad2@l.test', 'refused', '5.1.1', 'no'),
            ('u@l.test', 'taken', '2.1.5', 'ok')]
        assert set(entries[0]) == {'recipient', 'state', 'dsn', 'text', 'since', 'until'}  # as in doc/control-api.md
        assert re.search(r'^state +since +until +recipient +code +the next hop said\nrefused .* bad@m\.test +5\.1\.1 +no\n$',
                         g.ctl('probe', 'list', '@M.test').stdout)
        bad[0] = None  # the mailboxes were made
        assert ask() == ['250', '550', '550', '550']
        assert g.ctl('probe', 'flush', 'bad@l.test').stdout == '1 answers forgotten\n'
        assert ask() == ['250', '250', '550', '550']
        assert g.ctl('probe', 'flush', '@m.test').stdout == '1 answers forgotten\n'
        assert ask() == ['250', '250', '250', '550']
        # a map that changed may have led to the wrong hop: refusals are asked again, the others are kept
        before = len(asked(sink))
        (g.dir / 'mt').write_text((g.dir / 'mt').read_text() + '# changed\n')
        lab.wait_for('the new version', lambda: ask() == ['250', '250', '250', '250'])
        assert len(asked(sink)) == before + 1
        # so may a configuration; what is known outlives it, with the new times
        g.conf.write_text(g.conf.read_text().replace('mailertable };', 'mailertable }; positive_ttl = 1ms;'))
        g.proc.send_signal(signal.SIGHUP)
        lab.wait_for('the new configuration', lambda: ask() and len(asked(sink)) > before + 2)
        assert g.ctl('probe', 'flush').stdout == '4 answers forgotten\n'
        status, body = g.http('smar', 'GET', '/v1/probe-hops')
        assert status == 200 and json.loads(body)['hops'][0]['hop'] == f'lmtp 127.0.0.1 {sink.port}'


def test_no_section_no_probe(inst):
    with lab.Sink(lmtp=True) as sink, lab.relay_all(inst, 0, mt=f'l.test lmtp:[127.0.0.1]:{sink.port}\n') as g:
        assert rcpt(g, 'u@l.test').startswith('250') and asked(sink) == []
        p = g.ctl('probe', 'list', check=False)
        assert p.returncode == 1 and 'no recipient_probe section' in p.stderr


@pytest.mark.parametrize('options, want', [
    ('', 'nobody would be probed'),
    ('routes = lmtp; positive_stale = 1m;', 'positive_stale (60 s) is shorter than positive_ttl'),
    ('routes = lmtp; sender = "a b@c.test";', 'expected an address without <>'),
    ('routes = smtp;', 'routes'),
    ('conf { name = none; }', 'none'),
])
def test_mistakes(inst, options, want):
    g = gateway(inst, 'l.test lmtp:\n', options)
    p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, timeout=30, env=g.environ())
    shutil.rmtree(g.dir)
    assert p.returncode == 78 and want in p.stdout + p.stderr, p


# ---- real ones ----

def test_cyrus(inst):
    """A mailbox that is not there is refused at RCPT; what is taken is delivered."""
    assert os.geteuid() == 0, 'Cyrus is started by root'
    with stores.Cyrus() as cy, lab.Sink() as back, \
            gateway(inst, f'local.test lmtp:{cy.dir}/socket/lmtp\nback.test [127.0.0.1]:{back.port}\n') as g:
        got = rcpt(g, 'alice@local.test', 'nobody@local.test', 'alice+box@local.test', 'nobody@local.test')
        assert [r[:9] for r in got] == ['250 2.1.5', '550 5.1.1', '250 2.1.5', '550 5.1.1'], got
        assert re.match(r'550 5\.1\.1 the next hop says: .*User unknown', got[1]), got
        with g.client() as c:
            assert c.mail('a@back.test', 'alice@local.test', BODY).startswith('250')
        g.queue_empty()
        assert not back.mails and len(list((cy.dir / 'spool').rglob('1.'))) == 1
        assert g.metrics('smar')['probes_no_total'] == 1


def test_dovecot(inst):
    with stores.Dovecot() as d, gateway(inst, f'local.test lmtp:{d.dir}/run/lmtp\n') as g:
        assert [r[:9] for r in rcpt(g, 'alice@local.test', 'nobody@local.test')] == ['250 2.1.5', '550 5.1.1']


def test_postfix(inst):
    """Behind a Postfix that knows its users."""
    with lab.Postfix(lab.free_port(), 'smtpd_recipient_restrictions = check_recipient_access inline:{'
                     '{ bob@far.test = OK }, { full@far.test = 450 4.2.2 full }, { far.test = REJECT 5.1.1 unknown in table }}\n') as pf, \
            gateway(inst, f'far.test [127.0.0.1]:{pf.port}\n') as g:
        got = rcpt(g, 'bob@far.test', 'alice@far.test', 'full@far.test')
        assert got[0].startswith('250') and re.match('550 5.1.1 the next hop says: .*alice@far.test', got[1]), got
        assert re.match('450 4.2.2 the recipient cannot be verified now: .*full', got[2]), got
