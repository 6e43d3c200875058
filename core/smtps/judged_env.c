/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judged_env.c -- recipients and sender of a mail as policy filters leave them.
 *
 * Comes from judged.c, with edits that core/mail/revise_env.c found good: addresses are some, and
 * there is room. A recipient that is taken out goes with all that it stood for. Found by a table of
 * hashes, so that thousands of edits of thousands of recipients do not stop the loop. Owns the
 * table during the call. On failure (the transaction's memory is full): false, and the mail goes.
 */
#include "mail/revise.h"
#include "smtps/smtps.h"

#include <stdlib.h>

struct places {
	struct smtps_rcpt **rcpt; /* NULL: taken out */
	uint32_t *next;		  /* 1 + index of the next one of its slot; 0: none */
	uint32_t *slot;
	uint32_t mask, n;
};

static void put(struct places *p, struct smtps_rcpt *r)
{
	uint32_t *slot = &p->slot[revise_rcpt_hash(r->told) & p->mask];

	p->rcpt[p->n] = r;
	p->next[p->n] = *slot;
	*slot = ++p->n;
}

static void places_make(struct places *p, const struct smtps_tx *tx, unsigned more)
{
	size_t room = (size_t)tx->nrcpt + more + 1;
	uint32_t size = 16;
	struct smtps_rcpt *r;

	while (size < room)
		size *= 2;
	*p = (struct places){.rcpt = base_alloc(room * sizeof(struct smtps_rcpt *)),
	    .next = base_alloc(room * sizeof(*p->next)),
	    .slot = base_alloc(size * sizeof(*p->slot)),
	    .mask = size - 1};
	STAILQ_FOREACH(r, &tx->rcpts, next)
	put(p, r);
}

static void places_free(struct places *p)
{
	free(p->rcpt);
	free(p->next);
	free(p->slot);
}

/* As if it had not been said, with all that it stood for. */
static void take_out(struct smtps_tx *tx, struct places *p, struct meta1_buf addr)
{
	uint32_t *at = &p->slot[revise_rcpt_hash(addr) & p->mask];

	while (*at != 0) {
		uint32_t i = *at - 1;

		if (!revise_same_rcpt(p->rcpt[i]->told, addr)) {
			at = &p->next[i];
			continue;
		}
		p->rcpt[i] = NULL;
		*at = p->next[i];
		tx->nrcpt--;
	}
}

static bool has(const struct places *p, struct meta1_buf addr)
{
	uint32_t at = p->slot[revise_rcpt_hash(addr) & p->mask];

	while (at != 0 && !revise_same_rcpt(p->rcpt[at - 1]->told, addr))
		at = p->next[at - 1];
	return at != 0;
}

static bool add(struct smtps_tx *tx, struct places *p, struct meta1_buf addr)
{
	struct smtps_rcpt *r;

	if (has(p, addr))
		return true;
	r = pool_try(&tx->pool, sizeof(*r));
	if (r == NULL || tx->nrcpt >= SMTPS_RCPTS_MAX)
		return false;
	r->addr = r->told = buf_of(pool_strn(&tx->pool, addr.data, addr.len), addr.len);
	if (r->addr.data == NULL)
		return false;
	tx->expanded = true; /* each address once; and our line names nobody */
	tx->nrcpt++;
	put(p, r);
	return true;
}

static bool make(struct smtps_tx *tx, struct places *p, const struct meta1_pm_edit *e)
{
	if (e->kind == META1_PM_DEL_RCPT) {
		take_out(tx, p, e->value);
		return true;
	}
	if (addr_utf8(e->value))
		tx->flags |= META1_M_SMTPUTF8; /* it is one of RFC 6531 now */
	if (e->kind == META1_PM_ADD_RCPT)
		return add(tx, p, e->value);
	tx->from = buf_of(pool_strn(&tx->pool, e->value.len > 0 ? e->value.data : "", e->value.len),
	    e->value.len);
	return tx->from.data != NULL;
}

bool smtps_judged_envelope(struct smtps_tx *tx, const struct smtps_answer *a)
{
	struct places p;
	bool ok = true;

	if (a->nedit == 0)
		return true;
	places_make(&p, tx, a->nedit);
	for (unsigned i = 0; i < a->nedit && ok; i++)
		ok = make(tx, &p, &a->edit[i]);
	STAILQ_INIT(&tx->rcpts);
	for (uint32_t i = 0; i < p.n; i++)
		if (p.rcpt[i] != NULL)
			STAILQ_INSERT_TAIL(&tx->rcpts, p.rcpt[i], next);
	places_free(&p);
	return ok;
}
