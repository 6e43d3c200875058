# SPDX-License-Identifier: BSD-2-Clause
"""The flags of the sections that use maps, each seen from outside with and without it."""
import contextlib

import lab, pytest

FILES = {'us': 'ann@own.test yes\nbob yes\nzed@own.test yes\n',
         'al': 'box@own.test one@far.test\nbox two@far.test\nmac ${user}.x@far.test\nbare bob\n',
         'vi': 'v@virt.test tom\ntom@virt.test tim@far.test\nm@virt.test ${user}.y@far.test\n'}
# the two ways: all that is not the default, and the other way round
ON = {'aliases': 'localpart, full_address, replace_macros, preserve_domain, keep_detail', 'local_user_map': 'localpart, full_address, local_domains',
      'virtual_aliases': 'replace_macros, preserve_domain, keep_detail', 'sender_routes': 'replace_macros'}
OFF = {'aliases': 'localpart, local_domains, dont_implicitly_match_detail', 'local_user_map': 'localpart, dont_implicitly_match_detail',
       'virtual_aliases': 'dont_implicitly_match_detail', 'sender_routes': 'dont_implicitly_match_detail'}


@contextlib.contextmanager
def gateway(inst, flags):
    with lab.Sink(lmtp=True) as store, lab.Sink() as far, lab.Sink() as own, lab.Sink(address='127.0.0.7', port=own.port) as seven:
        smar = ''.join(f'map {m} {{ type = text; file = "{m}"; }} {s} {{ name = {m}; flags = {{ {flags[s]} }}; }} '
                       for s, m in (('aliases', 'al'), ('local_user_map', 'us'), ('virtual_aliases', 'vi'), ('sender_routes', 'sr'))) + 'virtual_domains = virt.test;'
        files = {**FILES, 'sr': f'ann@b.test [127.0.0.1]:{own.port}\n.c.test [127.0.0.${{subdomain}}]:{own.port}\n'}
        with lab.relay_all(inst, 0, smar=smar, files=files, mt=f'own.test lmtp:[127.0.0.1]:{store.port}\ngw.test lmtp:[127.0.0.1]:{store.port}\n'
                           f'. [127.0.0.1]:{far.port}\n') as g:
            g.sinks = {'store': store, 'far': far, 'own': own, 'seven': seven}
            yield g


def goes(g, rcpt, sender='s@a.test'):
    """Where the mail to it came out, and for whom; or the reply that refused it."""
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd(f'MAIL FROM:<{sender}>', 250)
        said = c.cmd(f'RCPT TO:<{rcpt}>')
        if not said.startswith('250'):
            return said[:9]
        c.cmd('DATA', 354)
        c.send('Subject: x\r\n\r\n.\r\n')
        c.reply(250)
    lab.wait_for('the mail', lambda: any(s.mails for s in g.sinks.values()))
    g.queue_empty()
    got = [f'{name} {r}' for name, s in g.sinks.items() for m in s.mails for r in m['rcpts']]
    for s in g.sinks.values():
        s.mails.clear()
    return ' '.join(got)


@pytest.mark.parametrize('flags, cases', ((ON, {
    'box@own.test': 'far one@far.test', 'box+d@own.test': 'far one+d@far.test', 'mac@own.test': 'far mac.x@far.test', 'bare@own.test': 'store bob@own.test',
    'box@else.test': 'far two@far.test', 'v@virt.test': 'far tim@far.test', 'v+d@virt.test': 'far tim+d@far.test', 'm@virt.test': 'far m.y@far.test',
    'ann@own.test': 'store ann@own.test', 'bob+x@own.test': 'store bob+x@own.test', 'who@else.test': 'far who@else.test'}), (OFF, {
    'box@own.test': 'far two@far.test', 'box+d@own.test': '550 5.1.1', 'mac@own.test': 'far ${user}.x@far.test', 'bare@own.test': 'store bob@gw.test',
    'box@else.test': '550 5.1.1', 'v@virt.test': 'store tom@gw.test', 'v+d@virt.test': '550 5.1.1', 'ann@own.test': '550 5.1.1',
    'bob@own.test': 'store bob@own.test', 'bob+x@own.test': '550 5.1.1', 'who@else.test': '550 5.1.1'})), ids=('on', 'off'))
def test_recipients(inst, flags, cases):
    with gateway(inst, flags) as g:
        assert {r: goes(g, r) for r in cases} == cases


def test_senders(inst):
    with gateway(inst, ON) as g:
        assert goes(g, 'u@else.test', 'ann+x@b.test') == 'own u@else.test'
        assert goes(g, 'u@else.test', 'x@7.c.test') == 'seven u@else.test'
    with gateway(inst, {**ON, 'sender_routes': OFF['sender_routes']}) as g:
        assert goes(g, 'u@else.test', 'ann@b.test') == 'own u@else.test'
        assert goes(g, 'u@else.test', 'ann+x@b.test') == 'far u@else.test'
