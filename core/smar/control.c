/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c -- what smar answers on its control socket: where a domain goes, what the name servers
 * do (control_dns.c), what maps do (control_maps.c), and forgetting what the DNS said.
 * From core/ctl/server.c; to route.c and dns.c. Owns the table of routes asked for here.
 * A route may need the DNS and the control socket does not wait, so the first request starts
 * the question and says "pending"; the same request a little later has the answer.
 */
#include "smar/control.h"

#include <meta1/transport.h>
#include <stdio.h>

#define KEPT	16 /* questions */
#define KEEP_MS 5000
#define ROUTE                                                                                      \
	"route " /* keys of routes: recipient or hop, a line's end, sender in <> or -, domain */

struct asked {
	char key[sizeof(ROUTE) + 2 * ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 305];
	struct smar_route_by by;
	json_t *answer; /* NULL: pending */
	int64_t at;
	bool used, pending;
};
static struct {
	struct loop *loop;
	struct smar_policy *policy;
	struct dns *dns;
	void (*idle)(void);
	unsigned pending;
	struct asked asked[KEPT];
} ctx;

static json_t *json_buf(struct meta1_buf b)
{
	return json_stringn_nocheck(b.data ? b.data : "", b.len);
}

/* The answer, with what smtpc saw of its destination up to now; nothing when it did not see it. */
static json_t *with_offers(json_t *answer)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} offer[] = {{META1_OFFER_SMTPUTF8, "SMTPUTF8"}, {META1_OFFER_8BITMIME, "8BITMIME"},
	    {META1_OFFER_PIPELINING, "PIPELINING"}, {META1_OFFER_SIZE, "SIZE"},
	    {META1_OFFER_DSN, "DSN"}};
	uint32_t offers;
	uint64_t max_size;
	json_t *o = json_copy(answer), *list;
	struct meta1_buf key = buf_str(json_string_value(json_object_get(o, "key")));

	if (!ctx.policy->caps ||
	    !smar_caps_known(ctx.policy->caps, key, loop_now(ctx.loop), &offers, &max_size))
		return o;
	list = json_array();
	for (unsigned i = 0; i < ARRAY_LEN(offer); i++)
		if (offers & offer[i].bit)
			json_array_append_new(list, json_string(offer[i].name));
	json_object_set_new(o, "offers", list);
	if (max_size > 0)
		json_object_set_new(o, "max_size", json_integer((json_int_t)max_size));
	return o;
}

/* Rows with options of smtpc, each with the hops that it is for. */
static json_t *rows_json(const struct p_routes *r)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->conf.n; i++) {
		json_t *o = json_object(), *hops = json_array();

		for (uint32_t k = 0; k < r->conf_of.n && k < r->hops.n; k++)
			if (r->conf_of.v[k] == i + 1)
				json_array_append_new(hops, json_buf(r->hops.v[k]));
		json_object_set_new(o, "row", json_buf(r->conf_row.v[i]));
		json_object_set_new(o, "text", json_buf(r->conf.v[i]));
		json_object_set_new(o, "error", json_buf(r->conf_error.v[i]));
		json_object_set_new(o, "recipient", json_boolean(r->conf_rcpt == i + 1));
		json_object_set_new(o, "hops", hops);
		json_array_append_new(list, o);
	}
	return list;
}

/* What is proven of each hop. */
static json_t *secure_json(const struct p_routes *r)
{
	static const char *const words[] = {[0] = "nothing",
	    [SECURE_NAME] = "name",
	    [SECURE_ADDR] = "address",
	    [SECURE_NAME | SECURE_ADDR] = "all"};
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->secure.n; i++)
		json_array_append_new(list, json_string(words[r->secure.v[i] & 3]));
	return list;
}

/* What TLS must achieve towards each hop; null: what the options of smtpc say. */
static json_t *needs_json(const struct p_routes *r)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->hops.n; i++) {
		uint64_t at = i < r->need_of.n ? r->need_of.v[i] : 0;

		json_array_append_new(list, at ? json_buf(r->need.v[at - 1]) : json_null());
	}
	return list;
}

static json_t *json_by(const struct smar_route_by *by)
{
	json_t *o = json_object();

	json_object_set_new(o, "rule", json_string(by->rule));
	json_object_set_new(o, "map", by->row ? json_string(by->map) : json_null());
	json_object_set_new(o, "key", by->row ? json_string_nocheck(by->key) : json_null());
	json_object_set_new(o, "value", by->row ? json_string_nocheck(by->value) : json_null());
	return o;
}

json_t *smar_control_route(
    const struct p_routes *r, const struct smar_route_by *by, const char *domain, const char *from)
{
	static const char *const status[] = {
	    [META1_OK] = "ok", [META1_TEMPFAIL] = "tempfail", [META1_PERMFAIL] = "permfail"};
	json_t *o = json_object(), *hops = json_array();

	for (uint32_t i = 0; i < r->hops.n; i++)
		json_array_append_new(hops, json_buf(r->hops.v[i]));
	json_object_set_new(o, "domain", json_string(domain));
	json_object_set_new(o, "from", from ? json_string_nocheck(from) : json_null());
	json_object_set_new(o, "by", json_by(by));
	json_object_set_new(o, "status", json_string(status[r->status]));
	json_object_set_new(o, "transport", json_buf(r->transport));
	json_object_set_new(o, "key", json_buf(r->key));
	json_object_set_new(o, "hops", hops);
	json_object_set_new(o, "rows", rows_json(r));
	json_object_set_new(o, "secure", secure_json(r));
	json_object_set_new(o, "tls", needs_json(r));
	json_object_set_new(o, "limits", json_buf(r->limits));
	json_object_set_new(o, "limits_row", json_buf(r->limits_row));
	json_object_set_new(o, "ttl", json_integer((json_int_t)r->ttl));
	if (r->status != META1_OK) {
		json_object_set_new(o, "smtp", json_integer((json_int_t)r->smtp));
		json_object_set_new(o, "dsn", json_buf(r->dsn));
		json_object_set_new(o, "text", json_buf(r->text));
	}
	return o;
}

static void routed(void *arg, const struct p_routes *r)
{
	struct asked *a = arg;
	const char *domain = strrchr(a->key, ' ') + 1, *sender = strchr(a->key, '\n') + 1;
	char from[sizeof(a->key)];

	str_copy(from, sizeof(from), sender + 1);
	if (*sender == '<')
		from[domain - sender - 3] = '\0'; /* without "> " */
	smar_control_answer(a, smar_control_route(r, &a->by, domain, *sender == '<' ? from : NULL));
}

static void forget(struct asked *a)
{
	json_decref(a->answer);
	memset(a, 0, sizeof(*a));
}

/* The entry for the key, a free one, or NULL when all are pending. */
static struct asked *find(const char *key)
{
	struct asked *spare = NULL;

	for (unsigned i = 0; i < KEPT; i++) {
		struct asked *a = &ctx.asked[i];

		if (a->used && !a->pending && loop_now(ctx.loop) - a->at > KEEP_MS)
			forget(a);
		if (a->used && strcmp(a->key, key) == 0)
			return a;
		if (!a->pending && (!spare || !a->used))
			spare = a;
	}
	return spare;
}

struct asked *smar_control_asked(const char *key, bool *fresh, int *status, struct meta1_err *err)
{
	struct asked *a = find(key);

	*fresh = false;
	if (!a || strlen(key) >= sizeof(a->key)) {
		*status = 503;
		err_set(err, "%d questions are under way", KEPT);
		return NULL;
	}
	if (a->used && strcmp(a->key, key) == 0)
		return a;
	forget(a);
	a->used = a->pending = *fresh = true;
	ctx.pending++;
	str_copy(a->key, sizeof(a->key), key);
	return a;
}

void smar_control_answer(struct asked *a, json_t *answer)
{
	a->answer = answer;
	a->pending = false;
	a->at = loop_now(ctx.loop);
	if (--ctx.pending == 0)
		ctx.idle();
}

json_t *smar_control_answered(struct asked *a)
{
	return a->pending ? NULL : json_incref(a->answer);
}

struct dns *smar_control_resolver(void)
{
	return ctx.dns;
}

struct smar_policy *smar_control_policy(void)
{
	return ctx.policy;
}

struct loop *smar_control_loop(void)
{
	return ctx.loop;
}

struct where { /* the domain that is asked about, and the recipient there, or a next hop */
	char domain[ADDR_DOMAIN_MAX + 1], rcpt[ADDR_PATH_MAX + 1], hop[300]; /* "": none */
};

static json_t *route_of(
    const struct where *w, const struct meta1_buf *from, int *status, struct meta1_err *err)
{
	char key[sizeof(ctx.asked[0].key)];
	struct asked *a;
	bool fresh;

	if (from)
		snprintf(key, sizeof(key), ROUTE "%s%s\n<%s> %s", w->rcpt, w->hop,
		    (const char *)from->data, w->domain);
	else
		snprintf(key, sizeof(key), ROUTE "%s%s\n- %s", w->rcpt, w->hop, w->domain);
	a = smar_control_asked(key, &fresh, status, err);
	if (!a)
		return NULL;
	if (fresh)
		smar_route(ctx.policy, ctx.dns,
		    &(struct smar_route_ask){.domain = buf_str(w->domain),
			.via = buf_str(w->hop),
			.from = from,
			.rcpt = buf_str(w->rcpt),
			.by = &a->by},
		    loop_now(ctx.loop) + proto_deadline(P_ROUTE), routed, a);
	if (a->pending)
		return json_pack("{s:s, s:b}", "domain", w->domain, "pending", 1);
	return with_offers(a->answer);
}

/* As mail for a domain of the host's name; for ours when it is an address. */
static bool to_hop(const char *text, struct where *w, struct meta1_err *err)
{
	struct smar_target target[SMAR_TARGETS];
	unsigned n;

	if (smar_mailertable_parse(buf_str(text), ctx.policy->transports, target, &n, err) < 0)
		return false;
	if (n > 1 || strlen(text) >= sizeof(w->hop)) {
		err_set(err, "hop: expected one next hop, as the mailertable has them");
		return false;
	}
	str_copy(w->hop, sizeof(w->hop), text);
	if (target->kind == TARGET_HOST || target->kind == TARGET_MX)
		str_copy(w->domain, sizeof(w->domain), target->name);
	return true;
}

static bool whereto(json_t *query, struct where *w, struct meta1_err *err)
{
	const char *text = json_string_value(json_object_get(query, "domain"));
	const char *hop = json_string_value(json_object_get(query, "hop"));
	char local[ADDR_PATH_MAX + 1];

	*w = (struct where){.domain = ""};
	if (hop)
		return to_hop(hop, w, err);
	if (json_object_get(query, "recipient")) {
		err_set(err, "recipient: expected an address");
		return smar_explain_path(query, "recipient", ADDR_POSTMASTER, w->rcpt, err) &&
		       smar_keys_split(buf_str(w->rcpt), ctx.policy->hostname, local, w->domain) ==
			   0;
	}
	if (text && addr_domain_key(buf_str(text), w->domain, sizeof(w->domain)) == 0)
		return true;
	err_set(err, "expected ?domain=NAME, ?recipient=ADDRESS or ?hop=NEXTHOP");
	return false;
}

static json_t *get_route(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	char path[ADDR_PATH_MAX + 1];
	bool sender = json_object_get(query, "from") != NULL;
	struct meta1_buf from;
	struct where w;

	(void)arg, (void)rest;
	*status = 400;
	err_set(err, "smar is stopping");
	if (!ctx.policy || !whereto(query, &w, err))
		return NULL;
	if (sender && !smar_explain_path(query, "from", ADDR_NULL, path, err))
		return NULL;
	*status = 200;
	from = buf_str(sender ? path : "");
	return route_of(&w, sender ? &from : NULL, status, err);
}

static json_t *delete_cache(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	(void)arg, (void)rest, (void)query, (void)status, (void)err;
	return json_pack("{s:i}", "forgotten", ctx.dns ? (int)dns_forget(ctx.dns) : 0);
}

static const struct ctl_request requests[] = {
    {"GET", "/v1/route", CTL_READ, get_route,
	"Where mail for ?domain=NAME or ?recipient=ADDRESS goes, or by ?hop=NEXTHOP, from this "
	"sender with &from=; "
	"\"pending\" while the DNS is asked."},
    {"GET", "/v1/dns", CTL_READ, smar_control_dns,
	"The name servers and DNS lists; with ?name=NAME&type=A a question to them."},
    {"DELETE", "/v1/dns-cache", CTL_ADMIN, delete_cache, "Forgets what the DNS said."},
};

void smar_control_add(struct loop *l, struct mod_host *host, struct ctl *ctl, void (*idle)(void))
{
	ctx.loop = l;
	ctx.idle = idle;
	smar_control_maps_add(l, host, ctl, idle);
	ctl_add(ctl, requests, ARRAY_LEN(requests), NULL);
}

void smar_control_set(struct smar_policy *p, struct dns *d)
{
	ctx.policy = p;
	ctx.dns = d;
	smar_control_maps_set(p);
}

unsigned smar_control_pending(void)
{
	return ctx.pending + smar_control_maps_pending();
}

void smar_control_free(void)
{
	smar_control_set(NULL, NULL);
	for (unsigned i = 0; i < KEPT; i++)
		forget(&ctx.asked[i]);
}
