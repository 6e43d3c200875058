# SPDX-License-Identifier: BSD-2-Clause
"""A gateway whose queue has a small file system of its own."""
import os, pathlib

import lab


class SmallDisk(lab.Gateway):
    """Its queue is on a file system of its own of 4 MB, which goes with the server."""
    SIZE = '4m'

    def run_as(self, cmd):
        q = self.dir / 'q'
        return ['unshare', '-m', 'sh', '-c', f'mount -t tmpfs -o size={self.SIZE},mode=755,uid={self.uid},gid={self.uid} '
                'none "$0" && exec "$@"', str(q), *super().run_as(cmd)]

    def q(self):
        return pathlib.Path(f'/proc/{self.proc.pid}/root{self.dir}/q')

    def free(self):
        st = os.statvfs(self.q())
        return st.f_bavail * st.f_frsize
