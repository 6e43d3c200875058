/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_cyrus.c -- the module: options, the library's life, which mechanisms there are for a peer.
 *
 * The library reads NAME.conf of its folder (NAME: smtps or smtpc), where the admin says how
 * passwords are checked; it is global to a process and reads it once. Its mutexes are ours, since
 * exchanges run on several threads.
 * Comes from: smtps, smtpc. Goes to: exchange.c. Owns: what was offered to whom.
 * On failure to start the library: the role does not start, and says why.
 */
#include "cyrus.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct meta1_opt options[] = {
    META1_OPT_STR(struct conf, config_path, NULL, META1_O_RESTART,
	"Folder, or several with a colon between, of Cyrus SASL's smtps.conf (smtpc.conf for "
	"smtpc), which says how passwords "
	"are checked; without it the places that the library was built with, /etc/sasl2 among "
	"them."),
    META1_OPT_STR(struct conf, realm, NULL, 0,
	"Realm of users who name none, as in `saslpasswd2 -u`; without it the hostname."),
};

/* ---- the library's mutexes ---- */

static void *mutex_new(void)
{
	pthread_mutex_t *m = malloc(sizeof(*m));

	if (m != NULL && pthread_mutex_init(m, NULL) != 0) {
		free(m);
		m = NULL;
	}
	return m;
}

static int mutex_lock(void *m)
{
	return pthread_mutex_lock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static int mutex_unlock(void *m)
{
	return pthread_mutex_unlock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static void mutex_free(void *m)
{
	pthread_mutex_destroy(m);
	free(m);
}

/* ---- life ---- */

static char search_path[4096]; /* the library keeps no copy of the callbacks */

static int conf_path(void *context, char **path)
{
	(void)context;
	*path = search_path;
	return SASL_OK;
}

/* Of no exchange: the library's own words while it starts. */
static int quiet(void *context, int level, const char *text)
{
	char *why = context;

	if (level <= SASL_LOG_FAIL && level > SASL_LOG_NONE)
		snprintf(why, 200, "%s", text);
	return SASL_OK;
}

static int start_library(const struct meta1_host *host, const struct conf *c, struct meta1_err *err)
{
	static char why[200];
	static sasl_callback_t cb[3];
	unsigned n = 0;
	int rc;

	sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock, mutex_free);
	cb[n++] = (sasl_callback_t){SASL_CB_LOG, (int (*)(void))(void (*)(void))quiet, why};
	if (c->config_path != NULL) {
		snprintf(search_path, sizeof(search_path), "%s", c->config_path);
		cb[n++] = (sasl_callback_t){
		    SASL_CB_GETCONFPATH, (int (*)(void))(void (*)(void))conf_path, NULL};
	}
	cb[n] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
	rc = host->role == META1_SMTPC ? sasl_client_init(cb) : sasl_server_init(cb, "smtps");
	if (rc == SASL_OK)
		return 0;
	snprintf(err->text, sizeof(err->text), "Cyrus SASL does not start: %s%s%s",
	    sasl_errstring(rc, NULL, NULL), *why ? ": " : "", why);
	return -1;
}

static int cyrus_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct cyrus *c = host->alloc(ctx, sizeof(*c));

	if (c == NULL) {
		snprintf(err->text, sizeof(err->text), "no memory");
		return -1;
	}
	c->host = host;
	c->ctx = ctx;
	c->conf = conf;
	if (start_library(host, conf, err) < 0) {
		host->free(ctx, c);
		return -1;
	}
	*inst = c;
	return 0;
}

static void cyrus_close(void *inst)
{
	struct cyrus *c = inst;

	if (c->host->role == META1_SMTPC)
		sasl_client_done();
	else
		sasl_server_done();
	c->host->free(c->ctx, c);
}

/* ---- what is offered ---- */

enum meta1_status cyrus_status(int rc)
{
	switch (rc) {
	case SASL_OK:
		return META1_OK;
	case SASL_CONTINUE:
		return META1_MORE;
	case SASL_BADPROT:
	case SASL_BADPARAM:
	case SASL_BUFOVER: /* of what the peer said */
	case SASL_NOMECH:
	case SASL_WRONGMECH:
		return META1_PERMFAIL;
	/* FAIL is what plugins say when they cannot ask: a user must not be told "wrong password".
	 */
	case SASL_FAIL:
	case SASL_NOMEM:
	case SASL_TRYAGAIN:
	case SASL_UNAVAIL:
	case SASL_NOTINIT:
	case SASL_CONFIGERR:
		return META1_TEMPFAIL;
	default:
		return META1_NOTFOUND;
	}
}

int cyrus_secure(
    sasl_conn_t *conn, const struct meta1_auth_peer *peer, const sasl_channel_binding_t *bind)
{
	sasl_security_properties_t props = {.security_flags = peer->flags}; /* the same bits */
	/* With a layer outside of it the library forgets NOPLAINTEXT; who sets it means it. */
	sasl_ssf_t bits = peer->flags & META1_A_NOPLAINTEXT ? 0 : peer->tls_bits;
	int rc = sasl_setprop(conn, SASL_SEC_PROPS, &props);

	if (rc == SASL_OK)
		rc = sasl_setprop(conn, SASL_SSF_EXTERNAL, &bits);
	if (rc == SASL_OK && peer->external != NULL)
		rc = sasl_setprop(conn, SASL_AUTH_EXTERNAL, peer->external);
	if (rc == SASL_OK && bind->name != NULL)
		rc = sasl_setprop(conn, SASL_CHANNEL_BINDING, bind);
	return rc;
}

int cyrus_server(struct cyrus *c, const struct meta1_auth_peer *peer, const sasl_callback_t *cb,
    sasl_conn_t **conn)
{
	return sasl_server_new(
	    peer->service, peer->server, c->conf->realm, peer->local, peer->remote, cb, 0, conn);
}

/* Whole names, as many as there is room for. */
static void copy_names(char *out, size_t size, const char *names)
{
	size_t n = strlen(names);

	if (n >= size)
		for (n = size - 1; n > 0 && names[n] != ' '; n--)
			;
	memcpy(out, names, n);
	out[n] = '\0';
}

/* false: they cannot be told now. */
static bool list(struct cyrus *c, const struct meta1_auth_peer *peer, char names[OFFER_SIZE])
{
	sasl_channel_binding_t bind = {.name = peer->binding,
	    .len = (unsigned)peer->binding_data.len,
	    .data = peer->binding_data.data};
	sasl_conn_t *conn = NULL;
	const char *all = "";
	int rc = cyrus_server(c, peer, NULL, &conn);

	if (rc == SASL_OK)
		rc = cyrus_secure(conn, peer, &bind);
	if (rc == SASL_OK)
		rc = sasl_listmech(conn, NULL, "", " ", "", &all, NULL, NULL);
	if (rc != SASL_OK && rc != SASL_NOMECH)
		c->host->log(c->ctx, META1_WARN, "mechanisms cannot be listed: %s",
		    sasl_errstring(rc, NULL, NULL));
	copy_names(names, OFFER_SIZE, rc == SASL_OK ? all : "");
	if (conn != NULL)
		sasl_dispose(&conn);
	return rc == SASL_OK || rc == SASL_NOMECH;
}

/* EHLO asks each time, and the answer is the same for all peers of a kind. */
static void cyrus_offer(void *inst, const struct meta1_auth_peer *peer, char *out, size_t size)
{
	struct cyrus *c = inst;
	bool external = peer->external != NULL, bound = peer->binding != NULL;
	struct offer *o;

	for (unsigned i = 0; i < OFFERS; i++) {
		o = &c->offer[i];
		if (o->used && o->flags == peer->flags && o->bits == peer->tls_bits &&
		    o->external == external && o->bound == bound) {
			copy_names(out, size, o->names);
			return;
		}
	}
	o = &c->offer[c->noffer++ % OFFERS];
	o->flags = peer->flags;
	o->bits = peer->tls_bits;
	o->external = external;
	o->bound = bound;
	o->used = list(c, peer, o->names);
	copy_names(out, size, o->names);
}

static const struct meta1_auth_ops ops = {.size = sizeof(ops),
    .offer = cyrus_offer,
    .start = cyrus_start,
    .login = cyrus_login,
    .step = cyrus_step,
    .end = cyrus_end,
    .cancel = cyrus_cancel};

META1_MODULE(auth_cyrus, .kind = META1_AUTH, .roles = META1_SMTPS | META1_SMTPC, .version = "0.1.0",
    .summary = "SASL mechanisms of the Cyrus SASL library.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct conf),
    .open = cyrus_open, .close = cyrus_close, .ops = &ops);
