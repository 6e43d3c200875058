# SPDX-License-Identifier: BSD-2-Clause
"""MTA-STS (RFC 8461): policies from a real HTTPS server on loopback, found by a private zone, and what they mean for the
mail: enforced, tested, kept over restarts, replaced, refused; and what is told of it."""
import contextlib, http.server, json, os, re, socket, ssl, subprocess, threading, time, urllib.parse

import certs, dns.flags, dns.message, dns.rdatatype, dns.rrset, lab, pytest
from test_tls_client import TlsSink

BODY = 'Subject: t\r\n\r\nhello\r\n'
POLICY = 'version: STSv1\r\nmode: {}\r\nmax_age: {}\r\n{}'


def policy(mode, *mx, max_age=86400):
    return POLICY.format(mode, max_age, ''.join(f'mx: {m}\r\n' for m in mx))


class Names:
    """A name server whose records (name, type) -> list of text change while it runs; nothing may be kept of them."""

    def __init__(self):
        self.port, self.rows, self.asked = lab.free_port(), {}, []
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(('127.0.0.1', self.port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                data, peer = self.s.recvfrom(4096)
                q = dns.message.from_wire(data)
                name, kind = q.question[0].name, q.question[0].rdtype
                key = name.to_text().rstrip('.').lower(), dns.rdatatype.to_text(kind)
                self.asked.append(key)
                r = dns.message.make_response(q)
                r.flags |= dns.flags.AA | dns.flags.RA
                if self.rows.get(key) == 'SERVFAIL':
                    r.set_rcode(2)
                elif key in self.rows:
                    r.answer.append(dns.rrset.from_text_list(name, 0, 'IN', kind, self.rows[key]))
                elif not any(n == key[0] for n, _ in self.rows):
                    r.set_rcode(3)
                self.s.sendto(r.to_wire(), peer)

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Web:
    """HTTPS servers of all policies on one port: what each host says is in pages, host -> function of the handler, or text."""

    def __init__(self, ca):
        web = self
        self.port, self.pages, self.hits, self.contexts, self.ca = lab.free_port(), {}, [], {}, ca

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):
                host = self.headers['Host'].partition(':')[0]
                web.hits.append((host, self.path))
                page = web.pages.get(host)
                if callable(page):
                    page(self)
                else:
                    web.say(self, page or '', 200 if page else 404)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):
                pass  # a client that goes away in the middle is what some tests are about

            def finish_request(self, request, client):
                request.settimeout(30)
                super().finish_request(self_context.wrap_socket(request, server_side=True), client)
        self_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self_context.sni_callback = lambda s, name, c: setattr(s, 'context', self.contexts[name]) if name in self.contexts else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        self.server = Server(('127.0.0.1', self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()

    @staticmethod
    def say(h, text, status=200, kind='text/plain', **more):
        h.send_response(status)
        h.send_header('Content-Type', kind)
        h.send_header('Content-Length', str(len(text)))
        for name, value in more.items():
            h.send_header(name, value)
        h.end_headers()
        h.wfile.write(text.encode())

    def cert(self, domain, authority=None, host=None):
        c = self.contexts[f'mta-sts.{domain}'] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(*(authority or self.ca).issue(domain, host=host or f'mta-sts.{domain}', file=f'web-{domain}'))

    def count(self, domain):
        return sum(h == f'mta-sts.{domain}' for h, _ in self.hits)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a, certs.Authority('other') as b:
        a.other = b
        yield a


@pytest.fixture
def net(ca):
    with Names() as names, Web(ca) as web:
        names.web = web
        yield names


def site(net, domain, text=None, id='1', mx=('mx',), cert=True):
    """A domain with mail servers at 127.0.0.1 and a policy."""
    net.rows |= {(domain, 'MX'): [f'10 {m}.{domain}.' for m in mx], (f'mta-sts.{domain}', 'A'): ['127.0.0.1']}
    net.rows |= {(f'{m}.{domain}', 'A'): ['127.0.0.1'] for m in mx}
    if text is not None:
        net.rows[f'_mta-sts.{domain}', 'TXT'] = [f'"v=STSv1; id={id};"']
        net.web.pages[f'mta-sts.{domain}'] = text
    if cert:
        net.web.cert(domain)


def gateway(inst, net, ca, options='', smtpc='', smar='', port=1, mt='none.invalid [127.0.0.1]\n', **kw):
    """Mail to everywhere by the DNS; a route waits for a policy as long as it may."""
    options += '' if 'wait =' in options else ' wait = 9s;'
    return lab.relay_all(inst, 0, mt=mt, smtpc=f'remote_port = {port}; tls {{ CAcert_file = "{ca.ca}"; }} {smtpc}',
                         smar=f'nameserver = "127.0.0.1:{net.port}"; {smar} mta_sts {{ remote_port = {net.web.port}; CAcert_file = "{ca.ca}"; {options} }}',
                         qmgr='min_retry_delay = 1h; max_retry_delay = 1h;', **kw)


COUNT = iter(range(1, 10**6))


def route(g, domain):
    """As it is now: of a recipient that was never asked about."""
    q = urllib.parse.urlencode({'recipient': f'u{next(COUNT)}@{domain}'})

    def ask():
        code, body = g.http('smar', 'GET', f'/v1/route?{q}')
        assert code == 200, body
        return None if json.loads(body).get('pending') else json.loads(body)
    return lab.wait_for(f'the route of {domain}', ask)


def entries(g, domain=None):
    code, body = g.http('smar', 'GET', '/v1/mta-sts' + (f'?domain={domain}' if domain else ''))
    assert code == 200, body
    return json.loads(body)['entries']


def hosts(r):
    return [h.split()[2] for h in r['hops']]


def test_which_hosts(inst, net, ca):
    """Of a policy in force only the hosts that it names get mail, and none of them: it waits; in testing all do."""
    site(net, 'all.test', policy('enforce', 'mx.all.test'))
    site(net, 'wild.test', policy('enforce', '*.wild.test'), mx=('a', 'b', 'c.d'))
    site(net, 'some.test', policy('enforce', 'a.some.test', 'A.Else.test.'), mx=('a', 'b'))
    site(net, 'none.test', policy('enforce', 'mx.else.test'))
    site(net, 'try.test', policy('testing', 'mx.else.test'))
    site(net, 'off.test', policy('none'))
    site(net, 'plain.test', cert=False)
    with gateway(inst, net, ca) as g:
        assert hosts(route(g, 'all.test')) == ['mx.all.test']
        assert sorted(hosts(route(g, 'wild.test'))) == ['a.wild.test', 'b.wild.test']
        assert hosts(route(g, 'some.test')) == ['a.some.test']
        r = route(g, 'none.test')
        assert (r['status'], r['smtp'], r['dsn']) == ('tempfail', 451, '4.7.5')
        assert r['text'] == 'no mail server of none.test is one that its MTA-STS policy names'
        for domain in ('try', 'off', 'plain'):
            assert hosts(route(g, f'{domain}.test')) == [f'mx.{domain}.test']
        got = {e['domain']: e for e in entries(g)}
        assert {d: e['state'] for d, e in got.items()} == {'all.test': 'enforce', 'wild.test': 'enforce', 'some.test': 'enforce',
                                                           'none.test': 'enforce', 'try.test': 'testing', 'off.test': 'none'}
        e = got['some.test']
        assert (e['id'], e['mx'], e['max_age'], e['until'] - e['fetched']) == ('1', ['a.some.test', 'a.else.test'], 86400, 86400)
        assert net.web.count('plain.test') == 0 and ('mta-sts.plain.test', 'A') not in net.asked
        assert {p for _, p in net.web.hits} == {'/.well-known/mta-sts.txt'} and net.web.count('all.test') == 1
        # asked again the policies are there
        assert hosts(route(g, 'all.test')) == ['mx.all.test'] and net.web.count('all.test') == 1


def redirect(h):
    Web.say(h, '', 302, Location='https://mta-sts.good.test/.well-known/mta-sts.txt')


def giant(h):
    h.send_response(200)
    h.send_header('Content-Type', 'text/plain')
    h.send_header('Transfer-Encoding', 'chunked')
    h.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(1000):
            h.wfile.write(b'2710\r\n' + b'x: y' * 2500 + b'\r\n')


def headers(h):
    h.send_response(200)
    with contextlib.suppress(OSError):
        for i in range(2000):
            h.send_header(f'X-{i}', 'y' * 90)
        h.end_headers()


GOOD = policy('enforce', 'mx.else.test')
# what is wrong -> (page, error, words)
REFUSED = {'redirect': (redirect, 'sts-policy-fetch-error', 'HTTP status 302: redirects are not followed'),
           'missing': (None, 'sts-policy-fetch-error', 'HTTP status 404'),
           'giant': (giant, 'sts-policy-invalid', 'the policy is larger than 65536 bytes'),
           'declared': (lambda h: Web.say(h, GOOD + 'x: y\n' * 20000), 'sts-policy-invalid', 'larger than 65536'),
           'headers': (headers, 'sts-policy-fetch-error', 'more than 65536 bytes of headers'),
           'html': (lambda h: Web.say(h, GOOD, kind='text/html'), 'sts-policy-invalid', 'the media type is text/html, expected text/plain'),
           'broken': ('version: STSv1\nmode: enforced\n', 'sts-policy-invalid', 'line 2 of the policy: mode: found enforced'),
           'cut': (lambda h: (h.send_response(200), h.send_header('Content-Type', 'text/plain'), h.send_header('Content-Length', '1000'), h.end_headers(),
                              h.wfile.write(GOOD.encode()), setattr(h, 'close_connection', True)), 'sts-policy-fetch-error', ''),
           'stranger': (GOOD, 'sts-webpki-invalid', 'certificate'), 'misnamed': (GOOD, 'sts-webpki-invalid', ''),
           'common': (GOOD, 'sts-webpki-invalid', ''), 'nobody': (GOOD, 'sts-policy-fetch-error', 'the policy\'s host has no address'),
           'dead': (GOOD, 'sts-policy-fetch-error', 'onnect')}


def test_what_is_no_policy(inst, net, ca):
    """Then the mail goes as if there were none, and the fetch is not tried again at once."""
    for name, (page, _, _) in REFUSED.items():
        site(net, f'{name}.test', page or '')
    site(net, 'good.test', policy('enforce', 'mx.else.test'))
    net.web.cert('stranger.test', ca.other)
    net.web.cert('misnamed.test', host='mta-sts.good.test')
    ca.run('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '3', '-subj', '/CN=mta-sts.common.test', '-CA', str(ca.ca),
           '-CAkey', str(ca.ca.with_suffix('.key')), '-keyout', 'common.key', '-out', 'common.pem', '-addext', 'basicConstraints=critical,CA:FALSE')
    net.web.contexts['mta-sts.common.test'].load_cert_chain(ca.dir / 'common.pem', ca.dir / 'common.key')
    del net.rows['mta-sts.nobody.test', 'A']
    net.rows['mta-sts.dead.test', 'A'] = ['127.0.0.9']
    with gateway(inst, net, ca) as g:
        for name, (_, error, words) in REFUSED.items():
            domain = f'{name}.test'
            assert hosts(route(g, domain)) == [f'mx.{domain}'], name
            e, = entries(g, domain)
            assert e['state'] == 'failed' and e['error'] == error and words in e['text'], (name, e)
            hits = net.web.count(domain)
            assert hosts(route(g, domain)) == [f'mx.{domain}'] and net.web.count(domain) == hits
        assert net.web.count('good.test') == 0
        assert g.metrics('smar')['mta_sts_failures_total'] == len(REFUSED)
        # an admin tries again, and says what came of it
        p = g.ctl('sts', 'refresh', 'broken.test', check=False)
        assert p.returncode == 1 and 'line 2 of the policy: mode: found enforced' in p.stderr
        net.web.pages['mta-sts.broken.test'] = GOOD
        assert g.ctl('sts', 'refresh', 'broken.test').stdout == 'broken.test: enforce, id 1, in force for 86400 s\n'
        assert route(g, 'broken.test')['dsn'] == '4.7.5'


def test_records(inst, net, ca):
    """What is no record, and two of them, are none; others beside it do not count."""
    for name, rows in {'two': ['"v=STSv1; id=1"', '"v=STSv1; id=2"'], 'old': ['"v=STSv2; id=1"'], 'noid': ['"v=STSv1;"'],
                       'beside': ['"v=spf1 -all"', '"v=STSv1" "; id=1;"']}.items():
        site(net, f'{name}.test', GOOD)
        net.rows[f'_mta-sts.{name}.test', 'TXT'] = rows
    site(net, 'servfail.test', GOOD)
    net.rows['_mta-sts.servfail.test', 'TXT'] = 'SERVFAIL'
    with gateway(inst, net, ca) as g:
        for name in ('two', 'old', 'noid', 'servfail'):
            assert hosts(route(g, f'{name}.test')) == [f'mx.{name}.test'] and net.web.count(f'{name}.test') == 0
        assert route(g, 'beside.test')['dsn'] == '4.7.5'
        assert route(g, 'servfail.test')['ttl'] <= 60


def test_another_policy_and_none(inst, net, ca):
    """A new id brings a new policy; while it cannot be had, the record is gone, or the DNS does not answer, the old one holds."""
    site(net, 'a.test', policy('enforce', 'mx.a.test'), mx=('mx', 'my'))
    with gateway(inst, net, ca, 'negative_ttl = 1s;') as g:
        assert hosts(route(g, 'a.test')) == ['mx.a.test']
        txt = '_mta-sts.a.test', 'TXT'
        for rows in ('SERVFAIL', ['"v=spf1 -all"'], ['"v=STSv1; id=2;"']):
            net.web.pages['mta-sts.a.test'] = 'nothing\n'
            net.rows[txt] = rows
            assert hosts(route(g, 'a.test')) == ['mx.a.test']
        g.wait_log('domain=a.test id=2 result=sts-policy-invalid kept=enforce')
        net.web.pages['mta-sts.a.test'] = policy('enforce', 'my.a.test')
        lab.wait_for('the new policy', lambda: hosts(route(g, 'a.test')) == ['my.a.test'])
        e, = entries(g, 'a.test')
        assert e['id'] == '2'
        net.rows[txt] = ['"v=STSv1; id=3;"']
        net.web.pages['mta-sts.a.test'] = policy('none')
        assert sorted(hosts(route(g, 'a.test'))) == ['mx.a.test', 'my.a.test']
        assert entries(g, 'a.test')[0]['state'] == 'none'


def test_kept_over_a_restart(inst, net, ca):
    """The policy is in force after it, though nothing of it can be had; damage in the file costs what is damaged."""
    site(net, 'a.test', policy('enforce', 'mx.else.test'))
    site(net, 'b.test', policy('enforce', 'mx.else.test'))
    with gateway(inst, net, ca, 'file = "smar/policies";') as g:
        for domain in ('a.test', 'b.test'):  # the first route goes without when the machine is slow
            lab.wait_for('its policy', lambda d=domain: route(g, d).get('dsn') == '4.7.5')
        before = {e['domain']: e['until'] for e in entries(g)}
        g.stop()
        file = g.dir / 'q/smar/policies'
        assert file.stat().st_mode & 0o777 == 0o600
        net.web.close()
        for key in [k for k in net.rows if 'mta-sts' in k[0]]:
            net.rows[key] = 'SERVFAIL'
        g.start().ready()
        assert route(g, 'a.test')['dsn'] == route(g, 'b.test')['dsn'] == '4.7.5'
        assert all(abs(e['until'] - before[e['domain']]) <= 2 for e in entries(g)) and len(entries(g)) == 2
        g.stop()
        data = file.read_bytes()
        file.write_bytes(data.replace(b' b.test ', b' c.test '))
        g.start().ready()
        assert [e['domain'] for e in entries(g)] == ['a.test']
        g.wait_log('smar.mta_sts .*wrong=1')
        g.stop()
        file.write_bytes(b'\0' * 4096)
        g.start().ready()
        assert entries(g) == [] and (g.dir / 'q/smar/policies.bad').read_bytes() == b'\0' * 4096
        file.write_bytes(data)  # an old one comes back: what is over is not in force


def test_slow_server_keeps_nobody(inst, net, ca):
    """Fetches that hang take no route with them, and no thread for longer than they may; who waits goes on in time."""
    done = threading.Event()
    for i in range(8):
        site(net, f's{i}.test', lambda h: (done.wait(20), setattr(h, 'close_connection', True)))
    site(net, 'a.test', policy('enforce', 'mx.else.test'))
    site(net, 'late.test', lambda h: (done.wait(20), Web.say(h, GOOD)))
    with gateway(inst, net, ca, 'wait = 300ms; fetch_timeout = 60s;') as g:
        try:
            for i in range(8):
                assert hosts(route(g, f's{i}.test')) == [f'mx.s{i}.test'] and not entries(g, f's{i}.test')
            assert route(g, 's0.test')['ttl'] <= 60
            net.rows['plain.test', 'MX'] = ['10 mx.s0.test.']
            assert hosts(route(g, 'plain.test')) == ['mx.s0.test']
            assert hosts(route(g, 'late.test')) == ['mx.late.test']
            m = g.metrics('smar')
            assert m['mta_sts_fetches_now'] == 9 and m['mta_sts_late_total'] >= 10
        finally:
            done.set()
        lab.wait_for('the end of the fetches', lambda: g.metrics('smar')['mta_sts_fetches_now'] == 0)
        assert route(g, 'late.test')['dsn'] == '4.7.5'


def test_a_slow_fetch_ends(inst, net, ca):
    """Also one that says a byte now and then; other servers of policies are asked meanwhile."""
    done = threading.Event()

    def drip(h):
        h.send_response(200)
        h.send_header('Content-Type', 'text/plain')
        h.end_headers()
        with contextlib.suppress(OSError):
            while not done.wait(0.1):
                h.wfile.write(b'x')
    site(net, 'drip.test', drip)
    with gateway(inst, net, ca, 'fetch_timeout = 3s; wait = 9s;') as g:
        try:
            assert hosts(route(g, 'drip.test')) == ['mx.drip.test']
            e, = entries(g, 'drip.test')
            assert e['error'] == 'sts-policy-fetch-error' and 'timed out' in e['text']
        finally:
            done.set()


def test_authorities_of_a_folder(inst, net, ca):
    site(net, 'a.test', GOOD)
    subprocess.run(['openssl', 'rehash', str(ca.dir)], check=True, capture_output=True)
    with lab.relay_all(inst, 0, mt='none.invalid [127.0.0.1]\n', smar=f'nameserver = "127.0.0.1:{net.port}"; mta_sts {{ remote_port = {net.web.port}; '
                       f'CAcert_directory = "{ca.dir}"; }}') as g:
        assert route(g, 'a.test')['dsn'] == '4.7.5'


def test_a_stop_does_not_wait_for_a_fetch(inst, net, ca):
    done = threading.Event()
    site(net, 'slow.test', lambda h: done.wait(30))
    try:
        with gateway(inst, net, ca, 'wait = 100ms; fetch_timeout = 60s;') as g:
            route(g, 'slow.test')
            lab.wait_for('the fetch', lambda: net.web.count('slow.test'))
            assert g.stop(20) == 0
            assert 'left unfinished' not in g.log()
    finally:
        done.set()


def test_fetched_anew_in_time(inst, net, ca):
    """A policy that is used is, in the background; one that nobody uses is not."""
    site(net, 'a.test', policy('enforce', 'mx.a.test'))
    site(net, 'b.test', policy('enforce', 'mx.else.test', max_age=3))
    with gateway(inst, net, ca, 'refresh = 1s; negative_ttl = 1s;') as g:
        assert hosts(route(g, 'a.test')) == ['mx.a.test']
        net.web.pages['mta-sts.a.test'] = policy('testing', 'mx.a.test')
        lab.wait_for('another fetch', lambda: [e['state'] for e in entries(g, 'a.test')] == ['testing'])
        assert entries(g, 'a.test')[0]['used'] is False
        assert g.ctl('sts', 'forget', 'a.test').stdout == '1 forgotten\n'
        lab.wait_for('the policy', lambda: route(g, 'b.test').get('dsn') == '4.7.5')
        net.rows['_mta-sts.b.test', 'TXT'] = 'SERVFAIL'
        del net.web.pages['mta-sts.b.test']  # nor is it fetched anew
        lab.wait_for('the end of what is over', lambda: not [e for e in entries(g, 'b.test') if e['state'] == 'enforce'])
        assert hosts(route(g, 'b.test')) == ['mx.b.test']


def test_bounds_and_tools(inst, net, ca):
    for i in range(20):
        site(net, f'd{i}.test', policy('enforce', f'mx.d{i}.test'), id=f'n{i}', cert=False)
    net.web.cert('many.test', host=','.join(['mta-sts.many.test', *(f'DNS:mta-sts.d{i}.test' for i in range(20))]))
    for i in range(20):
        net.web.contexts[f'mta-sts.d{i}.test'] = net.web.contexts['mta-sts.many.test']
    site(net, 'bad.test', '')
    site(net, 'zero.test', policy('enforce', 'mx.zero.test', max_age=0))
    with gateway(inst, net, ca) as g:
        for _ in range(3):
            assert hosts(route(g, 'zero.test')) == ['mx.zero.test']
        e, = entries(g, 'zero.test')
        assert (e['max_age'], e['until'] - e['fetched'], net.web.count('zero.test')) == (0, 300, 1)
    with gateway(inst, net, ca, 'max_entries = 16; max_memory = 64KB;') as g:
        for i in range(20):
            assert hosts(route(g, f'd{i}.test')) == [f'mx.d{i}.test']
        assert [e['domain'] for e in entries(g)] == [f'd{i}.test' for i in range(4, 20)]
        route(g, 'bad.test')
        out = g.ctl('sts', 'list', 'd7.test').stdout.splitlines()
        assert out[0].split()[:4] == ['state', 'until', 'domain', 'id'] and out[1].split()[0] == 'enforce' and out[1].split()[-3:] == ['d7.test', 'n7', 'mx.d7.test']
        assert re.search(r'^failed .* bad\.test +1 +HTTP status 404$', g.ctl('sts', 'list').stdout, re.M)
        assert [e['state'] for e in json.loads(g.ctl('sts', 'list', 'bad.test', '--json').stdout)['entries']] == ['failed']
        assert g.ctl('sts', 'forget', check=False).returncode == 64
        assert g.ctl('sts', 'forget', '--all').stdout == '16 forgotten\n' and entries(g) == []
        p = g.ctl('sts', 'refresh', 'plain.test', check=False)
        assert p.returncode == 1 and 'it has no record _mta-sts' in p.stderr


def test_off(inst, net, ca):
    """Without the section nobody is asked; rows of the mailertable are an admin's word."""
    site(net, 'a.test', GOOD)
    with lab.relay_all(inst, 0, mt='none.invalid [127.0.0.1]\n', smar=f'nameserver = "127.0.0.1:{net.port}";') as g:
        assert hosts(route(g, 'a.test')) == ['mx.a.test'] and g.http('smar', 'GET', '/v1/mta-sts')[0] == 404
        p = g.ctl('sts', 'list', check=False)
        assert p.returncode == 1 and 'smar has no mta_sts section' in p.stderr
    assert ('_mta-sts.a.test', 'TXT') not in net.asked
    with lab.relay_all(inst, 0, mt='b.test a.test\n. [127.0.0.1]:1\n', smar=f'nameserver = "127.0.0.1:{net.port}"; mta_sts {{ }}') as g:
        assert hosts(route(g, 'b.test')) == ['mx.a.test'] and route(g, 'a.test')['hops'] == ['127.0.0.1 1 127.0.0.1']
    assert ('_mta-sts.a.test', 'TXT') not in net.asked


@pytest.fixture(scope='module')
def hop(ca):
    names = ',DNS:'.join(['mx.a.test', *(f'mx.d{i}.test' for i in range(len(REPORTED)))])
    ca.mx, ca.else_ = ca.issue('mx', host=names), ca.issue('else', host='mx.else.test')
    ca.stranger = ca.other.issue('mx', host=names)
    ca.run('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=mx', '-keyout', 'old.key', '-out', 'old.csr')
    (ca.dir / 'ext').write_text(f'subjectAltName=DNS:{names}')
    ca.run('x509', '-req', '-in', 'old.csr', '-CA', str(ca.ca), '-CAkey', str(ca.ca.with_suffix('.key')), '-CAcreateserial', '-days', '-1', '-extfile', 'ext',
           '-out', 'old.pem')
    ca.old = ca.dir / 'old.pem', ca.dir / 'old.key'
    return ca


def test_each_domain_has_its_own(inst, net, hop):
    """One mail to domains of the same hosts: what one demands the others do not wait for; each goes to the host that its policy names."""
    for domain, text in (('a.test', policy('enforce', 'mx.a.test')), ('b.test', None), ('c.test', policy('enforce', 'mx.else.test'))):
        site(net, domain, text)
        net.rows[domain, 'MX'] = ['10 mx.a.test.', '10 mx.else.test.']
    net.rows['mx.else.test', 'A'] = ['127.0.0.2']
    with TlsSink(hop.stranger) as sink, TlsSink(hop.else_, address='127.0.0.2', port=sink.port) as other, gateway(inst, net, hop, port=sink.port) as g:
        keys = [route(g, d)['key'] for d in ('a.test', 'b.test', 'c.test')]
        assert len(set(keys)) == 3
        with g.client() as c:
            c.mail('s@client.test', ['u@a.test', 'u@b.test', 'u@c.test'], BODY)
        lab.wait_for('two mails', lambda: sorted(r for m in sink.mails + other.mails for r in m['rcpts']) == ['u@b.test', 'u@c.test'])
        assert 'u@c.test' in [r for m in other.mails for r in m['rcpts']]
        g.wait_log('status=deferred .*4.7.5')
        lab.wait_for('one that waits', lambda: [r['address'] for m in g.queue() for r in m['recipients'] if r['state'] == 'waiting'] == ['u@a.test'])


# ---- reports ----

def asks(net, *domains):
    for d in domains:
        net.rows[f'_smtp._tls.{d}', 'TXT'] = [f'"v=TLSRPTv1; rua=mailto:tls@{d},https://{d}/r"']


def reports(g, *day):
    """domain -> report."""
    p = g.ctl('tls', 'report', *day, '--json')
    return {(r := json.loads(line))['policies'][0]['policy']['policy-domain']: r for line in p.stdout.splitlines()}


def day():
    return time.strftime('%Y-%m-%d', time.gmtime())


def sent(g, *rcpts):
    with g.client() as c:
        assert c.mail('s@client.test', list(rcpts), BODY).startswith('250')


# mode of the policy, certificate of the host, what goes wrong at it; what the report says, code and text of the mail that waits or of the report
REPORTED = [
    ('enforce', 'mx', None, None, '', ''), ('enforce', 'else_', None, 'certificate-host-mismatch', '4.7.5', 'not for the host'),
    ('testing', 'else_', None, 'certificate-host-mismatch', '', ',trusted'), ('enforce', 'stranger', None, 'certificate-not-trusted', '4.7.5', 'not to be trusted'),
    ('testing', 'stranger', None, 'certificate-not-trusted', '', ',not trusted'), ('testing', 'mx', 'not offered', 'starttls-not-supported', '', 'not offered'),
    ('enforce', 'mx', 'refused', 'starttls-not-supported', '4.7.4', '454'), ('enforce', 'mx', 'garbage', 'validation-failure', '4.4.2', 'TLS handshake'),
    ('enforce', 'old', None, 'certificate-expired', '4.7.5', 'has expired'), (None, 'stranger', None, None, '', '')]


def reported_right(r, domain, address, mode, result, text, began):
    p, = r['policies']
    assert p['policy']['policy-type'] == ('sts' if mode else 'no-policy-found') and p['policy']['policy-domain'] == domain
    if mode:
        assert p['policy']['policy-string'] == ['version: STSv1', f'mode: {mode}', 'max_age: 86400', f'mx: mx.{domain}']
        assert p['policy']['mx-host'] == [f'mx.{domain}']
    assert p['summary'] == {'total-successful-session-count': int(not result), 'total-failure-session-count': int(bool(result))}
    for f in p['failure-details']:
        assert f['result-type'] == result and f['receiving-mx-hostname'] == f'mx.{domain}' and f['receiving-ip'] == address
        assert f['sending-mta-ip'] == '127.0.0.1'
        assert f['failed-session-count'] == 1 and text in f['failure-reason-code']
    assert len(p['failure-details']) == bool(result)
    assert (r['organization-name'], r['contact-info'], r['rua']) == ('Us', 'me@us.test', [f'mailto:tls@{domain}', f'https://{domain}/r'])
    today = r['date-range']['start-datetime'][:10]
    assert today in (began, day()) and r['date-range'] == {'start-datetime': f'{today}T00:00:00Z', 'end-datetime': f'{today}T23:59:59Z'}
    assert r['report-id'] == f'{today}_{domain}@gw.test'
    return today


def test_reports(inst, net, hop):
    """What is enforced goes with a certificate for the host's name or waits, never in plain; what is tested goes; either stands in the
    report of its day, which a restart goes on with. Each case is a domain."""
    port, began = lab.free_port(), day()
    net.web.cert('many', host=',DNS:'.join(f'mta-sts.d{i}.test' for i in range(len(REPORTED))))
    with contextlib.ExitStack() as stack:
        sinks = []
        for i, (mode, cert, at, *_) in enumerate(REPORTED):
            sinks.append(stack.enter_context(TlsSink(getattr(hop, cert), at, address=f'127.0.9.{i + 1}', port=port)))
            site(net, f'd{i}.test', policy(mode, f'mx.d{i}.test') if mode else None, cert=False)
            net.web.contexts[f'mta-sts.d{i}.test'] = net.web.contexts['mta-sts.many']
            net.rows[f'mx.d{i}.test', 'A'] = [f'127.0.9.{i + 1}']
            asks(net, f'd{i}.test')
        g = stack.enter_context(gateway(inst, net, hop, port=port, smtpc='max_connections_idle = 0;', smar='tlsrpt { organization = "Us"; '
                                        'contact = "me@us.test"; directory = "smar/reports"; }'))
        for i in range(len(REPORTED)):
            sent(g, f'u@d{i}.test')
        for i, (mode, _, at, result, code, text) in enumerate(REPORTED):
            sink, domain = sinks[i], f'd{i}.test'
            if mode == 'enforce' and result:
                g.wait_log(f'to=<u@{domain}> .*status=deferred .*{code}')
                assert sink.mails == [] and sink.plain_mails == 0
            else:
                g.wait_log(f'to=<u@{domain}> .*status=delivered')
                assert len(sink.mails) == 1 and sink.plain_mails == (at == 'not offered') and sink.tls == ([] if at else ['TLSv1.3'])
            r = lab.wait_for('a report', lambda: reports(g).get(domain))
            today = reported_right(r, domain, f'127.0.9.{i + 1}', mode, result, text, began)
        a_restart_goes_on(g, today)


def a_restart_goes_on(g, today):
    r = reports(g)['d0.test']
    g.stop()
    file = g.dir / f'q/smar/reports/{today}_d0.test.json'
    assert json.loads(file.read_text()) == r and file.stat().st_mode & 0o777 == 0o600
    g.start().ready()
    assert day() != today or reports(g)['d0.test'] == r  # not at midnight
    assert reports(g, today)['d0.test'] == r
    assert re.search(r'^d0\.test +1 +0 +mailto:tls@d0\.test', g.ctl('tls', 'report', today).stdout, re.M)
    sent(g, 'u@d0.test')
    lab.wait_for('one more', lambda: reports(g)['d0.test']['policies'][0]['summary']['total-successful-session-count'] == 1 + (day() == today))


def test_who_is_reported(inst, net, hop):
    """Domains that go by their MX records and ask for it; with all_domains the others too; policies that cannot be had; up to max_domains."""
    site(net, 'a.test', cert=False)
    site(net, 'b.test', cert=False)
    site(net, 'c.test', 'nothing')
    for d in (*'abc', *(f'n{i}' for i in range(20))):
        net.rows[f'{d}.test', 'MX'] = ['10 mx.a.test.']
    asks(net, 'a.test', 'c.test', 'row.test')
    with TlsSink(hop.mx) as sink:
        for options, want in (('', {'a.test', 'c.test'}), ('all_domains = yes;', {'a.test', 'b.test', 'c.test'})):
            with gateway(inst, net, hop, port=sink.port, smtpc='max_connections_idle = 0;', smar=f'tlsrpt {{ {options} }}', mt=f'row.test [127.0.0.1]:{sink.port}\n') as g:
                with g.client() as c:
                    g.settled(c.mail('s@client.test', ['u@a.test', 'u@b.test', 'u@c.test', 'u@row.test'], BODY))
                lab.wait_for('the reports', lambda: set(reports(g)) == want)

                def failed():
                    return next((p for p in reports(g)['c.test']['policies'] if p['failure-details']), None)
                c = lab.wait_for('what c.test lacks', failed)
                assert [f['result-type'] for f in c['failure-details']] == ['sts-policy-invalid'] and c['policy']['policy-type'] == 'no-policy-found'
                assert 'expected name: value' in c['failure-details'][0]['failure-reason-code']
                p = g.ctl('tls', 'report', '2020-01-01', check=False)
                assert p.returncode == 1 and 'no reports' in p.stderr
                assert g.ctl('tls', 'report', 'yesterday', check=False).returncode == 64
        with gateway(inst, net, hop, port=sink.port, smtpc='max_connections_idle = 0;', smar='tlsrpt { all_domains = yes; max_domains = 16; }') as g:
            sent(g, *(f'u@n{i}.test' for i in range(20)))
            lab.wait_for('those beyond', lambda: g.metrics('smar')['tlsrpt_dropped_total'] == 4)
            assert g.metrics('smar')['tlsrpt_domains'] == 16 and len(reports(g)) == 16


def test_old_reports_go(inst, net, hop):
    with gateway(inst, net, hop, smar='tlsrpt { keep = 2d; }') as g:
        folder = g.dir / 'q/smar/tlsrpt'
        g.stop()
        for name in ('2020-01-01_old.test.json', 'notes', '2020-01-01', '9999-01-01_a.test.json', f'{day()}_bad.test.json'):
            (folder / name).write_text('{}')
        g.start().ready()
        lab.wait_for('the old one to go', lambda: not (folder / '2020-01-01_old.test.json').exists())
        assert {'notes', '2020-01-01', '9999-01-01_a.test.json'} <= {p.name for p in folder.iterdir()}
        g.wait_log('smar.tlsrpt .*bad.test.json.*not a report of ours')
    with gateway(inst, net, hop) as g:
        p = g.ctl('tls', 'report', check=False)
        assert p.returncode == 1 and p.stderr == 'meta1ctl: smar has no tlsrpt section\n'
        assert g.http('smar', 'GET', '/v1/tls-report')[0] == 404
