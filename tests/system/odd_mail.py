# SPDX-License-Identifier: BSD-2-Clause
"""odd_mail.py -- mails that mean to be read differently by filters and by whoever reads them later, and mails that are merely odd.
FORGED has the cases of espoofer by its numbers, made anew: each is one trick of "Composition Kills" (USENIX Security 2020)."""
import base64

HIM, ME = 'admin@bank.test', 'first@attack.test'  # whom they pretend to be, and who they are
DATE = 'Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n'
REST = f'{DATE}To: u@far.test\r\nSubject: s\r\nMessage-ID: <1@attack.test>\r\n\r\nbody\r\n'
SIGNED = 'DKIM-Signature: v=1; a=rsa-sha256; d={}; s=k; h=from:to; bh=AAAA; b=BBBB\r\n'
B64 = f'=?utf-8?B?{base64.b64encode(f"<{HIM}>".encode()).decode()}?='


def forged(header, sender='any@attack.test', helo='attack.test', d='attack.test', s='mail', rest=REST):
    """header: of who is said to have written it. d, s: the tags of a signature that the attacker makes with a key of its own."""
    return {'sender': sender, 'helo': helo, 'd': d, 's': s, 'message': header + '\r\n' + rest}


SENDER = 'Sender: <s@sender.bank.test>\r\n' + REST
# by a server that is the attacker's
FORGED = {
    'a1 MAIL of a subdomain that is not there': forged(f'From: <{HIM}>', 'any@none.bank.test', 'helo.attack.test'),
    'a2 MAIL that some read as empty': forged(f'From: <{HIM}>', '(any@bank.test'),
    'a3 NUL in the selector': forged(f'From: <{HIM}>', d='bank.test', s='mail._domainkey.attack.test.\0.any'),
    'a4 quote in the domain of a signature': forged(f'From: <{HIM}>', d="bank.test'a.attack.test"),
    'a5 comment in MAIL': forged(f'From: <{HIM}>', 'any@bank.test(a.attack.test'),
    'a6 quote in MAIL': forged(f'From: <{HIM}>', "any@bank.test'@any.attack.test"),
    'a7 route in MAIL': forged(f'From: <{HIM}>', "@bank.test,@any.test:'any@attack.test"),
    'a8 two From': forged(f'From: <{ME}>\r\nFrom: <{HIM}>'),
    'a9 a blank before the first': forged(f' From: <{ME}>\r\nFrom: <{HIM}>'),
    'a10 a blank behind the second': forged(f'From: <{ME}>\r\nFrom : <{HIM}>'),
    'a11 the first folded before its colon': forged(f'From\r\n : <{ME}>\r\nFrom: <{HIM}>'),
    'a12 Sender beside a From that is folded': forged(f'From\r\n : <{ME}>', rest=f'Sender: <{HIM}>\r\n' + REST),
    'a13 Resent-From beside it': forged(f'From\r\n : <{ME}>', rest=f'Resent-From: <{HIM}>\r\n' + REST),
    'a14 two addresses': forged(f'From: <{ME}>, <{HIM}>', rest=SENDER),
    'a15 an address that is encoded': forged(f'From:{B64},<{ME}>', rest=SENDER),
    'a16 a route': forged(f'From: <@attack.test,@any.test:{HIM}>', rest=SENDER),
    'a17 a quoted comma': forged(f'From: <{HIM}>\\,<{ME}>', rest=SENDER),
    'a18 without brackets and with': forged(f'From: {HIM},<{ME}>', rest=SENDER),
    'a19 text behind the address': forged(f'From: <any@attack.test>{HIM}', rest=SENDER),
}
# by a user who has logged in, in the name of another of the same house
USER, BOSS = 'user@example.org', 'boss@example.org'
BY_USERS = {
    'c1 two From': forged(f'From: <{USER}>\r\nFrom: <{BOSS}>', USER, 'laptop.test'),
    'c2 two addresses': forged(f'From: <{USER}>, <{BOSS}>', USER, 'laptop.test', rest=f'Sender: <s@sender.example.org>\r\n{REST}'),
    'c3 the From of another': forged(f'From: <{BOSS}>', USER, 'laptop.test', rest=f'Sender: <s@sender.example.org>\r\n{REST}'),
}
# name: message; of the paper too, but not in that list, and where a header ends
TRICKS = {
    'comment in d': SIGNED.format('attack.test(.bank.test') + f'From: <{HIM}>\r\n' + REST,
    'NUL in d': SIGNED.format('bank.test\0.attack.test') + f'From: <{HIM}>\r\n' + REST,
    'subdomain in d': SIGNED.format('.bank.test') + f'From: <{HIM}>\r\n' + REST,
    'nested brackets': f'From: <{ME}>\r\nFrom: <<{HIM}>>\r\n' + REST,
    'From cut by NUL': f'From: <{HIM}\0@attack.test>\r\n' + REST,
    'no From': f'Sender: <{HIM}>\r\nResent-From: <{HIM}>\r\n' + REST,
    'length of a signature': SIGNED.format('bank.test; l=5') + f'From: <{HIM}>\r\nContent-Type: multipart/mixed; boundary=x\r\n' + REST +
                             '--x\r\nContent-Type: text/html\r\n\r\n<b>more</b>\r\n--x--\r\n',
    'long lines between two From': f'From: <{ME}>\r\nX: {"a" * 990}\r\n' + ''.join(f' {"b" * 60}\r\n' for _ in range(40)) + f'From: <{HIM}>\r\n' + REST,
    'no colon': f'Subject: s\r\nno field\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'no colon, with an empty line before': f'Subject: s\r\n\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'mbox': f'From {ME} Mon Jan  1 00:00:00 2024\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'no name': f'Subject: s\r\n: <{ME}>\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'a name with bytes': f'Subject: s\r\nFr\u00f6m: <{ME}>\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'NUL for a name': f'Subject: s\r\nFrom\0: <{ME}>\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'a blank line that is none': f'Subject: s\r\n \t\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'goes on at once': f'\tSubject: s\r\nFrom: <{HIM}>\r\n\r\nbody\r\n',
    'a dot first': f'Subject: s\r\n..From: <{HIM}>\r\n\r\n.\u00e9 body\r\n',
    'no body': f'From: <{HIM}>\r\n',
    'nothing': '',
    'only an empty line': '\r\nFrom: <x@y.test>\r\n',
}
HEAD = b'From: Ann <ann@example.org>\r\nTo: b@far.test\r\nSubject: t\r\n'
# of honest people and their programs
ODD = {
    'plain': HEAD + b'\r\nhello\r\n',
    'folded': HEAD + b'X-A: one\r\n\ttwo\r\n  three  \r\nReferences:\r\n <a@b>\r\n\t<c@d>\r\n\r\nhello\r\n',
    'blanks': b'from:ann@example.org\r\nTO:\t b@far.test \t\r\nSubject:  two  blanks \r\nX-Empty:\r\nX-Blank: \r\nX-Fold: a\r\n \r\n\tb\r\n\r\nhello \t \r\n  two  \r\n',
    'blank before the colon': b'From : ann@example.org\r\nTo: b@far.test\r\nSubject\t: t\r\n\r\nhello\r\n',
    '8bit': b'From: \xc3\x84nn <ann@example.org>\r\nSubject: \xe4\xf6\xfc\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4\xff\xfe\r\n',
    'dots': HEAD + b'\r\n.\r\n..\r\n.leading\r\n...\r\ntrailing.\r\n.\r\n',
    'empty body': HEAD + b'\r\n',
    'no body': HEAD,
    'trailing lines': HEAD + b'\r\nhello\r\n\r\n\r\n\r\n',
    'only lines': HEAD + b'\r\n\r\n\r\n',
    'twice': HEAD + b'X-A: 1\r\nX-A: 2\r\nx-a: 3\r\nReceived: from x by y; Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\nhello\r\n',
    'long lines': HEAD + b'X-Long: ' + b'x' * 980 + b'\r\n\r\n' + b'y' * 998 + b'\r\n',
    'many fields': HEAD + b''.join(b'X-%d: %d\r\n' % (i, i) for i in range(300)) + b'\r\nhello\r\n',
    'like a field': HEAD + b'\r\nnot: a field\r\n\tnor this\r\n',
    'long body': HEAD + b'\r\n' + b''.join(b'%06d .dot and blanks \t \r\n' % i for i in range(12000)) + b'.\r\n',
}


def bytes_of(tricks):
    return {name: m.encode() for name, m in tricks.items()}


def of(table):
    return {name: m['message'].encode() for name, m in table.items()}


def nul(message):
    """In its header: no filter can be told that as it is."""
    return b'\0' in message.partition(b'\r\n\r\n')[0]


def messages():
    """All of them: name -> what stands behind DATA, not stuffed."""
    return {**of(FORGED), **of(BY_USERS), **bytes_of(TRICKS), **ODD}
