# SPDX-License-Identifier: BSD-2-Clause
"""Limits of smtps: what one client may take, over all processes and sections; several listeners."""
import contextlib, json, os, pathlib, re, resource, select, signal, time

import lab, pytest

SRC = pathlib.Path(__file__).resolve().parents[2]


def listen(name, port, kind='inet', address='127.0.0.1'):
    return f'listen_socket {name} {{ type = {kind}; address = "{address}"; port = {port}; }} '


def gateway(inst, smtps='', **kw):
    return lab.relay_all(inst, 9, smtps=smtps, **kw)


def sessions(g, role='smtps'):
    return json.loads(g.http(role, 'GET', '/v1/sessions')[1])['sessions']


def add(g, section):
    """A section before the others: they start from the last to the first."""
    g.conf.write_text(g.conf.read_text().replace('smtps {', section + '\nsmtps {', 1))


def connect(g, source='127.0.0.1', n=1, port=None):
    return [lab.Client(('127.0.0.1', port or g.port), source=source) for _ in range(n)]


def settled(g, roles):
    """No session is left of the start's probes."""
    lab.wait_for('no session', lambda: not sum((sessions(g, r) for r in roles), []))


def test_client_limits_are_of_all_processes(inst):
    """Three processes and a section more count one client together; kill -9 gives back what the dead one held."""
    other = lab.free_port()
    limits = 'client_limits { max_connections = 5; exempt = 127.0.0.1; } '
    g = gateway(inst, f'processes = 3; {limits}', env={'META1_BACKOFF_MAX_MS': '100'})
    add(g, f'smtps second {{ path = "{g.bin}/libexec/smtps"; {listen("a", other)} {limits} }}')
    roles = ['smtps', 'smtps.1', 'smtps.2', 'smtps-second']
    with g:
        settled(g, roles)
        mine = connect(g, '127.0.0.2', 3) + connect(g, '127.0.0.2', 2, other)
        for port in (g.port, other) * 4:  # whichever process it is
            [c] = connect(g, '127.0.0.2', port=port)
            assert c.greeting.startswith('421 4.7.0 gw.test: you have too many connections'), c.greeting
            assert c.closed()
        line = r'smtps.client_limit session=\d+ id=- client=127.0.0.2 reply=421 dsn=4.7.0 limit=max_connections count=6'
        lab.wait_for('a line each', lambda: len(re.findall(line, g.log())) == 8)
        more = connect(g, '127.0.0.3', 5) + connect(g, '127.0.0.1', 7)  # others have their own; one has none
        assert all(c.greeting.startswith('220') for c in mine + more)
        # one goes: one may come
        mine.pop().s.close()
        lab.wait_for('a place', lambda: connect(g, '127.0.0.2', port=other)[0].greeting.startswith('220'))
        # a process dies with what it held
        held = {r: [s for s in sessions(g, r) if s['client'] == '127.0.0.2'] for r in roles}
        victim = max(roles[:3], key=lambda r: len(held[r]))
        pid = json.loads(g.http(victim, 'GET', '/v1/status')[1])['pid']
        os.kill(pid, signal.SIGKILL)
        lab.wait_for('its successor', lambda: json.loads(g.http(victim, 'GET', '/v1/status')[1])['pid'] != pid)
        settled_in = lab.wait_for('free places', lambda: connect(g, '127.0.0.2', port=other)[0].greeting.startswith('220'))
        assert settled_in


def test_client_rate(inst):
    with gateway(inst, 'client_limits { max_connection_rate = 4; exempt = 127.0.0.1; ipv4_prefix = 24; }') as g:
        got = []
        for i in range(7):
            [c] = connect(g, f'127.0.7.{i + 1}')
            got.append(c.greeting[:9])
            c.s.close()
        assert [x[:3] for x in got] == ['220'] * 4 + ['421'] * 3 and got[4] == '421 4.7.0'
        g.wait_log('limit=max_connection_rate')
        assert g.metrics('smtps')['refused_client_rate_total'] == 3
        assert connect(g, '127.0.8.1')[0].greeting.startswith('220')


def test_the_given_identity_is_counted(inst):
    """The balancer is no client; those for whom it speaks are, by PROXY and by XCLIENT alike."""
    limits = 'client_limits { max_connections = 2; exempt = 192.0.2.99; } '
    with gateway(inst, limits + 'proxy_protocol { mode = allow; trusted = 127.0.0.9; } xclient = 127.0.0.1;') as g:
        def proxied(client):
            c = lab.Client(('127.0.0.1', g.port), greet=False, source='127.0.0.9')
            c.send(f'PROXY TCP4 {client} 198.51.100.1 1000 25\r\n')
            c.greeting = c.reply()
            return c
        two = [proxied('192.0.2.1'), proxied('192.0.2.1')]
        assert [c.greeting[:3] for c in two] == ['220', '220']
        assert proxied('192.0.2.1').greeting.startswith('421 4.7.0')
        others = [proxied(f'192.0.2.{i}') for i in range(2, 8)]
        assert all(c.greeting.startswith('220') for c in others)
        trusted = connect(g, '127.0.0.1', 5)
        assert all(c.greeting.startswith('220') for c in trusted)
        c = trusted.pop()
        c.cmd('EHLO x', 250)
        assert c.cmd('XCLIENT ADDR=192.0.2.1').startswith('421 4.7.0') and c.closed()
        two.pop().s.close()
        lab.wait_for('one less', lambda: len([s for s in sessions(g) if s['client'] == '192.0.2.1']) == 1)
        trusted[0].cmd('XCLIENT ADDR=192.0.2.1', 220)
        assert proxied('192.0.2.1').greeting.startswith('421 4.7.0')
        trusted[0].cmd('XCLIENT ADDR=192.0.2.50', 220)  # it is somebody else now
        assert proxied('192.0.2.1').greeting.startswith('220')


# ---- several listeners, several processes ----

def test_processes_share_the_load(inst):
    """The kernel spreads connections over the processes' own sockets; a unix socket they share."""
    n, procs = 400, 4
    roles = ['smtps'] + [f'smtps.{i}' for i in range(1, procs)]
    g = gateway(inst, '')
    g.conf.write_text(g.conf.read_text().replace('smtps {', f'smtps {{ processes = {procs}; listen_socket local '
                      f'{{ type = unix; path = "{g.dir}/s"; umask = 000; }} ', 1))
    with g:
        settled(g, roles)
        clients = connect(g, n=n)
        share = [g.metrics(r)['sessions_now'] for r in roles]
        # of 400 thrown by chance each of four gets 100; 40 off is over four and a half times the deviation
        assert sum(share) == n and all(n / procs - 40 <= x <= n / procs + 40 for x in share), share
        for c in clients:
            c.s.close()
        for _ in range(8):
            with lab.Client(str(g.dir / 's')) as c:
                c.cmd('EHLO c.test', 250)


def test_sections_with_settings_of_their_own(inst):
    """25, 587 and a unix socket; IPv4 and IPv6; each with its limits and its flags."""
    six, sub = lab.free_port(), lab.free_port()
    g = gateway(inst, 'max_message_size = 100KB; max_rcpts_per_transaction = 7; ')
    g.conf.write_text(g.conf.read_text().replace('smtps {', f'smtps {{ {listen("v6", six, "inet6", "::1")}', 1))
    add(g, f'smtps submission {{ path = "{g.bin}/libexec/smtps"; {listen("a", sub)}{listen("b", sub, "inet6", "::1")}'
        'max_message_size = 200KB; max_transactions = 9; vrfy = yes; flags = { access, prdr, dont_8bitmime }; }')
    add(g, f'smtps inner {{ path = "{g.bin}/libexec/smtps"; listen_socket {{ type = unix; path = "{g.dir}/in"; '
        'umask = 000; } max_message_size = 300KB; }')
    with g:
        def offers(addr):
            with lab.Client(addr) as c:
                return set(c.cmd('EHLO c.test', 250).replace('250 ', '250-').split('\n250-')[1:])
        mx = offers(('127.0.0.1', g.port))
        assert {'SIZE 102400', '8BITMIME', 'LIMITS RCPTMAX=7 MAILMAX=100000'} <= mx and 'PRDR' not in mx
        assert offers(('::1', six)) == mx
        submission = offers(('127.0.0.1', sub))
        assert {'SIZE 204800', 'PRDR', 'LIMITS RCPTMAX=1000 MAILMAX=9'} <= submission and '8BITMIME' not in submission
        assert offers(('::1', sub)) == submission
        assert 'SIZE 307200' in offers(str(g.dir / 'in'))
        with lab.Client(('::1', sub)) as c:  # 127.0.0.1 may relay, ::1 may not
            assert c.cmd('VRFY u@far.test').startswith('550 5.7.1')
        with lab.Client(('127.0.0.1', sub)) as c:
            c.cmd('VRFY u@far.test', 252)
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<a@client.test> PRDR', 250)
            c.cmd('RCPT TO:<u@far.test>', 250)
            c.cmd('RCPT TO:<v@far.test>', 250)
            c.cmd('DATA', 354)
            c.send('Subject: x\r\n\r\nx\r\n.\r\n')
            assert [c.reply()[:3] for _ in range(4)] == ['353', '250', '250', '250']


# ---- memory ----

FULL = bool(os.environ.get('META1_FULL'))


def memory(pid):
    """Bytes (PSS), without the pages of files."""
    with open(f'/proc/{pid}/smaps_rollup') as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(('Pss_Anon:', 'Pss_Shmem:'))) * 1024


def smtps_pid(g):
    return json.loads(g.http('smtps', 'GET', '/v1/status')[1])['pid']


SANITIZED = pytest.mark.skipif('fsanitize' in (lab.BUILD / 'config.status').read_text(),
                               reason='a sanitizer takes memory of its own')


@SANITIZED
@pytest.mark.alone
def test_idle_sessions_are_small(inst):
    """Greeted, EHLO said, silent: at most 8 KiB each; the last is greeted as fast as the first."""
    n = 10000 if FULL else 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    try:
        with gateway(inst, 'max_sessions = 20000; client_limits { max_connections = 0; }') as g:
            pid = smtps_pid(g)
            warm = connect(g, n=100)
            before, took = memory(pid), []
            idle = []
            for _ in range(10):
                t = time.monotonic()
                idle += connect(g, n=n // 10)
                took.append(time.monotonic() - t)
            for c in idle:
                c.cmd('EHLO c.test', 250)
            each = (memory(pid) - before) / n
            print(f'{each:.0f} bytes a session; {n // 10 / took[0]:.0f}/s at first, {n // 10 / took[-1]:.0f}/s at last')
            assert g.metrics('smtps')['sessions_now'] >= n
            assert each <= 8192, f'{each:.0f} bytes a session'
            assert min(took[5:]) < 3 * min(took[:5]), took
            for c in idle + warm:
                c.s.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def endless(c, head, chunk, total):
    """Sends until the server closes, reading what it says; returns the bytes sent."""
    sent = 0
    c.s.setblocking(False)
    todo, end = memoryview(head), time.monotonic() + 10 * lab.WAIT
    while time.monotonic() < end:
        r, w, _ = select.select([c.s], [c.s] if sent < total else [], [], 1)
        try:
            if r:
                if not c.s.recv(65536):
                    return sent
            if w:
                k = c.s.send(todo)
                sent += k
                todo = todo[k:] or memoryview(chunk)
        except ConnectionError:
            return sent
    raise AssertionError(f'still open after {sent} bytes')


ENVELOPE = b'EHLO c.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@far.test>\r\n'
FLOODS = {  # what is said first, what again and again, bytes of it, the counter of the limit that ends it
    'command line': (b'', b'x' * 65536, 1 << 30, 'long_lines_total'),
    'BDAT 0': (ENVELOPE, b'BDAT 0\r\n' * 1000, 8 * 10**6, 'tiny_chunks_total'),
    'RSET': (b'', b'RSET\r\n' * 1000, 6 * 10**6, 'bad_sessions_total'),
    'header': (ENVELOPE + b'DATA\r\n', b'X-Header: more of it\r\n' * 3000, 1 << 30, 'endless_data_total'),
    'BDAT refused': (b'', b'BDAT 1000\r\n' + b'x' * 1000, 1 << 30, 'endless_data_total'),
}


@pytest.fixture(scope='module')
def flooded(inst):
    with gateway(inst, f'max_message_size = {"64MB" if FULL else "1MB"};') as g:
        yield g


@SANITIZED
@pytest.mark.parametrize('what', FLOODS)
def test_floods_end_by_a_limit(flooded, what):
    """Whatever is sent without end: the session ends by a limit, long before the flood, in 16 MiB at most."""
    g = flooded
    head, chunk, total, counter = FLOODS[what]
    with g.client() as c:
        pid, counted = smtps_pid(g), g.metrics('smtps')[counter]
        before = memory(pid)
        sent = endless(c, head, chunk, total)
        assert sent < total, f'{sent} bytes were taken'
        assert memory(pid) - before < 16 << 20
        assert g.metrics('smtps')[counter] == counted + 1
        with g.client() as other:
            other.cmd('NOOP', 250)
        assert g.queue() == []


# ---- refusals ----

HI, MAIL, RCPT = 'EHLO c.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@far.test>'
REFUSALS = [  # what is said; the code and the enhanced code of the last reply; words that say what to do
    (['FOO'], '500 5.5.1', 'not known'),
    (['NOOP ' + 'x' * 600], '500 5.5.2', 'too long'),
    (['NOOP a\rb'], '500 5.5.2', 'CR or NUL'),
    (['STARTTLS'], '502 5.5.1', 'not offered'),
    (['AUTH PLAIN c2VjcmV0'], '502 5.5.1', 'not offered'),
    (['EXPN x'], '502 5.5.1', 'not offered'),
    (['EHLO'], '501 5.5.4', 'your host name'),
    (['HELO a b'], '501 5.5.4', 'one word'),
    ([MAIL], '503 5.5.1', 'HELO or EHLO first'),
    ([HI, RCPT], '503 5.5.1', 'MAIL comes first'),
    ([HI, MAIL, 'DATA'], '503 5.5.1', 'RCPT comes first'),
    ([HI, MAIL, MAIL], '503 5.5.1', 'transaction is under way'),
    ([HI, 'RSET x'], '501 5.5.4', 'no argument'),
    ([HI, 'MAIL x'], '501 5.5.4', 'FROM:<address>'),
    ([HI, MAIL + ' FOO=1'], '555 5.5.4', 'not known'),
    ([HI, MAIL + ' SIZE=x'], '501 5.5.4', 'number'),
    ([HI, MAIL + ' SIZE=99999999'], '552 5.3.4', 'larger'),
    ([HI, MAIL + ' BODY=X'], '501 5.5.4', '8BITMIME'),
    ([HI, MAIL, 'RCPT x'], '501 5.5.4', 'TO:<address>'),
    ([HI, MAIL, 'RCPT TO:<@>'], '501 5.1.3', ''),
    ([HI, MAIL, RCPT, RCPT, RCPT], '452 4.5.3', 'rest again'),
    ([HI, 'BDAT 0'], '503 5.5.1', 'MAIL comes first'),
    ([HI, 'BDAT x'], '501 5.5.4', 'octets'),
    (['VRFY'], '501 5.5.4', 'an address'),
    (['XCLIENT ADDR=192.0.2.1'], '550 5.7.0', 'not trusted'),
    ([HI, MAIL, RCPT, 'RSET', MAIL, RCPT, 'RSET', MAIL], '421 4.7.0', 'connect again'),
    (['VRFY gr\xfc@far.test'], '553 5.6.7', 'SMTPUTF8'),
    (['VRFY <a@b> x'], '501 5.1.3', 'one address'),
    ([HI, MAIL + 'X'], '501 5.5.4', 'A blank'),
    ([HI, 'MAIL FROM:<gr\xfc@b.test>'], '550 5.6.7', 'SMTPUTF8'),
    ([HI, MAIL + ' SMTPUTF8=1'], '501 5.5.4', 'no value'),
    ([HI, MAIL + ' PRDR=1'], '501 5.5.4', 'no value'),
    ([HI, MAIL + ' RET=1'], '501 5.5.4', 'FULL or HDRS'),
    ([HI, MAIL + ' ENVID=+'], '501 5.5.4', 'xtext'),
    ([HI, MAIL + ' RET=FULL RET=FULL'], '501 5.5.4', 'twice'),
    (['HELO c.test', MAIL + ' RET=FULL'], '555 5.5.4', 'EHLO'),
    ([HI, MAIL, 'RCPT TO:<gr\xfc@b.test>'], '553 5.6.7', 'SMTPUTF8'),
    ([HI, MAIL, RCPT + ' NOTIFY=1'], '501 5.5.4', 'NEVER'),
    ([HI, MAIL, RCPT + ' ORCPT=1'], '501 5.5.4', 'type;address'),
    (['BDAT5'], '500 5.5.2', 'number of octets'),
    (['BDAT 5\0'], '500 5.5.2', 'CR or NUL'),
    (['BDAT 5' + ' ' * 3000], '500 5.5.2', 'too long'),
    (['NOOP\nNOOP'], '500 5.5.2', 'CRLF'),
    ([HI, MAIL, 'RCPT TO:<@>', 'DATA'], '554 5.5.1', 'No valid recipients'),
    ([HI, MAIL, 'RCPT TO:<@>', 'BDAT 0'], '554 5.5.1', 'No valid recipients'),
]
ELSEWHERE = {  # what needs more than a dialogue: a part of its text, the test that forces it
    'Going down, try again later': 'unit/smtps/filter.c::stopped_before_the_end',
    'The mail cannot be taken now': 'unit/smtps/filter.c::envelope',
    'Too much is under way': 'unit/smtps/limits.c::memory', 'The queue is busy': 'unit/smtps/intake.c::faults_of_qmgr',
    'The queue takes no message': 'unit/smtps/session.c::faults_of_the_store',
    'The queue could not keep': 'unit/smtps/session.c::faults_of_the_store',
    'Recipients cannot be checked': 'system/test_smtps.py::test_a_server_that_is_away',
    'Senders cannot be checked': 'unit/smtps/policy.c::refused_at_mail',
    'Addresses cannot be checked': 'system/test_model.py::test_the_session_alone',
    'Recipient cannot be checked': 'unit/smtps/verdict.c::frames', 'Recipient refused': 'unit/smtps/verdict.c::frames',
    'Too many tiny chunks': 'system/test_bdat.py::test_abuse_is_cut_off',
    'Far more content': 'system/test_smtps.py::test_endless_line_and_endless_content',
    'Line does not end': 'system/test_smtps.py::test_endless_line_and_endless_content',
    'You talked before': 'system/test_smtps.py::test_early_talker_and_silence',
    'silent for too long': 'system/test_smtps.py::test_early_talker_and_silence',
    'is going down': 'unit/smtps/session.c::stopping', 'has a new configuration': 'system/test_reload.py::test_sessions_over_reloads',
    'Too many bad commands': 'unit/smtps/bounds.c::limits_of_commands',
    'do nothing': 'unit/smtps/bounds.c::limits_of_commands', 'do not exist': 'unit/smtps/bounds.c::limits_of_commands',
    'AUTH wants <>': 'system/test_auth.py::test_parameter_of_mail', 'Authentication failed': 'system/test_auth.py::test_wrong_secrets',
    'Authentication is not possible': 'system/test_auth.py::test_secrets_cannot_be_asked',
    'Authentication was given up': 'system/test_auth.py::test_order', 'Say EHLO first': 'system/test_auth.py::test_order',
    'You have authenticated': 'system/test_auth.py::test_order', 'mechanism is not offered': 'system/test_auth.py::test_order',
    'Too many failed auth': 'system/test_auth.py::test_wrong_secrets', 'is no base64': 'system/test_auth.py::test_odd_responses',
    'Say STARTTLS first': 'system/test_auth.py::test_tls_only',
    'TLS comes first, say STARTTLS': 'system/test_tls.py::test_tls_only',
    'XCLIENT wants': 'system/test_proxy.py::test_xclient', 'Bare CR or LF': 'system/test_limits.py::test_refused_content_is_logged',
    'goes round': 'system/test_limits.py::test_refused_content_is_logged', 'too many connections': 'system/test_limits.py::test_client_limits_are_of_all_processes',
    'too often': 'system/test_limits.py::test_client_rate', 'XVERP': 'system/test_notify.py::test_xverp',
    'TLS is on already': 'unit/smtps/starttls.c::a_mail', 'TLS is not available': 'unit/smtps/starttls.c::not_now',
    'REQUIRETLS has no value': 'system/test_requiretls.py::test_offered_inside_tls_only',
    'sent to too many recipients': 'system/test_auth_limits.py::test_what_an_account_may_send',
    'sent too many mails': 'system/test_auth_limits.py::test_what_an_account_may_send',
    'your settings cannot be read': 'system/test_session_conf.py::test_each_client_has_its_own',
}


@pytest.fixture(scope='module')
def strict(inst):
    with gateway(inst, 'max_rcpts_per_transaction = 2; max_transactions = 2; max_message_size = 1MB; vrfy = yes;',
                 flags='8bitmime, access, prdr') as g:
        yield g


def refusals_of_the_source():
    """Every text that core/smtps says with a 4xx or 5xx; of one with a % its longest part."""
    says = re.compile(r'smtps_session_(refuse|bad)\(|smtps_session_reply\(\s*s, [45]|smtps_bdat_lost\(|too_bad\(|say_bye\(|err_set\(\s*err,\s*"\d\.\d'
                      r'|\btext = |^\s*refuse\(s, &m_|\{[45]\d\d,\s*"|\{\s*\[ACT_', re.M)
    out = set()
    for path in (SRC / 'core/smtps').glob('*.c'):
        text = re.sub(r'"\s*\n\s*"', '', path.read_text())
        for statement in text.split(';\n'):
            if says.search(statement) and 'log_event' not in statement:
                for lit in re.findall(r'"((?:[^"\\]|\\.)*)"', statement):
                    part = max(re.split(r'%[a-z.*\d]*', re.sub(r'^\d\.\d\.\d ', '', lit)), key=len).strip(' ,:;')
                    if ' ' in part and part.lower() != 'recipient ok':
                        out.add(part)
    return out


def test_refusals(strict):
    """Code, enhanced code, words that help, and one line in the log with client and session; every refusal that the
    source has is tried, here or elsewhere."""
    lines = lambda: re.findall(r' smtps\.\w+ session=(\d+) id=\S+ client=127\.0\.0\.1 (?:\w+=\S+ )*?reply=(\d+) dsn=(\S+)', strict.log())
    before, replies, due = len(lines()), [], []
    for said, codes, words in REFUSALS:
        with strict.client() as c:
            for i, command in enumerate(said):
                c.send(command.encode('utf-8') + b'\r\n')
                got = c.reply()
                if got[0] in '45':
                    due.append(tuple(got.split()[:2]))
                    replies.append(got)
            assert got.startswith(codes) and words in got and len(got) > len(codes) + 10, (said, got)
    lab.wait_for('the lines', lambda: len(lines()) - before >= len(due))
    assert [(code, dsn) for _, code, dsn in lines()[before:]] == due, 'one line each, in their order'
    log = strict.log()
    assert re.search(r'reply=501 dsn=5\.1\.3 text=.* said="?RCPT TO:<@>', log), 'an admin sees what was wrong'
    assert 'c2VjcmV0' not in log and 'FOO=1' in log, 'but nothing that may be a password'
    found = refusals_of_the_source()
    assert len(found) > 40
    untried = {f for f in found if not any(f in r for r in replies) and not any(e in f for e in ELSEWHERE)}
    assert not untried, untried
    for words, test in ELSEWHERE.items():
        path, name = test.split('::')
        assert any(words in f for f in found), f'no such refusal: {words}'
        assert re.search(rf'\b{name}\(', (SRC / 'tests' / path).read_text()), test


CONTENT = [  # what is sent as a mail, or in place of commands; the line of the log
    (b'a\nb\r\n.\r\n', r'smtps.refused session=\d+ id=S\w+ client=127.0.0.1 reply=550 dsn=5.6.11 reason=bare-newline '),
    (b'x' * 70 * 20000 + b'\r\n.\r\n', r'smtps.refused session=\d+ id=S\w+ client=127.0.0.1 reply=552 dsn=5.3.4 reason=size '),
    (b'Received: x\r\n' * 40 + b'\r\n.\r\n', r'smtps.refused session=\d+ id=S\w+ client=127.0.0.1 reply=554 dsn=5.4.6 reason=hops '),
    (None, r'smtps.bare_newline session=\d+ id=- client=127.0.0.1 reply=500 dsn=5.5.2'),
]


@pytest.mark.parametrize('content, line', CONTENT, ids=['bare', 'size', 'hops', 'command'])
def test_refused_content_is_logged(strict, content, line):
    before = len(re.findall(line, strict.log()))
    with strict.client() as c:
        if content is None:
            c.send('NOOP\n')
        else:
            for command in (HI, MAIL, RCPT, 'DATA'):
                assert c.cmd(command)[0] in '23'
            c.send(content)
        assert c.reply()[0] == '5'
        lab.wait_for('one line', lambda: len(re.findall(line, strict.log())) == before + 1)


# ---- the last reply ----

def descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def flood_and_read(c, chunk, total):
    """Sends all of it, whatever is said meanwhile, and reads only then: the bytes that came. A reset is an error."""
    c.s.settimeout(lab.WAIT)
    for _ in range(total // len(chunk)):
        c.s.sendall(chunk)
    got = b''
    while data := c.s.recv(65536):
        got += data
    return got


BYES = {  # what a client goes on to send and when it is cut; the last reply
    'bad commands': ('', b'FOO bar\r\n' * 500, '421 4.7.0'),
    'no mail': ('EHLO c.test\r\n' + 'NOOP\r\n' * 90, b'NOOP\r\n' * 1000, '421 4.7.0'),
    'bare LF': ('', b'EHLO c.test\n' * 500, '500 5.5.2'),
    'BDAT': ('EHLO c.test\r\nBDAT x\r\n', b'x' * 4000, '501 5.5.4'),
    'endless line': ('', b'x' * 8000, '500 5.5.2'),
}


@pytest.fixture(scope='module')
def polite(inst):
    g = gateway(inst, 'client_limits { exempt = { 127.0.0.1, 127.0.0.2 }; max_connections = 1; } ')
    g.conf.write_text(g.conf.read_text().replace('smtps {', f'smtps {{ listen_socket local {{ type = unix; '
                      f'path = "{g.dir}/s"; umask = 000; }} ', 1))
    with g:
        yield g


@pytest.mark.parametrize('unix', [False, True], ids=['tcp', 'unix'])
@pytest.mark.parametrize('what', BYES)
def test_the_last_reply_is_read(polite, what, unix):
    """Who goes on sending behind a limit is not reset before the last reply was read, however that goes."""
    g, (head, chunk, bye) = polite, BYES[what]
    pid = smtps_pid(g)
    for _ in range(10):
        with (lab.Client(str(g.dir / 's')) if unix else g.client()) as c:
            c.send(head)
            last = flood_and_read(c, chunk, 160000).decode().splitlines()[-1]
            assert last.startswith(bye), last
    lab.wait_for('all to be closed', lambda: json.loads(g.http('smtps', 'GET', '/v1/intake')[1])['lingering'] == 0)
    assert descriptors(pid) < 60


def test_the_last_reply_of_a_greeting_is_read(polite):
    """421 in place of the greeting, while the client sends already."""
    [held] = connect(polite, '127.0.0.3')
    for _ in range(100):
        c = lab.Client(('127.0.0.1', polite.port), greet=False, source='127.0.0.3')
        got = flood_and_read(c, b'EHLO c.test\r\n' * 500, 60000)
        assert got.startswith(b'421 4.7.0 ') and got.count(b'\r\n') == 1, got
        c.s.close()
    held.s.close()


def test_clients_that_only_send(inst):
    """They never read and never stop: bounded in number and time, then memory and descriptors are back. A stop waits for none."""
    with gateway(inst, 'max_sessions = 3; ') as g:
        settled(g, ['smtps'])
        pid = smtps_pid(g)
        lingering = lambda: json.loads(g.http('smtps', 'GET', '/v1/intake')[1])['lingering']
        before = descriptors(pid)
        three = connect(g, n=3)
        flood = [lab.Client(('127.0.0.1', g.port), greet=False) for _ in range(300)]
        lab.wait_for('the bound', lambda: lingering() == 256)
        told = []
        for c in flood:
            c.s.setblocking(False)
            with contextlib.suppress(OSError):  # the oldest were closed to make room
                while c.s.send(b'x' * 65536):
                    pass
        for c in flood:
            c.s.settimeout(lab.WAIT)
            told.append(c.reply()[:9])
        assert told == ['421 4.3.2'] * 300
        assert descriptors(pid) <= before + 3 + 256
        lab.wait_for('an end', lambda: lingering() == 0)
        lab.wait_for('their descriptors', lambda: descriptors(pid) <= before + 3)  # that of the question itself goes too
        for c in three + flood:
            c.s.close()
        settled(g, ['smtps'])
        flood = [g.client() for _ in range(3)] + [lab.Client(('127.0.0.1', g.port), greet=False) for _ in range(20)]
        g.proc.send_signal(signal.SIGTERM)  # they stay, and say nothing
        assert flood[0].reply().startswith('421 4.3.2')
        status, answer = 200, ''
        with contextlib.suppress(OSError, ValueError, IndexError):
            while status == 200:  # asked while it ends, it lives
                status, answer = g.http('smtps', 'GET', '/v1/clients')
        assert status == 200 or (status == 503 and 'stopping' in answer)
        assert g.stop() == 0
        assert len(re.findall(r'smtps.max_sessions listener=\S+ client=127.0.0.1', g.log())) >= 320


def test_clients_are_shown(inst):
    """meta1ctl clients: those of all processes, the busiest first."""
    limits = 'client_limits { ipv4_prefix = 24; exempt = 127.0.0.1; } '
    with gateway(inst, f'processes = 2; {limits}') as g:
        settled(g, ['smtps', 'smtps.1'])
        mine = connect(g, '127.0.3.1', 3) + connect(g, '127.0.3.9', 2) + connect(g, '127.0.4.1')
        for c in mine:
            c.cmd('EHLO c.test', 250)
        for args in ([], ['smtps.1']):
            got = json.loads(g.ctl('clients', *args, '--json').stdout)
            rows = [(x['client'], x['connections'], x['rate']) for x in got['clients'] if x['connections']]
            assert rows == [('127.0.3.0/24', 5, 5), ('127.0.4.0/24', 1, 1)] and got['total'] >= 2
        lines = [line.split() for line in g.ctl('clients').stdout.splitlines()]
        assert lines[0][0] == 'connections' and lines[1] == ['5', '5', '127.0.3.0/24']
        assert len(json.loads(g.http('smtps', 'GET', '/v1/clients?limit=1')[1])['clients']) == 1
        for bad in ('0', '1001', 'x', '-1'):
            assert g.http('smtps', 'GET', f'/v1/clients?limit={bad}')[0] == 400
