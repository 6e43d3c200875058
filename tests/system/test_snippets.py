# SPDX-License-Identifier: BSD-2-Clause
"""The files of conf.d as they are installed: each goes with the shipped configuration alone, its tables of options are
those of this build, each module has one, and with them the roles start. META1_FULL: enabled one by one, by mcp."""
import os
import re
import shutil
import sqlite3
import subprocess

import lab
import pytest
from certs import Authority

ETC = lab.PREFIX.lstrip('/') + '/etc/meta1'
# What a file names that is not its own to bring.
FILES = {name: '' for name in ('access', 'mt', 'aliases', 'networks', 'virtual', 'sender_routes', 'tls_policy', 'greyexempt', 'masquerade', 'routes.re')}
STARTS = 99 if os.environ.get('META1_FULL') else 3


@pytest.fixture(scope='module')
def samples(inst):
    found = {p.name.removesuffix('.conf.sample'): p.read_text() for p in sorted((inst / ETC / 'conf.d').glob('*.conf.sample'))}
    assert len(found) > 40
    return found


def options_of(text, name):
    part = re.search(rf'^# All options of (?:the section )?{re.escape(name)}, .*?(?=^#\n|\Z)', text, re.M | re.S)
    return re.findall(r'^# (\w+)(?: = .*;)?$', part[0], re.M)


def test_tables_are_of_this_build(inst, samples):
    prefix = inst / lab.PREFIX.lstrip('/')
    manual = (prefix / 'share/man/man5/meta1-maps.5').read_text() + (prefix / 'share/man/man5/meta1-filters.5').read_text()
    everything = '\n'.join(samples.values())
    assert not re.search(r'^#: ', everything, re.M)
    for so in sorted((prefix / 'lib/meta1').rglob('*.so')):
        name = so.stem
        if name in ('transport_smtp', 'queue_memory'):  # always there; for tests
            continue
        assert f'# All options of {name}, ' in everything, f'no file of conf.d for {name}'
        if part := re.search(rf'^\.SS "(?:type|module) = {name.split("_", 1)[1]}"\n(.*?)(?=^\.S|\Z)', manual, re.M | re.S):
            told = re.findall(r'^\.B (\S+)', part[1], re.M)
            assert options_of(next(t for t in samples.values() if f'# All options of {name}, ' in t), name) == told, name
    assert options_of(samples['greylisting'], 'smar.greylisting')[:2] == ['file', 'grey_wait']


def test_options_in_comments(inst, samples, tmp_path):
    """What a comment tells to write may be written."""
    etc = tmp_path / 'etc'
    shutil.copytree(inst / ETC, etc)
    changed = 0
    for name, text in samples.items():
        head = text.split('\n#\n# All options')[0]
        live = re.sub(r'^(\s+)# (\w+ = [^;\n]+;).*', r'\1\2', head, flags=re.M)
        if live == head:
            continue
        changed += 1
        (etc / 'conf.d' / f'{name}.conf').write_text(live)
        p = subprocess.run([inst / lab.PREFIX.lstrip('/') / 'sbin/mcp', '-f', etc / 'meta1.conf', '-VVV'], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        (etc / 'conf.d' / f'{name}.conf').unlink()
    assert changed


class Lab(lab.Gateway):
    """A gateway with all files that the snippets name."""

    def __init__(self, inst, samples):
        super().__init__(inst)
        self.samples, self.confd = samples, self.dir / 'conf.d'
        self.confd.mkdir()
        (self.dir / 'meta1').mkdir()
        for name, text in FILES.items():
            (self.dir / name).write_text(text)
        with Authority() as ca:
            for src, end in zip(ca.issue('gw', 'gw.test'), ('crt', 'key')):
                shutil.copy(src, self.dir / f'smtps.{end}')
        (self.dir / 'smtpc.auth').write_text('smtp.isp.example:587 user=ann password=x\n')
        for db in ('access', 'mt'):
            lab.createmap(inst, 'gdbm', self.dir / f'{db}.db', text='a b\n')
            lab.createmap(inst, 'lmdb', self.dir / f'{db}.lmdb', text='a b\n')
        with sqlite3.connect(self.dir / 'access.sqlite') as db:
            db.execute('CREATE TABLE access(key TEXT PRIMARY KEY, rhs TEXT)')
        with open(self.conf, 'a') as f:
            f.write('include "conf.d/*.conf";\n')
        for p in (self.dir / 'smtpc.auth', self.dir / 'smtps.key'):
            p.chmod(0o600)
        self.own()

    def own(self):
        for p in [self.dir, *self.dir.rglob('*')]:
            if self.uid is not None:
                os.chown(p, self.uid, self.uid)

    def text(self, name):
        """Paths of an installed gateway are in our folder."""
        return self.samples[name].replace('/etc/meta1/', f'{self.dir}/').replace('"/run/', f'"{self.dir}/').replace('"/etc/ssl/certs/ca-certificates.crt"', f'"{self.dir}/smtps.crt"')

    def goes(self, name):
        """It goes with those that are there already."""
        (self.confd / f'{name}.conf').write_text(self.text(name))
        p = subprocess.run(self.run_as(self.command('-VVV')), capture_output=True, text=True, env=self.environ())
        if p.returncode:
            (self.confd / f'{name}.conf').unlink()
        return p.returncode == 0


def test_roles_start_with_them(inst, samples):
    """As many together as go together, until all had their turn; the last few, other maps for the same use, are only
    checked as before a start."""
    left, turns = list(samples), 0
    while left:
        g = Lab(inst, samples)
        taken = [name for name in left if g.goes(name)]
        assert taken, left
        g.own()
        turns += 1
        left = [name for name in left if name not in taken]
        if turns > STARTS:
            p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
            assert p.returncode == 0, p.stderr
            g.close()
            continue
        try:
            g.start(ready=False)
            lab.wait_for(f'all roles with {taken}', lambda: len(re.findall(r' mcp\.ready role=', g.log())) == 4 or 'mcp.ended' in g.log() or g.proc.poll() is not None)
            assert len(re.findall(r' mcp\.ready role=', g.log())) == 4, g.log()[-4000:]
        finally:
            g.close()
    assert turns < 15


@pytest.mark.skipif(not os.environ.get('META1_FULL'), reason='META1_FULL=1: some minutes')
def test_enabled_one_by_one(inst, samples):
    g = Lab(inst, samples)
    for name in samples:
        (g.confd / f'{name}.conf.sample').write_text(g.text(name))
    g.own()
    with g:
        for name in samples:
            p = g.ctl('module', 'enable', name, check=False)
            assert p.returncode == 0, (name, p.stderr, g.log()[-3000:])
            assert p.stdout.endswith(f'conf.d/{name}.conf is on\n')
            g.ctl('module', 'disable', name)
