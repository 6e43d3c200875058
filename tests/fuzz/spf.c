/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spf.c -- fuzz target of core/smar/spf_record.c and spf_macro.c: records of strangers.
 * The input: a record, perhaps with a NUL and a local part behind it. What is taken for a record
 * keeps all bounds, and each name made from its terms can be asked for.
 */
#include "smar/spf.h"
#include "fuzz.h"

static void name(struct meta1_buf spec, const struct spf_values *v)
{
	char out[DNS_NAME_MAX], text[512];

	must(spf_macro_ok(spec, SPF_M_DOMAIN));
	if (spf_macro_domain(spec, v, out)) {
		must(strlen(out) > 0 && strlen(out) <= 253);
		must(spf_macro_label(out));
	}
	must(spf_macro_expand(spec, v, text, sizeof(text)) < (int)sizeof(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const uint8_t *nul = n > 0 ? memchr(p, '\0', n) : NULL;
	size_t len = nul ? (size_t)(nul - p) : n;
	char local[ADDR_PATH_MAX + 1] = "local", text[1024];
	struct spf_values v = {
	    .local = local, .sender = "mail.example.org", .domain = "example.org"};
	struct mx_addr addr;
	struct spf_record r;
	struct meta1_err err = {""};
	size_t terms = 1;

	must(dns_addr_parse(len % 2 ? "192.0.2.1" : "2001:db8::1", &addr));
	v.addr = &addr;
	v.helo = v.hostname = v.name = "gw.example.org";
	if (nul && n - len - 1 < sizeof(local)) {
		memset(local, 0, sizeof(local));
		memcpy(local, nul + 1, n - len - 1);
	}
	if (spf_macro_ok(buf_of(p, len), SPF_M_EXP))
		must(spf_macro_expand(buf_of(p, len), &v, text, sizeof(text)) < (int)sizeof(text));
	if (spf_record_parse(buf_of(p, len), &r, &err) < 0) {
		must(err.text[0] != '\0');
		return 0;
	}
	for (size_t i = 0; i < len; i++)
		terms += p[i] == ' ';
	must(r.n <= terms);
	for (unsigned i = 0; i < r.n; i++) {
		must(r.term[i].bits4 <= 32 && r.term[i].bits6 <= 128);
		must(r.term[i].text.len > 0);
		if (r.term[i].spec.len > 0)
			name(r.term[i].spec, &v);
	}
	if (r.redirect.len > 0)
		name(r.redirect, &v);
	if (r.exp.len > 0)
		name(r.exp, &v);
	spf_record_free(&r);
	return 0;
}
