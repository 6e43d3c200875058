/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * data.c -- fuzz target of core/smtps/data.c: where a message ends and what is counted.
 * The input is what follows the 354. The scanner must agree with a slow reader that sees
 * everything at once, for the whole, for each cut in two and byte by byte. The same input is then
 * content to be repaired, and chunks of BDAT: stored is DATA form, and what was counted is what
 * the slow reader counts in it.
 */
#include "fuzz.h"
#include "smtps/smtps.h"

#include <strings.h>

#define MAX 512

struct seen {
	uint8_t out[2 * MAX + 2]; /* a repaired or doubled byte is two */
	size_t n, used;
	struct smtps_scan scan;
};

static bool line_end(const uint8_t *p, size_t n, size_t i)
{
	return i + 1 < n && p[i] == '\r' && p[i + 1] == '\n';
}

/* Marks of one line p[from, to), its CRLF not included. */
static void slow_line(struct seen *s, const uint8_t *p, size_t from, size_t to)
{
	size_t text = from;

	if (to > from && p[from] == '.') {
		s->scan.stuffed++;
		text++;
	}
	if (s->scan.header && to - text >= 9 &&
	    strncasecmp((const char *)p + text, "received:", 9) == 0)
		s->scan.hops++;
	for (size_t i = from; i < to; i++) {
		s->scan.bare = s->scan.bare || p[i] == '\r' || p[i] == '\n';
		s->scan.eight = s->scan.eight || p[i] > 127;
		s->scan.eight_head = s->scan.eight_head || (p[i] > 127 && s->scan.header);
	}
}

/* RFC 5321 4.1.1.4 as a reader of whole lines would do it. */
static void slow(struct seen *s, const uint8_t *p, size_t n)
{
	size_t at = 0, to;

	memset(s, 0, sizeof(*s));
	s->scan.header = true;
	while (at < n) {
		for (to = at; to < n && !line_end(p, n, to);)
			to++;
		if (to == n)
			break;
		if (to == at + 1 && p[at] == '.') {
			s->scan.done = true;
			s->used = to + 2;
			break;
		}
		slow_line(s, p, at, to);
		if (to == at)
			s->scan.header = false;
		at = to + 2;
	}
	if (!s->scan.done) { /* the last line has no end yet: what may still be the end waits */
		bool waits = (n - at == 1 && p[at] == '.') ||
			     (n - at == 2 && p[at] == '.' && p[at + 1] == '\r');

		s->used = n;
		if (!waits) {
			slow_line(s, p, at, n > at && p[n - 1] == '\r' ? n - 1 : n);
			at = n;
		}
	}
	memcpy(s->out, p, at);
	s->n = s->scan.stored = at;
}

static void feed(struct seen *s, const uint8_t *p, size_t n)
{
	struct smtps_run run;
	size_t used, at, calls = 0;

	for (at = 0; at < n && !s->scan.done; at += used) {
		used = smtps_data_scan(&s->scan, p + at, n - at, &run);
		must(used <= n - at && ++calls <= 2 * n);
		must(used == n - at || s->scan.done || s->scan.plain || s->scan.repair);
		must(run.nadd <= 2 && run.keep <= used);
		must(s->n + run.nadd + run.keep <= sizeof(s->out));
		memcpy(s->out + s->n, run.add, run.nadd);
		memcpy(s->out + s->n + run.nadd, p + at, run.keep);
		s->n += run.nadd + run.keep;
		s->used += used;
	}
}

static void finish(struct seen *s)
{
	struct smtps_run run;

	smtps_data_end(&s->scan, &run);
	must(s->n + run.nadd <= sizeof(s->out));
	memcpy(s->out + s->n, run.add, run.nadd);
	s->n += run.nadd;
}

static void same(const struct seen *a, const struct seen *b)
{
	must(a->scan.done == b->scan.done && a->used == b->used);
	must(a->n == b->n && memcmp(a->out, b->out, a->n) == 0);
	must(a->scan.stored == b->scan.stored && a->n == a->scan.stored);
	must(a->scan.bare == b->scan.bare && a->scan.eight == b->scan.eight);
	must(a->scan.stuffed == b->scan.stuffed);
	/* A line that begins with a bare CR has no name that two readers agree on. */
	must(a->scan.bare || (a->scan.hops == b->scan.hops && a->scan.header == b->scan.header));
	must(a->scan.bare || a->scan.eight_head == b->scan.eight_head);
}

/* What was stored is read back by the slow reader, with an end behind it. */
static void stored(const struct seen *s)
{
	static uint8_t wire[2 * MAX + 5];
	static struct seen again;

	must(s->scan.stored == s->n);
	if (s->scan.bare)
		return;
	memcpy(wire, s->out, s->n);
	memcpy(wire + s->n, ".\r\n", 3);
	slow(&again, wire, s->n + 3);
	must(again.scan.done && again.used == s->n + 3 && !again.scan.bare);
	must(again.scan.hops == s->scan.hops && again.scan.stuffed == s->scan.stuffed);
	must(again.scan.header == s->scan.header && again.scan.eight == s->scan.eight);
	must(again.scan.eight_head == s->scan.eight_head);
}

static void form(const uint8_t *p, size_t n, bool plain, bool repair)
{
	static struct seen whole, cut;

	memset(&whole, 0, sizeof(whole));
	smtps_data_start(&whole.scan, plain, repair);
	feed(&whole, p, n);
	must(!whole.scan.bare || !repair);
	for (size_t at = 0; at <= n; at++) {
		memset(&cut, 0, sizeof(cut));
		smtps_data_start(&cut.scan, plain, repair);
		feed(&cut, p, at);
		feed(&cut, p + at, n - at);
		same(&cut, &whole);
		must(cut.scan.mended == whole.scan.mended);
	}
	if (plain)
		finish(&whole);
	if (plain || whole.scan.done)
		stored(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct seen want, got;

	if (n > MAX)
		return 0;
	slow(&want, p, n);
	for (size_t cut = 0; cut <= n; cut++) {
		memset(&got, 0, sizeof(got));
		smtps_data_start(&got.scan, false, false);
		feed(&got, p, cut);
		feed(&got, p + cut, n - cut);
		same(&got, &want);
	}
	memset(&got, 0, sizeof(got));
	smtps_data_start(&got.scan, false, false);
	for (size_t i = 0; i < n; i++)
		feed(&got, p + i, 1);
	same(&got, &want);
	form(p, n, false, true);
	form(p, n, true, false);
	form(p, n, true, true);
	return 0;
}
