/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spf_term.c -- does a term of an SPF record match the client? RFC 7208 sections 4.6.4 and 5.
 * From spf.c; to dns.c and dns_client.c, and back by spf_go(). Owns nothing: the question is
 * spf.c's, a list of MX hosts is asked for side by side.
 * On failure: the DNS cannot say, TEMPERROR; more than the limits allow, PERMERROR; a name that is
 * none does not match.
 */
#include "smar/spf.h"

#include <strings.h>

static bool is_ip4(const struct spf *s)
{
	return s->addr.family == AF_INET;
}

static unsigned bits(const struct spf *s, const struct spf_term *t)
{
	return is_ip4(s) ? t->bits4 : t->bits6;
}

static const struct spf_term *current(const struct spf *s)
{
	const struct spf_frame *f = s->frame[s->depth - 1];

	return &f->rec.term[f->at];
}

/* The name that the term is about; false: none that the DNS could know. */
static bool target(const struct spf *s, const struct spf_term *t, char out[DNS_NAME_MAX])
{
	struct spf_values v;

	spf_values(s, &v);
	if (t->spec.len > 0)
		return spf_macro_domain(t->spec, &v, out);
	str_copy(out, DNS_NAME_MAX, v.domain);
	return true;
}

/* Notes an answer. false: it ends the question. */
static bool heard(struct spf *s, const struct dns_data *d, uint32_t ttl)
{
	if (d->status == META1_TEMPFAIL) {
		spf_error(s, SPF_TEMPERROR, "%s", d->why);
		return false;
	}
	spf_ttl(s, ttl);
	if (d->status == META1_NOTFOUND && ++s->voids > SPF_VOIDS) {
		spf_error(
		    s, SPF_PERMERROR, "more than %d terms name what does not exist", SPF_VOIDS);
		return false;
	}
	return true;
}

/* ---- a, exists ---- */
static void hosts(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct spf *s = arg;

	if (heard(s, d, ttl))
		spf_go(s, dns_addr_among(&s->addr, d, bits(s, current(s))));
}

static enum spf_step match_a(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)t;
	dns_ask(s->dns, name, dns_addr_type(&s->addr), s->deadline, hosts, s);
	return SPF_WAIT;
}

static void existing(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct spf *s = arg;

	if (heard(s, d, ttl))
		spf_go(s, d->status == META1_OK);
}

static enum spf_step match_exists(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)t;
	dns_ask(s->dns, name, DNS_A, s->deadline, existing, s);
	return SPF_WAIT;
}

/* ---- mx ---- */
static void mx_address(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct spf *s = arg;

	if (d->status == META1_TEMPFAIL) {
		s->failed = true;
		str_copy(s->why, sizeof(s->why), d->why);
	} else {
		spf_ttl(s, ttl);
	}
	s->matched = s->matched || dns_addr_among(&s->addr, d, bits(s, current(s)));
	if (--s->open > 0)
		return;
	if (s->failed && !s->matched)
		spf_error(s, SPF_TEMPERROR, "%s", s->why);
	else
		spf_go(s, s->matched);
}

static void exchangers(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct spf *s = arg;
	char name[DNS_NAMES_MAX][DNS_NAME_MAX];
	unsigned n = 0;

	if (!heard(s, d, ttl))
		return;
	if (d->n > DNS_NAMES_MAX) {
		spf_error(s, SPF_PERMERROR, "mx: %u hosts, more than %d", d->n, DNS_NAMES_MAX);
		return;
	}
	for (uint32_t i = 0; i < d->n; i++)
		if (dns_msg_name(d->rdata[i], 2, name[n], sizeof(name[n])) == 0 && name[n][0])
			n++;
	if (n == 0) {
		spf_go(s, false);
		return;
	}
	s->open = n;
	s->matched = s->failed = false;
	for (unsigned i = 0; i < n; i++)
		dns_ask(s->dns, name[i], dns_addr_type(&s->addr), s->deadline, mx_address, s);
}

static enum spf_step match_mx(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)t;
	dns_ask(s->dns, name, DNS_MX, s->deadline, exchangers, s);
	return SPF_WAIT;
}

/* ---- ptr ---- */
static bool is_or_below(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	return n >= d && strcasecmp(name + n - d, domain) == 0 &&
	       (n == d || name[n - d - 1] == '.');
}

/* An error is no match here: section 5.5. */
static void names(void *arg, const struct dns_names *f)
{
	struct spf *s = arg;
	char name[DNS_NAME_MAX];
	bool matched = false;

	spf_ttl(s, f->ttl);
	if (f->status == META1_NOTFOUND && ++s->voids > SPF_VOIDS) {
		spf_error(
		    s, SPF_PERMERROR, "more than %d terms name what does not exist", SPF_VOIDS);
		return;
	}
	if (target(s, current(s), name))
		for (unsigned i = 0; i < f->n; i++)
			matched = matched || (f->v[i].confirmed && is_or_below(f->v[i].name, name));
	spf_go(s, matched);
}

static enum spf_step match_ptr(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)t, (void)name;
	dns_names_ask(s->dns, &s->addr, DNS_NAMES_MAX, s->deadline, names, s);
	return SPF_WAIT;
}

/* ---- those that ask nobody, or another record ---- */
static enum spf_step match_all(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)s, (void)t, (void)name;
	return SPF_YES;
}

static enum spf_step match_ip4(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)name;
	return is_ip4(s) && dns_addr_within(&s->addr, t->ip, t->bits4) ? SPF_YES : SPF_NO;
}

static enum spf_step match_ip6(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)name;
	return !is_ip4(s) && dns_addr_within(&s->addr, t->ip, t->bits6) ? SPF_YES : SPF_NO;
}

static enum spf_step match_include(struct spf *s, const struct spf_term *t, const char *name)
{
	(void)t;
	return spf_include(s, name);
}

static const struct {
	bool asks; /* the DNS: counts */
	enum spf_step (*match)(struct spf *, const struct spf_term *, const char *name);
} kinds[] = {
    [SPF_ALL] = {false, match_all},
    [SPF_INCLUDE] = {true, match_include},
    [SPF_A] = {true, match_a},
    [SPF_MX] = {true, match_mx},
    [SPF_PTR] = {true, match_ptr},
    [SPF_IP4] = {false, match_ip4},
    [SPF_IP6] = {false, match_ip6},
    [SPF_EXISTS] = {true, match_exists},
};

/* The name of %{p}: the current domain, else one below it, else any (section 7.3). */
static void named(void *arg, const struct dns_names *f)
{
	struct spf *s = arg;
	const char *domain = s->frame[s->depth - 1]->domain, *below = NULL, *any = "unknown";

	for (unsigned i = f->n; i-- > 0;) {
		if (!f->v[i].confirmed)
			continue;
		any = f->v[i].name;
		if (is_or_below(any, domain) && (!below || strcasecmp(below, domain) != 0))
			below = any;
		if (strcasecmp(any, domain) == 0)
			below = any;
	}
	str_copy(s->name, sizeof(s->name), below ? below : any);
	spf_again(s);
}

void spf_name(struct spf *s)
{
	dns_names_ask(s->dns, &s->addr, DNS_NAMES_MAX, s->deadline, named, s);
}

enum spf_step spf_term(struct spf *s, const struct spf_term *t)
{
	char name[DNS_NAME_MAX] = "";

	if (spf_macro_name(t->spec) && !s->name[0]) {
		spf_name(s);
		return SPF_WAIT;
	}
	if (kinds[t->kind].asks) {
		if (++s->lookups > SPF_LOOKUPS)
			return spf_error(
			    s, SPF_PERMERROR, "more than %d terms need the DNS", SPF_LOOKUPS);
		if (!target(s, t, name))
			return t->kind == SPF_INCLUDE
				   ? spf_error(s, SPF_PERMERROR, "include: no domain name")
				   : SPF_NO;
	}
	return kinds[t->kind].match(s, t, name);
}
