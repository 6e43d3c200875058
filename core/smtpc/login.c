/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * login.c -- AUTH at a next hop, as the host's side of conn->login(): the row's secret, then a
 * mechanism of the auth modules, word by word.
 *
 *	start() -> the token of the row, on a worker thread, if it has one -> login() of the modules
 *	in order, until one of them has a mechanism -> step() with what the hop says -> over()
 *
 * A password is for mechanisms of passwords, a token for XOAUTH2 and OAUTHBEARER. What sends the
 * secret itself needs a hop that TLS has proved, unless the admin says otherwise.
 * Comes from core/mod/netlogin.c for a transport; goes to modules by requests and back through
 * said(). Owns exchange, secret and copies, wiped at the end. On failure: the reason to the
 * transport, which lets the mail wait; it has no word of the secret.
 */
#include "smtpc/smtpc.h"

#include <ctype.h>
#include <meta1/base64.h>
#include <stdio.h>
#include <stdlib.h>

METRIC_COUNTER(m_good, "logins_total", "Next hops that took our AUTH.");
METRIC_COUNTER(m_refused, "logins_refused_total", "Next hops that refused our AUTH.");
METRIC_COUNTER(
    m_failed, "logins_failed_total", "AUTH that could not be said, by our fault or theirs.");

#define STEP_MS	    60000 /* for a module, a step */
#define NAMES_MAX   512	  /* of mechanisms */
#define TOKEN_MECHS "OAUTHBEARER XOAUTH2"
#define NOT_SECRETS "EXTERNAL ANONYMOUS" /* nor of a password */

struct logins {
	uint32_t refs, flags;
	struct creds *creds;
	struct mod_inst **inst;
	unsigned n;
	char *trusted; /* in capitals, a blank between two; "": all */
	bool without_tls, plaintext;
	int64_t token_time, token_timeout;
	struct loop *loop;
	struct work *work;
	struct work_owner owner;
};

struct login {
	struct logins *l;
	const struct cred *row;
	char host[256], service[8], mechs[NAMES_MAX], mech[META1_AUTH_MECH_MAX + 1];
	struct meta1_auth_peer peer;
	char *secret;
	size_t len; /* of the secret */
	unsigned at;
	void *conv;
	struct meta1_req *req;
	struct task later; /* a failure that is known at once */
	bool thread, gone; /* a worker has it; nobody wants it any more */
	struct meta1_err err;
	mod_done_fn fn;
	void *arg;
};

/* ---- the set of a configuration ---- */

static char *capitals(const char *const *list)
{
	size_t len = 1;
	char *out, *p;

	for (const char *const *v = list; v && *v; v++)
		len += strlen(*v) + 1;
	p = out = base_alloc(len);
	for (const char *const *v = list; v && *v; v++)
		p += sprintf(p, "%s%s", p > out ? " " : "", *v);
	for (p = out; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	return out;
}

struct logins *logins_new(const struct set_login *set, struct mod_inst **mods, unsigned n,
    struct loop *loop, struct work *work, struct meta1_err *err)
{
	struct logins *l = base_alloc(sizeof(*l));

	*l = (struct logins){.refs = 1,
	    .flags = (uint32_t)(set->flags & (LOGIN_F_WITHOUT_TLS - 1)) | META1_A_NOANONYMOUS,
	    .inst = mods,
	    .n = n,
	    .trusted = capitals(set->trusted_mechanisms),
	    .without_tls = set->flags & LOGIN_F_WITHOUT_TLS,
	    .plaintext = set->flags & LOGIN_F_PLAINTEXT,
	    .token_time = set->token_time,
	    .token_timeout = set->token_timeout,
	    .loop = loop,
	    .work = work};
	work_owner_init(&l->owner, 4);
	l->creds = creds_new(set->file, err);
	for (unsigned i = 0; l->creds && i < n; i++) {
		const struct meta1_auth_ops *ops = mod_ops(mods[i]);

		mod_req_limit(mods[i], UINT32_MAX); /* sessions are bounded, and each has one */
		if (ops->login && ops->step && ops->end)
			continue;
		err_set(err, "%s: it has no client's side", mod_name(mods[i]));
		creds_free(&l->creds);
	}
	if (!l->creds)
		logins_drop(&l);
	return l;
}

void logins_use(struct logins *l)
{
	l->refs++;
}

void logins_drop(struct logins **lp)
{
	struct logins *l = *lp;

	*lp = NULL;
	if (!l || --l->refs > 0)
		return;
	for (unsigned i = 0; i < l->n; i++)
		mod_close(&l->inst[i]);
	free(l->inst);
	creds_free(&l->creds);
	free(l->trusted);
	free(l);
}

const char *logins_row(const struct logins *l, const char *by, const char *host, unsigned port)
{
	const struct cred *c;

	if (*by)
		return strcasecmp(by, "none") == 0 ? NULL : by;
	c = l && host ? creds_for(l->creds, host, port) : NULL;
	return c ? c->key : NULL;
}

/* ---- which mechanisms ---- */

static bool has(const char *names, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = names; n > 0 && (p = strstr(p, name)); p += n)
		if ((p == names || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

static bool may(const struct login *x, const char *name)
{
	if (*x->l->trusted && !has(x->l->trusted, name))
		return false;
	if (!x->row->password)
		return has(TOKEN_MECHS, name);
	return !has(TOKEN_MECHS, name) && !has(NOT_SECRETS, name);
}

static void choose(struct login *x, const char *offered)
{
	char all[4096], *next = all, *name;
	size_t len = 0;

	str_copy(all, sizeof(all), offered);
	for (char *p = all; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	while ((name = strsep(&next, " \t"))) {
		size_t n = strlen(name);

		if (n == 0 || n > META1_AUTH_MECH_MAX || len + n + 2 > sizeof(x->mechs) ||
		    !may(x, name) || has(x->mechs, name))
			continue;
		len += (size_t)snprintf(
		    x->mechs + len, sizeof(x->mechs) - len, "%s%s", len > 0 ? " " : "", name);
	}
}

/* ---- the answers ---- */

static void note(const struct login *x, const char *result, int code, const char *text)
{
	log_event(strcmp(result, "accepted") == 0 ? LOG_L_INFO : LOG_L_WARN, "smtpc.auth",
	    "host=%s row=%s user=%s mechanism=%s result=%s reply=%d text=%s", x->host,
	    x->row ? x->row->key : "", x->row ? x->row->user : "", x->mech, result, code, text);
}

static void fail(struct login *x, enum meta1_status st, const char *why)
{
	struct meta1_reply r = {.size = sizeof(r), .text = why};

	m_failed.value++;
	note(x, "failed", 0, why);
	x->fn(x->arg, st, &r);
}

static void fail_later(void *arg)
{
	struct login *x = arg;

	fail(x, META1_TEMPFAIL, x->err.text);
}

static void later(struct login *x)
{
	loop_defer(x->l->loop, &x->later);
}

/* Raw words in base64, as they stand on a line. mech: of the first answer. */
static void say(struct login *x, const char *mech, const struct meta1_buf *word, bool last)
{
	char *text = NULL;
	struct meta1_buf val[2];
	struct meta1_reply r = {.size = sizeof(r), .val = val, .smtp = last ? 235 : 0};

	if (word && word->len > META1_AUTH_MAX) {
		fail(x, META1_TEMPFAIL, "the mechanism's word is too long");
		return;
	}
	if (mech)
		val[r.nval++] = buf_str(mech);
	if (word) {
		text = base_alloc(META1_BASE64_LEN(word->len) + 2);
		meta1_base64_encode(text, *word);
		if (mech && word->len == 0)
			strcpy(text, "=");
		val[r.nval++] = buf_str(text);
	}
	x->fn(x->arg, META1_MORE, &r);
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void try_next(struct login *x);

static void said_first(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct login *x = arg;
	size_t n = r->nval > 0 ? r->val[0].len : 0;

	x->req = NULL;
	if (st == META1_NOTFOUND) {
		if (x->conv)
			((const struct meta1_auth_ops *)mod_ops(x->l->inst[x->at]))->end(&x->conv);
		x->at++;
		try_next(x);
		return;
	}
	if (st == META1_MORE && n > 0 && n <= META1_AUTH_MECH_MAX) {
		memcpy(x->mech, r->val[0].data, n);
		x->mech[n] = '\0';
	}
	if (st != META1_MORE || !has(x->mechs, x->mech)) {
		fail(x, META1_TEMPFAIL, r->text ? r->text : "the auth module failed");
		return;
	}
	say(x, x->mech, r->nval > 1 ? &r->val[1] : NULL, r->smtp == 235);
}

static void said(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct login *x = arg;
	struct meta1_buf none = buf_of("", 0);

	x->req = NULL;
	if (st == META1_MORE)
		say(x, NULL, r->nval > 0 ? &r->val[0] : &none, r->smtp == 235);
	else if (st == META1_OK)
		say(x, NULL, &none, true);
	else
		fail(x, st, r->text ? r->text : "the auth module failed");
}

/* ---- the questions ---- */

static bool ask(struct login *x, mod_done_fn fn)
{
	x->req = mod_req(x->l->inst[x->at], loop_now(x->l->loop) + STEP_MS, fn, x);
	if (x->req)
		return true;
	err_set(&x->err, "no request can be made of %s", mod_name(x->l->inst[x->at]));
	later(x);
	return false;
}

static void try_next(struct login *x)
{
	const struct meta1_auth_ops *ops;
	struct meta1_auth_creds creds = {.size = sizeof(creds),
	    .user = buf_str(x->row->user),
	    .act_as = buf_str(x->row->act_as),
	    .realm = buf_str(x->row->realm),
	    .secret = buf_of(x->secret, x->len)};

	if (!*x->mechs || x->at == x->l->n) {
		err_set(&x->err,
		    "none of the mechanisms that %s offers can be used with the row %s%s", x->host,
		    x->row->key,
		    x->peer.flags & META1_A_NOPLAINTEXT
			? ": those that send the secret itself need a hop that TLS has proved "
			  "(tls_policy verify), or the flag plaintext"
			: "");
		later(x);
		return;
	}
	ops = mod_ops(x->l->inst[x->at]);
	if (ask(x, said_first))
		ops->login(
		    mod_data(x->l->inst[x->at]), x->req, &x->peer, x->mechs, &creds, &x->conv);
}

/* ---- the token ---- */

static void get_token(void *arg)
{
	struct login *x = arg;

	x->secret = token_get(x->row, x->l->token_time, x->l->token_timeout, &x->len, &x->err);
}

static void destroy(struct login *x)
{
	struct logins *l = x->l;

	secret_wipe(&x->secret, x->len);
	free(x);
	logins_drop(&l);
}

static void got_token(void *arg)
{
	struct login *x = arg;

	x->thread = false;
	if (x->gone)
		destroy(x);
	else if (x->secret)
		try_next(x);
	else
		fail(x, META1_TEMPFAIL, x->err.text);
}

/* ---- what netlogin.c calls ---- */

static bool prepare(struct login *x, const struct mod_login_ask *ask)
{
	const struct logins *l = x->l;
	char key[CREDS_KEY_MAX + 1];

	str_copy(key, sizeof(key), ask->login);
	for (char *p = key; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	x->row = creds_named(l->creds, key);
	if (!x->row) {
		err_set(&x->err, "the file of smtpc.auth has no row %.200s", key);
		return false;
	}
	if (!ask->tls && !ask->local && !l->without_tls) {
		err_set(&x->err, "AUTH is said inside TLS only, and this session has none (flag "
				 "without_tls)");
		return false;
	}
	x->peer = (struct meta1_auth_peer){.size = sizeof(x->peer),
	    .flags = l->flags,
	    .service = x->service,
	    .server = x->host,
	    .tls_bits = ask->bits};
	if (!l->plaintext && !ask->proven && !ask->local)
		x->peer.flags |= META1_A_NOPLAINTEXT;
	choose(x, ask->mechs);
	return true;
}

static void *login_start(void *arg, const struct mod_login_ask *ask, mod_done_fn fn, void *fn_arg)
{
	struct login *x = base_alloc(sizeof(*x));

	x->l = arg;
	logins_use(x->l);
	x->fn = fn;
	x->arg = fn_arg;
	task_init(&x->later, fail_later, x);
	str_copy(x->host, sizeof(x->host), ask->host);
	str_copy(x->service, sizeof(x->service), ask->service);
	if (!prepare(x, ask)) {
		later(x);
	} else if (x->row->password) {
		x->secret = base_strdup(x->row->password);
		x->len = strlen(x->secret);
		try_next(x);
	} else if (work_do(x->l->work, &x->l->owner, get_token, got_token, x)) {
		x->thread = true;
	} else {
		err_set(&x->err, "too many tokens are being asked for");
		later(x);
	}
	return x;
}

static void login_step(void *arg, struct meta1_buf in, mod_done_fn fn, void *fn_arg)
{
	struct login *x = arg;
	const struct meta1_auth_ops *ops;
	uint8_t *raw = base_alloc(in.len / 4 * 3 + 3);
	ssize_t n = in.len <= META1_BASE64_LEN(META1_AUTH_MAX) ? meta1_base64_decode(raw, in) : -1;

	x->fn = fn;
	x->arg = fn_arg;
	if (n < 0) {
		err_set(&x->err, "what the hop said to AUTH is no base64");
		later(x);
	} else if (!x->conv) {
		err_set(&x->err, "the exchange is over");
		later(x);
	} else if (ask(x, said)) {
		ops = mod_ops(x->l->inst[x->at]);
		ops->step(x->conv, x->req, buf_of(raw, (size_t)n));
	}
	free(raw);
}

static void login_over(void *arg, int code, const char *text)
{
	struct login *x = arg;

	if (code / 100 == 2) {
		m_good.value++;
		note(x, "accepted", code, "");
		return;
	}
	m_refused.value++;
	note(x, "refused", code, text);
	if (code / 100 == 5 && x->row && x->row->token_command)
		token_bad(x->row);
}

static void login_end(void **xp)
{
	struct login *x = *xp;

	*xp = NULL;
	task_cancel(&x->later);
	if (x->req)
		mod_req_cancel(&x->req);
	if (x->conv)
		((const struct meta1_auth_ops *)mod_ops(x->l->inst[x->at]))->end(&x->conv);
	x->gone = true;
	if (!x->thread)
		destroy(x);
}

const struct mod_login logins_ops = {
    .start = login_start, .step = login_step, .over = login_over, .end = login_end};
