/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise_text.c -- what a filter gave as text, as it may stand in a message: fields whose lines go
 * on, content whose every line ends with CRLF.
 *
 * Comes from revise.c and revise_job.c. Owns nothing; what it makes is the caller's. Whatever bytes
 * a filter sends, a field stays one field and a line has no end but CRLF. On failure: NULL or <0,
 * err says why.
 */
#include "lib/nameless.h"
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
	size_t n, size; /* bytes in out; its room */
	int fd;		/* where out goes when it is full; -1: it has room for all */
	int err;
	uint64_t len; /* of all */
};

static void flush(struct mend *m)
{
	for (size_t at = 0; at < m->n && m->err == 0;) {
		ssize_t got = write(m->fd, m->out + at, m->n - at);

		if (got > 0)
			at += (size_t)got;
		else if (got == 0 || errno != EINTR)
			m->err = got == 0 ? EIO : errno;
	}
	m->n = 0;
}

static void put(struct mend *m, const char *s, size_t n)
{
	m->len += n;
	while (n > 0 && m->out != NULL) {
		size_t k = n < m->size - m->n ? n : m->size - m->n;

		memcpy(m->out + m->n, s, k);
		m->n += k;
		s += k;
		n -= k;
		if (m->n == m->size && m->fd >= 0)
			flush(m);
	}
}

/* Bytes up to the next CR or LF, unchanged. */
static size_t run(const char *s, size_t n)
{
	const char *cr = memchr(s, '\r', n), *lf;

	if (cr != NULL)
		n = (size_t)(cr - s);
	lf = memchr(s, '\n', n);
	return lf != NULL ? (size_t)(lf - s) : n;
}

static void end_line(struct mend *m, bool wrong)
{
	m->wrong += wrong;
	put(m, "\r\n", 2);
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
			put(m, s + i, k);
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
		for (uint64_t off = 0; off < e[i].len && m->err == 0; off += got) {
			const char *s = piece(&e[i], off, buf, sizeof(buf), &got, err);

			if (s == NULL)
				return -1;
			mend(m, s, got);
		}
	if (m->cr || m->last != '\n')
		end_line(m, true);
	if (m->fd >= 0)
		flush(m);
	if (m->err == 0)
		return 0;
	return err_set(err, "content with wrong line ends cannot be kept: %s", strerror(m->err));
}

static int keep_mended(const struct meta1_extent *e, unsigned n, const char *folder, uint64_t len,
    struct revise_mended *out, struct meta1_err *err)
{
	struct mend make = {.fd = -1, .size = (size_t)len};

	if (folder != NULL && len > REVISE_MENDED_MEM) {
		make.fd = nameless_file(folder);
		make.size = REVISE_MENDED_MEM;
		make.err = make.fd < 0 ? errno : 0;
	}
	make.out = base_alloc(make.size);
	if (mend_all(&make, e, n, err) < 0) {
		if (make.fd >= 0)
			close(make.fd);
		free(make.out);
		out->failed = make.err != 0;
		return -1;
	}
	out->len = (size_t)make.len;
	out->fd = make.fd;
	if (make.fd < 0)
		out->mem = make.out;
	else
		free(make.out);
	return 0;
}

int revise_lines(const struct meta1_extent *e, unsigned n, const char *folder,
    struct revise_mended *out, struct meta1_err *err)
{
	struct mend look = {.fd = -1};
	uint64_t sum;

	*out = (struct revise_mended){.fd = -1};
	if (!extents_ok(e, n, &sum))
		return err_set(err, "an extent of content is none");
	if (mend_all(&look, e, n, err) < 0)
		return -1;
	if (look.wrong == 0)
		return 0;
	if (look.len > REVISE_MENDED_MAX)
		return err_set(err, "content with wrong line ends is too large to be mended");
	return keep_mended(e, n, folder, look.len, out, err);
}

size_t revise_header(const char *text, size_t len)
{
	const char *p = text, *end = text + len, *lf;

	for (; p < end && (lf = memchr(p, '\n', (size_t)(end - p))) != NULL; p = lf + 1)
		if (lf == p + 1 && *p == '\r')
			return (size_t)(lf + 1 - text);
	return len;
}
