/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.c -- which options hold for a hop of a delivery: those of the section, changed by the row
 * of the hop, then by that of the recipients.
 *
 * Comes from take.c with DELIVER; what it makes goes with the hop to session.c and deliver.c.
 * Owns nothing: a changed set is in the delivery's pool, one for each row. smar has read the rows
 * before, so a mistake here is ours; it is logged, and the hop is not used: the row may say that it
 * is to be verified.
 */
#include "smtpc.h"

static bool change(
    struct smtpc_delivery *d, const struct p_deliver *m, uint64_t row, struct hop_conf *c)
{
	struct meta1_err err;

	if (row == 0)
		return true;
	if (row <= m->conf.n && hop_conf_read(m->conf.v[row - 1], c, &err) == 0)
		return true;
	log_event(LOG_L_WARN, "smtpc.conf", "id=%s row=%.*s error=%s", d->name,
	    row <= m->conf.n ? (int)m->conf.v[row - 1].len : 0,
	    row <= m->conf.n ? (const char *)m->conf.v[row - 1].data : "",
	    row <= m->conf.n ? err.text : "there is no row of this number");
	return false;
}

const struct hop_conf *smtpc_conf_of(
    struct smtpc_delivery *d, const struct p_deliver *m, uint32_t i, const struct hop_conf **known)
{
	uint64_t row = i < m->conf_of.n ? m->conf_of.v[i] : 0;
	struct hop_conf *c;

	if (row == 0 && m->conf_rcpt == 0)
		return &d->gear->conf;
	if (row <= m->conf.n && known[row])
		return known[row];
	c = pool_try(&d->pool, sizeof(*c));
	if (!c)
		return NULL;
	*c = d->gear->conf;
	if (!change(d, m, row, c) || !change(d, m, m->conf_rcpt, c))
		return NULL;
	return known[row] = c;
}

static const char *or_none(const char *s)
{
	return *s ? s : NULL;
}

void smtpc_conf_hop(const struct hop_conf *c, struct meta1_hop *hop)
{
	hop->connect_timeout = c->connect_timeout;
	hop->io_timeout = c->IO_timeout;
	hop->hello = or_none(c->helo_name);
	if (hop->addr[0] != '/')
		hop->source = or_none(strchr(hop->addr, ':') ? c->source_ipv6 : c->source_ipv4);
}

void smtpc_conf_mail(const struct hop_conf *c, struct meta1_mail *mail)
{
	mail->without = hop_conf_without(c->extensions);
	mail->flags &= ~(uint32_t)META1_M_BOUNCE_8BIT;
	if (c->no_8bitmime == NO_8BITMIME_BOUNCE)
		mail->flags |= META1_M_BOUNCE_8BIT;
}
