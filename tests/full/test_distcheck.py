# SPDX-License-Identifier: BSD-2-Clause
"""The tree as a distribution takes it: the tarball, a build without options, a clean tree."""
import os, pathlib, shutil, subprocess, tarfile

import pytest

import lab

SRC = pathlib.Path(os.environ['META1_SRC'])
NOT_SHIPPED = {'.gitignore'}


def run(*cmd, cwd=None, env=None):
    done = subprocess.run(cmd, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
                          env={**os.environ, **(env or {})})
    assert done.returncode == 0, f'{cmd}: {done.stdout[-5000:]}'
    return done.stdout


def git(*args, cwd=SRC):
    return run('git', '-c', 'safe.directory=*', *args, cwd=cwd)


@pytest.fixture
def clone(tmp_path):
    if not (SRC / '.git').exists():
        pytest.skip('the tree is no clone')
    git('clone', '-q', str(SRC), str(tmp_path / 'clone'))
    return tmp_path / 'clone'


def test_distcheck():
    out = run('make', '-s', '-C', str(lab.BUILD), 'distcheck')
    assert 'ready for distribution' in out
    tarball, = lab.BUILD.glob('meta1-*.tar.xz')
    try:
        with tarfile.open(tarball) as t:
            shipped = {m.name.split('/', 1)[1] for m in t.getmembers() if m.isfile()}
    finally:
        tarball.unlink()
    assert 'configure' in shipped
    assert not [n for n in shipped if n.endswith(('.o', '.pyc', '.log'))]
    if (SRC / '.git').exists():
        missing = set(git('ls-files').split('\n')) - shipped - NOT_SHIPPED - {''}
        assert not missing


def test_without_gdbm(tmp_path):
    run(str(SRC / 'tests/build.sh'), str(tmp_path / 'b'), '--without-gdbm', '--enable-developer')
    run('make', '-s', '-C', str(tmp_path / 'b'), 'check')
    assert not list((tmp_path / 'b').rglob('map_gdbm*.so'))


def test_a_build_inside_the_tree_leaves_it_clean(clone):
    run('tests/build.sh', '.', cwd=clone)
    assert not git('status', '--porcelain', cwd=clone)
    run('make', '-s', 'clean', cwd=clone)
    run('make', '-s', cwd=clone)
    run('make', '-s', 'maintainer-clean', cwd=clone)
    assert not git('status', '--porcelain', cwd=clone)


def test_a_tree_that_cannot_be_written(clone):
    """A clone of somebody else's, nothing generated in it yet."""
    top = lab.tempdir('else')
    try:
        tree, out = top / 'tree', top / 'out'
        shutil.copytree(clone, tree)
        out.mkdir()
        cmd = [str(tree / 'tests/build.sh'), str(out), '--enable-developer']
        if os.geteuid() == 0:
            os.chown(out, lab.NOBODY, lab.NOBODY)
            cmd = ['setpriv', f'--reuid={lab.NOBODY}', f'--regid={lab.NOBODY}', '--clear-groups', *cmd]
        else:
            run('chmod', '-R', 'a-w', str(tree))
        run(*cmd)
        assert not (tree / 'configure').exists()
        assert (out / 'core/mcp/mcp').exists()
    finally:
        run('chmod', '-R', 'u+w', str(top))
        shutil.rmtree(top)
