#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each module of sdk/kit/bad breaks one law, and meta1-modtest says which: the kit's own test. The
# one that keeps them all passes. A module without a line here fails the test.
set -u
src=$(cd "${srcdir:-.}" && pwd)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bad=0
try() { # name, what must stand in the output
	seen="$seen $1"
	sdk/kit/meta1-modtest "tests/unit/mod/bad/map_$1.so" -k key=value >"$out" 2>/dev/null
	status=$?
	if [ "$1" = good ]; then want=0; else want=1; fi
	if [ "$status" -ne "$want" ] || ! grep -q -- "$2" "$out" || ! grep -Eq '^[0-9]+ passed, [0-9]+ failed$' "$out"; then
		echo "map_$1: status $status, expected $want and \"$2\":"
		grep -v '^ok' "$out"
		bad=1
	fi
}
seen=
try good '^[0-9]* passed, 0 failed$'
try leak '^# law: map_leak/kit: left over at close: 1 block of 64 bytes'
try timer '^# law: map_timer/kit: left over at close: 1 timer'
try descriptor '^not ok .* keeps no descriptor'
try twice '^# law: .*a request was finished twice'
try never '^# law: .*a request is not finished long after its deadline or cancel()'
try late '^# law: .*left over at close: 1 open request'
try thread '^# law: .*log() on another thread: use post()'
try sleeps '^not ok .* no call holds the loop asleep'
try unchecked '^not ok .* it crashes: signal 11 in the suite faults'
try halfopen '^# law: .*left over after open() failed: 1 block'
try silent '^# law: .*open() failed without a reason in err'
try unsure '^not ok .*or a temporary failure, when each of .* fails in turn (not found'
try fence '^# law: .*wrote behind a block of 64 bytes'
try freed '^# law: .*free(): twice'
try crash '^not ok .* it crashes: signal 6 in the suite map'
try valueless '^# law: .*OK without a value'
try lines '^# law: .*its text is more than one line'
try unsized '^# law: .*its size is not set'
try absent '^not ok .* a key that is not there: a definite no (temporary failure)'
try wrong '^not ok .* "key" is found with its value (found)'
try high '^not ok .* opens with descriptors above 1024'
try default '^not ok .* its options are as their records say: .*number'
try boundless '^not ok .* a number has a range'
try mute '^not ok .* its doc is a sentence'
try exports '^not ok .* it exports its descriptor only everybody_sees_this'
try imports '^not ok 1 - loads: cannot be loaded: .*undefined symbol: meta1_secret_function'
try both '^not ok .* a map has either lookup() or find(): it has both'
try flag '^not ok .* its flags are known: 0x40'
try undrained '^not ok .* drains$'
try loop '^# law: .*does not say for which libevent'
try prefers '^# law: .*PERMFAIL with a reply that is not 5xx'
for c in "$src"/sdk/kit/bad/map_*.c; do
	name=${c##*/map_}
	case " $seen " in
	*" ${name%.c} "*) ;;
	*) echo "$c: not tried" && bad=1 ;;
	esac
done
exit $bad
