# SPDX-License-Identifier: BSD-2-Clause
"""How smar asks its maps: flags and macros, keys of any bytes, what is kept, who waits for whom;
meta1ctl map query, list and flush."""
import http.client
import json
import socket
import subprocess
import threading
import time
import urllib.parse

import lab
from test_socketmap import SocketMap


def gateway(inst, smar, **kw):
    return lab.Gateway(inst, smtps='flags = { access };', smar=smar, **kw)


class Control:
    """Many requests over one connection to smar's control socket."""

    def __init__(self, g):
        self.c = http.client.HTTPConnection('x')
        self.c.sock = socket.socket(socket.AF_UNIX)
        self.c.sock.settimeout(15)
        self.c.sock.connect(str(g.dir / 'run/smar.ctl'))

    def ask(self, method, target, body=b''):
        self.c.request(method, target, body)
        r = self.c.getresponse()
        return r.status, json.loads(r.read())

    def query(self, name, key):
        status, j = self.ask('POST', '/v1/map-query?map=' + urllib.parse.quote(name), key)
        assert status == 200, j
        return j

    def map(self, name):
        return next(m for m in self.ask('GET', '/v1/maps')[1]['maps'] if m['name'] == name)


def test_detail_and_delimiter(inst):
    rows = '"to:user@far.test RELAY", "to:x-*@far.test RELAY", "to:x-no@far.test REJECT"'
    m = f'map ac {{ type = text; rows = {{ {rows} }}; }} access {{ name = ac; '
    with gateway(inst, m + 'flags = { dont_implicitly_match_detail }; } address_delimiter = "-";') as g:
        assert g.verdict('user@far.test').startswith('250')
        assert g.verdict('user-d@far.test').startswith('550 5.7.1 relaying')
        assert g.verdict('user+d@far.test').startswith('550 5.7.1 relaying')
        assert g.verdict('x-y@far.test').startswith('250')
        assert g.verdict('x-no@far.test').startswith('550 5.7.1 access')
    with gateway(inst, m + '}') as g:
        assert g.verdict('user+d@far.test').startswith('250')
        # quotes that mean nothing do not lead past a row
        assert g.verdict('"user"@far.test').startswith('250')


def test_macros(inst):
    """The text of an address comes into a reply; what does not belong there is refused."""
    rows = ('"to:.far.test error:550 5.7.1 ${user}/${detail} of ${subdomain} in ${domain}", "to:one.test error:551 5.1.6 ${usr}", '
            '"cltaddr:127.0.0.9 error:550 5.7.1 see x.test?ip=${0}"')
    m = f'map ac {{ type = text; rows = {{ {rows} }}; }} access {{ name = ac; '
    with gateway(inst, m + 'flags = { replace_macros }; }') as g:
        assert g.verdict('User+List@a.b.far.test') == '550 5.7.1 user/list of a.b in a.b.far.test'
        assert g.verdict('u@one.test').startswith('451 4.3.0')
        g.wait_log(r'the value has \$\{usr\}: expected')
        assert g.verdict('"a b"@x.far.test').startswith('554 5.3.0')
        assert g.verdict('u@far.test', source='127.0.0.9') == '550 5.7.1 see x.test?ip=127.0.0.9'
    with gateway(inst, m + '}') as g:
        assert g.verdict('user+list@a.far.test') == '550 5.7.1 ${user}/${detail} of ${subdomain} in ${domain}'


def test_macros_in_the_mailertable(inst):
    """A domain becomes a next hop, and a hostile domain cannot make it another."""
    with lab.Sink() as sink, lab.relay_all(
            inst, sink.port, mt='.far.test [127.0.0.${subdomain}]:%d\n' % sink.port) as g:
        (g.dir / 'meta1.conf').write_text((g.dir / 'meta1.conf').read_text().replace(
            'mailertable { name = mt; }', 'mailertable { name = mt; flags = { replace_macros }; }'))
        g.stop()
        g.start()
        lab.wait_for('all roles', g.takes_mail)
        with g.client() as c:
            c.mail('a@client.test', 'u@1.far.test', 'Subject: x\r\n\r\n')
        assert len(sink.wait(1)) == 1
        lab.wait_for('a route', lambda: 'pending' not in g.http('smar', 'GET', '/v1/route?domain=7.far.test')[1])
        assert '127.0.0.7' in g.http('smar', 'GET', '/v1/route?domain=7.far.test')[1]


def test_a_key_of_any_bytes(inst):
    """No byte in a key leads a map to another row: blanks, NUL, line ends, brackets, 8 bits, at any place."""
    def answer(name, key):
        return 'OK found' if key == 'ab' else 'OK short' if key == 'a' else 'NOTFOUND'

    rows = 'rows = { "ab found", "a short" };'
    with SocketMap(answer) as s:
        kinds = {'text': f'type = text; {rows}', 'regex': 'type = regex; rows = { "/^ab$/ found", "/^a$/ short" };',
                 'cidr': 'type = cidr; rows = { "10.0.0.0/8 found" };', 'passwd': 'type = passwd;',
                 'sequence': 'type = sequence; maps = { text, socket };',
                 'socket': f'type = socket; address = "127.0.0.1"; port = {s.port}; mapname = m;'}
        order = ['text', 'regex', 'cidr', 'passwd', 'socket', 'sequence']
        bin_ = inst / lab.PREFIX.lstrip('/')
        for kind, module in (('hash', 'map_gdbm'), ('lmdb', 'map_lmdb')):
            if (bin_ / f'lib/meta1/maps/{module}.so').exists():
                kinds[kind] = f'type = {kind}; file = "{kind}.db";'
                order.append(kind)
        if (bin_ / 'lib/meta1/maps/map_sqlite.so').exists():
            kinds['sqlite'] = 'type = sqlite; file = "sqlite.db"; query = "SELECT v FROM m WHERE k = ?";'
            order.append('sqlite')
        g = gateway(inst, ' '.join(f'map {k} {{ {kinds[k]} cache_size = 0; }}' for k in order))
        (g.dir / 'rows').write_text('ab found\na short\n')
        for kind in ('hash', 'lmdb'):
            if kind in kinds:
                subprocess.run([bin_ / 'sbin/createmap', '-f', g.conf, kind, g.dir / f'{kind}.db', g.dir / 'rows'], check=True, env=g.environ())
        if 'sqlite' in kinds:
            subprocess.run(['sqlite3', '-batch', str(g.dir / 'sqlite.db')], check=True, text=True,
                           input='CREATE TABLE m (k TEXT, v TEXT); INSERT INTO m VALUES ("ab","found"),("a","short");')
        with g:
            c = Control(g)
            right = {'passwd': ('root', 'root', 'roo'), 'cidr': ('10.0.0.1', 'found', '10.0.0.1'[:-2])}
            for kind in order:
                key, value, short = right.get(kind, ('ab', 'found', 'a'))
                got = c.query(kind, key.encode())
                assert (got['result'], got['value']) == ('found', value), kind
                for b in range(256):
                    byte = bytes([b])
                    for bad in (key.encode() + byte, byte + key.encode(), short.encode() + byte + key[len(short):].encode()):
                        got = c.query(kind, bad)
                        if kind == 'cidr' and bad.isascii() and bad.replace(b'.', b'').replace(b':', b'').isalnum():
                            continue  # another address
                        assert got['result'] in ('notfound', 'tempfail') and 'value' not in got, (kind, bad, got)
                        assert got['result'] == 'notfound' or kind in ('sequence', 'socket'), (kind, bad, got)
                assert c.query(kind, b'')['result'] == 'notfound', kind
                assert c.query(kind, key.encode())['result'] == 'found', kind


def test_query_list_flush(inst):
    said = {'k': 'OK one two', 'no': 'NOTFOUND', 'stop': 'NOMORE', 'later': 'TEMP away', 'never': 'PERM broken', 'bin': b'4:OK \xff,'}
    with SocketMap(lambda name, key: said.get(key, 'NOTFOUND')) as s, gateway(
            inst, f'map net {{ type = socket; address = "127.0.0.1"; port = {s.port}; mapname = m; ttl = 1h; }} '
            'map t { type = text; rows = { "k v" }; } access { name = net; }') as g:
        def query(key, code, name='net', **kw):
            p = g.ctl('map', 'query', name, key, '--json', check=False)
            assert p.returncode == code, p.stderr
            return json.loads(p.stdout)

        got = query('k', 0)
        assert (got['map'], got['key'], got['result'], got['value'], got['cached']) == ('net', 'k', 'found', 'one two', False)
        assert got['ttl'] == 300 and got['ms'] > 0  # cache_ttl
        got = query('k', 0)
        assert got['cached'] is True and 290 <= got['ttl'] <= 300
        assert s.asked == ['k']
        assert query('no', 1)['ttl'] == 30 and query('stop', 1)['result'] == 'nomore'
        assert query('later', 75)['result'] == 'tempfail' and query('later', 75)['cached'] is False
        assert 'broken' in query('never', 75)['text']
        assert query('bin', 0)['value_hex'] == 'ff'
        assert query('K', 1)['result'] == 'notfound'  # as it stands
        assert query('k', 0, name='t')['value'] == 'v'
        text = g.ctl('map', 'query', 'net', 'k').stdout
        assert text.startswith('found one two\nmap net, ttl ') and 'from the cache' in text
        p = subprocess.run([g.bin / 'bin/meta1ctl', '-f', g.conf, 'map', 'query', 't', '-', '--json'], input=b'k\0x\n',
                           capture_output=True, env=g.environ())
        assert p.returncode == 1 and json.loads(p.stdout)['key'] == 'k\0x\n'
        p = g.ctl('map', 'query', 'nosuch', 'k', check=False)
        assert p.returncode == 1 and 'there is no map "nosuch"' in p.stderr
        m = Control(g).map('net')
        assert (m['module'], m['use'], m['cached'], m['hits'], m['failed']) == ('map_socket', 'access', 5, 2, 3)
        assert m['asked'] == m['hits'] + m['found'] + m['missing'] + m['failed'] and m['ms'] > 0
        listed = g.ctl('map', 'list').stdout.splitlines()
        assert len(listed) == 3 and listed[1].startswith('net ') and listed[2].startswith('t ')
        page = g.http('smar', 'GET', '/metrics')[1]
        assert 'meta1_smar_map_cache_hits_total{process="0",map="net"} 2\n' in page
        assert 'meta1_smar_map_found_total{process="0",map="t"} 1\n' in page
        assert g.ctl('map', 'flush', 't').stdout == '0 answers forgotten\n'
        assert g.ctl('map', 'flush').stdout == '5 answers forgotten\n'
        assert query('k', 0)['cached'] is False


def test_kept_until_its_time_or_a_reload(inst):
    said = {'to:u@far.test': 'OK RELAY'}
    with SocketMap(lambda name, key: said.get(key, 'NOTFOUND')) as s, gateway(
            inst, f'map net {{ type = socket; address = "127.0.0.1"; port = {s.port}; mapname = m; ttl = 1h; '
            'cache_ttl = 2s; cache_negative_ttl = 1s; } access { name = net; }') as g:
        c = Control(g)
        assert g.verdict('u@far.test').startswith('250')
        n = len(s.asked)
        assert g.verdict('u@far.test', sender='other@client.test').startswith('250')
        assert 'to:u@far.test' not in s.asked[n:]
        del said['to:u@far.test']
        lab.wait_for('the end of its time', lambda: c.query('net', b'to:u@far.test')['result'] == 'notfound')
        said['to:u@far.test'] = 'OK RELAY'
        lab.wait_for('the end of the negative time', lambda: g.verdict('u@far.test', sender='third@client.test').startswith('250'))
        assert c.map('net')['hits'] > 0


def test_a_small_cache(inst):
    """cache_size and cache_memory bound what is kept; what was unused for longest goes first."""
    with SocketMap(lambda name, key: 'OK ' + 'x' * 8000) as s, gateway(
            inst, ''.join(f'map {n} {{ type = socket; address = "127.0.0.1"; port = {s.port}; mapname = m; ttl = 1h; {bound} }} '
                          for n, bound in (('few', 'cache_size = 3;'), ('small', 'cache_memory = 64KB;')))) as g:
        c = Control(g)
        for name, most in (('few', 3), ('small', 8)):
            for i in range(20):
                assert c.query(name, b'k%d' % i)['result'] == 'found'
            assert 0 < c.map(name)['cached'] <= most
            assert c.query(name, b'k19')['cached'] and not c.query(name, b'k0')['cached']


def test_a_local_map_keeps_what_it_is_told_to(inst):
    """No answers of a map of this host are kept, but with a cache_size; a change of the file empties them."""
    with gateway(inst, 'map plain { type = text; file = "rows"; } map kept { type = text; file = "rows"; cache_size = 9; } '
                 'map nets { type = cidr; file = "nets"; cache_size = 9; }',
                 files={'rows': 'k one\n', 'nets': '192.0.2.0/24 one\n'}) as g:
        c = Control(g)
        for name, key, most in (('plain', b'k', False), ('kept', b'k', True), ('nets', b'192.0.2.1', True)):
            assert [c.query(name, key)['cached'] for _ in range(3)] == [False, most, most], name
            assert (c.map(name)['hits'], c.map(name)['cached']) == ((2, 1) if most else (0, 0))
            assert c.query(name, key)['value'] == 'one'
        (g.dir / 'rows').write_text('k two\nk2 x\n')
        lab.wait_for('the new row', lambda: c.query('kept', b'k')['value'] == 'two')


def test_a_changed_file_empties_what_rests_on_it(inst):
    with SocketMap(lambda name, key: 'NOTFOUND') as s, gateway(
            inst, 'map rows { type = text; file = "rows"; } '
            f'map net {{ type = socket; address = "127.0.0.1"; port = {s.port}; mapname = m; ttl = 1h; }} '
            'map both { type = sequence; maps = { rows, net }; cache_negative_ttl = 1h; } access { name = both; }',
            files={'rows': 'to:far.test RELAY\n'}) as g:
        c = Control(g)
        assert c.query('both', b'to:new.test')['result'] == 'notfound'
        assert c.query('both', b'to:new.test')['cached'] is True
        (g.dir / 'rows').write_text('to:far.test RELAY\nto:new.test RELAY\n')
        lab.wait_for('the new row', lambda: c.query('both', b'to:new.test')['result'] == 'found')


def test_a_slow_map_is_asked_once_and_delays_nobody_else(inst):
    """Fifty sessions ask for one key that takes 3 s: one question; all others are answered meanwhile."""
    slow = threading.Event()

    def answer(name, key):
        if key == 'to:slow@far.test':
            slow.wait(20)
            return 'OK RELAY'
        return 'OK RELAY' if key == 'to:far.test' else 'NOTFOUND'

    with SocketMap(answer) as s, SocketMap(lambda name, key: 'NOTFOUND') as other, lab.Gateway(
            inst, smtps='flags = { access };',
            smar=f'map net {{ type = socket; address = "127.0.0.1"; port = {s.port}; mapname = m; }} access {{ name = net; }} '
            f'map quick {{ type = socket; address = "127.0.0.1"; port = {other.port}; mapname = m; }}') as g:
        got = []
        assert g.verdict('u@far.test').startswith('250')  # the server answers one after the other
        askers = [threading.Thread(target=lambda: got.append(g.verdict('slow@far.test'))) for _ in range(50)]
        for t in askers:
            t.start()
        c = Control(g)
        lab.wait_for('all of them at smar', lambda: g.metrics('smar')['questions_now'] >= 50)
        assert s.asked.count('to:slow@far.test') == 1 and not got
        begun = time.monotonic()
        assert c.query('quick', b'k')['result'] == 'notfound'
        assert time.monotonic() - begun < 2 and not got
        slow.set()
        for t in askers:
            t.join(20)
        assert len(got) == 50 and all(r.startswith('250') for r in got), got[:3]
        assert s.asked.count('to:slow@far.test') == 1


def test_at_most_256_questions_a_map(inst):
    """The 257th key is answered at once, for now; the 256 get their answers."""
    go = threading.Event()

    def answer(name, key):
        go.wait(20)
        return 'OK yes'

    with SocketMap(answer) as s, gateway(
            inst, f'map net {{ type = socket; address = "127.0.0.1"; port = {s.port}; mapname = m; ttl = 0; }} access {{ name = net; }}') as g:
        waiting = [Control(g) for _ in range(64)]  # as many as may query at a time
        senders = [threading.Thread(target=lambda i=i: g.verdict('u@far.test', source=f'127.0.1.{i}')) for i in range(200)]
        for i, c in enumerate(waiting):
            c.c.request('POST', '/v1/map-query?map=net', b'q%d' % i)
        for t in senders:
            t.start()
        lab.wait_for('256 open questions', lambda: g.metrics('smar').get('map_open_now', 0) >= 256
                     or 'too many look-ups are open' in g.log())
        lab.wait_for('a refusal at once', lambda: 'too many look-ups are open in this map' in g.log())
        go.set()
        for c in waiting:
            r = c.c.getresponse()
            assert json.loads(r.read())['result'] == 'found'
        for t in senders:
            t.join(30)
