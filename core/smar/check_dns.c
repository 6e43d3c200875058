/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_dns.c -- steps of check.c about what the DNS says of client, HELO and sender: the name of
 * the client, DNS lists, SPF. Their answers are keys of the access map: cltresolve:, cltname:, the
 * tag of each list, spf:.
 * From check.c; to dns_client.c, dnsbl.c, spf.c and the access map. Owns the answers of the lists
 * while their rows are looked up. Each step has a share of the question's time, so that a name
 * server that does not answer delays a mail and never makes it wait for ever.
 * On failure: no name, nothing listed, temperror; rows decide what that means.
 */
#include "smar/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define SHARE	3     /* a third of the time that is left */
#define SLOW	256   /* questions remembered that the DNS could not answer */
#define SLOW_MS 30000 /* for so long: a mail to ten recipients does not wait ten times */

METRIC_COUNTER(m_listed, "dnsbl_refused_total", "Clients refused by the sum of DNS lists.");

static int64_t share(const struct check *c)
{
	int64_t now = loop_now(c->policy->loop);

	return now + (c->deadline - now) / SHARE;
}

/* ---- what the DNS could not say a moment ago ---- */
static struct {
	uint64_t key;
	int64_t until;
} slow[SLOW];

static uint64_t slow_key(
    const struct smar_policy *p, const char *what, const char *client, const char *domain)
{
	char text[600];
	int n = snprintf(text, sizeof(text), "%p %s %s %s", (void *)p->dns, what, client, domain);

	return XXH3_64bits(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

static void note_slow_of(
    const struct smar_policy *p, const char *what, const char *client, const char *domain)
{
	uint64_t key = slow_key(p, what, client, domain);

	slow[key % SLOW].key = key;
	slow[key % SLOW].until = loop_now(p->loop) + SLOW_MS;
}

static bool was_slow_of(
    const struct smar_policy *p, const char *what, const char *client, const char *domain)
{
	uint64_t key = slow_key(p, what, client, domain);

	return slow[key % SLOW].key == key && slow[key % SLOW].until > loop_now(p->loop);
}

static void note_slow(const struct check *c, const char *what, const char *domain)
{
	note_slow_of(c->policy, what, c->client, domain);
}

static bool was_slow(const struct check *c, const char *what, const char *domain)
{
	return was_slow_of(c->policy, what, c->client, domain);
}

bool smar_name_was_slow(const struct smar_policy *p, const char *client)
{
	return was_slow_of(p, "name", client, "");
}

void smar_name_slow(const struct smar_policy *p, const char *client)
{
	note_slow_of(p, "name", client, "");
}

/* ---- what is configured ---- */
bool check_names_on(const struct smar_policy *p)
{
	return p->client_names && p->dns;
}

bool check_dnsbl_client_on(const struct smar_policy *p)
{
	return p->dns && dnsbl_any(p->dnsbl, DNSBL_CLIENT);
}

bool check_dnsbl_helo_on(const struct smar_policy *p)
{
	return p->dns && dnsbl_any(p->dnsbl, DNSBL_HELO);
}

bool check_dnsbl_sender_on(const struct smar_policy *p)
{
	return p->dns && dnsbl_any(p->dnsbl, DNSBL_SENDER);
}

bool check_spf_on(const struct smar_policy *p)
{
	return p->spf && p->dns;
}

/* ---- the name of the client ---- */
static void named(void *arg, const struct dns_client *n)
{
	struct check *c = arg;

	c->resolved = true;
	c->resolve = n->result;
	check_ttl(c, n->ttl);
	snprintf(c->answer, sizeof(c->answer), "%s %.100s%.80s", dns_client_word(n->result),
	    n->name, n->why);
	if (n->result == CLIENT_TEMP)
		note_slow(c, "name", "");
	if (n->result == CLIENT_OK)
		str_copy(c->name, sizeof(c->name), n->name);
	check_go_on(c, "noted");
}

void check_name(struct check *c)
{
	if (!was_slow(c, "name", "")) {
		dns_client_ask(c->policy->dns, c->client, share(c), named, c);
		return;
	}
	c->resolved = true;
	c->resolve = CLIENT_TEMP;
	check_ttl(c, 0);
	check_go_on(c, "the DNS could not say a moment ago");
}

void check_cltresolve(struct check *c)
{
	if (!c->resolved) { /* postmaster's mail, or OK stood before */
		check_go_on(c, "not looked up");
		return;
	}
	smar_keys_word(&c->seek.keys, "cltresolve:", dns_client_word(c->resolve));
	check_access(c);
}

void check_cltname(struct check *c)
{
	if (!c->name[0]) {
		check_go_on(c, "no confirmed name");
		return;
	}
	smar_keys_host(&c->seek.keys, "cltname:", c->name);
	check_access(c);
}

/* ---- DNS lists ---- */
struct check_lists {
	struct dnsbl_found found;
	unsigned at; /* the hit whose row is looked up */
	char text[160];
	char unknown[64];
	struct dnsbl_hit hit[];
};

static void lists_over(struct check *c)
{
	struct check_lists *l = c->lists;
	char text[300];

	if (l->found.over) {
		m_listed.value += !c->trace;
		snprintf(text, sizeof(text), "refused because of DNS lists: %s", l->text);
		check_say(c, ACT_REJECT, 550, "5.7.1", text);
	} else if (l->found.unknown) {
		snprintf(text, sizeof(text), "the DNS list %s does not answer, try again later",
		    l->unknown);
		check_say(c, ACT_TEMPFAIL, 451, "4.4.3", text);
	} else {
		check_go_on(c, l->found.n > 0 ? "listed, no row and no sum decides" : "not listed");
	}
}

static void next_hit(struct check *c);

static void row_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;
	struct smar_access a;
	struct meta1_err err;

	if (f->status == META1_NOTFOUND ||
	    (f->status == META1_OK && smar_access_parse(f->value, &a, &err) == 0 &&
		a.rhs == RHS_CONT && !a.quick)) {
		c->looked = true;
		check_ttl(c, f->ttl);
		c->lists->at++;
		next_hit(c);
		return;
	}
	check_row(c, f);
}

static void next_hit(struct check *c)
{
	struct check_lists *l = c->lists;
	bool rows = c->policy->access.map && (c->flags & SMTPS_F_ACCESS);

	while (l->at < l->found.n && (!rows || !l->hit[l->at].tag[0]))
		l->at++;
	if (l->at == l->found.n) {
		lists_over(c);
		return;
	}
	snprintf(c->list_tag, sizeof(c->list_tag), "%s:", l->hit[l->at].tag);
	smar_keys_client(&c->seek.keys, c->list_tag, l->hit[l->at].answer);
	check_seek(c, &c->policy->access, row_found);
}

/* "zen 127.0.0.2, other 127.0.0.4" */
static void list_text(struct check_lists *l)
{
	size_t n = 0;

	for (unsigned i = 0; i < l->found.n && n < sizeof(l->text) - 1; i++) {
		int k = snprintf(l->text + n, sizeof(l->text) - n, "%s%s %s", i > 0 ? ", " : "",
		    l->hit[i].list, l->hit[i].answer);

		n += k > 0 ? (size_t)k : 0;
	}
}

static void listed(void *arg, const struct dnsbl_found *f)
{
	struct check *c = arg;
	struct check_lists *l = base_alloc(sizeof(*l) + f->n * sizeof(l->hit[0]));

	l->found = *f;
	if (f->n > 0)
		memcpy(l->hit, f->hit, f->n * sizeof(l->hit[0]));
	str_copy(l->unknown, sizeof(l->unknown), f->unknown ? f->unknown : "");
	list_text(l);
	free(c->lists);
	c->lists = l;
	check_ttl(c, f->ttl);
	snprintf(c->answer, sizeof(c->answer), "%s (sum %lld)", l->text, (long long)f->score);
	next_hit(c);
}

static void ask_lists(struct check *c, enum dnsbl_kind kind, const char *what)
{
	struct smar_policy *p = c->policy;

	if (c->ok)
		check_go_on(c, "OK stood before");
	else if (c->relay || c->relay_proof)
		check_go_on(c, "the client may relay");
	else
		dnsbl_ask(p->dnsbl, p->dns, p->loop, kind, what, share(c), listed, c);
}

void check_dnsbl_client(struct check *c)
{
	ask_lists(c, DNSBL_CLIENT, c->client);
}

void check_dnsbl_helo(struct check *c)
{
	ask_lists(c, DNSBL_HELO, c->helo ? c->helo : "");
}

/* The empty sender has our own domain here. */
void check_dnsbl_sender(struct check *c)
{
	ask_lists(c, DNSBL_SENDER, c->from_local[0] ? c->from_domain : "");
}

/* ---- SPF ---- */
static const char *spf_domain(const struct check *c)
{
	return c->from_local[0] ? c->from_domain : "";
}

static void spf_known(void *arg, const struct spf_answer *a)
{
	struct check *c = arg;

	if (a->result == SPF_TEMPERROR && !was_slow(c, "spf", spf_domain(c)))
		note_slow(c, "spf", spf_domain(c));
	check_ttl(c, a->ttl);
	c->spf = PROTO_SPF(a->result, a->helo);
	str_copy(c->spf_why, sizeof(c->spf_why), a->mechanism[0] ? a->mechanism : a->why);
	snprintf(c->answer, sizeof(c->answer), "%s, domain %.80s%s%.80s", spf_word(a->result),
	    a->domain, c->spf_why[0] ? ", " : "", c->spf_why);
	if (c->ok || !c->policy->access.map || !(c->flags & SMTPS_F_ACCESS)) {
		check_go_on(c, "noted");
		return;
	}
	smar_keys_word(&c->seek.keys, "spf:", spf_word(a->result));
	check_access(c);
}

void check_spf(struct check *c)
{
	struct smar_policy *p = c->policy;
	struct spf_question q = {
	    .client = c->client,
	    .helo = c->helo ? c->helo : "",
	    .local = c->from_local,
	    .domain = spf_domain(c),
	    .hostname = p->hostname,
	};

	if (c->relay || c->relay_proof)
		check_go_on(c, "the client may relay");
	else if (was_slow(c, "spf", q.domain))
		spf_known(c, &(struct spf_answer){.result = SPF_TEMPERROR,
				 .helo = !q.domain[0],
				 .why = "the DNS could not say a moment ago"});
	else
		spf_ask(p->dns, &q, share(c), spf_known, c);
}
