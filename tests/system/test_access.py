# SPDX-License-Identifier: BSD-2-Clause
"""Who may send what to whom: every form of key and value of the access map, through all roles."""
import signal

import lab, pytest

BODY = 'Subject: t\r\n\r\nhello\r\n'
ACCESS = '''# keys of a client, a sender, a recipient
cltaddr:127.0.0.2       RELAY
cltaddr:127.0.3         RELAY
cltaddr:127.4           RELAY
cltaddr:127.0.5.0/25    RELAY
cltaddr:127.0.5.128     REJECT
cltaddr:127.0.6         error:421 4.7.1 a session is not ours to end
cltaddr:127.0.7         error:550 5.7.1 sent by "7", \u00fc\u0001 and more
cltaddr:127.0.8         QUICK:RELAY
cltaddr:127.0.9         DISCARD
cltaddr:127.0.10        OK
cltaddr:127.0.11        CONT
cltaddr:127.0.12        error:451 4.7.1 later
cltaddr:127.0.13        error:550
from:bad.test           REJECT
from:.bad.test          error:553 5.1.8 no subdomain of it
from:friend.test        RELAY
from:<>                 CONT
from:ok@bad.test        OK
from:quiet@bad.test     DISCARD
to:far.test             RELAY
to:.far.test            RELAY
to:no@far.test          error:550 5.1.1 no such user
to:plus+*@far.test      error:550 5.1.1 not even with a detail
to:closed.far.test      REJECT
to:hole@far.test        DISCARD
to:plain@far.test       551 5.1.6 no word before the reply
helo:liar.test          error:550 5.7.1 you are not liar
helo:.dyn.test          REJECT
helo:friend.test        RELAY
protectedrcpt:all@own.test    cltaddr:127.0.0.2 from:boss@b.test
protectedrcpt:ours@own.test   relay 450 4.7.1 not a word
protectedrcpt:team@own.test   relay error:550 5.7.1 ours alone
certsubject:/cn=x       REJECT
smtps_session_conf:127.0.0.1  flags = { }
'''


@pytest.fixture(scope='module', params=['delay_checks', 'dont_delay_checks'])
def gw(inst, request):
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, 'max_bad_commands = 1000;', f'8bitmime, access, {request.param}', ac=ACCESS, mt=(
            f'own.test lmtp:[127.0.0.1]:{sink.port}\n. [127.0.0.1]:{sink.port}\n')) as g:
        g.sink, g.early = sink, request.param.startswith('dont')
        yield g


def asks(g, c, sender, rcpt):
    """The reply to RCPT, or, where client, HELO and sender are judged there, of a MAIL that is refused."""
    got = c.cmd(f'MAIL FROM:<{sender}>')
    assert g.early or got.startswith('250'), got
    return c.cmd(f'RCPT TO:<{rcpt}>') if got.startswith('250') else got


@pytest.mark.parametrize('client, sender, rcpt, want', [
    # nobody relays by default, not from loopback, not with our own name as the sender
    ('127.0.0.1', 'a@b.test', 'b@elsewhere.test', '550 5.7.1 relaying denied'),
    ('127.0.0.1', 'a@own.test', 'b@elsewhere.test', '550 5.7.1'),
    ('127.0.0.1', 'a@gw.test', 'b@elsewhere.test', '550 5.7.1'),
    ('127.0.0.1', '', 'b@elsewhere.test', '550 5.7.1'),
    ('127.0.0.1', 'a@b.test', '@own.test:b@elsewhere.test', '550 5.7.1'),
    ('127.0.0.1', 'a@b.test', '"b@elsewhere.test"@own.test', '250'),  # local, whatever it looks like
    ('127.0.0.1', 'a@b.test', 'b%elsewhere.test@own.test', '250'),
    ('127.0.0.1', 'a@b.test', 'b@own.test', '250'),
    ('127.0.0.1', 'a@b.test', 'b@OWN.Test', '250'),
    ('127.0.0.1', 'a@b.test', 'b@sub.own.test', '550 5.7.1'),
    ('127.0.0.1', 'a@b.test', 'postmaster', '250'),
    ('127.0.0.1', 'a@b.test', 'PostMaster', '250'),
    # the client
    ('127.0.0.2', 'a@b.test', 'b@elsewhere.test', '250'),
    ('127.0.0.22', 'a@b.test', 'b@elsewhere.test', '550 5.7.1'),
    ('127.0.3.77', 'a@b.test', 'b@elsewhere.test', '250'),
    ('127.0.33.1', 'a@b.test', 'b@elsewhere.test', '550 5.7.1'),
    ('127.4.5.6', 'a@b.test', 'b@elsewhere.test', '250'),
    ('127.0.5.127', 'a@b.test', 'b@elsewhere.test', '250'),
    ('127.0.5.128', 'a@b.test', 'b@own.test', '550 5.7.1 access denied'),
    ('127.0.5.129', 'a@b.test', 'b@elsewhere.test', '550 5.7.1 relaying denied'),
    ('127.0.5.128', 'a@b.test', 'postmaster', '250'),
    ('127.0.5.128', 'a@b.test', 'postmaster@own.test', '250'),
    ('127.0.5.128', 'a@b.test', 'postmaster@elsewhere.test', '550'),
    ('127.0.6.1', 'a@b.test', 'b@own.test', '451 4.3.5'),
    ('127.0.7.1', 'a@b.test', 'b@own.test', '550 5.7.1 sent by "7", '),
    ('127.0.12.1', 'a@b.test', 'b@own.test', '451 4.7.1 later'),
    ('127.0.13.1', 'a@b.test', 'b@own.test', '550 5.'),
    # QUICK ends the search, RELAY and CONT of a client do not
    ('127.0.8.1', 'a@bad.test', 'no@far.test', '250'),
    ('127.0.2.1', 'a@bad.test', 'b@own.test', '550 5.7.1'),
    ('127.0.0.2', 'a@bad.test', 'b@elsewhere.test', '550 5.7.1 access denied'),
    ('127.0.10.1', 'a@bad.test', 'b@own.test', '250'),
    ('127.0.10.1', 'a@b.test', 'b@elsewhere.test', '550 5.7.1 relaying denied'),  # OK is not RELAY
    ('127.0.11.1', 'a@bad.test', 'b@own.test', '550 5.7.1 access denied'),
    # the sender may refuse, never open the door
    ('127.0.0.1', 'a@bad.test', 'b@own.test', '550 5.7.1'),
    ('127.0.0.1', 'A@BAD.test', 'b@own.test', '550 5.7.1'),
    ('127.0.0.1', 'a@x.bad.test', 'b@own.test', '553 5.1.8'),
    ('127.0.0.1', 'ok@bad.test', 'b@own.test', '250'),
    ('127.0.0.1', 'a@notbad.test', 'b@own.test', '250'),
    ('127.0.0.1', 'a@friend.test', 'b@elsewhere.test', '550 5.7.1'),
    # the recipient
    ('127.0.0.1', 'a@b.test', 'b@far.test', '250'),
    ('127.0.0.1', 'a@b.test', 'b@deep.sub.far.test', '250'),
    ('127.0.0.1', 'a@b.test', 'no@far.test', '550 5.1.1 no such user'),
    ('127.0.0.1', 'a@b.test', 'NO@far.test', '550 5.1.1 no such user'),
    ('127.0.0.1', 'a@b.test', 'no@sub.far.test', '250'),
    ('127.0.0.1', 'a@b.test', 'plus+tag@far.test', '550 5.1.1 not even'),
    ('127.0.0.1', 'a@b.test', 'b@closed.far.test', '550 5.7.1 access denied'),
    ('127.0.0.1', 'a@b.test', 'b@notfar.test', '550 5.7.1'),
    ('127.0.0.1', 'a@b.test', 'plain@far.test', '551 5.1.6 no word before the reply'),
    # who may write to whom
    ('127.0.0.1', 'a@b.test', 'all@own.test', '550 5.7.1 you may not send to this recipient'),
    ('127.0.0.2', 'a@b.test', 'all@own.test', '250'),
    ('127.0.0.1', 'Boss@b.test', 'All@own.test', '250'),
    ('127.0.10.1', 'a@b.test', 'all@own.test', '550 5.7.1 you may not'),  # OK is not enough
    ('127.0.8.1', 'a@b.test', 'all@own.test', '250'),  # QUICK is
    ('127.0.0.2', 'a@b.test', 'team@own.test', '250'),
    ('127.0.0.1', 'a@b.test', 'team@own.test', '550 5.7.1 ours alone'),
    ('127.0.0.1', 'a@b.test', 'ours@own.test', '451 4.3.5'),
])
def test_decisions(gw, client, sender, rcpt, want):
    if gw.early and client == '127.0.5.128':
        want = '550 5.7.1 access denied'  # postmaster too, who is reached with delay_checks only
    with lab.Client(('127.0.0.1', gw.port), source=client) as c:
        c.cmd('EHLO c.test', 250)
        got = asks(gw, c, sender, rcpt)
        assert got.startswith(want), got
        assert all(32 <= ord(x) < 127 for x in got), got
        c.cmd('NOOP', 250)  # no reply of the map ends the session or leaves it confused


@pytest.mark.parametrize('client, helo, rcpt, want', [
    ('127.0.0.1', 'liar.test', 'b@own.test', '550 5.7.1 you are not liar'),
    ('127.0.0.1', 'LIAR.test.', 'b@own.test', '550 5.7.1 you are not liar'),
    ('127.0.0.1', 'x.y.dyn.test', 'b@own.test', '550 5.7.1 access denied'),
    ('127.0.0.1', 'dyn.test', 'b@own.test', '250'),
    ('127.0.0.1', 'friend.test', 'b@elsewhere.test', '550 5.7.1 relaying denied'),  # anyone can say so
    ('127.0.0.2', 'liar.test', 'b@elsewhere.test', '250'),  # who may relay may call himself as he likes
    ('127.0.0.1', '[127.0.0.1]', 'b@own.test', '250')])
def test_helo(gw, client, helo, rcpt, want):
    with lab.Client(('127.0.0.1', gw.port), source=client) as c:
        c.cmd(f'EHLO {helo}', 250)
        got = asks(gw, c, 'a@b.test', rcpt)
        assert got.startswith(want), got


def test_where_it_is_said(gw):
    """With dont_delay_checks client, HELO and sender are refused at MAIL, and the log names the row; the next MAIL is judged anew."""
    at = 'mail' if gw.early else 'rcpt'
    with lab.Client(('127.0.0.1', gw.port), source='127.0.5.128') as c:
        c.cmd('EHLO c.test', 250)
        asks(gw, c, 'where@b.test', 'b@own.test')
    gw.wait_log(rf'smtps\.{at}_refused .*client=127.0.5.128 .*from=<where@b.test> .*rule="ac cltaddr:127.0.5.128"')
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        assert asks(gw, c, 'a@bad.test', 'b@own.test').startswith('550')
        c.cmd('RSET', 250)
        assert asks(gw, c, 'a@b.test', 'b@own.test').startswith('250')
        c.cmd('RSET', 250)
        got = c.cmd('MAIL FROM:<a@x.bad.test>')
        assert got.startswith('553' if gw.early else '250')


def test_refused_senders_end_the_session(inst, sink):
    """Each refusal of a sender counts as one of a recipient does."""
    with lab.relay_all(inst, sink.port, 'max_invalid_addresses = 3; tarpit_after = 0;', '8bitmime, access, dont_delay_checks', ac='from:bad.test REJECT\n') as g, g.client() as c:
        c.cmd('EHLO c.test', 250)
        for _ in range(3):
            c.cmd('MAIL FROM:<a@bad.test>', 550)
        assert c.reply().startswith('421 4.7.0')
        c.closed()


# flags of smtps, access section, questions at MAIL and at RCPT for two mails with two recipients each
@pytest.mark.parametrize('flags, access, at_mail, at_rcpt', [
    ('8bitmime', False, 0, 4), ('8bitmime, access', False, 0, 4), ('8bitmime, dont_delay_checks', True, 0, 4),
    ('8bitmime, access, dont_delay_checks', False, 0, 4),
    ('8bitmime, access', True, 0, 4), ('8bitmime, access, dont_delay_checks', True, 2, 4)])
def test_what_nobody_looks_at_is_not_asked(inst, sink, flags, access, at_mail, at_rcpt):
    g = lab.relay_all(inst, sink.port, flags=flags, ac='cltaddr:127.0.0.1 RELAY\n', mt='own.test lmtp:/nowhere\n')
    if not access:
        g.conf.write_text(g.conf.read_text().replace('access { name = ac; }', ''))
    with g:
        before = g.metrics('smar')
        for i in range(2):
            with g.client() as c:
                c.cmd('EHLO c.test', 250)
                c.cmd(f'MAIL FROM:<a{i}@b.test>', 250)
                c.cmd('RCPT TO:<b@own.test>', 250)
                c.cmd('RCPT TO:<c@own.test>', 250)
        now = g.metrics('smar')
        assert (now['mail_checks_total'] - before['mail_checks_total'], now['rcpt_checks_total'] - before['rcpt_checks_total']) == (at_mail, at_rcpt)


def test_a_reload_changes_what_is_asked(inst, sink):
    """smar tells anew which stages count; a transaction under way is judged by what it was not asked yet."""
    with lab.relay_all(inst, sink.port, flags='8bitmime, access, dont_delay_checks', ac='from:bad.test REJECT\n', mt='own.test lmtp:/nowhere\n') as g:
        with_access = g.conf.read_text()
        g.conf.write_text(with_access.replace('access { name = ac; }', ''))
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mcp.reload result=committed')

        def mail(c):
            c.cmd('RSET', 250)
            return c.cmd('MAIL FROM:<a@bad.test>')
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            lab.wait_for('no more questions at MAIL', lambda: mail(c).startswith('250'))
            g.conf.write_text(with_access)
            g.proc.send_signal(signal.SIGHUP)
            with g.client() as other:
                other.cmd('EHLO c.test', 250)
                lab.wait_for('questions at MAIL', lambda: mail(other).startswith('550'))
            c.cmd('RCPT TO:<b@own.test>', 550)


@pytest.mark.parametrize('client, sender, rcpt', [
    ('127.0.9.1', 'a@b.test', 'b@own.test'), ('127.0.0.1', 'quiet@bad.test', 'b@own.test'), ('127.0.0.1', 'a@b.test', 'hole@far.test')])
def test_discarded_mail_looks_taken_and_is_not_queued(gw, client, sender, rcpt):
    before, mails = gw.metrics('smtps'), len(gw.sink.mails)
    with lab.Client(('127.0.0.1', gw.port), source=client) as c:
        assert c.mail(sender, rcpt, BODY).startswith('250 2.0.0')
    after = gw.metrics('smtps')
    assert after['messages_discarded_total'] == before['messages_discarded_total'] + 1
    assert after['messages_accepted_total'] == before['messages_accepted_total']
    assert len(gw.sink.mails) == mails


def test_one_recipient_of_two_is_discarded(gw):
    before = len(gw.sink.mails)
    with gw.client() as c:
        assert c.mail('a@b.test', ['hole@far.test', 'b@far.test'], BODY).startswith('250')
    gw.sink.wait(before + 1)
    gw.queue_empty()
    assert gw.sink.mails[-1]['rcpts'] == ['b@far.test'] and len(gw.sink.mails) == before + 1


def test_refusals_are_counted_and_logged(gw):
    before = gw.metrics('smtps')
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<counted@b.test>', 250)
        c.cmd('RCPT TO:<no@far.test>', 550)
        c.cmd('DATA', 554)
    assert gw.metrics('smtps')['refused_policy_total'] == before['refused_policy_total'] + 1
    gw.wait_log(r'smtps\.rcpt_refused session=\d+ id=S\w+ client=127.0.0.1 reply=550 dsn=5.1.1 from=<counted@b.test> rcpt=<no@far.test>')


def test_without_the_flag_the_map_is_not_asked(inst, sink):
    with lab.relay_all(inst, sink.port, flags='8bitmime', ac='cltaddr:127 RELAY\nfrom:bad.test REJECT\n',
                       mt='own.test lmtp:/nowhere\n') as g, g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@bad.test>', 250)
        assert c.cmd('RCPT TO:<b@elsewhere.test>').startswith('550 5.7.1 relaying denied')
        c.cmd('RCPT TO:<b@own.test>', 250)


def test_sighup_reads_a_changed_map_at_once(inst, sink):
    """A text map is also noticed by itself (test_smar.py); after SIGHUP the new content answers without that."""
    with lab.relay_all(inst, sink.port, ac='to:one.test RELAY\n') as g:
        def says(domain):
            with g.client() as c:
                c.cmd('EHLO c.test', 250)
                c.cmd('MAIL FROM:<a@b.test>', 250)
                return c.cmd(f'RCPT TO:<b@{domain}>')[:3]
        assert (says('one.test'), says('two.test')) == ('250', '550')
        (g.dir / 'ac').write_text('to:two.test RELAY\n')
        g.proc.send_signal(signal.SIGHUP)
        lab.wait_for('the new map', lambda: (says('one.test'), says('two.test')) == ('550', '250'), 5)
        (g.dir / 'ac').unlink()
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mcp.reload result="refused')
        assert (says('one.test'), says('two.test')) == ('550', '250'), 'the old map goes on'
