# SPDX-License-Identifier: BSD-2-Clause
"""The documents say what is true: files and functions exist, requests, options, modules, commands
and messages are those of the programs, examples work, nothing points out of the tree."""
import json, os, pathlib, re, shutil, subprocess

import lab
import pytest

SRC = pathlib.Path(os.environ.get('META1_SRC', pathlib.Path(__file__).resolve().parents[2]))
DOC = SRC / 'doc'
PAGES = ['README.md', *sorted(f'doc/{p.name}' for p in DOC.glob('*.md'))]


def text(name):
    return (SRC / name).read_text()


def defines(path, function):
    """A definition, not a declaration: a body follows before any semicolon."""
    if path.endswith('.py'):
        return re.search(rf'^def {function}\(', text(path), re.M)
    return re.search(rf'^\w[\w \t*]*\b{function} ?\([^;{{]*\)\s*(/\*.*\*/\s*)?\{{', text(path), re.M)


@pytest.mark.parametrize('page', PAGES)
def test_files_and_functions(page):
    body = text(page)
    pairs = set(re.findall(r'\b((?:core|modules|sdk|tests)/[\w/]+\.(?:c|py)):(\w+)', body))
    wrong = [f'{p}:{f}' for p, f in sorted(pairs) if not (SRC / p).is_file() or not defines(p, f)]
    assert not wrong, f'{page} names what is not there: {wrong}'
    if page == 'doc/architecture.md':
        assert len(pairs) > 60
    paths = re.findall(r'(?<![\w/.])(?:core|modules|sdk|tests|doc|bench)/[\w/.-]*\w', body)
    made = [(SRC, ''), (SRC, '.c'), (lab.BUILD, '')]  # a program may not be built yet
    gone = sorted({p for p in paths if not any((top / (p + end)).exists() for top, end in made)})
    assert not gone, f'{page}: {gone}'
    links = [u for u in re.findall(r'\]\(([^)#]+)\)', body) if '://' not in u]
    gone = [u for u in links if not ((SRC / page).parent / u).exists()]
    assert not gone, f'{page}: links to {gone}'


@pytest.mark.parametrize('page', ['doc/threats.md', 'doc/smtp-conformance.md'])
def test_tests_that_are_named(page):
    """Each row of a table names tests, and they are there."""
    named = set(re.findall(r'\b(tests/[\w/]+\.(?:c|py))::(\w+)', text(page)))
    assert len(named) > 20
    wrong = [f'{p}::{f}' for p, f in sorted(named) if not (SRC / p).is_file() or not defines(p, f)]
    assert not wrong, f'{page} names tests that are not there: {wrong}'
    rows = [r for r in text(page).splitlines() if r.startswith('| ') and not r.startswith(('| § |', '| what went'))]
    assert not [r for r in rows if '::' not in r]


def test_each_promise_has_its_test():
    """The two tables of promises in doc/architecture.md: each row names tests, and they are there."""
    body = text('doc/architecture.md')
    body = body[body.index('## What the store promises'):body.index('## Modules')]
    rows = [r for r in body.splitlines() if r.startswith('| ') and not r.startswith('| promise |')]
    assert len(rows) > 25 and {r[2] for r in rows} >= set('1234567')
    for row in rows:
        named = re.findall(r'\b((?:tests|sdk/kit)/[\w/]+\.(?:c|py))::(\w+)', row.split('|')[3])
        wrong = [f'{p}::{f}' for p, f in named if not (SRC / p).is_file() or not defines(p, f)]
        assert named and not wrong, f'{row[:80]}: {wrong}'


def test_readme_names_two_commands():
    body = text('README.md')
    assert set(re.findall(r'\./(\w+)', body)) == {'quickstart', 'check'}
    assert 'doc/START.md' in body and len(body.splitlines()) <= 50
    assert len(text('doc/START.md').splitlines()) <= 60


def test_the_tutorial_asks_for_what_the_build_needs():
    """Its commands are tried by tests/full/test_tutorial.py, which ./check does not run."""
    need = re.search(r'BUILD_PACKAGES="(.*?)"', text('tests/packages.sh'), re.S)[1].split()
    assert len(need) > 15 and not set(need) - set(text('doc/tutorial-cyrus.md').split())


def test_every_module_is_told_of():
    told = text('doc/architecture.md')
    made = {p.stem for p in (lab.BUILD / 'modules').rglob('*_*.so')}
    assert {'map_text', 'transport_smtp', 'transport_lmtp', 'queue_log'} <= made
    assert not [m for m in sorted(made) if m not in told]


def test_every_option_is_in_the_manual():
    records = '\n'.join(p.read_text() for p in (SRC / 'core/lib').glob('settings_*.[ch]'))
    names = set(re.findall(r'META1_OPT\w*\(\s*struct \w+,\s*(\w+),', records))
    names |= set(re.findall(r'\bREC\(struct \w+, \w+, "(\w+)"', records))
    page = (lab.BUILD / 'doc/man/meta1.conf.5').read_text()
    assert len(names) > 50 and {'admins', 'hostname', 'AQ_max_entries'} < names
    assert not [n for n in sorted(names) if f'\n.B {n}\n' not in page]


def test_every_option_of_a_map_is_in_its_manual():
    page = (lab.BUILD / 'doc/man/meta1-maps.5').read_text()
    for so in (lab.BUILD / 'modules/maps').rglob('map_*.so'):
        kind = so.stem[4:]
        assert f'.SS "type = {kind}"\n' in page
        part = page.split(f'.SS "type = {kind}"\n')[1].split('.SS ')[0].split('.SH ')[0]
        source = ''.join(p.read_text() for p in (SRC / 'modules/maps' / kind).glob('*.c'))
        names = set(re.findall(r'META1_OPT\w*\(\s*struct \w+,\s*(\w+),', source))
        for frame in ('FILEMAP', 'NETMAP'):
            if f'{frame}_OPTIONS' in source:
                head = (SRC / f'modules/maps/{frame.lower()}/{frame.lower()}.h').read_text()
                names |= set(re.findall(r'META1_OPT\w*\(\s*struct \w+,\s*(\w+),', head.replace('\\\n', '')))
        assert names and not [n for n in sorted(names) if f'\n.B {n}\n' not in part], (kind, names)


def test_every_option_of_a_filter_is_in_its_manual():
    page = (lab.BUILD / 'doc/man/meta1-filters.5').read_text()
    shared = text('modules/pmilter/common/place.h').replace('\\\n', '')
    for so in (lab.BUILD / 'modules/pmilter').rglob('pmilter_*.so'):
        kind = so.stem[8:]
        part = page.split(f'.SS "module = {kind}"\n')[1].split('.SS ')[0].split('.SH ')[0]
        source = ''.join(p.read_text() for p in (SRC / 'modules/pmilter' / kind).glob('*.c'))
        if 'PLACE_OPTIONS' in source:
            source += shared
        names = set(re.findall(r'META1_OPT\w*\(\s*(?:T|struct \w+),\s*(\w+),', source))
        assert names and not [n for n in sorted(names) if f'\n.B {n}\n' not in part], (kind, names)


def test_limits_are_those_of_the_program(inst, tmp_path):
    """Each limit's default is what the program has; each option that is one has its row."""
    conf = tmp_path / 'meta1.conf'
    conf.write_text('smtps { listen_socket { } auth { trusted_mechanisms = PLAIN; } }\n')
    mcp = inst / lab.PREFIX.lstrip('/') / 'sbin/mcp'
    shown = subprocess.run([mcp, '-f', conf, '-VVVV'], capture_output=True, text=True, check=True).stdout
    smtps = re.search(r'^smtps \{\n(.*?)^\}', shown, re.M | re.S)[1]
    has = dict(re.findall(r'^\t(\w+) = (.*?);', smtps, re.M))
    limits = re.search(r'^\tclient_limits \{\n(.*?)^\t\}', smtps, re.M | re.S)[1]
    has |= {f'client_limits.{k}': v for k, v in re.findall(r'^\t\t(\w+) = (.*?);', limits, re.M)}
    auth = re.search(r'^\tauth \{\n(.*?)^\t\}', smtps, re.M | re.S)[1]
    of_account = re.search(r'^\t\taccount_limits \{\n(.*?)^\t\t\}', auth, re.M | re.S)[1]
    has |= {f'auth.{k}': v for k, v in re.findall(r'^\t\t(\w+) = (.*?);', auth, re.M)}
    has |= {f'auth.account_limits.{k}': v for k, v in re.findall(r'^\t\t\t(\w+) = (.*?);', of_account, re.M)}
    rows = dict(re.findall(r'^\| `([\w.]+)` \| (.*?) \|', text('doc/limits.md'), re.M))
    wrong = {k: (v, has.get(k)) for k, v in rows.items() if re.sub(r'[{}" ]', '', has.get(k, '')) != v.replace(' ', '')}
    assert not wrong, f'doc/limits.md says, the program has: {wrong}'
    ought = {k for k in has if re.match(r'max_|tarpit_|client_limits\.|IO_timeout|greet_delay|queue_wait|auth\.(max_|failure_|account_limits)', k)}
    assert ought == set(rows)


def test_ipc_is_current():
    made = subprocess.run([lab.BUILD / 'core/ipc/document'], capture_output=True, text=True, check=True).stdout
    assert made == text('doc/ipc.md'), 'doc/ipc.md is old: core/ipc/document >doc/ipc.md'


# ---- a running gateway ----

def sections():
    parts = re.split(r'^## (.*)$', text('doc/control-api.md'), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def requests_in(section):
    rows = re.findall(r'^\| (GET|POST|DELETE) (\S+) \| (read|admin) \|', section, re.M)
    return {(m, re.sub(r'/ID$', '/', p), right) for m, p, right in rows}


def keys(j):
    if isinstance(j, dict):
        return set(j).union(*(keys(v) for v in j.values()))
    return set().union(*(keys(v) for v in j)) if isinstance(j, list) else set()


def example():
    block = re.search(r'An example.*?\n\n((?:    .*\n)+)', text('doc/smar-decisions.md'))[1]
    return re.sub(r'^    ', '', block, flags=re.M)


@pytest.fixture(scope='module')
def gateway(inst):
    with lab.Sink() as sink, lab.Gateway(
            inst, smtps='flags = { 8bitmime, access };',
            smar='map mt { type = text; file = "mt"; } mailertable { name = mt; } local_domains = example.org; '
            'map ac { type = text; file = "ac"; } access { name = ac; }',
            smtpc='LMTP_socket = "nobody.sock"; idle_timeout = 1m;',
            files={'mt': f'. [127.0.0.1]:{sink.port}\n', 'ac': example()}) as g:
        with g.client() as c:
            c.mail('a@client.test', 'u@example.org', 'Subject: x\r\n\r\n')
            c.mail('a@client.test', 'u@example.net', 'Subject: x\r\n\r\n', ehlo=None)
            sink.wait(1)
            yield g, c


@pytest.mark.parametrize('role', lab.ROLES)
def test_control_api(gateway, role):
    g, told = gateway[0], sections()
    asked = {(r['method'], r['path'], r['right'])
             for r in json.loads(g.http(role, 'GET', '/v1/help')[1])['requests']}
    assert asked == requests_in(told[role])
    words = set(re.findall(r'`(\w+)`', told[role] + told['Every process']))
    words |= {'error'}
    for method, path, _ in asked | {('GET', '/v1/status', 'read'), ('GET', '/v1/help', 'read')}:
        # content is a message, not JSON; an import needs bodies in order: test_export.py; no greylist, probes, policies or reports here: test_grey.py, test_probe.py, test_mta_sts.py; a hop to test: test_dane.py
        if method == 'DELETE' or path in ('/v1/content/', '/v1/greylist', '/v1/probes', '/v1/mta-sts', '/v1/tls-report', '/v1/tls-test') or path.startswith('/v1/import'):
            continue
        if method == 'POST':
            path += '?map=mt' if role == 'smar' else '?all=1&dry_run=1'
        if path.endswith('/'):
            path += g.queue()[0]['id']
        if path == '/v1/route':
            path += '?domain=example.net'
            lab.wait_for('a route', lambda: 'pending' not in g.http(role, 'GET', path)[1])
        if path == '/v1/explain':
            path += '?ip=192.0.2.1&from=a@b.test&to=u@example.net'
        status, body = g.http(role, method, path)
        assert status == 200, body
        assert keys(json.loads(body)) - words == set(), f'{role} {path}: not in doc/control-api.md'
    assert g.http(role, 'GET', '/metrics')[1].startswith('# HELP meta1_' + role)
    assert g.http(role, 'GET', '/v1/nothing')[0] == 404


def test_counters_of_modules(gateway):
    g = gateway[0]
    page = g.http('smtps', 'GET', '/metrics')[1]
    assert re.search(r'^meta1_smtps_module_messages_total\{process="0",instance="queue_log/queue"\} [2-9]', page, re.M)
    page = g.http('smar', 'GET', '/metrics')[1]
    keys_now = re.findall(r'^.*meta1_smar_module_keys_now\b.*$', page, re.M)
    assert [x.split()[0] for x in keys_now[:2]] == ['#', '#'] and len(keys_now) == 4
    assert keys_now[2].endswith('instance="map_text/ac"} 5') and keys_now[3].endswith('instance="map_text/mt"} 1')


def test_example_of_decisions(gateway):
    c = gateway[1]
    c.cmd('RSET', 250)
    c.cmd('MAIL FROM:<bad@example.com>', 250)
    c.cmd('RCPT TO:<u@example.org>', '553 5.1.8')
    c.cmd('RSET', 250)
    c.cmd('MAIL FROM:<you@example.com>', 250)
    c.cmd('RCPT TO:<u@example.net>', 250)
    c.cmd('RCPT TO:<old@example.org>', '550 5.1.6')
    c.cmd('RCPT TO:<u@far.test>', '550 5.7.1')
    c.cmd('RCPT TO:<postmaster@example.org>', 250)


def test_commands_are_in_the_manual(inst):
    bin_ = inst / lab.PREFIX.lstrip('/') / 'bin'
    helped = subprocess.run([bin_ / 'meta1ctl', '--help'], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r'^  ((?:queue |grey )?[a-z]+) ', helped, re.M)
    page = text('doc/man/meta1ctl.8')
    assert len(commands) >= 10
    assert not [c for c in commands if not re.search(rf'^\.It Cm {c}\b', page, re.M)]
    p = subprocess.run([bin_ / 'mailq', 'something'], capture_output=True, text=True)
    assert p.returncode == 64 and p.stderr.startswith('usage: mailq')
    shown = re.search(r'^Look and act:.*?\.$', text('doc/START.md'), re.M | re.S)[0]
    assert not [c for c in commands if c != 'get' and f'{c}' not in shown]


def checked(inst, conf):
    mcp = inst / lab.PREFIX.lstrip('/') / 'sbin/mcp'
    p = subprocess.run([mcp, '-f', conf, '-VVV'], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr


def test_examples_of_the_manual(inst, tmp_path):
    part = text('doc/man/meta1.conf.tail').split('.SH EXAMPLES')[1]
    blocks = re.findall(r'^\.nf\n(.*?)^\.fi', part, re.M | re.S)
    assert len(blocks) == 2
    conf = tmp_path / 'meta1.conf'
    conf.write_text(''.join(blocks).replace('\\(dq', '"'))
    checked(inst, conf)


def test_installed_configuration_and_samples(inst, tmp_path):
    etc = tmp_path / 'etc'
    shutil.copytree(inst / lab.PREFIX.lstrip('/') / 'etc/meta1', etc)
    samples = sorted((etc / 'conf.d').glob('*.conf.sample'))
    assert len(samples) >= 5
    for sample in samples:
        active = sample.with_suffix('')
        shutil.copy(sample, active)
        checked(inst, etc / 'meta1.conf')
        active.unlink()


def test_formats_have_their_pages():
    """Whatever a file or map of the configuration holds is told of in section 5: each section of smar that names a map."""
    groups = set(re.findall(r'SECTION\("smar\.(\w+)", use,', text('core/lib/settings_smar.c')))
    told = ' '.join(p.read_text() for p in [*(DOC / 'man').glob('*.5'), *(DOC / 'man').glob('*.tail')])
    assert len(groups) > 4 and not [g for g in sorted(groups) if g not in told]


def test_every_event_of_the_log_is_told_of():
    page = text('doc/man/meta1-log.5')
    source = '\n'.join(p.read_text() for p in (SRC / 'core').rglob('*.c'))
    events = set(re.findall(r'\blog_event\([^";]*?"([a-z]+\.[a-z_-]+)"', source))
    assert len(events) > 100
    told = {w for line in re.findall(r'^\.It Cm (.*) Pq ', page, re.M) for w in line.split(' , ')}
    assert not events - told
    assert not [w for w in sorted(told) if f'"{w}"' not in source and f'.{w.split(".")[1]}"' not in source]


def test_manual_pages(inst):
    root = inst / lab.PREFIX.lstrip('/')
    man = root / 'share/man'
    pages = {p.name for p in man.rglob('*.[1-8]')}
    programs = {p.name for d in ('bin', 'sbin', 'libexec') for p in (root / d).iterdir() if p.is_file()}
    assert not [p for p in sorted(programs) if f'{p}.8' not in pages and f'{p}.1' not in pages]
    modules = [p for p in (root / 'lib/meta1').rglob('*_*.so')]
    assert len(modules) > 15 and not [p.stem for p in modules if f'{p.stem}.5' not in pages]
    for page in man.rglob('*.[1-8]'):
        body = page.read_text()
        refs = re.findall(r'^\.Xr (\S+) (\d)', body, re.M) + re.findall(r'^\.BR (\S+) \((\d)\)', body, re.M)
        assert not [r for r in refs if '.'.join(r) not in pages], page.name
    if shutil.which('man'):
        p = subprocess.run(['man', '--warnings', '-l', *sorted(man.rglob('*.[1-8]'))], capture_output=True, text=True, env={**os.environ, 'LC_ALL': 'C.UTF-8', 'MANPAGER': 'cat'})
        assert p.returncode == 0 and not p.stderr, p.stderr


def test_nothing_points_out_of_the_tree():
    out = ['../' + 'shared', '/' + 'work/']
    bad = []
    for top in ('core', 'modules', 'sdk', 'tests', 'doc', 'conf.d', 'bench', 'README.md', 'quickstart', 'check',
                'configure.ac', 'Makefile.am'):
        for p in [SRC / top, *(SRC / top).rglob('*')]:
            if p.is_file() and p.suffix not in ('.pyc', '.o'):
                body = p.read_text(errors='replace')
                bad += [f'{p.relative_to(SRC)}: {w}' for w in out if w in body]
    assert not bad
