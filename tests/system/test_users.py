# SPDX-License-Identifier: BSD-2-Clause
"""Who exists, and whom an address stands for: local_user_map, aliases, virtual domains, lists with owners."""
import socketserver, threading

import lab, pytest

BODY = 'Subject: t\r\n\r\nhello\r\n'
SOON = 'min_retry_delay = 200ms; max_retry_delay = 400ms;'
FLAGS = 'flags = { localpart, local_domains }; '
SMAR = ('map us { type = text; file = "us"; } local_user_map { name = us; ' + FLAGS + '} '
        'map al { type = text; file = "al"; } aliases { name = al; ' + FLAGS + '} '
        'map vi { type = text; file = "vi"; } virtual_aliases { name = vi; } virtual_domains = virt.test; ')
FILES = {'us': 'alice yes\nbob yes\ncarol yes\nloop yes\n',
         'al': ('team alice, bob <dave@far.test>\nnest team carol\nring1 ring2\nring2 ring1\nloop loop@own.test\n'
                'list x@far.test, y@far.test\nowner-list chief@far.test\nprog |/bin/sh\nnote alice # the boss\npostmaster alice\n'),
         'vi': 'info@virt.test alice@own.test z@far.test\nall.test catch@far.test\nold@all.test error:550 5.1.6 moved\n'}


def users(inst, store, far, **kw):
    return lab.relay_all(inst, 0, mt=f'own.test lmtp:[127.0.0.1]:{store.port}\ngw.test lmtp:[127.0.0.1]:{store.port}\n'
                         f'. [127.0.0.1]:{far.port}\n', ac=kw.pop('ac', 'cltaddr:127.0.0.2 RELAY\n'), qmgr=SOON + kw.pop('qmgr', ''),
                         smar=kw.pop('smar', SMAR), files=kw.pop('files', FILES), **kw)


@pytest.fixture(scope='module')
def gw(inst):
    with lab.Sink(lmtp=True) as store, lab.Sink() as far, users(inst, store, far) as g:
        g.store, g.far = store, far
        yield g


@pytest.mark.parametrize('rcpt, want', [
    ('alice@own.test', '250'), ('ALICE@Own.Test', '250'), ('alice+x@own.test', '250'), ('alice@gw.test', '250'),
    ('nobody@own.test', '550 5.1.1'), ('nobody@gw.test', '550 5.1.1'), ('postmaster', '250'), ('postmaster@own.test', '250'),
    ('postmaster@virt.test', '250'), ('team@own.test', '250'), ('ring1@own.test', '550 5.4.6'), ('prog@own.test', '451 4.3.5'), ('note@own.test', '451 4.3.5'),
    ('info@virt.test', '250'), ('alice@virt.test', '550 5.1.1'), ('x@all.test', '250'), ('old@all.test', '550 5.1.6 moved'),
    ('team@far.test', '550 5.7.1 relaying denied'), ('nobody@far.test', '550 5.7.1 relaying denied'),
])
def test_who_exists(gw, rcpt, want):
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@b.test>', 250)
        assert c.cmd(f'RCPT TO:<{rcpt}>').startswith(want)


def deliver(g, sender, rcpts, params=''):
    """What reached the two servers for it: (from, to)."""
    n = len(g.store.mails), len(g.far.mails)
    with g.client() as c:
        g.settled(c.mail(sender, rcpts, BODY, params=params))
    got = g.store.mails[n[0]:] + g.far.mails[n[1]:]
    return sorted((m['from'], r) for m in got for r in m['rcpts'])


def test_an_alias_of_several(gw):
    assert deliver(gw, 's@b.test', 'team@own.test') == [
        ('s@b.test', 'alice@gw.test'), ('s@b.test', 'bob@gw.test'), ('s@b.test', 'dave@far.test')]


def test_each_address_once(gw):
    want = [('s@b.test', x) for x in ('alice@gw.test', 'bob@gw.test', 'carol@gw.test', 'dave@far.test')]
    assert deliver(gw, 's@b.test', ['team@own.test', 'nest@own.test', 'alice@gw.test', 'carol@GW.test']) in (
        want, [(a, b.replace('carol@gw', 'carol@GW')) for a, b in want])


def test_an_address_that_names_itself_is_a_mailbox(gw):
    assert deliver(gw, 's@b.test', 'loop@own.test') == [('s@b.test', 'loop@own.test')]


def test_virtual_domains(gw):
    assert deliver(gw, 's@b.test', ['info@virt.test', 'any@all.test']) == [
        ('s@b.test', 'alice@own.test'), ('s@b.test', 'catch@far.test'), ('s@b.test', 'z@far.test')]
    assert deliver(gw, 's@b.test', 'postmaster@virt.test') == [('s@b.test', 'alice@gw.test')]


def test_a_list_with_an_owner(gw):
    assert deliver(gw, 's@b.test', ['list@own.test', 'alice@gw.test']) == [
        ('owner-list@own.test', 'x@far.test'), ('owner-list@own.test', 'y@far.test'), ('s@b.test', 'alice@gw.test')]
    assert deliver(gw, '', 'list@own.test') == [('', 'x@far.test'), ('', 'y@far.test')]


def test_the_owner_gets_the_reports(inst):
    def answer(verb, arg, ses):
        return '550 5.1.1 gone' if verb == 'RCPT' and '<y@far.test>' in arg else None
    with lab.Sink(lmtp=True) as store, lab.Sink(answer=answer) as far, users(inst, store, far) as g:
        with g.client() as c:
            assert c.mail('s@b.test', 'list@own.test', BODY).startswith('250')
        g.queue_empty()
        assert [(m['from'], m['rcpts']) for m in far.mails if m['from']] == [('owner-list@own.test', ['x@far.test'])]
        reports = [m for m in store.mails + far.mails if not m['from']]
        # to the owner of the list, whom qmgr asks smar about, and not to s@b.test
        assert [m['rcpts'] for m in reports] == [['chief@far.test']]
        assert b'Final-Recipient: rfc822; y@far.test' in reports[0]['body']


def test_what_was_acknowledged_needs_no_map(inst):
    """Targets are in the envelope: the map changes, qmgr and smar are killed, the mail goes where it went at RCPT."""
    up = threading.Event()

    def answer(verb, arg, ses):
        return None if up.is_set() else '451 4.3.0 later' if verb == 'MAIL' else None
    with lab.Sink(lmtp=True, answer=answer) as store, lab.Sink(answer=answer) as far, users(inst, store, far) as g:
        with g.client() as c:
            assert c.mail('s@b.test', ['list@own.test', 'team@own.test'], BODY).startswith('250')
        lab.wait_for('five tries', lambda: sum(v == 'MAIL' for s in (store, far) for v, _ in s.commands) >= 3)
        (g.dir / 'al').write_text('team nobody\nlist nobody\n')
        g.stop()
        up.set()
        g.start()
        g.queue_empty()
        got = sorted((m['from'], r) for m in store.mails + far.mails for r in m['rcpts'])
        assert got == [('owner-list@own.test', 'x@far.test'), ('owner-list@own.test', 'y@far.test'),
                       ('s@b.test', 'alice@gw.test'), ('s@b.test', 'bob@gw.test'), ('s@b.test', 'dave@far.test')]


def test_ten_thousand_targets(inst):
    d = lab.tempdir('lists')
    (d / 'many').write_text('# all of them\n' + '\n'.join(f'u{i}@far.test' for i in range(10000)) + '\n')
    files = {**FILES, 'al': f'many :include:{d}/many\nmore alice, :include:{d}/many\nevil :include:/etc/passwd\n'}
    smar = SMAR + f'alias_include = "{d}"; '
    d.chmod(0o755)
    with lab.Sink(lmtp=True) as store, lab.Sink() as far, users(inst, store, far, files=files, smar=smar) as g:
        with g.client() as c:
            assert c.mail('s@b.test', 'many@own.test', BODY).startswith('250')
            c.cmd('MAIL FROM:<s@b.test>', 250)
            assert c.cmd('RCPT TO:<more@own.test>').startswith('451 4.3.5')
            assert c.cmd('RCPT TO:<evil@own.test>').startswith('451 4.3.5')
            c.cmd('RCPT TO:<alice@own.test>', 250)
            assert c.cmd('RCPT TO:<many@own.test>').startswith('452 4.5.3')  # not in the same mail
        g.queue_empty()
        assert sorted(r for m in far.mails for r in m['rcpts']) == sorted(f'u{i}@far.test' for i in range(10000))
        assert 'recipient=more@own.test targets=10001' in g.log()
        assert 'key=evil@own.test error="/etc/passwd: is not in a folder of alias_include"' in g.log()


def test_routes_of_senders(inst):
    """A sender's own next hop goes before "." and MX, not before a row of the domain, and never for local mail."""
    with lab.Sink(lmtp=True) as store, lab.Sink() as far, lab.Sink() as own, lab.Sink() as row:
        smar = 'map sr { type = text; file = "sr"; } sender_routes { name = sr; } '
        files = {'sr': f'boss.test [127.0.0.1]:{own.port}\nann@b.test [127.0.0.1]:{own.port}\n'}
        with lab.relay_all(inst, 0, smar=smar, files=files, mt=f'own.test lmtp:[127.0.0.1]:{store.port}\n'
                           f'row.test [127.0.0.1]:{row.port}\n. [127.0.0.1]:{far.port}\n') as g:
            for sender in ('x@boss.test', 'ann@b.test', 'bob@b.test', ''):
                with g.client() as c:
                    assert c.mail(sender, ['u@far.test', 'u@row.test', 'u@own.test'], BODY).startswith('250')
            g.queue_empty()
        assert sorted(m['from'] for m in own.mails) == ['ann@b.test', 'x@boss.test']
        assert sorted(m['from'] for m in far.mails) == ['', 'bob@b.test']
        assert [m['rcpts'] for m in row.mails] == [['u@row.test']] * 4
        assert [m['rcpts'] for m in store.mails] == [['u@own.test']] * 4


class Map(socketserver.ThreadingTCPServer):
    """A socket map that knows its rows and says TEMP to the rest."""
    allow_reuse_address = daemon_threads = True

    def __init__(self, rows):
        class H(socketserver.StreamRequestHandler):
            def handle(h):
                while (n := b''.join(iter(lambda: h.rfile.read(1), b':'))):
                    key = h.rfile.read(int(n) + 1)[:-1].decode().partition(' ')[2]
                    got = rows.get(key, 'NOTFOUND ').encode()
                    h.wfile.write(b'%d:%s,' % (len(got), got))
        super().__init__(('127.0.0.1', 0), H)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_a_map_that_cannot_say(inst):
    """TEMP is 4xx, never 550 and never 250; OK without a value is enough; NOMORE ends the search."""
    rows = {'alice': 'OK', 'temp': 'TEMP busy', 'stop+x': 'NOMORE', 'stop': 'OK', 'perm': 'PERM broken'}
    m = Map(rows)
    smar = (f'map sock {{ type = socket; address = 127.0.0.1; port = {m.server_address[1]}; mapname = users; }} '
            'local_user_map { name = sock; ' + FLAGS + '} ')
    with m, lab.Sink(lmtp=True) as store, lab.Sink() as far, users(inst, store, far, smar=smar, files={}) as g:
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<a@b.test>', 250)
            for rcpt, want in (('alice', '250'), ('alice+x', '250'), ('temp', '451 4.3.0'), ('temp+x', '451 4.3.0'),
                               ('stop', '250'), ('stop+x', '550 5.1.1'), ('perm', '554 5.3.0'), ('nobody', '550 5.1.1')):
                assert c.cmd(f'RCPT TO:<{rcpt}@own.test>').startswith(want), rcpt
        m.shutdown()


def test_notify_of_aliases(inst):
    """RFC 3461 5.2.7: the only target has all of it, several have it without SUCCESS, members of a list nothing."""
    offer = ('PIPELINING', 'DSN', 'ENHANCEDSTATUSCODES')
    files = {**FILES, 'al': 'one x@far.test\ntwo x@far.test y@far.test\nlist z@far.test\nowner-list alice\n'}
    with lab.Sink(lmtp=True) as store, lab.Sink(ehlo=offer) as far, users(inst, store, far, files=files) as g:
        for rcpt, params in (('one', 'NOTIFY=SUCCESS,DELAY'), ('two', 'NOTIFY=SUCCESS,DELAY'), ('two', 'NOTIFY=SUCCESS'),
                             ('two', 'NOTIFY=NEVER'), ('two', 'NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@own.test'),
                             ('list', 'NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@own.test')):
            far.commands.clear()
            with g.client() as c:
                c.cmd('EHLO c.test', 250)
                c.cmd('MAIL FROM:<s@b.test>', 250)
                c.cmd(f'RCPT TO:<{rcpt}@own.test> {params}', 250)
                c.cmd('DATA', 354)
                c.send(b'Subject: t\r\n\r\n.\r\n')
                assert c.reply().startswith('250')
            g.queue_empty()
            got = [a.partition('> ')[2] for v, a in far.commands if v == 'RCPT' and '@far.test' in a]
            if rcpt == 'list':
                assert got == ['']
                continue
            orcpt = 'ORCPT=rfc822;a+2Bb@own.test' if 'ORCPT' in params else f'ORCPT=rfc822;{rcpt}@own.test'
            notify = params.split()[0]
            if rcpt == 'two':
                notify = {'NOTIFY=SUCCESS,DELAY': 'NOTIFY=DELAY', 'NOTIFY=SUCCESS': 'NOTIFY=NEVER'}.get(notify, notify)
            assert len(got) == (1 if rcpt == 'one' else 2)
            assert all(set(x.split()) == {notify, orcpt} for x in got), (params, got)
