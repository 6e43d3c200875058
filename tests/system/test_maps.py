# SPDX-License-Identifier: BSD-2-Clause
"""Kinds of maps at work in smar: lines in the configuration, regex, cidr, passwd, sequence; files that
change or have mistakes while they are in use."""
import re
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
