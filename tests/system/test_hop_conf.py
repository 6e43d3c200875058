# SPDX-License-Identifier: BSD-2-Clause
"""Options of smtpc for single next hops and recipients: rows smtpc_session_conf: and smtpc_rcpt_conf: of the access
map, in the configuration's own syntax."""
import contextlib, json

import lab

BODY = b'Subject: t\r\n\r\nhello\r\n'
WIDE = b'Subject: t\r\n\r\nh\xc3\xa9llo\r\n'
ALL = ('PIPELINING', '8BITMIME', 'SIZE 0', 'DSN', 'ENHANCEDSTATUSCODES')
RELAY = 'cltaddr:127.0.0.1 RELAY\n'


@contextlib.contextmanager
def gateway(inst, rows, smtpc='idle_timeout = 1m;', flags='session_conf, rcpt_conf', qmgr='', **sinks):
    """A next hop for each domain NAME.test: at 127.0.0.2 the first, at 127.0.0.3 the second and so on."""
    with contextlib.ExitStack() as stack:
        hop, mt = {}, ''
        for i, (name, args) in enumerate(sinks.items()):
            hop[name] = stack.enter_context(lab.Sink(**{'ehlo': ALL, **args}, address=f'127.0.0.{i + 2}'))
            mt += f'{name}.test [127.0.0.{i + 2}]:{hop[name].port}\n'
        g = stack.enter_context(lab.relay_all(inst, 0, mt=mt, ac=RELAY + rows, qmgr=qmgr, smtpc=f'flags = {{ {flags} }}; {smtpc}'))
        g.hop = hop
        yield g


def send(g, rcpts, body=BODY, params='', sender='a@one.test'):
    with g.client() as c:
        assert c.mail(sender, rcpts, body, params=params).startswith('250')


def helo(sink):
    return [arg for verb, arg in sink.commands if verb in ('EHLO', 'LHLO')]


def test_one_hop_and_not_another(inst):
    rows = ('smtpc_session_conf:127.0.0.2 helo_name = out.example; source_ipv4 = 127.0.0.9; '
            'extensions = { dont_pipelining, dont_size, dont_dsn };\n')
    with gateway(inst, rows, one={}, two={}) as g:
        send(g, ['u@one.test', 'u@two.test'], params=' RET=HDRS')
        one, two = g.hop['one'].wait(1)[0], g.hop['two'].wait(1)[0]
        g.queue_empty()
        assert (helo(g.hop['one']), helo(g.hop['two'])) == (['out.example'], ['gw.test'])
        assert (g.hop['one'].peers, g.hop['two'].peers) == (['127.0.0.9'], ['127.0.0.1'])
        assert one['params'] == '' and 'SIZE=' in two['params'] and 'RET=HDRS' in two['params'], (one, two)
        assert g.hop['one'].ahead == 0 and g.hop['two'].ahead > 0


def test_no_utf8_and_over_ipv6(inst):
    """A hop whose SMTPUTF8 is not to be used gets no mail that needs it; an IPv6 host is reached from the address that is said."""
    rows = 'smtpc_session_conf:127.0.0.2 extensions = dont_smtputf8;\n'
    offer = (*ALL, 'SMTPUTF8')
    with lab.Sink(address='::1') as six, gateway(inst, rows, smtpc='source_ipv6 = "::1";', qmgr='min_retry_delay = 200ms; max_retry_delay = 200ms;',
                                                 one={'ehlo': offer}, two={'ehlo': offer}) as g:
        (g.dir / 'mt').write_text((g.dir / 'mt').read_text() + f'six.test [IPv6:::1]:{six.port}\n')
        lab.wait_for('the new row', lambda: f'::1 {six.port}' in g.ctl('--json', 'route', 'six.test').stdout)
        send(g, 'u@six.test')
        assert six.wait(1)[0]['rcpts'] == ['u@six.test'] and six.peers == ['::1']
        send(g, ['u@one.test', 'u@two.test'], params=' SMTPUTF8', sender='\u00fc@two.test')
        assert g.hop['two'].wait(1)[0]['rcpts'] == ['u@two.test'] and 'SMTPUTF8' in g.hop['two'].mails[0]['params']
        report = lab.wait_for('the report', lambda: [m['body'] for m in g.hop['two'].mails if m['from'] == ''])[0]
        assert not g.hop['one'].mails and b'u@one.test' in report and b'5.6.7' in report


def test_the_section_says_it_for_all(inst):
    with gateway(inst, '', smtpc='helo_name = all.example; source_ipv4 = 127.0.0.8; extensions = dont_size;', flags='', one={}) as g:
        send(g, 'u@one.test')
        assert 'SIZE=' not in g.hop['one'].wait(1)[0]['params']
        assert helo(g.hop['one']) == ['all.example'] and g.hop['one'].peers == ['127.0.0.8']


def test_recipients(inst):
    """Those with another row go in a transaction of their own; a session serves whom it fits."""
    rows = ('smtpc_rcpt_conf:vip@one.test helo_name = vip.example;\n'
            'smtpc_rcpt_conf:size@one.test extensions = dont_size;\n'
            'smtpc_session_conf:127.0.0.2 helo_name = hop.example; idle_timeout = 50s;\n'
            'smtpc_rcpt_conf:two.test no_8bitmime = bounce;\n')
    with gateway(inst, rows, one={}, two={'ehlo': ('SIZE 0',)}, three={'ehlo': ('SIZE 0',)}) as g:
        send(g, ['u@one.test', 'vip@one.test', 'size@one.test', 'v@one.test'])
        by = {','.join(sorted(m['rcpts'])): 'SIZE=' in m['params'] for m in g.hop['one'].wait(3)}
        assert by == {'u@one.test,v@one.test': True, 'vip@one.test': True, 'size@one.test': False}
        g.queue_empty()
        assert set(helo(g.hop['one'])) == {'vip.example', 'hop.example'}, 'the row of a recipient goes before that of the hop'
        n = g.hop['one'].connections
        for i, to in enumerate(('vip@one.test', 'size@one.test', 'u@one.test')):
            send(g, to)
            g.hop['one'].wait(4 + i)
            g.queue_empty()
        assert g.hop['one'].connections == n, 'kept sessions are used, each by mail that it fits'
        send(g, ['u@two.test', 'u@three.test'], WIDE, params=' BODY=8BITMIME')
        report = g.hop['one'].wait(7)[-1]['body']
        assert b'5.6.3' in report and b'u@two.test' in report and b'u@three.test' not in report
        assert len(g.hop['three'].wait(1)) == 1 and not g.hop['two'].mails


def test_a_changed_map(inst):
    with gateway(inst, 'smtpc_session_conf:127.0.0.2 helo_name = first.example;\n', one={}) as g:
        send(g, 'u@one.test')
        g.hop['one'].wait(1)
        (g.dir / 'ac').write_text(RELAY + 'smtpc_session_conf:127.0.0.2 helo_name = second.example;\n')

        def changed():
            send(g, 'u@one.test')
            g.queue_empty()
            return 'second.example' in helo(g.hop['one'])
        lab.wait_for('the new row, though the first session is kept', changed)
        assert set(helo(g.hop['one'])) == {'first.example', 'second.example'}


def test_bad_rows_are_named_and_hold_nothing(inst):
    bad = {'2': ('helo_name = other.example; IO_timeot = 5m;', 'did you mean IO_timeout'),
           '3': ('helo_name = other.example; connect_timeout = 2d;', 'connect_timeout: '),
           '4': ('include "/etc/passwd";', 'include'),
           '5': ('source_ipv4 = 192.0.2.250;', 'Cannot assign requested address'),
           '6': ('helo_name = "' + 'x' * 600 + '";', 'longer than 512 bytes')}
    rows = ''.join(f'smtpc_session_conf:127.0.0.{n} {text}\n' for n, (text, _) in bad.items())
    rows += 'smtpc_rcpt_conf:u@f.test extensions = dont_everything;\n'
    with gateway(inst, rows, a={}, b={}, c={}, d={}, e={}, f={}) as g:
        send(g, [f'u@{x}.test' for x in 'abcdef'])
        for x in 'abcdef':
            g.hop[x].wait(1)
            assert helo(g.hop[x]) == ['gw.test'] and g.hop[x].peers == ['127.0.0.1']
        g.queue_empty()
        for n, (_, why) in bad.items():
            g.wait_log(rf'smar\.hop_conf .*key=smtpc_session_conf:127\.0\.0\.{n} .*{why}')
        g.wait_log(r'smar\.hop_conf .*key=smtpc_rcpt_conf:u@f\.test .*extensions')
        assert g.metrics('smar')['hop_conf_bad_total'] >= 6
        got = json.loads(g.ctl('--json', 'route', 'u@f.test').stdout)
        assert [(r['row'], r['text'], r['recipient']) for r in got['rows']] == [('smtpc_rcpt_conf:u@f.test', '', True)]
        assert 'dont_everything' in got['rows'][0]['error']


def test_time_outs(inst):
    """A silent host with a short time-out of its own: the mail is with the next one long before the section's."""
    with lab.Sink(address='127.0.0.2', answer=lambda verb, *_: 'silence' if verb == 'MAIL' else None) as silent, lab.Sink() as good:
        mt = f'one.test [127.0.0.2]:{silent.port} [127.0.0.1]:{good.port}\n'
        with lab.relay_all(inst, 0, mt=mt, ac=RELAY + 'smtpc_session_conf:127.0.0.2 IO_timeout = 1s;\n',
                           smtpc='flags = session_conf; IO_timeout = 1d;') as g:
            send(g, 'u@one.test')
            good.wait(1)
            g.queue_empty()


def test_admins_see_them(inst):
    rows = ('smtpc_session_conf:127.0.0.2 helo_name = out.example;\n'
            'smtpc_rcpt_conf:vip@one.test extensions = dont_size;\n')
    with gateway(inst, rows, one={}, two={}) as g:
        got = json.loads(g.ctl('--json', 'route', 'one.test').stdout)
        assert got['rows'] == [{'row': 'smtpc_session_conf:127.0.0.2', 'text': 'helo_name = out.example;', 'error': '',
                                'recipient': False, 'hops': got['hops']}]
        assert [r['row'] for r in json.loads(g.ctl('--json', 'route', 'vip@one.test').stdout)['rows']] == [
            'smtpc_session_conf:127.0.0.2', 'smtpc_rcpt_conf:vip@one.test']
        assert json.loads(g.ctl('--json', 'route', 'two.test').stdout)['rows'] == []
        text = g.ctl('explain', '--ip', '127.0.0.1', '--from', 'a@b.test', '--to', 'vip@one.test').stdout
        assert 'options by smtpc_session_conf:127.0.0.2: helo_name = out.example;' in text
        assert 'options by smtpc_rcpt_conf:vip@one.test: extensions = dont_size;' in text


def test_what_is_not_used_is_not_offered(inst):
    """smtps learns from smar what a hop takes: what its row forbids to use counts as not offered."""
    rows = 'smtpc_session_conf:127.0.0.2 extensions = { dont_8bitmime, dont_dsn };\n'
    with gateway(inst, rows, one={}) as g:
        send(g, 'u@one.test')
        g.hop['one'].wait(1)
        g.queue_empty()
        seen = lab.wait_for('what smtpc told', lambda: json.loads(g.ctl('--json', 'route', 'one.test').stdout).get('offers'))
        assert seen == ['PIPELINING', 'SIZE']
