# SPDX-License-Identifier: BSD-2-Clause
"""Flow control from end to end: with all queues tiny and a next hop that takes nothing, senders are told
to come again; nothing deadlocks, and when the hop is well again all that was accepted arrives, once."""
import collections, json, os, threading

import pytest

from lab import MAPS, Sink, relay_all, report_ids, wait_for
from smalldisk import SmallDisk

TINY = '''AQ_max_entries = 32; max_memory = 256KB; min_retry_delay = 1h; max_retry_delay = 2h;
queue { type = log; segment_size = 64KB; checkpoint_size = 64KB; spare_segments = 0; memory = 1MB; }
smtpc { initial_connections = 2; max_connections = 8; }'''
WAITING = 450  # more than the memory has an index for, with what is loaded


def status(g):
    return json.loads(g.http('qmgr', 'GET', '/v1/status')[1])


def test_everything_tiny(inst):
    up, full = threading.Event(), threading.Event()
    accepted, refused, lock = [], collections.Counter(), threading.Lock()

    def answer(verb, arg, session):
        return '450 4.2.0 not yet' if verb == 'RCPT' and not up.is_set() else None

    def send(who, g):
        n = 0
        with g.client() as c:
            c.cmd('EHLO client.test', 250)
            while len(accepted) < 5000 and not full.is_set():
                n += 1
                name = f'm{who}.{n}'
                c.send(f'MAIL FROM:<s{who}@client.test>\r\n')
                code = c.reply()[:3]
                if code != '250':
                    with lock:
                        refused[code] += 1
                    continue
                c.cmd(f'RCPT TO:<{name}@example.org>', 250)
                c.cmd('DATA', 354)
                c.send(b'Subject: x\r\n\r\nhello\r\n.\r\n')
                if c.reply()[:3] == '250':
                    with lock:
                        accepted.append(name)

    with Sink(answer=answer) as hop, relay_all(inst, hop.port, qmgr=TINY) as g:
        threads = [threading.Thread(target=send, args=(i, g)) for i in range(4)]
        [t.start() for t in threads]
        wait_for('qmgr to take no more', lambda: status(g)['intake_withheld'], 60)
        full.set()
        [t.join() for t in threads]
        assert set(refused) <= {'451'}, refused
        assert len(accepted) > WAITING, len(accepted)
        assert g.metrics('qmgr')['envelopes_unloaded_total'] > 0
        up.set()
        # a delivery that was under way may still bring a no of before, behind the flush: so it is said again
        wait_for('the queue to empty', lambda: g.ctl('queue', 'flush') and status(g)['messages'] == 0, 90)
        got = collections.Counter(r.split('@')[0] for m in hop.mails for r in m['rcpts'])
        assert got == collections.Counter(accepted)

        def again():
            with g.client() as c:
                c.cmd('EHLO client.test', 250)
                return c.cmd('MAIL FROM:<s@client.test>')[:3] == '250'
        wait_for('mail to be taken again', again)


class Sender(threading.Thread):
    """One client that sends on and on; what was answered 250, and how often it was told to come again."""

    def __init__(self, g, who, stop, bad):
        super().__init__(daemon=True)
        self.bad = bad  # each so many-th is for a recipient that fails
        self.g, self.who, self.stop, self.accepted, self.refused = g, who, stop, [], collections.Counter()

    def one(self, c, name):
        for line, good in ((f'MAIL FROM:<s.{name}@client.test>', '250'), (f'RCPT TO:<{name}@example.org>', '250'), ('DATA', '354')):
            code = c.cmd(line)[:3]
            if code != good:
                return code
        c.send(b'Subject: x\r\n\r\n' + b'0123456789\r\n' * 1500 + b'.\r\n')
        return c.reply()[:3]

    def run(self):
        n = 0
        while not self.stop.is_set():
            with self.g.client(timeout=30) as c:
                c.cmd('EHLO client.test', 250)
                code = '250'
                while code == '250' and not self.stop.is_set():
                    n += 1
                    name = f'{"bad" if n % self.bad == 0 else "m"}{self.who}.{n}'
                    code = self.one(c, name)
                    if code == '250':
                        self.accepted.append(name)
            if code != '250':
                self.refused[code] += 1
            self.stop.wait(0.05)  # as a client does that is told to come again


@pytest.mark.skipif(os.geteuid() != 0, reason='mounts need root')
@pytest.mark.parametrize('kind', ['log', 'dir'])
def test_everything_tiny_on_a_full_disk(inst, kind):
    """The same with a disk of 4 MB that fills up: senders are told to come again, and when the hop is well all goes on,
    while they still send; what was accepted arrives once, and what failed is told once, although the reports need room too."""
    up, stop = threading.Event(), threading.Event()

    def answer(verb, arg, session):
        if verb == 'RCPT' and 'example.org' in arg:
            return '450 4.2.0 not yet' if not up.is_set() else '550 5.1.1 nobody' if '<bad' in arg else None
        return None

    store = {'log': 'segment_size = 64KB; checkpoint_size = 64KB; spare_segments = 0; memory = 1MB;', 'dir': 'journal_size = 64KB;'}[kind]
    bad = {'log': 10, 'dir': 10**9}[kind]  # queue_dir keeps no room for reports: they would wait half a minute
    tiny = f'AQ_max_entries = 32; max_memory = 256KB; min_retry_delay = 1s; max_retry_delay = 2s; ' \
           f'queue {{ type = {kind}; min_free = 1MB; {store} }} smtpc {{ initial_connections = 2; max_connections = 8; }}'
    with Sink(answer=answer) as hop, SmallDisk(inst, smtps='flags = { 8bitmime, access };', smar=MAPS, qmgr=tiny,
                                               files={'mt': f'. [127.0.0.1]:{hop.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g:
        senders = [Sender(g, i, stop, bad) for i in range(4)]
        [s.start() for s in senders]
        wait_for('all to be told to come again', lambda: all(s.refused['452'] > 2 for s in senders), 60)
        before = sum(len(s.accepted) for s in senders)
        up.set()
        wait_for('mail to be taken again, from each', lambda: sum(len(s.accepted) for s in senders) > before + 40, 60)
        stop.set()
        [s.join() for s in senders]
        accepted = [n for s in senders for n in s.accepted]
        assert before >= 20 and set().union(*(s.refused for s in senders)) <= {'451', '452'}
        wait_for('the queue to empty', lambda: g.ctl('queue', 'flush') and status(g)['messages'] == 0, 90)
        got = collections.Counter(m['rcpts'][0].split('@')[0] for m in hop.mails if m['from'])
        assert got == collections.Counter(n for n in accepted if n[0] == 'm')
        told = report_ids(hop.mails)
        assert sorted(told) == sorted(f's.{n}@client.test' for n in accepted if n[0] == 'b')
        assert all(len(ids) == 1 for ids in told.values()), told
