#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# auth_cyrus through the conformance kit: its client against its server, with a user of sasldb. Runs
# in the build folder; a module that was not built is passed over.
so=modules/auth/.libs/auth_cyrus.so
[ -e "$so" ] || exit 77
dir=$(mktemp -d) || exit 1
kit=${KIT:-sdk/kit/meta1-modtest} # or under valgrind
status=0
echo secret.4 | saslpasswd2 -p -c -u kit.example -f "$dir/sasldb2" user || status=1
try() { # mechanisms
	for name in smtps smtpc; do
		printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s\nmech_list: %s\n' "$dir/sasldb2" "$1" >"$dir/$name.conf"
	done
	$kit "$so" -c "config_path = \"$dir\";" -k user=secret.4 || status=1
}
# the library loses a copy of a name with LOGIN, and a mutex when there is no memory for the next one: not ours to be told of
ASAN_OPTIONS=detect_leaks=0
export ASAN_OPTIONS
try 'PLAIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256'
try LOGIN
ASAN_OPTIONS=
$kit modules/auth/.libs/auth_oauth.so || status=1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=kit user' -keyout "$dir/key" \
	-addext 'subjectAltName=email:ann@kit.example,DNS:mail.kit.example' -outform DER -out "$dir/cert" 2>/dev/null || status=1
external() { # option, whom it names
	$kit modules/auth/.libs/auth_external.so -c "identity = $1;" -x "$dir/cert" -k "$2=-" || status=1
}
external cn 'kit user'
external email ann@kit.example
external dns mail.kit.example
$kit modules/auth/.libs/auth_external.so || status=1
# a Dovecot that is not there: it offers nothing, and nothing waits
$kit modules/auth/.libs/auth_dovecot.so -c "socket = \"$dir/none\";" || status=1
rm -r "$dir"
exit $status
