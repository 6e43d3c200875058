# SPDX-License-Identifier: BSD-2-Clause
"""Reports as RFC 3461 wants them: through real servers as next hops, with and without DSN, by LMTP, late, doubled, VERP."""
import email, email.policy, json, os, re, signal, subprocess

import lab, pytest

HEAD = b'From: <a@client.test>\r\nSubject: gr\xc3\xbc\xc3\x9fe\r\nX-Own: 1\r\n\r\n'
BODY = HEAD + b'hello\r\n..dot\r\ngr\xc3\xbc\xc3\x9fe\r\n'


def send(g, rcpts, mail='', sender='a@client.test', body=BODY):
    """rcpts: 'addr parameters'."""
    with g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd(f'MAIL FROM:<{sender}> BODY=8BITMIME{mail}', 250)
        for r in rcpts:
            addr, _, params = r.partition(' ')
            c.cmd(f'RCPT TO:<{addr}> {params}'.rstrip(), 250)
        c.cmd('DATA', 354)
        c.send(body + b'.\r\n')
        return c.reply(250).split()[-1]


class Report:
    def __init__(self, mail):
        body = re.sub(rb'(?m)^\.', b'', lab.split_received(mail['body'])[1])
        self.to, self.from_, self.bytes = mail['rcpts'], mail['from'], body
        self.mail = email.message_from_bytes(body, policy=email.policy.default)
        assert self.mail.get_content_type() == 'multipart/report' and not self.mail.defects
        self.parts = self.mail.get_payload()
        blocks = [dict(p.items()) for p in self.parts[1].get_payload()]
        self.all, self.rcpts = blocks[0], {b['Final-Recipient'].split('; ')[1]: b for b in blocks[1:]}
        self.subject = self.mail['Subject']


def reports(sink):
    return [Report(m) for m in list(sink.mails) if m['from'] == '' and b'multipart/report' in m['body']]


def ours(sink):
    return [r for r in reports(sink) if r.all['Reporting-MTA'] == 'dns; gw.test']


ALL = ['x@far.test NOTIFY=SUCCESS ORCPT=rfc822;x+2Borig@far.test', 'y@far.test NOTIFY=NEVER', 'z@far.test', 'w@far.test NOTIFY=SUCCESS,FAILURE']


def test_relayed_to_postfix_without_dsn(inst):
    with lab.Sink() as sink, lab.Postfix(sink.port, 'smtpd_discard_ehlo_keywords = dsn\n') as pf, lab.relay_all(inst, pf.port) as g:
        send(g, ALL, ' RET=FULL ENVID=QQ+2B314')
        lab.wait_for('the mail and the report', lambda: len(reports(sink)) >= 1 and any(m['from'] for m in sink.mails))
        g.queue_empty()
        r, = reports(sink)
        assert r.to == ['a@client.test'] and r.subject == 'Your mail was delivered'
        assert r.all['Reporting-MTA'] == 'dns; gw.test' and r.all['Original-Envelope-Id'] == 'QQ+314'
        assert set(r.rcpts) == {'x@far.test', 'w@far.test'}
        x, w = r.rcpts['x@far.test'], r.rcpts['w@far.test']
        assert x['Action'] == w['Action'] == 'relayed' and x['Status'][0] == '2'
        assert x['Original-Recipient'] == 'rfc822; x+orig@far.test' and 'Original-Recipient' not in w
        assert x['Remote-MTA'].startswith('dns; ') and x['Diagnostic-Code'].startswith('smtp; 250')
        assert r.parts[2].get_content_type() == 'text/rfc822-headers' and 'X-Own: 1' in r.parts[2].as_string() and b'hello' not in r.bytes
        assert g.metrics('qmgr')['dsn_success_total'] == 1


def test_postfix_with_dsn_answers_for_it(inst):
    """It gets all that was said, so the report is its own, with our client's envelope id."""
    with lab.Sink() as sink, lab.Postfix(sink.port) as pf, lab.relay_all(inst, pf.port) as g:
        send(g, ALL, ' RET=HDRS ENVID=QQ+2B314')
        lab.wait_for('the report', lambda: reports(sink))
        g.queue_empty()
        r, = reports(sink)
        assert r.all['Reporting-MTA'] == 'dns; pf.test' and r.all['Original-Envelope-Id'] in ('QQ+2B314', 'QQ+314')
        assert set(r.rcpts) == {'x@far.test', 'w@far.test'} and r.rcpts['x@far.test']['Action'] == 'relayed'
        assert r.rcpts['x@far.test']['Original-Recipient'].replace(' ', '') == 'rfc822;x+orig@far.test'
        assert 'dsn_total' not in g.metrics('qmgr') or g.metrics('qmgr')['dsn_total'] == 0


def test_delivered_by_lmtp(inst):
    path = lab.tempdir('lmtp') / 's'
    with lab.Sink(lmtp=True, path=path) as local, lab.Sink() as sink, lab.relay_all(
            inst, sink.port, mt=f'local.test lmtp:{path}\n. [127.0.0.1]:{sink.port}\n') as g:
        send(g, ['u@local.test NOTIFY=SUCCESS', 'v@local.test'])
        local.wait(1)
        lab.wait_for('the report', lambda: reports(sink))
        r, = reports(sink)
        assert {k: v['Action'] for k, v in r.rcpts.items()} == {'u@local.test': 'delivered'}


def refuse(verb, arg, ses):
    if verb == 'RCPT' and '<bad' in arg:
        return '550 5.1.1 no such user'
    if verb == 'RCPT' and 'later' in arg:
        return '450 4.2.1 busy'


@pytest.fixture(scope='module')
def gw(inst):
    with lab.Sink(answer=refuse) as sink, lab.relay_all(
            inst, sink.port, qmgr='min_retry_delay = 1s; max_retry_delay = 1s; delay_warning = 2s; max_returned_size = 2KB;',
            env={'META1_BACKOFF_MAX_MS': '200'}) as g:
        g.sink = sink
        yield g


@pytest.mark.parametrize('notify, told', [('', True), (' NOTIFY=NEVER', False), (' NOTIFY=SUCCESS', False), (' NOTIFY=FAILURE', True), (' NOTIFY=DELAY', False)],
                         ids=lambda x: str(x).strip() or 'nothing said')
def test_who_wants_to_know_of_a_failure(gw, notify, told):
    sender = f'f{abs(hash(notify)) % 10**8}@client.test'
    send(gw, ['bad@far.test' + notify, 'bad2@far.test NOTIFY=FAILURE'], sender=sender)  # one is always told: no wait for nothing
    lab.wait_for('the report', lambda: any(sender in r.to for r in reports(gw.sink)))
    gw.queue_empty()
    rcpts = [k for r in reports(gw.sink) if sender in r.to for k in r.rcpts]
    assert sorted(rcpts) == (['bad2@far.test', 'bad@far.test'] if told else ['bad2@far.test'])


@pytest.mark.parametrize('ret, size, whole', [(' RET=FULL', 0, True), (' RET=FULL', 3000, False), (' RET=HDRS', 0, False), ('', 0, False)])
def test_how_much_comes_back(gw, ret, size, whole):
    sender = f'r{ret[5:]}{size}@client.test'
    send(gw, ['bad@far.test'], ret, sender, BODY + (b'y' * 70 + b'\r\n') * (size // 72))
    lab.wait_for('the report', lambda: any(sender in r.to for r in reports(gw.sink)))
    r, = [r for r in reports(gw.sink) if sender in r.to]
    part = r.parts[2]
    assert r.rcpts['bad@far.test']['Action'] == 'failed' and r.rcpts['bad@far.test']['Status'] == '5.1.1'
    assert part.get_content_type() == ('message/rfc822' if whole else 'text/rfc822-headers')
    if whole:
        inner = part.get_payload()[0]
        assert part['Content-Transfer-Encoding'] == '8bit' and inner['X-Own'] == '1'
        assert BODY.replace(b'\r\n..', b'\r\n.') in r.bytes  # to the byte
        assert 'BODY=8BITMIME' in next(m['params'] for m in gw.sink.mails if m['rcpts'] == [sender])
    else:
        assert b'hello' not in r.bytes and 'X-Own: 1' in part.as_string()


def test_late_and_told_once_over_kills(gw):
    """One warning in spite of many tries and kill -9; nobody who does not want it is told."""
    send(gw, ['later1@far.test', 'later2@far.test NOTIFY=SUCCESS', 'later3@far.test NOTIFY=DELAY'], ' ENVID=late', 'late@client.test')

    def mine():
        return [r for r in reports(gw.sink) if r.to == ['late@client.test']]
    lab.wait_for('a warning', mine)
    for _ in range(2):
        tries = len([1 for v, a in gw.sink.commands if v == 'RCPT' and 'later1' in a])
        old = gw.pids()['qmgr']
        os.kill(old, signal.SIGKILL)
        lab.wait_for('a new qmgr', lambda: gw.pids().get('qmgr', old) != old and json.loads(gw.http('qmgr', 'GET', '/v1/status')[1])['recovered'])
        # each flush is a try like that of its time: more of them in less time, and each could warn again
        lab.wait_for('more tries', lambda: gw.ctl('queue', 'flush') and len([1 for v, a in gw.sink.commands if v == 'RCPT' and 'later1' in a]) > tries + 4)
    told = [(k, v['Action'], v['Status'], 'Will-Retry-Until' in v) for r in mine() for k, v in r.rcpts.items()]
    assert sorted(told) == [('later1@far.test', 'delayed', '4.2.1', True), ('later3@far.test', 'delayed', '4.2.1', True)]
    assert {r.all['Original-Envelope-Id'] for r in mine()} == {'late'} and mine()[0].subject == 'Your mail is late'
    for m in gw.queue():
        gw.ctl('queue', 'delete', m['id'], check=False)


def test_killed_with_successes(inst):
    """kill -9 of qmgr: who asked for it is told of each success under one id."""
    with lab.Sink() as sink, lab.relay_all(inst, sink.port) as g:
        n = 20
        for i in range(n):
            send(g, [f'x{i}@far.test NOTIFY=SUCCESS', f'y{i}@far.test'], sender=f's{i}@client.test')
            if i in (6, 13):
                old = g.pids()['qmgr']
                os.kill(old, signal.SIGKILL)
                lab.wait_for('a new qmgr', lambda: g.pids().get('qmgr', old) != old and g.takes_mail())
        lab.wait_for('all of the queue', lambda: json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['recovered'])
        g.queue_empty()
        ids = lab.report_ids(sink.mails)
        assert sorted(ids) == sorted(f's{i}@client.test' for i in range(n))
        assert all(len(x) == 1 for x in ids.values()), ids


def test_report_in_utf8(inst):
    """RFC 6533: of a mail with SMTPUTF8 the report has addresses and headers as they are."""
    def no(verb, arg, ses):
        if verb == 'RCPT' and 'far.test' in arg:
            return '550 5.1.1 nobody'
    with lab.Sink(answer=no, ehlo=('8BITMIME', 'SMTPUTF8', 'SIZE 0')) as sink, lab.relay_all(inst, sink.port) as g, g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.send('MAIL FROM:<s\u00e9nd@client.test> SMTPUTF8 BODY=8BITMIME RET=HDRS\r\n'.encode())
        c.reply(250)
        c.send('RCPT TO:<gr\u00fc@far.test> ORCPT=utf-8;\u00fcr@far.test\r\n'.encode())
        c.reply(250)
        c.cmd('DATA', 354)
        c.send(HEAD + b'hello\r\n.\r\n')
        c.reply(250)
        m = sink.wait(1)[0]
        g.queue_empty()
        body = lab.split_received(m['body'])[1].decode()
        assert 'SMTPUTF8' in m['params'] and m['rcpts'] == ['s\u00e9nd@client.test'.encode().decode('latin-1')]
        r = email.message_from_string(body, policy=email.policy.SMTPUTF8)
        assert r.get_content_type() == 'multipart/report' and r.get_param('report-type') == 'global-delivery-status'
        assert [p.get_content_type() for p in r.get_payload()] == ['text/plain', 'message/global-delivery-status', 'message/global-headers']
        assert 'To: <s\u00e9nd@client.test>\r\n' in body and 'Subject: gr\u00fc\u00dfe\r\n' in body
        assert 'Original-Recipient: utf-8; \u00fcr@far.test\r\nFinal-Recipient: utf-8; gr\u00fc@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n' in body


def test_double_bounce(inst):
    def no(verb, arg, ses):
        if verb == 'RCPT' and 'postmaster' not in arg:
            return '550 5.1.1 nobody'
    with lab.Sink(answer=no) as sink, lab.relay_all(inst, sink.port, qmgr='double_bounce = "postmaster@admin.test";') as g:
        send(g, ['x@far.test'])
        r = Report(sink.wait(1)[0])
        g.queue_empty()
        assert r.to == ['postmaster@admin.test'] and r.from_ == '' and r.subject == 'A report was not delivered'
        assert set(r.rcpts) == {'a@client.test'}
        assert [a for v, a in sink.commands if v == 'RCPT'] == ['TO:<x@far.test>', 'TO:<a@client.test>', 'TO:<postmaster@admin.test>']
    with lab.Sink(answer=lambda verb, arg, ses: '550 no' if verb == 'RCPT' else None) as sink, \
            lab.relay_all(inst, sink.port, qmgr='double_bounce = "postmaster@admin.test";') as g:
        send(g, ['x@far.test'])
        lab.wait_for('three refusals', lambda: len([a for v, a in sink.commands if v == 'RCPT']) >= 3)
        g.queue_empty()
        assert len([a for v, a in sink.commands if v == 'RCPT']) == 3 and g.metrics('qmgr')['dsn_total'] == 2


def test_verp(inst):
    with lab.Sink(answer=refuse) as sink, lab.relay_all(
            inst, sink.port, qmgr='verp_senders = { "list@client.test" }; verp_delimiters = "-=";') as g:
        send(g, ['x@far.test', 'y@far.test', 'bad@far.test'], sender='list@client.test')
        send(g, ['x@far.test', 'y@far.test'], sender='other@client.test')
        sink.wait(4)
        g.queue_empty()
        assert sorted((m['from'], m['rcpts']) for m in sink.mails) == [
            ('', ['list-bad=far.test@client.test']), ('list-x=far.test@client.test', ['x@far.test']),
            ('list-y=far.test@client.test', ['y@far.test']), ('other@client.test', ['x@far.test', 'y@far.test'])]


def test_xverp(inst):
    """A client that is listed says it at MAIL, with its own delimiters or without; an export keeps it; nobody else may."""
    with lab.Sink(answer=refuse) as sink, lab.relay_all(inst, sink.port, smtps='verp_clients = { "127.0.0.1" };', qmgr='min_retry_delay = 1h;') as g:
        with g.client() as c:
            assert 'XVERP' in c.cmd('EHLO c.test', 250)
            for bad, code in (('<a@b.test> XVERP=+', 501), ('<a@b.test> XVERP=+x', 501), ('<a@b.test> XVERP=', 501), ('<> XVERP', 501),
                              ('<a@b.test> XVERP XVERP', 501)):
                c.cmd(f'MAIL FROM:{bad}', code)
        send(g, ['x@far.test', 'y@far.test'], ' XVERP', sender='list@client.test')
        send(g, ['x@far.test', 'bad@far.test'], ' XVERP=-=', sender='news@client.test')
        kept = send(g, ['later@far.test'], ' XVERP==-', sender='slow@client.test')
        sink.wait(4)
        lab.wait_for('the others to be done', lambda: len(g.queue()) == 1)
        assert sorted((m['from'], m['rcpts']) for m in sink.mails) == [
            ('', ['news-bad=far.test@client.test']), ('list+x=far.test@client.test', ['x@far.test']),
            ('list+y=far.test@client.test', ['y@far.test']), ('news-x=far.test@client.test', ['x@far.test'])]
        assert json.loads(g.ctl('get', 'qmgr', f'/v1/export/{kept}', '--json').stdout)['verp'] == '=-'
        assert 'FROM:<slow=later-far.test@client.test>' in [a.split()[0] for v, a in sink.commands if v == 'MAIL']
    with lab.relay_all(inst, 1, smtps='verp_clients = { "192.0.2.1" };') as g, g.client() as c:
        assert 'XVERP' not in c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@b.test> XVERP', 555)


def test_wrong_options(inst):
    """All three are named, with what was expected, and nothing starts."""
    g = lab.relay_all(inst, 1, qmgr='verp_delimiters = "+"; double_bounce = "postmaster"; verp_senders = { "list" };')
    p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, timeout=60, env=g.environ())
    g.close()
    assert p.returncode == 78 and all(x in p.stderr for x in ('expected two of', 'expected an address', 'expected user@domain')), p.stderr
