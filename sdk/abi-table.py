#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every struct, field and constant of sdk/include/meta1 as a table for sdk/abi.c:
sdk/abi-table.py >sdk/abi-table.def. tests/unit/mod/abi.sh holds the table against the headers.
What has no size and no value is held against sdk/abi-text, a list of lines: macros with arguments, typedefs, functions of
libpmilter. sdk/abi-table.py --text [HEADERS [LIST]] says what is not as it was, and fails."""
import pathlib, re, sys

LATEST = ['META1_PMM_MAX', 'META1_PMW_A_ALL', 'PM_MACROS_MAX']  # of all there are: they move with what is new
HEADERS = ['module', 'map', 'transport', 'queue', 'auth', 'pmilter', 'base64', 'textline', 'pmwire', 'pmfapi']


def strip(text):
    text = re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)
    text = re.sub(r'\\\n', ' ', text)
    return text


def declarators(decl):
    """("type", "name") of each name of one declaration."""
    decl = re.sub(r'__attribute__\s*\(\(.*\)\)', '', ' '.join(decl.split())).strip()
    fn = re.match(r'(.*?)\(\*(\w+)\)(\(.*\))$', decl)
    if fn:
        return [(f'{fn[1].strip()} (*){fn[3]}', fn[2])]
    base, rest = re.match(r'((?:const )?(?:struct |enum )?\w+(?: const)?)\s*(.*)$', decl).groups()
    out = []
    for one in rest.split(','):
        stars, name, array = re.match(r'\s*((?:\*|const\b|\s)*)(\w+)\s*(\[\w+\])?$', one).groups()
        out.append((f'{base} {stars.strip()}'.strip() + (array or ''), name))
    return out


def text_of(text):
    """("name", "line") of what a compiler sees as text alone."""
    for name, args, body in re.findall(r'^#define (\w+)(\([^)]*\))(.*)$', text, re.M):
        yield name, ' '.join(f'{name}{args} {body}'.split())
    text = re.sub(r'^[ \t]*#.*$', '', text, flags=re.M)
    for line in re.findall(r'^typedef [^;{]*;', text, re.M):
        yield re.search(r'(\w+)(?:\)\s*\([^()]*\))?;$', line)[1], ' '.join(line.split())
    for line, name in re.findall(r'^((?!typedef|struct \w+;|static)[a-z][\w \t*]*?\b(sm_\w+|meta1_\w+)\([^;{]*\);)', text, re.M):
        yield name, ' '.join(line.split())


def text_check(root, kept):
    was, bad = dict(), []
    for line in kept.read_text().splitlines():
        if line and not line.startswith('#'):
            name, _, rest = line.partition(' ')
            was[name] = rest
    for header in HEADERS:
        for name, line in text_of(strip((root / f'{header}.h').read_text())):
            if name not in was:
                bad.append(f'new: append "{name} {line}" to sdk/abi-text')
            elif was.pop(name) != line:
                bad.append(f'changed: {name}: it is "{line}". Append something new instead; only a macro whose words mean the same '
                           'for every module that was written may have its line in sdk/abi-text changed')
    bad += [f'removed: {name}: modules and filters use it: leave it there' for name in was]
    print('\n'.join(bad), end='\n' if bad else '')
    return bool(bad)


def whole(header, text, found):
    """What the patterns below do not see would be free to change."""
    there = set(re.findall(r'\bstruct (\w+)\s*\{', text))
    for name in there - found:
        sys.exit(f'{header}.h: struct {name} is not seen: begin its name with meta1_, each field in a line of its own')
    for body in re.findall(r'\benum \w+\s*\{(.*?)\}', text, re.S):
        for name in re.findall(r'(?:^|,)\s*(\w+)', body):
            if not name.startswith('META1_'):
                sys.exit(f'{header}.h: {name} is not seen: begin its name with META1_')


def structs(text):
    for name, body in re.findall(r'\bstruct (meta1_\w+|pmilter_S|pmse_info_S) \{\n(.*?)\n\};', text, re.S):
        fields = [d for decl in body.split(';') if decl.strip() for d in declarators(decl)]
        yield name, fields


def main():
    here = pathlib.Path(__file__).parent
    args = [a for a in sys.argv[1:] if a != '--text']
    root = pathlib.Path(args[0] if args else here / 'include/meta1')
    if '--text' in sys.argv:
        sys.exit(text_check(root, pathlib.Path(args[1] if len(args) > 1 else here / 'abi-text')))
    print('/* Made by sdk/abi-table.py from the headers. */')
    for header in HEADERS:
        text = strip((root / f'{header}.h').read_text())
        found = list(structs(text)) if header != 'pmwire' else []  # inline helpers, in no interface
        whole(header, text if found else '', {name for name, _ in found})
        for body in re.findall(r'\benum \w+ \{(.*?)\}', text, re.S):
            for c in re.findall(r'(META1_\w+)\s*(?:=[^,]*)?(?:,|$)', body.strip()):
                if c not in LATEST:
                    print(f'K({c})')
        for name, value in re.findall(r'^#define ((?:META1|SM|SMTP_R|PM|PMM|PMILTER)_\w+)[ \t]+(\S.*)$', text, re.M):
            if name.startswith('META1_ABI_') or name == 'META1_EXTERN' or name in LATEST:
                continue
            print(f'{"T" if value.startswith(chr(34)) else "K"}({name})')
        for name, fields in found:
            print(f'S({name})')
            for kind, field in fields:
                print(f'F({name}, {field}, {kind})')


main()
