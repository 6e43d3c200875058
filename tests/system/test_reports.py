# SPDX-License-Identifier: BSD-2-Clause
"""What cannot be delivered comes back to its sender: once, readable for people and programs."""
import email, email.policy, json, lab, os, re, signal

HEAD = b'From: <a@client.test>\r\nSubject: gr\xc3\xbc\xc3\x9fe\r\nX-Dots: 1\r\n\r\nbody\r\n'
MAPS = ('map mt { type = text; file = "mt"; } mailertable { name = mt; } '
        'map ac { type = text; file = "ac"; } access { name = ac; }')


def gateway(inst, files, qmgr=''):
    return lab.Gateway(inst, smar=MAPS, smtps='flags = { 8bitmime, access };', qmgr=qmgr,
                       files={'ac': 'cltaddr:127.0.0.1 RELAY\n', **files})


def refuse(verb, arg, ses):
    if verb == 'RCPT' and 'bad' in arg:
        return '550-5.1.1 no such\r\n550 5.1.1 user here'
    if verb == 'RCPT' and 'later' in arg:
        return '450 4.2.1 mailbox busy'


def parse(mail):
    body = lab.split_received(mail['body'])[1]
    assert all(b < 128 for b in body)
    return email.message_from_bytes(body, policy=email.policy.default)


def status_fields(report):
    return [dict(part.items()) for part in report.get_payload()[1].get_payload()]


def test_one_report_for_two_failures(inst):
    with lab.Sink(answer=refuse) as sink, \
            gateway(inst, {'mt': f'. [127.0.0.1]:{sink.port}\n'}) as g:
        with g.client() as c:
            r = c.mail('a@client.test', ['bad1@far.test', 'ok@far.test', 'bad2@far.test'], HEAD)
            parent = r.split()[-1]
        mails = sink.wait(2)
        assert [m['rcpts'] for m in mails if m['from'] == 'a@client.test'] == [['ok@far.test']]
        back = [m for m in mails if m['from'] == '']
        assert [m['rcpts'] for m in back] == [['a@client.test']]
        r = parse(back[0])
        assert r.get_content_type() == 'multipart/report'
        assert r.get_param('report-type') == 'delivery-status'
        assert r['From'].addresses[0].addr_spec == 'MAILER-DAEMON@gw.test'
        assert r['To'].addresses[0].addr_spec == 'a@client.test'
        assert r['Auto-Submitted'] == 'auto-replied' and r['Message-ID'] and r['Date'].datetime
        text, status, headers = r.get_payload()
        assert 'bad1@far.test' in text.get_content()
        assert status.get_content_type() == 'message/delivery-status'
        first, *rcpts = status_fields(r)
        assert first['Reporting-MTA'] == 'dns; gw.test' and first['Arrival-Date']
        assert [x['Final-Recipient'] for x in rcpts] == ['rfc822; bad1@far.test', 'rfc822; bad2@far.test']
        assert {x['Action'] for x in rcpts} == {'failed'} and {x['Status'] for x in rcpts} == {'5.1.1'}
        assert all(re.match(r'smtp; 550 5\.1\.1', x['Diagnostic-Code']) for x in rcpts), rcpts
        assert headers.get_content_type() == 'text/rfc822-headers'
        assert 'X-Dots: 1' in headers.get_payload() and 'body' not in headers.get_payload()
        g.queue_empty()
        assert parent in g.log()
        assert g.metrics('qmgr')['dsn_total'] == 1


def test_end_of_life(inst):
    with lab.Sink(answer=refuse) as sink, \
            gateway(inst, {'mt': f'far.test [127.0.0.1]:{lab.free_port()}\n. [127.0.0.1]:{sink.port}\n'},
                    'min_retry_delay = 1s; max_retry_delay = 1s; max_time_in_queue = 3s;') as g:
        with g.client() as c:
            c.mail('a@client.test', ['x@far.test', 'later@near.test'], HEAD)
        g.queue_empty()
        rows = [x for m in sink.wait(1) for x in status_fields(parse(m))[1:]]
        assert {x['Final-Recipient']: x['Status'] for x in rows} == {
            'rfc822; x@far.test': '4.4.7', 'rfc822; later@near.test': '4.4.7'}
        assert any('4.2.1' in x['Diagnostic-Code'] for x in rows)


def test_no_report_of_a_report(inst):
    with lab.Sink(answer=lambda verb, arg, ses: '550 no' if verb == 'RCPT' else None) as sink, \
            gateway(inst, {'mt': f'. [127.0.0.1]:{sink.port}\n'}) as g:
        with g.client() as c:
            c.mail('', 'x@far.test', HEAD)
            c.mail('a@client.test', 'y@far.test', HEAD, ehlo=None)
        g.queue_empty()
        assert sink.mails == [] and g.metrics('qmgr')['dsn_total'] == 1


def test_killed_while_reporting(inst):
    """kill -9 of qmgr again and again: each failed mail is reported under one id."""
    with lab.Sink(answer=refuse) as sink, \
            gateway(inst, {'mt': f'. [127.0.0.1]:{sink.port}\n'}) as g:
        n = 30
        for i in range(n):
            with g.client() as c:
                c.mail(f'a{i}@client.test', [f'bad{i}@far.test', f'good{i}@far.test'], HEAD)
            if i in (9, 19):
                old = g.pids()['qmgr']
                os.kill(old, signal.SIGKILL)
                lab.wait_for('a new qmgr', lambda: g.pids().get('qmgr', old) != old and g.takes_mail())
        lab.wait_for('all of the queue', lambda: json.loads(g.http('qmgr', 'GET', '/v1/status')[1])['recovered'])
        g.queue_empty()
        ids = lab.report_ids(sink.mails)
        assert sorted(ids) == sorted(f'a{i}@client.test' for i in range(n))
        assert all(len(x) == 1 for x in ids.values()), ids
        assert {r for m in sink.mails if m['from'] for r in m['rcpts']} == {f'good{i}@far.test' for i in range(n)}
