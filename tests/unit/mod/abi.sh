#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The check of the ABI can fail: what changed, went or came is seen, each for its reason; what 1.x
# may do passes. Also holds sdk/abi-table.def to the headers.
set -eu
src=$(cd "${srcdir:-.}" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 "$src/sdk/abi-table.py" | cmp - "$src/sdk/abi-table.def"
python3 "$src/sdk/abi-table.py" --text
mkdir -p "$dir/sdk"
major=$(sed -n 's/^#define META1_ABI_MAJOR[[:space:]]*\([0-9]*\)u.*/\1/p' "$src/sdk/include/meta1/module.h")
minor=$(sed -n 's/^#define META1_ABI_MINOR[[:space:]]*\([0-9]*\)u.*/\1/p' "$src/sdk/include/meta1/module.h")
anew() {
	rm -rf "$dir/sdk" && mkdir -p "$dir/sdk"
	cp -r "$src/sdk/include" "$src/sdk/abi.c" "$src/sdk/abi.txt" "$src/sdk/abi-history" "$dir/sdk/"
	chmod -R u+w "$dir/sdk"
}
change() { # header, sed script
	sed -i "$2" "$dir/sdk/include/meta1/$1.h"
	if cmp -s "$dir/sdk/include/meta1/$1.h" "$src/sdk/include/meta1/$1.h"; then
		echo "the change \"$2\" changed nothing" && exit 1
	fi
}
raise() {
	change module "s/\(define META1_ABI_MINOR[[:space:]]*\)${minor}u/\1$((minor + 1))u/"
}
run() { # what sdk/abi says of it
	python3 "$src/sdk/abi-table.py" "$dir/sdk/include/meta1" >"$dir/sdk/abi-table.def"
	${CC:-cc} -D_GNU_SOURCE -std=gnu11 -include stdbool.h -I "$dir/sdk/include" -o "$dir/abi" "$dir/sdk/abi.c"
	srcdir=$dir "$dir/abi" "$@" >"$dir/out" 2>&1
}
refused() { # what must be said
	if run; then
		echo "expected \"$1\", it passed" && exit 1
	fi
	grep -q -- "$1" "$dir/out" || { echo "expected \"$1\":" && cat "$dir/out" && exit 1; }
}
worded() { # likewise, of what is text alone or not seen at all
	# shellcheck disable=SC2086
	if python3 "$src/sdk/abi-table.py" $2 "$dir/sdk/include/meta1" >"$dir/out" 2>&1; then
		echo "expected \"$1\", it passed" && exit 1
	fi
	grep -q -- "$1" "$dir/out" || { echo "expected \"$1\":" && cat "$dir/out" && exit 1; }
}

anew
run || { cat "$dir/out" && exit 1; }
# a field that is put in
change transport 's/^	uint64_t max_size;/	uint64_t least;\n&/'
refused 'changed: it was "F meta1_caps.max_size 8 8 uint64_t", it is "F meta1_caps.max_size 16 8 uint64_t"'
# one that is gone, a type, a signature, a constant
anew
change pmilter '/^	const char \*refused;/d'
refused 'removed: "F meta1_pm_ask.refused'
anew
change transport 's/uint64_t max_size;/int64_t max_size;/'
refused 'it is "F meta1_caps.max_size 8 8 int64_t"'
anew
change transport 's/int (\*usable)(void \*sess);/int (*usable)(void *sess, int really);/'
refused 'changed: it was "F meta1_transport_ops.usable'
anew
change module 's/META1_TOOL = 16/META1_TOOL = 32/'
refused 'changed: it was "K META1_TOOL 16", it is "K META1_TOOL 32"'
# of the same size: two fields that change places, a flag that goes, another order, the host's table, a length
anew
change pmilter 's/^	const char \*client;/	const char *hidden;/; s/^	const char \*name; /	const char *client; /; s/^	const char \*hidden;/	const char *name;/'
refused 'changed: it was "F meta1_pm_about.client '
anew
change transport 's/^	META1_N_DELAY = 8//'
refused 'removed: "K META1_N_DELAY'
anew
change module 's/META1_WARN, META1_INFO/META1_INFO, META1_WARN/'
refused 'it is "K META1_WARN 2"'
anew
change module 's/^	void (\*free)(struct meta1_ctx \*, void \*);/	void (*free)(struct meta1_ctx *, const void *);/'
refused 'changed: it was "F meta1_host.free'
anew
change queue 's/^#define META1_FETCH_MAX.*/#define META1_FETCH_MAX 511/'
refused 'it is "K META1_FETCH_MAX 511"'
# macros with arguments, typedefs, functions of libpmilter; what is declared so that it is not seen
anew
change module 's/META1_INT, int64_t/META1_INT, uint64_t/'
worded 'changed: META1_OPT_INT: it is' --text
anew
change pmfapi 's/^typedef int sfsistat_T;/typedef unsigned sfsistat_T;/'
worded 'changed: sfsistat_T: it is' --text
anew
change pmfapi 's/^sm_ret_T sm_pmfi_rcpt_del(.*/sm_ret_T sm_pmfi_rcpt_del(pmse_ctx_P, const char *rcpt, int why);/'
worded 'changed: sm_pmfi_rcpt_del: it is' --text
anew
change pmfapi '/^sm_ret_T sm_pmfi_note(/d'
worded 'removed: sm_pmfi_note:' --text
anew
change map 's/^struct meta1_map_ops {/struct other { int a; };\n&/'
worded 'map.h: struct other is not seen' ''
anew
change map 's/^enum meta1_mapprop {/&\n	OTHER = 64,/'
worded 'map.h: OTHER is not seen' ''
# what is appended needs a minor of its own, a line in the list, and one in the history
anew
change transport 's/^	uint64_t max_size;.*/&\n	uint64_t more;/'
refused 'new: "F meta1_caps.more 16 8 uint64_t"'
if run -w; then exit 1; fi
grep -q "ABI $major.$minor is sealed: raise META1_ABI_MINOR" "$dir/out"
raise
refused "the list ends with $major.$minor"
run -w || { cat "$dir/out" && exit 1; }
refused "sdk/abi-history has no line of ABI $major.$((minor + 1))"
printf '%s.%s\t2000-01-01\t%s\tmore\n' "$major" $((minor + 1)) \
	"$(sed -n 's/.*DATE.\([0-9a-f]\{16\}\).*/\1/p' "$dir/out")" >>"$dir/sdk/abi-history"
run || { cat "$dir/out" && exit 1; }
# and the list cannot be written anew
sed -i '/^K META1_TOOL/d' "$dir/sdk/abi.txt"
refused "the list up to ABI $major.$minor is not what it was"
# not into the padding that older modules have at the end
anew
change pmilter 's/^	const char \*refused;.*/&\n	uint32_t late;/'
raise
run -w || { cat "$dir/out" && exit 1; }
change pmilter 's/^	uint32_t late;/&\n	uint32_t later;/'
minor=$((minor + 1))
change module "s/\(define META1_ABI_MINOR[[:space:]]*\)${minor}u/\1$((minor + 1))u/"
refused 'meta1_pm_ask.later stands within what meta1_pm_ask had before'
# what has no size of its own stays as it is
anew
change queue 's/^	uint8_t b\[META1_REF_MAX\];/&\n	uint8_t more[4];/'
refused 'changed: it was "S meta1_ref 68 fixed", it is "S meta1_ref 72 fixed"'
echo "ABI $major: the check can fail"
