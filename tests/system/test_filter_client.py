# SPDX-License-Identifier: BSD-2-Clause
"""What policy filters know of a client before it is greeted: its name by the DNS, as Sendmail tells it, and another client than
before after XCLIENT. The filter and the name server are scripted."""
import contextlib, json, re, socket, threading

import dns.message, dns.rrset, lab, milterd, pmilterd, pytest

NAMES = {'9.2.0.192.in-addr.arpa.': 'mx.good.test.', 'mx.good.test.': '192.0.2.9',
         '10.2.0.192.in-addr.arpa.': 'mx.good.test.',
         'spf.test.': '"v=spf1 ip4:192.0.2.9 -all"'}


class Names(threading.Thread):
    """A name server with a few names. What is in broken it cannot say, what is in held it says when that is set."""

    def __init__(self, names=NAMES):
        super().__init__(daemon=True)
        self.names, self.asked, self.broken, self.held = names, [], set(), {}
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(('127.0.0.1', 0))
        self.port = self.s.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.s.recvfrom(4096)
                threading.Thread(target=self.answer, args=(query, peer), daemon=True).start()

    def answer(self, query, peer):
        q = dns.message.from_wire(query)
        name = q.question[0].name.to_text().lower()
        self.asked.append(name)
        if name in self.held:
            self.held[name].wait()
        r = dns.message.make_response(q)
        if name in self.broken:
            r.set_rcode(2)
        elif value := self.names.get(name):
            kind = 'A' if value[0].isdigit() else 'TXT' if value[0] == '"' else 'PTR'
            if q.question[0].rdtype == dns.rdatatype.from_text(kind):
                r.answer.append(dns.rrset.from_text(name, 60, 'IN', kind, value))
        else:
            r.set_rcode(3)
        with contextlib.suppress(OSError):
            self.s.sendto(r.to_wire(), peer)


@contextlib.contextmanager
def gateway(inst, names, filters, kind='milter', peer=milterd.Milter, smtps='', smar=''):
    with contextlib.ExitStack() as stack:
        milters = {n: stack.enter_context(peer()) for n in filters}
        chain = ''.join(f'filter {n} {{ module = {kind}; {m.socket} {filters[n]} }}\n' for n, m in milters.items())
        sink = stack.enter_context(lab.Sink())
        g = stack.enter_context(lab.relay_all(
            inst, sink.port, smtps=f'xclient = 127.0.0.1; {smtps} policy_milter {{ module = mux; {chain} }}', ac='cltaddr:127.0.0.1 RELAY\nto:far.test RELAY\n',
            smar=f'nameserver = "127.0.0.1:{names.port}"; DNS_timeout = 3s; DNS_tries = 1; {smar}'))
        g.milters, g.sink = milters, sink
        for m in milters.values():
            m.heard.clear()
        yield g


@pytest.fixture(scope='module')
def names():
    n = Names()
    yield n
    n.s.close()


@pytest.fixture(scope='module')
def g(inst, names):
    with gateway(inst, names, {'a': ''}) as g:
        yield g


def as_client(g, addr):
    """A session that is that client's, before its EHLO."""
    c = g.client()
    c.cmd('EHLO proxy.test', 250)
    g.milters['a'].heard.clear()
    c.cmd(f'XCLIENT ADDR={addr}', 220)
    return c


def told(g):
    """Of the last connect: the name, and its macros."""
    heard = g.milters['a'].heard
    name = next(d for k, d in heard if k == 'C').split(b'\0')[0].decode()
    words = next(d for k, d in heard if k == 'D' and d[:1] == b'C')[1:].decode().split('\0')
    macros = dict(zip(words[::2], words[1::2]))
    return name, macros.get('{client_name}'), macros.get('{client_ptr}'), macros.get('{client_resolve}'), macros.get('_')


@pytest.mark.parametrize('addr, want', [
    ('192.0.2.9', ('mx.good.test', 'mx.good.test', 'mx.good.test', 'OK', 'mx.good.test [192.0.2.9]')),
    ('192.0.2.10', ('[192.0.2.10]', '[192.0.2.10]', 'mx.good.test', 'FORGED', '[192.0.2.10]')),
    ('192.0.2.11', ('[192.0.2.11]', '[192.0.2.11]', '[192.0.2.11]', 'FAIL', '[192.0.2.11]')),
    ('IPV6:2001:db8::9', ('[2001:db8::9]', '[2001:db8::9]', '[2001:db8::9]', 'FAIL', '[2001:db8::9]'))])
def test_names(g, addr, want):
    with as_client(g, addr):
        assert told(g) == want


def test_the_dns_cannot_say(g, names):
    """The greeting comes all the same, and at once for a while after that."""
    names.broken.add('66.2.0.192.in-addr.arpa.')
    for _ in range(2):
        with as_client(g, '192.0.2.66') as c:
            assert told(g)[0] == '[192.0.2.66]' and told(g)[3] == 'TEMP'
            c.cmd('EHLO c.test', 250)
    assert names.asked.count('66.2.0.192.in-addr.arpa.') == 1


def test_who_waits(g, names):
    """The client whose name is looked for, and nobody else; of this machine nothing is looked for."""
    names.held['67.2.0.192.in-addr.arpa.'] = go = threading.Event()
    before = len(names.asked)
    with g.client() as slow:
        slow.cmd('EHLO proxy.test', 250)
        slow.send('XCLIENT ADDR=192.0.2.67\r\n')
        lab.wait_for('the question', lambda: '67.2.0.192.in-addr.arpa.' in names.asked)
        sessions = json.loads(g.http('smtps', 'GET', '/v1/sessions')[1])['sessions']
        with g.client() as c:
            c.mail('a@b.test', 'u@far.test', 'Subject: t\r\n\r\nx\r\n')
        waited = [s for s in sessions if 'name of the client' in json.dumps(s)]
        go.set()
        slow.reply(220)
        assert len(waited) == 1
    assert [n for n in names.asked[before:] if '127.in-addr' in n] == []


def test_a_client_that_goes_meanwhile(g, names):
    names.held['68.2.0.192.in-addr.arpa.'] = go = threading.Event()
    with g.client() as c:
        c.cmd('EHLO proxy.test', 250)
        c.send('XCLIENT ADDR=192.0.2.68\r\n')
        lab.wait_for('the question', lambda: '68.2.0.192.in-addr.arpa.' in names.asked)
    go.set()
    with as_client(g, '192.0.2.9'):  # of the other the filter may hear still
        assert [d for k, d in g.milters['a'].heard if k == 'C' and d.startswith(b'mx.good.test\0')]
    lab.wait_for('its session to end', lambda: '192.0.2.68' not in g.http('smtps', 'GET', '/v1/sessions')[1])


def test_nobody_wants_it(inst, names):
    """A filter that does not hear of the client costs no look at the DNS."""
    def peer():
        return pmilterd.Pmilter(stages=pmilterd.ALL_STAGES & ~1)
    with gateway(inst, names, {'a': ''}, 'pmilter', peer) as g:
        lab.wait_for('the filter', lambda: json.loads(g.http('smtps', 'GET', '/v1/filters')[1])['filters'][0]['connected'])
        with as_client(g, '192.0.2.71') as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<a@b.test>', 250)
        assert [k for k, _ in g.milters['a'].heard if k == 'M'] and '71.2.0.192.in-addr.arpa.' not in names.asked


def test_a_milter_that_does_not_want_it(inst, names):
    """What it wants is known from the first session on, and anew when it comes back."""
    with gateway(inst, names, {'a': ''}, peer=lambda: milterd.Milter(protocol=1)) as g:
        with g.client() as c:
            c.mail('a@b.test', 'u@far.test', 'Subject: t\r\n\r\nx\r\n')
        with as_client(g, '192.0.2.72') as c:
            c.mail('a@b.test', 'u@far.test', 'Subject: t\r\n\r\nx\r\n')
        assert 'C' not in [k for k, _ in g.milters['a'].heard] and [k for k, _ in g.milters['a'].heard].count('E') == 1
        assert '72.2.0.192.in-addr.arpa.' not in names.asked
        g.milters['a'].protocol = 0
        for m in list(g.milters['a'].live):
            m.shutdown(socket.SHUT_RDWR)
        with as_client(g, '192.0.2.9') as c:  # it hears of the client, if not the name this time
            c.mail('a@b.test', 'u@far.test', 'Subject: t\r\n\r\nx\r\n')
        assert [k for k, _ in g.milters['a'].heard if k in 'CHME'] == list('CHME')
        with as_client(g, '192.0.2.9'):
            assert told(g)[0] == 'mx.good.test'


def test_xclient_and_conditions(inst, names):
    """The filter of other clients is asked about the new client, from CONNECT to END; that of the proxy is not asked any more."""
    with gateway(inst, names, {'there': 'clients = 192.0.2.0/24;', 'here': 'clients = 127.0.0.1;'}) as g:
        there, here = g.milters['there'], g.milters['here']
        with g.client() as c:
            c.cmd('EHLO proxy.test', 250)
            assert not there.heard
            c.cmd('XCLIENT ADDR=192.0.2.9', 220)
            here.heard.clear()
            reply = c.mail('a@b.test', 'u@far.test', 'Subject: t\r\n\r\nx\r\n', ehlo='new.test')
            assert reply.startswith('250')
        lab.wait_for('the mail', lambda: g.sink.mails)
        heard = [(k, d) for k, d in there.heard if k not in 'ODKQ']
        assert ''.join(k for k, _ in heard) == 'CHMRTLNBE' and heard[0][1].startswith(b'mx.good.test\0')
        assert heard[1][1] == b'new.test\0' and b'192.0.2.9' in heard[0][1]
        assert not [k for k, _ in here.heard if k in 'CHMRTE']
        assert re.search(rb'Received: from new\.test .*\[192\.0\.2\.9\]', g.sink.mails[0]['body'])


@pytest.mark.parametrize('header, line', [('authentication_results', rb'Authentication-Results: gw\.test;\r\n\tspf=pass smtp\.mailfrom=a@spf\.test'),
                                          ('received_spf', rb'Received-SPF: pass \(gw\.test: [^\r]*(?:\r\n[ \t][^\r]*)*')])
def test_lines_of_ours(inst, names, header, line):
    """What was found of the sender is told to filters as the first field, without what claims to be ours; it stands where it stands
    without filters, under what they put first; and a filter may take it out."""
    forged = b'Authentication-Results: gw.test; spf=pass smtp.mailfrom=bank.test\r\n'
    top, out = b'i' + bytes(4) + b'X-Top\0one\0', b'm' + bytes([0, 0, 0, 1])
    name = re.match(rb'[\w-]+', line)[0]
    taken_out = header == 'authentication_results'  # there are such lines of ours
    with gateway(inst, names, {'a': ''}, smtps=f'spf_header = {header};', smar='spf = yes;') as g:
        for edits, want in (([], rb'%s\r\nReceived: .*'), ([top], rb'X-Top: one\r\n%s\r\nReceived: .*'),
                            ([top, out + name + b'\0\0'], rb'X-Top: one\r\nReceived: (?s:(?!%s).)*')):
            g.milters['a'].says = {'E': [*edits, b'c']}
            with as_client(g, '192.0.2.9') as c:
                reply = c.mail('a@spf.test', 'u@far.test', forged + b'Subject: t\r\n\r\nx\r\n')
            id = re.search('accepted as (S[0-9A-F]+)', reply)[1].encode()
            body = lab.wait_for('the mail', lambda: next((m['body'] for m in list(g.sink.mails) if id in m['body']), None))
            head = body.partition(b'\r\n\r\n')[0]
            assert re.fullmatch(want % line, head, re.S) and (b'bank.test' in head) != taken_out, head
            heard = [d.split(b'\0')[0] for k, d in g.milters['a'].heard if k == 'L']
            assert heard == [name, *([] if taken_out else [b'Authentication-Results']), b'Subject']
