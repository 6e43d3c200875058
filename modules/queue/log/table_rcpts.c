/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table_rcpts.c -- what is recorded of each recipient of a waiting message.
 *
 * One recipient has its state in the message's record; more have an array of their own, made when
 * the first of them was tried. Outcomes may come before the envelope says how many there are.
 * Comes from: table.c, replay.c, manager.c. Goes to: checkpoint.c, page.c.
 * Owns: the arrays and their share of the texts. On failure (no memory): the caller is told,
 * the state stays as it was.
 */
#include "log.h"

#include <stdlib.h>
#include <string.h>

uint32_t table_nrst(const struct mrec *r)
{
	if (r->nrcpt == 1)
		return 1;
	return r->st.many != NULL ? r->st.many->n : 0;
}

const struct rst *table_rst(const struct mrec *r, uint32_t rcpt)
{
	if (rcpt >= table_nrst(r))
		return NULL;
	return r->nrcpt == 1 ? &r->st.one : &r->st.many->v[rcpt];
}

static void recount(struct mrec *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->nrcpt && i < table_nrst(r); i++)
		n += table_rst(r, i)->state != META1_R_WAITING;
	r->nfinal = n & 0x1fffff;
}

/* What was known of recipients that do not exist goes; the only one moves in. */
void table_expect(struct table *t, struct mrec *r, uint32_t nrcpt)
{
	struct rsts *many = r->st.many;
	struct rst one = {0};

	for (uint32_t i = nrcpt; many != NULL && i < many->n; i++) {
		texts_drop(&t->texts, many->v[i].reason);
		many->v[i].reason = 0;
	}
	r->nrcpt = nrcpt & 0x1fffff;
	if (nrcpt == 1) {
		if (many != NULL)
			one = many->v[0];
		free(many);
		r->st.one = one;
	}
	recount(r);
}

static struct rst *room(struct mrec *r, uint32_t rcpt)
{
	uint32_t n = r->nrcpt > 0 ? r->nrcpt : rcpt + 1, had = table_nrst(r);
	struct rsts *s;

	if (rcpt >= LOG_NRCPT_MAX || (r->nrcpt > 0 && rcpt >= r->nrcpt))
		return NULL;
	if (r->nrcpt == 1)
		return &r->st.one;
	if (rcpt >= had) {
		s = realloc(r->st.many, sizeof(*s) + n * sizeof(s->v[0]));
		if (s == NULL)
			return NULL;
		memset(s->v + had, 0, (n - had) * sizeof(s->v[0]));
		s->n = n;
		r->st.many = s;
	}
	return &r->st.many->v[rcpt];
}

bool table_outcome(struct table *t, uint32_t i, uint32_t rcpt, uint32_t state, uint32_t tries,
    int64_t next_try, const void *reason, size_t len)
{
	struct mrec *r = table_at(t, i);
	struct rst *s = room(r, rcpt);
	uint32_t text;

	if (s == NULL)
		return false;
	if (r->nrcpt > 0)
		r->nfinal =
		    (r->nfinal + (state != META1_R_WAITING) - (s->state != META1_R_WAITING)) &
		    0x1fffff;
	text = state == META1_R_WAITING ? texts_take(&t->texts, reason, len) : 0;
	texts_drop(&t->texts, s->reason);
	s->reason = text;
	s->state = (uint8_t)state;
	s->tries = tries < UINT16_MAX ? (uint16_t)tries : UINT16_MAX;
	s->next_try = next_try < 0 ? 0 : next_try < UINT32_MAX ? (uint32_t)next_try : UINT32_MAX;
	return true;
}

/* Over what the envelope says. */
void table_states(const struct table *t, const struct mrec *r, struct meta1_qrcpt *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct rst *s = table_rst(r, i);

		if (s == NULL)
			continue;
		v[i].state = s->state;
		v[i].tries = s->tries;
		v[i].next_try = s->next_try;
		v[i].reason = texts_get(&t->texts, s->reason);
	}
}

bool table_final(const struct mrec *r)
{
	return r->nrcpt > 0 && r->nfinal == r->nrcpt;
}

void table_drop_rcpts(struct texts *texts, struct mrec *r)
{
	for (uint32_t k = 0; k < table_nrst(r); k++)
		texts_drop(texts, table_rst(r, k)->reason);
	if (r->nrcpt != 1)
		free(r->st.many);
}
