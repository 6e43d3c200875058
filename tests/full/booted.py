# SPDX-License-Identifier: BSD-2-Clause
"""booted.py -- a bare Debian whose own systemd runs as process 1, with a network, processes and control groups of its own.

Needs root and a mounted cgroup2. unshare makes the machine; all that runs in it ends with it, whatever becomes of the test."""
import os, pathlib, re, shlex, shutil, subprocess, tempfile

import lab
from bare import PATH

# A root of its own, not a chroot: services have mount namespaces, which begin at the root of process 1.
BOOT = r"""
mount --make-rprivate / && mount --rbind "$0" "$0" && cd "$0" || exit 1
ip link set lo up
mount -t proc proc proc && mount -t sysfs sysfs sys && mount -o remount,bind,ro sys && mount -t tmpfs -o mode=755 run run || exit 1
mount -t tmpfs -o mode=755 dev dev && mkdir dev/pts dev/shm && mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts || exit 1
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
for d in null zero full random urandom tty; do : >dev/$d; mount --bind /dev/$d dev/$d || exit 1; done
[ -d sys/fs/cgroup ] && mount -t cgroup2 cgroup2 sys/fs/cgroup || exit 1
pivot_root . . && umount -l . && cd / || exit 1
exec env -i container=meta1-test PATH="$1" /lib/systemd/systemd --unit=multi-user.target --show-status=no --log-target=journal --log-level=notice
"""
# of no use here, and some would reach out of the machine
MASKED = ('systemd-udevd.service', 'systemd-udev-trigger.service', 'systemd-modules-load.service', 'systemd-timesyncd.service', 'systemd-logind.service',
          'getty.target', 'console-getty.service', 'systemd-sysctl.service', 'apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer',
          'dev-hugepages.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount', 'sys-fs-fuse-connections.mount')


def cgroup2():
    """Where this machine has its cgroup2, beside older ones or alone."""
    for line in pathlib.Path('/proc/mounts').read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == 'cgroup2' and 'rw' in options.split(','):
            return pathlib.Path(where)
    raise AssertionError('no cgroup2 is mounted here: systemd cannot run')


class Booted:
    def __init__(self, bare):
        self.bare = bare
        for unit in MASKED:
            link = bare.root / 'etc/systemd/system' / unit
            link.unlink(missing_ok=True)
            link.symlink_to('/dev/null')
        shutil.rmtree(bare.root / 'var/log/journal', ignore_errors=True)  # of this boot only
        self.group = pathlib.Path(tempfile.mkdtemp(prefix='meta1-test.', dir=cgroup2()))
        self.log = open(bare.root / 'root/boot.log', 'w+')
        # the group's processes see it as the root of all
        inside = f'echo $$ >{self.group}/cgroup.procs && exec unshare -mnpuiC --fork --kill-child sh -c {shlex.quote(BOOT)} "$0" {PATH}'
        self.p = subprocess.Popen(['sh', '-c', inside, str(bare.root)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        try:
            self.init = lab.wait_for('process 1', self.child)
            lab.wait_for('the end of the boot', lambda: self.type('systemctl is-system-running')[0].strip() in ('running', 'degraded'), 60)
        except BaseException:
            print(self.said())
            self.close()
            raise

    def said(self):
        return pathlib.Path(self.log.name).read_text(errors='replace')[-6000:]

    def child(self):
        assert self.p.poll() is None, self.said()
        pids = pathlib.Path(f'/proc/{self.p.pid}/task/{self.p.pid}/children').read_text().split()
        return pids and os.readlink(f'/proc/{pids[0]}/exe').endswith('/systemd') and int(pids[0])

    def type(self, text, limit=120):
        """What was said and the exit status; it stops at the first command that fails."""
        env = ['env', '-i', f'PATH=/usr/local/sbin:/usr/local/bin:{PATH}', 'HOME=/root', 'LC_ALL=C.UTF-8']
        done = subprocess.run(['nsenter', '-t', str(self.init), *'-m -n -p -u -i -C -r -w'.split(), *env, 'bash', '-ec', text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=limit)
        return done.stdout.decode(errors='replace'), done.returncode

    def do(self, text, limit=120):
        said, status = self.type(text, limit)
        assert status == 0, f'{text}: exit status {status}\n{said[-6000:]}\n{self.said()}'
        return said

    def show(self, *what, unit='meta1.service'):
        """Properties of a unit."""
        return dict(re.findall(r'^(\w+)=(.*)$', self.do(f'systemctl show {unit} -p {",".join(what)}'), re.M))

    def close(self):
        self.p.kill()
        self.p.wait()
        self.log.close()

        def gone():
            for d in sorted(self.group.rglob('*/'), key=lambda d: -len(d.parts)) + [self.group]:
                if d.is_dir():
                    try:
                        d.rmdir()
                    except OSError:  # somebody is on his way out
                        return False
            return True
        lab.wait_for('the end of the machine', gone)
