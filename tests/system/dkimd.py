# SPDX-License-Identifier: BSD-2-Clause
"""dkimd.py -- OpenDKIM and OpenDMARC as the blocks of doc/filters.md set them up, with a key of the test's own, and the page's chain
of both."""
import contextlib, os, pathlib, re, shutil, subprocess

import lab, milters

PAGE = (pathlib.Path(__file__).parents[2] / 'doc/filters.md').read_text()


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


@contextlib.contextmanager
def key():
    """A folder with mail.private, and the record of its public half."""
    folder = lab.tempdir('dkim')
    subprocess.run(['opendkim-genkey', '-b', '1024', '-d', 'example.org', '-s', 'mail', '-D', folder], check=True)
    record = ''.join(re.findall(r'"([^"]*)"', (folder / 'mail.txt').read_text()))
    try:
        yield folder, record
    finally:
        shutil.rmtree(folder)


class Opendkim(milters.Milter):
    """domains: that have the key. everybody: mail is signed for whatever domain its From has, also of the listener whole."""

    def __init__(self, key, canon='relaxed/simple', domains=('example.org',), everybody=False):
        super().__init__('opendkim')
        self.key, record = key
        (self.dir / 'keys').write_text(''.join(f'mail._domainkey.{d} {record}\n' for d in domains))
        (self.dir / 'nobody').write_text('')
        shutil.copy(self.key / 'mail.private', self.dir)
        (self.dir / 'who').write_text('* all\n')
        (self.dir / 'table').write_text(f'all %:mail:{self.dir}/mail.private\n')
        conf = block('/etc/opendkim.conf', **{'/etc/dkimkeys': self.dir, '/run/opendkim/opendkim.sock': self.socket, 'relaxed/simple': canon, 'UMask 007': 'UMask 000'})
        if everybody:
            conf = re.sub('Domain .*\nSelector .*\nKeyFile .*\n', f'SigningTable refile:{self.dir}/who\nKeyTable {self.dir}/table\nMaximumSignaturesToVerify 4\n', conf).replace('MTA ', 'MTA whole,')
        (self.dir / 'conf').write_text(conf + f'TestPublicKeys {self.dir}/keys\nSyslog no\nBackground no\nRequireSafeKeys no\n')
        owned(self.dir, 'opendkim')
        self.start()

    def start(self):
        self.up(['opendkim', '-f', '-x', self.dir / 'conf'])


def verified(message, record, index=0):
    """By another library than OpenDKIM's: the signature of that number is over these very bytes."""
    import dkim
    try:
        return dkim.DKIM(message).verify(idx=index, dnsfunc=lambda name, timeout=5: record.encode() if name.startswith(b'mail._domainkey.') else None)
    except dkim.DKIMException:
        return False


class Signed:
    """The page's chain, without OpenDMARC if there is none, over two sockets of our own; first, last: filters of the test.
    others: the page's chain of all, with the sockets of these."""

    def __init__(self, inst, key, dmarc=None, first='', last='', domains=('example.org',), others=None, **kw):
        self.stack = contextlib.ExitStack()
        self.dkim = self.stack.enter_context(Opendkim(key, domains=domains))
        self.sink = self.stack.enter_context(lab.Sink())
        self.submission = lab.free_port()
        self.record = key[1]
        text = smtps('conf.d/filters.conf' if others else 'conf.d/dkim.conf',
                     {'/run/opendkim/opendkim.sock': self.dkim.socket, **(others or {'/run/opendmarc/opendmarc.sock': dmarc or self.dkim.dir / 'none'}),
                      'listen_socket submission { port = 587; }': f'listen_socket submission {{ address = 127.0.0.1; port = {self.submission}; }}'})
        if not dmarc:
            text = re.sub(r' *filter dmarc \{.*?\n        \}\n', '', text, flags=re.S)
        text = text.replace('module = mux;', f'module = mux; {first}').rstrip()[:-1] + last + '}'
        gw = lab.relay_all(inst, self.sink.port, smtps='@@ proxy_protocol { mode = allow; trusted = 127.0.0.2; }', ac='cltaddr:127 RELAY\nto:far.test RELAY\n', **kw)
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


RECORDS = ('example.org. TXT "v=spf1 ip4:192.0.2.8 -all"', '_dmarc.example.org. TXT "v=DMARC1; p=reject"', '_dmarc.bank.test. TXT "v=DMARC1; p=reject"')
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
{records}remote-control:
  control-enable: no
'''


class Opendmarc(milters.Milter):
    """In a network of its own, whose only name server says these records."""

    def __init__(self, records=RECORDS):
        super().__init__('opendmarc')
        conf = block('/etc/opendmarc.conf', **{'/run/opendmarc/opendmarc.sock': self.socket, 'UMask 007': 'UMask 000'})
        (self.dir / 'conf').write_text(conf + 'Background false\nSyslog false\n')
        (self.dir / 'resolv.conf').write_text('nameserver 127.0.0.1\n')
        (self.dir / 'unbound.conf').write_text(UNBOUND.format(records=''.join(f"  local-data: '{r}'\n" for r in records)))
        (self.dir / 'go').write_text(DMARC_NET.format(dir=self.dir))
        owned(self.dir, 'opendmarc')
        self.up(['unshare', '-nmp', '--fork', '--kill-child', 'sh', self.dir / 'go'])
