/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base64.c -- bytes as text of four characters for three, and back (RFC 4648, section 4).
 * Comes from smtps/auth.c. Owns nothing. On failure: a text that is not exactly what encoding
 * would have made is refused, its unused bits included, so that one secret has one form.
 */
#include "mail/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *out, struct meta1_buf in)
{
	const uint8_t *p = in.data;

	for (size_t n = in.len; n > 0; p += 3) {
		uint32_t v =
		    (uint32_t)p[0] << 16 | (uint32_t)(n > 1 ? p[1] : 0) << 8 | (n > 2 ? p[2] : 0);

		*out++ = letters[v >> 18];
		*out++ = letters[v >> 12 & 63];
		*out++ = n > 1 ? letters[v >> 6 & 63] : '=';
		*out++ = n > 2 ? letters[v & 63] : '=';
		n -= n < 3 ? n : 3;
	}
	*out = '\0';
}

static int value(char c)
{
	const char *at = c != '\0' ? strchr(letters, c) : NULL;

	return at != NULL ? (int)(at - letters) : -1;
}

ssize_t base64_decode(uint8_t *out, struct meta1_buf in)
{
	const char *p = in.data;
	size_t n = 0;

	if (in.len % 4 != 0)
		return -1;
	for (size_t i = 0; i < in.len; i += 4) {
		unsigned pad = 0;
		uint32_t v = 0;

		if (i + 4 == in.len)
			pad = p[i + 3] != '=' ? 0 : p[i + 2] != '=' ? 1 : 2;
		for (size_t k = 0; k < 4; k++) {
			int x = k < 4 - pad ? value(p[i + k]) : 0;

			if (x < 0)
				return -1;
			v = v << 6 | (uint32_t)x;
		}
		if ((pad > 0 && (v & 0xff) != 0) || (pad > 1 && (v & 0xffff) != 0))
			return -1;
		out[n++] = (uint8_t)(v >> 16);
		if (pad < 2)
			out[n++] = (uint8_t)(v >> 8);
		if (pad < 1)
			out[n++] = (uint8_t)v;
	}
	return (ssize_t)n;
}
