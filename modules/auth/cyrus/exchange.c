/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exchange.c -- one exchange, as server or as client, a step at a time on a worker thread, for a
 * plugin of the library may ask a daemon, a database or a Kerberos server and wait.
 *
 * The library's log lines of an exchange are kept for the answer's text, since log() belongs to the
 * loop. Comes from: auth_cyrus.c's ops. Goes to: the request. Owns: the library's connection and
 * copies of all it may look at later; secrets are wiped. On failure: the status of cyrus_status(),
 * with the library's words. When the host ends an exchange whose step is under way, the worker
 * finishes it and then it is freed.
 */
#include "cyrus.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256 /* bytes of a name that the library gives back */

struct exchange {
	struct cyrus *c;
	struct meta1_req *req; /* NULL: nobody waits */
	sasl_conn_t *conn;
	sasl_callback_t cb[7];
	bool client, started, busy;
	atomic_bool ended; /* a step that has not begun then need not */
	/* copies of what the host said */
	struct meta1_auth_peer peer;
	sasl_channel_binding_t bind;
	char *text[7];	   /* behind the pointers of peer, bind and mechs */
	const char *mechs; /* server: the one; client: those to choose from */
	char *user, *act_as, *realm;
	sasl_secret_t *secret;
	/* the step under way, and what came of it */
	bool has_in;
	char *in;
	size_t in_len;
	int rc;
	const char *out, *mech;
	unsigned out_len;
	char why[200], who[NAME_SIZE], whose[NAME_SIZE];
};

static void wipe(void *p, size_t n)
{
	if (p != NULL)
		explicit_bzero(p, n);
	free(p);
}

static void release(struct exchange *x)
{
	if (x->conn != NULL)
		sasl_dispose(&x->conn);
	for (unsigned i = 0; i < sizeof(x->text) / sizeof(x->text[0]); i++)
		free(x->text[i]);
	free((void *)(uintptr_t)x->bind.data);
	free(x->user);
	free(x->act_as);
	free(x->realm);
	if (x->secret != NULL)
		wipe(x->secret, sizeof(*x->secret) + x->secret->len);
	wipe(x->in, x->in_len);
	free(x);
}

/* ---- the library asks ---- */

typedef int (*callback)(void);
#define CALLBACK(fn) ((callback)(void (*)(void))(fn))

static int say(void *context, int level, const char *text)
{
	struct exchange *x = context;

	if (level > SASL_LOG_NONE && level <= SASL_LOG_NOTE)
		snprintf(x->why, sizeof(x->why), "%s", text);
	return SASL_OK;
}

static int give_name(void *context, int id, const char **result, unsigned *len)
{
	struct exchange *x = context;
	const char *s = id == SASL_CB_USER ? x->act_as : x->user;

	*result = s;
	if (len != NULL)
		*len = (unsigned)strlen(s);
	return SASL_OK;
}

static int give_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
	struct exchange *x = context;

	(void)conn;
	(void)id;
	*secret = x->secret;
	return SASL_OK;
}

static int give_realm(void *context, int id, const char **offered, const char **result)
{
	struct exchange *x = context;

	(void)id;
	*result = x->realm != NULL ? x->realm : offered != NULL && *offered != NULL ? *offered : "";
	return SASL_OK;
}

static void callbacks(struct exchange *x)
{
	sasl_callback_t *cb = x->cb;

	*cb++ = (sasl_callback_t){SASL_CB_LOG, CALLBACK(say), x};
	if (x->client) {
		*cb++ = (sasl_callback_t){SASL_CB_USER, CALLBACK(give_name), x};
		*cb++ = (sasl_callback_t){SASL_CB_AUTHNAME, CALLBACK(give_name), x};
		*cb++ = (sasl_callback_t){SASL_CB_PASS, CALLBACK(give_secret), x};
		*cb++ = (sasl_callback_t){SASL_CB_GETREALM, CALLBACK(give_realm), x};
	}
	*cb = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
}

/* ---- a step, on a worker thread ---- */

static int make(struct exchange *x)
{
	int rc = x->client ? sasl_client_new(x->peer.service, x->peer.server, x->peer.local,
				 x->peer.remote, x->cb, 0, &x->conn)
			   : cyrus_server(x->c, &x->peer, x->cb, &x->conn);

	return rc == SASL_OK ? cyrus_secure(x->conn, &x->peer, &x->bind) : rc;
}

static int first_step(struct exchange *x)
{
	int rc = make(x);

	if (rc != SASL_OK)
		return rc;
	x->started = true;
	if (!x->client)
		return sasl_server_start(x->conn, x->mechs, x->has_in ? x->in : NULL,
		    (unsigned)x->in_len, &x->out, &x->out_len);
	return sasl_client_start(x->conn, x->mechs, NULL, &x->out, &x->out_len, &x->mech);
}

/* false: it is too long. None at all is "". */
static bool read_name(const sasl_conn_t *conn, int what, char out[NAME_SIZE])
{
	const void *name = NULL;
	int n = 0;

	out[0] = '\0';
	if (sasl_getprop((sasl_conn_t *)(uintptr_t)conn, what, &name) == SASL_OK && name != NULL)
		n = snprintf(out, NAME_SIZE, "%s", (const char *)name);
	return n < NAME_SIZE;
}

static void work(void *arg)
{
	struct exchange *x = arg;

	x->out = NULL;
	x->out_len = 0;
	x->why[0] = '\0';
	x->rc = SASL_FAIL;
	if (atomic_load(&x->ended))
		return;
	if (!x->started)
		x->rc = first_step(x);
	else if (x->client)
		x->rc = sasl_client_step(
		    x->conn, x->in, (unsigned)x->in_len, NULL, &x->out, &x->out_len);
	else
		x->rc = sasl_server_step(x->conn, x->in, (unsigned)x->in_len, &x->out, &x->out_len);
	if (x->rc != SASL_OK || x->client)
		return;
	if (!read_name(x->conn, SASL_USERNAME, x->who) ||
	    !read_name(x->conn, SASL_AUTHUSER, x->whose) || x->who[0] == '\0') {
		snprintf(x->why, sizeof(x->why), "the mechanism gave no name, or one too long");
		x->rc = SASL_BADAUTH;
	}
}

/* ---- the answer, on the loop ---- */

static uint32_t said_server(const struct exchange *x, enum meta1_status st, struct meta1_buf val[2])
{
	if (st == META1_MORE)
		val[0] = (struct meta1_buf){x->out != NULL ? x->out : "", x->out_len};
	if (st != META1_OK)
		return st == META1_MORE;
	val[0] = (struct meta1_buf){x->who, strlen(x->who)};
	val[1] = (struct meta1_buf){x->whose, strlen(x->whose)};
	return x->whose[0] != '\0' && strcmp(x->who, x->whose) != 0 ? 2 : 1;
}

/* A mechanism whose first and only word is said with start() is done for the library: for the
 * host that word is still to be said. */
static uint32_t said_client(struct exchange *x, enum meta1_status *st, struct meta1_buf val[2])
{
	struct meta1_buf out = {x->out != NULL ? x->out : "", x->out_len};

	if (x->mech != NULL && (*st == META1_OK || *st == META1_MORE)) {
		val[0] = (struct meta1_buf){x->mech, strlen(x->mech)};
		val[1] = out;
		*st = META1_MORE;
		return x->out != NULL ? 2 : 1;
	}
	if (*st == META1_OK && x->out_len > 0)
		*st = META1_MORE;
	val[0] = out;
	return *st == META1_MORE;
}

static void answer(struct exchange *x)
{
	enum meta1_status st = cyrus_status(x->rc);
	struct meta1_req *req = x->req;
	struct meta1_buf val[2];
	struct meta1_reply r = {.size = sizeof(r), .val = val};
	char text[300];

	x->req = NULL;
	if (req == NULL)
		return;
	if (x->out_len > META1_AUTH_MAX) {
		x->rc = SASL_BUFOVER;
		st = META1_PERMFAIL;
	}
	if (x->client && x->rc == SASL_NOMECH) /* none that fits: another module may have one */
		st = META1_NOTFOUND;
	r.nval = x->client ? said_client(x, &st, val) : said_server(x, st, val);
	x->mech = NULL;
	r.smtp = x->client && x->rc == SASL_OK ? 235 : 0;
	if (st != META1_OK && st != META1_MORE) {
		snprintf(text, sizeof(text), "%s%s%s", sasl_errstring(x->rc, NULL, NULL),
		    x->why[0] != '\0' ? ": " : "", x->why);
		r.text = text;
	}
	x->c->host->finish(req, st, &r);
}

static void done(void *arg)
{
	struct exchange *x = arg;

	x->busy = false;
	wipe(x->in, x->in_len);
	x->in = NULL;
	x->in_len = 0;
	if (x->ended)
		release(x);
	else
		answer(x);
}

static void run(struct exchange *x, struct meta1_req *req, const struct meta1_buf *in)
{
	struct meta1_reply r = {.size = sizeof(r), .text = "no memory or no thread for it now"};
	const struct meta1_host *h = x->c->host;

	x->has_in = in != NULL;
	x->in_len = in != NULL ? in->len : 0;
	x->in = malloc(x->in_len + 1); /* some plugins look for an end */
	if (x->in != NULL) {
		if (x->in_len > 0)
			memcpy(x->in, in->data, x->in_len);
		x->in[x->in_len] = '\0';
		*h->req_slot(req) = x;
		x->req = req;
		x->busy = h->offload(x->c->ctx, work, done, x) == META1_OK;
	}
	if (x->busy)
		return;
	x->req = NULL;
	h->finish(req, META1_TEMPFAIL, &r);
}

/* ---- the ops ---- */

static const char *copy(struct exchange *x, unsigned i, const char *s, bool *ok)
{
	x->text[i] = s != NULL ? strdup(s) : NULL;
	*ok = *ok && (s == NULL || x->text[i] != NULL);
	return x->text[i];
}

static struct exchange *begin(struct cyrus *c, const struct meta1_auth_peer *p, const char *mechs)
{
	struct exchange *x = calloc(1, sizeof(*x));
	bool ok = x != NULL;

	if (!ok)
		return NULL;
	x->c = c;
	x->peer = *p;
	x->peer.service = copy(x, 0, p->service, &ok);
	x->peer.server = copy(x, 1, p->server, &ok);
	x->peer.local = copy(x, 2, p->local, &ok);
	x->peer.remote = copy(x, 3, p->remote, &ok);
	x->peer.external = copy(x, 4, p->external, &ok);
	x->mechs = copy(x, 5, mechs, &ok);
	if (p->binding != NULL && p->binding_data.len > 0) {
		unsigned char *data = malloc(p->binding_data.len);

		ok = ok && data != NULL;
		if (data != NULL)
			memcpy(data, p->binding_data.data, p->binding_data.len);
		x->bind = (sasl_channel_binding_t){
		    .name = copy(x, 6, p->binding, &ok), .len = p->binding_data.len, .data = data};
	}
	if (ok)
		return x;
	release(x);
	return NULL;
}

static void no_memory(const struct cyrus *c, struct meta1_req *req)
{
	struct meta1_reply r = {.size = sizeof(r), .text = "out of memory"};

	c->host->finish(req, META1_TEMPFAIL, &r);
}

void cyrus_start(void *inst, struct meta1_req *req, const struct meta1_auth_peer *peer,
    const char *mech, const struct meta1_buf *first, void **conv)
{
	struct exchange *x = begin(inst, peer, mech);

	*conv = x;
	if (x == NULL) {
		no_memory(inst, req);
		return;
	}
	callbacks(x);
	run(x, req, first);
}

static char *text_of(struct meta1_buf b, bool *ok)
{
	char *s = strndup(b.len > 0 ? b.data : "", b.len);

	*ok = *ok && s != NULL;
	return s;
}

static bool take_creds(struct exchange *x, const struct meta1_auth_creds *k)
{
	bool ok = true;

	x->client = true;
	x->user = text_of(k->user, &ok);
	x->act_as = text_of(k->act_as, &ok); /* empty: as the user himself */
	x->realm = k->realm.len > 0 ? text_of(k->realm, &ok) : NULL;
	x->secret = malloc(sizeof(*x->secret) + k->secret.len);
	if (x->secret != NULL) {
		x->secret->len = k->secret.len;
		if (k->secret.len > 0)
			memcpy(x->secret->data, k->secret.data, k->secret.len);
		x->secret->data[k->secret.len] = '\0';
	}
	return ok && x->secret != NULL;
}

void cyrus_login(void *inst, struct meta1_req *req, const struct meta1_auth_peer *peer,
    const char *mechs, const struct meta1_auth_creds *creds, void **conv)
{
	struct exchange *x = begin(inst, peer, mechs);

	if (x != NULL && !take_creds(x, creds)) {
		release(x);
		x = NULL;
	}
	*conv = x;
	if (x == NULL) {
		no_memory(inst, req);
		return;
	}
	callbacks(x);
	run(x, req, NULL);
}

void cyrus_step(void *conv, struct meta1_req *req, struct meta1_buf in)
{
	run(conv, req, &in);
}

void cyrus_end(void **conv)
{
	struct exchange *x = *conv;

	*conv = NULL;
	if (x == NULL)
		return;
	x->ended = true;
	if (!x->busy)
		release(x);
}

/* The work goes on; nobody is told. */
void cyrus_cancel(void *inst, struct meta1_req *req)
{
	struct cyrus *c = inst;
	struct exchange *x = *c->host->req_slot(req);
	struct meta1_reply r = {.size = sizeof(r), .text = "canceled"};

	if (x != NULL && x->req == req)
		x->req = NULL;
	c->host->finish(req, META1_CANCELED, &r);
}
