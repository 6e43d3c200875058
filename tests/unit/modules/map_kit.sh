#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The maps that need no server through the conformance kit. Runs in the build folder; a module that
# was not built is passed over.
kit=${KIT:-sdk/kit/meta1-modtest} # or under valgrind
status=0
try() { # module, options, key=value, more arguments
	so=modules/maps/.libs/$1.so options=$2 pair=$3
	shift 3
	[ ! -e "$so" ] || $kit "$so" -c "$options" -k "$pair" "$@" || status=1
}
try map_text 'rows = { "key value" };' key=value
# shellcheck disable=SC2016
try map_regex 'rows = { "/^k(ey)$/ $1" };' key=ey
try map_cidr 'rows = { "192.0.2.0/24 net" };' 192.0.2.1=net
try map_passwd '' root=root
try map_sequence 'maps = { one, two };' key=first -k other=second -m "one=modules/maps/.libs/map_text.so:rows = { \"key first\" };" \
	-m "two=modules/maps/.libs/map_text.so:rows = { \"key no\", \"other second\" };"
try map_dns 'name = "%s.x.test";' key=value -d key.x.test=value
# these make a file of their own
for so in modules/maps/.libs/map_gdbm.so modules/maps/.libs/map_lmdb.so; do
	[ ! -e "$so" ] || $kit "$so" || status=1
done
db=$(mktemp -d) || exit 1
sqlite3 "$db/db" "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES('key', 'value')" || status=1
try map_sqlite "file = \"$db/db\"; query = \"SELECT v FROM t WHERE k = ?\";" key=value
rm -r "$db"
exit $status
