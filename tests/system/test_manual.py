# SPDX-License-Identifier: BSD-2-Clause
"""make doc: one source, three forms, and no link that leads nowhere."""
import html.parser, json, os, re, subprocess, urllib.parse

import lab, pytest
from named import SRC


class Page(html.parser.HTMLParser):
    def __init__(self, file):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs.get('id'), attrs.get('name')} - {None}
        if tag == 'a' and 'href' in attrs:
            self.links.append(urllib.parse.unquote(attrs['href']))


@pytest.fixture(scope='module')
def manual():
    os.environ['MANUAL_STRICT'] = '1'  # what does not fit on its page ends it
    lab.make('doc')
    return lab.BUILD / 'doc/manual'


def test_every_link_leads_somewhere(manual):
    pages = {f.name: Page(f) for f in (manual / 'html').iterdir()}
    assert {f'{f.stem}.html' for f in (SRC / 'doc').glob('*.md')} < set(pages) and len(pages) > 25
    index = pages['index.html'].links
    assert not [p for p in pages if p not in index]
    bad = []
    for name, page in pages.items():
        for link in page.links:
            file, _, anchor = link.partition('#')
            if re.match(r'\w+:', link):
                continue
            to = pages.get(file or name)
            if to is None or (anchor and anchor not in to.ids):
                bad.append(f'{name}: {link}')
    assert not bad


def test_all_of_it_is_in_one_file(manual):
    text = (manual / 'manual.txt').read_text()
    assert '\x08' not in text and '\x1b' not in text
    for page in ('MCP(8)', 'META1.CONF(5)', 'META1-MAPS(5)', 'SENDMAIL(8)'):
        assert page in text
    said = subprocess.run(['qpdf', '--json', manual / 'manual.pdf'], capture_output=True, check=True).stdout
    marks = {o['title'] for page in json.loads(said)['pages'] for o in page['outlines']}
    for chapter in (SRC / 'doc').glob('*.md'):
        title = re.search('^# (.*)', chapter.read_text(), re.M)[1].replace('`', '')
        assert title[:40] in text and title in marks, chapter
    assert 'meta1ctl explain --ip CLIENT --from' in text.replace('\n', ' ')  # as it is typed
    assert 'Untitled' not in text
    pages = int(subprocess.run(['qpdf', '--show-npages', manual / 'manual.pdf'], capture_output=True, check=True).stdout)
    assert pages > 80
    assert subprocess.run(['qpdf', '--check', manual / 'manual.pdf'], capture_output=True).returncode == 0
    assert sorted(p.name for p in manual.iterdir()) == ['html', 'manual.pdf', 'manual.txt']


def test_what_migrate_names_is_there(inst, tmp_path):
    """Each option it sends people to exists, and the example is a configuration."""
    page = (SRC / 'doc/migrate.md').read_text()
    conf = tmp_path / 'meta1.conf'
    conf.write_text(page.partition('/run/dovecot/lmtp\n')[2])
    done = subprocess.run([inst / lab.PREFIX.lstrip('/') / 'sbin/mcp', '-f', conf, '-VVV'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = ' '.join(row.split('|')[2] for row in page.splitlines() if row.startswith('| '))
    manual = (lab.BUILD / 'doc/man/meta1.conf.5').read_text() + (lab.BUILD / 'doc/man/meta1-maps.5').read_text()
    words = set(re.findall(r'`(\w+)`', here))
    assert len(words) > 40
    assert not [w for w in sorted(words) if not re.search(rf'^\.(B {w}$|SS ".*\b{w}\b)', manual, re.M) and not (inst / lab.PREFIX.lstrip('/') / 'bin' / w).exists()
                and not (inst / lab.PREFIX.lstrip('/') / 'sbin' / w).exists() and w not in ('hold', 'release', 'requeue', 'rate', 'delay_checks', 'tls_only')]


def rows(page, heading):
    part = page.split(f'## {heading}\n')[1].split('\n## ')[0]
    return [[c.strip() for c in r.strip('|').split('|')] for r in re.findall(r'^\| .*', part, re.M)]


def test_old_names_are_answered(inst, tmp_path):
    """Each row of migrate.md that names an option of MeTA1 or Postfix: who writes it into meta1.conf is told what the row says."""
    page = (SRC / 'doc/migrate.md').read_text()
    told = {}
    for old, here in [r for h in ('From MeTA1', 'From Postfix') for r in rows(page, h)]:
        told |= {n: set(re.findall(r'`(?:\. )?(\w+)', here)) for n in re.split(', ', old) if re.fullmatch(r'[A-Z]+DB|\w+_\w+|my\w+|relayhost', n)}
    answered = set(re.findall(r'^    \{"(\w+)",', (SRC / 'core/lib/opt_moved.c').read_text(), re.M))
    assert len(answered) > 70 and not answered - set(told)
    conf = tmp_path / 'meta1.conf'
    conf.write_text(''.join(f'{n} = 1;\n' for n in sorted(answered)) + 'smtps { CDB { x = 1; } }')
    said = subprocess.run([inst / lab.PREFIX.lstrip('/') / 'sbin/mcp', '-f', conf, '-VVV'], capture_output=True, text=True).stderr
    for name in answered:
        answer = re.search(rf'unknown option {name}; here it is (.*)', said)
        assert answer and set(re.findall(r'\w+', answer[1])) & told[name], (name, told[name], answer and answer[0])
    assert 'unknown section CDB in smtps; here it is one store' in said


def test_what_is_taken_from_meta1():
    manual = (lab.BUILD / 'doc/man/meta1.conf.5').read_text().replace('\\-', '-')
    has = {}
    for part in manual.split('.SS ')[1:]:
        has[part.split('\n')[0].strip('"')] = set(re.findall(r'^\.B (\w+)$', part, re.M))
    every = set().union(*(v for k, v in has.items() if k.startswith(('Every role', 'Global'))))
    table = [r for r in rows((SRC / 'doc/migrate.md').read_text(), 'From MeTA1') if re.fullmatch('everywhere|listen_socket|smtps|tls|smtpc|smar|qmgr', r[0])]
    assert len(table) == 7
    for section, options in table:
        words = set(re.findall(r'\b[A-Za-z]\w+', re.sub(r'flags \(.*?\)', 'flags', options))) - {'NAME', 'socket'}  # which is the module's
        known = every | {w for k in has for w in re.findall(r'\w+', k)} | set().union(*(v for k, v in has.items() if section in k or section == 'everywhere'))
        assert not words - known, (section, words - known)
