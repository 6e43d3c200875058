/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * descriptor.c -- the suite of what a module says about itself: the rules of its descriptor, its
 * options at the default, at both ends and one step beyond; the symbols of its file.
 * Comes from modtest.c.
 * On failure: "not ok" with what was found.
 */
#include "kit.h"

#include <stdio.h>

static bool parses(const struct meta1_opt *o, const char *text)
{
	const char *values[] = {text, NULL};
	struct meta1_err err = {""};
	union {
		int64_t i;
		uint64_t u;
		const char *s;
		void *p;
	} field = {0};

	return opt_parse(o, values, 1, &field, &err) >= 0;
}

/* A number one step beyond end, as the option's type writes it. */
static void beyond(const struct meta1_opt *o, const char *end, int step, char *out, size_t size)
{
	const char *values[] = {end, NULL};
	struct meta1_opt any = *o;
	struct meta1_err err = {""};
	int64_t n = 0;

	any.range = "";
	opt_parse(&any, values, 1, &n, &err);
	n = (int64_t)((uint64_t)n + (uint64_t)(int64_t)step); /* a range may end where numbers do */
	snprintf(out, size, "%lld%s", (long long)n, o->type == META1_MSEC ? "ms" : "");
}

static void try_range(struct kit *k, const struct meta1_opt *o)
{
	const char *dots = strstr(o->range, "..");
	char lo[64], hi[64], text[64];

	snprintf(lo, sizeof(lo), "%.*s", (int)(dots - o->range), o->range);
	snprintf(hi, sizeof(hi), "%s", dots + 2);
	kit_ok(k, parses(o, lo) && parses(o, hi), "option %s takes %s and %s", o->name, lo, hi);
	beyond(o, lo, -1, text, sizeof(text));
	kit_ok(k, !parses(o, text), "option %s refuses %s", o->name, text);
	beyond(o, hi, 1, text, sizeof(text));
	kit_ok(k, !parses(o, text), "option %s refuses %s", o->name, text);
}

static void try_option(struct kit *k, const struct meta1_opt *o)
{
	size_t n = o->doc ? strlen(o->doc) : 0;

	kit_ok(k, n > 1 && o->doc[n - 1] == '.', "option %s: its doc is a sentence", o->name);
	switch (o->type) {
	case META1_INT:
	case META1_BYTES:
	case META1_MSEC:
		if (o->range && strstr(o->range, ".."))
			try_range(k, o);
		else
			kit_ok(k, false, "option %s: a number has a range", o->name);
		break;
	case META1_ENUM:
	case META1_FLAGS:
		kit_ok(k, !parses(o, "no-such-word"), "option %s refuses another word", o->name);
		break;
	default:
		break;
	}
}

/* ---- symbols ---- */

/* Names a compiler or sanitizer puts there. */
static bool theirs(const char *name)
{
	return !strncmp(name, "__", 2) || !strncmp(name, "_init", 5) ||
	       !strncmp(name, "_fini", 5) || !strncmp(name, "_ITM_", 5);
}

struct symbols {
	char own[160], bad[200], extra[200];
	bool found;
};

static void symbol(void *arg, char kind, const char *name)
{
	struct symbols *s = arg;

	if (kind == 'U' && !strncmp(name, "meta1_", 6))
		str_copy(s->bad, sizeof(s->bad), name);
	else if (kind == 'D' && !strcmp(name, s->own))
		s->found = true;
	else if (kind == 'D' && !theirs(name))
		str_copy(s->extra, sizeof(s->extra), name);
}

static void try_symbols(struct kit *k)
{
	struct symbols s = {.found = false};
	struct meta1_err err = {""};

	snprintf(s.own, sizeof(s.own), "%.120s_LTX_meta1_module", k->m->name);
	if (kit_symbols(k->mod->file, symbol, &s, &err) < 0) {
		kit_skip(k, "symbols", err.text);
		return;
	}
	kit_ok(k, !*s.bad, "it imports nothing from the server %s", s.bad);
	if (!kit_ok(k, s.found && !*s.extra, "it exports its descriptor only %s", s.extra))
		kit_note(k, "compile with -fvisibility=hidden, as pkg-config meta1-module says");
}

static void said(void *arg, bool ok, const char *rule, const char *found)
{
	kit_ok(arg, ok, "%s%s%s", rule, *found ? ": " : "", found);
}

bool kit_accepts(struct kit *k)
{
	return kit_judge(k->mod, said, k);
}

int kit_descriptor(struct kit *k)
{
	uint32_t i;

	for (i = 0; i < k->m->nopt; i++)
		try_option(k, &k->mod->opt[i]);
	try_symbols(k);
	return 0;
}
