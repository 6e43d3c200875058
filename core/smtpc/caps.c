/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * caps.c -- tells smar what next hops offer, so that smtps can refuse at RCPT what a hop would
 * not take.
 *
 * Comes from core/smtpc/deliver.c when a session is ready; goes to smar as a CAPS frame, when
 * that host's offer is new or was told long ago. Nobody waits for smar: without it nothing is
 * told, and the next session tells.
 * Owns a table of at most SMTPC_HOSTS facts; the one that entered first makes room, and is told
 * once more. On failure: smar does not know, takes the mail, and the sender gets a report.
 */
#include "smtpc.h"

#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_told, "offers_told_total", "Times that smar was told what a next hop offers.");

#define AGAIN	 (30 * 60 * 1000) /* ms: smar forgets after an hour */
#define KEY_SIZE 896		  /* of a destination, an address or path, and a port */

static void drop(struct smtpc *c, struct smtpc_caps *f)
{
	HASH_DELETE(hh, c->caps, f);
	free(f);
}

void smtpc_caps_forget(struct smtpc *c)
{
	while (c->caps)
		drop(c, c->caps);
}

static struct smtpc_caps *fact(struct smtpc *c, const char *dest, const struct meta1_hop *hop)
{
	char key[KEY_SIZE];
	struct smtpc_caps *f;
	size_t n;

	snprintf(key, sizeof(key), "%s %s %u", dest, hop->addr, hop->port);
	HASH_FIND_STR(c->caps, key, f);
	if (f)
		return f;
	if (HASH_COUNT(c->caps) >= SMTPC_HOSTS)
		drop(c, c->caps);
	n = strlen(key);
	f = base_alloc(sizeof(*f) + n + 1);
	memcpy(f->key, key, n + 1);
	HASH_ADD_STR(c->caps, key, f);
	return f;
}

void smtpc_caps_tell(struct smtpc *c, const struct meta1_transport_ops *ops, void *sess,
    const char *dest, const struct smtpc_hop *hop, uint32_t nhop)
{
	struct meta1_caps caps = {.size = sizeof(caps)};
	int64_t now = loop_now(c->role.loop);
	struct smtpc_caps *f;
	struct p_caps m;
	unsigned host;

	if (!c->smar || !META1_HAS(ops, caps) || !ops->caps)
		return;
	ops->caps(sess, &caps);
	caps.offers &= (uint32_t)hop->conf->extensions;
	if (!(caps.offers & META1_OFFER_SIZE))
		caps.max_size = 0;
	f = fact(c, dest, &hop->to);
	if (f->told && f->offers == caps.offers && f->max_size == caps.max_size &&
	    now - f->when < AGAIN)
		return;
	HASH_VALUE(f->key, strlen(f->key), host);
	m = (struct p_caps){.key = buf_str(dest),
	    .offers = caps.offers,
	    .max_size = caps.max_size,
	    .host = host,
	    .hosts = nhop};
	f->told = chan_send(c->smar, P_CAPS, &m);
	f->offers = caps.offers;
	f->max_size = caps.max_size;
	f->when = now;
	m_told.value += f->told;
}
