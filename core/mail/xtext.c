/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xtext.c -- xtext of RFC 3461 4, and the address forms of RFC 6533 3.
 *
 * Comes from smtps (parameters of MAIL and RCPT) and qmgr (reports). Owns nothing.
 * On failure: what is not to the letter is refused, so that nothing odd is stored; encoded
 * controls and NUL too: decoded they would stand in a report.
 */
#include "mail/xtext.h"

#include "mail/utf8.h"

#include <stdio.h>

/* The value of a digit; RFC 3461 knows capital letters only. */
static int hex(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next byte of xtext; -1: malformed. */
static int next(const unsigned char **p, const unsigned char *end)
{
	unsigned char c = *(*p)++;
	int high, low;

	if (c != '+')
		return c > ' ' && c < 127 && c != '=' ? c : -1;
	if (end - *p < 2 || (high = hex((*p)[0])) < 0 || (low = hex((*p)[1])) < 0)
		return -1;
	*p += 2;
	c = (unsigned char)(high * 16 + low);
	return c >= ' ' && c < 127 ? c : -1;
}

bool xtext_ok(struct meta1_buf b)
{
	const unsigned char *p = b.data, *end;

	if (b.len == 0)
		return false;
	end = p + b.len;
	while (p < end)
		if (next(&p, end) < 0)
			return false;
	return true;
}

void xtext_decode(struct meta1_buf b, char *out, size_t size)
{
	const unsigned char *p = b.data, *end;
	size_t n = 0;
	int c;

	out[0] = '\0';
	if (b.len == 0)
		return;
	end = p + b.len;
	while (p < end && n + 1 < size && (c = next(&p, end)) >= 0)
		out[n++] = (char)c;
	out[n] = '\0';
}

/* ---- addresses in UTF-8 ---- */

/* EmbeddedUnicodeChar: \x{2 to 6 capital digits}, no needless zero, no control and nothing that
 * could stand as itself. Its length, 0: it is none. */
static size_t embedded(const unsigned char *p, size_t left, uint32_t *out)
{
	uint32_t v = 0;
	size_t i;

	if (left < 6 || memcmp(p, "\\x{", 3) != 0)
		return 0;
	for (i = 3; i < left && i < 10 && p[i] != '}'; i++) {
		int d = hex(p[i]);

		if (d < 0)
			return 0;
		v = v * 16 + (uint32_t)d;
	}
	if (i == left || p[i] != '}' || i < 5 || (i > 5 && p[3] == '0') || v > 0x10ffff ||
	    (v >= 0xd800 && v <= 0xdfff))
		return 0;
	if (v < 0x80 && v != ' ' && v != '+' && v != '=' && v != '\\')
		return 0;
	*out = v;
	return i + 1;
}

/* The next character of utf-8-addr-xtext or, if raw, utf-8-addr-unitext; 0: malformed. */
static size_t address(const unsigned char *p, size_t left, bool raw, uint32_t *out)
{
	if (*p == '\\')
		return embedded(p, left, out);
	if (*p >= 0x80)
		return raw ? utf8_get(p, left, out) : 0;
	*out = *p;
	return *p > ' ' && *p < 127 && *p != '+' && *p != '=';
}

static bool address_ok(struct meta1_buf b, bool raw)
{
	const unsigned char *p = b.data;
	size_t i = 0, n;
	uint32_t v;

	for (; i < b.len; i += n)
		if ((n = address(p + i, b.len - i, raw, &v)) == 0 || (v >= 0x80 && v < 0xa0))
			return false;
	return b.len > 0;
}

/* ---- type;text ---- */

/* The part before the first ';', an atom; NULL: none. */
static const char *type_end(struct meta1_buf b)
{
	const char *p = b.data, *semi = b.len > 0 ? memchr(p, ';', b.len) : NULL;

	if (semi == NULL || semi == p)
		return NULL;
	for (; p < semi; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 127 ||
		    strchr("()<>@,;:\\\".[]+=", *p) != NULL)
			return NULL;
	return semi;
}

static bool is_utf8(struct meta1_buf type)
{
	return buf_caseeq(type, "utf-8");
}

bool xtext_orcpt_ok(struct meta1_buf b, bool utf8)
{
	const char *semi = type_end(b);
	struct meta1_buf rest;

	if (semi == NULL)
		return false;
	rest = buf_of(semi + 1, b.len - (size_t)(semi + 1 - (const char *)b.data));
	if (is_utf8(buf_of(b.data, (size_t)(semi - (const char *)b.data))))
		return address_ok(rest, utf8);
	return xtext_ok(rest);
}

bool xtext_ascii(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s >= 0x80)
			return false;
	return true;
}

bool xtext_utf8(const char *s, size_t len)
{
	size_t i, n;
	uint32_t v;

	for (i = 0; i < len; i += n)
		if ((n = utf8_get((const unsigned char *)s + i, len - i, &v)) == 0)
			return false;
	return true;
}

/* Appends a character: as UTF-8, or, unless utf8, in the form that is ASCII. */
static size_t put(uint32_t v, bool utf8, char *out, size_t n, size_t size)
{
	char s[16];
	size_t len;

	if (utf8 ? v >= ' ' && v != 127 : v < 0x80 && v != '\\' && v != '+' && v != '=' && v > ' ')
		len = utf8_put(v, s);
	else
		len = (size_t)snprintf(s, sizeof(s), "\\x{%02X}", v);
	if (n + len + 1 > size)
		return n;
	memcpy(out + n, s, len);
	out[n + len] = '\0';
	return n + len;
}

size_t xtext_orcpt_ascii(struct meta1_buf b, char *out, size_t size)
{
	const unsigned char *p = b.data;
	size_t i, k, n = 0;
	uint32_t v;

	for (i = 0; i < b.len; i += k, n++) {
		k = p[i] < 0x80 ? 1 : utf8_get(p + i, b.len - i, &v);
		if (k == 0 || n + 12 > size + (k == 1 ? 11 : 0))
			return 0;
		if (k == 1)
			out[n] = (char)p[i];
		else
			n += (size_t)snprintf(out + n, size - n, "\\x{%02X}", v) - 1;
	}
	return n;
}

void xtext_orcpt_field(const char *orcpt, bool utf8, char *out, size_t size)
{
	const char *semi = strchr(orcpt, ';');
	size_t type = semi != NULL ? (size_t)(semi - orcpt) : 0, n, i, k, len;
	const unsigned char *p = (const unsigned char *)orcpt + type + (semi != NULL);
	uint32_t v;

	n = (size_t)snprintf(out, size, "%.*s; ", (int)type, orcpt);
	if (n >= size)
		return;
	if (!is_utf8(buf_of(orcpt, type))) {
		xtext_decode(buf_str((const char *)p), out + n, size - n);
		return;
	}
	len = strlen((const char *)p);
	for (i = 0; i < len && (k = address(p + i, len - i, true, &v)) > 0; i += k)
		n = put(v, utf8, out, n, size);
}

void xtext_addr_field(const char *addr, bool utf8, char *out, size_t size)
{
	const unsigned char *p = (const unsigned char *)addr;
	size_t len = strlen(addr), i, k, n;
	uint32_t v;

	if (xtext_ascii(addr)) {
		snprintf(out, size, "rfc822; %s", addr);
		return;
	}
	n = (size_t)snprintf(out, size, "utf-8; ");
	for (i = 0; i < len; i += k) {
		k = utf8_get(p + i, len - i, &v);
		if (k == 0) { /* what is no UTF-8 cannot be shown */
			v = '?';
			k = 1;
		}
		n = put(v, utf8, out, n, size);
	}
}

size_t xtext_encode_orcpt(struct meta1_buf b, char *out, size_t size)
{
	const unsigned char *p = b.data;
	size_t n = 0;

	for (size_t i = 0; i < b.len; i++) {
		bool plain = p[i] > 32 && p[i] < 127 && p[i] != '+' && p[i] != '=';

		if (n + 4 > size)
			return 0;
		if (plain)
			out[n++] = (char)p[i];
		else
			n += (size_t)snprintf(out + n, 4, "+%02X", p[i]);
	}
	return n;
}
