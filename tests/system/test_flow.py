# SPDX-License-Identifier: BSD-2-Clause
"""Flow control from end to end: with all queues tiny and a next hop that takes nothing, senders are told
to come again; nothing deadlocks, and when the hop is well again all that was accepted arrives, once."""
import collections, json, threading

from lab import Sink, relay_all, wait_for

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
