# SPDX-License-Identifier: BSD-2-Clause
"""The filters that people run, set up by the blocks of doc/filters.md: OpenDKIM and OpenDMARC judge what comes in; Rspamd, ClamAV and SpamAssassin refuse what they should."""
import contextlib, os, pathlib, re, shutil, subprocess

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
