# SPDX-License-Identifier: BSD-2-Clause
"""Whose turn it is, seen from the next hops: limits of single destinations, and what is dead over a restart."""
import json, time

import lab, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'
CONF = 'map lim { type = text; file = "%s"; }'


def destinations(g):
    return {d['key']: d for d in json.loads(g.ctl('get', 'qmgr', '/v1/destinations', '--json').stdout)['destinations']}


def dead(g, port):
    return [d for k, d in destinations(g).items() if str(port) in k and d['dead_until']]


def test_dead_hosts_are_remembered(inst):
    """What was dead before a restart holds no slots after it; a broken memory is ignored."""
    port = lab.free_port()
    with lab.relay_all(inst, port) as g:
        with g.client() as c:
            c.mail('a@client.test', 'one@far.test', BODY)
        lab.wait_for('a dead destination', lambda: dead(g, port))
        until = dead(g, port)[0]['dead_until']
        g.stop()
        state = g.dir / 'q/state/destinations'
        assert state.read_text().endswith('end 1\n')
        with lab.Sink(port=port) as sink:
            g.start()
            assert abs(dead(g, port)[0]['dead_until'] - until) <= 2 and 'refused' in dead(g, port)[0]['reason']
            with g.client() as c:
                c.mail('a@client.test', 'two@far.test', BODY)
            lab.wait_for('it is put off', lambda: [r for m in g.queue() for r in m['recipients'] if r['address'] == 'two@far.test' and 'refused' in r['reason']])
            assert sink.connections == 0 and g.metrics('qmgr').get('deliveries_total', 0) == 0
            g.stop()
            for junk in (b'', b'\0\xff' * 500, state.read_bytes()[:-3], b'meta1 destinations 1\nx\t9999999999\t-5\t\nend 1\n',
                         b'meta1 destinations 1\nx\tnever\t5\t\nend 1\n', b'meta1 destinations 1\nend 1\n'):
                state.write_bytes(junk)
                before = g.log().count('qmgr.destinations')
                g.start()
                assert not dead(g, port) and g.log().count('qmgr.destinations') == before + 1, junk
                g.stop()
            g.start()
            g.ctl('queue', 'flush')
            sink.wait(2)


def test_limits_from_a_map(inst):
    """A rate is kept, a bad row is named once and ignored, and who has no row is not held up."""
    with lab.Sink() as sink:
        g = lab.relay_all(inst, sink.port, qmgr='conf { name = lim; }', smar='map lim { type = text; file = lim; }',
                          files={'lim': 'slow.test  rate = 2/1s;\nbad.test  rate = fast;\n.one.test  max_connections = 1; initial_connections = 1;\n'})
        times = []
        sink.answer = lambda verb, arg, ses: times.append((time.monotonic(), ses['rcpts'][0])) if verb == 'DATA' else None
        with g, g.client() as c:
            c.cmd('EHLO client.test', 250)
            for i in range(5):
                c.mail('a@client.test', f'u{i}@slow.test', BODY, ehlo=None)
            for i in range(3):
                c.mail('a@client.test', f'u{i}@bad.test', BODY, ehlo=None)
                c.mail('a@client.test', f'u{i}@x.one.test', BODY, ehlo=None)
                c.mail('a@client.test', f'u{i}@free.test', BODY, ehlo=None)
            sink.wait(14)
            slow = [t for t, r in times if 'slow' in r]
            others = [t for t, r in times if 'slow' not in r]
            assert slow[-1] - slow[0] >= 1.6, 'five at two in a second'
            assert max(others) < slow[2], 'nobody waits for a rate of another destination'
            assert len([l for l in g.log().splitlines() if 'qmgr.conf' in l and 'rate' in l]) == 1
            limits = {k.split('|')[0]: d for k, d in destinations(g).items()}
            assert limits['.one.test']['max_connections'] == 1 and limits['slow.test']['bounds'] == 'rate = 2/1s;'
            got = json.loads(g.ctl('route', 'y.one.test', '--json').stdout)
            assert got['limits_row'] == '.one.test'
            # the map is asked again when it has changed
            (g.dir / 'lim').write_text('free.test  max_connections = 7;\n')
            def free():
                c.mail('a@client.test', 'again@free.test', BODY, ehlo=None)
                return [d for k, d in destinations(g).items() if k.startswith('free.test|') and d['max_connections'] == 7]
            lab.wait_for('the new row', free)
