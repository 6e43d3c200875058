# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 of random processes under load: nothing acknowledged is lost, none is half."""
import os, random, re, signal, threading, time

import pytest

import lab

FULL = bool(os.environ.get('META1_FULL'))
KINDS = ('smtps', 'qmgr', 'smtpc', 'smar', 'mcp')
ROUNDS = {'log': 200 if FULL else 20, 'dir': 100 if FULL else 10}
BODY_LINE = b'0123456789abcdefghijklmnopqrstuvwxyz\r\n'


class Load(threading.Thread):
    """One client that sends on and on; keeps the numbers that were answered 250."""

    def __init__(self, g, number):
        super().__init__(daemon=True)
        self.g, self.number, self.sent, self.acked, self.run_on = g, number, 0, set(), True

    def run(self):
        while self.run_on:
            try:
                with self.g.client(timeout=15) as c:
                    c.cmd('EHLO load.test', 250)
                    while self.run_on:
                        self.one(c)
            except (OSError, AssertionError):
                time.sleep(0.02)  # the server is away for a moment: a client's pause, no synchronisation

    def one(self, c):
        self.sent += 1
        key = f'k{self.number}.{self.sent}'
        big = self.sent % 10 == 0
        body = f'Subject: {key}\r\n\r\n'.encode() + BODY_LINE * (9000 if big else 20) + b'end\r\n'
        if c.mail('a@load.test', f'{key}@far.test', body, ehlo=None).startswith('250'):
            self.acked.add(key)


def whole(mail):
    key = mail['rcpts'][0].split('@')[0]
    rest = lab.split_received(mail['body'])[1]
    return rest.startswith(f'Subject: {key}\r\n'.encode()) and rest.endswith(b'end\r\n') and \
        set(rest.split(b'\r\n')[2:-2]) == {BODY_LINE[:-2]}


@pytest.mark.parametrize('kind', ROUNDS)
def test_nothing_acknowledged_is_lost(inst, sink, kind):
    rounds = ROUNDS[kind]
    rng = random.Random(int(os.environ.get('META1_SEED', '1')))
    g = lab.Gateway(inst, smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } '
                    'map ac { type = text; file = "ac"; } access { name = ac; }',
                    smtps='flags = { 8bitmime, access };', qmgr=f'queue {{ type = {kind}; }} min_retry_delay = 1s; max_retry_delay = 2s;',
                    env={'META1_BACKOFF_MAX_MS': '200'},
                    files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'})
    try:
        g.start().ready()
        clients = [Load(g, i) for i in range(8)]
        for c in clients:
            c.start()
        for n in range(rounds):
            before = sum(len(c.acked) for c in clients)
            lab.wait_for('mail to flow again', lambda: sum(len(c.acked) for c in clients) >= before + rng.randrange(5, 60), 40)
            pids = g.pids()
            alive = sorted(set(pids) - {"mcp"})
            if n < len(KINDS):
                victims = [KINDS[n]]  # each alone once
            elif rng.random() < 0.15:
                victims = ['mcp']
            else:
                victims = rng.sample(alive, min(len(alive), rng.choice((1, 1, 1, 2, 4))))
            for v in victims:
                if v in pids:
                    os.kill(pids[v], signal.SIGKILL)
            if 'mcp' in victims:
                g.proc.wait()
                lab.wait_for('orphans to end', lambda: not g.pids(), 20)
                g.start(ready=False)
            lab.wait_for('a whole server', lambda: len(g.pids()) == 5 and g.takes_mail(), 40)
        for c in clients:
            c.run_on = False
        for c in clients:
            c.join(30)
        acked = set().union(*(c.acked for c in clients))
        assert len(acked) > rounds * 5

        def arrived():
            return acked <= {m['rcpts'][0].split('@')[0] for m in list(sink.mails)}
        g.ready()
        g.ctl('queue', 'flush')
        try:
            lab.wait_for('all that was acknowledged', arrived, 90)
        except AssertionError:
            lost = acked - {m['rcpts'][0].split('@')[0] for m in sink.mails}
            raise AssertionError(f'lost {len(lost)} of {len(acked)}: {sorted(lost)[:10]}\n{g.log()[-4000:]}')
        halves = [m for m in sink.mails if not whole(m)]
        assert not halves, halves[0]['body'][:300]
        keys = [m['rcpts'][0] for m in sink.mails]
        print(f'{kind}: {rounds} rounds, {len(acked)} acknowledged, {len(keys)} delivered, '
              f'{len(keys) - len(set(keys))} repeated')
        lab.wait_for('an empty queue', lambda: not g.queue(), 60)
    finally:
        g.close()
