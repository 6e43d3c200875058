# SPDX-License-Identifier: BSD-2-Clause
"""Who has the word about TLS to a domain when several speak: a row of tls_policy before DANE, DANE before MTA-STS, and what a mail says
of itself beside them (RFC 8689). One gateway, a validating resolver before signed and plain zones, a real HTTPS server of policies,
and hops with real certificates on addresses of their own."""
import contextlib, re

import certs, lab, pytest, signed
from test_dane import spki
from test_mta_sts import Web, policy, reports
from test_tls_client import TlsSink

BODY = 'Subject: t\r\n\r\nhello\r\n'
NO = 'TLS-Required: No\r\n' + BODY
OFFER = ('PIPELINING', '8BITMIME', 'REQUIRETLS')
# domain -> (is the certificate of its host, mx.DOMAIN, of the authority that is trusted?; is there a TLSA record, and is it right?; mode of its
# policy, the host that this names; row of tls_policy). order.test is signed. A host that failed is left alone for a while, so each has its own.
MX, ELSE = 'mx.', 'else.'
DOMAINS = {
    'dane-wins.order.test': (False, True, 'enforce', MX, None),
    'dane-names.order.test': (False, True, 'enforce', ELSE, None),
    'dane-holds.order.test': (True, False, 'enforce', MX, None),
    'row-dane.order.test': (True, False, 'enforce', ELSE, 'encrypt'),
    'proven.order.test': (True, None, None, None, None),
    'good.sts.test': (True, None, 'enforce', MX, None),
    'fails.sts.test': (False, None, 'enforce', MX, None),
    'row.sts.test': (False, None, 'enforce', MX, 'encrypt'),
    'row-names.sts.test': (False, None, 'enforce', ELSE, 'may'),
    'strict.sts.test': (False, None, 'testing', MX, 'verify'),
    'unproven.sts.test': (True, None, None, None, None)}
OTHERS = {  # which test_who_has_the_word() sends nothing to
    'no.order.test': (True, False, 'enforce', MX, None),
    'no.sts.test': (False, None, 'enforce', MX, None),
    'line.order.test': (True, False, None, None, None),
    'no-row.sts.test': (False, None, 'enforce', MX, 'verify'),
    'must.order.test': (True, False, None, None, None),
    'must.sts.test': (False, None, 'enforce', MX, None),
    'probe-ok.order.test': (False, True, None, None, None),
    'probe-no.order.test': (True, False, None, None, None)}
ALL = DOMAINS | OTHERS


class World:
    def __init__(self, stack, inst):
        self.ca, other = stack.enter_context(certs.Authority()), stack.enter_context(certs.Authority('other'))
        self.web, self.port = stack.enter_context(Web(self.ca)), lab.free_port()
        names = ',DNS:'.join(MX + d for d in ALL)
        hop = {a: (self.ca if a else other).issue('mx', host=names) for a in (True, False)}
        self.web.cert('many', host=',DNS:'.join(f'mta-sts.{d}' for d in ALL))
        self.sink, zones = {}, {'order.test': '', 'sts.test': ''}
        for i, (domain, (trusted, tlsa, mode, named, _)) in enumerate(ALL.items()):
            address = f'127.0.8.{i + 1}'
            self.sink[domain] = stack.enter_context(TlsSink(hop[trusted], address=address, port=self.port, ehlo=OFFER, answer=self.answer))
            zones[domain.split('.', 1)[1]] += f'{domain}. IN MX 10 mx.{domain}.\nmx.{domain}. IN A {address}\n' + self.site(domain, mode, named) + (
                '' if tlsa is None else f'_{self.port}._tcp.mx.{domain}. IN TLSA 3 1 1 {spki(hop[trusted][0]) if tlsa else "00" * 32}\n')
        self.gw, us = self.ca.issue('gw', host='gw.test'), self.ca.issue('back', host='127.0.0.1')
        self.back = stack.enter_context(TlsSink(us, ehlo=OFFER))
        dns = stack.enter_context(signed.resolver({'order.test': zones['order.test']}, {'sts.test': zones['sts.test']}))
        self.g = stack.enter_context(self.gateway(inst, f'"127.0.0.1:{dns}"'))
        lab.wait_for('unbound', lambda: '"ok"' in self.g.ctl('dns', 'order.test', 'SOA', '--json').stdout)

    @staticmethod
    def answer(verb, arg, ses):
        return '550 5.1.1 no such user' if verb == 'RCPT' and '<no@' in arg else None

    def site(self, domain, mode, named):
        if not mode:
            return ''
        self.web.contexts[f'mta-sts.{domain}'] = self.web.contexts['mta-sts.many']
        self.web.pages[f'mta-sts.{domain}'] = policy(mode, named + domain)
        return f'mta-sts.{domain}. IN A 127.0.0.1\n_mta-sts.{domain}. IN TXT "v=STSv1; id=1;"\n' \
            f'_smtp._tls.{domain}. IN TXT "v=TLSRPTv1; rua=mailto:tls@{domain}"\n'

    def gateway(self, inst, dns):
        rows = ''.join(f'{domain} {d[4]}\n' for domain, d in ALL.items() if d[4])
        return lab.relay_all(
            inst, 0, mt=f'back.test [127.0.0.1]:{self.back.port}\n', files={'tp': rows}, qmgr='min_retry_delay = 1h; max_retry_delay = 1h;',
            smtps=f'tls {{ cert_file = "{self.gw[0]}"; key_file = "{self.gw[1]}"; }}',
            smtpc=f'remote_port = {self.port}; tls {{ CAcert_file = "{self.ca.ca}"; }}',
            smar=f'nameserver = {dns}; trusted_nameserver = {dns}; map tp {{ type = text; file = "tp"; }} tls_policy {{ name = tp; }} '
            f'mta_sts {{ remote_port = {self.web.port}; CAcert_file = "{self.ca.ca}"; wait = 9s; }} tlsrpt {{ }} '
            'recipient_probe { domains = { probe-ok.order.test, probe-no.order.test }; }')

    def send(self, user, domain, body=BODY, params=''):
        with self.g.client() as c:
            if params:
                certs.starttls(c, self.ca.context())
            assert c.mail('a@back.test', f'{user}@{domain}', body, params=params).startswith('250')

    def delivered(self, user, domain, how):
        """how: what was required and what was achieved, as the log has it."""
        self.g.wait_log(rf'qmgr\.done .*to=<{user}@{re.escape(domain)}> .*status=delivered .*tls="{how}"')
        mails = [m for m in self.sink[domain].mails if m['rcpts'] == [f'{user}@{domain}']]
        assert len(mails) == 1
        return mails[0]

    def waits(self, user, domain, why):
        reason = lab.wait_for(f'why {domain} waits', lambda: [
            r['reason'] for m in self.g.queue() for r in m['recipients'] if r['address'] == f'{user}@{domain}' and r['reason']])[0]
        assert re.search(why, reason), reason
        assert not any(f'{user}@{domain}' in m['rcpts'] for s in self.sink.values() for m in s.mails)


@pytest.fixture(scope='module')
def world(inst):
    with contextlib.ExitStack() as stack:
        yield World(stack, inst)


@pytest.fixture(scope='module')
def sent(world):
    """A mail to each domain."""
    for domain in DOMAINS:
        world.send('u', domain)
    return world


def test_who_has_the_word(sent):
    """By the key where MTA-STS would refuse the certificate or the host; not at all where MTA-STS would be content; as a row says, whatever
    both want, and also where that is more."""
    for domain in ('dane-wins.order.test', 'dane-names.order.test'):
        sent.delivered('u', domain, 'dane,dane TLSv1.3,.*,DANE-EE')
    sent.waits('u', 'dane-holds.order.test', r'4\.7\.5')
    sent.delivered('u', 'row-dane.order.test', 'encrypt,row TLSv1.3,.*')
    sent.delivered('u', 'good.sts.test', 'verify,sts TLSv1.3,.*,verified')
    sent.waits('u', 'fails.sts.test', r'4\.7\.5 .*not to be trusted')
    sent.delivered('u', 'row.sts.test', 'encrypt,row TLSv1.3,.*,not trusted')
    sent.delivered('u', 'row-names.sts.test', 'may,row TLSv1.3,.*,not trusted')
    sent.waits('u', 'strict.sts.test', r'4\.7\.5 .*not to be trusted')
    for domain in ('proven.order.test', 'unproven.sts.test'):
        sent.delivered('u', domain, 'may TLSv1.3,.*,verified')
    assert not any(s.plain_mails for s in sent.sink.values())


def test_dane_in_reports(sent):
    """By the policy that was applied: that of the records, not the one of the web."""
    def both():
        got = reports(sent.g)
        return got if {'dane-wins.order.test', 'dane-holds.order.test', 'good.sts.test'} <= set(got) else None
    got = lab.wait_for('the reports', both)
    for domain, kind, failed in (('dane-wins.order.test', 'tlsa', 0), ('dane-holds.order.test', 'tlsa', 1), ('good.sts.test', 'sts', 0)):
        p, = got[domain]['policies']
        assert p['policy']['policy-type'] == kind and p['policy']['policy-domain'] == domain
        if kind == 'tlsa':
            assert [re.sub(' [0-9a-f]{64}$', '', s) for s in p['policy']['policy-string']] == ['3 1 1']
        good, bad = (p['summary'][f'total-{k}-session-count'] for k in ('successful', 'failure'))
        assert (good > 0, bad > 0) == (not failed, bool(failed)), p
    f, = got['dane-holds.order.test']['policies'][0]['failure-details']
    assert (f['result-type'], f['receiving-mx-hostname'], f['receiving-ip']) == ('tlsa-invalid', 'mx.dane-holds.order.test', '127.0.8.3')


def test_tls_required_no(world):
    """The recipient's domain does not count, be it by a policy in force or by DANE; what an admin says does."""
    domains = 'no.sts.test', 'no.order.test', 'no-row.sts.test'
    for domain in domains:
        world.send('no-tls', domain, NO)
    for domain in domains[:2]:
        world.delivered('no-tls', domain, 'tls-required-no TLSv1.3,.*')
    world.waits('no-tls', domains[2], r'4\.7\.5 .*not to be trusted')


def test_lines(world):
    """A host whose certificate is not the one of its TLSA record is dead for mail that heeds that, and only for it."""
    world.send('first', 'line.order.test', BODY)
    world.waits('first', 'line.order.test', r'4\.7\.5 ')
    world.send('second', 'line.order.test', BODY)
    world.send('no-tls', 'line.order.test', NO)
    world.delivered('no-tls', 'line.order.test', 'tls-required-no TLSv1.3,.*')
    world.waits('second', 'line.order.test', r'4\.7\.5 ')  # put off, untried, behind the first
    world.waits('first', 'line.order.test', r'4\.7\.5 ')


def test_requiretls(world):
    """To hosts that DNSSEC, DANE or MTA-STS proves; one that nobody proves has a good certificate and offers it in vain, and a row or
    TLS-Required: No do not help."""
    good = 'proven.order.test', 'dane-wins.order.test', 'good.sts.test'
    bad = 'unproven.sts.test', 'row.sts.test', 'must.sts.test', 'must.order.test'
    for domain in good + bad:
        world.send('must', domain, NO, ' REQUIRETLS')
    for domain in good:
        assert 'REQUIRETLS' in world.delivered('must', domain, '.* TLSv1.3,.*')['params']
    told = {}

    def all_told():
        for m in world.back.mails:
            if m['from'] == '':
                told[re.search(rb'Final-Recipient: rfc822; ?must@(\S+)', m['body'])[1].decode()] = m
        return set(told) >= set(bad)
    lab.wait_for('the reports', all_told)
    assert set(told) == set(bad)
    for domain, m in told.items():
        assert b'\nStatus: 5.7.10\r' in m['body'] and 'REQUIRETLS' in m['params'], (domain, m)
    assert b'neither DNSSEC nor MTA-STS proves' in told['unproven.sts.test']['body']
    assert not any(r.startswith('must@') and r.split('@')[1] in bad for s in world.sink.values() for m in s.mails for r in m['rcpts'])


def test_probes(world):
    """smar says a recipient only to a host that its TLSA records mean."""
    hop = world.sink['probe-no.order.test']
    before = [a for v, a in hop.commands if v in ('MAIL', 'RCPT')]
    assert world.g.verdict('no@probe-ok.order.test').startswith('550 5.1.1')
    assert world.g.verdict('yes@probe-ok.order.test').startswith('250')
    assert world.g.verdict('no@probe-no.order.test').startswith('450')
    assert [a for v, a in hop.commands if v in ('MAIL', 'RCPT')] == before and hop.plain_mails == 0
