#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The modules of filters through the conformance kit: against its own filter, which speaks either protocol, and where nobody
# listens. Runs in the build folder. What each of them says to filters is tried by tests of their own.
kit=${KIT:-sdk/kit/meta1-modtest} # or under valgrind
status=0
try() { # module, options
	$kit "modules/pmilter/.libs/pmilter_$1.so" -c "$2" || status=1
}
none="/nonexistent/meta1-$$"
peer='socket_path = "@PEER@";'
try pmilter "$peer"
try milter "$peer"
try milter "$peer max_idle = 0; version = 2;"
try pmilter "socket_port = 1; connections = 3; fallback_path = \"$none\";"
try milter "socket_path = \"$none\";"
try headers 'add = "X-A: 1"; remove = X-B*;'
exit $status
