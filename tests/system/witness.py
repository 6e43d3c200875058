# SPDX-License-Identifier: BSD-2-Clause
"""witness.py -- filters of both protocols at the begin and at the end of a chain, which keep what they hear, and what must hold
of that and of the mail that is delivered."""
import email, email.policy, re, struct

import milterd, pmilterd

LEADSPC = 0x100000
NOT_ALIKE = ('blank', 'folded', 'NUL', 'twice', 'mbox', 'goes on at once')  # names of mails that the reader below takes otherwise


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


class Witnesses:
    """first and last are the filters for the configuration."""

    def __init__(self, stack):
        def filters(phase, m, p):
            return (f'filter {phase}_m {{ module = milter; {m.socket} phase = {phase}; }} '
                    f'filter {phase}_p {{ module = pmilter; {p.socket} phase = {phase}; }} ')
        self.m, self.last = (stack.enter_context(milterd.Milter(protocol=LEADSPC)) for _ in range(2))
        self.p, self.plast = (stack.enter_context(pmilterd.Pmilter()) for _ in range(2))
        self.at_first, self.at_last = filters('verify', self.m, self.p), filters('sign', self.last, self.plast)

    def clear(self):
        for f in (self.m, self.p, self.last, self.plast):
            f.heard.clear()

    def agree(self, name, message, mail, edited=None):
        """On the message as it was said, and as a sink has it. edited(header): what became of the header; None: there are fields above it."""
        out = re.sub(rb'(?m)^\.\.', b'.', mail['body'])
        whole = re.sub(rb'(?s)^Received: (?:(?!\r\n[^ \t]).)*?\r\n(?![ \t])', b'', out, count=1, flags=re.M) if edited is None else \
            re.sub(rb'(?s)\AReceived: .*?\r\n(?![ \t])', b'', out, count=1)
        # at the end all of it is what is delivered, and at the beginning what was said
        assert b''.join(of_pmilter(self.plast)) == whole, name
        header, body = of_pmilter(self.p)
        said = (header + body, header[:-2] + body)  # an empty line is put in before what is no field
        assert message in said or edited is None and any(s.endswith(message) for s in said), name
        # of both protocols, before and after edits: one end of the header
        for h, b, (mh, mb) in ((header, body, of_milter(self.m)), (*of_pmilter(self.plast), of_milter(self.last))):
            assert (mh, mb) == (told(h), b), name
        assert body == of_pmilter(self.plast)[1], name
        end = of_pmilter(self.plast)[0]
        assert end == edited(header) if edited else end.endswith(header), name
        # who reads it later, by the first empty line
        assert whole.partition(b'\r\n\r\n')[2] == body or not whole.startswith(header) or header in (b'', b'\r\n') or not body, name
        read = email.message_from_bytes(whole, policy=email.policy.compat32)
        heard = [d.split(b'\0')[1] for k, d in self.last.heard if k == 'L' and d.split(b'\0')[0].lower() == b'from']
        assert len(read.get_all('from', [])) == len(heard) or any(w in name for w in NOT_ALIKE), name
