# SPDX-License-Identifier: BSD-2-Clause
"""Mails that mean to be read differently by filters and by whoever reads them later (the attacks of "Composition Kills", as espoofer
lists them, and their like): each filter, of both protocols and before and after edits, sees the very bytes that are delivered,
and for all of them the header ends at the same place."""
import email, email.policy, re, struct

import lab, milterd, pmilterd, pytest

LEADSPC = 0x100000
ME, YOU = 'admin@bank.test', 'first@attack.test'
B64 = '=?utf-8?B?PGFkbWluQGJhbmsudGVzdD4=?='
REST = 'To: u@far.test\r\nSubject: s\r\nMessage-ID: <1@attack.test>\r\n\r\nbody\r\n'
SIGNED = 'DKIM-Signature: v=1; a=rsa-sha256; d={}; s=k; h=from:to; bh=AAAA; b=BBBB\r\n'
# name: (sender, HELO or None, message); A: by a server, C: by a client that has authenticated
CASES = {
    'A1 two identities': ('any@no.bank.test', 'attack.test', f'From: <{ME}>\r\n' + REST),
    'A2 null sender': ('', 'bank.test', f'From: <{ME}>\r\n' + REST),
    'A3 comment in d': (YOU, None, SIGNED.format('attack.test(.bank.test') + f'From: <{ME}>\r\n' + REST),
    'A4 NUL in d': (YOU, None, SIGNED.format('bank.test\0.attack.test') + f'From: <{ME}>\r\n' + REST),
    'A5 subdomain in d': (YOU, None, SIGNED.format('.bank.test') + f'From: <{ME}>\r\n' + REST),
    'A6 two From': (YOU, None, f'From: <{YOU}>\r\nFrom: <{ME}>\r\n' + REST),
    'A7 blank before': (YOU, None, f' From: <{YOU}>\r\nFrom: <{ME}>\r\n' + REST),
    'A8 blank behind': (YOU, None, f'From : <{YOU}>\r\nFrom: <{ME}>\r\n' + REST),
    'A9 folded before the colon': (YOU, None, f'From\r\n : <{YOU}>\r\nFrom: <{ME}>\r\n' + REST),
    'A10 many addresses': (YOU, None, f'From: <{YOU}>, <{ME}>\r\n' + REST),
    'A11 nested': (YOU, None, f'From: <{YOU}>\r\nFrom: <<{ME}>>\r\n' + REST),
    'A12 route': (YOU, None, f'From: <@attack.test,@any.test:{ME}>\r\n' + REST),
    'A13 encoded': (YOU, None, f'From: {B64}, <{YOU}>\r\n' + REST),
    'A14 quoted pair': (YOU, None, f'From: <{ME}>\\, <{YOU}>\r\n' + REST),
    'A15 text behind': (YOU, None, f'From: <{ME}>{YOU}\r\n' + REST),
    'A16 name is an address': (YOU, None, f'From: {ME}, <{YOU}>\r\n' + REST),
    'A17 cut by NUL': (YOU, None, f'From: <{ME}\0@attack.test>\r\n' + REST),
    'A18 Sender and Resent': (YOU, None, f'Sender: <{ME}>\r\nResent-From: <{ME}>\r\n' + REST),
    'A19 length of a signature': (YOU, None, SIGNED.format('bank.test; l=5') + f'From: <{ME}>\r\nContent-Type: multipart/mixed; boundary=x\r\n' + REST +
                                  '--x\r\nContent-Type: text/html\r\n\r\n<b>more</b>\r\n--x--\r\n'),
    'C1 another From': (YOU, None, f'From: <{ME}>\r\n' + REST),
    'C2 two, the second mine': (YOU, None, f'From: <{ME}>\r\nFrom: <{YOU}>\r\n' + REST),
    'C3 long lines between': (YOU, None, f'From: <{YOU}>\r\nX: {"a" * 990}\r\n' + ''.join(f' {"b" * 60}\r\n' for _ in range(40)) + f'From: <{ME}>\r\n' + REST),
    # where the header ends
    'no colon': (YOU, None, f'Subject: s\r\nno field\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'no colon, with an empty line before': (YOU, None, f'Subject: s\r\n\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'mbox': (YOU, None, f'From {YOU} Mon Jan  1 00:00:00 2024\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'no name': (YOU, None, f'Subject: s\r\n: <{YOU}>\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'a name with bytes': (YOU, None, f'Subject: s\r\nFr\u00f6m: <{YOU}>\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'NUL for a name': (YOU, None, f'Subject: s\r\nFrom\0: <{YOU}>\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'a blank line that is none': (YOU, None, f'Subject: s\r\n \t\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'goes on at once': (YOU, None, f'\tSubject: s\r\nFrom: <{ME}>\r\n\r\nbody\r\n'),
    'a dot first': (YOU, None, f'Subject: s\r\n..From: <{ME}>\r\n\r\n.\u00e9 body\r\n'),
    'no body': (YOU, None, f'From: <{ME}>\r\n'),
    'nothing': (YOU, None, ''),
    'only an empty line': (YOU, None, '\r\nFrom: <x@y.test>\r\n'),
}


def stuffed(message):
    return re.sub(rb'(?m)^\.', b'..', message)


def of_milter(m):
    """The message as a milter heard it: its header with the empty line, its body."""
    header = body = b''
    for k, d in m.heard:
        if k == 'L':
            name, value = d.split(b'\0')[:2]
            header += name + b':' + value.replace(b'\n', b'\r\n') + b'\r\n'
        elif k == 'B':
            body += d
    return header, body


def fields(data):
    while data:
        number, n = struct.unpack('!HH', data[:4])
        yield number, data[4:4 + n]
        data = data[4 + n:]


def of_pmilter(p):
    size = header = 0
    content = b''
    for k, d in p.heard:
        for number, value in fields(d) if k in (pmilterd.CONTENT, 'B') else ():
            if k == 'B' and number == pmilterd.F_DATA:
                content += value
            elif k != 'B' and number == 30:
                size = int.from_bytes(value, 'big')
            elif k != 'B' and number == 31:
                header = int.from_bytes(value, 'big')
    assert len(content) == size
    return content[:header], content[header:]


def told(header):
    """As milters are told a header: NUL is a blank, a blank before the colon is none, the empty line is not told."""
    header = header[:-2] if header.endswith(b'\r\n\r\n') or header == b'\r\n' else header
    return re.sub(rb'(?m)^([!-9;-~]+)[ \t]+:', rb'\1:', header.replace(b'\0', b' '))


def test_all_see_what_is_delivered(inst):
    edits = {'E': [milterd.add_header('X-Edited', ' yes'), b'c']}
    with milterd.Milter(protocol=LEADSPC) as m, pmilterd.Pmilter() as p, milterd.Milter(says=edits, protocol=LEADSPC) as e, \
            milterd.Milter(protocol=LEADSPC) as last, pmilterd.Pmilter() as plast, lab.Sink() as sink:
        chain = (f'filter m {{ module = milter; {m.socket} phase = verify; }} filter p {{ module = pmilter; {p.socket} phase = verify; }} '
                 f'filter e {{ module = milter; {e.socket} phase = modify; senders = {{ edited.test }}; }} '
                 f'filter last {{ module = milter; {last.socket} phase = sign; }} filter plast {{ module = pmilter; {plast.socket} phase = sign; }}')
        with lab.relay_all(inst, sink.port, smtps=f'policy_milter {{ module = mux; {chain} }}') as g, g.client() as c:
            for name, (sender, helo, text) in CASES.items():
                for edited in (False, True):
                    one(g, c, sink, (m, p, last, plast), name, 'x@edited.test' if edited else sender, helo, text.encode(), edited)


def one(g, c, sink, filters, name, sender, helo, message, edited):
    m, p, last, plast = filters
    for f in filters:
        f.heard.clear()
    reply = c.mail(sender, 'u@far.test', stuffed(message), ehlo=helo or 'client.test')
    assert reply.startswith('250'), (name, reply)
    id = re.search('accepted as (S[0-9A-F]+)', reply)[1].encode()
    got = lab.wait_for(f'{name} at the sink', lambda: next((x for x in list(sink.mails) if id in x['body']), None))
    assert got['from'] == sender
    out = re.sub(rb'(?m)^\.\.', b'.', got['body'])
    whole = re.sub(rb'(?s)\AReceived: .*?\r\n(?![ \t])', b'', out, count=1)
    # at the end all of it is what is delivered, and at the beginning what was said
    assert b''.join(of_pmilter(plast)) == whole, name
    header, body = of_pmilter(p)
    assert message in (header + body, header[:-2] + body), name  # an empty line is put in before what is no field
    # of both protocols, before and after edits: one end of the header
    for h, b, (mh, mb) in ((header, body, of_milter(m)), (*of_pmilter(plast), of_milter(last))):
        assert (mh, mb) == (told(h), b), name
    assert body == of_pmilter(plast)[1], name
    assert of_pmilter(plast)[0] == (add(header) if edited else header), name
    # who reads it later, by the first empty line
    assert whole.partition(b'\r\n\r\n')[2] == body or not whole.startswith(header) or header in (b'', b'\r\n') or not body, name
    read = email.message_from_bytes(whole, policy=email.policy.compat32)
    heard = [d.split(b'\0')[1] for k, d in last.heard if k == 'L' and d.split(b'\0')[0].lower() == b'from']
    assert len(read.get_all('from', [])) == len(heard) or 'blank' in name or 'folded' in name or 'NUL' in name or name in ('mbox', 'goes on at once'), name


def add(header):
    end = b'\r\n' if header.endswith(b'\r\n\r\n') or header == b'\r\n' else b''
    return header[:len(header) - len(end)] + b'X-Edited: yes\r\n' + end
