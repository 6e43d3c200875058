# SPDX-License-Identifier: BSD-2-Clause
"""Filters that die, hang or talk nonsense at each step, and each thing that the configuration may say of it: what it says is
done, nothing is half edited, other sessions go on, and the filter is used again when it is back.

The matrix, for each of both protocols:
    steps     the negotiation, connect, helo, mail, rcpt, data, header, end of header, body, end
    faults    gone (closed), reset, garbled, an answer that does not exist, half a frame; half an edit (end); silence
    actions   abort, tempfail, reject, quarantine, accept_but_reconnect, accept; three of them behind a fall-back address
    also      the configuration is loaded anew, or the server stops, while the filter is asked; and the first address is back
Here each action meets each step, and each fault each action, over real connections: which fault at which step goes round from step to
step (META1_FULL=1: all cells). All cells without connections: tests/unit/smtps/chain_matrix.c (stages × ways to fail × actions, loaded
anew, stopped), and, that each fault at each frame is a failure of the stage, the kit (sdk/kit/pm_faults.c) and tests/unit/modules/
pmilter_hostile.c, pmilter_milter_bad.c."""
import concurrent.futures, json, os, re, signal

import lab, milterd, pmilterd, pytest

FULL = bool(os.environ.get('META1_FULL'))
BODY = b'Subject: t\r\n\r\nhello\r\n'
# what a failure means: the reply to the command at which it counts; None: the mail goes on
ACTIONS = {'abort': '421', 'tempfail': '451 4.7.1', 'reject': '554 5.7.1', 'quarantine': None, 'accept_but_reconnect': None}
# of each protocol: its peer, steps, options, what a filter that works says at the end, how many of FAULTS a step gets, where it stalls;
# a chunk of pmilter is no question, so nobody waits for an answer to it
KINDS = {'milter': (milterd.Milter, milterd.STEPS, 'max_idle = 0;', [milterd.add_header('X-Judged', 'yes'), b'c'], 1, 'CME'),
         'pmilter': (pmilterd.Pmilter, 'OCHMRTBE', '', pmilterd.ADD_JUDGED, 1, 'CE')}
# the command at which a refusal is said; a client that connects is told 421 at once, of a 451 it hears with its mail
COMMAND = {'O': 'MAIL', 'C': 'MAIL', 'H': 'MAIL', 'M': 'MAIL', 'R': 'RCPT', 'T': 'DATA', 'L': '.', 'N': '.', 'B': '.', 'E': '.'}
AT_ONCE = {**COMMAND, 'O': 'connect', 'C': 'connect', 'H': 'EHLO'}
FAULTS = ('close_it', 'reset', 'garble', 'unknown', 'cut')


NAMES = (*ACTIONS, 'accept', 'steady')
BEHIND = ('tempfail', 'quarantine', 'accept_but_reconnect')  # their first address nobody listens at


def address(action):
    """The client that the filter of this action judges."""
    return f'127.0.1.{1 + NAMES.index(action)}'


class Way:
    """A mail of that client, command by command: at which it was refused, and how."""

    def __init__(self, g, action):
        self.refused = self.id = None
        self.c = g.client(source=address(action), greet=False)
        for name, line, good in (('connect', '', '220'), ('EHLO', 'EHLO c.test', '250'), ('MAIL', 'MAIL FROM:<a@from.test>', '250'),
                                 ('RCPT', 'RCPT TO:<u@far.test>', '250'), ('DATA', 'DATA', '354'), ('.', BODY.decode() + '.', '250')):
            self.reply = self.c.cmd(line) if line else self.c.reply()
            if not self.reply.startswith(good):
                self.refused = name
                return
        self.id = re.search('accepted as (S[0-9A-F]+)', self.reply)[1]

    def end(self):
        self.c.s.close()


class Filtered(lab.Gateway):
    """One chain with a filter for each action, which judges the mail of one client; and one more that always works."""

    def __init__(self, inst, sink, kind):
        peer, self.steps, options, self.judged, self.nfault, self.stalls = KINDS[kind]
        self.kind, self.sink, self.milter = kind, sink, {a: peer() for a in NAMES}
        short = 'timeout = 1s; end_timeout = 1s;'
        dead = f'socket {{ type = inet; address = 127.0.0.1; port = {lab.free_port()}; }} '
        filters = ''.join(f'filter {a} {{ module = {kind}; {dead + m.socket.replace("socket", "fallback") if a in BEHIND else m.socket} {options} clients = {address(a)}; '
                          f'{"" if a == "steady" else f"{short} flags = {{ {a} }};"} }}\n' for a, m in self.milter.items())
        super().__init__(inst, smtps='flags = { 8bitmime, access }; max_bad_commands = 1000; '
                         f'policy_milter {{ module = mux; {filters} }}', smar=lab.MAPS,
                         files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': 'cltaddr:127 RELAY\n'})

    def filters(self):
        return {f['name']: f for f in json.loads(self.http('smtps', 'GET', '/v1/filters')[1])['filters']}

    def works(self, action):
        """A mail goes through, and this filter has judged it."""
        w = Way(self, action)
        w.end()
        return w.refused is None and 'X-Judged: yes' in self.delivered(w.id)

    def delivered(self, id):
        lab.wait_for(f'{id} at the sink or held', lambda: self.find(id) or self.held(id))
        return self.find(id).get('body', b'').decode()

    def find(self, id):
        return next((m for m in list(self.sink.mails) if id.encode() in m['body']), {})

    def held(self, id):
        status, text = self.http('qmgr', 'GET', f'/v1/queue/{id}')
        return json.loads(text)['recipients'][0] if status == 200 and '"held"' in text else None


@pytest.fixture(scope='module', params=KINDS)
def g(inst, request):
    with lab.Sink() as sink, Filtered(inst, sink, request.param) as gw:
        yield gw
        for m in gw.milter.values():
            m.stop()


def good(g, action):
    g.milter[action].says = {'E': g.judged}


def failed_as_configured(g, action, step, fault):
    good(g, action)
    g.milter[action].says[step] = fault
    if step == 'O':
        g.milter[action].drop()
    w = Way(g, action)
    want, where = ACTIONS[action], (AT_ONCE if action == 'abort' else COMMAND)[step]
    what = f'{action}, {fault} at {step}: {w.reply}'
    if want:
        assert w.refused == where and w.reply.startswith(want), what
        if want == '421':
            assert w.c.closed(), what
        return w.end()
    assert w.refused is None, what
    w.end()
    if action == 'quarantine':
        held = lab.wait_for(f'a held mail ({what})', lambda: g.held(w.id))
        assert held['reason'] and held['state'] == 'held', what
        assert not g.find(w.id), what
    else:
        text = g.delivered(w.id)
        assert 'X-Half' not in text and 'X-Judged' not in text and 'hello' in text, what


def all_steps(g, action, cases):
    for step, fault in cases:
        failed_as_configured(g, action, step, fault)
        good(g, action)
        lab.wait_for(f'{action} to be used again after {fault} at {step}', lambda: g.works(action))


def test_each_step_each_action(g):
    """The actions side by side, each with its own filter; all the while a session whose filter works is in a mail of its own."""
    good(g, 'steady')
    cases = [(s, f) for i, s in enumerate(g.steps) for k, f in enumerate(FAULTS) if FULL or (i + k) % len(FAULTS) < g.nfault]
    cases += [('E', 'half')] + [(s, 'stall') for s in (g.steps if FULL else g.stalls) if (g.kind, s) != ('pmilter', 'B')]
    with g.client(source=address('steady')) as c:
        c.cmd('EHLO other.test', 250)
        c.cmd('MAIL FROM:<o@from.test>', 250)
        c.cmd('RCPT TO:<u@far.test>', 250)
        c.cmd('DATA', 354)
        with concurrent.futures.ThreadPoolExecutor(len(ACTIONS)) as pool:
            for done in [pool.submit(all_steps, g, a, cases) for a in ACTIONS]:
                done.result()
        reply = c.cmd(BODY.decode() + '.', 250)
        assert 'X-Judged: yes' in g.delivered(re.search('accepted as (S[0-9A-F]+)', reply)[1])
    assert not [m for m in g.sink.mails if b'X-Half' in m['body']]
    shown = g.filters()
    assert all(shown[a]['counts']['failed'] >= len(cases) for a in ACTIONS)
    assert shown['steady']['counts']['failed'] == 0 and shown['steady']['last_error'] == ''


def test_not_again_until_a_reload(g):
    """flags = { accept }, and that counts of a filter go on over the reload."""
    good(g, 'accept')
    assert g.works('accept')
    g.milter['accept'].says['E'] = 'close_it'
    w = Way(g, 'accept')
    w.end()
    assert w.refused is None and 'X-Judged' not in g.delivered(w.id)
    good(g, 'accept')
    assert not g.works('accept') and g.filters()['accept']['breaker'] == 'shut'
    g.proc.send_signal(signal.SIGHUP)
    lab.wait_for('the filter to be asked again', lambda: g.works('accept'))
    assert g.filters()['accept']['breaker'] == 'closed' and g.filters()['accept']['counts']['failed'] == 1


def test_silent_for_longer_than_its_time(g):
    """Behaviour 40: abort closes with 421; accept_but_reconnect delivers, and the next session talks to the filter again."""
    for action in ('abort', 'accept_but_reconnect'):
        g.milter[action].says = {'M': 'stall'}
    w = Way(g, 'abort')
    assert w.refused == 'MAIL' and w.reply.startswith('421') and w.c.closed()
    w.end()
    with g.client(source=address('accept_but_reconnect')) as c:
        ids = []
        for _ in range(2):  # in this session nobody asks it again, well as it is
            ids.append(re.search('accepted as (S[0-9A-F]+)', c.mail('a@from.test', 'u@far.test', BODY))[1])
            good(g, 'accept_but_reconnect')
        assert all('hello' in g.delivered(i) and 'X-Judged' not in g.delivered(i) for i in ids)
        assert g.works('accept_but_reconnect')


def hangs(g, peer, step):
    """A session of that peer's client that waits for its word at this step, and what it has to say when it is answered."""
    peer.says = {step: 'wait'}
    before = len(peer.waiting)
    c = g.client(source=peer.client, greet=False)
    if step != 'C':
        c.reply(220)
        c.cmd('EHLO c.test', 250)
        if step == 'M':
            c.send('MAIL FROM:<a@from.test>\r\n')
        else:
            for line, code in (('MAIL FROM:<a@from.test>', 250), ('RCPT TO:<u@far.test>', 250), ('DATA', 354)):
                c.cmd(line, code)
            c.send(BODY + b'.\r\n')
    lab.wait_for(f'the question {step}', lambda: len(peer.waiting) > before)
    return c


def test_loaded_anew_and_stopped_meanwhile(inst):
    """While filters of both protocols are asked at connect, MAIL and the end, the configuration is loaded anew: they answer, and that holds.
    While they are asked the server stops: 421, and nobody waits."""
    with lab.Sink() as sink, milterd.Milter() as m, pmilterd.Pmilter() as p:
        m.client, p.client, m.judged, p.judged = '127.0.1.1', '127.0.1.2', KINDS['milter'][3], pmilterd.ADD_JUDGED
        chain = ''.join(f'filter {k} {{ module = {k}; {x.socket} clients = {x.client}; failure = reject; }} ' for k, x in (('milter', m), ('pmilter', p)))
        with lab.relay_all(inst, sink.port, ac='cltaddr:127 RELAY\n', smtps=f'policy_milter {{ module = mux; {chain} }}') as g:
            stuck = {(x, step): hangs(g, x, step) for x in (m, p) for step in 'CME'}
            g.conf.write_text(g.conf.read_text().replace('failure = reject;', 'failure = tempfail;'))
            g.proc.send_signal(signal.SIGHUP)
            g.wait_log(r' smtps\[.* role\.reload result=committed')
            for x in (m, p):
                x.says = {'E': x.judged}
                x.release(x.says)
            ids = []
            for (x, step), c in stuck.items():
                with c:
                    reply = c.reply({'C': 220, 'M': 250, 'E': 250}[step])
                    if step == 'M':
                        for line, code in (('RCPT TO:<u@far.test>', 250), ('DATA', 354), (BODY.decode() + '.', 250)):
                            reply = c.cmd(line, code)
                    elif step == 'C':
                        reply = c.mail('a@from.test', 'u@far.test', BODY)
                    ids.append(re.search('accepted as (S[0-9A-F]+)', reply)[1].encode())
            for i in ids:
                assert b'X-Judged: yes' in lab.wait_for(f'{i} at the sink', lambda: next((x['body'] for x in list(sink.mails) if i in x['body']), None))
            for x in (m, p):  # who comes now has the new chain
                x.says = {'M': 'close_it'}
                with g.client(source=x.client) as c:
                    c.cmd('EHLO c.test', 250)
                    assert c.cmd('MAIL FROM:<a@from.test>').startswith('451 4.7.1')
                x.says = {}
                with g.client(source=x.client) as c:
                    lab.wait_for('the filter to be used again', lambda: c.mail('a@from.test', 'u@far.test', BODY).startswith('250'))
            taken = len(ids) + 2
            sink.wait(taken)
            stuck = [hangs(g, x, step) for x in (m, p) for step in 'CME']
            g.proc.send_signal(signal.SIGTERM)
            for c in stuck:
                with c:
                    c.reply(421)
                    assert c.closed()
            assert g.proc.wait(20) == 0
            assert len(sink.mails) == taken
            assert not list((g.dir / 'q/in').glob('image*'))
