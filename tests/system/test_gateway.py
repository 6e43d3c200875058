# SPDX-License-Identifier: BSD-2-Clause
"""What a mail gateway is there for, from the client to the next hop's bytes: it relays for those whom rows permit and for nobody else,
takes mail for those who exist, and gives local mail to its store, each recipient with an answer of its own."""
import collections

import lab
from test_socketmap import SocketMap

BODY = 'Subject: t\r\n\r\nhello\r\n'


def said(g, sender, rcpt, source='127.0.0.1'):
    """The reply to RCPT; what is taken is sent."""
    with lab.Client(('127.0.0.1', g.port), source=source) as c:
        c.cmd('EHLO c.test', 250)
        c.cmd(f'MAIL FROM:<{sender}>', 250)
        reply = c.cmd(f'RCPT TO:<{rcpt}>')
        if reply.startswith('250'):
            c.cmd('DATA', 354)
            c.send(BODY + '.\r\n')
            g.settled(c.reply(250))
        return reply[:9].strip()


def test_relaying(inst):
    """Denied to everybody by default; a row of a client, of its network, of a recipient's domain or of what is below it permits it, a
    row of a sender or a next hop in the mailertable does not."""
    rows = ('cltaddr:127.0.0.7 RELAY\ncltaddr:127.1.0 RELAY\ncltaddr:127.1.0.66 REJECT\nto:part.test RELAY\nto:.part.test RELAY\n'
            'to:no@part.test error:550 5.1.1 no such user\nfrom:friend.test RELAY\n')
    want = [('a@b.test', 'u@far.test', '127.0.0.1', '550 5.7.1'), ('a@b.test', 'u@far.test', '127.0.0.7', '250 2.1.5'),
            ('a@b.test', 'u@far.test', '127.1.0.9', '250 2.1.5'), ('a@b.test', 'u@far.test', '127.1.0.66', '550 5.7.1'),
            ('a@b.test', 'u@part.test', '127.0.0.1', '250 2.1.5'), ('a@b.test', 'u@x.part.test', '127.0.0.1', '250 2.1.5'),
            ('a@b.test', 'no@part.test', '127.0.0.1', '550 5.1.1'), ('a@friend.test', 'u@far.test', '127.0.0.1', '550 5.7.1'),
            ('a@b.test', 'u@routed.test', '127.0.0.1', '550 5.7.1'), ('a@b.test', 'u@part.test.far.test', '127.0.0.1', '550 5.7.1')]
    with lab.Sink() as far:
        mt = f'routed.test [127.0.0.1]:{far.port}\n. [127.0.0.1]:{far.port}\n'
        for flags, ac in (('access', rows), ('access', ''), ('8bitmime', rows)):
            far.mails.clear()
            with lab.relay_all(inst, 0, mt=mt, ac=ac, flags=flags) as g:
                for sender, rcpt, source, reply in want:
                    got = said(g, sender, rcpt, source)
                    assert got == (reply if flags == 'access' and ac else '550 5.7.1'), (flags, ac, sender, rcpt, source)
            assert sorted((m['from'], m['rcpts']) for m in far.mails) == sorted(
                (s, [r]) for s, r, _, code in want if code.startswith('250') and flags == 'access' and ac)


def test_the_store(inst):
    """LMTP_socket with a relative path is in the queue directory. Of three recipients of one transaction one is taken, one refused and
    one put off; only that one is offered again, and the sender is told of the refused one once."""
    said = collections.Counter()

    def answer(verb, arg, ses):
        if verb != 'DOT':
            return None
        user = arg.split('@')[0]
        said[user] += 1
        return {'no': '550 5.7.1 not you', 'full': '452 4.2.2 over quota' if said[user] == 1 else None}.get(user)
    with lab.Sink() as back:
        g = lab.relay_all(inst, back.port, ac='to:b.test RELAY\n', smtpc='LMTP_socket = "lmtpsock"; ', smar='local_domains = own.test; ',
                          qmgr='min_retry_delay = 200ms; max_retry_delay = 400ms;')
        with lab.Sink(lmtp=True, path=g.dir / 'q/lmtpsock', answer=answer) as store, g:
            with g.client() as c:
                g.settled(c.mail('s@b.test', ['yes@own.test', 'no@own.test', 'full@own.test'], BODY))
            assert said == {'yes': 1, 'no': 1, 'full': 2}
            assert [m['rcpts'] for m in store.mails] == [['yes@own.test'], ['full@own.test']]
            assert all(m['body'].startswith(b'Return-Path: <s@b.test>\r\nReceived: ') and m['body'].endswith(BODY.encode()) for m in store.mails)
            back.wait(1)
            assert lab.statuses(back.mails) == {'no@own.test': ['5.7.1']} and [m['rcpts'] for m in back.mails] == [['s@b.test']]


def test_users_of_the_system_and_of_a_server(inst):
    """A sequence asks the next map for who is not in the first; a server's NOMORE ends the search for keys when that server
    is the last of them; what cannot be said is for now."""
    table = {'ann': 'OK', 'stop+x': 'NOMORE', 'stop': 'OK', 'later': 'TEMP away'}
    with SocketMap(lambda name, key: table.get(key, 'NOTFOUND')) as s, lab.Sink(lmtp=True) as store:
        flags = 'flags = { localpart, local_domains }; '
        for order in ('pw, db', 'db, pw'):
            smar = (f'map pw {{ type = passwd; }} map db {{ type = socket; address = 127.0.0.1; port = {s.port}; mapname = users; }} '
                    f'map all {{ type = sequence; maps = {{ {order} }}; }} local_user_map {{ name = "all"; {flags}}} ')
            s.asked.clear()
            with lab.relay_all(inst, 0, mt=f'own.test lmtp:[127.0.0.1]:{store.port}\n', smar=smar) as g, g.client() as c:
                c.cmd('EHLO c.test', 250)
                c.cmd('MAIL FROM:<s@b.test>', 250)
                for user, reply in (('root', '250'), ('root+x', '250'), ('ann', '250'), ('ann+x', '250'), ('nobody-at-all', '550 5.1.1'),
                                    ('stop', '250'), ('stop+x', '550 5.1.1' if order == 'pw, db' else '250'), ('later', '451 4.3.0'), ('later+x', '451 4.3.0')):
                    assert c.cmd(f'RCPT TO:<{user}@own.test>').startswith(reply), (order, user)
            assert ('root' in s.asked) == (order == 'db, pw') and 'nobody-at-all' in s.asked
