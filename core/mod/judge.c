/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge.c -- may this descriptor be used? All rules in their order, before any
 * function of the module is called.
 * Comes from load.c and the kit; goes to opt.c for the option records.
 * On failure: one line: found, expected, what to do.
 */
#include "mod/inst.h"

#include <event2/event.h>
#include <stdio.h>

#define OPT_MAX	     256
#define CONF_MAX     (1u << 20)
#define END_OF(T, f) (offsetof(T, f) + sizeof(((T *)0)->f))

/* Ends of the structs of ABI 1.0: what is shorter was never released. */
#define MODULE_FIRST END_OF(struct meta1_module, ops)
#define MODULE_LAST  4096u

static const struct {
	uint32_t kind;
	const char *prefix;
	size_t ops_first;
} kinds[] = {
    {META1_MAP, "map_", END_OF(struct meta1_map_ops, find)},
    {META1_TRANSPORT, "transport_", END_OF(struct meta1_transport_ops, pad)},
    {META1_AUTH, "auth_", END_OF(struct meta1_auth_ops, cancel)},
    {META1_PMILTER, "pmilter_", END_OF(struct meta1_pmilter_ops, state)},
    {META1_QUEUE, "queue_", END_OF(struct meta1_queue_ops, check)},
};

/* What a kind cannot do without, where it is loaded in one of these roles and says it can be. */
#define NEED(k, r, T, f)                                                                           \
	{                                                                                          \
		k, r, offsetof(struct T, f), #f                                                    \
	}
#define STORE (META1_SMTPS | META1_SMTPC | META1_QMGR)
static const struct {
	uint32_t kind, roles;
	size_t off;
	const char *name;
} musts[] = {
    NEED(META1_TRANSPORT, ~0u, meta1_transport_ops, open),
    NEED(META1_TRANSPORT, ~0u, meta1_transport_ops, send),
    NEED(META1_TRANSPORT, ~0u, meta1_transport_ops, usable),
    NEED(META1_TRANSPORT, ~0u, meta1_transport_ops, shut),
    NEED(META1_TRANSPORT, ~0u, meta1_transport_ops, cancel),
    NEED(META1_AUTH, META1_SMTPS, meta1_auth_ops, offer),
    NEED(META1_AUTH, META1_SMTPS, meta1_auth_ops, start),
    NEED(META1_AUTH, META1_SMTPC, meta1_auth_ops, login),
    NEED(META1_AUTH, ~0u, meta1_auth_ops, step),
    NEED(META1_AUTH, ~0u, meta1_auth_ops, end),
    NEED(META1_AUTH, ~0u, meta1_auth_ops, cancel),
    NEED(META1_PMILTER, ~0u, meta1_pmilter_ops, begin),
    NEED(META1_PMILTER, ~0u, meta1_pmilter_ops, ask),
    NEED(META1_PMILTER, ~0u, meta1_pmilter_ops, reset),
    NEED(META1_PMILTER, ~0u, meta1_pmilter_ops, end),
    NEED(META1_PMILTER, ~0u, meta1_pmilter_ops, cancel),
    NEED(META1_QUEUE, ~0u, meta1_queue_ops, format),
    NEED(META1_QUEUE, META1_SMTPS | META1_QMGR, meta1_queue_ops, begin),
    NEED(META1_QUEUE, META1_SMTPS | META1_QMGR, meta1_queue_ops, write),
    NEED(META1_QUEUE, META1_SMTPS | META1_QMGR, meta1_queue_ops, commit),
    NEED(META1_QUEUE, META1_SMTPS | META1_QMGR, meta1_queue_ops, abort),
    NEED(META1_QUEUE, META1_SMTPC | META1_QMGR, meta1_queue_ops, load),
    NEED(META1_QUEUE, META1_SMTPC | META1_QMGR, meta1_queue_ops, unload),
    NEED(META1_QUEUE, META1_QMGR, meta1_queue_ops, manage),
    NEED(META1_QUEUE, META1_QMGR, meta1_queue_ops, notice),
    NEED(META1_QUEUE, META1_QMGR, meta1_queue_ops, outcome),
    NEED(META1_QUEUE, STORE, meta1_queue_ops, cancel),
};

static const struct {
	uint64_t bit;
	const char *name;
	uint32_t roles;
} services[] = {
    {META1_S_CONN, "connections", ~0u},
    {META1_S_BASE, "the event loop", ~0u},
    {META1_S_OFFLOAD, "worker threads", ~0u},
    {META1_S_DNS, "DNS", META1_SMAR | META1_TOOL},
    {META1_S_MAPS, "other maps", META1_SMAR | META1_TOOL},
};

uint64_t mod_offers(const struct meta1_module *m, uint32_t role)
{
	uint64_t offers = 0;

	for (size_t i = 0; i < ARRAY_LEN(services); i++)
		if (services[i].roles & role && !(m->flags & META1_F_BLOCKING))
			offers |= services[i].bit;
	return offers;
}

static const char *role_name(uint32_t role)
{
	return role == META1_SMTPS   ? "smtps"
	       : role == META1_SMTPC ? "smtpc"
	       : role == META1_SMAR  ? "smar"
	       : role == META1_QMGR  ? "qmgr"
				     : "tools";
}

static void role_list(uint32_t roles, char *out, size_t size)
{
	uint32_t bit;
	size_t len = 0;

	*out = '\0';
	for (bit = META1_SMTPS; bit <= META1_TOOL; bit <<= 1)
		if (roles & bit && len < size)
			len += (size_t)snprintf(
			    out + len, size - len, "%s%s", len ? ", " : "", role_name(bit));
	if (!*out)
		str_copy(out, size, "none");
}

static int judge_abi(const struct meta1_module *m, struct meta1_err *err)
{
	if (m->magic != META1_MODULE_MAGIC)
		return err_set(err,
		    "magic is 0x%08x, expected 0x%08x: not a module of this server, or built for "
		    "another byte order; build it against the installed meta1/module.h",
		    m->magic, META1_MODULE_MAGIC);
	if (m->abi_major != META1_ABI_MAJOR)
		return err_set(err, "module ABI is %u.%u, expected %u.x: %s", m->abi_major,
		    m->abi_minor, META1_ABI_MAJOR,
		    m->abi_major > META1_ABI_MAJOR
			? "it is newer, update the server"
			: "it is older, build it against the installed meta1/module.h");
	if (m->size < MODULE_FIRST || m->size > MODULE_LAST)
		return err_set(err,
		    "descriptor has %u bytes, expected %zu to %u: use META1_MODULE() to fill it",
		    m->size, MODULE_FIRST, MODULE_LAST);
	if (m->abi_needed > META1_ABI_MINOR)
		return err_set(err,
		    "module ABI is %u.%u and needs %u.%u, newer than this server's %u.%u: update "
		    "the server or build the module for it",
		    m->abi_major, m->abi_minor, m->abi_major, m->abi_needed, META1_ABI_MAJOR,
		    META1_ABI_MINOR);
	return 0;
}

static int judge_needs(const struct meta1_module *m, uint32_t role, struct meta1_err *err)
{
	uint64_t lacks = m->needs & ~mod_offers(m, role);

	for (size_t i = 0; i < ARRAY_LEN(services); i++)
		if (lacks & services[i].bit)
			return err_set(err, "it needs %s, which %s does not offer%s",
			    services[i].name, role_name(role),
			    m->flags & META1_F_BLOCKING ? " to a module that may block" : "");
	if (lacks)
		return err_set(err,
		    "it needs services 0x%llx that this server does not know: update the server",
		    (unsigned long long)lacks);
	return 0;
}

/* Tools, and who only looks at a descriptor for several roles, ask no more than they find. */
static int judge_ops(const struct meta1_module *m, uint32_t role, struct meta1_err *err)
{
	if (role & META1_TOOL || role & (role - 1))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(musts); i++) {
		const void *op = NULL;

		if (musts[i].kind != m->kind || !(musts[i].roles & role & m->roles))
			continue;
		memcpy(&op, (const char *)m->ops + musts[i].off, sizeof(op));
		if (!op)
			return err_set(err,
			    "its table of operations lacks %s%s, which %s asks it for",
			    musts[i].name, strcmp(musts[i].name, "format") == 0 ? "" : "()",
			    role_name(role));
	}
	return 0;
}

static int judge_kind(
    const struct meta1_module *m, const char *name, uint32_t role, struct meta1_err *err)
{
	char roles[64];
	size_t i;
	uint32_t ops;

	if (!m->name || strcmp(m->name, name) != 0)
		return err_set(err, "its name is \"%s\", expected \"%s\" as the file is called",
		    m->name ? m->name : "", name);
	for (i = 0; i < ARRAY_LEN(kinds) && kinds[i].kind != m->kind; i++)
		;
	if (i == ARRAY_LEN(kinds))
		return err_set(err, "kind is %u, expected 1 to %zu (enum meta1_kind)", m->kind,
		    ARRAY_LEN(kinds));
	if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
		return err_set(err, "name is \"%s\", expected it to begin with \"%s\" as its kind",
		    name, kinds[i].prefix);
	role_list(m->roles, roles, sizeof(roles));
	if (!(m->roles & role))
		return err_set(
		    err, "it is for the roles %s, and this is %s", roles, role_name(role));
	ops = m->ops ? *(const uint32_t *)m->ops : 0;
	if (ops < kinds[i].ops_first || ops > MODULE_LAST)
		return err_set(err,
		    "its table of operations has %u bytes, expected %zu to %u: "
		    "begin it with .size = sizeof(the struct)",
		    ops, kinds[i].ops_first, MODULE_LAST);
	return 0;
}

/* What the server reads in the section itself never comes to the module. */
static int judge_names(const struct meta1_module *m, struct meta1_err *err)
{
	int kind = (int)strcspn(m->name, "_");

	for (uint32_t i = 0; i < m->nopt; i++) {
		const struct meta1_opt *o = meta1_at(m->opt, m->sizeof_opt, i);

		if (settings_core_takes(m->name, o->name))
			return err_set(err,
			    "its option \"%s\" is one that the server itself reads in the section "
			    "of "
			    "every %.*s: give it another name, such as %s_%s",
			    o->name, kind, m->name, m->name + kind + 1, o->name);
	}
	return 0;
}

static int judge_options(const struct meta1_module *m, struct meta1_err *err)
{
	struct meta1_err why = {""};

	if (m->nopt > OPT_MAX || (m->nopt && !m->opt))
		return err_set(err, "it has %u option records%s, expected at most %d", m->nopt,
		    m->opt ? "" : " and no pointer to them", OPT_MAX);
	if (m->nopt && (m->sizeof_opt < END_OF(struct meta1_opt, off) || m->sizeof_opt > 1024))
		return err_set(err,
		    "an option record has %u bytes, expected %zu: use META1_MODULE()",
		    m->sizeof_opt, sizeof(struct meta1_opt));
	if (m->sizeof_conf > CONF_MAX)
		return err_set(err, "its options take %u bytes, expected at most %u",
		    m->sizeof_conf, CONF_MAX);
	if (m->nopt && opt_selfcheck(m->opt, m->nopt, m->sizeof_opt, m->sizeof_conf, &why) < 0)
		return err_set(err, "option records: %.400s", why.text);
	return judge_names(m, err);
}

/* One way to answer, and the one inside the call only where nothing is waited for. */
static int judge_map(const struct meta1_module *m, struct meta1_err *err)
{
	const struct meta1_map_ops *ops = m->ops;
	bool find = META1_HAS(ops, find) && ops->find;

	if (!ops->lookup == !find)
		return err_set(err, "it has %s: expected one of them",
		    find ? "lookup() and find()" : "neither lookup() nor find()");
	if (find && (!(ops->props & META1_MAP_LOCAL) || m->flags & META1_F_BLOCKING))
		return err_set(err, "it has find(), which answers inside the call: expected props "
				    "META1_MAP_LOCAL, and not META1_F_BLOCKING");
	return 0;
}

int mod_judge(const struct meta1_module *m, const char *name, uint32_t role, struct meta1_err *err)
{
	uint32_t ours = event_get_version_number();

	if (judge_abi(m, err) < 0 || judge_kind(m, name, role, err) < 0 ||
	    judge_options(m, err) < 0)
		return -1;
	if (!m->version || !*m->version || !m->summary || !*m->summary)
		return err_set(err, "it lacks %s: say it in META1_MODULE()",
		    !m->version || !*m->version ? "a version" : "a summary");
	if (!m->open || !m->close)
		return err_set(
		    err, "it has no %s(): a module cannot do without", m->open ? "close" : "open");
	if (m->flags & ~(uint32_t)META1_F_BLOCKING)
		return err_set(err, "flags are 0x%x, known are 0x%x", m->flags, META1_F_BLOCKING);
	if (m->flags & META1_F_BLOCKING && m->kind != META1_MAP)
		return err_set(err, "META1_F_BLOCKING is served for maps only: "
				    "use offload() for what may sleep");
	if (m->kind == META1_MAP && judge_map(m, err) < 0)
		return -1;
	if (judge_ops(m, role, err) < 0 || judge_needs(m, role, err) < 0)
		return -1;
	if (m->libevent && m->libevent >> 16 != ours >> 16)
		return err_set(err,
		    "it was built for libevent %u.%u, and this is %s: build it again",
		    m->libevent >> 24, m->libevent >> 16 & 0xff, event_get_version());
	return 0;
}
