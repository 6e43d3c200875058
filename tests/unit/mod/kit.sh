#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# meta1-modtest sees what is wrong: a module that leaves things behind, one of another ABI, one
# that finishes nothing when it is cancelled; and passes one that keeps the laws.
set -u
so=tests/unit/mod/.libs
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bad=0
try() { # status, line that must be there, arguments
	want=$1 line=$2
	shift 2
	sdk/kit/meta1-modtest "$@" >"$out" 2>/dev/null
	got=$?
	if [ "$got" -ne "$want" ] || ! grep -q -- "$line" "$out"; then
		echo "meta1-modtest $*: status $got, expected $want and \"$line\":"
		grep -v '^ok' "$out"
		bad=1
	fi
}
try 0 ' passed, 0 failed$' $so/map_try.so -k now=value
# where it asks for memory, and was not refused it: named by function, offset and file
try 0 '^# [1-9][0-9]* places ask for memory or a service, [1-9][0-9]* were refused at least once$' $so/map_try.so -k now=value
try 1 '^# never refused: alloc() in close_(), at 0x[0-9a-f]* of map_try.so, called [0-9]* times$' $so/map_try.so -k now=value -c 'leak = yes;'
try 0 ' passed, 0 failed$' modules/maps/.libs/map_text.so -a -c 'rows = { "key value" };' -k key=value
try 1 '^not ok .* "now" is found with its value (found)' $so/map_try.so -k now=other
try 1 'left over at close: 1 descriptor watch, 1 block of 312 bytes' $so/map_try.so -c 'leak = yes;'
try 1 'a request was finished twice' $so/map_try.so -k twice=one
try 1 '^not ok 3 - its ABI is of this major version: module ABI 99' $so/map_major.so
try 1 '^not ok 1 - loads: .*No such file' $so/none.so
# a peer that the author wrote, in bytes: a milter that wants the end of a mail alone, and adds a field
script=$(mktemp)
cat >"$script" <<'E'
? O\0\0\0\x06
= \0\0\0\x0dO\0\0\0\x06\0\0\0\x01\0\0\x03\x7f
? \0\0\0\x01E
= \0\0\0\x09hX-S\0yes\0
= \0\0\0\x01c
E
try 0 '^# .*E:continue 1.0.0.X-S.=.yes. $' modules/pmilter/.libs/pmilter_milter.so -c 'socket_path = "@PEER@";' -s "$script"
printf '%s\n' '? \0\0\0\x01Z' >>"$script"
try 1 '^not ok .* the script is played to its end: ' modules/pmilter/.libs/pmilter_milter.so -c 'socket_path = "@PEER@";' -s "$script"
rm "$script"
exit $bad
