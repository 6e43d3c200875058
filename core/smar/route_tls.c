/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_tls.c -- the rows of the map tls_policy: what an admin wants of TLS towards the next hops
 * that a route names, each by the domain of the mail, then by its own name.
 * From route.c; by limits.c to seek.c; then to route_goal.c, which need not ask the DNS about TLS
 * where there is a row. Owns the need in each goal, which route_answer.c frees.
 * On failure: a map that cannot say, or a row with a mistake, is temporary: mail must not leave
 * less protected than somebody meant it to. The log and the reason name the row.
 */
#include "smar/route.h"

#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(
    m_rows, "tls_policy_rows_total", "Next hops for which the map tls_policy has a row.");
METRIC_COUNTER(
    m_bad, "tls_policy_bad_total", "Rows of the map tls_policy with a mistake; the mail waits.");

static void next(struct smar_route *r);

static void bad_row(struct smar_route *r, const struct smar_limits *row, const char *why)
{
	char text[400];

	m_bad.value++;
	log_event(LOG_L_WARN, "smar.tls_policy", "map=%s key=%s error=%s text=%s", row->map,
	    row->row, why, "mail waits until it is mended");
	snprintf(text, sizeof(text), "the row \"%.100s\" of tls_policy: %.250s", row->row, why);
	smar_route_fail(r, META1_TEMPFAIL, "4.3.5", text);
}

static void row_found(void *arg, const struct smar_limits *row)
{
	struct smar_route *r = arg;
	struct meta1_err err = {""};
	struct tls_need *n;

	smar_route_ttl(r, row->ttl);
	if (row->status == META1_TEMPFAIL) {
		smar_route_fail(
		    r, META1_TEMPFAIL, "4.3.0", "the map of TLS policies cannot be read now");
		return;
	}
	if (row->status == META1_OK) {
		m_rows.value++;
		n = base_alloc(sizeof(*n));
		r->goal[r->tls_at].need_row = n;
		if (row->cut)
			err_set(&err, "longer than %d bytes", SMAR_ROW_MAX);
		if (row->cut || tls_need_row(buf_str(row->text), n, &err) < 0) {
			bad_row(r, row, err.text);
			return;
		}
	}
	r->tls_at++;
	next(r);
}

/* Nobody but this machine hears what goes into a socket of it. */
static void next(struct smar_route *r)
{
	while (r->tls_at < r->n && smar_route_socket(&r->goal[r->tls_at]))
		r->tls_at++;
	if (r->tls_at < r->n) {
		const char *names[] = {r->domain, r->target[r->tls_at].name};

		smar_limits_find(&r->policy->tls_policy, names,
		    strcmp(names[0], names[1]) == 0 ? 1 : 2, r->deadline, row_found, r);
		return;
	}
	smar_route_goals(r);
}

void smar_route_tls(struct smar_route *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		r->goal[i].route = r;
		r->goal[i].target = &r->target[i];
	}
	if (r->policy->tls_policy.map)
		next(r);
	else
		smar_route_goals(r);
}
