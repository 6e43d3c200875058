# SPDX-License-Identifier: BSD-2-Clause
"""Next hops that fail, refuse, fall silent or talk nonsense: whose fault it was decides what follows."""
import contextlib, re, threading

import lab, pytest

BODY = b'From: <a@back.test>\r\nSubject: t\r\n\r\nhello\r\n'
SOON = 'min_retry_delay = 200ms; max_retry_delay = 400ms;'


@contextlib.contextmanager
def hops(inst, rows, smtpc='', qmgr=SOON, smtps='', **kw):
    """A gateway and its next hops: rows maps a domain to (arguments of a Sink, …), tried in that order,
    None for a host that refuses connections. Reports go to the sink 'back'."""
    with contextlib.ExitStack() as stack:
        sinks, mt = {}, ''
        for domain, hosts in {**rows, 'back': ({},)}.items():
            sinks[domain] = [h if h is None else stack.enter_context(lab.Sink(**h)) for h in hosts]
            mt += f'{domain}.test ' + ' '.join(f'[127.0.0.1]:{s.port if s else lab.free_port()}' for s in sinks[domain]) + '\n'
        g = stack.enter_context(lab.relay_all(inst, 0, smtps, mt=mt, smtpc=smtpc, qmgr=qmgr, **kw))
        g.hops = sinks
        g.back = sinks['back'][0]
        yield g


def once(verb, reply, n=1, only=None):
    """Answers verb n times with reply, then as usual."""
    left, lock = [n], threading.Lock()

    def answer(v, arg, ses):
        with lock:
            if v == verb and left[0] and (only is None or only in arg):
                left[0] -= 1
                return reply
    return answer


def always(verb, reply, only=None):
    return once(verb, reply, 1 << 30, only)


# ---- the host's fault: the next host, at once ----

HOST_FAULTS = {
    'refused': None, 'greeting421': ('GREETING', '421 4.3.2 busy'), 'greeting451': ('GREETING', '451 later'),
    'greeting554': ('GREETING', '554 5.7.1 not you'), 'greetingclose': ('GREETING', 'close'), 'ehlo421': ('EHLO', '421 4.3.2 bye'),
    'ehlo451': ('EHLO', '451 4.3.0 no'), 'ehloclose': ('EHLO', 'close'), 'mail421': ('MAIL', '421 4.3.2 bye'),
    'mailclose': ('MAIL', 'close'), 'rcpt421': ('RCPT', '421 4.3.2 bye'), 'rcptclose': ('RCPT', 'close'),
    'data421': ('DATA', '421 4.3.2 bye'), 'dataclose': ('DATA', 'close'),
    'garbage': ('GREETING', '\x01\xff no reply'), 'code': ('EHLO', '999 what'), 'mixed': ('EHLO', '250-a\r\n451 b'),
    'endless': ('EHLO', '250-' + 'x' * 5000), 'lines': ('EHLO', '\r\n'.join(['250-x'] * 10001) + '\r\n250 x'),
    'early': ('MAIL', '250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n250 2.0.0 taken\r\n250 and more'),
    'data250': ('DATA', '250 strange'),
}


@pytest.mark.parametrize('pipelining', [True, False])
def test_the_next_host_gets_it(inst, pipelining):
    ehlo = ('PIPELINING', 'SIZE') if pipelining else ('SIZE',)
    rows = {n: (f and {'answer': always(*f), 'ehlo': ehlo}, {'ehlo': ehlo}) for n, f in HOST_FAULTS.items()}
    with hops(inst, rows) as g:
        with g.client() as c:
            assert c.mail('a@back.test', [f'x@{n}.test' for n in rows], BODY).startswith('250')
        lab.wait_for('all mails', lambda: all(g.hops[n][1].mails for n in rows) or g.metrics('qmgr')['deferred_total'])
        assert [n for n in rows if not g.hops[n][1].mails] == [], g.log()
        g.queue_empty()
        for n in rows:
            assert [m['rcpts'] for m in g.hops[n][1].mails] == [[f'x@{n}.test']], n
            assert lab.split_received(g.hops[n][1].mails[0]['body'])[1] == BODY
            assert g.hops[n][0] is None or g.hops[n][0].mails == [], n
        assert g.back.mails == [], 'nobody was told'
        m = g.metrics('qmgr')
        assert m['deferred_total'] == 0 and m['delivered_total'] == len(rows), 'one delivery each'


def test_a_silent_host(inst):
    stages = ['GREETING', 'EHLO', 'MAIL', 'RCPT', 'DATA']
    with hops(inst, {s.lower(): ({'answer': always(s, 'silence')}, {}) for s in stages}, smtpc='IO_timeout = 1s;') as g:
        with g.client() as c:
            assert c.mail('a@back.test', [f'x@{s.lower()}.test' for s in stages], BODY).startswith('250')
        for s in stages:
            g.hops[s.lower()][1].wait(1)
        g.queue_empty()
        assert g.back.mails == [] and g.metrics('qmgr')['deferred_total'] == 0


def test_dropped_again_and_again_without_blame(inst):
    """A host drops the connection in the content (more than fits in buffers, so the dot has not left): the next
    one gets it at once; where there is none it is retried, and not counted as the recipient's fault."""
    big = BODY + (b'z' * 78 + b'\r\n') * 100000
    with hops(inst, {'far': ({'answer': once('DATA', '354 drop', 3)},), 'next': ({'answer': always('DATA', '354 drop')}, {})}) as g:
        with g.client(timeout=60) as c:
            assert c.mail('a@back.test', 'x@next.test', big).startswith('250')
            assert lab.split_received(g.hops['next'][1].wait(1)[0]['body'])[1] == big
            assert g.metrics('qmgr')['deferred_total'] == 0
            assert c.mail('a@back.test', 'x@far.test', big, ehlo=None).startswith('250')
        seen = set()

        def arrived():
            seen.update(r['tries'] for m in g.queue() for r in m['recipients'])
            return g.hops['far'][0].mails
        lab.wait_for('the mail', arrived)
        g.queue_empty()
        assert seen <= {0}, 'tries are failures of the recipient'
        assert len(g.hops['far'][0].mails) == 1 and g.back.mails == []
        assert g.metrics('qmgr')['deferred_total'] >= 1


def test_no_answer_after_the_dot_is_about_the_mail(inst):
    """The hop may have it or not: tried again later, never at once at another host."""
    with hops(inst, {'far': ({'answer': once('DOT', 'close')}, {})}) as g:
        with g.client() as c:
            assert c.mail('a@back.test', 'x@far.test', BODY).startswith('250')
        g.hops['far'][0].wait(1)
        g.queue_empty()
        assert g.hops['far'][1].mails == [] and g.back.mails == []
        assert g.metrics('qmgr')['deferred_total'] == 1


# ---- the recipient's or the mail's fault ----

def test_some_of_five_recipients(inst):
    def answer(verb, arg, ses):
        if verb == 'RCPT' and ('two' in arg or 'four' in arg):
            return '550 5.1.1 <' + re.search('<(.*)>', arg)[1] + '> is nobody'
    with hops(inst, {'far': ({'answer': answer},), 'slow': ({'answer': answer, 'ehlo': ()},)}) as g:
        for domain in ('far', 'slow'):
            with g.client() as c:
                assert c.mail('a@back.test', [f'{n}@{domain}.test' for n in ('one', 'two', 'three', 'four', 'five')], BODY).startswith('250')
            assert g.hops[domain][0].wait(1)[0]['rcpts'] == [f'{n}@{domain}.test' for n in ('one', 'three', 'five')]
        g.queue_empty()
        assert lab.statuses(g.back.mails) == {f'{n}@{d}.test': ['5.1.1'] for n in ('two', 'four') for d in ('far', 'slow')}
        assert len(g.back.mails) == 2


DISPOSITIONS = [  # verb, reply, what becomes of the recipient: a status of a report, or 'later' or 'taken'
    ('MAIL', '550 5.7.1 bad sender', '5.7.1'), ('MAIL', '451 4.3.0 later', 'later'), ('MAIL', '452 4.3.1 full', 'later'),
    ('MAIL', '552 5.3.4 too big', '5.3.4'), ('RCPT', '550 5.1.1 nobody', '5.1.1'), ('RCPT', '553 no code', '5.'),
    ('RCPT', '450 4.2.1 busy', 'later'), ('RCPT', '452 4.5.3 too many', 'later'), ('RCPT', '552 5.2.2 full', 'later'),
    ('RCPT', '552 too many recipients', 'later'), ('RCPT', '251 forwards', 'taken'), ('RCPT', '252 perhaps', 'taken'),
    ('DATA', '554 5.7.1 no', '5.7.1'), ('DATA', '451 4.3.0 later', 'later'), ('DOT', '550 5.7.1 spam', '5.7.1'),
    ('DOT', '554 5.6.0 bad', '5.6.0'), ('DOT', '451 4.7.1 greylisted', 'later'), ('DOT', '452 4.3.1 full', 'later'),
    ('DOT', '552 5.3.4 too big', '5.3.4'), ('DOT', '421 4.3.2 shutting down', 'later'), ('DOT', '250', 'taken'),
    ('RCPT', '550 5.7.2', '5.7.2'), ('RCPT', '550', '5.'), ('RCPT', '550-5.1.1 a\r\n550-b\r\n550 5.1.1 c', '5.1.1'),
    ('RCPT', '550 4.1.1 wrong class', '5.'), ('RCPT', '550 5.1.1000 no code', '5.'), ('RCPT', '450 5.1.1 wrong class', 'later'),
]


def test_reply_classes(inst):
    rows = {f'd{i}': ({'answer': once(verb, reply, 1 if want == 'later' else 99)},) for i, (verb, reply, want) in enumerate(DISPOSITIONS)}
    with hops(inst, rows) as g:
        with g.client() as c:
            assert c.mail('a@back.test', [f'x@{d}.test' for d in rows], BODY).startswith('250')
        g.queue_empty()
        got = lab.statuses(g.back.mails)
        for i, (verb, reply, want) in enumerate(DISPOSITIONS):
            mails, rcpt = g.hops[f'd{i}'][0].mails, f'x@d{i}.test'
            if want in ('later', 'taken'):
                assert [m['rcpts'] for m in mails] == [[rcpt]] and rcpt not in got, (verb, reply)
                tries = sum(v == 'MAIL' for v, _ in g.hops[f'd{i}'][0].commands)
                assert tries == (2 if want == 'later' else 1), (verb, reply, tries)
            else:
                assert mails == [] and len(got[rcpt]) == 1 and got[rcpt][0].startswith(want), (verb, reply, got.get(rcpt))


# ---- what the hop says in EHLO ----

def test_message_above_the_size_of_the_hop(inst):
    with hops(inst, {'small': ({'ehlo': ('PIPELINING', 'SIZE 2000')},), 'any': ({'ehlo': ('SIZE 0',)},), 'bare': ({'ehlo': ('SIZE',)},)}) as g:
        with g.client() as c:
            assert c.mail('a@back.test', ['x@small.test', 'x@any.test', 'x@bare.test'], BODY + b'y' * 70 + (b'\r\n' + b'z' * 70) * 40 + b'\r\n').startswith('250')
            assert c.mail('a@back.test', 'x@small.test', BODY, ehlo=None).startswith('250')
        g.hops['any'][0].wait(1), g.hops['bare'][0].wait(1)
        g.queue_empty()
        assert lab.statuses(g.back.mails) == {'x@small.test': ['5.3.4']}
        assert len(g.hops['small'][0].mails) == 1
        verbs = [v for v, _ in g.hops['small'][0].commands]
        assert verbs.count('MAIL') == verbs.count('DATA') == 1, 'the big one was not even begun'
        size = re.search(r' SIZE=(\d+)', next(a for v, a in g.hops['any'][0].commands if v == 'MAIL'))
        assert int(size[1]) == len(g.hops['any'][0].mails[0]['body'])


@pytest.mark.parametrize('how', ['send', 'bounce'])
def test_8bit_to_a_hop_without_8bitmime(inst, how):
    eight = BODY + 'grüße\r\n'.encode()
    old = {'ehlo': ('PIPELINING',)}
    with hops(inst, {'old': (old,), 'new': ({'ehlo': ('8BITMIME',)},), 'both': (old, {'ehlo': ('8BITMIME',)})}, smtpc=f'no_8bitmime = {how};') as g:
        with g.client() as c:
            assert c.mail('a@back.test', ['x@old.test', 'x@new.test', 'x@both.test'], eight, params=' BODY=8BITMIME').startswith('250')
            assert c.mail('a@back.test', 'seven@old.test', BODY, ehlo=None).startswith('250')
        g.hops['new'][0].wait(1)
        g.queue_empty()
        assert ' BODY=8BITMIME' in next(a for v, a in g.hops['new'][0].commands if v == 'MAIL')
        assert not any('BODY' in a for _, a in g.hops['old'][0].commands)
        got = {m['rcpts'][0]: lab.split_received(m['body'])[1] for m in g.hops['old'][0].mails}
        if how == 'send':
            assert got == {'x@old.test': eight, 'seven@old.test': BODY} and g.back.mails == []
            assert len(g.hops['both'][0].mails) == 1
        else:
            assert got == {'seven@old.test': BODY} and lab.statuses(g.back.mails) == {'x@old.test': ['5.6.3']}
            assert not g.hops['both'][0].mails and len(g.hops['both'][1].mails) == 1, 'another host may offer it'


@pytest.mark.parametrize('how', ['send', 'bounce'])
def test_8bitmime_is_decided_at_rcpt(inst, how):
    """What smtpc learned of a destination: a mail that says BODY=8BITMIME is refused while its client is there; a row may say otherwise."""
    old = {'ehlo': ('PIPELINING',)}
    rows = 'cltaddr:127.0.0.1 RELAY\nsmtpc_rcpt_conf:no@old.test no_8bitmime = bounce;\nsmtpc_rcpt_conf:yes@old.test no_8bitmime = send;\n'
    with hops(inst, {'old': (old,), 'new': ({'ehlo': ('8BITMIME',)},), 'both': (old, {'ehlo': ('8BITMIME',)})},
              smtpc=f'no_8bitmime = {how}; flags = rcpt_conf;', ac=rows) as g, g.client() as c:
        rcpts = [f'{who}@{where}.test' for where in ('old', 'new', 'both') for who in ('x', 'no', 'yes')]

        def said(body, sender='a'):
            c.cmd('RSET', 250)
            c.cmd(f'MAIL FROM:<{sender}@back.test>{body}', 250)
            got = {r: c.cmd(f'RCPT TO:<{r}>')[:9] for r in rcpts}
            c.cmd('RSET', 250)
            return {r for r, reply in got.items() if reply == '550 5.6.3'}, {r for r, reply in got.items() if reply.startswith('250')}

        c.cmd('EHLO c.test', 250)
        assert said(' BODY=8BITMIME', 'before') == (set(), set(rcpts)), 'nothing is known yet'
        assert c.mail('a@back.test', rcpts, BODY, ehlo=None).startswith('250')
        for to in rcpts:
            lab.wait_for(f'the offers to {to}', lambda: 'offers' in g.ctl('--json', 'route', to).stdout)
        want = {'no@old.test'} | ({'x@old.test'} if how == 'bounce' else set())
        assert said(' BODY=8BITMIME') == (want, set(rcpts) - want)
        assert g.metrics('smar')['rcpt_8bitmime_refused_total'] == len(want)
        assert said('') == said(' BODY=7BIT') == (set(), set(rcpts)), 'kept verdicts know what MAIL said'
        assert said(' BODY=8BITMIME')[0] == want
        for body, verdict in (('8BITMIME', '550 5.6.3'), ('7BIT', '250 2.1.5')):
            got = g.ctl('explain', '--ip', '127.0.0.1', '--from', 'a@back.test', '--to', 'no@old.test', '--body', body).stdout
            assert f'reply to RCPT: {verdict}' in got, got
        assert 'body: ' in g.ctl('explain', '--ip', '127.0.0.1', '--from', '', '--to', 'a@b.test', '--body', '9BIT', check=False).stderr
        g.queue_empty()


def test_hops_that_know_little(inst):
    """Without PIPELINING one command at a time; without EHLO by HELO and without parameters."""
    def helo_only(verb, arg, ses):
        return '502 5.5.1 what' if verb == 'EHLO' else None

    with hops(inst, {'helo': ({'answer': helo_only},), 'plain': ({'ehlo': ('SIZE',)},), 'pipe': ({},)}) as g:
        with g.client() as c:
            for _ in range(2):
                assert c.mail('a@back.test', [f'{n}@{d}.test' for n in 'xyz' for d in ('helo', 'plain', 'pipe')], BODY).startswith('250')
        for d in ('helo', 'plain', 'pipe'):
            for m in g.hops[d][0].wait(2):
                assert sorted(m['rcpts']) == [f'{n}@{d}.test' for n in 'xyz']
        assert not any('=' in a for v, a in g.hops['helo'][0].commands if v == 'MAIL')
        assert g.hops['plain'][0].ahead == 0, 'no command came before the reply to the one before'
        assert g.hops['pipe'][0].ahead > 0, 'with PIPELINING they do'
        g.queue_empty()
