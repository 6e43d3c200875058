/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit test of core/smtps/data.c: where a message ends, for every form of smuggling that
 * is known and every way the bytes can be cut into segments, against a reference that only
 * searches for CRLF . CRLF in the whole; and the form in which BDAT and repaired content is
 * stored, against one that works on whole lines.
 */
#include "smtps/smtps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* needs the headers above */
#include <cmocka.h>

struct result {
	uint8_t out[512]; /* what is stored */
	size_t nout, used;
	struct smtps_scan scan;
	bool plain, repair;
};

static void put(struct result *r, const void *p, size_t n)
{
	assert_true(r->nout + n <= sizeof(r->out));
	memcpy(r->out + r->nout, p, n);
	r->nout += n;
}

/* Feeds p in pieces: cut[i] is set when a new piece begins at i. */
static void feed(struct result *r, const uint8_t *p, size_t n, const bool *cut)
{
	size_t i = 0;

	r->nout = r->used = 0;
	smtps_data_start(&r->scan, r->plain, r->repair);
	while (i < n && !r->scan.done) {
		size_t end = i + 1, used;
		struct smtps_run run;
		uint8_t *copy;

		while (end < n && !cut[end])
			end++;
		/* a copy of exact size: reading past it is seen */
		copy = base_alloc(end - i);
		memcpy(copy, p + i, end - i);
		used = smtps_data_scan(&r->scan, copy, end - i, &run);
		assert_true(run.nadd <= 2 && run.keep <= used && used <= end - i);
		assert_true(r->scan.done || used == end - i || r->plain || r->repair);
		put(r, run.add, run.nadd);
		put(r, copy, run.keep);
		free(copy);
		r->used += used;
		i += used;
	}
}

/* Where CRLF . CRLF ends, 0: nowhere. The CRLF of the DATA command counts. */
static size_t reference_end(const uint8_t *p, size_t n)
{
	size_t i;

	if (n >= 3 && memcmp(p, ".\r\n", 3) == 0)
		return 3;
	for (i = 0; i + 5 <= n; i++)
		if (memcmp(p + i, "\r\n.\r\n", 5) == 0)
			return i + 5;
	return 0;
}

static bool reference_bare(const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
			return true;
		if (p[i] == '\r' && i + 1 < n && p[i + 1] != '\n')
			return true;
	}
	return false;
}

static void same_as_reference(const struct result *r, const uint8_t *p, size_t n)
{
	size_t end = reference_end(p, n);

	assert_int_equal(r->scan.done, end != 0);
	if (end == 0) {
		/* nothing but a dot at the start of a line, and its CR, may be kept back */
		assert_int_equal(r->used, n);
		assert_true(r->nout + 2 >= n);
		assert_memory_equal(r->out, p, r->nout);
		return;
	}
	assert_int_equal(r->used, end);
	assert_int_equal(r->nout, end - 3);
	assert_memory_equal(r->out, p, end - 3);
	assert_int_equal(r->scan.stored, end - 3);
	assert_int_equal(r->scan.bare, reference_bare(p, end));
}

static void same_result(const struct result *a, const struct result *b)
{
	assert_int_equal(a->used, b->used);
	assert_int_equal(a->nout, b->nout);
	assert_memory_equal(a->out, b->out, a->nout);
	assert_int_equal(a->scan.done, b->scan.done);
	assert_int_equal(a->scan.bare, b->scan.bare);
	assert_int_equal(a->scan.eight, b->scan.eight);
	assert_int_equal(a->scan.eight_head, b->scan.eight_head);
	assert_int_equal(a->scan.hops, b->scan.hops);
	assert_int_equal(a->scan.nul, b->scan.nul);
	assert_int_equal(tls_required_no(&a->scan.tls), tls_required_no(&b->scan.tls));
	assert_int_equal(a->scan.stuffed, b->scan.stuffed);
	assert_int_equal(a->scan.stored, b->scan.stored);
}

/* Whole, byte by byte, and cut at every pair of positions. */
static void all_splits(struct result *whole, const uint8_t *p, size_t n)
{
	bool *cut = base_alloc((n + 1) * sizeof(*cut));
	struct result r = {.plain = false};
	size_t i, j;

	feed(whole, p, n, cut);
	same_as_reference(whole, p, n);
	for (i = 1; i < n; i++) {
		for (j = i; j < n; j++) {
			cut[i] = cut[j] = true;
			feed(&r, p, n, cut);
			same_result(whole, &r);
			cut[i] = cut[j] = false;
		}
	}
	for (i = 0; i < n; i++)
		cut[i] = true;
	feed(&r, p, n, cut);
	same_result(whole, &r);
	free(cut);
}

#define END	"\r\nQUIT\r\n\r\n.\r\n" /* what a smuggler wants read as commands, and the real end */
#define S(text) text, sizeof(text) - 1

static void smuggling(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} row[] = {{S("a\n.\n" END)}, {S("a\n.\r\n" END)}, {S("a\r.\r" END)}, {S("a\r\n.\n" END)},
	    {S("a\r\n.\r" END)}, {S("a\r.\r\n" END)}, {S("a\r\n\0.\r\n" END)},
	    {S("a\r\n.\0\r\n" END)}, {S("a\r\n.\r\r\n" END)}, {S("a\r\n..\r\n" END)},
	    {S("a\n\n.\r\n" END)}, {S("\n.\r\n" END)}, {S("\r.\r\n" END)}, {S(".\n" END)},
	    {S(".\r" END)}, {S("..\r\n" END)}, {S("a\r\n. \r\n" END)}, {S("a\r\n.\r\0\n" END)}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const uint8_t *p = (const uint8_t *)row[i].text;
		struct result r = {.plain = false};

		all_splits(&r, p, row[i].len);
		/* the end is the real one: no byte of the message is left to be a command */
		assert_true(r.scan.done);
		assert_int_equal(r.used, row[i].len);
	}
	/* CR CR LF is a bare CR and a line end: a strict reader ends here, and refuses */
	{
		struct result r = {.plain = false};

		all_splits(&r, (const uint8_t *)"a\r\r\n.\r\n" END, 8 + sizeof(END) - 1);
		assert_true(r.scan.done && r.scan.bare);
		assert_int_equal(r.used, 7);
	}
}

/* What the header says of TLS, however it is cut; tests/unit/smtpc/require has more of them. */
static void tls_required(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		bool no;
	} row[] = {{S("A: b\r\nTLS-Required: No\r\n\r\nx\r\n.\r\n"), true},
	    {S("t:\r\n\ttls\r\ntls-required:no\r\n\r\n.\r\n"), true},
	    {S(".t\r\nTLS-Required: Noo\r\n\r\n.\r\n"), false},
	    {S("a: b\r\n\r\nTLS-Required: No\r\n\r\n.\r\n"), false},
	    {S("TLS-Required: No\r\n.\r\n"), false}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct result r = {.plain = false};

		all_splits(&r, (const uint8_t *)row[i].text, row[i].len);
		assert_int_equal(tls_required_no(&r.scan.tls), row[i].no);
	}
}

/* ---- the stored form ---- */

/* What a strict reader takes from DATA: no stuffing, no end. */
static size_t reference_plain(uint8_t *out, const uint8_t *p, size_t n)
{
	size_t i, len = 0;

	for (i = 0; i < n; i++)
		if (p[i] != '.' || !(i == 0 || (i >= 2 && p[i - 1] == '\n' && p[i - 2] == '\r')))
			out[len++] = p[i];
	return len;
}

/* Every CR, LF and CRLF ends a line, and the last line has an end. */
static size_t reference_repair(uint8_t *out, const uint8_t *p, size_t n)
{
	size_t i, len = 0;

	for (i = 0; i < n; i++) {
		bool end = p[i] == '\r' || p[i] == '\n';

		if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n')
			i++;
		if (end)
			out[len++] = '\r';
		out[len++] = end ? '\n' : p[i];
	}
	if (len > 0 && out[len - 1] != '\n') {
		out[len++] = '\r';
		out[len++] = '\n';
	}
	return len;
}

/* Nothing in it that another server could take for an end. */
static void sound(const struct result *r)
{
	assert_null(memmem(r->out, r->nout, "\r\n.\r\n", 5));
	assert_true(r->nout < 3 || memcmp(r->out, ".\r\n", 3) != 0);
	for (size_t i = 0; i < r->nout; i++) {
		assert_true(r->out[i] != '\n' || (i > 0 && r->out[i - 1] == '\r'));
		assert_true(r->out[i] != '\r' || (i + 1 < r->nout && r->out[i + 1] == '\n'));
	}
}

static void end(struct result *r)
{
	struct smtps_run run;

	smtps_data_end(&r->scan, &run);
	put(r, run.add, run.nadd);
	assert_int_equal(run.keep, 0);
}

static void one_form(const uint8_t *p, size_t n, const bool *cut, bool plain, bool repair)
{
	struct result r = {.plain = plain, .repair = repair};
	uint8_t strict[64], want[64], got[64];
	size_t len = n, nwant;

	feed(&r, p, n, cut);
	if (plain) {
		assert_int_equal(r.used, n);
		end(&r);
		memcpy(strict, p, n);
	} else {
		if (!r.scan.done)
			return;
		assert_int_equal(r.used, reference_end(p, n));
		len = reference_plain(strict, p, r.used - 3);
	}
	assert_int_equal(r.scan.stored, r.nout);
	if (!repair && (r.scan.bare || reference_bare(p, r.used))) {
		/* at its very end a CR is bare too */
		assert_true(r.scan.bare && (reference_bare(p, r.used) || p[r.used - 1] == '\r'));
		return;
	}
	assert_false(r.scan.bare);
	sound(&r);
	nwant = reference_repair(want, strict, len);
	assert_int_equal(reference_plain(got, r.out, r.nout), nwant);
	assert_memory_equal(got, want, nwant);
	assert_int_equal(r.scan.stored - r.scan.stuffed, nwant);
}

/* All strings of 7 bytes over the alphabet that matters, cut in any way. */
static void stored_forms(void **state)
{
	static const char letter[] = "\r\n.x";
	uint8_t p[10];
	bool cut[10];

	(void)state;
	for (unsigned v = 0; v < 1u << 14; v++) {
		for (unsigned i = 0; i < 7; i++)
			p[i] = (uint8_t)letter[(v >> (2 * i)) & 3];
		memcpy(p + 7, "\r\n.", 3);
		for (unsigned c = 0; c < 4; c++) {
			for (unsigned i = 0; i < 10; i++)
				cut[i] = c == 0 || (c > 1 && i % c == 0);
			one_form(p, 7, cut, true, false);
			one_form(p, 7, cut, true, true);
			one_form(p, 7, cut, false, true);
		}
	}
}

/* A name of a field after a repaired end, over cuts; a dot before it is part of the name. */
static void counts_of_forms(void **state)
{
	static const struct {
		const char *text;
		uint32_t hops, stuffed;
	} row[] = {
	    {"Received: a\nRECEIVED: b\rreceived:c\n\nReceived: no\r\n.\r\n", 3, 0},
	    {"Received: a\r\rReceived: no\r\n.\r\n", 1, 0},
	    {"a: b\n.Received: no\nReceived: a\r\n.\r\n", 1, 1},
	    {"\nReceived: no\r\n.\r\n", 0, 0},
	    {".\nReceived: no\r\n.\r\n", 0, 0},
	    {".\rReceived: no\r\n.\r\n", 0, 0},
	    {"a.\n.\n..\r\n.\r\n", 0, 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		size_t n = strlen(row[i].text);
		bool *cut = base_alloc(n * sizeof(*cut));

		for (size_t k = 0; k <= n; k++) {
			struct result r = {.repair = true};

			if (k < n)
				cut[k] = true;
			feed(&r, (const uint8_t *)row[i].text, n, cut);
			assert_true(r.scan.done && r.scan.mended);
			assert_int_equal(r.scan.hops, row[i].hops);
			assert_int_equal(r.scan.stuffed, row[i].stuffed);
			if (k < n)
				cut[k] = k % 2 == 0;
		}
		free(cut);
	}
}

/* NUL (here: @) in the header is seen, and in the body it is not looked for. */
static void nul(void **state)
{
	static const struct {
		const char *text;
		bool repair, nul;
	} row[] = {
	    {"a: b\r\n\r\n@x\r\n@\r\n.\r\n", false, false},
	    {"a: @b\r\n\r\nx\r\n.\r\n", false, true},
	    {"@: b\r\n\r\nx\r\n.\r\n", false, true},
	    {"received:@\r\n.\r\n", false, true},
	    {"a: b\r\n c@\r\n.\r\n", false, true},
	    {".@\r\n.\r\n", false, true},
	    {"\r\n@\r\n.\r\n", false, false},
	    {"a: b\n\n@x\r\n.\r\n", true, false},
	    {"a: b@\n\nx\r\n.\r\n", true, true},
	    {"a: b\r@\n\nx\r\n.\r\n", true, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		size_t n = strlen(row[i].text);
		bool *cut = base_alloc(n * sizeof(*cut));
		uint8_t *p = base_alloc(n);

		for (size_t k = 0; k < n; k++)
			p[k] = row[i].text[k] == '@' ? 0 : (uint8_t)row[i].text[k];
		for (size_t k = 0; k <= n; k++) {
			struct result r = {.repair = row[i].repair};

			if (k < n)
				cut[k] = true;
			feed(&r, p, n, cut);
			assert_true(r.scan.done);
			if (r.scan.nul != row[i].nul)
				fail_msg("row %zu, cut %zu", i, k);
			if (k < n)
				cut[k] = k % 2 == 0;
		}
		free(p);
		free(cut);
	}
}

/* All strings of 8 bytes over the alphabet that matters. */
static void exhaustive(void **state)
{
	static const char letter[] = "\r\n.x";
	uint8_t p[8];
	bool whole[8] = {false}, bytes[8];
	unsigned v, i;

	(void)state;
	memset(bytes, 1, sizeof(bytes));
	for (v = 0; v < 1u << 16; v++) {
		struct result a = {.plain = false}, b = {.plain = false};

		for (i = 0; i < 8; i++)
			p[i] = (uint8_t)letter[(v >> (2 * i)) & 3];
		feed(&a, p, 8, whole);
		same_as_reference(&a, p, 8);
		feed(&b, p, 8, bytes);
		same_result(&a, &b);
	}
}

static void counts(void **state)
{
	static const struct {
		const char *text;
		uint32_t hops, stuffed;
		bool eight, eight_head;
	} row[] = {
	    {".\r\n", 0, 0, false, false},
	    {"\r\n.\r\n", 0, 0, false, false},
	    {"Received: a\r\nRECEIVED: b\r\nreceived:c\r\n\r\nReceived: no\r\n.\r\n", 3, 0, false,
		false},
	    {"Received : a\r\nReceivedx: b\r\n Received: c\r\nXReceived: d\r\n.\r\n", 0, 0, false,
		false},
	    {".Received: hidden\r\n..\r\n.\r\n", 1, 2, false, false},
	    {"Received:\r\nReceived", 1, 0, false, false},
	    {"A: b\r\n\r\n..x\r\n...\r\n.y\r\n.\r\n", 0, 3, false, false},
	    {"A: \303\244\r\n.\r\n", 0, 0, true, true},
	    {"A: 12345678901234567890\377\r\n.\r\n", 0, 0, true, true},
	    {"A: 12345678901234567890\177\r\n.\r\n", 0, 0, false, false},
	    {"A: b\r\n\r\n\303\244\r\n.\r\n", 0, 0, true, false},
	    {"A: \303\244\r\n\r\n\303\244\r\n.\r\n", 0, 0, true, true},
	    {"\r\n\303\244\r\n.\r\n", 0, 0, true, false},
	    {"\303\244: b\r\n\r\nc\r\n.\r\n", 0, 0, true, true},
	    {".\303\244: b\r\n\r\nc\r\n.\r\n", 0, 1, true, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct result r = {.plain = false};

		all_splits(&r, (const uint8_t *)row[i].text, strlen(row[i].text));
		assert_int_equal(r.scan.hops, row[i].hops);
		assert_int_equal(r.scan.stuffed, row[i].stuffed);
		assert_int_equal(r.scan.eight, row[i].eight);
		assert_int_equal(r.scan.eight_head, row[i].eight_head);
		assert_false(r.scan.bare);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(smuggling),
	    cmocka_unit_test(tls_required),
	    cmocka_unit_test(exhaustive),
	    cmocka_unit_test(stored_forms),
	    cmocka_unit_test(counts_of_forms),
	    cmocka_unit_test(counts),
	    cmocka_unit_test(nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
