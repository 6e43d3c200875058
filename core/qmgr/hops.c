/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hops.c -- what a destination carries: its next hops, and what smtpc has to know of them, as smar
 * said it last.
 *
 * Where a domain says what TLS must achieve (DANE, MTA-STS), mail that itself wants more of it, or
 * none (RFC 8689), has a line of its own there, a destination with the same hops: what is dead for
 * others because its certificate is not good enough is not dead for it. Each line has the limits of
 * the destination for itself.
 * Comes from route.c with an answer; goes to dispatch.c. Owns the hops. On failure: there is none.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>

/* ms that a need holds at least: with a time to live of nothing who waits would never go */
#define FRESH_MIN 60000

static size_t memory; /* of all hops */

size_t qmgr_hops_memory(void)
{
	return memory;
}

static void drop(struct qmgr_dest *d)
{
	memory -= d->hops ? d->hops->bytes : 0;
	free(d->hops);
	d->hops = NULL;
}

void qmgr_hops_let_go(struct qmgr_dest *d)
{
	drop(d);
	qmgr_reason_drop(&d->why);
	free(d->bounds);
	d->bounds = NULL;
}

static size_t strs_size(const struct proto_strs *s)
{
	size_t total = s->n * sizeof(*s->v);

	for (uint32_t i = 0; i < s->n; i++)
		total += s->v[i].len;
	return total;
}

/* A copy: the list stands at *list, the texts at *text; both are moved on. */
static struct proto_strs strs_copy(const struct proto_strs *s, struct meta1_buf **list, char **text)
{
	struct proto_strs out = {*list, s->n};

	for (uint32_t i = 0; i < s->n; i++) {
		if (s->v[i].len)
			memcpy(*text, s->v[i].data, s->v[i].len);
		*(*list)++ = buf_of(*text, s->v[i].len);
		*text += s->v[i].len;
	}
	return out;
}

static struct proto_nums nums_copy(const struct proto_nums *s, uint64_t **num)
{
	struct proto_nums out = {*num, s->n};

	for (uint32_t i = 0; i < s->n; i++)
		*(*num)++ = s->v[i];
	return out;
}

/* One block: the struct, the lists, the numbers, then all texts. */
static void set(struct qmgr_dest *d, const struct p_routes *m)
{
	size_t lists = (m->hops.n + m->conf.n + m->need.n) * sizeof(struct meta1_buf);
	size_t nums = (m->conf_of.n + m->secure.n + m->need_of.n) * sizeof(uint64_t);
	size_t bytes = sizeof(struct qmgr_hops) + nums + strs_size(&m->hops) + strs_size(&m->conf) +
		       strs_size(&m->need) + m->transport.len + 1;
	struct qmgr_hops *h = base_alloc(bytes);
	struct meta1_buf *list = (struct meta1_buf *)(void *)(h + 1);
	uint64_t *num = (uint64_t *)(void *)((char *)list + lists);
	char *text = (char *)num + nums;

	h->hop = strs_copy(&m->hops, &list, &text);
	h->conf = strs_copy(&m->conf, &list, &text);
	h->need = strs_copy(&m->need, &list, &text);
	h->conf_of = nums_copy(&m->conf_of, &num);
	h->secure = nums_copy(&m->secure, &num);
	h->need_of = nums_copy(&m->need_of, &num);
	h->conf_rcpt = m->conf_rcpt;
	h->transport = text;
	memcpy(text, m->transport.data, m->transport.len);
	drop(d);
	h->bytes = bytes;
	memory += bytes;
	d->hops = h;
}

static void fresh(struct qmgr *q, struct qmgr_dest *d, uint64_t ttl)
{
	int64_t ms = (int64_t)(ttl > 86400 ? 86400 : ttl) * 1000;

	d->fresh_until =
	    d->hops->need.n ? loop_now(q->loop) + (ms > FRESH_MIN ? ms : FRESH_MIN) : 0;
}

struct qmgr_dest *qmgr_hops_dest(struct qmgr *q, const struct p_routes *m, const char *line)
{
	size_t more = m->need.n && line ? strlen(line) : 0;
	char *key = base_alloc(m->key.len + more + 1);
	struct qmgr_dest *d;

	memcpy(key, m->key.data, m->key.len);
	memcpy(key + m->key.len, line ? line : "", more);
	d = qmgr_sched_dest(&q->sched, key, m->key.len + more);
	d->named = m->key.len;
	free(key);
	set(d, m);
	fresh(q, d, m->ttl);
	return d;
}
