/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe_gear.c -- what a policy has for probes: the transports, opened as smtpc opens them, and the
 * numbers of recipient_probe { }. TLS is as smtpc's section says, without our certificate: its key
 * is smtpc's alone to read.
 * From policy.c at start and reload; to core/mod. Owns the instances. On failure to open: err says
 * which module and why; policy.c closes what is open.
 */
#include "smar/probe.h"

#include "lib/hop_conf.h"

#include "ipc/hop.h"
#include "lib/tls.h"
#include "mod/mod.h"

#include <stdlib.h>

#define DRAIN_MS 5000

static const char prefix[] = "transport_";

static int open_one(struct probe_gear *g, struct mod_host *host, struct settings *set,
    const struct settings_module *m, struct tls_ctx *tls, struct meta1_err *err)
{
	struct probe_transport *t = &g->by[g->nby];
	struct mod *mod = mod_load(host, m->module, err);

	if (!mod)
		return -1;
	t->inst = mod_open(host, mod, m->instance, set->conf, m->section,
	    settings_core_names(m->kind), OPT_START, err);
	if (!t->inst)
		return -1;
	g->nby++;
	t->name = mod_descriptor(mod)->name + strlen(prefix);
	t->ops = mod_ops(t->inst);
	if (!META1_HAS(t->ops, probe) || !t->ops->probe)
		return err_set(
		    err, "recipient_probe: %s cannot ask a next hop about a recipient", m->module);
	mod_tls(t->inst, tls);
	mod_req_limit(t->inst, PROBE_FLIGHTS + PROBE_HOPS);
	return 0;
}

int probe_gear_open(
    struct smar_policy *p, struct mod_host *host, struct settings *set, struct meta1_err *err)
{
	struct set_tls trust = set->smtpc.tls_set;
	struct settings_module *sm = NULL;
	unsigned n = settings_modules(set, META1_SMAR, &sm);
	struct probe_gear *g = base_alloc(sizeof(*g));
	struct tls_ctx *tls;
	int rc;

	p->probe = g;
	g->conf = set->smar.probe;
	g->sender = base_strdup(set->smar.probe.sender);
	g->conf.sender = g->sender;
	g->conf.section = NULL;
	g->conf.domains = NULL;
	g->without = hop_conf_without(set->smtpc.extensions);
	g->login = set->smtpc.login_set.file != NULL;
	g->tls_policy = hop_tls(set->smtpc.tls_policy);
	g->by = base_alloc((n + 1) * sizeof(*g->by));
	trust.cert_file = trust.key_file = NULL;
	tls = tls_ctx_new(&trust, false, NULL, err);
	rc = tls ? 0 : -1;
	for (unsigned i = 0; i < n && rc == 0; i++)
		if (strcmp(sm[i].kind, "transport") == 0)
			rc = open_one(g, host, set, &sm[i], tls, err);
	tls_ctx_free(&tls);
	free(sm);
	return rc;
}

void probe_gear_close(struct smar_policy *p, bool drain)
{
	struct probe_gear *g = p->probe;

	p->probe = NULL;
	if (!g)
		return;
	for (unsigned i = 0; i < g->nby; i++) {
		if (drain)
			mod_retire(&g->by[i].inst, DRAIN_MS);
		else
			mod_close(&g->by[i].inst);
	}
	free(g->by);
	free(g->sender);
	free(g);
}

const struct probe_transport *probe_gear_find(const struct probe_gear *g, struct meta1_buf name)
{
	for (unsigned i = 0; i < g->nby; i++)
		if (buf_eq(name, buf_str(g->by[i].name)))
			return &g->by[i];
	return NULL;
}
