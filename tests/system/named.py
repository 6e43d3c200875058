# SPDX-License-Identifier: BSD-2-Clause
"""named.py -- what the programs offer to those who decide about mail (options of smar, kinds of maps and their
options, flags, tags, right-hand sides, macros …), and which words a test says. For test_audit.py."""
import ast, functools, os, pathlib, re, subprocess

import lab

SRC = pathlib.Path(os.environ.get('META1_SRC', pathlib.Path(__file__).resolve().parents[2]))
# not smar's, but of its decisions and its rows
OTHERS = {'smtps': ('flags=access', 'flags=delay_checks', 'flags=session_conf', 'spf_header'),
          'smtpc': ('flags=session_conf', 'flags=rcpt_conf', 'extensions', 'helo_name', 'source_ipv4', 'source_ipv6')}


@functools.cache
def text(name):
    return (SRC / name).read_text()


# ---- what there is ----

def options(*modules):
    """(section, option or option=value) as the manual's maker prints them from the records."""
    page = subprocess.run([lab.BUILD / 'core/ctl/manual', *modules], capture_output=True, text=True, check=True).stdout
    parts = re.split(r'^\.SS "(.*)"\n', page, flags=re.M)
    for section, part in zip(parts[1::2], parts[2::2]):
        section = section.replace(' { ', '.').replace(' }', '')
        for name, line in re.findall(r'^\.B (\w+)\n\((.*)\)$', part, re.M):
            yield section, name
            line = line.partition(';')[0]
            if line != 'yes or no' and re.fullmatch(r'(flags: )?\w+(, \w+)* or \w+', line):
                for value in re.findall(r'\w+', line.removeprefix('flags: ').replace(' or ', ' ')):
                    yield section, f'{name}={value}'


def of_the_core():
    uses = re.findall(r'\[USE_\w+\] = \{"(\w+)",([^}]*)\}', text('core/lib/settings_smar.c'))
    assert len(uses) >= 6
    for section, name in options():
        mine = re.fullmatch(r'smar(\..*)?|qmgr\.conf|smtps\.policy_milter', section)
        section = section.removeprefix('smar.')
        if section in dict(uses) and name.startswith('flags'):
            continue  # below
        if mine or any(name == o or name.startswith(o + '=') for o in OTHERS.get(section, ())):
            yield f'{section}.{name}'
    flags = {'LOCALPART': 'localpart', 'FULL_ADDRESS': 'full_address', 'LOCAL_DOMAINS': 'local_domains', 'DETAIL': 'implicitly_match_detail',
             'MACROS': 'replace_macros', 'PRESERVE_DOMAIN': 'preserve_domain', 'KEEP_DETAIL': 'keep_detail'}
    keys = re.search(r'#define USE_F_KEYS \((.*?)\)', text('core/lib/settings_smar.c'))[1]
    assert {f'flags={v}' for v in flags.values()} == {n for s, n in options() if s == 'smar.aliases' and n.startswith('flags=')}
    for section, which in uses:  # only where it serves
        yield from (f'{section}.flags={flags[f]}' for f in re.findall(r'USE_F_(\w+)', which.replace('USE_F_KEYS', keys)))


def of_the_maps():
    modules = sorted((lab.BUILD / 'modules/maps').rglob('map_*.so'))
    yield from (f'map_{p.stem[4:]}' for p in modules)
    yield from (f'map_{s.partition("= ")[2]}.{name}' for s, name in options(*modules))


def table(path, name):
    """The strings that open the rows of a table."""
    return re.findall(r'\{"([^"]+)"', re.search(rf'\b{name}\[\] = \{{(.*?)\n\}};', text(path), re.S)[1])


def words():
    code = ''.join(p.read_text() for p in sorted((SRC / 'core/smar').glob('*.c')))
    yield from sorted(set(re.findall(r'"([a-z_]+:)"', code)))  # tags, lmtp:, error: and their like
    yield from ('QUICK:', ':include:', '<>')
    yield from table('core/smar/access.c', 'words')
    yield from (f'protectedrcpt {w}' for w in table('core/smar/check_protected.c', 'words'))
    yield from (f'${{{m}}}' for m in table('core/smar/macro.c', 'macros'))
    yield from re.findall(r'^\t(TARGET_\w+)', text('core/smar/smar.h'), re.M)
    yield from (f'cltresolve:{w}' for w in re.findall(r'\[CLIENT_\w+\] = "(\w+)"', code))
    yield from (f'spf:{w}' for w in re.findall(r'"(\w+)"', re.search(r'define PROTO_SPF_WORDS(.*)', text('core/ipc/proto.h'))[1]))
    yield from (f'Socket {w}' for w in table('modules/maps/socket/map_socket.c', 'words'))


def things():
    return [*of_the_core(), *of_the_maps(), *words()]


# ---- what a test says ----

@functools.cache
def pieces(path):
    """Name -> source of what stands at the top of a file; also what headers and other files of tests give it."""
    out = {}
    if path.endswith('.py'):
        for node in ast.parse(text(path)).body:
            lines = text(path).splitlines()[min([node.lineno, *(d.lineno for d in getattr(node, 'decorator_list', []))]) - 1:node.end_lineno]
            named = [getattr(node, 'name', None)] if hasattr(node, 'name') else [
                n.id for t in getattr(node, 'targets', []) for n in ast.walk(t) if isinstance(n, ast.Name)]
            if isinstance(node, ast.ImportFrom) and (SRC / f'tests/system/{node.module}.py').exists():
                other = pieces(f'tests/system/{node.module}.py')
                out |= {a.name: other[a.name] for a in node.names}
            out |= {n: '\n'.join(lines) for n in named if n}
        return out
    if path.endswith(('.c', '.h')):
        for header in re.findall(r'^#include "(\w+\.h)"', text(path), re.M):
            beside = f'{path.rpartition("/")[0]}/{header}'
            out |= pieces(beside) if (SRC / beside).exists() else {}
        for block in re.findall(r'^(?:#define .*(?:\\\n.*)*|[a-z](?:.*;$|.*(?:\n(?!\}).*)*\n\}.*))', text(path), re.M):
            head = re.match(r'#define (\w+)|[^={(]*?\b(\w+)(?: ?\(|(?:\[[^\]]*\])*\s*=|\s*\{)', block)
            if head:
                name = head[1] or head[2]
                out[name] = out.get(name, '') + block
        return out
    return {'*': text(path)}


@functools.cache
def said(test):
    """The source of path::name with that of all it names in its file; of a script all of it."""
    path, _, name = test.partition('::')
    there = pieces(path)
    if '*' in there:
        return there['*']
    assert name in there, f'{test} is not there'
    seen, todo = {}, [name]
    while todo:
        now = todo.pop()
        if now in seen:
            continue
        seen[now] = there[now]
        todo += [w for w in set(re.findall(r'\w+', there[now])) if w in there]
    return '\n'.join(seen.values())


def has(source, word):
    return re.search(rf'(?<![A-Za-z0-9_])(?:dont_)?{re.escape(word)}(?![A-Za-z0-9_])', source)


def says(source, thing):
    """A test of this thing cannot but say these words."""
    if thing.startswith('map_'):
        kind, _, option = thing[4:].partition('.')
        named = [rf"\btype = '?{kind}\b", rf'\bmap_{kind}\b', rf"(?s)\btype = \{{\w.*'{kind}'|'{kind}'.*\btype = \{{\w", *[r'\btype = hash\b'] * (kind == 'gdbm')]
        if not any(re.search(n, source) for n in named):
            return False
        return all(has(source, w) for w in option.split('=') if w)
    if '.' in thing:
        section, option = thing.rsplit('.', 1)
        return all(has(source, w) for w in (section.rpartition('.')[2] if option == 'name' or 'flags=' in option else 'a', *option.split('='))
                   if w not in ('a', 'name'))
    return all(w in source for w in thing.split(' '))
