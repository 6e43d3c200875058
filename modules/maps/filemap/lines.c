/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lines.c -- reads a text file whole and hands out its lines.
 * From filemap.c and the tables of the maps, at open and later on a worker thread.
 * Owns nothing: the text is the caller's. On failure: every bad line is named with its
 * number, the first of them one by one.
 */
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(struct meta1_err *err, const char *file, const char *why)
{
	snprintf(err->text, sizeof(err->text), "%s: %s", file, why);
	return -1;
}

static int slurp(struct lines *l, int fd, struct meta1_err *err)
{
	size_t len = 0, size;

	if (fstat(fd, &l->st) < 0)
		return fail(err, l->file, strerror(errno));
	if (!S_ISREG(l->st.st_mode))
		return fail(err, l->file, "not a file");
	if (l->st.st_size > (off_t)LINES_BYTES)
		return fail(err, l->file, "more than 64 MiB; make it a gdbm map with createmap");
	size = (size_t)l->st.st_size;
	l->text = malloc(size + 1);
	if (!l->text)
		return fail(err, l->file, "no memory");
	while (len < size) {
		ssize_t n = read(fd, l->text + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(err, l->file, strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
	}
	l->at = l->text;
	l->end = l->text + len;
	return 0;
}

int lines_file(struct lines *l, const char *file, struct meta1_err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;

	l->file = file;
	if (fd < 0)
		return fail(err, file, strerror(errno));
	rc = slurp(l, fd, err);
	close(fd);
	if (rc < 0) {
		free(l->text);
		l->text = NULL;
	}
	return rc;
}

int lines_rows(struct lines *l, const char *const *rows, struct meta1_err *err)
{
	size_t size = 0;

	l->file = "rows";
	for (const char *const *r = rows; *r; r++)
		size += strlen(*r) + 1;
	l->text = malloc(size + 1);
	if (!l->text)
		return fail(err, l->file, "no memory");
	l->at = l->end = l->text;
	for (const char *const *r = rows; *r; r++) {
		size_t n = strlen(*r);

		memcpy(l->end, *r, n);
		l->end[n] = '\n';
		l->end += n + 1;
	}
	return 0;
}

bool lines_next(struct lines *l, char **line, size_t *len)
{
	char *nl;

	if (l->at == l->end)
		return false;
	nl = memchr(l->at, '\n', (size_t)(l->end - l->at));
	*line = l->at;
	*len = (size_t)((nl ? nl : l->end) - l->at);
	l->at = nl ? nl + 1 : l->end;
	l->line++;
	return true;
}

void lines_bad(struct lines *l, unsigned line, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	if (l->bad++ >= LINES_SAID)
		return;
	n = snprintf(text, sizeof(text), "%s:%u: ", l->file, line);
	va_start(ap, fmt);
	if (n > 0 && (size_t)n < sizeof(text))
		vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	l->tell(l->arg, text);
}

int lines_judge(struct lines *l, struct meta1_err *err)
{
	char text[512];

	if (l->bad == 0)
		return 0;
	if (l->bad > LINES_SAID) {
		snprintf(text, sizeof(text), "%s: %u more bad lines", l->file, l->bad - LINES_SAID);
		l->tell(l->arg, text);
	}
	snprintf(err->text, sizeof(err->text), "%s: %u bad line%s, see above", l->file, l->bad,
	    l->bad == 1 ? "" : "s");
	return -1;
}
