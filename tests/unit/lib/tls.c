/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.c -- conns with TLS on both ends of a socket pair, and with OpenSSL's own client or raw bytes
 * at one: handshakes good and bad, what is verified, what goes through, how it ends.
 */
#include "lib/tls.h"
#include "../unit.h"
#include "lib/conn.h"

#include "../tls_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

struct side {
	struct conn *c;
	unsigned secured, ends, inputs, drains;
	enum conn_end how;
	char why[200];
	struct evbuffer *got; /* NULL: leaves what comes in the conn */
};

static struct loop *loop;
static struct work *work;
static struct tls_who ca, other_ca, host, rsa, ann, old, stranger, second;
static const char *no_files[] = {NULL};

/* ---- players ---- */

static void on_input(void *arg)
{
	struct side *s = arg;

	s->inputs++;
	if (s->got)
		evbuffer_add_buffer(s->got, conn_in(s->c));
}

static void on_drained(void *arg)
{
	((struct side *)arg)->drains++;
}

static void on_secured(void *arg)
{
	((struct side *)arg)->secured++;
}

static void on_end(void *arg, enum conn_end how, const char *why)
{
	struct side *s = arg;

	s->ends++;
	s->how = how;
	snprintf(s->why, sizeof(s->why), "%s", why);
	if (how != CONN_EOF)
		conn_close(&s->c);
}

static const struct conn_events events = {
    .input = on_input, .drained = on_drained, .end = on_end, .secured = on_secured};

static struct set_tls options(const char *const *cert, const char *const *key, bool trusts)
{
	return (struct set_tls){.cert_file = cert,
	    .key_file = key,
	    .CAcert_file = trusts ? base_strdup(tls_file("ca", "pem")) : NULL,
	    .ciphers = "ECDHE+AESGCM",
	    .flags = TLS_F_REQUEST_CERT};
}

static struct tls_ctx *context(const char *name, bool server, struct meta1_err *err)
{
	const char *cert[2] = {name ? tls_file(name, "pem") : NULL, NULL};
	const char *key[2] = {name ? tls_file(name, "key") : NULL, NULL};
	struct set_tls set = options(cert, key, true);
	struct tls_ctx *c = tls_ctx_new(&set, server, work, err);

	free((char *)set.CAcert_file);
	return c;
}

static struct tls_ctx *good(const char *name, bool server)
{
	struct meta1_err err = {""};
	struct tls_ctx *c = context(name, server, &err);

	if (!c)
		fail_msg("%s", err.text);
	return c;
}

static void both(struct side *a, struct side *b)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	*a = (struct side){.got = evbuffer_new()};
	*b = (struct side){.got = evbuffer_new()};
	a->c = conn_new(loop, fd[0], &events, a);
	b->c = conn_new(loop, fd[1], &events, b);
}

static void start(struct side *s, struct tls_ctx *ctx, const char *name, const char *listen)
{
	struct tls_want want = {.name = name, .listen = listen};
	struct meta1_err err = {""};
	size_t dropped;

	assert_int_equal(conn_starttls(s->c, ctx, &want, 10000, &dropped, &err), 0);
}

/* Until nothing happens any more. */
static void settle(void)
{
	for (unsigned i = 0; i < 200; i++) {
		loop_turn(loop, false);
		if (i % 50 == 49)
			usleep(10000); /* a worker's handshake */
	}
}

static void over(struct side *s)
{
	if (s->c)
		conn_close(&s->c);
	evbuffer_free(s->got);
}

static void meet(struct side *srv, struct side *cl, struct tls_ctx *sctx, struct tls_ctx *cctx)
{
	both(srv, cl);
	start(srv, sctx, NULL, "127.0.0.1:25");
	start(cl, cctx, "mx.test", NULL);
	for (unsigned i = 0; i < 50 && !(srv->secured && cl->secured) && !srv->ends; i++)
		settle();
}

static void got(struct side *s, const char *text)
{
	settle();
	evbuffer_add(s->got, "", 1);
	assert_string_equal((char *)evbuffer_pullup(s->got, -1), text);
	evbuffer_drain(s->got, evbuffer_get_length(s->got));
}

/* ---- what is achieved ---- */

static void achieved(void **state)
{
	static const struct {
		const char *server, *client;
		enum tls_cert of_client, of_server;
		bool named;
	} t[] = {
	    {"host", NULL, TLS_CERT_NONE, TLS_CERT_GOOD, true},
	    {"host", "ann", TLS_CERT_GOOD, TLS_CERT_GOOD, true},
	    {"host", "old", TLS_CERT_BAD, TLS_CERT_GOOD, true},
	    {"host", "stranger", TLS_CERT_BAD, TLS_CERT_GOOD, true},
	    {"stranger", "ann", TLS_CERT_GOOD, TLS_CERT_BAD, false},
	    {"old", NULL, TLS_CERT_NONE, TLS_CERT_BAD, false},
	    {"rsa", "ann", TLS_CERT_GOOD, TLS_CERT_GOOD, true}, /* on a worker thread */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct tls_ctx *s = good(t[i].server, true), *c = good(t[i].client, false);
		const struct tls_info *at_server, *at_client;
		struct side a, b;

		meet(&a, &b, s, c);
		tls_ctx_free(&s); /* a reload: the connection goes on */
		tls_ctx_free(&c);
		assert_int_equal(a.secured, 1);
		assert_int_equal(b.secured, 1);
		at_server = conn_tls_info(a.c);
		at_client = conn_tls_info(b.c);
		assert_int_equal(at_server->cert, t[i].of_client);
		assert_int_equal(at_client->cert, t[i].of_server);
		assert_int_equal(at_client->named, t[i].named);
		assert_string_equal(at_server->version, "TLSv1.3");
		assert_int_equal(at_server->bits, 256);
		assert_int_equal(strlen(at_client->sha256), 64);
		assert_int_equal(strlen(at_client->key256), 64);
		if (t[i].client) {
			assert_memory_equal(at_server->subject, "/CN=", 4);
			assert_string_equal(at_server->subject + 4, t[i].client);
			assert_string_equal(at_server->issuer,
			    strcmp(t[i].client, "stranger") == 0 ? "/CN=otherca" : "/CN=ca");
		}
		conn_write(b.c, "MAIL", 4);
		got(&a, "MAIL");
		conn_write(a.c, "250", 3);
		got(&b, "250");
		over(&a);
		over(&b);
	}
}

/* The name that the client asks for chooses the certificate; without one the first serves. */
static void by_name(void **state)
{
	const char *cert[] = {tls_file("host", "pem"), tls_file("second", "pem"), NULL};
	const char *key[] = {tls_file("host", "key"), tls_file("second", "key"), NULL};
	static const struct {
		const char *name, *subject;
	} t[] = {{"second.test", "/CN=second"}, {"mx.test", "/CN=host"},
	    {"nobody.test", "/CN=host"}, {"192.0.2.1", "/CN=host"}, {NULL, "/CN=host"}};
	struct set_tls set = options(cert, key, false);
	struct meta1_err err = {""};
	struct tls_ctx *s = tls_ctx_new(&set, true, NULL, &err), *c = good(NULL, false);

	(void)state;
	assert_non_null(s);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct side a, b;

		both(&a, &b);
		start(&a, s, NULL, "");
		start(&b, c, t[i].name, NULL);
		settle();
		assert_string_equal(conn_tls_info(b.c)->subject, t[i].subject);
		over(&a);
		over(&b);
	}
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

/* ---- what goes through ---- */

static void large(void **state)
{
	enum { LEN = 3000000 };
	struct tls_ctx *s = good("host", true), *c = good(NULL, false);
	int fd = open(tls_file("big", "txt"), O_RDWR | O_CREAT, 0600);
	char *mem = malloc(LEN), *out;
	struct side a, b;
	size_t i;

	(void)state;
	for (i = 0; i < LEN; i++)
		mem[i] = (char)('a' + i % 23);
	assert_int_equal(write(fd, mem, LEN), LEN);
	meet(&a, &b, s, c);
	conn_write(a.c, "first", 5);
	conn_file(a.c, fd, 0, LEN);
	conn_ref(a.c, "last", 4);
	assert_int_equal(conn_unsent(a.c), LEN + 9);
	for (i = 0; i < 3000 && evbuffer_get_length(b.got) < LEN + 9; i++)
		loop_turn(loop, false);
	assert_int_equal(evbuffer_get_length(b.got), LEN + 9);
	out = (char *)evbuffer_pullup(b.got, -1);
	assert_memory_equal(out, "first", 5);
	assert_memory_equal(out + 5, mem, LEN);
	assert_memory_equal(out + 5 + LEN, "last", 4);
	settle();
	assert_int_equal(conn_unsent(a.c), 0);
	assert_true(a.drains > 0);
	over(&a);
	over(&b);
	free(mem);
	close(fd);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

/* Input that nobody takes is bounded, inside TLS too, and goes on when it is. */
static void bounded(void **state)
{
	enum { LEN = 1 << 20 };
	static char junk[LEN];
	struct tls_ctx *s = good("host", true), *c = good(NULL, false);
	struct evbuffer *keep;
	struct side a, b;
	size_t all = 0;

	(void)state;
	meet(&a, &b, s, c);
	conn_limit(a.c, 10000);
	keep = a.got;
	a.got = NULL;
	conn_write(b.c, junk, LEN);
	settle();
	assert_true(evbuffer_get_length(conn_in(a.c)) >= 10000);
	assert_true(evbuffer_get_length(conn_in(a.c)) < 10000 + 16384);
	assert_true(conn_unsent(b.c) > 0);
	for (unsigned i = 0; i < 5000 && all < LEN; i++) {
		size_t n = evbuffer_get_length(conn_in(a.c));

		all += n;
		conn_consume(a.c, n);
		loop_turn(loop, false);
	}
	assert_int_equal(all, LEN);
	a.got = keep;
	over(&a);
	over(&b);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

/* What came in plain before the handshake is gone; what was written before goes out plain. */
static void injected(void **state)
{
	struct tls_ctx *s = good("host", true), *c = good(NULL, false);
	struct tls_want want = {.listen = ""};
	struct meta1_err err = {""};
	struct evbuffer *keep;
	struct side a, b;
	size_t dropped = 0;

	(void)state;
	both(&a, &b);
	keep = a.got;
	a.got = NULL;
	conn_write(b.c, "STARTTLS\r\nNOOP\r\n", 16);
	settle();
	conn_consume(a.c, 10);
	conn_write(a.c, "220 go\r\n", 8);
	assert_int_equal(conn_starttls(a.c, s, &want, 10000, &dropped, &err), 0);
	assert_int_equal(dropped, 6);
	conn_write(a.c, "inside", 6);
	a.got = keep;
	got(&b, "220 go\r\n");
	assert_int_equal(a.secured, 0);
	start(&b, c, NULL, NULL);
	settle();
	assert_int_equal(a.secured, 1);
	got(&b, "inside");
	got(&a, "");
	over(&a);
	over(&b);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

/* ---- handshakes that fail ---- */

static void broken(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} t[] = {
	    {"NOOP\r\nQUIT\r\n", 12},				  /* more plain text */
	    {"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10},	  /* a hello without its body */
	    {"\x16\x03\x01\xff\xff\x01\x00\x00\x01\x00", 10},	  /* a record that is too long */
	    {"\x15\x03\x01\x00\x02\x02\x28", 7},		  /* the alert handshake_failure */
	    {"\x17\x03\x03\x00\x05hello", 10},			  /* data before keys */
	    {"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", 11}, /* SSLv2 */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		for (size_t piece = 1; piece <= t[i].len; piece += t[i].len - 1) {
			struct tls_ctx *s = good("host", true);
			struct side a, b;

			both(&a, &b);
			start(&a, s, NULL, "");
			for (size_t at = 0; at < t[i].len && a.c; at += piece) {
				conn_write(b.c, t[i].bytes + at, piece);
				settle();
			}
			if (a.c) { /* it waits for the rest, which does not come */
				conn_finish(&b.c, false, 100);
				settle();
			}
			assert_int_equal(a.ends, 1);
			assert_int_equal(a.how, CONN_TLS);
			assert_int_equal(a.secured, 0);
			over(&a);
			over(&b);
			tls_ctx_free(&s);
		}
}

/* The client says each prefix of a good handshake, then nothing, and goes. */
static void cut_short(void **state)
{
	(void)state;
	for (unsigned cut = 1; cut < 600; cut += 37) {
		struct tls_ctx *s = good("host", true), *c = good("ann", false);
		int fd[2], pipe_[2];
		struct side a = {.got = evbuffer_new()}, b = {.got = evbuffer_new()};
		char hello[2000];
		ssize_t n;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pipe_), 0);
		a.c = conn_new(loop, fd[0], &events, &a);
		b.c = conn_new(loop, pipe_[0], &events, &b);
		start(&a, s, NULL, "");
		start(&b, c, "mx.test", NULL);
		settle();
		n = read(pipe_[1], hello, sizeof(hello));
		assert_true(n > 100);
		assert_true(write(fd[1], hello, cut < n ? cut : (size_t)n) > 0);
		settle();
		close(fd[1]);
		close(pipe_[1]);
		settle();
		assert_int_equal(a.ends, 1);
		assert_true(a.how == CONN_TLS || a.how == CONN_RESET);
		assert_int_equal(b.ends, 1);
		over(&a);
		over(&b);
		tls_ctx_free(&s);
		tls_ctx_free(&c);
	}
}

static void versions(void **state)
{
	static const struct {
		int max;
		const char *got; /* NULL: refused */
	} t[] = {{TLS1_1_VERSION, NULL}, {TLS1_2_VERSION, "TLSv1.2"}, {TLS1_3_VERSION, "TLSv1.3"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct tls_ctx *s = good("host", true), *c = good(NULL, false);
		struct side a, b;

		SSL_CTX_set_min_proto_version(c->ssl, 0);
		SSL_CTX_set_max_proto_version(c->ssl, t[i].max);
		SSL_CTX_set_cipher_list(c->ssl, "ALL:@SECLEVEL=0");
		meet(&a, &b, s, c);
		assert_int_equal(a.secured, t[i].got != NULL);
		if (t[i].got)
			assert_string_equal(conn_tls_info(a.c)->version, t[i].got);
		else
			assert_non_null(strstr(a.why, "unsupported protocol"));
		over(&a);
		over(&b);
		tls_ctx_free(&s);
		tls_ctx_free(&c);
	}
}

/* A handshake has its time as a whole, however often bytes come. */
static void slow(void **state)
{
	struct tls_ctx *s = good("host", true);
	struct tls_want want = {.listen = ""};
	struct meta1_err err = {""};
	struct side a, b;
	size_t dropped;

	(void)state;
	both(&a, &b);
	assert_int_equal(conn_starttls(a.c, s, &want, 60, &dropped, &err), 0);
	while (!a.ends) {
		conn_write(b.c, "\x16\x03\x01\x7f\xff" + (b.drains % 5), 1);
		loop_turn(loop, true);
		usleep(1000);
		if (b.drains >= 5 || b.ends)
			break;
	}
	while (!a.ends)
		loop_turn(loop, true);
	assert_int_equal(a.how, CONN_TLS);
	over(&a);
	over(&b);
	tls_ctx_free(&s);
}

/* ---- ends ---- */

/* The peer closes TLS: what came before is there, what comes after it is not read. */
static void closed(void **state)
{
	(void)state;
	for (int clear = 0; clear < 2; clear++) {
		struct tls_ctx *s = good("host", true), *c = good(NULL, false);
		struct side a, b;
		int raw;

		meet(&a, &b, s, c);
		raw = dup(conn_fd(b.c));
		conn_write(b.c, "BDAT 10\r\nabc", 12);
		conn_flush(b.c);
		conn_close(&b.c); /* says close_notify */
		if (clear)
			assert_int_equal(send(raw, "x\r\nQUIT\r\n", 9, MSG_NOSIGNAL), 9);
		got(&a, "BDAT 10\r\nabc");
		assert_int_equal(a.ends, 1);
		assert_int_equal(a.how, CONN_EOF);
		conn_write(a.c, "221", 3); /* our side is still open */
		settle();
		assert_int_equal(a.ends, 1);
		close(raw);
		over(&a);
		over(&b);
		tls_ctx_free(&s);
		tls_ctx_free(&c);
	}
}

/* Bytes that are no record, after a good handshake. */
static void garbage(void **state)
{
	struct tls_ctx *s = good("host", true), *c = good(NULL, false);
	struct side a, b;

	(void)state;
	meet(&a, &b, s, c);
	assert_int_equal(write(conn_fd(b.c), "NOOP\r\n", 6), 6);
	settle();
	assert_int_equal(a.ends, 1);
	assert_int_equal(a.how, CONN_TLS);
	over(&a);
	over(&b);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

/* The last reply goes out encrypted, then close_notify, by conn_finish(). */
static void finished(void **state)
{
	struct tls_ctx *s = good("host", true), *c = good(NULL, false);
	struct side a, b;

	(void)state;
	meet(&a, &b, s, c);
	conn_write(a.c, "221 bye\r\n", 9);
	conn_finish(&a.c, true, 1000);
	got(&b, "221 bye\r\n");
	assert_int_equal(b.ends, 1);
	assert_string_equal(b.why, "TLS was closed by the peer");
	over(&a);
	over(&b);
	settle();
	tls_ctx_free(&s);
	tls_ctx_free(&c);
}

/* A conn may be closed while a worker thread has its handshake. */
static void closed_in_thread(void **state)
{
	struct tls_ctx *s = good("rsa", true), *c = good(NULL, false);

	(void)state;
	for (unsigned turns = 1; turns < 12; turns++) {
		struct side a, b;

		both(&a, &b);
		start(&a, s, NULL, "");
		start(&b, c, NULL, NULL);
		for (unsigned i = 0; i < turns; i++)
			loop_turn(loop, false);
		over(&a);
		over(&b);
	}
	tls_ctx_free(&s);
	tls_ctx_free(&c);
	settle();
}

/* ---- tickets, with OpenSSL's own client ---- */

static SSL_SESSION *kept;

static int keep(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	if (kept)
		SSL_SESSION_free(kept);
	kept = s;
	return 1;
}

static bool resumes(struct tls_ctx *s, const char *listen, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	struct side a = {.got = evbuffer_new()};
	bool reused;
	char byte;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	a.c = conn_new(loop, fd[0], &events, &a);
	start(&a, s, NULL, listen);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_session_cache_mode(
	    ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd[1]);
	if (kept)
		assert_int_equal(SSL_set_session(ssl, kept), 1);
	for (unsigned i = 0; i < 100 && SSL_connect(ssl) != 1; i++)
		loop_turn(loop, false);
	settle();
	(void)SSL_read(ssl, &byte, 1); /* takes the ticket */
	assert_int_equal(a.secured, 1);
	reused = SSL_session_reused(ssl);
	assert_int_equal(conn_tls_info(a.c)->resumed, reused);
	SSL_shutdown(ssl);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd[1]);
	over(&a);
	return reused;
}

static void tickets(void **state)
{
	static const int version[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_ctx *s = good("host", true), *anew = good("host", true);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(version); i++) {
		assert_false(resumes(s, "127.0.0.1:25", version[i]));
		assert_non_null(kept);
		assert_true(resumes(s, "127.0.0.1:25", version[i]));
		assert_false(resumes(s, "127.0.0.1:465", version[i]));
		assert_true(resumes(s, "127.0.0.1:465", version[i]));
		assert_false(resumes(anew, "127.0.0.1:465", version[i]));
		SSL_SESSION_free(kept);
		kept = NULL;
	}
	tls_ctx_free(&s);
	tls_ctx_free(&anew);
}

/* ---- options ---- */

static void wrong(const char *cert, const char *key, const char *text)
{
	const char *certs[] = {cert, NULL}, *keys[] = {key, NULL};
	struct set_tls set = options(cert ? certs : no_files, key ? keys : no_files, false);
	struct meta1_err err = {""};

	assert_null(tls_ctx_new(&set, true, NULL, &err));
	if (!strstr(err.text, text))
		fail_msg("\"%s\" lacks \"%s\"", err.text, text);
}

static void files(void **state)
{
	const char *cert = base_strdup(tls_file("host", "pem"));
	const char *key = base_strdup(tls_file("host", "key"));
	struct meta1_err err = {""};
	FILE *f;

	(void)state;
	wrong(NULL, NULL, "needs cert_file and key_file");
	wrong(cert, NULL, "not the same number");
	wrong("/nowhere/x.pem", key, "cert_file /nowhere/x.pem: No such file");
	wrong(cert, "/nowhere/x.key", "key_file /nowhere/x.key: No such file");
	wrong(cert, tls_file("ann", "key"), "does not belong to key_file");
	wrong(key, key, "expected a certificate in PEM");
	chmod(key, 0644);
	wrong(cert, key, "mode 644 lets others have it");
	chmod(key, 0660);
	wrong(cert, key, "mode 660");
	chmod(key, 0640);
	f = fopen(tls_file("locked", "key"), "w");
	PEM_write_PrivateKey(f, host.key, EVP_aes_128_cbc(), NULL, 0, NULL, (void *)"secret");
	fclose(f);
	chmod(tls_file("locked", "key"), 0600);
	wrong(cert, tls_file("locked", "key"), "is encrypted");
	f = fopen(tls_file("ca", "pem"), "a"); /* more certificates than one */
	PEM_write_X509(f, other_ca.cert);
	fclose(f);
	for (int i = 0; i < 2; i++) {
		struct tls_ctx *c = context("host", i, &err);

		assert_non_null(c);
		tls_ctx_free(&c);
	}
	free((char *)cert);
	free((char *)key);
}

static void revoked(void **state)
{
	X509_CRL *crl = X509_CRL_new();
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_TIME *t = X509_gmtime_adj(NULL, 0);
	const char *cert[] = {tls_file("host", "pem"), NULL},
		   *key[] = {tls_file("host", "key"), NULL};
	struct set_tls set = options(cert, key, true);
	struct tls_ctx *s, *c = good("ann", false), *c2 = good("second", false);
	struct meta1_err err = {""};
	struct side a, b;
	FILE *f;

	(void)state;
	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca.cert));
	X509_CRL_set1_lastUpdate(crl, t);
	X509_gmtime_adj(t, 86400);
	X509_CRL_set1_nextUpdate(crl, t);
	X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(ann.cert));
	X509_REVOKED_set_revocationDate(r, t);
	X509_CRL_add0_revoked(crl, r);
	X509_CRL_sign(crl, ca.key, EVP_sha256());
	f = fopen(tls_file("crl", "pem"), "w");
	PEM_write_X509_CRL(f, crl);
	fclose(f);
	set.CRL_file = tls_file("crl", "pem");
	s = tls_ctx_new(&set, true, NULL, &err);
	assert_non_null(s);
	meet(&a, &b, s, c);
	assert_int_equal(conn_tls_info(a.c)->cert, TLS_CERT_BAD);
	assert_string_equal(conn_tls_info(a.c)->why, "certificate revoked");
	over(&a);
	over(&b);
	meet(&a, &b, s, c2);
	assert_int_equal(conn_tls_info(a.c)->cert, TLS_CERT_GOOD);
	over(&a);
	over(&b);
	tls_ctx_free(&s);
	tls_ctx_free(&c);
	tls_ctx_free(&c2);
	free((char *)set.CAcert_file);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
}

/* ---- life ---- */

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as the roles do */
	assert_non_null(mkdtemp(tls_dir));
	loop = loop_new();
	work = work_new(loop);
	ca = tls_make("ca", NULL, 0, -1, 30, NULL);
	other_ca = tls_make("otherca", NULL, 0, -1, 30, NULL);
	host = tls_make("host", &ca, 0, -1, 30, "mx.test");
	second = tls_make("second", &ca, 0, -1, 30, "second.test");
	rsa = tls_make("rsa", &ca, 3072, -1, 30, "mx.test");
	ann = tls_make("ann", &ca, 0, -1, 30, NULL);
	old = tls_make("old", &ca, 0, -30, -1, NULL);
	stranger = tls_make("stranger", &other_ca, 0, -1, 30, "else.test");
	return 0;
}

static int teardown(void **state)
{
	struct tls_who *all[] = {&ca, &other_ca, &host, &second, &rsa, &ann, &old, &stranger};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		tls_forget(all[i]);
	work_free(&work);
	loop_free(&loop);
	tls_clean();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(achieved), cmocka_unit_test(by_name),
	    cmocka_unit_test(large), cmocka_unit_test(bounded), cmocka_unit_test(injected),
	    cmocka_unit_test(broken), cmocka_unit_test(cut_short), cmocka_unit_test(versions),
	    cmocka_unit_test(slow), cmocka_unit_test(closed), cmocka_unit_test(garbage),
	    cmocka_unit_test(finished), cmocka_unit_test(closed_in_thread),
	    cmocka_unit_test(tickets), cmocka_unit_test(revoked), cmocka_unit_test(files)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
