# SPDX-License-Identifier: BSD-2-Clause
"""meta1-setup and meta1-check, as root with an /etc of their own: what is made, and that each fault is found and mended by the command
that is printed."""
import os, re, shutil, socket, subprocess

import lab, pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='only root makes accounts')
ETC = ('passwd', 'group', 'shadow', 'gshadow', 'login.defs', 'nsswitch.conf', 'ld.so.cache', 'default/useradd')
USERS = ('meta1s', 'meta1c', 'meta1q', 'meta1m')
CONF = '''hostname = mx.example.org;
queue_directory = "{d}/up/q"; run_directory = "{d}/run"; module_directory = "{modules}";
smtps {{ user = meta1s; CDB_gid = 64262; listen_socket {{ }} path = "{programs}/smtps"; pass_fd_socket = smtps/fd; {tls} }}
smtpc {{ user = meta1c; path = "{programs}/smtpc"; LMTP_socket = "{d}/store/lmtp"; {tls} }}
qmgr {{ user = meta1q; path = "{programs}/qmgr"; }}
smar {{ user = meta1m; path = "{programs}/smar"; }}
include "conf.d/*.conf";
'''
TLS = 'tls {{ cert_file = "{d}/etc/meta1/CA/newcert.pem"; key_file = "{d}/etc/meta1/CA/newreq.pem"; ' \
    'CAcert_file = "{d}/etc/meta1/CA/cacert.pem"; CAcert_directory = "{d}/etc/meta1/CA"; }}'


class Machine:
    """Files and folders below self.dir; whatever runs sees self.dir/etc as /etc."""

    def __init__(self, inst, programs=None, modules=None):
        self.dir = lab.tempdir('setup')
        self.sbin = inst / lab.PREFIX.lstrip('/') / 'sbin'
        (self.dir / 'etc/default').mkdir(parents=True)
        for name in ETC:
            if os.path.exists(f'/etc/{name}'):
                shutil.copy(f'/etc/{name}', self.dir / 'etc' / name)
        for name in ('passwd', 'group', 'shadow', 'gshadow'):  # this machine may have them
            f = self.dir / 'etc' / name
            f.write_text(''.join(l for l in f.read_text().splitlines(True) if not l.startswith('meta1')))
        (self.dir / 'etc/meta1/conf.d').mkdir(parents=True)
        (self.dir / 'up').mkdir()
        (self.dir / 'store').mkdir()
        if not programs:
            programs, modules = self.dir / 'libexec', self.dir / 'modules'
            programs.mkdir()
            (modules / 'maps').mkdir(parents=True)
            for f in [programs / r for r in lab.ROLES] + [modules / 'maps/map_text.so']:
                f.touch()
                f.chmod(0o644 if f.suffix else 0o755)
        self.conf = self.dir / 'etc/meta1/meta1.conf'
        self.conf.write_text(CONF.format(d=self.dir, programs=programs, modules=modules, tls=TLS.format(d=self.dir)))
        (self.dir / 'etc/meta1/conf.d/a.conf').write_text('smar { local_domains = example.org; }\n')
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.dir / 'store/lmtp'))
        (self.dir / 'store/lmtp').chmod(0o666)

    def run(self, *cmd):
        inside = 'mount --bind "$0/etc" /etc && shift 0 && exec "$@"'
        return subprocess.run(['unshare', '-m', 'sh', '-c', inside, str(self.dir), *map(str, cmd)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                              env={'PATH': f'{self.sbin}:/usr/sbin:/usr/bin:/sbin:/bin', 'ASAN_OPTIONS': 'detect_leaks=0'})

    def shell(self, text):
        p = self.run('sh', '-ec', f'cd {self.dir}; {text}')
        assert p.returncode == 0, (text, p.stdout)
        return p.stdout

    def setup(self, *args):
        return self.run(self.sbin / 'meta1-setup', '-f', self.conf, *args)

    def check(self):
        """{what: (found, expected, command or None)}; the exit status says whether there is any."""
        p = self.run(self.sbin / 'meta1-check', '-p', '-f', self.conf)
        found = {m[1]: (m[2], m[3], m[4]) for m in
                 re.finditer(r'^(\S.*)\n    found     (.*)\n    expected  (.*)\n(?:    mend      (.*)\n)?', p.stdout, re.M)}
        assert p.returncode == (1 if found else 0), p.stdout
        assert re.search(r'^\d+ faults; ' if found else r': accounts, folders and rights are good$', p.stdout, re.M), p.stdout
        return found

    def tree(self):
        """Everything below, for comparison."""
        out = {}
        for p in sorted(self.dir.rglob('*')):
            st = p.lstat()
            out[str(p)] = (st.st_mode, st.st_uid, st.st_gid, p.read_bytes() if p.is_file() else None)
        return out

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()
        shutil.rmtree(self.dir)


def test_from_nothing(inst):
    with Machine(inst) as m:
        before = m.tree()
        faults = m.check()
        assert {f'user {u}' for u in USERS} | {'group meta1', 'group meta1c', f'{m.dir}/up/q', f'{m.dir}/etc/meta1/CA/newreq.pem'} <= set(faults)
        p = m.setup('-n', '-c')
        assert p.returncode == 1 and '+ groupadd -r -g 64262 meta1c\n' in p.stdout and m.tree() == before, p.stdout
        p = m.setup('-c', '-a', 'mail.example.org', '-i', 'PC1.example', '-o', m.dir)
        assert p.returncode == 0 and p.stdout.endswith(' done, nothing left\n'), p.stdout
        assert 'certsubject:/cn=pc1.example  RELAY\n' in p.stdout
        assert m.check() == {}
        made = m.tree()
        p = m.setup('-c', '-i', 'PC1.example', '-o', m.dir)
        assert (p.returncode, p.stdout) == (0, 'nothing to do\n') and m.tree() == made, 'a second time nothing changes'
        assert {k: v for k, v in made.items() if k in before and not re.search(r'etc/(passwd|group|shadow|gshadow)-?$', k)}.items() <= before.items()
        shown = m.shell('id meta1q; id meta1c; for u in meta1s meta1m; do getent passwd $u; done; stat -c "%n %U:%G %a" up/q up/q/* etc/meta1/CA/*.pem PC1*')
        assert re.search(r'meta1q.*groups=.*64262\(meta1c\)', shown) and shown.count(':/nonexistent:/usr/sbin/nologin') == 2
        for line in ('up/q root:root 755', 'up/q/in meta1s:meta1c 2750', 'up/q/qm meta1q:meta1c 2750', 'up/q/state meta1q:meta1q 700',
                     'up/q/smar meta1m:meta1m 700', 'up/q/smtps meta1s:meta1s 750', 'etc/meta1/CA/cakey.pem root:root 600',
                     'etc/meta1/CA/newreq.pem meta1s:meta1c 440', 'etc/meta1/CA/newcert.pem root:root 644', 'PC1.example.key root:root 600'):
            assert line in shown.splitlines(), (line, shown)


def test_certificates(inst):
    with Machine(inst) as m:
        assert m.setup('-c', '-a', 'mail.example.org', '-i', 'pc1', '-o', m.dir).returncode == 0
        ca = m.dir / 'etc/meta1/CA'
        for purpose, host, cert in (('sslserver', 'mx.example.org', ca / 'newcert.pem'), ('sslserver', 'mail.example.org', ca / 'newcert.pem'),
                                    ('sslclient', None, ca / 'newcert.pem'), ('sslclient', None, m.dir / 'pc1.pem')):
            for where in (['-CAfile', ca / 'cacert.pem'], ['-CApath', ca]):
                subprocess.run(['openssl', 'verify', '-no-CAfile', '-no-CApath', '-x509_strict', '-purpose', purpose, *where,
                                *(['-verify_hostname', host] if host else []), cert], check=True, capture_output=True)
        bad = subprocess.run(['openssl', 'verify', '-purpose', 'sslserver', '-CAfile', ca / 'cacert.pem', m.dir / 'pc1.pem'], capture_output=True)
        assert bad.returncode, 'the certificate of a client is for no server'
        assert 'prime256v1' in subprocess.run(['openssl', 'x509', '-in', ca / 'newcert.pem', '-noout', '-text'], check=True, capture_output=True, text=True).stdout
        # nothing that is there is written to; half of a pair is an error that names it
        (ca / 'newcert.pem').unlink()
        key = (ca / 'newreq.pem').read_bytes()
        p = m.setup('-c')
        assert p.returncode == 1 and f'{ca}/newreq.pem: is there already' in p.stdout and (ca / 'newreq.pem').read_bytes() == key
        (ca / 'newreq.pem').unlink()
        old = (ca / 'cacert.pem').read_bytes()
        assert m.setup('-c').returncode == 0 and (ca / 'cacert.pem').read_bytes() == old
        # a CA whose key is elsewhere signs nothing
        (ca / 'cakey.pem').rename(m.dir / 'away')
        p = m.setup('-i', 'pc2', '-o', m.dir)
        assert p.returncode == 1 and f'{ca}/cakey.pem' in p.stdout and not (m.dir / 'pc2.pem').exists()
        (ca / 'cakey.pem').write_bytes((m.dir / 'pc1.key').read_bytes())
        assert 'is not the key of' in m.setup('-i', 'pc2', '-o', m.dir).stdout
        assert 'no name for a certificate' in m.setup('-i', 'a/../b', '-o', m.dir).stdout


def test_the_rest_is_checked_by_mcp_and_the_shared_key_is_read(inst):
    """The real programs: each role reads its files as its own account."""
    real = inst / lab.PREFIX.lstrip('/')
    with Machine(inst, real / 'libexec', real / 'lib/meta1') as m:
        p = m.run(m.sbin / 'meta1-check', '-f', m.conf)
        assert p.returncode == 1 and 'configuration is good' not in p.stdout
        p = m.setup('-c')
        assert p.returncode == 0, p.stdout
        p = m.run(m.sbin / 'meta1-check', '-f', m.conf)
        assert p.returncode == 0 and p.stdout.endswith('meta1.conf: the configuration is good\n'), p.stdout
        # a key of another account in another group is not ours, whatever its mode lets us do
        m.shell('usermod -aG mail meta1c; chown meta1s:mail etc/meta1/CA/newreq.pem')
        p = m.run('mcp', '-f', m.conf, '-C')
        assert p.returncode == 78 and 'expected root, this account' in p.stdout, p.stdout
        m.conf.write_text(m.conf.read_text().replace('local', 'lokal') + 'nonsense;\n')
        assert m.setup().returncode == 78


def test_calls(inst):
    with Machine(inst) as m:
        for args, status in ((('-x',), 64), (('more',), 64), (('-f', '/nonexistent/meta1.conf'), 78)):
            assert m.setup(*args).returncode == status
        p = m.run('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', m.sbin / 'meta1-setup', '-f', m.conf)
        assert p.returncode == 77 and 'start it as root' in p.stdout


# name: what breaks it, the thing it is found at, what is found, and what mends it when no command is printed
FAULTS = {
    'no group': ('groupdel meta1', 'group meta1', 'no such group', None),
    'no user': ('userdel meta1m', 'user meta1m', 'no such account', None),
    'no user of a worker': ('echo \'smar { map w { type = text; rows = { "a b" }; isolate = yes; isolate_user = meta1x; } }\' >etc/meta1/conf.d/w.conf',
                            'user meta1x', 'no such account', None),
    'not a member': ('gpasswd -d meta1q meta1c', 'group meta1c', 'without the account of qmgr', None),
    'a login': ('usermod -s /bin/bash meta1s', 'user meta1s', '/bin/bash', None),
    'root': ('sed -i "s/^meta1m:x:[0-9]*/meta1m:x:0/" etc/passwd', 'user meta1m', 'uid 0',
             'sed -i "s/^meta1m:x:0/meta1m:x:64263/" etc/passwd; chown meta1m up/q/smar'),
    'two of one user': ('sed -i s/meta1m/meta1q/ $C', 'user of smar', 'meta1q, which is that of qmgr too',
                        'sed -i "s/smar { user = meta1q/smar { user = meta1m/" $C; chown -R meta1m:meta1m up/q/smar'),
    'no user said': ('sed -i "s/user = meta1q;//" $C', 'user of qmgr', 'none in the configuration', 'sed -i "s/qmgr {/qmgr { user = meta1q;/" $C'),
    'a group by number': ('sed -i s/64262/64999/ $C', 'smtps: CDB_gid', '64999', 'sed -i s/64999/64262/ $C'),
    'no queue': ('rm -r up/q', 'D/up/q', 'No such file or directory', None),
    'no folder': ('rm -r up/q/state', 'D/up/q/state', 'No such file or directory', None),
    'mode': ('chmod 0755 up/q/qm', 'D/up/q/qm', 'owner meta1q:meta1c, mode 2755', None),
    'setgid': ('chmod g+s up/q/state', 'D/up/q/state', 'owner meta1q:meta1q, mode 2700', None),
    'owner': ('chown nobody up/q/smar', 'D/up/q/smar', 'owner nobody:meta1m, mode 0700', None),
    'group': ('chgrp root up/q/in', 'D/up/q/in', r'owner meta1s:root, mode 2750', None),
    'of the socket': ('chmod 700 up/q/smtps', 'D/up/q/smtps', 'owner meta1s:meta1s, mode 0700', None),
    'writable': ('chmod 777 up/q', 'D/up/q', 'owner root:root, mode 0777', None),
    'a file': ('rm -r up/q/in; touch up/q/in', 'D/up/q/in', 'something that is no folder', 'rm up/q/in; meta1-setup -f $C'),
    'a link': ('mv up/q/in in; ln -s $PWD/in up/q/in', 'D/up/q/in', 'something that is no folder', 'rm up/q/in; mv in up/q/in'),
    'above': ('chmod 700 up', 'D/up', 'owner root:root, mode 0700', None),
    'configuration unread': ('chmod 600 $C', 'D/etc/meta1/meta1.conf', 'owner root:root, mode 0600', None),
    'configuration written': ('chmod 664 $C', 'D/etc/meta1/meta1.conf', 'owner root:root, mode 0664', None),
    'configuration not root\'s': ('chown meta1s $C', 'D/etc/meta1/meta1.conf', 'owner meta1s:root, mode 0644', None),
    'a part of it': ('chmod o+w etc/meta1/conf.d/a.conf', 'D/etc/meta1/conf.d/a.conf', 'owner root:root, mode 0646', None),
    'no program': ('mv libexec/smar away', 'D/libexec/smar', 'No such file or directory', 'mv away libexec/smar'),
    'a program written': ('chmod g+w libexec/qmgr', 'D/libexec/qmgr', 'owner root:root, mode 0775', None),
    'a module not root\'s': ('chown meta1m modules/maps/map_text.so', 'D/modules/maps/map_text.so', 'owner meta1m:root, mode 0644',
                            'chown root modules/maps/map_text.so'),
    'a module that is a link': ('mv modules/maps/map_text.so real; chmod o+w real; ln -s ../../real modules/maps/map_text.so',
                                'D/modules/maps/map_text.so', 'owner root:root, mode 0646', 'mv real modules/maps/map_text.so; chmod o-w modules/maps/map_text.so'),
    'modules written': ('chmod o+w modules/maps', 'D/modules/maps', 'owner root:root, mode 0757', None),
    'a key for all': ('chmod a+r etc/meta1/CA/newreq.pem', 'D/etc/meta1/CA/newreq.pem', 'owner meta1s:meta1c, mode 0444', None),
    'a key of another': ('chown nobody:meta1s etc/meta1/CA/newreq.pem', 'D/etc/meta1/CA/newreq.pem', 'owner nobody:meta1s, mode 0440', None),
    'a key that smtpc cannot read': ('chgrp meta1s etc/meta1/CA/newreq.pem', 'D/etc/meta1/CA/newreq.pem', 'owner meta1s:meta1s, mode 0440', None),
    'no key': ('mv etc/meta1/CA/newreq.pem etc/meta1/CA/newcert.pem .', 'D/etc/meta1/CA/newreq.pem', 'No such file or directory', None),
    'certificate unread': ('chmod 600 etc/meta1/CA/newcert.pem', 'D/etc/meta1/CA/newcert.pem', 'mode 0600, which meta1s cannot read', None),
    'certificates above': ('chmod 700 etc/meta1/CA', 'D/etc/meta1/CA', 'mode 0700, which meta1s cannot read', None),
    'the store by its group': ('chgrp mail store; chmod 750 store', 'D/store', 'owner root:mail, mode 0750', None),
    'the store\'s socket': ('chmod 700 store/lmtp', 'D/store/lmtp', 'owner root:root, mode 0700', None),
}


# file: what breaks it, what is found; the command that is printed mends it
SECRETS = {
    'D/creds': ('chmod 644 creds', 'owner root:meta1c, mode 0644'), 'D/creds ': ('chown root:root creds', 'owner root:root, mode 0640'),
    'D/token': ('chown meta1s:meta1s token', 'owner meta1s:meta1s, mode 0640'), 'D/token ': ('chmod g+w token', 'owner root:meta1c, mode 0660'),
    'D/sasldb2': ('chmod o+r sasldb2', 'owner root:sasl, mode 0664'), 'D/sasldb2 ': ('gpasswd -d meta1s sasl', 'owner root:sasl, mode 0660'),
    'D/sasldb2  ': ('chown meta1m:meta1m sasldb2', 'owner meta1m:meta1m, mode 0660'), 'D/sasldb2   ': ('chown 0:0 sasldb2', 'owner root:root, mode 0660')}


def test_secrets(inst):
    """Credentials of smtpc, the tokens that they name, the sasldb of smtps."""
    with Machine(inst) as m:
        (m.dir / 'etc/sasl2').mkdir()
        (m.dir / 'etc/sasl2/smtps.conf').write_text(f'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {m.dir}/sasldb2\n')
        (m.dir / 'etc/meta1/conf.d/b.conf').write_text(
            f'smtps {{ auth {{ config_path = "{m.dir}/nowhere:{m.dir}/etc/sasl2"; trusted_mechanisms = PLAIN; }} }}\n'
            f'smtpc {{ auth {{ file = "{m.dir}/creds"; }} }}\n')
        assert m.setup('-c').returncode == 1
        assert {k: v[0] for k, v in m.check().items()} == {f'{m.dir}/{f}': 'No such file or directory' for f in ('creds', 'sasldb2')}
        (m.dir / 'creds').write_text(f'# token_file=/nowhere\na.test user=a token_file={m.dir}/token\nb.test user=b password=x token_file=/none\n')
        m.shell('touch token sasldb2; getent group sasl >/dev/null || groupadd -r sasl; chown root:meta1c creds token; chown root:sasl sasldb2; '
                'chmod 640 creds token; chmod 660 sasldb2; usermod -aG sasl meta1s')
        assert m.check() == {}
        for what, (breaks, found) in SECRETS.items():
            m.shell(breaks)
            what = re.sub('^D', str(m.dir), what.strip())
            faults = m.check()
            assert list(faults) == [what] and faults[what][0] == found, (breaks, faults)
            p = m.setup()
            if breaks == 'gpasswd -d meta1s sasl':
                assert p.returncode == 0 and p.stdout.splitlines() == ['+ usermod -aG sasl meta1s', '1 done, nothing left'], p.stdout
            else:
                assert p.returncode == 1 and '    yours     ' + faults[what][2] in p.stdout, 'it is the admin\'s'
                m.shell(faults[what][2])
            assert m.check() == {}, breaks
            m.shell('chown root:sasl sasldb2')
        (m.dir / 'etc/sasl2/smtps.conf').write_text('auxprop_plugin: sql\n')
        m.shell('chmod 666 sasldb2')
        assert m.check() == {}, 'nobody looks there'


def test_groups_that_are_given(inst):
    """Of a folder on the way, or of the store: the group of stored mail and that of the store's socket are given, any other is the admin's
    to give."""
    with Machine(inst) as m:
        assert m.setup('-c').returncode == 0
        m.shell('chgrp mail up; chmod 750 up')
        p = m.setup()
        assert p.returncode == 1 and re.search(r'^    yours     usermod -aG mail meta1\w$', p.stdout, re.M) and 'usermod' not in re.sub('yours .*', '', p.stdout)
        assert 'mail' not in m.shell('id meta1s; id meta1c; id meta1q; id meta1m')
        m.shell('chgrp meta1c up')
        p = m.setup()
        assert p.returncode == 0 and {'+ usermod -aG meta1c meta1s', '+ usermod -aG meta1c meta1m'} <= set(p.stdout.splitlines()), p.stdout
        assert all('64262(meta1c)' in line for line in m.shell('id meta1s; id meta1m').splitlines()) and m.check() == {}
        m.shell('chgrp mail store; chmod 750 store')
        p = m.setup()
        assert p.returncode == 0 and p.stdout.splitlines() == ['+ usermod -aG mail meta1c', '1 done, nothing left'], p.stdout
        m.shell('chgrp root up; chmod 710 up')  # root's group is given to nobody
        assert re.search(r'^    yours     chmod o\+x \S+/up$', m.setup().stdout, re.M)


@pytest.fixture(scope='module')
def machine(inst):
    with Machine(inst) as m:
        p = m.setup('-c')
        assert p.returncode == 0 and m.check() == {}, p.stdout
        yield m


@pytest.mark.parametrize('name', FAULTS)
def test_each_fault_is_found_and_mended_by_its_command(machine, name):
    m = machine
    breaks, what, found, mends = FAULTS[name]
    m.shell(breaks.replace('$C', str(m.conf)))
    what = re.sub('^D', str(m.dir), what)
    faults = m.check()
    assert what in faults and faults[what][0] == found, faults
    assert (faults[what][2] is None) == (mends is not None), faults[what]
    if mends:
        m.shell(mends.replace('$C', str(m.conf)))
    for _ in range(3):  # what is below a folder is seen when the folder is there
        for _, _, command in faults.values():
            if command:
                m.shell(command)
        if not (faults := m.check()):
            break
    assert faults == {}
