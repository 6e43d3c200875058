/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * input.c -- standard input in pieces, and where a line of it ends.
 *
 * Comes from: the program that sends. Goes to: header.c, content.c, which take what they want by
 * moving pos. Owns a buffer of fixed size. On failure: error is set, and it looks like the end.
 */
#include "sendmail/sendmail.h"

#include <errno.h>
#include <unistd.h>

#define CRS_MAX 8 /* so many before a LF belong to it */

size_t sendmail_input_more(struct sendmail_input *in, size_t want, const char **data)
{
	if (!in->buf)
		in->buf = base_alloc(INPUT_SIZE);
	if (in->len - in->pos < want && in->pos > 0) {
		memmove(in->buf, in->buf + in->pos, in->len - in->pos);
		in->len -= in->pos;
		in->pos = 0;
	}
	while (in->len - in->pos < want && !in->eof) {
		ssize_t n = read(in->fd, in->buf + in->len, INPUT_SIZE - in->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			in->error = errno;
		if (n <= 0)
			in->eof = true;
		else
			in->len += (size_t)n;
	}
	*data = in->buf + in->pos;
	return in->len - in->pos;
}

size_t sendmail_input_line(struct sendmail_input *in, size_t enough, const char **data)
{
	size_t n = sendmail_input_more(in, 1, data);

	while (n < enough && !in->eof && !memchr(*data, '\n', n))
		n = sendmail_input_more(in, n + 1, data);
	return n;
}

size_t sendmail_input_eol(const char *data, size_t n)
{
	size_t i = 0;

	while (i < n && i < CRS_MAX && data[i] == '\r')
		i++;
	return i < n && data[i] == '\n' ? i + 1 : 0;
}

bool sendmail_input_end(const struct sendmail_input *in, const char *data, size_t n)
{
	return !in->dots && n > 0 && data[0] == '.' &&
	       (n == 1 ? in->eof : sendmail_input_eol(data + 1, n - 1) > 0);
}
