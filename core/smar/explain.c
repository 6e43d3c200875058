/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain.c -- what would be said to this client, HELO, sender and recipient, and why: every
 * check with its keys, the reply, and the route of what is taken.
 * From the control socket; to check.c and route.c, the same code as live mail, without effects.
 * Owns one struct explain a request, at most 16, and a reference to the policy. On failure: 400 for
 * what smtps would not ask about, 503 when too many are under way.
 */
#include "smar/control.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define EXPLAIN_MAX    16
#define EXPLAIN_ROUTES 8 /* ways of a recipient that stands for others */
#define AT_MAIL	       (STAGE_CONNECT | STAGE_HELO | STAGE_MAIL)

struct explain {
	struct ctl_later *later;
	struct smar_policy *policy;
	const struct set_smtps *section;
	json_t *checks, *reply, *targets, *routes;
	char client[64], helo[256], auth[256], subject[1025], issuer[1025];
	char from[ADDR_PATH_MAX + 1], rcpt[ADDR_PATH_MAX + 1];
	uint32_t stages, grants;
	bool eight; /* the mail says BODY=8BITMIME */
	struct way {
		char domain[ADDR_DOMAIN_MAX + 1], from[ADDR_PATH_MAX + 1];
		char rcpt[ADDR_PATH_MAX + 1]; /* the first there */
		struct smar_route_by by;
	} way[EXPLAIN_ROUTES];
	unsigned nway, routed;
};
static struct {
	struct role *role;
	unsigned open;
	struct smar_policy *policy;
	void (*idle)(void);
} ctx;

static json_t *text_of(struct meta1_buf b)
{
	return json_stringn_nocheck(b.data ? b.data : "", b.len);
}

/* ---- the answer ---- */
static void finish(struct explain *x)
{
	json_t *o = json_object();

	json_object_set_new(o, "checks", x->checks);
	json_object_set_new(o, "reply", x->reply);
	json_object_set_new(o, "targets", x->targets);
	json_object_set_new(o, "routes", x->routes);
	json_object_set_new(
	    o, "listener", json_string(x->section->role.name ? x->section->role.name : "smtps"));
	json_object_set_new(o, "access", json_boolean((x->section->flags & SMTPS_F_ACCESS) != 0));
	json_object_set_new(
	    o, "delay_checks", json_boolean((x->section->flags & SMTPS_F_DELAY) != 0));
	ctl_answer(&x->later, o, 200, NULL);
	smar_policy_unref(&x->policy);
	free(x);
	if (--ctx.open == 0)
		ctx.idle();
}

static void next_route(struct explain *x);

static void routed(void *arg, const struct p_routes *r)
{
	struct explain *x = arg;
	const struct way *y = &x->way[x->routed++];

	json_array_append_new(x->routes, smar_control_route(r, &y->by, y->domain, y->from));
	next_route(x);
}

static void next_route(struct explain *x)
{
	struct smar_policy *p = x->policy;
	struct meta1_buf from;
	struct way *y;

	if (x->routed == x->nway) {
		finish(x);
		return;
	}
	y = &x->way[x->routed];
	from = buf_str(y->from);
	smar_route(p, p->dns,
	    &(struct smar_route_ask){.domain = buf_str(y->domain),
		.from = &from,
		.rcpt = buf_str(y->rcpt),
		.by = &y->by},
	    loop_now(p->loop) + proto_deadline(P_ROUTE), routed, x);
}

/* One way for all that goes to this domain from this sender; for each recipient, when rows may tell
 * them apart. */
static void add_way(struct explain *x, struct meta1_buf addr, struct meta1_buf from)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	struct way *y = &x->way[x->nway];

	if (x->nway == EXPLAIN_ROUTES || from.len >= sizeof(y->from) ||
	    smar_keys_split(addr, x->policy->hostname, local, domain) < 0)
		return;
	str_copy(y->domain, sizeof(y->domain), domain);
	if (from.len > 0)
		memcpy(y->from, from.data, from.len);
	y->from[from.len] = '\0';
	if (addr.len < sizeof(y->rcpt))
		memcpy(y->rcpt, addr.data, addr.len);
	y->rcpt[addr.len < sizeof(y->rcpt) ? addr.len : 0] = '\0';
	for (unsigned i = 0; i < x->nway; i++)
		if (!strcmp(x->way[i].domain, domain) && !strcmp(x->way[i].from, y->from) &&
		    (!x->policy->rcpt_conf || !strcmp(x->way[i].rcpt, y->rcpt)))
			return;
	x->nway++;
}

/* Members of a list with an owner get it from that one. */
static struct meta1_buf sender_to(
    const struct explain *x, const struct p_verdict *v, uint32_t target)
{
	uint64_t owner = target < v->owner.n ? v->owner.v[target] : 0;

	return owner > 0 && owner <= v->owners.n ? v->owners.v[owner - 1] : buf_str(x->from);
}

/* ---- the checks ---- */
static void traced(void *arg, const struct smar_trace *t)
{
	struct explain *x = arg;
	json_t *o = json_object(), *keys = json_array();

	for (unsigned i = 0; i < t->nkey; i++)
		json_array_append_new(keys, json_string_nocheck(t->key[i]));
	json_object_set_new(o, "stage", json_string(t->stage));
	json_object_set_new(o, "check", json_string(t->check));
	json_object_set_new(o, "skipped", json_boolean(t->skipped));
	json_object_set_new(o, "map", t->map ? json_string(t->map) : json_null());
	json_object_set_new(o, "keys", keys);
	json_object_set_new(o, "answer", t->answer ? json_string_nocheck(t->answer) : json_null());
	json_object_set_new(o, "effect", json_string_nocheck(t->effect));
	json_object_set_new(o, "us", json_integer(t->us));
	json_array_append_new(x->checks, o);
}

static void judged(void *arg, const struct p_verdict *v);

static void ask(struct explain *x, uint32_t stages)
{
	struct p_check q = {.stages = stages,
	    .client = buf_str(x->client),
	    .helo = buf_str(x->helo),
	    .from = buf_str(x->from),
	    .rcpt = buf_str(stages & STAGE_RCPT ? x->rcpt : ""),
	    .flags = x->section->flags | (x->eight ? CHECK_8BITMIME : 0),
	    .grants = x->grants,
	    .auth = buf_str(x->auth),
	    .tls = x->subject[0] || x->issuer[0] ? TLS_GOOD_CERT : TLS_OFF,
	    .cert_subject = buf_str(x->subject),
	    .cert_issuer = buf_str(x->issuer)};

	x->stages = stages;
	smar_check_explain(
	    x->policy, &q, loop_now(x->policy->loop) + proto_deadline(P_CHECK), judged, traced, x);
}

static void set_reply(struct explain *x, const struct p_verdict *v)
{
	static const char *const words[] = {[ACT_ACCEPT] = "accept",
	    [ACT_REJECT] = "reject",
	    [ACT_TEMPFAIL] = "tempfail",
	    [ACT_DISCARD] = "discard"};
	json_t *o = json_object();

	json_object_set_new(o, "to", json_string(x->stages & STAGE_RCPT ? "RCPT" : "MAIL"));
	json_object_set_new(o, "action", json_string(words[v->action]));
	json_object_set_new(o, "smtp", json_integer((json_int_t)v->smtp));
	json_object_set_new(o, "dsn", text_of(v->dsn));
	json_object_set_new(o, "text", text_of(v->text));
	json_object_set_new(o, "rule", text_of(v->rule));
	x->reply = o;
}

static uint32_t wanted(const struct explain *x)
{
	return smar_check_always(x->policy) |
	       (x->section->flags & SMTPS_F_ACCESS ? smar_check_stages(x->policy) : 0);
}

static void judged(void *arg, const struct p_verdict *v)
{
	struct explain *x = arg;

	if (!(x->stages & STAGE_RCPT) && v->action == ACT_ACCEPT) {
		x->grants = (uint32_t)v->grants;
		ask(x, wanted(x) & ~x->stages);
		return;
	}
	set_reply(x, v);
	if (v->action == ACT_ACCEPT) {
		for (uint32_t i = 0; i < v->targets.n; i++) {
			json_array_append_new(x->targets, text_of(v->targets.v[i]));
			add_way(x, v->targets.v[i], sender_to(x, v, i));
		}
		if (v->targets.n == 0)
			add_way(x, buf_str(x->rcpt), buf_str(x->from));
	}
	next_route(x);
}

/* ---- the request ---- */
static bool take(
    json_t *query, const char *name, char *out, size_t size, bool needed, struct meta1_err *err)
{
	const char *text = json_string_value(json_object_get(query, name));

	out[0] = '\0';
	if (text && strlen(text) < size) {
		str_copy(out, size, text);
		return true;
	}
	if (text || needed)
		err_set(err, "%s: expected a text of at most %zu bytes", name, size - 1);
	return !text && !needed;
}

bool smar_explain_path(json_t *query, const char *name, unsigned flags, char out[ADDR_PATH_MAX + 1],
    struct meta1_err *err)
{
	char text[ADDR_PATH_MAX + 3], path[ADDR_PATH_MAX + 3];
	struct addr a;
	size_t used;
	int n;

	if (!take(query, name, text, sizeof(text), true, err))
		return false;
	n = snprintf(path, sizeof(path), text[0] == '<' ? "%s" : "<%s>", text);
	if (n >= (int)sizeof(path) || addr_path(path, (size_t)n, flags, &a, &used, err) != 0 ||
	    used != (size_t)n) {
		err_set(err, "%s: \"%.80s\" is not an address that smtps would take", name, text);
		return false;
	}
	memcpy(out, a.whole.data, a.whole.len);
	out[a.whole.len] = '\0';
	return true;
}

static bool take_ip(json_t *query, char out[64], struct meta1_err *err)
{
	unsigned char ip[16];

	if (!take(query, "ip", out, 64, true, err))
		return false;
	if (inet_pton(AF_INET, out, ip) == 1 || inet_pton(AF_INET6, out, ip) == 1 ||
	    strcmp(out, "unix") == 0)
		return true;
	err_set(err, "ip: \"%.60s\": expected an address, or unix", out);
	return false;
}

static bool take_listener(json_t *query, const struct set_smtps **out, struct meta1_err *err)
{
	const struct settings *set = ctx.role->set;
	char name[65];

	if (!take(query, "listener", name, sizeof(name), false, err))
		return false;
	for (unsigned i = 0; i < set->nsmtps; i++) {
		*out = &set->smtps[i];
		if (!name[0] || ((*out)->role.name && strcasecmp((*out)->role.name, name) == 0))
			return true;
	}
	err_set(err, "listener: there is no \"smtps %.60s { … }\"", name);
	return false;
}

static bool take_body(json_t *query, bool *eight, struct meta1_err *err)
{
	char body[16];

	if (!take(query, "body", body, sizeof(body), false, err))
		return false;
	*eight = strcasecmp(body, "8BITMIME") == 0;
	if (*eight || !body[0] || strcasecmp(body, "7BIT") == 0)
		return true;
	err_set(err, "body: found \"%s\", expected 7BIT or 8BITMIME", body);
	return false;
}

static bool read_query(struct explain *x, json_t *query, struct meta1_err *err)
{
	return take_ip(query, x->client, err) && take_listener(query, &x->section, err) &&
	       take(query, "helo", x->helo, sizeof(x->helo), false, err) &&
	       take(query, "auth", x->auth, sizeof(x->auth), false, err) &&
	       take(query, "tls", x->subject, sizeof(x->subject), false, err) &&
	       take(query, "issuer", x->issuer, sizeof(x->issuer), false, err) &&
	       take_body(query, &x->eight, err) &&
	       smar_explain_path(query, "from", ADDR_NULL, x->from, err) &&
	       smar_explain_path(query, "to", ADDR_POSTMASTER, x->rcpt, err);
}

static json_t *get_explain(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct explain *x;
	uint32_t early;

	(void)arg, (void)rest;
	if (!ctx.policy || ctx.open >= EXPLAIN_MAX) {
		*status = 503;
		err_set(err, ctx.policy ? "16 explanations are under way" : "smar is stopping");
		return NULL;
	}
	x = base_alloc(sizeof(*x));
	if (!read_query(x, query, err)) {
		free(x);
		*status = 400;
		return NULL;
	}
	x->policy = smar_policy_ref(ctx.policy);
	x->checks = json_array();
	x->targets = json_array();
	x->routes = json_array();
	x->later = ctl_later();
	*status = CTL_LATER;
	ctx.open++;
	early = x->section->flags & SMTPS_F_DELAY ? 0 : wanted(x) & AT_MAIL;
	ask(x, early ? early : wanted(x));
	return NULL;
}

void smar_explain_add(struct role *role, struct ctl *ctl, void (*idle)(void))
{
	static const struct ctl_request requests[] = {
	    {"GET", "/v1/explain", CTL_READ, get_explain,
		"What would be said to ?ip=&helo=&from=&to=, each check with its keys, and the "
		"route."},
	};

	ctx.role = role;
	ctx.idle = idle;
	ctl_add(ctl, requests, ARRAY_LEN(requests), NULL);
}

void smar_explain_set(struct smar_policy *p)
{
	ctx.policy = p;
}

unsigned smar_explain_pending(void)
{
	return ctx.open;
}
