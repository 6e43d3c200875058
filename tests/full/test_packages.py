# SPDX-License-Identifier: BSD-2-Clause
"""The Debian packages: built from a copy of the tree, and used in a bare Debian 12 without anything of the tree.

META1_DEBS names a folder with packages that were built before, META1_BARE a root folder, for whoever works on this test."""
import os, pathlib, re, shutil, subprocess

import lab, pytest
from bare import Bare, copy_tree
from test_tutorial import Shell

MAILS = 1000
PARTS = {'meta1', 'meta1-sendmail', 'meta1-map-ldap', 'meta1-map-pgsql', 'meta1-map-sqlite', 'meta1-map-redis', 'meta1-map-lmdb',
         'meta1-auth-cyrus', 'libpmilter1', 'libpmilter-dev', 'meta1-dev', 'meta1-doc'}
# the module alone is a directory of files; where it comes from on this machine does not matter
NEXT = r"""
for p in meta1 meta1-sendmail meta1-map-lmdb; do
	dpkg-deb -R /debs/${p}_0*.deb /tmp/$p
	sed -i 's/^Version: .*/&+next/; s/(= \([^)]*\))/(= \1+next)/' /tmp/$p/DEBIAN/control
	dpkg-deb -b /tmp/$p /debs/next-$p.deb >/dev/null
	rm -r /tmp/$p
done
"""


@pytest.fixture(scope='module')
def debs(tmp_path_factory):
    if made := os.environ.get('META1_DEBS'):
        return pathlib.Path(made)
    d = tmp_path_factory.mktemp('debs')
    copy_tree(d / 'meta1')
    done = subprocess.run(['dpkg-buildpackage', '-us', '-uc', '-b'], cwd=d / 'meta1', stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=2400,
                          env={**os.environ, 'DEB_BUILD_OPTIONS': f'nocheck noautodbgsym parallel={os.cpu_count()}'})
    assert done.returncode == 0, done.stdout[-6000:]
    return d


@pytest.fixture(scope='module')
def machine(debs):
    if os.geteuid():
        pytest.fail('a bare Debian can be made by root only')
    b = Bare()
    (b.root / 'meta1').mkdir(exist_ok=True)
    (b.root / 'debs').mkdir(exist_ok=True)
    for deb in debs.glob('*.deb'):
        shutil.copy(deb, b.root / 'debs')
    policy(b, 101)
    shell = Shell(b)
    yield shell
    shell.close()
    b.close()


def policy(bare, status):
    """May packages start what they bring?"""
    f = bare.root / 'usr/sbin/policy-rc.d'
    f.write_text(f'#!/bin/sh\nexit {status}\n')
    f.chmod(0o755)


def do(shell, text):
    said, status = shell.type(text)
    assert status == 0, f'{text}: exit status {status}\n{said[-6000:]}'
    return said


def test_there_are_all_and_lintian_finds_no_error(debs):
    names = {p.name.split('_')[0] for p in debs.glob('*.deb') if 'dbgsym' not in p.name}
    assert names == PARTS
    done = subprocess.run(['lintian', '--allow-root', '--tag-display-limit', '0', *map(str, debs.glob('*.changes'))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert not re.search('^E:', done.stdout, re.M), done.stdout


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
    waiting = queue(machine)
    assert len(waiting) == MAILS

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


def queue(shell):
    return sorted(re.findall(r'"id": ?"(\w+)"', do(shell, 'meta1ctl queue list --json')))
