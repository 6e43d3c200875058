# SPDX-License-Identifier: BSD-2-Clause
"""Kinds of maps at work in smar: lines in the configuration, regex, cidr, passwd, sequence; files that
change or have mistakes while they are in use."""
import re
import shutil
import subprocess

import lab
import pytest

TO = 'access { name = ac; } '


def gateway(inst, smar, **kw):
    return lab.Gateway(inst, smtps='flags = { access };', smar=smar, **kw)


def test_rows_of_the_configuration(inst):
    with gateway(inst, 'map ac { type = text; rows = { "to:far.test RELAY", "to:no@far.test error:550 5.1.1 none" }; } ' + TO) as g:
        assert g.verdict('u@far.test').startswith('250')
        assert g.verdict('no@far.test') == '550 5.1.1 none'
        assert g.verdict('u@else.test').startswith('550 5.7.1')


def test_regex_in_access(inst):
    rows = r'"/^to:.*@([a-z]+)[.]far[.]test$/ error:550 5.7.1 nothing for $1", "/^to:far[.]test$/ RELAY"'
    with gateway(inst, f'map ac {{ type = regex; rows = {{ {rows} }}; }} ' + TO) as g:
        assert g.verdict('u@sub.far.test') == '550 5.7.1 nothing for sub'
        assert g.verdict('u@far.test').startswith('250')


def test_cidr_in_access(inst):
    """The longest prefix decides for each client."""
    files = {'nets': 'cltaddr:127.0.0.0/8 error:550 5.7.1 not from there\ncltaddr:127.0.0.0/30 RELAY\ncltaddr:127.0.0.3 error:450 4.7.1 later\n'}
    with gateway(inst, 'map ac { type = cidr; file = "nets"; } ' + TO, files=files) as g:
        assert g.verdict('u@far.test').startswith('250')
        assert g.verdict('u@far.test', source='127.0.0.3') == '450 4.7.1 later'
        assert g.verdict('u@far.test', source='127.0.0.9') == '550 5.7.1 not from there'
        # a new version with a mistake: named with its line, the old one stays in use
        (g.dir / 'nets').write_text('cltaddr:127.0.0.1/8 RELAY\n')
        g.wait_log(r'nets:1: .*bits set behind its prefix')
        assert g.verdict('u2@far.test', source='127.0.0.9') == '550 5.7.1 not from there'
        (g.dir / 'nets').write_text('cltaddr:127.0.0.0/8 RELAY\n')
        g.wait_log(r'nets: read again, 1 keys')
        lab.wait_for('the new version', lambda: g.verdict('u@far.test', source='127.0.0.9').startswith('250'))


BAD = {'text': 'to:far.test RELAY\nTO:far.test OK\nto:x\0y OK\n\n# fine\nto:far.test REJECT\n',
       'cidr': 'cltaddr:127.0.0.0/8 RELAY\ncltaddr:127.0.0.1/8 OK\nnonsense OK\n\n# fine\ncltaddr:127.0.0.0/33 OK\n',
       'regex': '/^to:far/ RELAY\n/(/ OK\nno pattern\n\n# fine\n/[/ OK\n'}


@pytest.mark.parametrize('kind', BAD)
def test_bad_lines_are_all_named(inst, kind):
    """Each bad line of a new version is in the log with its number, and the old version stays in use; so does a start."""
    good = BAD[kind].split('\n')[0] + '\n'
    smar = f'map ac {{ type = {kind}; file = "rows"; }} ' + TO
    with gateway(inst, smar, files={'rows': good}) as g:
        assert g.verdict('u@far.test').startswith('250')
        (g.dir / 'rows').write_text(BAD[kind])
        g.wait_log(r'the old content stays in use')
        named = [int(n) for n in re.findall(r'rows:(\d+): ', g.log())]
        assert sorted(set(named)) == [2, 3, 6], g.log()[-2000:]
        assert g.verdict('u2@far.test').startswith('250')
        (g.dir / 'rows').write_text(good + good.replace('RELAY', 'REJECT') if kind == 'regex' else good)
        lab.wait_for('a good version', lambda: 'read again' in g.log())
        assert g.verdict('u3@far.test').startswith('250')
        g.stop()
        (g.dir / 'rows').write_text(BAD[kind])
        g.start(ready=False)
        lab.wait_for('the start to say it', lambda: len(re.findall(r'rows:(?:2|3|6): ', g.log())) >= 2 * len(named))


def test_sequence_of_maps(inst):
    """A no of one map goes on to the next; what the first says stands."""
    smar = ('map one { type = text; rows = { "to:a@far.test error:550 5.1.1 first" }; } '
            'map two { type = text; rows = { "to:far.test RELAY", "to:a@far.test RELAY" }; } '
            'map ac { type = sequence; maps = { one, two }; } ' + TO)
    with gateway(inst, smar) as g:
        assert g.verdict('a@far.test') == '550 5.1.1 first'
        assert g.verdict('b@far.test').startswith('250')
        assert g.verdict('b@else.test').startswith('550')


def test_sequence_does_not_pass_over_a_failure(inst):
    """A map that cannot say ends it: 4xx, not the answer of the next one."""
    smar = (r'map one { type = regex; rows = { "/^to:(a+)+$/ OK" }; } '
            'map two { type = text; rows = { "to:far.test RELAY" }; } '
            'map ac { type = sequence; maps = { one, two }; } ' + TO)
    with gateway(inst, smar) as g:
        assert g.verdict('b@far.test').startswith('250')
        assert g.verdict('a' * 60 + '@far.test').startswith('451 4.3.0')
        assert 'needs too much work' in g.log()


NAMED_AT_ONCE = (
    ('type = text;', r'neither file nor rows'),
    ('type = text; file = "f"; rows = { "a b" };', r'both, file and rows'),
    ('type = cdir; rows = { "10.0.0.0/8 x" };', r'map_cdir'))
NAMED_AT_A_START = (
    ('type = sequence; maps = { nowhere };', r'there is no map .*nowhere.* before this one'),
    ('type = regex; rows = { "/(/ x" };', r'rows:1: the pattern is wrong at its byte 1: missing closing parenthesis'),
    ('type = cidr; rows = { "10.0.0.1/8 x" };', r'rows:1: .*10.0.0.1/8.*: the address has bits set'))


@pytest.mark.parametrize('options, said', NAMED_AT_ONCE)
def test_mistake_named_by_a_check(inst, options, said):
    g = gateway(inst, f'map ac {{ {options} }} ' + TO, files={'f': 'a b\n'})
    p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
    g.close()
    assert p.returncode == 78 and re.search(said, p.stderr), p.stderr


@pytest.mark.parametrize('options, said', NAMED_AT_A_START)
def test_mistake_named_by_a_start(inst, options, said):
    """The content of a map is looked at when it is opened."""
    g = gateway(inst, f'map ac {{ {options} }} ' + TO)
    g.start(ready=False)
    try:
        g.wait_log(said)
    finally:
        g.close()


# use: rows of its map, good and bad, and what is said of the bad ones (None: it serves)
ROWS = {
    'access': (('to:far.test RELAY', None), ('to:a@far.test error:550 5.1.1 none', None), ('to:b@far.test RELAYY', 'expected RELAY, OK'),
               ('from:c.test error:550x', 'expected a reply of 4xx or 5xx'), ('cltadr:192.0.2 OK', 'nothing is looked up by this key'),
               ('smtpc_rcpt_conf:d.test helo = x;', 'smtpc_rcpt_conf:d.test: '), ('zen:127.0.0.2 REJECT', None), ('zen:127.0.0.3 REJETC', 'REJETC')),
    'mailertable': (('a.test [127.0.0.1]:25', None), ('b.test way:x', 'no transport way'), ('c.test [127.0.0.1]:0', 'expected a port')),
    'aliases': (('team bob, carl@far.test', None), ('gone error:550 5.1.1 gone', None), ('two error:250 no', 'expected a reply of 4xx or 5xx'),
                ('prog |/bin/x', 'programs and files are no targets'), ('typo dora@far..test', 'is not an address'), ('inc :include:/nowhere', None)),
    'tls_policy': (('far.test encrypt', None), ('b.test verfiy', 'verfiy')),
}
CHECKED = ' '.join(f'{use} {{ name = {use}; }}' for use in ROWS) + ' dnsbl zen { domain = "zen.test"; tag = "zen"; }'


def texts():
    return {use: ''.join(f'{row}\n' for row, _ in rows) for use, rows in ROWS.items()}


def held(use, said):
    """Of each row, in the order of its file, what stands in its line of said; and nothing of those that serve."""
    for n, (row, want) in enumerate(ROWS[use], 1):
        lines = [x for x in said.splitlines() if re.search(rf'{use}[^:]*:{n}:', x)]
        assert (len(lines) == 1 and want in lines[0]) if want else not lines, (row, lines)


def test_rows_are_held_to_their_use(inst):
    """Before a start: each row of a map of lines, also behind a sequence, by what its map is for; a start is not refused for it."""
    maps = ' '.join(f'map {use} {{ type = text; file = "{use}"; }}' for use in ROWS if use != 'aliases')
    maps += ' map behind { type = text; file = "aliases"; } map aliases { type = sequence; maps = { behind }; }'
    g = gateway(inst, f'{maps} {CHECKED}', files=texts())
    p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
    g.close()
    assert p.returncode == 0, p.stderr
    for use in ROWS:
        held(use, p.stderr)


def test_a_row_serves_one_use_of_its_map(inst):
    both = 'to:far.test RELAY\nbob carl@far.test\nnobody error:250 x\n'
    g = gateway(inst, 'map m { type = text; file = "m"; } access { name = m; } aliases { name = m; }', files={'m': both})
    p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
    g.close()
    assert re.findall(r'/m:(\d+):', p.stderr) == ['3', '3'], p.stderr


def test_rows_of_a_hash_are_held_by_createmap(inst):
    """Whose rows nobody can list: so they are looked at when the file is made. It is made all the same."""
    if not (inst / lab.PREFIX.lstrip('/') / 'lib/meta1/maps/map_gdbm.so').exists():
        pytest.skip('map_gdbm was not built')
    d = lab.tempdir('rows')
    conf = d / 'meta1.conf'
    conf.write_text(f'module_directory = "{inst / lab.PREFIX.lstrip("/")}/lib/meta1";\nsmar {{ '
                    + ' '.join(f'map {use} {{ type = hash; file = "{use}.db"; }}' for use in ROWS) + CHECKED + ' }\n')
    for use, text in texts().items():
        (d / use).write_text(text)
        p = subprocess.run([inst / lab.PREFIX.lstrip('/') / 'sbin/createmap', '-f', conf, 'hash', d / f'{use}.db', d / use], capture_output=True, text=True)
        assert p.returncode == 0 and (d / f'{use}.db').exists(), p.stderr
        held(use, p.stderr)
    shutil.rmtree(d)


# sections that ask the map m, alone or behind the sequence s; lines that are warned of, once a use
USED = {
    'sequence': ('access { name = s; }', '', [2, 3]),
    'sequences': ('access { name = s2; }', '', [2, 3]),
    'sequence and name': ('access { name = s; } aliases { name = m; }', '', [3, 3]),
    'destinations': ('access { name = m; }', 'conf { name = m; }', []),
    'destinations behind a sequence': ('access { name = m; }', 'conf { name = s; }', []),
    'exempt': ('access { name = s; } greylisting { file = "grey"; exempt { name = m; } }', '', []),
    'two maps of a file': ('map m2 { type = %s; file = "m"; } access { name = s; } aliases { name = m2; }', '', [3, 3]),
}


@pytest.mark.parametrize('used', USED)
def test_createmap_and_a_check_say_the_same(inst, used):
    smar, qmgr, want = USED[used]
    smar = 'map m { type = %s; file = "m"; } map s { type = sequence; maps = { m }; } map s2 { type = sequence; maps = { s }; } ' + smar
    for kind in ('text', 'hash'):
        g = gateway(inst, smar.replace('%s', kind), qmgr=qmgr, files={'m' if kind == 'text' else 'rows': 'to:far.test RELAY\nbob carl@far.test\nnobody error:250 x\n'})
        if kind == 'text':
            p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
        elif (inst / lab.PREFIX.lstrip('/') / 'lib/meta1/maps/map_gdbm.so').exists():
            p = subprocess.run([inst / lab.PREFIX.lstrip('/') / 'sbin/createmap', '-f', g.conf, 'hash', g.dir / 'm', g.dir / 'rows'], capture_output=True, text=True)
        g.close()
        assert p.returncode == 0, p.stderr
        assert [int(n) for n in re.findall(r'/(?:m|rows):(\d+):', p.stderr)] == want, (kind, p.stderr)


def test_a_file_is_read_once_for_all_its_uses(inst):
    """However often it is named, the bound of its lines is said once, and its row behind that is not judged."""
    smar = ('map m { type = text; file = "m"; } map n { type = text; file = "./m"; } map s { type = sequence; maps = { m, m, n }; } '
            'access { name = s; } aliases { name = m; }')
    g = gateway(inst, smar, files={'m': 'nobody error:250 x\n' + '#\n' * 199999 + 'nobody2 error:250 x\n'})
    p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
    g.close()
    assert re.findall(r'm:(\d+):.*(row nobody|only the first)', p.stderr) == [('1', 'row nobody'), ('1', 'row nobody'), ('200001', 'only the first')], p.stderr
