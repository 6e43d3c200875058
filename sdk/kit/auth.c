/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.c -- the suite for SASL mechanisms: offers, exchanges with rubbish, ends at every step, and
 * with -k user=secret the module's own client against its own server, with the right secret
 * and with a wrong one.
 *
 * Comes from modtest.c; goes to the module as smtps and smtpc do. A secret must never stand in the
 * text of an answer.
 * On failure: "not ok" with the mechanism and the step.
 */
#include "kit.h"

#include <ctype.h>
#include <meta1/auth.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CALLS_MAX 500
#define ROUNDS	  12 /* more than any mechanism has */
#define WRONG	  "not-the-secret-4711"

struct side { /* an instance and its exchange */
	struct kit_inst *inst;
	const struct meta1_auth_ops *ops;
	void *conv;
	struct kit_answer a;
	struct meta1_req *req;
};

struct suite {
	struct kit *k;
	struct side server, client;
	struct meta1_auth_peer peer;
	char names[1024];
};

static void ask(struct suite *s, struct side *x)
{
	x->a = (struct kit_answer){.told = false};
	x->req = kit_req(s->k, x->inst, &x->a);
}

/* '?': none came */
static char said(struct suite *s, struct side *x)
{
	if (!kit_wait(s->k, &x->a))
		return '?';
	return x->a.st == META1_OK	   ? 'O'
	       : x->a.st == META1_MORE	   ? 'M'
	       : x->a.st == META1_NOTFOUND ? 'N'
	       : x->a.st == META1_TEMPFAIL ? 'T'
	       : x->a.st == META1_PERMFAIL ? 'P'
					   : 'X';
}

static char start(struct suite *s, const char *mech, const struct meta1_buf *first)
{
	ask(s, &s->server);
	s->server.ops->start(
	    kit_data(s->server.inst), s->server.req, &s->peer, mech, first, &s->server.conv);
	return said(s, &s->server);
}

static char step(struct suite *s, struct side *x, struct meta1_buf in)
{
	ask(s, x);
	x->ops->step(x->conv, x->req, in);
	return said(s, x);
}

static void end(struct side *x)
{
	kit_answer_free(&x->a);
	if (x->conv)
		x->ops->end(&x->conv);
}

/* ---- what is offered ---- */

static bool good_names(const char *names)
{
	size_t len = 0;

	for (const char *p = names;; p++) {
		if (*p == ' ' || *p == '\0') {
			if (len == 0 || len > META1_AUTH_MECH_MAX)
				return false;
			len = 0;
			if (*p == '\0')
				return true;
			continue;
		}
		if (!isupper((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '-' &&
		    *p != '_')
			return false;
		len++;
	}
}

static bool has(const char *names, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = names; (p = strstr(p, name)); p += n)
		if ((p == names || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

static void offers(struct suite *s)
{
	const struct meta1_auth_ops *ops = s->server.ops;
	void *inst = kit_data(s->server.inst);
	char cut[24], none[META1_AUTH_MECH_MAX], strict[1024];
	size_t n;

	/* one that asks a daemon knows them when that has answered */
	for (int i = 0; i < 200 && (i == 0 || !s->names[0]); i++) {
		kit_turn(s->k);
		usleep(i == 0 ? 0 : 5000);
		ops->offer(inst, &s->peer, s->names, sizeof(s->names));
	}
	if (!s->names[0]) {
		kit_skip(s->k, "offers", "it has none for this peer");
		return;
	}
	kit_ok(s->k, good_names(s->names), "offers names as RFC 4422 has them: \"%s\"", s->names);
	ops->offer(inst, &s->peer, cut, sizeof(cut));
	n = strlen(cut);
	kit_ok(s->k, strncmp(cut, s->names, n) == 0 && (s->names[n] == ' ' || s->names[n] == '\0'),
	    "and cuts the list at a whole name: \"%s\"", cut);
	ops->offer(inst, &s->peer, none, 1);
	kit_ok(s->k, none[0] == '\0', "and offers none without room for one");
	s->peer.flags = META1_A_NOPLAINTEXT | META1_A_NOANONYMOUS;
	s->peer.tls_bits = 256; /* TLS excuses nothing: the host has thought of it */
	ops->offer(inst, &s->peer, strict, sizeof(strict));
	s->peer.flags = META1_A_NOANONYMOUS;
	s->peer.tls_bits = 0;
	kit_ok(s->k, !has(strict, "PLAIN") && !has(strict, "LOGIN"),
	    "with noplaintext neither PLAIN nor LOGIN: \"%s\"", strict);
}

/* ---- rubbish, and ends at every step ---- */

static bool rubbish(struct suite *s, const char *mech, const struct meta1_buf *first)
{
	static const char bytes[] = "\0\377,=n,,n=a,r=\n\r\0x\0y";
	char was = start(s, mech, first);
	struct meta1_buf in = buf_of(bytes, sizeof(bytes));

	for (int i = 0; i < ROUNDS && was == 'M'; i++) {
		kit_answer_free(&s->server.a);
		was = step(s, &s->server, i % 2 ? in : buf_of("", 0));
	}
	end(&s->server);
	return was == 'N' || was == 'P' || was == 'T';
}

static void each_rubbish(struct suite *s, const char *mech)
{
	static char big[META1_AUTH_MAX];
	struct meta1_buf empty = buf_of("", 0), full = buf_of(big, sizeof(big));

	memset(big, 'x', sizeof(big));
	if (strcmp(mech, "EXTERNAL") == 0) { /* an empty word is a good one */
		kit_ok(s->k, rubbish(s, mech, &full), "%s: rubbish proves nothing", mech);
		return;
	}
	kit_ok(s->k, rubbish(s, mech, NULL), "%s: rubbish proves nothing", mech);
	kit_ok(s->k, rubbish(s, mech, &empty), "%s: nor does an empty word", mech);
	kit_ok(s->k, rubbish(s, mech, &full), "%s: nor %d bytes", mech, META1_AUTH_MAX);
}

/* turns: of the loop before the host loses interest. */
static void leave(struct suite *s, const char *mech, int turns, bool cancel)
{
	ask(s, &s->server);
	s->server.ops->start(
	    kit_data(s->server.inst), s->server.req, &s->peer, mech, NULL, &s->server.conv);
	for (int i = 0; i < turns; i++)
		loop_turn(s->k->host.loop, false);
	if (cancel && !s->server.a.told)
		kit_req_cancel(&s->server.req);
	end(&s->server);
	for (int i = 0; i < 50; i++)
		kit_turn(s->k);
}

static void each_end(struct suite *s, const char *mech)
{
	for (int turns = 0; turns < 3; turns++)
		leave(s, mech, turns, true);
	kit_ok(s->k, true, "%s: may be left at any time", mech);
}

static void each(struct suite *s, void (*try)(struct suite *, const char *mech))
{
	char names[sizeof(s->names)], *next = names, *mech;

	str_copy(names, sizeof(names), s->names);
	while ((mech = strsep(&next, " ")))
		if (*mech)
			try(s, mech);
}

/* ---- client and server of the module ---- */

static bool leaks(const struct side *x, struct meta1_buf secret)
{
	const char *t = x->a.reply.text;

	return t && memmem(t, strlen(t), secret.data, secret.len);
}

/* What the server says in the end, or '?' when the two do not come to an end. */
static char talk(struct suite *s, const char *mech, const struct meta1_auth_creds *creds)
{
	struct side *c = &s->client, *v = &s->server;
	struct meta1_buf first;
	bool has_first, leaked;
	char was, now;

	ask(s, c);
	c->ops->login(kit_data(c->inst), c->req, &s->peer, mech, creds, &c->conv);
	was = said(s, c);
	if (was != 'M' || c->a.reply.nval < 1)
		return was;
	has_first = c->a.reply.nval == 2;
	first = has_first ? c->a.reply.val[1] : buf_of("", 0);
	now = start(s, mech, has_first ? &first : NULL);
	for (int i = 0; i < ROUNDS && now == 'M'; i++) {
		kit_answer_free(&c->a);
		was = step(s, c, v->a.reply.nval ? v->a.reply.val[0] : buf_of("", 0));
		kit_answer_free(&v->a);
		if (was != 'M' && was != 'O')
			return was;
		now = step(s, v, was == 'M' && c->a.reply.nval ? c->a.reply.val[0] : buf_of("", 0));
	}
	leaked = leaks(v, creds->secret) || leaks(c, creds->secret);
	return leaked ? '!' : now;
}

/* "": OK without a name, which is one of nobody. */
static void who_of(const struct suite *s, char st, char *who, size_t n)
{
	const struct meta1_reply *r = &s->server.a.reply;
	struct meta1_buf b = st == 'O' && r->nval > 0 ? r->val[0] : buf_of("", 0);

	snprintf(who, n, "%.*s", (int)b.len, (const char *)b.data);
}

static char logged_in(
    struct suite *s, const char *mech, struct meta1_buf secret, char *who, size_t n)
{
	struct meta1_auth_creds creds = {
	    .size = sizeof(creds), .user = s->k->pair[0].key, .secret = secret};
	char st = talk(s, mech, &creds);

	who_of(s, st, who, n);
	end(&s->client);
	end(&s->server);
	return st;
}

/* Each call of the host fails in turn: who knows the secret is let in or comes again. */
static void failing(struct suite *s, const char *mech)
{
	bool right = true, there_was = true;
	unsigned n;
	char who[256], st = '?';

	for (n = 1; n < CALLS_MAX && there_was && right; n++) {
		kit_host_fail(&s->k->host, n);
		st = logged_in(s, mech, s->k->pair[0].val, who, sizeof(who));
		there_was = s->k->host.failed > 0;
		kit_host_fail(&s->k->host, 0);
		right = st == 'O' || st == 'T';
	}
	kit_ok(s->k, right && n < CALLS_MAX,
	    "%s: in, or a temporary failure, when each of %u calls fails in turn (%c)", mech, n - 1,
	    st);
}

static void each_login(struct suite *s, const char *mech)
{
	const struct kit_pair *p = &s->k->pair[0];
	char who[256];
	char st = logged_in(s, mech, p->val, who, sizeof(who));

	if (st == 'N' && strcmp(mech, "EXTERNAL") == 0) {
		kit_skip(s->k, mech, "it needs TLS");
		return;
	}
	kit_ok(s->k, st == 'O' && strncmp(who, p->key.data, p->key.len) == 0,
	    "%s: the right secret is \"%s\" (%c)", mech, who, st);
	st = logged_in(s, mech, buf_str(WRONG), who, sizeof(who));
	kit_ok(s->k, st == 'N', "%s: a wrong secret is refused (%c)", mech, st);
	failing(s, mech);
	kit_ok(s->k, !kit_log_has(&s->k->host, p->val) && !kit_log_has(&s->k->host, buf_str(WRONG)),
	    "%s: no secret is in the log", mech);
}

/* ---- a certificate, and a hop that is none ---- */

static char external(struct suite *s, const char *act_as, char *who, size_t n)
{
	struct meta1_buf first = buf_str(act_as);
	char st = start(s, "EXTERNAL", &first);

	who_of(s, st, who, n);
	end(&s->server);
	return st;
}

static void with_certificate(struct suite *s)
{
	char who[256], key[256];
	char st = external(s, "", who, sizeof(who));

	snprintf(key, sizeof(key), "%.*s", s->k->npair > 0 ? (int)s->k->pair[0].key.len : 0,
	    s->k->npair > 0 ? (const char *)s->k->pair[0].key.data : "");
	kit_ok(s->k, st == 'O' && strcmp(who, key) == 0,
	    "EXTERNAL: the certificate is for \"%s\" (%c)", who, st);
	st = external(s, key, who, sizeof(who));
	kit_ok(s->k, st == 'O' && strcmp(who, key) == 0, "who may say so himself (%c)", st);
	st = external(s, "somebody.else@kit.example", who, sizeof(who));
	kit_ok(s->k, st == 'N', "and be nobody else (%c)", st);
	s->peer.cert = buf_of(NULL, 0);
	st = external(s, key, who, sizeof(who));
	kit_ok(s->k, st == 'N', "without a certificate it is refused (%c)", st);
}

/* A server that answers rubbish: the client's side ends, and is not told that all is well. */
static void hostile(struct suite *s, const char *mech)
{
	static const char bytes[] = "\0\377r=abc,s=,i=0\n\r\0=";
	struct meta1_buf secret = buf_str("kit.secret.4711");
	struct meta1_auth_creds creds = {
	    .size = sizeof(creds), .user = buf_str("kit"), .secret = secret};
	struct side *c = &s->client;
	bool leaked = false, proves = strncmp(mech, "SCRAM-", 6) == 0;
	char was;

	ask(s, c);
	c->ops->login(kit_data(c->inst), c->req, &s->peer, mech, &creds, &c->conv);
	was = said(s, c);
	if (was == 'N') {
		end(c);
		return;
	}
	for (int i = 0; i < ROUNDS && was == 'M'; i++) {
		proves = proves && c->a.reply.smtp != 235;
		kit_answer_free(&c->a);
		was = step(s, c, i % 2 ? buf_of("", 0) : buf_of(bytes, sizeof(bytes)));
		leaked = leaked || (was != 'M' && leaks(c, secret));
	}
	kit_ok(
	    s->k, !strchr("?XM", was) && !leaked, "%s as client: rubbish ends it (%c)", mech, was);
	if (strncmp(mech, "SCRAM-", 6) == 0)
		kit_ok(s->k, proves && was != 'O', "%s: a server without proof is none", mech);
	end(c);
}

/* What the client says is what the RFC of the mechanism has as its example. */
static void vectors(struct suite *s)
{
	static const struct {
		const char *mech, *rfc, *challenge;
		struct meta1_buf response;
	} row[] = {
	    {"PLAIN", "RFC 4616", NULL, {"\0tim\0tanstaaftanstaaf", 21}},
	    {"CRAM-MD5", "RFC 2195", "<1896.697170952@postoffice.reston.mci.net>",
		{"tim b913a602c7eda7a495b4e6e7334d3890", 36}},
	};
	struct meta1_auth_creds creds = {
	    .size = sizeof(creds), .user = buf_str("tim"), .secret = buf_str("tanstaaftanstaaf")};
	struct side *c = &s->client;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const struct meta1_buf *got = NULL;
		char was;

		ask(s, c);
		c->ops->login(kit_data(c->inst), c->req, &s->peer, row[i].mech, &creds, &c->conv);
		was = said(s, c);
		if (was == 'M' && row[i].challenge) {
			kit_answer_free(&c->a);
			was = step(s, c, buf_str(row[i].challenge));
			got = was == 'M' && c->a.reply.nval ? &c->a.reply.val[0] : NULL;
		} else if (was == 'M' && c->a.reply.nval > 1) {
			got = &c->a.reply.val[1];
		}
		if (was != 'N') /* it has this mechanism */
			kit_ok(s->k, got && buf_eq(*got, row[i].response),
			    "%s as client: what %s says (%c)", row[i].mech, row[i].rfc, was);
		end(c);
	}
}

static void each_hostile(struct suite *s)
{
	static const char *const mechs[] = {"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5",
	    "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "NONE-SUCH"};

	for (size_t i = 0; i < ARRAY_LEN(mechs); i++)
		hostile(s, mechs[i]);
}

/* ---- */

static bool open_side(struct suite *s, struct side *x, uint32_t role)
{
	uint32_t was = s->k->host.role;
	struct meta1_err err = {""};

	if (!(s->k->m->roles & role))
		return false;
	s->k->host.role = role;
	x->inst = kit_open(s->k, NULL, &err);
	s->k->host.role = was;
	if (kit_ok(s->k, x->inst != NULL, "opens as %s %s",
		role == META1_SMTPS ? "server" : "client", err.text))
		x->ops = kit_ops(x->inst);
	return x->inst != NULL;
}

int kit_auth(struct kit *k)
{
	struct suite s = {.k = k,
	    .peer = {.size = sizeof(s.peer),
		.flags = META1_A_NOANONYMOUS,
		.service = "smtp",
		.server = "kit.example",
		.local = "192.0.2.1;25",
		.remote = "192.0.2.2;40000"}};

	if (open_side(&s, &s.server, META1_SMTPS)) {
		s.peer.cert = k->cert;
		s.peer.external = k->cert.len > 0 ? "/CN=kit" : NULL;
		offers(&s);
		each(&s, each_rubbish);
		each(&s, each_end);
		if (has(s.names, "EXTERNAL"))
			with_certificate(&s);
	}
	if ((k->m->roles & META1_SMTPC) && open_side(&s, &s.client, META1_SMTPC)) {
		vectors(&s);
		each_hostile(&s);
	}
	if (!s.server.inst || !s.client.inst)
		kit_skip(k, "exchanges", "they need both sides of it");
	else if (k->npair == 0)
		kit_skip(k, "exchanges", "they need -k user=secret");
	else
		each(&s, each_login);
	if (s.client.inst)
		kit_close(k, &s.client.inst);
	if (s.server.inst)
		kit_close(k, &s.server.inst);
	kit_ok(k, true, "closes after all that, nothing left");
	return 0;
}
