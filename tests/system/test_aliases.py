# SPDX-License-Identifier: BSD-2-Clause
"""Aliases beyond one row of a text file: databases that answer with several values, flags and macros, rows that lead back, large
lists, and what a sender is told of them."""
import re, subprocess

import lab, pytest
from test_mapservers import Ldap
from test_users import FLAGS, deliver, users

US = 'map us { type = text; file = "us"; } local_user_map { name = us; ' + FLAGS + '} '
TEXT = 'map al { type = text; file = "al"; } '


def gateway(inst, store, far, al='', smar=None, us='alice yes\nbob yes\n', vi='', flags=FLAGS, **kw):
    smar = smar or US + TEXT + f'aliases {{ name = al; {flags}}} '
    return users(inst, store, far, smar=smar, files={'us': us, 'al': al, 'vi': vi}, **kw)


@pytest.fixture
def ends(inst):
    with lab.Sink(lmtp=True) as store, lab.Sink() as far:
        yield store, far


def of(g, rcpts, sender='s@b.test'):
    g.store, g.far = g.ends
    return [r for _, r in deliver(g, sender, rcpts)]


def having(inst, module):
    if not (inst / lab.PREFIX.lstrip('/') / f'lib/meta1/maps/map_{module}.so').exists():
        pytest.skip(f'map_{module} was not built')


# ---- several values ----

def test_rows_of_sqlite(inst, ends):
    """Each row, and each column of it, is a target; the order is the query's; one that refuses stands alone."""
    having(inst, 'sqlite')
    smar = US + ('map al { type = sqlite; file = "al.db"; query = "SELECT v, w FROM al WHERE k = ? ORDER BY n"; } '
                 'aliases { name = al; ' + FLAGS + '} map mq { type = sqlite; file = "al.db"; query = "SELECT v FROM mt WHERE k = ?"; } '
                 'sender_routes { name = mq; } ')
    g = gateway(inst, *ends, smar=smar)
    g.ends = ends
    rows = ['team', 'alice', 'bob'], ['team', '<x@far.test>', None], ['team', 'ALICE, y@far.test', ''], ['list', 'x@far.test', None], \
        ['list', 'y@far.test', None], ['owner-list', 'bob', None], ['mixed', 'alice', None], ['mixed', 'error:550 5.1.1 no', None], \
        ['no', 'error:550 5.1.6 moved', None], *(['many', f'u{i}@far.test', None] for i in range(3000))
    sql = 'BEGIN; CREATE TABLE al (n INTEGER PRIMARY KEY, k, v, w); CREATE TABLE mt (k, v);' + ''.join(
        'INSERT INTO al (k, v, w) VALUES (%s);' % ', '.join('NULL' if x is None else f"'{x}'" for x in r) for r in rows)
    # the first next hop of a sender refuses, the second, in a row of its own, takes it
    sql += f"INSERT INTO mt VALUES ('b.test', '[127.0.0.1]:{lab.free_port()}'), ('b.test', '[127.0.0.1]:{ends[1].port}');"
    subprocess.run(['sqlite3', '-batch', str(g.dir / 'al.db')], check=True, text=True, input=sql + ' COMMIT;')
    with g:
        assert of(g, 'team@own.test') == ['alice@gw.test', 'bob@gw.test', 'x@far.test', 'y@far.test']
        assert deliver(g, 's@b.test', 'list@own.test') == [('owner-list@own.test', 'x@far.test'), ('owner-list@own.test', 'y@far.test')]
        assert of(g, 'many@own.test') == sorted(f'u{i}@far.test' for i in range(3000))
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<s@b.test>', 250)
            assert c.cmd('RCPT TO:<mixed@own.test>').startswith('451 4.3.5')
            assert c.cmd('RCPT TO:<no@own.test>') == '550 5.1.6 moved'
        assert 'key=mixed@own.test error="\\"error:…\\" beside other values"' in g.log()


def test_values_of_ldap(inst, ends):
    having(inst, 'ldap')
    with Ldap(rows={'other': 'alice'}) as s:
        smar = US + f'map al {{ type = ldap; servers = "{s.server()}"; {s.options} }} aliases {{ name = al; {FLAGS}}} '
        with gateway(inst, *ends, smar=smar) as g:
            g.ends = ends
            assert of(g, 'key@own.test') == ['one@gw.test', 'two@gw.test']  # two attributes
            assert of(g, 'other@own.test') == ['alice@gw.test']


# ---- flags and macros ----

def test_preserve_domain_and_keep_detail(inst, ends):
    al = 'team bob, alice+own, <dave@far.test>\nteam+x eve\nany+* fred\n'
    vi = 'info@virt.test bob, carol@far.test\n'
    smar = TEXT + ('aliases { name = al; flags = { localpart, local_domains%s }; } map vi { type = text; file = "vi"; } '
                   'virtual_aliases { name = vi; flags = { %s }; } virtual_domains = virt.test; ')
    flags = 'preserve_domain, keep_detail'
    with gateway(inst, *ends, al=al, vi=vi, smar=smar % (', ' + flags, flags)) as g:
        g.ends = ends
        assert of(g, 'team+list@own.test') == ['alice+own@own.test', 'bob+list@own.test', 'dave+list@far.test']
        assert of(g, 'team@own.test') == ['alice+own@own.test', 'bob@own.test', 'dave@far.test']
        assert of(g, 'team+x@own.test') == ['eve@own.test']  # the row is about this detail
        assert of(g, 'any+y@own.test') == ['fred+y@own.test']
        assert of(g, 'info+a@virt.test') == ['carol+a@far.test']  # bob is one of virt.test then, and there is none
    with gateway(inst, *ends, al=al, vi=vi, smar=smar % ('', 'dont_implicitly_match_detail')) as g:
        g.ends = ends
        assert of(g, 'team+list@own.test') == ['alice+own@gw.test', 'bob@gw.test', 'dave@far.test']
        assert of(g, 'info@virt.test') == ['bob@gw.test', 'carol@far.test']


def test_a_domain_under_another_name(inst, ends):
    """${user} in the row of a whole domain, with and without the detail; what does not belong in an address is refused."""
    vi = 'old.test ${user}${extension}@far.test\nplain.test ${user}@far.test copy+${user}@own.test\n.sub.test ${user}@${subdomain}.far.test\n'
    smar = 'map vi { type = text; file = "vi"; } virtual_aliases { name = vi; flags = { replace_macros }; } '
    with gateway(inst, *ends, vi=vi, smar=smar) as g:
        g.ends = ends
        assert of(g, 'Ann+x@old.test') == ['ann+x@far.test']
        assert of(g, ['ann+x@plain.test', 'ann@plain.test']) == ['ann@far.test', 'copy+ann@own.test']
        assert of(g, 'ann@a.b.sub.test') == ['ann@a.b.far.test']
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<s@b.test>', 250)
            for bad in ('"a b"', '"a,evil"', '"<x>"', 'a/b', '"a@evil.test"', '"\\\\x"'):
                assert c.cmd(f'RCPT TO:<{bad}@old.test>').startswith('554 5.3.0'), bad


# ---- rows that lead back, and large ones ----

@pytest.mark.parametrize('rcpt', ['bob@own.test', 'BOB@gw.test', 'Bob+x@own.test', 'alice@own.test'])
def test_an_alias_that_names_itself(inst, ends, rcpt):
    """In any case, several times, over another: one delivery and no alias loop."""
    with gateway(inst, *ends, al='bob BOB, bob Bob@gw.test <bOb@GW.test>\nalice \\alice, bob, "alice"\n') as g:
        g.ends = ends
        want = ['bob@gw.test'] + (['alice@gw.test'] if 'alice' in rcpt else [])
        assert sorted(x.lower() for x in of(g, rcpt)) == sorted(want)
        assert g.metrics('smar')['alias_loops_total'] == 0


def test_ten_thousand_aliases_of_one_address(inst, ends):
    """All of them in one list, and a hundred of them in one mail: one delivery; each row is asked for once."""
    d = lab.tempdir('lists')
    (d / 'all').write_text('\n'.join(f'a{i}' for i in range(10000)) + '\n')
    al = ''.join(f'a{i} bob\n' for i in range(10000)) + f'all :include:{d}/all\n'
    al += ''.join(f'r{i} ' + ' '.join(f'r{j}' for j in range(50)) + '\n' for i in range(50)) + 'rings bob r0\n'
    smar = US + TEXT + f'aliases {{ name = al; {FLAGS}}} alias_include = "{d}"; '
    with gateway(inst, *ends, al=al, smar=smar) as g:
        g.ends = ends
        asked = g.metrics('smar')['map_lookups_total']
        assert of(g, 'all@own.test') == ['bob@gw.test']
        assert g.metrics('smar')['map_lookups_total'] - asked < 10000 * 8
        assert of(g, [f'a{i}@own.test' for i in range(100)]) == ['bob@gw.test']
        asked = g.metrics('smar')['map_lookups_total']
        assert of(g, 'rings@own.test') == ['bob@gw.test']  # each of fifty names all fifty
        assert g.metrics('smar')['map_lookups_total'] - asked < 1000


# ---- what the sender is told (RFC 3461 5.2.7.3) ----

DSN = ('PIPELINING', 'DSN', 'ENHANCEDSTATUSCODES')


def send(g, rcpt, params, sender='s@b.test', mail=''):
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd(f'MAIL FROM:<{sender}>{mail}', 250)
        c.cmd(f'RCPT TO:<{rcpt}> {params}', 250)
        c.cmd('DATA', 354)
        c.send(b'Subject: t\r\n\r\n.\r\n')
        g.settled(c.reply(250))


def test_expanded(inst):
    """An alias of several is reported as expanded once, to the sender, and its targets say nothing more of success; a list with an
    owner is one that got it (delivered); the alias of one is not reported: it is relayed with all that was asked."""
    al = 'one x@far.test\ntwo x@far.test y@far.test\nlist x@far.test y@far.test\nowner-list bob\n'
    with lab.Sink(lmtp=True) as store, lab.Sink(ehlo=DSN) as far, gateway(inst, store, far, al=al) as g:
        for rcpt, notify, orcpt, told in (
                ('two', 'SUCCESS', '', True), ('two', 'SUCCESS,FAILURE', ' ORCPT=rfc822;the+2Btwo@own.test', True), ('two', 'FAILURE', '', False),
                ('two', 'NEVER', '', False), ('one', 'SUCCESS', '', False), ('list', 'SUCCESS', '', True),
                ('list', 'SUCCESS', ' ORCPT=rfc822;the+2Blist@own.test', True), ('list', 'FAILURE', '', False)):
            far.mails.clear(), far.commands.clear()
            send(g, f'{rcpt}@own.test', f'NOTIFY={notify}{orcpt}', mail=' ENVID=e1 RET=HDRS')
            reports = [m for m in far.mails if m['from'] == '' and m['rcpts'] == ['s@b.test']]
            what = rcpt, notify, orcpt
            sent = [a.partition('> ')[2] for v, a in far.commands if v == 'RCPT' and '<s@b.test>' not in a]
            assert all(('ORCPT=' in x) == (rcpt != 'list') for x in sent) and sent, (what, sent)
            assert len(reports) == told, what
            if not told:
                continue
            text = reports[0]['body'].decode()
            assert re.findall('Action: .*(?=\r)', text) == ['Action: ' + ('delivered' if rcpt == 'list' else 'expanded')], what
            assert f'Final-Recipient: rfc822; {rcpt}@own.test' in text and 'Status: 2.' in text and 'Original-Envelope-Id: e1' in text, what
            want = [f'the+{rcpt}@own.test' if orcpt else f'{rcpt}@own.test']
            assert re.findall('Original-Recipient: rfc822; ?(.*)\r', text) == want, what


def test_a_list_with_owner_and_verp(inst):
    """VERP of the owner gives each member a sender of its own, and a report about one comes back to the owner; XVERP of a client is
    about the recipients that it named, not about members of a list."""
    def answer(verb, arg, ses):
        return '550 5.1.1 gone' if verb == 'RCPT' and '<gone@far.test>' in arg else None
    al = 'list gone@far.test x@far.test\nowner-list bob\nplain y@far.test\n'
    with lab.Sink(lmtp=True) as store, lab.Sink(answer=answer) as far, gateway(
            inst, store, far, al=al, qmgr='verp_senders = { "owner-list@own.test" };', smtps='verp_clients = { "127.0.0.1" };') as g:
        send(g, 'list@own.test', 'NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@own.test')
        assert [(m['from'], m['rcpts']) for m in far.mails if m['from']] == [('owner-list+x=far.test@own.test', ['x@far.test'])]
        lab.wait_for('the report', lambda: store.mails)
        assert [(m['from'], m['rcpts']) for m in store.mails] == [('', ['bob@gw.test'])]
        assert b'Final-Recipient: rfc822; gone@far.test' in store.mails[0]['body'] and b'owner-list+gone=far.test@own.test' in store.mails[0]['body']
        assert b'Original-Recipient' not in store.mails[0]['body']  # that is the list's, and the sender was told
        assert list(lab.statuses(far.mails)) == ['list@own.test']
    with lab.Sink(lmtp=True) as store, lab.Sink() as far, gateway(inst, store, far, al=al, smtps='verp_clients = { "127.0.0.1" };') as g:
        with g.client() as c:
            g.settled(c.mail('s@b.test', ['list@own.test', 'plain@own.test'], 'Subject: t\r\n\r\n', params=' XVERP'))
        assert sorted((m['from'], r) for m in far.mails for r in m['rcpts']) == [
            ('owner-list@own.test', 'gone@far.test'), ('owner-list@own.test', 'x@far.test'), ('s+y=far.test@b.test', 'y@far.test')]
