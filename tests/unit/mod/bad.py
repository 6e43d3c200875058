#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The kit's own test. Modules of sdk/kit/bad break one law each, and meta1-modtest says which; those that keep them all pass.
And each check that it makes anywhere is one that some module here breaks: what no module can break tests nothing. Runs in
the build folder."""
import concurrent.futures
import glob
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SRC = pathlib.Path(os.environ.get('srcdir', '.')).resolve()
PASSES = r'^[0-9]* passed, 0 failed$'
# A file each: what must stand in the output.
FILES = {
    'map': {
        'good': r'^[0-9]* passed, 0 failed$',
        'leak': r'^# law: map_leak/kit: left over at close: 1 block of 64 bytes',
        'timer': r'^# law: map_timer/kit: left over at close: 1 timer',
        'descriptor': r'^not ok .* keeps no descriptor',
        'twice': r'^# law: .*a request was finished twice',
        'never': r'^# law: .*a request is not finished long after its deadline or cancel\(\)',
        'late': r'^# law: .*left over at close: 1 open request',
        'thread': r'^# law: .*log\(\) on another thread: use post\(\)',
        'sleeps': r'^not ok .* no call holds the loop asleep',
        'unchecked': r'^not ok .* it crashes: signal 11 in the suite faults',
        'malloc': r'^not ok .* it crashes: signal 11 in the suite faults',
        'halves': r'^not ok .* opens when reads and writes do a half, or nothing: map_halves/kit: ',
        'heap': r'^not ok .* keeps no memory, of whatever kind',
        'halfopen': r'^# law: .*left over after open\(\) failed: 1 block',
        'silent': r'^# law: .*open\(\) failed without a reason in err',
        'weak': r'^not ok .* it imports nothing from the server meta1_secret_function$',
        'unsure': r'^not ok .*or a temporary failure, when each of .* fails in turn \(not found',
        'realloc': r'^not ok .*or a temporary failure, when each of .* fails in turn \(not found',
        'fence': r'^# law: .*wrote behind a block of 64 bytes',
        'freed': r'^# law: .*free\(\): twice',
        'crash': r'^not ok .* it crashes: signal 6 in the suite map',
        'valueless': r'^# law: .*OK without a value',
        'lines': r'^# law: .*its text is more than one line',
        'unsized': r'^# law: .*its size is not set',
        'absent': r'^not ok .* a key that is not there: a definite no \(temporary failure\)',
        'wrong': r'^not ok .* "key" is found with its value \(found\)',
        'high': r'^not ok .* opens with descriptors above 1024',
        'default': r'^not ok .* its options are as their records say: .*number',
        'boundless': r'^not ok .* a number has a range',
        'mute': r'^not ok .* its doc is a sentence',
        'exports': r'^not ok .* it exports its descriptor only everybody_sees_this',
        'imports': r'^not ok 1 - loads: cannot be loaded: .*undefined symbol: meta1_secret_function',
        'both': r'^not ok .* a map has either lookup\(\) or find\(\): it has both',
        'flag': r'^not ok .* its flags are known: 0x40',
        'undrained': r'^not ok .* drains$',
        'loop': r'^# law: .*does not say for which libevent',
        'prefers': r'^# law: .*PERMFAIL with a reply that is not 5xx',
    },
    'pmilter': {
        'good': r'^[0-9]* passed, 0 failed$',
        'twice': r'^# law: .*a request was finished twice',
        'never': r'^# law: .*a request is not finished long after its deadline or cancel\(\)',
        'crlf': r'^# law: .*at E: the name of a field is of more than printable ASCII',
        'nameless': r'^# law: .*at E: an edit of a field without a name',
        'address': r'^# law: .*at E: an address with blanks, brackets or control characters',
        'index': r'^# law: .*at E: fields of a name are counted from 1',
        'stranger': r'^# law: .*at E: takes out who is no recipient',
        'extent': r'^# law: .*at E: an extent that is nowhere',
        'edits': r'^# law: .*at E: edits of a mail that it does not let go on',
        'early': r'^# law: .*at R: edits before the end of the mail',
        'hold': r'^# law: .*at M: a hold before the end of the mail',
        'discard': r'^# law: .*at C: a mail is discarded before there is one',
        'code': r'^# law: .*at M: a refusal with a code that is not 4xx or 5xx',
        'lines': r'^# law: .*at M: a line of its reply has control characters',
        'wants': r'^# law: .*at C: it wants stages that there are not',
        'once': r'^# law: .*at E: it wants nothing from now on',
        'keeps': r'^not ok .* it looks at what it was lent, after its time: signal 11 in the suite pmilter',
        'asked': r'^not ok .* it looks at what it was lent, after its time: signal 11 in the suite pmilter',
        'shared': r'^# law: .*a verdict changed before the next call for its session',
        'sleeps': r'^not ok .* no call holds the loop asleep \(4 times',
        'hoards': r'^not ok .* a session that ended leaves nothing',
        'leak': r'^not ok .* a session that ended leaves nothing',
        'pointer': r'^# law: .*end\(\) left its session.s pointer',
        'unchecked': r'^not ok .* it crashes: signal 11 in the suite pmilter',
        'unjudged': r'^not ok .* the same answers, or a failure, when each of',
        'unsure': r'^not ok .* the same answers, or a failure, when each of',
        'mute': r'^# law: .*a failure without a text for the log',
        'first': r'^not ok .* the same of a content that is given byte for byte$',
        'memory': r'^not ok .* it crashes: signal 11 in the suite pmilter',
        'lacks': r'^not ok .* a filter has begin, ask, reset, end and cancel: one is NULL$',
        'remembers': r'^not ok .* a session.s second mail is judged as its first',
    },
}
# Many in one file, which the environment's META1_BAD tells apart; the first line that is not ok is the one, but of a "whole"
# run. With META1_FULL=1 those too that take long.
FULL = os.environ.get('META1_FULL') == '1'
SLOW = ('queue_compact.c', 'queue_crash.c', 'pm_filter.c')  # their checks
KEY = ('-k', 'key=value')
CERT = ('-x', str(SRC / 'README.md'))  # of which auth_bad only sees that it is there
SCRIPTS = {'silent': '...\n', 'noop': '> 220 hop\n< NOOP\n'}
RUNS = [
    # module, arguments, {fault: what must stand in the output}
    ('map_claims', KEY, {
        'good': PASSES,
        'magic': 'its magic is that of a module: 0x',
        'major': 'its ABI is of this major version: module ABI 2.0, this kit has 1.0',
        'size': 'its descriptor has a size: 40 bytes',
        'needed': 'it needs no newer ABI than this one: module ABI 1.0 needs 1.1',
        'name': 'its name is the file.s: "map_other", the file is map_claims.so',
        'version': 'it has a version: none',
        'summary': 'it has a summary of one line: "One',
        'kind': 'its kind is known: 99',
        'prefix': 'its name begins with its kind: "map_claims", expected auth_what',
        'roles': 'it is for a role that asks its kind: roles 0x8',
        'ops': 'its table of ops has a size: 0 bytes',
        'open': r'it has open\(\) and close\(\): one is NULL',
        'needs': 'what it needs is offered: 0x10000000000',
        'libevent': 'it was built for this libevent, or uses none: 0x7f000000',
        'far': r'find\(\) is for a map that is META1_MAP_LOCAL and does not block',
        'options': 'it has at most 256 options: 300',
        'records': 'its records of options have a size: 8 bytes',
        'conf': 'its options take at most 1 MiB: 3 in 16777216 bytes',
        'taken': 'none of its options has a name that the server reads itself: "cache_size"',
        'isolates': 'none of its options has a name that the server reads itself: "isolate"',
        'knows': 'an unknown option is refused',
        'ends': 'option number takes 9 and 1',
        'any': 'option word refuses another word',
        'thread_twice': 'a look-up on a thread was finished 2 times',
        'thread_never': 'a look-up on a thread was finished 0 times',
    }),
    ('map_Claims', KEY, {'good': 'its name is of a to z, 0 to 9 and _: "map_Claims"'}),
    ('map_host', KEY, {
        'good': PASSES,
        'closed': 'opens: map_host/kit: no memory',
        'long': r'open\(\) failed with a reason of more than one line',
        'unended': r'open\(\) failed, and the end of its text is missing',
        'tires': 'opens and closes 100 times',
        'undrained': 'opens for a drain: ',
        'drains': 'closes after a drain, nothing left',
        'level': r'log\(\): level 77',
        'counter': r'count\(\): the name "Not A Name"',
        'counters': r'count\(\): more than 64 names',
        'no_file': r'watch_fd\(\): descriptor 9999 is not open',
        'stack': r'free\(\): of what alloc\(\) did not give',
        'rearms': r'rearm\(\) of a descriptor',
        'unwatches': r'unwatch\(\) after descriptor \d+ was closed: unwatch first',
        'high': 'and closes them',
        'writes': 'wrote into a block of 64 bytes that it had freed',
    }),
    ('map_host', ('whole', '-w', '1', *KEY), {
        'ghost': r'a request was finished after close\(\)',
        'speaks': r'log\(\) after close\(\)',
    }),
    ('map_host', (*KEY, '-m', 'other={so}:'), {'foreign': r'free\(\): it is of map_host/other'}),
    ('map_host', (*KEY, '-m', 'other={so}:nonsense = 1;'), {'good': 'map "other" opens: '}),
    ('map_host', ('-a', *KEY, '-t', 'life'), {'good': r'each place that asks for memory or a service was refused once \(0 of \d+\)'}),
    ('map_host', (*KEY, '-t', 'requests'), {'closed': 'opens for requests '}),
    ('map_host', (*KEY, '-t', 'map'), {'closed': 'the map opens '}),
    ('map_create', ('-t', 'map'), {
        'good': PASSES,
        'makes_none': r'create\(\) makes a file ',
        'wordless': r'create\(\) refuses a key of 64 KiB in words',
        'destroys': 'the old file is as it was ',
        'unopened': 'opens a file with a key of 64 KiB',
    }),
    ('transport_bad', ('-t', 'transport', '-w', '1'), {
        'good': PASSES,
        'local': PASSES,
        'blocking': 'META1_F_BLOCKING is for maps: its kind is 2: use offload',
        'lacks': 'a transport has open, send, usable, shut and cancel: one is NULL',
        'closed': 'transport: transport_bad/kit: it is closed today',
        'local,unopened': r'transport: open\(\) is answered',
        'nobody': 'transport: nobody listens',
        'certain': 'transport: greeting 421',
        'innocent': 'transport: greeting 421',
        'optimist': 'transport: closed after the dot',
        'mute': 'transport: an enhanced code on the last line only',
        'half': 'transport: a good mail',
        'hopeful': 'transport: DATA 250 is no answer',
        'hasty': 'transport: silent before the greeting',
        'patient': 'transport: an endless reply',
        'rude': 'transport: a session carries mails one after the other, then says QUIT',
        'unasked': 'transport: probes, one by one',
        'few': 'transport: 2500 recipients',
        'session': 'transport: closed while idle: nothing was taken, the session is to blame',
        'stays': 'transport: canceled at MAIL',
        'unsure': 'transport: canceled after the dot',
        'forgets': 'transport: the asker leaves at each of ',
        'overdue': 'transport: the deadline passes at each of ',
        'proud': 'transport: the mail goes or waits when each of ',
        'refuses': 'transport: takes mails, one after the other',
        'sleeps': 'transport: no call holds the loop asleep',
        'local_sleeps': 'transport: no call holds the loop asleep',
        'twice': 'a request was finished twice',
        'after': r'result of recipient 0 of \d+: after finish',
        'stranger': r'result of recipient 4000 of \d+: there is none',
        'again': 'result of recipient 0 of 1: given twice',
        'touches': r'req_slot\(\) of a request that is finished',
        'status': 'this status is not for its kind',
        'code': 'its smtp is no code of a reply',
        'values': 'its values$',
        'huge': 'its values are more than 16 MiB',
        'fine': 'OK with a reply of 4xx or 5xx',
        'endless': 'its dsn does not end',
        'dotless': 'its dsn is not like 4.3.0',
        'eventless': r'conn->open\(\) without the events input and gone',
        'early': r'conn->write\(\) before connected\(\)',
        'grabs': r'conn->take\(\) of 1048576 bytes, there are ',
        'logs_in': r'conn->login\(\) at a hop that asks for none',
        'nameless': r'conn->starttls\(\) without a name',
        'starts_twice': r'conn->starttls\(\) twice',
    }),
    ('transport_bad', ('whole', '-t', 'transport', '-w', '1'), {'lumps': 'transport: all of these again, replies byte for byte'}),
    ('transport_bad', ('-w', '1', '-s', '{scripts}/silent'), {'good': 'the mail comes to an end'}),
    ('transport_bad', ('-w', '1', '-s', '{scripts}/noop'), {'good': 'the script is played to its end: '}),
    ('map_good', ('-k', 'key=other', '-s', '{scripts}/silent'), {'good': '"key" has its value'}),
    ('map_leak', ('whole', '-k', 'key=value', '-s', '{scripts}/silent'), {'good': 'closes, nothing left'}),
    ('map_host', ('-s', '{scripts}/silent'), {'closed': 'opens: map_host/kit: no memory'}),
    ('pmilter_never', ('-w', '1', '-s', '{scripts}/silent'), {'good': 'the mail comes to an end'}),
    ('auth_bad', ('-k', 'key=other', '-s', '{scripts}/silent'), {'good': '"key" logs in'}),
    ('pmilter_says', ('-t', 'pmilter', '-w', '1'), {
        'good': PASSES,
        'closed': 'opens as a filter: ',
        'beyond': r'begin\(\): it wants stages that there are not',
        'class': 'its dsn is of another class than its code',
        'unended': 'its dsn does not end',
        'lineless': 'a reply without its lines',
        'held': 'a hold of a mail that it does not let go on',
        'addressless': 'an edit of the envelope without an address',
        'hostless': 'an address that is none',
        'kind': 'an edit of a kind that there is not',
        'valueless': 'a field without a value',
        'sizeless': 'edits without their size: sizeof_edit',
        'many': 'more than 4096 edits',
        'extentless': 'an edit without its extents',
        'closed_file': 'an extent of a descriptor that is not open',
        'behind': 'an extent beyond the end of its file',
        'unsized': 'its size is not set: begin it with .size = sizeof.verdict.',
        'action': 'an action that there is not',
        'two_lines': 'hold and note are one line',
    }),
    ('pmilter_bad', ('whole', '-c', 'socket_path = "@PEER@";', '-t', 'pmilter', '-w', '1'), {
        'agrees': 'what its filter says at . is what it says',
        'forgives': 'a filter that .* at each of .* frames is a failure in time, and then asked again',
        'lumps': 'the same when its filter.s answers come byte for byte',
        'alone': 'nobody listens: a failure at the first question',
    }),
    ('auth_bad', ('-t', 'auth', '-w', '1', *KEY, *CERT), {
        'good': PASSES,
        'lacks_end': 'an auth has step, end and cancel: one is NULL',
        'lacks_start': 'in smtps it has offer and start: one is NULL',
        'lacks_login': 'in smtpc it has login: it is NULL',
        'small': 'offers names as RFC 4422 has them: ".*x-mine-too"',
        'cuts': 'and cuts the list at a whole name: ',
        'roomless': 'and offers none without room for one',
        'open_hearted': 'with noplaintext neither PLAIN nor LOGIN: ',
        'trusting': 'PLAIN: rubbish proves nothing',
        'gullible': 'PLAIN: nor does an empty word',
        'large': 'PLAIN: nor 9216 bytes',
        'undone': 'EXTERNAL: may be left at any time',
        'unknown': 'EXTERNAL: the certificate is for ""',
        'unnamed': 'who may say so himself',
        'anybody': 'and be nobody else',
        'uncertified': 'without a certificate it is refused',
        'halved': 'opens as client auth_bad/kit: no memory',
        'garbles': 'PLAIN as client: what RFC 4616 says',
        'tireless': 'PLAIN as client: rubbish ends it',
        'blabs': 'PLAIN as client: rubbish ends it',
        'nobody': r'EXTERNAL: the certificate is for "" \(O\)',
        'credulous': 'SCRAM-SHA-1: a server without proof is none',
        'deaf': 'PLAIN: the right secret is ""',
        'babbles': r'PLAIN: the right secret is "" \(!\)',
        'lenient': 'PLAIN: a wrong secret is refused',
        'proud': 'PLAIN: in, or a temporary failure, when each of',
        'tells': 'PLAIN: no secret is in the log',
        'leaks': 'closes after all that, nothing left',
    }),
]
# The good one is tried by queue_kit.sh, as queue_dir.
STORE = ('-c', 'min_free = 0; status_sync = 20ms; journal_size = 64KB;', '-w', '1', '-t')
for suite, faults in {
    'queue': {
        'lacks_commit': 'a store has all that a writer needs: one is NULL',
        'lacks_load': 'and a reader and a manager: one is NULL',
        'lacks_format': 'and a name of its format: none',
        'lacks_fetch': r'fetch\(\) is there',
        'unmanaged': 'the store opens in all of its roles',
        'inherits': 'a new store is empty',
        'refuses': 'begin, write, commit: 8 sizes',
        'tells_twice': 'an entry for each notice: 9',
        'spoils': 'contents come back byte for byte',
        'unread': 'qmgr reads them too',
        'disorders': 'entries come in the order of the commits',
        'gap': 'a gap is read from the store',
        'tail': 'a tail alone brings what was never told',
        'retells': 'nothing is told twice',
        'half_read': 'what was read from the store is whole',
        'few': '300 open at once, 30 aborted: 269 told',
        'abort': 'an aborted message is nowhere',
        'remembers': 'stored or refused when each of ',
        'halves': 'stored and read when reads and writes do a half',
        'no_outcome': 'outcomes are recorded',
        'forgets': 'fetch: 17 envelopes again',
        'stale': 'fetch: with what outcomes said meanwhile',
        'nothing': 'fetch: its reference opens the content',
        'restart': 'reopened: manage finishes',
        'restart_state': 'reopened: states of recipients are as recorded',
        'restart_final': 'reopened: what is final is not told',
        'restart_less': 'reopened: the rest is: 16',
        'restart_content': 'reopened: contents too',
        'restart_damage': 'reopened: no damage',
    },
    'space': {
        'unspaced': '60 messages stored and finished one after the other',
        'greedy': 'space came back: 0 units',
        'leftover': 'afterwards nothing is queued: ',
    },
    'numbers': {'numberless': 'numbers: open', 'repeats': '280,000 numbers in 4 lives never repeat'},
    'damage': {
        'unfound': 'an envelope is found on disk',
        'hides': 'fetch: a damaged envelope is named, and not told',
        'others': 'fetch: all others are told: 7',
        'blind': r'check\(\) names it: ',
        'for_ever': 'fetch: its bytes are right again, so it is told',
        'blames': 'fetch: a file that was taken away is no mail',
        'losses': r'check\(\) misses it: ',
        'gone': 'brought back, it is told, and who has it does not get it again',
    },
    'compact': {
        'junk': 'sparse: ',
        'moved': 'what was moved is read where it is now',
        'strays': 'moved, reopened: what stayed is there, once and whole',
        'remains': 'what was moved is done: 1 left',
    },
    'crash': {
        'no_image': 'images of a running store',
        'torn': 'power loss in the last commits, cut at each of ',
        'torn_alone': 'power loss in the last commits, each block alone missing',
        'killed': 'killed after the commits: all is there',
        'torn_outcome': 'power loss while an outcome is recorded: ',
        'undone': 'killed after the outcome: it is done for ever',
    },
    'bytes': {
        'sees': r'check\(\) finds nothing wrong with what a killed store leaves: there is none',
        'wrong_bytes': 'bytes turned over in ',
    },
    'full': {
        'not_full': 'full disk: open',
        'overfull': 'nothing can be written: TEMPFAIL for small and large',
        'full_for_ever': 'room again: mail is taken again',
        'refused_kept': 'what was refused is not there, the rest is: 3',
    },
    'memory': {
        'empty': 'a queue to start with',
        'starts_less': 'a start tells all, or fails, when each of ',
        'guesses': r'check\(\): all, or that it cannot, when each of ',
        'passes_over': 'what nobody was told of is told when each of ',
        'reads_wrong': 'contents: right, or a temporary failure, when each of ',
        'ends_less': 'and afterwards all is as before',
    },
    'kill': {'lost': 'killed at '},
}.items():
    RUNS.append(('queue_bad', (*STORE, suite), faults))

# Faults that show in lines of their own, whatever the others do: one run for all of them. With META1_FULL=1 each has its own.
TOGETHER = {
    'transport_bad': (
        'nobody mute half patient rude few session stays',
        'optimist hopeful hasty unasked forgets overdue proud sleeps',
    ),
    'map_claims': (
        'version summary roles open needs libevent',
    ),
    'auth_bad': (
        'open_hearted roomless trusting gullible large uncertified',
        'lacks_end lacks_start lacks_login',
        'unknown deaf',
        'unnamed lenient tireless',
    ),
    'queue_bad': (
        'few abort remembers halves restart',
        'forgets stale nothing restart_state restart_final restart_content restart_damage',
        'lacks_fetch no_outcome restart_less',
        'starts_less ends_less',
        'guesses passes_over',
        'greedy leftover',
        'others blind gone',
        'overfull refused_kept',
    ),
}
# Files whose line is not the first that is not ok, or that break lines which nobody else does.
WHOLE = ('map_late', 'map_lines', 'map_never', 'pmilter_never', 'pmilter_twice')

# What no module can break, and why the kit asks all the same.
UNBROKEN = {
    'a peer: %s': 'the kit has no socket',
    'option %s refuses %s': 'the parser is the server.s; it is asked for each range that is shipped',
    '%u of %d look-ups are answered after the asker left': 'that is the kit.s own host',
}


def module(name):
    """Where it was built. One that is only another file's other name is copied."""
    return next(str(p) for p in (pathlib.Path(f'tests/unit/mod/bad/{name}.so'), pathlib.Path(f'tests/unit/mod/.libs/{name}.so')) if p.exists())


def run(job):
    tmp, (name, args, fault, wants) = job
    so = module(name)
    env = dict(os.environ, META1_BAD=fault or '', TMPDIR=tmp,
               ASAN_OPTIONS='detect_leaks=0:malloc_context_size=1')  # leaks are the kit's to see; and where a block is from is not asked
    p = subprocess.run(['sdk/kit/meta1-modtest', so, *(a.replace('{so}', so).replace('{scripts}', tmp) for a in args)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True, errors='replace')
    good = wants == [PASSES]
    said = p.stdout if good else '\n'.join(x for x in p.stdout.splitlines() if not x.startswith('ok'))
    right = p.returncode == (0 if good else 1) and all(re.search(w, said, re.M) for w in wants) and re.search(r'^\d+ passed, \d+ failed$', p.stdout, re.M)
    if not right:
        print(f'{name} {fault or ""} {" ".join(args)}: status {p.returncode}, expected {wants!r}:')
        print('\n'.join(x for x in p.stdout.splitlines() if not x.startswith('ok'))[-3000:])
    return bool(right), said


def jobs():
    for kind, faults in FILES.items():
        for fault, want in faults.items():
            short = () if want == PASSES or f'{kind}_{fault}' in WHOLE else ('-1',)
            if kind == 'pmilter' and fault not in ('good', 'lacks'):
                short += ('-t', kind)
            yield f'{kind}_{fault}', ('-k', 'key=value', *short), None, [want]
    for name, args, faults in RUNS:
        whole = args[:1] == ('whole',)
        args = args[1:] if whole else args
        if not FULL and (name == 'pmilter_bad' or args[-1] in ('compact', 'crash')):
            continue
        single = dict(faults)
        for group in () if FULL or whole else TOGETHER.get(name, ()):
            wants = [single.pop(fault) for fault in group.split() if fault in faults]
            if wants:
                yield name, args, group.replace(' ', ','), wants
        for fault, want in single.items():
            yield name, args if whole or want == PASSES else ('-1', *args), fault, [want]


def calls(text, what):
    """The literal texts in each call of a function of the kit that judges."""
    for m in re.finditer(rf'\b(?:{what})\s*\(', text):
        depth, at, quoted = 1, m.end(), False
        while depth:
            c = text[at]
            if c == '\\':
                at += 1
            elif c == '"':
                quoted = not quoted
            elif not quoted:
                depth += (c == '(') - (c == ')')
            at += 1
        yield re.findall(r'"((?:[^"\\]|\\.)*)"', re.sub(r'"\s*"', '', text[m.end():at]))


def checks():
    """Each check, as the format of its line."""
    for path in sorted(glob.glob(str(SRC / 'sdk/kit/*.c'))):
        if path.endswith(SLOW) and not FULL:
            continue
        text = pathlib.Path(path).read_text()
        for strings in calls(text, 'kit_ok|kit_fault'):
            yield max(strings, key=len, default='')
        for strings in calls(text, 'rule'):
            yield strings[0] if strings else ''
        if path.endswith(('say.c', 'pm_judge.c')):
            yield from re.findall(r'(?:return|bad =) "([^"]+)"', text)


def broken(check, said):
    """Has some module broken it?"""
    pieces = re.split(r'%[-.*\d]*(?:ll|l|z)?[a-z]', check.replace('\\"', '"'))
    pattern = '.*'.join(re.escape(p.replace('%%', '%')) for p in pieces)
    return re.search(rf'^(?:not ok \d+ - |# law: ).*{pattern}', said, re.M)


def main():
    # in memory where there is such a place: half of the time was the disk's
    with tempfile.TemporaryDirectory(dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None) as tmp, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, text in SCRIPTS.items():
            (pathlib.Path(tmp) / name).write_text(text)
        done = list(pool.map(run, ((tmp, j) for j in jobs())))
    bad = sum(not right for right, _ in done)
    said = '\n'.join(text for _, text in done)
    for path in sorted((SRC / 'sdk/kit/bad').glob('*_*.c')):
        if path.stem not in [f'{kind}_{f}' for kind, faults in FILES.items() for f in faults]:
            print(f'{path}: not tried')
            bad += 1
    for check in checks():
        if check and check not in UNBROKEN and not broken(check, said):
            print(f'no module breaks: {check}')
            bad += 1
    sys.exit(bad > 0)


main()
