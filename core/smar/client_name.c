/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client_name.c -- CLIENT_NAME: who a client is by the DNS, before it is greeted, for policy
 * filters. Whether a client without a name may send is not said here: checks and filters do.
 * From smar.c; to dns_client.c; the answer goes back to smar.c. Owns one struct asked a question.
 * On failure: TEMP, after a third of the question's time, and at once for a while after that.
 */
#include "smar/smar.h"

#include <stdlib.h>

#define SHARE 3

struct asked {
	struct smar_policy *policy; /* held, so that a reload does not take it */
	char client[64];
	smar_client_name_fn fn;
	void *arg;
};

static void named(void *arg, const struct dns_client *n)
{
	static const uint32_t words[] = {[CLIENT_OK] = RESOLVE_OK,
	    [CLIENT_NONE] = RESOLVE_FAIL,
	    [CLIENT_FORGED] = RESOLVE_FORGED,
	    [CLIENT_TEMP] = RESOLVE_TEMP};
	struct p_client_name_is is = {.resolve = words[n->result], .ptr = buf_str(n->name)};
	struct asked *a = arg;

	is.name = buf_str(n->result == CLIENT_OK ? n->name : "");
	if (n->result == CLIENT_TEMP)
		smar_name_slow(a->policy, a->client);
	a->fn(a->arg, &is);
	smar_policy_unref(&a->policy);
	free(a);
}

void smar_client_name(struct smar_policy *p, struct meta1_buf client, int64_t deadline,
    smar_client_name_fn fn, void *arg)
{
	struct p_client_name_is none = {.resolve = RESOLVE_TEMP};
	int64_t now = loop_now(p->loop);
	struct asked *a;

	a = base_alloc(sizeof(*a));
	if (client.len < sizeof(a->client) && client.len > 0)
		memcpy(a->client, client.data, client.len);
	if (p->dns == NULL || smar_name_was_slow(p, a->client)) {
		free(a);
		fn(arg, &none);
		return;
	}
	a->policy = smar_policy_ref(p);
	a->fn = fn;
	a->arg = arg;
	dns_client_ask(p->dns, a->client, now + (deadline - now) / SHARE, named, a);
}
