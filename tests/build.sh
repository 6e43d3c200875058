#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# build.sh FOLDER [configure options] -- builds the tree out of tree into FOLDER. A tree without
# configure that this user may not write is copied to FOLDER/src first.
set -eu
src=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
stale() { # is the build system to be made anew
	[ -x "$src/configure" ] && [ -f "$src/Makefile.in" ] || return 0
	[ -w "$src" ] && [ -n "$(find "$src" \( -name '*.am' -o -name configure.ac \) -newer "$src/Makefile.in" -print -quit)" ]
}
exec 9<"$src/configure.ac"
flock 9 # of several builds at a time one does it
if stale; then
	if [ ! -w "$src" ]; then
		mkdir -p "$out/src"
		tar -C "$src" --exclude=./.git -cf - . | tar -C "$out/src" -xf -
		src=$out/src
	fi
	(cd "$src" && mkdir -p m4 && autoreconf -fi)
fi
exec 9<&-
cd "$out"
# configure and libtool take bash where they find it, and sh is twice as fast
[ -f config.status ] || CONFIG_SHELL=/bin/sh "$src/configure" "$@"
make -s -j"$(nproc)"
