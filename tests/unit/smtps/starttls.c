/* SPDX-License-Identifier: BSD-2-Clause */
/* starttls.c -- sessions with TLS: a client of OpenSSL talks to the server's session. */
#include "../unit.h"
#include "dialog.h"

#include "../tls_pair.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#define S(text) text, sizeof(text) - 1

static struct dialog d;
static struct tls_who ca, host, ann, else_ca, eve;
static SSL *ssl;

/* ---- the client ---- */

/* Turns of the server without the dialog's ear, which would take what is for SSL. */
static void turns(unsigned n)
{
	while (n-- > 0)
		loop_turn(d.role.loop, false);
}

static bool shake(const char *cert)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int rc = 0;

	if (cert) {
		SSL_CTX_use_certificate_file(ctx, tls_file(cert, "pem"), SSL_FILETYPE_PEM);
		SSL_CTX_use_PrivateKey_file(ctx, tls_file(cert, "key"), SSL_FILETYPE_PEM);
	}
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_fd(ssl, d.client);
	for (unsigned i = 0; i < 50 && (rc = SSL_connect(ssl)) != 1; i++)
		turns(5);
	turns(5);
	return rc == 1;
}

/* Of all replies inside TLS so far. */
static const char *codes(void)
{
	char got[4096];
	int n;

	turns(50);
	while ((n = SSL_read(ssl, got, sizeof(got))) > 0) {
		memcpy(d.out + d.nout, got, (size_t)n);
		d.nout += (size_t)n;
	}
	ERR_clear_error();
	d.out[d.nout] = '\0';
	return dialog_codes(&d);
}

static void forget(void)
{
	d.nout = 0;
	d.out[0] = '\0';
}

static void tell(const char *text)
{
	int len = (int)strlen(text);

	assert_int_equal(SSL_write(ssl, text, len), len);
	turns(20);
}

static void open_tls(void)
{
	const char *cert[] = {tls_file("host", "pem"), NULL},
		   *key[] = {tls_file("host", "key"), NULL};
	struct set_tls set = {.cert_file = cert,
	    .key_file = key,
	    .CAcert_file = tls_file("ca", "pem"),
	    .ciphers = "ECDHE+AESGCM",
	    .flags = TLS_F_REQUEST_CERT};
	struct meta1_err err = {""};

	dialog_open(&d);
	d.gear.tls = tls_ctx_new(&set, true, NULL, &err);
	if (!d.gear.tls)
		fail_msg("%s", err.text);
}

/* A session up to where the client may shake hands. */
static void up(void)
{
	open_tls();
	dialog_connect(&d);
	dialog_say(&d, S("EHLO a.test\r\nSTARTTLS\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 220 ");
	assert_non_null(strstr(d.out, "250-STARTTLS\r\n"));
	forget();
}

static void down(void)
{
	if (ssl)
		SSL_free(ssl);
	ssl = NULL;
	dialog_close(&d);
	tls_ctx_free(&d.gear.tls);
}

/* ---- tests ---- */

static void a_mail(void **state)
{
	(void)state;
	up();
	assert_true(shake("ann"));
	tell("MAIL FROM:<a@b.test>\r\n");
	assert_string_equal(codes(), "503 "); /* EHLO anew */
	forget();
	tell("EHLO a.test\r\nSTARTTLS\r\nMAIL FROM:<a@b.test>\r\nSTARTTLS\r\nRCPT TO:<u@c.test>\r\n"
	     "DATA\r\n");
	assert_string_equal(codes(), "250 503 250 503 250 354 ");
	assert_null(strstr(d.out, "250-STARTTLS"));
	assert_int_equal(d.question.tls, TLS_GOOD_CERT);
	tell("Subject: x\r\n\r\nhello\r\n.\r\n");
	codes();
	assert_int_equal(d.nmsg, 1);
	assert_non_null(strstr(d.msg[0].data, " with ESMTPS id "));
	assert_non_null(
	    strstr(d.msg[0].data, "\r\n\t(version=TLSv1.3, cipher=TLS_AES_256_GCM_SHA384, "
				  "bits=256, verify=OK)\r\n\tfor "));
	down();
}

static void who_is_it(void **state)
{
	static const struct {
		const char *cert;
		uint32_t tls;
		const char *verify;
	} t[] = {{NULL, TLS_NO_CERT, "verify=NO)"}, {"ann", TLS_GOOD_CERT, "verify=OK)"},
	    {"eve", TLS_BAD_CERT, "verify=FAIL)"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		up();
		assert_true(shake(t[i].cert));
		tell("EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT "
		     "TO:<u@c.test>\r\nDATA\r\n\r\nx\r\n.\r\n");
		assert_string_equal(codes(), "250 250 250 354 250 ");
		assert_int_equal(d.question.tls, t[i].tls);
		assert_int_equal(d.question.cert_subject.len > 0, t[i].cert != NULL);
		assert_non_null(strstr(d.msg[0].data, t[i].verify));
		down();
	}
}

/* Commands behind STARTTLS in the same segment are not obeyed, in whatever pieces they come. */
static void injected(void **state)
{
	static const char text[] = "EHLO a.test\r\nSTARTTLS\r\nMAIL FROM:<evil@b.test>\r\nNOOP\r\n";

	(void)state;
	open_tls();
	dialog_connect(&d);
	assert_int_equal(send(d.client, text, sizeof(text) - 1, 0), sizeof(text) - 1);
	dialog_turns(&d, 20);
	assert_string_equal(dialog_codes(&d), "220 250 220 ");
	forget();
	assert_true(shake(NULL));
	assert_string_equal(codes(), "");
	tell("NOOP\r\n");
	assert_string_equal(codes(), "250 ");
	assert_int_equal(d.asked, 0);
	down();
	/* what comes later is no handshake */
	up();
	dialog_say(&d, S("NOOP\r\n"), 1);
	assert_true(d.eof);
	assert_null(strstr(d.out, "250"));
	down();
}

static void refused(void **state)
{
	(void)state;
	dialog_open(&d);
	dialog_run(&d, S("EHLO a\r\nSTARTTLS\r\nHELP STARTTLS\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 502 214 ");
	assert_null(strstr(d.out, "STARTTLS"));
	dialog_close(&d);
	open_tls();
	dialog_run(
	    &d, S("EHLO a\r\nMAIL FROM:<a@b.test>\r\nSTARTTLS\r\nRSET\r\nSTARTTLS now\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 250 503 250 501 ");
	down();
}

/* OpenSSL gives no SSL: said in plain, and the session goes on. */
static void not_now(void **state)
{
	SSL_CTX *ctx;

	(void)state;
	open_tls();
	ctx = d.gear.tls->ssl;
	d.gear.tls->ssl = NULL;
	dialog_run(&d, S("EHLO a\r\nSTARTTLS\r\nNOOP\r\n"), 0);
	assert_string_equal(dialog_codes(&d), "220 250 454 250 ");
	d.gear.tls->ssl = ctx;
	down();
}

static void from_the_first_byte(void **state)
{
	(void)state;
	open_tls();
	d.tls_first = true;
	dialog_connect(&d);
	assert_int_equal(d.nout, 0);
	assert_true(shake("ann"));
	assert_string_equal(codes(), "220 ");
	tell("EHLO a\r\nQUIT\r\n");
	assert_string_equal(codes(), "220 250 221 ");
	assert_null(strstr(d.out, "STARTTLS"));
	down();
	open_tls(); /* who speaks plainly hears nothing plain */
	d.tls_first = true;
	dialog_connect(&d);
	dialog_say(&d, S("EHLO a.test\r\n"), 0);
	assert_true(d.eof);
	assert_true(d.nout < 20 && strstr(d.out, "2") == NULL);
	down();
}

/* At every byte of a chunk: TLS is closed, alone or with clear bytes behind; the connection; or
 * garbage comes. The session ends and nothing is stored. */
static void ends_in_bdat(void **state)
{
	static const char body[] = "Subject: x\r\n\r\nhello\r\n";
	enum { CLOSE, CLOSE_CLEAR, FIN, GARBAGE, HOWS };

	(void)state;
	for (size_t at = 0; at < sizeof(body) - 1; at++)
		for (int how = 0; how < HOWS; how++) {
			up();
			assert_true(shake(NULL));
			tell("EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<u@c.test>\r\nBDAT 21 "
			     "LAST\r\n");
			if (at > 0)
				assert_int_equal(SSL_write(ssl, body, (int)at), at);
			if (how <= CLOSE_CLEAR)
				SSL_shutdown(ssl);
			if (how == CLOSE_CLEAR)
				assert_int_equal(send(d.client, body + at, 1, MSG_NOSIGNAL), 1);
			if (how == FIN)
				shutdown(d.client, SHUT_WR);
			if (how == GARBAGE)
				assert_true(send(d.client, "xxxxxx", 6, MSG_NOSIGNAL) > 0);
			turns(50);
			assert_int_equal(d.srv.nsession, 0);
			assert_int_equal(d.nmsg, 0);
			down();
		}
}

/* A stop while a handshake is under way. */
static void stopped(void **state)
{
	(void)state;
	up();
	d.srv.stopping = true;
	smtps_session_stop_all(&d.srv);
	turns(20);
	assert_int_equal(d.srv.nsession, 0);
	down();
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as the roles do */
	assert_non_null(mkdtemp(tls_dir));
	ca = tls_make("ca", NULL, 0, -1, 30, NULL);
	else_ca = tls_make("else_ca", NULL, 0, -1, 30, NULL);
	host = tls_make("host", &ca, 0, -1, 30, "mx.test");
	ann = tls_make("ann", &ca, 0, -1, 30, NULL);
	eve = tls_make("eve", &else_ca, 0, -1, 30, NULL);
	return 0;
}

static int teardown(void **state)
{
	struct tls_who *all[] = {&ca, &else_ca, &host, &ann, &eve};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		tls_forget(all[i]);
	tls_clean();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_mail), cmocka_unit_test(who_is_it),
	    cmocka_unit_test(injected), cmocka_unit_test(refused), cmocka_unit_test(not_now),
	    cmocka_unit_test(from_the_first_byte), cmocka_unit_test(ends_in_bdat),
	    cmocka_unit_test(stopped)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
