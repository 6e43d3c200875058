# SPDX-License-Identifier: BSD-2-Clause
"""doc/admin.md: its configuration starts, and what it shows of meta1ctl explain is what is said today.

META1_WRITE=1 writes the output of each command anew into the page instead of comparing."""
import json, os, pathlib, re, shlex, urllib.parse

import lab, pytest

PAGE = pathlib.Path(os.environ.get('META1_SRC', pathlib.Path(__file__).resolve().parents[2])) / 'doc/admin.md'
COMMAND = re.compile(r'^    \$ (meta1ctl explain .*)\n((?:    (?!\$).*\n)*)', re.M)


def block(name):
    """The indented text behind "The file NAME:"."""
    text = re.search(rf'^The file {name}:\n\n((?:    .*\n)+)', PAGE.read_text(), re.M)[1]
    return re.sub('^    ', '', text, flags=re.M)


@pytest.fixture(scope='module')
def gw(inst):
    smar = 'map ac { type = text; file = "access"; } map mt { type = text; file = "mailertable"; } access { name = ac; } mailertable { name = mt; }'
    g = lab.Gateway(inst, smtps='flags = { access };', smar=smar, files={'access': block('access'), 'mailertable': block('mailertable')})
    conf = g.conf.read_text().replace('gw.test', 'mail.example.org')
    early = (f'smtps EARLY {{ path = "{g.bin}/libexec/smtps"; flags = {{ access, dont_delay_checks }};'
             f' listen_socket {{ type = inet; address = 127.0.0.1; port = {lab.free_port()}; }} }}\n')
    g.conf.write_text(conf.replace('\nsmtps {', '\nsmtps MX {').replace('\nsmtpc {', f'\n{early}smtpc {{'))
    with g:
        yield g


def said(g, command):
    text = g.ctl(*shlex.split(command)[1:]).stdout
    return re.sub(r'[ \d]{3}\.\d ms', '  0.1 ms', text)


def test_the_page_shows_what_is_said(gw):
    page, shown = PAGE.read_text(), COMMAND.findall(PAGE.read_text())
    assert len(shown) >= 10
    if os.environ.get('META1_WRITE'):
        def anew(m):
            out = said(gw, m[1])
            return f'    $ {m[1]}\n' + re.sub('^', '    ', out.rstrip('\n'), flags=re.M) + '\n'
        PAGE.write_text(COMMAND.sub(anew, page))
        return
    for command, text in shown:
        assert re.sub('^    ', '', text, flags=re.M) == said(gw, command), f'{command}: if it is meant, META1_WRITE=1 and this test write the page anew'


def test_every_check_is_in_the_table(gw):
    """Each check that explain knows has its place in the page, and the order is the same."""
    checks = json.loads(gw.ctl('explain', '--ip', '192.0.2.1', '--helo', 'x.test', '--from', 'a@b.test', '--to', 'c@d.test', '--json').stdout)['checks']
    table = re.search(r'\| stage \| check .*?\n\n', PAGE.read_text(), re.S)[0]
    names = re.findall(r'^\| [A-Z]+ \| ([^|]+) \|', table, re.M)
    flat = [n for cell in names for n in re.split(', ', cell.strip())]
    want = [c['check'] for c in checks]
    assert [n for n in flat if n in want] == [n for n in want if n in flat] and set(want) - set(flat) <= {'dnsbl_helo', 'dnsbl_sender', 'name'}


def ask(g, **q):
    return g.http('smar', 'GET', '/v1/explain?' + urllib.parse.urlencode(q))


def test_json_and_what_is_refused(gw):
    whole = {'ip': '192.0.2.10', 'from': 'ann@example.org', 'to': 'bob@far.example'}
    status, body = ask(gw, **whole)
    answer = json.loads(body)
    assert status == 200 and answer['reply'] == {'to': 'RCPT', 'action': 'accept', 'smtp': 250, 'dsn': '2.1.5', 'text': 'recipient ok', 'rule': ''}
    keys = next(c['keys'] for c in answer['checks'] if c['check'] == 'cltaddr')
    assert keys[0] == 'cltaddr:192.0.2.10' and keys[-1] == 'cltaddr:192.0.2'
    assert answer['routes'][0]['hops'] == ['198.51.100.25 25 198.51.100.25'] and answer['listener'] == 'MX'
    for bad in ({'ip': 'x'}, {'ip': ''}, {'from': 'a b@c'}, {'to': ''}, {'to': '@'}, {'listener': 'nobody'}, {'helo': 'x' * 300}, {'ip': '1.2.3'}):
        assert ask(gw, **{**whole, **bad})[0] == 400, bad
    for left in whole:
        assert ask(gw, **{k: v for k, v in whole.items() if k != left})[0] == 400
    p = gw.ctl('explain', '--ip', '192.0.2.1', check=False)
    assert p.returncode == 64 and p.stderr.startswith('usage: meta1ctl explain')


@pytest.mark.parametrize('port', ['MX', 'EARLY'])
def test_explain_says_what_smtps_says(gw, port):
    """The client 127.0.0.1 through the door, and explain for it: the same words, and no counter of live mail moves."""
    number = gw.port if port == 'MX' else int(re.search(r'smtps EARLY .*?port = (\d+)', gw.conf.read_text())[1])
    for helo, sender, rcpt in (('x.test', 'a@b.test', 'ann@example.org'), ('localhost', 'a@b.test', 'ann@example.org'), ('x.test', 'a@bad.example', 'ann@example.org'),
                               ('x.test', 'a@b.test', 'c@d.test'), ('x.test', '', 'all@example.org'), ('x.test', 'boss@example.org', 'all@example.org')):
        before = gw.metrics('smar')
        told = json.loads(ask(gw, ip='127.0.0.1', helo=helo, to=rcpt, listener=port, **{'from': sender})[1])['reply']
        assert {k: v for k, v in gw.metrics('smar').items() if 'checks_total' in k or 'rcpt_' in k} == {k: v for k, v in before.items() if 'checks_total' in k or 'rcpt_' in k}
        with lab.Client(('127.0.0.1', number)) as c:
            c.cmd(f'EHLO {helo}', 250)
            got = c.cmd(f'MAIL FROM:<{sender}>')
            if told['to'] == 'RCPT':
                assert got.startswith('250')
                got = c.cmd(f'RCPT TO:<{rcpt}>')
            assert got == f"{told['smtp']} {told['dsn']} {told['text']}"
