# SPDX-License-Identifier: BSD-2-Clause
"""Maps that ask a server (redis, pgsql, ldap), with the real servers: right answers, keys that are only data,
a server that is restarted, away, silent, or cut off at each byte; many questions at once; the kit."""
import contextlib, json, os, pathlib, pwd, shutil, signal, socket, subprocess, threading, time

import lab
import pytest
from test_lookup import Control

ROWS = {'to:far.test': 'RELAY', 'to:no@far.test': 'error:550 5.1.1 none', 'to:it\'s%*@far.test': 'error:550 5.1.1 odd'}
FULL = os.environ.get('META1_FULL') == '1'


def as_user(name):
    if os.geteuid() != 0:
        return []
    return ['setpriv', f'--reuid={name}', f'--regid={pwd.getpwnam(name).pw_gid}', '--clear-groups']


class Redis(lab.Daemon):
    type = 'redis'

    def __init__(self, inst=None, rows=ROWS):
        super().__init__('redis')
        self.port = lab.free_port()
        (self.dir / 'pw').write_text('s3 cret\n')
        os.chmod(self.dir / 'pw', 0o640)
        shutil.chown(self.dir / 'pw', group=lab.NOBODY)
        self.start()
        for k, v in rows.items():
            self.cli('HSET', 'acc', k, v)
        self.options = f'command = {{ HGET, acc, "%s" }}; password_file = "{self.dir}/pw"; database = 2;'

    def start(self):
        self.run(['redis-server', '--port', self.port, '--bind', '127.0.0.1', '--dir', self.dir, '--save', '900 1', '--requirepass', 's3 cret',
                  '--daemonize', 'no', '--dbfilename', 'd.rdb'])
        lab.wait_for('redis', lambda: self.cli('PING', check=False) == 'PONG')

    def cli(self, *args, check=True):
        p = subprocess.run(['redis-cli', '-p', str(self.port), '-n', '2', '--no-auth-warning', '-a', 's3 cret', *args], capture_output=True, text=True)
        assert not check or p.returncode == 0, p.stderr
        return p.stdout.strip()

    def server(self, port=None):
        return f'127.0.0.1:{port or self.port}'

    def several(self):
        """Options and key of an answer with several values."""
        self.cli('SADD', 'set:key', 'one', 'two')
        return self.options.replace('HGET, acc, "%s"', 'SMEMBERS, "set:%s"')


class Postgres(lab.Daemon):
    type = 'pgsql'
    bin = next(iter(sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin'), reverse=True)), None)

    def __init__(self, inst=None, rows=ROWS):
        super().__init__('pg')
        self.port = lab.free_port()
        if os.geteuid() == 0:
            shutil.chown(self.dir, 'postgres')
        self.pg('initdb', '-D', self.dir / 'a', '-A', 'trust', '-U', 'gw', '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8')
        with open(self.dir / 'a/postgresql.conf', 'a') as f:
            f.write(f"listen_addresses = '127.0.0.1'\nunix_socket_directories = '{self.dir}'\nport = {self.port}\nshared_buffers = 16MB\nfsync = off\n")
        (self.dir / 'a/pg_hba.conf').write_text('local all all trust\nhost all gw 127.0.0.1/32 trust\nhost all meta1 127.0.0.1/32 scram-sha-256\n')
        (self.dir / 'pw').write_text('s3 cret\n')
        os.chmod(self.dir / 'pw', 0o640)
        shutil.chown(self.dir / 'pw', group=lab.NOBODY)
        self.start()
        self.sql("create table acc(k text primary key, v text, w text); create table nets(n inet, v text); create role meta1 login password 's3 cret';"
                 'grant select on acc, nets to meta1;')
        for k, v in rows.items():
            k, v = k.replace("'", "''"), v.replace("'", "''")
            self.sql(f"insert into acc values('{k}', '{v}')")
        self.options = f'conninfo = "dbname=postgres user=meta1"; password_file = "{self.dir}/pw"; query = "select v, w from acc where k = $1";'

    def pg(self, program, *args):
        subprocess.run([*as_user('postgres'), str(self.bin / program), *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL, cwd='/', timeout=60)

    def start(self):
        with open(self.dir / 'log', 'ab') as log:
            self.proc = subprocess.Popen([*as_user('postgres'), str(self.bin / 'postgres'), '-D', str(self.dir / 'a')], stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log, cwd='/')
        lab.wait_for('postgres', lambda: self.sql('select 1', check=False) == '1')

    def stop(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGINT)  # fast shutdown
            self.proc.wait(20)

    def sql(self, text, check=True):
        p = subprocess.run(['psql', '-h', str(self.dir), '-p', str(self.port), '-U', 'gw', '-d', 'postgres', '-Atc', text], capture_output=True, text=True,
                           timeout=20)
        assert not check or p.returncode == 0, p.stderr
        return p.stdout.strip()

    def server(self, port=None):
        return f'127.0.0.1:{port or self.port}'

    def several(self):
        self.sql("insert into acc values('key', 'one', 'two') on conflict do nothing")
        return self.options


class Ldap(lab.Daemon):
    type = 'ldap'

    def __init__(self, inst=None, rows=ROWS):
        super().__init__('ldap')
        self.port, self.tls_port = lab.free_port(), lab.free_port()
        (self.dir / 'db').mkdir()
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', self.dir / 'key', '-out',
                        self.dir / 'crt', '-days', '2', '-subj', '/CN=ldap', '-addext', 'subjectAltName=IP:127.0.0.1'], check=True,
                       stderr=subprocess.DEVNULL)
        (self.dir / 'conf').write_text(f'''include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {self.dir}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {self.dir}/crt
TLSCertificateKeyFile {self.dir}/key
database mdb
suffix "dc=gw,dc=test"
rootdn "cn=admin,dc=gw,dc=test"
rootpw "s3 cret"
directory {self.dir}/db
index objectClass,cn eq
access to * by dn="cn=meta1,dc=gw,dc=test" read by anonymous auth by * none
''')
        ldif = ('dn: dc=gw,dc=test\nobjectClass: domain\ndc: gw\n\ndn: cn=meta1,dc=gw,dc=test\nobjectClass: person\ncn: meta1\nsn: m\n'
                'userPassword: s3 cret\n\n')
        for i, (k, v) in enumerate([*rows.items(), ('key', 'one'), ('none', None)]):
            ldif += f'dn: uid=u{i},dc=gw,dc=test\nobjectClass: inetOrgPerson\nuid: u{i}\nsn: x\ncn: {k}\n' + (f'description: {v}\n' if v else '')
            ldif += 'title: two\n\n' if k == 'key' else '\n'
        ldif += ('dn: ou=deep,dc=gw,dc=test\nobjectClass: organizationalUnit\nou: deep\n\n'
                 'dn: uid=d,ou=deep,dc=gw,dc=test\nobjectClass: inetOrgPerson\nuid: d\nsn: x\ncn: deep\ndescription: down\n\n')
        subprocess.run(['/usr/sbin/slapadd', '-f', self.dir / 'conf'], input=ldif, text=True, check=True, stderr=subprocess.DEVNULL)
        (self.dir / 'pw').write_text('s3 cret\n')
        os.chmod(self.dir / 'pw', 0o640)
        shutil.chown(self.dir / 'pw', group=lab.NOBODY)
        if os.geteuid() == 0:
            for f in [self.dir, self.dir / 'key', *(self.dir / 'db').iterdir(), self.dir / 'db']:
                shutil.chown(f, 'openldap')
        self.start()
        self.options = (f'base = "dc=gw,dc=test"; filter = "(&(objectClass=inetOrgPerson)(cn=%s))"; attributes = {{ description, title }}; '
                        f'bind_dn = "cn=meta1,dc=gw,dc=test"; password_file = "{self.dir}/pw"; ca_file = "{self.dir}/crt"; ')

    def start(self):
        user = ['-u', 'openldap', '-g', 'openldap'] if os.geteuid() == 0 else []
        self.run(['slapd', '-d', '0', *user, '-f', self.dir / 'conf', '-h', f'ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/'])
        lab.wait_for('slapd', lambda: subprocess.run(['ldapwhoami', '-x', '-H', f'ldap://127.0.0.1:{self.port}'], capture_output=True).returncode == 0)

    def server(self, port=None):
        return f'ldap://127.0.0.1:{port or self.port}'

    def several(self):
        return self.options


class Proxy(lab.Listener):
    """Between smar and the server. Of what the server says on a connection only .limit bytes pass; then the connection is
    closed, or stays silent. change(data) may lie."""

    def __init__(self, port):
        self.to, self.limit, self.change, self.speaks = port, None, None, threading.Event()
        self.silent = False
        self.passed, self.total, self.live = 0, 0, set()
        super().__init__()

    @property
    def silent(self):
        return not self.speaks.is_set()

    @silent.setter
    def silent(self, yes):
        (self.speaks.clear if yes else self.speaks.set)()

    def serve(self, c):
        with contextlib.suppress(OSError), c, socket.create_connection(('127.0.0.1', self.to)) as up:
            self.live |= {c, up}
            threading.Thread(target=self.pump, args=(c, up), daemon=True).start()
            said = 0
            while data := up.recv(65536):
                if self.change:
                    data = self.change(data)
                if self.limit is not None and said + len(data) > self.limit:
                    c.sendall(data[:self.limit - said])
                    self.speaks.wait()
                    c.shutdown(socket.SHUT_RDWR)
                    return
                c.sendall(data)
                said += len(data)
                self.passed = said
                self.total += len(data)

    @staticmethod
    def pump(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def cut(self):
        """Ends the connections there are."""
        for s in list(self.live):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self.live.clear()

    def close(self):
        self.silent = False
        self.cut()
        super().close()


@pytest.fixture(scope='module', params=[Redis, Postgres, Ldap], ids=lambda p: p.type)
def server(inst, request):
    if not (inst / lab.PREFIX.lstrip('/') / f'lib/meta1/maps/map_{request.param.type}.so').exists():
        pytest.skip(f'map_{request.param.type} was not built')
    with request.param() as s:
        yield s


@pytest.fixture(scope='module')
def behind(inst, server):
    """A gateway that has its server behind a proxy."""
    with Proxy(server.port) as p, gateway(inst, server, [server.server(p.port)], 'timeout = 1s;') as g:
        yield g, p
        assert len(g.pids()) == 5


def gateway(inst, s, servers, more='', **kw):
    servers = ', '.join(f'"{x}"' for x in servers)
    return lab.Gateway(inst, smtps='flags = { access };', smar=f'map ac {{ type = {s.type}; servers = {{ {servers} }}; ttl = 0; {s.options} {more} }} '
                       'access { name = ac; }', **kw)


def good(g):
    lab.wait_for('good answers', lambda: g.verdict('no@far.test') == '550 5.1.1 none')


def test_answers_and_restart(server, behind):
    """Found, not found, keys with quotes and wildcards; the server's restart costs nobody smar's."""
    g, p = behind
    for rcpt, said in (('u@far.test', '250'), ('no@far.test', '550 5.1.1 none'), ("it's%*@far.test", '550 5.1.1 odd'),
                       ('"a(b)\\\\ *"@far.test', '250'), ("'or'1'='1@else.test", '550 5.7.1'), ('*@else.test', '550 5.7.1'),
                       ('"a)(mail=*"@else.test', '550 5.7.1'), ('%s$1@else.test', '550 5.7.1')):
        assert g.verdict(rcpt).startswith(said), rcpt
    if server.type != 'redis' and not FULL:  # the same code for all
        return
    pid = g.pids()['smar']
    server.stop()
    assert g.verdict('u2@far.test').startswith('451 4.3.0')
    server.start()
    good(g)
    assert g.pids()['smar'] == pid


def test_a_key_of_any_byte(server, behind):
    """Whatever byte stands in a key, it is data: no other row is found, and the server gets one question it understands."""
    g, p = behind
    p.cut()
    c, key, failures = Control(g), b'to:no@far.test', g.log().count('smar.map')
    assert c.query('ac', key)['value'] == ROWS[key.decode()]
    for b in range(256) if FULL else [b for b in range(128) if not chr(b).isalnum()] + [0x80, 0xa0, 0xc3, 0xe2, 0xff]:
        for bad in (key + bytes([b]), bytes([b]) + key, key[:-2] + bytes([b]) + key[-1:], key + bytes([b]) + b"' or '1'='1"):
            got = c.query('ac', bad)
            # a directory compares as the attribute's type says: here without letters' case, blanks at the ends and what does not print
            same = server.type == 'ldap' and (bad.decode('latin-1').lower().strip() == key.decode() or b < 33 or b == 127) and b"'" not in bad
            assert got['result'] == 'notfound' or bad == key or (same and got['value'] == ROWS[key.decode()]), (bad, got)
    assert c.query('ac', key)['value'] == ROWS[key.decode()]
    assert g.log().count('smar.map') == failures, g.log()[-1000:]


def test_restart_in_between_is_not_seen(behind):
    """Kept connections that ended are made anew for the next question."""
    g, p = behind
    before = p.connections
    for i in range(3):
        assert g.verdict(f'u{i}@far.test').startswith('250')
        p.cut()
    assert p.connections >= before + 2


def test_many_at_once(behind):
    g, p = behind
    clients = [g.client() for _ in range(50)]
    for c in clients:
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
    for i, c in enumerate(clients):
        c.send(f'RCPT TO:<{"no" if i % 2 else f"u{i}"}@far.test>\r\n')
    for i, c in enumerate(clients):
        assert c.reply().startswith('550 5.1.1' if i % 2 else '250')
        c.s.close()


def test_as_many_connections_as_said(inst, server):
    """Questions that a server is slow to answer do not open more connections than the option says."""
    go = threading.Event()
    go.set()
    with Proxy(server.port) as p, gateway(inst, server, [server.server(p.port)], 'connections = 2;') as g:
        p.change = lambda data: go.wait(lab.WAIT) and data
        good(g)
        before = p.connections
        go.clear()
        askers = [Control(g) for _ in range(20)]
        for i, c in enumerate(askers):
            c.c.request('POST', '/v1/map-query?map=ac', f'q{i}')
        lab.wait_for('all questions', lambda: g.metrics('smar')['map_open_now'] == 20)
        if server.type == 'pgsql':  # one question a connection; the others have all on one
            lab.wait_for('the second connection', lambda: p.connections == before + 1)
        go.set()
        for c in askers:
            assert json.loads(c.c.getresponse().read())['result'] == 'notfound'
        assert p.connections == before + (server.type == 'pgsql')


def test_user_of_redis(inst, server):
    if server.type != 'redis':
        pytest.skip('an option of redis')
    server.cli('ACL', 'SETUSER', 'gw', 'on', '>s3 cret', '~acc', '+hget', '+select', '+hello', '+ping')
    for user, said in (('gw', '250'), ('nobody', '451 4.3.0')):
        with gateway(inst, server, [server.server()], f'user = {user};') as g:
            assert g.verdict('u@far.test').startswith(said)
    server.cli('ACL', 'DELUSER', 'gw')


def test_where_ldap_searches(inst, server):
    """The base alone, right below it, anywhere below it; and more entries than size_limit are no answer."""
    if server.type != 'ldap':
        pytest.skip('options of ldap')
    options = server.options.replace('base = "dc=gw,dc=test"; ', '').replace('(cn=%s)', '(cn=%s*)')
    smar = ''.join(f'map {name} {{ type = ldap; servers = "{server.server()}"; ttl = 0; {scope} size_limit = 2; {options} }} ' for name, scope in (
        ('alone', 'base = "uid=u0,dc=gw,dc=test"; scope = base;'), ('below', 'base = "dc=gw,dc=test"; scope = one;'),
        ('all', 'base = "dc=gw,dc=test"; scope = sub;')))
    with lab.Gateway(inst, smar=smar) as g:
        c = Control(g)
        got = {(m, k): c.query(m, k.encode()) for m in ('alone', 'below', 'all') for k in ('to:far', 'to:no', 'deep', 'to:')}
        assert {k: v.get('value', v['result']) for k, v in got.items()} == {
            ('alone', 'to:far'): 'RELAY', ('alone', 'to:no'): 'notfound', ('alone', 'deep'): 'notfound', ('alone', 'to:'): 'RELAY',
            ('below', 'to:far'): 'RELAY', ('below', 'to:no'): 'error:550 5.1.1 none', ('below', 'deep'): 'notfound', ('below', 'to:'): 'tempfail',
            ('all', 'to:far'): 'RELAY', ('all', 'to:no'): 'error:550 5.1.1 none', ('all', 'deep'): 'down', ('all', 'to:'): 'tempfail'}
        assert 'Size limit exceeded' in got['all', 'to:']['text']


def test_cut_at_each_byte(behind):
    """What the server says ends after n bytes: never found, never not found, only later."""
    g, p = behind
    p.cut()
    good(g)
    whole = p.passed
    for n in range(0, whole, max(whole // 100, 1)) if FULL else (whole // 2,):
        p.limit, before = n, p.connections
        p.cut()
        while p.connections == before:
            said = g.verdict('no@far.test')  # asks several keys; one of them meets the end
            assert said.startswith('451 4.3.0') or said == '550 5.1.1 none', (n, said)
        p.limit = None
        p.cut()
        good(g)


LIES = {
    'redis': (b'HTTP/1.0 400 no\r\n\r\n', b'*1000000000\r\n', b'$536870900\r\n' + b'x' * 3000000, b'*1\r\n*1\r\n$1\r\nx\r\n'),
    'pgsql': (b'HTTP/1.0 400 no\r\n\r\n', b'\0' * 4096, b'T\x7f\xff\xff\xff' + b'x' * 3000000, b'E\0\0\0\x05\0' * 50),
    'ldap': (b'HTTP/1.0 400 no\r\n\r\n', b'\0' * 4096, b'\x30\x84\x7f\xff\xff\xff' + b'x' * 3000000, b'\x30\x0c\x02\x01\x63\x65\x07\x0a\x01\0\4\0\4\0' * 9),
}


def test_liar(server, behind):
    """What is no protocol, a flood, an answer without a question: temporary, and nobody else notices."""
    if server.type != 'redis' and not FULL:
        pytest.skip('META1_FULL=1')
    g, p = behind
    for early in (True, False) if FULL else (False,):
        for i, lie in enumerate(LIES[server.type][:None if FULL else 1]):
            if early:  # from the log-in on, else in place of an answer
                p.cut()
            p.change = lambda d, lie=lie: lie
            said = g.verdict(f'l{i}@far.test')
            assert said.startswith('451 4.3.0'), (i, said)
            p.change = lambda d: d + d  # the answer, and once more
            assert g.verdict(f'l{i}@far.test')[:3] in ('250', '451')
            p.change = None
            p.cut()
            good(g)


@pytest.mark.skipif(not FULL, reason='META1_FULL=1')
def test_none_answers(inst, server):
    """One is absent, one silent: later, in time; and at once when it speaks."""
    with Proxy(server.port) as p, gateway(inst, server, [server.server(lab.free_port()), server.server(p.port)], 'timeout = 300ms;') as g:
        p.limit, p.silent = 0, True
        p.cut()
        start = time.monotonic()
        assert g.verdict('u@far.test').startswith('451 4.3.0')
        assert time.monotonic() - start < 5
        assert 'Connection refused' in g.log() and 'takes too long' in g.log()
        p.limit, p.silent = None, False
        lab.wait_for('an answer', lambda: g.verdict('u@far.test').startswith('250'))


def test_silent_server(inst, server):
    """It delays only its askers and only once; the next one answers; the first is used again when it speaks."""
    if server.type != 'redis' and not FULL:
        pytest.skip('the same code for all; META1_FULL=1')
    with Proxy(server.port) as p:
        p.limit, p.silent = 0, True
        with gateway(inst, server, [server.server(p.port), server.server()], 'timeout = 300ms;') as g:
            assert g.verdict('u@far.test').startswith('250')
            start = time.monotonic()
            assert g.verdict('no@far.test') == '550 5.1.1 none'
            assert time.monotonic() - start < 2  # the first one rests
            p.limit, p.silent, before = None, False, p.total
            lab.wait_for('the first server', lambda: g.verdict('u@far.test').startswith('250') and p.total > before)


def kit(s, options, *pairs):
    cmd = [str(lab.BUILD / 'sdk/kit/meta1-modtest'), str(lab.BUILD / f'modules/maps/.libs/map_{s.type}.so'), '-c', options]
    for k in pairs:
        cmd += ['-k', k]
    p = subprocess.run(cmd, capture_output=True, text=True, timeout=300, env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'})
    assert p.returncode == 0, p.stdout[-3000:] + p.stderr[-2000:]
    return p.stdout


def test_kit(inst, server):
    base = f'servers = "{server.server()}"; '
    if FULL:
        kit(server, base + server.options, *(f'{k}={v}' for k, v in ROWS.items()))
    kit(server, base + server.several(), 'key=one' if server.type != 'redis' else 'key=' + server.cli('SMEMBERS', 'set:key').split('\n')[0])


MISTAKES = {
    'redis': (('servers = "a:b"; command = { GET, "%s" };', 'expected a port'), ('servers = "h"; command = { GET, x };', 'expected %s in a word'),
              ('servers = "h"; command = { GET, "%x" };', 'expected %s .the key.'), ('servers = "::1"; command = { GET, "%s" };', 'stands in brackets'),
              ('servers = "h"; command = { GET, "%s" }; user = u;', 'needs a password_file')),
    'pgsql': (('servers = "h"; query = "select 1";', r'expected the parameter \$1'), ('servers = "h"; query = "select $1, $2";', 'no other parameter'),
              ('servers = "h"; query = "select $1"; conninfo = "host=x";', 'say servers'),
              ('servers = "h"; query = "select $1"; conninfo = "password=x";', 'say password_file'),
              ('servers = "h"; query = "select $1"; conninfo = "nonsense=1";', 'conninfo: invalid connection option')),
    'ldap': (('servers = "h"; filter = "(a=%s)"; attributes = b;', 'expected "ldap://'), ('servers = "ldap://h"; filter = "(a=b)"; attributes = b;', 'expected %s'),
             ('servers = "ldap://h"; filter = "(a=%s"; attributes = b;', 'filter: .*Bad search filter'),
             ('servers = "ldap://h"; filter = "(a=%s)"; attributes = b; bind_dn = "cn=x";', 'needs a password_file'),
             ('servers = "ldaps://h"; filter = "(a=%s)"; attributes = b; start_tls = yes;', 'start_tls')),
}


def test_mistakes_are_named(inst, server):
    import re
    for options, said in MISTAKES[server.type]:
        g = lab.Gateway(inst, smar=f'map ac {{ type = {server.type}; {options} }} access {{ name = ac; }}')
        p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
        g.close()
        assert p.returncode == 78 and re.search(said, p.stderr), (options, p.stderr)


@pytest.fixture(scope='module')
def ldap(inst):
    if not (inst / lab.PREFIX.lstrip('/') / 'lib/meta1/maps/map_ldap.so').exists():
        pytest.skip('map_ldap was not built')
    with Ldap() as s:
        yield s


@pytest.mark.parametrize('how', ('ldaps', 'start_tls', 'name', 'other_name', 'other_ca', 'silent', 'password'))
def test_ldap_over_tls(inst, ldap, how):
    """The certificate must be good for the name that the configuration says; a handshake that hangs blocks nobody."""
    if how not in ('silent', 'other_name') and not FULL:  # silent: the next one is asked by ldaps
        pytest.skip('META1_FULL=1')
    more, servers = '', [f'ldaps://127.0.0.1:{ldap.tls_port}']
    if how == 'start_tls':
        more, servers = 'start_tls = yes;', [f'ldap://127.0.0.1:{ldap.port}']
    if how == 'name':
        servers = [f'ldap://localhost:{ldap.port}']
    if how == 'other_name':
        servers = [f'ldaps://localhost:{ldap.tls_port}']
    options = ldap.options
    if how == 'other_ca':
        ldap.options = options.replace(f'ca_file = "{ldap.dir}/crt"; ', '')
    if how == 'password':
        (ldap.dir / 'pw').write_text('wrong\n')
    try:
        with Proxy(ldap.tls_port) as p:
            if how == 'silent':
                p.limit, p.silent = 0, True
                more, servers = 'timeout = 500ms;', [f'ldaps://127.0.0.1:{p.port}', servers[0]]
            with gateway(inst, ldap, servers, more) as g:
                if how in ('other_name', 'other_ca', 'password'):
                    assert g.verdict('u@far.test').startswith('451 4.3.0')
                    assert ('Invalid credentials' if how == 'password' else 'TLS') in g.log()
                else:
                    assert g.verdict('u@far.test').startswith('250')
                    assert g.verdict('no@far.test') == '550 5.1.1 none'
    finally:
        ldap.options = options
        (ldap.dir / 'pw').write_text('s3 cret\n')


def test_password_that_all_may_read(inst, server):
    if server.type != 'redis' and not FULL:
        pytest.skip('the same code for all; META1_FULL=1')
    os.chmod(server.dir / 'pw', 0o644)
    g = gateway(inst, server, [server.server()])
    g.start(ready=False)
    try:
        g.wait_log(r'pw: everybody may read or write it \(mode 644\)')
    finally:
        g.close()
        os.chmod(server.dir / 'pw', 0o640)
