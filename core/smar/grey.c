/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey.c -- the greylist in memory and its rules, told in grey.h. No I/O and no clock: who asks
 * says what time it is.
 * From check_grey.c through grey_role.c, from grey_log.c and grey_control.c. Owns the entries.
 * On failure: none; a full list forgets its oldest, a net with too many grey ones its own.
 */
#include "smar/grey.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define NETS_MIN      1024 /* places of the table of nets */
#define NET6_BITS     48   /* of a net's share */
#define REFRESH_PARTS 64   /* a use is written when this part of white_expire passed since */

_Static_assert(sizeof(struct grey_entry) + GREY_KEY_MAX + 16 <= GREY_ENTRY_MAX,
    "an entry is larger than told");

struct grey *grey_new(uint32_t max, uint64_t seed)
{
	struct grey *g = base_alloc(sizeof(*g));

	g->max = max;
	g->seed = seed;
	for (g->nbucket = 64; g->nbucket < max && g->nbucket < 1u << 30;)
		g->nbucket *= 2;
	g->bucket = base_alloc(g->nbucket * sizeof(struct grey_entry *));
	g->nnet = g->nbucket / 4 < NETS_MIN ? NETS_MIN : g->nbucket / 4;
	g->net = base_alloc(g->nnet * sizeof(*g->net));
	return g;
}

uint32_t grey_count(const struct grey *g)
{
	uint32_t n = 0;

	for (unsigned k = 0; k < GREY_KINDS; k++)
		n += g->list[k].n;
	return n;
}

/* ---- what one net may have ---- */
/* The grey ones of its net, and of the few others that share the place. */
static struct grey_list *net_of(const struct grey *g, const struct grey_entry *e)
{
	unsigned char ip[16];
	char text[GREY_NET_MAX];
	size_t n = str_copy(text, sizeof(text), e->key);

	text[strcspn(text, "/")] = '\0';
	if (strchr(text, ':') && inet_pton(AF_INET6, text, ip) == 1) {
		memcpy(text, ip, NET6_BITS / 8);
		n = NET6_BITS / 8;
	} else {
		n = strlen(text);
	}
	return &g->net[XXH3_64bits_withSeed(text, n, g->seed) & (g->nnet - 1)];
}

static void leave_net(struct grey *g, struct grey_entry *e)
{
	struct grey_list *l = net_of(g, e);

	*(e->net_older ? &e->net_older->net_newer : &l->oldest) = e->net_newer;
	*(e->net_newer ? &e->net_newer->net_older : &l->newest) = e->net_older;
	e->net_older = e->net_newer = NULL;
	l->n--;
}

static void join_net(struct grey *g, struct grey_entry *e)
{
	struct grey_list *l = net_of(g, e);

	e->net_newer = NULL;
	e->net_older = l->newest;
	*(l->newest ? &l->newest->net_newer : &l->oldest) = e;
	l->newest = e;
	l->n++;
}

/* e is the newest of its net: the oldest go until it has no more than its share. */
static void keep_to_share(struct grey *g, const struct grey_entry *e)
{
	uint32_t most = g->max / GREY_SHARE < GREY_SHARE_MIN ? GREY_SHARE_MIN : g->max / GREY_SHARE;
	struct grey_list *l = net_of(g, e);

	while (l->n > most) {
		struct grey_entry *oldest = l->oldest;

		grey_drop(g, &oldest);
		g->evicted++;
	}
}

/* ---- lists and table ---- */
static void unlink_entry(struct grey *g, struct grey_entry *e)
{
	struct grey_list *l = &g->list[e->kind];

	if (e->kind == GREY_GREY)
		leave_net(g, e);
	*(e->older ? &e->older->newer : &l->oldest) = e->newer;
	*(e->newer ? &e->newer->older : &l->newest) = e->older;
	e->older = e->newer = NULL;
	l->n--;
}

static void link_newest(struct grey *g, struct grey_entry *e, enum grey_kind kind)
{
	struct grey_list *l = &g->list[kind];

	e->kind = (uint8_t)kind;
	e->older = l->newest;
	*(l->newest ? &l->newest->newer : &l->oldest) = e;
	l->newest = e;
	l->n++;
	if (kind == GREY_GREY)
		join_net(g, e);
}

static struct grey_entry **place(const struct grey *g, const char *key, size_t len)
{
	return &g->bucket[XXH3_64bits_withSeed(key, len, g->seed) & (g->nbucket - 1)];
}

struct grey_entry *grey_find(const struct grey *g, const char *key, size_t len)
{
	struct grey_entry *e = *place(g, key, len);

	while (e && (e->len != len || memcmp(e->key, key, len) != 0))
		e = e->chain;
	return e;
}

void grey_drop(struct grey *g, struct grey_entry **ep)
{
	struct grey_entry *e = *ep, **at = place(g, e->key, e->len);

	*ep = NULL;
	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	unlink_entry(g, e);
	g->key_bytes -= e->len;
	free(e);
}

void grey_free(struct grey **gp)
{
	struct grey *g = *gp;

	*gp = NULL;
	if (!g)
		return;
	for (unsigned k = 0; k < GREY_KINDS; k++)
		while (g->list[k].oldest) {
			struct grey_entry *e = g->list[k].oldest;

			unlink_entry(g, e);
			free(e);
		}
	free(g->net);
	free(g->bucket);
	free(g);
}

/* Grey ones go first, then nets that are only counted or white, then white triples. */
static void evict(struct grey *g)
{
	static const enum grey_kind order[] = {GREY_GREY, GREY_NET, GREY_WHITE};
	struct grey_entry *e = NULL;

	for (unsigned i = 0; i < ARRAY_LEN(order) && !e; i++)
		e = g->list[order[i]].oldest;
	if (e)
		grey_drop(g, &e);
	g->evicted++;
}

struct grey_entry *grey_put(struct grey *g, const char *key, size_t len, enum grey_kind kind)
{
	struct grey_entry *e = grey_find(g, key, len), **at;

	if (e) {
		unlink_entry(g, e);
	} else {
		while (grey_count(g) >= g->max)
			evict(g);
		at = place(g, key, len);
		e = base_alloc(sizeof(*e) + len);
		e->len = (uint16_t)len;
		memcpy(e->key, key, len);
		e->chain = *at;
		*at = e;
		g->key_bytes += len;
	}
	link_newest(g, e, kind);
	if (kind == GREY_GREY)
		keep_to_share(g, e);
	return e;
}

static int by_last(const void *a, const void *b)
{
	const struct grey_entry *const *x = a, *const *y = b;

	return ((*x)->last > (*y)->last) - ((*x)->last < (*y)->last);
}

void grey_sort(struct grey *g)
{
	memset(g->net, 0, g->nnet * sizeof(*g->net));
	for (unsigned k = 0; k < GREY_KINDS; k++) {
		struct grey_list *l = &g->list[k];
		struct grey_entry **all = base_alloc((l->n + 1) * sizeof(*all)), *e = l->oldest;
		uint32_t n = 0;

		for (; e; e = e->newer)
			all[n++] = e;
		qsort(all, n, sizeof(*all), by_last);
		memset(l, 0, sizeof(*l));
		for (uint32_t i = 0; i < n; i++) {
			all[i]->newer = NULL;
			link_newest(g, all[i], k);
		}
		free(all);
	}
}

/* ---- rules ---- */
static uint32_t since(uint32_t now, uint32_t then)
{
	return now > then ? now - then : 0;
}

bool grey_old(const struct grey_conf *c, const struct grey_entry *e, uint32_t now)
{
	return e->kind == GREY_GREY ? since(now, e->first) > c->expire
				    : since(now, e->last) > c->white;
}

bool grey_sweep(struct grey *g, const struct grey_conf *c, uint32_t now, unsigned n)
{
	for (unsigned k = 0; k < GREY_KINDS; k++) {
		struct grey_entry *e;

		while ((e = g->list[k].oldest) && grey_old(c, e, now)) {
			if (n-- == 0)
				return false;
			grey_drop(g, &e);
		}
	}
	return true;
}

static void tell(struct grey *g, struct grey_entry *e)
{
	e->logged = e->last;
	if (g->changed)
		g->changed(g->arg, e, false);
}

/* A white one was used. */
static void used(struct grey *g, const struct grey_conf *c, struct grey_entry *e, uint32_t now)
{
	unlink_entry(g, e);
	link_newest(g, e, e->kind);
	e->last = now;
	e->passes++;
	if (since(now, e->logged) > c->white / REFRESH_PARTS)
		tell(g, e);
}

static void start_grey(struct grey *g, const char *key, size_t len, uint32_t now)
{
	struct grey_entry *e = grey_put(g, key, len, GREY_GREY);

	e->first = e->last = now;
	e->passes = 0;
	e->white = false;
	tell(g, e);
}

static bool to_confirm(const struct grey_conf *c, const struct grey_entry *e, uint32_t now)
{
	return c->reconfirm > 0 && since(now, e->first) > c->reconfirm;
}

/* A triple became white: one more for its net. */
static void count_net(struct grey *g, const struct grey_conf *c, const char *net, uint32_t now)
{
	size_t len = strlen(net) + 1;
	struct grey_entry *e = grey_find(g, net, len);
	bool fresh = !e || grey_old(c, e, now) || to_confirm(c, e, now);

	if (c->auto_white == 0)
		return;
	e = grey_put(g, net, len, GREY_NET);
	if (fresh) {
		e->first = now;
		e->passes = 0;
		e->white = false;
	}
	e->last = now;
	e->passes++;
	e->white |= e->passes >= c->auto_white;
	tell(g, e);
}

static bool net_white(
    struct grey *g, const struct grey_conf *c, const char *net, uint32_t now, bool look)
{
	struct grey_entry *e = grey_find(g, net, strlen(net) + 1);

	if (c->auto_white == 0 || !e || !e->white || grey_old(c, e, now) || to_confirm(c, e, now))
		return false;
	if (!look)
		used(g, c, e, now);
	return true;
}

static struct grey_said again(const struct grey_conf *c, const char *why)
{
	return (struct grey_said){.wait = c->wait, .why = why, .what = GREY_SAID_NEW};
}

/* A grey one came again. */
static struct grey_said retried(struct grey *g, const struct grey_conf *c, uint32_t now,
    const char *net, struct grey_entry *e, bool look)
{
	uint32_t age = since(now, e->first);

	if (age < c->wait) {
		if (!look) {
			e->last = now;
			unlink_entry(g, e);
			link_newest(g, e, GREY_GREY);
		}
		return (struct grey_said){
		    .wait = c->wait - age, .why = "came again too early", .what = GREY_SAID_EARLY};
	}
	if (!look) {
		unlink_entry(g, e);
		link_newest(g, e, GREY_WHITE);
		e->first = e->last = now;
		e->passes = 1;
		e->white = true;
		tell(g, e);
		count_net(g, c, net, now);
	}
	return (struct grey_said){
	    .pass = true, .why = "came again in time: white now", .what = GREY_SAID_PASSED};
}

struct grey_said grey_ask(struct grey *g, const struct grey_conf *c, uint32_t now, const char *net,
    const char *sender, const char *recipient, bool look)
{
	char key[GREY_KEY_MAX];
	int n = snprintf(key, sizeof(key), "%s%c%s%c%s", net, 0, sender, 0, recipient);
	size_t len = (size_t)n + 1;
	struct grey_said said = {.pass = true, .what = GREY_SAID_WHITE};
	struct grey_entry *e = grey_find(g, key, len);

	if (net_white(g, c, net, now, look)) {
		said.why = "the client's net is white";
		return said;
	}
	if (e && !grey_old(c, e, now) && e->kind == GREY_GREY)
		return retried(g, c, now, net, e, look);
	if (e && !grey_old(c, e, now) && !to_confirm(c, e, now)) {
		if (!look)
			used(g, c, e, now);
		said.why = "white";
		return said;
	}
	said = again(c, !e		       ? "first try"
			: e->kind == GREY_GREY ? "came again too late, as a first try"
			: grey_old(c, e, now)  ? "was white, too long ago"
					       : "was white, is to be confirmed again");
	if (!look)
		start_grey(g, key, len, now);
	return said;
}
