/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.c -- meta1ctl tls test: what a delivery to a domain would do. Where it goes and what TLS must
 * achieve there says smar; then smtpc opens a session to each hop, as it would deliver, and sends
 * nothing.
 * Comes from meta1ctl.c; goes to the control sockets of smar and smtpc. Owns nothing. The exit
 * status is 0 when one of the hops would get the mail, 1 when none would, or nobody can say.
 */
#include "ctl/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- words ---- */

/* "dane,dane", "verify,sts,testing": as smtpc says what is required. */
static void print_required(const char *required)
{
	static const struct {
		const char *word, *text;
	} words[] =
	    {
		{"none", "no TLS"},
		{"may", "TLS when it is offered, with whoever it is"},
		{"encrypt", "TLS, with whoever it is"},
		{"verify", "TLS, and a certificate of a trusted CA for its name"},
		{"fingerprint", "TLS, and the certificate or key that is given"},
		{"dane", "TLS, and a certificate that its TLSA records mean"},
	    },
	  whose[] = {{"row", "a row of tls_policy"}, {"dane", "DANE"}, {"sts", "MTA-STS"}};
	const char *by = strchr(required, ',');
	size_t n = strcspn(required, ","), m = by ? strcspn(by + 1, ",") : 0;

	printf("  required: ");
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strlen(words[i].word) == n && strncmp(words[i].word, required, n) == 0)
			printf("%s", words[i].text);
	for (size_t i = 0; by && i < ARRAY_LEN(whose); i++)
		if (strlen(whose[i].word) == m && strncmp(whose[i].word, by + 1, m) == 0)
			printf(", by %s", whose[i].text);
	printf("%s%s\n", by ? "" : ", by the option tls_policy of smtpc",
	    strstr(required, ",testing") ? ", which is only looked at (testing)" : "");
}

/* Without a certificate all is said by the reply, or by what TLS there was. */
static void print_certificate(const json_t *c)
{
	char when[40] = "?";
	long long end = tool_number(c, "not_after");

	if (end)
		tool_when(end, when, sizeof(when));
	printf("  %s, ", tool_text(c, "version"));
	printf("%s, %lld bits\n", tool_text(c, "cipher"), tool_number(c, "bits"));
	if (!*tool_text(c, "sha256")) {
		printf("  it has shown no certificate\n");
		return;
	}
	printf("  certificate of %s", tool_text(c, "subject"));
	printf(", issued by %s\n", tool_text(c, "issuer"));
	printf(
	    "    %s %s\n", end && end < (long long)time(NULL) ? "expired on" : "good until", when);
	printf("    SHA-256 %s\n", tool_text(c, "sha256"));
	printf("    of its key %s\n", tool_text(c, "key_sha256"));
	printf("    signed by %s, %s\n",
	    json_is_true(json_object_get(c, "trusted")) ? "a CA that is trusted"
							: "nobody that is trusted",
	    json_is_true(json_object_get(c, "named")) ? "for the host's name"
						      : "not for the host's name");
}

/* With the words none, may and encrypt it is not looked at. */
static void print_judgement(const json_t *c, const char *required)
{
	static const char *const words[] = {"verify", "fingerprint", "dane"};
	size_t n = strcspn(required, ","), i = 0;

	while (i < ARRAY_LEN(words) && strncmp(words[i], required, n) != 0)
		i++;
	if (i == ARRAY_LEN(words))
		return;
	if (json_is_true(json_object_get(c, "accepted")))
		printf("  it is what is required (%s)\n", tool_text(c, "how"));
	else
		printf("  it is not what is required: %s\n", tool_text(c, "refused"));
}

static bool goes(const json_t *answer)
{
	return strcmp(tool_text(answer, "status"), "ok") == 0;
}

static void print_hop(const json_t *a)
{
	const json_t *cert = json_object_get(a, "certificate");

	printf("%s port %lld, ", tool_text(a, "address"), tool_number(a, "port"));
	printf("%s\n", tool_text(a, "host"));
	print_required(tool_text(a, "required"));
	if (json_is_object(cert)) {
		print_certificate(cert);
		print_judgement(cert, tool_text(a, "required"));
	}
	if (*tool_text(a, "login"))
		printf("  AUTH by the row %s\n", tool_text(a, "login"));
	if (goes(a)) {
		printf("  mail would go (TLS: %s)\n", tool_text(a, "tls"));
	} else {
		printf("  no mail would go: ");
		if (tool_number(a, "smtp"))
			printf("%lld ", tool_number(a, "smtp"));
		printf("%s ", tool_text(a, "dsn"));
		printf("%s\n", tool_text(a, "text"));
	}
	fflush(stdout);
}

/* ---- asking ---- */

/* The options that a row of the access map has for this hop; "": none. */
static const char *row_of(const json_t *route, const char *hop)
{
	const json_t *row, *name;
	size_t i, k;

	json_array_foreach(json_object_get(route, "rows"), i, row)
	    json_array_foreach(json_object_get(row, "hops"), k,
		name) if (strcmp(json_string_value(name), hop) ==
			  0) return json_string_value(json_object_get(row, "text"));
	return "";
}

static json_t *ask_hop(struct tool *t, const json_t *route, size_t i, struct meta1_err *err)
{
	const char *hop = json_string_value(json_array_get(json_object_get(route, "hops"), i));
	const char *need = json_string_value(json_array_get(json_object_get(route, "tls"), i));
	json_t *q = json_pack("{s:s, s:s, s:s, s:s}", "hop", hop, "transport",
	    tool_text(route, "transport"), "need", need ? need : "", "row", row_of(route, hop));
	char path[512], *body = json_dumps(q, JSON_COMPACT), *text;
	size_t len;
	int status;
	json_t *j = NULL;

	snprintf(path, sizeof(path), "%s/smtpc.ctl", t->run);
	text = client_call(path, "POST", "/v1/tls-test", buf_str(body), &status, &len, err);
	if (text && status == 200)
		j = json_loads(text, 0, NULL);
	else if (text)
		client_refusal(text, err);
	if (text && status == 200 && !j)
		err_set(err, "smtpc gave no JSON");
	free(text);
	free(body);
	json_decref(q);
	return j;
}

static void print_no_route(const json_t *r)
{
	printf("%s: %lld ", tool_text(r, "domain"), tool_number(r, "smtp"));
	printf("%s ", tool_text(r, "dsn"));
	printf("%s\n%s\n", tool_text(r, "text"),
	    strcmp(tool_text(r, "status"), "permfail") ? "mail would wait in the queue"
						       : "mail would be returned");
}

/* All hops, the first that would get the mail is *to, -1: none. <0: err. */
static int ask_hops(
    struct tool *t, const json_t *route, json_t *list, int *to, struct meta1_err *err)
{
	size_t n = json_array_size(json_object_get(route, "hops"));

	*to = -1;
	for (size_t i = 0; i < n; i++) {
		json_t *a = ask_hop(t, route, i, err);

		if (!a)
			return -1;
		json_array_append_new(list, a);
		if (!t->json)
			print_hop(a);
		if (*to < 0 && goes(a))
			*to = (int)i;
	}
	return 0;
}

static int finish(struct tool *t, json_t *route, json_t *list, int to)
{
	json_t *a = json_array_get(list, to < 0 ? 0 : (size_t)to);

	if (t->json) {
		json_t *o =
		    json_pack("{s:O, s:O, s:b}", "route", route, "hops", list, "goes", to >= 0);

		tool_dump(o);
		json_decref(o);
	} else if (to < 0) {
		printf("no delivery would go now: mail would wait in the queue\n");
	} else {
		printf("a delivery would go to %s", tool_text(a, "host"));
		printf(" (%s)\n", tool_text(a, "address"));
	}
	return to < 0;
}

/* "[host]:port", "lmtp:[host]:port": one next hop, as the mailertable names it. */
static void target_of(const struct tool *t, char *out, size_t size)
{
	const char *what = t->args[0];
	char hop[512];

	if (what[0] != '[' && strncmp(what, "lmtp:", 5) != 0) {
		tool_route_target(t, out, size);
		return;
	}
	tool_encode(what, hop, sizeof(hop));
	snprintf(out, size, "/v1/route%s%chop=%s", t->question, t->question[0] ? '&' : '?', hop);
}

int tool_tls_test(struct tool *t)
{
	char target[sizeof(t->question) + 600];
	struct meta1_err err;
	json_t *route, *list = json_array();
	int to = -1, rc = 0;

	target_of(t, target, sizeof(target));
	route = tool_ask_smar(t, target, &err);
	if (!route || (strcmp(tool_text(route, "status"), "ok") == 0 &&
			  ask_hops(t, route, list, &to, &err) < 0))
		rc = tool_fail(&err);
	else if (strcmp(tool_text(route, "status"), "ok") != 0 && !t->json)
		print_no_route(route);
	if (rc == 0)
		rc = json_array_size(list) || t->json ? finish(t, route, list, to) : 1;
	json_decref(list);
	json_decref(route);
	return rc;
}
