# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# packages.sh -- what a Debian 12 machine needs; sourced by quickstart and check.
# shellcheck disable=SC2034
BUILD_PACKAGES="gcc libc6-dev make autoconf automake libtool pkgconf libltdl-dev libevent-dev libldns-dev
	libgdbm-dev libpcre2-dev libidn2-dev libjansson-dev libxxhash-dev libssl-dev libcurl4-openssl-dev uthash-dev curl"
# shellcheck disable=SC2034
TEST_PACKAGES="clang clang-format libcmocka-dev python3 python3-pytest python3-pytest-xdist python3-dnspython swaks strace procps e2fsprogs iproute2 nsd unbound rbldnsd ldnsutils
	postfix dovecot-core dovecot-lmtpd cyrus-imapd haproxy binutils git man-db lowdown mandoc groff qpdf ca-certificates
	libsqlite3-dev sqlite3 liblmdb-dev libhiredis-dev redis-server libpq-dev postgresql libldap-dev slapd ldap-utils
	libsasl2-dev libsasl2-modules libsasl2-modules-sql sasl2-bin openssl libnet-ssleay-perl
	libmilter-dev opendkim opendkim-tools opendmarc publicsuffix rspamd clamav-daemon clamav-milter spamd spamass-milter python3-milter python3-dkim"
# shellcheck disable=SC2034
FULL_PACKAGES="build-essential debhelper dpkg-dev lintian debootstrap xz-utils testssl.sh valgrind"

# need_packages LIST: installs what is missing (root), or names it and stops.
need_packages() {
	local p missing=
	for p in $1; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
	done
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "These Debian packages are missing; install them and start again:" >&2
		echo "  apt-get install$missing" >&2
		exit 69
	fi
	echo "installing:$missing"
	export DEBIAN_FRONTEND=noninteractive
	# a package must not start its daemon here; an own policy file stays as it is
	local policy=/usr/sbin/policy-rc.d made=
	[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; }
	# shellcheck disable=SC2086
	{ apt-get -q update && apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install $missing; } >/tmp/meta1-apt.$$ 2>&1 ||
		{ tail -n 20 /tmp/meta1-apt.$$; rm -f /tmp/meta1-apt.$$; [ -z "$made" ] || rm -f $policy; echo "installing packages failed" >&2; exit 69; }
	rm -f /tmp/meta1-apt.$$
	[ -z "$made" ] || rm -f $policy
}
