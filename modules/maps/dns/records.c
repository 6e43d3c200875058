/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * records.c -- makes texts of DNS records. From map_dns.c. Owns nothing.
 * On failure: a text that says so; a record of the wrong length is never read past its end.
 */
#include "records.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define TEXT_ROOM 1100 /* a name with all its bytes as \DDD, and what stands before it */

static const char bad[] = "a record that cannot be read";

/* Its strings, one after the other. */
static const char *txt(const unsigned char *p, size_t len, struct values *v)
{
	char text[VALUE_BYTES];
	size_t n = 0;

	while (len > 0) {
		size_t part = p[0];

		if (part + 1 > len)
			return bad;
		if (n + part > sizeof(text))
			return "a TXT record has more than 16384 bytes";
		memcpy(text + n, p + 1, part);
		n += part;
		p += part + 1;
		len -= part + 1;
	}
	return values_add(v, text, n);
}

static const char *address(int family, const unsigned char *p, size_t len, struct values *v)
{
	char text[INET6_ADDRSTRLEN];

	if (len != (family == AF_INET ? 4 : 16) || !inet_ntop(family, p, text, sizeof(text)))
		return bad;
	return values_add(v, text, strlen(text));
}

static const char *a(const unsigned char *p, size_t len, struct values *v)
{
	return address(AF_INET, p, len, v);
}

static const char *aaaa(const unsigned char *p, size_t len, struct values *v)
{
	return address(AF_INET6, p, len, v);
}

/* A name behind what is in the text already; without its final dot, the root is ".". */
static const char *name(
    const unsigned char *p, size_t len, char text[TEXT_ROOM], size_t n, struct values *v)
{
	size_t from = n;

	while (len > 0 && p[0] != 0) {
		size_t part = p[0];

		if (part > 63 || part + 2 > len || n + 4 * part + 2 > TEXT_ROOM)
			return bad;
		if (n > from)
			text[n++] = '.';
		for (size_t i = 1; i <= part; i++) {
			if (p[i] > ' ' && p[i] < 127 && p[i] != '.' && p[i] != '\\')
				text[n++] = (char)p[i];
			else
				n += (size_t)snprintf(text + n, TEXT_ROOM - n, "\\%03u", p[i]);
		}
		p += part + 1;
		len -= part + 1;
	}
	if (len != 1)
		return bad;
	if (n == from)
		text[n++] = '.';
	return values_add(v, text, n);
}

static const char *host(const unsigned char *p, size_t len, struct values *v)
{
	char text[TEXT_ROOM];

	return name(p, len, text, 0, v);
}

static unsigned word(const unsigned char *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static const char *mx(const unsigned char *p, size_t len, struct values *v)
{
	char text[TEXT_ROOM];

	if (len < 3)
		return bad;
	return name(p + 2, len - 2, text, (size_t)sprintf(text, "%u ", word(p)), v);
}

static const char *srv(const unsigned char *p, size_t len, struct values *v)
{
	char text[TEXT_ROOM];

	if (len < 7)
		return bad;
	return name(p + 6, len - 6, text,
	    (size_t)sprintf(text, "%u %u %u ", word(p), word(p + 2), word(p + 4)), v);
}

static const struct {
	uint16_t type; /* of the IANA list */
	const char *(*text)(const unsigned char *, size_t, struct values *);
} records[] = {{16, txt}, {1, a}, {28, aaaa}, {15, mx}, {12, host}, {5, host}, {33, srv}};

uint16_t dns_type(int32_t record)
{
	return records[record].type;
}

const char *dns_record(int32_t record, struct meta1_buf rdata, struct values *v)
{
	return records[record].text(rdata.data, rdata.len, v);
}
