#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The modules of filters through the conformance kit: descriptor, options, and that opening them with nobody to connect to leaves
# nothing behind. Runs in the build folder. What they say to filters is tried by tests of their own.
status=0
try() { # module, options
	sdk/kit/meta1-modtest "modules/pmilter/.libs/pmilter_$1.so" -c "$2" || status=1
}
none="/nonexistent/meta1-$$"
try pmilter "socket_path = \"$none\";"
try pmilter "socket_port = 1; connections = 3; fallback_path = \"$none\";"
try milter "socket_path = \"$none\";"
try headers 'add = "X-A: 1"; remove = X-B*;'
exit $status
