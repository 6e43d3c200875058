#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Tries the queue stores with the kit. Small segments, so that they fill, roll and come back.
set -e
kit=${KIT:-sdk/kit/meta1-modtest}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
try() {
	if $kit "$@" >"$out" 2>&1; then
		tail -n 1 "$out"
	else
		grep -v '^ok' "$out"
		exit 1
	fi
}
META1_MODULE_PATH=$PWD/modules
META1_TEST_ENV=1
export META1_MODULE_PATH META1_TEST_ENV
try modules/queue/.libs/queue_log.so \
	-c 'segment_size = 128KB; checkpoint_size = 64KB; min_free = 0; status_sync = 20ms; compact_after = 0;'
try modules/queue/.libs/queue_memory.so
try modules/queue/.libs/queue_dir.so -c 'journal_size = 64KB; min_free = 0; status_sync = 20ms;'
