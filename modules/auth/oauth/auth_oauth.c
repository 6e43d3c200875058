/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_oauth.c -- OAUTHBEARER (RFC 7628) and XOAUTH2 as a client: shows a token.
 *
 * Comes from smtpc with the token as secret; where it is from is smtpc's business. Both are one
 * word; a server that refuses it sends its reason as a challenge, which is answered as the
 * mechanism says and logged, and then the refusal. Owns nothing but "it was said".
 * On failure: NOTFOUND when neither is offered.
 */
#include <meta1/auth.h>
#include <stdio.h>
#include <string.h>

struct oauth {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
};

struct exchange {
	struct oauth *o;
	int bearer;   /* OAUTHBEARER */
	int answered; /* the reason of a refusal */
};

static int oauth_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct oauth *o = host->alloc(ctx, sizeof(*o));

	(void)conf;
	if (!o) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	*o = (struct oauth){host, ctx};
	*inst = o;
	return 0;
}

static void oauth_close(void *inst)
{
	struct oauth *o = inst;

	o->host->free(o->ctx, o);
}

static int has(const char *names, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = names; (p = strstr(p, name)); p += n)
		if ((p == names || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return 1;
	return 0;
}

static void refuse(
    const struct oauth *o, struct meta1_req *req, enum meta1_status st, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why};

	o->host->finish(req, st, &r);
}

/* A byte that ends a part of the word, or none that a name has. */
static int clean(struct meta1_buf b)
{
	for (size_t i = 0; i < b.len; i++)
		if (((const unsigned char *)b.data)[i] < ' ')
			return 0;
	return b.len > 0;
}

/* "," and "=" of a name in the header of GS2 (RFC 5801, 4). */
static size_t put_name(char *out, struct meta1_buf b)
{
	size_t n = 0;

	for (size_t i = 0; i < b.len; i++) {
		char c = ((const char *)b.data)[i];

		n += c == ',' || c == '=' ? (size_t)sprintf(out + n, "=%02X", (unsigned char)c)
					  : (size_t)sprintf(out + n, "%c", c);
	}
	return n;
}

static size_t write_word(char *out, int bearer, const struct meta1_auth_creds *k)
{
	struct meta1_buf who = k->act_as.len ? k->act_as : k->user;
	size_t n = 0;

	if (bearer) {
		n += (size_t)sprintf(out, "n,a=");
		n += put_name(out + n, who);
		n += (size_t)sprintf(out + n, ",\001");
	} else {
		n += (size_t)sprintf(out, "user=%.*s\001", (int)who.len, (const char *)who.data);
	}
	return n + (size_t)sprintf(out + n, "auth=Bearer %.*s\001\001", (int)k->secret.len,
		       (const char *)k->secret.data);
}

static void oauth_login(void *inst, struct meta1_req *req, const struct meta1_auth_peer *peer,
    const char *mechs, const struct meta1_auth_creds *k, void **conv)
{
	struct oauth *o = inst;
	int bearer = has(mechs, "OAUTHBEARER");
	const char *mech = bearer ? "OAUTHBEARER" : "XOAUTH2";
	struct exchange *x = NULL;
	struct meta1_buf val[2] = {{mech, strlen(mech)}};
	struct meta1_reply r = {.size = sizeof(r), .nval = 2, .val = val, .smtp = 235};
	char out[META1_AUTH_MAX];

	*conv = NULL;
	if (!bearer && !has(mechs, "XOAUTH2")) {
		refuse(o, req, META1_NOTFOUND, "neither OAUTHBEARER nor XOAUTH2 is offered");
	} else if (peer->flags & (META1_A_NOPLAINTEXT | META1_A_MUTUAL_AUTH)) {
		refuse(o, req, META1_NOTFOUND, "a token is sent as it is");
	} else if (!clean(k->user) || !clean(k->secret) || (k->act_as.len && !clean(k->act_as)) ||
		   3 * (k->user.len + k->act_as.len) + k->secret.len + 64 > sizeof(out)) {
		refuse(o, req, META1_PERMFAIL, "user or token are too long, or no text");
	} else if (!(x = o->host->alloc(o->ctx, sizeof(*x)))) {
		refuse(o, req, META1_TEMPFAIL, "no memory");
	} else {
		*x = (struct exchange){.o = o, .bearer = bearer};
		*conv = x;
		val[1] = (struct meta1_buf){out, write_word(out, bearer, k)};
		o->host->finish(req, META1_MORE, &r);
		explicit_bzero(out, sizeof(out));
	}
}

/* The server's reason; 0x01 answers it in OAUTHBEARER (RFC 7628, 3.2.3), nothing in XOAUTH2. */
static void oauth_step(void *conv, struct meta1_req *req, struct meta1_buf in)
{
	struct exchange *x = conv;
	struct meta1_buf val = {"\001", x->bearer ? 1 : 0};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};

	if (x->answered++) {
		refuse(x->o, req, META1_NOTFOUND, "the server asks once more, when all was said");
		return;
	}
	x->o->host->log(x->o->ctx, META1_WARN, "the server refuses the token: %.*s",
	    (int)(in.len < 300 ? in.len : 300), (const char *)in.data);
	x->o->host->finish(req, META1_MORE, &r);
}

static void oauth_end(void **conv)
{
	struct exchange *x = *conv;

	*conv = NULL;
	if (x)
		x->o->host->free(x->o->ctx, x);
}

static void oauth_cancel(void *inst, struct meta1_req *req)
{
	(void)inst; /* each is answered inside the call */
	(void)req;
}

static const struct meta1_auth_ops ops = {.size = sizeof(ops),
    .login = oauth_login,
    .step = oauth_step,
    .end = oauth_end,
    .cancel = oauth_cancel};

META1_MODULE(auth_oauth, .kind = META1_AUTH, .roles = META1_SMTPC, .version = "0.1.0",
    .summary = "Tokens of OAuth 2 at next hops: OAUTHBEARER and XOAUTH2.", .sizeof_conf = 0,
    .open = oauth_open, .close = oauth_close, .ops = &ops);
