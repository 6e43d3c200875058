/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_user.c -- steps of check.c about who the recipient is: is its domain virtual, does it
 * exist, whom does it stand for.
 * From check.c; to seek.c and alias.c. What an alias stands for is in the verdict; when steps
 * follow (greylisting), a copy waits for it in the struct check, which owns it.
 */
#include "smar/check.h"
#include "smar/users.h"

#include <stdio.h>
#include <stdlib.h>

bool check_virtual_on(const struct smar_policy *p)
{
	return p->virtual_aliases.map || p->nvirtual > 0;
}

bool check_exists_on(const struct smar_policy *p)
{
	return check_virtual_on(p) || p->aliases.map || p->local_users.map;
}

static void now_virtual(struct check *c)
{
	c->local = c->virtual = true;
	check_go_on(c, "the domain is virtual");
}

static void virtual_found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;

	if (!check_found(c, f))
		return;
	if (f->status == META1_OK)
		now_virtual(c);
	else
		check_go_on(c, "the domain is not virtual");
}

void check_virtual(struct check *c)
{
	struct smar_policy *p = c->policy;

	if (c->local) {
		check_go_on(c, "the domain is local");
	} else if (smar_local_listed(p->virtual_domains, p->nvirtual, c->domain)) {
		now_virtual(c);
	} else if (!p->virtual_aliases.map) {
		check_go_on(c, "the domain is not virtual");
	} else {
		smar_keys_host(&c->seek.keys, "", c->domain);
		check_seek(c, &p->virtual_aliases, virtual_found);
	}
}

/* For the trace: the first targets, and how many there are. */
static void note_targets(struct check *c, const struct smar_expanded *e)
{
	size_t n = 0, size = sizeof(c->answer);

	for (uint32_t i = 0; i < e->n && n + 100 < size; i++)
		n += (size_t)snprintf(c->answer + n, size - n, "%s%.*s", i ? " " : "",
		    (int)(e->target[i].len < 60 ? e->target[i].len : 60),
		    (const char *)e->target[i].data);
	if (e->n > 1)
		snprintf(c->answer + n, size - n, " (%u in all)", e->n);
}

static struct meta1_buf *copy_strings(
    struct meta1_buf *to, const struct meta1_buf *v, uint32_t n, char **at)
{
	for (uint32_t i = 0; i < n; i++) {
		memcpy(*at, v[i].data, v[i].len);
		to[i] = buf_of(*at, v[i].len);
		*at += v[i].len;
	}
	return to;
}

/* What is told lives during the call only. The copy is one block: the struct, the addresses, the
 * numbers of owners, the bytes of the addresses. */
static struct smar_expanded *keep(const struct smar_expanded *e)
{
	size_t n = e->n, strings = n + e->nowner, bytes = 0;
	struct smar_expanded *own;
	struct meta1_buf *bufs;
	uint64_t *owner;
	char *at;

	for (size_t i = 0; i < n; i++)
		bytes += e->target[i].len;
	for (size_t i = 0; i < e->nowner; i++)
		bytes += e->owners[i].len;
	own = base_alloc(sizeof(*own) + strings * sizeof(*bufs) + n * sizeof(*owner) + bytes);
	bufs = (struct meta1_buf *)(own + 1);
	owner = (uint64_t *)(bufs + strings);
	at = (char *)(owner + n);
	*own = *e;
	own->dsn = own->text = NULL;
	own->target = copy_strings(bufs, e->target, e->n, &at);
	own->owners = copy_strings(bufs + n, e->owners, e->nowner, &at);
	for (size_t i = 0; i < n; i++)
		owner[i] = e->owner[i];
	own->owner = owner;
	return own;
}

static void stands_for(struct check *c, const struct smar_expanded *e)
{
	note_targets(c, e);
	if (c->postmaster || !check_grey_on(c->policy)) {
		c->expanded = e;
		check_accept(c);
		return;
	}
	c->expanded = c->own = keep(e);
	check_go_on(c, "it stands for others");
}

static void postmaster_found(void *arg, const struct smar_expanded *e);

/* Always taken: that of a virtual domain without a row of its own is ours. */
static void postmaster(struct check *c)
{
	char path[ADDR_DOMAIN_MAX + 12];
	struct meta1_buf target;
	static const uint64_t owner;
	struct smar_expanded e = {.status = META1_OK, .target = &target, .owner = &owner, .n = 1};

	if (!c->virtual) {
		check_go_on(c, "postmaster is always taken");
		return;
	}
	if (strcmp(c->domain, c->policy->hostname) != 0) {
		str_copy(c->domain, sizeof(c->domain), c->policy->hostname);
		smar_alias_expand(c->policy, c->local_part, c->domain, OURS_LOCAL,
		    c->from_domain[0] != '\0', c->deadline, postmaster_found, c);
		return;
	}
	snprintf(path, sizeof(path), "postmaster@%s", c->domain);
	target = buf_str(path);
	stands_for(c, &e);
}

static void postmaster_found(void *arg, const struct smar_expanded *e)
{
	struct check *c = arg;

	if (e->status == META1_OK && e->n > 0)
		stands_for(c, e);
	else if (e->status == META1_OK || e->status == META1_NOTFOUND || e->looped)
		postmaster(c);
	else
		check_say(c, e->status == META1_TEMPFAIL ? ACT_TEMPFAIL : ACT_REJECT, e->smtp,
		    e->dsn, e->text);
}

static void expanded(void *arg, const struct smar_expanded *e)
{
	struct check *c = arg;

	if (e->ttl < c->ttl)
		c->ttl = e->ttl;
	if (c->postmaster)
		postmaster_found(c, e);
	else if (e->status == META1_OK && e->n > 0)
		stands_for(c, e);
	else if (e->status == META1_OK)
		check_go_on(c, c->local ? "it exists" : "no alias");
	else
		check_say(c, e->status == META1_TEMPFAIL ? ACT_TEMPFAIL : ACT_REJECT, e->smtp,
		    e->dsn, e->text);
}

void check_exists(struct check *c)
{
	enum smar_ours ours = c->virtual ? OURS_VIRTUAL : c->local ? OURS_LOCAL : OURS_NO;

	if (smar_alias_idle(c->policy, ours))
		check_go_on(c, "no map of users or aliases is asked");
	else
		smar_alias_expand(c->policy, c->local_part, c->domain, ours,
		    c->from_domain[0] != '\0', c->deadline, expanded, c);
}
