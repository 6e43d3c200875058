#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lint.sh BUILD -- rules of the tree that a compiler does not see; prints each breach.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
bad=0
breach() { # text, then lines on stdin
	local lines
	lines=$(cat)
	[ -n "$lines" ] || return 0
	echo "$1:"
	sed 's/^/  /' <<<"$lines"
	bad=1
}
files() { find "$@" -name '*.[ch]' | sort; }

grep -rnE '#[[:space:]]*include[[:space:]]+["<](\.\./)*(lib|ipc|mod|mail|ctl|role|core|config)[/.]' modules sdk/include sdk/template 2>/dev/null |
	breach "a module or the SDK includes a header of the core"
grep -rnE '#[[:space:]]*include[[:space:]]+["<](\.\./)*modules/' core | breach "the core includes a module's header"
# the table of defaults is the one place that names modules
grep -rnE '"(map|transport|queue|auth|pmilter)_[a-z]+"' core --include='*.[ch]' | grep -vE '^core/lib/settings|"queue_directory"' |
	breach "the core names a module outside the table of defaults"
grep -rlE '#[[:space:]]*include <ltdl.h>' core modules sdk | grep -v '^core/mod/load.c$' | breach "ltdl.h outside core/mod/load.c"
for f in $(files core modules sdk tests); do
	head -n 2 "$f" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || echo "$f"
done | breach "no SPDX line"
for f in $(files core modules sdk); do
	n=$(wc -l <"$f")
	[ "$n" -le 800 ] || echo "$f: $n lines"
done | breach "over 800 lines"
files core modules sdk tests | xargs clang-format --dry-run 2>&1 | grep -E 'warning' | cut -d: -f1 | sort | uniq -c |
	breach "not as .clang-format says (clang-format -i mends it)"
git grep -nIE '\b(TODO|FIXME|XXX)\b' -- core modules sdk tests ':!tests/lint.sh' 2>/dev/null | breach "left open"
# A module exports its descriptor alone and imports nothing of ours.
while read -r so; do
	name=$(basename "$so" .so)
	nm -D --defined-only "$so" | awk '{print $3}' | grep -vx "${name}_LTX_meta1_module" | sed "s|^|$so exports |"
	nm -D --undefined-only "$so" | awk '{print $2}' | sed 's/@.*//' |
		grep -E '^_?(meta1|conf|loop|log|chan|proto|mod|conn|pool|smtps|smtpc|qmgr|smar|role|ctl|opt|base|buf|err|str|work|metric|addr|reply)_' | sed "s|^|$so imports |"
done < <(find "$build/modules" -name '*.so' | sort) | breach "symbols of a module"
exit $bad
