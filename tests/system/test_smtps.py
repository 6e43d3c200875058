# SPDX-License-Identifier: BSD-2-Clause
"""smtps from outside: bad input gets a clear reply, nothing of it is queued, counters say so."""
import json, os, socket

import lab, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'
SMAR = ('map ac { type = text; file = "ac"; } access { name = ac; } '
        'map mt { type = text; file = "mt"; } mailertable { name = mt; }')


def gateway(inst, sink, smtps='', **kw):
    return lab.Gateway(inst, smar=SMAR, smtps='flags = { 8bitmime, access }; ' + smtps,
                       files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}, **kw)


@pytest.fixture(scope='module')
def gw(inst):
    """One gateway for all tests that leave it as it was; small limits."""
    with lab.Sink() as sink, gateway(
            inst, sink, 'max_message_size = 100KB; max_rcpts_per_transaction = 5; max_bad_commands = 5; '
            'max_nop_commands = 10; max_hops = 3;',
            # freed memory is used again at once, so that growth can be seen under the sanitizer too
            env={'ASAN_OPTIONS': 'abort_on_error=1:detect_leaks=0:quarantine_size_mb=1'}) as g:
        g.sink = sink
        yield g


def envelope(c, rcpt='b@far.test'):
    c.cmd('EHLO c.test', 250)
    c.cmd('MAIL FROM:<a@client.test>', 250)
    c.cmd(f'RCPT TO:<{rcpt}>', 250)


def data(c, body):
    c.cmd('DATA', 354)
    c.send(body)
    return c.reply()


class Counted:
    """What a block of code did to a counter of smtps, and that it queued nothing."""

    def __init__(self, gw, name, by=1):
        self.gw, self.name, self.by = gw, name, by

    def __enter__(self):
        self.before = self.gw.metrics('smtps')
        return self

    def __exit__(self, kind, value, tb):
        if not kind:
            lab.wait_for(f'{self.name} + {self.by}', lambda: self.gw.metrics('smtps')[self.name] >=
                         self.before[self.name] + self.by)
            assert self.gw.metrics('smtps')['messages_accepted_total'] == self.before['messages_accepted_total']
            assert self.gw.queue() == []


def test_what_ehlo_offers(gw):
    with gw.client() as c:
        assert c.greeting.startswith('220 gw.test ESMTP meta1-')
        words = {l[4:] for l in c.cmd('EHLO c.test', 250).split('\n')[1:]}
        assert words == {'HELP', 'PIPELINING', 'SIZE 102400', 'CHUNKING', '8BITMIME', 'DSN', 'SMTPUTF8', 'LIMITS RCPTMAX=5 MAILMAX=100000',
                         'ENHANCEDSTATUSCODES'}
        assert 'MAIL' in c.cmd('HELP', 214)
        c.cmd('VRFY root', 252)
        c.cmd('QUIT', 221)
        assert c.closed()


def test_relays_for_nobody_else(inst, sink):
    with lab.Gateway(inst, smar='map mt { type = text; file = "mt"; } mailertable { name = mt; }',
                     files={'mt': f'. [127.0.0.1]:{sink.port}\n'}) as g, g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        assert c.cmd('RCPT TO:<b@far.test>').startswith('5')
        c.cmd('DATA', 554)


# ---- the end of a message ----

SMUGGLE = [b'\n.\n', b'\n.\r\n', b'\r.\r', b'\r\n.\n', b'\r\n.\r', b'\r.\r\n', b'\r\n\0.\r\n', b'\r\r\n.\n',
           b'\r\n.\r\r\n', b'\r\n.\0\r\n']


@pytest.mark.parametrize('form', SMUGGLE, ids=lambda f: repr(f)[2:-1].replace('\\', ''))
@pytest.mark.parametrize('piece', [0, 1])
def test_smuggling(gw, form, piece):
    """What a false end hides never runs as commands, however the bytes are cut."""
    evil = b'MAIL FROM:<evil@client.test>\r\nRCPT TO:<evil@far.test>\r\nDATA\r\nevil\r\n'
    before = len(gw.sink.mails)
    with gw.client() as c:
        envelope(c)
        c.cmd('DATA', 354)
        text = BODY + b'a' + form + evil + b'.\r\n'
        for i in range(0, len(text), piece or len(text)):
            c.send(text[i:i + (piece or len(text))])
        last = c.reply()
        c.cmd('NOOP', 250)  # one reply, and the session knows where it is
        bare = form.replace(b'\r\n', b'').strip(b'.\0') != b''
        if bare:
            assert last.startswith('550 5.6.11'), last
        else:
            assert last.startswith('250'), last
    if not bare:
        lab.wait_for('the mail', lambda: len(gw.sink.mails) > before)
        mail = gw.sink.mails[-1]
        assert mail['rcpts'] == ['b@far.test'] and b'MAIL FROM:<evil' in mail['body']
    gw.queue_empty()
    assert len(gw.sink.mails) == before + (not bare)


# ---- limits ----

def test_message_too_large(gw):
    with gw.client() as c, Counted(gw, 'refused_over_size_total'):
        c.cmd('EHLO c.test', 250)
        assert c.cmd('MAIL FROM:<a@b.test> SIZE=102401').startswith('552 5.3.4')
        c.cmd('MAIL FROM:<a@b.test> SIZE=5', 250)
        c.cmd('RCPT TO:<b@far.test>', 250)
        assert data(c, b'x' * 102399 + b'\r\n.\r\n').startswith('552 5.3.4')
        assert c.cmd('RCPT TO:<b@far.test>').startswith('503')
    with gw.client() as c:
        envelope(c)
        assert data(c, b'x' * 102398 + b'\r\n.\r\n').startswith('250')
    gw.queue_empty()


def test_too_many_recipients(gw):
    with gw.client() as c, Counted(gw, 'refused_too_many_rcpts_total'):
        envelope(c)
        for i in range(4):
            c.cmd(f'RCPT TO:<b{i}@far.test>', 250)
        assert c.cmd('RCPT TO:<b9@far.test>').startswith('452 4.5.3')
        c.cmd('RSET', 250)


def test_mail_loop(gw):
    with gw.client() as c, Counted(gw, 'refused_hops_total'):
        envelope(c)
        assert data(c, b'Received: x\r\n' * 4 + BODY + b'.\r\n').startswith('554 5.4.6')


def test_bad_commands(gw):
    with gw.client() as c, Counted(gw, 'bad_sessions_total'):
        for _ in range(4):
            assert c.cmd('FOO').startswith('500 5.5.1')
        assert c.cmd('STARTTLS').startswith('502 5.5.1')
        assert c.reply().startswith('421 4.7.0') and c.closed()
    with gw.client() as c, Counted(gw, 'bad_sessions_total'):
        for _ in range(10):
            c.cmd('NOOP', 250)
        assert c.cmd('NOOP').startswith('421 4.7.0') and c.closed()


def test_lines(gw):
    with gw.client() as c, Counted(gw, 'bad_commands_total', 3):
        c.cmd('NOOP ' + 'x' * 505, 250)
        assert c.cmd('NOOP ' + 'x' * 506).startswith('500 5.5.2')
        assert c.cmd('NOOP ' + 'x' * 5000).startswith('500 5.5.2')
        assert c.cmd('NOOP a\rb').startswith('500 5.5.2')
        c.cmd('NOOP', 250)
    with gw.client() as c, Counted(gw, 'bare_newline_commands_total'):
        c.send('NOOP\n')
        assert c.reply().startswith('500 5.5.2') and c.closed()


def flood(c, chunk, total):
    """Sends until the server closes; what it sent."""
    sent = 0
    try:
        while sent < total:
            c.s.sendall(chunk)
            sent += len(chunk)
    except OSError:
        pass
    return sent


def test_endless_line_and_endless_content(gw):
    pid = gw.pids()['smtps']
    before = lab.rss(pid)
    chunk = b'x' * 65536
    with gw.client() as c, Counted(gw, 'long_lines_total'):
        assert flood(c, chunk, 256 << 20) < 256 << 20
    with gw.client() as c, Counted(gw, 'endless_data_total'):
        envelope(c)
        c.cmd('DATA', 354)
        assert flood(c, chunk, 256 << 20) < 256 << 20
    assert lab.rss(pid) < before + 32768


def test_client_goes_away_in_the_content(gw):
    with Counted(gw, 'unfinished_messages_total'), gw.client() as c:
        envelope(c)
        c.cmd('DATA', 354)
        c.send(BODY + b'.\r')


def test_sessions_are_shown(gw):
    with gw.client() as c:
        envelope(c)
        status, text = gw.http('smtps', 'GET', '/v1/sessions')
        assert status == 200
        s = json.loads(text)['sessions'][0]
        assert s['client'] == '127.0.0.1' and s['helo'] == 'c.test' and s['state'] == 'rcpt'
        assert s['id'].startswith('S') and s['recipients'] == 1 and s['await'] == 'client' and s['await_ms'] < 20000
        assert gw.http('smtps', 'GET', '/v1/sessions?cursor=x')[0] == 400
        assert json.loads(gw.http('smtps', 'GET', '/v1/intake')[1])['qmgr_up'] is True


# ---- time, number, restarts ----

def test_early_talker_and_silence(inst, sink):
    with gateway(inst, sink, 'greet_delay = 1s; IO_timeout = 2s;') as g:
        with g.client(greet=False) as c:
            c.send('EHLO c.test\r\n')
            assert c.reply().startswith('554 5.5.1') and c.closed()
        with g.client() as c:
            assert c.reply().startswith('421 4.4.2') and c.closed()
        m = g.metrics('smtps')
        assert m['early_talkers_total'] == 1 and m['timeouts_total'] == 1
        g.wait_log(r'smtps.early_talker session=\d+ id=- client=127.0.0.1 reply=554 dsn=5.5.1')
        g.wait_log(r'smtps.timeout session=\d+ id=- client=127.0.0.1 state=\w+ reply=421 dsn=4.4.2')


def test_max_sessions(inst, sink):
    with gateway(inst, sink, 'max_sessions = 3;') as g:
        lab.wait_for('no session', lambda: g.metrics('smtps')['sessions_now'] == 0)
        three = [g.client() for _ in range(3)]
        with g.client(greet=False) as c:
            assert c.reply().startswith('421 4.3.2') and c.closed()
        for c in three:
            c.cmd('QUIT', 221)
            c.s.close()
        lab.wait_for('no session', lambda: g.metrics('smtps')['sessions_now'] == 0)
        with g.client() as c:
            c.cmd('NOOP', 250)


def test_out_of_descriptors(inst, sink):
    """No spinning: the process stays nearly idle, and goes on when there are descriptors."""
    g = gateway(inst, sink, 'max_sessions = 100000;')
    g.few_descriptors('smtps')
    with g:
        pid = g.pids()['smtps']
        clients = [g.client(greet=False) for _ in range(60)]
        lab.wait_for('a refusal', lambda: 'smtps.accept' in g.log())
        g.wait_log(r'smtps.no_descriptor listener=\S+ client=127.0.0.1')
        busy = lab.busy(pid)
        assert busy < 0.05, f'{busy:.0%} of a processor while out of descriptors'
        for c in clients:
            c.s.close()

        def works():
            with g.client() as c:
                return c.greeting.startswith('220')
        lab.wait_for('a greeting', works)


@pytest.mark.parametrize('role', ['smar', 'qmgr'])
def test_a_server_that_is_away(inst, sink, role):
    """4xx while it is away, mail again when it is back, in the same session."""
    import signal
    with gateway(inst, sink, 'max_nop_commands = 100000;') as g, g.client() as c:
        envelope(c)
        c.cmd('RSET', 250)
        os.kill(g.pids()[role], signal.SIGKILL)

        def refused():
            c.cmd('RSET', 250)
            got = c.cmd('MAIL FROM:<a@client.test>')
            if got.startswith('250'):
                got = c.cmd('RCPT TO:<new@far.test>')
            assert got[0] in '24', got
            return got.startswith('4')

        def taken():
            return not refused()
        lab.wait_for('a 4xx', refused)
        lab.wait_for('it to be back', taken)
        assert data(c, BODY + b'.\r\n').startswith('250')
        sink.wait(1)


def test_stop_lets_a_message_finish(inst, sink):
    import threading
    with gateway(inst, sink) as g, g.client() as idle, g.client() as c:
        envelope(c)
        c.cmd('DATA', 354)
        t = threading.Thread(target=g.stop)
        t.start()
        assert idle.reply().startswith('421 4.3.2') and idle.closed()
        c.send(BODY + b'.\r\n')
        assert c.reply().startswith('250')
        assert c.reply().startswith('421') and c.closed()
        t.join(30)
        g.start().ready()
        lab.wait_for('the message', lambda: sink.mails or g.queue())
        g.ctl('queue', 'flush')
        sink.wait(1)


def test_reload_changes_limits(inst, sink):
    import signal
    with gateway(inst, sink, 'max_message_size = 50KB;') as g, g.client() as c:
        assert 'SIZE 51200' in c.cmd('EHLO c.test', 250)
        g.conf.write_text(g.conf.read_text().replace('50KB', '60KB'))
        g.proc.send_signal(signal.SIGHUP)

        def new():
            with g.client() as n:
                return 'SIZE 61440' in n.cmd('EHLO c.test', 250)
        lab.wait_for('the new limit', new)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        c.cmd('RCPT TO:<b@far.test>', 250)
        assert data(c, BODY + b'.\r\n').startswith('250')


def test_unix_socket(inst, sink):
    g = gateway(inst, sink)
    text = g.conf.read_text().replace('smtps {', f'smtps {{ listen_socket local {{ type = unix; path = "{g.dir}/s"; umask = 000; }}', 1)
    g.conf.write_text(text)
    with g, lab.Client(str(g.dir / 's')) as c:
        c.cmd('EHLO c.test', 250)
        s = json.loads(g.http('smtps', 'GET', '/v1/sessions')[1])['sessions']
        assert 'unix' in [x['client'] for x in s]
