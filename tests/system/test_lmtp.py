# SPDX-License-Identifier: BSD-2-Clause
"""LMTP: the three forms of the mailertable, a result for each recipient, what stores offer, a real Cyrus and a real Dovecot."""
import contextlib, os, random, re, shutil, threading

import lab, pytest
from stores import Cyrus, Dovecot

BODY = b'From: <a@back.test>\r\nSubject: t\r\n\r\n..dot\r\nhello\r\n'
SOON = 'min_retry_delay = 200ms; max_retry_delay = 400ms;'


@contextlib.contextmanager
def server(inst, rows, smtpc='', **kw):
    """rows: lines of the mailertable; reports go to the sink 'back'."""
    with lab.Sink() as back, lab.relay_all(inst, 0, mt=rows + f'back.test [127.0.0.1]:{back.port}\n', smtpc=smtpc,
                                           qmgr=SOON, ac='from:nobody.test RELAY\nto:back.test RELAY\n', **kw) as g:
        g.back = back
        yield g


def test_forms_of_the_mailertable(inst):
    d = lab.tempdir('lmtp')
    with lab.Sink(lmtp=True, path=d / 'a') as a, lab.Sink(lmtp=True, path=d / 'b') as b, lab.Sink(lmtp=True) as c, \
            server(inst, f'a.test lmtp:\nb.test lmtp:{d}/b\nc.test lmtp:[127.0.0.1]:{c.port}\n.sub.test lmtp:\n',
                   smtpc=f'LMTP_socket = "{d}/a"; ') as g:
        rcpts = ['x@a.test', 'y@a.test', 'x@b.test', 'x@c.test', 'x@one.sub.test']
        with g.client() as s:  # no relaying needed: lmtp: makes a domain local
            replies = [s.mail('a@client.test', rcpts, BODY), s.mail('', 'z@b.test', BODY, ehlo=None)]
        g.settled(*replies)
        got = {x: sorted(r for m in x.mails for r in m['rcpts']) for x in (a, b, c)}
        assert got == {a: ['x@a.test', 'x@one.sub.test', 'y@a.test'], b: ['x@b.test', 'z@b.test'], c: ['x@c.test']}
        for x in (a, b, c):
            for m in x.mails:
                first, rest = m['body'].split(b'\r\n', 1)
                assert first == b'Return-Path: <%s>' % m['from'].encode(), first
                assert lab.split_received(rest)[1] == BODY
            assert ('LHLO', 'gw.test') in x.commands and not any(v == 'EHLO' for v, _ in x.commands)
        # another domain on the same socket comes along only when its route is known in the same turn
        assert any({'x@a.test', 'y@a.test'} <= set(m['rcpts']) for m in a.mails), 'recipients of a domain go together'
        assert g.back.mails == []
    shutil.rmtree(d)


def test_mixed_results_after_the_dot(inst):
    said = {}

    def answer(verb, arg, ses):
        if verb == 'DOT':
            said[arg] = said.get(arg, 0) + 1
            return {'full': '452 4.2.2 over quota' if said[arg] < 3 else None, 'bad': '550-5.7.1 no\r\n550 5.7.1 really',
                    'late': '451 4.3.0 busy' if said[arg] < 2 else None}.get(arg.split('@')[0])
    with lab.Sink(lmtp=True, answer=answer) as sink, server(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\n') as g:
        with g.client() as c:
            reply = c.mail('a@back.test', [f'{n}@l.test' for n in ('ok', 'full', 'bad', 'fine', 'late')], BODY)
        g.settled(reply)
        assert sorted(r for m in sink.mails for r in m['rcpts']) == [f'{n}@l.test' for n in ('fine', 'full', 'late', 'ok')]
        assert said == {'ok@l.test': 1, 'full@l.test': 3, 'bad@l.test': 1, 'fine@l.test': 1, 'late@l.test': 2}
        assert lab.statuses(g.back.mails) == {'bad@l.test': ['5.7.1']}


def test_disconnect_after_k_of_n_replies(inst):
    """For each k of N and codes before it: what was answered is never offered again, the rest is."""
    rng, plan = random.Random(7), {}
    for n, k in [(n, k) for n in (1, 2, 4) for k in range(n + 1)]:
        codes = [rng.choice(['250 ok', '250 ok', '550 5.2.1 off', '452 4.2.2 full']) for _ in range(k)]
        plan[f'n{n}k{k}'] = {'codes': codes, 'n': n, 'first': True, 'offered': {}, 'answered': {}}
    lock = threading.Lock()

    def answer(verb, arg, ses):
        if verb != 'DOT':
            return None
        with lock:
            p = plan[arg.split('@')[1].split('.')[0]]
            p['offered'][arg] = p['offered'].get(arg, 0) + 1
            if not p['first']:
                p['answered'].setdefault(arg, []).append('250')
                return None
            i = len(p['offered']) - 1
            if i == p['n'] - 1:
                p['first'] = False
            if i < len(p['codes']):
                p['answered'].setdefault(arg, []).append(p['codes'][i][:3])
                return p['codes'][i]
            return 'stop'
    with lab.Sink(lmtp=True, answer=answer) as sink, \
            server(inst, ''.join(f'{d}.test lmtp:[127.0.0.1]:{sink.port}\n' for d in plan)) as g:
        replies = []
        for d, p in plan.items():
            with g.client() as c:
                replies.append(c.mail('a@back.test', [f'r{i}@{d}.test' for i in range(p['n'])], BODY))
        g.settled(*replies)
        failed = lab.statuses(g.back.mails)
        for d, p in plan.items():
            for i in range(p['n']):
                r, finals = f'r{i}@{d}.test', p['answered'][f'r{i}@{d}.test']
                assert finals[-1] in ('250', '550') and all(x == '452' for x in finals[:-1]), (r, finals)
                assert finals.count('250') + finals.count('550') == 1, (r, finals)
                unheard = i >= len(p['codes'])
                assert p['offered'][r] == len(finals) + unheard, (r, p)
                assert (r in failed) == (finals[-1] == '550'), (r, finals)


# ---- Dovecot ----

@pytest.fixture(scope='module')
def dovecot():
    assert os.geteuid() == 0, 'Dovecot is started by root'
    with Dovecot() as d:
        yield d


@pytest.mark.parametrize('form', ['unix', 'tcp'])
def test_dovecot(inst, dovecot, form):
    """One recipient of two is over quota (552 after the dot), one does not exist: one gets it, a report for the others."""
    before = len(dovecot.fetch('alice'))
    row = f'{dovecot.dir}/run/lmtp' if form == 'unix' else f'[127.0.0.1]:{dovecot.port}'
    with server(inst, f'local.test lmtp:{row}\n') as g:
        eight = BODY + 'grüße\r\n'.encode() + b'x' * 70 + (b'\r\n' + b'y' * 70) * 40 + b'\r\n'
        with g.client() as c:
            reply = c.mail('a@back.test', ['alice@local.test', 'bob@local.test', 'nobody@local.test'], eight, params=' BODY=8BITMIME')
        g.settled(reply)
        assert len(dovecot.fetch('alice')) == before + 1 and dovecot.fetch('bob') == []
        stored = dovecot.fetch('alice')[-1]
        assert stored.startswith(b'Return-Path: <a@back.test>') and b'X-' not in stored
        unix = eight.replace(b'\r\n..dot', b'\r\n.dot').replace(b'\r\n', b'\n')
        assert stored.rstrip(b'\f\n').endswith(unix.rstrip(b'\n')), stored[-300:]
        assert lab.statuses(g.back.mails) == {'bob@local.test': ['5.2.2'], 'nobody@local.test': ['5.1.1']}


# ---- Cyrus ----

@pytest.fixture(scope='module')
def cyrus():
    assert os.geteuid() == 0, 'Cyrus is started by root'
    with Cyrus() as c:
        yield c


FULL = BODY + (b'x' * 70 + b'\r\n') * 40


def quota(cyrus, kb):
    with cyrus.imap() as m:
        assert cyrus.good(m.setquota('user/bob', f'(STORAGE {kb})'))


def fill(cyrus, g):
    """bob's mailbox is over its 1 KB."""
    quota(cyrus, 10000)
    with g.client() as c:
        reply = c.mail('', 'bob@local.test', FULL)
    g.settled(reply)
    quota(cyrus, 1)


@pytest.mark.parametrize('form', ['unix', 'tcp'])
def test_cyrus(inst, cyrus, form):
    """Each recipient has its own answer: taken, into a folder by +detail, over quota until there is space, unknown."""
    row = f'{cyrus.dir}/socket/lmtp' if form == 'unix' else f'[127.0.0.1]:{cyrus.port}'
    before = {x: len(cyrus.fetch(*x)) for x in (('alice',), ('alice', 'box'), ('bob',))}
    with server(inst, f'local.test lmtp:{row}\n') as g:
        fill(cyrus, g)
        with g.client() as c:
            assert c.mail('a@back.test', [f'{n}@local.test' for n in ('alice', 'alice+box', 'alice+none', 'bob', 'nobody')], BODY,
                          params=' BODY=8BITMIME').startswith('250')
        # the two that are for good are told at once, who is full waits
        lab.wait_for('the report', lambda: lab.statuses(g.back.mails) == {'nobody@local.test': ['5.1.1']})
        lab.wait_for('the reason', lambda: [r['address'] for m in g.queue() for r in m['recipients'] if re.search('4[.]2[.]2.*quota', r['reason'])]
                     == ['bob@local.test'])
        got = cyrus.fetch('alice')
        assert len(got) == before['alice',] + 2, 'a detail that is no folder goes to the inbox'
        assert got[-1].startswith(b'Return-Path: <a@back.test>') and got[-1].endswith(BODY.partition(b'\r\n\r\n')[2].replace(b'..dot', b'.dot'))
        assert len(cyrus.fetch('alice', 'box')) == before['alice', 'box'] + 1
        had = len(cyrus.fetch('bob'))
        quota(cyrus, 10000)
        g.queue_empty()
        assert len(cyrus.fetch('bob')) == had + 1


def test_cyrus_past_the_quota(inst, cyrus):
    """ignorequota by a row: bob gets it though his mailbox is full; at RCPT he is asked for as the section says."""
    with lab.Sink() as back, lab.relay_all(
            inst, 0, mt=f'local.test lmtp:{cyrus.dir}/socket/lmtp\nback.test [127.0.0.1]:{back.port}\n', qmgr=SOON,
            smtpc='flags = { rcpt_conf };', ac='smtpc_rcpt_conf:bob@local.test extensions = ignorequota;\nto:back.test RELAY\n') as g:
        fill(cyrus, g)
        had = len(cyrus.fetch('bob'))
        with g.client() as c:
            reply = c.mail('a@back.test', 'bob@local.test', FULL)
        g.settled(reply)
        assert len(cyrus.fetch('bob')) == had + 1 and not back.mails


@pytest.mark.parametrize('store', ['cyrus', 'dovecot'])
def test_what_a_store_lacks_is_known_at_rcpt(inst, request, store):
    """Learned from the first delivery: the next mail that needs SMTPUTF8 is refused while its client is there; so is one with 8BITMIME
    where that must not be used."""
    d = request.getfixturevalue(store).dir
    with server(inst, f'local.test lmtp:{d}/{"socket/lmtp" if store == "cyrus" else "run/lmtp"}\n',
                smtpc='extensions = dont_8bitmime; no_8bitmime = bounce;') as g:
        with g.client() as c:
            g.settled(c.mail('', 'alice@local.test', BODY))
            lab.wait_for('what smtpc told smar', lambda: g.metrics('smar')['destinations_known_now'] == 1)
            c.cmd('MAIL FROM:<a@back.test> SMTPUTF8', 250)
            c.send('RCPT TO:<jörg@local.test>\r\n'.encode())
            assert c.reply().startswith('550 5.6.7')
            assert c.cmd('RCPT TO:<alice@local.test>').startswith('250')
            c.cmd('RSET', 250)
            c.cmd('MAIL FROM:<a@back.test> BODY=8BITMIME', 250)
            assert c.cmd('RCPT TO:<alice@local.test>').startswith('550 5.6.3')


# ---- TRACE and IGNOREQUOTA, by a store that says what the test wants ----

OFFERS = ('8BITMIME', 'TRACE', 'IGNOREQUOTA')


@pytest.mark.parametrize('more', [(), ('PIPELINING',)])
def test_trace(inst, more):
    """Each mail is named by its id, between what came before it and its MAIL; what the store says of it changes nothing."""
    said = iter(['250 2.0.0 Ok SESSIONID=<x> TRACEID=<y>', '250 2.0.0 Ok', '501 5.5.4 Invalid TRACE id.'])

    def answer(verb, arg, ses):
        if verb == 'TRACE':
            return next(said)
        if verb == 'RCPT' and 'no@' in arg:
            return '550 5.1.1 no'
    with lab.Sink(lmtp=True, ehlo=OFFERS + more, answer=answer) as sink, \
            server(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\n', smtpc='idle_timeout = 1m;') as g:
        ids = []
        for to in ('no@l.test', 'a@l.test', 'b@l.test', 'c@l.test'):
            with g.client() as c:
                reply = c.mail('', to, BODY)
            ids.append(re.search(r'accepted as (\S+)', reply)[1])
            g.settled(reply)
        verbs = [(v, a) for v, a in sink.commands if v in ('RSET', 'TRACE', 'MAIL')]
        assert verbs == [('TRACE', ids[0]), ('MAIL', verbs[1][1]), ('RSET', ''), ('TRACE', ids[1]), ('MAIL', verbs[4][1]),
                         ('TRACE', ids[2]), ('MAIL', verbs[6][1]), ('MAIL', verbs[7][1])], 'a store that does not want it is not told again'
        assert sink.connections == 1 and [m['rcpts'] for m in sink.mails] == [['a@l.test'], ['b@l.test'], ['c@l.test']]
        assert not any('IGNOREQUOTA' in a for _, a in sink.commands), 'only who asks for it gets it'


@pytest.mark.parametrize('reply', ['421 4.3.2 bye', 'close', 'garbage', '250-x\r\n250 y\r\n250 z'])
def test_trace_that_goes_wrong(inst, reply):
    """The connection is of no more use; the mail comes later, once."""
    first = [reply]
    with lab.Sink(lmtp=True, ehlo=OFFERS, answer=lambda v, a, s: first.pop() if v == 'TRACE' and first else None) as sink, \
            server(inst, f'l.test lmtp:[127.0.0.1]:{sink.port}\n') as g:
        with g.client() as c:
            reply = c.mail('', 'a@l.test', BODY)
        g.settled(reply)
        assert [m['rcpts'] for m in sink.mails] == [['a@l.test']] and sink.connections == 2


def test_who_gets_which(inst):
    """ignorequota by section and by row, dont_trace; neither to a hop that speaks SMTP or does not offer it."""
    said = []  # (session, verb, argument)
    with lab.Sink(lmtp=True, ehlo=OFFERS, answer=lambda v, a, s: said.append((id(s), v, a))) as store, \
            lab.Sink(lmtp=True) as plain, lab.Sink(ehlo=OFFERS) as smtp, \
            lab.relay_all(inst, 0, mt=f'l.test lmtp:[127.0.0.1]:{store.port}\np.test lmtp:[127.0.0.1]:{plain.port}\nfar.test [127.0.0.1]:{smtp.port}\n',
                          smtpc='extensions = { ignorequota, dont_trace }; flags = { rcpt_conf };', smar='recipient_probe { routes = lmtp; }',
                          ac='cltaddr:127.0.0.1 RELAY\nsmtpc_rcpt_conf:no@l.test extensions = { dont_ignorequota, trace };\n') as g:
        with g.client() as c:
            reply = c.mail('', ['yes@l.test', 'no@l.test', 'u@p.test', 'u@far.test'], BODY)
        g.settled(reply)
        mails = {s for s, v, _ in said if v == 'DATA'}  # all others are sessions of probes
        assert {(s in mails, a) for s, v, a in said if v == 'RCPT'} == {
            (False, 'TO:<yes@l.test> IGNOREQUOTA'), (False, 'TO:<no@l.test> IGNOREQUOTA'),
            (True, 'TO:<yes@l.test> IGNOREQUOTA'), (True, 'TO:<no@l.test>')}, 'probes ask as the section says'
        assert [s in mails for s, v, _ in said if v == 'TRACE'] == [True], 'that of the recipient with a row'
        for sink in (plain, smtp):
            assert sink.mails and not any(v == 'TRACE' or 'IGNOREQUOTA' in a for v, a in sink.commands if v in ('TRACE', 'RCPT'))


def test_a_smart_host_does_not_get_our_own_mail(inst):
    """local_domains go to LMTP_socket although the mailertable has a row for all the rest."""
    store = lab.tempdir('store')
    with lab.Sink(lmtp=True, path=store / 's') as lmtp, lab.Sink() as smart, \
            lab.Gateway(inst, smtps='flags = { 8bitmime, access };', smtpc=f'LMTP_socket = "{store}/s";',
                        smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } '
                        'map ac { type = text; file = "ac"; } access { name = ac; } local_domains = ours.test;',
                        files={'mt': f'. [127.0.0.1]:{smart.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g:
        with g.client() as c:
            assert c.mail('a@client.test', ['u@ours.test', 'u@far.test'], 'Subject: x\r\n\r\n').startswith('250')
        assert lmtp.wait(1)[0]['rcpts'] == ['u@ours.test']
        assert smart.wait(1)[0]['rcpts'] == ['u@far.test']
        g.queue_empty()
