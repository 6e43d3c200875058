/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsrpt_control.c -- today's reports on smar's control socket, as they are counted. Those of other
 * days are files. From core/ctl/server.c; to tlsrpt.c. Owns nothing. A page has PAGE entries at
 * most; cursor: how many came before.
 */
#include "smar/tlsrpt.h"

#include "ctl/server.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE 200
#define WALK 20000 /* entries looked at for a page */

static json_t *row(const struct tlsrpt_domain *e)
{
	json_int_t good = 0, bad = 0;

	for (const struct tlsrpt_policy *p = e->policies; p; p = p->next) {
		good += p->good;
		bad += p->bad;
	}
	return json_pack("{s:s s:I s:I s:s}", "domain", e->name, "good", good, "failed", bad, "rua",
	    e->rua ? e->rua : "");
}

static json_t *report(const char *domain, int *status, struct meta1_err *err)
{
	struct tlsrpt_head h;
	const struct tlsrpt_domain *all = tlsrpt_today(&h), *e;

	HASH_FIND_STR(all, domain, e);
	if (e && e->policies)
		return json_pack("{s:o}", "report", tlsrpt_json(e, &h));
	*status = 404;
	err_set(err, "there was no session to %.100s today, or it wants no reports", domain);
	return NULL;
}

static json_t *get_report(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	const char *domain = json_string_value(json_object_get(query, "domain"));
	const char *cursor = json_string_value(json_object_get(query, "cursor"));
	unsigned at = cursor ? (unsigned)strtoul(cursor, NULL, 10) : 0, n = 0;
	const struct tlsrpt_domain *e;
	struct tlsrpt_head h;
	char next[16] = "";
	json_t *list;

	(void)arg, (void)rest;
	if (!tlsrpt_on()) {
		*status = 404;
		err_set(err, "smar has no tlsrpt section");
		return NULL;
	}
	if (domain)
		return report(domain, status, err);
	list = json_array();
	for (e = tlsrpt_today(&h); e && json_array_size(list) < PAGE && n < at + WALK;
	     e = e->hh.next, n++)
		if (n >= at && e->policies && tlsrpt_wanted(e))
			json_array_append_new(list, row(e));
	if (e)
		snprintf(next, sizeof(next), "%u", n);
	return json_pack("{s:o s:s}", "entries", list, "next", next);
}

static const struct ctl_request requests[] = {
    {"GET", "/v1/tls-report", CTL_READ, get_report,
	"How TLS towards domains went today, a page; the report of ?domain."},
};

void tlsrpt_control_add(struct ctl *ctl)
{
	ctl_add(ctl, requests, ARRAY_LEN(requests), NULL);
}
