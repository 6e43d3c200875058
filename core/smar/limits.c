/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limits.c -- which row of a map with a row a destination is its: of qmgr { conf { name = N; } },
 * which qmgr reads, and of tls_policy.
 * From route_answer.c, when the hosts are known, and route_tls.c, before; to seek.c; the row goes
 * back there. Owns one struct search a question.
 * On failure: a map that cannot say is temporary, since mail must not go faster than allowed, or
 * less protected, only because a file could not be read; a row that is too long is marked so.
 */
#include "smar/smar.h"

#include <stdlib.h>

struct search {
	struct smar_seek seek;
	const struct smar_use *use;
	char name[SMAR_LIMIT_NAMES][ADDR_DOMAIN_MAX + 1];
	unsigned n, at;
	int64_t deadline;
	bool rest; /* the row "." was met: it is for what has no other */
	struct smar_limits found;
	void (*fn)(void *arg, const struct smar_limits *);
	void *arg;
};

static void next(struct search *s);

static void end(struct search *s, enum meta1_status status)
{
	s->found.status = status;
	s->fn(s->arg, &s->found);
	free(s);
}

static void keep(struct search *s, const struct smar_found *f)
{
	size_t n = f->value.len < SMAR_ROW_MAX ? f->value.len : SMAR_ROW_MAX;

	s->found.cut = n < f->value.len;
	s->found.map = f->map;
	str_copy(s->found.row, sizeof(s->found.row), f->key);
	if (n)
		memcpy(s->found.text, f->value.data, n);
	s->found.text[n] = '\0';
}

static void found(void *arg, const struct smar_found *f)
{
	struct search *s = arg;
	bool rest = f->status == META1_OK && !strcmp(f->key, ".");

	if (f->ttl < s->found.ttl)
		s->found.ttl = f->ttl;
	if (f->status == META1_TEMPFAIL || f->status == META1_PERMFAIL) {
		end(s, META1_TEMPFAIL);
		return;
	}
	if (f->status == META1_OK && !(rest && s->rest))
		keep(s, f);
	s->rest = s->rest || rest;
	if (f->status == META1_OK && !rest) {
		s->found.own = s->at == 1;
		end(s, META1_OK);
	} else if (s->at < s->n) {
		next(s);
	} else {
		end(s, s->found.row[0] ? META1_OK : META1_NOTFOUND);
	}
}

static void next(struct search *s)
{
	smar_keys_domain(&s->seek.keys, s->name[s->at++]);
	smar_seek_start(&s->seek, s->use, s->deadline, found, s);
}

void smar_limits_find(const struct smar_use *use, const char *const *names, unsigned n,
    int64_t deadline, void (*fn)(void *arg, const struct smar_limits *), void *arg)
{
	struct search *s = base_alloc(sizeof(*s));

	s->use = use;
	s->deadline = deadline;
	s->fn = fn;
	s->arg = arg;
	s->found.ttl = UINT32_MAX;
	for (; s->n < n && s->n < SMAR_LIMIT_NAMES; s->n++)
		str_copy(s->name[s->n], sizeof(s->name[0]), names[s->n]);
	next(s);
}
