# SPDX-License-Identifier: BSD-2-Clause
"""sendmail(8) as cron, PHP and shells call it: what arrives, byte by byte, and the exit status when nothing does."""
import contextlib, email.utils, os, pathlib, pwd, re, socket, subprocess, threading

import lab, pytest

EHLO = ('PIPELINING', '8BITMIME', 'SMTPUTF8', 'DSN')
MAILNAME = pathlib.Path('/etc/mailname')
DOMAIN = MAILNAME.read_text().split()[0] if MAILNAME.exists() else 'sink.test'
ME = pwd.getpwuid(os.getuid()).pw_name
ADDED = r'Date: [^\r]+\r\nFrom: [^\r]+\r\nMessage-Id: <[^\r]+>\r\n'


@pytest.fixture(scope='module')
def program(inst):
    return str(inst / lab.PREFIX.lstrip('/') / 'sbin/sendmail')


@pytest.fixture(scope='module')
def server():
    """What smtps would see; answer(verb, arg, session) may be set by a test."""
    d = lab.tempdir('submit')
    with lab.Sink(path=d / 's', ehlo=EHLO) as s:
        yield s
    d.rmdir()


@pytest.fixture
def send(program, server):
    def run(*args, text='', status=0, name='sendmail', server_=None, env=None):
        server.mails.clear()
        server.commands.clear()
        done = subprocess.run([name, *args], executable=program, input=text.encode() if isinstance(text, str) else text,
                              capture_output=True, timeout=60, env={**os.environ, 'META1_SUBMIT': str(server_ or server.path), **(env or {})})
        said = done.stderr.decode(errors='replace')
        assert done.returncode == status, f'{done.returncode}: {said}'
        assert bool(said) == (status != 0), said
        if status:
            assert not server.mails
            return said
        return server.mails[0] if server.mails else done.stdout.decode()
    yield run
    server.answer = None


def header(mail):
    return mail['body'].partition(b'\r\n\r\n')[0].decode()


def test_cron(send):
    """Debian's cron: sendmail -i -FCronDaemon -B8BITMIME -oem root."""
    text = ('From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@box> echo\nMIME-Version: 1.0\n'
            'Content-Type: text/plain; charset=UTF-8\nX-Cron-Env: <SHELL=/bin/sh>\n\nhällo\n.\nmore\n')
    m = send('-i', '-FCronDaemon', '-B8BITMIME', '-oem', 'root', text=text)
    assert (m['from'], m['rcpts'], m['params']) == (f'{ME}@{DOMAIN}', [f'root@{DOMAIN}'], 'BODY=8BITMIME')
    assert re.fullmatch(rf'From: root@{re.escape(DOMAIN)} \(Cron Daemon\)\r\nTo: root@{re.escape(DOMAIN)}\r\nSubject: Cron <root@box> echo\r\n'
                        r'MIME-Version: 1.0\r\nContent-Type: [^\r]+\r\nX-Cron-Env: [^\r]+\r\n'
                        r'Date: [^\r]+\r\nMessage-Id: <[^\r]+>\r\n\r\nhällo\r\n\.\.\r\nmore\r\n', m['body'].decode())


def test_php(send):
    """PHP's mail(): sendmail -t -i, To and Subject first, lines that end as the script wrote them."""
    text = 'To: a@x.test, "B, b" <b@x.test>\nSubject: hi\nX-PHP-Originating-Script: 33:x.php\nFrom: web@y.test\r\nCc: c@x.test\r\nBcc: secret@z.test\n\nbody\r\nline\n'
    m = send('-t', '-i', '-fweb@y.test', text=text)
    assert m['from'] == 'web@y.test' and m['rcpts'] == ['a@x.test', 'b@x.test', 'c@x.test', 'secret@z.test']
    assert 'secret' not in m['body'].decode() and m['body'].endswith(b'\r\n\r\nbody\r\nline\r\n')
    assert header(m).startswith('To: a@x.test, "B, b" <b@x.test>\r\nSubject: hi\r\n') and '\r\nFrom: web@y.test\r\nCc: c@x.test\r\nDate: ' in header(m)


def test_a_mail_without_a_header(send):
    m = send('u@x.test', text='just a line\n\nand more')
    assert re.fullmatch(ADDED + r'\r\njust a line\r\n\r\nand more\r\n', m['body'].decode()), m['body']
    name, addr = email.utils.parseaddr(re.search('From: (.*)\r', header(m))[1])
    assert addr == f'{ME}@{DOMAIN}' and m['params'] == 'BODY=7BIT'
    assert email.utils.parsedate_to_datetime(re.search('Date: (.*)\r', header(m))[1])
    assert re.fullmatch(ADDED + '\r\n', send('u@x.test')['body'].decode())


def test_senders(send):
    assert send('-f', '', 'u@x.test', text='\nx')['from'] == ''
    assert send('-f<>', 'u@x.test', text='\nx')['from'] == ''
    m = send('-r', 'Some One <one>', '-F', 'A "quoted"\nBcc: name\\', 'u@x.test', text='\nx')
    assert m['from'] == f'one@{DOMAIN}'
    assert f'From: "A \\"quoted\\" Bcc: name\\\\" <one@{DOMAIN}>' in header(m)
    assert 'MAILER-DAEMON@' in header(send('-f', '', 'u@x.test', text='\nx'))


def test_addresses_of_the_command_line(send):
    assert send('a@x.test', 'b@x.test, C <c@x.test>', 'a@x.test', text='\nx')['rcpts'] == ['a@x.test', 'b@x.test', 'c@x.test']
    assert send('-t', '--', 'd@x.test', text='To: e@x.test\n\nx')['rcpts'] == ['d@x.test', 'e@x.test']
    assert send('--', '-x@x.test', text='\nx')['rcpts'] == ['-x@x.test']


def test_resent(send):
    text = 'To: old@x.test\nFrom: o@x.test\nDate: Thu, 1 Jan 2026 00:00:00 +0000\nMessage-Id: <1@x.test>\nBcc: kept@x.test\nResent-To: new\nResent-Bcc: dark@x.test\n\nx\n'
    m = send('-t', text=text)
    assert m['rcpts'] == [f'new@{DOMAIN}', 'dark@x.test']
    h = header(m)
    assert f'Resent-To: new@{DOMAIN}\r\n' in h and 'dark' not in h and 'kept' not in h
    assert [h.count(f'{n}: ') for n in ('Resent-From', 'Resent-Date', 'Resent-Message-Id', '\r\nMessage-Id', '\r\nDate')] == [1] * 5


def test_what_is_written_is_kept(send):
    """Nothing is added to a whole header, folds and odd fields stay."""
    text = 'From: a@x.test\nDate: now\nMessage-ID: <x@y>\nSubject: a\n\tb\n c\nX-Odd : v\nReturn-Path: <spoof@x.test>\n\nx\n'
    assert send('u@x.test', text='From someone Thu Jan  1\n' + text)['body'].decode() == \
        'From: a@x.test\r\nDate: now\r\nMessage-ID: <x@y>\r\nSubject: a\r\n\tb\r\n c\r\nX-Odd : v\r\n\r\nx\r\n'


def test_the_single_dot(send):
    text = 'Subject: s\n\na\n.\nb\n'
    assert send('u@x.test', text=text)['body'].endswith(b'\r\n\r\na\r\n')
    for option in ('-i', '-oi', '-O IgnoreDots=true'.replace(' ', '')):
        assert send(option, 'u@x.test', text=text)['body'].endswith(b'\r\n\r\na\r\n..\r\nb\r\n')
    assert send('u@x.test', text='.\nhi\n')['body'].endswith(b'>\r\n\r\n')
    assert send('u@x.test', text='Subject: s\n.\nhi\n')['body'].endswith(b'>\r\n\r\n')


def test_who_types_ends_with_a_dot(program, server):
    """It waits for no more than the line that ends the mail."""
    server.mails.clear()
    with subprocess.Popen([program, 'u@x.test'], stdin=subprocess.PIPE, env={**os.environ, 'META1_SUBMIT': str(server.path)}) as p:
        p.stdin.write(b'Subject: s\n\nhi\n.\n')
        p.stdin.flush()
        assert p.wait(60) == 0
    assert server.mails[0]['body'].endswith(b'\r\n\r\nhi\r\n')


@pytest.mark.parametrize('end', [b'\n.\n', b'\n.\r\n', b'\r.\r', b'\r\n.\r', b'\r.\r\n', b'\r\r\n.\r\r\n', b'\r\n.\n', b'\n\0.\n'])
def test_no_smuggling(send, end):
    """Whatever ends lines: one mail leaves, in lines of CR LF, each dot at a line's beginning doubled."""
    for args in (('-i', 'u@x.test'), ('-t', '-oi')):
        m = send(*args, text=b'To: u@x.test\nSubject: s\n\nfirst' + end + b'MAIL FROM:<evil@x.test>\nRCPT TO:<u@x.test>\nDATA\nsecond\n')
        body = m['body'].partition(b'\r\n\r\n')[2]
        assert not re.search(rb'(?<!\r)\n|\r(?!\n)', m['body']) and body.endswith(b'second\r\n')
        assert not re.search(rb'^\.(?!\.)', body, re.M) and m['rcpts'] == ['u@x.test']


def test_a_carriage_return_begins_no_field(send):
    m = send('-t', '-i', text=b'To: u@x.test\n.Bcc: evil@x.test\n\nx')  # no field: text
    assert m['rcpts'] == ['u@x.test'] and b'\r\n\r\n..Bcc: evil@x.test\r\n' in m['body']
    m = send('-t', '-i', text=b'To: u@x.test\nSubject: a\rBcc: evil@x.test\rX: y\n\nx')
    assert m['rcpts'] == ['u@x.test'] and 'Subject: a Bcc: evil@x.test X: y\r\n' in m['body'].decode()


@pytest.mark.parametrize('text', ['To: u@x.test\0\n\nx', 'To: a b\n\nx', 'To: <u@x.test>\r\n <v@x.test>\n\nx', 'To: u@x..test\n\nx',
                                  'To: "u\1"@x.test\n\nx', 'To: u@x.test>\n\nx', 'To: (u@x.test\n\nx', 'Subject: none\n\nTo: u@x.test', ''])
def test_headers_that_send_nothing(send, server, text):
    assert re.match(r'sendmail: .+', send('-t', '-i', text=text, status=65))
    assert 'MAIL' not in [v for v, _ in server.commands]


@pytest.mark.parametrize('args', [['u@x.test>\r\nRCPT TO:<evil@x.test'], ['-f', 'a@x.test> SIZE=1', 'u@x.test'], ['-f', 'a,b', 'u@x.test'],
                                  ['u\n@x.test'], ['u@x.test\nv@x.test'], ['u@' + 'x' * 300 + '.test'], ['x' * 65 + '@x.test'], ['-f', '(c)', 'u@x.test'], []])
def test_addresses_that_send_nothing(send, server, args):
    send(*args, text='\nx', status=65)
    assert 'MAIL' not in [v for v, _ in server.commands]


@pytest.mark.parametrize('args', [['-Q'], ['--bogus'], ['-bz'], ['-bd'], ['-bt'], ['-N', 'always'], ['-N', 'success,never'], ['-R', 'some'], ['-B', 'x'],
                                  ['-V', 'a\nb'], ['-V', 'x' * 101], ['-N', ''], ['-S', 'nowhere', 'u@x.test']])
def test_calls_that_are_wrong(send, args):
    send(*args, 'u@x.test', text='\nx', status=64)


def test_reports_and_other_options(send, server):
    m = send('-N', 'success,delay', '-R', 'hdrs', '-V', 'a+b=c d', 'u@x.test', text='\nx')
    assert m['params'] == 'BODY=7BIT RET=hdrs ENVID=a+2Bb+3Dc+20d'
    assert ('RCPT', 'TO:<u@x.test> NOTIFY=success,delay') in server.commands
    send('-N', 'never', 'u@x.test', text='\nx')
    assert ('RCPT', 'TO:<u@x.test> NOTIFY=never') in server.commands
    m = send('-Am', '-C/dev/null', '-d0', '-em', '-G', '-h5', '-Lx', '-m', '-n', '-odb', '-OTimeout=1', '-pESMTP:h', '-U', '-X/dev/null', '-bm', 'u@x.test', text='\nx')
    assert m['rcpts'] == ['u@x.test']
    assert send('-bi') == '' and send(name='newaliases') == '' and send('-I') == ''


def test_verbose_shows_the_dialogue(program, server):
    done = subprocess.run([program, '-v', 'u@x.test'], input=b'\nx', capture_output=True, check=True, env={**os.environ, 'META1_SUBMIT': str(server.path)})
    assert re.search(rf'220 .*>>> EHLO .*>>> MAIL FROM:<.*>>> RCPT TO:<u@x.test>\n250 .*>>> DATA\n354 .*\n250 ', done.stdout.decode(), re.S)
    server.mails.clear()


def test_eight_bit_and_utf8(send, server):
    assert send('u@x.test', text='Subject: s\n\nä')['params'] == 'BODY=8BITMIME'
    assert send('u@x.test', text='Subject: ä\n\nx')['params'] == 'BODY=8BITMIME SMTPUTF8'
    assert send('u@x.test', text=b'Subject: \xe4\n\nx')['params'] == 'BODY=8BITMIME'
    m = send('-t', text='To: jörg@bücher.test\n\nx')
    assert m['params'] == 'BODY=8BITMIME SMTPUTF8'
    assert send('-B7BIT', 'u@x.test', text='Subject: s\n\nä')['params'] == 'BODY=7BIT'
    server.ehlo = ()
    try:
        assert send('u@x.test', text='Subject: ä\n\nx')['params'] == ''
        assert 'ASCII' in send('jörg@x.test', text='\nx', status=69)
    finally:
        server.ehlo = EHLO


@pytest.mark.parametrize('verb,reply,status', [('GREETING', '421 4.3.2 later', 75), ('GREETING', '554 no', 75), ('GREETING', 'hello', 76), ('GREETING', '220', 76),
                                               ('EHLO', '502 no', 69), ('MAIL', '451 4.3.2 full', 75), ('MAIL', '550 5.7.1 no', 69), ('RCPT', '450 4.2.0 wait', 75),
                                               ('RCPT', '550 5.1.1 nobody', 67), ('DATA', '452 4.3.1 full', 75), ('DATA', '354-go\r\n999 on', 76), ('DOT', '552 5.3.4 too large', 69),
                                               ('DOT', '451 4.3.0 no', 75), ('DOT', 'close', 75), ('DATA', 'close', 75), ('MAIL', 'close', 75), ('GREETING', 'close', 75),
                                               ('MAIL', '250-' + 'x' * 3000 + '\r\n250 ok', 75), ('MAIL', '250-a\r\n' * 200 + '250 ok', 76), ('RCPT', '550 \x1b[2J\x07evil', 67)])
def test_replies(send, server, verb, reply, status):
    server.answer = lambda v, arg, ses: reply if v == verb else None
    said = send('-i', 'u@x.test', text='Subject: s\n\nx', status=status)
    assert said.count('\n') == 1 and not re.search(r'[\0-\x09\x0b-\x1f\x7f]', said)


def test_one_refused_recipient_is_all(send, server):
    server.answer = lambda v, arg, ses: '550 5.1.1 nobody' if 'bad@' in arg else None
    assert 'bad@x.test: 550' in send('good@x.test', 'bad@x.test', text='\nx', status=67)
    assert 'DATA' not in [v for v, _ in server.commands]


def test_no_server(send, tmp_path):
    for where in (tmp_path / 'none', f'127.0.0.1:{lab.free_port()}', '/' + 'x' * 200):
        said = send('u@x.test', text='\nx', status=64 if 'xxx' in str(where) else 75, server_=where)
        assert 'xxx' in str(where) or 'no server listens there' in said and 'not taken' in said


def test_a_server_that_hangs_up_in_the_content(send):
    """Its last words are the reason."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()

        def serve():
            c, _ = s.accept()
            with c, c.makefile('rb') as f:
                c.sendall(b'220 x.test\r\n')
                for reply in (b'250 x\r\n', b'250 ok\r\n', b'250 ok\r\n', b'354 go\r\n'):
                    f.readline()
                    c.sendall(reply)
                f.readline()
                c.sendall(b'421 4.3.0 stopping\r\n')
                c.shutdown(socket.SHUT_WR)
                while f.read(65536):
                    pass
        t = threading.Thread(target=serve)
        t.start()
        said = send('u@x.test', text='\n' + 'x\n' * 100000, status=75, server_=f'127.0.0.1:{s.getsockname()[1]}')
        t.join(60)
    assert '421 4.3.0 stopping' in said


def test_bounds(send, server):
    many = ',\n '.join(f'u{i}@x.test' for i in range(3000))
    assert len(send('-t', text=f'To: {many}\n\nx')['rcpts']) == 3000
    assert '10000 recipients' in send('-t', text='To: ' + ',\n '.join(f'{i}@x' for i in range(10001)) + '\n\nx', status=65)
    assert '1024 KiB' in send('u@x.test', text='X: ' + 'y' * (1 << 20) + '\n\nx', status=65)
    long = 'a' * 3000000
    assert send('-i', 'u@x.test', text=f'Subject: s\n\n{long}')['body'].endswith(b'\r\n\r\n' + long.encode() + b'\r\n')
    assert send('u@x.test', text=long)['body'].endswith(b'>\r\n\r\n' + long.encode() + b'\r\n')


def test_memory_is_bounded(program, server):
    """A hundred MiB take no more than a few KiB."""
    server.mails.clear()
    script = f'ulimit -v 60000; yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 100000000 | exec {program} -i u@x.test'
    if 'asan' in subprocess.run(['ldd', program], capture_output=True, text=True).stdout:
        script = script.replace('ulimit -v 60000; ', '').replace('100000000', '3000000')
    subprocess.run(['sh', '-c', script], check=True, timeout=120, env={**os.environ, 'META1_SUBMIT': str(server.path)})
    assert len(server.mails[0]['body']) > 3000000
    server.mails.clear()


@pytest.fixture(scope='module')
def gateway(inst):
    """The snippet submit.conf, as an installed gateway has it."""
    with lab.Sink() as sink:
        g = lab.Gateway(inst, smtps=f'listen_socket submit {{ type = unix; path = "submit"; }} listen_socket {{ type = inet; address = 127.0.0.1; port = {lab.free_port()}; }}'
                        'flags = { 8bitmime, access };',
                        smar='map submit { type = text; rows = { "cltaddr:unix RELAY" }; } access { name = submit; } '
                        f'map mt {{ type = text; rows = {{ ". [127.0.0.1]:{sink.port}" }}; }} mailertable {{ name = mt; }}')
        g.port = int(re.search(r'port = (\d+); } ?flags', g.conf.read_text())[1])
        g.sink = sink
        with g:
            yield g


def test_through_smtps(send, gateway):
    send('-t', '-i', text='To: far@x.test\nBcc: dark@y.test\nSubject: hi\n\n.\nhällo\0\n', server_=gateway.dir / 'q/submit')
    m = gateway.sink.wait(1)
    assert sorted(r for x in m for r in x['rcpts']) == ['dark@y.test', 'far@x.test']
    assert m[0]['body'].endswith('\r\n\r\n..\r\nhällo\0\r\n'.encode()) and b'dark@' not in header(m[0]).encode()
    assert f'Received: from {DOMAIN if MAILNAME.exists() else "gw.test"} (local)' in header(m[0])
    gateway.sink.mails.clear()
    send('u@x.test', text='one\n', server_=f'127.0.0.1:{gateway.port}', status=67)  # the network may not relay
    gateway.queue_empty()


def test_passing_on(program, gateway):
    """-bs is smtps itself, to its last word; the end of the input is told on."""
    gateway.sink.mails.clear()
    env = {**os.environ, 'META1_SUBMIT': str(gateway.dir / 'q/submit')}
    talk = b'EHLO me.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nSubject: s\r\n\r\nx\r\n.\r\n'
    done = subprocess.run([program, '-bs'], input=talk + b'QUIT\r\n', capture_output=True, timeout=60, env=env)
    assert done.returncode == 0 and re.search(rb'^221 ', done.stdout, re.M) and b'accepted as' in done.stdout, done
    gateway.sink.wait(1)
    done = subprocess.run([program, '-bs'], input=talk, capture_output=True, timeout=60, env=env)
    assert done.returncode == 0 and b'accepted as' in done.stdout
    gateway.sink.wait(2)


def test_killed_in_the_middle_sends_nothing(program, gateway):
    gateway.sink.mails.clear()
    accepted = len(re.findall('smtps.accepted', gateway.log()))
    p = subprocess.Popen([program, '-i', 'u@x.test'], stdin=subprocess.PIPE, env={**os.environ, 'META1_SUBMIT': str(gateway.dir / 'q/submit')})
    with contextlib.suppress(BrokenPipeError):
        p.stdin.write(b'Subject: s\n\n' + b'x\n' * 200000)
        p.stdin.flush()
    p.kill()
    p.wait()
    lab.wait_for('no session', lambda: not gateway.http('smtps', 'GET', '/v1/sessions')[1].count('"serial"'))
    assert len(re.findall('smtps.accepted', gateway.log())) == accepted
