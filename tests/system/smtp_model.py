# SPDX-License-Identifier: BSD-2-Clause
"""smtp_model.py -- what a session of the SMTP server must answer, as an executable model, and random
sequences that are put to it and to the server.

A sequence is a list of items: ('say', VERB…) is something a client says, ('set', FAULT, 0 or 1) forces a
fault of the server's surroundings or ends it, ('cut',) ends a piece that is written at once. Items do not
depend on each other, so any part of a sequence is one too: a failing one is shrunk by leaving items out.
Model.step() gives the bytes of an item and the replies due to it, each a code and an enhanced code, and
counts what the server's own counters must have counted at the end.

Two stages take the same sequences: Players (tests/unit/smtps/stage.c, the real session with smar, qmgr and
the store played, where all can be forced at any time) and Gateway (all processes, over TCP).

    smtp_model.py STAGE N [SEED]     a long run on tests/unit/smtps/stage; make model-long

What has to do with STARTTLS and AUTH is in smtp_model_proof.py.
"""
import collections, random, re, subprocess, sys, time

import smtp_model_proof as proof

LIMITS = {'size': 5000, 'hops': 3, 'rcpts': 4, 'session_rcpts': 1000, 'transactions': 1000, 'bad': 1000, 'nop': 1000,
          'invalid': 1000, 'repair': 0, 'xclient': 1, 'vrfy': 0, 'tls': 0, 'tls_only': 0, 'auth': 0, 'auth_tls': 0, 'plaintext': 0, 'failures': 0,
          'filter': 0}
TIGHT = [('rcpts', 2), ('session_rcpts', 3), ('transactions', 2), ('bad', 3), ('nop', 3), ('invalid', 2), ('repair', 1), ('vrfy', 1),
         ('xclient', 0), ('hops', 0), ('filter', 1)]
FAULTS = ('smar', 'credits', 'qmgr', 'begin', 'write', 'commit')  # 1 is well
GREETING, CHUNKS = (220, None), 'chunks'
# what policy says of a client, a sender, a recipient: by a word its name begins with
VERDICTS = {'bad': (550, '5.1.1'), 'temp': (451, '4.3.0'), 'shut': (421, '4.3.2'), 'drop': (250, '2.1.5'),
            'no relay': (550, '5.7.1')}
REFUSED = 'bad', 'no relay'
CLIENTS = {'192.0.2.66': 'bad', '192.0.2.67': 'temp', '192.0.2.68': 'drop'}
COUNTERS = '''messages_accepted_total messages_discarded_total unfinished_messages_total bad_commands_total bad_sessions_total
    long_lines_total bare_newline_commands_total refused_no_credit_total refused_no_smar_total refused_too_many_rcpts_total
    refused_policy_total refused_policy_temporary_total refused_address_syntax_total refused_declared_size_total
    refused_bare_newline_total repaired_newlines_total refused_over_size_total refused_hops_total refused_store_total
    refused_chunks_total refused_nul_total refused_vrfy_total unreadable_chunks_total xclient_total'''.split()


def stored(raw, plain, repair):
    """(content as it is stored, has it bare CR or LF). raw: of DATA, without the final dot; plain: of BDAT."""
    lines, bare = raw.split(b'\r\n'), False
    last = lines.pop()
    out = []
    for line in lines + ([last] if last else []):
        parts = re.split(b'[\r\n]', line)
        bare = bare or len(parts) > 1
        for i, part in enumerate(parts):
            if i == 0 and not plain:  # a dot here is stuffing; one that a false end made an empty line goes
                part = b'' if part == b'.' and len(parts) > 1 else part
            elif part.startswith(b'.'):
                part = b'.' + part
            out.append(part)
    if last.endswith((b'\r', b'\n')):  # the last line has its end, made of one byte
        out.pop()
    return b''.join(p + b'\r\n' for p in out), bare


def judged(text):
    """Stored content as it is when filters judged it: a header that ends at a line that is no field has an empty line there."""
    at, field = 0, False
    for line in text.split(b'\r\n')[:-1]:
        line_ = line[1:] if line.startswith(b'.') else line
        if re.match(rb'[!-9;-~]+[ \t]*:', line_):
            field = True
        elif not (field and line_[:1] in (b' ', b'\t')):
            return text if not line_ else text[:at] + b'\r\n' + text[at:]
        at += len(line) + 2
    return text


def plain_size(text):
    return len(text) - sum(line.startswith(b'.') for line in text.split(b'\r\n'))


def header(text):
    return re.split(b'(?:^|\r\n)\r\n', text)[0]


def hops(text):
    return sum(line[:9].lower() == b'received:' for line in header(text).split(b'\r\n'))


class Model(proof.Proof):
    """A session and what it hangs on. step() for each item, then end()."""

    def __init__(self, limits):
        super().__init__()
        self.lim, self.env = {**LIMITS, **limits}, dict.fromkeys(FAULTS, 1)
        self.count, self.asked, self.begun, self.commits, self.queued = collections.Counter(), 0, 0, 0, 0
        self.mails, self.kept, self.hits = [], {}, 0
        self.filters = dict.fromkeys(('mail', 'rcpt', 'data', 'end', 'resets'), 0)
        self.client, self.closed, self.state, self.helo, self.esmtp, self.tx = '192.0.2.1', False, 'open', False, False, None
        self.bad = self.nop = self.invalid = self.nrcpt = self.ntx = 0
        self.out = [GREETING]

    # ---- what every verb is made of ----

    def reply(self, code, dsn=None):
        self.out.append((code, dsn))

    def close(self):
        if self.tx and self.tx['counted']:
            self.count['unfinished_messages_total'] += 1
        self.tx, self.closed = None, True

    def too_bad(self):
        self.count['bad_sessions_total'] += 1
        self.reply(421, '4.7.0')
        self.close()

    def wrong(self, code, dsn):
        self.count['bad_commands_total'] += 1
        self.reply(code, dsn)
        self.bad += 1
        if self.bad >= self.lim['bad']:
            self.too_bad()

    def idle(self):
        """One more command that does nothing; False: one too many."""
        self.nop += 1
        if self.nop <= self.lim['nop']:
            return True
        self.too_bad()
        return False

    def reset(self):
        self.tx = None
        if self.state not in ('open', 'ready'):
            self.state = 'ready'

    def step(self, item):
        """(bytes to send, replies due)."""
        self.out = []
        if item[0] == 'set':
            if item[1] == 'qmgr' and item[2] > self.env['qmgr']:  # it grants anew when it is back
                self.env['credits'] = 1
            self.env[item[1]] = item[2]
            return b'', []
        if item[0] == 'cut' or self.closed:
            return b'', []
        text = getattr(self, 'do_' + item[1].lower())(*item[2:])
        return text, self.out

    def end(self):
        if not self.closed:
            self.close()
        return {k: self.count[k] for k in [*COUNTERS, *proof.COUNTERS]}

    # ---- verbs ----

    def line(self, text, states=None, arg=True, nop=False, trusted=True, tls=False):
        """A line in any state; the bytes, and whether its verb may act."""
        wire = text.encode() + b'\r\n'
        if not trusted:
            self.wrong(550, '5.7.0')
        elif states and self.state not in states:
            self.wrong(503, '5.5.1')
        elif tls and self.tls_due():
            self.wrong(530, '5.7.0')
        elif not arg and ' ' in text:
            self.wrong(501, '5.5.4')
        elif not nop or self.idle():
            return wire, True
        return wire, False

    def do_hello(self, verb, name):
        wire = f'{verb} {name}'.rstrip().encode() + b'\r\n'
        if self.helo and not self.idle():
            return wire
        if not name or ' ' in name:
            self.wrong(501, '5.5.4')
        else:
            self.reset()
            self.helo, self.state, self.esmtp = True, 'ready', verb.upper() == 'EHLO'
            self.reply(250)
            if self.esmtp:
                self.note_offers()
        return wire

    def do_raw(self, text, code, dsn):
        """A line that no state makes good."""
        self.wrong(code, dsn)
        if len(text) > 2046:
            self.count['long_lines_total'] += 1
        if '\r' in text:
            self.count['bare_newline_commands_total'] += 1
        return text.encode('latin-1') + b'\r\n'

    def do_bare_lf(self):
        self.count['bare_newline_commands_total'] += 1
        self.reply(500, '5.5.2')
        self.close()
        return b'NOOP\n'

    def do_plain(self, text, code, dsn):
        """NOOP, VRFY, HELP, in their good forms and their bad ones."""
        wire, go = self.line(text, nop=True, tls=text.startswith('VRFY'))
        if go:
            self.reply(code, dsn) if code < 500 else self.wrong(code, dsn)
        return wire

    def do_rset(self, arg=''):
        wire, go = self.line('RSET' + arg, arg=False, nop=True)
        if go:
            self.reset()
            self.reply(250, '2.0.0')
        return wire

    def do_quit(self, arg=''):
        wire, go = self.line('QUIT' + arg, arg=False)
        if go:
            self.reset()
            self.reply(221, '2.0.0')
            self.close()
        return wire

    def do_xclient(self, args, good, client, name):
        wire, go = self.line('XCLIENT ' + args, ('open', 'ready'), nop=True, trusted=self.lim['xclient'])
        if go and not good:
            self.wrong(501, '5.5.4')
        elif go:
            self.count['xclient_total'] += 1
            self.client, self.helo, self.state, self.esmtp = client or self.client, name, 'open', False
            self.helo_given = name
            self.forget()
            self.bad = self.invalid = self.nrcpt = self.ntx = 0
            self.out.append(GREETING)
        return wire

    def do_mail(self, addr, params, refusal=None):
        wire, go = self.line(f'MAIL FROM:<{addr}>' + params, ('ready',), tls=True)
        if not go:
            return wire
        if self.ntx >= self.lim['transactions']:
            self.reply(421, '4.7.0')
            self.close()
        elif addr and '@' not in addr:
            self.count['refused_address_syntax_total'] += 1
            self.wrong(501, '5.1.7')
        elif self.refused_params(params, refusal):
            pass
        elif not addr.isascii() and 'SMTPUTF8' not in params:
            self.wrong(550, '5.6.7')
        elif not (self.env['credits'] and self.env['qmgr']):
            self.count['refused_no_credit_total'] += 1
            self.reply(451, '4.3.2')
        else:
            self.ntx += 1
            self.told('mail', 'resets')
            self.state = 'mail'
            self.tx = {'from': addr, 'utf8': 'SMTPUTF8' in params, 'prdr': 'PRDR' in params, 'eight': 'BODY=8BITMIME' in params, 'rcpts': [], 'dropped': 0, 'asked': 0, 'text': b'', 'counted': False, 'failed': False}
            self.reply(250, '2.1.0')
        return wire

    def refused_params(self, params, refusal):
        if not refusal and (self.esmtp or not params.strip()):
            return False
        refusal = refusal if self.esmtp else (555, '5.5.4')
        self.count['refused_declared_size_total'] += refusal[0] == 552
        self.wrong(*refusal)
        return True

    def do_rcpt(self, addr, params='', refusal=None, kept=''):
        wire, go = self.line(f'RCPT TO:<{addr}>' + params, ('mail', 'rcpt'))
        if not go:
            return wire
        tx = self.tx
        tx['asked'] += 1  # whatever becomes of it
        if '@' not in addr:
            self.count['refused_address_syntax_total'] += 1
            self.wrong(501, '5.1.3')
            if not self.closed:
                self.one_invalid()
        elif not addr.isascii() and not tx['utf8']:
            self.wrong(553, '5.6.7')
        elif self.refused_params(params, refusal):
            pass
        elif len(tx['rcpts']) + tx['dropped'] >= self.lim['rcpts'] or self.nrcpt >= self.lim['session_rcpts']:
            self.count['refused_too_many_rcpts_total'] += 1
            self.reply(452, '4.5.3')
        else:
            self.judge_rcpt(addr, kept)
        return wire

    def one_invalid(self):
        self.invalid += 1
        if self.invalid >= self.lim['invalid']:
            self.reply(421, '4.7.0')
            self.close()

    def verdict(self, addr):
        """A word of VERDICTS, '' for accepted, None when nobody can say."""
        key = self.client, self.tx['from'], self.tx['eight'], addr
        if key in self.kept:
            self.hits += 1
            return self.kept[key]
        self.asked += 1
        if not self.env['smar'] or addr.startswith('away'):
            return None
        word = self.policy(self.tx['from'], addr)
        if addr.startswith('mute'):
            return None
        if addr.startswith('kept'):
            self.kept[key] = word
        return word

    def do_vrfy(self, addr):
        wire, go = self.line('VRFY ' + addr, nop=True, tls=True)
        if not go:
            return wire
        if not self.lim['vrfy']:
            self.reply(252, '2.0.0')
            return wire
        if '@' not in addr:
            self.wrong(501, '5.1.3')
            return wire
        self.asked += 1
        word = None if not self.env['smar'] or addr.startswith(('away', 'mute')) else self.policy('', addr)
        if word is None:
            self.reply(451, '4.3.0')
        elif word in ('', 'drop'):
            self.reply(252, '2.1.5')
        else:
            self.count['refused_vrfy_total'] += 1
            self.reply(*VERDICTS[word])
            if word == 'shut':
                self.close()
            elif word in REFUSED:
                self.one_invalid()
        return wire

    def policy(self, sender, addr):
        named = [next((w for w in VERDICTS if a.startswith(w)), '') for a in (sender, addr)]
        if self.auth:  # its address does not count
            return named[0] or named[1]
        return CLIENTS.get(self.client) or named[0] or named[1] or ('no relay' if self.client == proof.OUTSIDE else '')

    def judge_rcpt(self, addr, kept):
        tx, word = self.tx, self.verdict(addr)
        if word is None:
            self.count['refused_no_smar_total'] += 1
            self.reply(451, '4.3.0')
        elif word in ('', 'drop'):
            tx['dropped'] += word == 'drop'
            tx['rcpts'] += [addr + kept] if not word else []
            self.told(*['rcpt'] * (word == ''))
            self.nrcpt += 1
            self.state = 'rcpt'
            self.reply(250, '2.1.5')
        else:
            self.count['refused_policy_total' if word in REFUSED else 'refused_policy_temporary_total'] += 1
            self.reply(*VERDICTS[word])
            if word == 'shut':
                self.close()
            elif word in REFUSED:
                self.one_invalid()

    # ---- content ----

    def told(self, *stages):
        """Filters are; what they say changes nothing."""
        for s in stages:
            self.filters[s] += self.lim['filter']

    def begin(self):
        """A message begins; False: the store takes none."""
        self.told('data')
        if self.tx['rcpts'] and not self.env['begin']:
            self.reset()
            self.reply(452, '4.3.1')
            return False
        self.begun += bool(self.tx['rcpts'])
        self.tx['counted'] = True
        return True

    def refused(self, text, bare, announced=0):
        """Judges the content so far; True: refused, and nothing is left of it."""
        lim = self.lim
        for wrong, name, code, dsn in (
                (bare and not lim['repair'], 'bare_newline', 550, '5.6.11'),
                (max(plain_size(text), announced) > lim['size'], 'over_size', 552, '5.3.4'),
                (lim['hops'] and hops(text) > lim['hops'], 'hops', 554, '5.4.6'),
                (lim['filter'] and self.tx['rcpts'] and b'\0' in header(text), 'nul', 550, '5.6.0'),
                (self.tx['failed'], 'store', 452, '4.3.1')):
            if wrong:
                self.count[f'refused_{name}_total'] += 1
                self.reset()
                self.reply(code, dsn)
                return True
        return False

    def commit(self, text, bare):
        tx = self.tx
        if self.refused(text, bare):
            return
        if tx['rcpts'] and self.lim['filter']:
            self.told('end')
            tx['failed'] = bool(text) and not self.env['write']
            if self.refused(text, bare):
                return
        self.reset()
        if tx['rcpts'] and not self.env['commit']:
            self.commits += 1
            self.count['refused_store_total'] += 1
            self.each(tx, 452, '4.3.1')
            self.reply(452, '4.3.1')
            return
        if tx['rcpts']:
            self.commits += 1
            self.queued += self.env['qmgr']
            self.count['messages_accepted_total'] += 1
            self.count['repaired_newlines_total'] += bare
            self.mails.append((tx['from'], tuple(tx['rcpts']), judged(text) if self.lim['filter'] else text))
        else:
            self.count['messages_discarded_total'] += 1
        self.nop = 0
        self.each(tx, 250, '2.1.5')
        self.reply(250, '2.0.0')

    def each(self, tx, code, dsn):
        """With PRDR a reply for each recipient, once nothing is wrong with the content."""
        if tx['prdr']:
            self.out += [(353, None)] + [(code, dsn)] * (len(tx['rcpts']) + tx['dropped'])

    def feed(self, n):
        if self.lim['filter']:
            return
        self.tx['failed'] = self.tx['failed'] or n > 0 and bool(self.tx['rcpts']) and not self.env['write']

    def do_data(self, raw, arg=''):
        wire, go = self.line('DATA' + arg, ('mail', 'rcpt'), arg=False)
        if not go:
            return wire
        if not self.tx['rcpts'] and not self.tx['dropped']:
            self.wrong(554 if self.tx['asked'] else 503, '5.5.1')
        elif self.begin():
            raw = re.sub(rb'(^|\r\n)\.(?=\r\n)', rb'\1..', raw)  # else it would end there
            self.reply(354)
            self.feed(len(raw))
            self.commit(*stored(raw, False, self.lim['repair']))
            wire += raw + b'.\r\n'
        return wire

    def do_bdat(self, chunk, last):
        wire = b'BDAT %d%s\r\n' % (len(chunk), b' LAST' if last else b'') + chunk
        tx = self.tx
        if not tx or not tx['rcpts'] and not tx['dropped']:
            self.count['refused_chunks_total'] += 1
            self.reply(554 if tx and tx['asked'] else 503, '5.5.1')
            self.reset()
            return wire
        if self.state != CHUNKS and not self.begin():
            return wire
        now, _ = stored(tx['text'], True, self.lim['repair'])
        so_far = plain_size(now) - (2 if tx['text'] and not tx['text'].endswith(b'\r\n') else 0)
        if self.refused(b'', False, so_far + len(chunk)):
            return wire
        tx['text'] += chunk
        self.feed(len(chunk))
        whole = tx['text']
        if not last and whole.endswith(b'\r'):
            whole = whole[:-1]  # what it is the next byte tells
        text, bare = stored(whole, True, self.lim['repair'])
        if last:
            self.commit(text, bare)
        elif not self.refused(text if whole.endswith(b'\r\n') else text[:-2], bare):  # its line end is to come
            self.state = CHUNKS
            self.reply(250, '2.0.0')
        return wire

    def do_bdat_lost(self, text, code, dsn):
        self.count['unreadable_chunks_total'] += 1
        self.reset()
        self.reply(code, dsn)
        self.close()
        return text.encode('latin-1') + b'\r\n'


# ---- random sequences ----

BODIES = [b'Subject: t\r\n\r\nhello\r\n', b'', b'.\r\n', b'A: b\r\n\r\n..\r\nQUIT\r\n', b'\r\nMAIL FROM:<evil@c.test>\r\n',
          b'X: \xe4\0\xff\r\n\r\n\r\n', b'Received: a\r\n' * 3 + b'\r\nReceived: b\r\n', b'RECEIVED: a\r\nreceived:b\r\n' * 2 + b'\r\n',
          b'a\nb\r\n', b'a\rb\r\n', b'a\n.\r\nMAIL FROM:<evil@c.test>\r\n', b'a\r\n.\nDATA\r\n', b'a\r\r\n', b'\r.\rx\r\n',
          b'x' * 70 + b'\r\n' + b'y' * 4000 + b'\r\n', b'z' * 5100 + b'\r\n']
WRONG = [('FROB', 500, '5.5.1'), ('', 500, '5.5.1'), ('EXPN list', 502, '5.5.1'), ('NOOP ' + 'x' * 600, 500, '5.5.2'), ('MAIL FROM:<' + 'x' * 3000 + '@b.test>', 500, '5.5.2'),
         ('NO\0OP', 500, '5.5.2'), ('RSET\rRSET', 500, '5.5.2'), ('DATA\rDATA', 500, '5.5.2')]
UNOFFERED = [('say', 'STARTTLS', '', b'', 'good'), ('say', 'AUTH', 'PLAIN', proof.GOOD, ())]  # to many
PLAIN = [('NOOP', 250, '2.0.0'), ('noop x y', 250, '2.0.0'), ('VRFY', 501, '5.5.4'),
         ('HELP', 214, '2.0.0'), ('help mail', 214, '2.0.0')]
PARAMS = [('', None)] * 8 + [(' SIZE=100', None), (' BODY=8BITMIME', None), (' size=5000 body=7bit', None), (' SIZE=5001', (552, '5.3.4')),
                             (' SIZE=x', (501, '5.5.4')), (' FOO=1', (555, '5.5.4')), (' SIZE=1 SIZE=1', (501, '5.5.4')),
                             (' RET=HDRS ENVID=Q+2B', None), (' RET=SOME', (501, '5.5.4')), (' ENVID=+4', (501, '5.5.4')), ('  ', None), (' SMTPUTF8', None),
                             (' BODY=8BITMIME SMTPUTF8', None), (' SMTPUTF8=x', (501, '5.5.4')), (' PRDR', None), (' PRDR=1', (501, '5.5.4'))]
FOR_RCPT = [('', None)] * 12 + [(' NOTIFY=NEVER', None, '/1/'), (' ORCPT=rfc822;x+2By notify=delay,failure', None, '/12/rfc822;x+2By'), (' NOTIFY=NEVER,DELAY', (501, '5.5.4')),
                                (' NOTIFY=', (501, '5.5.4')), (' ORCPT=x', (501, '5.5.4')), (' NOTIFY=NEVER NOTIFY=NEVER', (501, '5.5.4')), (' FOO', (555, '5.5.4'))]
SENDERS = ['a@c.test'] * 6 + ['', 'nonsense', 'bad@c.test', 'temp@c.test', 'drop@c.test', 'gr\xfc@c.test']
RCPTS = ['b@far.test', 'c@far.test', 'kept@far.test', 'kept@far.test', 'bad@far.test', 'temp@far.test', 'drop@far.test', 'nonsense',
         'b@far.test', 'd@far.test']
PLAYED = ['mute@far.test', 'away@far.test', 'shut@far.test']  # only players can
XCLIENTS = [('ADDR=192.0.2.1', 1, '192.0.2.1', False), ('ADDR=192.0.2.9 HELO=x.test', 1, '192.0.2.9', True), ('ADDR=192.0.2.66', 1, '192.0.2.66', False),
            ('ADDR=192.0.2.67 NAME=[UNAVAILABLE]', 1, '192.0.2.67', False), ('addr=192.0.2.68', 1, '192.0.2.68', False),
            ('ADDR=1.2.3', 0, None, False), ('PORT=x', 0, None, False), ('', 0, None, False), ('FOO=1', 0, None, False)]
LOST = [('BDAT', 501, '5.5.4'), ('BDAT x', 501, '5.5.4'), ('BDAT 5 LAST x', 501, '5.5.4'), ('BDAT 5 FIRST', 501, '5.5.4'),
        ('BDAT5', 500, '5.5.2'), ('BDAT 5' + ' ' * 600, 500, '5.5.2'), ('BDAT 5\0', 500, '5.5.2')]


def one(rng, played):
    """One or more items of one kind."""
    say = lambda *a: ('say', *a)
    mail, rcpt = say('MAIL', rng.choice(SENDERS), *rng.choice(PARAMS)), lambda: say('RCPT', rng.choice(RCPTS + PLAYED * played), *rng.choice(FOR_RCPT))
    good = [say('MAIL', 'a@c.test', ''), say('RCPT', 'b@far.test')]
    kind = rng.randrange(23 + 2 * played)
    if kind < 3:
        return [mail, *(rcpt() for _ in range(rng.randrange(4))), say('DATA', rng.choice(BODIES))]
    if kind < 6:
        return [*(good if rng.random() < .7 else [mail, rcpt()]), *chunks(rng)]
    if kind < 8:
        return [*good, say('DATA', rng.choice(BODIES[:8]))]
    return {8: lambda: [say('HELLO', rng.choice(('EHLO', 'HELO', 'ehlo')), rng.choice(('c.test', 'c.test', 'c.test', '', 'two words')))],
            9: lambda: [mail], 10: lambda: [rcpt()], 11: lambda: [rcpt(), rcpt()], 12: lambda: [say('DATA', rng.choice(BODIES), rng.choice(('', '', ' now')))],
            13: lambda: chunks(rng), 14: lambda: [say('RSET', rng.choice(('', '', ' now')))], 15: lambda: [say('PLAIN', *rng.choice(PLAIN))],
            16: lambda: [rng.choice([say('RAW', *w) for w in WRONG] + UNOFFERED)], 17: lambda: [say('XCLIENT', *rng.choice(XCLIENTS)), say('HELLO', 'EHLO', 'c.test')],
            18: lambda: [say('XCLIENT', *rng.choice(XCLIENTS))], 19: lambda: [rcpt(), rcpt(), rcpt()],
            20: lambda: [say(*rng.choice([('QUIT', ''), ('QUIT', ' x'), ('BARE_LF',), ('BDAT_LOST', *rng.choice(LOST))]))] * (rng.random() < .4),
            21: lambda: [say('DATA', b'')], 22: lambda: [say('VRFY', rng.choice(RCPTS[:8] + PLAYED * played))]}.get(kind, lambda: [('cut',), ('set', rng.choice(FAULTS), int(rng.random() < .6))])()


def chunks(rng):
    """A body in chunks, perhaps without its last one, perhaps with something in between."""
    body, out = rng.choice(BODIES), []
    body = body[:-2] if rng.random() < .2 else body
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(4)))
    for a, b in zip([0, *cuts], [*cuts, len(body)]):
        out.append(('say', 'BDAT', body[a:b], b == len(body) and rng.random() < .9))
        if rng.random() < .05:
            out += one(rng, 0)[:1]
    return out


def sequence(rng, played=1, secure=False):
    """(limits, items)."""
    limits = dict(rng.sample(TIGHT, rng.randrange(3))) if played else {}
    items = (proof.first(rng) if secure else []) + [('say', 'HELLO', 'EHLO', 'c.test')] * (rng.random() < .9)
    while len(items) < 4 or rng.random() < .8:
        items += proof.one(rng) if secure and rng.random() < .25 else one(rng, played)
        items += [('cut',)] * (rng.random() < .3)
    return limits, items


def script(limits, items):
    """(model, steps): a step is a fault to force, bytes to write at once and the replies due, or ('shake', 'good' or 'bad')."""
    m = Model(limits)
    steps = [(b'', [GREETING])]
    for item in items:
        text, replies = m.step(item)
        if item[0] == 'set':
            steps.append(item)
        elif item[0] == 'cut' or item[1] == 'STARTTLS' or isinstance(steps[-1][0], str) or steps[-1][0] == b'' and len(steps) == 1:
            steps.append((text, replies))
        else:
            steps[-1] = (steps[-1][0] + text, steps[-1][1] + replies)
        if item[:2] == ('say', 'STARTTLS') and m.shake:
            steps.append(('shake', m.shake))
        if m.closed:
            break
    return m, steps


class Wrong(Exception):
    """The server did not do what the model says."""


def replies_in(text):
    out = []
    for line in text.decode('latin-1').split('\r\n')[:-1]:
        if re.match(r'\d{3} ', line):
            dsn = re.match(r'\d{3} (\d\.\d+\.\d+) ', line)
            out.append((int(line[:3]), dsn and dsn[1]))
        elif not re.match(r'\d{3}-', line):
            raise Wrong(f'no line of a reply: {line!r}')
    return out


def compare(what, want, got):
    if want != got:
        if isinstance(want, dict) and want.keys() == got.keys():
            want, got = ({k: d[k] for k in want if want[k] != got[k]} for d in (want, got))
        raise Wrong(f'{what}: expected {want}, got {got}')


class Players:
    """tests/unit/smtps/stage: one session a sequence, faults at any time, exact counts."""
    limits = {}

    def __init__(self, program):
        self.program, self.before, self.p = program, {}, None

    def start(self):
        self.p = subprocess.Popen([str(self.program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.before = {}

    def close(self):
        if self.p:
            self.p.stdin.close()
            self.p.wait()
            self.p.stdout.close()
            self.p.stderr.close()
        self.p = None

    def order(self, text):
        self.p.stdin.write(text)

    def read(self):
        line = self.p.stdout.readline()
        if not line:
            raise Wrong('the stage ended: ' + self.p.stderr.read().decode(errors='replace')[-4000:])
        return line

    def run(self, limits, items, rng):
        if self.p is None:
            self.start()
        try:
            self.play(limits, items, rng)
        except (Wrong, OSError) as e:
            with_log = e if isinstance(e, Wrong) else Wrong(str(e))
            self.p.kill()
            self.close()
            raise with_log from None

    def play(self, limits, items, rng):
        m, steps = script(limits, items)
        self.order(('open ' + ' '.join(f'{k}={v}' for k, v in m.lim.items()) + '\n').encode())
        if rng.random() < .5:
            self.order(b'set more=%d hold=%d\n' % (rng.randrange(3), rng.randrange(2)))
        for step in steps[1:]:
            if step[0] == 'set':
                self.order(f'set {step[1]}={step[2]}\n'.encode())
            else:
                self.order(b'say %d %d\n' % (len(step[0]), rng.choice((0, 0, 1 + rng.randrange(40)))) + step[0])
        self.order(b'close\n')
        self.p.stdin.flush()
        for text, want in [s for s in steps if s[0] != 'set']:
            _, n, eof = self.read().split()
            got = self.p.stdout.read(int(n))
            compare(f'replies to {text[:300]!r}', want, replies_in(got))
        compare('closed', m.closed, eof == b'1')
        self.look(m)

    def look(self, m):
        counts, metrics, mails = {}, {}, []
        while (line := self.read()) != b'E\n':
            kind, rest = line[:1], line[2:].decode()
            if kind == b'C':
                counts = {k: int(v) for k, v in (w.split('=') for w in rest.split())}
            elif kind == b'N':
                metrics[rest.split()[0]] = int(rest.split()[1])
            else:
                n, _, sender, *rcpts = rest.split()
                text = self.p.stdout.read(int(n))
                mails.append((sender[1:-1], tuple(rcpts), re.sub(rb'^Received: .*?\r\n(?![ \t])', b'', text, count=1, flags=re.S)))
        want = m.end()
        compare('mails', m.mails, mails)
        compare('counters', want, {k: metrics.get(k, 0) - self.before.get(k, 0) for k in want})
        compare('calls', {'begun': m.begun, 'aborted': m.begun - m.commits, 'asked': m.asked, 'queued': m.queued, 'open': 0, **m.filters}, counts)
        compare('transactions', 0, metrics.get('transactions_now', 0))
        self.before = metrics


def transcript(limits, items):
    m = Model(limits)
    out = [f'limits {limits}', 'S: 220']
    for item in items:
        text, replies = m.step(item)
        if item[0] == 'set':
            out.append(f'-- {item[1]} {"well" if item[2] else "fails"}')
        if text:
            out.append(f'C: {text[:400]!r}')
        out += [f'S: {code} {dsn or ""}' for code, dsn in replies]
    return '\n'.join(out)


def fails(stage, limits, items, seed):
    """What is wrong, or None."""
    try:
        stage.run(limits, items, random.Random(seed))
        return None
    except Wrong as e:
        return str(e)


def shrink(stage, limits, items, seed):
    """The items of a failing sequence that are enough for it to fail, and how it does."""
    why, size = fails(stage, limits, items, seed), max(1, len(items) // 2)
    while why and size:
        at = 0
        while at < len(items):
            less = items[:at] + items[at + size:]
            other = fails(stage, limits, less, seed)
            at, items, why = (at, less, other) if other else (at + size, items, why)
        size //= 2
    return items, why


def explore(stage, n, seed, played=1, always=()):
    """Puts n sequences to the stage, each behind the items `always`. A failing one is shrunk and raised as an
    AssertionError with its transcript."""
    counts = collections.Counter()
    for i in range(n):
        rng = random.Random(f'{seed} {i}')
        limits, items = sequence(rng, played, stage.limits.get('tls'))
        limits, items, tell = {**stage.limits, **limits}, [*always, *items], rng.random()
        if fails(stage, limits, items, tell):
            less, why = shrink(stage, limits, items, tell)
            raise AssertionError(f'seed {seed}, sequence {i}: {why or "does not fail again"}\n{transcript(limits, less)}')
        m, _ = script(limits, items)
        m.end()
        counts.update(m.count)
        counts['recipients asked'] += m.asked
        counts['items'] += len(items)
    return counts


def main():
    stage, n = Players(sys.argv[1]), int(sys.argv[2])
    seed = sys.argv[3] if len(sys.argv) > 3 else str(random.SystemRandom().randrange(10**9))
    print(f'{n} sequences, seed {seed}', flush=True)
    began = time.monotonic()
    try:
        counts = explore(stage, n, seed)
    except AssertionError as e:
        print(e)
        return 1
    finally:
        stage.close()
    print(f'ok: {counts["items"]} items in {time.monotonic() - began:.0f} s; ' + ', '.join(f'{k} {v}' for k, v in sorted(counts.items())))
    return 0


if __name__ == '__main__':
    sys.exit(main())
