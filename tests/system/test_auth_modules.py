# SPDX-License-Identifier: BSD-2-Clause
"""AUTH by other modules than Cyrus SASL: a real Dovecot's auth service, scripted ones that break each rule of its protocol,
and certificates (EXTERNAL)."""
import contextlib, os, pathlib, shutil, signal, subprocess, threading

import certs, lab, pytest
from test_auth import b64, log_in, offered

HELLO = 'VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\nMECH\tEXTERNAL\tprivate\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n'


def plain(user='ann', secret='pw 123=x', act_as=''):
    return b64(f'{act_as}\0{user}\0{secret}')


class Dovecot(lab.Daemon):
    def __init__(self):
        super().__init__('dauth')
        for sub in ('run', 'state'):
            (self.dir / sub).mkdir()
        (self.dir / 'users').write_text('ann:{PLAIN}pw 123=x::::::\nbob:{PLAIN}y::::::user=robert\n')
        (self.dir / 'dovecot.conf').write_text(f'''base_dir = {self.dir}/run
state_dir = {self.dir}/state
log_path = {self.dir}/dovecot.log
protocols =
ssl = no
auth_mechanisms = plain login cram-md5 scram-sha-256 digest-md5 anonymous
auth_failure_delay = 0
auth_username_chars =
passdb {{
  driver = passwd-file
  args = username_format=%u {self.dir}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/nonexistent
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
''')
        self.socket = self.dir / 'run/auth-client'
        self.start()

    def start(self):
        self.run(['dovecot', '-c', self.dir / 'dovecot.conf', '-F'])
        lab.wait_for('dovecot', self.socket.exists)


@pytest.fixture(scope='module')
def dovecot():
    assert os.geteuid() == 0, 'Dovecot is started by root'
    with Dovecot() as d:
        yield d


def gateway(inst, sink, path, mechs='PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256, DIGEST-MD5, ANONYMOUS, EXTERNAL', options='flags = { plaintext };'):
    return lab.relay_all(inst, sink.port, ac='from:nobody@ REJECT\n', smtps=f'auth {{ module = dovecot; socket = "{path}"; failure_delay = 0; max_failures = 0; '
                         f'trusted_mechanisms = {{ {mechs} }}; {options} }}')


def knows(g):
    """It has heard Dovecot's greeting."""
    def there():
        with g.client() as c:
            return offered(c)
    lab.wait_for('the mechanisms', there)
    return there()[0].split()


@pytest.fixture(scope='module')
def gw(inst, dovecot):
    with lab.Sink() as sink, gateway(inst, sink, dovecot.socket) as g:
        knows(g)
        g.sink = sink
        yield g


def test_offers(gw):
    """What Dovecot has, the secret itself last; nobody without a name."""
    names = knows(gw)
    assert sorted(names) == ['CRAM-MD5', 'DIGEST-MD5', 'LOGIN', 'PLAIN', 'SCRAM-SHA-256'] and set(names[-2:]) == {'PLAIN', 'LOGIN'}


@pytest.mark.parametrize('mech', ['PLAIN', 'LOGIN', 'CRAM-MD5'])
def test_swaks(gw, mech):
    args = ['swaks', '--server', f'127.0.0.1:{gw.port}', '--from', 'a@client.test', '--to', 'b@far.test', '--body', 'hi', '--auth', mech,
            '--auth-user', 'ann', '--auth-password']
    n = len(gw.sink.mails)
    out = subprocess.run(args + ['pw 123=x'], capture_output=True, text=True)
    assert out.returncode == 0, out.stdout
    assert b' with ESMTPA id ' in gw.sink.wait(n + 1)[-1]['body'] and f'mechanism={mech} result=accepted user=ann' in gw.log()
    assert '535' in subprocess.run(args + ['wrong'], capture_output=True, text=True).stdout


def test_names(gw):
    """Dovecot says who it is; acting as another is not for everybody."""
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        assert c.cmd('AUTH PLAIN ' + plain(act_as='bob')).startswith('535')
        assert c.cmd('AUTH PLAIN ' + plain('bob', 'x')).startswith('535')
        assert c.cmd('AUTH PLAIN ' + plain('a\tb\nresp=', 'x')).startswith('535')
        assert c.cmd('AUTH PLAIN ' + plain('bob', 'y')).startswith('235')
    assert 'result=accepted user=robert' in gw.log()


def test_given_up_and_left(gw):
    with contextlib.ExitStack() as stack:
        for i in range(30):
            c = stack.enter_context(gw.client())
            c.cmd('EHLO client.test', 250)
            c.cmd('AUTH CRAM-MD5', 334)
            if i % 2:
                assert c.cmd('*').startswith('501')
                c.cmd('AUTH CRAM-MD5', 334)
    with gw.client() as c:
        c.cmd('EHLO client.test', 250)
        assert c.cmd('AUTH PLAIN ' + plain()).startswith('235')


def test_scram_by_our_own_client(inst, gw, dovecot):
    """smtpc of another gateway says SCRAM-SHA-256, and has Dovecot prove itself."""
    from test_auth_client import Files
    files = Files()
    file = files.write('creds', '127.0.0.1 user=ann password=pw 123=x\n')
    n = len(gw.sink.mails)
    with lab.relay_all(inst, gw.port, smtpc=f'auth {{ file = "{file}"; flags = without_tls; }}') as g, g.client() as c:
        assert c.mail('a@far.test', 'b@far.test', b'Subject: t\r\n\r\nhi\r\n').startswith('250')
        gw.sink.wait(n + 1)
        assert 'mechanism=SCRAM-SHA-256 result=accepted' in g.log()
    shutil.rmtree(files.dir)


def test_away_and_back(inst, sink):
    """454 while it is away, in the middle of an exchange too; when it is back all goes on by itself."""
    with Dovecot() as d, gateway(inst, sink, d.socket) as g:
        knows(g)
        with g.client() as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('AUTH LOGIN', 334)
            children = pathlib.Path(f'/proc/{d.proc.pid}/task/{d.proc.pid}/children').read_text().split()
            d.stop()
            for pid in children:  # one with a client would stay
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            g.wait_log('is away')
            assert c.cmd(b64('ann')).startswith('454 4.7.0')
            c.cmd('EHLO client.test', 250)
            assert c.cmd('AUTH PLAIN ' + plain()).startswith('454 4.7.0')
            d.start()
            g.wait_log('is there again')
            assert c.cmd('AUTH PLAIN ' + plain()).startswith('235')


def test_not_there_at_the_start(inst, sink):
    d = lab.tempdir('none')
    d.chmod(0o755)
    with gateway(inst, sink, d / 'sock') as g:
        with g.client() as c:
            assert offered(c) == []
            assert c.cmd('AUTH PLAIN ' + plain()).startswith('504')
        with Peer(d / 'sock', lambda line: None):
            assert knows(g) == ['CRAM-MD5', 'PLAIN']
    shutil.rmtree(d)


class Peer(lab.Listener):
    """Speaks as Dovecot until answer(line) of an AUTH or CONT says what to send, or 'close'."""

    def __init__(self, path, answer, hello=HELLO):
        self.answer, self.hello, self.lines = answer, hello, []
        super().__init__(path)

    def serve(self, c):
        with c, c.makefile('rb') as f, contextlib.suppress(OSError):
            c.sendall(self.hello.encode())
            for raw in f:
                line = raw.decode('latin-1').rstrip('\n')
                self.lines.append(line)
                said = self.answer(line) if line.startswith(('AUTH', 'CONT')) else None
                if said == 'close':
                    return
                if said:
                    c.sendall(said.replace('ID', line.split('\t')[1]).encode('latin-1'))


def with_peer(inst, sink, answer, hello=HELLO):
    @contextlib.contextmanager
    def made():
        d = lab.tempdir('peer')
        d.chmod(0o755)
        with Peer(d / 'sock', answer, hello) as p, gateway(inst, sink, d / 'sock') as g:
            knows(g)
            yield g, p
        shutil.rmtree(d)
    return made()


ANSWERS = {'OK\tID\tuser=ann\n': '235', 'OK\tID\n': '454', 'OK\tID\tuser=\n': '454', 'OK\tID\tuser=a\001nb\n': '535', 'FAIL\tID\n': '535',
           'FAIL\tID\tuser=ann\ttemp\n': '454', 'FAIL\tID\tcode=temp_fail\treason=x\n': '454', 'FAIL\tID\tuser_disabled\n': '535',
           'FAIL\tID\tauthz\n': '535', 'CONT\tID\t!!!\n': '454', 'CONT\tID\tYQ=\n': '454', 'CONT\tID\t' + 'A' * 5000 + '\n': '454',
           'OK\tID\tuser=' + 'x' * 5000 + '\n': '454', 'OK\tID\tuser=' + 'x' * 300 + '\n': '535', 'close': '454', 'VERSION\t2\t0\n': '454',
           'OK\t0\tuser=ann\nOK\t99999\tuser=ann\nFAIL\tID\n': '535', 'OK\nFAIL\n\n\t\t\nNEW\tword\nFAIL\tID\n': '535',
           'FAIL\tID\nOK\tID\tuser=ann\n': '535', 'OK\tID\tuser=a\0b\n': '454', 'OK\tID' + '\tx' * 500 + '\tuser=ann\n': '454'}


def test_each_answer(inst, sink):
    """Odd, wrong and hostile ones: nobody is in but for a whole OK; a broken line costs the connection, not the role."""
    now = []
    with with_peer(inst, sink, lambda line: now[0]) as (g, p):
        for said, want in ANSWERS.items():
            now[:] = [said]
            lab.wait_for('Dovecot', lambda: up(g, now, said))
            with g.client() as c:
                c.cmd('EHLO client.test', 250)
                got = c.cmd('AUTH PLAIN ' + plain())
                assert got.startswith(want), (said, got)
                c.cmd('NOOP', 250)
        assert not [x for x in p.lines if x.startswith('AUTH') and '\tnologin' not in x]
        assert any('\trip=127.0.0.1' in x for x in p.lines)


def up(g, now, said):
    """The peer of this moment answers."""
    now[:] = ['FAIL\tID\n']
    with g.client() as c:
        c.cmd('EHLO client.test', 250)
        got = c.cmd('AUTH PLAIN ' + plain()).startswith('535')
    now[:] = [said]
    return got


@pytest.mark.parametrize('hello', ['VERSION\t2\t0\nMECH\tPLAIN\nDONE\n', 'OK\t1\tuser=x\n', 'MECH\n' * 50 + 'x' * 5000 + '\n', '\0\n'])
def test_bad_greetings(inst, sink, hello):
    d = lab.tempdir('peer')
    d.chmod(0o755)
    with Peer(d / 'sock', lambda line: None, hello), gateway(inst, sink, d / 'sock') as g:
        g.wait_log('is away')
        with g.client() as c:
            assert offered(c) == []
    shutil.rmtree(d)


def test_slow_one_holds_nobody(inst, sink):
    go = threading.Event()

    def answer(line):
        go.wait(lab.WAIT)
        return 'OK\tID\tuser=ann\n'
    with with_peer(inst, sink, answer) as (g, p):
        with g.client() as a, g.client() as b:
            for c in (a, b):
                c.cmd('EHLO client.test', 250)
            a.send('AUTH PLAIN ' + plain() + '\r\n')
            lab.wait_for('the question', lambda: [x for x in p.lines if x.startswith('AUTH')])
            b.cmd('NOOP', 250)
            go.set()
            assert a.reply().startswith('235')


def test_the_kit(dovecot):
    out = subprocess.run([lab.BUILD / 'sdk/kit/meta1-modtest', lab.BUILD / 'modules/auth/.libs/auth_dovecot.so', '-c', f'socket = "{dovecot.socket}";'],
                         capture_output=True, text=True, timeout=120)
    assert out.returncode == 0 and 'SCRAM-SHA-256: rubbish proves nothing' in out.stdout, out.stdout + out.stderr


# ---- EXTERNAL ----

@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a, certs.Authority('other') as b:
        a.host = a.issue('gw', host='gw.test')
        a.ann, a.none = mail_cert(a, 'ann', 'email:ann@Client.test,email:team@client.test'), a.issue('noname')
        a.stranger = mail_cert(b, 'ann', 'email:ann@client.test')
        yield a


def mail_cert(ca, name, alt):
    ca.run('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', f'/CN={name}', '-keyout',
           f'{name}-m.key', '-out', f'{name}-m.pem', '-addext', f'subjectAltName={alt}', '-CA', str(ca.ca), '-CAkey', str(ca.ca.with_suffix('.key')))
    return ca.dir / f'{name}-m.pem', ca.dir / f'{name}-m.key'


def external(inst, sink, ca, options=''):
    return lab.relay_all(inst, sink.port, ac='from:nobody@ REJECT\n',
                         smtps=f'auth {{ module = external; trusted_mechanisms = EXTERNAL; failure_delay = 0; max_failures = 0; {options} }} '
                         f'tls {{ cert_file = "{ca.host[0]}"; key_file = "{ca.host[1]}"; CAcert_file = "{ca.ca}"; }}')


def with_cert(g, ca, cert):
    c = g.client()
    certs.starttls(c, ca.context(cert))
    return c


def test_external(inst, sink, ca):
    with external(inst, sink, ca) as g:
        with g.client() as c:
            assert offered(c) == []
        for cert in (None, ca.none, ca.stranger):
            with with_cert(g, ca, cert) as c:
                assert offered(c) == [] and c.cmd('AUTH EXTERNAL =').startswith('504')
        for said, want in {'=': 'ann@Client.test', b64('ann@client.test'): 'ann@Client.test', b64('team@client.test'): 'team@client.test'}.items():
            with with_cert(g, ca, ca.ann) as c:
                assert offered(c) == ['EXTERNAL']
                assert c.cmd('AUTH EXTERNAL ' + b64('bob@client.test')).startswith('535')
                assert c.cmd('AUTH EXTERNAL ' + b64('Ann@client.test')).startswith('535')
                assert c.cmd('AUTH EXTERNAL ' + b64('ann@client.test\0')).startswith('535')
                c.cmd('AUTH EXTERNAL', 334)
                assert c.cmd(b64('team')).startswith(('535', '421'))
            with with_cert(g, ca, ca.ann) as c:
                c.cmd('EHLO client.test', 250)
                assert c.cmd('AUTH EXTERNAL ' + said).startswith('235')
                assert f'result=accepted user={want}' in g.log()
                c.cmd('MAIL FROM:<a@client.test>', 250)
                c.cmd('RCPT TO:<b@far.test>', 250)


@pytest.mark.parametrize('identity, who', [('cn', 'ann'), ('subject', '/CN=ann')])
def test_identity(inst, sink, ca, identity, who):
    with external(inst, sink, ca, f'identity = {identity};') as g, with_cert(g, ca, ca.ann) as c:
        c.cmd('EHLO client.test', 250)
        c.cmd('AUTH EXTERNAL', 334)
        assert c.cmd('').startswith('235') and f'result=accepted user={who} ' in g.log().replace('"', '')
