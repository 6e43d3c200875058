/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * address.c -- fuzz target of core/mail/addr.c and reply.c, and of the keys that smar makes of
 * an address. The input is a path with its brackets, and once more a reply text.
 * What is accepted has no byte that could leave its place (a log line, a map key, an envelope),
 * keeps the bounds of RFC 5321 4.5.3.1, and is accepted again as the same. Domains have one key:
 * also when they are written as people do.
 */
#include "fuzz.h"
#include "mail/addr.h"
#include "mail/idn.h"
#include "mail/reply.h"
#include "smar/smar.h"

static void printable(struct meta1_buf b, bool utf8)
{
	const unsigned char *p = b.data;

	for (size_t i = 0; i < b.len; i++) {
		must(p[i] >= 32 && p[i] != 127 && (p[i] < 127 || utf8));
		must(p[i] != 0xc2 || (i + 1 < b.len && p[i + 1] >= 0xa0)); /* no C1 control */
	}
}

/* The key is a name of the DNS, its own key, and the key of its other form. */
static void twins(struct meta1_buf domain)
{
	char key[ADDR_DOMAIN_MAX + 1], twice[ADDR_DOMAIN_MAX + 1], text[512];

	must(addr_domain_key(domain, key, sizeof(key)) == 0);
	printable(buf_str(key), false);
	must(addr_domain_key(buf_str(key), twice, sizeof(twice)) == 0 && strcmp(key, twice) == 0);
	if (idn_text(key, text, sizeof(text)) &&
	    addr_domain_key(buf_str(text), twice, sizeof(twice)) == 0)
		must(addr_domain_ok(buf_str(twice)));
}

static void keys(struct meta1_buf path)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1], key[SMAR_KEY_MAX];
	struct smar_use use = {.delimiters = "+-"};
	struct smar_keys k;

	if (smar_keys_split(path, "instead.example", local, domain) < 0)
		return;
	for (use.flags = 0; use.flags <= (USE_F_LOCALPART | USE_F_FULL_ADDRESS); use.flags++) {
		unsigned n = 0;

		smar_keys_path(&k, &use, "to:", local, domain);
		while (smar_keys_next(&k, key, sizeof(key))) {
			must(strncmp(key, "to:", 3) == 0 && strlen(key) < sizeof(key));
			must(++n < 600); /* two keys a label, and a few of the user */
		}
	}
}

static void again(const struct addr *a, unsigned flags)
{
	char text[ADDR_PATH_MAX + 3];
	struct meta1_err err;
	struct addr b;
	size_t used;

	snprintf(text, sizeof(text), "<%.*s>", (int)a->whole.len, (const char *)a->whole.data);
	must(strlen(text) == a->whole.len + 2);
	must(addr_path(text, strlen(text), flags, &b, &used, &err) == 0 && used == strlen(text));
	must(buf_eq(a->local, b.local) && buf_eq(a->domain, b.domain));
	twins(a->domain);
}

static void path(const char *text, size_t n, unsigned flags)
{
	struct meta1_err err = {""};
	char dsn[12];
	struct addr a;
	size_t used = 0;

	if (addr_path(text, n, flags, &a, &used, &err) < 0) {
		must(reply_dsn(550, err.text, dsn) > 0);
		printable(buf_str(err.text), false);
		return;
	}
	must(used >= 2 && used <= n && text[0] == '<' && text[used - 1] == '>');
	must(a.local.len <= ADDR_LOCAL_MAX && a.domain.len <= ADDR_DOMAIN_MAX);
	must(a.whole.len <= ADDR_PATH_MAX);
	printable(a.whole, a.utf8);
	if (a.whole.len == 0)
		must((flags & ADDR_NULL) && used == 2);
	else if (a.domain.len == 0)
		must((flags & ADDR_POSTMASTER) && addr_is_postmaster(&a));
	else
		must(addr_domain_ok(a.domain) && a.whole.len == a.local.len + 1 + a.domain.len);
	again(&a, flags);
	keys(a.whole);
}

static void reply(const char *text, size_t n)
{
	char clean[64], dsn[12];
	size_t used;

	reply_clean(text, n, clean, sizeof(clean));
	must(strlen(clean) == (n < sizeof(clean) - 1 ? n : sizeof(clean) - 1));
	for (const char *p = clean; *p; p++)
		must((unsigned char)*p >= 32 && *p != 127);
	for (int code = 0; code < 600; code += 50) {
		used = reply_dsn(code, clean, dsn);
		must(used <= strlen(clean) && strncmp(clean, dsn, strlen(dsn)) == 0);
		must((used > 0) == (dsn[0] != '\0'));
		must(used == 0 || code == 0 || dsn[0] - '0' == code / 100);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *text = (const char *)data;

	for (unsigned flags = 0; flags < 4; flags++)
		path(text, n, flags);
	addr_domain_ok(buf_of(text, n));
	keys(buf_of(text, n));
	reply(text, n);
	return 0;
}
