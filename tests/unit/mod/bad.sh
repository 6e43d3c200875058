#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each module of sdk/kit/bad breaks one law, and meta1-modtest says which: the kit's own test. The
# one that keeps them all passes. A module without a line here fails the test.
set -u
ASAN_OPTIONS=detect_leaks=0 # the kit is to see them
export ASAN_OPTIONS
src=$(cd "${srcdir:-.}" && pwd)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bad=0
try() { # name, what must stand in the output
	seen="$seen ${kind}_$1"
	sdk/kit/meta1-modtest "tests/unit/mod/bad/${kind}_$1.so" -k key=value >"$out" 2>/dev/null
	status=$?
	if [ "$1" = good ]; then want=0; else want=1; fi
	if [ "$status" -ne "$want" ] || ! grep -q -- "$2" "$out" || ! grep -Eq '^[0-9]+ passed, [0-9]+ failed$' "$out"; then
		echo "${kind}_$1: status $status, expected $want and \"$2\":"
		grep -v '^ok' "$out"
		bad=1
	fi
}
seen=
kind=map
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
try malloc '^not ok .* it crashes: signal 11 in the suite faults'
try halves '^not ok .* opens when reads and writes do a half, or nothing: map_halves/kit: '
try heap '^not ok .* keeps no memory, of whatever kind'
try halfopen '^# law: .*left over after open() failed: 1 block'
try silent '^# law: .*open() failed without a reason in err'
try unsure '^not ok .*or a temporary failure, when each of .* fails in turn (not found'
try realloc '^not ok .*or a temporary failure, when each of .* fails in turn (not found'
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
kind=pmilter
try good '^[0-9]* passed, 0 failed$'
try twice '^# law: .*a request was finished twice'
try never '^# law: .*a request is not finished long after its deadline or cancel()'
try crlf '^# law: .*at E: the name of a field is of more than printable ASCII'
try nameless '^# law: .*at E: an edit of a field without a name'
try address '^# law: .*at E: an address with blanks, brackets or control characters'
try index '^# law: .*at E: fields of a name are counted from 1'
try stranger '^# law: .*at E: takes out who is no recipient'
try extent '^# law: .*at E: an extent that is nowhere'
try edits '^# law: .*at E: edits of a mail that it does not let go on'
try early '^# law: .*at R: edits before the end of the mail'
try hold '^# law: .*at M: a hold before the end of the mail'
try discard '^# law: .*at C: a mail is discarded before there is one'
try code '^# law: .*at M: a refusal with a code that is not 4xx or 5xx'
try lines '^# law: .*at M: a line of its reply has control characters'
try wants '^# law: .*at C: it wants stages that there are not'
try once '^# law: .*at E: it wants nothing from now on'
try keeps '^not ok .* it looks at what it was lent, after its time: signal 11 in the suite pmilter'
try asked '^not ok .* it looks at what it was lent, after its time: signal 11 in the suite pmilter'
try shared '^# law: .*a verdict changed before the next call for its session'
try sleeps '^not ok .* no call holds the loop asleep (4 times'
try hoards '^not ok .* a session that ended leaves nothing'
try leak '^not ok .* a session that ended leaves nothing'
try pointer '^# law: .*end() left its session.s pointer'
try unchecked '^not ok .* it crashes: signal 11 in the suite pmilter'
try unjudged '^not ok .* the same answers, or a failure, when each of'
try unsure '^not ok .* the same answers, or a failure, when each of'
try mute '^# law: .*a failure without a text for the log'
try first '^not ok .* the same of a content that is given byte for byte$'
try memory '^not ok .* it crashes: signal 11 in the suite pmilter'
try remembers '^not ok .* a session.s second mail is judged as its first'
for c in "$src"/sdk/kit/bad/*_*.c; do
	name=${c##*/}
	case " $seen " in
	*" ${name%.c} "*) ;;
	*) echo "$c: not tried" && bad=1 ;;
	esac
done
exit $bad
