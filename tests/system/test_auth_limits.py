# SPDX-License-Identifier: BSD-2-Clause
"""What AUTH costs who cannot: failures of clients and accounts, what an account may send, tries that are left in the middle
of a slow check, and rubbish in each mechanism. Against Cyrus SASL with a sasldb, a saslauthd of our own that can be slow, and
the real one."""
import base64, contextlib, hmac, os, re, shutil, socket, sqlite3, struct, subprocess, threading

import lab, pytest
from test_auth import SECRET, USER, b64, gateway, log_in, plain, sasl

FAST = 'max_failures = 0; trusted_mechanisms = { CRAM-MD5, PLAIN, LOGIN, DIGEST-MD5, SCRAM-SHA-256 }; flags = { plaintext };'


def limited(inst, sasl, sink, options, smtps=''):
    """Loopback is exempt unless it is said who is."""
    return lab.relay_all(inst, sink.port, smtps=f'client_limits {{ exempt = 192.0.2.99; }} {smtps} auth {{ config_path = "{sasl}"; failure_delay = 0; '
                         f'{FAST} {options} }}')


def hello(g, source=None):
    c = lab.Client(('127.0.0.1', g.port), source=source)
    c.cmd('EHLO client.test', 250)
    return c


def tries(g, secret, n=1, source=None):
    """The replies to AUTH in one session; it may end it."""
    out = []
    with hello(g, source) as c:
        for _ in range(n):
            got = c.cmd('AUTH CRAM-MD5')
            if got.startswith('334'):
                digest = hmac.new(secret.encode(), base64.b64decode(got.split(' ')[1]), 'md5').hexdigest()
                got = c.cmd(b64(f'{USER} {digest}'))
            out.append(got[:3])
            if got.startswith('421'):
                assert c.closed()
                break
    return out


def test_a_client_over_its_limit(inst, sasl, sink):
    """It is told so at AUTH, over all its sessions, with the right secret too; others go on; then its time is over."""
    with limited(inst, sasl, sink, 'max_client_failures = 4; max_account_failures = 0; failure_window = 10s;') as g:
        assert tries(g, 'wrong', 2) + tries(g, 'wrong', 2) == ['535'] * 4
        assert tries(g, SECRET) == ['421']
        assert tries(g, SECRET, source='127.0.0.2') == ['235']
        assert 'smtps.auth_barred' in g.log() and 'what=client name=127.0.0.1 failures=4' in g.log()
        lab.wait_for('the end of the window', lambda: tries(g, SECRET) == ['235'], 60)


def test_exempt_clients(inst, sasl, sink):
    with lab.relay_all(inst, sink.port, smtps=f'client_limits {{ exempt = 127.0.0.1; }} auth {{ config_path = "{sasl}"; failure_delay = 0; '
                       f'{FAST} max_client_failures = 1; max_account_failures = 0; }}') as g:
        assert tries(g, 'wrong', 3) + tries(g, SECRET) == ['535'] * 3 + ['235']
        assert tries(g, 'wrong', 2, source='127.0.0.2') == ['535', '421']


@pytest.mark.parametrize('again', ['AUTH PLAIN ' + plain(), 'AUTH PLAIN ' + plain('ANN@gw.test'), 'AUTH LOGIN ' + b64('Ann')])
def test_an_account_over_its_limit(inst, sasl, sink, again):
    """Tried from anywhere: 454, right or wrong, and nobody is asked; its owner goes on from where he was before."""
    with limited(inst, sasl, sink, 'max_client_failures = 0; max_account_failures = 3; failure_window = 1h;') as g:
        assert tries(g, SECRET, source='127.0.0.9') == ['235']
        for i in range(3):
            assert tries(g, 'wrong', source=f'127.0.0.{i + 2}') == ['535']
        assert tries(g, SECRET, source='127.0.0.7') == tries(g, 'wrong', source='127.0.0.8') == ['454']
        assert tries(g, SECRET, source='127.0.0.9') == ['235']
        with hello(g) as c:
            got = c.cmd(again)
            assert got.startswith('454 4.7.0'), got
            c.cmd('NOOP', 250)
        assert 'result=barred' in g.log() and 'what=account name=ann failures=3' in g.log()
        assert g.metrics('smtps')['logins_barred_account_total'] >= 3


def test_all_processes_count_together(inst, sasl, sink):
    """Failures of a client and of an account, and what one sends; who is killed has not forgotten them."""
    limits = 'max_client_failures = 6; max_account_failures = 3; failure_window = 1h; account_limits { max_mails = 5; window = 1h; }'
    with limited(inst, sasl, sink, limits, 'processes = 2;') as g:
        owner = '127.0.0.9'

        def sends():
            with hello(g, owner) as c:
                assert log_in(c).startswith('235')
                return mail(c)[:3]
        assert [sends() for _ in range(12)] == ['250'] * 5 + ['450'] * 7
        got = [r for i in range(12) for r in tries(g, 'wrong', source=f'127.0.1.{i + 1}')]
        assert got == ['535'] * 3 + ['454'] * 9
        for name, pid in g.pids().items():
            if name.startswith('smtps'):
                os.kill(pid, 9)
        lab.wait_for('both again', lambda: len(re.findall(r'mcp\.ready role=smtps', g.log())) == 4)
        assert tries(g, SECRET, source='127.0.1.99') == ['454'] and tries(g, SECRET, source=owner) == ['235']
        assert sends() == '450'


def mail(c, rcpts=('b@far.test',), sender='a@client.test'):
    """The first reply that refuses, or that to RSET."""
    for line in (f'MAIL FROM:<{sender}>', *(f'RCPT TO:<{r}>' for r in rcpts), 'RSET'):
        got = c.cmd(line)
        if not got.startswith('250'):
            c.cmd('RSET', 250)
            return got
    return got


def test_what_an_account_may_send(inst, sasl, sink):
    """Over all its sessions; who has not authenticated, and another account, is not counted with it."""
    with gateway(inst, sink.port, sasl, FAST + 'account_limits { max_mails = 4; max_rcpts = 5; window = 1h; }') as g:
        with hello(g) as c:
            assert log_in(c).startswith('235')
            assert mail(c, ['1@x.test', '2@x.test', '3@x.test']).startswith('250')
            assert mail(c, ['4@x.test', '5@x.test', '6@x.test']).startswith('450 4.7.1 This account has sent to too many recipients')
        with hello(g) as c:
            assert log_in(c).startswith('235')
            assert mail(c).startswith('450') and mail(c).startswith('450')
            assert mail(c).startswith('450 4.7.1 This account has sent too many mails')
        with hello(g) as c:
            assert mail(c).startswith('250') or mail(c).startswith('550')
        assert 'smtps.account_limit' in g.log() and 'account=ann limit=max_rcpts count=5' in g.log()


def test_the_account_may_go_on_later(inst, sasl, sink):
    with gateway(inst, sink.port, sasl, FAST + 'account_limits { max_mails = 1; window = 8s; }') as g:
        def sends():
            with hello(g) as c:
                assert log_in(c).startswith('235')
                return mail(c).startswith('250')
        assert sends() and not sends()
        lab.wait_for('its window to end', sends, 60)


# ---- checks that take their time ----

class Saslauthd(lab.Listener):
    """Answers as saslauthd does, when go is set; held: how many wait."""

    def __init__(self, path):
        self.go, self.held, self.asked = threading.Event(), 0, []
        super().__init__(path)

    def serve(self, c):
        with c, c.makefile('rb') as f:
            words = []
            for _ in range(4):
                n = f.read(2)
                if len(n) < 2:
                    return
                words.append(f.read(struct.unpack('>H', n)[0]).decode())
            self.asked.append(words[0])
            self.held += 1
            self.go.wait(lab.WAIT)
            self.held -= 1
            text = b'OK' if words[:2] == [USER, SECRET] else b'NO'
            with contextlib.suppress(OSError):
                c.sendall(struct.pack('>H', len(text)) + text)


@contextlib.contextmanager
def by_saslauthd(inst, sink, path, options=''):
    d = lab.tempdir('sasl')
    d.chmod(0o755)
    (d / 'smtps.conf').write_text(f'pwcheck_method: saslauthd\nsaslauthd_path: {path or d / "mux"}\nmech_list: PLAIN LOGIN\n')
    with gateway(inst, sink.port, d, 'trusted_mechanisms = { PLAIN, LOGIN }; flags = { plaintext };' + options) as g:
        g.sasl = d
        yield g
    subprocess.run(['rm', '-r', d], check=True)


def test_left_while_it_is_checked(inst, sink):
    """The client goes while the check is under way: nothing of it is used, and the next one is served; with a role that
    stops at that time too."""
    d = lab.tempdir('mux')
    d.chmod(0o755)
    with Saslauthd(d / 'mux') as slow, by_saslauthd(inst, sink, d / 'mux') as g:
        for how in ('close', 'reset', 'pipelined'):
            c = hello(g)
            c.send(f'AUTH PLAIN {plain()}\r\n' + ('MAIL FROM:<a@b.test>\r\n' if how == 'pipelined' else ''))
            lab.wait_for('the check', lambda: slow.held == 1)
            if how == 'reset':
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            c.s.close()
            slow.go.set()
            lab.wait_for('the end of the check', lambda: slow.held == 0)
            slow.go.clear()
        slow.go.set()
        with hello(g) as c:
            c.cmd('AUTH PLAIN ' + plain(), 235)
        slow.go.clear()
        c = hello(g)
        c.send(f'AUTH PLAIN {plain()}\r\n')
        lab.wait_for('the check', lambda: slow.held == 1)
        threading.Timer(1, slow.go.set).start()
        assert g.stop() == 0
    shutil.rmtree(d)


def test_a_slow_check_holds_nobody(inst, sink):
    """Others are served while the checks wait, more than there are threads; each has its answer in the end."""
    d = lab.tempdir('mux')
    d.chmod(0o755)
    with Saslauthd(d / 'mux') as slow, by_saslauthd(inst, sink, d / 'mux') as g:
        waiting = [hello(g) for _ in range(12)]
        for i, c in enumerate(waiting):
            c.send('AUTH PLAIN ' + plain(secret=SECRET if i % 2 else 'wrong') + '\r\n')
        lab.wait_for('some checks', lambda: slow.held >= 2)
        with hello(g) as c:
            c.cmd('NOOP', 250)
        slow.go.set()
        assert [c.reply()[:3] for c in waiting] == ['535', '235'] * 6
        for c in waiting:
            c.s.close()
    shutil.rmtree(d)


@pytest.mark.parametrize('text', [b'', b'\0', b'\0\2', b'\0\2NO', b'\xff\xff', b'\0\4OKOK', b'\0\1O', b'\0\2OK'])
def test_a_saslauthd_that_says_odd_things(inst, sink, text):
    class Odd(lab.Listener):
        def serve(self, c):
            with c:
                c.recv(1000)
                c.sendall(text)
    d = lab.tempdir('mux')
    d.chmod(0o755)
    with Odd(d / 'mux'), by_saslauthd(inst, sink, d / 'mux') as g, hello(g) as c:
        got = c.cmd('AUTH PLAIN ' + plain())
        assert got[:3] in (('235',) if text.startswith((b'\0\2OK', b'\0\4OK')) else ('535', '454')), got
        c.cmd('NOOP', 250)
    shutil.rmtree(d)


def test_the_real_saslauthd(inst, sink):
    """It asks an IMAP server (rimap); a thousand bytes of a name are its business."""
    class Imap(lab.Listener):
        def serve(self, c):
            # it goes without LOGOUT
            with contextlib.suppress(ConnectionResetError), c, c.makefile('rb') as f:
                c.sendall(b'* OK there\r\n')
                for line in f:
                    tag = line.split()[0]
                    while line.rstrip().endswith(b'}'):
                        c.sendall(b'+ go\r\n')
                        line = line.rstrip()[:-3] + f.readline()
                    good = USER.encode() in line and SECRET.encode() in line
                    c.sendall(tag + (b' OK in\r\n' if good or b'LOGOUT' in line.upper() else b' NO wrong\r\n'))
    d = lab.tempdir('mux')
    d.chmod(0o755)
    with Imap() as imap, lab.Daemon('sa', ['setsid', 'saslauthd', '-d', '-a', 'rimap', '-O', f'127.0.0.1/{imap.port}', '-n', '1', '-m', d]) as sa:
        lab.wait_for('saslauthd', lambda: (d / 'mux').exists() or sa.proc.poll() is not None)
        with by_saslauthd(inst, sink, d / 'mux') as g, hello(g) as c:
            assert c.cmd('AUTH PLAIN ' + plain(secret='wrong')).startswith('535')
            c.cmd('AUTH LOGIN', 334)
            c.cmd(b64(USER), 334)
            assert c.cmd(b64(SECRET)).startswith('235')
    shutil.rmtree(d, ignore_errors=True)


def test_sql(inst, sink):
    """Users in a database, by Cyrus' auxprop plugin."""
    d = lab.tempdir('sasl')
    db = sqlite3.connect(d / 'users')
    db.execute('create table u (name text, realm text, password text)')
    db.execute('insert into u values (?, ?, ?)', (USER, 'gw.test', SECRET))
    db.commit()
    db.close()
    (d / 'smtps.conf').write_text(f'pwcheck_method: auxprop\nauxprop_plugin: sql\nsql_engine: sqlite3\nsql_database: {d}/users\n'
                                  "sql_select: select password from u where name = '%u' and realm = '%r'\nmech_list: CRAM-MD5 SCRAM-SHA-256 PLAIN\n")
    if os.geteuid() == 0:
        subprocess.run(['chown', '-R', f'{lab.NOBODY}', d], check=True)
    with gateway(inst, sink.port, d, FAST) as g:
        assert tries(g, SECRET) + tries(g, 'wrong') == ['235', '535']
        assert tries(g, "' or '1'='1") == ['535']
    subprocess.run(['rm', '-r', d], check=True)


# ---- rubbish in each mechanism ----

RUBBISH = [b'', b'\0', b'\0\0', b'\0\0\0', b'\0ann', b'ann', b'n,,', b'n,,n=', b'n,,n=ann,r=', b'n,a=x,n=ann,r=abc', b'y,,n=ann,r=abc', b'p=tls-unique,,n=ann,r=abc',
           b'\xff\xfe\0ann\0x', b'ann 00', b'ann ' + b'0' * 32, b'username="ann",realm="gw.test",nonce="x"', b'username="' + b'a' * 3000 + b'"', b'a' * 9000,
           b'\0' + b'a' * 300 + b'\0x', b'\0ann\0' + b'x' * 8000, b',,,,=,=,n', b'\r\nQUIT\r\n']


@pytest.mark.parametrize('mech', ['PLAIN', 'LOGIN', 'CRAM-MD5', 'DIGEST-MD5', 'SCRAM-SHA-256'])
def test_rubbish(inst, sasl, sink, mech):
    """As initial response and word by word: a refusal, the session goes on, nobody is in, and a good login works after it."""
    d = lab.tempdir('sasl')
    text = (sasl / 'smtps.conf').read_text().replace('PLAIN LOGIN', 'PLAIN LOGIN DIGEST-MD5')
    (d / 'smtps.conf').write_text(text)
    d.chmod(0o755)
    with gateway(inst, sink.port, d, FAST + 'max_client_failures = 0; max_account_failures = 0;', delay='0') as g:
        for first in (True, False):
            with contextlib.ExitStack() as stack:
                c = None
                for i, word in enumerate(RUBBISH):
                    if i % 5 == 0:  # max_bad_commands
                        c = stack.enter_context(hello(g))
                    got = c.cmd(f'AUTH {mech} {b64(word) or "="}' if first else f'AUTH {mech}')
                    for _ in range(6):
                        if not got.startswith('334'):
                            break
                        got = c.cmd(b64(word))
                    assert got[:3] in ('501', '535', '454', '500'), (mech, word, got)
                    assert c.cmd('MAIL FROM:<nobody@x.test>').startswith(('250', '550')) and c.cmd('RSET').startswith('250')
        with hello(g) as c:
            assert log_in(c).startswith('235')
    shutil.rmtree(d)


@pytest.mark.parametrize('word', ['*', ' *', '* ', 'AUTH PLAIN', 'RSET', 'EHLO x', 'MAIL FROM:<a@b.test>', 'Zm9v=', 'Zm9v\tZm9v', '=', '\\'])
def test_in_the_middle(inst, sasl, sink, word):
    """Nothing but base64 and "*" is a word of an exchange, and no command is taken in one."""
    with gateway(inst, sink.port, sasl, FAST, delay='0') as g, hello(g) as c:
        c.cmd('AUTH SCRAM-SHA-256 ' + b64('n,,n=ann,r=abcdef'), 334)
        assert c.cmd(word).startswith('535' if word == 'RSET' else '501')  # that is good base64
        assert c.cmd('RCPT TO:<b@far.test>').startswith('503')
        assert log_in(c).startswith('235')


def test_long_initial_responses(inst, sasl, sink):
    """Tokens are long: AUTH takes what a line of an exchange takes, and no more; other commands keep their bounds."""
    with gateway(inst, sink.port, sasl, FAST, delay='0') as g, hello(g) as c:
        assert c.cmd('AUTH PLAIN ' + b64(b'\0ann\0' + b'x' * 8000)).startswith('535')
        assert c.cmd('AUTH PLAIN ' + 'A' * 12276)[:3] in ('501', '535')
        assert c.cmd('AUTH PLAIN ' + 'A' * 12280).startswith('500 5.5.2')
        assert c.cmd('NOOP ' + 'A' * 5000).startswith('500 5.5.2')
        assert log_in(c).startswith('235')


# ---- facts, behaviour 22 ----

@pytest.mark.parametrize('flags, rcpt', [('8bitmime, access, delay_checks', '250'), ('8bitmime, access, dont_delay_checks', '550')])
def test_a_bad_name_is_no_matter_for_users(inst, sasl, sink, flags, rcpt):
    """cltresolve: refuses a client without a name; with delay_checks not one that has authenticated."""
    g = lab.relay_all(inst, sink.port, smtps=f'auth {{ config_path = "{sasl}"; failure_delay = 0; {FAST} }}', flags=flags,
                      ac='cltresolve:none error:550 5.7.25 no name\ncltresolve:temp error:550 5.7.25 no name\n',
                      smar='client_names = yes; nameserver = "127.0.0.1:9"; DNS_timeout = 100ms; DNS_tries = 1; ').start()

    def stranger():
        with hello(g) as c:
            return mail(c)
    try:
        lab.wait_for('the refusal', lambda: stranger().startswith('550 5.7.25'))
        with hello(g) as c:
            assert log_in(c).startswith('235')
            assert mail(c).startswith(rcpt)
    finally:
        g.close()
