/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.c -- conns with TLS on both ends of a socket pair, or with raw bytes at one: handshakes good
 * and bad, what is verified, what goes through, how it ends. Files and tickets are in tls_conf.c.
 */
#include "tls_side.h"

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
		conn_write(b.c, &"\x16\x03\x01\x7f\xff"[b.drains % 5], 1);
		loop_turn(loop, true);
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(achieved), cmocka_unit_test(by_name),
	    cmocka_unit_test(large), cmocka_unit_test(bounded), cmocka_unit_test(injected),
	    cmocka_unit_test(broken), cmocka_unit_test(cut_short), cmocka_unit_test(versions),
	    cmocka_unit_test(slow), cmocka_unit_test(closed), cmocka_unit_test(garbage),
	    cmocka_unit_test(finished)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
