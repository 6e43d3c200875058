/* SPDX-License-Identifier: BSD-2-Clause */
/* hop.c -- see hop.h. No I/O. Owns nothing. */
#include "ipc/hop.h"

#include "lib/tls_need.h"

static struct meta1_buf word(const char **p, const char *end)
{
	const char *from = *p, *sep;

	sep = memrchr(from, ' ', (size_t)(end - from));
	*p = sep ? sep : from;
	return sep ? buf_of(sep + 1, (size_t)(end - sep - 1)) : buf_of(NULL, 0);
}

/* From the right: the path may have blanks, port and name have none. */
int hop_take(struct pool *pool, struct meta1_buf text, struct meta1_hop *hop)
{
	const char *begin = text.data, *end = begin + text.len, *p = begin;
	struct meta1_buf name, port;
	uint32_t v = 0;
	size_t i;

	name = word(&p, end);
	end = p;
	p = begin;
	port = name.len ? word(&p, end) : name;
	end = p;
	if (!port.len || port.len > 5 || end == begin)
		return -1;
	for (i = 0; i < port.len; i++) {
		char c = ((const char *)port.data)[i];

		if (c < '0' || c > '9')
			return -1;
		v = v * 10 + (uint32_t)(c - '0');
	}
	*hop = (struct meta1_hop){.size = sizeof(*hop), .port = v};
	hop->host = pool_strn(pool, name.data, name.len);
	hop->addr = pool_strn(pool, begin, (size_t)(end - begin));
	return v <= 65535 && hop->host && hop->addr ? 0 : -1;
}

uint32_t hop_tls(int32_t word)
{
	static const uint32_t policy[] = {[TLS_POLICY_NONE] = META1_TLS_NONE,
	    [TLS_POLICY_MAY] = META1_TLS_MAY,
	    [TLS_POLICY_ENCRYPT] = META1_TLS_ENCRYPT,
	    [TLS_POLICY_VERIFY] = META1_TLS_VERIFY};

	return policy[word];
}

int hop_need(struct pool *pool, const struct proto_strs *need, const struct proto_nums *need_of,
    uint32_t i, uint32_t option, struct meta1_hop *hop, const char **key, struct meta1_err *err)
{
	uint64_t at = i < need_of->n ? need_of->v[i] : 0;
	char check[TLS_NEED_MAX + 1];
	struct meta1_buf text;
	struct tls_need n;

	hop->tls = option;
	hop->tls_need = NULL;
	*key = "";
	if (at == 0)
		return 0;
	if (at > need->n)
		return err_set(err, "there is no need of this number");
	text = need->v[at - 1];
	if (tls_need_parse(text, &n, err) < 0)
		return -1;
	hop->tls = tls_need_policy(&n, option);
	hop->tls_need = pool_strn(pool, text.data, text.len);
	*key = tls_need_check(&n, check) ? pool_strn(pool, check, strlen(check)) : NULL;
	return hop->tls_need && *key ? 0 : err_set(err, "no memory");
}
