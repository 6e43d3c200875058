/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey_key.c -- what of a client, a sender and a recipient makes an entry of the greylist.
 * From check_grey.c and grey_control.c; to grey.c. No I/O, owns nothing, and what is too long is
 * shortened, so that an entry's memory is bounded whatever a client sends.
 */
#include "smar/grey.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <xxhash.h>

int grey_net(const struct grey_conf *c, const char *client, char out[GREY_NET_MAX])
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	unsigned char ip[16];
	char text[INET6_ADDRSTRLEN];
	int family = strchr(client, ':') ? AF_INET6 : AF_INET;
	unsigned bits;

	if (inet_pton(family, client, ip) != 1)
		return -1;
	if (family == AF_INET6 && memcmp(ip, mapped, sizeof(mapped)) == 0) {
		memmove(ip, ip + 12, 4);
		family = AF_INET;
	}
	bits = family == AF_INET ? c->bits4 : c->bits6;
	for (unsigned i = 0; i < (family == AF_INET ? 32u : 128u); i++)
		if (i >= bits)
			ip[i / 8] &= (unsigned char)~(0x80u >> i % 8);
	inet_ntop(family, ip, text, sizeof(text));
	snprintf(out, GREY_NET_MAX, "%s/%u", text, bits);
	return 0;
}

/* A long address is its beginning and a hash of the whole. */
static void shorten(const char *whole, char out[GREY_ADDR_MAX + 1])
{
	size_t len = strlen(whole);

	if (len <= GREY_ADDR_MAX) {
		memcpy(out, whole, len + 1);
		return;
	}
	len = GREY_ADDR_MAX - 17;
	while (len > 0 && ((unsigned char)whole[len] & 0xc0) == 0x80) /* no half of a character */
		len--;
	snprintf(out, GREY_ADDR_MAX + 1, "%.*s~%016llx", (int)len, whole,
	    (unsigned long long)XXH3_64bits(whole, strlen(whole)));
}

static void join(const char *local, const char *domain, char out[GREY_ADDR_MAX + 1])
{
	char whole[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 3];

	snprintf(whole, sizeof(whole), "%s@%s", local, domain);
	shorten(whole, out);
}

void grey_recipient(const char *local, const char *domain, char out[GREY_ADDR_MAX + 1])
{
	join(local, domain, out);
}

void grey_sender(const char *local, const char *domain, char out[GREY_ADDR_MAX + 1])
{
	char plain[ADDR_PATH_MAX + 1];
	size_t n = 0;

	if (local[0] == '\0') {
		out[0] = '\0';
		return;
	}
	while (*local && n + 1 < sizeof(plain)) {
		size_t part = strcspn(local, "=-+._/"), digit = strcspn(local, "0123456789");

		if (digit < part)
			plain[n++] = '#';
		else
			for (size_t i = 0; i < part && n + 1 < sizeof(plain); i++)
				plain[n++] = local[i];
		local += part;
		if (*local && n + 1 < sizeof(plain))
			plain[n++] = *local++;
	}
	plain[n] = '\0';
	join(plain, domain, out);
}

/* Part i of the key; "" behind the last. */
static const char *part(const struct grey_entry *e, unsigned i)
{
	const char *at = e->key;

	for (; i > 0; i--) {
		at += strlen(at) + 1;
		if (at >= e->key + e->len)
			return "";
	}
	return at;
}

const char *grey_key_sender(const struct grey_entry *e)
{
	return part(e, 1);
}

const char *grey_key_recipient(const struct grey_entry *e)
{
	return part(e, 2);
}

void grey_id(const struct grey_entry *e, char out[GREY_ID_MAX])
{
	snprintf(out, GREY_ID_MAX, "%016llx", (unsigned long long)XXH3_64bits(e->key, e->len));
}
