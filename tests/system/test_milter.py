# SPDX-License-Identifier: BSD-2-Clause
"""Filters of libmilter at our smtps: what each flag of the protocol means, from a client's command to a sink's bytes. What a
filter says that is no protocol is tried byte by byte in tests/unit/modules/pmilter_milter*.c."""
import contextlib, os, re, socket, subprocess

import lab, milters, pytest

MESSAGE = b'Subject: t\r\nX-Fold: a\r\n\tb  \r\nX-Two:  two\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nhello\r\n.dot\r\n'


class Lab:
    def __init__(self, gw, sink, filter_):
        self.gw, self.sink, self.filter = gw, sink, filter_

    def mail(self, message=MESSAGE, **kw):
        return milters.send(self.gw, message, **kw)

    def one(self, **kw):
        """What comes to the sink of one mail."""
        n = len(self.sink.mails)
        said = self.mail(**kw)
        assert said.startswith('250'), said
        return self.sink.wait(n + 1)[n]


def policy(path, options=''):
    return f'policy_milter {{ module = milter; socket {{ type = unix; path = "{path}"; }} {options} }}'


@pytest.fixture(scope='module')
def one(inst):
    folder = lab.tempdir('milter')
    with milters.Try(folder=folder) as f, lab.Sink() as sink, lab.relay_all(
            inst, sink.port, ac='cltaddr:127 RELAY\nto:nobody@far.test error:550 5.1.1 nobody\n', smtps=policy(f.socket)) as gw:
        yield Lab(gw, sink, f)


def test_everything_in_its_order(one):
    """Each step once, bytes as they are, macros at their stage; the mail goes on as it came."""
    one.filter.restart('-g', 'i j {client_addr} {client_name} {client_port} {daemon_name} {if_addr} {mail_addr} {mail_host} {rcpt_addr} '
                       '{rcpt_host} {nrcpts} {msg_id} r s f')
    message = MESSAGE.replace(b'Subject', b'Message-Id: <x@y.test>\r\nSubject', 1)
    mail = one.one(message=message)
    assert milters.content(mail) == message
    one.filter.wait_for('close')
    lines = [l for l in one.filter.lines() if not l.startswith(('negotiate', 'close'))]
    assert [l.split()[0] for l in lines] == ['connect', 'helo', 'mail', 'rcpt', 'data', *['header'] * 6, 'eoh', 'body', 'eom']
    fields = [milters.plain(l.split()[2]) for l in lines if l.startswith('header')]
    assert fields == [b'<x@y.test>', b't', b'a\n\tb  ', b' two', b'1', b'2']
    qid = re.search(r'by gw\.test .*?id (\w+)', mail['body'].decode(), re.S)[1]
    end = lines[-1]
    for macro in (f'i={qid}', 'j=gw.test', '{client_addr}=127.0.0.1', '{if_addr}=127.0.0.1', '{mail_addr}=a@good.test', '{mail_host}=good.test',
                  '{rcpt_addr}=b@far.test', '{rcpt_host}=far.test', '{nrcpts}=1', '{msg_id}=<x@y.test>', 's=client.test', 'f=a@good.test'):
        assert macro in end.split(), end
    assert ' i=' not in lines[0] and ' {rcpt_addr}=' not in lines[2]


def test_edits(one):
    """All that a filter may change, in one mail."""
    one.filter.restart('-e', 'add:X-Last:one\n\ttwo', '-e', 'ins:1:X-First:1', '-e', 'ins:3:X-Third:3', '-e', 'chg:1:Subject:new', '-e', 'chg:2:x-twice:',
                       '-e', 'chg:1:X-None:made', '-e', 'rcpt:<c@far.test>', '-e', 'par:<d@far.test>:NOTIFY=NEVER', '-e', 'del:<b@far.test>',
                       '-e', 'from:<new@good.test>', '-e', 'progress:5', '-e', 'body:line\r\n', '-e', 'body:.dot\r\nend')
    n = len(one.sink.mails)
    assert one.mail().startswith('250')
    lab.wait_for('both recipients', lambda: sum(len(m['rcpts']) for m in one.sink.mails[n:]) == 2)
    assert sorted(r for m in one.sink.mails[n:] for r in m['rcpts']) == ['c@far.test', 'd@far.test']
    for mail in one.sink.mails[n:]:
        assert mail['from'] == 'new@good.test'
        assert milters.content(mail) == (b'X-First: 1\r\nSubject: new\r\nX-Third: 3\r\nX-Fold: a\r\n\tb  \r\nX-Two:  two\r\nX-Twice: 1\r\n'
                                         b'X-Last: one\r\n\ttwo\r\nX-None: made\r\n\r\nline\r\n.dot\r\nend\r\n')
    assert not [l for l in one.filter.lines() if 'failed' in l]


def test_no_body_is_left(one):
    one.filter.restart('-e', 'body:')
    assert milters.content(one.one()) == MESSAGE.split(b'\r\n\r\n')[0] + b'\r\n\r\n'


def test_leading_blanks(one):
    """Only to those that ask for it, and from them too."""
    one.filter.restart('-n', '100000', '-e', 'add:X-Last:  two', '-e', 'add:X-None:x')
    assert milters.content(one.one()).split(b'\r\n\r\n')[0].endswith(b'X-Last:  two\r\nX-None:x')
    assert [milters.plain(l.split()[2]) for l in one.filter.lines() if l.startswith('header')] == [b' t', b' a\n\tb  ', b'  two', b' 1', b' 2']


def test_hold(one):
    one.filter.restart('-e', 'hold:smells')
    n = len(one.sink.mails)
    qid = re.search(r'accepted as (S\w+)', one.mail())[1]
    held = lab.wait_for('it to be known', lambda: [q for q in one.gw.queue() if q['id'] == qid])[0]
    assert 'smells' in str(held), held
    one.gw.ctl('queue', 'release', qid)
    assert milters.content(one.sink.wait(n + 1)[n]) == MESSAGE


STAGES = {'connect': None, 'helo': 'EHLO client.test', 'mail': 'MAIL FROM:<a@good.test>', 'rcpt': 'RCPT TO:<b@far.test>', 'data': 'DATA', 'header': None, 'eoh': None,
          'body': None, 'eom': None}


def play(gw, stage):
    """Up to that stage; its reply."""
    with gw.client() as c:
        if stage == 'connect':
            return c.greeting
        for at, command in STAGES.items():
            if command:
                said = c.cmd(command)
                if at == stage:
                    return said
        c.send(milters.stuffed(MESSAGE) + b'.\r\n')
        return c.reply()


@pytest.mark.parametrize('stage', STAGES)
def test_refused(one, stage):
    """Every way to say no, at every stage: the client hears it there."""
    for do, expected in (('reject', '550 5.7.1'), ('tempfail', '451 4.7.1'), ('552 5.3.4 Too odd, 100%%', '552 5.3.4 Too odd, 100%'),
                         ('450 4.2.0 one|two', '450-4.2.0 one\n450 4.2.0 two')):
        one.filter.restart('-s', f'{stage}={do}')
        said = play(one.gw, stage)
        assert said.startswith(expected), (do, said)


def test_one_recipient(one):
    one.filter.restart('-s', 'rcpt/bad=550 5.1.1 Not this one')
    n = len(one.sink.mails)
    with one.gw.client() as c:
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<a@good.test> SIZE=100 BODY=8BITMIME', 250)
        assert c.cmd('RCPT TO:<bad@far.test>').startswith('550 5.1.1 Not this one')
        c.cmd('RCPT TO:<b@far.test>', 250)
        c.cmd('DATA', 354)
        c.send(milters.stuffed(MESSAGE) + b'.\r\n')
        c.reply(250)
    assert one.sink.wait(n + 1)[n]['rcpts'] == ['b@far.test']
    assert milters.plain(one.filter.wait_for('mail')[0]) == b'mail <a@good.test> SIZE=100 BODY=8BITMIME'


def test_421_ends_the_session(one):
    one.filter.restart('-s', 'mail=421 4.3.2 Not now')
    with one.gw.client() as c:
        c.cmd('EHLO client.test', 250)
        assert c.cmd('MAIL FROM:<a@good.test>').startswith('421 4.3.2 Not now')
        assert c.closed()


@pytest.mark.parametrize('stage', ['connect', 'helo', 'mail', 'rcpt', 'data', 'header', 'eoh', 'body', 'eom'])
def test_accepted(one, stage):
    """It needs to hear no more; the next mail of the session is judged again unless all of it was accepted."""
    one.filter.restart('-s', f'{stage}=accept', '-e', 'add:X-Judged:yes')
    n = len(one.sink.mails)
    with one.gw.client() as c:
        for _ in range(2):
            c.mail('a@good.test', 'b@far.test', milters.stuffed(MESSAGE))
    mails = one.sink.wait(n + 2)[n:]
    assert all((b'X-Judged' in m['body']) == (stage == 'eom') for m in mails)
    seen = [l.split()[0] for l in one.filter.lines()]
    assert seen.count(stage) == (1 if stage == 'connect' else 2 if stage != 'helo' else 1)


@pytest.mark.parametrize('stage', ['mail', 'rcpt', 'data', 'header', 'eoh', 'body', 'eom'])
def test_discarded(one, stage):
    one.filter.restart('-s', f'{stage}=discard')
    n = len(one.sink.mails)
    assert one.mail().startswith('250')
    one.filter.restart()
    assert milters.content(one.one(message=b'Subject: next\r\n\r\n')) == b'Subject: next\r\n\r\n'
    assert len(one.sink.mails) == n + 1


def test_steps_that_it_does_not_want(one):
    """NO*: not said at all; the end always is."""
    steps = {1: 'connect', 2: 'helo', 4: 'mail', 8: 'rcpt', 0x10: 'body', 0x20: 'header', 0x40: 'eoh', 0x200: 'data', 0x100: 'unknown'}
    for bits in [*steps, 0x37f]:
        one.filter.restart('-n', f'{bits:x}')
        n = len(one.sink.mails)
        with one.gw.client() as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('FOO bar', 50)
            assert c.mail('a@good.test', 'b@far.test', milters.stuffed(MESSAGE), ehlo=None).startswith('250')
        one.sink.wait(n + 1)
        seen = {l.split()[0] for l in one.filter.lines()}
        assert seen & set(steps.values()) == {w for b, w in steps.items() if not b & bits}, (hex(bits), seen)


def test_no_replies(one):
    """NR_*: nothing is waited for, all is said, the edits are made."""
    names = 'connect helo mail rcpt data header eoh body unknown'.split()
    args = [x for n in names for x in ('-s', f'{n}=noreply')]
    one.filter.restart('-n', 'ff080', '-e', 'add:X-Judged:yes', *args)
    assert b'X-Judged: yes' in one.one()['body']
    assert [l.split()[0] for l in one.filter.lines()].count('header') == 5


def test_skip(one):
    """It has seen enough of a long body."""
    message = b'Subject: long\r\n\r\n' + b'x' * 70 + b'\r\n' * 1 + (b'y' * 74 + b'\r\n') * 4000
    one.filter.restart('-n', '400', '-s', 'body=skip')
    assert milters.content(one.one(message=message)) == message
    assert len([l for l in one.filter.lines() if l.startswith('body')]) == 1
    one.filter.restart()
    assert milters.content(one.one(message=message)) == message
    assert len([l for l in one.filter.lines() if l.startswith('body')]) == 5  # of 65535 bytes


def test_refused_recipients_are_told(one):
    """RCPT_REJ: with what we say to them; the filter's word changes nothing."""
    for bits, told in ((0x800, True), (0, False)):
        one.filter.restart('-n', f'{bits:x}', '-g', '{rcpt_mailer} {rcpt_addr}')
        with one.gw.client() as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('MAIL FROM:<a@good.test>', 250)
            c.cmd('RCPT TO:<nobody@far.test>', 550)
            c.cmd('RCPT TO:<b@far.test>', 250)
        rcpts = [l for l in one.filter.wait_for('rcpt')]
        one.filter.wait_for('abort')
        assert ('<nobody@far.test>' in str(one.filter.lines())) == told
        assert not told or '{rcpt_mailer}=error {rcpt_addr}=550\\x205.1.1' in rcpts[0]


def test_macros_that_it_asks_for(one):
    """SETSYMLIST: those and no others at that stage."""
    one.filter.restart('-m', '2:{mail_addr} j', '-m', '3:{none}', '-g', 'i j {mail_addr} {mail_host} {rcpt_addr} {client_addr}')
    one.one()
    lines = {l.split()[0]: l for l in one.filter.lines()}
    assert '{mail_addr}=a@good.test' in lines['mail'] and '{mail_host}' not in lines['mail'] and ' i=' not in lines['mail']
    assert '{rcpt_addr}' not in lines['rcpt'] and '{client_addr}=127.0.0.1' in lines['connect']


def test_reset_and_the_next_mail(one):
    """RSET and a refused mail are an abort to the filter; nothing of them is in the next one."""
    one.filter.restart('-s', 'header/X-Bad=reject')
    n = len(one.sink.mails)
    with one.gw.client() as c:
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<one@good.test>', 250)
        c.cmd('RCPT TO:<b@far.test>', 250)
        c.cmd('RSET', 250)
        assert c.mail('two@good.test', 'b@far.test', b'X-Bad: 1\r\n\r\n', ehlo=None).startswith('550')
        assert c.mail('three@good.test', 'b@far.test', b'Subject: good\r\n\r\n', ehlo=None).startswith('250')
    assert one.sink.wait(n + 1)[n]['from'] == 'three@good.test' and len(one.sink.mails) == n + 1
    assert [l.split()[0] for l in one.filter.lines()].count('abort') == 1


@pytest.mark.parametrize('no', [0x0, 0xc])
def test_the_rest_of_a_refused_mail(one, no):
    """What is said behind the last word, before it is heard, is lost on libmilter; but not on a filter without MAIL and RCPT, which would
    take it for another mail."""
    one.filter.restart('-n', f'{no:x}', '-s', 'header/X-Bad=reject')
    n = len(one.sink.mails)
    with one.gw.client() as c:
        assert c.mail('a@good.test', 'b@far.test', b'X-Bad: 1\r\nSubject: bad\r\n\r\nbody\r\n').startswith('550')
        assert c.mail('a@good.test', 'b@far.test', b'Subject: good\r\n\r\nbody\r\n', ehlo=None).startswith('250')
    assert milters.content(one.sink.wait(n + 1)[n]) == b'Subject: good\r\n\r\nbody\r\n'
    words = [l.split()[0] for l in one.filter.lines()]
    between = words[words.index('header') + 1:]
    between = between[:between.index('data')]
    assert not set(between) & {'header', 'eoh', 'body', 'eom'} and words.count('eom') == 1, words


def test_one_connection_for_many_sessions(one):
    """QUIT_NC: where libmilter can do that, behind an end that was answered by CONTINUE."""
    one.filter.restart()
    for i in range(3):
        one.one()
        lab.wait_for('the session to be over', lambda: one.filter.lines().count('close') > i)
    lines = [l.split()[0] for l in one.filter.lines()]
    assert lines.count('negotiate') == 1 and lines.count('connect') == 3
    one.filter.restart('-s', 'eom=accept')
    for _ in range(2):
        one.one()
    assert [l.split()[0] for l in one.filter.lines()].count('negotiate') == 2


def test_a_filter_that_goes_and_comes(one):
    """Nothing half is taken; the session's next mail meets the new one."""
    one.filter.restart('-e', 'body:half', '-s', 'eom=exit')
    n = len(one.sink.mails)
    with one.gw.client() as c:
        said = c.mail('a@good.test', 'b@far.test', milters.stuffed(MESSAGE))
        assert said.startswith('451'), said
        one.filter.restart()
        assert c.mail('a@good.test', 'b@far.test', milters.stuffed(MESSAGE), ehlo=None).startswith('250')
    assert milters.content(one.sink.wait(n + 1)[n]) == MESSAGE and len(one.sink.mails) == n + 1
    one.gw.wait_log('before an answer to BODYEOB')


def test_silent_filter_and_fallback(inst):
    """The stage's time is over: the failure action; the fall-back is asked when smtps may not connect to the first. When neither can be
    asked, both are named, with what to do."""
    with milters.Try('-s', 'mail/slow=hang') as f, lab.Sink() as sink, socket.socket(socket.AF_UNIX) as closed, lab.relay_all(
            inst, sink.port, smtps=policy(f'{f.dir}/nobody', f'fallback {{ path = "{f.socket}"; }} timeout = 3s; flags = {{ tempfail }};')) as gw:
        closed.bind(f'{f.dir}/nobody')
        os.chmod(f'{f.dir}/nobody', 0o700)
        closed.listen()
        with gw.client() as c:
            c.cmd('EHLO client.test', 250)
            assert c.cmd('MAIL FROM:<slow@good.test>').startswith('451')
        assert milters.send(gw, MESSAGE).startswith('250')
        assert milters.content(sink.wait(1)[0]) == MESSAGE
        assert f'unix:{f.socket} milter v6, the fall-back\n' in gw.ctl('filters').stdout
        f.stop()
        with gw.client() as c:
            c.cmd('EHLO client.test', 250)
            assert c.cmd('MAIL FROM:<a@good.test>').startswith('451')
        gw.wait_log(rf'error="unix:{f.socket}: connect: Connection refused: no program listens there; '
                    rf'unix:{f.dir}/nobody: connect: Permission denied: uid {gw.uid} must be let into each folder')


PYTHON = '''import Milter, sys
class M(Milter.Base):
    @Milter.noreply
    def connect(self, name, fam, addr): return Milter.CONTINUE
    def envrcpt(self, to, *a):
        if 'temp' in to:
            self.setreply('451', '4.7.1', 'try later')
            return Milter.TEMPFAIL
        return Milter.CONTINUE
    def eom(self):
        self.addheader('X-Py', 'yes'); self.chgheader('Subject', 1, 'changed'); self.addrcpt('<extra@far.test>'); self.delrcpt('<b@far.test>')
        self.chgfrom('<new@good.test>'); self.replacebody('new body\\r\\n')
        return Milter.ACCEPT
Milter.factory = M
Milter.set_flags(Milter.ADDHDRS|Milter.CHGHDRS|Milter.ADDRCPT|Milter.DELRCPT|Milter.CHGBODY|Milter.CHGFROM|Milter.QUARANTINE)
Milter.runmilter('pym', sys.argv[1], 30)
'''


def test_python(inst):
    """python3-milter, as its users write it."""
    with contextlib.ExitStack() as stack:
        f = stack.enter_context(milters.Milter('pymilter'))
        (f.dir / 'filter.py').write_text(PYTHON)
        f.up(['/usr/bin/python3', f.dir / 'filter.py', f'unix:{f.socket}'])
        sink = stack.enter_context(lab.Sink())
        gw = stack.enter_context(lab.relay_all(inst, sink.port, smtps=policy(f.socket)))
        with gw.client() as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('MAIL FROM:<a@good.test>', 250)
            assert c.cmd('RCPT TO:<temp@far.test>').startswith('451 4.7.1 try later')
            c.cmd('RCPT TO:<b@far.test>', 250)
            c.cmd('DATA', 354)
            c.send(MESSAGE + b'.\r\n')
            c.reply(250)
        mail = sink.wait(1)[0]
        assert mail['from'] == 'new@good.test' and mail['rcpts'] == ['extra@far.test']
        text = milters.content(mail)
        assert text.endswith(b'X-Py: yes\r\n\r\nnew body\r\n') and text.startswith(b'Subject: changed\r\n')
