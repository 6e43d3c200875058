# SPDX-License-Identifier: BSD-2-Clause
"""A reload that adds and takes away sections and processes, and gives a role to another account: all of it or nothing,
sessions end as they began, who waits is served, and no mail is lost or sent twice."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading

import lab
import pytest
from test_relisten import Knock, deliver, greeting

FULL = pytest.mark.skipif(not os.environ.get('META1_FULL'), reason='many reloads; with META1_FULL=1')
AC = 'cltaddr:127.0.0.1 RELAY\ncltaddr:unix RELAY\n'
BODY = 'Subject: x\r\n\r\nx\r\n'


def gateway(inst, sink, **kw):
    g = lab.relay_all(inst, sink.port, ac=AC, **kw)
    g.text, g.other = g.conf.read_text(), lab.free_port()
    return g


def reload(g, *changes, more='', check=True, how=()):
    """With these words in place of others, and more of it."""
    text = g.text
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    g.conf.write_text(text + more)
    p = g.ctl('reload', *how, check=check)
    return p.stdout + p.stderr


def inner(g, more='', program=None):
    return (f'smtps in {{ path = "{program or g.bin / "libexec/smtps"}"; flags = {{ 8bitmime, access }}; {more} '
            f'listen_socket {{ type = inet; address = 127.0.0.1; port = {g.other}; }} }}\n')


def session(g, port, *commands):
    c = lab.Client(('127.0.0.1', port))
    for line in ('EHLO a.test', *commands):
        c.cmd(line, 250)
    return c


def finish(c, rcpt):
    c.cmd(f'RCPT TO:<{rcpt}>', 250)
    c.cmd('DATA', 354)
    c.send(BODY + '.\r\n')
    return c.reply(250)


def freeze(pid):
    """Stopped, all of it: nothing is accepted from now on."""
    os.kill(pid, signal.SIGSTOP)
    lab.wait_for('it to stop', lambda: all(t.read_text().rsplit(')', 1)[1].split()[0] == 'T' for t in pathlib.Path(f'/proc/{pid}/task').glob('*/stat')))


def pid_of(g, name):
    ready = rf'mcp\.ready role={re.escape(name)} pid=(\d+)'
    g.wait_log(ready)  # the log may come after the answer of a reload
    return int(re.findall(ready, g.log())[-1])


def test_a_section_comes_and_goes(inst):
    with lab.Sink() as sink, gateway(inst, sink) as g:
        pids, knock = g.pids(), Knock(g.port)
        held = session(g, g.port, 'MAIL FROM:<a@a.test>')
        assert 'smtps-in: starts: a new section' in reload(g, more=inner(g), how=['--dry-run'])
        assert not lab.listens(g.other) and not (g.dir / 'run/smtps-in.ctl').exists()
        said = reload(g, more=inner(g))
        assert said.startswith('smtps-in: starts: a new section\n') and 'restart' not in said
        deliver(g, g.other, 'one@sink.test')
        mail, idle = session(g, g.other, 'MAIL FROM:<a@a.test>'), session(g, g.other)
        freeze(pid_of(g, 'smtps-in'))
        with socket.create_connection(('127.0.0.1', g.other), lab.WAIT) as waits:
            assert 'smtps-in: ends: its section is gone' in reload(g)
            os.kill(pid_of(g, 'smtps-in'), signal.SIGCONT)
            late = waits.makefile('rwb')
            assert late.readline().startswith(b'220')
            for line, code in ((b'HELO a.test', b'250'), (b'MAIL FROM:<a@a.test>', b'250'), (b'RCPT TO:<late@sink.test>', b'250'),
                               (b'DATA', b'354'), (BODY.encode() + b'.', b'250')):
                late.write(line + b'\r\n')
                late.flush()
                assert late.readline().startswith(code), line
            assert late.readline().startswith(b'421')
        assert 'has a new configuration' in idle.reply(421)
        assert not lab.listens(g.other)
        # the same again, while the old one still has a session
        again = threading.Thread(target=reload, args=(g,), kwargs={'more': inner(g)}, daemon=True)
        again.start()
        g.wait_log('why="another one takes its place"')
        finish(mail, 'two@sink.test')
        assert 'has a new configuration' in mail.reply(421)
        again.join(lab.WAIT)
        deliver(g, g.other, 'three@sink.test')
        finish(held, 'four@sink.test')
        held.cmd('NOOP', 250)
        knock.stop()
        assert sorted(m['rcpts'][0].split('@')[0] for m in sink.wait(5)) == ['four', 'late', 'one', 'three', 'two']
        g.queue_empty()
        last = session(g, g.other, 'MAIL FROM:<a@a.test>')
        reload(g)
        assert set(pids.values()) <= set(g.pids().values()) and len(sink.mails) == 5
        assert g.stop() == 0  # which does not wait for that session
        last.reply(421)
        assert not list((g.dir / 'run').iterdir())


def test_processes(inst):
    """More and fewer, of those that receive and of those that deliver; what they are at comes to its end."""
    busy, go = threading.Semaphore(0), threading.Event()

    def answer(verb, arg, ses):
        if verb == 'DOT' and 'slow' in ses['rcpts'][0]:
            busy.release()
            assert go.wait(lab.WAIT)
        return None

    with lab.Sink(answer=answer) as sink, gateway(inst, sink) as g:
        first, knock = g.pids(), Knock(g.port)
        three = [('smtps {', 'smtps { processes = 3; '), ('smtpc {', 'smtpc { processes = 2; ')]
        said = reload(g, *three, how=['--dry-run'])
        assert [l for l in said.splitlines() if ': ' in l] == [f'{who}: starts: processes = {n}' for who, n in (('smtps.1', 3), ('smtps.2', 3), ('smtpc.1', 2))]
        said = reload(g, *three)
        assert len(g.pids()) == len(first) + 3 and set(first.values()) <= set(g.pids().values())
        for name in ('smtps', 'smtps.1', 'smtps.2'):  # the kernel gives some to each
            lab.wait_for(f'connections of {name}', lambda: g.metrics(name)['connections_total'] > 3)
        held = [session(g, g.port, 'MAIL FROM:<a@a.test>') for _ in range(12)]
        for i in range(6):
            deliver(g, g.port, f'slow{i}@d{i}.test')
        for _ in range(6):
            assert busy.acquire(timeout=lab.WAIT)
        said = reload(g)
        assert [l for l in said.splitlines() if ': ' in l] == [f'{who}: ends: processes = 1' for who in ('smtps.1', 'smtps.2', 'smtpc.1')]
        for i, c in enumerate(held):
            finish(c, f'held{i}@sink.test')
            c.s.close()
        go.set()
        lab.wait_for('their ends', lambda: g.pids() == first)
        knock.stop()
        g.queue_empty()
        assert sorted(m['rcpts'][0].split('@')[0] for m in sink.mails) == sorted([f'slow{i}' for i in range(6)] + [f'held{i}' for i in range(12)])
        with socket.socket() as s, pytest.raises(OSError):  # nobody else may share the port of one process
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(('127.0.0.1', g.port))


def test_refused_as_a_whole(inst):
    """What cannot change, with both values; a new section that cannot be: nothing of it, nor of the rest."""
    with lab.Sink() as sink, gateway(inst, sink) as g:
        pids = g.pids()
        said = reload(g, (f'{g.dir}/q"', f'{g.dir}/p"'), more=inner(g), check=False)
        assert f'queue_directory: {g.dir}/q is in use and cannot become {g.dir}/p while mcp runs' in said and 'stop meta1' in said
        taken = inner(g, f'listen_socket b {{ type = inet; address = 127.0.0.1; port = {sink.port}; }}')
        for bad, why in ((taken, f'127.0.0.1:{sink.port}: Address already in use'), (inner(g, program='/bin/false'), 'check of section smtps in failed'),
                         (inner(g, 'pass_fd_socket = no/such/fd; ') + 'smar { spf = maybe; }', 'spf')):
            said = reload(g, ('smtps {', 'smtps { processes = 2; max_message_size = 12345; '), more=bad, check=False)
            assert why in said
            assert not lab.listens(g.other) and not [p for p in (g.dir / 'run').iterdir() if p.name in ('smtps-in.ctl', 'smtps.1.ctl')]
        with g.client() as c:
            assert 'SIZE 12345' not in c.cmd('EHLO a.test', 250)
        assert g.pids() == pids
        assert lab.Client(('127.0.0.1', g.port)).mail('a@a.test', 'b@sink.test', BODY).startswith('250')
        sink.wait(1)


def test_one_that_does_not_come_up(inst):
    """It is checked and started, and then ends: who asked hears it, the others have the new configuration."""
    with lab.Sink() as sink, gateway(inst, sink) as g:
        bad = g.dir / 'bad'
        bad.write_text(f'#!/bin/sh\ncase "$*" in *" -C"*) exec {g.bin}/libexec/smtps "$@";; esac\nexit 78\n')
        bad.chmod(0o755)
        said = reload(g, ('smtps {', 'smtps { max_message_size = 12345; '), more=inner(g, program=bad), check=False)
        assert 'smtps-in: starts' in said and 'smtps-in does not come up with it; its log says why' in said
        g.wait_log('mcp.ended role=smtps-in .*status="exit 78, configuration"')
        with g.client() as c:
            assert 'SIZE 12345' in c.cmd('EHLO a.test', 250)
        reload(g, more=inner(g))
        deliver(g, g.other, 'b@sink.test')
        sink.wait(1)


@FULL
def test_who_waits_at_one_that_restarts(inst):
    """A listener goes with the reload that restarts its process: who waits there is let in before."""
    with lab.Sink() as sink, gateway(inst, sink) as g:
        reload(g, more=f'smtps {{ listen_socket b {{ type = inet; address = 127.0.0.1; port = {g.other}; }} }}\n')
        assert greeting(g.other).startswith(b'220')
        had, pids = g.metrics('smtps')['configurations_now'], g.pids()
        freeze(pids['smar'])  # so it does not come to the second step
        g.conf.write_text(g.text.replace('smtps {', f'smtps {{ arguments = "smtps  -f {g.conf}"; '))
        g.proc.send_signal(signal.SIGHUP)
        lab.wait_for('smtps to be ready', lambda: g.metrics('smtps')['configurations_now'] > had)
        freeze(pids['smtps'])
        with lab.Client(('127.0.0.1', g.other), greet=False) as late:
            os.kill(pids['smar'], signal.SIGCONT)
            lab.wait_for('the commit', lambda: g.log().count('mcp.reload result=committed') == 2)
            os.kill(pids['smtps'], signal.SIGCONT)
            late.reply(220)
            assert late.mail('a@a.test', 'late@sink.test', BODY).startswith('250')
            late.reply(421)
        g.wait_log(rf'mcp.ended role=smtps pid={pids["smtps"]} status="?exit 0')
        deliver(g, g.port, 'b@sink.test')
        sink.wait(2)


def killed(g):
    pids = g.pids()
    for pid in (pids.pop('mcp'), *pids.values()):
        os.kill(pid, signal.SIGKILL)
    g.proc.wait()
    lab.wait_for('the end of all', lambda: not g.pids())


def cut_short(g, was, becomes, end):
    """smtps becomes another account, and all ends while a session of before holds the folder."""
    n = g.log().count('mcp.reload result=committed')
    held = session(g, g.port, 'MAIL FROM:<a@a.test>')
    g.conf.write_text(g.conf.read_text().replace(f'user = {was};', f'user = {becomes};'))
    g.proc.send_signal(signal.SIGHUP)
    lab.wait_for('the commit', lambda: g.log().count('mcp.reload result=committed') > n)
    assert (g.dir / 'q/in').owner() == was
    end()
    held.s.close()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can change users')
def test_accounts(inst):
    """Each role becomes another account: the folders go with it, and the mail in them; links do not."""
    were = dict(zip(lab.ROLES, ('daemon', 'nobody', 'mail', 'games')))
    are = dict(zip(lab.ROLES, ('man', 'irc', 'news', 'backup')))
    later = ['u']

    def answer(verb, arg, ses):
        return '451 4.2.1 later' if verb == 'RCPT' and later else None

    with lab.Sink(answer=answer) as sink, gateway(inst, sink, user='root', env={'META1_TEST_ENV': '1'}, qmgr='user = mail; ', smtps='user = daemon; ',
                                                  smtpc='user = nobody; ', smar='user = games; ') as g:
        deliver(g, g.port, 'u@sink.test')
        lab.wait_for('it to wait', lambda: 'later' in str(g.queue()))
        precious, foreign = g.dir / 'precious', g.dir / 'q/in/foreign'
        precious.write_text('x')
        foreign.write_text('x')
        shutil.chown(precious, 'daemon', 'daemon')
        (g.dir / 'q/in/link').symlink_to(precious)
        pids = g.pids()
        reload(g, more=inner(g, 'user = daemon;'))
        held = session(g, g.other, 'MAIL FROM:<a@a.test>')
        # smtps-in has a section no more, and others wait for it
        told = rf'smtps\[{pid_of(g, "smtps-in")}\] .*role.drain .*drain_ms=10000'
        ends = threading.Thread(target=lambda: g.wait_log(told) and held.s.close(), daemon=True)
        ends.start()
        said = reload(g, *((f'user = {were[r]};', f'user = {are[r]};') for r in ('smtps', 'qmgr', 'smar')))
        ends.join(lab.WAIT)
        assert sorted(l.split(':')[0] for l in said.splitlines() if 'needs a restart: the option user' in l) == ['qmgr', 'smar', 'smtps']
        later.clear()
        lab.wait_for('mail to be taken', g.takes_mail)
        lab.wait_for('qmgr to have read its queue', lambda: 'u@sink.test' in str(g.queue()))
        g.ctl('queue', 'flush')
        deliver(g, g.port, 'v@sink.test')
        sink.wait(2)
        assert precious.owner() == 'daemon' and foreign.owner() == 'root'
        assert {p.owner() for p in (g.dir / 'q/in').rglob('*') if p not in (foreign, g.dir / 'q/in/link')} == {'man'}
        assert (g.dir / 'q/qm').owner() == 'news' and (g.dir / 'q/smar').owner() == 'backup' and (g.dir / 'run/smtps.ctl').owner() == 'man'
        assert g.pids()['smtpc'] == pids['smtpc'] and pathlib.Path(f'/proc/{g.pids()["smtps"]}').owner() == 'man'
        # smtpc's group is that which reads mail: all who have to do with it restart
        text = g.conf.read_text()
        later.append('w')
        deliver(g, g.port, 'w@sink.test')
        lab.wait_for('it to wait', lambda: 'later' in str(g.queue()))
        g.conf.write_text(text.replace('user = nobody;', 'user = irc;'))
        said = g.ctl('reload').stdout
        assert 'smtpc: needs a restart: the option user' in said and 'qmgr: needs a restart: the option group of smtpc' in said
        lab.wait_for('qmgr to have read its queue', lambda: 'w@sink.test' in str(g.queue()))
        later.clear()
        g.ctl('queue', 'flush')
        sink.wait(3)
        assert {p.group() for p in (g.dir / 'q/in').rglob('*') if p not in (foreign, g.dir / 'q/in/link')} == {'irc'}
        g.queue_empty()
        # nobody is there to start: who sleeps finds them changed, and no reload waits for him
        g.text = g.conf.read_text()
        turn = [('smtps {', 'smtps x { start_action = accept; '), ('user = man;', 'user = daemon;')]
        reload(g, *turn)
        lab.wait_for("the folder to be another account's", lambda: (g.dir / 'q/in').owner() == 'daemon')
        assert 'smtps-x' not in g.pids()
        reload(g, *turn, more='log_level = 9;\n')
        deliver(g, g.port, 'x@sink.test')
        sink.wait(4)
        cut_short(g, 'daemon', 'man', lambda: g.stop())
        assert {p.owner() for p in (g.dir / 'q/in').rglob('*') if p not in (foreign, g.dir / 'q/in/link')} == {'man'}
        g.start()
        cut_short(g, 'man', 'daemon', lambda: killed(g))
        g.start(ready=False)
        assert g.proc.wait(lab.WAIT) == 78
        hint = re.findall(rf'{g.dir}/q/in: found owner .*: (chown .*)', g.log())[-1]
        subprocess.run(hint, shell=True, check=True)
        assert {p.owner() for p in (g.dir / 'q/in').rglob('*') if p not in (foreign, g.dir / 'q/in/link')} == {'daemon'}
        assert precious.owner() == 'daemon' and foreign.owner() == 'root'
        g.start()
        deliver(g, g.port, 'y@sink.test')
        sink.wait(5)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can change groups')
def test_a_folder_of_two_sections(inst):
    """It is of the first one's group: with another one, the second section restarts too, and both come up again."""
    with lab.Sink() as sink, gateway(inst, sink, user='root', env={'META1_TEST_ENV': '1'}, qmgr='user = mail; ', smtpc='user = nobody; ', smar='user = games; ',
                                     smtps='user = daemon; group = mail; pass_fd_socket = smtps/fd; ') as g:
        more = inner(g, 'user = daemon; group = mail; ')
        reload(g, more=more)
        pid, turn = pid_of(g, 'smtps-in'), [('group = mail;', 'group = news;')]
        for how in (['--dry-run'], ()):
            said = reload(g, *turn, more=more, how=how)
            assert said.startswith('smtps: needs a restart: the option group\nsmtps-in: needs a restart: a folder of its role changes hands\n'), said
        assert (g.dir / 'q/smtps').group() == 'news' and pid_of(g, 'smtps-in') != pid
        for port in (g.port, g.other):
            deliver(g, port, 'a@sink.test')
        sink.wait(2)


ISOLATE = {
    'map': ('map ac { ', 'isolate_memory = 64MB; '),
    'filter': ('policy_milter { ', 'isolate_memory = 96MB; '),
    'transport': ('transport box { ', 'isolate_memory = 64MB; '),
    'auth': ('auth { ', 'isolate_memory = 128MB; '),
}


@FULL
def test_isolate_comes_and_goes(inst):
    """Each kind of instance gets a process of its own, another one, and none any more, while mail comes and goes."""
    with lab.Sink() as sink, lab.relay_all(
            inst, sink.port, ac=AC, mt=f'. box:[127.0.0.1]:{sink.port}\n', smtpc='transport box { module = smtp; } ',
            smtps='policy_milter { module = headers; add = { "X-By: it" }; } auth { module = external; trusted_mechanisms = EXTERNAL; }') as g:
        g.text, over, sent, errors = g.conf.read_text(), threading.Event(), [], []

        def load(who):
            try:
                while not over.is_set():
                    with g.client() as c:
                        for ehlo in ('a.test', None, None):
                            mark = f'{who}-{len(sent)}'
                            assert c.mail('a@a.test', f'{mark}@sink.test', BODY, ehlo=ehlo).startswith('250')
                            sent.append(mark)
            except Exception as e:
                errors.append(repr(e))

        threads = [threading.Thread(target=load, args=(i,), daemon=True) for i in range(2)]
        for t in threads:
            t.start()
        all_on = [(at, at + 'isolate = yes; ') for at, _ in ISOLATE.values()]
        changed = [(at, at + 'isolate = yes; ' + more) for at, more in ISOLATE.values()]
        for turn, workers in ((all_on, 4), (changed, 4), (all_on[:2], 2), ([], 0)):
            n = len(sent)
            assert 'restart' not in reload(g, *turn)
            lab.wait_for('more mails', lambda: errors or len(sent) > n + 4)
            lab.wait_for(f'{workers} workers', lambda: sum(len(json.loads(g.http(r, 'GET', '/v1/workers')[1])['workers']) for r in lab.ROLES) == workers)
        over.set()
        for t in threads:
            t.join(lab.WAIT)
        assert not errors
        sink.wait(len(sent))
        g.queue_empty()
        assert sorted(m['rcpts'][0].split('@')[0] for m in sink.mails) == sorted(sent)
        assert all(b'X-By: it' in m['body'] for m in sink.mails)


def test_the_page_has_what_restarts_what():
    page = (pathlib.Path(os.environ.get('META1_SRC', pathlib.Path(__file__).resolve().parents[2])) / 'doc/admin.md').read_text()
    said = subprocess.run([lab.BUILD / 'core/mcp/mcp', '-T', 'reload'], capture_output=True, text=True, check=True).stdout
    shown = re.search(r'^    \$ mcp -T reload\n((?:    .*\n)+)', page, re.M)[1]
    assert re.sub('^    ', '', shown, flags=re.M) == said
