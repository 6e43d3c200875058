# SPDX-License-Identifier: BSD-2-Clause
"""qmgr is killed between two of its writes while a report that filters have judged becomes a mail: before it is in the store, and when it
is, but its failed mail is not done yet. Reported once, either way."""
import os, threading

import pytest

import lab
from test_dsn_filters import SIGN, heard, judged, refuse, reports, send, signed
from trace import Strace


# the first call of that name after the filter's word is to the file; how often the filter then has the report at its end
STEPS = [('pwritev', 'q/qm/', 2), ('pwrite64', 'q/state/journal.', 1)]


# the first of them is also test_one_report_whatever_dies
@pytest.mark.parametrize('call, file, asked', STEPS if os.environ.get('META1_FULL') else STEPS[1:])
def test_killed_between_the_filters_word_and_the_end(inst, call, file, asked):
    go, back = threading.Event(), threading.Event()

    def when_told(c, f):
        go.wait(60)
        for packet in SIGN:
            g.filter.frame(c, packet)

    def not_before(verb, arg, ses):  # else it may be delivered before the journal is written, and once more after the kill
        if verb == 'MAIL' and arg.startswith('FROM:<>') and not back.is_set():
            return '451 4.3.0 not yet'
        return refuse(verb, arg, ses)
    with judged(inst) as g:
        g.sink.answer = not_before
        g.filter.when_told = when_told
        g.filter.says = {'E': 'when_told'}
        id = send(g, 'bad@far.test')
        lab.wait_for('the report at the filter', lambda: heard(g).endswith('E'))
        old = g.pids()['qmgr']
        with Strace(g, ('qmgr',), '-y', '-e', f'trace={call}', '-e', f'inject={call}:error=EINTR:signal=KILL') as s:
            go.set()
            lab.wait_for('another qmgr', lambda: g.pids().get('qmgr', old) != old)
        assert file in s.out.read_text()
        g.ready()
        back.set()
        report, = lab.wait_for('the report', lambda: reports(g) or g.ctl('queue', 'flush') and False)
        g.queue_empty()
        assert signed(report) and f'id {id}-1;'.encode() in report['body']
        assert len(reports(g)) == 1 and heard(g).count('E') == asked
        fate = [line for line in g.ctl('queue', 'fsck', '--json', check=False).stdout.splitlines() if id in line]
        assert not fate or 'bounced' in ''.join(fate)
