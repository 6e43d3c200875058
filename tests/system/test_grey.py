# SPDX-License-Identifier: BSD-2-Clause
"""Greylisting as clients, admins and the disk see it."""
import json, os, re, signal, subprocess

import lab, pytest

BODY = 'Subject: t\r\n\r\nhello\r\n'
MT = 'own.test lmtp:[127.0.0.1]:{port}\nopen.test lmtp:[127.0.0.1]:{port}\n. [127.0.0.1]:{port}\n'
AC = '''cltaddr:127.0.0.9 RELAY
cltaddr:127.7 OK
from:quick.test QUICK:OK
to:friend@own.test OK
to:far.test RELAY
'''
AL = 'team u1@own.test, v1@far.test\n'
EXEMPT = 'cltaddr:127.8 OK\nto:open.test OK\nto:shut@open.test CONT\nfrom:known.test OK\nfrom:odd.test yes\n'


def gateway(inst, port, options='', **kw):
    return lab.relay_all(inst, port, mt=MT.format(port=port), ac=AC, files={'ex': EXEMPT, 'al': AL}, smar=(
        'map al { type = text; file = "al"; } aliases { name = al; flags = { localpart, local_domains }; } '
        f'map ex {{ type = text; file = "ex"; }}\ngreylisting {{ {options} exempt {{ name = ex; }} }}'), **kw)


def rcpt(g, client, sender, to):
    with lab.Client(('127.0.0.1', g.port), source=client) as c:
        c.cmd('EHLO c.test', 250)
        c.cmd(f'MAIL FROM:<{sender}>', 250)
        return c.cmd(f'RCPT TO:<{to}>')


def passes(g, client, sender, to):
    lab.wait_for(f'{client} {sender} passes', lambda: rcpt(g, client, sender, to).startswith('250'))


@pytest.fixture(scope='module')
def gw(inst):
    """Waits that nobody lives to see the end of."""
    with lab.Sink() as sink, gateway(inst, sink.port, 'grey_wait = 1h; auto_white = 2;') as g:
        g.sink = sink
        yield g


@pytest.mark.parametrize('client, sender, to, want', [
    ('127.1.1.1', 'a@b.test', 'u@own.test', '450 4.7.1 greylisted, try again in 3'),
    ('127.1.1.99', 'a@b.test', 'u@own.test', '450 4.7.1 greylisted'),
    ('127.1.1.1', '', 'u@own.test', '450 4.7.1 greylisted'),
    ('127.1.1.1', 'a@b.test', 'u@far.test', '450 4.7.1 greylisted'),
    ('127.1.1.1', 'a@b.test', 'team@own.test', '450 4.7.1 greylisted'),
    # whoever may relay, and what rows of access exempt
    ('127.0.0.9', 'a@b.test', 'u@own.test', '250'),
    ('127.0.0.9', 'a@b.test', 'u@elsewhere.test', '250'),
    ('127.7.1.1', 'a@b.test', 'u@own.test', '250'),
    ('127.1.1.1', 'a@quick.test', 'u@own.test', '250'),
    ('127.1.1.1', 'a@b.test', 'friend@own.test', '250'),
    ('127.1.1.1', 'a@b.test', 'friend+x@own.test', '250'),
    # the map of exempt
    ('127.8.1.1', 'a@b.test', 'u@own.test', '250'),
    ('127.1.1.1', 'a@b.test', 'u@open.test', '250'),
    ('127.1.1.1', 'a@b.test', 'shut@open.test', '450 4.7.1'),
    ('127.1.1.1', 'a@known.test', 'u@own.test', '250'),
    ('127.1.1.1', 'a@odd.test', 'u@own.test', '450 4.7.1'),
    # postmaster; and a refusal comes first
    ('127.1.1.1', 'a@b.test', 'postmaster', '250'),
    ('127.1.1.1', 'a@b.test', 'postmaster@own.test', '250'),
    ('127.1.1.1', 'a@b.test', 'u@elsewhere.test', '550 5.7.1'),
])
def test_who_is_greylisted(gw, client, sender, to, want):
    for _ in range(2):
        got = rcpt(gw, client, sender, to)
        assert got.startswith(want), got


def test_an_alias_that_passes(gw):
    with lab.Client(('127.0.0.1', gw.port), source='127.7.1.1') as c:
        assert c.mail('alias@b.test', 'team@own.test', BODY).startswith('250')
    gw.queue_empty()
    assert sorted(r for m in gw.sink.mails if m['from'] == 'alias@b.test' for r in m['rcpts']) == ['u1@own.test', 'v1@far.test']


def listed(g, *filters):
    out = []
    for line in g.ctl('grey', 'list', '--json', *filters).stdout.splitlines():
        out += json.loads(line)['entries']
    return out


def test_admins_list_and_remove(gw):
    for who in ('x1', 'x2', 'y'):
        rcpt(gw, '127.2.2.2', f'{who}@list.test', 'u@own.test')
    rows = listed(gw, '--client', '127.2.2.77')
    assert sorted((r['state'], r['client'], r['sender'], r['recipient']) for r in rows) == [
        ('grey', '127.2.2.0/24', '#@list.test', 'u@own.test'), ('grey', '127.2.2.0/24', 'y@list.test', 'u@own.test')]
    assert set(rows[0]) == {'key', 'state', 'client', 'since', 'last', 'passes', 'sender', 'recipient'}  # as in doc/control-api.md
    keys = [r['key'] for r in rows if r['sender'][0] == '#']  # not since and last: two clocks make them, which turn at times of their own
    assert [r['key'] for r in listed(gw, '--sender', 'x7@list.test', '--client', '127.2.2.0/24')] == keys
    assert len(listed(gw, '--sender', '@list.test')) == 2 and not listed(gw, '--sender', '@list.test', '--state', 'white')
    assert [r['sender'] for r in listed(gw, '--sender', '<>')] == ['']
    p = subprocess.run([gw.bin / 'bin/greyprint', '-f', gw.conf, '--sender', 'y@list.test'], capture_output=True, text=True)
    assert re.search(r'^key +state .*\n[0-9a-f]{16}  grey .*127\.2\.2\.0/24 +y@list\.test +u@own\.test\n$', p.stdout), p
    key = next(r['key'] for r in rows if r['sender'] == 'y@list.test')
    assert gw.ctl('grey', 'remove', key).stdout == '1 entry removed\n'
    assert gw.ctl('grey', 'remove', key, check=False).returncode == 1
    p = subprocess.run([gw.bin / 'bin/greyrm', '-f', gw.conf, '--client', '127.2.2.2'], capture_output=True, text=True)
    assert p.stdout == '1 entry removed\n', p
    assert not listed(gw, '--sender', '@list.test')
    p = gw.ctl('grey', 'remove', check=False)
    assert p.returncode == 1 and 'which entries?' in p.stderr
    p = gw.ctl('grey', 'list', '--state', 'blue', check=False)
    assert p.returncode == 1 and 'expected grey, white or net' in p.stderr
    p = gw.ctl('grey', 'list', '--client', 'nobody', check=False)
    assert p.returncode == 1 and 'expected an address' in p.stderr


def test_explain_and_vrfy_write_nothing(gw):
    before = len(listed(gw))
    p = gw.ctl('explain', '--ip', '127.3.3.3', '--from', 'e@b.test', '--to', 'u@own.test', check=False)
    assert 'greylist' in p.stdout and '450 4.7.1 greylisted' in p.stdout, p
    p = gw.ctl('explain', '--ip', '127.8.3.3', '--from', 'e@b.test', '--to', 'u@own.test', check=False)
    assert 'not greylisted: exempt' in p.stdout, p
    assert len(listed(gw)) == before


def test_wait_expiry_and_the_net(inst, sink):
    with gateway(inst, sink.port, 'grey_wait = 1s; grey_expire = 1h; auto_white = 2;') as g:
        first = rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test')
        assert first.startswith('450 4.7.1 greylisted, try again in 1 s'), first
        passes(g, '127.1.1.2', 'a@b.test', 'u@own.test')
        assert rcpt(g, '127.1.1.3', 'a@b.test', 'u@own.test').startswith('250')
        assert rcpt(g, '127.1.1.3', 'a@b.test', 'v@own.test').startswith('450')
        assert rcpt(g, '127.1.2.1', 'a@b.test', 'u@own.test').startswith('450')
        with lab.Client(('127.0.0.1', g.port), source='127.1.1.1') as c:
            assert c.mail('a@b.test', 'u@own.test', BODY).startswith('250')
        sink.wait(1)
        # a second pass of the net: it waits no more
        passes(g, '127.1.1.1', 'a@b.test', 'v@own.test')
        assert rcpt(g, '127.1.1.200', 'new@b.test', 'new@own.test').startswith('250')
        assert [(r['client'], r['passes'] >= 2) for r in listed(g, '--state', 'net')] == [('127.1.1.0/24', True)]
        m = g.metrics('smar')
        assert m['greylist_passed_total'] == 2 and m['greylist_white'] == 2 and m['greylist_nets'] == 1
        assert m['greylist_first_total'] == 3 and m['greylist_white_total'] >= 3


def test_white_expires(inst, sink):
    with gateway(inst, sink.port, 'grey_wait = 1s; white_expire = 1s; auto_white = 0; ipv4_bits = 32; null_sender = pass;') as g:
        assert rcpt(g, '127.1.1.1', '', 'u@own.test').startswith('250')
        assert rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test').startswith('450')
        assert rcpt(g, '127.1.1.2', 'a@b.test', 'u@own.test').startswith('450')
        passes(g, '127.1.1.1', 'a@b.test', 'u@own.test')
        # looked at from outside, since each use keeps it
        lab.wait_for('the end of the white entry', lambda: not listed(g, '--client', '127.1.1.1', '--state', 'white'))
        assert rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test').startswith('450')


def test_reconfirmed_and_by_net(inst, sink):
    """Who is white must come again once in white_reconfirm, however often it sends; nets of IPv6 are as long as said."""
    def rcpt6(addr, sender, to='u@own.test'):
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd(f'XCLIENT ADDR=IPV6:{addr}', 220)
            c.cmd('EHLO c.test', 250)
            c.cmd(f'MAIL FROM:<{sender}>', 250)
            return c.cmd(f'RCPT TO:<{to}>')
    with gateway(inst, sink.port, 'grey_wait = 1s; white_reconfirm = 2s; auto_white = 0; ipv6_bits = 48; null_sender = wait;',
                 smtps='xclient = 127.0.0.1;') as g:
        assert rcpt6('2001:db8:1::1', '').startswith('450')
        assert rcpt6('2001:db8:1::1', 'a@b.test').startswith('450')
        assert {r['client'] for r in listed(g)} == {'2001:db8:1::/48'}
        lab.wait_for('it is white', lambda: rcpt6('2001:db8:1:9::9', 'a@b.test').startswith('250'))
        assert rcpt6('2001:db8:2::1', 'a@b.test').startswith('450')
        lab.wait_for('the end of its time', lambda: rcpt6('2001:db8:1::1', 'a@b.test').startswith('450'))
        lab.wait_for('it is white again', lambda: rcpt6('2001:db8:1::1', 'a@b.test').startswith('250'))


def test_kill_and_damage(inst, sink):
    """What is on disk is there after kill -9; a damaged file is cut, and told."""
    with gateway(inst, sink.port, 'grey_wait = 1s; grey_expire = 1h; auto_white = 0;') as g:
        file = g.dir / 'q/smar/greylist'
        rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test')
        passes(g, '127.1.1.1', 'a@b.test', 'u@own.test')
        rcpt(g, '127.1.1.1', 'late@b.test', 'u@own.test')
        lab.wait_for('the list on disk', lambda: b'late@b.test' in file.read_bytes())

        def killed():
            pid = g.pids()['smar']
            os.kill(pid, signal.SIGKILL)
            lab.wait_for('a new smar', lambda: g.pids().get('smar', pid) != pid)
            lab.wait_for('its answers', lambda: not rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test').startswith('451'))
        killed()
        assert rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test').startswith('250')
        assert {(r['state'], r['sender']) for r in listed(g)} == {('white', 'a@b.test'), ('grey', 'late@b.test')}
        with open(file, 'r+b') as f:
            f.truncate(file.stat().st_size - 3)
        killed()
        g.wait_log(r'smar\.greylist file=\S+ size=\d+ cut=\d+ wrong=0')
        assert rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test').startswith('250')
        file.write_bytes(b'not ours at all, whatever it is\n' * 100)
        killed()
        g.wait_log(r'smar\.greylist file=\S+ text="not a greylist')
        assert (g.dir / 'q/smar/greylist.bad').exists()
        assert rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test').startswith('450')


def test_another_file(inst, sink):
    """The option file: below queue_directory, and kept there over a restart."""
    with gateway(inst, sink.port, 'grey_wait = 1h; file = "smar/other";') as g:
        rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test')
        g.stop()
        assert b'a@b.test' in (g.dir / 'q/smar/other').read_bytes() and not (g.dir / 'q/smar/greylist').exists()
        g.start().ready()
        assert [r['sender'] for r in listed(g)] == ['a@b.test']


def test_an_orderly_end_loses_nothing(inst, sink):
    with gateway(inst, sink.port, 'grey_wait = 1h; auto_white = 0;') as g:
        rcpt(g, '127.1.1.1', 'a@b.test', 'u@own.test')
        g.stop()
        assert b'a@b.test' in (g.dir / 'q/smar/greylist').read_bytes()
        g.start()
        assert [r['sender'] for r in listed(g)] == ['a@b.test']


def test_a_flood_stays_within_its_bound(inst, sink):
    """Triples that nobody comes back for: 100,000 are in tests/unit/smar/grey.c, here through the front door."""
    with gateway(inst, sink.port, 'grey_wait = 1h; max_entries = 1000;',
                 smtps='max_invalid_addresses = 1000000; max_rcpts_per_transaction = 10000;') as g:
        def flood(k):
            with lab.Client(('127.0.0.1', g.port), source=f'127.1.{k}.1') as c:
                c.cmd('EHLO c.test', 250)
                c.cmd('MAIL FROM:<a@b.test>', 250)
                c.send(''.join(f'RCPT TO:<r{k}-{i}@own.test>\r\n' for i in range(250)))
                for _ in range(250):
                    assert c.reply().startswith('450')

        flood(0)  # one net has its share and no more
        m = g.metrics('smar')
        assert m['greylist_grey'] == 125 and m['greylist_evicted_total'] == 125
        for k in range(1, 20):
            flood(k)
        m = g.metrics('smar')
        assert 900 <= m['greylist_grey'] <= 1000 and m['greylist_evicted_total'] == 5000 - m['greylist_grey']
        assert m['greylist_memory_bytes'] <= 1000 * 336
        lab.wait_for('the file written anew', lambda: (g.dir / 'q/smar/greylist').stat().st_size < 400000)


def test_another_width_of_nets_counts_after_a_reload(inst, sink):
    """What waits under the old nets waits on there; the list itself stays."""
    with gateway(inst, sink.port, 'grey_wait = 1h; ipv4_bits = 32;') as g:
        def waits(client):
            return rcpt(g, client, 'a@b.test', 'u@own.test').startswith('450')

        def reload(conf):
            g.conf.write_text(conf)
            before = g.metrics('smar')['generation']
            g.proc.send_signal(signal.SIGHUP)
            lab.wait_for('the reload', lambda: g.metrics('smar')['generation'] > before)

        assert waits('127.1.1.1') and [r['client'] for r in listed(g)] == ['127.1.1.1/32']
        conf = g.conf.read_text()
        reload(conf.replace('ipv4_bits = 32', 'ipv4_bits = 16'))
        assert waits('127.1.2.3') and waits('127.1.4.5')
        assert sorted(r['client'] for r in listed(g)) == ['127.1.0.0/16', '127.1.1.1/32']
        reload(conf)
        assert waits('127.1.1.1') and len(listed(g)) == 2


def test_wrong_options(inst, tmp_path):
    with pytest.raises(AssertionError) as e, gateway(inst, 1, 'grey_wait = 2h; grey_expire = 1h;'):
        pass
    assert 'nobody could ever come again in time' in str(e.value)
