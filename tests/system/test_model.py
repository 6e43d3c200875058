# SPDX-License-Identifier: BSD-2-Clause
"""Random sequences of commands against the model of smtp_model.py: on the session alone, where everything it
hangs on fails in turn, and on all processes, where policy is smar's and mail goes through to a next hop."""
import collections, contextlib, json, os, pathlib, signal

import certs, lab, pytest
import smtp_model as model
import smtp_model_proof as proof
from stores import passwords

FULL = bool(os.environ.get('META1_FULL'))
SEED = os.environ.get('META1_SEED', '1')
SEQUENCES = int(os.environ.get('META1_SEQUENCES', 1500 if FULL else 300))
OPTIONS = {'size': 'max_message_size', 'hops': 'max_hops', 'rcpts': 'max_rcpts_per_transaction', 'session_rcpts': 'max_rcpts_per_session',
           'transactions': 'max_transactions', 'bad': 'max_bad_commands', 'nop': 'max_nop_commands', 'invalid': 'max_invalid_addresses'}
ERROR = {'bad': 'error:550 5.1.1 no such user', 'temp': 'error:451 4.3.0 later', 'drop': 'DISCARD'}
ACCESS = ''.join([f'cltaddr:{a} {ERROR[w]}\n' for a, w in model.CLIENTS.items()] + [f'{tag}:{w}@{domain} {ERROR[w]}\n' for w in ERROR
                 for tag, domain in (('from', 'c.test'), ('to', 'far.test'))]) + f'cltaddr:127.0.0.1 RELAY\ncltaddr:192.0.2 RELAY\ncltaddr:{proof.OUTSIDE} CONT\n'


def raw(text):
    """As the sink shows what is not ASCII."""
    return text.encode().decode('latin-1')


def offer(reply):
    """(mechanisms, is STARTTLS there) of a reply to EHLO."""
    words = {w.split()[0]: w.split()[1:] for w in (line[4:] for line in reply.split('\n'))}
    return set(words.get('AUTH', [])), 'STARTTLS' in words


class Everything:
    """All processes: a connection a sequence; replies at once, counts and mails when asked (or after each: strict)."""

    def __init__(self, g, sink, limits, smar=True, tls=None):
        self.g, self.sink, self.limits, self.smar, self.tls, self.strict = g, sink, limits, smar, tls, False

    def forget(self):
        lab.wait_for('no session', lambda: self.g.metrics('smtps')['sessions_now'] == 0)
        self.want, self.mails, self.before, self.arrived = collections.Counter(), [], self.now(), len(self.sink.mails)

    def now(self):
        got = collections.Counter(self.g.metrics('smtps'))
        got['asked'] = got['verdicts_kept_used_total'] + (self.g.metrics('smar').get('rcpt_checks_total', 0) if self.smar else 0)
        return got

    def run(self, limits, items, rng):
        if self.strict:
            self.forget()
        m, steps = model.script(limits, items)
        offers = []
        with self.g.client(greet=False) as c:
            steps = [s for s in steps if s[0] != 'set']
            for i, (text, want) in enumerate(steps):
                if text == 'shake':
                    self.shake(c, want)
                    continue
                whole = steps[i + 1:] and steps[i + 1][0] == 'shake'  # what is to be thrown away comes with STARTTLS
                cut = rng.randrange(len(text) + 1) if rng.random() < .3 and not whole else len(text)
                with contextlib.suppress(ConnectionError):  # closed already; its replies are there
                    c.send(text[:cut])
                    c.send(text[cut:])
                try:
                    got = [c.reply() for _ in want]
                except ConnectionError as e:
                    raise model.Wrong(f'{text[:300]!r}: {e}') from None
                except AssertionError as e:
                    raise model.Wrong(str(e)) from None
                offers += [offer(r) for r in got if '-HELP' in r]
                got = ''.join(r.split('\n')[-1] + '\r\n' for r in got).encode()
                model.compare(f'replies to {text[:300]!r}', want, model.replies_in(got))
            model.compare('offers', m.offers, offers)
            if m.closed:
                c.closed()
        self.want.update(m.end())
        self.want['asked'] += m.asked * self.smar + m.hits
        self.mails += [(raw(sender), tuple(raw(r.partition('/')[0]) for r in rcpts), text) for sender, rcpts, text in m.mails]
        if self.strict:
            self.check()

    def shake(self, c, how):
        model.compare('behind the reply to STARTTLS', b'', c.buf)
        if how == 'bad':
            c.send(b'QUIT\r\n')  # no handshake
            return
        try:
            c.s = self.tls.wrap_socket(c.s)
        except OSError as e:
            raise model.Wrong(f'handshake: {e}') from None

    def check(self):
        lab.wait_for('no session', lambda: self.g.metrics('smtps')['sessions_now'] == 0)
        now = self.now()
        names = [*model.COUNTERS, *proof.COUNTERS, 'asked']
        model.compare('counters', {k: self.want[k] for k in names}, {k: now[k] - self.before[k] for k in names})
        model.compare('transactions', 0, now['transactions_now'])
        with contextlib.suppress(AssertionError):
            self.sink.wait(self.arrived + len(self.mails), 3 if self.strict else 20)
        got = [(x['from'], tuple(x['rcpts']), lab.split_received(x['body'])[1]) for x in self.sink.mails[self.arrived:]]
        model.compare('mails at the next hop', sorted(self.mails), sorted(got))


def test_the_session_alone():
    stage = model.Players(lab.BUILD / 'tests/unit/smtps/stage')
    with contextlib.closing(stage):
        counts = model.explore(stage, 20000 if FULL else 2000, SEED)
    missed = [k for k in model.COUNTERS if not counts[k]]
    assert not missed, f'nothing of the kind happened: {missed}'


PROOF = {'tls': 1, 'auth': 1}
TIGHT = {k: v for k, v in model.TIGHT if k not in ('hops', 'filter')}  # these are the players' alone
WORLDS = {'roomy': ({**PROOF, 'plaintext': 1}, None), 'tight': ({**TIGHT, **PROOF}, None),
          'only with TLS': ({**PROOF, 'tls_only': 1, 'failures': 2}, None), 'smar away': ({**PROOF, 'auth_tls': 1}, 'smar'), 'qmgr away': ({}, 'qmgr')}


def put_to(stage, n, always=()):
    stage.forget()
    counts = model.explore(stage, n, SEED, 0, always)
    try:
        stage.check()
    except model.Wrong:  # which one was it?
        stage.strict = True
        model.explore(stage, n, SEED, 0, always)
        raise
    return counts


def connected(g, role):
    return json.loads(g.http('smtps', 'GET', '/v1/intake')[1])[f'{role}_up']


@contextlib.contextmanager
def without(g, role):
    """The role is killed; what mcp starts in its place does nothing until this is over."""
    g.switch.touch()
    os.kill(g.pids()[role], signal.SIGKILL)
    lab.wait_for('it to be gone', lambda: not connected(g, role))
    yield
    g.switch.unlink()

    def back():
        for proc in pathlib.Path('/proc').glob('[0-9]*'):
            if idle(proc, g.switch):
                os.kill(int(proc.name), signal.SIGKILL)
        return connected(g, role)
    lab.wait_for('it to be back', back)
    g.ready()


def idle(proc, switch):
    with contextlib.suppress(OSError):
        return str(switch).encode() in (proc / 'cmdline').read_bytes() and (proc / 'comm').read_text() == 'tail\n'


def switched(g, role):
    """The role's program as one that follows g.switch and nothing else while that exists."""
    program, g.switch, script = f'{g.bin}/libexec/{role}', g.dir / 'away', g.dir / role
    script.write_text(f'#!/bin/sh\n[ -e {g.switch} ] && exec tail -f {g.switch}\nexec {program} "$@"\n')
    script.chmod(0o755)
    g.conf.write_text(g.conf.read_text().replace(f'path = "{program}"', f'path = "{script}"'))


@pytest.mark.parametrize('name', WORLDS)
def test_all_processes(inst, name):
    """Replies of each sequence, then the counters of smtps and smar and the mails at a next hop. A role that is
    away is 451 and leaves nothing behind: when it is back, all is as before."""
    limits, away = WORLDS[name]
    limits, n = {**model.LIMITS, **limits}, SEQUENCES
    options = ' '.join(f'{OPTIONS[k]} = {v};' for k, v in limits.items() if k in OPTIONS)
    options += ' bare_newline = repair;' * limits['repair'] + ' vrfy = yes;' * limits['vrfy'] + ' xclient = { 127.0.0.1 };' * limits['xclient']
    with lab.Sink(ehlo=('PIPELINING', '8BITMIME', 'SMTPUTF8', 'SIZE 0')) as sink, contextlib.ExitStack() as stack:
        tls = None
        if limits['tls']:
            ca, sasl = stack.enter_context(certs.Authority()), stack.enter_context(passwords(proof.USER, proof.SECRET, 'PLAIN CRAM-MD5'))
            cert, key = ca.issue('gw', host='gw.test')
            tls = ca.context()
            options += f' tls {{ cert_file = "{cert}"; key_file = "{key}";{" flags = tls_only;" * limits["tls_only"]} }} auth {{ config_path = "{sasl}"; ' \
                f'trusted_mechanisms = {{ PLAIN, CRAM-MD5 }}; failure_delay = 0s; max_failures = {limits["failures"]}; max_client_failures = 0; ' \
                f'max_account_failures = 0;flags = {{ {"tls_only," * limits["auth_tls"]} {"plaintext," * limits["plaintext"]} }}; }}'
        g = lab.relay_all(inst, sink.port, options, '8bitmime, smtputf8, prdr, access', ac=ACCESS)
        if away:
            switched(g, away)
        if limits['tls_only']:  # no mail is taken of who tries it in plain
            g.takes_mail = lambda: connected(g, 'smar') and connected(g, 'qmgr')
        with g:
            if away:
                with without(g, away):
                    put_to(Everything(g, sink, limits, away != 'smar', tls), n // 3, [('set', away, 0)])
            counts = put_to(Everything(g, sink, limits, tls=tls), n // 3 if away else n)
    missed = [k for k in proof.COUNTERS[:-1] if tls and not away and not counts[k]]  # the last is rare
    assert not missed, f'nothing of the kind happened: {missed}'
