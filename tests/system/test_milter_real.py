# SPDX-License-Identifier: BSD-2-Clause
"""The filters that people run, set up by the blocks of doc/filters.md: OpenDKIM and OpenDMARC judge what comes in; Rspamd, ClamAV
and SpamAssassin refuse what they should; and all in one chain."""
import contextlib, json, os

import lab, milters, pytest
from dkimd import Opendkim, Opendmarc, Signed, block, owned, smtps, verified
import dkimd

HEAD = b'Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: Ann <ann@example.org>\r\nTo: b@far.test\r\nSubject: t\r\n'
PLAIN = HEAD + b'\r\nhello\r\n'


@pytest.fixture(scope='module', autouse=True)
def root():
    assert os.geteuid() == 0, 'these daemons are started by root'


# ---- OpenDKIM ----


@pytest.fixture(scope='module')
def key():
    with dkimd.key() as k:
        yield k


@pytest.fixture(scope='module')
def signed(inst, key):
    s = Signed(inst, key)
    with s.stack:
        yield s


def test_opendkim_signs_reports(inst, key):
    """A signer behind listeners = dsn_filters: the report verifies where it arrives, by another library."""
    def refuse(verb, arg, ses):
        return '550 5.1.1 no such user' if verb == 'RCPT' and 'bad' in arg else None
    with Opendkim(key) as dkim, lab.Sink(answer=refuse) as sink:
        g = lab.relay_all(inst, sink.port, qmgr='dsn_filters = yes;', smtps='policy_milter { module = milter; phase = sign; listeners = dsn_filters; '
                          f'socket {{ type = unix; path = "{dkim.socket}"; }} }}')
        g.conf.write_text(g.conf.read_text().replace('gw.test', 'example.org'))
        with g:
            with g.client() as c:
                c.mail('ann@far.test', ['bad@far.test'], HEAD + b'\r\nhello\r\n')
            report = lab.wait_for('the report', lambda: [m for m in list(sink.mails) if m['from'] == ''])[0]
            got = milters.content(report)
            assert got.startswith(b'DKIM-Signature: ') and b'report-type=delivery-status' in got, got[:600]
            assert verified(got, key[1])
            g.queue_empty()


def test_not_signed_and_not_verified(signed):
    """Who came by the other socket; a changed body; mail without a header at all."""
    got = signed.send(PLAIN)
    assert b'DKIM-Signature' not in got
    good = signed.send(PLAIN, signed.submission)
    assert not verified(good + b'more\r\n', signed.record)
    back = signed.send(good.replace(b'hello', b'jello'))
    assert b'dkim=fail' in back and b'dkim=pass' not in back
    assert signed.send(b'\r\nno header\r\n', signed.submission).endswith(b'\r\nno header\r\n')


def test_results_that_a_client_claims(signed):
    """Threat 19: none of the lines that say they are ours is left, whatever they look like."""
    claims = [b'Authentication-Results: mx.example.org; dkim=pass header.d=bank.test', b'authentication-results: MX.example.org;\r\n\tdkim=pass header.d=bank.test',
              b'Authentication-Results:mx.example.org; spf=pass smtp.mailfrom=bank.test', b'Authentication-Results: (x) mx.example.org 1; dkim=pass header.d=bank.test',
              b'Authentication-Results:\r\n mx.example.org (x)\r\n ; dkim=pass header.d=bank.test', b'Authentication-Results : "mx.example.org"; dkim=pass header.d=bank.test']
    other = b'Authentication-Results: other.test; dkim=pass header.d=other.test'
    got = signed.send(b'\r\n'.join([*claims, other]) + b'\r\n' + PLAIN)
    assert b'bank.test' not in got and other in got, got


# ---- the others ----


def gateway(stack, inst, name, replace):
    sink = stack.enter_context(lab.Sink())
    gw = stack.enter_context(lab.relay_all(inst, sink.port, smtps=smtps(name, replace), ac='cltaddr:127 RELAY\n'))
    return sink, gw


def body(text):
    return HEAD + b'\r\n' + text + b'\r\n'


def test_dmarc_judges_by_what_was_verified(inst, key):
    """Signed by the domain, or from its host: pass. Neither: refused. What a client claims counts for nothing."""
    with Opendmarc() as dmarc:
        s = Signed(inst, key, dmarc.socket)
        with s.stack:
            good = s.send(PLAIN, s.submission)
            assert verified(good, s.record)
            assert b'dmarc=pass' in s.send(good, source='192.0.2.9')
            assert b'dmarc=pass' in s.send(PLAIN, source='192.0.2.8')
            claim = b'Authentication-Results: mx.example.org; dkim=pass header.d=example.org\r\n'
            for message in (PLAIN, claim + PLAIN, good.replace(b'hello', b'jello')):
                assert s.send(message, source='192.0.2.9').startswith('550 5.7.1'), message


class Clamav:
    """The page's clamav-milter, and a clamd that knows one virus."""

    def __init__(self, stack):
        self.clamd, self.milter = stack.enter_context(milters.Milter('clamd')), stack.enter_context(milters.Milter('clamav'))
        (self.clamd.dir / 'db').mkdir()
        (self.clamd.dir / 'db/own.ndb').write_text(f'Test.Virus:0:*:{VIRUS.hex()}\n')
        (self.clamd.dir / 'conf').write_text(f'Foreground yes\nLocalSocket {self.clamd.socket}\nLocalSocketMode 666\nDatabaseDirectory {self.clamd.dir}/db\nUser clamav\nMaxThreads 2\n')
        (self.milter.dir / 'conf').write_text(block('/etc/clamav/clamav-milter.conf', **{'/run/clamav/clamav-milter.sock': self.milter.socket,
                                                                                         '/run/clamav/clamd.ctl': self.clamd.socket}) + 'Foreground yes\n')
        owned(self.clamd.dir, 'clamav')
        owned(self.milter.dir, 'clamav')
        self.socket = self.milter.socket
        self.start()

    def start(self):
        self.clamd.up(['clamd', '-c', self.clamd.dir / 'conf'], children=True)
        self.listen()

    def listen(self):
        self.milter.up(['clamav-milter', '-c', self.milter.dir / 'conf'])


class Rspamd(milters.Milter):
    """The page's proxy worker with all of Rspamd's rules, its own user, no network."""

    def __init__(self):
        super().__init__('rspamd')
        worker = block('/etc/rspamd/local.d/worker-proxy.inc', **{'/run/rspamd/milter.sock': self.socket})
        (self.dir / 'db').mkdir()
        (self.dir / 'tld').write_text('test\ncom\norg\n')
        (self.dir / 'conf').write_text(f'''options {{
  pidfile = "{self.dir}/pid"; tempdir = "{self.dir}"; hs_cache_dir = "{self.dir}/db"; filters = "chartable,regexp";
  dns {{ nameserver = ["127.0.0.1:{lab.free_port()}"]; timeout = 0.1s; retransmits = 1; }}
  local_addrs = []; url_tld = "{self.dir}/tld"; disable_hyperscan = true; control_socket = "{self.dir}/control mode=0600"; enable_test_patterns = true;
}}
logging {{ type = "file"; filename = "{self.dir}/rspamd.log"; level = "info"; }}
lua = "/usr/share/rspamd/rules/rspamd.lua";
actions {{ reject = 15; add_header = 6; greylist = null; }}
worker "rspamd_proxy" {{
{worker}
count = 1;
}}
.include "/etc/rspamd/composites.conf"
''')
        owned(self.dir, '_rspamd')
        self.up(['rspamd', '-f', '-u', '_rspamd', '-g', '_rspamd', '-c', self.dir / 'conf'], children=True)


VIRUS = b'GATEWAY-VIRUS-TEST-STRING'
# what Rspamd itself has to be tried with: refuse, mark, change the subject
GTUBE, MARK, SUBJECT = (c + b'JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X' for c in (b'X', b'Y', b'Z'))


@pytest.fixture(scope='module')
def clamav():
    with contextlib.ExitStack() as stack:
        yield Clamav(stack)


@pytest.fixture(scope='module')
def rspamd():
    with Rspamd() as r:
        yield r


def test_clamav(inst, clamav):
    with contextlib.ExitStack() as stack:
        sink, gw = gateway(stack, inst, 'conf.d/clamav.conf', {'/run/clamav/clamav-milter.sock': clamav.socket})
        assert milters.send(gw, body(b'clean')).startswith('250')
        assert b'X-Virus-Status: Clean' in sink.wait(1)[0]['body']
        assert milters.send(gw, body(VIRUS)).startswith('550 5.7.1 Virus found: Test.Virus')
        clamav.clamd.stop()
        try:
            assert milters.send(gw, body(b'clean')).startswith('451')
        finally:
            clamav.milter.stop()  # it looks for a clamd that was away only now and then
            clamav.start()


def test_rspamd(inst, rspamd):
    with contextlib.ExitStack() as stack:
        sink, gw = gateway(stack, inst, 'conf.d/rspamd.conf', {'/run/rspamd/milter.sock': rspamd.socket})
        assert milters.send(gw, body(b'clean')).startswith('250')
        assert milters.content(sink.wait(1)[0]).endswith(body(b'clean'))
        assert milters.send(gw, body(GTUBE)).startswith('554 5.7.1 Gtube pattern')


def not_now(port):
    with lab.Client(('127.0.0.1', port)) as c:
        c.cmd('EHLO client.test', 250)
        c.cmd('MAIL FROM:<ann@example.org>', 451)


def test_all_in_one_chain(inst, key, rspamd, clamav):
    """Each has its word, the stricter one counts, what they add is signed; who is away has his failure action, and is asked again."""
    s = Signed(inst, key, others={'/run/rspamd/milter.sock': rspamd.socket, '/run/clamav/clamav-milter.sock': clamav.socket})
    with s.stack:
        good = s.send(PLAIN, s.submission)
        assert verified(good, s.record) and b'X-Virus-Status: Clean' in good and b'dkim=' not in good, good
        back = s.send(good)
        assert b'dkim=pass' in back and verified(back, s.record), back
        marked = s.send(body(MARK), s.submission)
        assert verified(marked, s.record) and b'\r\nX-Spam: Yes\r\n' in marked and b'X-Virus-Status: Clean' in marked, marked
        changed = s.send(body(SUBJECT), s.submission)
        assert verified(changed, s.record) and b'\r\nSubject: *** SPAM *** t\r\n' in changed and b'Subject: t\r\n' not in changed, changed
        for port in (None, s.submission):
            assert s.send(body(GTUBE), port).startswith('554 5.7.1 Gtube pattern')
            assert s.send(body(VIRUS), port).startswith('550 5.7.1 Virus found: Test.Virus')
            assert s.send(body(GTUBE + b' ' + VIRUS), port).startswith('554 5.7.1 Gtube pattern')
        s.dkim.stop()
        assert b'dkim=' not in s.send(PLAIN)
        not_now(s.submission)
        s.dkim.start()
        assert verified(s.send(PLAIN, s.submission), s.record)
        clamav.milter.stop()
        try:
            not_now(s.gw.port)
        finally:
            clamav.listen()
        assert b'X-Virus-Status: Clean' in s.send(PLAIN)
        known = {f['name']: f for f in json.loads(s.gw.http('smtps', 'GET', '/v1/filters')[1])['filters']}
        assert list(known) == ['dkim_verify', 'rspamd', 'clamav', 'dkim_sign'], known
        assert {n: (f['counts']['reject'], f['counts']['failed']) for n, f in known.items()} == {'dkim_verify': (0, 1), 'rspamd': (4, 0), 'clamav': (4, 1), 'dkim_sign': (0, 1)}


def test_spamassassin(inst):
    with contextlib.ExitStack() as stack:
        spamd, f = stack.enter_context(milters.Milter('spamd')), stack.enter_context(milters.Milter('spamass'))
        for sub in ('rules', 'site', 'home'):
            (spamd.dir / sub).mkdir()
        (spamd.dir / 'site/init.pre').write_text('loadplugin Mail::SpamAssassin::Plugin::Check\n')
        (spamd.dir / 'rules/10.cf').write_text('required_score 5\nreport_safe 1\nadd_header all Status _YESNO_, score=_SCORE_\nadd_header spam Flag _YESNOCAPS_\n'
                                               'body GW_TAG /GWSPAMTAG/\nscore GW_TAG 6\nbody GW_REJECT /GWSPAMREJECT/\nscore GW_REJECT 20\n')
        owned(spamd.dir, 'debian-spamd')
        owned(f.dir, 'spamass-milter')
        os.chmod(spamd.dir, 0o777)
        spamd.up(['spamd', '-L', '-C', spamd.dir / 'rules', f'--siteconfigpath={spamd.dir}/site', '-H', spamd.dir / 'home', '-x', '-u', 'debian-spamd', '-s', 'stderr',
                  f'--socketpath={spamd.socket}', '--socketmode=0666', '--max-children=1'], children=True)
        f.up(['setpriv', '--reuid=spamass-milter', '--regid=spamass-milter', '--clear-groups', 'spamass-milter', '-p', f.socket, '-r', '15', '--', '-U', spamd.socket])
        sink, gw = gateway(stack, inst, 'conf.d/clamav.conf', {'/run/clamav/clamav-milter.sock': f.socket})
        assert milters.send(gw, body(b'clean')).startswith('250')
        assert b'X-Spam-Status: No' in sink.wait(1)[0]['body']
        assert milters.send(gw, body(b'GWSPAMTAG')).startswith('250')
        tagged = sink.wait(2)[1]['body']
        assert b'X-Spam-Flag: YES' in tagged and b'GWSPAMTAG' in tagged and b'multipart/mixed' in tagged
        assert milters.send(gw, body(b'GWSPAMREJECT')).startswith('550 5.7.1 Blocked by SpamAssassin')
