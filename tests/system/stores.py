# SPDX-License-Identifier: BSD-2-Clause
"""stores.py -- real mail stores behind LMTP; each is started by root and ends with its test. And the passwords of Cyrus SASL."""
import contextlib, imaplib, os, pwd, shutil, subprocess

import lab


@contextlib.contextmanager
def passwords(user, secret, mechs):
    """A folder with smtps.conf and sasldb2, which the gateway's account reads: a user of gw.test."""
    d = lab.tempdir('sasl')
    subprocess.run(['saslpasswd2', '-p', '-c', '-u', 'gw.test', '-f', d / 'sasldb2', user], input=secret, text=True, check=True)
    (d / 'smtps.conf').write_text(f'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {d}/sasldb2\nmech_list: {mechs}\n')
    if os.geteuid() == 0:
        for p in (d, *d.iterdir()):
            os.chown(p, lab.NOBODY, -1)
    try:
        yield d
    finally:
        shutil.rmtree(d)


class Cyrus(lab.Daemon):
    """Cyrus IMAP: lmtpd on a unix socket and TCP, imapd. Mailboxes: alice, with alice/box that anybody may post to, and bob, which holds 1 KB."""

    def __init__(self):
        super().__init__('cy')
        d = self.dir
        self.port, self.imap_port = lab.free_port(), lab.free_port()
        for sub in ('conf/socket', 'spool', 'run', 'socket'):
            (d / sub).mkdir(parents=True)
        (d / 'imapd.conf').write_text(f'''configdirectory: {d}/conf
partition-default: {d}/spool
defaultpartition: default
admins: cyrus
servername: mx.test
unixhierarchysep: yes
virtdomains: off
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {d}/sasldb2
sasl_mech_list: PLAIN LOGIN
lmtpsocket: {d}/socket/lmtp
idlesocket: {d}/socket/idle
proc_path: {d}/run/proc
mboxname_lockpath: {d}/run/lock
duplicate_db_path: {d}/run/deliver.db
tls_sessions_db_path: {d}/run/tls_sessions.db
lmtp_downcase_rcpt: yes
duplicatesuppression: no
''')
        (d / 'cyrus.conf').write_text(f'''START {{
  recover cmd="ctl_cyrusdb -C {d}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="imapd -C {d}/imapd.conf -U 30" listen="127.0.0.1:{self.imap_port}" prefork=0 maxchild=20
  lmtp cmd="lmtpd -C {d}/imapd.conf -a" listen="127.0.0.1:{self.port}" prefork=0 maxchild=20
  lmtpunix cmd="lmtpd -C {d}/imapd.conf -a" listen="{d}/socket/lmtp" prefork=0 maxchild=20
}}
EVENTS {{
  checkpoint cmd="ctl_cyrusdb -C {d}/imapd.conf -c" period=30
}}
''')
        for user in ('cyrus', 'alice', 'bob'):
            subprocess.run(['saslpasswd2', '-p', '-c', '-u', 'mx.test', '-f', d / 'sasldb2', user], input=b'pw123\n', check=True)
        cyrus = pwd.getpwnam('cyrus')
        for p in [d, *d.rglob('*')]:
            os.chown(p, cyrus.pw_uid, 8)
        # a group of its own: at its end master sends SIGTERM to all of its group, which other tests' Cyrus would be in
        self.run(['setpriv', '--pdeathsig=TERM', '--reuid=cyrus', '--regid=mail', '--init-groups', '/usr/lib/cyrus/bin/master',
                  '-C', d / 'imapd.conf', '-M', d / 'cyrus.conf', '-p', d / 'pid', '-D'], process_group=0)
        lab.wait_for('cyrus', lambda: (d / 'socket/lmtp').exists())

        def made():
            with contextlib.suppress(OSError, imaplib.IMAP4.error), self.imap() as m:
                return self.good(m.create('user/alice'), m.create('user/alice/box'), m.setacl('user/alice/box', 'anyone', 'p'),
                                 m.create('user/bob'), m.setquota('user/alice', '(STORAGE 10000)'), m.setquota('user/bob', '(STORAGE 1)'))
        lab.wait_for('the mailboxes', made)
        os.chmod(d / 'socket/lmtp', 0o777)

    @staticmethod
    def good(*answers):
        return all(a[0] == 'OK' for a in answers)

    @contextlib.contextmanager
    def imap(self, user='cyrus'):
        m = imaplib.IMAP4('127.0.0.1', self.imap_port, timeout=20)
        m.login(user, 'pw123')
        yield m
        m.logout()

    def fetch(self, user, mailbox='INBOX'):
        """The messages of a user, as IMAP gives them."""
        with self.imap(user) as m:
            n = int(m.select(mailbox, readonly=True)[1][0])
            return [m.fetch(str(i + 1), '(BODY.PEEK[])')[1][0][1] for i in range(n)]


class Dovecot(lab.Daemon):
    """LMTP by unix socket and TCP; alice's mailbox is unlimited, bob's holds 1 KiB."""

    def __init__(self):
        super().__init__('dc')
        self.port = lab.free_port()
        d = self.dir
        for sub in ('mail', 'run', 'state'):
            (d / sub).mkdir()
        shutil.chown(d / 'mail', 'mail', 'mail')
        (d / 'users').write_text('alice:{PLAIN}x::::::\nbob:{PLAIN}x::::::userdb_quota_rule=*:storage=1K\n')
        (d / 'dovecot.conf').write_text(f'''base_dir = {d}/run
state_dir = {d}/state
log_path = {d}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
auth_username_format = %Ln
mail_location = maildir:{d}/mail/%n
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
mail_plugins = quota
plugin {{
  quota = maildir:User quota
}}
passdb {{
  driver = passwd-file
  args = {d}/users
}}
userdb {{
  driver = passwd-file
  args = {d}/users
  default_fields = uid=mail gid=mail home={d}/mail/%n
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
''')
        self.run(['dovecot', '-c', d / 'dovecot.conf', '-F'])
        lab.wait_for('dovecot', lambda: (d / 'run/lmtp').exists())

    def fetch(self, user):
        """The messages of a user, as stored."""
        p = subprocess.run(['doveadm', '-c', str(self.dir / 'dovecot.conf'), 'fetch', '-u', user, 'text', 'all'],
                           stdout=subprocess.PIPE, check=True)
        return [x for x in p.stdout.split(b'text:\n')[1:]]
