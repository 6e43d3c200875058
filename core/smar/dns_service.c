/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns_service.c -- questions of modules to the DNS: the host service "dns".
 * From core/mod (a module's host->dns()); to dns.c; the answer goes back to the module.
 * Owns one struct a question. On failure: TEMPFAIL with the reason as text.
 */
#include "smar/smar.h"

#include <stdlib.h>

struct service {
	void (*cb)(void *, enum meta1_status, const struct meta1_reply *);
	void *arg;
};

static void service_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct service *s = arg;
	struct meta1_reply r = {.size = sizeof(r), .nval = d->n, .val = d->rdata, .ttl = ttl};

	r.text = d->status == META1_TEMPFAIL ? d->why : NULL;
	s->cb(s->arg, d->status, &r);
	free(s);
}

void dns_service(void *arg, const char *name, uint16_t type, int64_t deadline,
    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *cbarg)
{
	struct dns **d = arg;
	struct service *s = base_alloc(sizeof(*s));

	s->cb = cb;
	s->arg = cbarg;
	dns_ask(*d, name, type, deadline, service_answered, s);
}
