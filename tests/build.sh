#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# build.sh FOLDER [configure options] -- builds the tree out of tree into FOLDER.
set -eu
src=$(cd "$(dirname "$0")/.." && pwd)
out=$1
shift
mkdir -p "$out"
if [ ! -x "$src/configure" ] || [ "$src/configure.ac" -nt "$src/configure" ]; then
	(cd "$src" && mkdir -p m4 && autoreconf -fi)
fi
cd "$out"
[ -f config.status ] || "$src/configure" "$@"
make -s -j"$(nproc)"
