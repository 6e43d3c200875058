/* SPDX-License-Identifier: BSD-2-Clause */
/* packet.h -- DNS packets by hand, so that they can also be wrong. */
#ifndef META1_TEST_PACKET_H
#define META1_TEST_PACKET_H
#include "smar/smar.h"

#include "../unit.h"

#include <arpa/inet.h>
#include <stdlib.h>

struct packet {
	size_t n;
	uint8_t b[65536];
};

static inline void put8(struct packet *p, unsigned v)
{
	assert_true(p->n < sizeof(p->b));
	p->b[p->n++] = (uint8_t)v;
}
static inline void put16(struct packet *p, unsigned v)
{
	put8(p, v >> 8);
	put8(p, v);
}
static inline void put32(struct packet *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p, v);
}
static inline void put_name(struct packet *p, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		put8(p, (unsigned)n);
		for (size_t i = 0; i < n; i++)
			put8(p, (unsigned char)name[i]);
		name += n + (name[n] == '.');
	}
	put8(p, 0);
}

/* Header and one question; flags: QR RD RA are set, add TC or an rcode. */
static inline void put_head(
    struct packet *p, unsigned id, unsigned flags, const char *name, uint16_t type)
{
	p->n = 0;
	put16(p, id);
	put16(p, 0x8180 | flags);
	put16(p, 1);
	for (int i = 0; i < 3; i++)
		put16(p, 0);
	put_name(p, name);
	put16(p, type);
	put16(p, 1);
}

/* text: A and AAAA an address, MX "10 name", CNAME and NS a name, SOA the minimum, else hex-free
 * bytes; TXT strings of at most 255. section: 0 answer, 1 authority. */
static inline void put_rr(
    struct packet *p, int section, const char *name, uint16_t type, uint32_t ttl, const char *text)
{
	size_t count = (size_t)(6 + section * 2), len;
	unsigned char ip[16];

	p->b[count + 1]++;
	if (p->b[count + 1] == 0)
		p->b[count]++;
	put_name(p, name);
	put16(p, type);
	put16(p, 1);
	put32(p, ttl);
	len = p->n;
	put16(p, 0);
	if (type == DNS_A || type == DNS_AAAA) {
		assert_int_equal(inet_pton(type == DNS_A ? AF_INET : AF_INET6, text, ip), 1);
		for (int i = 0; i < (type == DNS_A ? 4 : 16); i++)
			put8(p, ip[i]);
	} else if (type == DNS_MX) {
		put16(p, (unsigned)atoi(text));
		put_name(p, strchr(text, ' ') + 1);
	} else if (type == DNS_TXT) {
		for (size_t n = strlen(text), part; n > 0 || !*text; n -= part, text += part) {
			part = n < 255 ? n : 255;
			put8(p, (unsigned)part);
			for (size_t i = 0; i < part; i++)
				put8(p, (unsigned char)text[i]);
			if (part == 0 || n == part)
				break;
		}
	} else if (type == DNS_CNAME || type == DNS_NS || type == DNS_PTR) {
		put_name(p, text);
	} else if (type == DNS_SOA) {
		put_name(p, "ns");
		put_name(p, "root");
		for (int i = 0; i < 4; i++)
			put32(p, 1);
		put32(p, (uint32_t)atoi(text));
	} else {
		for (; *text; text++)
			put8(p, (unsigned char)*text);
	}
	p->b[len] = (uint8_t)((p->n - len - 2) >> 8);
	p->b[len + 1] = (uint8_t)(p->n - len - 2);
}

#endif
