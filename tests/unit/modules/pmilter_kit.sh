#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The filters through what the conformance kit asks of every module: descriptor, life, failing calls.
# Runs in the build folder.
status=0
sdk/kit/meta1-modtest modules/pmilter/.libs/pmilter_headers.so || status=1
for m in milter pmilter; do
	sdk/kit/meta1-modtest modules/pmilter/.libs/pmilter_$m.so -c 'socket_type = unix; socket_path = "/nonexistent/filter";' || status=1
done
exit $status
