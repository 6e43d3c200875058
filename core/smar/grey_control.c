/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grey_control.c -- the greylist on smar's control socket: shown, and removed from, page by page.
 * From core/ctl/server.c; to grey.c. Owns nothing. A page is a part of the table, so that no
 * request walks the whole list in one turn; cursor: the place of the table that comes next.
 */
#include "smar/grey.h"

#include "ctl/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define PLACES 20000 /* of the table, at most, and */
#define ITEMS  500   /* entries, at least, in a page */

static const char *const kinds[] = {"grey", "white", "net"};

struct filter {
	const char *key, *state, *client, *sender, *recipient;
	char net[GREY_NET_MAX];
	bool any;
};

static const char *text_of(json_t *query, const char *name, bool *any)
{
	const char *s = json_string_value(json_object_get(query, name));

	*any |= s != NULL;
	return s;
}

static int read_filter(json_t *query, struct filter *f, struct meta1_err *err)
{
	f->any = false;
	f->key = text_of(query, "key", &f->any);
	f->state = text_of(query, "state", &f->any);
	f->client = text_of(query, "client", &f->any);
	f->sender = text_of(query, "sender", &f->any);
	f->recipient = text_of(query, "recipient", &f->any);
	f->net[0] = '\0';
	if (f->state && strcmp(f->state, kinds[0]) != 0 && strcmp(f->state, kinds[1]) != 0 &&
	    strcmp(f->state, kinds[2]) != 0)
		return err_set(err, "state: found %.40s, expected grey, white or net", f->state);
	if (f->client && !strchr(f->client, '/') &&
	    grey_net(&grey_role()->conf, f->client, f->net) < 0)
		return err_set(
		    err, "client: found %.60s, expected an address or a net as listed", f->client);
	return 0;
}

/* An address, or @domain; <> is the null sender. */
static bool address_is(const char *have, const char *want)
{
	const char *at = strrchr(have, '@');

	if (strcmp(want, "<>") == 0)
		return have[0] == '\0';
	return want[0] == '@' ? at && strcasecmp(at, want) == 0 : strcasecmp(have, want) == 0;
}

/* As an address is kept. */
static bool sender_is(const struct grey_entry *e, const char *want)
{
	char local[ADDR_PATH_MAX + 1], kept[GREY_ADDR_MAX + 1];
	const char *at = strrchr(want, '@');

	if (e->kind == GREY_NET || !at || at == want || (size_t)(at - want) >= sizeof(local))
		return e->kind != GREY_NET && address_is(grey_key_sender(e), want);
	memcpy(local, want, (size_t)(at - want));
	local[at - want] = '\0';
	grey_sender(local, at + 1, kept);
	return address_is(grey_key_sender(e), want) || address_is(grey_key_sender(e), kept);
}

static bool takes(const struct filter *f, const struct grey_entry *e)
{
	char id[GREY_ID_MAX];

	grey_id(e, id);
	return (!f->key || strcasecmp(f->key, id) == 0) &&
	       (!f->state || strcmp(f->state, kinds[e->kind]) == 0) &&
	       (!f->client || strcmp(e->key, f->net[0] ? f->net : f->client) == 0) &&
	       (!f->sender || sender_is(e, f->sender)) &&
	       (!f->recipient ||
		   (e->kind != GREY_NET && address_is(grey_key_recipient(e), f->recipient)));
}

static json_t *wall_of(uint32_t then)
{
	const struct grey_role *r = grey_role();

	return json_integer((json_int_t)(loop_wall(r->loop) - (grey_log_now(r->log) - then)));
}

static const char *state_of(const struct grey_entry *e)
{
	return e->kind == GREY_NET && e->white ? "white-net" : kinds[e->kind];
}

static json_t *row(const struct grey_entry *e)
{
	char id[GREY_ID_MAX];
	json_t *o;

	grey_id(e, id);
	o = json_pack("{s:s s:s s:s s:o s:o s:I}", "key", id, "state", state_of(e), "client",
	    e->key, "since", wall_of(e->first), "last", wall_of(e->last), "passes",
	    (json_int_t)e->passes);
	if (e->kind != GREY_NET) {
		json_object_set_new(o, "sender", json_string(grey_key_sender(e)));
		json_object_set_new(o, "recipient", json_string(grey_key_recipient(e)));
	}
	return o;
}

static void remove_entry(struct grey *g, struct grey_entry *e)
{
	if (g->changed)
		g->changed(g->arg, e, true);
	grey_drop(g, &e);
}

/* Entries of a page; old ones are not shown, and not worth removing. */
static json_t *page(const struct filter *f, json_t *query, bool removes)
{
	const struct grey_role *r = grey_role();
	const char *cursor = json_string_value(json_object_get(query, "cursor"));
	uint32_t at = cursor ? (uint32_t)strtoul(cursor, NULL, 10) : 0, n = 0, now;
	uint32_t end = at + PLACES < r->grey->nbucket ? at + PLACES : r->grey->nbucket;
	json_t *list = json_array(), *o = json_object();
	char next[16] = "";

	now = grey_log_now(r->log);
	for (; at < end && n < ITEMS; at++) {
		struct grey_entry *e = r->grey->bucket[at], *chain;

		for (; e; e = chain) {
			chain = e->chain;
			if (grey_old(&r->conf, e, now) || !takes(f, e))
				continue;
			n++;
			json_array_append_new(list, row(e));
			if (removes)
				remove_entry(r->grey, e);
		}
	}
	if (at < r->grey->nbucket)
		snprintf(next, sizeof(next), "%u", at);
	json_object_set_new(o, "entries", list);
	json_object_set_new(o, "next", json_string(next));
	return o;
}

static json_t *answer(json_t *query, bool removes, int *status, struct meta1_err *err)
{
	struct filter f;

	if (!grey_role()) {
		*status = 404;
		err_set(err, "smar has no greylisting section");
		return NULL;
	}
	*status = 400;
	if (read_filter(query, &f, err) < 0)
		return NULL;
	if (removes && !f.any && !json_object_get(query, "all")) {
		err_set(err, "which entries? a key, client, sender, recipient or state, or all=1");
		return NULL;
	}
	*status = 200;
	return page(&f, query, removes);
}

static json_t *get_list(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	(void)arg, (void)rest;
	return answer(query, false, status, err);
}

static json_t *delete_list(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	(void)arg, (void)rest;
	return answer(query, true, status, err);
}

static const struct ctl_request requests[] = {
    {"GET", "/v1/greylist", CTL_READ, get_list,
	"The greylist, a page; of ?key, client, sender, recipient, state those that fit."},
    {"DELETE", "/v1/greylist", CTL_ADMIN, delete_list,
	"Removes such entries, a page, and tells which; all=1 for all."},
};

void grey_control_add(struct ctl *ctl)
{
	ctl_add(ctl, requests, ARRAY_LEN(requests), NULL);
}
