/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_bad -- PLAIN, under two names, and EXTERNAL for one account: key with the secret value; with
 * a fault (is.h).
 */
#include "is.h"

#include <meta1/auth.h>
#include <stdio.h>

#define USER	"key"
#define SECRET	"value"
#define ANOTHER "X-MINE-TOO"

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	int lacked;
};

struct exchange {
	struct instance *in;
	int external, proven, first;
	char secret[64]; /* the client's */
	struct meta1_req *rq;
};

static void finish(
    struct instance *in, struct meta1_req *rq, enum meta1_status st, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	if (is("proud") && in->lacked)
		st = META1_NOTFOUND;
	in->host->finish(rq, st, &r);
}

static void more(struct instance *in, struct meta1_req *rq, const char *name, const void *p,
    size_t n, uint16_t smtp)
{
	struct meta1_buf val[2] = {{p, n}, {p, n}};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = val, .smtp = smtp};

	if (name) {
		val[0] = (struct meta1_buf){name, strlen(name)};
		r.nval = 2;
	}
	in->host->finish(rq, META1_MORE, &r);
}

static void accepted(struct instance *in, struct meta1_req *rq)
{
	struct meta1_buf val = {USER, strlen(USER)};
	struct meta1_reply r = {
	    .size = sizeof(r), .nval = !is("nobody"), .val = &val, .text = "accepted"};

	if (is("babbles"))
		r.text = "accepted with " SECRET;
	in->host->finish(rq, META1_OK, &r);
}

static struct exchange *exchange_new(struct instance *in, struct meta1_req *rq)
{
	struct exchange *x = in->host->alloc(in->ctx, sizeof(*x));

	in->lacked = x == NULL;
	if (x)
		x->in = in;
	else
		finish(in, rq, META1_TEMPFAIL, "no memory");
	return x;
}

static int eq(const char *p, size_t n, const char *s)
{
	return n == strlen(s) && memcmp(p, s, n) == 0;
}

/* ---- server ---- */

static void external(struct exchange *x, struct meta1_req *rq, struct meta1_buf as)
{
	int known =
	    (x->proven || is("uncertified")) && !is("unknown") && !(is("unnamed") && as.len > 0);

	if (known && (as.len == 0 || eq(as.data, as.len, USER) || (is("anybody") && as.len < 100)))
		accepted(x->in, rq);
	else
		finish(x->in, rq, META1_NOTFOUND, "no such certificate");
}

/* "whom to act as" NUL "who" NUL "secret" */
static void plain(struct exchange *x, struct meta1_req *rq, struct meta1_buf word)
{
	const char *p = word.data, *end = p + word.len;
	const char *user = word.len ? memchr(p, 0, word.len) : NULL;
	const char *secret = user ? memchr(user + 1, 0, (size_t)(end - user) - 1) : NULL;

	if ((is("trusting") && !x->first) || (is("gullible") && x->first && !word.len) ||
	    (is("large") && word.len == META1_AUTH_MAX)) {
		accepted(x->in, rq);
	} else if (!secret) {
		finish(x->in, rq, META1_PERMFAIL, "that is no word of PLAIN");
	} else if (is("deaf") || !eq(user + 1, (size_t)(secret - user) - 1, USER) ||
		   (!is("lenient") && !eq(secret + 1, (size_t)(end - secret) - 1, SECRET))) {
		finish(x->in, rq, META1_NOTFOUND, "wrong name or password");
	} else {
		if (is("tells"))
			x->in->host->log(x->in->ctx, META1_INFO, "the secret is " SECRET);
		accepted(x->in, rq);
	}
}

static void auth_offer(void *inst, const struct meta1_auth_peer *peer, char *out, size_t size)
{
	int strict = (peer->flags & META1_A_NOPLAINTEXT) && !is("open_hearted");
	const char *names[] = {peer->cert.len ? "EXTERNAL" : "", strict ? "" : "PLAIN",
	    strict	  ? ""
	    : is("small") ? "x-mine-too"
			  : ANOTHER};
	size_t len = 0;

	(void)inst;
	*out = '\0';
	for (int i = 0; i < 3; i++) {
		size_t n = strlen(names[i]);

		if (!n)
			continue;
		if (len + (len > 0) + n >= size && !is("cuts"))
			break;
		if (len < size)
			len += (size_t)snprintf(
			    out + len, size - len, "%s%s", len ? " " : "", names[i]);
	}
	if (is("roomless") && size == 1)
		*out = 'P';
}

static void now(void *arg)
{
	struct exchange *x = arg;

	more(x->in, x->rq, NULL, "", 0, 0);
}

static void auth_start(void *inst, struct meta1_req *rq, const struct meta1_auth_peer *peer,
    const char *mech, const struct meta1_buf *first, void **conv)
{
	struct instance *in = inst;
	struct exchange *x = exchange_new(in, rq);

	*conv = x;
	if (!x)
		return;
	x->external = strcmp(mech, "EXTERNAL") == 0;
	x->proven = peer->cert.len > 0;
	x->first = first != NULL;
	x->rq = rq;
	if (!first && is("undone") && in->host->post(in->ctx, now, x) == 0)
		return;
	if (!first)
		more(in, rq, NULL, "", 0, 0);
	else if (x->external)
		external(x, rq, *first);
	else
		plain(x, rq, *first);
}

/* ---- client ---- */

static void auth_login(void *inst, struct meta1_req *rq, const struct meta1_auth_peer *peer,
    const char *mechs, const struct meta1_auth_creds *creds, void **conv)
{
	struct instance *in = inst;
	struct exchange *x = *conv = NULL;
	int scram = is("credulous") && strstr(mechs, "SCRAM-SHA-1") != NULL;
	const char *name = strstr(mechs, "PLAIN")   ? "PLAIN"
			   : strstr(mechs, ANOTHER) ? ANOTHER
			   : scram		    ? "SCRAM-SHA-1"
						    : NULL;
	char word[256];
	int n;

	(void)peer;
	if (!name) {
		finish(in, rq, META1_NOTFOUND, "nothing that it has");
		return;
	}
	*conv = x = exchange_new(in, rq);
	if (!x)
		return;
	snprintf(x->secret, sizeof(x->secret), "%.*s", (int)creds->secret.len,
	    (const char *)creds->secret.data);
	n = snprintf(word, sizeof(word), "%c%.*s%c%s", 0, (int)creds->user.len,
	    (const char *)creds->user.data, is("garbles") ? 1 : 0, x->secret);
	more(in, rq, name, word, (size_t)n, 235);
}

/* ---- both ---- */

static void auth_step(void *conv, struct meta1_req *rq, struct meta1_buf word)
{
	struct exchange *x = conv;

	if (x->in->host->role == META1_SMTPC) {
		if (is("tireless"))
			more(x->in, rq, NULL, "", 0, 0);
		else
			finish(x->in, rq, META1_NOTFOUND,
			    is("blabs") ? x->secret : "the hop asks for more than PLAIN has");
	} else if (x->external) {
		external(x, rq, word);
	} else {
		plain(x, rq, word);
	}
}

static void auth_end(void **conv)
{
	struct exchange *x = *conv;

	*conv = NULL;
	if (!is("leaks") && !is("undone"))
		x->in->host->free(x->in->ctx, x);
}

/* Nothing waits, but with "undone", whose post finishes the request once more. */
static void auth_cancel(void *inst, struct meta1_req *rq)
{
	finish(inst, rq, META1_CANCELED, NULL);
}

static int auth_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in = host->alloc(ctx, sizeof(*in));

	(void)conf;
	if (in && !(is("halved") && host->role == META1_SMTPC)) {
		*in = (struct instance){.host = host, .ctx = ctx};
		*inst = in;
		return 0;
	}
	host->free(ctx, in);
	strcpy(err->text, "no memory");
	return -1;
}

static void auth_close(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static struct meta1_auth_ops ops = {.size = sizeof(ops),
    .offer = auth_offer,
    .start = auth_start,
    .login = auth_login,
    .step = auth_step,
    .end = auth_end,
    .cancel = auth_cancel};

static __attribute__((constructor)) void lack(void)
{
	if (is("lacks_end"))
		ops.end = NULL;
	if (is("lacks_start"))
		ops.start = NULL;
	if (is("lacks_login"))
		ops.login = NULL;
}

META1_MODULE(auth_bad, .kind = META1_AUTH, .roles = META1_SMTPS | META1_SMTPC | META1_TOOL,
    .version = "1", .summary = "Breaks one law a run.", .open = auth_open, .close = auth_close,
    .ops = &ops);
