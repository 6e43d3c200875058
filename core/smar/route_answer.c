/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_answer.c -- the last step of a ROUTE: the hops are known, or there are none.
 * From route_hops.c, or any step that failed; to limits.c for the row of the destination in the map
 * of qmgr, then to hop_conf.c for those with options of smtpc; the answer goes to who asked
 * (smar.c, explain.c, control.c). Frees the question. On failure: what follows from a row, ours to
 * mend, is temporary and logged.
 */
#include "smar/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define TTL_MIN 10

METRIC_COUNTER(m_tempfail, "routes_tempfail_total", "Routes not known for now.");
METRIC_COUNTER(m_permfail, "routes_permfail_total", "Domains that take no mail.");

static void end(struct smar_route *r, const struct p_routes *out)
{
	log_event(LOG_L_DEBUG, "smar.route", "domain=%s status=%d hops=%u text=%.*s", r->domain,
	    (int)out->status, out->hops.n, (int)out->text.len, (const char *)out->text.data);
	r->fn(r->arg, out);
	for (unsigned i = 0; i < r->n; i++) {
		free(r->goal[i].need_row);
		smar_route_sts_done(&r->goal[i]);
		smar_route_dane_free(&r->goal[i]);
		free(r->goal[i].host);
	}
	free(r->text);
	free(r->rest);
	free(r->limits);
	for (unsigned i = 0; i < r->needs.n; i++)
		free(r->needs.text[i]);
	smar_policy_unref(&r->policy);
	free(r);
}

static uint32_t bounded_ttl(const struct smar_route *r)
{
	uint32_t ttl = r->ttl > SMAR_ROUTE_TTL_MAX ? SMAR_ROUTE_TTL_MAX : r->ttl;

	return ttl < TTL_MIN ? TTL_MIN : ttl;
}

void smar_route_fail(
    struct smar_route *r, enum meta1_status status, const char *dsn, const char *text)
{
	struct p_routes out = {.status = status, .text = buf_str(text)};
	char code[12];

	str_copy(code, sizeof(code), dsn);
	if (r->row && status == META1_PERMFAIL) {
		log_event(LOG_L_WARN, "smar.mailertable", "domain=%s key=%s error=%s", r->domain,
		    r->seek.key, text);
		out.status = META1_TEMPFAIL;
	}
	if (out.status == META1_TEMPFAIL) {
		code[0] = '4';
		m_tempfail.value++;
	} else {
		out.ttl = bounded_ttl(r);
		m_permfail.value++;
	}
	out.smtp = out.status == META1_TEMPFAIL ? 451 : 550;
	out.dsn = buf_str(code);
	end(r, &out);
}

/* The key: all hosts of all goals in the order in which they are tried. */
static void make_key(const struct smar_route *r, char *key, size_t size)
{
	struct mx_host *all;
	unsigned n = 0, most = 0;
	uint16_t rank = 0; /* of the row's targets and, in them, of preferences */
	bool lmtp = r->target[0].lmtp;
	char prefix[SET_TRANSPORT_NAME + 2] = "";

	for (unsigned i = 0; i < r->n; i++)
		most += r->goal[i].nhost + 1;
	all = base_alloc((most + 1) * sizeof(*all));
	for (unsigned i = 0; i < r->n; i++) {
		const struct smar_goal *g = &r->goal[i];

		rank++;
		if (g->status == META1_OK && smar_route_socket(g)) {
			str_copy(all[n].name, sizeof(all->name),
			    g->target->kind == TARGET_SOCKET ? r->policy->lmtp_path
							     : g->target->name);
			all[n++].pref = rank;
		}
		for (unsigned k = 0; k < g->nhost; k++) {
			rank += k > 0 && g->host[k].pref != g->host[k - 1].pref;
			all[n] = g->host[k];
			all[n].pref = rank;
			n += !g->host[k].barred;
		}
	}
	if (!smar_target_smtp(&r->target[0]))
		snprintf(prefix, sizeof(prefix), "%s:", smar_target_by(&r->target[0]));
	mx_key(all, n, lmtp ? SMAR_LMTP_PORT : r->policy->remote_port, prefix, key, size);
	free(all);
}

/* A row of the domain's own makes of it, or of those that share the row, a destination of its own:
 * another domain at the same hosts is not bound by it. So does a row of recipients. */
static void own_key(char *key, size_t size, const char *row)
{
	char with[SMAR_KEY_MAX + 256];
	size_t n = (size_t)snprintf(with, sizeof(with), "%s|%s", row, key);

	if (n < size)
		str_copy(key, size, with);
	else
		snprintf(key, size, "%.200s#%016llx", row,
		    (unsigned long long)XXH3_64bits(with, strlen(with)));
}

void smar_route_need(struct smar_route *r, unsigned i, const struct tls_need *n)
{
	char text[TLS_NEED_MAX + 1];
	unsigned k = 0;

	/* one that does not fit is none that can be met: smtpc refuses it */
	tls_need_print(n, text);
	while (k < r->needs.n && strcmp(r->needs.text[k], text) != 0)
		k++;
	if (k == r->needs.n && k == MX_HOPS)
		return;
	if (k == r->needs.n)
		r->needs.text[r->needs.n++] = base_strdup(text);
	r->needs.of[i] = k + 1;
}

/* The DNS proves that this host takes the mail of the domain. What the configuration says holds for
 * all mail that goes by the same row. */
static bool proven(const struct smar_route *r, unsigned i)
{
	return !r->row && (r->secure[i] & SECURE_NAME);
}

/* What is checked of TLS makes a destination too: the same hosts with another need are another. So
 * do proven hosts: REQUIRETLS sends mail to those alone, and whoever can forge the MX records of
 * one domain may have another that is signed and has the same hosts. */
static void need_key(const struct smar_route *r, char *key, size_t size)
{
	char check[TLS_NEED_MAX + 1], row[32];
	struct meta1_err err;
	bool any = r->needs.n > 0;
	struct tls_need n;
	XXH64_hash_t sum = 0;

	for (unsigned i = 0; i < r->nhop; i++) {
		uint64_t at = r->needs.of[i];

		check[0] = '\0';
		if (at > 0 && tls_need_parse(buf_str(r->needs.text[at - 1]), &n, &err) == 0)
			tls_need_check(&n, check);
		sum = XXH3_64bits_withSeed(check, strlen(check), sum + 2 * i + proven(r, i));
		any |= proven(r, i);
	}
	if (!any)
		return;
	snprintf(row, sizeof(row), "tls:%016llx", (unsigned long long)sum);
	own_key(key, size, row);
}

/* Rows with options of smtpc, as they stand in ROUTES. */
struct rows {
	struct meta1_buf text[MX_HOPS + 1], key[MX_HOPS + 1], error[MX_HOPS + 1];
};
static void give_rows(struct p_routes *out, const struct smar_hop_conf *c, struct rows *to)
{
	for (unsigned i = 0; i < c->n; i++) {
		to->text[i] = buf_str(c->row[i].text);
		to->key[i] = buf_str(c->row[i].key);
		to->error[i] = buf_str(c->row[i].error);
	}
	out->conf = (struct proto_strs){to->text, c->n};
	out->conf_row = (struct proto_strs){to->key, c->n};
	out->conf_error = (struct proto_strs){to->error, c->n};
	out->conf_of = (struct proto_nums){c->hop, c->n ? c->nhop : 0};
	out->conf_rcpt = c->rcpt;
}

static void end_ok(struct smar_route *r, const struct smar_hop_conf *conf)
{
	struct meta1_buf hop[MX_HOPS], need[MX_HOPS];
	struct p_routes out = {.status = META1_OK, .ttl = bounded_ttl(r)};
	struct rows rows;
	char key[256];

	for (unsigned i = 0; i < r->nhop; i++)
		hop[i] = buf_str(r->text[i]);
	make_key(r, key, sizeof(key));
	if (r->limits) {
		out.limits = buf_str(r->limits->text);
		out.limits_row = buf_str(r->limits->row);
		if (r->limits->own)
			own_key(key, sizeof(key), r->limits->row);
	}
	give_rows(&out, conf, &rows);
	out.secure = (struct proto_nums){r->secure, r->nhop};
	if (conf->rcpt && conf->row[conf->rcpt - 1].text[0])
		own_key(key, sizeof(key), conf->row[conf->rcpt - 1].key);
	need_key(r, key, sizeof(key));
	for (unsigned i = 0; i < r->needs.n; i++)
		need[i] = buf_str(r->needs.text[i]);
	out.need = (struct proto_strs){need, r->needs.n};
	out.need_of = (struct proto_nums){r->needs.of, r->needs.n ? r->nhop : 0};
	out.key = buf_str(key);
	out.transport = buf_str(smar_target_by(&r->target[0]));
	out.hops.v = hop;
	out.hops.n = r->nhop;
	end(r, &out);
}

void smar_route_ttl(struct smar_route *r, uint32_t ttl)
{
	if (ttl < r->ttl)
		r->ttl = ttl;
}

static void conf_found(void *arg, const struct smar_hop_conf *conf)
{
	struct smar_route *r = arg;

	smar_route_ttl(r, conf->ttl);
	if (conf->status == META1_TEMPFAIL)
		smar_route_fail(
		    r, META1_TEMPFAIL, "4.3.0", "the options of next hops cannot be read now");
	else
		end_ok(r, conf);
}

static void ask_conf(struct smar_route *r)
{
	smar_hop_conf_find(r->policy, (const char(*)[600])r->text, r->nhop, buf_str(r->rcpt),
	    r->deadline, conf_found, r);
}

static void limits_found(void *arg, const struct smar_limits *lim)
{
	struct smar_route *r = arg;

	smar_route_ttl(r, lim->ttl);
	if (lim->status == META1_TEMPFAIL) {
		smar_route_fail(r, META1_TEMPFAIL, "4.3.0", "the map of limits cannot be read now");
		return;
	}
	if (lim->status == META1_OK && strlen(lim->text) > SMAR_LIMIT_MAX) {
		log_event(LOG_L_WARN, "smar.limits", "map=%s key=%s error=%s", lim->map, lim->row,
		    "longer than 512 bytes; ignored");
	} else if (lim->status == META1_OK) {
		r->limits = base_alloc(sizeof(*r->limits));
		*r->limits = *lim;
	}
	ask_conf(r);
}

void smar_route_found(struct smar_route *r)
{
	const char *names[SMAR_LIMIT_NAMES] = {r->domain};
	unsigned n = 1;

	if (!r->policy->limits.map) {
		ask_conf(r);
		return;
	}
	for (unsigned i = 0; i < r->n; i++)
		for (unsigned k = 0; k < r->goal[i].nhost && n < SMAR_LIMIT_NAMES; k++)
			names[n++] = r->goal[i].host[k].name;
	smar_limits_find(&r->policy->limits, names, n, r->deadline, limits_found, r);
}
