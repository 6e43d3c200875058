/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsrpt_json.c -- a report as JSON (RFC 8460 section 4), and back. The one member that the
 * standard does not have is "rua": where the domain wants it; whoever sends it takes that out. From
 * tlsrpt.c; no I/O. Owns nothing but what it returns. On failure: false; what was read until then
 * stays.
 */
#include "smar/tlsrpt.h"

#include <stdio.h>

static const char *const kinds[] = {
    [TLSRPT_NO_POLICY] = "no-policy-found", [TLSRPT_TLSA] = "tlsa", [TLSRPT_STS] = "sts"};
static const char *const parts[TLSRPT_PARTS] = {[TLSRPT_OURS] = "sending-mta-ip",
    [TLSRPT_HOST] = "receiving-mx-hostname",
    [TLSRPT_ADDR] = "receiving-ip",
    [TLSRPT_WHY] = "failure-reason-code"};

/* ---- out ---- */
static json_t *list(const char *text, char between)
{
	json_t *l = json_array();

	while (*text) {
		size_t n = 0;

		while (text[n] && text[n] != between)
			n++;
		json_array_append_new(l, json_stringn(text, n));
		text += n + (text[n] != '\0');
	}
	return l;
}

static json_t *failure(const struct tlsrpt_failure *f)
{
	json_t *o = json_pack("{s:s s:I}", "result-type", tls_result_word(f->result),
	    "failed-session-count", (json_int_t)f->n);

	for (unsigned i = 0; i < TLSRPT_PARTS; i++)
		if (f->part[i][0])
			json_object_set_new(o, parts[i], json_string(f->part[i]));
	return o;
}

static json_t *policy(const struct tlsrpt_policy *p, const char *domain)
{
	json_t *is = json_pack("{s:s s:o s:s}", "policy-type", kinds[p->kind], "policy-string",
	    list(p->strings, '\n'), "policy-domain", domain);
	json_t *details = json_array();

	if (p->hosts[0])
		json_object_set_new(is, "mx-host", list(p->hosts, '\n'));
	for (const struct tlsrpt_failure *f = p->failures; f; f = f->next)
		json_array_append_new(details, failure(f));
	return json_pack("{s:o s:{s:I s:I} s:o}", "policy", is, "summary",
	    "total-successful-session-count", (json_int_t)p->good, "total-failure-session-count",
	    (json_int_t)p->bad, "failure-details", details);
}

json_t *tlsrpt_json(const struct tlsrpt_domain *d, const struct tlsrpt_head *h)
{
	char from[32], to[32], id[600], contact[300];
	json_t *policies = json_array();

	snprintf(from, sizeof(from), "%sT00:00:00Z", h->day);
	snprintf(to, sizeof(to), "%sT23:59:59Z", h->day);
	snprintf(id, sizeof(id), "%s_%s@%s", h->day, d->name, h->hostname);
	snprintf(contact, sizeof(contact), "postmaster@%s", h->hostname);
	for (const struct tlsrpt_policy *p = d->policies; p; p = p->next)
		json_array_append_new(policies, policy(p, d->name));
	return json_pack("{s:s s:{s:s s:s} s:s s:s s:o s:o}", "organization-name",
	    h->organization[0] ? h->organization : h->hostname, "date-range", "start-datetime",
	    from, "end-datetime", to, "contact-info", h->contact[0] ? h->contact : contact,
	    "report-id", id, "rua", list(d->rua ? d->rua : "", ','), "policies", policies);
}

/* ---- in ---- */
static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int64_t count_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (int64_t)n : 0;
}

static void joined(const json_t *l, char between, char *out, size_t size)
{
	const json_t *s;
	size_t i, n = 0;

	out[0] = '\0';
	json_array_foreach(l, i, s)
	{
		const char *text = json_string_value(s);

		if (!text || n + strlen(text) + 2 > size)
			return;
		n += (size_t)snprintf(out + n, size - n, "%.*s%s", n > 0, &between, text);
	}
}

static bool read_policy(const json_t *o, struct tlsrpt_domain *d)
{
	const json_t *is = json_object_get(o, "policy"), *sum = json_object_get(o, "summary"), *f;
	const char *type = text_of(is, "policy-type");
	char strings[TLSRPT_LINES], hosts[TLSRPT_LINES];
	struct tlsrpt_policy *p;
	unsigned kind = 0;
	size_t i;

	while (kind < ARRAY_LEN(kinds) && strcmp(kinds[kind], type) != 0)
		kind++;
	if (kind == ARRAY_LEN(kinds))
		return false;
	joined(json_object_get(is, "policy-string"), '\n', strings, sizeof(strings));
	joined(json_object_get(is, "mx-host"), '\n', hosts, sizeof(hosts));
	p = tlsrpt_policy(d, (enum tlsrpt_kind)kind, strings, hosts);
	if (!p)
		return false;
	p->good += count_of(sum, "total-successful-session-count");
	json_array_foreach(json_object_get(o, "failure-details"), i, f)
	{
		enum tls_result r = tls_result_of_word(text_of(f, "result-type"));
		const char *part[TLSRPT_PARTS];

		for (unsigned k = 0; k < TLSRPT_PARTS; k++)
			part[k] = text_of(f, parts[k]);
		if (r != TLS_RESULT_NONE)
			tlsrpt_count(d, p, r, count_of(f, "failed-session-count"), part);
	}
	return true;
}

bool tlsrpt_json_read(const json_t *report, struct tlsrpt_domain *d)
{
	const json_t *list_of = json_object_get(report, "policies"), *p;
	char rua[600];
	size_t i;

	joined(json_object_get(report, "rua"), ',', rua, sizeof(rua));
	if (rua[0] && !d->rua)
		d->rua = base_strdup(rua);
	json_array_foreach(list_of, i, p)
	{
		if (!read_policy(p, d))
			return false;
	}
	return json_array_size(list_of) > 0;
}
