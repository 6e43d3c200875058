#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every struct, field and constant of sdk/include/meta1 as a table for sdk/abi.c:
sdk/abi-table.py >sdk/abi-table.def. tests/unit/mod/abi.sh holds the table against the headers."""
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


def structs(text):
    for name, body in re.findall(r'\bstruct (meta1_\w+|pmilter_S|pmse_info_S) \{\n(.*?)\n\};', text, re.S):
        fields = [d for decl in body.split(';') if decl.strip() for d in declarators(decl)]
        yield name, fields


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / 'include/meta1')
    print('/* Made by sdk/abi-table.py from the headers. */')
    for header in HEADERS:
        text = strip((root / f'{header}.h').read_text())
        for body in re.findall(r'\benum \w+ \{(.*?)\}', text, re.S):
            for c in re.findall(r'(META1_\w+)\s*(?:=[^,]*)?(?:,|$)', body.strip()):
                if c not in LATEST:
                    print(f'K({c})')
        for name, value in re.findall(r'^#define ((?:META1|SM|SMTP_R|PM|PMM|PMILTER)_\w+)[ \t]+(\S.*)$', text, re.M):
            if name.startswith('META1_ABI_') or name == 'META1_EXTERN' or name in LATEST:
                continue
            print(f'{"T" if value.startswith(chr(34)) else "K"}({name})')
        for name, fields in structs(text) if header != 'pmwire' else ():  # inline helpers, in no interface
            print(f'S({name})')
            for kind, field in fields:
                print(f'F({name}, {field}, {kind})')


main()
