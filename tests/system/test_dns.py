# SPDX-License-Identifier: BSD-2-Clause
"""Mail by the DNS: records of a real name server decide which of several hosts gets it, and what
cannot be known is waited for, never guessed."""
import contextlib, json, re, socket, struct, threading

import lab, pytest

BODY = 'Subject: t\r\n\r\nhello\r\n'
HEAD = '@ 60 IN SOA ns hostmaster 1 3600 600 86400 5\n@ 60 IN NS ns\nns 60 IN A 127.0.0.1\n'
ZONE = '$ORIGIN by.test.\n$TTL 60\n' + HEAD + '''
h1 IN A 127.0.0.11
h2 IN A 127.0.0.12
h3 IN A 127.0.0.13
h6 IN AAAA ::1
dead IN A 127.0.0.99
@ IN MX 10 h1
order IN MX 30 h3
order IN MX 10 h1
order IN MX 20 h2
swap1 IN MX 10 h2
swap1 IN MX 20 h3
swap2 IN MX 10 h3
swap2 IN MX 20 h2
next IN MX 10 dead
next IN MX 20 h2
two IN A 127.0.0.99
two IN A 127.0.0.13
a-only IN A 127.0.0.12
aaaa-only IN AAAA ::1
mixed IN MX 10 nowhere
mixed IN MX 20 h3
null IN MX 0 .
self IN MX 10 gw.test.
backup IN MX 20 gw.test.
backup IN MX 10 dead
cname IN CNAME order
''' + ''.join(f'eq{i} IN MX 10 h1\neq{i} IN MX 10 h2\n' for i in range(24))
BACK = '$ORIGIN back.test.\n$TTL 60\n' + HEAD + '@ IN MX 10 h\nh IN A 127.0.0.13\n'


@pytest.fixture(scope='module')
def nsd():
    with lab.Nsd({'by.test': ZONE, 'back.test': BACK, 'broken.test': '$ORIGIN broken.test.\n@ IN MX ten h\n'}) as n:
        yield n


class Hosts:
    """A mail host on each address that the zone names, all on one port."""

    def __init__(self):
        self.port = lab.free_port()
        self.at = {a: lab.Sink(address=a, port=self.port) for a in ('127.0.0.11', '127.0.0.12', '127.0.0.13', '::1')}

    def where(self):
        """recipient -> addresses of the hosts that have got its mail"""
        out = {}
        for addr, sink in self.at.items():
            for m in list(sink.mails):
                for r in m['rcpts'] if m['from'] else []:
                    out.setdefault(r, []).append(addr)
        return out

    def reports(self):
        return [m['body'].decode() for s in self.at.values() for m in list(s.mails) if m['from'] == '']


@contextlib.contextmanager
def gateway(inst, nameservers, hosts, smar='', **kw):
    servers = ', '.join(f'"127.0.0.1:{p}"' for p in nameservers)
    with lab.Gateway(inst, smtps='flags = { access };', smtpc=f'remote_port = {hosts.port}; connect_timeout = 2s;',
                     smar='map ac { type = text; file = "ac"; } access { name = ac; } '
                     f'nameserver = {{ {servers} }}; DNS_timeout = 300ms; DNS_tries = 2; ' + smar,
                     files={'ac': 'cltaddr:127.0.0.1 RELAY\n'}, **kw) as g:
        yield g


@pytest.fixture(scope='module')
def hosts():
    h = Hosts()
    yield h
    for s in h.at.values():
        s.close()


@pytest.fixture(scope='module')
def gw(inst, nsd, hosts):
    with gateway(inst, [nsd.port], hosts, qmgr='min_retry_delay = 1s; max_retry_delay = 1s;') as g:
        yield g


def test_records_choose_the_host(gw, hosts):
    want = {'order': '127.0.0.11', 'next': '127.0.0.12', 'two': '127.0.0.13', 'a-only': '127.0.0.12', 'aaaa-only': '::1',
            'mixed': '127.0.0.13', 'cname': '127.0.0.11',
            # the same hosts the other way round are another destination
            'swap1': '127.0.0.12', 'swap2': '127.0.0.13'}
    got = json.loads(gw.ctl('route', 'order.by.test', '--json').stdout)  # nobody asked before: it waits for the DNS
    assert [h.split()[0] for h in got['hops']] == ['127.0.0.11', '127.0.0.12', '127.0.0.13'], got
    with gw.client() as c:
        assert c.mail('a@back.test', [f'x@{d}.by.test' for d in want] + ['x@by.test', 'x@[127.0.0.12]'], BODY).startswith('250')
    gw.queue_empty()
    assert hosts.where() == {**{f'x@{d}.by.test': [a] for d, a in want.items()}, 'x@by.test': ['127.0.0.11'],
                             'x@[127.0.0.12]': ['127.0.0.12']}


def test_equal_preference_is_shared_out(gw, hosts):
    """Every look-up draws the order anew; each recipient gets one copy whichever it was."""
    def first(domain):
        got = json.loads(gw.http('smar', 'GET', f'/v1/route?domain={domain}')[1])
        return None if got.get('pending') else got['hops'][0].split()[0]
    drawn = [lab.wait_for('a route', lambda: first(f'eq{i}.by.test')) for i in range(24)]
    assert set(drawn) == {'127.0.0.11', '127.0.0.12'}  # one alone: odds of 2^-23
    with gw.client() as c:
        assert c.mail('a@back.test', [f'x@eq{i}.by.test' for i in range(24)], BODY).startswith('250')
    gw.queue_empty()
    got = [hosts.where()[f'x@eq{i}.by.test'] for i in range(24)]
    assert all(len(x) == 1 and x[0] in drawn for x in got), got


def test_what_the_dns_says_for_good_comes_back(gw, hosts):
    with gw.client() as c:
        assert c.mail('a@back.test', ['n@null.by.test', 'n@none.by.test', 'n@self.by.test', 'n@order.by.test'], BODY).startswith('250')
    gw.queue_empty()
    found = {}
    for text in hosts.reports():
        for rcpt, status in re.findall(r'Final-Recipient: rfc822; ?(\S+)\r\n(?:.+\r\n)*?Status: (\S+)', text):
            found.setdefault(rcpt, []).append(status)
    assert found == {'n@null.by.test': ['5.1.10'], 'n@none.by.test': ['5.1.2'], 'n@self.by.test': ['5.4.6']}
    assert hosts.where()['n@order.by.test'] == ['127.0.0.11']


def test_a_backup_mx_never_sends_to_itself(gw):
    """We are the second MX: mail waits for the first, it is neither bounced nor sent to us."""
    before = gw.metrics('smtps')['connections_total']
    with gw.client() as c:
        mid = c.mail('a@back.test', 'x@backup.by.test', BODY).split()[-1]
    row = lab.wait_for('a first try', lambda: next((r for m in gw.queue() if m['id'] == mid for r in m['recipients'] if r['reason']), None))
    assert 'refused' in row['reason'].lower() or 'connect' in row['reason'].lower(), row
    assert gw.metrics('smtps')['connections_total'] == before + 1
    gw.ctl('queue', 'delete', mid)
    gw.queue_empty()


def test_a_broken_zone_is_waited_for(gw):
    """SERVFAIL is no answer: the mail stays, with the reason shown."""
    with gw.client() as c:
        mid = c.mail('a@back.test', 'x@broken.test', BODY).split()[-1]
    row = lab.wait_for('a reason', lambda: next((r for m in gw.queue() if m['id'] == mid for r in m['recipients'] if r['reason']), None))
    assert '4.4.3' in row['reason'] and row['state'] == 'waiting', row
    gw.ctl('queue', 'delete', mid)
    gw.queue_empty()


def test_second_name_server_and_none(inst, nsd, hosts):
    """The first is silent; later both are, mail waits, and goes when one is back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(('127.0.0.1', 0))
        with gateway(inst, [silent.getsockname()[1], nsd.port], hosts,
                     qmgr='min_retry_delay = 500ms; max_retry_delay = 1s;') as g, g.client() as c:
            assert c.mail('a@back.test', 's@order.by.test', BODY).startswith('250')
            g.queue_empty()
            assert hosts.where()['s@order.by.test'] == ['127.0.0.11']
            nsd.stop()
            try:
                assert c.mail('a@back.test', 's@a-only.by.test', BODY, ehlo=None).startswith('250')
                lab.wait_for('a deferral', lambda: g.metrics('qmgr')['deferred_total'] > 0)
                assert g.queue()[0]['recipients'][0]['state'] in ('waiting', 'routing')
            finally:
                nsd.start()
            g.queue_empty()
            assert hosts.where()['s@a-only.by.test'] == ['127.0.0.12']


# ---- answers that lie ----

class Liar:
    """A name server whose answers are cut or changed as the first label of the name says."""

    def __init__(self):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(('127.0.0.1', 0))
        self.port = self.s.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    @staticmethod
    def answer(query):
        end = query.index(b'\0', 12) + 5
        kind = struct.unpack('!H', query[end - 4:end - 2])[0]
        head = query[:2] + struct.pack('!HHHHH', 0x8580, 1, 2 if kind == 15 else 1, 0, 0)
        mx = b'\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\x05\0\x0a\x01h\xc0\x0c'
        a = b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\x63'
        aaaa = b'\xc0\x0c\0\x1c\0\1\0\0\0\x3c\0\x10' + b'\0' * 15 + b'\1'
        return head + query[12:end] + {15: mx + mx.replace(b'\1h', b'\1i'), 1: a, 28: aaaa}[kind], end

    def serve(self):
        while True:
            try:
                query, peer = self.s.recvfrom(4096)
                answer, end = self.answer(query)
                m = re.match(rb'(?i)(cut|set)(\d+)(?:x(\d+))?$', query[13:13 + query[12]])
                if m and m[1].lower() == b'cut':
                    answer = answer[:int(m[2])]
                elif m:
                    at = end + int(m[2])
                    answer = answer[:at] + bytes([int(m[3])]) + answer[at + 1:]
                self.s.sendto(answer, peer)
            except OSError:
                return
            except (ValueError, KeyError, IndexError):
                continue


def test_cut_and_changed_answers(inst, hosts):
    liar = Liar()
    whole = len(Liar.answer(b'\0' * 12 + b'\5cut99\1x\0\0\x0f\0\1')[0])
    with gateway(inst, [liar.port], hosts) as g:
        pid = g.pids()['smar']

        def known(name):
            got = json.loads(g.http('smar', 'GET', f'/v1/route?domain={name}')[1])
            return got if 'status' in got else None

        def routes(names):
            """name -> route; eight are asked side by side (smar remembers sixteen)."""
            out = {}
            for i in range(0, len(names), 8):
                some = {n: known(n) for n in names[i:i + 8]}
                out.update((n, got or lab.wait_for(f'the route of {n}', lambda: known(n))) for n, got in some.items())
            return out
        # first: the liar tells the truth when nobody asks it to lie
        assert routes(['plain.x'])['plain.x']['status'] == 'ok'
        # what is cut anywhere is no answer, and never a reason to bounce
        for name, got in routes([f'cut{n}.x' for n in range(0, whole - 4, 3)]).items():
            assert got['status'] == 'tempfail', (name, got)
        # any byte of the answer section may be anything
        got = routes([f'set{at}x{value}.x' for at in range(0, 36, 3) for value in (0, 63, 192, 255)])
        assert {g['status'] for g in got.values()} >= {'ok', 'tempfail'}
        assert g.pids()['smar'] == pid, 'smar is alive'
        assert routes(['alive.x'])['alive.x']['status'] == 'ok'


class Folder(Liar):
    """A name server that answers in small letters, and has no TCP."""

    def __init__(self):
        self.asked = []
        super().__init__()

    def answer(self, query):
        end = query.index(b'\0', 12)
        self.asked.append(query[13:end])
        return super().answer(query[:12] + query[12:end].lower() + query[end:])


def test_names_in_random_case(inst, hosts):
    """An answer in another case may be forged: it is no answer, unless DNS_random_case = no says that this server folds names."""
    for option, status in (('yes', 'tempfail'), ('no', 'ok')):
        server = Folder()
        with gateway(inst, [server.port], hosts, f'DNS_random_case = {option};') as g:
            got = lab.wait_for('a route', lambda: (r := json.loads(g.http('smar', 'GET', '/v1/route?domain=some.longer.name.x')[1])) and 'status' in r and r)
            assert got['status'] == status, got
            assert any(n != n.lower() for n in server.asked) == (option == 'yes'), server.asked


class Worst(Liar):
    """Answers that are long, loop, or hold what no name has, over UDP and TCP; the first label says which."""

    def __init__(self):
        super().__init__()
        self.tcp = socket.create_server(('127.0.0.1', self.port))
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def answer(self, query):
        end = query.index(b'\0', 12) + 5
        kind, what = struct.unpack('!H', query[end - 4:end - 2])[0], query[13:13 + query[12]].lower()
        rr = lambda t, data, name=b'\xc0\x0c': name + struct.pack('!HHIH', t, 1, 60, len(data)) + data
        if what == b'cnames':  # leads back to itself
            rows = [rr(5, b'\1a\xc0\x0c'), rr(5, b'\xc0\x0c', b'\1a\xc0\x0c')]
        elif what == b'odd':  # control bytes, dots and blanks in a name
            rows = [rr(15, b'\0\1\x0ca\r\nRSET\r\n.\0 \xc0\x0c')]
        elif what == b'many':
            rows = [rr(15, b'\0\1\1%c\xc0\x0c' % (97 + i % 26)) for i in range(3000)] if kind == 15 else [rr(1, struct.pack('!I', 0x7f000000 + i)) for i in range(2048)]
        elif what == b'short':
            rows = [rr(15, b'\0')]
        else:
            rows = [rr(15, b'\0\1\1h\xc0\x0c')] if kind == 15 else [rr(1, b'\x7f\0\0\x63')] if kind == 1 else []
        return query[:2] + struct.pack('!HHHHH', 0x8580, 1, len(rows), 0, 0) + query[12:end] + b''.join(rows), end

    def serve(self):
        while True:
            query, peer = self.s.recvfrom(4096)
            answer, end = self.answer(query)
            if len(answer) > 1200:
                answer = query[:2] + struct.pack('!HHHHH', 0x8780, 1, 0, 0, 0) + query[12:end]  # TC
            self.s.sendto(answer, peer)

    def serve_tcp(self):
        while True:
            c, _ = self.tcp.accept()
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        with c, contextlib.suppress(OSError, struct.error):
            while head := c.recv(2, socket.MSG_WAITALL):
                query = c.recv(struct.unpack('!H', head)[0], socket.MSG_WAITALL)
                answer = self.answer(query)[0][:65535]
                c.sendall(struct.pack('!H', len(answer)) + answer)


def test_answers_of_the_worst_kind(inst, hosts):
    """Mail waits for a better answer, or goes where one is good; it is neither bounced nor led by what stands in a name."""
    server = Worst()
    with gateway(inst, [server.port], hosts) as g:
        pid = g.pids()['smar']
        names = ('cnames', 'odd', 'many', 'short', 'plain')
        with g.client() as c:
            for n in names:
                assert c.mail('a@back.test', f'u@{n}.x', BODY, ehlo='c.test').startswith('250')
        lab.wait_for('an answer for each', lambda: all(
            'status' in json.loads(g.http('smar', 'GET', f'/v1/route?domain={n}.x')[1]) for n in names))
        said = {n: json.loads(g.http('smar', 'GET', f'/v1/route?domain={n}.x')[1])['status'] for n in names}
        # a name that no host can have is a good answer, and as final as a name that is not there
        assert said == {'plain': 'ok', 'cnames': 'tempfail', 'many': 'tempfail', 'short': 'tempfail', 'odd': 'permfail'}, said
        assert g.pids()['smar'] == pid
        lab.wait_for('the end of one', lambda: g.metrics('qmgr')['bounced_total'] == 1)
