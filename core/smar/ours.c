/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ours.c -- is a domain ours: local (delivered here), virtual (its addresses are aliases), or
 * neither? local.c knows what needs no map; the mailertable and virtual_aliases are asked here.
 * From alias_maps.c. Owns one struct a question. On failure of a map: its status.
 */
#include "smar/users.h"

#include <stdlib.h>

struct ask {
	struct smar_policy *policy;
	struct smar_seek seek;
	char domain[ADDR_DOMAIN_MAX + 1];
	int64_t deadline;
	uint32_t ttl;
	void (*fn)(void *arg, const struct smar_ours_found *);
	void *arg;
};

static void end(struct ask *a, enum meta1_status status, enum smar_ours ours)
{
	struct smar_ours_found f = {.status = status, .ours = ours, .ttl = a->ttl};

	a->fn(a->arg, &f);
	smar_policy_unref(&a->policy);
	free(a);
}

static bool failed(struct ask *a, const struct smar_found *f)
{
	if (f->ttl < a->ttl)
		a->ttl = f->ttl;
	if (f->status != META1_TEMPFAIL && f->status != META1_PERMFAIL)
		return false;
	end(a, f->status, OURS_NO);
	return true;
}

static void virtual_found(void *arg, const struct smar_found *f)
{
	struct ask *a = arg;

	if (!failed(a, f))
		end(a, META1_OK, f->status == META1_OK ? OURS_VIRTUAL : OURS_NO);
}

static void ask_virtual(struct ask *a)
{
	struct smar_policy *p = a->policy;

	if (smar_local_listed(p->virtual_domains, p->nvirtual, a->domain)) {
		end(a, META1_OK, OURS_VIRTUAL);
	} else if (!p->virtual_aliases.map) {
		end(a, META1_OK, OURS_NO);
	} else {
		smar_keys_host(&a->seek.keys, "", a->domain);
		smar_seek_start(&a->seek, &p->virtual_aliases, a->deadline, virtual_found, a);
	}
}

static void row_found(void *arg, const struct smar_found *f)
{
	struct ask *a = arg;

	if (failed(a, f))
		return;
	if (f->status == META1_OK && smar_local_value(f->value, a->policy->transports))
		end(a, META1_OK, OURS_LOCAL);
	else
		ask_virtual(a);
}

void smar_ours_find(struct smar_policy *p, const char *domain, int64_t deadline,
    void (*fn)(void *arg, const struct smar_ours_found *), void *arg)
{
	struct ask *a = base_alloc(sizeof(*a));

	a->policy = smar_policy_ref(p);
	str_copy(a->domain, sizeof(a->domain), domain);
	a->deadline = deadline;
	a->ttl = UINT32_MAX;
	a->fn = fn;
	a->arg = arg;
	if (smar_local_fixed(p, domain)) {
		end(a, META1_OK, OURS_LOCAL);
	} else if (!p->mailertable.map) {
		ask_virtual(a);
	} else {
		smar_keys_domain(&a->seek.keys, domain);
		smar_seek_start(&a->seek, &p->mailertable, deadline, row_found, a);
	}
}
