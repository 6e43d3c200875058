/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c -- a session with an LDAP server up to where it may be asked: the connection, TLS, the
 * bind. From netmap's link.c; to libldap, on a socket of ours that never blocks. Only the TLS
 * handshake waits for the server within libldap, so it is done on a worker thread.
 * Owns the LDAP handle, which owns the socket. On failure: err says at which step.
 */
#include "ldap_map.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openldap.h>
#include <stdio.h>
#include <string.h>

int ldap_failed(struct ldap_session *l, const char *what, int rc, struct meta1_err *err)
{
	char *more = NULL;

	if (l->ld)
		ldap_get_option(l->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
	netmap_fail(err, "%s%s%s%.150s", what, ldap_err2string(rc), more && *more ? ": " : "",
	    more ? more : "");
	if (more)
		ldap_memfree(more);
	return -1;
}

/* ---- what libldap could not write ----
 * A request that did not go out whole is sent on by ldap_result(), but libldap tells nobody, and
 * takes no further one meanwhile. So this stands right above the socket and sees each write. */

static int note_setup(Sockbuf_IO_Desc *d, void *arg)
{
	d->sbiod_pvt = arg;
	return 0;
}

static int note_remove(Sockbuf_IO_Desc *d)
{
	(void)d;
	return 0;
}

static int note_ctrl(Sockbuf_IO_Desc *d, int opt, void *arg)
{
	return LBER_SBIOD_CTRL_NEXT(d, opt, arg);
}

static ber_slen_t note_read(Sockbuf_IO_Desc *d, void *buf, ber_len_t len)
{
	return LBER_SBIOD_READ_NEXT(d, buf, len);
}

static ber_slen_t note_write(Sockbuf_IO_Desc *d, void *buf, ber_len_t len)
{
	struct ldap_session *l = d->sbiod_pvt;
	ber_slen_t n = LBER_SBIOD_WRITE_NEXT(d, buf, len);

	l->c.full = n < 0 ? errno == EAGAIN : (ber_len_t)n < len;
	return n;
}

static int note_close(Sockbuf_IO_Desc *d)
{
	(void)d;
	return 0;
}

static Sockbuf_IO note = {.sbi_setup = note_setup,
    .sbi_remove = note_remove,
    .sbi_ctrl = note_ctrl,
    .sbi_read = note_read,
    .sbi_write = note_write,
    .sbi_close = note_close};

/* A socket that can be written to is also the reason to look again in the next turn. */
int ldap_watch(struct ldap_session *l, struct meta1_err *err)
{
	short what = l->more || l->c.full ? EV_READ | EV_WRITE : EV_READ;

	return netmap_watch(&l->c, l->sock, what) < 0 ? netmap_fail(err, "no memory") : 0;
}

/* ---- the socket ---- */

int ldap_session_connect(struct netmap_conn *c, struct meta1_err *err)
{
	struct ldap_session *l = (struct ldap_session *)c;

	l->phase = LDAP_TCP;
	l->sock = -1;
	return netmap_socket(c, err);
}

void ldap_session_close(struct netmap_conn *c)
{
	struct ldap_session *l = (struct ldap_session *)c;

	if (!l->ld)
		return;
	fcntl(l->sock, F_SETFL, O_NONBLOCK);
	ldap_unbind_ext(l->ld, NULL, NULL);
}

/* ---- bind ---- */

static int bind_now(struct ldap_session *l, struct meta1_err *err)
{
	const struct ldap_conf *conf = (const struct ldap_conf *)l->c.map->conf;
	struct berval cred = {.bv_val = l->c.map->secret, .bv_len = strlen(l->c.map->secret)};
	int rc, id;

	if (!conf->bind_dn) {
		l->phase = LDAP_SERVES;
		netmap_ready(&l->c);
		return ldap_watch(l, err);
	}
	l->phase = LDAP_BIND;
	rc = ldap_sasl_bind(l->ld, conf->bind_dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, &id);
	return rc == LDAP_SUCCESS ? ldap_watch(l, err) : ldap_failed(l, "bind: ", rc, err);
}

/* ---- TLS ---- */

static void handshake(struct netmap_conn *c)
{
	struct ldap_session *l = (struct ldap_session *)c;
	const struct ldap_conf *conf = (const struct ldap_conf *)c->map->conf;
	struct meta1_err err;

	/* it waits; when its time is over the loop shuts the socket down */
	fcntl(l->sock, F_SETFL, 0);
	l->rc = ldap_install_tls(l->ld);
	if (l->rc != LDAP_SUCCESS) {
		ldap_failed(l, "TLS: ", l->rc, &err);
		snprintf(l->why, sizeof(l->why),
		    "%.120s; is its certificate for %.50s, and signed as in %.50s?", err.text,
		    c->server->host, conf->ca_file);
	}
	fcntl(l->sock, F_SETFL, O_NONBLOCK);
}

static int shaken(struct netmap_conn *c, struct meta1_err *err)
{
	struct ldap_session *l = (struct ldap_session *)c;

	return l->rc == LDAP_SUCCESS ? bind_now(l, err) : netmap_fail(err, "%s", l->why);
}

static int tls_options(struct ldap_session *l, struct meta1_err *err)
{
	const struct ldap_conf *conf = (const struct ldap_conf *)l->c.map->conf;
	int demand = LDAP_OPT_X_TLS_DEMAND, client = 0, rc;

	rc = ldap_set_option(l->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
	if (rc == 0)
		rc = ldap_set_option(l->ld, LDAP_OPT_X_TLS_CACERTFILE, conf->ca_file);
	if (rc == 0)
		rc = ldap_set_option(l->ld, LDAP_OPT_X_TLS_NEWCTX, &client);
	return rc == 0 ? 0 : netmap_fail(err, "TLS: ca_file %.300s cannot be used", conf->ca_file);
}

/* ---- in order ---- */

/* The handle gets our socket and forgets what the machine's ldap.conf says. */
static int make_handle(struct ldap_session *l, struct meta1_err *err)
{
	const struct netmap_server *s = l->c.server;
	struct timeval never = {.tv_sec = -1};
	bool v6 = strchr(s->host, ':') != NULL;
	int version = LDAP_VERSION3, rc;
	ber_len_t most = NETMAP_BYTES;
	Sockbuf *sb = NULL;
	char url[200];

	snprintf(url, sizeof(url), "ldap://%s%s%s:%u", v6 ? "[" : "",
	    s->path[0] ? "localhost" : s->host, v6 ? "]" : "", s->port);
	rc = ldap_init_fd(l->c.fd, s->path[0] ? LDAP_PROTO_IPC : LDAP_PROTO_TCP, url, &l->ld);
	if (rc != LDAP_SUCCESS)
		return ldap_failed(l, "", rc, err);
	l->sock = l->c.fd;
	l->c.fd = -1; /* the handle closes it */
	ldap_set_option(l->ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(l->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	ldap_set_option(l->ld, LDAP_OPT_NETWORK_TIMEOUT, &never);
	if (ldap_get_option(l->ld, LDAP_OPT_SOCKBUF, &sb) != 0 || !sb ||
	    ber_sockbuf_add_io(sb, &note, LBER_SBIOD_LEVEL_PROVIDER + 1, l) != 0)
		return netmap_fail(err, "no memory");
	ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &most);
	return 0;
}

int ldap_session_connected(struct ldap_session *l, struct meta1_err *err)
{
	const struct ldap_conf *conf = (const struct ldap_conf *)l->c.map->conf;
	int rc, id;

	if (netmap_connected(&l->c, err) < 0 || make_handle(l, err) < 0)
		return -1;
	if (!l->c.server->tls && !conf->start_tls)
		return bind_now(l, err);
	if (tls_options(l, err) < 0)
		return -1;
	if (l->c.server->tls) {
		l->phase = LDAP_TLS;
		return netmap_offload(&l->c, l->sock, handshake, shaken, err);
	}
	l->phase = LDAP_ASK_TLS;
	rc = ldap_start_tls(l->ld, NULL, NULL, &id);
	if (rc != LDAP_SUCCESS)
		return ldap_failed(l, "StartTLS: ", rc, err);
	return ldap_watch(l, err);
}

int ldap_session_step(struct ldap_session *l, LDAPMessage *msg, struct meta1_err *err)
{
	const char *what = l->phase == LDAP_BIND ? "bind: " : "StartTLS: ";
	int code = LDAP_OTHER, rc;

	rc = ldap_parse_result(l->ld, msg, &code, NULL, NULL, NULL, NULL, 0);
	if (rc != LDAP_SUCCESS || code != LDAP_SUCCESS)
		return ldap_failed(l, what, rc != LDAP_SUCCESS ? rc : code, err);
	if (l->phase == LDAP_BIND) {
		l->phase = LDAP_SERVES;
		netmap_ready(&l->c);
		return 0;
	}
	l->phase = LDAP_TLS;
	return netmap_offload(&l->c, l->sock, handshake, shaken, err) < 0 ? -1 : 1;
}
