/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dnsbl.c -- lists in the DNS: all lists of a kind are asked about a client or a domain side by
 * side, RFC 5782. What an answer means the access map says, or the sum of the weights.
 * From the checks; to dns.c. Owns the lists of one life of the configuration, their counts, and
 * one struct a question. Answers come from 127.0.0.0/8; what is outside belongs to a list that was
 * given up and whose domain answers everything, 127.255.255.x says that the list does not answer
 * us: neither is an answer. A list that fails again and again is left alone for a minute.
 * On failure: the list says nothing, or (on_timeout = temporary) the asker is told its name.
 */
#include "smar/smar.h"
#include "smar/spf.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define FAILURES 5     /* in a row, then the list rests */
#define REST_MS	 60000 /* that long */
#define ANSWERS	 8     /* of one list that are looked at */
#define TTL_MAX	 3600

METRIC_COUNTER(m_asked, "dnsbl_questions_total", "Questions sent to DNS lists.");
METRIC_COUNTER(m_listed, "dnsbl_listed_total", "Answers of DNS lists that something is listed.");
METRIC_COUNTER(m_failed, "dnsbl_failures_total", "Questions that a DNS list did not answer.");
METRIC_COUNTER(m_strange, "dnsbl_strange_total",
    "Answers of DNS lists outside 127.0.0.0/8, or that say that the list does not answer us.");

struct list {
	char *name, *domain, *tag;
	int64_t weight;
	enum dnsbl_kind kind;
	bool temporary;
	uint64_t asked, hits, failures, strange;
	unsigned row;		   /* failures since the last answer */
	int64_t rests, complained; /* monotonic ms: until then, when last */
};
struct dnsbl {
	struct list *list;
	unsigned n;
	int64_t threshold;
};

struct ask { /* of one list */
	struct question *q;
	struct list *list;
};
struct question {
	struct dnsbl *lists;
	struct loop *loop;
	unsigned open;
	struct dnsbl_found found;
	struct ask ask[DNSBL_LISTS];
	struct dnsbl_hit hit[DNSBL_LISTS * ANSWERS];
	dnsbl_fn fn;
	void *arg;
};

struct dnsbl *dnsbl_new(const struct set_smar *s)
{
	struct dnsbl *b;

	if (s->ndnsbl == 0)
		return NULL;
	b = base_alloc(sizeof(*b));
	b->threshold = s->dnsbl_threshold;
	b->list = base_alloc(s->ndnsbl * sizeof(*b->list));
	for (; b->n < s->ndnsbl && b->n < DNSBL_LISTS; b->n++) {
		const struct set_dnsbl *d = &s->dnsbl[b->n];
		struct list *l = &b->list[b->n];

		l->name = base_strdup(d->name);
		l->domain = base_strdup(d->domain);
		l->tag = base_strdup(d->tag);
		l->weight = d->weight;
		l->kind = d->looks_up == DNSBL_ON_HELO	   ? DNSBL_HELO
			  : d->looks_up == DNSBL_ON_SENDER ? DNSBL_SENDER
							   : DNSBL_CLIENT;
		l->temporary = d->on_timeout == DNSBL_TEMPORARY;
	}
	return b;
}

void dnsbl_free(struct dnsbl **bp)
{
	struct dnsbl *b = *bp;

	*bp = NULL;
	for (unsigned i = 0; b && i < b->n; i++) {
		free(b->list[i].name);
		free(b->list[i].domain);
		free(b->list[i].tag);
	}
	if (b)
		free(b->list);
	free(b);
}

static void count_on(struct list *l, const struct list *was)
{
	l->asked = was->asked;
	l->hits = was->hits;
	l->failures = was->failures;
	l->strange = was->strange;
	l->row = was->row;
	l->rests = was->rests;
	l->complained = was->complained;
}

void dnsbl_counts(struct dnsbl *b, const struct dnsbl *before)
{
	for (unsigned i = 0; b && i < b->n; i++)
		for (unsigned k = 0; before && k < before->n; k++)
			if (strcmp(b->list[i].name, before->list[k].name) == 0 &&
			    strcmp(b->list[i].domain, before->list[k].domain) == 0)
				count_on(&b->list[i], &before->list[k]);
}

bool dnsbl_any(const struct dnsbl *b, enum dnsbl_kind kind)
{
	for (unsigned i = 0; b && i < b->n; i++)
		if (b->list[i].kind == kind)
			return true;
	return false;
}

bool dnsbl_look(const struct dnsbl *b, unsigned i, int64_t now, struct dnsbl_view *v)
{
	const struct list *l;

	if (!b || i >= b->n)
		return false;
	l = &b->list[i];
	*v = (struct dnsbl_view){.name = l->name, .domain = l->domain, .tag = l->tag};
	v->weight = l->weight;
	v->asked = l->asked;
	v->hits = l->hits;
	v->failures = l->failures;
	v->strange = l->strange;
	v->resting = l->rests > now;
	return true;
}

/* ---- answers ---- */
static void failed(struct question *q, struct list *l, const char *why)
{
	int64_t now = loop_now(q->loop);

	l->failures++;
	m_failed.value++;
	if (++l->row < FAILURES)
		return;
	if (l->row == FAILURES)
		log_event(LOG_L_WARN, "smar.dnsbl",
		    "list=%s domain=%s failures=%u error=%s cause=%s", l->name, l->domain, l->row,
		    why, "it does not answer; it is asked once a minute until it does");
	l->rests = now + REST_MS;
}

/* Said once a minute: every mail may meet it. */
static void strange(struct question *q, struct list *l, const unsigned char *ip)
{
	int64_t now = loop_now(q->loop);

	l->strange++;
	m_strange.value++;
	if (l->complained && now - l->complained < REST_MS)
		return;
	l->complained = now;
	log_event(LOG_L_WARN, "smar.dnsbl", "list=%s domain=%s found=%u.%u.%u.%u cause=%s", l->name,
	    l->domain, ip[0], ip[1], ip[2], ip[3],
	    ip[0] != 127
		? "an answer of a DNS list is in 127.0.0.0/8; is the list gone? It is ignored"
		: "the list says that it does not answer us; it is ignored");
}

static bool known(const struct question *q, const struct list *l, const char *answer)
{
	for (unsigned i = 0; i < q->found.n; i++)
		if (q->hit[i].list == l->name && strcmp(q->hit[i].answer, answer) == 0)
			return true;
	return false;
}

static bool take(struct question *q, struct list *l, const struct dns_data *d)
{
	unsigned before = q->found.n;

	for (uint32_t i = 0; i < d->n && q->found.n - before < ANSWERS; i++) {
		const unsigned char *ip = d->rdata[i].data;
		struct dnsbl_hit *h = &q->hit[q->found.n];

		if (d->rdata[i].len != 4)
			continue;
		if (ip[0] != 127 || (ip[1] == 255 && ip[2] == 255)) {
			strange(q, l, ip);
			continue;
		}
		inet_ntop(AF_INET, ip, h->answer, sizeof(h->answer));
		if (known(q, l, h->answer))
			continue;
		h->list = l->name;
		h->tag = l->tag;
		h->weight = l->weight;
		q->found.n++;
	}
	return q->found.n > before;
}

static int in_order(const void *av, const void *bv)
{
	const struct dnsbl_hit *a = av, *b = bv;
	int c = strcmp(a->list, b->list);

	return c ? c : strcmp(a->answer, b->answer);
}

static void finish(struct question *q)
{
	qsort(q->hit, q->found.n, sizeof(q->hit[0]), in_order);
	q->found.hit = q->hit;
	q->found.over = q->lists->threshold > 0 && q->found.score >= q->lists->threshold;
	if (q->found.unknown)
		q->found.ttl = 0;
	q->fn(q->arg, &q->found);
	free(q);
}

static void answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct ask *a = arg;
	struct question *q = a->q;
	struct list *l = a->list;

	if (ttl < q->found.ttl)
		q->found.ttl = ttl;
	if (d->status == META1_TEMPFAIL) {
		if (!d->unasked)
			failed(q, l, d->why);
		if (l->temporary)
			q->found.unknown = l->name;
	} else {
		l->row = 0;
		l->rests = 0;
		if (take(q, l, d)) {
			l->hits++;
			m_listed.value++;
			q->found.score += l->weight;
		}
	}
	if (--q->open == 0)
		finish(q);
}

/* Nothing was asked: the end comes later all the same. */
static void nothing(void *arg, const struct dns_data *d, uint32_t ttl)
{
	(void)d, (void)ttl;
	finish(arg);
}

/* ---- questions ---- */
/* false: no such name can be in the DNS, so it is not listed. */
static bool make_name(
    enum dnsbl_kind kind, const struct mx_addr *a, const char *what, const char *zone, char *out)
{
	int n;

	if (kind == DNSBL_CLIENT)
		return dns_addr_reverse(a, zone, out, DNS_NAME_MAX) && spf_macro_label(out);
	n = snprintf(out, DNS_NAME_MAX, "%s.%s", what, zone);
	return n > 0 && n < DNS_NAME_MAX && spf_macro_label(out);
}

static void ask_list(
    struct question *q, struct dns *d, struct list *l, const char *name, int64_t deadline)
{
	struct ask *a = &q->ask[q->open++];

	*a = (struct ask){q, l};
	l->asked++;
	m_asked.value++;
	/* One question goes to a list that rests; those that come at the same time do not. */
	if (l->row >= FAILURES)
		l->rests = loop_now(q->loop) + REST_MS;
	dns_ask(d, name, DNS_A, deadline, answered, a);
}

/* Letters, digits, '-', '_' and dots: what else could be a domain is on no list. */
static bool is_domain(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n > 0 && s[n] == '\0' && s[0] != '.' && s[n - 1] != '.' && !strstr(s, "..");
}

void dnsbl_ask(struct dnsbl *b, struct dns *d, struct loop *loop, enum dnsbl_kind kind,
    const char *what, int64_t deadline, dnsbl_fn fn, void *arg)
{
	struct question *q = base_alloc(sizeof(*q));
	struct mx_addr a = {.family = 0};
	char name[DNS_NAME_MAX];
	bool can = kind == DNSBL_CLIENT ? dns_addr_parse(what, &a) : is_domain(what);

	q->lists = b;
	q->loop = loop;
	q->found.ttl = TTL_MAX;
	q->fn = fn;
	q->arg = arg;
	for (unsigned i = 0; can && i < b->n; i++) {
		struct list *l = &b->list[i];

		if (l->kind != kind || !make_name(kind, &a, what, l->domain, name))
			continue;
		if (l->rests <= loop_now(loop))
			ask_list(q, d, l, name, deadline);
		else if (l->temporary)
			q->found.unknown = l->name;
	}
	if (q->open == 0)
		dns_never(d, nothing, q);
}
