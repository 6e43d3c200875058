# SPDX-License-Identifier: BSD-2-Clause
"""The filters that people run, set up by the blocks of doc/filters.md: OpenDKIM signs odd mail that still verifies after delivery,
by another library than its own; OpenDKIM and OpenDMARC judge what comes in; Rspamd, ClamAV and SpamAssassin refuse what they should."""
import contextlib, os, pathlib, re, shutil, subprocess

import lab, milters, pytest

PAGE = (pathlib.Path(__file__).parents[2] / 'doc/filters.md').read_text()
HEAD = b'From: Ann <ann@example.org>\r\nTo: b@far.test\r\nSubject: t\r\n'


def block(name, **replace):
    """The page's file of that name, with these paths in place of its own."""
    found = re.search(rf'^    # {re.escape(name)}\n((?:    .*\n|\n)*)', PAGE, re.M)
    text = re.sub('^    ', '', found[1], flags=re.M).split('\n# /etc')[0].split('\n# conf.d')[0]
    for old, new in replace.items():
        assert old in text, f'{name} does not say {old}'
        text = text.replace(old, str(new))
    return text


def smtps(name, replace):
    """What stands in the page's smtps { }."""
    return re.search(r'smtps \{\n(.*)\n\}', block(name, **replace), re.S)[1]


def owned(folder, user):
    subprocess.run(['chown', '-R', user, folder], check=True)
    os.chmod(folder, 0o755)


@pytest.fixture(scope='module', autouse=True)
def root():
    assert os.geteuid() == 0, 'these daemons are started by root'


# ---- OpenDKIM ----


@pytest.fixture(scope='module')
def key():
    folder = lab.tempdir('dkim')
    subprocess.run(['opendkim-genkey', '-b', '1024', '-d', 'example.org', '-s', 'mail', '-D', folder], check=True)
    record = ''.join(re.findall(r'"([^"]*)"', (folder / 'mail.txt').read_text()))
    yield folder, record
    shutil.rmtree(folder)


class Opendkim(milters.Milter):
    def __init__(self, key, canon='relaxed/simple'):
        super().__init__('opendkim')
        self.key, record = key
        (self.dir / 'keys').write_text(f'mail._domainkey.example.org {record}\n')
        self.start(canon)

    def start(self, canon):
        (self.dir / 'nobody').write_text('')
        shutil.copy(self.key / 'mail.private', self.dir)
        conf = block('/etc/opendkim.conf', **{'/etc/dkimkeys': self.dir, '/run/opendkim/opendkim.sock': self.socket, 'relaxed/simple': canon, 'UMask 007': 'UMask 000'})
        (self.dir / 'conf').write_text(conf + f'TestPublicKeys {self.dir}/keys\nSyslog no\nBackground no\nRequireSafeKeys no\n')
        owned(self.dir, 'opendkim')
        self.up(['opendkim', '-f', '-x', self.dir / 'conf'])

    def restart(self, canon):
        self.stop()
        self.start(canon)


CORPUS = {
    'plain': HEAD + b'\r\nhello\r\n',
    'folded': HEAD + b'X-A: one\r\n\ttwo\r\n  three  \r\nReferences:\r\n <a@b>\r\n\t<c@d>\r\n\r\nhello\r\n',
    'blanks': b'from:ann@example.org\r\nTO:\t b@far.test \t\r\nSubject:  two  blanks \r\nX-Empty:\r\nX-Blank: \r\nX-Fold: a\r\n \r\n\tb\r\n\r\nhello \t \r\n  two  \r\n',
    'blank before the colon': b'From : ann@example.org\r\nTo: b@far.test\r\nSubject\t: t\r\n\r\nhello\r\n',
    '8bit': b'From: \xc3\x84nn <ann@example.org>\r\nSubject: \xe4\xf6\xfc\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4\xff\xfe\r\n',
    'dots': HEAD + b'\r\n.\r\n..\r\n.leading\r\n...\r\ntrailing.\r\n.\r\n',
    'empty body': HEAD + b'\r\n',
    'no body': HEAD,
    'trailing lines': HEAD + b'\r\nhello\r\n\r\n\r\n\r\n',
    'only lines': HEAD + b'\r\n\r\n\r\n',
    'twice': HEAD + b'X-A: 1\r\nX-A: 2\r\nx-a: 3\r\nReceived: from x by y; Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\nhello\r\n',
    'long lines': HEAD + b'X-Long: ' + b'x' * 980 + b'\r\n\r\n' + b'y' * 998 + b'\r\n',
    'many fields': HEAD + b''.join(b'X-%d: %d\r\n' % (i, i) for i in range(300)) + b'\r\nhello\r\n',
    'like a field': HEAD + b'\r\nnot: a field\r\n\tnor this\r\n',
    'long body': HEAD + b'\r\n' + b''.join(b'%06d .dot and blanks \t \r\n' % i for i in range(12000)) + b'.\r\n',
}
# filters are told of no blank before the colon, so what is signed by the byte is another field; and dkimpy cannot read it
NORMAL = 'blank before the colon'


def verified(message, record):
    import dkim
    return dkim.verify(message, dnsfunc=lambda name, timeout=5: record.encode() if name.rstrip(b'.') == b'mail._domainkey.example.org' else None)


class Signed:
    """The page's chain of OpenDKIM alone, over two sockets of our own."""

    def __init__(self, inst, key, dmarc=None):
        self.stack = contextlib.ExitStack()
        self.dkim = self.stack.enter_context(Opendkim(key))
        self.sink = self.stack.enter_context(lab.Sink())
        self.submission = lab.free_port()
        self.record = key[1]
        text = smtps('conf.d/dkim.conf', {'/run/opendkim/opendkim.sock': self.dkim.socket, '/run/opendmarc/opendmarc.sock': dmarc or self.dkim.dir / 'none',
                                          'listen_socket submission { port = 587; }': f'listen_socket submission {{ address = 127.0.0.1; port = {self.submission}; }}'})
        if not dmarc:
            text = re.sub(r' *filter dmarc \{.*?\n        \}\n', '', text, flags=re.S)
        gw = lab.relay_all(inst, self.sink.port, smtps='@@ proxy_protocol { mode = allow; trusted = 127.0.0.2; }', ac='cltaddr:127 RELAY\ncltaddr:192.0.2 RELAY\n')
        gw.conf.write_text(re.sub(r'listen_socket \{.*?\} ', '', gw.conf.read_text()).replace('gw.test', re.search('hostname = (.*?);', block('conf.d/dkim.conf'))[1]).replace(
            '@@', text.replace('{ port = 25; }', f'{{ address = 127.0.0.1; port = {gw.port}; }}')))
        self.gw = self.stack.enter_context(gw)

    def send(self, message, port=None, source=None):
        """What arrived, or what was said in place of it. source: by a balancer."""
        n = len(self.sink.mails)
        with lab.Client(('127.0.0.1', port or self.gw.port), source=source and '127.0.0.2', greet=not source) as c:
            if source:
                c.send(f'PROXY TCP4 {source} 127.0.0.1 40000 25\r\n')
                c.reply(220)
            said = c.mail('ann@example.org', ['b@far.test'], milters.stuffed(message), params=' BODY=8BITMIME')
        return milters.content(self.sink.wait(n + 1)[n]) if said.startswith('250') else said


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


@pytest.mark.parametrize('canon', ['simple/simple', 'relaxed/relaxed', 'simple/relaxed'])
def test_opendkim_signs_odd_mail(signed, canon):
    """It verifies where it was delivered, by another library, and is otherwise as it came; and again by OpenDKIM when it comes back."""
    signed.dkim.restart(canon)
    for name, message in CORPUS.items():
        got = signed.send(message, signed.submission)
        field = re.match(rb'DKIM-Signature: .*?\r\n(?![ \t])', got, re.S)
        assert field and f'c={canon}'.encode() in field[0] and got[field.end():] == message, (name, got[:1500])
        if name == NORMAL and canon.startswith('simple'):
            continue
        assert name == NORMAL or verified(got, signed.record), f'{name} {canon}: {got[:1500]}'
        back = signed.send(got)
        assert b'dkim=pass' in re.search(rb'^Authentication-Results: mx\.example\.org;.*?\r\n(?![ \t])', back, re.M | re.S)[0], (name, back[:1000])


def test_not_signed_and_not_verified(signed):
    """Who came by the other socket; a changed body; mail without a header at all."""
    got = signed.send(CORPUS['plain'])
    assert b'DKIM-Signature' not in got
    good = signed.send(CORPUS['plain'], signed.submission)
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
    got = signed.send(b'\r\n'.join([*claims, other]) + b'\r\n' + CORPUS['plain'])
    assert b'bank.test' not in got and other in got, got


# ---- the others ----


def gateway(stack, inst, name, replace):
    sink = stack.enter_context(lab.Sink())
    gw = stack.enter_context(lab.relay_all(inst, sink.port, smtps=smtps(name, replace), ac='cltaddr:127 RELAY\n'))
    return sink, gw


def body(text):
    return HEAD + b'\r\n' + text + b'\r\n'


DMARC_NET = '''set -e
ip link set lo up
mount --bind {dir}/resolv.conf /etc/resolv.conf
unbound -d -p -c {dir}/unbound.conf &
# the shell stays: what changes its user, as opendmarc does, is not ended with its parent, but with the first of its namespace
opendmarc -f -c {dir}/conf
exit $?
'''
UNBOUND = '''server:
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@53
  module-config: "iterator"
  local-zone: "." static
  local-data: 'example.org. TXT "v=spf1 ip4:192.0.2.8 -all"'
  local-data: '_dmarc.example.org. TXT "v=DMARC1; p=reject"'
  local-data: '_dmarc.bank.test. TXT "v=DMARC1; p=reject"'
remote-control:
  control-enable: no
'''


class Opendmarc(milters.Milter):
    def __init__(self):
        super().__init__('opendmarc')
        conf = block('/etc/opendmarc.conf', **{'/run/opendmarc/opendmarc.sock': self.socket, 'UMask 007': 'UMask 000'})
        (self.dir / 'conf').write_text(conf + 'Background false\nSyslog false\n')
        (self.dir / 'resolv.conf').write_text('nameserver 127.0.0.1\n')
        (self.dir / 'unbound.conf').write_text(UNBOUND)
        (self.dir / 'go').write_text(DMARC_NET.format(dir=self.dir))
        owned(self.dir, 'opendmarc')
        self.up(['unshare', '-nmp', '--fork', '--kill-child', 'sh', self.dir / 'go'])


def test_dmarc_judges_by_what_was_verified(inst, key):
    """Signed by the domain, or from its host: pass. Neither: refused. What a client claims counts for nothing."""
    with Opendmarc() as dmarc:
        s = Signed(inst, key, dmarc.socket)
        with s.stack:
            good = s.send(CORPUS['plain'], s.submission)
            assert verified(good, s.record)
            assert b'dmarc=pass' in s.send(good, source='192.0.2.9')
            assert b'dmarc=pass' in s.send(CORPUS['plain'], source='192.0.2.8')
            claim = b'Authentication-Results: mx.example.org; dkim=pass header.d=example.org\r\n'
            for message in (CORPUS['plain'], claim + CORPUS['plain'], good.replace(b'hello', b'jello')):
                assert s.send(message, source='192.0.2.9').startswith('550 5.7.1'), message


def test_clamav(inst):
    with contextlib.ExitStack() as stack:
        clamd, f = stack.enter_context(milters.Milter('clamd')), stack.enter_context(milters.Milter('clamav'))
        (clamd.dir / 'db').mkdir()
        (clamd.dir / 'db/own.ndb').write_text(f'Test.Virus:0:*:{b"GATEWAY-VIRUS-TEST-STRING".hex()}\n')
        (clamd.dir / 'conf').write_text(f'Foreground yes\nLocalSocket {clamd.socket}\nLocalSocketMode 666\nDatabaseDirectory {clamd.dir}/db\nUser clamav\nMaxThreads 2\n')
        (f.dir / 'conf').write_text(block('/etc/clamav/clamav-milter.conf', **{'/run/clamav/clamav-milter.sock': f.socket, '/run/clamav/clamd.ctl': clamd.socket}) + 'Foreground yes\n')
        owned(clamd.dir, 'clamav')
        owned(f.dir, 'clamav')
        clamd.up(['clamd', '-c', clamd.dir / 'conf'], children=True)
        f.up(['clamav-milter', '-c', f.dir / 'conf'])
        sink, gw = gateway(stack, inst, 'conf.d/clamav.conf', {'/run/clamav/clamav-milter.sock': f.socket})
        assert milters.send(gw, body(b'clean')).startswith('250')
        assert b'X-Virus-Status: Clean' in sink.wait(1)[0]['body']
        assert milters.send(gw, body(b'GATEWAY-VIRUS-TEST-STRING')).startswith('550 5.7.1 Virus found: Test.Virus')
        clamd.stop()
        assert milters.send(gw, body(b'clean')).startswith('451')


@pytest.mark.skipif(os.environ.get('META1_FULL') != '1', reason='META1_FULL=1: it compiles its rules for some seconds')
def test_rspamd(inst):
    with contextlib.ExitStack() as stack:
        f = stack.enter_context(milters.Milter('rspamd'))
        worker = block('/etc/rspamd/local.d/worker-proxy.inc', **{'/run/rspamd/milter.sock': f.socket})
        (f.dir / 'db').mkdir()
        (f.dir / 'tld').write_text('test\ncom\norg\n')
        (f.dir / 'conf').write_text(f'''options {{
  pidfile = "{f.dir}/pid"; tempdir = "{f.dir}"; hs_cache_dir = "{f.dir}/db"; filters = "chartable,regexp";
  dns {{ nameserver = ["127.0.0.1:{lab.free_port()}"]; timeout = 0.1s; retransmits = 1; }}
  local_addrs = []; url_tld = "{f.dir}/tld"; disable_hyperscan = true; control_socket = "{f.dir}/control mode=0600";
}}
logging {{ type = "file"; filename = "{f.dir}/rspamd.log"; level = "info"; }}
lua = "/usr/share/rspamd/rules/rspamd.lua";
actions {{ reject = 15; add_header = 6; greylist = null; }}
worker "rspamd_proxy" {{
{worker}
count = 1;
}}
.include "/etc/rspamd/composites.conf"
''')
        owned(f.dir, '_rspamd')
        f.up(['rspamd', '-f', '-u', '_rspamd', '-g', '_rspamd', '-c', f.dir / 'conf'], children=True)
        sink, gw = gateway(stack, inst, 'conf.d/rspamd.conf', {'/run/rspamd/milter.sock': f.socket})
        assert milters.send(gw, body(b'clean')).startswith('250')
        assert milters.content(sink.wait(1)[0]).endswith(body(b'clean'))
        assert milters.send(gw, body(b'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X')).startswith('554 5.7.1 Gtube pattern')


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
