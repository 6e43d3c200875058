#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# manual.sh DOC OUT PAGE... -- the whole manual, as make doc wants it: OUT/html/index.html and its pages, OUT/manual.pdf,
# OUT/manual.txt. Chapters are DOC/*.md, then the manual pages given. Needs lowdown, mandoc, groff, qpdf.
set -eu
export LC_ALL=C.UTF-8
doc=$1 out=$2
shift 2
for tool in lowdown mandoc groff qpdf; do
	command -v "$tool" >/dev/null || { echo "make doc: $tool is missing (Debian: a package of that name)" >&2; exit 69; }
done
# read in this order; what is not named comes behind
first="START install admin smar-decisions maps filters limits tls tutorial-cyrus control-api isolation modules migrate"
chapters=$(for c in $first; do [ ! -f "$doc/$c.md" ] || echo "$c"; done
	for f in "$doc"/*.md; do c=$(basename "$f" .md); case " $first " in *" $c "*) ;; *) echo "$c" ;; esac; done)
read=(lowdown --parse-no-intraemph --parse-no-metadata --out-no-smarty)
plain() { sed -n 's/^# //p;T;q' "$doc/$1.md" | tr -d '`'; }
title() { plain "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g'; }
page() { basename "$1"; }

rm -rf "$out"
mkdir -p "$out/html"
wrap() { # title; the body is on stdin
	cat <<END
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>$1 - meta1</title>
<style>body { max-width: 60em; margin: 2em auto; padding: 0 1em; font: 16px/1.5 sans-serif } pre, code { font-size: 90% }
pre { background: #f4f4f4; padding: .5em; overflow: auto } table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: .2em .5em; vertical-align: top }
table.head, table.foot { width: 100% } table.head td, table.foot td { border: 0 }</style></head><body>
<p><a href="index.html">meta1</a></p>
END
	cat
	echo '</body></html>'
}
{
	echo '<h1>The manual of meta1</h1><h2>Chapters</h2><ul>'
	for c in $chapters; do echo "<li><a href=\"$c.html\">$(title "$c")</a></li>"; done
	echo '</ul><h2>Manual pages</h2><ul>'
	for p; do n=$(page "$p"); echo "<li><a href=\"$n.html\">${n%.*}(${n##*.})</a></li>"; done
	echo '</ul>'
} | wrap Manual >"$out/html/index.html"
for c in $chapters; do
	"${read[@]}" -Thtml "$doc/$c.md" | sed -E 's/(href="[^":#]+)\.md(["#])/\1.html\2/g' | wrap "$(title "$c")" >"$out/html/$c.html"
done
for p; do
	n=$(page "$p")
	mandoc -Thtml -Ofragment,man=%N.%S.html "$p" | wrap "${n%.*}(${n##*.})" >"$out/html/$n.html"
done

ms() { # chapter, pdf or text
	sed '0,/^# /{/^# /d}' "$doc/$1.md" | "${read[@]}" -s -m "title=$(plain "$1")" -Tms --nroff-no-numbered --nroff-nolinks |
		sed '/^\.nr \(PS\|VS\|LL\|PO\) /d' | LC_ALL=C awk -v chapter="$1" -v title="$(plain "$1")" -v form="$2" -f "$doc/manual.awk"
}
told() { # groff tells of what does not fit; MANUAL_STRICT makes that an error
	if grep -v '^page ' "$1" >&2 && [ -n "${MANUAL_STRICT-}" ]; then exit 70; fi
}
pdf() {
	groff -k -t -mspdf -dpaper=a4 -P-pa4 -Tpdf "$1.ms" >"$1.pdf" 2>"$1.said" || { cat "$1.said" >&2; exit 70; }
	told "$1.said"
}

# a page of the system is no link
grep -oh '<a class="Xr" href="[^"]*"' "$out"/html/*.html | cut -d '"' -f 4 | sort -u | while read -r link; do
	[ -e "$out/html/$link" ] || sed -i "s|<a class=\"Xr\" href=\"${link//./\\.}\">\([^<]*\)</a>|\1|g" "$out"/html/*.html
done

# tables of several columns want small letters and wide lines
look='.nr PO 1.7c\n.nr LL 17.6c\n.nr HM 1.5c\n.nr FM 1.5c\n.nr PS 9\n.nr VS 11\n.nr HY 0\n'
pages=()
for p; do
	n=$(page "$p")
	mandoc -Tpdf -Opaper=a4 "$p" >"$out/$n.pdf"
	pages+=("$out/$n.pdf")
done
{
	printf '%b.pn 2\n' "$look"
	for c in $chapters; do ms "$c" pdf; echo .bp; done | sed '$d'
} >"$out/guide.ms"
pdf "$out/guide"
{
	printf '%b.TL\nThe manual of meta1\n.SH\nChapters\n.LP\n.nf\n.ta 17cR\n' "$look"
	sed -n 's/^page \([0-9]*\) \(.*\)/\2\t\1/p' "$out/guide.said"
	printf '.fi\n.SH\nManual pages\n.LP\nBehind page %s, in the order of their names: ' $(($(qpdf --show-npages "$out/guide.pdf") + 1))
	for p; do n=$(page "$p"); printf '%s ' "${n%.*}(${n##*.})"; done
	echo
} >"$out/front.ms"
pdf "$out/front"
qpdf "$out/guide.pdf" --pages "$out/front.pdf" "$out/guide.pdf" "${pages[@]}" -- "$out/manual.pdf"
rm "$out"/{front,guide}.* "${pages[@]}"

# one endless page, and signs that a terminal takes as they are typed
{
	for c in $chapters; do
		{
			printf '.pl 32000\n.nr PO 0\n.nr LL 100n\n.nr HM 0\n.nr FM 0\n.nr HY 0\n.nr PI 0\n.ds CH\n.ds CF\n.ad l\n'
			printf ".char - \\\\N'45'\n.char \\\\- \\\\N'45'\n.char ' \\\\N'39'\n"
			ms "$c" text
		} | groff -k -t -ms -P-cbou -Tutf8 - 2>>"$out/said" | awk '/^$/ { empty++; next } { for (; NR > empty + 1 && empty; empty--) print ""; empty = 0; print }'
		printf '\n\f\n'
	done
	for p; do mandoc -Tutf8 "$p" | sed 's/.\x08//g'; printf '\n\f\n'; done
} >"$out/manual.txt"
told "$out/said"
rm "$out/said"
