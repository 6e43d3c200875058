#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The template builds against an installed SDK alone and passes the kit, as a stranger would try.
set -eu
src=$(cd "${srcdir:-.}" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
inst=$dir/inst
mkdir -p "$inst/bin" "$inst/include" "$inst/lib/pkgconfig"
cp -r "$src/sdk/include/meta1" "$inst/include/"
cp sdk/kit/meta1-modtest "$inst/bin/"
sed -e "s|^prefix=.*|prefix=$inst|" -e "s|^exec_prefix=.*|exec_prefix=$inst|" \
	-e "s|^\([a-z]*dir\)=.*/\([a-z]*\)\$|\1=$inst/\2|" sdk/meta1-module.pc >"$inst/lib/pkgconfig/meta1-module.pc"
cp -r "$src/sdk/template" "$dir/mine"
chmod -R u+w,go-w "$dir/mine"
cd "$dir/mine"
PKG_CONFIG_PATH=$inst/lib/pkgconfig make -s check
