/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy.c -- fuzz target of core/smtps/proxy.c, the header of the PROXY protocol.
 * Whatever comes: an answer does not change when more bytes come behind a header, no shorter
 * piece of a header is one, and what comes out is an address or nothing.
 */
#include "fuzz.h"
#include "smtps/smtps.h"

#include <stdlib.h>

/* From memory of exactly this size. */
static enum smtps_proxy_result parse(const uint8_t *p, size_t n, struct smtps_proxy *out)
{
	uint8_t *copy = malloc(n + !n);
	enum smtps_proxy_result r;

	must(copy != NULL);
	if (n > 0)
		memcpy(copy, p, n);
	r = smtps_proxy_parse(copy, n, out);
	free(copy);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct smtps_proxy p, less;
	enum smtps_proxy_result r;
	size_t i;

	if (n > SMTPS_PROXY_MAX + 64)
		return 0;
	r = parse(data, n, &p);
	must((r == PROXY_BAD) == (p.cause != NULL));
	must(p.client[strspn(p.client, "0123456789abcdef:.")] == '\0');
	must(p.port < 65536 && p.version < 3);
	must(r != PROXY_MORE || n < SMTPS_PROXY_MAX);
	if (r != PROXY_OK)
		return 0;
	must(p.used > 0 && p.used <= n && p.version > 0);
	for (i = 0; i < p.used; i += 1 + i / 64)
		must(parse(data, i, &less) == PROXY_MORE);
	must(parse(data, p.used, &less) == PROXY_OK && less.used == p.used);
	must(strcmp(less.client, p.client) == 0 && less.port == p.port);
	return 0;
}
