# SPDX-License-Identifier: BSD-2-Clause
"""REQUIRETLS (RFC 8689): offered inside TLS only, kept with the mail, said to next hops that offer it inside TLS with a good certificate,
and nobody else gets the mail; its reports are bound by it too."""
import contextlib, json, os, re, signal

import certs, lab, pytest
from test_tls_client import TlsSink

BODY = b'Subject: t\r\n\r\nsecret\r\n'
OFFER = ('PIPELINING', '8BITMIME', 'DSN', 'REQUIRETLS')


@pytest.fixture(scope='module')
def ca():
    with certs.Authority() as a, certs.Authority('other') as b:
        a.host, a.gw, a.stranger = a.issue('hop', host='127.0.0.1'), a.issue('gw', host='gw.test'), b.issue('hop', host='127.0.0.1')
        yield a


@contextlib.contextmanager
def gateway(inst, ca, hops, qmgr='min_retry_delay = 1h; max_retry_delay = 1h;', **kw):
    mt = ''.join(f'{name}.test [127.0.0.1]:{hop.port}\n' for name, hop in hops.items())
    with lab.relay_all(inst, 0, mt=mt, qmgr=qmgr, smtps=f'tls {{ cert_file = "{ca.gw[0]}"; key_file = "{ca.gw[1]}"; }}',
                       smtpc=f'tls {{ CAcert_file = "{ca.ca}"; }}', **kw) as g:
        yield g


def send(g, ca, rcpt, params=' REQUIRETLS', sender='a@back.test', body=BODY):
    with g.client() as c:
        certs.starttls(c, ca.context())
        assert '250-REQUIRETLS' in c.cmd('EHLO c.test', 250)
        assert c.mail(sender, rcpt, body, params=params).startswith('250')


def test_offered_inside_tls_only(inst, ca):
    with gateway(inst, ca, {}) as g, g.client() as c:
        assert 'REQUIRETLS' not in c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@x.test> REQUIRETLS', 555)
        certs.starttls(c, ca.context())
        assert 'REQUIRETLS' in c.cmd('EHLO c.test', 250)
        c.cmd('MAIL FROM:<a@x.test> REQUIRETLS=1', 501)
        c.cmd('MAIL FROM:<a@x.test> REQUIRETLS REQUIRETLS', 501)
        c.cmd('MAIL FROM:<a@x.test> REQUIRETLS', 250)


def test_next_hops(inst, ca):
    with contextlib.ExitStack() as stack:
        def hop(cert, **kw):
            return stack.enter_context(TlsSink(cert, ehlo=kw.pop('ehlo', OFFER), **kw))
        hops = {'good': hop(ca.host), 'lacks': hop(ca.host, ehlo=OFFER[:-1]), 'stranger': hop(ca.stranger), 'back': hop(ca.host),
                'broken': hop(ca.host, break_at='garbage'), 'plain': stack.enter_context(lab.Sink(ehlo=OFFER))}
        with gateway(inst, ca, hops) as g:
            for name in hops:
                send(g, ca, f'u@{name}.test', ' REQUIRETLS RET=FULL')
            assert re.search(r'\bREQUIRETLS\b', hops['good'].wait(1)[0]['params'])
            reports = {re.search(rb'u@(\w+)\.test', m['body'])[1].decode(): m
                       for m in [m for m in lab.wait_for('reports', lambda: len(hops['back'].mails) == 4 and hops['back'].mails) if not m['from']]}
            assert set(reports) == {'lacks', 'stranger', 'plain'}
            # a connection that breaks may be better another time
            lab.wait_for('one that waits', lambda: [m['recipients'][0]['address'] for m in g.queue()] == ['u@broken.test'])
            for name, m in reports.items():
                assert f'\nStatus: {"5.7.30" if name == "lacks" else "5.7.10"}\r' in m['body'].decode(), (name, m)
                assert 'REQUIRETLS' in m['params'] and b'Subject: t' in m['body'] and b'secret' not in m['body'], m
            assert not [m for n in ('lacks', 'stranger', 'broken', 'plain') for m in hops[n].mails] and hops['broken'].plain_mails == 0
            # who does not ask gets the mail to all of them
            for name in ('lacks', 'stranger', 'plain'):
                send(g, ca, f'v@{name}.test', '')
                assert hops[name].wait(1)[0]['rcpts'] == [f'v@{name}.test'] and 'REQUIRETLS' not in hops[name].mails[0]['params']


def test_a_report_to_a_hop_that_lacks_it(inst, ca):
    """With the null sender it goes on without the word, by TLS with a good certificate all the same."""
    with TlsSink(ca.host, ehlo=OFFER[:-1]) as lacks, TlsSink(ca.stranger, ehlo=OFFER) as stranger, lab.Sink(ehlo=OFFER) as plain, gateway(
            inst, ca, {'lacks': lacks, 'stranger': stranger, 'plain': plain}) as g:
        send(g, ca, 'u@stranger.test', ' REQUIRETLS RET=FULL', sender='a@lacks.test')
        report = lacks.wait(1)[0]
        assert report['from'] == '' and b'5.7.10' in report['body'] and b'Subject: t' in report['body'] and b'secret' not in report['body']
        send(g, ca, 'w@lacks.test', sender='')
        assert lacks.wait(2)[1]['rcpts'] == ['w@lacks.test'] and not any('REQUIRETLS' in m['params'] for m in lacks.mails)
        send(g, ca, 'u@stranger.test', sender='a@plain.test')  # nobody is told
        send(g, ca, 'w@stranger.test', sender='')
        g.queue_empty()
        assert not plain.mails and not stranger.mails and plain.commands.count(('MAIL', 'FROM:<>')) == 0


def test_members_of_a_list(inst, ca):
    """They get it under the same condition, from the list's owner, who is told under it too."""
    with TlsSink(ca.host, ehlo=OFFER) as good, TlsSink(ca.host, ehlo=OFFER[:-1]) as lacks, gateway(
            inst, ca, {'good': good, 'lacks': lacks}, files={'al': 'all x@good.test, x@lacks.test\nowner-all boss@good.test\n'},
            smar='map al { type = text; file = "al"; } aliases { name = al; flags = { localpart, local_domains }; } local_domains = gw.test;') as g:
        send(g, ca, 'all@gw.test')
        got = {m['from']: m for m in good.wait(2)}
        assert set(got) == {'owner-all@gw.test', ''}
        g.queue_empty()
        assert all('REQUIRETLS' in m['params'] for m in got.values()) and not lacks.mails
        assert got['']['rcpts'] == ['boss@good.test'] and b'5.7.30' in got['']['body']


def test_a_session_of_other_mail_is_not_used(inst, ca):
    """A kept session that nobody verified serves no such mail, though its hop offers REQUIRETLS."""
    with TlsSink(ca.stranger, ehlo=OFFER) as sink, TlsSink(ca.host, ehlo=OFFER) as back, gateway(inst, ca, {'a': sink, 'back': back}) as g:
        send(g, ca, 'u@a.test', '')
        sink.wait(1)
        lab.wait_for('an idle session', lambda: [s['state'] for s in json.loads(g.http('smtpc', 'GET', '/v1/sessions')[1])['sessions']] == ['idle'])
        send(g, ca, 'u@a.test')
        assert b'5.7.10' in back.wait(1)[0]['body'] and len(sink.mails) == 1


@pytest.mark.parametrize('kind', ['log', 'dir'])
def test_kept_over_a_kill(inst, ca, kind):
    """It stands in the queue, and in what is exported."""
    later = lab.tempdir('rt') / 'go'
    def answer(verb, arg, ses):
        return '450 4.2.0 later' if verb == 'RCPT' and not later.exists() else None
    with TlsSink(ca.host, ehlo=OFFER, answer=answer) as sink, gateway(
            inst, ca, {'a': sink}, qmgr=f'min_retry_delay = 200ms; max_retry_delay = 200ms; queue {{ type = {kind}; }}') as g:
        send(g, ca, 'u@a.test')
        g.wait_log('status=deferred')
        g.ctl('queue', 'export', str(g.dir / 'out'))
        assert any('"requiretls"' in p.read_text() for p in (g.dir / 'out').rglob('*.json'))
        for pid in g.pids().values():
            os.kill(pid, signal.SIGKILL)
        g.proc.wait()
        lab.wait_for('all to be gone', lambda: not g.pids())
        g.start().ready()
        later.write_text('')
        assert 'REQUIRETLS' in sink.wait(1)[0]['params']
