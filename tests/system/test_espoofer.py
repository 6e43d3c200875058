# SPDX-License-Identifier: BSD-2-Clause
"""The attacks of espoofer (odd_mail.py) against a gateway that verifies with OpenDKIM and OpenDMARC as doc/filters.md has it: the
attacker's host, SPF record and signature are good for its own domain. Each is refused, or all filters hear the very mail that is
delivered, with the same From; and no result that we add says that it comes from whom it is not from."""
import contextlib, re

import dkimd, lab, milters, odd_mail, pytest
from test_filter_client import Names
from witness import Witnesses

SPF = {'bank.test': 'v=spf1 ip4:192.0.2.8 -all', 'attack.test': 'v=spf1 ip4:192.0.2.9 -all', 'any.attack.test': 'v=spf1 ip4:192.0.2.9 -all',
       'helo.attack.test': 'v=spf1 ip4:192.0.2.9 -all'}
DMARC = 'v=DMARC1; p=reject'
HONEST = odd_mail.forged(f'From: <{odd_mail.ME}>')
# where it ends: at MAIL by us, at its end by a filter; all others are delivered
REFUSED = {**dict.fromkeys(odd_mail.FORGED, '.'), **{n: 'MAIL' for n in odd_mail.FORGED if n.split()[0] in ('a2', 'a5', 'a6')}}
del REFUSED['a19 text behind the address']  # which OpenDMARC reads as attack.test, and so may a reader


class Gateway(dkimd.Signed):
    def __init__(self, inst, key, stack):
        dmarc = stack.enter_context(dkimd.Opendmarc([*(f'{d}. TXT "{r}"' for d, r in SPF.items()), f'_dmarc.bank.test. TXT "{DMARC}"']))
        names = Names({f'{d}.': f'"{r}"' for d, r in SPF.items()})
        stack.callback(names.s.close)
        self.w = Witnesses(stack)
        self.folder = key[0]
        super().__init__(inst, key, dmarc.socket, self.w.at_first, self.w.at_last, ('example.org', 'attack.test'),
                         smar=f'nameserver = "127.0.0.1:{names.port}"; DNS_tries = 1; spf = yes;')
        stack.enter_context(self.stack)

    def attempt(self, m, message, port, source):
        """(the command at which it was refused, or None, the last reply)"""
        with lab.Client(('127.0.0.1', port), source='127.0.0.2', greet=False) as c:
            c.send(f'PROXY TCP4 {source} 127.0.0.1 40000 25\r\n')
            c.reply(220)
            for what, line, good in (('EHLO', f'EHLO {m["helo"]}', '250'), ('MAIL', f'MAIL FROM:<{m["sender"]}>', '250'), ('RCPT', 'RCPT TO:<b@far.test>', '250'),
                                     ('DATA', 'DATA', '354'), ('.', milters.stuffed(message) + b'.', '250')):
                c.send(line if isinstance(line, bytes) else line.encode())
                c.send(b'\r\n')
                reply = c.reply()
                if not reply.startswith(good):
                    return what, reply
            return None, reply

    def signed(self, m, message):
        """As the attacker signs it, if it can be."""
        import dkim
        try:
            return dkim.sign(message, m['s'].encode(), m['d'].encode(), (self.folder / 'mail.private').read_bytes(), canonicalize=(b'relaxed', b'relaxed'),
                             include_headers=[b'from', b'to', b'subject']) + message
        except (dkim.DKIMException, IndexError):
            return message


@pytest.fixture(scope='module')
def g(inst):
    with contextlib.ExitStack() as stack:
        yield Gateway(inst, stack.enter_context(dkimd.key()), stack)


def judged(g, name, m, port, source):
    """What was delivered, or the command at which it was refused."""
    message = m['message'].encode()
    if m['d'] and port == g.gw.port:
        message = g.signed(m, message)
    g.w.clear()
    n = len(g.sink.mails)
    refused, reply = g.attempt(m, message, port, source)
    if refused:
        assert reply.startswith('5'), (name, reply)
        return refused
    mail = g.sink.wait(n + 1)[n]
    g.w.agree(name, message, mail)
    heard = next(d for k, d in g.w.m.heard if k == 'M').split(b'\0')[0].decode()
    assert heard == f'<{mail["from"]}>', name
    return mail['body']


def test_honest(g):
    """So what is refused is not refused for something else."""
    got = judged(g, 'honest', HONEST, g.gw.port, '192.0.2.9')
    assert b'dkim=pass' in got and b'spf=pass smtp.mailfrom=any@attack.test' in got and b'header.from=attack.test' in got, got


def results(mail):
    """Those that say they are ours, one by one."""
    fields = re.findall(rb'^Authentication-Results:\s*mx\.example\.org(?:[^\r]|\r\n[ \t])*', mail, re.M)
    return [r for f in fields for r in f.split(b';')[1:]]


@pytest.mark.parametrize('name', odd_mail.FORGED)
def test_by_servers(g, name):
    got = judged(g, name, odd_mail.FORGED[name], g.gw.port, '192.0.2.9')
    where = None if isinstance(got, bytes) else got
    assert where == REFUSED.get(name), got
    assert where or results(got) and not [r for r in results(got) if b'=pass' in r and b'bank.test' in r], got


@pytest.mark.parametrize('name', odd_mail.BY_USERS)
def test_by_users(g, name):
    """Whether one may write in the name of another is for other filters to say; what is signed is what is delivered, with each From."""
    got = judged(g, name, odd_mail.BY_USERS[name], g.submission, '192.0.2.9')
    assert dkimd.verified(got, g.record) and not dkimd.verified(got.replace(b'boss@', b'post@'), g.record), got
