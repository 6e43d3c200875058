/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mapvalue.c -- fuzz target of the right-hand sides of maps: core/smar/access.c and
 * mailertable.c. The input is a value as a map gives it, without a NUL behind it.
 * A reply made from a value is fit for the wire; a next hop is one that can be written again.
 */
#include "fuzz.h"
#include "mail/reply.h"
#include "smar/smar.h"

static void access_value(struct meta1_buf value)
{
	struct meta1_err err = {""};
	struct smar_access a;
	char dsn[12];

	if (smar_access_parse(value, &a, &err) < 0) {
		must(err.text[0] != '\0');
		return;
	}
	must(a.rhs <= RHS_ERROR);
	if (a.rhs != RHS_ERROR)
		return;
	must(a.smtp >= 400 && a.smtp < 560 && a.smtp != 421);
	must(reply_dsn(a.smtp, a.dsn, dsn) > 0 && strcmp(a.dsn, dsn) == 0);
	must(a.text[0] != '\0' && strlen(a.text) < sizeof(a.text));
	for (const char *p = a.text; *p; p++)
		must((unsigned char)*p >= 32 && *p != 127);
}

static char box[] = "box", *const transports[] = {box, NULL};

static void write_target(const struct smar_target *t, char *out, size_t size)
{
	bool v6 = t->kind == TARGET_ADDR && strchr(t->name, ':') != NULL;
	bool brackets = t->kind == TARGET_ADDR || t->kind == TARGET_HOST;
	int n = snprintf(out, size, "%s:%s%s%s%s", smar_target_by(t), brackets ? "[" : "",
	    v6 ? "IPv6:" : "", t->name, brackets ? "]" : "");

	if (t->port != 0)
		snprintf(out + n, size - (size_t)n, ":%u", (unsigned)t->port);
}

static void target(const struct smar_target *t)
{
	struct smar_target again[SMAR_TARGETS];
	struct meta1_err err = {""};
	char text[300];
	unsigned n;

	must(strlen(t->name) < sizeof(t->name));
	must(t->kind == TARGET_SOCKET || t->kind == TARGET_NAMED || t->name[0] != '\0');
	must(t->kind != TARGET_MX || smar_target_smtp(t));
	write_target(t, text, sizeof(text));
	must(smar_mailertable_parse(buf_str(text), transports, again, &n, &err) == 0 && n == 1);
	must(again->kind == t->kind && again->lmtp == t->lmtp && again->port == t->port);
	must(strcmp(again->by, t->by) == 0);
	must(strcmp(again->name, t->name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct meta1_buf value = buf_of(data, size);
	struct smar_target t[SMAR_TARGETS];
	struct meta1_err err = {""};
	char addr[64];
	unsigned n = 0;

	access_value(value);
	if (smar_mailertable_parse(value, transports, t, &n, &err) == 0) {
		must(n >= 1 && n <= SMAR_TARGETS);
		for (unsigned i = 0; i < n; i++)
			target(&t[i]);
	} else {
		must(err.text[0] != '\0');
		n = 0;
	}
	/* only the protocol is looked at there: a broken row of LMTP stays local */
	must(n == 0 || smar_local_value(value, transports) == !smar_target_smtp(&t[0]));
	if (n > 0 && t[0].kind != TARGET_SOCKET)
		smar_literal(t[0].name, addr, sizeof(addr));
	return 0;
}
