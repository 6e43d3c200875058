#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# long.sh FOLDER SECONDS TARGET… -- runs the targets of "make fuzz" one after the other, each so long.
# What it learns stays in FOLDER/corpus, what breaks a target in FOLDER/found. Ends with 1 when
# something was found.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
folder=$1 seconds=$2
shift 2
bad=0
mkdir -p "$folder/found"
for target in "$@"; do
	name=${target##*/}
	mkdir -p "$folder/corpus/$name"
	log=$folder/found/$name.log
	if "$folder/$target" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=20 -max_len=4096 \
		-print_final_stats=1 -dict="$top/tests/fuzz/$name.dict" -artifact_prefix="$folder/found/$name-" \
		"$folder/corpus/$name" "$top/tests/fuzz/corpus/$name" >"$log" 2>&1; then
		result=ok
	else
		result=FOUND bad=1
		grep -E 'ERROR|broken promise|runtime error|SUMMARY|Test unit written' "$log"
	fi
	echo "$result $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions in $seconds s," \
		"coverage $(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | cut -c6-)"
done
exit $bad
