# SPDX-License-Identifier: BSD-2-Clause
"""Odd mail (odd_mail.py) that OpenDKIM signs behind us, in each canonicalization, verifies where it is delivered, by another
library: by LMTP at a sink, and by SMTP behind a real Postfix; as it came by DATA, and by BDAT through a whole chain before the
signers: a filter that adds what Rspamd adds, and the module headers with masquerading."""
import contextlib, re

import dkimd, lab, milterd, milters, odd_mail, pytest

CANONS = ('simple/simple', 'simple/relaxed', 'relaxed/simple', 'relaxed/relaxed')
RSPAMD = [b'i' + bytes(4) + b'Authentication-Results\0gw.test;\n\tdkim=none;\n\tarc=none\0', b'm' + bytes([0, 0, 0, 1]) + b'Subject\0[odd] t\0',
          milterd.add_header('X-Spamd-Result', 'default: False [1.20 / 15.00];\n\tMIME_GOOD(-0.10)[text/plain];\n\tARC_NA(0.00)[]'),
          milterd.add_header('X-Spamd-Bar', '+'), b'c']
FIELDS = '''filter fields { module = headers; phase = modify; listeners = whole; sender_file = "masquerade"; remove = { X-A, X-Spamd-Bar };
set = { "X-Set: once" }; add = { "X-Odd: yes" }; }'''
# there is no From in what is header of it, or none that a domain is found in; or OpenDKIM cannot read the signature that is there
UNSIGNED = {n for n in odd_mail.messages() if n.startswith(('a9 ', 'a11 ', 'a12 ', 'a13 ', 'no From', 'no colon', 'mbox', 'no name', 'a name with', 'goes on',
                                                            'a dot first', 'nothing', 'only an empty'))} | {'comment in d'}
# filters are told of no blank before a colon, and Postfix passes on none: there it verifies
AS_TOLD = {'a10 a blank behind the second', 'blank before the colon'}


class Signers:
    """A gateway: its port submission signs alone, whole is the whole chain, the first verifies."""

    def __init__(self, inst, key, stack):
        self.key = key
        self.local, self.far = stack.enter_context(lab.Sink(lmtp=True)), stack.enter_context(lab.Sink())
        pf = stack.enter_context(lab.Postfix(self.far.port, 'local_header_rewrite_clients =\n'))
        adder = stack.enter_context(milterd.Milter(says={'E': RSPAMD}))
        domains = ('example.org', 'bank.test', 'attack.test', 'masked.test')
        signers = [stack.enter_context(dkimd.Opendkim(key, c, domains, everybody=True)) for c in CANONS]
        self.ports = {w: lab.free_port() for w in ('submission', 'whole')}
        chain = f'filter adder {{ module = milter; {adder.socket} listeners = whole; }} {FIELDS}' + ''.join(
            f'filter sign{i} {{ module = milter; phase = sign; listeners = {{ submission, whole }}; socket {{ path = "{s.socket}"; }} }} '
            for i, s in enumerate(signers)) + f'filter verify {{ module = milter; phase = verify; listeners = mx; socket {{ path = "{signers[0].socket}"; }} }}'
        g = lab.relay_all(inst, 0, mt=f'pf.test [127.0.0.1]:{pf.port}\n. lmtp:[127.0.0.1]:{self.local.port}\n', files={'masquerade': 'attack.test masked.test\n'},
                          smtps=f'LISTEN policy_milter {{ module = mux; {chain} }}')
        g.conf.write_text(re.sub(r'listen_socket \{.*?\} ', '', g.conf.read_text()).replace('LISTEN', ' '.join(
            f'listen_socket {n} {{ address = 127.0.0.1; port = {p}; }}' for n, p in {'mx': g.port, **self.ports}.items())))
        self.gw = stack.enter_context(g)

    def send(self, mails, port, bdat):
        """name -> the id of each, all in one session."""
        head = ''.join(f'{x}\r\n' for x in ('MAIL FROM:<ann@attack.test> BODY=8BITMIME', 'RCPT TO:<u@far.test>', 'RCPT TO:<u@pf.test>')).encode()
        ids = {}
        with lab.Client(('127.0.0.1', port)) as c:
            c.cmd('EHLO client.test', 250)
            if bdat:
                c.send(b''.join(head + b'BDAT %d LAST\r\n' % len(m) + m for m in mails.values()))
            for name, m in mails.items():
                if not bdat:
                    c.send(head + b'DATA\r\n')
                for code in (250, 250, 250, *(() if bdat else (354,))):
                    c.reply(code)
                if not bdat:
                    c.send(milters.stuffed(m) + b'.\r\n')
                ids[name] = re.search('accepted as (S[0-9A-F]+)', c.reply(250))[1]
        return ids

    def arrived(self, ids, sink):
        """name -> what that sink has of it, without what LMTP and Postfix put above it."""
        def of_sink():
            found = {}
            for m in list(sink.mails):
                found[re.search(rb'by gw\.test .*?id (S[0-9A-F]+)', m['body'], re.S)[1].decode()] = m
            return all(i in found for i in ids.values()) and found
        found = lab.wait_for('all of it at the sink', of_sink)
        return {n: re.sub(rb'\A(?:Received: .*?by pf\.test.*?|Return-Path: .*?)\r\n(?![ \t])', b'', milters.content(found[i]), flags=re.S) for n, i in ids.items()}


@pytest.fixture(scope='module')
def s(inst):
    with contextlib.ExitStack() as stack:
        yield Signers(inst, stack.enter_context(dkimd.key()), stack)


def canons(mail):
    """Of the signatures of ours, from above."""
    fields = re.findall(rb'^DKIM-Signature: (?:[^\r]|\r\n[ \t])*', mail, re.M)
    return [re.search(rb'c=(\S+);', f)[1].decode() for f in fields if b' s=mail;' in f]


@pytest.mark.parametrize('way', ['submission', 'whole'])
def test_it_verifies(s, way):
    mails = {n: m for n, m in odd_mail.messages().items() if not odd_mail.nul(m)}
    ids = s.send(mails, s.ports[way], way == 'whole')
    got, far = s.arrived(ids, s.local), s.arrived(ids, s.far)
    for name, mail in got.items():
        assert sorted(canons(mail)) == ([] if name in UNSIGNED else sorted(CANONS)), (name, mail[:2000])
        assert [dkimd.verified(mail, s.key[1], i) for i in range(4)] == [name not in UNSIGNED | AS_TOLD] * 4, (name, mail[:3000])
        assert far[name] == mail or name in AS_TOLD and all(dkimd.verified(far[name], s.key[1], i) for i in range(4)), (name, far[name][:3000])


def test_it_verifies_when_it_comes_back(s):
    """By OpenDKIM itself, what is odd and honest: all four."""
    mails = s.arrived(s.send(odd_mail.ODD, s.ports['submission'], False), s.local)
    back = s.arrived(s.send(mails, s.gw.port, False), s.local)
    for name, mail in back.items():
        results = re.findall(rb'^Authentication-Results: mx\.example\.org;(?:[^\r]|\r\n[ \t])*', mail, re.M)
        assert len(results) == 1 and results[0].count(b'dkim=pass') == 4, (name, results)
