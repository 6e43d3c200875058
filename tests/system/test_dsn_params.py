# SPDX-License-Identifier: BSD-2-Clause
"""The parameters of RFC 3461: what goes on to the next hop, and to which."""
import json

import lab, pytest

BODY = b'Subject: t\r\n\r\nhello\r\n'
DSN = ('PIPELINING', '8BITMIME', 'DSN', 'SIZE 0')


def send(g, mail, *rcpts):
    with g.client() as c:
        assert any(line[4:] == 'DSN' for line in c.cmd('EHLO c.test', 250).splitlines())
        c.cmd(f'MAIL FROM:<a@client.test>{mail}', 250)
        for r in rcpts:
            c.cmd(f'RCPT TO:{r}', 250)
        c.cmd('DATA', 354)
        c.send(BODY + b'.\r\n')
        c.reply(250)


def said(sink, verb):
    return [a for v, a in sink.commands if v == verb]


@pytest.mark.parametrize('ehlo', [DSN, DSN[1:]], ids=['pipelined', 'one by one'])
def test_said_as_it_came(inst, ehlo):
    with lab.Sink(ehlo=ehlo) as sink, lab.relay_all(inst, sink.port) as g:
        send(g, ' RET=HDRS ENVID=QQ+2B1', '<x@far.test> NOTIFY=success,Delay ORCPT=rfc822;x+2By@far.test', '<y@far.test>',
             '<z@far.test> NOTIFY=NEVER', '<w@far.test> ORCPT=utf-8;\\x{E9}@far.test')
        sink.wait(1)
        g.queue_empty()
        assert [a.partition(' ')[0] for a in said(sink, 'MAIL')] == ['FROM:<a@client.test>'], 'the hop answers for it: no report of ours'
        assert said(sink, 'MAIL')[0].split()[-2:] == ['RET=HDRS', 'ENVID=QQ+2B1']
        assert said(sink, 'RCPT') == ['TO:<x@far.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@far.test', 'TO:<y@far.test>',
                                      'TO:<z@far.test> NOTIFY=NEVER', 'TO:<w@far.test> ORCPT=utf-8;\\x{E9}@far.test']


def test_nothing_said_nothing_added(inst):
    with lab.Sink(ehlo=DSN) as sink, lab.relay_all(inst, sink.port) as g:
        send(g, '', '<x@far.test>')
        sink.wait(1)
        assert 'RET' not in said(sink, 'MAIL')[0] and 'ENVID' not in said(sink, 'MAIL')[0]
        assert said(sink, 'RCPT') == ['TO:<x@far.test>']


def shown_by_queue_show(g, one):
    """What the sender of this mail wants to be told, as text and for programs; the list is spared it."""
    m = json.loads(g.ctl('queue', 'show', one, '--json').stdout)
    assert m['ret'] == 'full' and m['envid'] == 'e1'
    assert [(r['notify'], r['orcpt']) for r in m['recipients']] == [(['success', 'failure'], 'rfc822;x@far.test'), ([], '')]
    head, x, y = g.ctl('queue', 'show', one).stdout.splitlines()
    assert head.endswith('  from <a@client.test>  ret full  envid e1')
    assert '  notify success,failure  orcpt rfc822;x@far.test  (' in x and 'notify' not in y and 'orcpt' not in y
    assert 'envid' not in g.ctl('queue', 'list').stdout and 'notify' not in g.queue()[0]['recipients'][0]


def test_kept_over_a_restart(inst):
    port = lab.free_port()
    with lab.relay_all(inst, port, qmgr='min_retry_delay = 1s;') as g:
        send(g, ' RET=FULL ENVID=e1', '<x@far.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@far.test', '<y@far.test>')
        lab.wait_for('a first try', lambda: any(r['reason'] for m in g.queue() for r in m['recipients']))
        shown_by_queue_show(g, g.queue()[0]['id'])
        g.stop()
        with lab.Sink(ehlo=DSN, port=port) as sink:
            g.start().ready()
            g.ctl('queue', 'flush')
            sink.wait(1)
            g.queue_empty()
            assert said(sink, 'MAIL')[0].split()[-2:] == ['RET=FULL', 'ENVID=e1']
            assert sorted(r for m in sink.mails for r in m['rcpts']) == ['x@far.test', 'y@far.test']
            assert sorted(said(sink, 'RCPT')) == ['TO:<x@far.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@far.test', 'TO:<y@far.test>']


def test_utf8_orcpt_goes_on_as_ascii(inst):
    """A hop that knows DSN but not SMTPUTF8 is told it all the same (RFC 6533 3)."""
    with lab.Sink(ehlo=DSN) as sink, lab.relay_all(inst, sink.port) as g, g.client() as c:
        c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@client.test>', 250)
        c.send('RCPT TO:<x@far.test> ORCPT=utf-8;gr\u00fc@far.test\r\n'.encode())
        assert c.reply().startswith('501 5.5.4')
        c.cmd('RSET', 250)
        c.cmd('MAIL FROM:<a@client.test> SMTPUTF8', 250)
        c.send('RCPT TO:<x@far.test> ORCPT=utf-8;gr\u00fc@far.test\r\n'.encode())
        c.reply(250)
        c.cmd('DATA', 354)
        c.send(BODY + b'.\r\n')
        c.reply(250)
        sink.wait(1)
        assert said(sink, 'RCPT') == ['TO:<x@far.test> ORCPT=utf-8;gr\\x{FC}@far.test']
