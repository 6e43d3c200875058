#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# threads.sh BUILD WHAT… -- runs tests of a build with --enable-thread-sanitizer: programs and scripts of tests/unit,
# files of tests/system (with ::TEST, or more arguments of pytest). What they found fails it, and is shown: also what a
# process of a server found, whose end no test looks at. Used by "make check-threads", which has the list.
set -u
src=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd) || exit 64
shift
out=$(mktemp -d /tmp/meta1-threads.XXXXXX)
trap 'rm -rf "$out"' EXIT
chmod 1777 "$out" # roles run as users of their own
# the tests judge what their programs say and how they end, as ever; races go to files
export TSAN_OPTIONS="suppressions=$src/tests/threads.supp log_path=$out/race log_exe_name=1 exitcode=0 die_after_fork=0 ${TSAN_OPTIONS:-}"
# gcc 12's ThreadSanitizer finds no place for its shadow where addresses are spread wider than this
apart=()
[ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28)" -le 28 ] || apart=(setarch -R)
units=() programs=() system=()
for t in "$@"; do
	case $t in
	tests/unit/*.*) units+=("$t") ;;
	tests/unit/*) units+=("$t") programs+=("$t") ;;
	*.py*) system+=("$src/$t") ;;
	*) system+=("$t") ;;
	esac
done
bad=0
if [ ${#units[@]} -gt 0 ]; then
	make -s -C "$build" -j$(($(nproc) + 1)) "${programs[@]}" >"$out/units" 2>&1 || { tail -n 40 "$out/units"; exit 1; }
	"${apart[@]}" make -s -k -C "$build" -j$(($(nproc) + 1)) check-TESTS TESTS="${units[*]}" check_PROGRAMS= check_DATA= \
		>"$out/units" 2>&1 || bad=1
	while read -r t; do
		echo "FAILED  $t"
		tail -n 30 "$build/$t.log"
	done < <(sed -nE 's/^(FAIL|ERROR): ([^ ]+)$/\2/p' "$out/units")
	grep -q '^# PASS:' "$out/units" || { tail -n 40 "$out/units"; exit 1; }
	awk '/^# (PASS|SKIP|FAIL|ERROR):/ { printf "%s %d  ", $2, $3 } END { print "unit tests" }' "$out/units"
fi
if [ ${#system[@]} -gt 0 ]; then
	if ! { make -s -C "$build" tests/system/fakerole && make -s -C "$build" install DESTDIR="$out/inst"; } >"$out/system" 2>&1; then
		tail -n 40 "$out/system"
		exit 1
	fi
	META1_BUILD=$build META1_INST=$out/inst META1_SRC=$src "${apart[@]}" /usr/bin/python3 -m pytest -q -p no:cacheprovider \
		-n $(($(nproc) + 1)) --dist loadgroup -rs --durations=8 "${system[@]}" || bad=1
fi
shopt -s nullglob
for f in "$out"/race.*; do
	bad=1
	echo "FAILED  ThreadSanitizer on ${f##*/race.}"
	head -n 200 "$f"
done
[ $bad != 0 ] || echo "no race was found"
exit $bad
