/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netlogin.c -- login() of a module's connections: AUTH at their peers, done by the role, so that
 * transports know nothing of SASL and never see a secret.
 * Comes from transports through struct meta1_conn_ops; goes to the role's struct mod_login.
 * Owns the exchange in the connection, until the hop's last word or close(). On failure: the
 * answer says why, on a later turn, and never after close().
 */
#include "lib/tls.h"
#include "mod/inst.h"

#include <stdlib.h>

void mod_login(struct mod_inst *in, const struct mod_login *ops, void *arg)
{
	in->login = ops;
	in->login_arg = arg;
}

static void tell(void *arg, enum meta1_status st, const struct meta1_reply *r)
{
	struct meta1_conn *c = arg;

	if (!c->ended)
		c->login_cb(c->arg, st, r);
}

static void nobody(void *arg)
{
	struct meta1_reply r = {.size = sizeof(r), .text = "smtpc has no section auth"};

	tell(arg, META1_TEMPFAIL, &r);
}

void mod_conn_login(struct meta1_conn *c, const char *service, const char *mechs, mod_done_fn cb)
{
	const struct tls_info *i = c->ended ? NULL : conn_tls_info(c->conn);
	struct mod_login_ask ask = {.login = c->login,
	    .host = c->host,
	    .service = service,
	    .mechs = mechs,
	    .tls = i,
	    .bits = i ? (uint32_t)i->bits : 0,
	    .proven = i && mod_conn_proven(c),
	    .local = c->unix_socket};

	if (c->ended || c->exchange)
		return;
	c->login_cb = cb;
	if (c->in->login && c->login) {
		c->exchange = c->in->login->start(c->in->login_arg, &ask, tell, c);
	} else {
		task_init(&c->nobody, nobody, c);
		loop_defer(c->loop, &c->nobody);
	}
}

void mod_conn_login_step(struct meta1_conn *c, struct meta1_buf said, mod_done_fn cb)
{
	c->login_cb = cb;
	if (!c->ended && c->exchange)
		c->in->login->step(c->exchange, said, tell, c);
}

void mod_conn_login_over(struct meta1_conn *c, int code, const char *text)
{
	if (!c->exchange)
		return;
	c->in->login->over(c->exchange, code, text ? text : "");
	c->in->login->end(&c->exchange);
}

void mod_conn_login_drop(struct meta1_conn *c)
{
	if (task_pending(&c->nobody))
		task_cancel(&c->nobody);
	if (c->exchange)
		c->in->login->end(&c->exchange);
	free(c->login);
	free(c->host);
}
