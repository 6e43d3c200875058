/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_when.c -- which mail a filter judges; chain_when.h says when what is known.
 *
 * Comes from chain.c, with what is known of the session, and from meta1ctl explain. Owns the
 * networks of a filter. Pure. On failure: there is none; words that match nothing match nothing.
 */
#include "smtps/chain_when.h"
#include "mail/addr.h"

#include <stdlib.h>
#include <strings.h>

void chain_when_open(struct chain_when *w, const struct set_filter *set)
{
	w->set = set;
	w->clients = netlist_new(set->clients);
}

void chain_when_close(struct chain_when *w)
{
	netlist_free(&w->clients);
}

static bool given(const char *const *list)
{
	return list != NULL && *list != NULL;
}

/* Behind the last @, in the form in which domains are compared. */
static bool domain_of(struct meta1_buf addr, char *out, size_t size)
{
	const char *s = addr.data;
	size_t at = addr.len;

	while (at > 0 && s[at - 1] != '@')
		at--;
	return at > 0 && addr_domain_key(buf_of(s + at, addr.len - at), out, size) == 0;
}

static bool is_domain(const char *word, const char *domain)
{
	char want[ADDR_DOMAIN_MAX + 2];
	size_t n = strlen(domain), below = *word == '.', len;

	if (addr_domain_key(buf_str(word + below), want, sizeof(want)) < 0)
		return false;
	len = strlen(want);
	if (!below)
		return strcmp(want, domain) == 0;
	return n > len && domain[n - len - 1] == '.' && strcmp(domain + n - len, want) == 0;
}

bool chain_when_listed(const char *const *list, struct meta1_buf addr)
{
	char domain[ADDR_DOMAIN_MAX + 2];
	bool has = domain_of(addr, domain, sizeof(domain));

	for (; list != NULL && *list != NULL; list++) {
		if (strcmp(*list, "<>") == 0) {
			if (addr.len == 0)
				return true;
		} else if (strchr(*list, '@') != NULL) {
			if (buf_caseeq(addr, *list))
				return true;
		} else if (has && is_domain(*list, domain)) {
			return true;
		}
	}
	return false;
}

bool chain_when_rcpt(const struct chain_when *w, struct meta1_buf rcpt)
{
	return !given(w->set->recipients) || chain_when_listed(w->set->recipients, rcpt);
}

static bool listener(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcasecmp(*list, name) == 0)
			return true;
	return false;
}

static bool authenticated(int32_t want, bool is)
{
	return want == FILTER_AUTH_ANY || (want == FILTER_AUTH_YES) == is;
}

const char *chain_when_cause(const struct chain_when *w, const struct chain_facts *f)
{
	const struct set_filter *s = w->set;

	if (given(s->listeners) && f->listener != NULL && !listener(s->listeners, f->listener))
		return "listeners";
	if (given(s->clients) && !netlist_has(w->clients, f->client != NULL ? f->client : ""))
		return "clients";
	if ((f->known & CHAIN_K_MAIL) && !authenticated(s->authenticated, f->authenticated))
		return "authenticated";
	if ((f->known & CHAIN_K_MAIL) && given(s->senders) &&
	    !chain_when_listed(s->senders, f->from))
		return "senders";
	if ((f->known & CHAIN_K_RCPT) && given(s->recipients) && !f->rcpt)
		return "recipients";
	if ((f->known & CHAIN_K_SIZE) && f->bytes < (uint64_t)s->min_size)
		return "min_size";
	if ((f->known & CHAIN_K_SIZE) && s->max_size > 0 && f->bytes > (uint64_t)s->max_size)
		return "max_size";
	return NULL;
}

bool chain_when_rcpts(const struct chain_when *w)
{
	return given(w->set->recipients);
}

enum chain_is chain_when(const struct chain_when *w, const struct chain_facts *f)
{
	const struct set_filter *s = w->set;
	unsigned wants = 0;

	if (chain_when_cause(w, f) != NULL)
		return CHAIN_NO;
	if (given(s->listeners) && f->listener == NULL)
		return CHAIN_OPEN;
	if (s->authenticated != FILTER_AUTH_ANY || given(s->senders))
		wants |= CHAIN_K_MAIL;
	if (given(s->recipients))
		wants |= CHAIN_K_RCPT;
	if (s->min_size > 0 || s->max_size > 0)
		wants |= CHAIN_K_SIZE;
	return (wants & ~f->known) != 0 ? CHAIN_OPEN : CHAIN_YES;
}
