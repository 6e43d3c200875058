#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Both transports through the conformance kit: dialogues with hops that play scripts. Runs in the
# build folder.
kit=${KIT:-sdk/kit/meta1-modtest} # or under valgrind
status=0
for m in smtp lmtp; do
	$kit modules/transports/.libs/transport_$m.so || status=1
done
exit $status
