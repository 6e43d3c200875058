# SPDX-License-Identifier: BSD-2-Clause
"""Clients and neighbours that mean harm, in the order of doc/threats.md."""
import os, re, stat, subprocess

import lab, pytest

ENV = b'MAIL FROM:<a@c.test>\r\nRCPT TO:<b@far.test>\r\n'
EVIL = b'MAIL FROM:<evil@c.test>\r\nRCPT TO:<evil@far.test>\r\nDATA\r\nevil\r\n'
FORMS = [b'\n.\n', b'\n.\r\n', b'\r.\r', b'\r\n.\n', b'\r\n.\r', b'\r.\r\n', b'\r\n\0.\r\n', b'\r\r\n.\r\r\n']


@pytest.fixture(scope='module', params=['reject', 'repair'])
def either(inst, request):
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, f'bare_newline = {request.param}; max_bad_commands = 1000;') as g:
        g.sink, g.mode = sink, request.param
        yield g


@pytest.fixture(scope='module')
def gw(inst):
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, 'max_message_size = 20MB; max_nop_commands = 100; max_bad_commands = 1000;',
                                           env={'ASAN_OPTIONS': 'abort_on_error=1:detect_leaks=0:quarantine_size_mb=1'}) as g:
        g.sink = sink
        yield g


def bytes_in_store(g):
    return b''.join(p.read_bytes().rstrip(b'\0') for p in (g.dir / 'q/in').rglob('*') if p.is_file())


def put_at_every_split(g, c, form, verb):
    """How many were taken: in two segments, cut at each place around the false end."""
    body = b'S: x\r\n\r\na' + form + EVIL
    content = body + b'.\r\n' if verb == 'DATA' else body
    head = ENV + (b'DATA\r\n' if verb == 'DATA' else b'BDAT %d LAST\r\n' % len(body))
    taken = g.mode == 'repair' or not re.search(b'(?<!\r)\n|\r(?!\n)', form)
    at, n = content.index(form, 5), 0
    for cut in range(at - 1, at + len(form) + 2):
        c.send(head + content[:cut])
        for code in (250, 250, 354)[:3 if verb == 'DATA' else 2]:
            c.reply(code)  # only then the second
        c.send(content[cut:] + b'NOOP\r\n')
        got = c.reply()
        assert got.startswith('250 2.0.0 accepted' if taken else '550 5.6.11'), f'{form} by {verb} cut at {cut}: {got}'
        c.reply(250)
        n += taken
    return n


def test_smuggling_at_every_split(either):
    """Row 1: whatever the segments, one mail or none, no line end but CRLF in it, and nobody behind the false end."""
    before, n = len(either.sink.mails), 0
    with either.client() as c:
        c.cmd('EHLO c.test', 250)
        for form in FORMS:
            for verb in ('DATA', 'BDAT'):
                n += put_at_every_split(either, c, form, verb)
        c.cmd('QUIT', 221)
    either.sink.wait(before + n)
    either.queue_empty()
    mails = either.sink.mails[before:]
    assert len(mails) == n > 8 and all(m['rcpts'] == ['b@far.test'] for m in mails)
    for m in mails:
        assert re.search(b'(?<!\r)\n|\r(?!\n)', m['body']) is None and b'MAIL FROM:<evil' in m['body']
    kept = bytes_in_store(either)
    evil = list(re.finditer(b'MAIL FROM:<evil', kept))
    assert evil
    for found in evil:
        near = kept[max(0, found.start() - 12):found.end()].lstrip(b'\n')
        assert re.search(b'(?<!\r)\n|\r(?!\n)', near) is None, near


def test_what_a_next_hop_says_stays_one_line(inst):
    """Rows 2 and 13: control bytes and endless replies of a next hop, in a report: pure CRLF, dots doubled, one mail."""
    evil = '550-5.1.1 a\rb\0c\x1b[2J\xff\r\n' + ''.join(f'550-5.1.1 .line {i}\r\n' for i in range(20)) + '550 5.1.1 .\r\n'

    def answer(verb, arg, ses):
        return evil if verb == 'RCPT' and 'gone' in arg else None
    with lab.Sink(answer=answer) as sink, lab.relay_all(inst, sink.port) as g:
        with g.client() as c:
            c.mail('a@c.test', 'gone@far.test', 'Subject: .x\r\n .folded\r\n\r\n..dot\r\n')
        sink.wait(1)  # the report
        lab.wait_for('the end of it', lambda: not g.queue())
        assert len(sink.mails) == 1
        for m in sink.mails:
            assert m['from'] == '' and m['rcpts'] == ['a@c.test']
            assert re.search(b'(?<!\r)\n|\r(?!\n)|\0', m['body']) is None
            assert not [l for l in m['body'].split(b'\r\n') if l == b'.' or len(l) > 998]


NAMES = [b'__proto__', b'constructor', b'X' * 900, b'\xff\xfe', b'a b', b'', b'Received\0', b'=?utf-8?q?x?=', b'\xc0\xae\xc0\xae', b'%s%n', b'../x']
MIME = b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n'
ODD = {
    'names': b''.join(n + b': v\r\n' for n in NAMES) + b'\r\nx\r\n',
    'RFC 2231': b'Content-Type: a/b; n*2*=x; n*0*=utf-8\'\'%00%; n*1=y; n*0="z\r\n\r\nx\r\n',
    'overlong UTF-8': b'Subject: \xc0\x80\xe0\x80\xaf\xf8\x88\x80\x80\x80\xed\xa0\x80\xff\r\n\r\n\xc1\xbf\r\n',
    'NUL': b'A\0: \0\r\n\0\r\n\r\n\0\0\r\n\0.\r\n',
    'long line': b'X: ' + b'y' * 100000 + b'\r\n\r\n' + b'z' * 100000 + b'\r\n',
    '100,000 headers': b''.join(b'X-%d: v\r\n' % i for i in range(100000)) + b'\r\nx\r\n',
    '10,000 parts': b''.join(MIME % (i, i) for i in range(10000)),
}


@pytest.mark.parametrize('name', ODD)
@pytest.mark.parametrize('verb', ['DATA', 'BDAT'])
def test_odd_content_passes_byte_for_byte(gw, name, verb):
    """Row 10: nothing in a mail is ours to understand; what came in goes out."""
    body, before = ODD[name], len(gw.sink.mails)
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        c.send(ENV)
        c.reply(250), c.reply(250)
        if verb == 'DATA':
            c.cmd('DATA', 354)
            c.send(body + b'.\r\n')
        else:
            c.send(b'BDAT %d LAST\r\n' % len(body) + body)
        c.reply(250)
    gw.sink.wait(before + 1)
    wire = re.sub(rb'^\.', b'..', body, flags=re.M) if verb == 'BDAT' else body
    assert lab.split_received(gw.sink.mails[before]['body'])[1] == wire
    gw.queue_empty()


def test_time_grows_with_size_only(gw):
    """Row 10: eight times the headers cost about eight times the time of the processor, not sixty-four."""
    pid = gw.pids()['smtps']

    def cost(n):
        start = lab.cpu(pid)
        with gw.client() as c:
            c.cmd('EHLO c.test', 250)
            for _ in range(6):
                c.mail('a@c.test', 'b@far.test', b'X: v\r\n' * n, ehlo=None)
        return max(lab.cpu(pid) - start, 3)
    small = cost(50000)
    assert cost(400000) < small * 24
    gw.queue_empty()


BAD = ['a', '@b.test', 'a b@c.test', 'a@b.test.', 'a@-b.test', 'a@[1.2.3]', '"a@b.test', 'a@b@c.test', 'a@b.test>x<', '$(id)@', '../x@b..test',
       'a\t@b.test', 'a\x7f@b.test', "a'--@b_.test", '\\@b.test', 'x' * 65 + '@b.test', 'a@' + 'b' * 64 + '.test', 'a@*', 'a@b.test/../']


def test_bad_addresses_reach_no_map_and_no_envelope(gw):
    """Row 13: what the grammar refuses smar is never asked about, and no map sees as a key."""
    def asked():
        m = gw.metrics('smar')
        return m['rcpt_checks_total'], m.get('map_lookups_total', 0), gw.metrics('smtps').get('verdicts_kept_used_total', 0)
    before = asked()
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        for a in BAD:
            assert c.cmd(f'MAIL FROM:<{a}>')[0] == '5', a
        c.cmd('MAIL FROM:<>', 250)
        for a in BAD:
            assert c.cmd(f'RCPT TO:<{a}>')[0] == '5', a
        c.cmd('DATA', 554)
    assert asked() == before and gw.queue() == []


CALLER = '''
import os, random, socket, sys
rng, heard = random.Random(1), set()
for path in sys.argv[1:]:
    for i in range(25):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(0.2)
        try:
            s.connect(path)
            heard.add(path)
            junk = bytes(rng.randrange(256) for _ in range(rng.randrange(600)))
            s.sendall(rng.choice((junk, b"GET /" + junk, b"DELETE /v1/queue/" + junk + b" HTTP/1.1\\\\r\\\\n\\\\r\\\\n", b"\\\\0\\\\0\\\\0" + junk, b"")))
            s.recv(10) if i % 12 == 0 else None
        except OSError:
            pass
        s.close()
print(*sorted(heard))
'''


def sockets(g):
    return [str(p) for p in (g.dir / 'run').iterdir() if stat.S_ISSOCK(p.stat().st_mode)]


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can be somebody else')
@pytest.mark.parametrize('who', [65533, lab.NOBODY, 0])
def test_junk_on_every_socket(gw, who):
    """Row 16: a stranger reaches no control socket, and at the others he is dropped for who he is; what the server's own user or root says wrongly harms nobody."""
    paths, pids = sockets(gw), gw.pids()
    assert len(paths) >= 4
    program = CALLER.replace('\\\\\\\\', '\\\\')
    p = subprocess.run(['setpriv', f'--reuid={who}', f'--regid={who}', '--clear-groups', '/usr/bin/python3', '-c', program, *paths],
                       capture_output=True, text=True, timeout=100)
    assert p.returncode == 0, p.stderr
    heard = p.stdout.split()
    assert sorted(os.path.basename(x) for x in heard if who == 65533) == (['qmgr.ipc', 'smar.ipc'] if who == 65533 else [])
    assert who == 65533 or len(heard) == len(paths)
    before = len(gw.sink.mails)
    with gw.client() as c:
        assert c.mail('a@c.test', 'b@far.test', b'x\r\n').startswith('250')
    gw.sink.wait(before + 1)
    gw.queue_empty()
    assert gw.pids() == pids, 'a process was lost'
