/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_txt.c -- TXT records as text: the strings of one, joined.
 * From spf.c and sts_policy.c. Owns nothing. On failure: -1, what does not fit is not cut.
 */
#include "smar/dns.h"

int dns_txt(struct meta1_buf rdata, char *out, size_t size)
{
	const unsigned char *p = rdata.data;
	size_t n = 0;

	for (size_t i = 0; i < rdata.len; i += 1u + p[i]) {
		if (i + 1 + p[i] > rdata.len || n + p[i] >= size)
			return -1;
		memcpy(out + n, p + i + 1, p[i]);
		n += p[i];
	}
	out[n] = '\0';
	return (int)n;
}
