# SPDX-License-Identifier: BSD-2-Clause
"""AUTH of smtpc at next hops: whose credentials, which mechanism, when it is not said, and that a hop that refuses us,
cheats or breaks off gets no mail and makes none bounce. Against scripted peers, and against our own smtps with Cyrus SASL."""
import base64, contextlib, json, os, pathlib, re, signal, subprocess

import certs, lab, pytest
from stores import passwords
from test_tls_client import TlsSink

BODY = b'Subject: t\r\n\r\nhello\r\n'
SECRET = 'pw 123=x'


def b64(s):
    return base64.b64encode(s if isinstance(s, bytes) else s.encode()).decode()


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a:
        a.host, a.named_else = a.issue('hop', host='127.0.0.1'), a.issue('else', host='else.test')
        yield a


class Hop:
    """answer() of a sink that offers mechs and keeps what AUTH brought. says: replies in turn, a function of what came
    or a text; behind the last one the mail goes on."""

    def __init__(self, says=()):
        self.says, self.heard = says, []

    def __call__(self, verb, arg, ses):
        if verb == 'EHLO':
            ses['turn'] = None
        if verb == 'AUTH':
            ses['turn'] = 0
        if ses.get('turn') is None or verb == 'GREETING':
            return None
        i, ses['turn'] = ses['turn'], ses['turn'] + 1
        self.heard.append(f'{verb} {arg}' if verb == 'AUTH' else verb + (' ' + arg if arg else ''))
        says = self.says[i] if i < len(self.says) else '235 2.7.0 ok'
        if not says.startswith('334'):
            ses['turn'] = None
        return says


class AuthSink(TlsSink):
    """Offers STARTTLS, and AUTH inside TLS; raw keeps verbs as they came (base64 is no verb)."""

    def __init__(self, cert, hop, mechs='PLAIN LOGIN', tls=True, **kw):
        self.with_tls = tls
        super().__init__(cert, None if tls else 'not offered', answer=hop, ehlo=('PIPELINING', '8BITMIME', f'AUTH {mechs}'), **kw)

    def talk(self, c, f):
        super().talk(c, f) if self.with_tls else lab.Sink.talk(self, c, f)


class Files:
    """Files with secrets, of the gateway's account alone."""

    def __init__(self):
        self.dir = lab.tempdir('creds')
        os.chmod(self.dir, 0o755)

    def write(self, name, text, mode=0o600):
        new = self.dir / (name + '.new')
        new.write_text(text)
        new.chmod(mode)
        if os.geteuid() == 0:
            os.chown(new, lab.NOBODY, lab.NOBODY)
        new.rename(self.dir / name)
        return self.dir / name


@pytest.fixture
def files():
    f = Files()
    yield f
    subprocess.run(['rm', '-r', f.dir], check=True)


def relay(inst, port, ca, files, rows, auth='', policy='may', smtpc='', qmgr='min_retry_delay = 1h; max_retry_delay = 1h;', **kw):
    file = files.write('creds', rows.replace('HOP', f'127.0.0.1:{port}'))
    return lab.relay_all(inst, port, qmgr=qmgr, smtpc=f'tls_policy = {policy}; tls {{ CAcert_file = "{ca.ca}"; }} {smtpc} '
                         f'auth {{ file = "{file}"; {auth} }}', **kw)


def send(g, rcpt='b@far.test', n=1):
    with g.client() as c:
        for _ in range(n):
            assert c.mail('a@far.test', rcpt, BODY).startswith('250')


def sessions(g):
    return json.loads(g.http('smtpc', 'GET', '/v1/sessions')[1])['sessions']


class Common:
    """One gateway for all tests that need no options of their own. Each takes a place: a domain, the port of its next hop, and there the
    credentials of its kind."""
    KINDS = {'password': f'user=ann password={SECRET}', 'token': 'user=ann@x.test token_file={0}/token{1}',
             'command': 'user=ann@x.test token_command={0}/helper{1}', 'none': ''}
    PLACES = 30

    def __init__(self, inst, ca, files):
        self.files, self.ca, rows, mt = files, ca, '', ''
        self.places = {kind: [] for kind in self.KINDS}
        for kind, text in self.KINDS.items():
            for i in range(self.PLACES):
                place = f'{kind}{i}.test', lab.free_port(), i
                self.places[kind].append(place)
                mt += f'{place[0]} [127.0.0.1]:{place[1]}\n'
                rows += f'127.0.0.1:{place[1]} {text.format(files.dir, i)}\n' if text else ''
        self.g = relay(inst, 0, ca, files, rows, smtpc='idle_timeout = 0; IO_timeout = 2s;', mt=mt)

    @contextlib.contextmanager
    def hop(self, hop, mechs='PLAIN LOGIN', kind='password', text='', mode=0o600, cert=None, sink=None):
        """A next hop at a place nobody had, which a mail is sent to; text: of the file that its row names."""
        self.domain, port, i = self.places[kind].pop()
        if kind in ('token', 'command'):
            self.file = self.files.write(f'{"token" if kind == "token" else "helper"}{i}', text, mode)
        make = sink or (lambda port: AuthSink(cert or self.ca.host, hop, mechs, port=port))
        with make(port) as s:
            self.send()
            yield s

    def send(self):
        send(self.g, f'b@{self.domain}')

    def deferred(self, pattern, sink):
        line = self.g.wait_log(rf'to=<b@{re.escape(self.domain)}> .*status=deferred .*{pattern}')
        assert SECRET not in self.g.log() and sink.mails == []
        reasons = [r['reason'] for m in self.g.queue() for r in m['recipients'] if r['address'] == f'b@{self.domain}']
        assert len(reasons) == 1 and SECRET not in reasons[0], line
        return reasons[0]


@pytest.fixture(scope='module')
def common(inst, ca):
    files = Files()
    c = Common(inst, ca, files)
    with c.g:
        yield c
    subprocess.run(['rm', '-r', files.dir], check=True)


PLAIN = 'AUTH PLAIN ' + b64(f'\0ann\0{SECRET}')
ANN = f'HOP user=ann password={SECRET}\n'


def test_inside_tls(inst, ca, files):
    """The row of the hop; over one session several mails; the secret stands nowhere."""
    hop = Hop()
    with AuthSink(ca.host, hop) as sink, relay(inst, sink.port, ca, files, f'# all\nelse.test user=x password=y\n{ANN}',
                                               smtpc='idle_timeout = 1m;') as g:
        send(g, n=2)
        sink.wait(2)
        g.queue_empty()
        assert hop.heard == [PLAIN] * sink.connections and sink.plain_mails == 0
        assert {s['login'] for s in sessions(g)} == {f'127.0.0.1:{sink.port}'}
        assert f'smtpc.auth' in g.log() and 'user=ann mechanism=PLAIN result=accepted reply=235' in g.log()
        assert SECRET not in g.log() and b64(f'\0ann\0{SECRET}') not in g.log()
        assert g.metrics('smtpc')['logins_total'] == sink.connections


@pytest.mark.parametrize('key', ['127.0.0.1', '.0.0.1'])
def test_rows(inst, ca, files, key):
    hop = Hop()
    with AuthSink(ca.host, hop) as sink, relay(inst, sink.port, ca, files, f'{key}\tuser=ann  realm=r act_as=bob password={SECRET}\n') as g:
        send(g)
        sink.wait(1)
        assert hop.heard == ['AUTH PLAIN ' + b64(f'bob\0ann\0{SECRET}')]


def test_no_row(common):
    hop = Hop()
    with common.hop(hop, kind='none') as sink:
        sink.wait(1)
        assert hop.heard == []


def deferred(g, pattern, sink=None):
    g.wait_log('status=deferred .*' + pattern)
    q = g.queue()
    assert len(q) == 1 and SECRET not in str(q) and SECRET not in g.log()
    assert not sink or sink.mails == []
    return q[0]['recipients'][0]['reason']


def test_login_word_by_word(common):
    hop = Hop(['334 ' + b64('Username:'), '334 ' + b64('Password:')])
    with common.hop(hop, 'LOGIN') as sink:
        sink.wait(1)
        assert [h.upper() for h in hop.heard] == ['AUTH LOGIN', b64('ann').upper(), b64(SECRET).upper()]


@pytest.mark.parametrize('reply, dsn', [('535 5.7.8 go away', '4.7.8'), ('535 nothing more', '4.7.8'), ('454 4.7.0 later', '4.7.0'),
                                        ('504 5.5.4 not that', '4.5.4'), ('421 4.3.2 closing', '4.3.2')])
def test_refused_is_no_bounce(common, reply, dsn):
    with common.hop(Hop([reply])) as sink:
        assert reply.split(' ')[-1] in common.deferred(f' {dsn} ', sink)


def test_the_next_host_is_tried(inst, ca, files):
    bad, good = Hop(['535 5.7.8 no']), Hop()
    with AuthSink(ca.host, bad) as one, AuthSink(ca.host, good) as two, \
            relay(inst, one.port, ca, files, f'127.0.0.1 user=ann password={SECRET}\n',
                  mt=f'. [127.0.0.1]:{one.port} [127.0.0.1]:{two.port}\n') as g:
        send(g)
        two.wait(1)
        assert len(bad.heard) == 1 and one.mails == []


def test_not_offered(common):
    with common.hop(None, sink=lambda port: TlsSink(common.ca.host, port=port)) as sink:
        common.deferred(' 4.7.0 AUTH: the host does not offer it', sink)


@pytest.mark.parametrize('policy, auth, mechs, says', [
    ('may', '', 'PLAIN CRAM-MD5', 'inside TLS only'),
    ('may', 'flags = without_tls;', 'PLAIN LOGIN', 'proved'),
    ('none', 'flags = { without_tls };', 'PLAIN CRAM-MD5', 'CRAM-MD5'),
    ('may', 'flags = { without_tls, plaintext };', 'PLAIN', 'PLAIN')])
def test_without_tls(inst, ca, files, policy, auth, mechs, says):
    hop = Hop(['334 ' + b64('<1@x>')] if says == 'CRAM-MD5' else [])
    with AuthSink(ca.host, hop, mechs, tls=False) as sink, relay(inst, sink.port, ca, files, ANN, auth, policy) as g:
        send(g)
        if says in mechs:
            sink.wait(1)
            assert hop.heard[0].startswith('AUTH ' + says)
        else:
            deferred(g, says, sink)
            assert hop.heard == []


def test_a_hop_that_tls_does_not_prove(common):
    """Encrypted with whoever it is: the password is not shown to him."""
    hop = Hop()
    with common.hop(hop, cert=common.ca.named_else) as sink:
        common.deferred('proved', sink)
        assert hop.heard == []


def test_shown_all_the_same(inst, ca, files):
    with AuthSink(ca.named_else, Hop()) as sink, relay(inst, sink.port, ca, files, ANN, 'flags = plaintext;') as g:
        send(g)
        sink.wait(1)


def test_trusted_and_flags(inst, ca, files):
    hop = Hop(['334 ' + b64('<1@x>')])
    with AuthSink(ca.host, hop, 'PLAIN CRAM-MD5 LOGIN') as sink, \
            relay(inst, sink.port, ca, files, ANN, 'trusted_mechanisms = { login, cram-md5 }; flags = noplaintext;') as g:
        send(g)
        sink.wait(1)
        assert hop.heard[0] == 'AUTH CRAM-MD5'


@contextlib.contextmanager
def second(inst, ca, sink, mechs, secret=SECRET):
    """Our own smtps as the hop, with users in a sasldb; it relays for who authenticates."""
    trusted = ', '.join(mechs.split())
    with passwords('ann', secret, mechs) as d, \
            lab.relay_all(inst, sink.port, ac='from:nobody@ REJECT\n',
                          smtps=f'auth {{ config_path = "{d}"; trusted_mechanisms = {{ {trusted} }}; failure_delay = 10ms; }} '
                          f'tls {{ cert_file = "{ca.host[0]}"; key_file = "{ca.host[1]}"; }}') as g:
        yield g


@pytest.mark.parametrize('mechs, best', [('PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256', 'SCRAM-SHA-256'), ('PLAIN CRAM-MD5', 'CRAM-MD5'),
                                         ('PLAIN LOGIN', 'PLAIN'), ('DIGEST-MD5 PLAIN', 'DIGEST-MD5')])
def test_cyrus_to_cyrus(inst, ca, files, sink, mechs, best):
    """The strongest that both have, with a server that proves itself where it can."""
    n = len(sink.mails)
    with second(inst, ca, sink, mechs) as hop, relay(inst, hop.port, ca, files, ANN.replace('user=ann', 'user=ann realm=gw.test')) as g:
        send(g)
        assert b' with ESMTPSA id ' in sink.wait(n + 1)[-1]['body']
        assert f'mechanism={best} result=accepted' in g.log()
        assert 'user=ann' in hop.log()


def test_cyrus_wrong_password(inst, ca, files, sink):
    with second(inst, ca, sink, 'SCRAM-SHA-256', 'else') as hop, relay(inst, hop.port, ca, files, ANN) as g:
        send(g)
        deferred(g, '535 4.7.8 AUTH: refused: 535 Authentication')


@pytest.mark.parametrize('says', ['235 2.7.0 early', '334 !!!', '334 ' + 'A' * 3000, '334 ' + b64('r=x,s=eA==,i=1'), '334', '250 ok',
                                  'close', 'silence', '334-multi\r\n334 line', '999 what'])
def test_hostile_scram(common, says):
    """A hop that has no proof to give gets no mail, whatever it says."""
    hop = Hop([says])
    with common.hop(hop, 'SCRAM-SHA-256') as sink:
        common.deferred('', sink)
        assert len(hop.heard) >= 1


def test_hop_leaves_with_the_secret_asked(inst, ca, files):
    """Goes in each step; the next one that answers has the mail."""
    for i in range(2):
        hop = Hop(['334 ' + b64('Username:')] * i + ['close'])
        with AuthSink(ca.host, hop, 'LOGIN') as sink, relay(inst, sink.port, ca, files, ANN, qmgr='min_retry_delay = 200ms; max_retry_delay = 200ms;') as g:
            send(g)
            lab.wait_for('the try', lambda: len(hop.heard) > i)
            hop.says = ['334 ' + b64('Username:'), '334 ' + b64('Password:')]
            sink.wait(1)


def test_identities_do_not_share_sessions(inst, ca, files):
    """One host, two logins by recipient: each mail goes over a session of its own login, and none without."""
    hop = Hop()
    rows = 'one user=ann password=1\ntwo user=bob password=2\n'
    ac = 'cltaddr:127.0.0.1 RELAY\nsmtpc_rcpt_conf:one.test login = one;\nsmtpc_rcpt_conf:two.test login = two;\nsmtpc_rcpt_conf:bad.test login = none;\n'
    seen = []

    def answer(verb, arg, ses):
        got = hop(verb, arg, ses)
        if verb == 'AUTH':
            ses['who'] = arg
        if verb == 'RCPT':
            seen.append((arg.split('>')[0].split('<')[1], ses.get('who')))
        return got
    with AuthSink(ca.host, answer) as sink, \
            relay(inst, sink.port, ca, files, rows, smtpc='flags = { rcpt_conf }; idle_timeout = 1m;', ac=ac) as g:
        for i, rcpt in enumerate(['a@one.test', 'a@two.test', 'b@one.test', 'a@bad.test', 'b@two.test']):
            send(g, rcpt)
            sink.wait(i + 1)
            g.queue_empty()
        who = {'one': 'PLAIN ' + b64('\0ann\x001'), 'two': 'PLAIN ' + b64('\0bob\x002'), 'bad': None}
        assert seen == [(r, who[r.split('@')[1][:3]]) for r, _ in seen] and len(seen) == 5
        assert sink.connections <= 4  # kept ones were used


def test_tls_test_logs_in(inst, ca, files):
    """As a delivery would, to a domain's hop and to one that is named; the secret is shown to nobody else."""
    hop = Hop()
    with AuthSink(ca.host, hop) as sink, relay(inst, sink.port, ca, files, ANN, smtpc='idle_timeout = 0;') as g:
        for n, to in enumerate(('far.test', f'[127.0.0.1]:{sink.port}')):
            out = g.ctl('tls', 'test', to).stdout
            assert f'AUTH by the row 127.0.0.1:{sink.port}' in out and 'mail would go' in out and SECRET not in out
            assert hop.heard == [PLAIN] * (n + 1)
        assert sink.mails == []
        for bad in ('[127.0.0.1]:x', '[', 'lmtp:'):
            assert g.ctl('tls', 'test', bad, check=False).returncode
    with AuthSink(ca.host, Hop(['535 5.7.8 no'])) as sink, relay(inst, sink.port, ca, files, ANN) as g:
        p = g.ctl('tls', 'test', f'[127.0.0.1]:{sink.port}', check=False)
        assert p.returncode == 1 and 'no mail would go: 535 4.7.8 AUTH: refused' in p.stdout


def test_a_row_that_is_not_there(inst, ca, files):
    with AuthSink(ca.host, Hop()) as sink, relay(inst, sink.port, ca, files, ANN, smtpc='login = missing;') as g:
        send(g)
        deferred(g, 'has no row missing', sink)


def test_lmtp(inst, ca, files):
    """LMTP over TCP with AUTH, as Cyrus wants it."""
    hop = Hop()

    def answer(verb, arg, ses):
        if verb == 'LHLO':
            return '250-sink.test\r\n250-AUTH PLAIN\r\n250 PIPELINING'
        return hop(verb, arg, ses)
    with lab.Sink(lmtp=True, answer=answer) as sink, \
            relay(inst, sink.port, ca, files, ANN, 'flags = { without_tls, plaintext };', mt=f'. lmtp:[127.0.0.1]:{sink.port}\n') as g:
        send(g)
        sink.wait(1)
        assert hop.heard == [PLAIN]


# ---- tokens ----

def bearer(token, user='ann@x.test'):
    return b64(f'n,a={user},\1auth=Bearer {token}\1\1')


def xoauth2(token, user='ann@x.test'):
    return b64(f'user={user}\1auth=Bearer {token}\1\1')


@pytest.mark.parametrize('mechs, word', [('XOAUTH2 PLAIN', 'XOAUTH2 ' + xoauth2('t1')), ('OAUTHBEARER XOAUTH2', 'OAUTHBEARER ' + bearer('t1'))])
def test_token_of_a_file(common, mechs, word):
    """Read for each login: the next session has the new one."""
    hop = Hop()
    with common.hop(hop, mechs, 'token', 't1\n') as sink:
        sink.wait(1)
        assert hop.heard == ['AUTH ' + word]
        common.files.write(common.file.name, 't2\n')
        common.send()
        sink.wait(2)
        new = (bearer if 'OAUTH' in word.split()[0][:5] else xoauth2)('t2')
        assert hop.heard[-1] == 'AUTH ' + word.split()[0] + ' ' + new


def test_a_long_token_goes_alone(common):
    """RFC 4954, 4: a command has 512 bytes."""
    hop = Hop(['334 '])
    with common.hop(hop, 'XOAUTH2', 'token', 'x' * 2500) as sink:
        sink.wait(1)
        assert [h.upper() for h in hop.heard] == ['AUTH XOAUTH2', xoauth2('x' * 2500).upper()]


@pytest.mark.parametrize('mech, answer', [('XOAUTH2', ''), ('OAUTHBEARER', 'AQ==')])
def test_refused_token(common, mech, answer):
    hop = Hop(['334 ' + b64(f'{{"why":"{mech}"}}'), '535 5.7.8 token expired'])
    with common.hop(hop, mech, 'token', 'the-token') as sink:
        assert 'token expired' in common.deferred(' 4.7.8 AUTH', sink)
        assert hop.heard[1:] == [answer] and 'the-token' not in common.g.log()
        assert re.search(rf'refuses the token.*why.*{mech}', common.g.log())


@pytest.mark.parametrize('text, mode, why', [('', 0o600, 'has no token'), ('a b', 0o600, 'more than a token'), ('x' * 9000, 0o600, 'more than 8192'),
                                             ('t', 0o644, 'lets others have it')])
def test_bad_token_files(common, text, mode, why):
    with common.hop(Hop(), 'XOAUTH2', 'token', text, mode) as sink:
        common.deferred(why, sink)


def helper(files, text):
    path = files.write('helper', '#!/bin/sh\n' + text, 0o700)
    return path


def test_token_of_a_command(inst, ca, files):
    """Kept for a while; one that is refused is asked for anew; its environment is bare."""
    hop = Hop(['535 5.7.8 expired'])
    log = files.write('log', '')
    cmd = helper(files, f'echo "$@" "$HOME" >> {log}\necho tok$(wc -l < {log})\n')
    with AuthSink(ca.host, hop, 'XOAUTH2') as sink, \
            relay(inst, sink.port, ca, files, f'HOP user=ann@x.test token_command={cmd} --for  ann\n', 'token_time = 1h;',
                  smtpc='idle_timeout = 0;', qmgr='min_retry_delay = 200ms; max_retry_delay = 200ms;') as g:
        send(g)
        g.wait_log('status=deferred .*4.7.8')
        hop.says = []
        sink.wait(1)
        send(g)
        sink.wait(2)
        tokens = [base64.b64decode(h.split()[2]).split(b'Bearer ')[1].rstrip(b'\1').decode() for h in hop.heard]
        assert tokens[0] == 'tok1' and len(set(tokens[-2:])) == 1 and tokens[-1] != 'tok1'
        assert set(log.read_text().splitlines()) == {'--for ann '}


def no_helpers(g):
    ours = lambda: [p for p in pathlib.Path('/proc').glob('[0-9]*/stat') if helped(p, g.pids()['smtpc'])]
    lab.wait_for('its processes to end', lambda: not ours())


@pytest.mark.parametrize('text, why', [('exit 3', 'exit status 3'), ('kill -9 $$', 'ended by signal 9'), ('yes', 'more than 8192'), ('echo', 'no token')])
def test_bad_commands(common, text, why):
    """Bounded in output, and nothing of it stays."""
    with common.hop(Hop(), 'XOAUTH2', 'command', '#!/bin/sh\n' + text, 0o700) as sink:
        common.deferred(why, sink)
        no_helpers(common.g)


def test_a_command_that_does_not_end(inst, ca, files):
    mark = files.write('mark', '#!/bin/sh\nexec "$@"\n', 0o700)
    cmd = helper(files, f'{mark} sleep 60 & {mark} sleep 60')
    with AuthSink(ca.host, Hop(), 'XOAUTH2') as sink, \
            relay(inst, sink.port, ca, files, f'HOP user=ann@x.test token_command={cmd}\n', 'token_timeout = 1s;') as g:
        send(g)
        deferred(g, 'took too long', sink)
        no_helpers(g)


def helped(stat, smtpc):
    try:
        return stat.read_text().rpartition(')')[2].split()[1] == str(smtpc[0] if isinstance(smtpc, list) else smtpc)
    except OSError:
        return False


# ---- mistakes ----

@pytest.mark.parametrize('rows, mode, why', [
    (ANN, 0o644, 'mode 644 lets others have it'), (ANN, 0o620, 'mode 620'), ('HOP password=x\n', 0o600, ':1: user= is missing'),
    ('\n\nHOP user=a\n', 0o600, ':3: expected one of password='), ('HOP user=a password=b\nHOP user=a password=b\n', 0o600, ':2: 127.0.0.1'),
    ('HOP usr=a password=b\n', 0o600, 'word is not known'), ('HOP user=a token_file=x\n', 0o600, 'absolute path'),
    ('HOP user=a user=b password=c\n', 0o600, 'stands there twice'), ('none user=a password=b\n', 0o600, 'named none'),
    ('HOP user= password=b\n', 0o600, 'user is empty'), ('. user=a password=b\n', 0o600, ':1: found a row for every host')])
def test_bad_files_stop_the_start(inst, ca, files, rows, mode, why):
    """One line, with file and line, and no word of a secret."""
    g = relay(inst, 25, ca, files, rows)
    os.chmod(files.dir / 'creds', mode)
    try:
        out = subprocess.run(g.run_as(g.command()), env=g.environ(), capture_output=True, text=True, timeout=60)
    finally:
        g.close()
    said = out.stdout + out.stderr
    assert out.returncode != 0 and why in said and SECRET not in said, said


def test_reload(inst, ca, files):
    """A bad file leaves the old credentials; a good one holds for the next session."""
    hop = Hop()
    with AuthSink(ca.host, hop) as sink, relay(inst, sink.port, ca, files, ANN, smtpc='idle_timeout = 1m;') as g:
        send(g)
        sink.wait(1)
        files.write('creds', 'broken\n')
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mcp.reload result="refused')
        send(g)
        sink.wait(2)
        files.write('creds', f'127.0.0.1:{sink.port} user=bob password=new\n')
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mcp.reload result=committed')
        send(g)
        sink.wait(3)
        assert hop.heard[0] == PLAIN and hop.heard[-1] == 'AUTH PLAIN ' + b64('\0bob\0new')
