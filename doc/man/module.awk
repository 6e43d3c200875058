# SPDX-License-Identifier: BSD-2-Clause
# A page that meta1-modtool doc wrote, with the file `example` in it, if it is there.
/^\.SH SEE ALSO/ {
	while ((getline line < example) > 0) {
		if (line ~ /^#: /) # in its place the sample has the options, which stand above
			continue
		if (!n++)
			print ".SH EXAMPLES\n.nf"
		gsub(/\\/, "\\e", line)
		gsub(/-/, "\\-", line)
		print (line ~ /^[.']/ ? "\\&" : "") line
	}
	if (n)
		print ".fi"
}
{ print }
