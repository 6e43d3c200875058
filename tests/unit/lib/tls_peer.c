/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_peer.c -- a server of ours against OpenSSL's own client, which does what ours never would:
 * long chains, a certificate that expires between two sessions, renegotiation, keys changed without
 * end, and handshakes cut or spoiled at each byte of each flight, in both directions.
 */
#include "tls_side.h"

#include <openssl/err.h>

struct peer {
	struct side a; /* ours */
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
};

static SSL_SESSION *kept;

static int keep(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = s;
	return 1;
}

/* Connects with the certificate of NAME.pem and NAME.key, and the session that is kept. */
static void dial(struct peer *p, struct tls_ctx *s, const char *name, int version)
{
	int fd[2];

	*p = (struct peer){.a.got = evbuffer_new(), .ctx = SSL_CTX_new(TLS_client_method())};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	p->fd = fd[1];
	p->a.c = conn_new(loop, fd[0], &events, &p->a);
	start(&p->a, s, NULL, "127.0.0.1:25");
	SSL_CTX_set_max_proto_version(p->ctx, version);
	SSL_CTX_set_session_cache_mode(p->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(p->ctx, keep);
	if (name) {
		assert_int_equal(
		    SSL_CTX_use_certificate_chain_file(p->ctx, tls_file(name, "pem")), 1);
		assert_int_equal(
		    SSL_CTX_use_PrivateKey_file(p->ctx, tls_file(name, "key"), SSL_FILETYPE_PEM),
		    1);
	}
	p->ssl = SSL_new(p->ctx);
	SSL_set_fd(p->ssl, p->fd);
	if (kept)
		assert_int_equal(SSL_set_session(p->ssl, kept), 1);
}

static void connect_it(struct peer *p)
{
	char byte;

	for (unsigned i = 0; i < 100 && SSL_do_handshake(p->ssl) != 1; i++)
		loop_turn(loop, false);
	settle();
	(void)SSL_read(p->ssl, &byte, 1); /* takes the ticket */
}

static void hang_up(struct peer *p)
{
	SSL_shutdown(p->ssl); /* else OpenSSL forgets the session */
	SSL_free(p->ssl);
	SSL_CTX_free(p->ctx);
	close(p->fd);
	over(&p->a);
}

static void client(struct peer *p, struct tls_ctx *s, const char *name, int version)
{
	dial(p, s, name, version);
	SSL_set_connect_state(p->ssl);
	connect_it(p);
	assert_int_equal(p->a.secured, 1);
}

static void forget_session(void)
{
	SSL_SESSION_free(kept);
	kept = NULL;
}

/* ---- certificates of clients ---- */

/* Six authorities may stand between a client and the one that we trust, not seven. */
static void depth(void **state)
{
	enum { MOST = 8 };
	struct tls_who by[MOST + 1] = {ca}, leaf;
	struct tls_ctx *s = good("host", true);

	(void)state;
	for (unsigned n = 1; n <= MOST; n++) {
		char name[20];
		FILE *f;
		struct peer p;

		snprintf(name, sizeof(name), "between%u", n);
		by[n] = tls_issue(name, &by[n - 1], true, 0, -60, 3600, NULL);
		leaf = tls_issue("leaf", &by[n], false, 0, -60, 3600, NULL);
		f = fopen(tls_file("leaf", "pem"), "a");
		for (unsigned i = n; i > 0; i--)
			PEM_write_X509(f, by[i].cert);
		fclose(f);
		client(&p, s, "leaf", TLS1_3_VERSION);
		assert_int_equal(conn_tls_info(p.a.c)->cert, n <= 6 ? TLS_CERT_GOOD : TLS_CERT_BAD);
		assert_string_equal(conn_tls_info(p.a.c)->subject, "/CN=leaf");
		hang_up(&p);
		forget_session();
		tls_forget(&leaf);
	}
	for (unsigned n = 1; n <= MOST; n++)
		tls_forget(&by[n]);
	tls_ctx_free(&s);
}

/* A session that is resumed proves no more than a new one would. */
static void expires(void **state)
{
	static const int version[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(version); i++) {
		struct tls_who brief = tls_issue("brief", &ca, false, 0, -60, 5, NULL);
		struct tls_ctx *s = good("host", true);
		struct peer p;

		client(&p, s, "brief", version[i]);
		assert_int_equal(conn_tls_info(p.a.c)->cert, TLS_CERT_GOOD);
		hang_up(&p);
		while (X509_cmp_current_time(X509_get0_notAfter(brief.cert)) > 0)
			usleep(20000); /* OpenSSL looks at the wall's clock */
		client(&p, s, "brief", version[i]);
		assert_true(conn_tls_info(p.a.c)->resumed);
		assert_int_equal(conn_tls_info(p.a.c)->cert, TLS_CERT_BAD);
		assert_string_equal(conn_tls_info(p.a.c)->why, "certificate has expired");
		hang_up(&p);
		forget_session();
		tls_forget(&brief);
		tls_ctx_free(&s);
	}
}

/* ---- after the handshake ---- */

static void says(struct peer *p, const char *text)
{
	assert_int_equal(SSL_write(p->ssl, text, (int)strlen(text)), strlen(text));
	got(&p->a, text);
}

/* TLS 1.2: refused, and the session goes on. */
static void renegotiates(void **state)
{
	struct tls_ctx *s = good("host", true);
	struct peer p;
	char byte;

	(void)state;
	client(&p, s, NULL, TLS1_2_VERSION);
	says(&p, "NOOP");
	assert_int_equal(SSL_renegotiate(p.ssl), 1);
	(void)SSL_do_handshake(p.ssl);
	settle();
	assert_true(SSL_read(p.ssl, &byte, 1) <= 0);
	assert_string_equal(ERR_reason_error_string(ERR_get_error()), "no renegotiation");
	assert_int_equal(SSL_CTX_sess_accept_good(s->ssl), 1);
	assert_true(p.a.ends == 0 || p.a.how == CONN_TLS || p.a.how == CONN_EOF);
	assert_int_equal(p.a.secured, 1);
	hang_up(&p);
	forget_session();
	tls_ctx_free(&s);
}

/* TLS 1.3: a peer that wants new keys again and again, and reads no answer, is not read any more
 * when the answers fill what is held for it. */
static void new_keys(void **state)
{
	struct tls_ctx *s = good("host", true);
	struct peer p;
	unsigned taken = 0;

	(void)state;
	client(&p, s, NULL, TLS1_3_VERSION);
	assert_int_equal(SSL_key_update(p.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	says(&p, "NOOP");
	for (unsigned i = 0; i < 40000 && p.a.ends == 0; i++) {
		SSL_key_update(p.ssl, SSL_KEY_UPDATE_REQUESTED);
		if (SSL_do_handshake(p.ssl) != 1)
			break;
		taken++;
		if (i % 100 == 0)
			loop_turn(loop, false);
	}
	settle();
	assert_true(taken < 40000);
	assert_true(p.a.ends || conn_unsent(p.a.c) < (256u << 10));
	if (p.a.c)
		assert_true(conn_held(p.a.c) < (512u << 10));
	hang_up(&p);
	forget_session();
	tls_ctx_free(&s);
}

/* ---- handshakes that break ---- */

static size_t pass_on(int from, int to)
{
	char buf[16384];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n <= 0)
		return 0;
	assert_int_equal(write(to, buf, (size_t)n), n);
	return (size_t)n;
}

struct middle { /* both sides of ours, and somebody between them */
	struct side srv, cl;
	int at_srv, at_cl;
};

static void put_between(struct middle *m, struct tls_ctx *s, struct tls_ctx *c)
{
	int x[2], y[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, x), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, y), 0);
	*m = (struct middle){{.got = evbuffer_new()}, {.got = evbuffer_new()}, x[1], y[1]};
	m->srv.c = conn_new(loop, x[0], &events, &m->srv);
	m->cl.c = conn_new(loop, y[0], &events, &m->cl);
	start(&m->srv, s, NULL, "");
	start(&m->cl, c, "mx.test", NULL);
}

static void turns(unsigned n)
{
	while (n--)
		loop_turn(loop, false);
}

static void take_away(struct middle *m)
{
	if (m->at_srv >= 0)
		close(m->at_srv);
	if (m->at_cl >= 0)
		close(m->at_cl);
	turns(10);
	over(&m->srv);
	over(&m->cl);
}

/* Passes flights on until one of them holds the byte at; that one is passed up to there, then
 * garbage follows, or the end. true: the whole handshake was before it. */
static bool spoil(struct middle *m, bool garbage, bool of_client, size_t at)
{
	size_t passed = 0;
	char buf[16384];
	bool idle = false;

	for (unsigned i = 0; i < 60; i++) {
		ssize_t n = read(of_client ? m->at_cl : m->at_srv, buf, sizeof(buf));
		size_t other =
		    pass_on(of_client ? m->at_srv : m->at_cl, of_client ? m->at_cl : m->at_srv);
		size_t part = n > 0 ? (size_t)n : 0, pass = part;
		int to = of_client ? m->at_srv : m->at_cl;

		if (part && passed + part > at)
			pass = at - passed;
		if (pass)
			assert_int_equal(write(to, buf, pass), pass);
		passed += pass;
		if (part && pass < part) {
			if (garbage)
				assert_int_equal(write(to, "\x16\x03\x03\x00\x04zzzz", 9), 9);
			close(to);
			*(of_client ? &m->at_srv : &m->at_cl) = -1;
			break;
		}
		idle = !part && !other;
		turns(3);
	}
	turns(10);
	return idle && m->at_srv >= 0 && m->at_cl >= 0;
}

/* Whatever part of the handshake comes, of either side: an end of it is told once, and nothing
 * counts as encrypted that is not. */
static void spoiled(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct tls_ctx *s = good("host", true), *c = good("ann", false);
		bool garbage = way & 1, of_client = way & 2, whole = false;
		unsigned tried = 0;

		/* each byte of the first hello's beginning, then by steps */
		for (size_t at = 0; !whole; at += at < 12 ? 1 : 41) {
			struct middle m;
			struct side *hit;

			put_between(&m, s, c);
			turns(3);
			whole = spoil(&m, garbage, of_client, at);
			hit = of_client ? &m.srv : &m.cl;
			if (!whole) {
				tried++;
				/* the client's last flight may be followed by the cut alone */
				assert_int_equal(hit->ends, 1);
				assert_true(hit->how == CONN_TLS || hit->how == CONN_RESET ||
					    (hit->how == CONN_EOF && hit->secured));
				assert_int_equal(evbuffer_get_length(hit->got), 0);
			} else {
				assert_int_equal(hit->secured, 1);
			}
			take_away(&m);
		}
		assert_true(tried > 30);
		tls_ctx_free(&s);
		tls_ctx_free(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(depth), cmocka_unit_test(expires),
	    cmocka_unit_test(renegotiates), cmocka_unit_test(new_keys), cmocka_unit_test(spoiled)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
