/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings_filter.c -- policy_milter of smtps: the filters of a section, each with what the core
 * decides of it: when it is asked, how long it may take, what becomes of mail when it fails.
 *
 * Comes from settings.c with the section; goes to struct set_filter, one for a policy_milter, one
 * for each filter of module = mux. Where a filter is, and all else, is its module's to say.
 * Owns nothing. On failure: messages in the conf.
 */
#include "netlist.h"
#include "settings_check.h"
#include "settings_records.h"

#include <stdio.h>
#include <strings.h>

#define FAILURES "abort|accept|accept_but_reconnect|tempfail|reject|quarantine"

const struct meta1_opt opt_filter[FILTER_OPTIONS] = {
    META1_OPT_STR(struct set_filter, module, "pmilter", 0,
	"Who speaks with the filter: module pmilter_NAME; milter is Sendmail's protocol, pmilter "
	"ours. mux: there are several, each a section filter NAME here."),
    META1_OPT_MSEC(struct set_filter, timeout, "2m", "100ms..1h",
	"How long the filter may take for an answer, a connection to it included."),
    META1_OPT_MSEC(struct set_filter, end_timeout, "5m", "100ms..1h",
	"The same for its judgement of a whole mail, after the final dot."),
    META1_OPT_FLAGS(struct set_filter, flags, "", FAILURES,
	"One of these words says what happens when the filter fails: it cannot be reached, is "
	"late, or talks nonsense. tempfail, which is meant when none is said: the command or mail "
	"is answered 451 4.7.1. reject: 554 5.7.1. quarantine: the mail is taken and kept in the "
	"queue until an admin releases it. abort: 421, the connection ends. accept_but_reconnect: "
	"the session goes on without the filter, the next one asks it again. accept: the same, but "
	"nobody asks it again until a reload."),
    META1_OPT_STR(struct set_filter, failure, NULL, 0,
	"The same in one word: tempfail, reject, quarantine, abort, or accept, which here is "
	"accept_but_reconnect."),
    META1_OPT_ENUM(struct set_filter, phase, "judge", "verify|judge|modify|sign",
	"Filters are asked in this order. Those of verify and of judge all at once, about the same "
	"mail; those of modify and of sign one after the other, each about what the ones before "
	"made of it."),
    META1_OPT_BOOL(struct set_filter, shadow, "no",
	"Only the log and the counters hear what the filter says, or that it failed."),
    META1_OPT_LIST(struct set_filter, listeners, "", 0,
	"Only clients that came by these sockets are judged: names of listen_socket sections, or "
	"\"ADDRESS:PORT\" of one without a name; " FILTER_REPORTS ": the reports of qmgr."),
    META1_OPT_LIST(struct set_filter, clients, "", 0,
	"Only clients of these addresses and networks are judged; unix: of unix sockets."),
    META1_OPT_ENUM(struct set_filter, authenticated, "any", "any|yes|no",
	"Only the mail of clients that have said AUTH, or that have not."),
    META1_OPT_LIST(struct set_filter, senders, "", 0,
	"Only mail of these senders: user@domain, domain, .parent for its subdomains, <>."),
    META1_OPT_LIST(struct set_filter, recipients, "", 0,
	"Only mail that has one of these recipients, in the same forms."),
    META1_OPT_BYTES(struct set_filter, min_size, "0", "0..1TB",
	"A smaller mail is not judged as a whole, what came before it all the same."),
    META1_OPT_BYTES(struct set_filter, max_size, "0", "0..1TB", "Nor a larger one; 0: any size."),
    ISOLATE_OPTIONS(struct set_filter),
};
const struct settings_records rec_filter = {opt_filter, FILTER_OPTIONS};

static const struct conf_pos *where(struct conf_section *s, const char *option)
{
	const struct conf_option *o = conf_find(s, option);

	return o && o->values ? &o->values->pos : o ? &o->pos : &s->pos;
}

/* ---- what happens when it fails ---- */

static bool failure_word(const char *word, int32_t *out)
{
	static const struct {
		const char *word;
		int32_t failure;
	} words[] = {{"abort", FAILURE_ABORT}, {"accept", FAILURE_ACCEPT_BUT_RECONNECT},
	    {"tempfail", FAILURE_TEMPFAIL}, {"reject", FAILURE_REJECT},
	    {"quarantine", FAILURE_QUARANTINE}};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(word, words[i].word) == 0) {
			*out = words[i].failure;
			return true;
		}
	return false;
}

static void check_failure(struct conf *c, struct set_filter *f, const char *owner)
{
	f->fails = FAILURE_TEMPFAIL;
	if (f->flags && f->failure)
		conf_error(c, where(f->section, "failure"),
		    "%s: flags and failure say the same thing; remove one of them", owner);
	else if (f->flags & (f->flags - 1))
		conf_error(c, where(f->section, "flags"),
		    "%s: option flags: found several words, expected one: " FAILURES, owner);
	else if (f->flags)
		f->fails = (int32_t)__builtin_ctzll(f->flags);
	else if (f->failure && !failure_word(f->failure, &f->fails))
		conf_error(c, where(f->section, "failure"),
		    "%s: option failure: found %.60s, expected accept, tempfail, reject, "
		    "quarantine or abort",
		    owner, f->failure);
}

/* ---- when it is asked ---- */

static bool is_known_socket(const struct set_role *role, const char *name)
{
	for (unsigned i = 0; i < role->nlisten; i++)
		if (role->listen[i].section->name &&
		    strcmp(role->listen[i].section->name, name) == 0)
			return true;
	return strchr(name, ':') != NULL || strcasecmp(name, FILTER_REPORTS) == 0;
}

static void check_listeners(
    struct conf *c, const struct set_role *role, const struct set_filter *f, const char *owner)
{
	const struct conf_option *o = conf_find(f->section, "listeners");
	const char *near, **names = conf_alloc(c, (role->nlisten + 2) * sizeof(*names));
	char there[300] = FILTER_REPORTS;
	size_t n = 0;

	for (unsigned i = 0; i < role->nlisten; i++)
		if (role->listen[i].section->name)
			names[n++] = role->listen[i].section->name;
	for (size_t i = 0, len = strlen(there); i < n && len < sizeof(there); i++)
		len += (size_t)snprintf(there + len, sizeof(there) - len, ", %s", names[i]);
	names[n++] = FILTER_REPORTS;
	for (const struct conf_value *v = o ? o->values : NULL; v; v = v->next) {
		if (is_known_socket(role, v->text))
			continue;
		near = conf_nearest(v->text, names, n);
		if (near)
			conf_error(c, &v->pos,
			    "%s: there is no listen_socket %.60s here; did you mean %s?", owner,
			    v->text, near);
		else
			conf_error(c, &v->pos,
			    "%s: there is no listen_socket %.60s here; there is: %s", owner,
			    v->text, there);
	}
}

/* user@domain, domain, .parent or <>: no blanks, nothing before or behind. */
static void check_addresses(
    struct conf *c, const struct set_filter *f, const char *option, const char *owner)
{
	const struct conf_option *o = conf_find(f->section, option);

	for (const struct conf_value *v = o ? o->values : NULL; v; v = v->next) {
		const char *at = strrchr(v->text, '@'), *domain = at ? at + 1 : v->text;
		bool good = *domain && strlen(v->text) <= 320 && at != v->text &&
			    !strpbrk(v->text, " \t<>") && domain[strlen(domain) - 1] != '.' &&
			    !strstr(domain, "..") && !(at && *domain == '.');

		if (!good && strcmp(v->text, "<>") != 0)
			conf_error(c, &v->pos,
			    "%s: option %s: found %.60s, expected user@domain, domain, .parent "
			    "or \"<>\"",
			    owner, option, v->text);
	}
}

static void check_filter(
    struct conf *c, const struct set_role *role, struct set_filter *f, const char *owner)
{
	check_failure(c, f, owner);
	check_listeners(c, role, f, owner);
	check_networks(c, f->section, "clients", f->clients);
	check_addresses(c, f, "senders", owner);
	check_addresses(c, f, "recipients", owner);
	if (f->max_size && f->min_size > f->max_size)
		conf_error(c, where(f->section, "min_size"),
		    "%s: min_size is more than max_size, so no mail is judged", owner);
}

/* ---- the section ---- */

static void bind_filter(struct conf *c, const struct set_role *role, struct set_filter *f,
    struct conf_section *t, const char *owner, enum opt_mode mode, const char *qdir)
{
	t->used = true;
	f->section = t;
	opt_bind(c, t, opt_filter, FILTER_OPTIONS, f, owner, mode, qdir);
	check_filter(c, role, f, owner);
}

/* What is no filter of a mux is said here, since there is no module to say it. */
static void bind_mux(
    struct conf *c, struct set_smtps *set, const char *owner, enum opt_mode mode, const char *qdir)
{
	static const char *const subs[] = {"filter"};
	struct conf_section *mux = set->policy_milter;
	struct set_filter *f = set->filter;

	for (struct conf_section *t = mux->sections; t; t = t->next) {
		if (strcasecmp(t->keyword, "filter") != 0)
			continue;
		const char *own = conf_printf(c, "%s.filter %s", owner, t->name ? t->name : "");
		if (!t->name)
			conf_error(c, &t->pos, "a filter needs a name: filter NAME { ... }");
		f->name = t->name ? t->name : "";
		bind_filter(c, &set->role, f, t, own, mode, qdir);
		if (strcasecmp(f->module, "mux") == 0)
			conf_error(c, &t->pos, "%s: a mux is no filter of a mux", own);
		f++;
	}
	set->nfilter = (unsigned)(f - set->filter);
	if (!set->nfilter)
		conf_error(
		    c, &mux->pos, "%s: module = mux needs sections filter NAME { ... }", owner);
	if (set->nfilter > FILTERS_MAX)
		conf_error(c, &mux->pos, "%s: found %u filters, expected at most %d", owner,
		    set->nfilter, FILTERS_MAX);
	check_not_isolated(c, mux, "pmilter");
	opt_unknown(c, mux, owner, opt_filter, 1, subs, 1);
}

static void bind_section(
    struct conf *c, struct set_smtps *set, enum opt_mode mode, const char *qdir)
{
	struct conf_section *p = set->policy_milter;
	struct conf_option *module = conf_find(p, "module");
	const char *role = p->parent->name ? p->parent->name : "";
	const char *owner = conf_printf(c, "smtps%s%s.policy_milter%s%s", *role ? " " : "", role,
	    p->name ? " " : "", p->name ? p->name : "");
	unsigned n = 1;

	for (struct conf_section *t = p->sections; t; t = t->next)
		n += strcasecmp(t->keyword, "filter") == 0;
	set->filter = conf_alloc(c, n * sizeof(*set->filter));
	/* Filters beside each other, from files that need not know of each other. */
	set->mux = module ? module->values && strcasecmp(module->values->text, "mux") == 0 : n > 1;
	if (set->mux) {
		if (module)
			module->used = true;
		bind_mux(c, set, owner, mode, qdir);
		return;
	}
	for (struct conf_section *t = p->sections; t; t = t->next)
		if (strcasecmp(t->keyword, "filter") == 0 && !t->used) {
			t->used = true;
			conf_error(
			    c, &t->pos, "%s: sections filter need module = mux beside them", owner);
		}
	set->nfilter = 1;
	set->filter->name = p->name ? p->name : "policy_milter";
	bind_filter(c, &set->role, set->filter, p, owner, mode, qdir);
}

void settings_filter_bind(
    struct conf *c, struct set_smtps *set, enum opt_mode mode, const char *qdir)
{
	struct conf_section *sec = set->role.section, *first = NULL;

	for (struct conf_section *t = sec ? sec->sections : NULL; t; t = t->next) {
		if (strcasecmp(t->keyword, "policy_milter") != 0)
			continue;
		t->used = true;
		if (first)
			conf_error(c, &t->pos,
			    "a second policy_milter; the first is at %s:%d; several filters are "
			    "policy_milter { module = mux; filter NAME { ... } }",
			    first->pos.file, first->pos.line);
		else
			first = t;
	}
	set->policy_milter = first;
	if (first)
		bind_section(c, set, mode, qdir);
}

/* ---- reports ---- */

static bool judges_reports(const struct set_filter *f)
{
	const char *const *l = f->listeners;

	for (; l && *l; l++)
		if (strcasecmp(*l, FILTER_REPORTS) == 0)
			return true;
	return !f->listeners || !*f->listeners;
}

bool settings_filter_reports(const struct set_smtps *set)
{
	for (unsigned i = 0; i < set->nfilter; i++)
		if (judges_reports(&set->filter[i]))
			return true;
	return false;
}

void settings_filter_check(struct conf *c, const struct settings *s)
{
	bool any = false;

	for (unsigned i = 0; i < s->nsmtps; i++) {
		const struct set_role *r = &s->smtps[i].role;

		any = any || settings_filter_reports(&s->smtps[i]);
		for (unsigned k = 0; k < r->nlisten; k++)
			if (r->listen[k].section->name &&
			    strcasecmp(r->listen[k].section->name, FILTER_REPORTS) == 0)
				conf_error(c, &r->listen[k].section->pos,
				    "no listen_socket can have the name " FILTER_REPORTS
				    ": it stands for the reports of qmgr");
	}
	if (s->qmgr.dsn_filters && !any && s->qmgr.role.section)
		conf_error(c, where(s->qmgr.role.section, "dsn_filters"),
		    "qmgr: dsn_filters = yes, but no filter judges reports: no smtps section has a "
		    "policy_milter with listeners unset or with " FILTER_REPORTS " in it");
}
