/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_metrics.c -- what modules count, as lines of /metrics.
 *
 * Comes from: core/ctl/server.c, at each GET /metrics; reads the instances of the module host.
 * Goes to: the answer, as meta1_ROLE_module_NAME{instance="x"}. Lines of one name stand
 * together, and there is one for each instance: the old and the new one of a reload are added.
 * Owns nothing between requests.
 */
#include "role_run.h"

#include "ctl/server.h"

#include <stdio.h>
#include <stdlib.h>

struct row {
	const char *instance, *name; /* the instance's own; nothing closes one meanwhile */
	bool gauge;
	int64_t value;
};
struct rows {
	struct row *v;
	unsigned n;
};

static void take(void *arg, const char *instance, const char *name, bool gauge, int64_t value)
{
	struct rows *rows = arg;

	rows->v = base_realloc(rows->v, (rows->n + 1) * sizeof(*rows->v));
	rows->v[rows->n++] = (struct row){instance, name, gauge, value};
}

static int by_name(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : strcmp(x->instance, y->instance);
}

void role_metrics(void *arg, struct evbuffer *out, const struct ctl *ctl)
{
	struct role *role = arg;
	struct rows rows = {0};
	const char *last = "";

	mod_counters(&role->host, take, &rows);
	if (rows.n)
		qsort(rows.v, rows.n, sizeof(*rows.v), by_name);
	for (unsigned i = 0; i < rows.n; i++) {
		struct row *r = &rows.v[i];
		char name[128], which[160];

		if (i + 1 < rows.n && by_name(r, r + 1) == 0) {
			r[1].value += r->value;
			continue;
		}
		snprintf(name, sizeof(name), "module_%s%s", r->name, r->gauge ? "" : "_total");
		ctl_label("instance", r->instance, which, sizeof(which));
		ctl_metric(out, ctl, name,
		    strcmp(last, r->name) ? "Counted by modules, see their manuals." : NULL,
		    r->gauge, which, r->value);
		last = r->name;
	}
	free(rows.v);
}
