# SPDX-License-Identifier: BSD-2-Clause
"""meta1.service under Debian's systemd, installed from the packages: started, confined, reloaded, watched, restarted, and its ports
opened by a socket unit as doc/install.md shows it. One machine for all of it, in the order of this file."""
import contextlib, os, pathlib, re, shutil, signal

import lab, pytest
from bare import SRC, cleared, client_in
from booted import Booted

CONF = """
hostname = gw.test;
smtpc { LMTP_socket = "/run/store/s"; }
smar { map mt { type = text; file = mt; } mailertable { name = mt; } }
"""
STORE = """
systemd-run --quiet --unit=store --uid=meta1c --gid=meta1c -p RuntimeDirectory=store -p RuntimeDirectoryPreserve=yes sh -c 'exec /usr/libexec/meta1/meta1-examples/lmtp-maildir /run/store/s /run/store'
until [ -S /run/store/s ]; do sleep 0.05; done
"""
WAITING = 100
PROCESSES = {'mcp': 'root', 'smtps': 'meta1s', 'smtpc': 'meta1c', 'qmgr': 'meta1q', 'smar': 'meta1m'}


@pytest.fixture(scope='module')
def box(packaged):
    done = packaged.run('env', 'DEBIAN_FRONTEND=noninteractive', 'sh', '-ec',
                        'apt-get -q install -y --no-install-recommends systemd /debs/meta1_0*.deb /debs/meta1-sendmail_0*.deb /debs/meta1-dev_0*.deb')
    assert done.returncode == 0, done.stdout[-4000:]
    etc = packaged.root / 'etc/meta1'
    (etc / 'conf.d/mine.conf').write_text(CONF)
    (etc / 'conf.d/submit.conf').write_text((etc / 'conf.d/submit.conf.sample').read_text())
    (etc / 'mt').write_text('example.org lmtp:\n')
    b = Booted(packaged)
    try:
        yield b
    finally:
        print(b.type('journalctl --no-pager -n 200 -u meta1')[0])
        b.close()
        cleared(packaged)
        units = packaged.root / 'etc/systemd/system'
        shutil.rmtree(units / 'meta1.service.d', ignore_errors=True)
        (units / 'meta1.socket').unlink(missing_ok=True)


def smtp(box):
    return client_in(box.p.pid)


def greets(box):
    with smtp(box) as c:
        return c.greeting.startswith('220 gw.test')


def send(box, n, user='u'):
    """By the program of this machine; each is accepted when it ends."""
    box.do(f"for i in $(seq {n}); do printf 'Subject: %s\\n\\nhello\\n' $i | sendmail -i {user}@example.org; done")


def stored(box, user='u'):
    return len(box.do(f'find /run/store/{user}/new -type f 2>/dev/null || true').split())


def queue(box):
    return sorted(re.findall(r'"id": ?"(\w+)"', box.do('meta1ctl queue list --json')))


def pids(box):
    """name -> pid as seen from outside, when all five run in the unit."""
    def all_five():
        out = {}
        with contextlib.suppress(OSError):  # one has just ended
            for pid in pathlib.Path(f'{box.group}/system.slice/meta1.service/cgroup.procs').read_text().split():
                status = pathlib.Path(f'/proc/{pid}/status').read_text()
                out[re.search(r'^Name:\t(.*)$', status, re.M)[1]] = int(pid)
        return set(out) == set(PROCESSES) and out
    return lab.wait_for('five processes', all_five)


def main_pid(box):
    return int(box.show('MainPID')['MainPID'])


def drop_in(box, text):
    d = box.bare.root / 'etc/systemd/system/meta1.service.d'
    d.mkdir(exist_ok=True)
    (d / 'test.conf').write_text(text)
    box.do('systemctl daemon-reload')


def test_it_starts_at_the_boot_and_says_when_it_is_ready(box):
    has = box.show('Type', 'ActiveState', 'SubState', 'WatchdogUSec', 'NRestarts', 'UnitFileState')
    assert has == {'Type': 'notify', 'ActiveState': 'active', 'SubState': 'running', 'WatchdogUSec': '1min', 'NRestarts': '0', 'UnitFileState': 'enabled'}
    box.do('systemctl stop meta1')
    assert 'mcp' not in box.do('ps -e 2>/dev/null || cat /proc/[0-9]*/comm')
    assert box.do('stat -c "%U %a" /run/meta1 2>/dev/null || echo gone') == 'gone\n'
    box.do('systemctl start meta1')
    assert greets(box)  # at once: start has waited for READY=1


def test_a_bad_configuration_is_said_and_not_tried_again(box):
    bad = box.bare.root / 'etc/meta1/conf.d/bad.conf'
    bad.write_text('smtps { no_such_option = 1; }\n')
    assert box.type('systemctl restart meta1')[1] != 0
    has = box.show('ActiveState', 'Result', 'ExecMainStatus', 'NRestarts')
    assert has == {'ActiveState': 'failed', 'Result': 'exit-code', 'ExecMainStatus': '78', 'NRestarts': '0'}
    assert 'bad.conf:1:9: unknown option no_such_option in smtps' in box.do('journalctl --no-pager -u meta1')
    bad.unlink()
    box.do('systemctl reset-failed meta1; systemctl start meta1')


def test_each_process_is_confined(box):
    unit = (box.bare.root / 'lib/systemd/system/meta1.service').read_text()
    caps = re.search('^CapabilityBoundingSet=(.*)', unit, re.M)[1].split()
    found = pids(box)
    users = {int(f[2]): f[0] for f in (line.split(':') for line in (box.bare.root / 'etc/passwd').read_text().splitlines())}
    for name, pid in found.items():
        status = dict(re.findall(r'^(\w+):\t(.*)$', pathlib.Path(f'/proc/{pid}/status').read_text(), re.M))
        assert users[int(status['Uid'].split()[1])] == PROCESSES[name]
        assert status['NoNewPrivs'] == '1' and status['Seccomp'] == '2', name
        assert bin(int(status['CapBnd'], 16)).count('1') <= len(caps) == 6, name
        assert name == 'mcp' or int(status['CapEff'], 16) == 0, name
        own = os.stat(f'/proc/{pid}/ns/mnt').st_ino
        assert own != os.stat(f'/proc/{box.init}/ns/mnt').st_ino, name
        mounts = pathlib.Path(f'/proc/{pid}/mounts').read_text()
        options = {f[1]: f[3].split(',') for f in (line.split() for line in mounts.splitlines())}  # the last one on a place is seen
        assert 'ro' in options['/'] and 'ro' in options['/sys'] and 'rw' in options['/var/spool/meta1'] and 'rw' in options['/run/meta1'], (name, options)
        assert 'ro' in options.get('/home', options['/']) and '/tmp' in options and not os.path.exists(f'/proc/{pid}/root/dev/tty0'), name
        for path in ('etc/meta1/x', 'usr/x', 'run/x', 'home/x', 'root/x', 'sys/x'):
            with pytest.raises(OSError, match='Read-only|Permission|No such'):
                open(f'/proc/{pid}/root/{path}', 'w').close()
    assert float(re.search(r'Overall exposure level for meta1.service: ([\d.]+)', box.do('systemd-analyze security --no-pager meta1'))[1]) <= 4


def test_mail_goes_through_all_five(box):
    box.do(STORE)
    with smtp(box) as c:
        c.mail('a@client.test', 'port25@example.org', 'Subject: x\r\n\r\nhello\r\n')
    send(box, 1)
    lab.wait_for('both mails', lambda: stored(box) == stored(box, 'port25') == 1)
    lab.wait_for('an empty queue', lambda: not queue(box))
    said = box.do('journalctl --no-pager -u meta1')
    assert len(re.findall('smtps.accepted id=S', said)) == 2 == len(re.findall('qmgr.done id=S', said))


def test_reload(box):
    conf, before = box.bare.root / 'etc/meta1/conf.d/size.conf', pids(box)

    def size():
        with smtp(box) as c:
            return re.search(r'SIZE (\d+)', c.cmd('EHLO x.test', 250))[1]
    conf.write_text('smtps { max_message_size = 1000000; }\n')
    box.do('systemctl reload meta1')
    lab.wait_for('the new size', lambda: size() == '1000000')
    conf.write_text('smtps { max_message_size = many; }\n')
    box.do('systemctl reload meta1')
    lab.wait_for('the refusal in the journal', lambda: 'size.conf:1:28' in box.do('journalctl --no-pager -u meta1'))
    lab.wait_for('the end of the reload', lambda: box.show('SubState')['SubState'] == 'running')
    assert size() == '1000000' and pids(box) == before
    conf.unlink()


def test_a_restart_with_mail_in_the_queue(box):
    had = stored(box)
    box.do('systemctl stop store')
    send(box, WAITING)
    lab.wait_for('all in the queue', lambda: len(queue(box)) == WAITING)
    waiting, before = queue(box), main_pid(box)
    box.do('systemctl restart meta1')
    assert main_pid(box) != before
    lab.wait_for('all in the queue again', lambda: queue(box) == waiting)
    box.do(STORE)

    def delivered():
        box.do('meta1ctl queue flush')  # qmgr may not have read all so far
        return stored(box) - had >= WAITING
    lab.wait_for('all in the store', delivered, 60)
    lab.wait_for('an empty queue', lambda: not queue(box))
    assert stored(box) - had == WAITING and 'everything is accounted for' in box.do('meta1ctl queue fsck')


@pytest.mark.parametrize('what', ['stands still', 'is killed'])
def test_an_mcp_that_fails_is_started_again(box, what):
    drop_in(box, '[Service]\nWatchdogSec=2\nRestartSec=100ms\n')
    box.do('systemctl restart meta1')
    send(box, 1, 'watched')
    before, out = main_pid(box), pids(box)
    os.kill(out['mcp'], signal.SIGSTOP if what == 'stands still' else signal.SIGKILL)

    def again():
        has = box.show('MainPID', 'ActiveState', 'NRestarts')
        return has['ActiveState'] == 'active' and has['MainPID'] not in ('0', str(before)) and int(has['NRestarts']) >= 1
    lab.wait_for('another mcp', again, 60)
    assert greets(box) and not set(pids(box).values()) & set(out.values())
    if what == 'stands still':
        assert 'meta1.service: Watchdog timeout' in box.do('journalctl --no-pager -u meta1')
    lab.wait_for('the mail', lambda: stored(box, 'watched') >= 1 and not queue(box))


def as_user(box, user, command):
    return box.type(f'runuser -u {user} -- meta1ctl {command}')


def test_features_enabled_by_an_admin(box):
    """By an account of control.admins, in what the unit may write; a module from its package is loaded by the smar that runs, and what only
    a start can change restarts smar alone."""
    confd, mine = box.bare.root / 'etc/meta1/conf.d', box.bare.root / 'etc/meta1/conf.d/mine.conf'
    box.do("""
for u in op member stranger; do id -u $u >/dev/null 2>&1 || useradd -r $u; done
usermod -aG meta1 op; usermod -aG meta1 member
dpkg -i /debs/meta1-map-lmdb_0*.deb
cd /etc/meta1; echo 'k  from a module' | createmap lmdb l; : >greyexempt
echo 'smar { map l { type = lmdb; file = l; } }' >conf.d/more.conf.sample
echo 'control { admins = { op }; }' >conf.d/admins.conf
meta1ctl reload
""")
    before = pids(box)
    said, status = as_user(box, 'op', 'module enable map_lmdb')  # another map of that name is there
    assert status == 78 and f'{mine.name}:' in said and 'map_lmdb.conf:' in said and 'taken back' in said and not (confd / 'map_lmdb.conf').exists()
    said, status = as_user(box, 'member', 'module enable more')
    assert status == 1 and 'needs root or a user named in control' in said
    said, status = as_user(box, 'stranger', 'module enable more')
    assert status == 1 and 'Permission denied (members of group meta1 may; or use root)' in said
    assert as_user(box, 'op', 'module enable more') == ('conf.d/more.conf is on\n', 0)
    assert 'from a module' in as_user(box, 'member', 'map query l k')[0] and pids(box) == before

    said, status = as_user(box, 'op', 'module enable greylisting')
    assert status == 0 and 'smar' in said and said.endswith('conf.d/greylisting.conf is on\n')
    after = pids(box)
    assert {r for r in PROCESSES if after[r] != before[r]} == {'smar'}

    def rcpt():
        with smtp(box) as c:
            c.cmd('EHLO x.test', 250)
            c.cmd('MAIL FROM:<a@client.test>', 250)
            return c.cmd('RCPT TO:<grey@example.org>')[:3]
    lab.wait_for('the greylist', lambda: rcpt() == '450')  # 451 until smtps has found the new smar
    for name in ('greylisting', 'more'):
        assert as_user(box, 'op', f'module disable {name}')[1] == 0
    lab.wait_for('the end of the greylist', lambda: rcpt() == '250')
    box.do('rm /etc/meta1/conf.d/admins.conf; dpkg -P meta1-map-lmdb; meta1ctl reload')


def test_a_map_in_a_process_of_its_own(box):
    """The unit leaves mcp what it needs for it, and the account comes with the package."""
    conf, before = box.bare.root / 'etc/meta1/conf.d/isolate.conf', pids(box)

    def workers():
        return [pid for of in box.bare.processes().values() for pid, user in of if user == 'meta1w']
    conf.write_text('smar { map far { type = text; rows = { "k from a worker" }; isolate = yes; isolate_user = meta1w; } }\n')
    box.do('meta1ctl reload')
    assert 'from a worker' in box.do('meta1ctl map query far k')
    first, = workers()
    status = dict(re.findall(r'^(\w+):\t(.*)$', pathlib.Path(f'/proc/{first}/status').read_text(), re.M))
    assert status['NoNewPrivs'] == '1' and status['Seccomp'] == '2' and int(status['CapEff'], 16) == 0
    os.kill(first, signal.SIGKILL)
    lab.wait_for('another worker', lambda: workers() not in ([], [first]))
    lab.wait_for('its answer', lambda: 'from a worker' in box.type('meta1ctl map query far k')[0])
    conf.unlink()
    box.do('meta1ctl reload')
    lab.wait_for('the end of the worker', lambda: not workers())
    assert pids(box) == before


def test_ports_opened_by_a_socket_unit(box):
    """The files of doc/install.md: the first connection starts the service, which has no right to open such ports itself."""
    page = (SRC / 'doc/install.md').read_text()
    files = re.findall(r'^    # (/etc/systemd/system/\S+)\n((?:    .*\n)+)', page, re.M)
    assert [f for f, _ in files] == ['/etc/systemd/system/meta1.socket', '/etc/systemd/system/meta1.service.d/socket.conf']
    box.do('systemctl stop meta1; rm -f /etc/systemd/system/meta1.service.d/test.conf')
    for path, text in files:
        box.do(f"mkdir -p $(dirname {path}); cat >{path} <<'END'\n{re.sub('^    ', '', text, flags=re.M)}END")
    box.do('systemctl daemon-reload; systemctl disable --quiet meta1.service; systemctl enable --quiet --now meta1.socket')
    assert not pathlib.Path(f'{box.group}/system.slice/meta1.service').exists()
    assert greets(box)  # whoever comes first waits until it runs
    caps = re.search(r'^CapBnd:\t(\w+)', pathlib.Path(f'/proc/{pids(box)["mcp"]}/status').read_text(), re.M)[1]
    assert not int(caps, 16) & 1 << 10
    with smtp(box) as c:
        c.mail('a@client.test', 'sock@example.org', 'Subject: x\r\n\r\nhello\r\n')
        lab.wait_for('the mail', lambda: stored(box, 'sock') == 1)
    box.do('systemctl restart meta1')
    assert greets(box) and 'closed' not in box.do('journalctl --no-pager -u meta1 | grep mcp.service || true')
    box.do('systemctl stop meta1.socket meta1.service')


def test_folders_are_made_at_a_boot(box):
    """tmpfiles.d and sysusers.d, which the package brings, are used by what systemd has for them."""
    box.do('systemctl stop meta1; mv /var/spool/meta1 /var/spool/kept; systemd-tmpfiles --create')
    assert box.do('stat -c "%U %a" /run/meta1 /var/spool/meta1') == 'root 755\nroot 755\n'
    box.do('rmdir /var/spool/meta1; mv /var/spool/kept /var/spool/meta1')
    assert 'u meta1q - "meta1, keeps the queue"' in box.do('systemd-sysusers --cat-config')
    box.do('cp /etc/passwd /etc/passwd.kept; sed -i /^meta1m:/d /etc/passwd; systemd-sysusers; grep ^meta1m: /etc/passwd; mv /etc/passwd.kept /etc/passwd')
