# SPDX-License-Identifier: BSD-2-Clause
"""Credits and counts after many kills of each role alone: all return to what they are when idle, so
nothing is lost by and by until mail stops; and descriptors do not heap up."""
import json, os, signal

import lab
from test_faults import SLOW, queue
from test_kill import Load

IDLE = {'smtps': {'transactions_now': 0}, 'smtpc': {'deliveries_active': 0},
        'qmgr': {'queued_messages_now': 0, 'active_recipients_now': 0, 'deliveries_now': 0}}


def idle(g):
    try:
        for role, values in IDLE.items():
            m = g.metrics(role)
            if any(m[k] != v for k, v in values.items()):
                return None
        return {'credits': g.metrics('smtps')['intake_credits_now'],
                'descriptors': {r: len(os.listdir(f'/proc/{p}/fd')) for r, p in g.pids().items() if r != 'mcp'}}
    except (OSError, KeyError):
        return None


def test_counts_return_to_idle(inst, sink):
    with lab.relay_all(inst, sink.port, qmgr=queue() + SLOW, env={'META1_BACKOFF_MAX_MS': '100'}) as g:
        before = lab.wait_for('an idle server', lambda: idle(g))
        clients = [Load(g, i) for i in range(6)]
        for c in clients:
            c.start()
        for victim in ('smtpc', 'smar', 'smtps', 'qmgr') * 5:
            seen = sum(len(c.acked) for c in clients)
            lab.wait_for('mail to flow', lambda: sum(len(c.acked) for c in clients) > seen + 10, 30)
            old = g.pids()[victim]
            os.kill(old, signal.SIGKILL)
            lab.wait_for(f'a new {victim}', lambda: g.pids().get(victim, old) != old, 30)
        for c in clients:
            c.run_on = False
        for c in clients:
            c.join(30)
        g.ready()
        g.ctl('queue', 'flush')
        lab.wait_for('an empty queue', lambda: not g.queue() or g.ctl('queue', 'flush') and False, 40)
        after = lab.wait_for('an idle server', lambda: idle(g), 40)
        # credits are granted again when a quarter of the window is used
        assert 750 <= after['credits'] <= before['credits'], (before, after)
        # smtpc and qmgr may keep segments and connections for some seconds
        lab.wait_for(f'as few descriptors as before ({before})', lambda: all(
            n <= before['descriptors'][r] + 6 for r, n in (idle(g) or after)['descriptors'].items()), 40)
        destinations = json.loads(g.http('qmgr', 'GET', '/v1/destinations')[1])['destinations']
        assert all(d['active'] == d['waiting'] == 0 for d in destinations), destinations
        n = len(sink.mails)
        with g.client() as c:
            assert c.mail('a@load.test', 'last@far.test', b'Subject: last\r\n\r\n').startswith('250')
        lab.wait_for('the last mail', lambda: any(m['rcpts'] == ['last@far.test'] for m in sink.mails[n:]))
