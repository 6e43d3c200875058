# SPDX-License-Identifier: BSD-2-Clause
"""smar from the outside: a real name server, access, maps that change, createmap."""
import json, os, shutil, signal
import lab, pytest

ZONE = '''$ORIGIN far.test.
$TTL 60
@ IN SOA ns.far.test. hostmaster.far.test. 1 3600 600 86400 30
@ IN NS ns.far.test.
ns IN A 127.0.0.1
@ IN MX 20 mx2.far.test.
@ IN MX 10 mx1.far.test.
mx1 IN A 127.0.0.1
mx1 IN AAAA ::1
mx2 IN A 127.0.0.2
plain IN A 127.0.0.1
null IN MX 0 .
text IN TXT "no mail here"
alias IN CNAME far.test.
loop1 IN CNAME loop2.far.test.
loop2 IN CNAME loop1.far.test.
cut IN MX 10 mx1.far.test.
cut IN MX 20 gw.test.
cut IN MX 30 mx2.far.test.
self IN MX 10 gw.test.
noaddr IN MX 10 text.far.test.
'''


@pytest.fixture(scope='module')
def nsd():
    zone = ZONE + ''.join(f'many IN MX {i} host-with-a-long-name-{i:03}.far.test.\n'
                          f'host-with-a-long-name-{i:03} IN A 127.0.1.{i}\n' for i in range(1, 120))
    with lab.Nsd({'far.test': zone}) as n:
        yield n


SMAR = '''map mt {{ type = text; file = "mt"; }} mailertable {{ name = mt; }}
map acc {{ type = text; file = "acc"; }} access {{ name = acc; }}
nameserver = "127.0.0.1:{}"; DNS_timeout = 300ms; DNS_tries = 2;'''


@pytest.fixture(scope='module')
def gw(inst, nsd):
    sink = lab.Sink()
    with lab.Gateway(inst, smtps='flags = { access };', smar=SMAR.format(nsd.port), smtpc=f'remote_port = {sink.port};',
                     files={'mt': 'own.test lmtp:/nowhere\n',
                            'acc': 'to:far.test RELAY\nto:.far.test RELAY\n'}) as g:
        g.sink = sink
        yield g
    sink.close()


def route(g, domain):
    def ask():
        code, body = g.http('smar', 'GET', f'/v1/route?domain={domain}')
        assert code == 200, body
        got = json.loads(body)
        return got if not got.get('pending') else None
    return lab.wait_for(f'the route of {domain}', ask)


@pytest.mark.parametrize('domain,status,what', [
    ('far.test', 'ok', ['127.0.0.1', '::1', '127.0.0.2']),
    ('FAR.test.', 'ok', ['127.0.0.1', '::1', '127.0.0.2']),
    ('alias.far.test', 'ok', ['127.0.0.1', '::1', '127.0.0.2']),
    ('plain.far.test', 'ok', ['127.0.0.1']),
    ('cut.far.test', 'ok', ['127.0.0.1', '::1']),
    ('null.far.test', 'permfail', '5.1.10'),
    ('none.far.test', 'permfail', '5.1.2'),
    ('text.far.test', 'permfail', '5.1.2'),
    ('self.far.test', 'permfail', '5.4.6'),
    ('noaddr.far.test', 'permfail', '5.4.4'),
    ('loop1.far.test', 'tempfail', '4.4.3'),
    ('not.served.test', 'tempfail', '4.4.3'),  # REFUSED is no answer
])
def test_routes_of_a_real_name_server(gw, domain, status, what):
    got = route(gw, domain)
    assert got['status'] == status, got
    if status == 'ok':
        assert [h.split()[0] for h in got['hops']] == what
        assert {h.split()[1] for h in got['hops']} == {str(gw.sink.port)}
    else:
        assert got['dsn'] == what


def test_answer_that_needs_tcp(gw):
    before = gw.metrics('smar').get('dns_tcp_queries_total', 0)
    got = route(gw, 'many.far.test')
    assert len(got['hops']) == 20 and got['hops'][0].startswith('127.0.1.1 ')
    assert gw.metrics('smar')['dns_tcp_queries_total'] == before + 1
    assert len(got['key']) <= 255


def test_mail_goes_by_mx(gw):
    with gw.client() as c:
        assert c.mail('a@client.test', 'b@far.test', 'Subject: x\r\n\r\nhello\r\n').startswith('250')
    assert gw.sink.wait(1)[0]['rcpts'] == ['b@far.test']
    gw.queue_empty()


def test_relays_for_nobody_by_default(gw):
    assert gw.verdict('b@elsewhere.test').startswith('550 5.7.1')
    assert gw.verdict('b@elsewhere.test', 'b@own.test').startswith('550 5.7.1')
    assert gw.verdict('b@own.test').startswith('250')
    assert gw.verdict('postmaster').startswith('250')


def test_a_changed_map_is_noticed(gw):
    acc = gw.dir / 'acc'
    was = acc.read_text()

    def put(text):
        new = gw.dir / 'acc.new'
        new.write_text(text)
        os.utime(new, (1e9, 1e9 + put.n))
        put.n += 1
        new.rename(acc)
    put.n = 0
    assert gw.verdict('b@elsewhere.test').startswith('550 5.7.1 ')
    put(was + 'cltaddr:127 RELAY\nfrom:spam.test error:553 5.1.8 not from you\n')
    lab.wait_for('relaying', lambda: gw.verdict('b@elsewhere.test').startswith('250'))
    assert gw.verdict('b@elsewhere.test', 'x@spam.test') == '553 5.1.8 not from you'
    assert gw.verdict('postmaster', 'x@spam.test').startswith('250')
    # mistakes: both named, the old content stays
    put('a 1\nb 2\nA 3\nb 4\n')
    gw.wait_log(r'acc:3: .*already in line 1')
    gw.wait_log(r'acc:4: .*already in line 2')
    assert gw.verdict('b@elsewhere.test').startswith('250')
    put('to:elsewhere.test nonsense\n')
    lab.wait_for('a temporary failure', lambda: gw.verdict('b@elsewhere.test').startswith('451 4.3.5'))
    assert gw.verdict('postmaster').startswith('250')
    put(was)
    lab.wait_for('no relaying', lambda: gw.verdict('b@elsewhere.test').startswith('550'))


def test_control(gw):
    maps = json.loads(gw.http('smar', 'GET', '/v1/maps')[1])['maps']
    assert [(m['name'], m['module'], m['use']) for m in maps] == [
        ('mt', 'map_text', 'mailertable'), ('acc', 'map_text', 'access')]
    route(gw, 'plain.far.test')
    assert gw.http('smar', 'GET', '/v1/route')[0] == 400
    code, body = gw.http('smar', 'DELETE', '/v1/dns-cache')
    assert code == 200 and json.loads(body)['forgotten'] > 0


def test_silence_is_temporary(gw, nsd):
    gw.http('smar', 'DELETE', '/v1/dns-cache')
    nsd.stop()
    got = route(gw, 'mx1.far.test')
    assert got['status'] == 'tempfail' and got['dsn'] == '4.4.3', got
    nsd.start()


def test_createmap(inst):
    d = lab.tempdir('map')
    db = d / 'acc.db'
    good = lab.createmap(inst, 'hash', str(db), text='cltaddr:127 RELAY\n# c\n')
    assert good.returncode == 0, good.stderr
    before = db.read_bytes()
    bad = lab.createmap(inst, 'gdbm', str(db), text='a 1\nA 2\nb 1\nx\0 2\nb 3\n')
    assert bad.returncode == 65
    for n in (2, 4, 5):
        assert f'stdin:{n}: ' in bad.stderr
    assert db.read_bytes() == before
    assert lab.createmap(inst, 'text', str(db), text='a 1\n').returncode == 64
    assert lab.createmap(inst, 'gdbm', str(d / 'no/where.db'), text='a 1\n').returncode == 1
    assert lab.createmap(inst, 'gdbm').returncode == 64
    with lab.Gateway(inst, smtps='flags = { access };', smar=f'map acc {{ type = hash; file = "{db}"; }} access {{ name = acc; }} '
                     'nameserver = 127.0.0.1;') as g:
        assert g.verdict('b@elsewhere.test').startswith('250')
        assert lab.createmap(inst, 'hash', str(db), text='cltaddr:127 error:554 5.7.1 closed\n').returncode == 0
        lab.wait_for('the new map', lambda: g.verdict('b@elsewhere.test') == '554 5.7.1 closed')
    shutil.rmtree(d)


def test_reload(inst):
    """A new local domain and another map by SIGHUP; a bad map is refused and the old goes on."""
    smar = 'map a {{ type = text; file = "{}"; }} access {{ name = a; }} nameserver = 127.0.0.1; {}'
    with lab.Gateway(inst, smtps='flags = { access };', smar=smar.format('one', ''), files={
            'one': 'to:one.test RELAY\n', 'two': 'to:two.test RELAY\n', 'bad': 'a 1\na 2\n'}) as g:
        assert g.verdict('b@one.test').startswith('250')
        assert g.verdict('b@new.test').startswith('550')
        pid = g.pids()['smar']
        text = g.conf.read_text()
        g.conf.write_text(text.replace('"one"', '"bad"'))
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log(r'bad:2: .*already in line 1')
        assert g.verdict('b@one.test').startswith('250')
        g.conf.write_text(text.replace('"one"', '"two"').replace('nameserver', 'local_domains = new.test; nameserver'))
        g.proc.send_signal(signal.SIGHUP)
        lab.wait_for('the new policy', lambda: g.verdict('b@new.test').startswith('250'))
        assert g.verdict('b@one.test').startswith('550')
        assert g.verdict('b@two.test').startswith('250')
        assert g.pids()['smar'] == pid


def test_bad_map_stops_the_start(inst):
    g = lab.Gateway(inst, smar='map m { type = text; file = "m"; } access { name = m; }',
                    files={'m': 'a 1\na 2\n'})
    g.start(ready=False)
    g.wait_log(r'm:2: .*already in line 1')
    g.close()
