#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A module of each template, as a stranger begins one: made by meta1-modtool, built with an installed
# SDK alone, tried by meta1-modtest before any edit; its manual and sample come from its options.
set -eu
src=$(cd "${srcdir:-.}" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
inst=$dir/inst
mkdir -p "$inst/bin" "$inst/include" "$inst/lib/pkgconfig" "$inst/share/meta1"
cp -r "$src/sdk/include/meta1" "$inst/include/"
cp -r "$src/sdk/template" "$inst/share/meta1/"
chmod -R u+w,go-w "$inst/share"
cp sdk/template/queue/queue_template.c "$inst/share/meta1/template/queue/"
cp sdk/kit/meta1-modtest sdk/kit/meta1-modtool "$inst/bin/"
sed -e "s|^prefix=.*|prefix=$inst|" -e "s|^exec_prefix=.*|exec_prefix=$inst|" -e "s|^libdir=.*|libdir=$inst/lib|" \
	-e "s|^includedir=.*|includedir=$inst/include|" -e "s|^bindir=.*|bindir=$inst/bin|" \
	-e "s|^moduledir=.*|moduledir=$inst/lib/meta1|" -e "s|^pkgdatadir=.*|pkgdatadir=$inst/share/meta1|" \
	sdk/meta1-module.pc >"$inst/lib/pkgconfig/meta1-module.pc"
PKG_CONFIG_PATH=$inst/lib/pkgconfig
export PKG_CONFIG_PATH
cd "$dir"
for kind in map transport auth pmilter queue; do
	"$inst/bin/meta1-modtool" new $kind mine
	(
		cd ${kind}_mine
		make -s check >out || { grep -v ^ok out && exit 1; }
		tail -n 1 out
		if grep -n template ./*.c ./*.md ./*.5 ./*.sample; then exit 1; fi
		man -l --warnings -Tutf8 ${kind}_mine.5 >page 2>complaints
		if [ -s complaints ]; then cat complaints && exit 1; fi
		grep -q "${kind}_mine" page
	)
done
grep -q '#prefix = "mine-"' map_mine/map_mine.conf.sample
grep -q 'transport mine {' transport_mine/transport_mine.conf.sample
grep -q 'module = mine;' transport_mine/transport_mine.conf.sample
refused() {
	if "$inst/bin/meta1-modtool" new "$@" 2>why; then exit 1; fi
}
# what a beginner forgets is named where it is seen first, by make
forgotten() {
	sed "$1" map_mine/map_mine.c >broken/map_broken.c
	if make -s -C broken check NAME=map_broken >out 2>&1; then exit 1; fi
	grep -q "$2" out || { cat out && exit 1; }
}
cp -r map_mine broken
sed -i 's/map_mine/map_broken/' map_mine/map_mine.c
forgotten 's/, .lookup = map_lookup//' 'breaks the rule "a map has either lookup() or find()": it has neither'
forgotten 's/ops = {.size = sizeof(ops), /ops = {/' 'begin it with .size = sizeof(ops)'
forgotten 's/.kind = META1_MAP, //' 'say .kind'
forgotten 's/.sizeof_conf = sizeof(struct conf), //' 'say .nopt and .sizeof_conf'
forgotten 's/^    .nopt = sizeof(opts) . sizeof(opts.0.), //' 'say .nopt and .sizeof_conf'
if make -s -C broken check KIND=map >out 2>&1; then exit 1; fi
grep -q 'expected the folder of its kind: maps' out
refused map mine
grep -q 'map_mine: is there already' why
refused map map_mine
grep -q 'expected the name without its kind' why
refused map ../x
refused ship mine
grep -q 'no template of this kind' why
