# SPDX-License-Identifier: BSD-2-Clause
"""Several filters as one chain: phases, conditions, the merged word, shadow, what is shown of it. The filters are scripted."""
import contextlib, json, re, signal

import lab, milterd, pytest

ADD = milterd.add_header
MAIL = b'Subject: t\r\n\r\nhello\r\n'


def gateway(inst, sink, milters, filters, sockets=''):
    """filters: {name: options}; each has the milter of that name."""
    chain = ''.join(f'filter {n} {{ module = milter; {milters[n].socket} {o} }}\n' for n, o in filters.items())
    g = lab.relay_all(inst, sink.port, smtps='')
    text = g.conf.read_text().replace('listen_socket {', 'listen_socket mx {', 1).replace('flags = { 8bitmime, access };', f'flags = {{ 8bitmime, access }}; {sockets} '
                        f'policy_milter {{ module = mux; {chain} }}', 1)
    g.conf.write_text(text)
    return g


@contextlib.contextmanager
def chain(inst, filters, says, **kw):
    """A gateway with these filters, its sink and the milters."""
    with contextlib.ExitStack() as stack:
        milters = {n: stack.enter_context(milterd.Milter(says=says.get(n))) for n in filters}
        sink = stack.enter_context(lab.Sink())
        g = stack.enter_context(gateway(inst, sink, milters, filters, **kw))
        g.sink, g.milters = sink, milters
        for m in milters.values():
            m.heard.clear()  # what the lab's own sessions said
        yield g


def arrives(g, sender='a@from.test', rcpts='u@far.test', body=MAIL, client=None):
    """The content of a mail as it comes out."""
    with client or g.client() as c:
        reply = c.mail(sender, rcpts, body)
        assert reply.startswith('250'), reply
    id = re.search('accepted as (S[0-9A-F]+)', reply)[1]
    return lab.wait_for(f'{id} at the sink', lambda: next((m['body'] for m in list(g.sink.mails) if id.encode() in m['body']), None))


def asked(g, name):
    """Commands that a filter has heard, as letters, without macros, header lines and the end of a session."""
    words = ''.join(k for k, _ in g.milters[name].heard if k not in 'ODLNBAQK')
    return re.findall('C[^C]*', words)


def end(*packets):
    return {'E': [*packets, b'c']}


def test_phases(inst):
    """Each sees what the phases before it made of the mail, and nothing of those beside it; the file's order is not the one of phases."""
    filters = {'d': 'phase = sign;', 'c': 'phase = modify;', 'b1': '', 'b2': 'phase = judge;', 'a': 'phase = verify;'}
    with chain(inst, filters, {n: end(ADD(f'X-{n}', 'here')) for n in filters}) as g:
        out = arrives(g)
        assert re.findall(rb'^X-(\w+): here\r$', out, re.M) == [b'a', b'b1', b'b2', b'c', b'd']

        def saw(name):
            return [d.split(b'\0')[0].decode() for k, d in g.milters[name].heard if k == 'L']
        assert saw('a') == ['Subject']
        assert saw('b1') == saw('b2') == ['Subject', 'X-a']
        assert saw('c') == ['Subject', 'X-a', 'X-b1', 'X-b2']
        assert saw('d') == ['Subject', 'X-a', 'X-b1', 'X-b2', 'X-c']
        line = g.wait_log(r'smtps\.filters .*')[0]
        assert 'verdict=continue by=- ' in line and re.search(r'filters="a: continue 1 edit [\d.]+ ms; b1: .*; d: continue 1 edit', line)
        assert [f['name'] for f in json.loads(g.http('smtps', 'GET', '/v1/filters')[1])['filters']] == ['a', 'b1', 'b2', 'c', 'd']


def test_the_strictest_word(inst):
    with chain(inst, {'one': '', 'two': '', 'late': 'phase = sign;'}, {}) as g:
        one, two = g.milters['one'], g.milters['two']

        def said(a, b):
            one.says, two.says = {'E': a}, {'E': b}
            with g.client() as c:
                return c.mail('a@from.test', 'u@far.test', MAIL)
        assert said([b't'], [milterd.reply_code('550 5.7.9 not this')]).startswith('550 5.7.9 not this')
        assert said([milterd.reply_code('552 5.2.3 first')], [milterd.reply_code('550 5.7.9 second')]).startswith('552 5.2.3 first')
        assert said([b'd'], [b't']).startswith('451')
        assert said([b'd'], [milterd.quarantine('odd'), b'c']).startswith('250')  # thrown away
        assert all('E' not in x for x in asked(g, 'late'))
        reply = said([milterd.quarantine('why not'), b'c'], [b'a'])
        assert reply.startswith('250')
        held = lab.wait_for('a held mail', lambda: [m for m in g.queue() if m['recipients'][0]['state'] == 'held'])
        assert 'why not' in held[0]['recipients'][0]['reason'] and len(g.queue()) == 1 and not g.sink.mails
        g.ctl('queue', 'release', held[0]['id'])
        g.sink.wait(1)


CONDITIONS = {
    'sender': 'senders = { a@from.test, only.test, .below.test };', 'null': 'senders = "<>";', 'rcpt': 'recipients = far2.test;',
    'small': 'max_size = 200;', 'large': 'min_size = 200;', 'here': 'clients = { 127.0.0.1, 10.0.0.0/8 };', 'there': 'clients = 192.0.2.0/24;',
    'plain': 'authenticated = no;', 'any': 'authenticated = any;', 'auth': 'authenticated = yes;', 'mx': 'listeners = mx;', 'sub': 'listeners = submission;'}


def test_conditions(inst):
    port = lab.free_port()
    sockets = f'listen_socket submission {{ type = inet; address = 127.0.0.1; port = {port}; }}'
    with chain(inst, CONDITIONS, {n: end(ADD(f'X-{n}', 'y')) for n in CONDITIONS}, sockets=sockets) as g:
        def judged(*mail, **kw):
            return set(re.findall(rb'^X-(\w+): y\r$', arrives(g, *mail, **kw), re.M))
        always = {b'here', b'plain', b'any'}
        assert judged() == always | {b'sender', b'small', b'mx'}
        assert judged('b@from.test', body=b'Subject: t\r\n\r\n' + b'x' * 300 + b'\r\n') == always | {b'large', b'mx'}
        assert judged('b@s.below.test', ['u@far.test', 'v@FAR2.test']) == always | {b'sender', b'small', b'rcpt', b'mx'}
        assert judged('', client=lab.Client(('127.0.0.1', port))) == always | {b'null', b'small', b'sub'}
        # what its sender does not let it judge, it does not even hear of
        assert asked(g, 'sender') == ['CHMRTE', 'CH', 'CHMRRTE', 'CH'] and asked(g, 'there') == []
        shown = json.loads(g.ctl('explain', '--ip', '192.0.2.9', '--from', 'x@only.test', '--to', 'u@far2.test', '--auth', 'ann',
                                 '--socket', 'submission', '--json').stdout)['filters']
        assert {f['name']: (f['asked'], f['condition']) for f in shown} == {
            'sender': ('yes', ''), 'null': ('no', 'senders'), 'rcpt': ('yes', ''), 'small': ('perhaps', 'size'), 'large': ('perhaps', 'size'),
            'here': ('no', 'clients'), 'there': ('yes', ''), 'plain': ('no', 'authenticated'), 'any': ('yes', ''), 'auth': ('yes', ''), 'mx': ('no', 'listeners'), 'sub': ('yes', '')}
        text = g.ctl('explain', '--ip', '192.0.2.9', '--from', 'x@y.test', '--to', 'u@far2.test').stdout
        assert 'filter sender (milter, judge): not asked, by its condition senders\n' in text
        assert 'filter mx (milter, judge): asked or not, by its condition listeners (--socket says which)\n' in text and 'filter there (milter, judge): asked\n' in text
        wrong = g.ctl('explain', '--ip', '192.0.2.9', '--from', 'x@y.test', '--to', 'u@far2.test', '--socket', 'submision', check=False)
        assert wrong.returncode and '--socket: found submision, expected ADDRESS:PORT or a listen_socket: dsn_filters, ' in wrong.stderr and 'submission' in wrong.stderr
        text = g.ctl('filters').stdout
        assert re.search(r'^  sender  +(up|no connection), .*\n    milter, phase judge; when it fails clients hear 451$', text, re.M), text
        assert re.search(r'^  there  +not asked yet, inet:127.0.0.1:\d+\n    milter, .*\n  \w', text, re.M), text


def test_shadow(inst):
    """Refuses everything, edits, dies: nobody notices but the log and the counts."""
    with chain(inst, {'new': 'shadow = yes; timeout = 1s;', 'old': ''}, {'old': end(ADD('X-old', 'y'))}) as g:
        new = g.milters['new']
        for says in ({'M': [b'r']}, {'R': [b't']}, {'E': [b'd']}, {'E': [ADD('X-new', 'y'), milterd.quarantine('q'), b'c']},
                     {'C': 'close_it'}, {'M': 'garble'}, {'E': 'half'}):
            new.says = says
            out = arrives(g)
            assert b'X-old: y' in out and b'X-new' not in out
        assert not g.queue() or lab.wait_for('an empty queue', lambda: not g.queue())
        counts = {f['name']: f['counts'] for f in json.loads(g.http('smtps', 'GET', '/v1/filters')[1])['filters']}
        assert counts['new'] == {'continue': 1, 'edit': 0, 'accept': 0, 'reject': 1, 'tempfail': 1, 'discard': 1, 'hold': 1, 'failed': 3, 'spared': 0}
        assert counts['old']['edit'] == 7 and 'new (shadow): 550 ' in g.log()
        assert re.search(r'smtps\.filter_shadow filter=new .* stage=mail would=refuse', g.log()) and 'new (shadow): failed' in g.log()


def test_reload_and_what_is_shown(inst):
    """A session keeps the chain that it began with, over two reloads and a failure of its filter; the next has the new one, and counts go on."""
    with chain(inst, {'a': 'failure = accept;', 'b': ''}, {n: end(ADD(f'X-{n}', 'y')) for n in 'ab'}) as g:
        def filters():
            return {f['name']: f for f in json.loads(g.http('smtps', 'GET', '/v1/filters')[1])['filters']}

        def reload(old, new):
            before = len(re.findall(r' smtps\[.* role\.reload result=committed', g.log()))
            g.conf.write_text(re.sub(old, new, g.conf.read_text(), flags=re.S))
            g.proc.send_signal(signal.SIGHUP)
            lab.wait_for('the reload', lambda: len(re.findall(r' smtps\[.* role\.reload result=committed', g.log())) > before)
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            arrives(g)
            text = g.ctl('filters').stdout
            assert re.search(r'^smtps\n  a  +up, inet:127\.0\.0\.1:\d+ milter v6\n    milter, phase judge; when it fails mail goes on without it$', text, re.M), text
            assert re.search(r'^    so far: edit 1\n    p50/p99 ms: before the end \d+\.\d\d/\d+\.\d\d, the end \d+\.\d\d/\d+\.\d\d$', text, re.M), text
            reload(r'filter b \{.*?\}.*?\}', '')
            assert list(filters()) == ['a'] and b'X-b: y' not in arrives(g)
            reload('failure = accept;', 'failure = accept; timeout = 1m;')
            g.milters['b'].says = {'E': 'close_it'}
            assert c.mail('a@from.test', 'u@far.test', MAIL, ehlo=None).startswith('451 4.7.1')
            g.milters['b'].says = end(ADD('X-b', 'y'))
            reply = c.mail('a@from.test', 'u@far.test', MAIL, ehlo=None)
            id = re.search('accepted as (S[0-9A-F]+)', reply)[1].encode()
            out = lab.wait_for('the mail', lambda: next((m['body'] for m in list(g.sink.mails) if id in m['body']), None))
            assert b'X-b: y' in out and b'X-a: y' in out
        assert filters()['a']['counts']['edit'] == 4
        g.milters['a'].stop()
        assert b'hello' in arrives(g)
        text = g.ctl('filters').stdout
        assert 'last failure 20' in text and 'edit 4, failed 1' in text and re.search(r'^  a  +not connected, ', text, re.M), text
        for _ in range(4):
            arrives(g)
        assert re.search(r'^  a  +spared, inet:.*(\n.*){3}\n    failed 5 times in a row, so nobody asks it; (a session may try it in 1 s|the next session tries it)\n    last failure 20', g.ctl('filters').stdout, re.M)
        assert json.loads(g.ctl('filters', '--json').stdout)['process'] == 'smtps'
        assert g.metrics('smtps')['filter_verdicts_total'] == 9
