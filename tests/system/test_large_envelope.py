# SPDX-License-Identifier: BSD-2-Clause
"""An envelope as large as may be: 10,000 recipients with long addresses and ORCPT fit into no frame between
the processes, so qmgr reads them from the store."""
import lab

N = 10000


def test_ten_thousand_long_recipients(inst):
    """Every recipient arrives once, the connection between smtps and qmgr stays, and mail behind it flows."""
    local, domain = 'l' * 50, '.'.join(['d' * 60] * 3) + '.test'
    rcpts = [f'{local}{i}@{domain}' for i in range(N)]
    orcpt = 'ORCPT=rfc822;' + 'o' * 470
    with lab.Sink() as sink, lab.relay_all(inst, sink.port, smtps='max_rcpts_per_transaction = 10000; max_rcpts_per_session = 20000;') as g:
        with g.client(timeout=60) as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('MAIL FROM:<a@client.test>', 250)
            for at in range(0, N, 500):
                c.send(''.join(f'RCPT TO:<{r}> {orcpt}\r\n' for r in rcpts[at:at + 500]))
                assert all(c.reply()[:3] == '250' for _ in range(500))
            c.cmd('DATA', 354)
            c.send(b'Subject: x\r\n\r\nhello\r\n.\r\n')
            assert c.reply().startswith('250')
            assert c.mail('a@client.test', 'behind@far.test', b'Subject: y\r\n\r\nx\r\n', ehlo=None).startswith('250')
        lab.wait_for('all of them', lambda: sum(len(m['rcpts']) for m in sink.mails) == N + 1, 60)
        got = [r for m in sink.mails for r in m['rcpts']]
        assert sorted(got) == sorted(rcpts + ['behind@far.test'])
        g.queue_empty()
        assert g.metrics('smtps')['frames_too_large_total'] == 1
        assert g.metrics('smtps')['queued_not_sent_total'] >= 1
        assert 'ipc.malformed' not in g.log()
