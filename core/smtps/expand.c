/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expand.c -- a recipient that stands for others: an alias, a list. What smar said at RCPT is
 * written into the envelope, so that what was acknowledged needs no map any more.
 *
 * Comes from tx.c (a verdict with targets) and commit.c (the envelope is due); owns nothing, all
 * is in the transaction's memory. RFC 3461 5.2.7 decides what each target has of NOTIFY and ORCPT:
 * the only target has all of it; several have it without SUCCESS, of which the sender is told at
 * once ("expanded"); members of a list with an owner have nothing, and the owner as sender.
 * On failure (memory, too many in this message): false, and nothing of the recipient is kept.
 */
#include "smtps/smtps.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(m_expanded, "recipients_expanded_total", "Recipients that stood for others.");
METRIC_COUNTER(m_targets, "recipients_expanded_to_total", "Recipients that they stood for.");
METRIC_COUNTER(m_twice, "recipients_twice_total", "Recipients left out: they are there already.");

struct expansion {
	struct smtps_tx *tx;
	const struct p_verdict *v;
	struct meta1_buf *owners;
	struct meta1_buf orcpt, alias, told;
	bool tell; /* nobody yet has the flag */
	STAILQ_HEAD(, smtps_rcpt) made;
};

static struct meta1_buf keep(struct smtps_tx *tx, struct meta1_buf b, bool *ok)
{
	char *copy = pool_strn(&tx->pool, b.len > 0 ? b.data : "", b.len);

	*ok = *ok && copy != NULL;
	return buf_of(copy, b.len);
}

/* As the sender said it; else what it wrote to RCPT, which is for the reports of all hops. */
static struct meta1_buf orcpt(struct smtps_tx *tx, bool *ok)
{
	char text[ADDR_PATH_MAX + 8], out[XTEXT_ORCPT_MAX];
	size_t n;

	if (tx->ask_orcpt.len > 0)
		return keep(tx, tx->ask_orcpt, ok);
	if (addr_utf8(tx->asking) || memchr(tx->asking.data, '@', tx->asking.len) == NULL)
		return buf_of(NULL, 0);
	n = (size_t)snprintf(
	    text, sizeof(text), "rfc822;%.*s", (int)tx->asking.len, (const char *)tx->asking.data);
	n = xtext_encode_orcpt(buf_of(text, n), out, sizeof(out));
	return keep(tx, buf_of(out, n), ok);
}

static bool prepare(struct expansion *x)
{
	struct smtps_tx *tx = x->tx;
	const struct p_verdict *v = x->v;
	bool ok = true;
	uint32_t i;

	x->owners = pool_try(&tx->pool, (v->owners.n + 1) * sizeof(*x->owners));
	if (x->owners == NULL)
		return false;
	for (i = 0; i < v->owners.n; i++)
		x->owners[i] = keep(tx, v->owners.v[i], &ok);
	x->orcpt = orcpt(tx, &ok);
	x->told = keep(tx, tx->asking, &ok);
	x->tell = tx->ask_notify & META1_N_SUCCESS && tx->from.len > 0;
	if (x->tell)
		x->alias = x->told;
	return ok;
}

static void tell(struct expansion *x, struct smtps_rcpt *r)
{
	if (!x->tell)
		return;
	x->tell = false;
	r->flags |= META1_RF_TELL;
	r->alias = x->alias;
}

static void report_to(struct expansion *x, struct smtps_rcpt *r, uint64_t owner)
{
	uint32_t notify = x->tx->ask_notify;

	if (owner > 0 && owner <= x->v->owners.n && x->tx->from.len > 0) {
		r->flags = META1_RF_LIST;
		r->sender = x->owners[owner - 1];
		if (x->tell) /* for the report alone; members are sent none */
			r->orcpt = x->orcpt;
		tell(x, r);
		return;
	}
	r->orcpt = x->orcpt;
	r->notify = notify;
	if (x->v->targets.n == 1)
		return;
	r->flags = META1_RF_EXPANDED;
	if (notify & META1_N_SUCCESS)
		r->notify = notify == META1_N_SUCCESS ? META1_N_NEVER : notify & ~META1_N_SUCCESS;
	tell(x, r);
}

bool smtps_expand_add(struct smtps_tx *tx, const struct p_verdict *v)
{
	struct expansion x = {.tx = tx, .v = v, .made = STAILQ_HEAD_INITIALIZER(x.made)};
	uint32_t i, n = v->targets.n;
	bool ok = tx->nrcpt + n <= SMTPS_RCPTS_MAX &&
		  tx->nowner + v->owners.n <= SMTPS_OWNERS_MAX && prepare(&x);

	for (i = 0; ok && i < n; i++) {
		struct smtps_rcpt *r = pool_try(&tx->pool, sizeof(*r));

		if (r == NULL)
			return false;
		r->addr = keep(tx, v->targets.v[i], &ok);
		r->told = x.told;
		report_to(&x, r, i < v->owner.n ? v->owner.v[i] : 0);
		STAILQ_INSERT_TAIL(&x.made, r, next);
	}
	if (!ok)
		return false;
	m_expanded.value++;
	m_targets.value += n;
	tx->dsn |= tx->ask_notify != 0 || x.orcpt.len > 0;
	tx->expanded = true;
	tx->nrcpt += n;
	tx->nowner += v->owners.n;
	STAILQ_CONCAT(&tx->rcpts, &x.made);
	return true;
}

/* ---- each address once ---- */

static const char *domain(struct meta1_buf a)
{
	const char *at = a.len > 0 ? memrchr(a.data, '@', a.len) : NULL;

	return at != NULL ? at : (const char *)a.data + a.len;
}

/* Local parts are not ours to fold; domains are. */
static int compare_addr(struct meta1_buf a, struct meta1_buf b)
{
	size_t la = (size_t)(domain(a) - (const char *)a.data);
	size_t lb = (size_t)(domain(b) - (const char *)b.data);
	int c;

	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	if (la != lb)
		return la < lb ? -1 : 1;
	c = memcmp(a.data, b.data, la);
	return c != 0 ? c : strncasecmp(domain(a), domain(b), a.len - la);
}

/* Those that the client named itself before those of aliases; else in their order. */
static int compare(const void *pa, const void *pb)
{
	const struct smtps_rcpt *a = *(struct smtps_rcpt *const *)pa;
	const struct smtps_rcpt *b = *(struct smtps_rcpt *const *)pb;
	int c = compare_addr(a->addr, b->addr);

	if (c != 0)
		return c;
	if ((a->flags != 0) != (b->flags != 0))
		return a->flags != 0 ? 1 : -1;
	return a->place < b->place ? -1 : a->place > b->place;
}

/* What is to be told of an alias goes over to the one that stays. */
static void merge(struct smtps_rcpt *stays, struct smtps_rcpt *goes)
{
	goes->twice = true;
	if (!(goes->flags & META1_RF_TELL) || stays->alias.len > 0)
		return;
	stays->alias = goes->alias;
	stays->flags |= goes->flags & (META1_RF_TELL | META1_RF_LIST);
}

bool smtps_expand_unique(struct smtps_tx *tx)
{
	struct smtps_rcpt **v, *r, *next;
	uint32_t i = 0, stays = 0;

	if (!tx->expanded)
		return true;
	v = pool_try(&tx->pool, tx->nrcpt * sizeof(struct smtps_rcpt *));
	if (v == NULL)
		return false;
	STAILQ_FOREACH(r, &tx->rcpts, next)
	{
		r->place = i;
		v[i++] = r;
	}
	qsort(v, tx->nrcpt, sizeof(*v), compare);
	for (i = 1; i < tx->nrcpt; i++)
		if (compare_addr(v[stays]->addr, v[i]->addr) == 0)
			merge(v[stays], v[i]);
		else
			stays = i;
	r = STAILQ_FIRST(&tx->rcpts);
	STAILQ_INIT(&tx->rcpts);
	for (; r != NULL; r = next) {
		next = STAILQ_NEXT(r, next);
		if (!r->twice) {
			STAILQ_INSERT_TAIL(&tx->rcpts, r, next);
			continue;
		}
		tx->nrcpt--;
		m_twice.value++;
	}
	return true;
}
