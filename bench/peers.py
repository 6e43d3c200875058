# SPDX-License-Identifier: BSD-2-Clause
"""peers.py -- Exim and OpenSMTPD for the benchmarks.

Debian's packages exclude each other (one mail server a machine), so these are fetched and unpacked beside
the system and run in a mount and process namespace of their own: their users, spools and
files of configuration exist there only. As root.
"""
import contextlib, os, pathlib, shutil, socket, subprocess, tempfile

from rig import Group, family, lab

PACKAGES = {'exim': ['exim4-daemon-light', 'libidn12', 'libgnutls-dane0', 'libunbound8', 'libnsl2', 'libtirpc3', 'libevent-2.1-7', 'libpcre2-8-0'],
            'opensmtpd': ['opensmtpd', 'libdb5.3', 'libpam0g']}
USERS = {'Debian-exim': 901, 'opensmtpd': 902, 'opensmtpq': 903}

EXIM = '''primary_hostname = bench.test
exim_path = {bin}/usr/sbin/exim4
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
log_selector = -all
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
acl_smtp_rcpt = any
acl_smtp_data = any
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 0
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
prdr_enable = false
message_logs = false
tls_advertise_hosts =
keep_environment = LD_LIBRARY_PATH
deliver_drop_privilege
begin acl
any:
  accept
begin routers
{rows}out:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = hop{sink}
begin transports
{transports}begin retry
* * F,1h,15m
'''

OPENSMTPD = '''listen on 127.0.0.1 port {port} hostname bench.test
smtp max-message-size 64M
smtp limit max-mails 1000000
mta limit conn-delay-host 0
mta limit conn-delay-route 0
mta limit conn-delay-source 0
mta limit conn-delay-connector 0
mta limit conn-delay-relay 0
mta limit conn-delay-domain 0
mta limit reconn-delay-route 0
mta limit task-hiwat 2000
mta limit task-lowat 1000
mta limit max-conn-per-host 100
mta limit max-conn-per-route 100
mta limit max-conn-per-source 200
mta limit max-conn-per-connector 200
mta limit max-conn-per-relay 200
mta limit max-conn-per-domain 200
mta limit session-mail-max 1000000
{rows}action "out" relay host smtp://127.0.0.1:{sink}
match from any for any action "out"
'''


def unpack(kind, folder):
    """Debian's binaries of a server and of the libraries it may lack, below folder."""
    (folder / 'bin').mkdir()
    subprocess.run(['apt-get', 'download', '-qq', '-o', 'APT::Sandbox::User=root', *PACKAGES[kind]], cwd=folder, check=True)
    for deb in folder.glob('*.deb'):
        subprocess.run(['dpkg', '-x', deb, folder / 'bin'], check=True)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(('127.0.0.1', port)) == 0


class Peer:
    def __init__(self, kind, sink, hops):
        self.name, self.port = kind, lab.free_port()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='m1-peer.'))
        os.chmod(self.dir, 0o755)
        unpack(kind, self.dir)
        for d, mode in (('var/lib/exim4', 0o755), ('var/lib/opensmtpd/empty', 0o755), ('var/spool/smtpd', 0o711), ('log', 0o777),
                        ('spool', 0o777), ('run', 0o755)):
            (self.dir / d).mkdir(parents=True)
            os.chmod(self.dir / d, mode)
        for name, line in (('passwd', '{u}:x:{n}:{n}::/nonexistent:/usr/sbin/nologin\n'), ('group', '{u}:x:{n}:\n')):
            (self.dir / name).write_text(pathlib.Path('/etc', name).read_text() + ''.join(line.format(u=u, n=n) for u, n in USERS.items()))
        (self.dir / 'resolv.conf').write_text('nameserver 127.0.0.1\n')  # nobody there: client names are not the subject
        command = getattr(self, kind)(sink.port, hops)
        lib = f'{self.dir}/bin/usr/lib/x86_64-linux-gnu:{self.dir}/bin/lib/x86_64-linux-gnu'
        # the shell is the first process there: who loses its parent is waited for by it, and its CPU counted
        self.proc = subprocess.Popen(
            ['unshare', '-m', '-p', '-f', '--kill-child', '--mount-proc', 'sh', '-c',
             f'cd {self.dir} && mount --bind passwd /etc/passwd && mount --bind group /etc/group && mount --bind resolv.conf /etc/resolv.conf && mount --bind var/lib /var/lib && '
             f'mount --bind var/spool /var/spool && mount --bind run /run && export LD_LIBRARY_PATH={lib} && {command} & wait'],
            stdout=open(self.dir / 'log/out', 'wb'), stderr=subprocess.STDOUT)
        lab.wait_for(f'{kind} to listen', lambda: listens(self.port), 20)
        self.root = next(p for p, s in family(self.proc.pid).items() if s['ppid'] == self.proc.pid)
        self.group = None
        with contextlib.suppress(OSError):  # else CPU is what parents know of
            self.group = Group(f'm1-{kind}.{os.getpid()}')
            self.group.take(family(self.proc.pid))

    def exim(self, sink, hops):
        rows = ''.join(f'r{p}:\n  driver = manualroute\n  domains = {d}\n  route_list = * 127.0.0.1\n  self = send\n  transport = hop{p}\n'
                       for d, p in hops.items())
        ways = ''.join(f'hop{p}:\n  driver = smtp\n  port = {p}\n  allow_localhost\n  hosts_avoid_tls = *\n  hosts_try_chunking =\n  hosts_try_fastopen =\n'
                       for p in [sink, *hops.values()])
        conf = self.dir / 'var/lib/exim4/config.autogenerated'
        conf.write_text(EXIM.format(bin=self.dir / 'bin', dir=self.dir, port=self.port, rows=rows, transports=ways, sink=sink))
        for d in ('log', 'spool'):
            shutil.chown(self.dir / d, USERS['Debian-exim'], USERS['Debian-exim'])
        return f'{self.dir}/bin/usr/sbin/exim4 -bdf -q1h -oP {self.dir}/run/pid'

    def opensmtpd(self, sink, hops):
        rows = ''.join(f'action "r{p}" relay host smtp://127.0.0.1:{p}\nmatch from any for domain {d} action "r{p}"\n' for d, p in hops.items())
        (self.dir / 'conf').write_text(OPENSMTPD.format(port=self.port, sink=sink, rows=rows))
        return f'{self.dir}/bin/usr/sbin/smtpd -F -f {self.dir}/conf'

    def roles(self):
        return {self.name: self.root}

    def close(self):
        self.proc.kill()  # and with it all of its namespace
        self.proc.wait()
        lab.wait_for(f'{self.name} to end', lambda: not listens(self.port), 10)
        if self.group:
            lab.wait_for('all of it to end', lambda: not (self.group.dir / 'cgroup.procs').read_text(), 10)
            self.group.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def exim(inst, sink, hops):
    return Peer('exim', sink, hops)


def opensmtpd(inst, sink, hops):
    return Peer('opensmtpd', sink, hops)
