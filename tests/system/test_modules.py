# SPDX-License-Identifier: BSD-2-Clause
"""A stranger's module: doc/modules.md, each command of it, from an installation alone; then it answers a live look-up."""
import json, os, re, shutil, subprocess

import lab
from named import SRC
from test_lookup import Control


def shell(where, script, env):
    p = subprocess.run(['/bin/bash', '-eu'], input=script, cwd=where, env=env, capture_output=True, text=True, timeout=120)
    assert p.returncode == 0, f'{script}\n{p.stdout[-3000:]}{p.stderr[-3000:]}'
    return p.stdout


def test_the_guide(inst, tmp_path):
    root = lab.tempdir('own')
    shutil.copytree(inst, root, symlinks=True, dirs_exist_ok=True)
    prefix = root / lab.PREFIX.lstrip('/')
    pc = prefix / 'lib/pkgconfig/meta1-module.pc'
    pc.write_text(pc.read_text().replace(lab.PREFIX, str(prefix)))
    env = dict(os.environ, PATH=f'{prefix}/bin:{os.environ["PATH"]}', PKG_CONFIG_PATH=str(pc.parent), MANDIR=str(prefix / 'share/man'))
    blocks = re.findall(r'^```sh\n(.*?)^```', (SRC / 'doc/modules.md').read_text(), re.M | re.S)
    assert len(blocks) == 3
    begin, check, install = blocks
    out = shell(tmp_path, begin, env)
    assert re.search(r'^\d+ passed, 0 failed$', out, re.M)
    mine = tmp_path / 'map_even'
    assert re.search(r'^\d+ passed, 0 failed$', shell(mine, check, env), re.M)
    shell(mine, install, env)
    assert (prefix / 'lib/meta1/maps/map_even.so').exists() and (prefix / 'share/man/man5/map_even.5').exists()
    assert 'type = even;' in (mine / 'map_even.conf.sample').read_text()
    with lab.Gateway(root, smar='map numbers { type = even; value = "yes"; }') as g:
        assert Control(g).query('numbers', b'even-2')['result'] == 'found'
        assert Control(g).query('numbers', b'odd-1')['result'] == 'notfound'


def test_listed_and_described(inst, tmp_path):
    with lab.Gateway(inst, smar='map t { type = text; rows = { "a b" }; }') as g:
        mods = {m['name']: m for m in map(json.loads, g.ctl('module', 'list', '--json').stdout.splitlines())}
        assert mods['map_text']['used_by'] == ['smar (smar: map t)'] and mods['map_text']['roles'] == ['smar', 'tools']
        assert mods['transport_smtp']['kind'] == 'transport' and mods['map_text']['abi'].startswith('1.')
        info = g.ctl('module', 'info', 'map_text').stdout
        assert 'map_text' in info and '  file ' in info and 'maps/map_text.so' in info
        p = g.ctl('module', 'info', 'map_tex', check=False)
        assert p.returncode == 1 and 'there is no such module' in p.stderr


def test_enabled_and_disabled(inst):
    g = lab.Gateway(inst)
    with open(g.conf, 'a') as f:
        f.write('include "conf.d/*.conf";\n')
    d = g.dir / 'conf.d'
    d.mkdir()
    if g.uid is not None:
        os.chown(d, g.uid, g.uid)  # mcp makes the link
    (d / 'nums.conf.sample').write_text('smar { map nums { type = text; rows = { "one 1" }; } }\n')
    (d / 'bad.conf.sample').write_text('smar { no_such_option = 1; }\n')
    (d / 'own.conf').write_text('smar { local_domains = example.org; }\n')

    def stopped(*words):
        return subprocess.run(g.run_as([str(g.bin / 'bin/meta1ctl'), '-f', str(g.conf), *words]), capture_output=True, text=True, env=g.environ())

    assert 'counts from the next start' in stopped('module', 'enable', 'nums').stdout and (d / 'nums.conf').is_symlink()
    bad = stopped('module', 'enable', 'bad')
    assert bad.returncode == 78 and 'no_such_option' in bad.stderr and not (d / 'bad.conf').is_symlink()
    assert stopped('module', 'disable', 'nums').returncode == 0 and not (d / 'nums.conf').is_symlink()
    with g:
        assert g.ctl('module', 'enable', 'nums').stdout == 'conf.d/nums.conf is on\n'
        assert 'nums' in g.ctl('map', 'list').stdout
        assert Control(g).query('nums', b'one')['result'] == 'found'
        again = g.ctl('module', 'enable', 'nums', check=False)
        assert again.returncode == 1 and 'is enabled already' in again.stderr
        bad = g.ctl('module', 'enable', 'bad', check=False)
        assert bad.returncode == 78 and 'no_such_option' in bad.stderr and not (d / 'bad.conf').is_symlink()
        own = g.ctl('module', 'disable', 'own', check=False)
        assert own.returncode == 1 and (d / 'own.conf').exists()
        assert 'no such file' in g.ctl('module', 'enable', 'none', check=False).stderr
        g.ctl('module', 'disable', 'nums')
        assert 'nums' not in g.ctl('map', 'list').stdout
        assert not (d / 'nums.conf').is_symlink()
