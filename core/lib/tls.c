/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.c -- one connection's SSL, on two buffers in memory instead of a socket.
 * Comes from conn_tls.c; goes to OpenSSL and back. Owns SSL and both buffers.
 * On failure: TLS_FAILED, the cause in why; an alert for the peer may stand in out.
 */
#include "lib/tls.h"
#include "lib/outq.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#define RECORD 16384u

/* ---- the buffers as OpenSSL sees them ---- */

static int bio_read(BIO *b, char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	int got = t->in ? evbuffer_remove(t->in, p, (size_t)n) : 0;

	BIO_clear_retry_flags(b);
	if (got > 0)
		return got;
	BIO_set_retry_read(b);
	return -1;
}

static int bio_write(BIO *b, const char *p, int n)
{
	struct tls *t = BIO_get_data(b);

	BIO_clear_retry_flags(b);
	return evbuffer_add(tls_out(t), p, (size_t)n) == 0 ? n : -1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *p)
{
	(void)b;
	(void)num;
	(void)p;
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

static BIO *bio_new(struct tls *t)
{
	static BIO_METHOD *m;
	BIO *b;

	if (!m) {
		m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "meta1 buffers");
		if (!m)
			return NULL;
		BIO_meth_set_read(m, bio_read);
		BIO_meth_set_write(m, bio_write);
		BIO_meth_set_ctrl(m, bio_ctrl);
		BIO_meth_set_create(m, bio_create);
	}
	b = BIO_new(m);
	if (b)
		BIO_set_data(b, t);
	return b;
}

static struct evbuffer *buffer(struct evbuffer **b)
{
	if (!*b && !(*b = evbuffer_new()))
		base_broken("evbuffer_new", __FILE__, __LINE__);
	return *b;
}

struct evbuffer *tls_wire(struct tls *t)
{
	return buffer(&t->in);
}

struct evbuffer *tls_out(struct tls *t)
{
	return buffer(&t->out);
}

void tls_idle(struct tls *t)
{
	struct evbuffer **both[] = {&t->in, &t->out};

	for (size_t i = 0; i < ARRAY_LEN(both); i++)
		if (*both[i] && !evbuffer_get_length(*both[i])) {
			evbuffer_free(*both[i]);
			*both[i] = NULL;
		}
}

/* ---- life ---- */

static bool is_address(const char *name)
{
	unsigned char bin[16];

	return inet_pton(AF_INET, name, bin) == 1 || inet_pton(AF_INET6, name, bin) == 1;
}

/* To the listener: a digest, since a name of a path may be long. */
static bool bind_tickets(SSL *ssl, const char *listen)
{
	unsigned char id[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	return EVP_Digest(listen, strlen(listen), id, &n, EVP_sha256(), NULL) == 1 &&
	       SSL_set_session_id_context(ssl, id, n) == 1;
}

static bool prepare(struct tls *t, const struct tls_want *want)
{
	BIO *b = bio_new(t);

	if (!b)
		return false;
	SSL_set_bio(t->ssl, b, b);
	if (!t->ctx->server) {
		SSL_set_connect_state(t->ssl);
		if (want->name)
			str_copy(t->name, sizeof(t->name), want->name);
		if (want->need) {
			t->need = base_alloc(sizeof(*t->need));
			*t->need = *want->need;
			if (!tls_meet_prepare(t->ssl, t->need, t->name))
				return false;
		}
		/* DANE has set its own */
		return !t->name[0] || is_address(t->name) ||
		       SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name) ||
		       SSL_set_tlsext_host_name(t->ssl, t->name) == 1;
	}
	SSL_set_accept_state(t->ssl);
	return bind_tickets(t->ssl, want->listen ? want->listen : "");
}

struct tls *tls_new(struct tls_ctx *ctx, const struct tls_want *want, struct meta1_err *err)
{
	struct tls *t = base_alloc(sizeof(*t));

	ERR_clear_error();
	t->ctx = tls_ctx_ref(ctx);
	if (ctx->ocsp)
		tls_ocsp_look(ctx->ocsp);
	t->ssl = SSL_new(ctx->ssl);
	if (t->ssl && prepare(t, want))
		return t;
	err_set(err, "TLS: %s", tls_error());
	tls_free(&t);
	return NULL;
}

void tls_free(struct tls **tp)
{
	struct tls *t = *tp;

	if (!t)
		return;
	*tp = NULL;
	SSL_free(t->ssl);
	free(t->need);
	if (t->in)
		evbuffer_free(t->in);
	if (t->out)
		evbuffer_free(t->out);
	tls_ctx_free(&t->ctx);
	free(t);
}

bool tls_slow(const struct tls *t)
{
	return t->ctx->slow && t->ctx->work;
}

const char *tls_why(const struct tls *t)
{
	return t->why;
}

/* ---- work ---- */

static enum tls_step step(struct tls *t, int rc)
{
	int what = SSL_get_error(t->ssl, rc);

	if (what == SSL_ERROR_WANT_READ)
		return TLS_AGAIN;
	if (what == SSL_ERROR_ZERO_RETURN)
		return TLS_CLOSED;
	snprintf(t->why, sizeof(t->why), "TLS: %s", tls_error());
	return TLS_FAILED;
}

enum tls_step tls_shake(struct tls *t)
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(t->ssl);
	return rc == 1 ? TLS_DONE : step(t, rc);
}

enum tls_step tls_read(struct tls *t, struct evbuffer *to, size_t max, size_t *got)
{
	*got = 0;
	ERR_clear_error();
	while (*got < max) {
		struct evbuffer_iovec v;
		int n;

		/* of a small record there is no need to ask for a large place */
		if (evbuffer_reserve_space(to, SSL_pending(t->ssl) > 0 ? RECORD : 4096, &v, 1) < 1)
			return TLS_FAILED;
		n = SSL_read(t->ssl, v.iov_base, v.iov_len < RECORD ? (int)v.iov_len : (int)RECORD);
		if (n <= 0)
			return step(t, n);
		v.iov_len = (size_t)n;
		evbuffer_commit_space(to, &v, 1);
		*got += (size_t)n;
	}
	return TLS_AGAIN;
}

bool tls_pending(const struct tls *t)
{
	return SSL_pending(t->ssl) > 0 || (t->in && evbuffer_get_length(t->in) > 0);
}

bool tls_write(struct tls *t, struct outq *from)
{
	static char record[RECORD]; /* of the loop's thread */
	ssize_t n = outq_read(from, record, sizeof(record));

	if (n <= 0)
		return n == 0;
	ERR_clear_error();
	if (SSL_write(t->ssl, record, (int)n) == (int)n)
		return true;
	snprintf(t->why, sizeof(t->why), "TLS: %s", tls_error());
	errno = EPROTO;
	return false;
}

void tls_bye(struct tls *t)
{
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
}
