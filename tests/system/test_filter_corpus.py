# SPDX-License-Identifier: BSD-2-Clause
"""Mails that mean to be read differently by filters and by whoever reads them later, and odd ones (odd_mail.py): each filter, of
both protocols and before and after edits, sees the very bytes that are delivered, and for all of them the header ends at the
same place. A NUL in the header is no such byte: that mail is refused."""
import contextlib, os, re

import lab, milterd, milters, odd_mail
from witness import LEADSPC, Witnesses

FULL = bool(os.environ.get('META1_FULL'))
# name: (sender, HELO or None, message)
CASES = {**{n: (m['sender'] if re.fullmatch(r'[\w.]+@[\w.]+', m['sender']) else odd_mail.ME, m['helo'], m['message'].encode())
            for n, m in (odd_mail.FORGED | odd_mail.BY_USERS).items()},
         'null sender': ('', 'bank.test', f'From: <{odd_mail.HIM}>\r\n{odd_mail.REST}'.encode()),
         **{n: (odd_mail.ME, None, m) for n, m in (odd_mail.bytes_of(odd_mail.TRICKS) | odd_mail.ODD).items() if len(m) < 65536}}  # what scripts take at once


def test_all_see_what_is_delivered(inst):
    edits = {'E': [milterd.add_header('X-Edited', ' yes'), b'c']}
    with contextlib.ExitStack() as stack:
        w, sink = Witnesses(stack), stack.enter_context(lab.Sink())
        e = stack.enter_context(milterd.Milter(says=edits, protocol=LEADSPC))
        chain = f'{w.at_first} filter e {{ module = milter; {e.socket} phase = modify; senders = {{ edited.test }}; }} {w.at_last}'
        g = stack.enter_context(lab.relay_all(inst, sink.port, smtps=f'policy_milter {{ module = mux; {chain} }}'))
        c = stack.enter_context(g.client())
        for i, (name, (sender, helo, message)) in enumerate(CASES.items()):
            for edited in (False, True) if FULL or name in odd_mail.TRICKS else (bool(i % 2),):
                w.clear()
                sender = 'x@edited.test' if edited else sender
                reply = c.mail(sender, 'u@far.test', milters.stuffed(message), ehlo=helo or 'client.test')
                if odd_mail.nul(message):
                    assert reply.startswith('550 5.6.0 NUL in the header') and not [k for k, _ in w.m.heard if k in 'LNBE'], (name, reply)
                    continue
                assert reply.startswith('250'), (name, reply)
                id = re.search('accepted as (S[0-9A-F]+)', reply)[1].encode()
                got = lab.wait_for(f'{name} at the sink', lambda: next((x for x in list(sink.mails) if id in x['body']), None))
                assert got['from'] == sender
                w.agree(name, message, got, add if edited else lambda header: header)


def add(header):
    end = b'\r\n' if header.endswith(b'\r\n\r\n') or header == b'\r\n' else b''
    return header[:len(header) - len(end)] + b'X-Edited: yes\r\n' + end
