/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * try.c -- a session to one next hop that carries no mail, for an admin: would a delivery get so
 * far, and what does TLS achieve there?
 *
 * Comes from the control socket (meta1ctl tls test, with a hop and its need as smar gave them);
 * goes to the same transports, with the same options, certificate, trusted CAs and login as a
 * delivery, and hears of the certificate by mod_tls_seen(). Owns one struct smtpc_try a request,
 * with its session and a reference to the gear. On failure: what the delivery would hear is the
 * answer. At most TRIES are open, each TRY_MS.
 */
#include "smtpc.h"

#include "ctl/server.h"
#include "ipc/hop.h"
#include "mail/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define TRIES	 16
#define TRY_MS	 20000 /* in all */
#define STEP_MS	 8000  /* to connect, and for each reply */
#define POOL_MAX 16384

struct smtpc_try {
	struct smtpc *c;
	struct smtpc_try *next, *prev;
	struct ctl_later *later;
	struct smtpc_gear *gear;
	struct smtpc_transport *transport;
	struct pool pool; /* of the hop's texts */
	struct hop_conf conf;
	struct meta1_hop hop;
	struct meta1_req *req;
	void *sess;
	json_t *cert; /* of the last handshake; NULL: there was none */
	int64_t start;
};

/* ---- what is seen ---- */

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

/* Of the hop: it says what it likes. */
static json_t *said(const char *s)
{
	char text[1100];

	reply_ascii(or_empty(s), strlen(or_empty(s)), text, sizeof(text));
	return json_string(text);
}

static json_t *cert_json(const struct tls_info *i)
{
	json_t *o = json_object();

	json_object_set_new(o, "version", json_string(i->version));
	json_object_set_new(o, "cipher", json_string(i->cipher));
	json_object_set_new(o, "bits", json_integer(i->bits));
	json_object_set_new(o, "subject", json_string(or_empty(i->subject)));
	json_object_set_new(o, "issuer", json_string(or_empty(i->issuer)));
	json_object_set_new(o, "sha256", json_string(i->sha256));
	json_object_set_new(o, "key_sha256", json_string(i->key256));
	json_object_set_new(o, "not_after", json_integer((json_int_t)i->not_after));
	json_object_set_new(o, "trusted", json_boolean(i->cert == TLS_CERT_GOOD));
	json_object_set_new(o, "named", json_boolean(i->named));
	json_object_set_new(o, "accepted", json_boolean(i->accepted));
	json_object_set_new(o, "how", json_string(or_empty(i->how)));
	json_object_set_new(o, "refused", said(i->refused));
	return o;
}

/* Of a delivery to the same hop meanwhile too: it is the same host. */
static void on_seen(void *arg, const char *addr, uint32_t port, const struct tls_info *i)
{
	struct smtpc *c = arg;
	struct smtpc_try *t;

	DL_FOREACH (c->tries, t)
		if (t->hop.port == port && strcmp(t->hop.addr, addr) == 0) {
			json_decref(t->cert);
			t->cert = cert_json(i);
		}
}

static void look(struct smtpc *c, struct smtpc_transport *t)
{
	const struct smtpc_try *other;
	bool wanted = false;

	DL_FOREACH (c->tries, other)
		wanted |= other->transport == t;
	mod_tls_seen(t->inst, wanted ? on_seen : NULL, c);
}

/* ---- the end ---- */

static void forget(struct smtpc_try **tp)
{
	struct smtpc_try *t = *tp;

	*tp = NULL;
	if (t->req)
		mod_req_cancel(&t->req);
	if (t->sess)
		t->transport->ops->shut(&t->sess);
	DL_DELETE(t->c->tries, t);
	if (t->transport)
		look(t->c, t->transport);
	json_decref(t->cert);
	pool_clear(&t->pool);
	smtpc_gear_drop(&t->gear);
	free(t);
}

static json_t *answer(
    const struct smtpc_try *t, enum meta1_status status, const struct meta1_reply *r)
{
	const struct meta1_transport_ops *ops = t->transport->ops;
	char required[TLS_NEED_WORDS];
	json_t *o = json_object();

	json_object_set_new(o, "host", json_string(t->hop.host));
	json_object_set_new(o, "address", json_string(t->hop.addr));
	json_object_set_new(o, "port", json_integer((json_int_t)t->hop.port));
	json_object_set_new(o, "status", json_string(status == META1_OK ? "ok" : "failed"));
	json_object_set_new(o, "required", json_string(smtpc_tls_words(&t->hop, required)));
	json_object_set_new(
	    o, "tls", said(t->sess && META1_HAS(ops, tls) && ops->tls ? ops->tls(t->sess) : NULL));
	json_object_set_new(o, "login", t->hop.login ? json_string(t->hop.login) : json_null());
	json_object_set_new(o, "certificate", t->cert ? json_incref(t->cert) : json_null());
	json_object_set_new(o, "smtp", json_integer(r ? r->smtp : 0));
	json_object_set_new(o, "dsn", said(r ? r->dsn : NULL));
	json_object_set_new(o, "text", said(r ? r->text : NULL));
	json_object_set_new(
	    o, "ms", json_integer((json_int_t)(loop_now(t->c->role.loop) - t->start)));
	return o;
}

static void on_open(void *arg, enum meta1_status status, const struct meta1_reply *r)
{
	struct smtpc_try *t = arg;

	t->req = NULL;
	ctl_answer(&t->later, answer(t, status, r), 200, NULL);
	forget(&t);
}

void smtpc_try_stop(struct smtpc *c)
{
	while (c->tries) {
		struct smtpc_try *t = c->tries;

		ctl_answer(&t->later, NULL, 503, "smtpc is stopping");
		forget(&t);
	}
}

/* ---- the question ---- */

static struct meta1_buf param(json_t *query, const char *name)
{
	const char *text = json_string_value(json_object_get(query, name));

	return buf_str(text ? text : "");
}

/* The hop with its options, as take.c makes it of DELIVER. */
static bool read_query(struct smtpc_try *t, json_t *query, struct meta1_err *err)
{
	struct meta1_buf need = param(query, "need"), name = param(query, "transport");
	struct meta1_buf row = param(query, "row");
	const struct proto_strs needs = {&need, 1};
	const struct proto_nums of = {&(uint64_t){1}, need.len > 0};
	struct hop_conf *conf = &t->conf;
	const char *key;

	*conf = t->gear->conf;
	t->transport = smtpc_transport(t->c, name.len ? name : buf_str("smtp"));
	if (!t->transport) {
		err_set(err, "transport: there is none of this name");
		return false;
	}
	if (hop_take(&t->pool, param(query, "hop"), &t->hop) < 0) {
		err_set(err, "hop: expected ADDRESS PORT NAME");
		return false;
	}
	if (row.len > 0 && hop_conf_read(row, conf, err) < 0)
		return false;
	if (hop_need(&t->pool, &needs, &of, 0, hop_tls(conf->tls_policy), &t->hop, &key, err) < 0)
		return false;
	if (t->hop.port == 0 && t->hop.addr[0] != '/')
		t->hop.port = (uint32_t)t->gear->remote_port;
	smtpc_conf_hop(conf, &t->hop);
	t->hop.login = logins_row(
	    t->gear->logins, conf->login, t->hop.addr[0] == '/' ? NULL : t->hop.host, t->hop.port);
	t->hop.connect_timeout = t->hop.io_timeout = STEP_MS;
	return true;
}

static bool read_body(struct smtpc_try *t, struct meta1_err *err)
{
	struct meta1_buf body = ctl_body();
	json_t *o = json_loadb(body.data ? body.data : "", body.len, 0, NULL);
	bool good = json_is_object(o) && read_query(t, o, err);

	if (!json_is_object(o))
		err_set(err, "expected a JSON object with hop, and perhaps transport, need, row");
	json_decref(o);
	return good;
}

json_t *smtpc_try(void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err)
{
	struct smtpc *c = arg;
	struct smtpc_try *t;
	int open;

	(void)rest, (void)query;
	DL_COUNT(c->tries, t, open);
	*status = 503;
	if (c->role.stopping || open >= TRIES) {
		err_set(err, c->role.stopping ? "smtpc is stopping" : "16 tests are under way");
		return NULL;
	}
	t = base_alloc(sizeof(*t));
	*t = (struct smtpc_try){.c = c, .gear = c->gear, .start = loop_now(c->role.loop)};
	smtpc_gear_use(t->gear);
	pool_init(&t->pool, POOL_MAX);
	DL_APPEND(c->tries, t);
	*status = 400;
	if (!read_body(t, err)) {
		forget(&t);
		return NULL;
	}
	t->req = mod_req(t->transport->inst, t->start + TRY_MS, on_open, t);
	if (!t->req) {
		forget(&t);
		*status = 503;
		err_set(err, "too many sessions are open");
		return NULL;
	}
	t->later = ctl_later();
	*status = CTL_LATER;
	look(c, t->transport);
	t->transport->ops->open(mod_data(t->transport->inst), t->req, &t->hop, &t->sess);
	return NULL;
}
