#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# auth_cyrus through the conformance kit: its client against its server, with a user of sasldb. Runs
# in the build folder; a module that was not built is passed over.
so=modules/auth/.libs/auth_cyrus.so
[ -e "$so" ] || exit 77
dir=$(mktemp -d) || exit 1
status=0
echo secret.4 | saslpasswd2 -p -c -u kit.example -f "$dir/sasldb2" user || status=1
try() { # mechanisms
	for name in smtps smtpc; do
		printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s\nmech_list: %s\n' "$dir/sasldb2" "$1" >"$dir/$name.conf"
	done
	sdk/kit/meta1-modtest "$so" -c "config_path = \"$dir\";" -k user=secret.4 || status=1
}
try 'PLAIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256'
# the library's client of LOGIN forgets a copy of a name: not ours to be told of
ASAN_OPTIONS=detect_leaks=0
export ASAN_OPTIONS
try LOGIN
rm -r "$dir"
exit $status
