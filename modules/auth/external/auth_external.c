/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_external.c -- EXTERNAL (RFC 4422, appendix A): the client is whom its certificate names,
 * which smtps has verified.
 *
 * Comes from smtps with the certificate in DER. One word: whom the client wants to act as; nobody
 * but itself. Owns nothing but "it was asked". On failure: NOTFOUND, whatever the reason, told to
 * the log.
 */
#include <meta1/auth.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ID_CN, ID_EMAIL, ID_DNS, ID_SUBJECT };
struct conf {
	int32_t identity;
};
static const struct meta1_opt options[] = {
    META1_OPT_ENUM(struct conf, identity, "email", "cn|email|dns|subject",
	"Who a certificate is for: its subject's one CN; an e-mail address of its subjectAltName "
	"or, "
	"when that has none, of its subject; a DNS name of its subjectAltName; its whole subject, "
	"/C=DE/CN=ann. A client that does not say whom it acts as is the first of them."),
};

#define NAMES	  16  /* of a certificate that count */
#define NAME_SIZE 256 /* bytes */

struct external {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};
struct names {
	unsigned n;
	char v[NAMES][NAME_SIZE];
};
struct exchange {
	struct external *e;
	struct names names;
};

static int external_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct external *e = host->alloc(ctx, sizeof(*e));

	if (!e) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	*e = (struct external){host, ctx, conf};
	*inst = e;
	return 0;
}

static void external_close(void *inst)
{
	struct external *e = inst;

	e->host->free(e->ctx, e);
}

/* ---- names of a certificate ---- */

/* A name with bytes that no name has could be taken for another: it does not count. */
static void add(struct names *t, const unsigned char *p, int n)
{
	if (n <= 0 || n >= NAME_SIZE || t->n == NAMES)
		return;
	for (int i = 0; i < n; i++)
		if (p[i] < ' ' || p[i] == 127)
			return;
	memcpy(t->v[t->n], p, (size_t)n);
	t->v[t->n++][n] = '\0';
}

static void add_string(struct names *t, const ASN1_STRING *s)
{
	unsigned char *v = NULL;
	int n = ASN1_STRING_to_UTF8(&v, s);

	add(t, v, n);
	OPENSSL_free(v);
}

static void of_subject(struct names *t, X509 *x, int nid)
{
	const X509_NAME *name = X509_get_subject_name(x);

	for (int i = -1; (i = X509_NAME_get_index_by_NID(name, nid, i)) >= 0;)
		add_string(t, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
}

static void of_alt(struct names *t, X509 *x, int type)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; all && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);

		if (g->type == type)
			add_string(t, g->d.ia5);
	}
	GENERAL_NAMES_free(all);
}

static void names_of(const struct external *e, const struct meta1_auth_peer *p, struct names *t)
{
	const unsigned char *der = p->cert.data;
	X509 *x = p->cert.len ? d2i_X509(NULL, &der, (long)p->cert.len) : NULL;

	t->n = 0;
	if (x && e->conf->identity == ID_CN) {
		of_subject(t, x, NID_commonName);
		if (t->n > 1)
			t->n = 0; /* which of them is meant, nobody knows */
	} else if (x && e->conf->identity == ID_EMAIL) {
		of_alt(t, x, GEN_EMAIL);
		if (t->n == 0)
			of_subject(t, x, NID_pkcs9_emailAddress);
	} else if (x && e->conf->identity == ID_DNS) {
		of_alt(t, x, GEN_DNS);
	} else if (x && p->external) {
		add(t, (const unsigned char *)p->external, (int)strnlen(p->external, NAME_SIZE));
	}
	X509_free(x);
}

/* ---- the ops ---- */

static int has_cert(const struct meta1_auth_peer *p)
{
	return META1_HAS(p, cert) && p->cert.len > 0;
}

static void external_offer(void *inst, const struct meta1_auth_peer *p, char *out, size_t size)
{
	struct external *e = inst;
	struct names t;

	*out = '\0';
	if (!has_cert(p) || size < sizeof("EXTERNAL") || (p->flags & META1_A_PASS_CREDENTIALS))
		return;
	names_of(e, p, &t);
	if (t.n > 0)
		memcpy(out, "EXTERNAL", sizeof("EXTERNAL"));
}

static void finish(
    struct external *e, struct meta1_req *req, enum meta1_status st, const char *text)
{
	struct meta1_reply r = {.size = sizeof(r), .text = text};

	e->host->finish(req, st, &r);
}

/* A domain is the same in small and capital letters, what stands before "@" is not. */
static int same(const char *name, struct meta1_buf wanted)
{
	const char *at = strrchr(name, '@'), *w = wanted.data;
	size_t exact = at ? (size_t)(at - name) : 0;

	return strlen(name) == wanted.len && memcmp(name, w, exact) == 0 &&
	       strncasecmp(name + exact, w + exact, wanted.len - exact) == 0;
}

static void judge(struct exchange *x, struct meta1_req *req, struct meta1_buf wanted)
{
	struct external *e = x->e;
	const char *who = wanted.len == 0 ? x->names.v[0] : NULL;
	struct meta1_buf val;
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &val};

	for (unsigned i = 0; !who && i < x->names.n; i++)
		if (same(x->names.v[i], wanted))
			who = x->names.v[i];
	if (!who) {
		finish(e, req, META1_NOTFOUND,
		    "the certificate is not for whom the client wants to be");
		return;
	}
	val = (struct meta1_buf){who, strlen(who)};
	e->host->finish(req, META1_OK, &r);
}

static void external_start(void *inst, struct meta1_req *req, const struct meta1_auth_peer *p,
    const char *mech, const struct meta1_buf *first, void **conv)
{
	struct external *e = inst;
	struct meta1_buf empty = {"", 0};
	struct meta1_reply more = {.size = sizeof(more), .nval = 1, .val = &empty};
	struct exchange *x;

	*conv = NULL;
	if (strcmp(mech, "EXTERNAL") != 0 || !has_cert(p)) {
		finish(e, req, META1_NOTFOUND, "there is no verified certificate");
		return;
	}
	x = e->host->alloc(e->ctx, sizeof(*x));
	if (!x) {
		finish(e, req, META1_TEMPFAIL, "no memory");
		return;
	}
	x->e = e;
	names_of(e, p, &x->names);
	*conv = x;
	if (x->names.n == 0)
		finish(e, req, META1_NOTFOUND,
		    "the certificate has no name of the kind that the option "
		    "identity wants");
	else if (first)
		judge(x, req, *first);
	else
		e->host->finish(req, META1_MORE, &more);
}

static void external_step(void *conv, struct meta1_req *req, struct meta1_buf in)
{
	judge(conv, req, in);
}

static void external_end(void **conv)
{
	struct exchange *x = *conv;

	*conv = NULL;
	if (x)
		x->e->host->free(x->e->ctx, x);
}

static void external_cancel(void *inst, struct meta1_req *req)
{
	(void)inst; /* each is answered inside the call */
	(void)req;
}

static const struct meta1_auth_ops ops = {.size = sizeof(ops),
    .offer = external_offer,
    .start = external_start,
    .step = external_step,
    .end = external_end,
    .cancel = external_cancel};

META1_MODULE(auth_external, .kind = META1_AUTH, .roles = META1_SMTPS, .version = "0.1.0",
    .summary = "EXTERNAL: the client is whom its certificate names.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .open = external_open, .close = external_close, .ops = &ops);
