/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsrpt_day.c -- the table of a day: domains, their policies, what failed and how often.
 * From tlsrpt.c and tlsrpt_json.c; no I/O. Owns what is in the table. On failure: kinds of failures
 * beyond the bound are counted by their result alone, policies beyond theirs under the last of the
 * kind.
 */
#include "smar/tlsrpt.h"

#include <stdlib.h>
#include <time.h>

static void free_policy(struct tlsrpt_policy *p)
{
	struct tlsrpt_failure *f;

	while ((f = p->failures) != NULL) {
		p->failures = f->next;
		for (unsigned i = 0; i < TLSRPT_PARTS; i++)
			free(f->part[i]);
		free(f);
	}
	free(p->strings);
	free(p->hosts);
	free(p);
}

void tlsrpt_domain_clear(struct tlsrpt_domain *e)
{
	struct tlsrpt_policy *p;

	while ((p = e->policies) != NULL) {
		e->policies = p->next;
		free_policy(p);
	}
	e->npolicy = e->nfailure = 0;
	e->dirty = false;
}

void tlsrpt_day_dirty(struct tlsrpt_day *d)
{
	for (struct tlsrpt_domain *e = d->domains; e; e = e->hh.next)
		e->dirty = e->policies != NULL;
}

void tlsrpt_day_free(struct tlsrpt_day *d)
{
	struct tlsrpt_domain *e, *next;

	HASH_ITER (hh, d->domains, e, next) {
		HASH_DEL(d->domains, e);
		tlsrpt_domain_clear(e);
		free(e->rua);
		free(e);
	}
}

struct tlsrpt_policy *tlsrpt_policy(
    struct tlsrpt_domain *d, enum tlsrpt_kind kind, const char *strings, const char *hosts)
{
	struct tlsrpt_policy *p, *like = NULL;

	for (p = d->policies; p; p = p->next) {
		if (p->kind == kind && strcmp(p->strings, strings) == 0)
			return p;
		like = p->kind == kind ? p : like;
	}
	if (d->npolicy == TLSRPT_POLICIES)
		return like;
	p = base_alloc(sizeof(*p));
	p->kind = kind;
	p->strings = base_strdup(strings);
	p->hosts = base_strdup(hosts);
	p->next = d->policies;
	d->policies = p;
	d->npolicy++;
	return p;
}

static bool same(const struct tlsrpt_failure *f, const char *const part[TLSRPT_PARTS])
{
	for (unsigned i = 0; i < TLSRPT_PARTS; i++)
		if (strcmp(f->part[i], part[i]) != 0)
			return false;
	return true;
}

static struct tlsrpt_failure *failure(struct tlsrpt_domain *d, struct tlsrpt_policy *p,
    enum tls_result r, const char *const part[TLSRPT_PARTS])
{
	static const char *const none[TLSRPT_PARTS] = {"", "", "", ""};
	struct tlsrpt_failure *f;

	for (;;) {
		for (f = p->failures; f; f = f->next)
			if (f->result == r && same(f, part))
				return f;
		if (d->nfailure < TLSRPT_FAILURES || part == none)
			break;
		part = none;
	}
	f = base_alloc(sizeof(*f));
	f->result = r;
	for (unsigned i = 0; i < TLSRPT_PARTS; i++)
		f->part[i] = base_strdup(part[i]);
	f->next = p->failures;
	p->failures = f;
	d->nfailure++;
	return f;
}

void tlsrpt_count(struct tlsrpt_domain *d, struct tlsrpt_policy *p, enum tls_result r, int64_t n,
    const char *const part[TLSRPT_PARTS])
{
	d->dirty = true;
	if (r == TLS_RESULT_GOOD) {
		p->good += n;
		return;
	}
	p->bad += n;
	failure(d, p, r, part)->n += n;
}

void tlsrpt_day_text(int64_t day, char out[12])
{
	time_t t = (time_t)(day * 86400);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 12, "%Y-%m-%d", &tm);
}
