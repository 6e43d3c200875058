/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gear.c -- what a reload replaces, whole: limits, our name, TLS, AUTH, filters.
 *
 * Comes from smtps.c at the start and for a reload, which opens a second one beside the first and
 * drops one of them. A session takes the one that is current when it begins, and ends with it,
 * however many reloads come meanwhile. Owns what is in it until its last session has gone.
 * On failure: err, nothing is left, and what there was goes on.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <stdlib.h>

static TAILQ_HEAD(gears, smtps_gear) gears = TAILQ_HEAD_INITIALIZER(gears); /* the newest last */

/* RFC 6531 3.1: whoever offers SMTPUTF8 offers 8BITMIME. */
static uint64_t offered(uint64_t flags)
{
	return flags & SMTPS_F_8BITMIME ? flags : flags & ~(uint64_t)SMTPS_F_SMTPUTF8;
}

static void read_limits(const struct set_smtps *set, struct smtps_limits *lim)
{
	*lim = (struct smtps_limits){.flags = offered(set->flags),
	    .io_timeout = set->IO_timeout,
	    .greet_delay = set->greet_delay,
	    .message_size = set->max_message_size,
	    .hops = set->max_hops,
	    .rcpts_per_tx = set->max_rcpts_per_transaction,
	    .rcpts_per_session = set->max_rcpts_per_session,
	    .transactions = set->max_transactions,
	    .bad_commands = set->max_bad_commands,
	    .nop_commands = set->max_nop_commands,
	    .invalid_addresses = set->max_invalid_addresses,
	    .sessions = set->max_sessions,
	    .repair = set->bare_newline == NEWLINE_REPAIR,
	    .tls_only = set->tls != NULL && (set->tls_set.flags & TLS_F_TLS_ONLY) != 0,
	    .memory = set->max_memory,
	    .queue_wait = set->queue_wait,
	    .tarpit_after = set->tarpit_after,
	    .tarpit_delay = set->tarpit_delay,
	    .tarpit_max_delay = set->tarpit_max_delay,
	    .vrfy = set->vrfy,
	    .spf_header = set->spf_header,
	    .client_connections = set->client_connections,
	    .client_rate = set->client_rate,
	    .client_ipv4 = set->client_ipv4,
	    .client_ipv6 = set->client_ipv6,
	    .client_exempt = netlist_new(set->client_exempt),
	    .proxy_mode = set->proxy_mode,
	    .proxy_trusted = netlist_new(set->proxy_trusted),
	    .verp_clients = netlist_new(set->verp_clients),
	    .xclient = netlist_new(set->xclient)};
}

static void free_limits(struct smtps_limits *lim)
{
	netlist_free(&lim->proxy_trusted);
	netlist_free(&lim->xclient);
	netlist_free(&lim->verp_clients);
	netlist_free(&lim->client_exempt);
}

/* What module the section asks for, and where its options are. */
static bool auth_module(
    struct settings *set, const struct set_smtps *mine, struct settings_module *out)
{
	struct settings_module *list = NULL;
	unsigned n = settings_modules(set, META1_SMTPS, &list);
	bool found = false;

	for (unsigned i = 0; i < n && !found; i++) {
		found = mine->auth != NULL && list[i].section == mine->auth;
		if (found)
			*out = list[i];
	}
	free(list);
	return found;
}

static int open_auth(struct smtps_gear *g, struct role *role, struct settings *all,
    const struct set_smtps *set, struct meta1_err *err)
{
	struct settings_module m;

	if (!auth_module(all, set, &m))
		return 0;
	g->auth = smtps_auth_open(role, all, &set->auth_set, &m, err);
	return g->auth != NULL ? 0 : -1;
}

static int open_tls(
    struct tls_ctx **out, struct role *role, const struct set_smtps *set, struct meta1_err *err)
{
	*out = set->tls != NULL ? tls_ctx_new(&set->tls_set, true, role->work, err) : NULL;
	return *out == NULL && set->tls != NULL ? -1 : 0;
}

static int open_chain(struct smtps_gear *g, struct role *role, struct settings *all,
    const struct set_smtps *set, struct meta1_err *err)
{
	g->chain = smtps_chain_open(role, all, set, err);
	return g->chain == NULL && set->policy_milter != NULL ? -1 : 0;
}

struct smtps_gear *smtps_gear_new(
    struct role *role, struct settings *all, const struct set_smtps *set, struct meta1_err *err)
{
	struct smtps_gear *g = base_alloc(sizeof(*g));

	g->refs = 1;
	TAILQ_INSERT_TAIL(&gears, g, all);
	read_limits(set, &g->lim);
	g->hostname = base_strdup(all->hostname);
	if (open_tls(&g->tls, role, set, err) < 0 || open_auth(g, role, all, set, err) < 0 ||
	    open_chain(g, role, all, set, err) < 0)
		smtps_gear_drop(&g);
	return g;
}

int smtps_gear_check(struct role *role, const struct set_smtps *set, struct meta1_err *err)
{
	struct tls_ctx *tls;

	if (open_tls(&tls, role, set, err) < 0)
		return -1;
	tls_ctx_free(&tls);
	return 0;
}

struct smtps_gear *smtps_gear_use(struct smtps_gear *g)
{
	g->refs++;
	return g;
}

void smtps_gear_drop(struct smtps_gear **gp)
{
	struct smtps_gear *g = *gp;

	*gp = NULL;
	if (g == NULL || --g->refs > 0)
		return;
	TAILQ_REMOVE(&gears, g, all);
	smtps_chain_free(&g->chain);
	smtps_auth_close(&g->auth);
	tls_ctx_free(&g->tls);
	free_limits(&g->lim);
	free(g->hostname);
	free(g);
}

void smtps_gear_bound(struct smtps *srv)
{
	struct smtps_gear *g, *next;
	unsigned n = 0;

	TAILQ_FOREACH_REVERSE(g, &gears, gears, all)
	g->leaving = ++n > SMTPS_GEARS_MAX;
	for (g = TAILQ_FIRST(&gears); g != NULL && g->leaving; g = next) {
		struct smtps_gear *held = smtps_gear_use(g); /* its last session may end */

		smtps_session_leave(srv, g);
		next = TAILQ_NEXT(g, all);
		smtps_gear_drop(&held);
	}
}

size_t smtps_gear_memory(void)
{
	const struct smtps_gear *g;
	size_t n = 0;

	TAILQ_FOREACH (g, &gears, all)
		n += smtps_chain_memory(g->chain);
	return n;
}
