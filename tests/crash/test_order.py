# SPDX-License-Identifier: BSD-2-Clause
"""Promise 1 and the orders that carry the others, as the kernel sees them: no 250 before content
and envelope are synced; a new segment counts after its directory's sync; space is freed after
the journal's sync; a checkpoint counts before the old journal goes."""
import re, threading

import lab
from trace import Strace

CALLS = 'trace=pwritev,pwrite64,write,writev,sendmsg,sendto,fdatasync,fsync,renameat,renameat2,unlinkat,openat'
QUEUE = 'queue { type = log; segment_size = 64KB; checkpoint_size = 64KB; status_sync = 20ms; spare_segments = 2; } '


def send_many(g, clients, each, size=8000):
    def one(n):
        with g.client() as c:
            c.cmd('EHLO order.test', 250)
            for i in range(each):
                # every fifth is too large for a segment and has its own file
                body = b'Subject: x\r\n\r\n' + b'0123456789\r\n' * ((300000 if i % 5 == 4 else size) // 12)
                acks.append(c.mail('a@order.test', f'r{n}.{i}@far.test', body, ehlo=None))
    acks = []
    threads = [threading.Thread(target=one, args=(n,)) for n in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(acks) == clients * each and all(a.startswith('250') for a in acks), acks
    return acks


def plain(hexed):
    return bytes(int(x, 16) for x in re.findall(r'\\x(..)', hexed)).decode(errors='replace')


def path_of(call):
    """The file of the first descriptor."""
    m = re.match(r'\d+<([^>]*)>', call.args)
    return plain(m[1]) if m else ''


def names_of(call):
    """The strings among its arguments."""
    return [plain(part) for part in re.findall(r'"((?:\\x..)*)"', call.args)]


def little(number):
    """The bytes of a 64 bit number in the order of this machine, as strace -xx prints them."""
    return ''.join(f'\\x{b:02x}' for b in number.to_bytes(8, 'little'))


def death_of(number):
    """The record DEAD of a unit (struct jrec), as strace prints it: length 88, type 2, no strings, 24 bytes, the number."""
    return re.compile(re.escape(r'\x58\x00\x00\x00\x02\x00' + r'\x00' * 10) + r'(?:\\x..){24}' + re.escape(little(number)))


def envelope_with(number):
    """An envelope whose content is in that own file (struct seg_rec): the number, its bytes, the time, one recipient, an id."""
    return re.compile(re.escape(little(number)) + r'(?:\\x..){16}' + re.escape(r'\x01\x00\x00\x00\x13\x00'))


def test_order_of_syncs(inst, sink):
    with lab.relay_all(inst, sink.port, qmgr=QUEUE) as g:
        with Strace(g, ('smtps', 'qmgr'), '-y', '-xx', '-s', '400000', '-e', 'abbrev=none', '-e', CALLS) as s:
            acks = send_many(g, 6, 10)
            sink.wait(60)
            g.queue_empty()
            lab.wait_for('own files to be freed', lambda: not list((g.dir / 'q/in/0').glob('b*')))
            checkpoint = lambda: list((g.dir / 'q/state').glob('checkpoint.0*'))
            while not checkpoint():  # a frame of the journal a mail, 16 of them
                acks += send_many(g, 1, 1)
                sink.wait(len(acks))
            serials = lambda what: [int(p.name.split('.')[1], 16) for p in (g.dir / 'q/state').glob(what + '.0*')]
            lab.wait_for('the old journal to be history', lambda: min(serials('journal')) >= max(serials('checkpoint')))
        calls = s.calls()
    acked_in_order(calls, acks)
    segments_in_order(calls)
    freed_in_order(calls)
    checkpoints_in_order(calls)


def test_names_of_folders(inst, sink):
    """queue_dir: a folder of messages that was there before is told of only when its own name is on disk too: whoever
    made it may have been killed before that. Once in a life of smtps."""
    with lab.relay_all(inst, sink.port, qmgr='queue { type = dir; }') as g:
        send_many(g, 1, 1)
        sink.wait(1)
        g.queue_empty()
        made, lives = True, 0
        while made:  # a folder is for 64 numbers: each life may go over the end of one, into another that is made then
            lives += 1
            assert lives < 5, 'a new folder in each life'
            g.stop()
            g.start().ready()
            with Strace(g, ('smtps',), '-y', '-xx', '-s', '4000', '-e', 'trace=fsync,fdatasync,mkdirat,renameat,renameat2,write,writev,sendmsg,sendto') as s:
                acks = send_many(g, 1, 3)
            calls = s.calls()
            made = [c for c in calls if c.name == 'mkdirat' and c.ret == 0]
        folders = {names_of(c)[1].split('/')[0] for c in calls if c.name.startswith('renameat') and c.ret == 0}
    accepted = ''.join(f'\\x{b:02x}' for b in b'accepted as ')
    first = min(c.begin for c in calls if path_of(c).startswith('socket:') and accepted in c.args)
    # the file of numbers is synced in that folder too, ahead, by a worker: its own sync comes before
    before = {id(c): b for b, c in ((b, next((c for c in calls if c.pid == b.pid and c.begin > b.end), None)) for b in calls) if c}
    names = [c for c in calls if c.name == 'fsync' and c.ret == 0 and path_of(c).endswith('/q/in/0') and
             not (id(c) in before and path_of(before[id(c)]).endswith('/numbers'))]
    assert names and names[0].end < first, 'the 250 came before the sync of the name of its folder'
    assert len(names) == len(folders) in (1, 2) and len(acks) == 3


def acked_in_order(calls, acks):
    """250 begins after the end of a sync that began after the end of the write of its envelope."""
    syncs = [c for c in calls if c.name == 'fdatasync' and c.ret == 0]
    accepted = ''.join(f'\\x{b:02x}' for b in b'accepted as ')
    for ack in acks:
        id_ = re.search(r'accepted as (S\w+)', ack)[1].encode()
        hexid = ''.join(f'\\x{b:02x}' for b in id_)
        reply = min(c.begin for c in calls if c.name in ('write', 'writev', 'sendmsg', 'sendto') and
                    path_of(c).startswith('socket:') and accepted in c.args and hexid in c.args)
        wrote = [c for c in calls if c.name == 'pwritev' and hexid in c.args and c.ret > 0]
        assert wrote, f'{id_}: no write of its envelope was seen'
        w = wrote[0]
        assert any(f.begin > w.end and f.end < reply and path_of(f) == path_of(w) for f in syncs), \
            f'{id_}: 250 at {reply} was not after a sync of {w!r}'
    # content in a file of its own is synced, and its name too, before the envelope is even written
    for w in (c for c in calls if c.name == 'openat' and 'O_CREAT' in c.args and c.ret >= 0):
        name = names_of(w)[0]
        if not re.fullmatch('b[0-9a-f]{16}', name):
            continue
        envelope = envelope_with(int(name[1:], 16))
        env = min((c.begin for c in calls if c.name == 'pwritev' and c.begin > w.end and envelope.search(c.args)), default=None)
        assert env is not None, f'{name}: no envelope names it'
        data = [c for c in syncs if path_of(c).endswith(name) and c.end < env]
        assert data, f'{name}: not synced before its envelope was written'
        dirs = [c for c in calls if c.name == 'fsync' and c.ret == 0 and w.end < c.begin and c.end < env]
        assert dirs, f'{name}: its directory was not synced before its envelope was written'


def segments_in_order(calls):
    made = 0
    for c in calls:
        names = names_of(c)
        if c.ret < 0 or not names or not re.fullmatch('s[0-9a-f]{16}', names[-1]):
            continue
        if c.name == 'renameat' or c.name == 'openat' and 'O_CREAT' in c.args:
            made += 1
            sync = [f.begin for f in calls if f.name == 'fdatasync' and f.begin > c.end and names[-1] in path_of(f)]
            dirs = [f.end for f in calls if f.name == 'fsync' and f.ret == 0 and f.begin > c.end]
            assert sync and dirs and dirs[0] < sync[0], f'{names[-1]}: counted before its directory was synced'
    assert made > 3, 'no new segment was seen'


def freed_in_order(calls):
    """A unit goes after the end of the journal sync behind the record of its death."""
    freed = 0
    journal = [c for c in calls if c.name == 'pwrite64' and 'state/journal.' in path_of(c)]
    syncs = [c for c in calls if c.name == 'fdatasync' and c.ret == 0 and 'state/journal.' in path_of(c)]
    for c in calls:
        names = names_of(c)
        if c.name not in ('unlinkat', 'renameat') or c.ret < 0 or not re.fullmatch('[sb][0-9a-f]{16}', names[0]):
            continue
        freed += 1
        death = death_of(int(names[0][1:], 16))
        records = [w for w in journal if death.search(w.args) and w.end < c.begin]
        assert records, f'{names[0]}: freed without a word in the journal'
        assert any(f.begin > records[-1].end and f.end < c.begin for f in syncs), \
            f'{names[0]}: freed before the journal was synced'
    assert freed > 5, 'nothing was freed'


def checkpoints_in_order(calls):
    made = [c for c in calls if c.name == 'renameat' and c.ret >= 0 and names_of(c)[0] == 'checkpoint.tmp']
    for c, following in zip(made, [*made[1:], None]):
        names = names_of(c)
        serial = names[1].split('.')[1]
        assert any(f.name == 'fdatasync' and f.ret == 0 and 'checkpoint.tmp' in path_of(f) and f.end < c.begin
                   for f in calls), 'a checkpoint was renamed before its sync'
        dirsync = min(f.end for f in calls if f.name == 'fsync' and f.ret == 0 and f.begin > c.end)
        # a checkpoint is removed, a journal becomes history
        gone = [u for u in calls if u.name in ('unlinkat', 'renameat') and u.begin > c.end and u.ret == 0 and
                (not following or u.begin < following.begin) and
                re.match('(journal|checkpoint).[0-9a-f]{16}', (names_of(u) or [''])[0])]
        assert gone, 'the old journal stayed'
        assert all(u.begin > dirsync for u in gone), 'an old journal went before the checkpoint counted'
        assert all(names_of(u)[0].split('.')[1] < serial for u in gone)
    assert made, 'no checkpoint was seen'
