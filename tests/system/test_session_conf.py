# SPDX-License-Identifier: BSD-2-Clause
"""Options for the sessions of one client: rows smtps_session_conf:CLIENT of the access map, in the
configuration's own syntax."""
import os, signal

import lab

ROWS = '''cltaddr:127.0.0.1 RELAY
smtps_session_conf:127.0.0.2 max_message_size = 2KB; max_rcpts_per_transaction = 1; flags = { dont_smtputf8, };
smtps_session_conf:127.0.0.3 bare_newline = repair;
smtps_session_conf:127.0.0.4 max_message_sise = 2KB;
smtps_session_conf:127.0.0 max_message_size = 4KB;
'''


def ehlo(g, **who):
    c = g.client(**who)
    return c, c.cmd('EHLO client.test', 250)


def gateway(inst, rows=ROWS, **more):
    return lab.Gateway(inst, smtps='flags = { 8bitmime, access, session_conf };', files={'ac': rows},
                       smar='map ac { type = text; file = "ac"; } access { name = ac; } local_domains = { here.test };', **more)


def test_each_client_has_its_own(inst):
    with gateway(inst) as g:
        c, told = ehlo(g, source='127.0.0.2')
        with c:
            assert 'SIZE 2048' in told and 'RCPTMAX=1' in told and 'SMTPUTF8' not in told, told
            c.cmd('MAIL FROM:<a@b.test> SIZE=3000', 552)
            c.cmd('MAIL FROM:<a@b.test>', 250)
            c.cmd('RCPT TO:<u@here.test>', 250)
            c.cmd('RCPT TO:<v@here.test>', 452)
        c, told = ehlo(g, source='127.0.0.9')  # the net's row
        with c:
            assert 'SIZE 4096' in told and 'SMTPUTF8' in told, told
        c, told = ehlo(g, source='127.0.0.3')
        with c:
            assert 'SIZE 67108864' in told, told
            c.cmd('MAIL FROM:<a@b.test>', 250)
            c.cmd('RCPT TO:<u@here.test>', 250)
            c.cmd('DATA', 354)
            c.send(b'Subject: bare\n\nx\r\n.\r\n')
            assert c.reply().startswith('250'), 'a bare LF is repaired for this one'
        with g.client(source='127.0.0.4', greet=False) as c:
            assert c.reply().startswith('421 4.3.5')
        lab.wait_for('the log', lambda: 'did you mean max_message_size' in g.log())
        assert 'smtps_session_conf:127.0.0.4' in g.log()


def test_xclient_and_a_changed_map(inst):
    with lab.Gateway(inst, smtps='flags = { 8bitmime, access, session_conf }; xclient = 127.0.0.1;', files={'ac': ROWS},
                     smar='map ac { type = text; file = "ac"; } access { name = ac; }') as g:
        with g.client() as c:
            assert 'SIZE 67108864' not in c.cmd('EHLO client.test', 250)  # 127.0.0
            c.cmd('XCLIENT ADDR=127.0.0.2', 220)
            assert 'SIZE 2048' in c.cmd('EHLO client.test', 250)
            c.cmd('XCLIENT ADDR=192.0.2.1', 220)
            assert 'SIZE 67108864' in c.cmd('EHLO client.test', 250)
        (g.dir / 'ac').write_text(ROWS.replace('2KB', '3KB'))

        def changed():
            c, told = ehlo(g, source='127.0.0.2')
            with c:
                return 'SIZE 3072' in told
        lab.wait_for('the new row', changed)


def test_without_smar_nobody_gets_more(inst):
    with gateway(inst) as g:
        os.kill(g.pids()['smar'], signal.SIGSTOP)
        try:
            with g.client(source='127.0.0.2', greet=False, timeout=30) as c:
                assert c.reply().startswith('421 4.3.5')
        finally:
            os.kill(g.pids()['smar'], signal.SIGCONT)
        lab.wait_for('smar to answer again', lambda: 'SIZE 2048' in ehlo(g, source='127.0.0.2')[1])
