# SPDX-License-Identifier: BSD-2-Clause
"""Reports of qmgr before the filters of smtps (dsn_filters): edited, refused, held; and one report of each failure, whatever dies
while a filter has it."""
import contextlib, email, json, os, signal, subprocess

import lab, milterd, pytest

MAIL = b'From: <a@client.test>\r\nSubject: t\r\n\r\nhello\r\n'
FULL = bool(os.environ.get('META1_FULL'))
SIGN = [milterd.add_header('X-Signed', 'yes'), b'c']


def refuse(verb, arg, ses):
    return '550 5.1.1 no such user' if verb == 'RCPT' and 'bad' in arg else None


@contextlib.contextmanager
def judged(inst, says=None, conditions='listeners = dsn_filters;', smtps='', qmgr='', **kw):
    with milterd.Milter(says=says or {'E': SIGN}) as m, lab.Sink(answer=refuse) as sink:
        policy = f'policy_milter {{ module = milter; {m.socket} {conditions} }} '
        with lab.relay_all(inst, sink.port, smtps=policy + smtps, qmgr='dsn_filters = yes; ' + qmgr, **kw) as g:
            g.filter, g.sink = m, sink
            m.heard.clear()
            yield g


def send(g, *rcpts, sender='a@client.test', **kw):
    with g.client() as c:
        reply = c.mail(sender, list(rcpts), MAIL, **kw)
        assert reply.startswith('250'), reply
        return reply.split()[-1]


def reports(g):
    return [m for m in list(g.sink.mails) if m['from'] == '']


def signed(report):
    """By its own header: the mail that it is about may have been, too."""
    return email.message_from_bytes(report['body'])['X-Signed'] == 'yes'


def heard(g):
    return ''.join(k for k, _ in g.filter.heard if k not in 'ODLNQK')


def killed(g, role):
    was = g.pids()[role]
    os.kill(was, signal.SIGKILL)
    lab.wait_for(f'another {role}', lambda: g.pids().get(role, was) != was)


@pytest.fixture(scope='module')
def g(inst):
    with judged(inst, flags='8bitmime, smtputf8, access') as g:
        g.sink.ehlo = (*g.sink.ehlo, 'SMTPUTF8')
        yield g


@pytest.fixture(autouse=True)
def quiet(request):
    if 'g' in request.fixturenames:
        g = request.getfixturevalue('g')
        g.filter.says = {'E': SIGN}
        g.filter.heard.clear()
        g.sink.mails.clear()


def test_signed(g):
    """The filter that is for reports alone meets the report in all stages, and not the mail; what it adds is in what arrives."""
    id = send(g, 'bad@far.test', 'good@far.test')
    report = lab.wait_for('the report', lambda: reports(g))[0]
    assert report['rcpts'] == ['a@client.test']
    m = email.message_from_bytes(report['body'])
    assert m['X-Signed'] == 'yes' and m.get_content_type() == 'multipart/report'
    assert [r.split()[0] for r in m.get_all('Received')] == ['by'] and f'id {id}-1;' in m['Received']
    assert heard(g).startswith('CHMRTBE')
    said = dict(g.filter.heard)
    assert said['M'].startswith(b'<>') and said['R'].startswith(b'<a@client.test>')
    g.queue_empty()
    fate = [json.loads(l) for l in g.ctl('queue', 'fsck', '--json', check=False).stdout.splitlines() if id in l]
    assert not fate or 'bounced' in json.dumps(fate)


def test_utf8(g):
    """A report in UTF-8 passes: SMTPUTF8 holds in that session whatever clients are offered."""
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        assert c.mail('ü@client.test', ['bäd@far.test', 'bad@far.test'], 'Subject: grüße\r\n\r\nx\r\n', ehlo=None, params=' SMTPUTF8 BODY=8BITMIME').startswith('250')
    report = lab.wait_for('the report', lambda: reports(g))[0]
    assert b'X-Signed: yes\r\n' in report['body'] and 'grüße'.encode() in report['body'] and report['rcpts'] == ['ü@client.test'.encode().decode('latin-1')]
    g.queue_empty()


def test_refused(g):
    """Nobody gets it, the postmaster reads why, and its mail has failed without a report."""
    g.filter.says = {'E': [milterd.reply_code('554 5.7.1 no reports today')]}
    id = send(g, 'bad@far.test')
    g.wait_log(rf'qmgr\.report_refused id={id}-1 to=<a@client\.test> reply="?554 5\.7\.1 filter policy_milter: no reports today"? ')
    g.queue_empty()
    assert not reports(g) and g.metrics('qmgr')['dsn_refused_total'] == 1
    g.filter.says = {'R': [milterd.reply_code('550 5.7.1 not to him')]}
    id = send(g, 'bad@far.test')
    g.wait_log(rf'qmgr\.report_refused id={id}-1 ')
    g.queue_empty()
    assert not reports(g)


def test_a_filter_that_fails_refuses_nothing(inst):
    """flags = { reject } is about mail whose sender hears of it. Of a report nobody would: it waits for the filter."""
    with judged(inst, conditions='listeners = dsn_filters; flags = { reject };') as g:
        g.filter.says = {'E': 'close_it'}
        id = send(g, 'bad@far.test')
        g.wait_log(rf'qmgr\.report id={id}-1 error="?451 4\.7\.1 failed filter policy_milter: .*again_in_s=(2[4-9]|30)')
        assert not reports(g) and g.metrics('qmgr')['dsn_refused_total'] == 0
        g.filter.says = {'E': SIGN}
        killed(g, 'qmgr')  # in place of the half minute
        assert signed(lab.wait_for('the report', lambda: reports(g))[0])
        g.queue_empty()
        assert len(reports(g)) == 1


def test_discarded(g):
    g.filter.says = {'E': [b'd']}
    id = send(g, 'bad@far.test')
    g.wait_log(rf'qmgr\.report_discarded id={id}-1 .*discarded by policy_milter')
    g.queue_empty()
    assert not reports(g)


def test_envelope(g):
    """Its recipient may become another; its sender stays none."""
    g.filter.says = {'E': [b'-<a@client.test>\0', b'+<archive@client.test>\0', b'e<me@client.test>\0', b'c']}
    send(g, 'bad@far.test')
    report = lab.wait_for('the report', lambda: reports(g))[0]
    assert report['rcpts'] == ['archive@client.test']
    g.queue_empty()


def test_held(g):
    """A held report waits with the filter's reason, over a crash, and is the only one."""
    g.filter.says = {'E': [milterd.quarantine('looks odd'), b'c']}
    id = send(g, 'bad@far.test')

    def held():
        q = g.queue()
        return len(q) == 1 and q[0]['id'] == f'{id}-1' and q[0]['recipients'][0]['state'] == 'held' and q[0]['recipients'][0]['reason']
    assert lab.wait_for('a held report', held) == 'filter policy_milter: looks odd'
    killed(g, 'qmgr')

    def again():
        with contextlib.suppress(Exception):
            return held()
    assert lab.wait_for('it is there again', again) == 'filter policy_milter: looks odd'
    g.ctl('queue', 'release', f'{id}-1')
    g.queue_empty()
    assert len(lab.wait_for('the report', lambda: reports(g))) == 1


def test_large(inst):
    """A report that returns a large mail is more than one read, and comes back whole."""
    with judged(inst, qmgr='max_returned_size = 1MB;') as g:
        rows = b''.join(b'%05d .%s\r\n' % (i, b'x' * 70) for i in range(8000))
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            c.cmd('MAIL FROM:<a@client.test> RET=FULL', 250)
            c.cmd('RCPT TO:<bad@far.test>', 250)
            c.cmd('DATA', 354)
            c.send(MAIL + b'..dot\r\n' + rows + b'.\r\n')
            c.reply(250)
        body = lab.wait_for('the report', lambda: reports(g))[0]['body']
        assert b'X-Signed: yes\r\n' in body and rows in body and b'\r\n.dot\r\n' in body.replace(b'\r\n..', b'\r\n.')
        g.queue_empty()


def test_who_takes_no_mail_still_reports(inst):
    """The limits of clients are not those of reports."""
    with judged(inst, smtps='max_sessions = 1; max_rcpts_per_transaction = 1; max_message_size = 1KB; greet_delay = 200ms; ') as g:
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            for i in range(3):
                assert c.mail(f'a{i}@client.test', 'bad@far.test', MAIL, ehlo=None).startswith('250')
            ids = lab.wait_for('three reports', lambda: len(r := lab.report_ids(reports(g))) == 3 and r)
            assert all(len(x) == 1 for x in ids.values())
        g.queue_empty()
        assert all(map(signed, reports(g)))


def test_slow_filters_shut_no_client_out(inst):
    """Sessions of reports are none of clients, however many of them a slow filter has."""
    with judged(inst, smtps='max_sessions = 2; ') as g:
        g.filter.says = {'E': 'stall'}
        with g.client() as c:
            c.cmd('EHLO c.test', 250)
            for i in range(4):
                assert c.mail(f'a{i}@client.test', 'bad@far.test', MAIL, ehlo=None).startswith('250')

        def sessions():
            m = g.metrics('smtps')
            return m['sessions_now'], m['reports_now']
        lab.wait_for('four reports at the filter, and no client', lambda: sessions() == (4, 4))
        with g.client(), g.client():  # greeted
            assert sessions() == (6, 4)
            with g.client(greet=False) as c:
                c.reply(421)


def test_who_leaves_is_asked_no_more(inst):
    """A server that drains ends the mail of its clients; reports of it go to the filters of another."""
    with judged(inst) as g:
        text, port = g.conf.read_text(), lab.free_port()
        g.conf.write_text(f'{text}smtps in {{ path = "{g.bin / "libexec/smtps"}"; flags = {{ 8bitmime, access }}; listen_socket {{ address = 127.0.0.1; port = {port}; }} '
                          f'policy_milter {{ module = milter; {g.filter.socket} listeners = dsn_filters; }} }}\n')
        g.ctl('reload')
        clients = [lab.Client(('127.0.0.1', port)) for _ in range(3)]  # the last one keeps it there
        for i, c in enumerate(clients):
            c.cmd('EHLO c.test', 250)
            c.cmd(f'MAIL FROM:<a{i}@client.test>', 250)
        g.conf.write_text(text)
        g.ctl('reload')
        g.wait_log(r'smtps\[\d+\] .*role.drain ')
        for i, c in enumerate(clients[:2]):
            c.cmd('RCPT TO:<bad@far.test>', 250)
            c.cmd('DATA', 354)
            c.send(MAIL + b'.\r\n')
            c.reply(250)
            lab.wait_for('its report', lambda: len(reports(g)) == i + 1 or 'qmgr.report ' in g.log())
        clients[2].s.close()
        assert 'qmgr.report ' not in g.log()
        assert all(map(signed, reports(g)))
        g.queue_empty()


def test_one_report_whatever_dies(inst):
    """At each step of the session in which a filter has a report (some of them, unless META1_FULL): one report comes of each
    failure, and it is signed."""
    every = [(step, dies) for step in 'CMRE' for dies in ('qmgr', 'smtps', 'mcp', 'filter')]
    with judged(inst) as g:
        for n, (step, dies) in enumerate(todo := every if FULL else [('E', 'qmgr'), ('R', 'mcp'), ('C', 'smtps'), ('E', 'mcp')]):
            g.filter.says = {step: 'stall', 'E': SIGN if step != 'E' else 'stall'}
            g.filter.heard.clear()
            id = send(g, 'bad@far.test', sender=f'a{n}@client.test')
            lab.wait_for(f'the filter at {step}', lambda: heard(g).endswith(step))
            assert 'the report to the sender, which filters judge' in g.ctl('queue', 'why', id).stdout
            g.filter.says = {'E': SIGN}
            if dies == 'filter':
                g.filter.drop()
                killed(g, 'qmgr')  # in place of the half minute after which it would try again
            elif dies == 'mcp':
                os.kill(g.proc.pid, signal.SIGKILL)
                g.proc.wait()
                lab.wait_for('the end of all', lambda: not g.pids())
                g.start().ready()
            else:
                killed(g, dies)
            got = lab.wait_for('its report', lambda: [m for m in reports(g) if m['rcpts'] == [f'a{n}@client.test']])
            assert signed(got[0]) and f'id {id}-1;'.encode() in got[0]['body']
            g.ready()
        g.queue_empty()
        assert {k: len(v) for k, v in lab.report_ids(reports(g)).items()} == {f'a{n}@client.test': 1 for n in range(len(todo))}


def test_killed_again_and_again(inst):
    """Failures one after the other while qmgr and smtps die by turns: each is reported, signed, under one id."""
    with judged(inst) as g:
        for i in range(n := 40 if FULL else 8):
            send(g, f'bad{i}@far.test', sender=f'a{i}@client.test')
            if i % 4 == 3:
                killed(g, ('qmgr', 'smtps')[i // 4 % 2])
                g.ready()
        lab.wait_for('all reports', lambda: len(lab.report_ids(reports(g))) == n)
        g.queue_empty()
        ids = lab.report_ids(reports(g))
        assert all(len(x) == 1 for x in ids.values()), ids
        assert all(map(signed, reports(g)))


def test_mail_of_this_machine(inst):
    """What the program sendmail injects by a unix socket meets the filters that are for it, and explain says so."""
    with milterd.Milter(says={'E': SIGN}) as m, lab.Sink() as sink:
        smtps = (f'listen_socket local {{ type = unix; path = "submit"; }} listen_socket mx {{ address = 127.0.0.1; port = @; }} flags = {{ 8bitmime, access }}; '
                 f'policy_milter {{ module = milter; {m.socket} listeners = local; }}')
        g = lab.Gateway(inst, smtps=smtps, smar=lab.MAPS, files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:unix RELAY\ncltaddr:127.0.0.1 RELAY\n'})
        g.conf.write_text(g.conf.read_text().replace('port = @', f'port = {g.port}'))
        with g:
            program = inst / lab.PREFIX.lstrip('/') / 'sbin/sendmail'
            subprocess.run(['sendmail', '-i', 'u@far.test'], executable=program, input=b'Subject: local\n\nhello\n', check=True, timeout=60,
                           env={**os.environ, 'META1_SUBMIT': str(g.dir / 'q/submit')})
            send(g, 'v@far.test')
            got = {m['rcpts'][0]: signed(m) for m in sink.wait(2)}
            assert got == {'u@far.test': True, 'v@far.test': False}
            g.queue_empty()

            def asked(socket):
                said = g.ctl('explain', '--from', '<>', '--to', 'a@client.test', '--ip', 'unix', '--socket', socket, '--json', check=False).stdout
                return json.loads(said)['filters'][0]['asked']
            assert [asked(s) for s in ('local', 'mx', 'dsn_filters')] == ['yes', 'no', 'no']


def test_switched_on_and_off(inst):
    """dsn_filters, and the filters that it means, change with a reload; explain knows of it."""
    with judged(inst, conditions='') as g:
        assert 'filter policy_milter (milter, judge): asked\n' in g.ctl(
            'explain', '--from', '<>', '--to', 'a@client.test', '--ip', 'unix', '--socket', 'dsn_filters', check=False).stdout
        send(g, 'bad@far.test')
        assert signed(lab.wait_for('the report', lambda: reports(g))[0])
        assert heard(g).count('M') == 2  # the mail, and its report
        conf = g.conf.read_text()
        g.conf.write_text(conf.replace('dsn_filters = yes;', 'dsn_filters = no;'))
        g.proc.send_signal(signal.SIGHUP)
        g.wait_log('mcp.reload result=committed')
        send(g, 'bad@far.test')
        lab.wait_for('the second', lambda: len(reports(g)) == 2)
        assert not signed(reports(g)[1])
        g.queue_empty()
