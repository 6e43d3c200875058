# SPDX-License-Identifier: BSD-2-Clause
"""Limits of smtps: what one client may take, over all processes and sections; several listeners."""
import contextlib, json, os, re, signal, socket

import lab, pytest


def listen(name, port, kind='inet', address='127.0.0.1'):
    return f'listen_socket {name} {{ type = {kind}; address = "{address}"; port = {port}; }} '


def gateway(inst, smtps='', **kw):
    return lab.relay_all(inst, 9, smtps=smtps, **kw)


def sessions(g, role='smtps'):
    return json.loads(g.http(role, 'GET', '/v1/sessions')[1])['sessions']


def connect(g, source='127.0.0.1', n=1, port=None):
    return [lab.Client(('127.0.0.1', port or g.port), source=source) for _ in range(n)]


def settled(g, roles):
    """No session is left of the start's probes."""
    lab.wait_for('no session', lambda: not sum((sessions(g, r) for r in roles), []))


def test_client_limits_are_of_all_processes(inst):
    """Three processes and a section more count one client together; kill -9 gives back what the dead one held."""
    other = lab.free_port()
    limits = 'client_limits { max_connections = 5; exempt = 127.0.0.1; } '
    g = gateway(inst, f'processes = 3; {limits}', env={'META1_BACKOFF_MAX_MS': '100'})
    g.conf.write_text(g.conf.read_text() + f'smtps second {{ path = "{g.bin}/libexec/smtps"; '
                      f'{listen("a", other)} {limits} }}\n')
    roles = ['smtps', 'smtps.1', 'smtps.2', 'smtps-second']
    with g:
        settled(g, roles)
        mine = connect(g, '127.0.0.2', 3) + connect(g, '127.0.0.2', 2, other)
        for port in (g.port, other) * 4:  # whichever process it is
            [c] = connect(g, '127.0.0.2', port=port)
            assert c.greeting.startswith('421 4.7.0 gw.test: you have too many connections'), c.greeting
            assert c.closed()
        line = r'smtps.client_limit session=\d+ client=127.0.0.2 limit=max_connections count=6'
        lab.wait_for('a line each', lambda: len(re.findall(line, g.log())) == 8)
        more = connect(g, '127.0.0.3', 5) + connect(g, '127.0.0.1', 7)  # others have their own; one has none
        assert all(c.greeting.startswith('220') for c in mine + more)
        # one goes: one may come
        mine.pop().s.close()
        lab.wait_for('a place', lambda: connect(g, '127.0.0.2', port=other)[0].greeting.startswith('220'))
        # a process dies with what it held
        held = {r: [s for s in sessions(g, r) if s['client'] == '127.0.0.2'] for r in roles}
        victim = max(roles[:3], key=lambda r: len(held[r]))
        pid = json.loads(g.http(victim, 'GET', '/v1/status')[1])['pid']
        os.kill(pid, signal.SIGKILL)
        lab.wait_for('its successor', lambda: json.loads(g.http(victim, 'GET', '/v1/status')[1])['pid'] != pid)
        settled_in = lab.wait_for('free places', lambda: connect(g, '127.0.0.2', port=other)[0].greeting.startswith('220'))
        assert settled_in


def test_client_rate(inst):
    with gateway(inst, 'client_limits { max_connection_rate = 4; exempt = 127.0.0.1; ipv4_prefix = 24; }') as g:
        got = []
        for i in range(7):
            [c] = connect(g, f'127.0.7.{i + 1}')
            got.append(c.greeting[:9])
            c.s.close()
        assert [x[:3] for x in got] == ['220'] * 4 + ['421'] * 3 and got[4] == '421 4.7.0'
        g.wait_log('limit=max_connection_rate')
        assert g.metrics('smtps')['refused_client_rate_total'] == 3
        assert connect(g, '127.0.8.1')[0].greeting.startswith('220')


def test_the_given_identity_is_counted(inst):
    """The balancer is no client; those for whom it speaks are, by PROXY and by XCLIENT alike."""
    limits = 'client_limits { max_connections = 2; exempt = 192.0.2.99; } '
    with gateway(inst, limits + 'proxy_protocol { mode = allow; trusted = 127.0.0.9; } xclient = 127.0.0.1;') as g:
        def proxied(client):
            c = lab.Client(('127.0.0.1', g.port), greet=False, source='127.0.0.9')
            c.send(f'PROXY TCP4 {client} 198.51.100.1 1000 25\r\n')
            c.greeting = c.reply()
            return c
        two = [proxied('192.0.2.1'), proxied('192.0.2.1')]
        assert [c.greeting[:3] for c in two] == ['220', '220']
        assert proxied('192.0.2.1').greeting.startswith('421 4.7.0')
        others = [proxied(f'192.0.2.{i}') for i in range(2, 8)]
        assert all(c.greeting.startswith('220') for c in others)
        trusted = connect(g, '127.0.0.1', 5)
        assert all(c.greeting.startswith('220') for c in trusted)
        c = trusted.pop()
        c.cmd('EHLO x', 250)
        assert c.cmd('XCLIENT ADDR=192.0.2.1').startswith('421 4.7.0') and c.closed()
        two.pop().s.close()
        lab.wait_for('one less', lambda: len([s for s in sessions(g) if s['client'] == '192.0.2.1']) == 1)
        trusted[0].cmd('XCLIENT ADDR=192.0.2.1', 220)
        assert proxied('192.0.2.1').greeting.startswith('421 4.7.0')
        trusted[0].cmd('XCLIENT ADDR=192.0.2.50', 220)  # it is somebody else now
        assert proxied('192.0.2.1').greeting.startswith('220')
