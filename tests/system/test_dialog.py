# SPDX-License-Identifier: BSD-2-Clause
"""The SMTP dialog as tables: what is said, what is answered, and what state the session is in."""
import contextlib, json, re, socket, struct

import lab, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'


@pytest.fixture(scope='module')
def gw(inst):
    """One gateway for all tests that leave it as it was."""
    with lab.Sink() as sink, lab.relay_all(
            inst, sink.port, 'max_bad_commands = 1000; max_nop_commands = 10000; max_invalid_addresses = 1000; '
            'max_rcpts_per_transaction = 3; max_message_size = 1MB;') as g:
        g.sink = sink
        yield g


def talk(c, dialog):
    """Lines 'command -> beginning of its reply'."""
    for line in dialog.strip().splitlines():
        cmd, _, want = line.strip().partition(' -> ')
        got = c.cmd(cmd)
        assert got.startswith(want), f'{cmd!r}: expected {want!r}, got {got!r}'


# ---- parameters and addresses ----

@pytest.mark.parametrize('params, want', [
    ('SIZE=0', '250'), ('size=1048576', '250'), ('SIZE=1048577', '552 5.3.4'), ('SIZE=abc', '501 5.5.4'),
    ('SIZE=', '501 5.5.4'), ('SIZE', '501 5.5.4'), ('SIZE=-1', '501 5.5.4'), ('SIZE=+1', '501 5.5.4'),
    ('SIZE=1e3', '501 5.5.4'), ('SIZE=99999999999999999999', '552 5.3.4'), ('SIZE=' + '9' * 60, '501 5.5.4'),
    ('SIZE=1 SIZE=1', '501 5.5.4'), ('SIZE=1 size=2', '501 5.5.4'), ('BODY=8BITMIME', '250'), ('BODY=7bit', '250'),
    ('BODY=9BIT', '501 5.5.4'), ('BODY', '501 5.5.4'), ('BODY=7BIT BODY=8BITMIME', '501 5.5.4'),
    ('SIZE=5 BODY=8BITMIME', '250'), ('BODY=8BITMIME   SIZE=5', '250'), ('FOO', '555 5.5.4'), ('FOO=bar', '555 5.5.4'),
    ('=', '555 5.5.4'), ('=x', '555 5.5.4'), ('AUTH=<>', '555 5.5.4'), ('RET=HDRS', '250'), ('ENVID=a+00', '501 5.5.4'), ('ENVID=a+4', '501 5.5.4'), ('ENVID=+', '501 5.5.4'),
    ('RET=FULL ENVID=QQ+2B1 SIZE=5', '250'), ('RET=FULL RET=FULL', '501 5.5.4'), ('NOTIFY=NEVER', '555 5.5.4'),
    ('SMTPUTF8', '250'), ('SMTPUTF8=1', '501 5.5.4'), ('SMTPUTF8 SMTPUTF8', '501 5.5.4'), ('SIZE=1=2', '501 5.5.4'), ('SIZE\x7f=1', '555 5.5.4'), ('SIZE=1\t', '250'),
    ('PIPELINING', '555 5.5.4'),
], ids=lambda x: repr(x)[1:40])
def test_parameters_of_mail(gw, params, want):
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        got = c.cmd(f'MAIL FROM:<a@b.test> {params}')
        assert got.startswith(want), got
        # a refused MAIL leaves no transaction, an accepted one does
        c.cmd('RCPT TO:<b@far.test>', 250 if want == '250' else 503)


def test_parameters_of_rcpt(gw):
    with gw.client() as c:
        talk(c, '''EHLO c.test -> 250
            MAIL FROM:<a@b.test> -> 250
            RCPT TO:<b@far.test> RET=FULL -> 555 5.5.4
            RCPT TO:<b@far.test> NOTIFY=NEVER,DELAY -> 501 5.5.4
            RCPT TO:<b@far.test> ORCPT=rfc822;b+00 -> 501 5.5.4
            RCPT TO:<b@far.test> ORCPT=b -> 501 5.5.4
            RCPT TO:<b@far.test>X -> 5
            RCPT TO:<b@far.test> -> 250
            RCPT TO: <b2@far.test> -> 250''')


def test_8bitmime_only_with_its_flag(inst, sink):
    with lab.relay_all(inst, sink.port, flags='dont_8bitmime, access') as g, g.client() as c:
        words = c.cmd('EHLO c.test', 250)
        assert '8BITMIME' not in words
        assert 'SMTPUTF8' not in words  # RFC 6531 3.1: not without 8BITMIME
        assert c.cmd('MAIL FROM:<a@b.test> BODY=8BITMIME').startswith('555 5.5.4')
        assert c.cmd('MAIL FROM:<a@b.test> SMTPUTF8').startswith('555 5.5.4')


GOOD = ['a@b.test', 'a.b.c@b.test', 'A+b=c/d@B.Test', "!#$%&'*+-/=?^_`{|}~@b.test", '"quoted string"@b.test',
        r'"a\"b\\c"@b.test', '"@"@b.test', '""@b.test', 'a@[127.0.0.1]', 'a@[IPv6:::1]', 'a@[ipv6:2001:db8::1]',
        '@one.test,@two.test:a@b.test', 'a@x', 'x' * 64 + '@b.test', 'a@' + '.'.join(['d' * 49] * 5),
        'a@1.2', 'a@xn--bcher-kva.test', '"; rm -rf /"@b.test', '|id@b.test']
BAD = ['a', 'a@', '@b.test', 'a@b@c.test', 'a b@c.test', '.a@b.test', 'a.@b.test', 'a..b@b.test', 'a@.b.test', 'a@b..test',
       'a@b.test.', 'a@-b.test', 'a@b-.test', 'a@b_c.test', 'a@[1.2.3]', 'a@[1.2.3.4', 'a@[IPv6:1:2]', 'a@[x]',
       'a@[1.2.3.400]', '"a@b.test', '"a"b@b.test', 'a"b"@b.test', 'a,b@b.test', 'a<b@b.test', 'a;b@b.test',
       'a(b)@b.test', '@one.test a@b.test', '@one.test,:a@b.test', 'x' * 65 + '@b.test', 'a@' + 'd' * 64 + '.test',
       'a@' + '.'.join(['d' * 51] * 5), 'a\\@b.test', 'a\t@b.test', ' a@b.test',
       'a@b.test ', 'a\x01@b.test', '"a\x01"@b.test', 'postmaster@', '$(id)@b.test']


@pytest.mark.parametrize('verb, end', [('MAIL FROM:', '5.1.7'), ('RCPT TO:', '5.1.3')])
def test_addresses(gw, verb, end):
    before = gw.metrics('smtps')['refused_address_syntax_total']
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        for addr in GOOD + BAD:
            c.cmd('RSET', 250)
            if verb[0] == 'R':
                c.cmd('MAIL FROM:<a@b.test>', 250)
            c.send(f'{verb}<{addr}>\r\n'.encode('utf-8'))
            got = c.reply()
            want = '250' if addr in GOOD else f'501 {end}'
            assert got.startswith(want), f'{addr!r}: expected {want}, got {got!r}'
            assert got.isprintable(), got
        for junk in ('', 'a@b.test', '<a@b.test', 'a@b.test>', '<a@b.test>>', '<<a@b.test>>', '<>x'):
            c.cmd('RSET', 250)
            if verb[0] == 'R':
                c.cmd('MAIL FROM:<a@b.test>', 250)
            assert c.cmd(verb + junk)[0] == '5', junk
        assert c.cmd('MAILFROM:<a@b.test>').startswith('500')
    assert gw.metrics('smtps')['refused_address_syntax_total'] >= before + len(BAD)


WIDE = ['grü@b.test', 'a@grü.test', '"grü"@b.test', '@grü.test:a@b.test', '例@例.jp', 'a@GRÜ.test']
NOT_WIDE = ['\x85@b.test', 'a@b\uff20c.test', 'a@b\u202ec.test', 'a@' + 'ü' * 63 + '.test', 'ü' * 33 + '@b.test']


@pytest.mark.parametrize('verb, refused, bad', [('MAIL FROM:', '550 5.6.7', '501 5.1.7'), ('RCPT TO:', '553 5.6.7', '501 5.1.3')])
def test_addresses_with_utf8(gw, verb, refused, bad):
    """Without SMTPUTF8 in MAIL the codes of RFC 6531 3.5, with it they are taken."""
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        for addr in WIDE + NOT_WIDE:
            for param in ('', ' SMTPUTF8'):
                c.cmd('RSET', 250)
                if verb[0] == 'R':
                    c.cmd('MAIL FROM:<a@b.test>' + param, 250)
                got = c.cmd(f'{verb}<{addr}>' + (param if verb[0] == 'M' else ''))
                want = bad if addr in NOT_WIDE else '250' if param else refused
                assert got.startswith(want), (addr, param, got)
        c.cmd('RSET', 250)
        c.send(b'MAIL FROM:<gr\xfc@b.test> SMTPUTF8\r\n')  # Latin-1
        assert c.reply().startswith('501 5.1.7')


def test_addresses_arrive_as_they_were_given(gw):
    """No address that is accepted is changed, split or unquoted on its way."""
    good = [a for a in GOOD if not a.startswith('@') and '[' not in a]
    with gw.client() as c:
        c.cmd('EHLO c.test', 250)
        for a in good:
            assert c.mail(a, a, BODY, ehlo=None).startswith('250'), a
    gw.sink.wait(len(good))
    assert sorted((m['from'], *m['rcpts']) for m in gw.sink.mails[-len(good):]) == sorted((a, a) for a in good)
    gw.queue_empty()


# ---- the state of a session ----

STATES = {
    'order': '''MAIL FROM:<a@b.test> -> 503 5.5.1
        RCPT TO:<a@b.test> -> 503 5.5.1
        DATA -> 503 5.5.1
        EHLO c.test -> 250
        RCPT TO:<a@b.test> -> 503 5.5.1
        DATA -> 503 5.5.1
        MAIL FROM:<a@b.test> -> 250 2.1.0
        DATA -> 503 5.5.1
        MAIL FROM:<c@b.test> -> 503 5.5.1
        RCPT TO:<b@far.test> -> 250 2.1.5
        MAIL FROM:<c@b.test> -> 503 5.5.1
        DATA -> 354''',
    'all recipients refused': '''EHLO c.test -> 250
        MAIL FROM:<a@b.test> -> 250
        RCPT TO:<bad> -> 501 5.1.3
        DATA -> 554 5.5.1
        RSET -> 250
        MAIL FROM:<a@b.test> -> 250
        RCPT TO:<b@far.test> NOTIFY=SOMETIMES -> 501 5.5.4
        DATA -> 554 5.5.1
        RSET -> 250
        MAIL FROM:<a@b.test> -> 250
        RCPT b@far.test -> 501 5.5.4
        DATA -> 554 5.5.1
        RCPT TO:<b@far.test> -> 250
        DATA -> 354''',
    'reset': '''EHLO c.test -> 250
        MAIL FROM:<a@b.test> -> 250
        RCPT TO:<b@far.test> -> 250
        RSET -> 250 2.0.0
        RCPT TO:<b@far.test> -> 503
        DATA -> 503
        MAIL FROM:<a@b.test> -> 250
        DATA -> 503
        EHLO again.test -> 250
        RCPT TO:<b@far.test> -> 503
        MAIL FROM:<a@b.test> -> 250
        HELO again.test -> 250
        RCPT TO:<b@far.test> -> 503''',
    'too many': '''EHLO c.test -> 250
        MAIL FROM:<a@b.test> -> 250
        RCPT TO:<b1@far.test> -> 250
        RCPT TO:<b2@far.test> -> 250
        RCPT TO:<b3@far.test> -> 250
        RCPT TO:<b4@far.test> -> 452 4.5.3
        RSET -> 250
        MAIL FROM:<a@b.test> -> 250
        RCPT TO:<b5@far.test> -> 250''',
    'small words': '''noop -> 250 2.0.0
        NOOP with words -> 250 2.0.0
        RSET -> 250
        RSET now -> 501 5.5.4
        VRFY -> 501 5.5.4
        VRFY <a@b.test> -> 252 2.0.0
        EXPN list -> 502 5.5.1
        ETRN x -> 502 5.5.1
        STARTTLS -> 502 5.5.1
        AUTH PLAIN -> 502 5.5.1
        HELP -> 214
        help mail -> 214
        FROBNICATE -> 500 5.5.1
        EHLO -> 501 5.5.4
        EHLO two words -> 501 5.5.4
        MAIL FROM:<a@b.test> -> 503
        eHlO c.test -> 250
        mail from:<a@b.test> -> 250
        rcpt to:<b@far.test> -> 250
        DATA now -> 501 5.5.4
        data -> 354''',
}


@pytest.mark.parametrize('name', STATES)
def test_states(gw, name):
    before = len(gw.sink.mails)
    with gw.client() as c:
        talk(c, STATES[name])
        if STATES[name].rstrip().endswith('354'):
            c.send(b'.\r\n')
            c.reply(250)
            talk(c, 'DATA -> 503\nRCPT TO:<b@far.test> -> 503\nMAIL FROM:<a@b.test> -> 250')
            gw.sink.wait(before + 1)
    gw.queue_empty()


# ---- how the bytes are cut ----

def two_transactions():
    return (b'EHLO c.test\r\nMAIL FROM:<one@b.test>\r\nRCPT TO:<b@far.test>\r\nDATA\r\nSubject: one\r\n\r\n..dot\r\n.\r\n'
            b'MAIL FROM:<two@b.test>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n.\r\nNOOP\r\nQUIT\r\n')


@pytest.mark.parametrize('piece', [10000, 1, 7])
def test_pipelined_transactions(gw, piece):
    before = len(gw.sink.mails)
    with gw.client() as c:
        text = two_transactions()
        for i in range(0, len(text), piece):
            c.send(text[i:i + piece])
        for want in ('250-', '250 2.1.0', '250 2.1.5', '354', '250 2.0.0', '250 2.1.0', '250 2.1.5', '354', '250 2.0.0', '250 2.0.0', '221'):
            got = c.reply()
            assert got.startswith(want), f'expected {want}, got {got!r}'
        assert c.closed()
    gw.sink.wait(before + 2)
    assert {m['from']: lab.split_received(m['body'])[1] for m in gw.sink.mails[before:]} == {
        'one@b.test': b'Subject: one\r\n\r\n..dot\r\n', 'two@b.test': b''}
    gw.queue_empty()


# ---- clients that leave ----

def reset(c):
    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.s.close()


@pytest.mark.parametrize('how', ['fin', 'rst', 'half'])
@pytest.mark.parametrize('said', [b'', b'Subject: t\r\n\r\nhal', b'Subject: t\r\n\r\nhello\r\n', b'x\r\n.', b'x\r\n.\r', b'x' * 200000],
                         ids=['nothing', 'in a line', 'whole lines', 'dot', 'dot CR', '200 KB'])
def test_half_a_message(gw, how, said):
    before, mails = gw.metrics('smtps'), len(gw.sink.mails)
    with contextlib.ExitStack() as stack:
        c = stack.enter_context(gw.client())
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        c.cmd('RCPT TO:<b@far.test>', 250)
        c.cmd('DATA', 354)
        c.send(said)
        if how == 'rst':
            reset(c)
        elif how == 'half':
            c.s.shutdown(socket.SHUT_WR)
            assert c.closed()
    lab.wait_for('the counter', lambda: gw.metrics('smtps')['unfinished_messages_total'] == before['unfinished_messages_total'] + 1)
    after = gw.metrics('smtps')
    assert after['messages_accepted_total'] == before['messages_accepted_total']
    assert after['transactions_now'] == 0 and gw.queue() == [] and len(gw.sink.mails) == mails


def test_client_leaves_between_commands(gw):
    """Half-closed after a whole transaction: it is taken and answered."""
    before = len(gw.sink.mails)
    with gw.client() as c:
        c.send(two_transactions().replace(b'QUIT\r\n', b''))
        c.s.shutdown(socket.SHUT_WR)
        assert [c.reply()[:3] for _ in range(10)] == ['250', '250', '250', '354', '250', '250', '250', '354', '250', '250']
        assert c.closed()
    gw.sink.wait(before + 2)
    gw.queue_empty()


# ---- listeners and processes ----

def test_several_sections_and_processes(inst, sink):
    """Two named sections, one of them with two processes, over IPv4, IPv6 and a unix socket."""
    six = lab.free_port()
    g = lab.relay_all(inst, sink.port, 'processes = 2;')
    other = (f'smtps second {{ path = "{g.bin}/libexec/smtps"; flags = {{ access }}; max_message_size = 2KB; '
             f'listen_socket six {{ type = inet6; address = "::1"; port = {six}; }} '
             f'listen_socket local {{ type = unix; path = "{g.dir}/s"; }} }}\n')
    (g.dir / 'ac').write_text('cltaddr:127.0.0.1 RELAY\ncltaddr:::1 RELAY\ncltaddr:unix RELAY\n')
    # sections start from the last: what is asked stands below who asks
    g.conf.write_text(g.conf.read_text().replace('smtps {', other + 'smtps {', 1))
    with g:
        lab.wait_for('three processes', lambda: sum(name.startswith('smtps') for name in g.pids()) == 3)
        sockets = lab.wait_for('their sockets', lambda: (x := sorted(p.name for p in (g.dir / 'run').glob('smtps*.ctl')))[2:] and x)
        assert len(sockets) == 3, sockets

        def connected(name):
            intake = json.loads(g.http(name[:-4], 'GET', '/v1/intake')[1])
            return intake['smar_up'] and intake['credits'] > 0
        lab.wait_for('all of them to take mail', lambda: all(map(connected, sockets)))

        def count(name):
            return {s: int(re.search(rf'meta1_smtps_{name}{{[^}}]*}} (\d+)', g.http(s[:-4], 'GET', '/metrics')[1])[1]) for s in sockets}
        for _ in range(40):
            with g.client() as c:
                c.cmd('QUIT', 221)
        # the kernel spreads connections: that one of two gets none of 40 has odds of 2^-40
        assert sum(n > 0 for n in count('connections_total').values()) == 2
        six_addr = ('::1', six)
        with socket.create_connection(six_addr, 10) as s:
            assert s.recv(100).startswith(b'220 gw.test ESMTP')
        ids = set()
        for addr in [six_addr, str(g.dir / 's')] + [('127.0.0.1', g.port)] * 12:
            with lab.Client(addr) as c:
                assert ('SIZE 2048' in c.cmd('EHLO c.test', 250)) == (addr[-1] != g.port)
                ids.add(c.mail('a@b.test', 'b@far.test', BODY, ehlo=None).split()[-1])
        assert len(ids) == 14
        sink.wait(14)
        assert sum(n > 0 for n in count('messages_accepted_total').values()) == 3
        g.queue_empty()
        assert b'from c.test ([IPv6:::1])' in b''.join(m['body'] for m in sink.mails)
