# SPDX-License-Identifier: BSD-2-Clause
"""As in a container without privileges: mcp is process 1, one user without an account runs everything and has no capability, nothing
but the queue and the run directory can be written, and what is logged goes to where mcp's own output goes."""
import os, re, signal, subprocess

import lab, pytest

UID = 54321
ENTER = ('mount -t proc proc /proc && mount --bind "$0/q" "$0/q" && mount --bind "$0/run" "$0/run" && mount -o remount,ro,bind / && '
         f'exec setpriv --reuid={UID} --regid={UID} --clear-groups --no-new-privs --bounding-set=-all "$@"')


class Container(lab.Gateway):
    def __init__(self, inst, sink):
        super().__init__(inst, user='root', smtps='flags = { 8bitmime, access }; '
                         f'listen_socket submit {{ type = unix; path = "submit"; }} listen_socket {{ type = inet; address = 127.0.0.1; port = {lab.free_port()}; }}',
                         smar='map submit { type = text; rows = { "cltaddr:unix RELAY" }; } access { name = submit; } '
                         'map far { type = text; rows = { "k from a worker" }; isolate = yes; } '
                         f'map mt {{ type = text; rows = {{ ". [127.0.0.1]:{sink.port}" }}; }} mailertable {{ name = mt; }}')
        self.port = int(re.search(r'port = (\d+)', self.conf.read_text())[1])
        for sub in ('q', 'run'):
            os.chown(self.dir / sub, UID, UID)

    def run_as(self, cmd):
        return ['unshare', '-mpf', '--kill-child', 'sh', '-c', ENTER, str(self.dir), *cmd]

    def stop(self, limit=30):
        """What the manager of containers does: SIGTERM to process 1."""
        if self.proc.poll() is None:
            os.kill(self.pids()['mcp'], signal.SIGTERM)
        return self.proc.wait(limit)


def children(pid):
    return open(f'/proc/{pid}/task/{pid}/children').read().split()


@pytest.fixture
def container(inst, sink):
    if os.geteuid():
        pytest.skip('only root can make what looks like a container')
    with Container(inst, sink) as g:
        yield g


def test_without_privileges(container, sink):
    g = container
    pids = g.pids()
    assert set(pids) == {'mcp', *lab.ROLES}
    pids['worker'], = [p for p in children(pids['mcp']) if open(f'/proc/{p}/cmdline').read().split('\0')[1].startswith('map_text/far@')]
    for name, pid in pids.items():
        status = dict(line.split(':\t', 1) for line in open(f'/proc/{pid}/status').read().splitlines() if ':\t' in line)
        assert set(status['Uid'].split()) == set(status['Gid'].split()) == {str(UID)} and status['Groups'].strip() == ''
        assert [int(status[c], 16) for c in ('CapPrm', 'CapEff', 'CapBnd', 'CapAmb')] == [0] * 4, name
    assert open(f'/proc/{pids["mcp"]}/status').read().split('NSpid:')[1].split('\n')[0].split()[-1] == '1'
    for path in (g.conf, '/tmp', g.bin / 'libexec'):
        assert subprocess.run(['nsenter', '-t', str(pids['mcp']), '-m', 'touch', str(path)], capture_output=True).returncode != 0

    subprocess.run([str(g.bin / 'sbin/sendmail'), '-f', 'a@x.test', 'far@y.test'], input=b'Subject: s\n\nfrom a container\n', check=True,
                   env={**g.environ(), 'META1_SUBMIT': str(g.dir / 'q/submit')})
    assert b'from a container' in sink.wait(1)[0]['body']
    g.queue_empty()
    assert 'smtps' in g.ctl('status').stdout
    for role in ('mcp', 'smtps', 'qmgr'):
        assert re.search(rf'^\S+ {role}\[\d+\] ', g.log(), re.M), role
    assert 'from a worker' in g.ctl('map', 'query', 'far', 'k').stdout
    os.kill(pids['mcp'], signal.SIGHUP)
    g.wait_log('mcp.reload result=committed')
    assert g.stop() == 0 and not g.pids()


def test_another_account_is_refused(container):
    """Who cannot become another user says so, in place of running the module as itself."""
    g = container
    g.conf.write_text(g.conf.read_text().replace('isolate = yes;', 'isolate = yes; isolate_user = nobody;'))
    os.kill(g.pids()['mcp'], signal.SIGHUP)
    g.wait_log('mcp.reload result="refused')
    assert re.search(r'smar: map far: isolate_user: .*nobody: mcp runs as uid 54321 and cannot become another user; start mcp as root, or drop the option', g.log())
    assert 'from a worker' in g.ctl('map', 'query', 'far', 'k').stdout
