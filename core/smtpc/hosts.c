/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hosts.c -- next hops that did not answer lately: they are tried last, not first.
 *
 * Comes from core/smtpc/deliver.c: before the first try it asks for the order of the hosts, after
 * each attempt to open a session it tells how that went. No I/O.
 * Without this each delivery would wait out connect_timeout at a dead first host. When a
 * host's pause is over one delivery tries it first again, the others go on to avoid it.
 * Owns a table of at most SMTPC_HOSTS hosts; the one that entered first makes room. A host
 * that is forgotten too early costs one wait. On failure: nothing can fail.
 */
#include "smtpc.h"

#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MIN 10000	 /* ms */
#define PAUSE_MAX 300000 /* ms */

#define KEY_SIZE  640

METRIC_COUNTER(m_avoided, "hosts_avoided_total",
    "Deliveries that began with another host, since the first did not answer lately.");
METRIC_GAUGE(m_dead, "hosts_dead", "Next hops that did not answer lately.");

static struct smtpc_host *find(const struct smtpc *c, const struct meta1_hop *hop)
{
	char key[KEY_SIZE];
	struct smtpc_host *h;

	if (!c->hosts)
		return NULL;
	snprintf(key, sizeof(key), "%s %u", hop->addr, hop->port);
	HASH_FIND_STR(c->hosts, key, h);
	return h;
}

static void drop(struct smtpc *c, struct smtpc_host *h)
{
	HASH_DELETE(hh, c->hosts, h);
	free(h);
	m_dead.value = HASH_COUNT(c->hosts);
}

static struct smtpc_host *add(struct smtpc *c, const struct meta1_hop *hop)
{
	char key[KEY_SIZE];
	size_t n = (size_t)snprintf(key, sizeof(key), "%s %u", hop->addr, hop->port);
	struct smtpc_host *h;

	if (HASH_COUNT(c->hosts) >= SMTPC_HOSTS)
		drop(c, c->hosts);
	n = n < sizeof(key) ? n : sizeof(key) - 1;
	h = base_alloc(sizeof(*h) + n + 1);
	memcpy(h->key, key, n + 1);
	HASH_ADD_STR(c->hosts, key, h);
	m_dead.value = HASH_COUNT(c->hosts);
	return h;
}

void smtpc_hosts_failed(struct smtpc *c, const struct meta1_hop *hop)
{
	struct smtpc_host *h = find(c, hop);
	int64_t now = loop_now(c->role.loop);

	if (!h)
		h = add(c, hop);
	else if (now < h->not_before && !h->probed)
		return; /* one that began before the pause */
	if (!h->pause || now - h->not_before > PAUSE_MAX)
		h->pause = PAUSE_MIN;
	else
		h->pause = h->pause * 2 < PAUSE_MAX ? h->pause * 2 : PAUSE_MAX;
	h->probed = false;
	h->not_before = now + h->pause;
}

void smtpc_hosts_answered(struct smtpc *c, const struct meta1_hop *hop)
{
	struct smtpc_host *h = find(c, hop);

	if (h)
		drop(c, h);
}

void smtpc_hosts_order(struct smtpc *c, struct smtpc_hop *hop, uint32_t n)
{
	int64_t now = loop_now(c->role.loop);
	struct smtpc_host *h;
	uint32_t i, good = 0;

	if (n < 2 || !c->hosts)
		return;
	for (i = 0; i < n; i++) {
		struct smtpc_hop one = hop[i];

		h = find(c, &one.to);
		if (h && now < h->not_before)
			continue;
		memmove(&hop[good + 1], &hop[good], (i - good) * sizeof(*hop));
		hop[good++] = one;
		m_avoided.value += good == 1 && i > 0;
	}
	h = find(c, &hop[0].to);
	if (h && now - h->not_before > PAUSE_MAX) {
		drop(c, h); /* long ago */
	} else if (h && good > 0) {
		h->probed = true;
		h->not_before = now + hop[0].to.connect_timeout;
	}
}

void smtpc_hosts_free(struct smtpc *c)
{
	while (c->hosts)
		drop(c, c->hosts);
}
