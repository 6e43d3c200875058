/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_open.c -- the filters of a configuration as instances of their modules.
 *
 * Comes from smtps.c: at the start, and for a reload, which opens a second chain beside the first
 * and drops one of them. Sessions keep the chain that they began with. Owns the instances; a chain
 * whose last session went is drained and closed. On failure: err names the filter, nothing is left.
 */
#include "smtps/chain.h"

#include <stdio.h>
#include <stdlib.h>

#define DRAIN_MS 300 /* for requests that a module has not given back yet */

/* ---- closing ---- */

/* used: sessions have asked it. */
static void filter_close(struct chain_filter *f, bool used)
{
	if (used)
		mod_retire(&f->inst, DRAIN_MS);
	else
		mod_close(&f->inst);
	chain_when_close(&f->when);
	chain_stats_free(&f->stats);
}

void smtps_chain_free(struct smtps_chain **cp)
{
	struct smtps_chain *c = *cp;

	*cp = NULL;
	if (c == NULL || --c->refs > 0)
		return;
	for (unsigned i = 0; i < c->nfilter; i++)
		filter_close(&c->filter[i], c->used);
	conf_free(&c->keeps);
	free(c->filter);
	free(c->folder);
	free(c);
}

/* ---- opening ---- */

static const struct settings_module *module_of(
    const struct settings_module *list, unsigned n, const struct set_filter *set)
{
	for (unsigned i = 0; i < n; i++)
		if (strcmp(list[i].kind, "pmilter") == 0 && list[i].section == set->section)
			return &list[i];
	return NULL;
}

static bool complete(const struct meta1_pmilter_ops *ops)
{
	return META1_HAS(ops, cancel) && ops->begin != NULL && ops->ask != NULL &&
	       ops->reset != NULL && ops->end != NULL && ops->cancel != NULL;
}

static int filter_open(struct chain_filter *f, struct role *role, struct settings *set,
    const struct settings_module *sm, struct meta1_err *err)
{
	f->inst = mod_use(&role->host, sm, set, settings_core_names("pmilter"), err);
	if (f->inst == NULL)
		return -1;
	f->ops = mod_ops(f->inst);
	f->data = mod_data(f->inst);
	if (!complete(f->ops))
		return err_set(
		    err, "%s: its table of operations is not complete", mod_name(f->inst));
	f->memory = mod_held(f->inst);
	mod_req_limit(f->inst, UINT32_MAX); /* sessions are bounded, and each has one */
	return 0;
}

static int open_all(struct smtps_chain *c, struct role *role, struct settings *set,
    const struct set_smtps *mine, struct meta1_err *err)
{
	struct settings_module *list = NULL;
	unsigned n = settings_modules(set, META1_SMTPS, &list);
	int rc = 0;

	for (int32_t phase = FILTER_VERIFY; phase <= FILTER_SIGN; phase++)
		for (unsigned i = 0; i < mine->nfilter && rc == 0; i++) {
			struct chain_filter *f = &c->filter[c->nfilter];
			const struct settings_module *sm;

			if (mine->filter[i].phase != phase)
				continue;
			c->nfilter++;
			f->set = &mine->filter[i];
			f->stats = chain_stats_of(f->set->name);
			chain_when_open(&f->when, f->set);
			sm = module_of(list, n, f->set);
			rc = sm != NULL
				 ? filter_open(f, role, set, sm, err)
				 : err_set(err, "filter %s: it names no module", f->set->name);
		}
	free(list);
	return rc;
}

size_t smtps_chain_memory(const struct smtps_chain *c)
{
	size_t n = 0;

	for (unsigned i = 0; c != NULL && i < c->nfilter; i++) {
		size_t now = mod_held(c->filter[i].inst);

		n += now > c->filter[i].memory ? now - c->filter[i].memory : 0;
	}
	return n;
}

struct smtps_chain *smtps_chain_open(
    struct role *role, struct settings *set, const struct set_smtps *mine, struct meta1_err *err)
{
	struct smtps_chain *c;
	char folder[4096];

	if (mine->nfilter == 0)
		return NULL;
	c = base_alloc(sizeof(*c));
	c->loop = role->loop;
	c->work = role->work;
	snprintf(folder, sizeof(folder), "%s/in", role->host.qdir);
	c->folder = base_strdup(folder);
	c->refs = 1;
	c->keeps = conf_ref(set->conf);
	c->filter = base_alloc(mine->nfilter * sizeof(*c->filter));
	if (open_all(c, role, set, mine, err) < 0)
		smtps_chain_free(&c);
	return c;
}
