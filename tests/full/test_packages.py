# SPDX-License-Identifier: BSD-2-Clause
"""The Debian packages: built from a copy of the tree, and used in a bare Debian 12 without anything of the tree."""
import os, pathlib, re, shutil, subprocess

import lab, pytest
from bare import client_in, cleared, policy
from test_tutorial import Shell

MAILS = 1000
PARTS = {'meta1', 'meta1-sendmail', 'meta1-map-ldap', 'meta1-map-pgsql', 'meta1-map-sqlite', 'meta1-map-redis', 'meta1-map-lmdb',
         'meta1-auth-cyrus', 'libpmilter1', 'libpmilter-dev', 'meta1-dev', 'meta1-doc'}
STORE = """
dpkg-deb -x /debs/meta1-dev_0*.deb /tmp/dev
setpriv --reuid=meta1c --regid=meta1c --clear-groups sh -c 'mkdir /tmp/store && exec /tmp/dev/usr/libexec/meta1/meta1-examples/lmtp-maildir /tmp/store/s /tmp/store' >/dev/null 2>&1 &
echo '. lmtp:/tmp/store/s' >/etc/meta1/mt
"""
# the module alone is a directory of files; where it comes from on this machine does not matter
NEXT = r"""
for p in meta1 meta1-sendmail meta1-map-lmdb; do
	dpkg-deb -R /debs/${p}_0*.deb /tmp/$p
	sed -i 's/^Version: .*/&+next/; s/(= \([^)]*\))/(= \1+next)/' /tmp/$p/DEBIAN/control
	dpkg-deb -b /tmp/$p /debs/next-$p.deb >/dev/null
	rm -r /tmp/$p
done
"""


@pytest.fixture
def machine(packaged):
    shell = Shell(packaged)
    yield shell
    shell.close()
    cleared(packaged)


def do(shell, text):
    said, status = shell.type(text)
    assert status == 0, f'{text}: exit status {status}\n{said[-6000:]}'
    return said


def test_there_are_all_and_lintian_finds_nothing(debs):
    names = {p.name.split('_')[0] for p in debs.glob('*.deb') if 'dbgsym' not in p.name}
    assert names == PARTS
    done = subprocess.run(['lintian', '--allow-root', '--tag-display-limit', '0', *map(str, debs.glob('*.changes'))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert not re.search('^[EW]:', done.stdout, re.M), done.stdout


def test_life_of_a_machine(machine):
    """Installed, started with the rights of its unit, a module added, upgraded and removed with mail in the queue, purged with none."""
    bare = machine.bare
    before = set(do(machine, 'find / -xdev ! -path "/proc/*" ! -path "/debs/*" ! -path "/var/lib/dpkg/*" ! -path "/var/cache/*"').split('\n'))
    do(machine, 'apt-get -q install -y --no-install-recommends /debs/meta1_0*.deb /debs/meta1-sendmail_0*.deb liblmdb0')
    assert 'mail-transport-agent' in do(machine, 'dpkg-query -W -f "\\${Provides}" meta1-sendmail')
    ids = do(machine, 'getent passwd meta1s meta1c meta1q meta1m; id -Gn meta1q; stat -c "%U %a" /var/spool/meta1')
    assert len(re.findall(r'^meta1[scqm]:x:\d+:\d+:.*:/usr/sbin/nologin$', ids, re.M)) == 4 and 'meta1c' in ids and 'root 755' in ids
    assert 'is good' in do(machine, 'mcp -C')

    # nobody takes the mail yet
    do(machine, """
cp /etc/meta1/conf.d/submit.conf.sample /etc/meta1/conf.d/submit.conf
cat >/etc/meta1/conf.d/mine.conf <<'END'
hostname = gw.test;
smar { map mt { type = text; file = mt; } mailertable { name = mt; } }
END
echo '. [127.0.0.1]:2525' >/etc/meta1/mt
""")
    unit = (bare.root / 'lib/systemd/system/meta1.service').read_text()
    caps = [c.lower().removeprefix('cap_') for c in re.search('^CapabilityBoundingSet=(.*)', unit, re.M)[1].split()]
    do(machine, f'setpriv --no-new-privs --bounding-set -all,{",".join("+" + c for c in caps)} /usr/sbin/mcp -D; /etc/init.d/meta1 status')
    status = do(machine, 'cat /proc/$(cat /run/meta1/mcp.pid)/status')
    assert re.search(r'^NoNewPrivs:\t1$', status, re.M) and bin(int(re.search(r'^CapBnd:\t(\w+)', status, re.M)[1], 16)).count('1') == len(caps) == 6
    do(machine, f"""
for i in $(seq {MAILS}); do printf 'Subject: %s\\n\\nhello\\n' $i | sendmail -i "u$i@far.test"; done
echo from php | /usr/lib/sendmail -t -i 2>&1 | grep 'no recipient'
""")
    assert 'Subject' not in do(machine, 'mailq')
    waiting = in_queue(machine, MAILS)

    # a module, from its package, without anything built
    do(machine, "echo 'smar { map l { type = lmdb; file = l; } }' >/etc/meta1/conf.d/lmdb.conf")
    said, status = machine.type('mcp -C')
    assert status == 78 and 'map_lmdb' in said, said
    do(machine, "dpkg -i /debs/meta1-map-lmdb_0*.deb && echo 'key  from the module' | createmap lmdb /etc/meta1/l && mcp -C && /etc/init.d/meta1 reload")
    lab.wait_for('the map to answer', lambda: 'from the module' in machine.type('meta1ctl map query l key')[0])

    # an upgrade restarts it; the queue stays
    old = do(machine, 'cat /run/meta1/mcp.pid')
    policy(bare, 0)
    do(machine, NEXT + 'dpkg -i /debs/next-*.deb')
    assert do(machine, 'cat /run/meta1/mcp.pid') != old and '+next' in do(machine, 'dpkg-query -W meta1')
    lab.wait_for('all mail after the upgrade', lambda: not machine.type('meta1ctl status')[1] and queue(machine) == waiting)

    # removed and even purged, it does not throw mail away
    assert 'mail may wait' in do(machine, 'dpkg -r meta1-map-lmdb meta1-sendmail meta1')
    assert not bare.processes().get('mcp') and not bare.processes().get('qmgr')
    assert 'is kept' in do(machine, 'dpkg -P meta1-map-lmdb meta1-sendmail meta1') and (bare.root / 'var/spool/meta1/in').is_dir()
    assert not (bare.root / 'etc/meta1/meta1.conf').exists()
    policy(bare, 101)
    do(machine, 'dpkg -i /debs/meta1_0*.deb /debs/meta1-dev_0*.deb')
    policy(bare, 0)

    # installed again, it delivers what it has, to the examples of meta1-dev
    do(machine, """
setpriv --reuid=meta1c --regid=meta1c --clear-groups sh -c 'mkdir /tmp/store && exec /usr/libexec/meta1/meta1-examples/lmtp-maildir /tmp/store/s /tmp/store' >/dev/null 2>&1 &
echo '. lmtp:/tmp/store/s' >/etc/meta1/mt
rm /etc/meta1/conf.d/lmdb.conf
/etc/init.d/meta1 start
""")

    def delivered():
        machine.type('meta1ctl queue flush')  # qmgr may have read none, or a part, of it so far
        return len(list((bare.root / 'tmp/store').glob('*/new/*')))
    lab.wait_for('all mail in the store', lambda: delivered() >= MAILS, 120)
    lab.wait_for('an empty queue', lambda: not queue(machine))
    assert delivered() == MAILS
    do(machine, 'dpkg -P meta1-dev meta1; rm -r /tmp/store')

    after = set(do(machine, 'find / -xdev ! -path "/proc/*" ! -path "/debs/*" ! -path "/var/lib/dpkg/*" ! -path "/var/cache/*"').split('\n'))
    left = {f for f in after - before if 'meta1' in f or f.startswith(('/etc/', '/run/', '/var/spool'))}
    print('left:', *sorted(left), sep='\n')
    assert not {f for f in left if 'meta1' in f} - {'/etc/meta1', '/etc/meta1/conf.d', '/etc/meta1/mt', '/etc/meta1/l', '/etc/meta1/conf.d/submit.conf', '/etc/meta1/conf.d/mine.conf',
                                                   '/etc/meta1/conf.d/lmdb.conf'}, left


@pytest.mark.skipif(not os.environ.get('META1_DEBS_BEFORE'), reason='META1_DEBS_BEFORE=FOLDER: packages of an older version')
def test_from_an_older_version_and_back(machine):
    """Mail that the old one took is delivered by the new one, and the other way round; what the admin wrote stays, nothing is asked but what dpkg asks."""
    bare, etc = machine.bare, machine.bare.root / 'etc/meta1'
    shutil.copytree(pathlib.Path(os.environ['META1_DEBS_BEFORE']), bare.root / 'before', ignore=lambda d, names: [n for n in names if not n.endswith('.deb')])
    do(machine, 'apt-get -q install -y --no-install-recommends /before/meta1_0*.deb /before/meta1-sendmail_0*.deb /before/meta1-map-lmdb_0*.deb')
    do(machine, """
cd /etc/meta1; cp conf.d/submit.conf.sample conf.d/submit.conf; ln -s client_names.conf.sample conf.d/client_names.conf
sed -i 's/^# hostname = .*/hostname = gw.test;/' meta1.conf
echo 'smar { map mt { type = text; file = mt; } mailertable { name = mt; } }' >conf.d/mine.conf
echo '. [127.0.0.1]:2525' >mt
mcp -D
""")
    mine = {f: (etc / f).read_text() for f in ('meta1.conf', 'conf.d/mine.conf', 'conf.d/submit.conf', 'mt')}

    def take(n, domain):
        do(machine, f"for i in $(seq {n}); do printf 'Subject: %s\\n\\nhello\\n' $i | sendmail -i u@{domain}; done")

    def delivered():
        machine.type('meta1ctl queue flush')
        return len(list((bare.root / 'tmp/store').glob('*/new/*')))
    take(MAILS, 'far.test')
    waiting = in_queue(machine, MAILS)
    policy(bare, 0)
    said, status = machine.type(NEXT + 'dpkg -i /debs/next-*.deb')
    assert status and "end of file on stdin at conffile prompt" in said or mine['meta1.conf'] == (etc / 'meta1.conf').read_text(), said
    do(machine, 'dpkg --force-confold --configure -a')
    assert {f: (etc / f).read_text() for f in mine} == mine and (etc / 'conf.d/client_names.conf').is_symlink()
    assert '+next' in do(machine, 'dpkg-query -W meta1') and 'is good' in do(machine, 'mcp -C')
    lab.wait_for('all mail after the upgrade', lambda: not machine.type('meta1ctl status')[1] and queue(machine) == waiting)
    do(machine, STORE)
    lab.wait_for('all mail in the store', lambda: delivered() >= MAILS, 120)
    lab.wait_for('an empty queue', lambda: not queue(machine))
    assert delivered() == MAILS and 'everything is accounted for' in do(machine, 'meta1ctl queue fsck')

    do(machine, "echo '. [127.0.0.1]:2525' >/etc/meta1/mt")
    lab.wait_for('the new row', lambda: '2525' in do(machine, 'meta1ctl map query mt .'))
    take(10, 'other.test')
    waiting = in_queue(machine, 10)
    said = do(machine, 'dpkg --force-confold -i /before/meta1_0*.deb /before/meta1-sendmail_0*.deb /before/meta1-map-lmdb_0*.deb')
    assert 'downgrading meta1 from' in said
    lab.wait_for('all mail after the way back', lambda: not machine.type('meta1ctl status')[1] and queue(machine) == waiting)
    do(machine, "echo '. lmtp:/tmp/store/s' >/etc/meta1/mt")
    lab.wait_for('all mail in the store', lambda: delivered() >= MAILS + 10, 120)
    policy(bare, 0)
    do(machine, '/etc/init.d/meta1 stop; rm -r /tmp/store /tmp/dev /before')


def test_a_purge_looks_at_what_it_removes(machine):
    """Mail of an older configuration lies in the folder of the package, while /etc/meta1 names another one, which is empty."""
    bare = machine.bare
    do(machine, 'apt-get -q install -y --no-install-recommends /debs/meta1_0*.deb /debs/meta1-sendmail_0*.deb')
    do(machine, """
cp /etc/meta1/conf.d/submit.conf.sample /etc/meta1/conf.d/submit.conf
echo 'smar { map mt { type = text; rows = { ". [127.0.0.1]:2525" }; } mailertable { name = mt; } }' >/etc/meta1/conf.d/mine.conf
mcp -D
""")
    for store in ('log', 'dir'):
        do(machine, f"""
/etc/init.d/meta1 stop; rm -rf /var/spool/meta1/*
echo 'qmgr {{ queue {{ type = {store}; }} }}' >/etc/meta1/conf.d/store.conf
mcp -D; printf 'Subject: x\\n\\nhello\\n' | sendmail -i u@far.test
""")
        lab.wait_for('the mail', lambda: len(queue(machine)) == 1)
        do(machine, """
/etc/init.d/meta1 stop
echo 'queue_directory = /srv/queue;' >/etc/meta1/conf.d/elsewhere.conf
rm /etc/meta1/conf.d/store.conf; mcp -D; /etc/init.d/meta1 stop
""")
        assert '0 waiting' in do(machine, 'meta1ctl queue fsck')
        said = do(machine, 'dpkg -r meta1-sendmail meta1')
        assert 'mail may wait in /var/spool/meta1' in said and 'the queue is in /srv/queue' in said, said
        assert not (bare.root / 'var/spool/meta1/.nothing-waits').exists()
        do(machine, 'dpkg -i /debs/meta1_0*.deb /debs/meta1-sendmail_0*.deb; rm /etc/meta1/conf.d/elsewhere.conf')
    # a folder that nobody here makes, damaged mail, a file that came after the removal: all is kept
    for odd, back in (('mkdir /var/spool/meta1/other', 'rmdir /var/spool/meta1/other'), ('mkdir -p $Q && echo x >$Q/w0-s1-4096', 'rm -r $Q')):
        do(machine, f'rm -rf /var/spool/meta1/*; mcp -D; /etc/init.d/meta1 stop; Q=/var/spool/meta1/state/quarantine; {odd}')
        assert 'mail may wait' in do(machine, 'dpkg -r meta1-sendmail meta1'), odd
        do(machine, f'Q=/var/spool/meta1/state/quarantine; {back}; dpkg -i /debs/meta1_0*.deb /debs/meta1-sendmail_0*.deb')
    assert 'mail may wait' not in do(machine, 'dpkg -r meta1-sendmail meta1')
    do(machine, "touch -d '1 hour' /var/spool/meta1/in/back; dpkg -P meta1")
    assert (bare.root / 'var/spool/meta1/in').is_dir()
    do(machine, 'dpkg -i /debs/meta1_0*.deb; rm /var/spool/meta1/in/back; dpkg -P meta1')
    assert not (bare.root / 'var/spool/meta1').exists() and (bare.root / 'srv/queue/in').is_dir()


def test_a_module_package_comes_and_goes(machine):
    """Enabled by one command; taken away while it is in use it says so, and a purge leaves no link that leads nowhere."""
    confd = machine.bare.root / 'etc/meta1/conf.d'
    do(machine, 'apt-get -q install -y --no-install-recommends /debs/meta1_0*.deb liblmdb0')
    do(machine, """
dpkg -i /debs/meta1-map-lmdb_0*.deb
for m in access mt; do echo 'k  from the module' | createmap lmdb /etc/meta1/$m.lmdb; done
mcp -D; meta1ctl module enable map_lmdb
""")
    assert (confd / 'map_lmdb.conf').is_symlink() and 'from the module' in do(machine, 'meta1ctl map query mt k')
    assert 'uses map_lmdb, which is gone' in do(machine, 'dpkg -r meta1-map-lmdb')
    assert 'from the module' in do(machine, 'meta1ctl map query mt k')
    said, status = machine.type('mcp -C')
    assert status == 78 and 'meta1-map-lmdb' in said, said
    said, status = machine.type('meta1ctl reload')
    assert status == 78 and 'map_lmdb' in said and 'from the module' in do(machine, 'meta1ctl map query mt k')
    do(machine, 'dpkg -P meta1-map-lmdb; mcp -C; meta1ctl reload')
    assert not (confd / 'map_lmdb.conf').is_symlink()
    do(machine, ': >/etc/meta1/greyexempt; meta1ctl module enable greylisting; /etc/init.d/meta1 stop; dpkg -P meta1')
    assert not (confd / 'greylisting.conf').is_symlink()


def test_a_module_of_ones_own(machine):
    """From the packages alone: begun from the template, tried, enabled, and what it says decides about recipients."""
    do(machine, 'apt-get -q install -y --no-install-recommends /debs/meta1_0*.deb /debs/meta1-dev_0*.deb gcc libc6-dev make pkgconf')
    do(machine, "echo 'smar { local_domains = example.org; } smtpc { LMTP_socket = /run/nobody; }' >/etc/meta1/conf.d/mine.conf; mcp -D")

    def rcpt(user):
        with client_in(machine.p.pid) as c:
            c.cmd('EHLO client.test', 250)
            c.cmd('MAIL FROM:<a@client.test>', 250)
            return c.cmd(f'RCPT TO:<{user}@example.org>')[:3]
    lab.wait_for('everybody to be taken', lambda: rcpt('odd') == '250')
    assert re.search(r'^[1-9]\d+ passed, 0 failed$', do(machine, 'cd /root && meta1-modtool new map even && cd map_even && make check'), re.M)
    do(machine, """
cd /root/map_even && make install
cp map_even.conf.sample /etc/meta1/conf.d/numbers.conf.sample
cd /etc/meta1/conf.d && sed -i 's/value = "";/value = "yes";/' numbers.conf.sample
echo 'smar { local_user_map { name = example; flags = { localpart, local_domains }; } }' >>numbers.conf.sample
meta1ctl module enable numbers
""")
    lab.wait_for('the new map to be asked', lambda: rcpt('odd-1') == '550')
    assert rcpt('even-1') == '250' and rcpt('even-2') == '250' and rcpt('postmaster') == '250'
    assert 'yes' in do(machine, 'meta1ctl map query example even-7')
    assert re.search('map_even.*smar: map example', do(machine, 'meta1ctl module list'))
    do(machine, 'meta1ctl module disable numbers')
    lab.wait_for('everybody to be taken again', lambda: rcpt('odd-1') == '250')


def test_programs_and_modules_have_their_pages(debs, tmp_path):
    """In the package they are in, or one it needs; man has nothing to say against any."""
    has, pages, lack = {}, {}, []
    for deb in debs.glob('*.deb'):
        name = deb.name.split('_')[0]
        subprocess.run(['dpkg-deb', '-x', deb, tmp_path / name], check=True)
        files = [p for p in (tmp_path / name).rglob('*') if p.is_symlink() or p.is_file()]
        pages[name] = {p.name.split('.')[0]: p for p in files if '/man/man' in str(p)}
        has[name] = [p for p in files if p.parent.name in ('bin', 'sbin') or p.parent.parent == tmp_path / name / 'usr/libexec' or
                     (p.suffix == '.so' and p.parent.parent.name == 'meta1')]
    assert set(pages) >= PARTS and sum(map(len, has.values())) > 30
    lack = [f'{n}: {p.name}' for n, files in has.items() for p in files if p.stem not in {**pages[n], **pages['meta1']}]
    assert not lack
    files = [p for of in pages.values() for p in of.values() if not p.is_symlink()]
    done = subprocess.run(['man', '--warnings', '-l', *files], capture_output=True, text=True, env={**os.environ, 'LC_ALL': 'C.UTF-8', 'MANPAGER': 'cat'})
    assert done.returncode == 0 and not done.stderr and len(done.stdout.splitlines()) > 1000, done.stderr


def queue(shell):
    return sorted(re.findall(r'"id": ?"(\w+)"', do(shell, 'meta1ctl queue list --json')))


def in_queue(shell, n):
    """qmgr hears of a mail after its sender did."""
    return lab.wait_for(f'{n} in the queue', lambda: len(ids := queue(shell)) == n and ids)
