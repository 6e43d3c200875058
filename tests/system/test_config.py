# SPDX-License-Identifier: BSD-2-Clause
"""Mistakes of an administrator: in the configuration, in the files of modules. Nothing starts, and what is
said names the place, what was found, and what to do."""
import contextlib, os, re, shutil, subprocess

import lab, pytest

TYPOS = '''hostnme = gw.test;
smtps {
	listen_socket { type = inte; address = 127.0.0.1; port = 70000; }
	IO_timout = 5m;
	max_message_size = 5XB;
	flags = { 8bitmime, acces };
}
smra { }
qmgr { min_retry_delay = 5m;
	min_retry_delay = 6m; AQ_max_entries = 3; }
smar { map m { type = text; file = "x"; } mailertable { name = n; } nameserver = 127.0.0.1 }
include "more.conf";
'''
MORE = '''qmgr { smtpc { max_conections = 5; } }
log { file = "x"; }
smtps { LMTP_socket = "/x"; hostname = gw.test; listen_socket { port = 26; } }
hostname = a.test;
hostname = b.test;
'''
EXPECTED = [  # file, line, column, words
    ('meta1.conf', 1, 1, ('hostnme', 'did you mean hostname?')),
    ('meta1.conf', 3, 25, ('inte', 'inet inet6 unix')),
    ('meta1.conf', 3, 59, ('70000', '1 to 65535')),
    ('meta1.conf', 4, 2, ('IO_timout', 'did you mean IO_timeout?')),
    ('meta1.conf', 5, 21, ('max_message_size', '5XB', '64KB')),
    ('meta1.conf', 6, None, ('acces', 'did you mean access?')),
    ('meta1.conf', 8, 1, ('smra', 'did you mean smar?')),
    ('meta1.conf', 10, 2, ('min_retry_delay', 'twice', 'meta1.conf:9:8')),
    ('meta1.conf', 10, 41, ('AQ_max_entries', '3', '16 to')),
    ('meta1.conf', 11, 64, ('mailertable', 'no map n')),
    ('meta1.conf', 11, 91, ("missing ';'", 'nameserver')),
    ('more.conf', 1, 16, ('max_conections', 'did you mean max_connections?')),
    ('more.conf', 2, 1, ('unknown section log', 'its place is in smtps, smtpc, qmgr, smar')),
    ('more.conf', 3, 9, ('unknown option LMTP_socket in smtps', 'its place is in smtpc')),
    ('more.conf', 3, 29, ('unknown option hostname in smtps', 'its place is outside of all sections')),
    ('more.conf', 3, 65, ('port', 'twice', 'sections of one keyword and name are one')),
    ('more.conf', 5, 1, ('hostname', 'twice', 'more.conf:4:1; remove one')),
]


def run(inst, program, *args, env=None):
    root = inst / lab.PREFIX.lstrip('/')
    return subprocess.run([str(root / program), *map(str, args)], capture_output=True, text=True, errors='replace', timeout=60, cwd='/',
                          env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0', **(env or {})})


def findings(text):
    """(file, line, column, message, the line shown, where its caret is) of each message."""
    lines, out = text.splitlines(), []
    for i, line in enumerate(lines):
        if m := re.match(r'(/\S+):(\d+):(\d+): (.*)', line):
            out.append((os.path.basename(m[1]), int(m[2]), int(m[3]), m[4], lines[i + 1], lines[i + 2].find('^')))
    return out


def test_what_a_start_would_open(inst):
    """Seen by -C, as the role's account, at the place of the section: the log, keys."""
    g = lab.Gateway(inst, smtps='log { file = "/nowhere/log"; } tls { cert_file = "/nowhere/c"; key_file = "/nowhere/k"; }')
    try:
        p = subprocess.run(g.run_as(g.command('-C')), capture_output=True, text=True, env=g.environ())
        assert p.returncode == 78
        lines = g.conf.read_text().splitlines()
        shown = {lines[line - 1][column - 1:][:3]: said for _, line, column, said, *_ in findings(p.stderr)}
        assert shown['log'] == 'log file /nowhere/log: No such file or directory' and shown['tls'].startswith('tls: '), p.stderr
    finally:
        g.close()


@pytest.mark.parametrize('program', ['sbin/mcp', *(f'libexec/{r}' for r in lab.ROLES), 'bin/meta1ctl'])
def test_all_typos_in_one_run(inst, program):
    d = lab.tempdir('conf')
    (d / 'meta1.conf').write_text(TYPOS)
    (d / 'more.conf').write_text(MORE)
    how = {'sbin/mcp': [], 'bin/meta1ctl': ['status']}.get(program, ['-VVVV'])
    p = run(inst, program, '-f', d / 'meta1.conf', *how)
    assert p.returncode == 78, p
    got = findings(p.stderr)
    text = {'meta1.conf': TYPOS.splitlines(), 'more.conf': MORE.splitlines()}
    for file, line, column, words in EXPECTED:
        here = [x for x in got if x[0] == file and x[1] == line and column in (None, x[2]) and all(w in x[3] for w in words)]
        assert len(here) == 1, (file, line, column, words, p.stderr)
        _, _, at, _, shown, caret = here[0]
        source = text[file][line - 1]
        if not shown.startswith('...') and not shown.endswith('...'):
            assert shown == source and len(source[:at - 1].expandtabs()) == len(p_tabs(source, caret)), here
        assert caret >= 0
    assert len(got) == len(EXPECTED), p.stderr
    shutil.rmtree(d)


def p_tabs(source, caret):
    """The caret's line has the same tabs as the source before it, so that it stands below on any screen."""
    return source[:caret].expandtabs()


@pytest.mark.parametrize('text, words', [
    ('smtps {', ('smtps', '}')), ('smtps { } }', ('}',)), ('hostname = "gw.test;\n', ('"',)), ('hostname gw.test;', ('hostname',)),
    ('include "nowhere/x.conf";', ('nowhere/x.conf',)), ('include "meta1.conf";', ('meta1.conf',)), ('\0', ()), ('x' * 70000, ()),
    ('smtps { ' * 200, ()), ('hostname = ' + '{ a, ' * 200, ()), ('\xff\xfe = 1;', ()), ('\x1b[31m\x07 { }', ()), ('smtps { flags = "\x1b[2J"; }', ('flags',)),
], ids=lambda x: repr(x)[:24])
def test_broken_files(inst, text, words):
    """Never a crash, always a place."""
    d = lab.tempdir('conf')
    (d / 'meta1.conf').write_text(text, encoding='latin-1')
    p = run(inst, 'sbin/mcp', '-f', d / 'meta1.conf')
    assert p.returncode == 78 and f'{d}/' in p.stderr and all(w in p.stderr for w in words), p
    assert len(p.stderr) < 20000 and all(x.isprintable() or x in '\n\t\ufffd' for x in p.stderr), p.stderr
    shutil.rmtree(d)


def test_a_file_that_is_not_there(inst):
    p = run(inst, 'sbin/mcp', '-f', '/nonexistent/meta1.conf')
    assert p.returncode == 78 and '/nonexistent/meta1.conf' in p.stderr and 'No such file' in p.stderr


# ---- modules ----

GOOD = '''#include <meta1/module.h>
#include <meta1/map.h>
%(before)s
static int op(const struct meta1_host *h, struct meta1_ctx *c, const void *f, void **i, struct meta1_err *e)
{ (void)h; (void)c; (void)f; (void)e; *i = &op; %(open)s return 0; }
static void cl(void *i) { (void)i; }
static void look(void *i, struct meta1_req *r, struct meta1_buf k) { (void)i; (void)r; (void)k; }
static const struct meta1_map_ops ops = { .size = sizeof(ops), .lookup = look };
META1_MODULE(%(name)s, .kind = META1_MAP, .roles = META1_SMAR, .version = "1", .summary = "made by a test", .open = op, .close = cl, .ops = &ops %(more)s);
'''
MODULES = {  # what is done to a good module -> words of the refusal
    'good': ({}, None),
    'abi': ({'more': ', .abi_major = 7'}, ('module ABI is 7.', 'expected 1.', 'update the server')),
    'newer': ({'more': ', .abi_minor = 900'}, None),
    'needs': ({'more': ', .abi_needed = 900'}, ('needs 1.900', 'update the server')),
    'magic': ({'more': ', .magic = 0x4d544d31'}, ('magic is 0x4d544d31', 'expected 0x314d544d')),
    'role': ({'more': ', .roles = META1_QMGR'}, ('for the roles qmgr', 'this is smar')),
    'unresolved': ({'before': 'int nowhere_to_be_found(void);', 'open': 'return nowhere_to_be_found();'},
                   ('undefined symbol: nowhere_to_be_found',)),
    'renamed': ({'name': 'map_other'}, ('map_probe.so', 'symbol map_probe_LTX_meta1_module is missing', 'renamed')),
    'nothing': ({'name': None}, ('map_probe.so', 'no such file')),
    'garbage': ({'text': b'\x7fELF no library'}, ('map_probe.so', 'cannot be loaded')),
    'empty': ({'text': b''}, ('map_probe.so', 'cannot be loaded')),
    'writable': ({'mode': 0o777}, ('map_probe.so', 'mode is 0777', 'chmod go-w')),
    'folder': ({'folder': 0o777}, ('maps', 'mode is 0777', 'chmod go-w')),
    'owner': ({'owner': 12345}, ('map_probe.so', 'owner is uid 12345', 'chown root')),
    'cut': ({'cut': True}, ('map_probe.so', 'it is cut off', 'install it anew')),
    'huge': ({'size': 1 << 40}, ('map_probe.so', 'found 1099511627776 bytes', 'at most 256 MiB')),
    'link': ({'link': True}, ('map_probe.so', 'is a link to', 'copy it there')),
}


@pytest.mark.parametrize('name', MODULES)
def test_modules(inst, name):
    """A small module, built against the installed headers, with one thing wrong: refused at the start with the cause."""
    change, words = MODULES[name]
    g = lab.Gateway(inst, smar='map p { type = probe; } access { name = p; }', roles=('smtps', 'smtpc', 'qmgr', 'smar'))
    modules = g.dir / 'modules'
    shutil.copytree(g.bin / 'lib/meta1', modules, symlinks=True)
    so = modules / 'maps/map_probe.so'
    if 'text' in change:
        so.write_bytes(change['text'])
    elif change.get('name', 1):
        values = {'before': '', 'open': '', 'more': '', 'name': 'map_probe', **{k: v for k, v in change.items() if k in ('before', 'open', 'more', 'name')}}
        (g.dir / 'probe.c').write_text(GOOD % values)
        subprocess.run(['cc', '-Wno-override-init', '-fPIC', '-shared', '-I', str(g.bin / 'include'), '-o', str(so), str(g.dir / 'probe.c')], check=True)
        so.chmod(change.get('mode', 0o755))
        if 'owner' in change:
            os.chown(so, change['owner'], 0)
        if 'cut' in change:
            os.truncate(so, so.stat().st_size // 2)
        if 'size' in change:
            os.truncate(so, change['size'])  # it has no more blocks than before
        if 'link' in change:
            so.rename(modules / 'map_probe.so')
            so.symlink_to(modules / 'map_probe.so')
    (modules / 'maps').chmod(change.get('folder', 0o755))
    g.conf.write_text(re.sub('module_directory = "[^"]*"', f'module_directory = "{modules}"', g.conf.read_text()))
    try:
        if words is None:
            g.start()
        else:
            p = subprocess.run(g.run_as(g.command()), capture_output=True, text=True, timeout=60, env=g.environ(), cwd='/')
            assert p.returncode == 78, p
            assert all(w in p.stderr for w in words), p.stderr
            assert 'section smar failed' in p.stderr and g.pids() == {}
            line = next(l for l in p.stderr.splitlines() if words[0] in l)
            assert all(w in line for w in words), 'one line says all'
    finally:
        g.close()


@pytest.mark.parametrize('flags, access, said', (
    ('', 'access { name = ac; }', r'4:\d+: .*smar.access: no smtps section asks this map'),
    ('flags = { access };', '', r'2:\d+: .*smtps: the flag access asks the access map, and smar has none'),
    ('flags = { session_conf };', '', r'2:\d+: .*smtps: the flag session_conf asks the access map, and smar has none'),
    ('} smtpc { flags = { rcpt_conf };', '', r'2:\d+: .*smtpc: the flags session_conf and rcpt_conf ask the access map, and smar has none'),
    ('} smtpc { flags = { rcpt_conf };', 'access { name = ac; }', None),
    ('flags = { access };', 'access { name = ac; }', None)))
def test_an_access_map_that_nobody_asks(inst, tmp_path, flags, access, said):
    """Half of a thing that needs two sections is good, and does nothing: a warning says so."""
    conf = tmp_path / 'meta1.conf'
    conf.write_text(f'hostname = gw.test;\nsmtps {{ {flags} }}\nsmtpc {{ }} qmgr {{ }}\nsmar {{ map ac {{ type = text; rows = {{ "a b" }}; }} {access} }}\n')
    p = run(inst, 'sbin/mcp', '-f', conf, '-VVV')
    assert p.returncode == 0
    assert re.search(said, p.stderr) if said else not re.search('smar.access|the flag', p.stderr), p.stderr
