/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge.c -- the rules of a descriptor, as meta1/module.h has them: each said by itself, in order,
 * before any function of the module is called.
 * Comes from descriptor.c and others.c; goes to say().
 * On failure: false, and what was found; what stands behind a broken rule is not looked at when
 * it could not be understood.
 */
#include "host_priv.h"

#include "lib/settings.h"

#include <ctype.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define OPT_MAX	     256
#define CONF_MAX     (1u << 20)
#define SIZE_MAX_    4096
#define END_OF(T, f) (offsetof(T, f) + sizeof(((T *)0)->f))
#define KIT_OFFERS   (META1_S_CONN | META1_S_BASE | META1_S_OFFLOAD | META1_S_DNS | META1_S_MAPS)
#define ROLES	     (META1_SMTPS | META1_SMTPC | META1_SMAR | META1_QMGR | META1_TOOL)

/* Where each kind is asked for, and what it cannot do without. */
static const struct {
	uint32_t kind, roles;
	const char *prefix;
	size_t first;
} kinds[] = {
    {META1_MAP, META1_SMAR | META1_TOOL, "map_", END_OF(struct meta1_map_ops, find)},
    {META1_TRANSPORT, META1_SMTPC | META1_SMAR | META1_TOOL, "transport_",
	END_OF(struct meta1_transport_ops, pad)},
    {META1_AUTH, META1_SMTPS | META1_SMTPC | META1_TOOL, "auth_",
	END_OF(struct meta1_auth_ops, cancel)},
    {META1_PMILTER, META1_SMTPS | META1_TOOL, "pmilter_", END_OF(struct meta1_pmilter_ops, state)},
    {META1_QUEUE, META1_SMTPS | META1_SMTPC | META1_QMGR | META1_TOOL, "queue_",
	END_OF(struct meta1_queue_ops, check)},
};

struct judge {
	void (*say)(void *, bool, const char *, const char *);
	void *arg;
	bool good;
};

static PRINTF(4, 5) bool rule(struct judge *j, bool ok, const char *what, const char *fmt, ...)
{
	char found[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(found, sizeof(found), fmt, ap);
	va_end(ap);
	j->good = j->good && ok;
	if (j->say)
		j->say(j->arg, ok, what, ok ? "" : found);
	return ok;
}

static bool head(struct judge *j, const struct meta1_module *m)
{
	return rule(j, m->magic == META1_MODULE_MAGIC, "its magic is that of a module",
		   "0x%08x: built for another machine, or no META1_MODULE()", m->magic) &&
	       rule(j, m->abi_major == META1_ABI_MAJOR, "its ABI is of this major version",
		   "module ABI %u.%u, this kit has %u.%u: build it against this meta1/module.h",
		   m->abi_major, m->abi_minor, META1_ABI_MAJOR, META1_ABI_MINOR) &&
	       rule(j, m->size >= END_OF(struct meta1_module, ops) && m->size <= SIZE_MAX_,
		   "its descriptor has a size", "%u bytes, expected at least %zu", m->size,
		   END_OF(struct meta1_module, ops)) &&
	       rule(j, m->abi_needed <= META1_ABI_MINOR, "it needs no newer ABI than this one",
		   "module ABI %u.%u needs %u.%u, this kit has %u.%u", m->abi_major, m->abi_minor,
		   m->abi_major, m->abi_needed, META1_ABI_MAJOR, META1_ABI_MINOR);
}

static bool names(struct judge *j, const struct kit_module *mod)
{
	const struct meta1_module *m = mod->m;
	const char *base = strrchr(mod->file, '/') + 1;
	size_t n = strlen(base) - 3, i;

	if (!rule(j, m->name && strlen(m->name) == n && !strncmp(m->name, base, n),
		"its name is the file's", "\"%s\", the file is %s", m->name ? m->name : "", base))
		return false;
	for (i = 0; i < n; i++)
		if (!islower((unsigned char)base[i]) && !isdigit((unsigned char)base[i]) &&
		    base[i] != '_')
			break;
	rule(j, i == n, "its name is of a to z, 0 to 9 and _", "\"%s\"", m->name);
	rule(j, m->version && *m->version, "it has a version", "none");
	rule(j, m->summary && *m->summary && !strchr(m->summary, '\n'),
	    "it has a summary of one line", "\"%s\"", m->summary ? m->summary : "");
	return true;
}

static bool kind(struct judge *j, const struct meta1_module *m)
{
	uint32_t size = m->ops ? *(const uint32_t *)m->ops : 0;
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds) && kinds[i].kind != m->kind; i++)
		;
	if (!rule(j, i < ARRAY_LEN(kinds), "its kind is known", "%u: say .kind", m->kind))
		return false;
	rule(j, !strncmp(m->name, kinds[i].prefix, strlen(kinds[i].prefix)),
	    "its name begins with its kind", "\"%s\", expected %swhat", m->name, kinds[i].prefix);
	rule(j, m->roles & kinds[i].roles && !(m->roles & ~ROLES),
	    "it is for a role that asks its kind", "roles 0x%x, expected some of 0x%x", m->roles,
	    kinds[i].roles);
	return rule(j, size >= kinds[i].first && size <= SIZE_MAX_, "its table of ops has a size",
	    "%u bytes, expected at least %zu: begin it with .size = sizeof(ops)", size,
	    kinds[i].first);
}

/* The server's settings say which names it reads itself; the module would never see them. */
static void names_taken(struct judge *j, const struct meta1_module *m)
{
	const char *name = NULL;

	for (uint32_t i = 0; i < m->nopt && !name; i++) {
		const struct meta1_opt *o = meta1_at(m->opt, m->sizeof_opt, i);

		name = settings_core_takes(m->name, o->name) ? o->name : NULL;
	}
	rule(j, !name, "none of its options has a name that the server reads itself",
	    "\"%s\": give it another", name ? name : "");
}

static void options(struct judge *j, const struct meta1_module *m)
{
	struct meta1_err why = {""};

	if (rule(j, m->nopt <= OPT_MAX && (!m->nopt || m->opt), "it has at most 256 options",
		"%u%s", m->nopt, m->opt ? "" : ", and no pointer to them") &&
	    rule(j,
		!m->nopt ||
		    (m->sizeof_opt >= END_OF(struct meta1_opt, off) && m->sizeof_opt <= 1024),
		"its records of options have a size", "%u bytes", m->sizeof_opt) &&
	    rule(j,
		m->sizeof_conf <= CONF_MAX && (!m->nopt || m->sizeof_conf) && (!m->opt || m->nopt),
		"its options take at most 1 MiB", "%u in %u bytes: say .nopt and .sizeof_conf",
		m->nopt, m->sizeof_conf) &&
	    m->nopt &&
	    rule(j, opt_selfcheck(m->opt, m->nopt, m->sizeof_opt, m->sizeof_conf, &why) >= 0,
		"its options are as their records say", "%.190s", why.text))
		names_taken(j, m);
}

static void map(struct judge *j, const struct meta1_map_ops *ops, bool blocking)
{
	bool find = META1_HAS(ops, find) && ops->find;

	rule(j, !ops->lookup != !find, "a map has either lookup() or find()", "it has %s",
	    find ? "both" : "neither");
	rule(j, !find || (ops->props & META1_MAP_LOCAL && !blocking),
	    "find() is for a map that is META1_MAP_LOCAL and does not block", "it is not");
}

static void transport(struct judge *j, const struct meta1_transport_ops *ops)
{
	rule(j, ops->open && ops->send && ops->usable && ops->shut && ops->cancel,
	    "a transport has open, send, usable, shut and cancel", "one is NULL");
}

static void auth(struct judge *j, const struct meta1_auth_ops *ops, uint32_t roles)
{
	rule(j, ops->step && ops->end && ops->cancel, "an auth has step, end and cancel",
	    "one is NULL");
	rule(j, !(roles & META1_SMTPS) || (ops->offer && ops->start),
	    "in smtps it has offer and start", "one is NULL");
	rule(j, !(roles & META1_SMTPC) || ops->login, "in smtpc it has login", "it is NULL");
}

static void pmilter(struct judge *j, const struct meta1_pmilter_ops *ops)
{
	rule(j, ops->begin && ops->ask && ops->reset && ops->end && ops->cancel,
	    "a filter has begin, ask, reset, end and cancel", "one is NULL");
}

static void queue(struct judge *j, const struct meta1_queue_ops *ops)
{
	rule(j,
	    ops->writer && ops->next_id && ops->begin && ops->write && ops->written &&
		ops->commit && ops->abort && ops->tail && ops->reclaim,
	    "a store has all that a writer needs", "one is NULL");
	rule(j,
	    ops->load && ops->unload && ops->manage && ops->notice && ops->outcome && ops->attach &&
		ops->cancel,
	    "and a reader and a manager", "one is NULL");
	rule(j, ops->format && *ops->format, "and a name of its format", "none");
}

/* As many bytes as both know; what an older module lacks is 0. */
static struct meta1_opt *records(const struct meta1_module *m)
{
	struct meta1_opt *o = base_alloc((m->nopt + 1) * sizeof(*o));
	size_t n = m->sizeof_opt < sizeof(*o) ? m->sizeof_opt : sizeof(*o);

	for (uint32_t i = 0; i < m->nopt; i++)
		memcpy(&o[i], (const char *)m->opt + (size_t)i * m->sizeof_opt, n);
	return o;
}

uint64_t kit_offers(const struct meta1_module *m)
{
	return m->flags & META1_F_BLOCKING ? 0 : KIT_OFFERS;
}

bool kit_judge(struct kit_module *mod,
    void (*say)(void *arg, bool ok, const char *rule, const char *found), void *arg)
{
	struct judge j = {say, arg, true};
	const struct meta1_module *m = mod->m;
	uint32_t ours = event_get_version_number();
	bool blocking;

	if (!head(&j, m) || !names(&j, mod) || !kind(&j, m))
		return false;
	blocking = m->flags & META1_F_BLOCKING;
	options(&j, m);
	rule(&j, m->open && m->close, "it has open() and close()", "one is NULL");
	rule(
	    &j, !(m->flags & ~(uint32_t)META1_F_BLOCKING), "its flags are known", "0x%x", m->flags);
	rule(&j, !blocking || m->kind == META1_MAP, "META1_F_BLOCKING is for maps",
	    "its kind is %u: use offload()", m->kind);
	rule(&j, !(m->needs & ~kit_offers(m)), "what it needs is offered", "0x%llx",
	    (unsigned long long)(m->needs & ~kit_offers(m)));
	rule(&j, !m->libevent || m->libevent >> 16 == ours >> 16,
	    "it was built for this libevent, or uses none", "0x%08x, here is 0x%08x", m->libevent,
	    ours);
	if (m->kind == META1_MAP)
		map(&j, m->ops, blocking);
	else if (m->kind == META1_TRANSPORT)
		transport(&j, m->ops);
	else if (m->kind == META1_AUTH)
		auth(&j, m->ops, m->roles);
	else if (m->kind == META1_PMILTER)
		pmilter(&j, m->ops);
	else
		queue(&j, m->ops);
	if (j.good && !mod->opt)
		mod->opt = records(m);
	return j.good;
}
