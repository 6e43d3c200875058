# SPDX-License-Identifier: BSD-2-Clause
"""Filters made with libpmilter, and the module headers, end to end: what they hear at each stage, what their verdicts and edits do
to sessions and mail, and what becomes of mail when they come and go. The filter is tests/system/pmfilter, which does what
fields X-Do of a message say.

Behaviour 39: an inet socket (test_a_filter_that_is_restarted) or a unix one (the others); its stages and the raw content, macros as
asked for, taid from MAIL on, msgid at the dot (test_stages_and_macros); those of TLS after STARTTLS (test_macros_of_tls); its own
replies (test_replies), fields (test_edits_of_the_header), recipients (test_edits_of_the_envelope), a new message
(test_the_message_is_replaced). Behaviour 40: test_a_silent_filter, and test_filters_fail.py at each stage."""
import contextlib, itertools, os, re, shutil, socket, subprocess, threading

import certs, lab, pytest

FULL = os.environ.get('META1_FULL') == '1'
BODY = 'Subject: t\r\nMessage-Id: <m1@client.test>\r\n'
MAIL_STEPS = ('MAIL FROM:<a@client.test>', 'RCPT TO:<b@far.test>', 'DATA', BODY + '\r\nx\r\n.')


numbers = itertools.count()


class Filter:
    """A process that listens at a unix socket, or at a port of loopback; lines() are what it heard."""

    def __init__(self, program, *args, port=None):
        self.program, self.args, self.port = program, args, port
        self.dir = lab.tempdir('pmf')
        self.sock, self.log, self.proc = self.dir / 'sock', self.dir / 'log', None

    def __enter__(self):
        return self.start()

    def start(self):
        where = f'inet:{self.port}@127.0.0.1' if self.port else f'unix:{self.sock}'
        args = [a.replace('@sock', where).replace('@log', str(self.log)) for a in self.args]
        self.proc = subprocess.Popen([self.program, *args], stdin=subprocess.DEVNULL, stderr=open(self.dir / 'err', 'ab'),
                                     env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=1'})
        lab.wait_for('the filter to listen', lambda: self.proc.poll() is None and self.answers())
        return self

    def answers(self):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET if self.port else socket.AF_UNIX) as s:
            s.connect(('127.0.0.1', self.port) if self.port else str(self.sock))
            if not self.port:
                os.chmod(self.sock, 0o666)
            return True

    def end(self, kill=False):
        if self.proc.poll() is None:
            self.proc.kill() if kill else self.proc.terminate()
        return self.proc.wait(20)

    def __exit__(self, kind, value, tb):
        try:
            rc = self.end()
            err = (self.dir / 'err').read_text()
            assert 'Sanitizer' not in err and 'runtime error' not in err, err
            assert kind or rc in (0, -9), (rc, err)
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def lines(self, pattern=''):
        text = self.log.read_text(errors='replace') if self.log.exists() else ''
        return [l for l in text.splitlines() if re.search(pattern, l)]

    def heard(self, pattern):
        return lab.wait_for(f'the filter to hear {pattern}', lambda: self.lines(pattern))


def pmfilter(*more, port=None):
    lab.make('tests/system/pmfilter')
    return Filter(lab.BUILD / 'tests/system/pmfilter', '@sock', '@log', *more, port=port)


def with_filter(f, options=''):
    where = f'type = inet; address = 127.0.0.1; port = {f.port};' if f.port else f'type = unix; path = "{f.sock}";'
    return f'policy_milter {{ socket {{ {where} }} {options} }} '


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a:
        a.host, a.ann = a.issue('gw', host='gw.test'), a.issue('ann')
        yield a


@pytest.fixture(scope='module')
def gw(inst, ca):
    tls = f'tls {{ cert_file = "{ca.host[0]}"; key_file = "{ca.host[1]}"; CAcert_file = "{ca.ca}"; CAcert_directory = "{ca.dir}"; }} '
    with lab.Sink() as sink, pmfilter() as f, lab.relay_all(inst, sink.port, smtps=tls + with_filter(f)) as g:
        g.sink, g.filter = sink, f
        yield g


def send(g, do=(), rcpts='b@far.test', body='hello\r\n', sender='a@client.test', head=BODY):
    """A mail with commands for the filter; the reply to its dot."""
    with g.client() as c:
        return c.mail(sender, rcpts, head + ''.join(f'X-Do: {x}\r\n' for x in do) + '\r\n' + body)


def sent(g, do=(), head=BODY, **kw):
    """The same, taken; what the next hop got of it."""
    mark = f'Comments: number {next(numbers)}\r\n'
    reply = send(g, do, head=head + mark, **kw)
    assert reply.startswith('250'), reply
    found = lambda: [m for m in list(g.sink.mails) if mark.encode() in m['body']]
    return lab.wait_for('it at the sink', found)[0]


def words(line):
    return dict(w.split('=', 1) for w in line.split(' ') if '=' in w)


def test_stages_and_macros(gw):
    """Each stage once, in order; macros as they were asked for: three at HELO and MAIL, all at the dot."""
    with gw.client() as c:
        c.cmd('EHLO first.client.test', 250)
        c.cmd('MAIL FROM:<a@client.test> SIZE=100', 250)
        c.cmd('RCPT TO:<b@far.test>', 250)
        c.cmd('DATA', 354)
        c.send(f'Received: from x by y; now\r\n{BODY}\r\n..dot\r\n.\r\n')
        reply = c.reply(250)
        taid = re.search('accepted as (S[0-9A-F]+)', reply)[1]
        c.cmd('XYZZY 1', 5)
    serial = gw.filter.heard('helo first.client.test')[0].split(' ')[0]
    gw.filter.heard(f'{serial} close')
    lines = [l.split(' ', 1)[1] for l in gw.filter.lines(serial)]
    assert [l.split(' ')[0] for l in lines] == ['connect', 'helo', 'mail', 'rcpt', 'data', 'eom', 'unknown', 'close'], lines
    assert '127.0.0.1 family=2' in lines[0]
    assert lines[1].split(' ') == ['helo', 'first.client.test']
    assert lines[2].startswith('mail <a@client.test> SIZE=100') and words(lines[2]) == {'SIZE': '100', 'taid': taid}
    assert lines[3].startswith('rcpt <b@far.test>') and lines[4].startswith('data good=1 bad=0')
    at_dot = words(lines[5])
    assert at_dot['taid'] == taid and at_dot['msgid'] == '<m1@client.test>' and at_dot['hostname'] == 'gw.test'
    assert at_dot['c'] == '1' and at_dot['local_port'] == str(gw.port) and not [k for k in at_dot if k.startswith(('tls_', 'auth_'))]
    # plain form, without our own Received
    assert int(at_dot['bytes']) == len(f'Received: from x by y; now\r\n{BODY}\r\n.dot\r\n')
    assert lines[6].startswith('unknown XYZZY 1')


def test_a_filter_with_a_word_at_the_end_only(inst, sink):
    """It is told each stage, nobody waits for it, and what it says of a recipient holds for the mail."""
    with pmfilter('0', 'quiet') as f, lab.relay_all(inst, sink.port, smtps=with_filter(f)) as g, g.client() as c:
        c.cmd('EHLO quiet.test', 250)
        for to, code in (('b@far.test', 250), ('code-552@far.test', 552), ('b@far.test', 250)):
            for line, reply in (('MAIL FROM:<a@client.test>', 250), (f'RCPT TO:<{to}>', 250), ('DATA', 354), (BODY + '\r\nx\r\n.', code)):
                said = c.cmd(line, reply)
            assert code == 250 or 'first line' in said
        serial = f.heard('helo quiet.test')[0].split(' ')[0]
        c.cmd('MAIL FROM:<a@client.test>', 250)
        c.cmd('RSET', 250)
        f.heard(f'{serial} abort')
        heard = [l.split(' ')[1] for l in f.lines(serial)]
    a_mail = ['mail', 'rcpt', 'data']
    assert heard == ['connect', 'helo', *a_mail, 'eom', *a_mail, *a_mail, 'eom', 'mail', 'abort'], heard


def test_mails_share_a_sync(inst, sink):
    """The store knows of a mail whose content a filter is still to hear: that and one whose dot came are one batch, one sync, as
    without a filter. The first waits for the second (commit_delay is long here, the second never longer)."""
    with pmfilter() as f, lab.relay_all(inst, sink.port, smtps=with_filter(f), qmgr='queue { commit_delay = 1s; }') as g, g.client() as a, g.client() as b:
        for c in (a, b):
            c.cmd('EHLO two.test', 250)
            for line, code in zip(MAIL_STEPS, (250, 250, 354)):
                c.cmd(line, code)
        for c in (a, b):
            c.send(MAIL_STEPS[3] + '\r\n')
            f.heard('eom')
        for c in (a, b):
            c.reply(250)
        had = g.metrics('smtps')
        assert (had['module_batches_total'], had['module_messages_total']) == (1, 2)


def test_macros_of_tls(gw, ca):
    """None before STARTTLS, all after it; HELO is heard again."""
    with gw.client() as c:
        c.cmd('EHLO plain.client.test', 250)
        c.cmd('MAIL FROM:<before@client.test>', 250)
        c.cmd('RSET', 250)
        certs.starttls(c, ca.context(ca.ann))
        assert c.mail('after@client.test', 'b@far.test', BODY + '\r\nx\r\n', ehlo='tls.client.test').startswith('250')
    assert not [k for k in words(gw.filter.heard('mail <before@')[0]) if k.startswith('tls')]
    assert words(gw.filter.heard('mail <after@')[0])['tls_version'].startswith('TLSv1.')
    serial = gw.filter.heard('helo tls.client.test')[0].split(' ')[0]
    at_dot = words(gw.filter.heard(f'{serial} eom')[0])
    assert at_dot['tls_vrfy'] == 'OK' and at_dot['tls_cn_subject'] == 'ann' and at_dot['tls_cn_issuer'] == 'ca'
    assert at_dot['tls_cert_subject'].endswith('/CN=ann') and int(at_dot['tls_cipher_bits']) == int(at_dot['tls_alg_bits']) >= 128
    assert 'tls_cipher_suite' in at_dot


def test_replies(gw):
    """Its own codes and lines, for one recipient, a sender, a name, at the dot; 421 ends the session."""
    with gw.client() as c:
        assert c.cmd('EHLO code-554.test').startswith('554')
        c.cmd('EHLO client.test', 250)
        assert c.cmd('MAIL FROM:<code-451@x.test>') == '451-4.7.9 first line\n451 4.7.9 second line'
        c.cmd('MAIL FROM:<a@client.test>', 250)
        assert c.cmd('RCPT TO:<code-553@far.test>') == '553-5.7.9 first line\n553 5.7.9 second line'
        c.cmd('RCPT TO:<c@far.test>', 250)
        c.cmd('DATA', 354)
        # what it would have edited does not matter
        c.send(BODY + 'X-Do: append x\r\nX-Do: rcpt-add c@far.test\r\nX-Do: hold x\r\nX-Do: code code-599\r\n\r\nx\r\n.\r\n')
        assert c.reply() == '599-5.7.9 first line\n599 5.7.9 second line'
        c.cmd('MAIL FROM:<a@client.test>', 250)
        assert c.cmd('RCPT TO:<code-421@far.test>').startswith('421')
        assert c.closed()
    assert not [m for m in gw.sink.mails if 'c@far.test' in m['rcpts']]


def test_edits_of_the_header(gw):
    m = sent(gw, ['append last one', 'insert 0 first', 'change 2 new', 'remove 1', 'append evil\x01\x7fx'],
             head=BODY + 'X-Old: 1\r\nx-old: 2\r\nX-Old: 3\r\n')
    head = m['body'].split(b'\r\n\r\n')[0].decode('latin-1').split('\r\n')
    ours = [l for l in head if l.lower().startswith(('x-i', 'x-old', 'x-a', 'subject'))]
    assert ours[:2] == ['X-Insert: first', 'Subject: t'] and len(ours) == 6, ours
    assert [l for l in ours if l.lower().startswith('x-old')] == ['X-Old: new', 'X-Old: 3']
    assert ours[4] == 'X-Append: last one' and ours[5].startswith('X-Append: evil'), ours


def test_edits_of_the_envelope(gw):
    gw.queue_empty()
    n = len(gw.sink.mails)
    assert send(gw, ['rcpt-add new@far.test', 'rcpt-del b@far.test', 'sender other@client.test'],
                rcpts=['b@far.test', 'c@far.test']).startswith('250')
    gw.queue_empty()
    got = gw.sink.mails[n:]
    assert sorted(r for m in got for r in m['rcpts']) == ['c@far.test', 'new@far.test']
    assert {m['from'] for m in got} == {'other@client.test'}


@pytest.mark.parametrize('size', [100, 1_000_000])
def test_the_message_is_replaced(gw, size):
    """Large ones by a file; dots and lines come through as they are."""
    line = '.abc def ' * 8 + '\r\n'
    m = sent(gw, ['replace'], body=(line * (size // len(line) + 1)).replace('\r\n.', '\r\n..').replace('.abc', '..abc', 1))
    head, _, body = m['body'].partition(b'\r\n\r\n')
    assert b'\r\nX-Do: replace' in head and body.count(b'.ABC DEF ') == 8 * (size // len(line) + 1) and b'a' not in body
    gw.filter.heard('replaced status=0')


def test_discard_and_note(gw):
    gw.queue_empty()
    n = len(gw.sink.mails)
    assert send(gw, ['discard', 'note found it']).startswith('250')
    assert send(gw, ['note seen=1']).startswith('250')
    gw.queue_empty()
    assert len(gw.sink.mails) == n + 1
    gw.wait_log('found it')


def test_a_mail_is_held(gw):
    """With the filter's reason, until an admin releases it; what it edited is in it."""
    reply = send(gw, ['hold looks odd', 'append kept', 'rcpt-add held@far.test'])
    taid = re.search('accepted as (S[0-9A-F]+)', reply)[1]
    m = lab.wait_for('it in the queue', lambda: [m for m in gw.queue() if m['id'] == taid])[0]
    assert {r['state'] for r in m['recipients']} == {'held'} and 'looks odd' in str(m), m
    gw.ctl('queue', 'release', taid)
    gw.settled(reply)
    got = [x for x in gw.sink.mails if b'X-Append: kept' in x['body']]
    assert sorted(r for x in got for r in x['rcpts']) == ['b@far.test', 'held@far.test']


def test_abort_is_heard(gw):
    for how in ('RSET', 'QUIT'):
        with gw.client() as c:
            c.cmd(f'EHLO abort-{how}.test', 250)
            c.cmd('MAIL FROM:<a@client.test>', 250)
            c.cmd(how, 2)
        serial = gw.filter.heard(f'helo abort-{how}.test')[0].split(' ')[0]
        gw.filter.heard(f'{serial} close')
        assert len(gw.filter.lines(f'{serial} abort')) == 1


def test_a_filter_that_is_restarted(inst, sink):
    """Ended or killed, in the middle of a mail: while it is away mail waits at the client (tempfail); then it is asked again, by
    sessions that come new, and by one that had no mail meanwhile: it hears anew who that is."""
    with pmfilter('4', port=lab.free_port()) as f, lab.relay_all(inst, sink.port, smtps=with_filter(f)) as g:
        g.sink, idle = sink, g.client()
        idle.cmd('EHLO idle.test', 250)
        for kill in (False, True):
            old = g.client()
            old.cmd('EHLO client.test', 250)
            old.cmd('MAIL FROM:<a@client.test>', 250)
            assert f.end(kill) == (-9 if kill else 0)
            assert old.cmd('RCPT TO:<b@far.test>')[:1] == '4'
            old.s.close()
            assert not g.takes_mail()
            f.start()
            lab.wait_for('mail to be taken again', g.takes_mail)
            sent(g)
            assert idle.mail('a@client.test', 'b@far.test', BODY + '\r\nx\r\n', ehlo=None).startswith('250')
        assert len(f.heard('helo idle.test')) == 3
        assert g.log().count('there again') == 2


@pytest.fixture(scope='module')
def failing(inst):
    """One filter under three names, by sender: each fails in a way of its own."""
    with lab.Sink() as sink, pmfilter() as f:
        one = f'socket {{ type = unix; path = "{f.sock}"; }} end_timeout = 1s;'
        chain = 'policy_milter { module = mux; ' + ''.join(
            f'filter {x} {{ {one} failure = {x}; senders = {{ {x}.test }}; }} ' for x in ('tempfail', 'abort', 'accept')) + '} '
        with lab.relay_all(inst, sink.port, smtps=chain) as g:
            g.sink, g.filter = sink, f
            yield g


@pytest.mark.parametrize('how', ['tempfail', 'accept'])
def test_a_filter_that_dies_at_the_dot(failing, how):
    """Nothing is taken of that mail, or it is as it came: half of its edits were sent."""
    g = failing
    sender = f'a@{how}.test'
    if how == 'tempfail':
        assert send(g, ['append x', 'die'], sender=sender).startswith('4')
    else:
        assert b'X-Append' not in sent(g, ['append x', 'die'], sender=sender)['body']
    g.filter.proc.wait(20)
    g.filter.start()
    lab.wait_for('the filter to be asked', lambda: b'X-Append: y' in sent(g, ['append y'], sender='a@accept.test')['body'])


@pytest.mark.parametrize('how', ['abort', 'accept'])
def test_a_silent_filter(failing, how):
    """Behaviour 40: abort says 421 and closes; accept_but_reconnect delivers, and the next session talks to it again."""
    g = failing
    with g.client() as c:
        reply = c.mail(f'a@{how}.test', 'b@far.test', BODY + 'X-Do: later\r\n\r\nx\r\n')
        assert reply.startswith('421' if how == 'abort' else '250')
        assert how != 'abort' or c.closed()
    assert b'X-Append: z' in sent(g, ['append z'], sender=f'a@{how}.test')['body']


@pytest.mark.parametrize('n', [1000 if FULL else 40])
def test_many_sessions_on_one_connection(inst, sink, n):
    """All of them open at a time, each with a mail; the filter has one connection of the one smtps."""
    with pmfilter() as f, lab.relay_all(inst, sink.port, smtps=with_filter(f) + 'max_sessions = 1100; client_limits { '
                                        'exempt = 127.0.0.1; } ') as g:
        clients = [g.client(greet=False) for _ in range(n)]
        for some, steps in ((clients, ('', 'EHLO client.test')), *((clients[i:i + 500], MAIL_STEPS) for i in range(0, n, 500))):
            for step in steps:  # the queue lets in so many mails at a time
                for c in some:
                    c.send(step + '\r\n' if step else b'')
                for c in some:
                    assert c.reply()[:1] in '23'
        pid = f.proc.pid
        fds = [os.readlink(f'/proc/{pid}/fd/{x}') for x in os.listdir(f'/proc/{pid}/fd')]
        assert sum(x.startswith('socket:') for x in fds) - 2 <= 1 + 2, fds  # the listener, and what the loop has
        for c in clients:
            c.s.close()
        assert len(f.lines(' eom ')) == n
        g.queue_empty()


# ---- the module headers, and the examples, in one chain ----

RULES = r'''
reject   "no thanks"   header /^subject$/i /cheap pills/i
tempfail "not now"     connect /^nobody-of-that-name/
discard  ""            from   /^bounce@/
reject   "wrong house" to     /^nobody@/
reject   "a word"      body   /bad.word/
hold     "look at it"  helo   /^held[.]test$/
'''


def example(name, *args):
    lab.make(f'sdk/examples/filters/{name}')
    return Filter(lab.BUILD / f'sdk/examples/filters/{name}', *args)


def spamd(s, seen):
    """One that finds the word spam."""
    def serve(c):
        with c:
            data = b''
            while got := c.recv(65536):
                data += got
            seen.append(data)
            spam = b'spam' in data.partition(b'\r\n\r\n')[2]
            c.sendall(f'SPAMD/1.1 0 EX_OK\r\nContent-length: 9\r\nSpam: {spam} ; {9.5 if spam else 0.1} / 5.0\r\n\r\nONE,TWO\r\n'.encode())
    while True:
        try:
            c, _ = s.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(c,), daemon=True).start()


@pytest.fixture(scope='module')
def house(inst, tmp_path_factory):
    rules, seen = tmp_path_factory.mktemp('rules') / 'rules', []
    rules.write_text(RULES)
    with lab.Sink() as sink, socket.create_server(('127.0.0.1', lab.free_port())) as s, \
            example('filter-regex', '-c', str(rules), '-l', '@sock') as regex, \
            example('filter-spamd', '-l', '@sock', '-s', f'127.0.0.1:{s.getsockname()[1]}', '-r', '9', '-m', '5000') as asks:
        threading.Thread(target=spamd, args=(s, seen), daemon=True).start()
        chain = (f'policy_milter {{ module = mux; filter regex {{ socket {{ path = "{regex.sock}"; }} }} '
                 f'filter spamd {{ socket {{ path = "{asks.sock}"; }} recipients = {{ spamd.test }}; }} '
                 'filter outside { module = headers; phase = modify; sender_file = "masq"; senders = { .inner.example }; '
                 'recipient_file = "alias"; remove = { X-Internal-* }; prepend = { "X-Gateway: ${hostname} ${client}" }; } } ')
        with lab.relay_all(inst, sink.port, smtps=chain, files={
                'masq': '# who is seen outside\nann@host1.inner.example ann.lee@example.org\n.inner.example example.org\n',
                'alias': 'old@far.test new@far.test\n'}) as g:
            g.sink, g.spamd, g.seen, g.regex = sink, s, seen, regex
            yield g


def test_masquerade(house):
    """The example of meta1-filters(5): inner names do not leave the house, in either part of a mail."""
    m = sent(house, sender='ann@host1.inner.example', rcpts='old@far.test', head='From: Ann <ann@HOST1.inner.example>\r\n'
             'To: bob@h.inner.example,\r\n "old@far.test" <old@far.test>\r\nX-Internal-Id: 5\r\nSubject: s\r\n')
    head = m['body'].split(b'\r\n\r\n')[0].decode()
    assert (m['from'], m['rcpts']) == ('ann.lee@example.org', ['new@far.test'])
    assert 'From: Ann <ann.lee@example.org>\r\n' in head and 'X-Internal' not in head and 'X-Gateway: gw.test 127.0.0.1\r\n' in head
    assert 'To: bob@h.inner.example,\r\n "old@far.test" <new@far.test>\r\n' in head


def test_example_regex(house, tmp_path):
    g, rules = house, tmp_path / 'rules'
    assert send(g, head='Subject: Cheap\r\n PILLS\r\n').startswith('250')  # a folded field is matched by lines
    assert send(g, head='SUBJECT: cheap pills\r\n').startswith('554 5.7.1 no thanks')
    assert send(g, body='x\r\na bad-word\r\n' + 'y' * 100000 + '\r\n').startswith('554 5.7.1 a word')
    g.queue_empty()
    n = len(g.sink.mails)
    assert send(g, sender='bounce@x.test').startswith('250')
    assert g.verdict('nobody@far.test').startswith('554 5.7.1 wrong house')
    g.queue_empty()
    assert len(g.sink.mails) == n
    with g.client() as c:  # of all mails of that client
        for ehlo in ('held.test', None):
            assert c.mail('a@client.test', 'b@far.test', BODY + '\r\nhello\r\n', ehlo=ehlo).startswith('250')
    held = lab.wait_for('both to be held', lambda: (q := [m for m in g.queue() if 'look at it' in str(m)])[1:] and q)
    for m in held:
        g.ctl('queue', 'release', m['id'])
    g.queue_empty()
    for bad, why in (('reject x', 'expected "text of the reply"'), ('reject "" body /(/', 'rules:1: '), ('foo', 'expected reject')):
        rules.write_text(bad + '\n')
        p = subprocess.run([g.regex.program, '-n', '-c', rules], capture_output=True, text=True)
        assert p.returncode == 78 and why in p.stderr


def test_example_spamd(house):
    g, to = house, 'b@spamd.test'
    m = sent(g, head='Subject: ham\r\nX-Spam-Status: No, I am not\r\n', rcpts=to)
    assert m['body'].count(b'X-Spam-Status:') == 1 and b'X-Spam-Status: No, score=0.1 required=5.0 tests=ONE,TWO' in m['body']
    assert b'\r\n\r\nSubject: ham\r\n' in g.seen[0] and g.seen[0].startswith(b'SYMBOLS SPAMC/1.2\r\nContent-length: ')
    assert send(g, body='all spam\r\n', rcpts=to).startswith('554 5.7.1 this looks like spam')
    n = len(g.seen)
    assert send(g, body='spam ' * 2000 + '\r\n', rcpts=to).startswith('250')  # too large to be asked about
    assert len(g.seen) == n
    g.spamd.shutdown(socket.SHUT_RDWR)
    g.spamd.close()
    assert send(g, rcpts=to).startswith('451 4.7.1 the spam filter cannot be asked')


def test_a_file_that_is_wrong(inst):
    g = lab.Gateway(inst, smtps='policy_milter { module = headers; sender_file = "masq"; } ', files={'masq': 'a b\nonly\n'})
    try:
        g.start(ready=False)
        g.wait_log('masq:2: expected what it becomes: an address or a domain')
    finally:
        g.close()


def test_installed_for_authors(inst, tmp_path):
    """The installed library and headers alone make the examples, also under MeTA1's names of the header."""
    share = inst / lab.PREFIX.lstrip('/') / 'share/meta1/filters'
    for p in share.iterdir():
        shutil.copy(p, tmp_path)
    for name in ('pmfapi', 'pmfdef', 'pmilter', 'hdrmoddef', 'smreplycodes'):
        with open(tmp_path / 'filter-regex.c', 'a') as o:
            o.write(f'#include <sm/{name}.h>\n')
    env = {**os.environ, 'PKG_CONFIG_PATH': f'{inst}{lab.PREFIX}/lib/pkgconfig', 'PKG_CONFIG_SYSROOT_DIR': str(inst)}
    made = subprocess.run(['make', '-C', tmp_path], capture_output=True, text=True, env=env)
    assert made.returncode == 0 and not re.search(r'\.c:\d+.*warning', made.stderr), made.stdout + made.stderr
    lib = inst / lab.PREFIX.lstrip('/') / 'lib'
    assert (lib / 'libpmilter.so.1').exists() and (lib / 'libpmilter.a').exists()
    names = subprocess.run(['nm', '-D', '--defined-only', lib / 'libpmilter.so.1'], capture_output=True, text=True, check=True).stdout
    assert not [l for l in names.splitlines() if l.split()[1] in 'TDB' and not l.split()[2].startswith('sm_pmfi_')]
