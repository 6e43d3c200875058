# SPDX-License-Identifier: BSD-2-Clause
# manual.awk -- mends what lowdown -Tms makes of one chapter, for groff: columns get widths by what is in them and cells the font of the
# text, lines of code fit, and links lead to the place in this one document.
#	LC_ALL=C awk -v chapter=NAME -v title=TITLE -v form=pdf|text -f manual.awk
# A sign of several bytes counts by its first. Of each chapter groff says on standard error: page N TITLE.
BEGIN {
	text = form == "text"
	line = text ? 94 : 494		# of the page: letters, or points
	usual_letter = text ? 1 : 4.5	# of the text in cells
	broad = text ? 1 : 1.25		# of code, as much wider
	capital = text ? 1 : 1.4
	between = text ? 3 : 15		# two columns
	code = text ? 100 : 124		# letters in a line of code
	unit = text ? "n" : "p"
}

# How wide, and how wide the longest word, in letters; those of a heading are bold.
function measure(s, usual,    i, c, w, word) {
	wide = longest = word = 0
	w = usual
	gsub(/\\[(]../, "x", s)
	gsub(/\\&|\\c/, "", s)
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		if (c == "\\" && substr(s, i + 1, 1) == "f") {
			c = substr(s, i + 2, 1)
			i += 2
			if (c == "[") {
				c = substr(s, i + 1, 1)
				i = i + index(substr(s, i), "]") - 1
			}
			w = c == "C" ? broad : c == "B" && !text ? 1.15 : usual
			continue
		}
		if (c == "\\" && substr(s, i + 1, 1) == ":") {
			i++
			word = 0
			continue
		}
		if (c == "\\")
			c = substr(s, ++i, 1)
		if (c ~ /[\200-\277]/)
			continue
		wide += w * (w != broad && c ~ /[A-Z0-9_%]/ ? capital : 1)
		word = c == " " ? 0 : word + w * (w != broad && c ~ /[A-Z0-9_%]/ ? capital : 1)
		if (word > longest)
			longest = word
	}
}

function link(s,    to, words, end, tag) {
	words = s
	sub(/^.* -- /, "", words)
	end = s ~ /-A/ ? "\\c" : ""
	if (text)
		return words end
	to = s
	sub(/^.*-D /, "", to)
	sub(/ -- .*/, "", to)
	if (to ~ /:/ || to ~ /\.(c|h|py|sh|am|txt)$/ || to ~ /\/$/)
		return words end
	tag = to ~ /^#/ ? chapter to : to
	sub(/\.md/, "", tag)
	gsub(/#/, "_", tag)
	return ".pdfhref L" (end ? " -A \"\\c\"" : "") " -D " tag " -- " words
}

# Quotes of code are those that one types.
function quotes(s) {
	gsub(/'/, "\\(aq", s)
	gsub(/`/, "\\(ga", s)
	return s
}

function typed(s,    i, m, part, end) {
	m = split(s, part, /\\fC/)
	s = part[1]
	for (i = 2; i <= m; i++) {
		end = index(part[i], "\\fR")
		s = s "\\fC" quotes(substr(part[i], 1, end)) substr(part[i], end + 1)
	}
	return s
}

# A line of code that is too long goes on in the next one; an escape is one letter.
function print_code(s,    n, at, blank, unit_length) {
	for (n = at = 1; at <= length(s); n++) {
		if (substr(s, at, 1) ~ /[\200-\277]/) {
			n--
			at++
			continue
		}
		if (n > code) {
			print substr(s, 1, (blank ? blank : at) - 1)
			s = "        " substr(s, blank ? blank : at)
			n = at = 1
			blank = 0
		}
		if (n > code / 2 && substr(s, at, 1) == " ")
			blank = at + 1
		unit_length = 1
		if (substr(s, at, 1) == "\\")
			unit_length = substr(s, at + 1, 1) == "(" ? 4 : substr(s, at + 1, 1) == "[" ? index(substr(s, at), "]") : 2
		at += unit_length
	}
	print s
}

# Long words may be cut behind these.
function breaks(s,    i, m, w) {
	m = split(s, w, " ")
	s = ""
	for (i = 1; i <= m; i++) {
		if (length(w[i]) > 20) {
			gsub(/[\/,_]|::/, "&\\:", w[i])
			sub(/\\:$/, "", w[i])
		}
		s = s (i > 1 ? " " : "") w[i]
	}
	return s
}

function columns(    i, k, left, fair, fits, sum, most, lacks, gives) {
	left = line - between * n
	for (i = 1; i <= n; i++)
		sum += width[i] = word[i] * usual_letter + 2
	# many columns: smaller letters; in text a wider page
	small = !text && sum > left
	letter = usual_letter * (small ? .82 : 1)
	broader = text && sum > left ? sum + between * n + 4 : 0
	for (i = 1; small && i <= n; i++)
		width[i] = word[i] * letter + 1 + (left - sum * .82) / n
	if (small || broader)
		return
	for (i = 1; i <= n; i++) {
		width[i] = 0
		most += nat[i] * letter
	}
	for (k = n; k > 0; k = fits ? k - fits : 0) {
		fits = 0
		fair = left / k
		for (i = 1; i <= n; i++)
			if (!width[i] && nat[i] * letter + 1 <= (most <= left ? left : fair)) {
				width[i] = nat[i] * letter + 1
				fits++
			}
		for (i = 1; fits && i <= n; i++)
			if (width[i] && !counted[i]) {
				left -= width[i]
				counted[i] = 1
			}
	}
	sum = 0
	for (i = 1; i <= n; i++)
		if (!width[i])
			sum += sqrt(all[i])
	for (i = 1; i <= n; i++)
		if (!width[i])
			width[i] = left * sqrt(all[i]) / sum
	# words are not cut: who has too little gets it from who has most to give
	for (i = 1; i <= n; i++)
		for (lacks = word[i] * letter + 1 - width[i]; lacks > 0; lacks -= gives) {
			most = gives = 0
			for (k = 1; k <= n; k++)
				if (width[k] - word[k] * letter - 1 > gives)
					gives = width[most = k] - word[k] * letter - 1
			if (!most)
				break
			gives = gives > lacks ? lacks : gives
			width[most] -= gives
			width[i] += gives
		}
	delete counted
}

function end_of_table(    i, head, row) {
	columns()
	for (i = 1; i <= n; i++) {
		head = head sprintf("lbw(%d%s) ", width[i], unit)
		row = row sprintf("lw(%d%s) ", width[i], unit)
	}
	print ".LP\n.ad l"
	if (small)
		print ".ps 7\n.vs 10p"
	if (broader)
		print ".ll " broader "n"
	print text ? ".TS" : ".TS H"
	print "tab(|) allbox;"
	print head
	print row "."
	printf "%s", body
	print ".TE"
	if (small)
		print ".ps 9\n.vs 11p"
	if (broader)
		print ".ll 100n"
	print text ? ".ad l" : ".ad b"
}

function end_of_cell() {
	measure(cell, headed || text ? 1 : 1.15)
	nat[col] = wide > nat[col] ? wide : nat[col]
	word[col] = longest > word[col] ? longest : word[col]
	all[col] += wide
	cell = ""
}

/^\.TS/ {
	table = 1
	body = cell = ""
	n = col = headed = 0
	delete nat
	delete word
	delete all
	next
}
table == 1 && /^tab/ { next }
table == 1 && /^l/ {
	if (/\.$/) {
		n = split($0, columns_there, " ")
		table = 2
	}
	next
}
/^\.TE/ {
	table = 0
	end_of_table()
	next
}
table {
	if ($0 == "T{") {
		col = 1
		body = body $0 "\n" (headed ? ".ft R\n" : "")
	} else if ($0 == "T}|T{") {
		end_of_cell()
		col++
		body = body $0 "\n" (headed ? ".ft R\n" : "")
	} else if ($0 == "T}") {
		end_of_cell()
		body = body $0 "\n"
	} else {
		headed = headed || $0 == ".TH"
		if (text && $0 == ".TH")
			next
		if (/^\.pdfhref [WL]/)
			$0 = link($0)
		else if (!/^\./)
			$0 = breaks(typed($0))
		if (!/^\.TH/)
			cell = cell (cell == "" ? "" : " ") (/^\.pdfhref/ ? substr($0, index($0, " -- ") + 4) : $0)
		body = body $0 "\n"
	}
	next
}

/^\.ft CR/ {
	code_block = 1
	if (text)
		next
	print ".ps 7\n.vs 8.5p"
}
/^\.ft$/ && code_block {
	code_block = 0
	if (text)
		next
	print ".ps 9\n.vs 11p"
}
code_block && !/^\./ {
	print_code(quotes($0))
	next
}
!/^\./ { $0 = typed($0) }
/^\.pdfhref M / {
	if (!text)
		print ".pdfhref M " chapter "_" $3
	next
}
/^\.pdfhref O / {
	level = $3 > level + 1 ? level + 1 : $3
	$3 = level
	if (!text)
		print
	next
}
/^\.pdfhref [WL]/ { $0 = link($0) }
/^\.TL/ && !text { titled = 1 }
/^\./ && !/^\.TL/ && titled {
	print ".pdfhref O 1 " title "\n.pdfhref M " chapter "\n.tm page \\n% " title
	titled = 0
	level = 1
}
{ print }
