/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_dovecot.c -- the module: options, what is offered, exchanges.
 *
 * Comes from smtps; goes to wire.c as AUTH and CONT, and back with OK, CONT and FAIL. Owns the
 * exchanges, found by number. Until Dovecot was there once nothing is offered; later, while it is
 * away, its mechanisms stay offered and AUTH is answered "not now".
 * On failure: FAIL is NOTFOUND, unless Dovecot says that it is temporary.
 */
#include "dovecot.h"

#include <meta1/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct meta1_opt options[] = {
    META1_OPT(struct conf, socket, META1_PATH, const char *, "/run/dovecot/auth-client", "",
	META1_O_MAYLACK,
	"Unix socket of Dovecot's auth service (unix_listener auth-client), which smtps' account "
	"may connect to."),
};

static int dovecot_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct dovecot *d = host->alloc(ctx, sizeof(*d));

	if (!d) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	d->host = host;
	d->ctx = ctx;
	d->conf = conf;
	if (wire_open(d) < 0) {
		host->free(ctx, d);
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	*inst = d;
	return 0;
}

static void dovecot_close(void *inst)
{
	struct dovecot *d = inst;

	wire_close(d);
	d->host->free(d->ctx, d);
}

/* ---- what is offered ---- */

static int fits(const struct mech *m, uint32_t flags)
{
	const uint32_t kept =
	    META1_A_FORWARD_SECRECY | META1_A_MUTUAL_AUTH | META1_A_PASS_CREDENTIALS;

	return !(m->is & flags) && !(flags & kept & ~m->has);
}

static void dovecot_offer(void *inst, const struct meta1_auth_peer *p, char *out, size_t size)
{
	struct dovecot *d = inst;
	size_t len = 0;

	*out = '\0';
	for (unsigned i = 0; i < d->nmech; i++) {
		size_t n = strlen(d->mech[i].name);

		if (!fits(&d->mech[i], p->flags))
			continue;
		if (len + n + 2 > size)
			return;
		len += (size_t)snprintf(
		    out + len, size - len, "%s%s", len ? " " : "", d->mech[i].name);
	}
}

/* ---- exchanges ---- */

static struct exchange **place(struct dovecot *d, uint32_t id)
{
	struct exchange **p = &d->all[id % BUCKETS];

	while (*p && (*p)->id != id)
		p = &(*p)->next;
	return p;
}

static void forget(struct exchange *x)
{
	struct exchange **p = x->id ? place(x->d, x->id) : NULL;

	if (p && *p)
		*p = x->next;
	x->id = 0;
}

static void finish(struct exchange *x, enum meta1_status st, const struct meta1_reply *r)
{
	struct meta1_req *req = x->req;

	x->req = NULL;
	if (req)
		x->d->host->finish(req, st, r);
}

static void fail(struct exchange *x, enum meta1_status st, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why};

	forget(x);
	finish(x, st, &r);
}

static const char *param(const struct params *p, const char *name)
{
	size_t n = strlen(name);

	for (unsigned i = 2; i < p->n; i++)
		if (strncmp(p->v[i], name, n) == 0 && p->v[i][n] == '=')
			return p->v[i] + n + 1;
	return NULL;
}

static int flag(const struct params *p, const char *name)
{
	for (unsigned i = 2; i < p->n; i++)
		if (strcmp(p->v[i], name) == 0)
			return 1;
	return 0;
}

static void said_ok(struct exchange *x, const struct params *p)
{
	const char *user = param(p, "user"), *owner = param(p, "auth_user");
	struct meta1_buf val[2];
	struct meta1_reply r = {.size = sizeof(r), .val = val};

	if (!user || !*user) {
		fail(x, META1_TEMPFAIL, "Dovecot says OK, and no user");
		return;
	}
	forget(x);
	val[r.nval++] = (struct meta1_buf){user, strlen(user)};
	if (owner && *owner && strcmp(owner, user) != 0)
		val[r.nval++] = (struct meta1_buf){owner, strlen(owner)};
	finish(x, META1_OK, &r);
}

static void said_more(struct exchange *x, const struct params *p)
{
	const char *text = p->n > 2 ? p->v[2] : "";
	size_t len = strlen(text);
	unsigned char raw[4096];
	long n = len <= sizeof(raw) ? meta1_base64_decode(raw, (struct meta1_buf){text, len}) : -1;
	struct meta1_buf val = {raw, n > 0 ? (size_t)n : 0};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};

	if (n < 0)
		fail(x, META1_TEMPFAIL, "Dovecot's challenge is no base64");
	else
		finish(x, META1_MORE, &r);
}

static void said_fail(struct exchange *x, const struct params *p)
{
	const char *why = param(p, "reason"), *code = param(p, "code");
	int temp = flag(p, "temp") || (code && strcmp(code, "temp_fail") == 0);
	char text[300];

	snprintf(text, sizeof(text), "%s%s%.200s",
	    temp		       ? "Dovecot cannot tell now"
	    : flag(p, "user_disabled") ? "the account is disabled"
	    : flag(p, "pass_expired")  ? "the password has expired"
	    : flag(p, "authz")	       ? "may not act as that one"
				       : "Dovecot refuses it",
	    why ? ": " : "", why ? why : "");
	fail(x, temp ? META1_TEMPFAIL : META1_NOTFOUND, text);
}

void dovecot_answer(struct dovecot *d, const char *verb, struct params *p)
{
	uint32_t id = p->n > 1 ? (uint32_t)strtoul(p->v[1], NULL, 10) : 0;
	struct exchange *x = id ? *place(d, id) : NULL;

	if (!x || !x->req) /* it was given up */
		return;
	if (*verb == 'O')
		said_ok(x, p);
	else if (*verb == 'C')
		said_more(x, p);
	else
		said_fail(x, p);
}

void dovecot_lost(struct dovecot *d)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		while (d->all[i])
			fail(d->all[i], META1_TEMPFAIL, "the connection to Dovecot was lost");
}

/* ---- the ops ---- */

static void ask(struct exchange *x, struct meta1_req *req, const char *line, size_t len)
{
	x->req = req;
	*x->d->host->req_slot(req) = x;
	if (!x->id)
		fail(x, META1_TEMPFAIL, "the connection to Dovecot was lost");
	else if (!wire_ready(x->d))
		fail(x, META1_TEMPFAIL, "Dovecot is away, or takes no more");
	else
		wire_say(x->d, line, len);
}

/* "192.0.2.1;25" */
static size_t put_addr(char *out, size_t size, const char *name, const char *addr)
{
	size_t n = addr ? strcspn(addr, ";") : 0;

	if (n == 0 || n > 60)
		return 0;
	return (size_t)snprintf(out, size, "\t%s=%.*s", name, (int)n, addr);
}

static void dovecot_start(void *inst, struct meta1_req *req, const struct meta1_auth_peer *p,
    const char *mech, const struct meta1_buf *first, void **conv)
{
	struct dovecot *d = inst;
	struct exchange *x = d->host->alloc(d->ctx, sizeof(*x));
	struct meta1_reply none = {.size = sizeof(none), .text = "no memory"};
	char line[RESP_MAX + 512];
	size_t n;

	*conv = x;
	if (!x) {
		d->host->finish(req, META1_TEMPFAIL, &none);
		return;
	}
	x->d = d;
	do {
		x->id = ++d->last_id & 0x7fffffff;
	} while (!x->id || *place(d, x->id));
	x->next = d->all[x->id % BUCKETS];
	d->all[x->id % BUCKETS] = x;
	n = (size_t)snprintf(
	    line, 300, "AUTH\t%u\t%.20s\tservice=%.20s\tnologin", x->id, mech, p->service);
	n += put_addr(line + n, 80, "lip", p->local);
	n += put_addr(line + n, 80, "rip", p->remote);
	if (p->tls_bits)
		n += (size_t)snprintf(line + n, 20, "\tsecured");
	if (first) {
		n += (size_t)snprintf(line + n, 20, "\tresp=");
		meta1_base64_encode(line + n, *first);
		n += META1_BASE64_LEN(first->len);
	}
	ask(x, req, line, n);
	explicit_bzero(line, sizeof(line));
}

static void dovecot_step(void *conv, struct meta1_req *req, struct meta1_buf in)
{
	struct exchange *x = conv;
	char line[RESP_MAX + 40];
	size_t n = (size_t)snprintf(line, 40, "CONT\t%u\t", x->id);

	meta1_base64_encode(line + n, in);
	n += META1_BASE64_LEN(in.len);
	ask(x, req, line, n);
	explicit_bzero(line, sizeof(line));
}

/* Dovecot need not go on with it. */
static void give_up(struct exchange *x)
{
	char line[40];

	if (x->id && wire_ready(x->d))
		wire_say(x->d, line, (size_t)snprintf(line, sizeof(line), "CANCEL\t%u", x->id));
	forget(x);
}

static void dovecot_end(void **conv)
{
	struct exchange *x = *conv;

	*conv = NULL;
	if (!x)
		return;
	give_up(x);
	x->d->host->free(x->d->ctx, x);
}

static void dovecot_cancel(void *inst, struct meta1_req *req)
{
	struct dovecot *d = inst;
	struct exchange *x = *d->host->req_slot(req);
	struct meta1_reply r = {.size = sizeof(r), .text = "canceled"};

	if (x && x->req == req) {
		x->req = NULL;
		give_up(x);
	}
	d->host->finish(req, META1_CANCELED, &r);
}

static const struct meta1_auth_ops ops = {.size = sizeof(ops),
    .offer = dovecot_offer,
    .start = dovecot_start,
    .step = dovecot_step,
    .end = dovecot_end,
    .cancel = dovecot_cancel};

META1_MODULE(auth_dovecot, .kind = META1_AUTH, .roles = META1_SMTPS, .version = "0.1.0",
    .summary = "Mechanisms and passwords of a Dovecot.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .open = dovecot_open, .close = dovecot_close, .ops = &ops);
