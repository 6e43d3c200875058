# SPDX-License-Identifier: BSD-2-Clause
"""queue { type = dir; }: mail through the gateway, with files that an admin can read."""
import fcntl, json, os, signal, threading

import lab
import pytest

DIR = 'queue { type = dir; min_free = 0; } min_retry_delay = 1s; max_retry_delay = 2s;'


def files(g):
    return sorted((g.dir / 'q').glob('in/*/*/m*'))


def test_through_the_gateway(inst):
    """Waiting mail is a file with its content and its envelope; it survives kills of all, goes when it is
    delivered, is a report when it fails, and is gone when it is deleted."""
    open_ = threading.Event()

    def answer(verb, arg, s):
        if verb == 'RCPT' and 'nobody' in arg:
            return '550 5.1.1 no such user'
        return '451 4.3.2 later' if verb == 'RCPT' and not open_.is_set() else None
    with lab.Sink(answer=answer) as sink, lab.relay_all(inst, sink.port, qmgr=DIR, smtps='processes = 2;',
                                                        env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        ids = []
        with g.client() as c:
            c.cmd('EHLO dir.test', 250)
            for n in range(20):
                body = f'Subject: {n}\r\n\r\n'.encode() + b'..dots\r\n' + b'0123456789\r\n' * (40000 if n == 3 else 10)
                ids.append(c.mail(f's{n}@x.test', [f'r{n}@far.test'] + (['nobody@far.test'] if n == 5 else []),
                                  body, ehlo=None).split()[-1])
        lab.wait_for('a file a message', lambda: len(files(g)) == 20)
        text = next(f for f in files(g) if ids[5].encode() in f.read_bytes()).read_bytes()
        assert b'\r\n..dots\r\n' in text and b'\nfrom s5@x.test\n' in text and b'\nrcpt r5@far.test\nrcpt nobody@far.test\n' in text
        g.ctl('queue', 'delete', ids[7])
        lab.wait_for('its file to go', lambda: len(files(g)) == 19)
        for _ in range(2):
            pids = g.pids()
            for name in sorted(pids, key=lambda n: n != 'mcp'):
                os.kill(pids[name], signal.SIGKILL)
            g.proc.wait()
            lab.wait_for('all to be gone', lambda: not g.pids())
            g.start().ready()
            lab.wait_for('the queue to be known again', lambda: {m['id'] for m in g.queue()} >= set(ids) - {ids[7]})
        open_.set()
        g.ctl('queue', 'flush')
        lab.wait_for('an empty queue', lambda: not g.queue() or g.ctl('queue', 'flush') and False, 40)
        mails = [m for m in sink.mails if m['from']]
        assert sorted(m['rcpts'][0] for m in mails) == sorted(f'r{n}@far.test' for n in range(20) if n != 7)
        big = next(m for m in mails if m['rcpts'] == ['r3@far.test'])
        assert lab.split_received(big['body'])[1] == b'Subject: 3\r\n\r\n..dots\r\n' + b'0123456789\r\n' * 40000
        assert lab.statuses(sink.mails) == {'nobody@far.test': ['5.1.1']}
        lab.wait_for('no file to be left', lambda: not list((g.dir / 'q').glob('*/*/*/m*')) and not list((g.dir / 'q').glob('qm/*/m*')))


def test_file_that_is_damaged_or_gone(inst):
    """A damaged file is named and stays; one that was moved away is out of the queue; the rest is delivered."""
    open_ = threading.Event()
    with lab.Sink(answer=lambda v, a, s: None if v != 'RCPT' or open_.is_set() else '451 4.3.2 later') as sink, \
            lab.relay_all(inst, sink.port, qmgr=DIR) as g:
        with g.client() as c:
            c.cmd('EHLO dir.test', 250)
            for n in range(4):
                assert c.mail('s@x.test', f'r{n}@far.test', f'Subject: {n}\r\n\r\nx\r\n', ehlo=None).startswith('250')
        lab.wait_for('a file a message', lambda: len(files(g)) == 4)
        g.stop()
        a, b = files(g)[:2]
        data = a.read_bytes()
        a.write_bytes(data.replace(b'rcpt r0@', b'rcpt rX@'))
        b.rename(g.dir / 'taken')
        open_.set()
        g.start().ready()
        lab.wait_for('the rest', lambda: sorted(m['rcpts'][0] for m in sink.mails) == ['r2@far.test', 'r3@far.test'])
        assert 'qmgr.damage' in g.log() and a.name in g.log() and a.exists()
        g.stop()
        (g.dir / 'taken').rename(b)
        a.write_bytes(data)
        g.start().ready()
        lab.wait_for('those too', lambda: sorted(m['rcpts'][0] for m in sink.mails) == [f'r{n}@far.test' for n in range(4)])
        g.queue_empty()


def test_a_tool_leaves_no_trace(inst):
    """meta1ctl queue fsck changes nothing, and takes no writer's folder: as root it would shut out smtps."""
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, qmgr=DIR) as g:
        before = sorted(str(p) for p in (g.dir / 'q').rglob('*'))
        p = g.ctl('queue', 'fsck')
        assert 'the queue is in use' in p.stdout and 'everything is accounted for' in p.stdout
        assert sorted(str(p) for p in (g.dir / 'q').rglob('*')) == before


@pytest.mark.parametrize('store', ('log', 'dir'))
def test_a_tool_that_reads_at_the_start(inst, store):
    """While a tool has the lock of the state no qmgr begins; it tries again, and the mail flows when the tool has ended."""
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, qmgr=f'queue {{ type = {store}; }}', env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        g.stop()
        with open(g.dir / 'q/state/lock') as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            g.start(ready=False)
            g.wait_log(r'(?s)(qmgr\.recover.*or a tool that reads the queue.*){2}')
        g.ready()
        with g.client() as c:
            assert c.mail('a@x.test', ['b@far.test'], 'Subject: flows\r\n\r\n').startswith('250')
        sink.wait(1)
        assert 'SIGSEGV' not in g.log() and 'SIGABRT' not in g.log() and 'AddressSanitizer' not in g.log()


def test_one_store_does_not_pass_over_the_mail_of_another(inst):
    """A change of the type with mail in the queue is refused at the start, in words, both ways."""
    for first, then in (('log', 'dir'), ('dir', 'log')):
        with lab.Sink(answer=lambda verb, arg, s: '451 4.3.2 later' if verb == 'RCPT' else None) as sink, \
                lab.relay_all(inst, sink.port, qmgr=f'queue {{ type = {first}; }}') as g:
            with g.client() as c:
                c.mail('a@x.test', ['b@far.test'], 'Subject: waits\r\n\r\n')
            g.stop()
            g.conf.write_text(g.conf.read_text().replace(f'type = {first};', f'type = {then};'))
            g.start(ready=False)
            g.wait_log(f'is mail of a queue of type {first}: start with queue {{ type = {first}; }}')
            g.stop()
            g.conf.write_text(g.conf.read_text().replace(f'type = {then};', f'type = {first};'))
            g.start().ready()
            lab.wait_for('the mail that waits', lambda: len(g.queue()) == 1)


def test_the_newest_is_missed(inst, sink):
    """That qmgr knows a message is on disk soon, though nothing became of it yet: so fsck misses it when it vanishes."""
    with lab.relay_all(inst, sink.port, qmgr=DIR) as g:
        os.kill(g.pids()['smtpc'], signal.SIGSTOP)
        with g.client() as c:
            c.mail('s@x.test', ['r@far.test'], 'Subject: x\r\n\r\nx\r\n')
        lab.wait_for('its file', lambda: len(files(g)) == 1)
        file, = files(g)
        lab.wait_for('a word of it', lambda: f'{file.name[1:]} seen' in ''.join(f.read_text() for f in (g.dir / 'q/state').glob('outcomes.*')))
        pids = g.pids()
        for name in sorted(pids, key=lambda n: n != 'mcp'):
            os.kill(pids[name], signal.SIGKILL)
        g.proc.wait()
        lab.wait_for('all to be gone', lambda: not g.pids())
        assert fates(g) == (0, {'r@far.test': 'waiting'}, [])
        file.unlink()
        rc, _, found = fates(g)
        assert rc == 1 and [k for k, _ in found] == ['lost'] and file.name in found[0][1], found
        g.start().ready()


def fates(g):
    """(exit status, recipient -> state, findings) of meta1ctl queue fsck."""
    p = g.ctl('queue', 'fsck', '--json', check=False)
    assert p.returncode in (0, 1), p.stderr
    rows = [json.loads(line) for line in p.stdout.splitlines()]
    return p.returncode, {r['recipient']: r['state'] for r in rows if 'id' in r}, [(r['finding'], r['text']) for r in rows if 'finding' in r]


def test_fsck_accounts_for_all(inst):
    """Delivered, bounced, deleted, waiting: over rotations and a restart; then what is damaged or missing is named."""
    open_ = threading.Event()

    def answer(verb, arg, s):
        if verb == 'RCPT' and 'nobody' in arg:
            return '550 5.1.1 no such user'
        return '451 4.3.2 later' if verb == 'RCPT' and 'wait' in arg and not open_.is_set() else None
    with lab.Sink(answer=answer) as sink, lab.relay_all(
            inst, sink.port, qmgr='queue { type = dir; min_free = 0; journal_size = 64KB; } min_retry_delay = 10m;') as g:
        with g.client() as c:
            c.cmd('EHLO dir.test', 250)

            def send(*to):
                return c.mail('s@x.test', [f'{t}@far.test' for t in to], 'Subject: x\r\n\r\nx\r\n', ehlo=None).split()[-1]
            for n in range(300):
                send(f'r{n}')
            send('nobody', 'ok')
            waits = [send(f'wait{n}') for n in range(6)]
            gone = send('wait6')
            g.ctl('queue', 'delete', gone)
            lab.wait_for('all that can be delivered', lambda: sorted(m['id'] for m in g.queue()) == sorted(waits) and all(r['tries'] for m in g.queue() for r in m['recipients']))
            expected = {**{f'r{n}@far.test': 'delivered' for n in range(300)}, 'ok@far.test': 'delivered', 'nobody@far.test': 'bounced',
                        **{f'wait{n}@far.test': 'waiting' for n in range(6)}, 'wait6@far.test': 'deleted', 's@x.test': 'delivered'}
            assert len(list((g.dir / 'q/state').glob('history.*'))) >= 1, 'nothing became history'
            lab.wait_for('its account', lambda: fates(g) == (0, expected, []))
            assert 'everything is accounted for' in g.ctl('queue', 'fsck').stdout
            last = send('wait7')
            expected['wait7@far.test'] = 'waiting'
            lab.wait_for('a try of it', lambda: all(r['tries'] for m in g.queue() for r in m['recipients']))
            g.stop()
        assert fates(g) == (0, expected, [])
        path = {i: next(f for f in files(g) if i.encode() in f.read_bytes()) for i in waits + [last]}
        # damaged: named, and the others are told of
        a, whole = path[waits[0]], path[waits[0]].read_bytes()
        a.write_bytes(whole.replace(b'rcpt wait0', b'rcpt waitX'))
        rc, got, found = fates(g)
        assert rc == 1 and [k for k, _ in found] == ['damage'] and a.name in found[0][1] and set(got) == set(expected) - {'wait0@far.test'}
        a.write_bytes(whole)
        # one in the midst, and the newest, are missing; the words of qmgr about them too
        state = {f: f.read_bytes() for f in (g.dir / 'q/state').glob('*.0*')}
        for i in (waits[2], last):
            path[i].rename(g.dir / 'taken')
            rc, got, found = fates(g)
            assert rc == 1 and [k for k, _ in found] == ['lost'] and path[i].name in found[0][1], found
            for f, b in state.items():
                f.write_bytes(b'\n'.join(b' ' * len(line) if path[i].name[1:].encode() in line and not line.endswith(b' seen') else line for line in b.split(b'\n')))
            rc, got, found = fates(g)
            assert rc == 1 and [k for k, _ in found] == ['lost'] and path[i].name in found[0][1], found
            for f, b in state.items():
                f.write_bytes(b)
            (g.dir / 'taken').rename(path[i])
        # in the wrong folder it is no mail
        wrong = path[last].parent.parent / ('00' if path[last].parent.name != '00' else '01')
        wrong.mkdir(exist_ok=True)
        path[last].rename(wrong / path[last].name)
        rc, got, found = fates(g)
        assert rc == 1 and {k for k, _ in found} == {'lost', 'damage'} and any('wrong folder' in t for _, t in found), found
        (wrong / path[last].name).rename(path[last])
        numbers = g.dir / 'q/in/0/numbers'
        numbers.write_text('1 1\n')
        rc, got, found = fates(g)
        assert rc == 1 and 'in/0/numbers: missing or damaged' in found[0][1], found
        open_.set()
        g.start().ready()
        g.ctl('queue', 'flush')
        g.queue_empty()
        expected.update({f'wait{n}@far.test': 'delivered' for n in (0, 1, 2, 3, 4, 5, 7)})
        lab.wait_for('its account', lambda: fates(g) == (0, expected, []))
