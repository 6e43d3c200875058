#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lint.sh BUILD -- rules of the tree that a compiler does not see; prints each breach.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
bad=0
shopt -s lastpipe # breach sets it at the end of a pipe
breach() { # text, then lines on stdin
	local lines
	lines=$(cat)
	[ -n "$lines" ] || return 0
	echo "$1:"
	printf '  %s\n' "${lines//$'\n'/$'\n'  }"
	bad=1
}
files() { find "$@" -name '*.[ch]' | sort; }

grep -rnE '#[[:space:]]*include[[:space:]]+["<](\.\./)*(lib|ipc|mod|mail|ctl|role|core|config)[/.]' modules sdk/include sdk/template 2>/dev/null |
	breach "a module or the SDK includes a header of the core"
grep -rnE '#[[:space:]]*include[[:space:]]+["<](\.\./)*modules/' core | breach "the core includes a module's header"
# the table of defaults is the one place that names modules (opt_moved.c has options of Postfix)
grep -rnE '"(map|transport|queue|auth|pmilter)_[a-z]+"' core --include='*.[ch]' | grep -vE '^core/lib/(settings|opt_moved)|"queue_directory"' |
	breach "the core names a module outside the table of defaults"
grep -rlE '#[[:space:]]*include <ltdl.h>' core modules sdk | grep -v '^core/mod/load.c$' | breach "ltdl.h outside core/mod/load.c"
for f in $(files core modules sdk tests); do
	head -n 2 "$f" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || echo "$f"
done | breach "no SPDX line"
# 500 lines a file and 60 a function; more, up to 800 and 120, only with a reason among the first lines of the
# file, which begins "over 500 lines:" or "over 60 lines:"
for f in $(files core modules sdk tests bench); do
	n=$(wc -l <"$f")
	[ "$n" -le 500 ] || { [ "$n" -le 800 ] && head -n 30 "$f" | grep -q 'over 500 lines: '; } || echo "$f: $n lines"
done | breach "a file over 500 lines (800 with a reason in its head)"
files core modules sdk tests | xargs clang-format --dry-run 2>&1 | grep -E 'warning' | cut -d: -f1 | sort | uniq -c |
	breach "not as .clang-format says (clang-format -i mends it)"
grep -rnIE '\b(TO[D]O|FIX[M]E|XX[X])\b' core modules sdk tests check quickstart --include='*.[ch]' --include='*.py' \
	--include='*.sh' --include='*.am' | breach "left open"
# clang-format sees to it that a function's braces stand alone at the left; a table in it does not count
files core modules sdk tests bench | xargs awk '
	FNR == 1 { reason = from = 0 }
	FNR <= 30 && /over 60 lines: / { reason = 1 }
	/^\{$/ { from = FNR; table = 0 }
	from && /^\tstatic const .*[^;]$/ { begins = FNR }
	begins && /\};$/ { table += FNR - begins + 1; begins = 0 }
	/^\}$/ && from {
		n = FNR - from - 1 - table
		if (n > (reason ? 120 : 60)) print FILENAME ":" from ": " n " lines"
		from = begins = 0
	}' | breach "a function over 60 lines (120 with a reason in the head of its file)"
scripts="check quickstart .ci/run $(find tests -name '*.sh' | sort)"
for f in $scripts $(find tests -name '*.py') bench/relay bench/latency bench/rig.py; do
	head -n 3 "$f" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || echo "$f"
done | breach "no SPDX line"
for f in check quickstart .ci/run bench/relay bench/latency tests/build.sh tests/lint.sh; do
	[ -x "$f" ] || echo "$f"
done | breach "not executable"
if command -v shellcheck >/dev/null; then
	# shellcheck disable=SC2086
	shellcheck -S info -f gcc $scripts 2>&1 | breach "shellcheck"
fi
for f in doc/man/*.[1-8] "$build"/doc/man/*.[1-8]; do
	[ ! -f "$f" ] || MANWIDTH=80 man --warnings -l "$f" 2>&1 >/dev/null | sed "s|^|$f: |"
done | breach "manual pages with warnings"
# A module exports its descriptor alone and imports nothing of ours.
while read -r so; do
	name=$(basename "$so" .so)
	nm -D --defined-only "$so" | awk '{print $3}' | grep -vx "${name}_LTX_meta1_module" | sed "s|^|$so exports |"
	nm -D --undefined-only "$so" | awk '{print $2}' | sed 's/@.*//' |
		grep -E '^_?(meta1|conf|loop|log|chan|proto|mod|conn|pool|smtps|smtpc|qmgr|smar|role|ctl|opt|base|buf|err|str|work|metric|addr|idn|reply)_' | sed "s|^|$so imports |"
done < <(find "$build/modules" -name '*.so' | sort) | breach "symbols of a module"
# a build inside the tree leaves it clean
if git rev-parse --git-dir >/dev/null 2>&1; then
	(cd "$build" && find . -type f ! -name '*.log' | sed 's,^\./,,') | git check-ignore -n -v --no-index --stdin |
		sed -n 's/^::\t//p' | breach "made by a build, and not in .gitignore"
fi
exit $bad
