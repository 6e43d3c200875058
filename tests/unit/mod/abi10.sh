#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The kept module of ABI 1.0 (abi10/map_abi10.c says how it was built) passes the kit of today.
set -u
src=$(cd "${srcdir:-.}" && pwd)
if [ "$(uname -m)" != x86_64 ]; then
	echo "map_abi10.so was built for x86_64, this is $(uname -m)"
	exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$src/tests/unit/mod/abi10/map_abi10.so" "$dir/" # a source folder may be writable by a group
chmod 0755 "$dir/map_abi10.so"
if ! sdk/kit/meta1-modtest "$dir/map_abi10.so" -k now=value -k later=value -k posted=value \
	-k 'thread=value of a thread' -k domain=example.org \
	-k 'options=1 1 7 65536 1500 5 value / a+b' >"$dir/out" 2>&1; then
	grep -v '^ok' "$dir/out"
	exit 1
fi
tail -n 1 "$dir/out"
