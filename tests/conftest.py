# SPDX-License-Identifier: BSD-2-Clause
import os, shutil, sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), 'system'))
import lab


@pytest.fixture(scope='session')
def inst():
    """An installed copy of the build under test (META1_BUILD)."""
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
