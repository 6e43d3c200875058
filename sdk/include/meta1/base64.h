/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/base64.h -- bytes as text of four characters for three, and back (RFC 4648, section 4), as
 * SASL in SMTP and Dovecot's protocol want it: no line ends, no blanks, padding where it belongs,
 * nothing else accepted, unused bits included, so that one secret has one form. Inline, so that
 * a module links against nothing.
 */
#ifndef META1_BASE64_H
#define META1_BASE64_H
#include <meta1/module.h>
#include <string.h>

#define META1_BASE64_LEN(n) (((n) + 2) / 3 * 4) /* characters of n bytes */

static inline const char *meta1_base64_letters(void)
{
	return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}

/* META1_BASE64_LEN(in.len) characters and a NUL. */
static inline void meta1_base64_encode(char *out, struct meta1_buf in)
{
	const char *letters = meta1_base64_letters();
	const uint8_t *p = (const uint8_t *)in.data;

	for (size_t n = in.len; n > 0; p += 3) {
		uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)(n > 1 ? p[1] : 0) << 8 |
			     (uint32_t)(n > 2 ? p[2] : 0);

		*out++ = letters[v >> 18];
		*out++ = letters[v >> 12 & 63];
		*out++ = n > 1 ? letters[v >> 6 & 63] : '=';
		*out++ = n > 2 ? letters[v & 63] : '=';
		n -= n < 3 ? n : 3;
	}
	*out = '\0';
}

static inline int meta1_base64_value(char c)
{
	const char *at = c != '\0' ? strchr(meta1_base64_letters(), c) : NULL;

	return at ? (int)(at - meta1_base64_letters()) : -1;
}

/* Room for in.len / 4 * 3 bytes. Length, or -1: that is no base64. */
static inline long meta1_base64_decode(uint8_t *out, struct meta1_buf in)
{
	const char *p = (const char *)in.data;
	size_t n = 0;

	if (in.len % 4 != 0)
		return -1;
	for (size_t i = 0; i < in.len; i += 4) {
		unsigned pad = 0;
		uint32_t v = 0;

		if (i + 4 == in.len)
			pad = p[i + 3] != '=' ? 0 : p[i + 2] != '=' ? 1 : 2;
		for (size_t k = 0; k < 4; k++) {
			int x = k < 4 - pad ? meta1_base64_value(p[i + k]) : 0;

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
	return (long)n;
}

#endif
