/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * life.c -- the suite of open and close: a hundred times, two at once, with options that
 * are wrong; nothing is left, no descriptor is lost.
 * Comes from modtest.c; goes to the module's check(), open(), drain(), close().
 * On failure: -1 when the module cannot be opened at all: say options with -c.
 */
#include "kit.h"

#include <dirent.h>
#include <stdio.h>

#define LIVES 30

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* What a life left, a hundred lives leave a hundred times; what is made once does not grow. */
static bool grows(struct kit *k, size_t *by)
{
	struct meta1_err err = {""};
	size_t before = kit_heap(&k->host);
	int64_t own = kit_heap_own();
	struct kit_inst *in;

	for (unsigned i = 0; i < LIVES; i++) {
		kit_log_clear(&k->host);
		in = kit_open(k, NULL, &err);
		kit_close(k, &in);
	}
	*by = kit_heap(&k->host);
	*by = *by > before ? *by - before : 0;
	/* what a library below it loses is not the module's doing */
	return *by >= LIVES * 16 && kit_heap_own() - own >= LIVES * 8;
}

static void try_memory(struct kit *k)
{
	size_t by = 0;
	bool bad = true;

	for (unsigned i = 0; i < 3 && bad; i++)
		bad = grows(k, &by);
	kit_ok(k, !bad, "keeps no memory, of whatever kind (%zu bytes of %d lives)", by, LIVES);
}

static void try_drain(struct kit *k)
{
	struct meta1_err err = {""};
	struct kit_inst *in = kit_open(k, NULL, &err);

	if (!in) {
		kit_ok(k, false, "opens for a drain: %s", err.text);
		return;
	}
	kit_ok(k, kit_inst_drain(in, 5000), "drains");
	kit_close(k, &in);
	kit_ok(k, true, "closes after a drain, nothing left");
}

int kit_life(struct kit *k)
{
	struct meta1_err err = {""};
	struct kit_inst *in;
	unsigned i, before;

	in = kit_open(k, NULL, &err);
	if (!kit_ok(k, in != NULL, "opens%s%s", in ? "" : ": ", err.text)) {
		kit_note(k, "its options can be given with -c 'name = value; ...'");
		return -1;
	}
	kit_close(k, &in);
	kit_ok(k, true, "closes, nothing left");
	before = descriptors();
	for (i = 0; i < 100; i++) {
		in = kit_open(k, NULL, &err);
		if (!in)
			break;
		kit_close(k, &in);
	}
	kit_ok(k, i == 100, "opens and closes 100 times%s", i == 100 ? "" : err.text);
	kit_ok(k, descriptors() <= before, "keeps no descriptor (%u before, %u after)", before,
	    descriptors());
	try_memory(k);
	err.text[0] = '\0';
	in = kit_open(k, "no_such_option_at_all = 1;", &err);
	kit_ok(k, !in && *err.text, "an unknown option is refused");
	kit_close(k, &in);
	try_drain(k);
	return 0;
}
