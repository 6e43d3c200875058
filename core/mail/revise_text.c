/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise_text.c -- what a filter gave as text, as it may stand in a message: fields whose lines go
 * on, content whose every line ends with CRLF.
 *
 * Comes from revise.c. Owns nothing; what it makes is the caller's. Whatever bytes a filter sends,
 * a field stays one field and a line has no end but CRLF. On failure: NULL or <0, err says why.
 */
#include "mail/revise.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- a field ---- */

static bool name_ok(struct meta1_buf name)
{
	const unsigned char *s = name.data;

	for (size_t i = 0; i < name.len; i++)
		if (s[i] < 33 || s[i] > 126 || s[i] == ':')
			return false;
	return name.len > 0 && name.len <= 998;
}

static bool blank_line(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\0')
			return false;
	return true;
}

/* One line of a value behind what stands at p; CR and NUL become blanks. Returns the new end. */
static char *add_line(char *p, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*p++ = s[i] == '\r' || s[i] == '\0' ? ' ' : s[i];
	return p;
}

static char *add_value(char *p, struct meta1_buf value)
{
	const char *s = value.data, *end = value.len > 0 ? s + value.len : s, *lf;
	bool first = true;

	for (; s < end; s = lf + (lf < end), first = false) {
		size_t n;

		lf = memchr(s, '\n', (size_t)(end - s));
		if (lf == NULL)
			lf = end;
		n = (size_t)(lf - s);
		if (n > 0 && lf < end && s[n - 1] == '\r')
			n--;
		if (blank_line(s, n)) {
			if (!first || n == 0)
				continue;
		} else if (!first) {
			memcpy(p, "\r\n", 2);
			p += 2;
			if (*s != ' ' && *s != '\t')
				*p++ = ' ';
		}
		p = add_line(p, s, n);
	}
	return p;
}

char *revise_field(struct meta1_buf name, struct meta1_buf value, bool leading_space, size_t *len)
{
	char *out, *p;

	if (!name_ok(name))
		return NULL;
	/* a LF alone becomes CRLF and a blank */
	p = out = base_alloc(name.len + 3 * value.len + 4);
	memcpy(p, name.data, name.len);
	p += name.len;
	*p++ = ':';
	if (!leading_space)
		*p++ = ' ';
	p = add_value(p, value);
	memcpy(p, "\r\n", 2);
	*len = (size_t)(p + 2 - out);
	return base_realloc(out, *len);
}

/* ---- extents ---- */

/* Bytes of an extent from off on, at most size of them, into buf unless they are in memory. */
static const char *piece(const struct meta1_extent *e, uint64_t off, char *buf, size_t size,
    size_t *n, struct meta1_err *err)
{
	uint64_t left = e->len - off;
	ssize_t got;

	if (e->mem != NULL) {
		*n = left;
		return (const char *)e->mem + off;
	}
	do
		got = pread(e->fd, buf, left < size ? left : size, (off_t)(e->off + off));
	while (got < 0 && errno == EINTR);
	if (got <= 0) {
		err_set(err, "content of a filter cannot be read: %s",
		    got < 0 ? strerror(errno) : "its file is shorter");
		return NULL;
	}
	*n = (size_t)got;
	return buf;
}

static bool extents_ok(const struct meta1_extent *e, unsigned n, uint64_t *sum)
{
	*sum = 0;
	for (unsigned i = 0; i < n; i++) {
		if (e == NULL || (e[i].mem == NULL && e[i].len > 0 && e[i].fd < 0) ||
		    e[i].len > INT64_MAX - *sum)
			return false;
		*sum += e[i].len;
	}
	return true;
}

char *revise_read(const struct meta1_extent *e, unsigned n, size_t len, struct meta1_err *err)
{
	char *out = base_alloc(len + 1);
	size_t have = 0, got;

	for (unsigned i = 0; i < n && have < len; i++) {
		for (uint64_t off = 0; off < e[i].len && have < len; off += got) {
			const char *s = piece(&e[i], off, out + have, len - have, &got, err);

			if (s == NULL) {
				free(out);
				return NULL;
			}
			if (got > len - have)
				got = len - have;
			if (s != out + have)
				memcpy(out + have, s, got);
			have += got;
		}
	}
	if (have == len)
		return out;
	free(out);
	err_set(err, "the content is shorter than its header");
	return NULL;
}

/* ---- line ends ---- */

struct mend {
	char last;	/* byte before; '\n' at the start */
	bool cr;	/* the byte before was a CR whose LF may come */
	uint64_t wrong; /* ends to mend */
	char *out;	/* NULL: only counts */
};

/* Bytes up to the next CR or LF, unchanged. */
static size_t run(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] != '\r' && s[i] != '\n')
		i++;
	return i;
}

static void end_line(struct mend *m, bool wrong)
{
	m->wrong += wrong;
	if (m->out != NULL) {
		memcpy(m->out, "\r\n", 2);
		m->out += 2;
	}
	m->last = '\n';
	m->cr = false;
}

static void mend(struct mend *m, const char *s, size_t n)
{
	size_t i = 0, k;

	while (i < n) {
		if (m->cr) {
			end_line(m, s[i] != '\n');
			i += s[i] == '\n';
			continue;
		}
		k = run(s + i, n - i);
		if (k > 0) {
			if (m->out != NULL) {
				memcpy(m->out, s + i, k);
				m->out += k;
			}
			m->last = s[i + k - 1];
			i += k;
		}
		if (i == n)
			break;
		if (s[i] == '\n')
			end_line(m, true);
		else
			m->cr = true;
		i++;
	}
}

static int mend_all(struct mend *m, const struct meta1_extent *e, unsigned n, struct meta1_err *err)
{
	char buf[16384];
	size_t got;

	m->last = '\n';
	for (unsigned i = 0; i < n; i++)
		for (uint64_t off = 0; off < e[i].len; off += got) {
			const char *s = piece(&e[i], off, buf, sizeof(buf), &got, err);

			if (s == NULL)
				return -1;
			mend(m, s, got);
		}
	if (m->cr || m->last != '\n')
		end_line(m, true);
	return 0;
}

int revise_lines(
    const struct meta1_extent *e, unsigned n, char **mem, size_t *len, struct meta1_err *err)
{
	struct mend look = {.out = NULL}, make = {.out = NULL};
	uint64_t sum;

	*mem = NULL;
	if (!extents_ok(e, n, &sum))
		return err_set(err, "an extent of content is none");
	if (mend_all(&look, e, n, err) < 0)
		return -1;
	if (look.wrong == 0)
		return 0;
	/* an end that is mended grows by one byte, or by two at the very end */
	if (sum + look.wrong + 1 > REVISE_MENDED_MAX)
		return err_set(err, "content with wrong line ends is too large to be mended");
	*mem = make.out = base_alloc(sum + look.wrong + 1);
	if (mend_all(&make, e, n, err) < 0) {
		free(*mem);
		*mem = NULL;
		return -1;
	}
	*len = (size_t)(make.out - *mem);
	return 0;
}
