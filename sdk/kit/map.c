/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map.c -- the suite of maps: found, absent, empty, binary and long keys; an absent key
 * is a definite no and never a temporary failure.
 * Comes from modtest.c; goes to lookup() and create(). What the map holds is said with
 * -k, or the kit makes the file with create() when no options were given.
 * On failure: "not ok" with key and answer.
 */
#include "kit.h"

#include <meta1/map.h>
#include <stdio.h>
#include <stdlib.h>

#define LONG_KEY  (64u << 10)
#define CALLS_MAX 500

static const char *const st_name[] = {"found", "not found", "not found, no more", "more",
    "temporary failure", "permanent failure", "cancelled"};

static bool lookup(struct kit *k, struct kit_inst *in, struct meta1_buf key, struct kit_answer *a)
{
	kit_ask(k, in, key, a);
	return kit_wait(k, a);
}

static void try_found(
    struct kit *k, struct kit_inst *in, struct meta1_buf key, struct meta1_buf val)
{
	struct kit_answer a;
	bool told = lookup(k, in, key, &a), ok = told && a.st == META1_OK && a.reply.nval >= 1;

	kit_ok(k, ok && buf_eq(a.reply.val[0], val), "\"%.*s\" is found with its value (%s)",
	    (int)(key.len < 40 ? key.len : 40), (const char *)key.data,
	    told ? st_name[a.st] : "no answer");
	kit_answer_free(&a);
}

static void try_absent(struct kit *k, struct kit_inst *in, struct meta1_buf key, const char *what)
{
	struct kit_answer a;
	bool told = lookup(k, in, key, &a);

	kit_ok(k, told && (a.st == META1_NOTFOUND || a.st == META1_NOMORE),
	    "%s: a definite no (%s)", what, told ? st_name[a.st] : "no answer");
	if (told && a.reply.text)
		kit_note(k, "%s", a.reply.text);
	kit_answer_free(&a);
}

/* ---- a file of our own ---- */

struct source {
	struct meta1_mapsrc src;
	const struct kit_pair *pair;
	unsigned n, at;
};

static int next(
    struct meta1_mapsrc *src, struct meta1_buf *key, struct meta1_buf *val, struct meta1_err *err)
{
	struct source *s = (struct source *)(void *)src;

	(void)err;
	if (s->at == s->n)
		return 0;
	*key = s->pair[s->at].key;
	*val = s->pair[s->at++].val;
	return 1;
}

static const struct meta1_map_ops *ops(struct kit *k)
{
	return k->m->ops;
}

static int create(struct kit *k, const struct kit_pair *pair, unsigned n, struct meta1_err *err)
{
	struct source s = {.src = {.size = sizeof(s.src), .next = next}, .pair = pair, .n = n};
	struct conf *conf = conf_read_text("options", k->options);
	void *base = base_alloc(k->m->sizeof_conf);
	int r = -1;

	if (opt_bind(conf, conf_root(conf), k->m->opt, k->m->nopt, base, k->m->name, OPT_CHECK,
		k->host.qdir))
		err_set(err, "options: %s", k->options);
	else
		r = ops(k)->create(base, &s.src, err);
	free(base);
	conf_free(&conf);
	return r;
}

static struct kit_pair samples[] = {
    {{"key", 3}, {"value", 5}},
    {{"empty", 5}, {"", 0}},
    {{"user@example.org", 16}, {"a value with blanks", 19}},
    {{"k\0\x01\xff", 4}, {"binary", 6}},
    {{NULL, LONG_KEY}, {"long", 4}},
};

/* A map that makes its file, and no options given: the kit makes one in its own folder. */
int kit_map_sample(struct kit *k)
{
	static char options[256], longest[LONG_KEY];
	struct meta1_err err = {""};
	uint32_t i;

	memset(longest, 'l', sizeof(longest));
	samples[4].key.data = longest;
	if (k->m->kind != META1_MAP || *k->options || k->npair || !META1_HAS(ops(k), create) ||
	    !ops(k)->create)
		return 0;
	for (i = 0; i < k->m->nopt && k->m->opt[i].type != META1_PATH; i++)
		;
	if (i == k->m->nopt)
		return 0;
	snprintf(options, sizeof(options), "%s = \"%s/sample\";", k->m->opt[i].name, k->dir);
	k->options = options;
	if (!kit_ok(k, create(k, samples, 3, &err) >= 0, "create() makes a file %s", err.text))
		return -1;
	k->pair = samples;
	k->npair = 3;
	return 0;
}

/* What not every format can hold is refused by create() in words, or found. */
static void try_created(struct kit *k, unsigned i, const char *what)
{
	struct meta1_err err = {""};
	struct kit_inst *in;

	if (create(k, &samples[i], 1, &err) < 0) {
		kit_ok(k, *err.text, "create() refuses a %s in words", what);
		kit_note(k, "%s", err.text);
		in = kit_open(k, NULL, &err);
		if (kit_ok(k, in != NULL, "the old file is as it was %s", in ? "" : err.text))
			try_found(k, in, samples[0].key, samples[0].val);
	} else {
		in = kit_open(k, NULL, &err);
		if (kit_ok(k, in != NULL, "opens a file with a %s %s", what, in ? "" : err.text))
			try_found(k, in, samples[i].key, samples[i].val);
	}
	kit_close(k, &in);
	create(k, samples, 3, &err);
}

/* Each call of the host fails in turn: the value, or a temporary failure, never a no. */
static void try_failing(struct kit *k, struct kit_inst *in, const struct kit_pair *p)
{
	unsigned n, failures = 0, wrong = 0;
	enum meta1_status st = META1_OK;
	bool there_was = true;

	for (n = 1; n < CALLS_MAX && there_was && !wrong; n++) {
		struct kit_answer a;
		bool told;

		kit_host_fail(&k->host, n);
		told = lookup(k, in, p->key, &a);
		there_was = k->host.failed > 0;
		kit_host_fail(&k->host, 0);
		st = a.st;
		failures += told && st == META1_TEMPFAIL;
		wrong += !told || (st != META1_TEMPFAIL &&
				      (st != META1_OK || !buf_eq(a.reply.val[0], p->val)));
		kit_answer_free(&a);
		kit_clock(k, 60000); /* a server that was given up is tried again */
	}
	kit_ok(k, !wrong && n < CALLS_MAX,
	    "the value, or a temporary failure, when each of %u calls fails in turn "
	    "(%s, "
	    "%u failures)",
	    n - 1, st_name[st], failures);
}

int kit_map(struct kit *k)
{
	static char longest[LONG_KEY];
	struct meta1_err err = {""};
	struct kit_inst *in = kit_open(k, NULL, &err);
	unsigned i;

	if (!kit_ok(k, in != NULL, "the map opens %s", err.text))
		return -1;
	memset(longest, 'z', sizeof(longest));
	for (i = 0; i < k->npair; i++)
		try_found(k, in, k->pair[i].key, k->pair[i].val);
	k->host.parts = true;
	for (i = 0; i < k->npair && i < 1; i++)
		try_found(k, in, k->pair[i].key, k->pair[i].val);
	k->host.parts = false;
	if (!k->npair)
		kit_skip(k, "keys that are there", "say one with -k key=value");
	else
		try_failing(k, in, &k->pair[0]);
	try_absent(k, in, buf_str("no such key, surely.invalid"), "a key that is not there");
	try_absent(k, in, buf_str(""), "the empty key");
	try_absent(k, in, buf_of("\0\x01\xff\xfe%s\n", 7), "a binary key");
	try_absent(k, in, buf_of(longest, sizeof(longest)), "a key of 64 KiB");
	kit_close(k, &in);
	kit_ok(k, true, "the map closes, nothing left");
	if (k->pair == samples) {
		try_created(k, 3, "binary key");
		try_created(k, 4, "key of 64 KiB");
	}
	return 0;
}
