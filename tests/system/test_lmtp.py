# SPDX-License-Identifier: BSD-2-Clause
"""LMTP: the three forms of the mailertable, a result for each recipient after the dot, a real Dovecot."""
import contextlib, os, random, shutil, subprocess, threading

import lab, pytest

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
            assert s.mail('a@client.test', rcpts, BODY).startswith('250')
            assert s.mail('', 'z@b.test', BODY, ehlo=None).startswith('250')
        g.queue_empty()
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
            assert c.mail('a@back.test', [f'{n}@l.test' for n in ('ok', 'full', 'bad', 'fine', 'late')], BODY).startswith('250')
        g.queue_empty()
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
        for d, p in plan.items():
            with g.client() as c:
                assert c.mail('a@back.test', [f'r{i}@{d}.test' for i in range(p['n'])], BODY).startswith('250')
        g.queue_empty()
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

class Dovecot(lab.Daemon):
    """LMTP by unix socket and TCP; alice's mailbox is unlimited, bob's holds 1 KiB."""

    def __init__(self):
        super().__init__('dc')
        self.port = lab.free_port()
        d = self.dir
        for sub in ('mail', 'run', 'state'):
            (d / sub).mkdir()
        shutil.chown(d / 'mail', 'mail', 'mail')
        (d / 'users').write_text('alice:{PLAIN}x::::::\nbob:{PLAIN}x::::::userdb_quota_rule=*:storage=1K\n')
        (d / 'dovecot.conf').write_text(f'''base_dir = {d}/run
state_dir = {d}/state
log_path = {d}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
auth_username_format = %Ln
mail_location = maildir:{d}/mail/%n
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
mail_plugins = quota
plugin {{
  quota = maildir:User quota
}}
passdb {{
  driver = passwd-file
  args = {d}/users
}}
userdb {{
  driver = passwd-file
  args = {d}/users
  default_fields = uid=mail gid=mail home={d}/mail/%n
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
''')
        self.run(['dovecot', '-c', d / 'dovecot.conf', '-F'])
        lab.wait_for('dovecot', lambda: (d / 'run/lmtp').exists())

    def fetch(self, user):
        """The messages of a user, as stored."""
        p = subprocess.run(['doveadm', '-c', str(self.dir / 'dovecot.conf'), 'fetch', '-u', user, 'text', 'all'],
                           stdout=subprocess.PIPE, check=True)
        return [x for x in p.stdout.split(b'text:\n')[1:]]


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
            assert c.mail('a@back.test', ['alice@local.test', 'bob@local.test', 'nobody@local.test'], eight, params=' BODY=8BITMIME').startswith('250')
        g.queue_empty()
        assert len(dovecot.fetch('alice')) == before + 1 and dovecot.fetch('bob') == []
        stored = dovecot.fetch('alice')[-1]
        assert stored.startswith(b'Return-Path: <a@back.test>') and b'X-' not in stored
        unix = eight.replace(b'\r\n..dot', b'\r\n.dot').replace(b'\r\n', b'\n')
        assert stored.rstrip(b'\f\n').endswith(unix.rstrip(b'\n')), stored[-300:]
        assert lab.statuses(g.back.mails) == {'bob@local.test': ['5.2.2'], 'nobody@local.test': ['5.1.1']}


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
