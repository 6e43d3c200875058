/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_dns.c -- the DNS on smar's control socket: how name servers and lists do, and questions
 * to them as mail would ask them.
 * From control.c; to dns.c and dnsbl.c. Owns nothing: a question under way is control.c's.
 */
#include "smar/control.h"

#include <stdio.h>
#include <strings.h>

static const struct {
	const char *name;
	uint16_t type;
} types[] = {
    {"A", DNS_A},
    {"AAAA", DNS_AAAA},
    {"CNAME", DNS_CNAME},
    {"MX", DNS_MX},
    {"NS", DNS_NS},
    {"PTR", DNS_PTR},
    {"SOA", DNS_SOA},
    {"TLSA", DNS_TLSA},
    {"TXT", DNS_TXT},
};

static json_t *servers(void)
{
	json_t *list = json_array();
	unsigned n;
	const struct dns_server *s = dns_server_list(smar_control_resolver(), &n);

	for (unsigned i = 0; i < n; i++, s++)
		json_array_append_new(
		    list, json_pack("{s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:s, s:I}",
			      "address", s->text, "trusted", s->trusted, "random_case", !s->folds,
			      "edns", dns_server_edns(s, loop_now(smar_control_loop())), "asked",
			      (json_int_t)s->asked, "answered", (json_int_t)s->answered, "timeouts",
			      (json_int_t)s->timeouts, "errors", (json_int_t)s->errors,
			      "latency_ms", (json_int_t)s->msec, "last_error", s->last,
			      "last_error_time", (json_int_t)s->last_at));
	return list;
}

static json_t *lists(void)
{
	json_t *list = json_array();
	struct dnsbl_view v;

	for (unsigned i = 0;
	     dnsbl_look(smar_control_policy()->dnsbl, i, loop_now(smar_control_loop()), &v); i++)
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "name", v.name,
			      "domain", v.domain, "tag", v.tag, "weight", (json_int_t)v.weight,
			      "asked", (json_int_t)v.asked, "listed", (json_int_t)v.hits,
			      "failures", (json_int_t)v.failures, "ignored", (json_int_t)v.strange,
			      "resting", v.resting));
	return list;
}

/* Records as bytes in hexadecimal: what is in them is not ours to judge here. */
static json_t *records(const struct dns_data *d)
{
	json_t *list = json_array();
	char hex[2 * 512 + 1];

	for (uint32_t i = 0; i < d->n; i++) {
		const unsigned char *p = d->rdata[i].data;
		size_t n = d->rdata[i].len < 512 ? d->rdata[i].len : 512;

		for (size_t k = 0; k < n; k++)
			snprintf(hex + 2 * k, 3, "%02x", p[k]);
		hex[2 * n] = '\0';
		json_array_append_new(list, json_string(hex));
	}
	return list;
}

static void answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	const char *status = d->status == META1_OK	   ? "ok"
			     : d->status == META1_NOTFOUND ? (d->nxdomain ? "nxdomain" : "nodata")
							   : "tempfail";

	smar_control_answer(
	    arg, json_pack("{s:s, s:b, s:I, s:o, s:s}", "status", status, "secure", d->secure,
		     "ttl", (json_int_t)ttl, "records", records(d), "text", d->why));
}

static json_t *question(const char *name, const char *type, int *status, struct meta1_err *err)
{
	char key[512];
	struct asked *a;
	json_t *answer;
	bool fresh;
	size_t t = 0;

	while (t < ARRAY_LEN(types) && strcasecmp(types[t].name, type) != 0)
		t++;
	if (t == ARRAY_LEN(types) || strlen(name) >= DNS_NAME_MAX) {
		*status = 400;
		err_set(err, "expected ?name=NAME&type=T with one of A AAAA CNAME MX NS PTR SOA "
			     "TLSA TXT");
		return NULL;
	}
	snprintf(key, sizeof(key), "dns %s %s", types[t].name, name);
	a = smar_control_asked(key, &fresh, status, err);
	if (!a)
		return NULL;
	if (fresh)
		dns_ask(smar_control_resolver(), name, types[t].type,
		    loop_now(smar_control_loop()) + proto_deadline(P_ROUTE), answered, a);
	answer = smar_control_answered(a);
	return answer ? answer : json_pack("{s:b}", "pending", 1);
}

json_t *smar_control_dns(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *name = json_string_value(json_object_get(query, "name")),
		   *type = json_string_value(json_object_get(query, "type"));

	(void)arg, (void)rest;
	if (!smar_control_policy() || !smar_control_resolver()) {
		*status = 503;
		err_set(err, "smar is stopping");
		return NULL;
	}
	if (name)
		return question(name, type ? type : "A", status, err);
	return json_pack("{s:o, s:o}", "servers", servers(), "lists", lists());
}
