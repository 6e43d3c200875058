# SPDX-License-Identifier: BSD-2-Clause
"""smtp_model_proof.py -- the part of smtp_model.py by which a client proves who it is: STARTTLS and AUTH, and what
they change for all other commands. Only all processes can be put to it: the players have neither TLS nor passwords."""
import base64

USER, SECRET = 'ann', 'pw 123=x'
GOOD, WRONG_SECRET = (base64.b64encode(f'\0{USER}\0{s}'.encode()).decode() for s in (SECRET, 'other'))
# what may stand where a response is due; out of an exchange the same lines are commands
RESPONSES = [GOOD] * 4 + [WRONG_SECRET] * 2 + ['*', '*', '!!', '', 'AAA', 'RSET', 'NOOP', 'QUIT', 'EHLO c.test', 'MAIL FROM:<a@c.test>']
INJECTED = [b''] * 4 + [b'NOOP\r\n', b'EHLO evil.test\r\nMAIL FROM:<evil@c.test>\r\nRCPT TO:<evil@far.test>\r\nDATA\r\n', b'x' * 600, b'\n', b'\0\r\nQUIT\r\n']
MECHS = 'PLAIN', 'CRAM-MD5'
OUTSIDE = '192.0.2.70'  # may not relay by its address
SECURE_XCLIENTS = [(f'ADDR={OUTSIDE}', 1, OUTSIDE, False), (f'ADDR={OUTSIDE} HELO=x.test', 1, OUTSIDE, True),
                   ('ADDR=192.0.2.66', 1, '192.0.2.66', False), ('HELO=y.test', 1, None, True)]
COUNTERS = 'tls_sessions_total tls_failed_total tls_injected_total logins_total logins_refused_total logins_unavailable_total'.split()


def base64_ok(text):
    try:
        base64.b64decode(text, validate=True)
        return True
    except ValueError:
        return False


class Proof:
    """Of a session; a mixin of smtp_model.Model."""
    tls = auth = shake = helo_given = False  # shake: what follows the last STARTTLS, 'good' or 'bad'
    failures = 0

    def __init__(self):
        self.offers = []  # of each EHLO: mechanisms, and is STARTTLS among them?

    def tls_due(self):
        return self.lim['tls_only'] and not self.tls

    def mechanisms(self):
        """As they are offered now: what sends the password itself is for TLS, unless plaintext is set."""
        if not self.lim['auth'] or self.tls_due() or self.lim['auth_tls'] and not self.tls:
            return set()
        return {m for m in MECHS if self.tls or self.lim['plaintext'] or m != 'PLAIN'}

    def forget(self):
        self.auth, self.failures = False, 0

    def note_offers(self):
        self.offers.append((self.mechanisms(), bool(self.lim['tls'] and not self.tls)))

    def do_starttls(self, arg, injected, handshake):
        self.shake = False
        wire = b'STARTTLS' + arg.encode() + b'\r\n'
        if not self.lim['tls']:
            self.wrong(502, '5.5.1')
        elif self.state not in ('open', 'ready'):
            self.wrong(503, '5.5.1')
        elif arg:
            self.wrong(501, '5.5.4')
        elif self.tls:
            self.wrong(503, '5.5.1')
        else:
            wire += injected  # none of it may have an effect
            self.count['tls_injected_total'] += bool(injected)
            self.reset()
            self.forget()
            self.state, self.esmtp, self.helo = 'open', False, self.helo_given
            self.reply(220, '2.0.0')
            self.shake = handshake
            self.tls = handshake == 'good'
            self.count['tls_sessions_total' if self.tls else 'tls_failed_total'] += 1
            if not self.tls:
                self.close()
        return wire

    def do_auth(self, mech, initial, lines):
        """AUTH and the lines that follow it, as many as the server takes for responses, and then as commands."""
        lines = list(lines)
        wire = f'AUTH {mech}' + (f' {initial}' if initial is not None else '') + '\r\n'
        due = self.start(mech.upper(), initial)
        if due and not lines:
            lines = ['*']
        for text in lines:
            if self.closed:
                break
            wire += text + '\r\n'
            if due:
                self.respond(mech.upper(), text)
            else:
                self.command(text)
            due = False
        return wire.encode()

    def start(self, mech, initial):
        """True: a challenge was said."""
        refusals = ((not self.lim['auth'], 502, '5.5.1'), (self.state != 'ready', 503, '5.5.1'), (self.tls_due(), 530, '5.7.0'),
                    (not self.esmtp or self.auth, 503, '5.5.1'), (self.lim['auth_tls'] and not self.tls, 538, '5.7.11'),
                    (mech not in self.mechanisms(), 504, '5.5.4'), (initial not in (None, '=') and not base64_ok(initial or ''), 501, '5.5.2'))
        for refused, code, dsn in refusals:
            if refused:
                self.wrong(code, dsn)
                return False
        if initial is not None:  # where the server speaks first, there must be none
            self.judge(mech, initial, initial=True)
            return False
        self.reply(334)
        return True

    def respond(self, mech, text):
        if text == '*':
            self.wrong(501, '5.7.0')
        elif not base64_ok(text):
            self.wrong(501, '5.5.2')
        else:
            self.judge(mech, text)

    def judge(self, mech, response, initial=False):
        if mech == 'CRAM-MD5' and response == GOOD and not initial:  # the empty name with a digest: Cyrus SASL cannot judge it
            self.count['logins_unavailable_total'] += 1
            if self.idle():
                self.reply(454, '4.7.0')
            return
        if mech == 'PLAIN' and response == GOOD:
            self.count['logins_total'] += 1
            self.auth = True
            self.reply(235, '2.7.0')
            return
        self.count['logins_refused_total'] += 1
        self.failures += 1
        if self.lim['failures'] and self.failures >= self.lim['failures']:
            self.reply(421, '4.7.0')
            self.close()
        else:
            self.wrong(535, '5.7.8')

    def command(self, text):
        word, _, rest = text.partition(' ')
        if word == 'RSET':
            self.do_rset()
        elif word == 'QUIT':
            self.do_quit()
        elif word == 'NOOP':
            self.do_plain('NOOP', 250, '2.0.0')
        elif word == 'EHLO':
            self.do_hello('EHLO', rest)
        elif word == 'MAIL':
            self.do_mail(rest[6:-1], '')
        else:
            self.do_raw(text, 500, '5.5.1')


def first(rng):
    """What a sequence may begin with."""
    return [('say', 'STARTTLS', '', b'', 'good')] * (rng.random() < .5)


def one(rng):
    """Items of one kind."""
    ehlo = ('say', 'HELLO', 'EHLO', 'c.test')
    kind = rng.randrange(5)
    if kind == 0:
        bad = rng.random() < .2
        return [('say', 'STARTTLS', rng.choice(('', '', '', '', ' now')), b'' if bad else rng.choice(INJECTED), 'bad' if bad else 'good'),
                *[ehlo] * (rng.random() < .7)]
    if kind == 1:
        return [('say', 'XCLIENT', *rng.choice(SECURE_XCLIENTS)), ehlo]
    mech = rng.choice(('PLAIN', 'PLAIN', 'PLAIN', 'plain', 'CRAM-MD5', 'cram-md5', 'GSSAPI', 'FOO'))
    initial = rng.choice((None, None, '=', '!', 'AAAA') + (GOOD,) * 4 + (WRONG_SECRET,))
    return [('say', 'AUTH', mech, initial, tuple(rng.choice(RESPONSES) for _ in range(rng.choice((0, 0, 1, 1, 2)))))]
