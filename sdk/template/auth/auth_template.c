/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_template -- a small whole mechanism of SASL: PLAIN (RFC 4616), as server in smtps for one
 * account, as client in smtpc for whatever credentials it gets. What the words mean stands at the
 * top of meta1/auth.h. A module that asks somebody who knows the secrets keeps the request, asks by
 * host->conn or host->offload(), and finishes it later.
 */
#include <meta1/auth.h>
#include <stdio.h>
#include <string.h>

struct conf {
	const char *user, *password;
};

static const struct meta1_opt opts[] = {
    META1_OPT_STR(struct conf, user, NULL, META1_O_REQUIRED, "Name of the one account."),
    META1_OPT_STR(struct conf, password, NULL, META1_O_REQUIRED | META1_O_SECRET, "Its password."),
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};

/* One conversation; nothing is kept in it, since PLAIN is one word. */
struct exchange {
	struct instance *in;
};

static void finish(
    struct instance *in, struct meta1_req *req, enum meta1_status st, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	in->host->finish(req, st, &r);
}

static struct exchange *exchange_new(struct instance *in, struct meta1_req *req)
{
	struct exchange *x = in->host->alloc(in->ctx, sizeof(*x));

	if (x)
		x->in = in;
	else
		finish(in, req, META1_TEMPFAIL, "no memory");
	return x;
}

/* ---- server ---- */

/* In the same time whatever is wrong. */
static int same(struct meta1_buf a, const char *b)
{
	size_t n = strlen(b);
	unsigned char diff = a.len != n;

	for (size_t i = 0; i < a.len; i++)
		diff |= (unsigned char)(((const char *)a.data)[i] ^ (n ? b[i % n] : 1));
	return diff == 0;
}

/* "whom to act as" NUL "who" NUL "secret" */
static int parts(struct meta1_buf word, struct meta1_buf part[3])
{
	const char *p = word.data, *end = p + word.len;

	for (int i = 0; i < 3; i++) {
		const char *nul = p < end ? memchr(p, '\0', (size_t)(end - p)) : NULL;

		part[i] = (struct meta1_buf){p, (size_t)((nul ? nul : end) - p)};
		if ((nul != NULL) != (i < 2))
			return 0;
		p = nul ? nul + 1 : end;
	}
	return part[1].len > 0 && part[2].len > 0;
}

static void judge(struct instance *in, struct meta1_req *req, struct meta1_buf word)
{
	struct meta1_buf part[3], who;
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &who};
	int good;

	if (word.len == 0 || !parts(word, part)) {
		finish(in, req, META1_PERMFAIL, "that is no word of PLAIN");
		return;
	}
	good = same(part[1], in->conf->user) & same(part[2], in->conf->password);
	if (!good || (part[0].len > 0 && !same(part[0], in->conf->user))) {
		in->host->count(in->ctx, "refused_total", 1);
		finish(in, req, META1_NOTFOUND, "wrong name or password");
		return;
	}
	who = part[1];
	in->host->finish(req, META1_OK, &r);
}

static void auth_offer(void *inst, const struct meta1_auth_peer *peer, char *out, size_t size)
{
	(void)inst;
	*out = '\0';
	if (size >= sizeof("PLAIN") &&
	    !(peer->flags &
		(META1_A_NOPLAINTEXT | META1_A_NOACTIVE | META1_A_NODICTIONARY |
		    META1_A_FORWARD_SECRECY | META1_A_PASS_CREDENTIALS | META1_A_MUTUAL_AUTH)))
		memcpy(out, "PLAIN", sizeof("PLAIN"));
}

static void auth_start(void *inst, struct meta1_req *req, const struct meta1_auth_peer *peer,
    const char *mech, const struct meta1_buf *first, void **conv)
{
	struct instance *in = inst;
	struct meta1_buf empty = {"", 0};
	struct meta1_reply more = {.size = sizeof(more), .nval = 1, .val = &empty};

	(void)peer;
	*conv = exchange_new(in, req);
	if (!*conv)
		return;
	if (strcmp(mech, "PLAIN") != 0)
		finish(in, req, META1_NOTFOUND, "only PLAIN is here");
	else if (first)
		judge(in, req, *first);
	else
		in->host->finish(req, META1_MORE, &more);
}

/* ---- client ---- */

static void auth_login(void *inst, struct meta1_req *req, const struct meta1_auth_peer *peer,
    const char *mechs, const struct meta1_auth_creds *creds, void **conv)
{
	struct instance *in = inst;
	const struct meta1_buf *from[] = {&creds->act_as, &creds->user, &creds->secret};
	char word[META1_AUTH_MAX];
	struct meta1_buf val[2] = {{"PLAIN", 5}, {word, 0}};
	struct meta1_reply r = {.size = sizeof(r), .nval = 2, .val = val, .smtp = 235};

	*conv = NULL;
	if (peer->flags & META1_A_NOPLAINTEXT || !strstr(mechs, "PLAIN")) {
		finish(
		    in, req, META1_NOTFOUND, "the hop does not offer PLAIN, or it is not wanted");
		return;
	}
	if (creds->act_as.len + creds->user.len + creds->secret.len + 2 > sizeof(word)) {
		finish(in, req, META1_PERMFAIL, "the credentials are too long");
		return;
	}
	*conv = exchange_new(in, req);
	if (!*conv)
		return;
	for (int i = 0; i < 3; i++) {
		if (i > 0)
			word[val[1].len++] = '\0';
		if (from[i]->len > 0)
			memcpy(word + val[1].len, from[i]->data, from[i]->len);
		val[1].len += from[i]->len;
	}
	in->host->finish(req, META1_MORE, &r);
	explicit_bzero(word, sizeof(word));
}

/* ---- both ---- */

/* The client's word; or what a server says that asks once more, when all was said. */
static void auth_step(void *conv, struct meta1_req *req, struct meta1_buf word)
{
	struct instance *in = ((struct exchange *)conv)->in;

	if (in->host->role == META1_SMTPC)
		finish(in, req, META1_NOTFOUND, "the hop asks for more than PLAIN has");
	else
		judge(in, req, word);
}

static void auth_end(void **conv)
{
	struct exchange *x = *conv;

	*conv = NULL;
	x->in->host->free(x->in->ctx, x);
}

/* Each request is answered inside its call. */
static void auth_cancel(void *inst, struct meta1_req *req)
{
	(void)inst, (void)req;
}

static int auth_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in = host->alloc(ctx, sizeof(*in));

	if (!in) {
		strcpy(err->text, "no memory");
		return -1;
	}
	*in = (struct instance){host, ctx, conf};
	*inst = in;
	return 0;
}

static void auth_close(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static const struct meta1_auth_ops ops = {.size = sizeof(ops),
    .offer = auth_offer,
    .start = auth_start,
    .login = auth_login,
    .step = auth_step,
    .end = auth_end,
    .cancel = auth_cancel};

META1_MODULE(auth_template, .kind = META1_AUTH, .roles = META1_SMTPS | META1_SMTPC | META1_TOOL,
    .version = "0.1", .summary = "PLAIN for one account.", .opt = opts,
    .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf), .open = auth_open,
    .close = auth_close, .ops = &ops);
