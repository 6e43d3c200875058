# SPDX-License-Identifier: BSD-2-Clause
"""The packages, and a bare Debian that has them beside it.

META1_DEBS names a folder with packages that were built before, META1_BARE a root folder, for whoever works on these tests."""
import os, pathlib, shutil, subprocess

import pytest
from bare import Bare, copy_tree, policy


@pytest.fixture(scope='session')
def debs(tmp_path_factory):
    if made := os.environ.get('META1_DEBS'):
        return pathlib.Path(made)
    d = tmp_path_factory.mktemp('debs')
    copy_tree(d / 'meta1')
    done = subprocess.run(['dpkg-buildpackage', '-us', '-uc', '-b'], cwd=d / 'meta1', stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=2400,
                          env={**os.environ, 'DEB_BUILD_OPTIONS': f'nocheck noautodbgsym parallel={os.cpu_count()}'})
    assert done.returncode == 0, done.stdout[-6000:]
    return d


@pytest.fixture(scope='session')
def packaged(debs):
    if os.geteuid():
        pytest.fail('a bare Debian can be made by root only')
    b = Bare()
    (b.root / 'meta1').mkdir(exist_ok=True)
    shutil.rmtree(b.root / 'debs', ignore_errors=True)
    (b.root / 'debs').mkdir()
    for deb in debs.glob('*.deb'):
        shutil.copy(deb, b.root / 'debs')
    policy(b, 101)
    yield b
    b.close()
