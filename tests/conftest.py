# SPDX-License-Identifier: BSD-2-Clause
"""What all tests by pytest share. They may run in several processes (pytest -n 3 --dist loadgroup, as ./check does):
those that use one server of their module go together, each other one by itself; what is marked `alone`
measures time or memory and runs when nothing else does."""
import os, pathlib, shutil, sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), 'system'))
import lab


def pytest_configure(config):
    config.addinivalue_line('markers', 'alone: not beside other tests; it measures')


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Tests of a file that share a fixture, with the same parameter if it has some, make a group."""
    for item in items:
        defs, params = item._fixtureinfo.name2fixturedefs, getattr(item, 'callspec', None)
        shared = sorted(name for name, d in defs.items() if d[-1].scope == 'module')
        if shared:
            of = [str(params.indices.get(name)) for name in shared if params and name in params.indices]
            item.add_marker(pytest.mark.xdist_group(f'{item.path.stem}-' + '-'.join([shared[0], *of])))


@pytest.fixture(scope='session')
def inst():
    """An installed copy of the build under test (META1_BUILD); META1_INST is one that was made before."""
    if made := os.environ.get('META1_INST'):
        yield pathlib.Path(made)
        return
    root = lab.install()
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def sink():
    with lab.Sink() as s:
        yield s


@pytest.fixture
def relay(inst, sink):
    """A gateway that sends all mail from loopback to the sink."""
    with lab.Gateway(inst, smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } '
                     'map ac { type = text; file = "ac"; } access { name = ac; }',
                     smtps='flags = { 8bitmime, access };',
                     files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127.0.0.1 RELAY\n'}) as g:
        yield g
