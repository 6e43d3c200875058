# SPDX-License-Identifier: BSD-2-Clause
"""Every form of the mailertable's next hops and keys as the next hop sees it, and what route and explain say of each; routes of
senders in both."""
import json, os, pathlib, re, urllib.parse

import lab, pytest

SRC = pathlib.Path(os.environ.get('META1_SRC', pathlib.Path(__file__).resolve().parents[2]))
BODY = 'Subject: t\r\n\r\nhello\r\n'
ZONE = '''$TTL 60
@ IN SOA ns hostmaster 1 60 60 60 60
@ IN NS ns
ns IN A 127.0.0.1
host IN A 127.0.0.1
host IN MX 10 other
other IN A 127.0.0.3
mxed IN MX 20 other
mxed IN MX 10 host
'''


def rows(a, b, store, far, six):
    """Words of doc/smar-decisions.md -> the value of such a row, and who gets the mail."""
    return {'lmtp:': ('lmtp:', a), 'lmtp:/run/store/lmtp': (f'lmtp:{b.path}', b), 'lmtp:[host]:port': (f'lmtp:[host.dns.test]:{store.port}', store),
            '[192.0.2.1]': ('[127.0.0.1]', far), '[IPv6:2001:db8::1]': ('[IPv6:::1]', six), '192.0.2.1': ('127.0.0.1', far),
            '[192.0.2.1]:2525': (f'[127.0.0.1]:{store.smtp.port}', store.smtp), '[host]': ('[host.dns.test]', far),
            '[host]:port': (f'[host.dns.test]:{store.smtp.port}', store.smtp), 'host': ('mxed.dns.test', far),
            'host:port': (f'mxed.dns.test:{store.smtp.port}', store.smtp), 'smtp:…': ('smtp:[host.dns.test]', far)}


@pytest.fixture(scope='module')
def gw(inst):
    d = lab.tempdir('routes')
    with lab.Sink(lmtp=True, path=d / 'a') as a, lab.Sink(lmtp=True, path=d / 'b') as b, lab.Sink(lmtp=True) as store, lab.Sink() as smtp, \
            lab.Sink() as far, lab.Sink(address='::1', port=far.port) as six, lab.Sink(address='127.0.0.3', port=far.port) as other, \
            lab.Nsd({'dns.test': ZONE}) as nsd:
        store.smtp, sinks = smtp, {'a': a, 'b': b, 'store': store, 'smtp': smtp, 'far': far, 'six': six, 'other': other}
        forms = rows(a, b, store, far, six)
        mt = ''.join(f'f{i}.test {v}\n' for i, (v, _) in enumerate(forms.values()))
        mt += (f'several.test [127.0.0.1]:{lab.free_port()} smtp:[127.0.0.1]:{smtp.port}\n.sub.test [127.0.0.1]:{smtp.port}\nx.sub.test lmtp:{d}/b\n'
               f'bad.test lmtp:store\nboth.test lmtp: [127.0.0.1]\nmine.test lmtp:\n. [127.0.0.1]:{far.port}\n')
        sr = f'ann@b.test [127.0.0.1]:{smtp.port}\nboss.test [127.0.0.3]\n<> [127.0.0.1]:{smtp.port}\nown.test [127.0.0.3]\n'
        smar = (f'nameserver = "127.0.0.1:{nsd.port}"; map sr {{ type = text; file = "sr"; }} sender_routes {{ name = sr; }} '
                'map al { type = text; file = "al"; } aliases { name = al; flags = { localpart, local_domains }; } ')
        with lab.relay_all(inst, 0, mt=mt, smar=smar, files={'sr': sr, 'al': 'list x@far.test\nowner-list chief\n'},
                           smtpc=f'LMTP_socket = "{d}/a"; remote_port = {far.port}; ', qmgr='min_retry_delay = 1h;') as g:
            g.forms, g.sinks = forms, sinks
            yield g


def deliver(g, sender, rcpt):
    """Whose it became: names of sinks."""
    before = {n: len(s.mails) for n, s in g.sinks.items()}
    with g.client() as c:
        g.settled(c.mail(sender, rcpt, BODY))
    return [n for n, s in g.sinks.items() for m in s.mails[before[n]:] if m['from'] != '' or not sender]


def route(g, domain, sender=None):
    """meta1ctl route, as it asks: again while it is pending."""
    q = {'domain': domain} if sender is None else {'domain': domain, 'from': sender}

    def ask():
        code, body = g.http('smar', 'GET', '/v1/route?' + urllib.parse.urlencode(q))
        assert code == 200, body
        return None if json.loads(body).get('pending') else json.loads(body)
    return lab.wait_for(f'the route of {domain}', ask)


def explain(g, sender, rcpt):
    code, body = g.http('smar', 'GET', '/v1/explain?' + urllib.parse.urlencode({'ip': '127.0.0.1', 'from': sender, 'to': rcpt}))
    assert code == 200, body
    return json.loads(body)


def test_forms_of_the_page(gw):
    """Each form that the page names has its row here."""
    page = (SRC / 'doc/smar-decisions.md').read_text()
    table = re.search(r'\| next hop \| means \|\n\|.*\n((?:\|.*\n)+)', page)[1]
    told = {w for line in table.splitlines() for w in line.split('|')[1].split()} | set(re.findall(r'a port may follow: (\S+?) \|', table))
    assert told == set(gw.forms)
    manual = (SRC / 'doc/man/meta1-access.5').read_text().partition('.Sh NEXT HOPS')[2].partition('.Sh ')[0].replace('\\(bu', '')
    for word in ('lmtp:', 'lmtp:/path', 'lmtp:[host]:port', '[192.0.2.1]', '[IPv6:', '[host]', 'host:port', 'smtp:'):
        assert word in manual, word


def test_each_form(gw):
    for i, (form, (value, sink)) in enumerate(gw.forms.items()):
        domain, name = f'f{i}.test', next(n for n, s in gw.sinks.items() if s is sink)
        by = {'rule': 'mailertable', 'map': 'mt', 'key': domain, 'value': value}
        got = route(gw, domain)
        assert got['by'] == by and got['status'] == 'ok' and got['transport'] == ('lmtp' if sink.lmtp else 'smtp'), (form, got)
        way = explain(gw, 's@c.test', f'u@{domain}')['routes'][0]
        assert way['by'] == by and way['hops'] == got['hops'] and way['from'] == 's@c.test', (form, way)
        where = sink.path or ('::1' if name == 'six' else '127.0.0.1')
        assert got['hops'][0].startswith(f'{where} {0 if sink.path else sink.port} '), (form, got)
        assert deliver(gw, 's@c.test', f'u@{domain}') == [name], form
        mail = sink.mails[-1]
        assert mail['from'] == 's@c.test' and mail['rcpts'] == [f'u@{domain}'] and mail['body'].endswith(b'\r\nhello\r\n')
        verbs = [v for v, _ in sink.commands]
        assert ('LHLO' in verbs) == sink.lmtp and ('EHLO' in verbs) != sink.lmtp, form


@pytest.mark.parametrize('domain, key, sink', [
    ('several.test', 'several.test', 'smtp'),  # nobody listens at the first
    ('a.b.sub.test', '.sub.test', 'smtp'), ('x.sub.test', 'x.sub.test', 'b'), ('y.x.sub.test', '.sub.test', 'smtp'), ('sub.test', '.', 'far'),
    ('any.where.test', '.', 'far'), ('mine.test', 'mine.test', 'a'), ('MINE.Test', 'mine.test', 'a')])
def test_each_key(gw, domain, key, sink):
    assert route(gw, domain)['by']['key'] == key
    assert explain(gw, 's@c.test', f'u@{domain}')['routes'][0]['by']['key'] == key
    assert deliver(gw, 's@c.test', f'u@{domain}') == [sink]


def test_rows_that_are_none(gw):
    """The mail waits, and route says which row and what is wrong with it."""
    for domain, why in (('bad.test', '"lmtp:store": expected lmtp:, lmtp:/path or lmtp:[host]:port'), ('both.test', '"[127.0.0.1]": next hops by smtp and lmtp in one row')):
        got = route(gw, domain)
        assert (got['status'], got['dsn'], got['by']['key']) == ('tempfail', '4.3.5', domain) and why in got['text'], got
        with gw.client() as c:
            assert c.mail('s@c.test', f'u@{domain}', BODY).startswith('250')
        lab.wait_for('a reason', lambda: any(why in (r['reason'] or '') for m in gw.queue() for r in m['recipients']))
        gw.ctl('queue', 'delete', '--domain', domain)


@pytest.mark.parametrize('sender, rcpt, rule, key, sink', [
    ('ann@b.test', 'u@any.test', 'sender_routes', 'ann@b.test', 'smtp'), ('ann+x@b.test', 'u@any.test', 'sender_routes', 'ann@b.test', 'smtp'),
    ('x@boss.test', 'u@any.test', 'sender_routes', 'boss.test', 'other'), ('bob@b.test', 'u@any.test', 'mailertable', '.', 'far'),
    ('', 'u@any.test', 'sender_routes', '<>', 'smtp'), ('ann@b.test', 'u@mine.test', 'mailertable', 'mine.test', 'a'),
    ('ann@b.test', 'u@a.sub.test', 'mailertable', '.sub.test', 'smtp'), ('ann@b.test', 'u@gw.test', 'local domain', None, 'a'),
    ('ann@b.test', 'u@[127.0.0.3]', 'mailertable', '.', 'far')])
def test_the_sender_s_word(gw, sender, rcpt, rule, key, sink):
    """What route --from and explain say is what the mail does."""
    got = route(gw, rcpt.split('@')[1], sender)
    assert (got['by']['rule'], got['by']['key'], got['from']) == (rule, key, sender), got
    way = explain(gw, sender, rcpt)['routes'][0]
    assert way['by'] == got['by'] and way['hops'] == got['hops']
    assert deliver(gw, sender, rcpt) == [sink]


def test_members_of_a_list_go_by_its_owner(gw):
    way, = explain(gw, 'ann@b.test', 'list@gw.test')['routes']
    assert (way['domain'], way['from'], way['by']['key']) == ('far.test', 'owner-list@gw.test', '.')
    assert deliver(gw, 'ann@b.test', 'list@gw.test') == ['far']


def test_the_tool(gw):
    got = json.loads(gw.ctl('route', 'any.test', '--from', 'ann@b.test', '--json').stdout)
    assert got['by'] == {'rule': 'sender_routes', 'map': 'sr', 'key': 'ann@b.test', 'value': f'[127.0.0.1]:{gw.sinks["smtp"].port}'}
    assert json.loads(gw.ctl('route', 'any.test', '--json').stdout)['from'] is None
    p = gw.ctl('route', 'any.test', '--from', 'a b', check=False)
    assert p.returncode == 1 and 'from: "a b" is not an address that smtps would take' in p.stderr
    text = gw.ctl('explain', '--ip', '127.0.0.1', '--from', 'x@boss.test', '--to', 'u@any.test').stdout
    assert '\nroute of any.test: smtp (sender_routes, sr boss.test: [127.0.0.3])\n' in text
    text = gw.ctl('explain', '--ip', '127.0.0.1', '--from', 's@c.test', '--to', 'u@bad.test').stdout
    assert re.search(r'\nroute of bad.test: tempfail, 451 4.3.5 .* \(mailertable, mt bad.test: lmtp:store\)\n', text)
