/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts.c -- fuzz target of core/smar/sts_policy.c and sts_file.c: what a domain publishes as record
 * and policy, and a line of our own file. A policy that is taken has nothing in it but folded host
 * names; written as text and as a line it is read back as it is.
 */
#include "smar/sts.h"
#include "fuzz.h"

static void same(const struct sts_policy *a, const struct sts_policy *b)
{
	must(a->mode == b->mode && a->max_age == b->max_age && a->nmx == b->nmx);
	for (uint32_t i = 0; i < a->nmx; i++)
		must(strcmp(a->mx[i], b->mx[i]) == 0);
}

static void as_text(const struct sts_policy *p)
{
	char *text = malloc((p->nmx + 3) * 300), line[300];
	struct sts_policy *again;
	struct meta1_err err;
	size_t n = 0;

	for (unsigned i = 0; sts_policy_line(p, i, line, sizeof(line)); i++)
		n += (size_t)sprintf(text + n, "%s\n", line);
	if (n <= STS_TEXT_MAX) {
		again = sts_policy_read(buf_of(text, n), &err);
		must(again);
		same(p, again);
		sts_policy_unref(&again);
	}
	free(text);
}

static void as_line(const struct sts_policy *p)
{
	struct sts_bytes b = {NULL, 0, 0};
	struct sts_saved s;

	sts_file_add(&b, "example.org", "1", 42, p);
	b.data[b.n - 1] = '\0';
	must(sts_file_line(b.data, &s));
	must(strcmp(s.domain, "example.org") == 0 && strcmp(s.id, "1") == 0 && s.fetched == 42);
	same(p, s.policy);
	sts_policy_unref(&s.policy);
	free(b.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct meta1_err err = {""};
	struct sts_policy *p = sts_policy_read(buf_of(data, size), &err);
	char *text = malloc(size + 8), id[STS_ID_MAX + 1];
	struct sts_saved s;

	if (p) {
		must(p->max_age <= STS_MAX_AGE && p->nmx <= STS_MX_MAX);
		must(p->nmx > 0 || p->mode == STS_NONE);
		for (uint32_t i = 0; i < p->nmx; i++)
			must(sts_pattern_ok(p->mx[i]));
		as_text(p);
		as_line(p);
	} else {
		must(err.text[0] != '\0' && memchr(err.text, '\n', sizeof(err.text)) == NULL);
	}
	sts_policy_unref(&p);
	memcpy(text, "v=STSv1", 7);
	memcpy(text + 7, data, size);
	text[7 + size] = '\0';
	if (sts_record_read(text, id))
		must(sts_id_ok(id));
	if (sts_file_line(text + 7, &s)) {
		must(s.policy && sts_id_ok(s.id));
		sts_policy_unref(&s.policy);
	}
	free(text);
	return 0;
}
